//! What a fix may never do, whatever its template says.

use std::collections::HashMap;

use similar::{ChangeTag, TextDiff};

use crate::domain::detect::{LanguageName, Rule};
use crate::domain::foreign_text;
use crate::domain::lesson::Lesson;
use crate::domain::source_marks;

use super::config::{self, ConfigMatcher};
use super::error::MendRefusal;
use super::mend::Draft;
use super::named::{self, Tokens};
use super::parse::{Parsed, is_comment, parse};

/// Most lost tokens that a refusal names.
const NAMED_LOSSES: usize = 5;

/// Compares a mended file with the old one.
pub(super) fn check(lesson: &Lesson, path: &str, old: &str, draft: &Draft) -> Result<(), MendRefusal> {
    // A fix mends; it does not silence.
    if let Some(marker) = source_marks::suppressions_added(old, &draft.text) {
        return Err(MendRefusal::Suppresses { marker });
    }
    let diff = TextDiff::from_lines(old, &draft.text);
    let changed = diff.iter_all_changes().filter(|change| change.tag() != ChangeTag::Equal).count();
    let max = usize::try_from(lesson.fix.max_lines).unwrap_or(usize::MAX);
    if changed > max {
        return Err(MendRefusal::TooManyLines { got: changed, max });
    }
    let (before, after) = match language(lesson, path, draft) {
        Some(language) => {
            let (before, after) = (parse(language, old)?, parse(language, &draft.text)?);
            let errors = (error_nodes(&before), error_nodes(&after));
            if errors.1 > errors.0 {
                return Err(MendRefusal::Parse { before: errors.0, after: errors.1 });
            }
            (leaves(&before), leaves(&after))
        }
        None => (named::words(old), named::words(&draft.text)),
    };
    conserve(before, &after, allowed(lesson, old, draft))
}

/// The language that the guards read the file in.
fn language(lesson: &Lesson, path: &str, draft: &Draft) -> Option<LanguageName> {
    LanguageName::of_path(path).or_else(|| {
        draft.rules.keys().find_map(|rule| match &lesson.detect.rules[*rule] {
            Rule::Ast(rule) => Some(rule.language),
            Rule::Config(rule) => config::language(rule.format),
            Rule::Regex(_) => None,
        })
    })
}

fn error_nodes(parsed: &Parsed) -> usize {
    parsed.root().dfs().filter(|node| node.is_error() || node.is_missing()).count()
}

/// Every named leaf, every keyword and every comment, with how often it is there.
fn leaves(parsed: &Parsed) -> Tokens {
    let mut tokens = Tokens::new();
    for node in parsed.root().dfs() {
        let text = node.text();
        if is_comment(&node) {
            *tokens.entry(text.split_whitespace().collect::<Vec<_>>().join(" ")).or_insert(0) += 1;
        } else if node.is_leaf() && !text.is_empty() {
            // Punctuation comes and goes with the form; a keyword such as `await` or `not` carries meaning.
            let keyword = text.chars().all(char::is_alphabetic);
            if node.is_named() || keyword {
                *tokens.entry(text.into_owned()).or_insert(0) += 1;
            }
        }
    }
    tokens
}

/// What the mended rules themselves name, once for each edit.
fn allowed(lesson: &Lesson, old: &str, draft: &Draft) -> Tokens {
    let mut allowed = Tokens::new();
    for (at, mended) in &draft.rules {
        let tokens = match &lesson.detect.rules[*at] {
            Rule::Ast(rule) => named::by_syntax(rule),
            Rule::Regex(rule) => named::by_regex(&rule.pattern),
            Rule::Config(rule) => {
                let set = lesson.fix.edits.iter().find(|edit| edit.rule == rule.id).and_then(|edit| edit.set.as_ref());
                let value = ConfigMatcher::compile(rule, set).ok().and_then(|matcher| matcher.replaced(old));
                value.map(|value| named::by_value(&value)).unwrap_or_default()
            }
        };
        for (token, count) in tokens {
            *allowed.entry(token).or_insert(0) += count * mended.edits;
        }
    }
    allowed
}

fn conserve(before: Tokens, after: &Tokens, allowed: Tokens) -> Result<(), MendRefusal> {
    let count = |tokens: &HashMap<String, usize>, token: &str| tokens.get(token).copied().unwrap_or(0);
    let mut lost: Vec<String> = before
        .into_iter()
        .filter(|(token, had)| *had > count(after, token) + count(&allowed, token))
        .map(|(token, _)| foreign_text::display_line(&token).chars().take(60).collect())
        .collect();
    if lost.is_empty() {
        return Ok(());
    }
    lost.sort_by_key(|token: &String| (std::cmp::Reverse(token.len()), token.clone()));
    lost.truncate(NAMED_LOSSES);
    Err(MendRefusal::Conserve { lost })
}
