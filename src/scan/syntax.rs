//! Syntax rules: compiled by the matcher crate, matched node by node.

use ast_grep_config::{DeserializeEnv, RuleCore, SerializableRuleCore};
use ast_grep_core::Matcher;
use ast_grep_core::matcher::MatcherExt;
use ast_grep_core::replacer::TemplateFix;
use ast_grep_core::tree_sitter::StrDoc;
use serde_json::Value;

use crate::domain::detect::{AstRule, LanguageName};
use crate::domain::foreign_text;
use crate::domain::id::Slug;
use crate::domain::limits;

use super::error::CompileError;
use super::expand::{self, Variable};
use super::hit::{Hit, HitEdit};
use super::lang::Lang;
use super::line_rule::compile_regex;
use super::needs::{is_call_kind, is_chain_kind};
use super::parse::Node;

type Match<'t> = ast_grep_core::NodeMatch<'t, StrDoc<Lang>>;

/// A compiled syntax rule.
pub(super) struct SyntaxRule {
    pub(super) language: LanguageName,
    matcher: RuleCore,
    template: Option<Template>,
    message: String,
}

/// What replaces a match, as text and compiled.
struct Template {
    text: String,
    fix: TemplateFix,
}

impl Template {
    fn edit(&self, matcher: &RuleCore, found: &Match<'_>) -> HitEdit {
        // The crate builds the whole output at once, with every line indented anew. So its size is bounded
        // before: a short template can name a long variable hundreds of times.
        let width = |line: &str| line.len() - line.trim_start().len();
        let indent = self.text.lines().map(width).max().unwrap_or(0) + found.start_pos().byte_point().1;
        let size = |text: &str| text.len() + indent * text.matches('\n').count();
        let most = expand::variables(&self.text)
            .filter_map(|variable| bound(found, variable))
            .fold(size(&self.text), |sum, value| sum.saturating_add(size(&value)));
        if most > limits::FIX_OUTPUT_BYTES + found.range().len() * (1 + indent) {
            return HitEdit::TooLarge(most);
        }
        let edit = found.make_edit(matcher, &self.fix);
        let range = edit.position..edit.position + edit.deleted_length;
        String::from_utf8(edit.inserted_text).map_or(HitEdit::None, |text| HitEdit::splice(range, text))
    }
}

/// The whole chain of an error of a crate that quotes the rule, in one short line.
fn describe(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    let mut text = foreign_text::display_line(&chain.map(ToString::to_string).collect::<Vec<_>>().join(": "));
    text.truncate(text.floor_char_boundary(300));
    text
}

fn check_regexes(rule: &Slug, part: &Value) -> Result<(), CompileError> {
    match part {
        Value::Object(fields) => fields.iter().try_for_each(|(key, value)| match (key.as_str(), value) {
            ("regex", Value::String(pattern)) => compile_regex(rule, pattern).map(drop),
            _ => check_regexes(rule, value),
        }),
        Value::Array(items) => items.iter().try_for_each(|item| check_regexes(rule, item)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

impl SyntaxRule {
    pub(super) fn compile(rule: &AstRule, template: Option<&str>) -> Result<Self, CompileError> {
        let wrong =
            |error: &dyn std::error::Error| CompileError::Syntax { rule: rule.id.clone(), cause: describe(error) };
        let lang = Lang::from(rule.language);
        // The matcher compiles them with larger limits of its own; those that pass ours are small there too.
        let parts = rule.utils.values().chain(rule.constraints.values()).chain([&rule.rule]);
        parts.into_iter().try_for_each(|part| check_regexes(&rule.id, part))?;
        let core = serde_json::json!({ "rule": rule.rule, "constraints": rule.constraints, "utils": rule.utils });
        let core: SerializableRuleCore = serde_json::from_value(core).map_err(|error| wrong(&error))?;
        let matcher = core.get_matcher(DeserializeEnv::new(lang)).map_err(|error| wrong(&error))?;
        if matcher.potential_kinds().is_none() {
            return Err(CompileError::NoKind { rule: rule.id.clone() });
        }
        let template = match template {
            Some(text) => {
                let fix = TemplateFix::try_new(text, &lang).map_err(|error| wrong(&error))?;
                let defined = matcher.defined_vars();
                if let Some(name) = fix.used_vars().into_iter().find(|name| !defined.contains(name)) {
                    return Err(CompileError::UnboundVariable { rule: rule.id.clone(), name: format!("${name}") });
                }
                Some(Template { text: text.to_owned(), fix })
            }
            None => None,
        };
        Ok(Self { language: rule.language, matcher, template, message: rule.message.clone() })
    }

    /// The node kinds at which this rule can match.
    pub(super) fn kinds(&self) -> Vec<usize> {
        self.matcher.potential_kinds().iter().flatten().collect()
    }

    /// The match at this node.
    pub(super) fn at(&self, rule: usize, node: &Node<'_>, edits: bool) -> Option<Hit> {
        let found = self.matcher.match_node(node.clone())?;
        if is_broken(&found) {
            return None;
        }
        let edit = match &self.template {
            Some(template) if edits => template.edit(&self.matcher, &found),
            _ => HitEdit::None,
        };
        let message = expand::message(&self.message, |variable| bound(&found, variable));
        Some(Hit { rule, range: found.range(), message, edit })
    }
}

fn bound(found: &Match<'_>, variable: Variable<'_>) -> Option<String> {
    match variable {
        Variable::Name(name) => found.get_env().get_match(name).map(|node| node.text().into_owned()),
        Variable::Many(name) => {
            let nodes = found.get_env().get_multiple_matches(name);
            let (first, last) = (nodes.first()?, nodes.last()?);
            found.get_doc().src.get(first.range().start..last.range().end).map(ToOwned::to_owned)
        }
        Variable::Group(_) => None,
    }
}

/// A syntax error in the middle of `a.b` or before the bracket of `f(x)` hides whatever the parser skipped there,
/// and a word that is missing was made up by it: not a match. It also keeps the filter exact, which looks for all
/// of these in the bytes.
fn is_broken(found: &Match<'_>) -> bool {
    let wrong = |node: &Node<'_>| node.is_error() || node.is_missing();
    let made_up = |node: &Node<'_>| !node.is_named() && node.is_missing();
    let inside = || {
        found.dfs().any(|node| {
            let call = is_call_kind(&node.kind());
            made_up(&node)
                || ((call || is_chain_kind(&node.kind()))
                    && node
                        .children()
                        .any(|child| wrong(&child) || (call && child.child(0).is_some_and(|first| wrong(&first)))))
        })
    };
    (found.get_inner_node().has_error() && inside())
        || found
            .ancestors()
            .any(|above| above.get_inner_node().has_error() && above.children().any(|child| made_up(&child)))
}
