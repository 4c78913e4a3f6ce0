//! What a text must hold for a rule to match at all: a conjunction of alternatives of literals.
//!
//! Everything here errs to one side. A literal that is wrongly demanded loses findings; a literal that is
//! left out only costs a parse.

use std::cell::Cell;
use std::collections::BTreeMap;

use ast_grep_core::matcher::{Pattern, PatternNode};
use ast_grep_core::meta_var::MetaVariable;
use ast_grep_core::tree_sitter::LanguageExt;
use regex_syntax::hir::{Hir, HirKind};
use serde_json::Value;

use crate::domain::detect::{AstRule, LanguageName};
use crate::domain::limits;

use super::lang::Lang;

/// A text that must be there.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Atom {
    /// These bytes.
    Text(String),
    /// These bytes in any ASCII case.
    AnyCase(String),
    /// An identifier of its own, not a part of a longer one.
    Word(String),
    /// Identifiers joined by dots, with white space and comments between them at most.
    Chain(Vec<String>),
}

/// One of these must be there.
pub(super) type Group = Vec<Atom>;
/// All of these must be there; empty demands nothing.
pub(super) type Needs = Vec<Group>;

/// More alternatives than this filter nothing worth their search.
const GROUP_MAX: usize = 32;
/// Most rule objects that are read for one rule; what is left unread demands nothing.
const READS_MAX: usize = 1_000;
/// Shorter literals are in every file.
const LITERAL_MIN: usize = 2;

impl Atom {
    /// The literal that is searched for; [`super::filter`] checks the rest around it.
    pub(super) fn literal(&self) -> &str {
        match self {
            Self::Text(text) | Self::AnyCase(text) | Self::Word(text) => text,
            Self::Chain(words) => &words[0],
        }
    }

    fn weight(&self) -> usize {
        match self {
            Self::Chain(words) => words.iter().map(|word| word.len() + 1).sum(),
            Self::Text(text) | Self::AnyCase(text) | Self::Word(text) => text.len(),
        }
    }
}

/// The needs of "one of these".
fn either(alternatives: Vec<Needs>) -> Needs {
    let mut group = Group::new();
    for needs in alternatives {
        let strength = |group: &Group| (group.iter().map(Atom::weight).min(), std::cmp::Reverse(group.len()));
        match needs.into_iter().max_by_key(strength) {
            Some(best) => group.extend(best),
            None => return Needs::new(),
        }
    }
    group.sort();
    group.dedup();
    if group.is_empty() || group.len() > GROUP_MAX { Needs::new() } else { vec![group] }
}

/// The needs of a syntax rule.
pub(super) fn of_syntax(rule: &AstRule) -> Needs {
    let lang = Lang::from(rule.language);
    let reading = Reading { name: rule.language, lang, utils: &rule.utils, budget: Cell::new(READS_MAX) };
    let mut needs = reading.rule(&rule.rule, true, 0);
    let mut bound = Vec::new();
    reading.bound(&rule.rule, &mut bound);
    // A constraint speaks only when its variable is bound, so only for those that every match binds.
    for (name, constraint) in &rule.constraints {
        if bound.contains(name) {
            needs.extend(reading.rule(constraint, true, 0));
        }
    }
    needs.sort();
    needs.dedup();
    needs
}

struct Reading<'r> {
    name: LanguageName,
    lang: Lang,
    utils: &'r BTreeMap<String, Value>,
    /// Rule objects that are still read: utility rules that name each other several times multiply.
    budget: Cell<usize>,
}

