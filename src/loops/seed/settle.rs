//! One plan to its end: guard, commit, check, branch, record. The branch comes last, so that a failed check or a
//! crash leaves none behind.

use jiff::Timestamp;

use super::{Area, Parts, SeedError};
use crate::domain::fix::{CheckResult, EndedBy, Fix, FixId, FixPlan, FixState};
use crate::domain::guard::{self, Approved, AskedBy, Policy};
use crate::ports::{Committed, Exit, Program, Ran, RepoError};

/// Bytes kept of each stream of a check.
const CHECK_OUTPUT: usize = 1024 * 1024;
/// Lines of a failed check that are kept with the fix.
const TAIL_LINES: usize = 20;
/// Characters of a failed check that are kept with the fix.
const TAIL_CHARS: usize = 2_000;

/// What to do with a plan that the guard lets through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Go {
    /// Make it.
    Make,
    /// List it: nothing is made in this run.
    List,
    /// List it: too many branches of its lesson wait already.
    Full,
}

/// Takes `plan` as far as the guard, the check and `go` allow, and remembers where that is.
pub(super) fn settle(
    parts: &mut Parts<'_>,
    area: &Area,
    plan: &FixPlan,
    prior: Option<Fix>,
    asked_by: AskedBy,
    go: Go,
    now: Timestamp,
) -> Result<Fix, SeedError> {
    let mut fix = Fix::proposed(plan, now);
    if let Some(prior) = &prior {
        fix.created_at = prior.created_at;
    }
    let policy = Policy {
        asked_by,
        blocked: parts.house.blocked.clone(),
        blocked_ids: parts.house.blocked_ids.clone(),
        max_lines: parts.house.max_lines,
    };
    let facts = parts.repo.facts(&plan.root, &plan.path);
    match guard::approve(plan.clone(), &facts, &policy) {
        Err(refusal) => {
            fix.state = if refusal.may_ask() { FixState::Proposed } else { FixState::Refused };
            fix.reason = Some(refusal.why());
            fix.verdicts = refusal.verdicts;
        }
        Ok(approved) => {
            fix.verdicts = approved.verdicts().to_vec();
            let failed_here = prior.as_ref().filter(|prior| {
                let same = prior.same_content(plan) && prior.base.as_deref() == Some(approved.head());
                same && prior.ended_by == Some(EndedBy::Attempt) && asked_by == AskedBy::Audit
            });
            if let Some(failed) = failed_here {
                return Ok(failed.clone());
            }
            match go {
                Go::List => {
                    fix.reason = Some(format!("`mesh audit --seed` makes it, or `mesh fix apply {}`", plan.id));
                }
                Go::Full => {
                    fix.reason =
                        Some("enough branches of this lesson wait already: merge or roll back some".to_owned());
                }
                Go::Make => make(parts, area, &approved, prior.as_ref(), &mut fix, now),
            }
        }
    }
    let fix = match prior {
        // A branch that waits is not forgotten because a newer text of the file cannot be mended yet.
        Some(mut prior) if prior.is_open() && !fix.is_open() => {
            prior.reason = fix.reason.map(|why| format!("the file has changed since, and {why}"));
            prior.updated_at = now;
            prior
        }
        _ => fix,
    };
    parts.db.save_fix(&fix)?;
    Ok(fix)
}

/// Commits, checks, and lets the branch lead to the commit.
fn make(
    parts: &mut Parts<'_>,
    area: &Area,
    approved: &Approved<FixPlan>,
    prior: Option<&Fix>,
    fix: &mut Fix,
    now: Timestamp,
) {
    let refuse = |fix: &mut Fix, why: String| {
        fix.state = FixState::Refused;
        fix.ended_by = Some(EndedBy::Attempt);
        fix.reason = Some(why);
    };
    fix.base = Some(approved.head().to_owned());
    let made = match parts.repo.commit(approved, now) {
        Ok(made) => made,
        Err(error) => return refuse(fix, error.to_string()),
    };
    let (check, left_over) = check(parts, area, &made, &approved.id);
    fix.check = check;
    if let CheckResult::Failed { why } = &fix.check {
        let why = format!("the project's check fails with it: {why}");
        return refuse(fix, why);
    }
    let expected = prior.filter(|prior| prior.is_open()).and_then(|prior| prior.commit.as_deref());
    match parts.repo.set_branch(approved, &made, expected) {
        Ok(commit) => {
            fix.state = FixState::Seeded;
            fix.branch = Some(approved.branch());
            fix.commit = Some(commit);
            let unchecked = (fix.check == CheckResult::Unchecked)
                .then(|| "unchecked: no check command is configured for this root".to_owned());
            fix.reason = left_over.map(|error| error.to_string()).or(unchecked);
        }
        Err(error) => refuse(fix, error.to_string()),
    }
}

/// Runs the area's check on the commit's files. The second value is what could not be cleaned up.
fn check(parts: &Parts<'_>, area: &Area, made: &Committed, id: &FixId) -> (CheckResult, Option<RepoError>) {
    if area.check.is_empty() {
        return (CheckResult::Unchecked, None);
    }
    let scratch = match parts.repo.scratch(&area.root, &made.commit, id) {
        Ok(scratch) => scratch,
        Err(error) => return (CheckResult::Failed { why: error.to_string() }, None),
    };
    let ran = parts.exec.run(&Program {
        argv: area.check.clone(),
        dir: scratch.dir().to_owned(),
        timeout: area.check_timeout,
        output_cap: CHECK_OUTPUT,
    });
    let left_over = scratch.remove().err();
    let check = if ran.exit == Exit::Code(0) {
        CheckResult::Passed
    } else {
        CheckResult::Failed { why: said(&ran, &area.check) }
    };
    (check, left_over)
}

/// How a check ended, and the last it printed.
fn said(ran: &Ran, argv: &[String]) -> String {
    let name = argv.join(" ");
    let ended = match &ran.exit {
        Exit::Code(code) => format!("`{name}` ended with {code}"),
        Exit::Signal(signal) => format!("`{name}` was ended by signal {signal}"),
        Exit::TimedOut => format!("`{name}` was stopped after {} s", ran.took.as_secs()),
        Exit::NotStarted(why) => format!("`{name}` was not started: {why}"),
    };
    let (stdout, stderr) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    let lines: Vec<&str> = stdout.lines().chain(stderr.lines()).filter(|line| !line.trim().is_empty()).collect();
    let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
    let cut = tail.chars().count().saturating_sub(TAIL_CHARS);
    let tail: String = tail.chars().skip(cut).collect();
    if tail.is_empty() { ended } else { format!("{ended}\n{tail}") }
}
