//! The rules of this host: the pack that ships with mesh, local edits laid over it, and local rules. Each file is
//! checked alone, so that a bad one hides no good one.

mod pack;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::files::{self, FileError};
use super::home::Home;
use super::toml_line;
use crate::domain::heal::invariant::{Invariant, InvariantText};
use crate::domain::heal::rule::{LOCAL_FROM, Rule, RuleText};

pub use pack::{PACK, VERSION};

const RULE_BYTES: u64 = 64 * 1024;
/// The key of a local edit that names the version of the rule it was made for.
const BASE: &str = "base_version";
/// The key that holds a rule's actions back. It changes nothing of what a drill shows.
const DRY_RUN: &str = "dry_run";

/// Why a rule is refused.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A line is not right, or a part is missing.
    #[error("{path}:{line}: {reason}", path = path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
}

/// A rule as it holds here.
#[derive(Clone, Debug)]
pub struct Held {
    /// The rule, local edits included.
    pub rule: Rule,
    /// BLAKE3 of the whole of it but `dry_run`, in hexadecimal: a drill is believed for this one.
    pub digest: String,
    /// What the pack says, when it is a rule of the pack.
    pub packed: Option<String>,
    /// The local file that changes it, or that it is.
    pub local: Option<PathBuf>,
    /// The rule as one text, in the order of its keys.
    pub text: String,
    /// What a person should look at: the pack's rule has changed under a local edit.
    pub note: Option<String>,
}

/// The rules, and the files that are not right.
#[derive(Debug, Default)]
pub struct Rules {
    /// By number.
    pub held: Vec<Held>,
    /// What is wrong, and that file's rules do not hold; the pack's own stays as it ships.
    pub refused: Vec<RuleError>,
}

/// Reads a whole rule. `path` is for messages.
///
/// # Errors
/// The first mistake, with its line.
pub fn parse(path: &Path, text: &str) -> Result<Rule, RuleError> {
    let wrong = |line, reason| RuleError::Line { path: path.to_owned(), line, reason };
    let read: RuleText = toml::from_str(text).map_err(|error| {
        let (line, reason) = toml_line::mistake(text, &error);
        wrong(line, reason)
    })?;
    read.check().map_err(|(part, why)| wrong(line_of(text, part), format!("`{part}`: {why}")))
}

/// The line on which a part of a rule begins.
fn line_of(text: &str, part: &str) -> usize {
    let begins = |line: &str| {
        let line = line.trim_start().trim_start_matches('[');
        line.strip_prefix(part).is_some_and(|rest| rest.trim_start().starts_with(['=', ']', '.']))
    };
    text.lines().position(begins).map_or(1, |line| line + 1)
}

/// `config/rules/`.
#[must_use]
pub fn folder(home: &Home) -> PathBuf {
    home.config().join("rules")
}

/// Every rule that holds in this home.
///
/// # Errors
/// The folder cannot be listed, or a rule of the pack itself is not sound.
pub fn load(home: &Home) -> Result<Rules, RuleError> {
    let mut rules = Rules::default();
    let mut packed: BTreeMap<u32, (&str, &str)> = BTreeMap::new();
    let mut held: BTreeMap<u32, Held> = BTreeMap::new();
    for (name, text) in PACK {
        let rule = parse(Path::new(name), text)?;
        packed.insert(rule.number, (name, text));
        held.insert(rule.number, hold(rule, (*text).to_owned(), Some((*text).to_owned()), None, None));
    }
    for path in files::list(&folder(home), "toml")? {
        match local(&path, &packed) {
            Ok(None) => {}
            Ok(Some(found)) => {
                held.insert(found.rule.number, found);
            }
            Err(error) => rules.refused.push(error),
        }
    }
    rules.held = held.into_values().collect();
    Ok(rules)
}

/// Every invariant that is declared in a folder, one to a file, or what is wrong with it.
///
/// # Errors
/// The folder cannot be listed.
pub fn invariants(folder: &Path) -> Result<Vec<Result<Invariant, RuleError>>, FileError> {
    let read = |path: PathBuf| {
        let text = files::read_text(&path, RULE_BYTES)?;
        let wrong = |line, reason| RuleError::Line { path: path.clone(), line, reason };
        let read: InvariantText = toml::from_str(&text).map_err(|error| {
            let (line, reason) = toml_line::mistake(&text, &error);
            wrong(line, reason)
        })?;
        read.check().map_err(|(key, why)| wrong(line_of(&text, key), format!("`{key}`: {why}")))
    };
    Ok(files::list(folder, "toml")?.into_iter().map(read).collect())
}

