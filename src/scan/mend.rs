//! Mends one file's text by the typed edits of a lesson, behind guards.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::domain::finding::{Finding, Fingerprint};
use crate::domain::lesson::Lesson;
use crate::domain::limits;

use super::engine::{Deadline, Engine, Scan};
use super::error::MendRefusal;
use super::guards;
use super::hit::{HitEdit, Splice};
use super::imports;

/// Time for each of the scans that a fix needs.
const SCAN: Duration = Duration::from_secs(1);

/// The text after the fix of one finding, or of all that are not suppressed; `None` when there is nothing
/// to mend. Overlapping edits: the first by position, the others wait for the next run.
///
/// # Errors
/// The lesson does not compile, the file cannot be scanned, or a guard refuses.
pub fn mend(lesson: &Lesson, path: &str, text: &str, only: Option<Fingerprint>) -> Result<Option<String>, MendRefusal> {
    let (engine, mut refused) = Engine::compile(std::slice::from_ref(lesson));
    if let Some((_, cause)) = refused.pop() {
        return Err(cause.into());
    }
    let Some(draft) = draft(&engine, lesson, path, text, only)? else { return Ok(None) };
    guards::check(lesson, path, text, &draft)?;
    idempotent(&engine, path, &draft, only)?;
    Ok(Some(draft.text))
}

/// A mended file before the guards.
pub(super) struct Draft {
    /// The whole new text.
    pub(super) text: String,
    /// Where the first edit stands in the new text.
    pub(super) first: usize,
    /// By rule, as a place in `lesson.detect.rules`: its matches before, and how many were mended.
    pub(super) rules: BTreeMap<usize, Mended>,
    /// Edits that overlap an earlier one and wait.
    waiting: usize,
}

impl Draft {
    /// A draft of an unchanged text, whose first edit is at its end.
    pub(super) fn of(text: &str, rules: BTreeMap<usize, Mended>) -> Self {
        Self { text: text.to_owned(), first: text.len(), rules, waiting: 0 }
    }
}

/// What was done to the matches of one rule.
#[derive(Default)]
pub(super) struct Mended {
    matches: usize,
    /// How many of them were mended.
    pub(super) edits: usize,
}

fn look(engine: &Engine, path: &str, text: &str) -> Result<Option<Scan>, MendRefusal> {
    let Some(interest) = engine.interest(path) else { return Ok(None) };
    let candidates = engine.all_candidates(&interest);
    Ok(Some(engine.look(path, text, &candidates, Deadline::after(SCAN), true)?))
}

fn draft(
    engine: &Engine,
    lesson: &Lesson,
    path: &str,
    text: &str,
    only: Option<Fingerprint>,
) -> Result<Option<Draft>, MendRefusal> {
    let Some(scan) = look(engine, path, text)? else { return Ok(None) };
    let asked = |finding: &Finding| only.map_or(finding.suppressed.is_none(), |only| finding.fingerprint == only);
    let matched: Vec<usize> = scan.hits.iter().map(|hit| hit.rule).collect();
    let mut splices: Vec<(Splice, usize)> = Vec::new();
    for (hit, _) in scan.hits.into_iter().zip(&scan.report.findings).filter(|(_, finding)| asked(finding)) {
        match hit.edit {
            HitEdit::None => {}
            HitEdit::Splice(splice) => splices.push((splice, hit.rule)),
            HitEdit::Refused { path, why } => return Err(MendRefusal::CannotSet { path, why }),
            HitEdit::TooLarge(got) => return Err(MendRefusal::TooLarge { got, max: limits::FIX_OUTPUT_BYTES }),
        }
    }
    splices.sort_by_key(|(splice, rule)| (splice.range.start, *rule));
    let asked = splices.len();
    let mut end = None;
    splices.retain(|(splice, _)| {
        let free = end.is_none_or(|end| splice.range.start >= end);
        if free {
            // Two insertions at one place would depend on their order.
            end = Some(splice.range.end.max(splice.range.start + 1));
        }
        free
    });
    if splices.is_empty() {
        return Ok(None);
    }
    let waiting = asked - splices.len();
    let mut draft = apply(text, splices);
    draft.waiting = waiting;
    for rule in matched {
        draft.rules.entry(rule).or_default().matches += 1;
    }
    draft.rules.retain(|_, mended| mended.edits > 0);
    imports::ensure(lesson, path, &mut draft)?;
    let growth = draft.text.len().saturating_sub(text.len());
    if growth > limits::FIX_OUTPUT_BYTES {
        return Err(MendRefusal::TooLarge { got: growth, max: limits::FIX_OUTPUT_BYTES });
    }
    Ok((draft.text != text).then_some(draft))
}

fn apply(text: &str, splices: Vec<(Splice, usize)>) -> Draft {
    let crlf = text.contains("\r\n");
    let first = splices.first().map_or(0, |(splice, _)| splice.range.start);
    let mut draft = Draft { first, ..Draft::of("", BTreeMap::new()) };
    let mut from = 0;
    for (splice, rule) in splices {
        draft.text.push_str(&text[from..splice.range.start]);
        if crlf {
            draft.text.push_str(&splice.text.replace("\r\n", "\n").replace('\n', "\r\n"));
        } else {
            draft.text.push_str(&splice.text);
        }
        from = splice.range.end;
        draft.rules.entry(rule).or_default().edits += 1;
    }
    draft.text.push_str(&text[from..]);
    draft
}

/// Guard `idempotent`: each mended match is gone and no new one came, and mending all again does nothing.
fn idempotent(engine: &Engine, path: &str, draft: &Draft, only: Option<Fingerprint>) -> Result<(), MendRefusal> {
    let Some(scan) = look(engine, path, &draft.text)? else { return Ok(()) };
    let left = |rule: usize| scan.hits.iter().filter(|hit| hit.rule == rule).count();
    let all = only.is_none() && draft.waiting == 0;
    for (hit, finding) in scan.hits.iter().zip(&scan.report.findings) {
        let again = draft.rules.get(&hit.rule).is_some_and(|done| left(hit.rule) + done.edits > done.matches);
        let more = all && !matches!(hit.edit, HitEdit::None) && finding.suppressed.is_none();
        if again || more {
            return Err(MendRefusal::Idempotent { rule: finding.rule.clone(), line: finding.line });
        }
    }
    Ok(())
}
