//! The words of a drafted lesson: from the commit where it has any, plain ones elsewhere. A person makes them sharper.

use jiff::{SignedDuration, Timestamp};

use super::language_name;
use super::trial::Found;
use crate::agent::authoring::washed;
use crate::domain::detect::FixClass;
use crate::domain::foreign_text;
use crate::domain::id::Slug;
use crate::domain::lesson::{CalibratedFor, Falsifiable, Lesson, RetiredWhen, Risk, Severity};
use crate::sys::repo::history::Change;

/// A lesson that nobody renewed ends after this.
const BACKSTOP: SignedDuration = SignedDuration::from_hours(24 * 730);

/// The title: what was asked for, or the commit's subject without its prefix.
pub(super) fn title(asked: Option<&str>, message: &str) -> String {
    let subject = message.lines().next().unwrap_or_default().trim();
    let plain = match subject.split_once(": ") {
        Some((prefix, rest)) if prefix.len() <= 20 && !prefix.contains(' ') => rest,
        _ => subject,
    };
    let title = clipped(&shown(asked.unwrap_or(plain)), 120);
    if title.trim().is_empty() { "A fix without a subject".to_owned() } else { title }
}

/// A lesson's name made of its title.
pub(super) fn slug(title: &str) -> Option<Slug> {
    let lower = title.to_lowercase();
    let words = lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let mut name = String::new();
    for word in words {
        if name.len() + word.len() >= 48 {
            break;
        }
        if !name.is_empty() {
            name.push('-');
        }
        name.push_str(word);
    }
    name.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-').parse().ok()
}

/// Foreign text without what must not leave this host or be shown.
fn shown(text: &str) -> String {
    washed(&text.lines().map(foreign_text::display_line).collect::<Vec<_>>().join("\n"))
}

fn clipped(text: &str, max: usize) -> String {
    text[..text.floor_char_boundary(max)].trim_end().to_owned()
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

/// Writes the lesson.
pub(super) fn lesson(id: &Slug, title: &str, change: &Change, found: &Found, now: Timestamp) -> Lesson {
    let (language, folder) = language_name(found.learned.language);
    let pattern = found.chosen.first().map(|proposal| proposal.pattern.clone()).unwrap_or_default();
    let template = found.chosen.iter().find_map(|proposal| proposal.template.clone());
    let after = template.unwrap_or_else(|| found.learned.examples.after.clone());
    let subject = Subject::of(&pattern, &after);
    let after_date = now.checked_add(BACKSTOP).unwrap_or(now).as_second();
    let after_date = Timestamp::from_second(after_date).unwrap_or(now).to_string();
    let (claim, expr) = subject.falsifiable();
    let (retired_claim, retired_expr) = subject.retired();
    Lesson {
        id: id.clone(),
        rev: 1,
        title: title.to_owned(),
        scope: format!("{folder}/{}", subject.name()),
        severity: Severity::Warning,
        risk: Risk::Low,
        when: clipped(&format!("{language} code has this form:\n{}", indented(&shown(&pattern))), 1_024),
        prefer: clipped(&format!("What the fix put in its place:\n{}", indented(&shown(&after))), 1_024),
        because: because(&change.message, found),
        falsifiable: Falsifiable { claim: claim.to_owned(), expr: expr.to_owned(), within: "7d".to_owned() },
        retired_when: RetiredWhen { claim: retired_claim.to_owned(), expr: retired_expr.to_owned(), after: after_date },
        calibrated_for: CalibratedFor::default(),
        detect: found.detect.clone(),
        fix: found.fix.clone(),
        tests: found.tests.clone(),
        evidence: vec![format!("commit {}", change.commit)],
        derived_from: Vec::new(),
        rule: None,
    }
}

/// Why, from the message, and what the pattern cannot see.
fn because(message: &str, found: &Found) -> String {
    let mut lines = message.lines();
    let subject = lines.next().unwrap_or_default();
    let is_trailer = |line: &str| {
        line.split_once(": ")
            .is_some_and(|(key, _)| key.ends_with("-by") || matches!(key, "Change-Id" | "Fixes" | "Closes"))
    };
    let body: Vec<&str> = lines.filter(|line| !is_trailer(line)).collect();
    let body = body.join("\n");
    let why = if body.trim().is_empty() { subject } else { body.trim() };
    let mut blind = vec!["the same mistake in other words, or through a helper".to_owned()];
    blind.push("whether the place matters as much as the one that was fixed".to_owned());
    if let Some(doubt) =
        found.chosen.iter().filter(|proposal| proposal.template.is_some()).find_map(|p| p.doubt.clone())
    {
        blind.push(format!("whether the fix fits: {doubt}"));
    }
    if found.fix.class == FixClass::None
        && let Some(doubt) = found.chosen.iter().find_map(|proposal| proposal.doubt.clone())
    {
        blind.push(format!("how to mend it: {doubt}"));
    }
    let blind = format!("Cannot see: {}.", blind.join("; "));
    format!("{}\n{}", clipped(&shown(why), 1_200), clipped(&shown(&blind), 800))
}

/// What a pattern is about, as far as its words tell.
enum Subject {
    State,
    Errors,
    Retry,
    Process,
    Code,
}

impl Subject {
    fn of(pattern: &str, after: &str) -> Self {
        let has = |text: &str, words: &[&str]| words.iter().any(|word| text.contains(word));
        if has(pattern, &["except", "catch"]) && !has(pattern, &["sleep"]) {
            Self::Errors
        } else if has(pattern, &["sleep", "setInterval", "setTimeout", "retry"]) || has(after, &["backoff"]) {
            Self::Retry
        } else if has(pattern, &["open(", "WriteFile", "writeFile", "fs::", "File::", "dump(", "write_text"]) {
            Self::State
        } else if has(pattern, &["subprocess", "exec.", "Command::", "spawn("]) {
            Self::Process
        } else {
            Self::Code
        }
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::State => "io",
            Self::Errors => "errors",
            Self::Retry => "retry",
            Self::Process => "process",
            Self::Code => "code",
        }
    }

    const fn falsifiable(&self) -> (&'static str, &'static str) {
        match self {
            Self::State => {
                ("After the fix no state file fails to parse.", "rate(\"state.parse_failures\", \"7d\") == 0.0")
            }
            Self::Errors => ("After the fix no log falls silent.", "max(\"log.records\", \"7d\") > 0.0"),
            Self::Retry => ("After the fix retries do not grow.", "slope(\"upstream.retries\", \"7d\") <= 0.0"),
            Self::Process => {
                ("After the fix nothing is killed for hanging.", "max(\"service.liveness_kills\", \"7d\") == 0.0")
            }
            Self::Code => ("After the fix the mistake does not come back.", "slope(\"audit.findings\", \"7d\") <= 0.0"),
        }
    }

    const fn retired(&self) -> (&'static str, &'static str) {
        match self {
            Self::State => (
                "State files were watched for half a year and none failed to parse.",
                "count(\"state.parse_failures\", \"180d\") > 0 && max(\"state.parse_failures\", \"180d\") == 0.0",
            ),
            _ => (
                "Audits of half a year found nothing.",
                "count(\"audit.findings\", \"180d\") > 0 && max(\"audit.findings\", \"180d\") == 0.0",
            ),
        }
    }
}