fn hold(rule: Rule, text: String, packed: Option<String>, local: Option<PathBuf>, note: Option<String>) -> Held {
    let digest = digest(&text);
    Held { rule, digest, packed, local, text, note }
}

fn digest(text: &str) -> String {
    let is_dry_run = |line: &str| line.strip_prefix(DRY_RUN).is_some_and(|rest| rest.trim_start().starts_with('='));
    let mut hasher = blake3::Hasher::new();
    for line in text.split_inclusive('\n').filter(|line| !is_dry_run(line)) {
        hasher.update(line.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// A local file: a rule of its own, or an edit of one of the pack's. None: it is the pack's own file.
fn local(path: &Path, packed: &BTreeMap<u32, (&str, &str)>) -> Result<Option<Held>, RuleError> {
    let text = files::read_text(path, RULE_BYTES)?;
    let wrong = |line, reason: &str| RuleError::Line { path: path.to_owned(), line, reason: reason.to_owned() };
    let mut edit: Table = toml::from_str(&text).map_err(|error| {
        let (line, reason) = toml_line::mistake(&text, &error);
        wrong(line, &reason)
    })?;
    let number = edit.get("number").and_then(Value::as_integer).and_then(|number| u32::try_from(number).ok());
    let number = number.ok_or_else(|| wrong(1, "`number` is missing: the number of the rule"))?;
    let Some((name, base)) = packed.get(&number) else {
        if number < LOCAL_FROM {
            return Err(wrong(
                line_of(&text, "number"),
                "the pack has no such rule; local ones are numbered from 1000",
            ));
        }
        return Ok(Some(hold(parse(path, &text)?, text, None, Some(path.to_owned()), None)));
    };
    if text == *base {
        return Ok(None);
    }
    let made_for = edit.remove(BASE).and_then(|version| version.as_integer());
    let mut whole: Table = toml::from_str(base).map_err(|error| wrong(1, &format!("{name}: {}", error.message())))?;
    let version = whole.get("version").and_then(Value::as_integer);
    let only_held_back = edit.keys().all(|key| key == "number" || key == DRY_RUN);
    lay_over(&mut whole, edit);
    let merged = toml::to_string(&whole).map_err(|error| wrong(1, &error.to_string()))?;
    // A mistake is in the edit: the pack's own rule was read before.
    let rule = parse(path, &merged).map_err(|error| match error {
        RuleError::Line { path, reason, .. } => {
            let part = reason.split('`').nth(1).unwrap_or_default();
            RuleError::Line { path, line: line_of(&text, part), reason }
        }
        RuleError::File(error) => RuleError::File(error),
    })?;
    let note = (made_for.is_some() && made_for != version).then(|| {
        format!(
            "{} was made for version {} of the rule, the pack has {}: look at `mesh rule show {number} --diff`",
            path.display(),
            made_for.unwrap_or_default(),
            version.unwrap_or_default()
        )
    });
    let held = hold(rule, merged, Some((*base).to_owned()), Some(path.to_owned()), note);
    Ok(Some(if only_held_back { Held { digest: digest(base), ..held } } else { held }))
}

/// Puts the keys of `edit` over those of `base`; tables are joined, everything else is replaced.
fn lay_over(base: &mut Table, edit: Table) {
    for (key, value) in edit {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => lay_over(below, above),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

/// What a local edit changes, as a unified diff of both rules in the order of their keys.
#[must_use]
pub fn diff(held: &Held) -> Option<String> {
    let packed = held.packed.as_ref().filter(|_| held.local.is_some())?;
    let plain = |text: &str| {
        text.parse::<Table>()
            .ok()
            .and_then(|table| toml::to_string_pretty(&table).ok())
            .unwrap_or_else(|| text.to_owned())
    };
    let (before, after) = (plain(packed), plain(&held.text));
    let diff = similar::TextDiff::from_lines(&before, &after);
    Some(diff.unified_diff().context_radius(1).header("the pack", "here").to_string())
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
