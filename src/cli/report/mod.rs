//! An audit as text, JSON and SARIF. Each writer takes the same view and returns what to print.

mod json;
mod sarif;
mod story;
mod text;
mod wrap;

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use crate::domain::finding::Finding;
use crate::domain::lesson::{Lesson, Severity};
use crate::loops::audit::RootAudit;
use crate::loops::seed::Outcome;

pub(crate) use json::{fix_value, value as json};
pub(crate) use sarif::value as sarif;
pub(crate) use story::{chain, fix_story, foretold, story_value};
pub(crate) use text::{lines as text, progress};
pub(crate) use wrap::wrap;

/// How an audit is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// SARIF 2.1.0, for code hosts and editors.
    Sarif,
}

/// What an audit of some roots came to.
#[derive(Debug)]
pub(crate) struct View<'a> {
    /// Every lesson that ran.
    pub(crate) lessons: &'a [Lesson],
    /// The roots, in the order they were asked for.
    pub(crate) roots: &'a [RootAudit],
    /// Where the person stands: paths below it are shown as seen from there.
    pub(crate) here: PathBuf,
    /// How long it took.
    pub(crate) took: Duration,
    /// Whether to show each fix as a diff.
    pub(crate) diff: bool,
}

impl View<'_> {
    /// The findings that nobody suppressed, with their roots.
    fn reported(&self) -> impl Iterator<Item = (&RootAudit, &Finding)> {
        self.all().filter(|(_, finding)| finding.suppressed.is_none())
    }

    fn all(&self) -> impl Iterator<Item = (&RootAudit, &Finding)> {
        self.roots.iter().flat_map(|audited| audited.report.findings.iter().map(move |finding| (audited, finding)))
    }

    /// Whether any finding that nobody suppressed is at least this bad.
    pub(crate) fn reaches(&self, severity: Severity) -> bool {
        self.reported().any(|(_, finding)| finding.severity >= severity)
    }

    fn lesson(&self, finding: &Finding) -> Option<&Lesson> {
        self.lessons.iter().find(|lesson| lesson.id == finding.lesson)
    }
}

/// What became of the finding's fix.
fn outcome_of<'a>(audited: &'a RootAudit, finding: &Finding) -> Option<&'a Outcome> {
    let of =
        |outcome: &&Outcome| outcome.plan.lesson == finding.lesson && outcome.plan.mends.contains(&finding.fingerprint);
    audited.seeding.outcomes.iter().find(of)
}

/// The first sentence of a text.
fn first_sentence(text: &str) -> &str {
    let text = text.trim();
    let end = text.char_indices().find_map(|(at, c)| {
        let rest = &text[at + c.len_utf8()..];
        (c == '.' && rest.starts_with(char::is_whitespace)).then_some(at + 1)
    });
    &text[..end.unwrap_or(text.len())]
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
