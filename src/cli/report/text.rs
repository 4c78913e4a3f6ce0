//! For people, readable at 80 columns.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::time::Duration;

use super::{View, first_sentence, outcome_of, wrap};
use crate::domain::finding::Finding;
use crate::domain::fix::{CheckResult, Fix, FixId, FixState};
use crate::domain::foreign_text::{display, display_bytes, display_line};
use crate::loops::audit::RootAudit;
use crate::loops::seed::Outcome;
use crate::ports::ScanProgress;

const WIDTH: usize = 80;

/// The audit, line by line.
pub(crate) fn lines(view: &View<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    let mut explained = HashSet::new();
    let mut shown: BTreeSet<&FixId> = BTreeSet::new();
    for audited in view.roots {
        let reported: Vec<&Finding> = audited.report.findings.iter().filter(|f| f.suppressed.is_none()).collect();
        for (at, finding) in reported.iter().enumerate() {
            lines.extend(headline(view, audited, finding));
            if explained.insert(&finding.lesson)
                && let Some(lesson) = view.lesson(finding)
            {
                let because = display_line(first_sentence(&lesson.because));
                lines.extend(wrap(&because, "  why: ", "       ", WIDTH));
            }
            // The fix mends every finding of the lesson in the file: shown once, after the last of them.
            let more = reported[at + 1..].iter().any(|next| next.lesson == finding.lesson && next.path == finding.path);
            if let Some(outcome) = outcome_of(audited, finding)
                && !more
                && shown.insert(&outcome.fix.id)
            {
                lines.extend(fix_lines(outcome, view.diff));
            }
            lines.push(String::new());
        }
        lines.extend(remarks(view, audited));
    }
    lines.push(closing(view));
    lines
}

fn path_here(view: &View<'_>, root: &Path, path: &str) -> String {
    let full = root.join(path);
    let seen = full.strip_prefix(&view.here).unwrap_or(&full);
    display_bytes(seen.as_os_str().as_encoded_bytes())
}

fn headline(view: &View<'_>, audited: &RootAudit, finding: &Finding) -> Vec<String> {
    let place = format!("{}:{}:{}", path_here(view, &audited.root, &finding.path), finding.line, finding.column);
    let head = format!("{place} {} {}", finding.severity.name(), finding.lesson);
    let mut lines = wrap(&head, "", "  ", WIDTH);
    lines.extend(wrap(&display_line(&finding.message), "  ", "  ", WIDTH));
    lines
}

fn fix_lines(outcome: &Outcome, diff: bool) -> Vec<String> {
    let fix = &outcome.fix;
    let mut lines = wrap(&fix_sentence(fix), "  fix: ", "       ", WIDTH);
    if diff && !fix.state.stands() {
        lines.extend(fix.diff.lines().map(|line| format!("    {}", display(line))));
    }
    lines
}

/// Where a fix stands, in one sentence.
fn fix_sentence(fix: &Fix) -> String {
    let reason = fix.reason.as_deref().map(display_line);
    let because = |reason: Option<String>| reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    let branch = fix.branch.as_deref().unwrap_or_default();
    match fix.state {
        FixState::Seeded if fix.check == CheckResult::Passed && reason.is_none() => {
            format!("seeded on branch {branch}; the project's check passes")
        }
        FixState::Seeded => format!("seeded on branch {branch} ({})", reason.unwrap_or_default()),
        FixState::Proposed => format!("{} proposed{}", fix.id, because(reason)),
        FixState::Refused => format!("{} refused{}", fix.id, because(reason)),
        FixState::Applied => "its fix was merged before, and the finding is back".to_owned(),
        FixState::Backlog
        | FixState::Validating
        | FixState::Validated
        | FixState::NoEffect
        | FixState::Reverted
        | FixState::Aborted => format!("{} {}{}", fix.id, fix.state.name(), because(reason)),
    }
}

/// What else a person should know of a root.
fn remarks(view: &View<'_>, audited: &RootAudit) -> Vec<String> {
    let mut lines = Vec::new();
    for idle in &audited.report.idle_suppressions {
        let place = format!("{}:{}", path_here(view, &audited.root, &idle.path), idle.line);
        let remark = format!("{place} suppresses nothing: {}", display_line(&idle.why));
        lines.extend(wrap(&remark, "", "  ", WIDTH));
    }
    for (lesson, path) in &audited.report.overruns {
        let place = path_here(view, &audited.root, path);
        let remark = format!("{lesson} was stopped at {place} for taking too long");
        lines.extend(wrap(&remark, "", "  ", WIDTH));
    }
    for (lesson, why) in &audited.report.refused {
        lines.extend(wrap(&format!("{lesson} does not run here: {}", display_line(why)), "", "  ", WIDTH));
    }
    for (lesson, more) in &audited.report.capped {
        lines.extend(wrap(&format!("{lesson}: at least {more} more findings are not listed"), "", "  ", WIDTH));
    }
    for unplanned in &audited.seeding.unplanned {
        let place = path_here(view, &audited.root, &unplanned.path);
        let remark = format!("no fix for {place}: {}", display_line(&unplanned.reason));
        lines.extend(wrap(&remark, "", "  ", WIDTH));
    }
    if !lines.is_empty() {
        lines.push(String::new());
    }
    lines
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

fn closing(view: &View<'_>) -> String {
    let reported = view.reported().count();
    let suppressed = view.all().count() - reported;
    let places: BTreeSet<_> = view.reported().map(|(audited, finding)| (&audited.root, &finding.path)).collect();
    let looked_at = view.roots.iter().map(|audited| audited.report.files).sum::<u64>();
    let skipped = view.roots.iter().map(|audited| audited.report.skipped.len()).sum::<usize>();
    let mut line = match reported {
        0 => "no findings".to_owned(),
        _ => format!("{} in {}", count(reported, "finding", "findings"), count(places.len(), "file", "files")),
    };
    if suppressed > 0 {
        line.push_str(&format!(" ({suppressed} suppressed)"));
    }
    let files = if looked_at == 1 { "file" } else { "files" };
    line.push_str(&format!(", {looked_at} {files} looked at in {}", seconds(view.took)));
    if skipped > 0 {
        line.push_str(&format!(", {skipped} skipped"));
    }
    if reported == 0 {
        line.push_str(": nothing to do");
    }
    line
}

/// One line that says how far an audit is.
pub(crate) fn progress(progress: ScanProgress) -> String {
    let found = match progress.findings {
        1 => "1 finding".to_owned(),
        more => format!("{more} findings"),
    };
    format!("{} of {} files, {found}", progress.done, progress.total)
}