impl Reading<'_> {
    /// `within`: what matches lies inside the node that is reported.
    fn rule(&self, rule: &Value, within: bool, depth: usize) -> Needs {
        let left = self.budget.get();
        let Some(fields) = rule.as_object().filter(|_| left > 0 && depth <= 2 * limits::RULE_DEPTH) else {
            return Needs::new();
        };
        self.budget.set(left - 1);
        let mut needs = Needs::new();
        for (key, value) in fields {
            match key.as_str() {
                "pattern" => needs.extend(self.pattern(value, within)),
                "regex" => needs.extend(value.as_str().map(of_regex).unwrap_or_default()),
                "has" => needs.extend(self.rule(value, within, depth + 1)),
                "inside" | "precedes" | "follows" => needs.extend(self.rule(value, false, depth + 1)),
                "all" => {
                    let each = value.as_array().into_iter().flatten();
                    needs.extend(each.flat_map(|part| self.rule(part, within, depth + 1)));
                }
                "any" => {
                    let each = value.as_array().into_iter().flatten();
                    needs.extend(either(each.map(|part| self.rule(part, within, depth + 1)).collect()));
                }
                "matches" => {
                    if let Some(util) = value.as_str().and_then(|name| self.utils.get(name)) {
                        needs.extend(self.rule(util, within, depth + 1));
                    }
                }
                _ => {}
            }
        }
        needs
    }

    /// The named variables that a match of this rule always binds.
    fn bound(&self, rule: &Value, names: &mut Vec<String>) {
        if let Some(pattern) = rule.get("pattern").and_then(|style| self.compiled(style)) {
            captures(&pattern.node, names);
        }
        for part in rule.get("all").and_then(Value::as_array).into_iter().flatten() {
            self.bound(part, names);
        }
    }

    fn compiled(&self, style: &Value) -> Option<Pattern> {
        compile_pattern(style, self.lang)
    }

    fn pattern(&self, style: &Value, within: bool) -> Needs {
        let by_shape_only =
            style.get("strictness").is_some_and(|s| s != "cst" && s != "smart" && s != "ast" && s != "relaxed");
        let mut needs = Needs::new();
        if let Some(pattern) = self.compiled(style).filter(|_| !by_shape_only) {
            self.node(&pattern.node, within, &mut needs);
        }
        needs
    }

    fn node(&self, node: &PatternNode, within: bool, needs: &mut Needs) {
        match node {
            PatternNode::MetaVar { .. } => {}
            PatternNode::Terminal { text, is_named, kind_id } => {
                if *is_named && text.len() >= LITERAL_MIN {
                    let word = self.is_word(*kind_id, text);
                    needs.push(vec![if word { Atom::Word(text.clone()) } else { Atom::Text(text.clone()) }]);
                }
            }
            PatternNode::Internal { children, .. } => {
                let mut words = Vec::new();
                if within && self.chain(node, &mut words) && words.len() > 1 {
                    needs.push(vec![Atom::Chain(words)]);
                    return;
                }
                children.iter().for_each(|child| self.node(child, within, needs));
            }
        }
    }

    fn kind(&self, kind_id: u16) -> String {
        self.lang.get_ts_language().node_kind_for_id(kind_id).unwrap_or_default().to_owned()
    }

    fn is_word(&self, kind_id: u16, text: &str) -> bool {
        use LanguageName::{Go, JavaScript, Python, Rust, Tsx, TypeScript};
        matches!(self.name, Go | JavaScript | Python | Rust | Tsx | TypeScript)
            && self.kind(kind_id).ends_with("identifier")
            && text.bytes().all(is_word_byte)
    }

    /// Collects the identifiers of `a.b.c`; false when it is something else.
    fn chain(&self, node: &PatternNode, words: &mut Vec<String>) -> bool {
        match node {
            PatternNode::MetaVar { .. } => false,
            PatternNode::Terminal { text, is_named, kind_id } => {
                words.push(text.clone());
                *is_named && text.len() >= LITERAL_MIN && self.is_word(*kind_id, text)
            }
            PatternNode::Internal { kind_id, children } => {
                let [left, PatternNode::Terminal { text, is_named: false, .. }, right] = children.as_slice() else {
                    return false;
                };
                is_chain_kind(&self.kind(*kind_id))
                    && text == "."
                    && self.chain(left, words)
                    && self.chain(right, words)
            }
        }
    }
}

