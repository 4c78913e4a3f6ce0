//! Configuration rules: conditions on the keys of a file, whatever its format.

mod sections;
mod set;
mod tree;

use std::ops::Range;

use regex::Regex;

use crate::domain::detect::{ConfigFormat, ConfigRule, KeyCondition, LanguageName, SetKey};

use super::error::{CompileError, FileRefusal};
use super::expand::{self, Variable};
use super::hit::{Hit, HitEdit};
use super::line_rule::compile_regex;
use super::parse::Trees;
use super::place::Lines;

/// A key with its value, or a section.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Dotted path from the top of the file. A key in a list has the path of the list.
    path: String,
    /// The value as text, without quotes; `None` for a section.
    value: Option<String>,
    /// From the key or header to the end of the value or header.
    range: Range<usize>,
    /// The bytes of the value as written, quotes included.
    written: Range<usize>,
    /// Where a further key of this section is inserted: the end of the last line that belongs to it.
    end: usize,
}

/// A compiled configuration rule.
pub(super) struct ConfigMatcher {
    pub(super) format: ConfigFormat,
    conditions: Vec<Condition>,
    report: String,
    set: Option<SetKey>,
    message: String,
}

struct Condition {
    path: String,
    test: Test,
}

enum Test {
    Absent,
    Present,
    Equals(String),
    Matches(Regex),
}

impl Condition {
    fn compile(rule: &ConfigRule, key: &KeyCondition) -> Result<Self, CompileError> {
        let test = match (key.absent, &key.equals, &key.regex) {
            (true, _, _) => Test::Absent,
            (false, Some(text), _) => Test::Equals(text.clone()),
            (false, None, Some(pattern)) => Test::Matches(compile_regex(&rule.id, pattern)?),
            (false, None, None) => Test::Present,
        };
        Ok(Self { path: key.path.clone(), test })
    }

    fn holds(&self, entries: &[Entry]) -> bool {
        let mut same = entries.iter().filter(|entry| entry.path == self.path);
        let mut values = same.clone().filter_map(|entry| entry.value.as_deref());
        match &self.test {
            Test::Absent => same.next().is_none(),
            Test::Present => same.next().is_some(),
            Test::Equals(text) => values.any(|value| value == text),
            Test::Matches(regex) => values.any(|value| regex.is_match(value)),
        }
    }
}

impl ConfigMatcher {
    pub(super) fn compile(rule: &ConfigRule, set: Option<&SetKey>) -> Result<Self, CompileError> {
        let conditions = rule.all.iter().map(|key| Condition::compile(rule, key)).collect::<Result<_, _>>()?;
        Ok(Self {
            format: rule.format,
            conditions,
            report: rule.report.clone(),
            set: set.cloned(),
            message: rule.message.clone(),
        })
    }

    /// The match in this file, if all conditions hold.
    pub(super) fn find(
        &self,
        rule: usize,
        text: &str,
        lines: &Lines<'_>,
        trees: &mut Trees<'_>,
        edits: bool,
    ) -> Result<Option<Hit>, FileRefusal> {
        let Some(entries) = entries(self.format, text, lines, trees)? else { return Ok(None) };
        if !self.conditions.iter().all(|condition| condition.holds(&entries)) {
            return Ok(None);
        }
        let reported = entries.iter().rev().find(|entry| entry.path == self.report);
        let first_line = || 0..lines.each().next().map_or(0, |(_, line)| line.len());
        let range = reported.map_or_else(first_line, |entry| entry.range.clone());
        let message = expand::message(&self.message, |variable| match variable {
            Variable::Name(path) => {
                entries.iter().rev().find(|entry| entry.path == path).and_then(|entry| entry.value.clone())
            }
            Variable::Many(_) | Variable::Group(_) => None,
        });
        let edit = match &self.set {
            Some(key) if edits => match set::splice(self.format, &entries, text, key) {
                Ok(splice) => HitEdit::splice(splice.range, splice.text),
                Err(why) => HitEdit::Refused { path: key.path.clone(), why },
            },
            _ => HitEdit::None,
        };
        Ok(Some(Hit { rule, range, message, edit }))
    }

    /// The value that the edit of this rule replaces: the one thing that it may lose.
    pub(super) fn replaced(&self, text: &str) -> Option<String> {
        let key = self.set.as_ref()?;
        let entries = entries(self.format, text, &Lines::of(text), &mut Trees::new(text)).ok()??;
        entries.into_iter().rev().find(|entry| entry.path == key.path).map(|entry| text[entry.written].to_owned())
    }
}

/// The keys and sections of a file; `None` when it cannot be read, so that no condition holds, not even `absent`.
fn entries(
    format: ConfigFormat,
    text: &str,
    lines: &Lines<'_>,
    trees: &mut Trees<'_>,
) -> Result<Option<Vec<Entry>>, FileRefusal> {
    match language(format) {
        Some(language) => Ok(tree::read(language, trees.get(language)?)),
        None => Ok(Some(sections::read(format, text, lines))),
    }
}

/// The grammar that reads a format; `None` for those with a reader of ours.
pub(super) const fn language(format: ConfigFormat) -> Option<LanguageName> {
    match format {
        ConfigFormat::Systemd | ConfigFormat::Ini => None,
        ConfigFormat::Toml => Some(LanguageName::Toml),
        ConfigFormat::Yaml => Some(LanguageName::Yaml),
        ConfigFormat::Json => Some(LanguageName::Json),
    }
}

/// The usual extensions of a format, for rules whose lesson names no files.
pub(super) const fn extensions(format: ConfigFormat) -> &'static [&'static str] {
    match format {
        ConfigFormat::Systemd => {
            &["service", "socket", "timer", "mount", "automount", "path", "slice", "target", "swap", "scope"]
        }
        ConfigFormat::Ini => &["ini", "cfg", "conf"],
        ConfigFormat::Toml => &["toml"],
        ConfigFormat::Yaml => &["yaml", "yml"],
        ConfigFormat::Json => &["json"],
    }
}

fn join(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}
