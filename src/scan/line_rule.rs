//! Regular expression rules, matched line by line in linear time.

use regex::{Captures, Regex, RegexBuilder};

use crate::domain::detect::RegexRule;
use crate::domain::foreign_text;
use crate::domain::id::Slug;
use crate::domain::limits;

use super::engine::Deadline;
use super::error::CompileError;
use super::expand::{self, Variable};
use super::hit::{Hit, HitEdit};
use super::place::Lines;

/// Longest match, in bytes; a longer one is not reported.
const MATCH_BYTES: usize = 64 * 1024;

/// A compiled regular expression rule.
pub(super) struct LineRule {
    regex: Regex,
    group: usize,
    template: Option<String>,
    message: String,
}

/// Compiles an expression of a lesson within our limits.
pub(super) fn compile_regex(rule: &Slug, pattern: &str) -> Result<Regex, CompileError> {
    RegexBuilder::new(pattern)
        .size_limit(limits::REGEX_COMPILED_BYTES)
        .dfa_size_limit(limits::REGEX_COMPILED_BYTES)
        .nest_limit(limits::REGEX_NEST)
        .build()
        .map_err(|error| CompileError::Regex {
            rule: rule.clone(),
            cause: foreign_text::display_line(&error.to_string()),
        })
}

impl LineRule {
    pub(super) fn compile(rule: &RegexRule, template: Option<&str>) -> Result<Self, CompileError> {
        let regex = compile_regex(&rule.id, &rule.pattern)?;
        if usize::from(rule.group) >= regex.captures_len() {
            return Err(CompileError::NoGroup { rule: rule.id.clone(), group: rule.group });
        }
        for variable in template.into_iter().flat_map(expand::variables) {
            let (known, name) = match variable {
                Variable::Group(group) => (usize::from(group) < regex.captures_len(), format!("${group}")),
                Variable::Name(name) | Variable::Many(name) => {
                    (regex.capture_names().flatten().any(|known| known == name), format!("${{{name}}}"))
                }
            };
            if !known {
                return Err(CompileError::UnboundVariable { rule: rule.id.clone(), name });
            }
        }
        let template = template.map(ToOwned::to_owned);
        Ok(Self { regex, group: rule.group.into(), template, message: rule.message.clone() })
    }

    /// Reports every match until `take` says stop. `Err` when the deadline passed.
    pub(super) fn each(
        &self,
        rule: usize,
        lines: &Lines<'_>,
        edits: bool,
        deadline: Deadline,
        mut take: impl FnMut(Hit) -> bool,
    ) -> Result<(), ()> {
        for (count, (start, line)) in lines.each().enumerate() {
            if count % 256 == 0 && deadline.passed() {
                return Err(());
            }
            if !self.regex.is_match(line) {
                continue;
            }
            for captures in self.regex.captures_iter(line) {
                if deadline.passed() {
                    return Err(());
                }
                if let Some(hit) = self.hit(rule, start, &captures, edits)
                    && !take(hit)
                {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn hit(&self, rule: usize, start: usize, captures: &Captures<'_>, edits: bool) -> Option<Hit> {
        let whole = captures.get(0)?;
        let group = captures.get(self.group)?;
        if group.is_empty() || whole.len() > MATCH_BYTES {
            return None;
        }
        let value = |variable: Variable<'_>| match variable {
            Variable::Group(group) => captures.get(group.into()).map(|found| found.as_str().to_owned()),
            Variable::Name(name) | Variable::Many(name) => captures.name(name).map(|found| found.as_str().to_owned()),
        };
        // In a template a group that took no part is empty; in a message it stays as written.
        let edit = match &self.template {
            Some(template) if edits => {
                let max = limits::FIX_OUTPUT_BYTES + whole.len();
                let text = expand::fill(template, max, |variable| Some(value(variable).unwrap_or_default()));
                HitEdit::splice(start + whole.start()..start + whole.end(), text)
            }
            _ => HitEdit::None,
        };
        let range = start + group.start()..start + group.end();
        Some(Hit { rule, range, message: expand::message(&self.message, value), edit })
    }
}