/// Compiles a pattern in either of its forms.
pub(super) fn compile_pattern(style: &Value, lang: Lang) -> Option<Pattern> {
    match (style.as_str(), style.get("context").and_then(Value::as_str)) {
        (Some(text), _) => Pattern::try_new(text, lang).ok(),
        (None, Some(context)) => match style.get("selector").and_then(Value::as_str) {
            Some(selector) => Pattern::contextual(context, selector, lang).ok(),
            None => Pattern::try_new(context, lang).ok(),
        },
        (None, None) => None,
    }
}

fn captures(node: &PatternNode, names: &mut Vec<String>) {
    match node {
        PatternNode::MetaVar { meta_var: MetaVariable::Capture(name, true) } => names.push(name.clone()),
        PatternNode::MetaVar { .. } | PatternNode::Terminal { .. } => {}
        PatternNode::Internal { children, .. } => children.iter().for_each(|child| captures(child, names)),
    }
}

/// Node kinds of `a.b`. A match with a syntax error directly inside one of them is not reported
/// ([`super::syntax`]): the parser may have skipped anything there, and the filter could not follow.
pub(super) fn is_chain_kind(kind: &str) -> bool {
    matches!(kind, "attribute" | "member_expression" | "selector_expression" | "field_expression")
}

/// True for the bytes of an ASCII identifier.
pub(super) const fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The needs of a regular expression: of text in which it is found somewhere.
pub(super) fn of_regex(pattern: &str) -> Needs {
    let parser = regex_syntax::ParserBuilder::new().nest_limit(limits::REGEX_NEST).build().parse(pattern);
    let mut needs = parser.map(|hir| of_hir(&hir)).unwrap_or_default();
    needs.retain(|group| group.iter().all(|atom| atom.weight() >= LITERAL_MIN));
    needs
}

/// A stretch of literal characters while a concatenation is walked.
#[derive(Default)]
struct Run {
    bytes: Vec<u8>,
    any_case: bool,
}

impl Run {
    fn flush(&mut self, needs: &mut Needs) {
        let run = std::mem::take(self);
        if let Ok(text) = String::from_utf8(run.bytes)
            && text.len() >= LITERAL_MIN
        {
            needs.push(vec![if run.any_case { Atom::AnyCase(text) } else { Atom::Text(text) }]);
        }
    }
}

fn of_hir(hir: &Hir) -> Needs {
    let mut needs = Needs::new();
    let mut run = Run::default();
    walk_hir(hir, &mut run, &mut needs);
    run.flush(&mut needs);
    needs
}

fn walk_hir(hir: &Hir, run: &mut Run, needs: &mut Needs) {
    match hir.kind() {
        HirKind::Literal(literal) => run.bytes.extend_from_slice(&literal.0),
        HirKind::Class(class) => match both_cases(class) {
            Some(letter) => {
                run.bytes.push(letter);
                run.any_case = true;
            }
            None => run.flush(needs),
        },
        HirKind::Concat(parts) => parts.iter().for_each(|part| walk_hir(part, run, needs)),
        HirKind::Capture(capture) => walk_hir(&capture.sub, run, needs),
        // Zero-width: what stands before and after it is still next to each other.
        HirKind::Look(_) | HirKind::Empty => {}
        HirKind::Alternation(parts) => {
            run.flush(needs);
            needs.extend(either(parts.iter().map(of_hir).collect()));
        }
        HirKind::Repetition(repetition) => {
            run.flush(needs);
            if repetition.min > 0 {
                needs.extend(of_hir(&repetition.sub));
            }
        }
    }
}

