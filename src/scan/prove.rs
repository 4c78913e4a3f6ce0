//! Runs a lesson's own examples and the stress files of its languages.

use std::time::Duration;

use crate::domain::detect::{Negative, Positive};
use crate::domain::finding::Finding;
use crate::domain::foreign_text;
use crate::domain::lesson::Lesson;
use crate::domain::limits;

use super::engine::{Candidates, Deadline, Engine, FileReport};
use super::error::{FileRefusal, ProofError};
use super::mend::mend;
use super::stress;

/// Time for one example; they have at most [`limits::TEST_BYTES`].
const EXAMPLE: Duration = Duration::from_secs(1);
/// A build without optimisation is several times slower; attacks exceed the limit in any build.
const UNOPTIMISED: u32 = if cfg!(debug_assertions) { 4 } else { 1 };

/// Proves a lesson: its examples with and without the literal filter, its fix, and its speed.
///
/// A single node can keep the matcher busy for ever; only the limits of the process that this runs in end
/// that.
///
/// # Errors
/// The first example that does not hold, or the first stress file that takes too long.
pub fn prove(lesson: &Lesson) -> Result<(), ProofError> {
    let (engine, mut refused) = Engine::compile(std::slice::from_ref(lesson));
    if let Some((_, cause)) = refused.pop() {
        return Err(cause.into());
    }
    // First of all: an example cannot tell a slow rule from a quick one.
    for file in stress::files() {
        let candidates = engine.reading(file.language);
        if !candidates.is_empty() {
            withstand(&engine, &candidates, file.name, &file.text)?;
        }
    }
    for (at, positive) in lesson.tests.positive.iter().enumerate() {
        prove_positive(&engine, lesson, positive, &format!("`tests.positive[{at}]`"))?;
    }
    for (at, negative) in lesson.tests.negative.iter().enumerate() {
        prove_negative(&engine, lesson, negative, &format!("`tests.negative[{at}]`"))?;
    }
    Ok(())
}

fn withstand(engine: &Engine, candidates: &Candidates, name: &'static str, text: &str) -> Result<(), ProofError> {
    let deadline = Deadline::after(limits::STRESS_FILE * UNOPTIMISED);
    match engine.scan(name, text, candidates, deadline) {
        Ok(_) if !deadline.passed() => Ok(()),
        Ok(_) | Err(FileRefusal::Overrun { .. } | FileRefusal::ParseTimeout) => Err(ProofError::Stress { file: name }),
        Err(cause) => Err(ProofError::File { example: format!("the stress file `{name}`"), cause }),
    }
}

/// What counts in one file alone: not suppressed, and `when_repo` holds.
fn counted(lesson: &Lesson, report: FileReport) -> Vec<Finding> {
    let matches = |rule| report.matched.iter().any(|(_, matched)| matched == rule);
    let holds = lesson.detect.when_repo.as_ref().is_none_or(|when| {
        (when.any_file.is_empty() || when.any_file.iter().any(matches)) && !when.no_file.iter().any(matches)
    });
    report.findings.into_iter().filter(|finding| holds && finding.suppressed.is_none()).collect()
}

/// The findings of an example, the same with and without the filter.
fn findings(
    engine: &Engine,
    lesson: &Lesson,
    path: &str,
    code: &str,
    example: &str,
) -> Result<Vec<Finding>, ProofError> {
    let interest = engine.interest(path).ok_or_else(|| ProofError::OutOfScope {
        example: example.to_owned(),
        path: foreign_text::display_line(path),
    })?;
    let scan = |candidates: &Candidates| {
        let report = engine.scan(path, code, candidates, Deadline::after(EXAMPLE));
        report
            .map(|report| counted(lesson, report))
            .map_err(|cause| ProofError::File { example: example.to_owned(), cause })
    };
    let without = scan(&engine.all_candidates(&interest))?;
    let with = engine.candidates(&interest, code.as_bytes()).map_or(Ok(Vec::new()), |candidates| scan(&candidates))?;
    if with != without {
        let (with, without) = (with.len(), without.len());
        return Err(ProofError::Filter { example: example.to_owned(), with, without });
    }
    Ok(without)
}

fn prove_positive(engine: &Engine, lesson: &Lesson, positive: &Positive, example: &str) -> Result<(), ProofError> {
    let found = findings(engine, lesson, &positive.path, &positive.code, example)?;
    let named = || example.to_owned();
    if u32::try_from(found.len()) != Ok(positive.count) || found.is_empty() {
        return Err(ProofError::Count { example: named(), got: found.len(), expected: positive.count.max(1) });
    }
    let lines: Vec<u32> = found.iter().map(|finding| finding.line).collect();
    if !positive.at.is_empty() && lines != positive.at {
        return Err(ProofError::Lines { example: named(), expected: positive.at.clone(), got: lines });
    }
    if positive.fixed.is_none() && !positive.fix_refused {
        return Ok(());
    }
    match (mend(lesson, &positive.path, &positive.code, None), &positive.fixed) {
        // Refused by a guard, or found by a rule that has no edit on purpose.
        (Err(_) | Ok(None), None) => Ok(()),
        (Ok(Some(_)), None) => Err(ProofError::NotRefused { example: named() }),
        (Err(cause), Some(_)) => Err(ProofError::Mend { example: named(), cause }),
        (Ok(mended), Some(fixed)) => match mended {
            Some(mended) if mended == *fixed => Ok(()),
            Some(mended) => Err(ProofError::Fixed { example: named(), line: first_difference(&mended, fixed) }),
            None => Err(ProofError::Fixed { example: named(), line: 0 }),
        },
    }
}

fn first_difference(one: &str, other: &str) -> usize {
    one.split('\n').zip(other.split('\n')).take_while(|(one, other)| one == other).count() + 1
}

fn prove_negative(engine: &Engine, lesson: &Lesson, negative: &Negative, example: &str) -> Result<(), ProofError> {
    let found = findings(engine, lesson, &negative.path, &negative.code, example)?;
    if found.is_empty() {
        return Ok(());
    }
    Err(ProofError::Count { example: example.to_owned(), got: found.len(), expected: 0 })
}