/// The letter of a class such as `[aA]` and nothing more. `(?i)k` is not one: it also holds the Kelvin sign.
fn both_cases(class: &regex_syntax::hir::Class) -> Option<u8> {
    let members: Vec<char> = match class {
        regex_syntax::hir::Class::Unicode(class) => {
            let ranges = class.ranges();
            if ranges.len() != 2 || ranges.iter().any(|range| range.start() != range.end()) {
                return None;
            }
            ranges.iter().map(regex_syntax::hir::ClassUnicodeRange::start).collect()
        }
        regex_syntax::hir::Class::Bytes(_) => return None,
    };
    let lower = u8::try_from(members[1]).ok().filter(u8::is_ascii_lowercase)?;
    (members[0] == char::from(lower.to_ascii_uppercase())).then_some(lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn syntax(rule: Value) -> Needs {
        let rule = serde_json::json!({"id": "r", "language": "python", "rule": rule, "message": "m"});
        of_syntax(&serde_json::from_value(rule).expect("a rule"))
    }

    fn text(text: &str) -> Group {
        vec![Atom::Text(text.into())]
    }

    fn word(text: &str) -> Group {
        vec![Atom::Word(text.into())]
    }

    #[test]
    fn patterns_need_their_words_and_chains() {
        assert_eq!(syntax(serde_json::json!({"pattern": "open($P, $M)"})), [word("open")]);
        let chain = vec![Atom::Chain(vec!["os".into(), "path".into(), "join".into()])];
        assert_eq!(syntax(serde_json::json!({"pattern": "os.path.join($$$A)"})), [chain]);
        assert_eq!(syntax(serde_json::json!({"pattern": "$O.write($X)"})), [word("write")]);
    }

    #[test]
    fn combinations_need_what_all_their_parts_need() {
        let both = serde_json::json!({"any": [{"pattern": "foo($A)"}, {"pattern": "bar($A)"}]});
        assert_eq!(syntax(both), [vec![Atom::Word("bar".into()), Atom::Word("foo".into())]]);
        let open = serde_json::json!({"any": [{"pattern": "foo($A)"}, {"kind": "call"}]});
        assert_eq!(syntax(open), Needs::new());
        let not = serde_json::json!({"kind": "call", "not": {"pattern": "foo($A)"}});
        assert_eq!(syntax(not), Needs::new());
        let signature = serde_json::json!({"pattern": {"context": "foo($A)", "strictness": "signature"}});
        assert_eq!(syntax(signature), Needs::new());
        let inside = serde_json::json!({"pattern": "foo()", "inside": {"pattern": "os.bar($$$)", "stopBy": "end"}});
        assert_eq!(syntax(inside), [word("bar"), word("foo"), word("os")]);
    }

    #[test]
    fn a_constraint_counts_only_for_a_variable_that_is_always_bound() {
        let mut rule = serde_json::json!({"id": "r", "language": "python", "message": "m",
            "rule": {"pattern": "open($P)"}, "constraints": {"P": {"regex": "tmp"}}});
        let needs = |rule: &Value| of_syntax(&serde_json::from_value(rule.clone()).expect("a rule"));
        assert_eq!(needs(&rule), [text("tmp"), word("open")]);
        rule["rule"] = serde_json::json!({"any": [{"pattern": "open($P)"}, {"pattern": "open($Q, 1)"}]});
        assert_eq!(needs(&rule), [word("open")]);
    }

    #[test]
    fn regexes_need_their_inner_literals() {
        assert_eq!(of_regex("ab(cd)+e[0-9]xyz"), [text("ab"), text("cd"), text("xyz")]);
        assert_eq!(of_regex("(foo|bar)x?"), [vec![Atom::Text("bar".into()), Atom::Text("foo".into())]]);
        assert_eq!(of_regex("(foo|)"), Needs::new());
        assert_eq!(of_regex("(?i)verify"), [vec![Atom::AnyCase("verify".into())]]);
        assert_eq!(of_regex(r"\bfoo\b"), [text("foo")]);
        assert_eq!(of_regex("(?i)sk"), Needs::new());
        assert_eq!(of_regex("a{0,3}"), Needs::new());
    }
}
