//! One plan to its end: guard, commit, check, branch, record. The branch comes last, so that a failed check or a
//! crash leaves none behind.

use jiff::Timestamp;

use super::{Area, Parts, SeedError, book};
use crate::domain::fix::{CheckResult, EndedBy, Fix, FixId, FixPlan, FixState};
use crate::domain::guard::{self, ActionKind, Answer, Approved, AskedBy, Drill, Policy, Scene};
use crate::domain::intervention::{Actor, Event};
use crate::domain::ledger::Note;
use crate::ports::{Exit, Program, Ran, RepoError};
use crate::store::ledger::Happening;

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

/// What is wanted of a plan.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish<'a> {
    /// Who asks.
    pub(super) asked_by: AskedBy,
    /// What the change is to do.
    pub(super) kind: ActionKind,
    /// How far to go.
    pub(super) go: Go,
    /// What was said of the lesson's own examples.
    pub(super) drill: &'a Drill,
}

/// Takes `plan` as far as the guard, the check and the wish allow, and remembers where that is.
pub(super) fn settle(
    parts: &mut Parts<'_>,
    area: &Area,
    plan: &FixPlan,
    prior: Option<Fix>,
    wish: Wish<'_>,
    now: Timestamp,
) -> Result<Fix, SeedError> {
    let (mut fix, approved) = foretell(parts, area, plan, wish, now)?;
    let mut happenings = vec![Event::Ask];
    if let Some(prior) = &prior {
        fix.created_at = prior.created_at;
    }
    match approved {
        None => happenings.extend(match fix.state {
            FixState::Backlog => Some(Event::Block),
            FixState::Refused => Some(Event::Refuse),
            _ => None,
        }),
        Some(approved) => {
            let failed_here = prior.as_ref().filter(|prior| {
                let same = prior.same_content(plan) && prior.base.as_deref() == Some(approved.head());
                same && prior.ended_by == Some(EndedBy::Attempt) && wish.asked_by == AskedBy::Audit
            });
            if let Some(failed) = failed_here {
                return Ok(failed.clone());
            }
            if wish.go == Go::Make {
                make(parts, area, &approved, prior.as_ref(), &mut fix, now);
                happenings.push(Event::Approve);
                happenings.push(if fix.is_open() { Event::Prove } else { Event::Refuse });
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
        prior => {
            if !prior.is_some_and(|prior| says_the_same(&prior, &fix)) {
                record(parts, plan, &fix, &happenings, wish)?;
            }
            fix
        }
    };
    parts.db.save_fix(&fix)?;
    Ok(fix)
}

/// What the guard makes of the plan, as a record, and the approved plan where nothing is against it.
pub(super) fn foretell(
    parts: &mut Parts<'_>,
    area: &Area,
    plan: &FixPlan,
    wish: Wish<'_>,
    now: Timestamp,
) -> Result<(Fix, Option<Approved<FixPlan>>), SeedError> {
    let mut fix = Fix::proposed(plan, now);
    match judge(parts, area, plan, wish, now)? {
        Err(refusal) => {
            fix.state = match refusal.hardest() {
                Answer::Pass | Answer::Ask => FixState::Proposed,
                Answer::Block => FixState::Backlog,
                Answer::Refuse => FixState::Refused,
            };
            fix.reason = Some(refusal.why());
            fix.verdicts = refusal.verdicts;
            Ok((fix, None))
        }
        Ok(approved) => {
            fix.verdicts = approved.verdicts().to_vec();
            fix.reason = match wish.go {
                Go::Make => None,
                Go::List => Some(format!("`mesh audit --seed` makes it, or `mesh fix apply {}`", plan.id)),
                Go::Full => Some("enough branches of this lesson wait already: merge or roll back some".to_owned()),
            };
            Ok((fix, Some(approved)))
        }
    }
}

/// Puts the plan before the guard, with all that is known here.
pub(super) fn judge(
    parts: &mut Parts<'_>,
    area: &Area,
    plan: &FixPlan,
    wish: Wish<'_>,
    now: Timestamp,
) -> Result<Result<Approved<FixPlan>, guard::Refusal>, SeedError> {
    let house = parts.house;
    let policy = Policy {
        asked_by: wish.asked_by,
        blocked: house.blocked.clone(),
        blocked_ids: house.blocked_ids.clone(),
        max_lines: house.max_lines,
        kind: wish.kind,
        blocked_kinds: house.blocked_kinds.clone(),
        has_canary: area.has_canary(),
        pace: house.pace.clone(),
        now,
    };
    let facts = parts.repo.facts(&plan.root, &plan.path);
    let standing = parts.db.standing(&parts.moment, &plan.root, plan.action(), area.limit_per_day)?;
    let scene = Scene { facts: &facts, policy: &policy, standing: &standing, drill: wish.drill };
    Ok(guard::approve(plan.clone(), scene))
}

/// Whether the ledger would be told what it holds already: audits come every few minutes.
fn says_the_same(prior: &Fix, fix: &Fix) -> bool {
    prior.state == fix.state
        && (prior.before, prior.after, &prior.commit) == (fix.before, fix.after, &fix.commit)
        && prior.ended_by == fix.ended_by
        && book::same_answers(&prior.verdicts, &fix.verdicts)
}

pub(super) fn record(
    parts: &mut Parts<'_>,
    plan: &FixPlan,
    fix: &Fix,
    events: &[Event],
    wish: Wish<'_>,
) -> Result<(), SeedError> {
    let actor = match wish.asked_by {
        AskedBy::Audit => Actor::Agent,
        AskedBy::Person => Actor::Person,
    };
    let last = events.len() - 1;
    let happenings: Vec<Happening> = events
        .iter()
        .enumerate()
        .map(|(at, event)| {
            let mut note = Note::default();
            if *event == Event::Ask {
                note.verdicts = fix.verdicts.clone();
            }
            if at == last {
                note.why = fix.reason.clone().unwrap_or_default();
                note.commit = fix.commit.clone();
            }
            Happening::new(*event, actor, note)
        })
        .collect();
    book::tell(parts, plan, wish.kind, actor, &happenings)?;
    Ok(())
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
    let (check, left_over) = check(parts, area, &made.commit, &approved.id);
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

/// Runs the area's check and canary on the commit's files. The second value is what could not be cleaned up.
pub(super) fn check(parts: &Parts<'_>, area: &Area, commit: &str, id: &FixId) -> (CheckResult, Option<RepoError>) {
    if !area.has_canary() {
        return (CheckResult::Unchecked, None);
    }
    let scratch = match parts.repo.scratch(&area.root, commit, id) {
        Ok(scratch) => scratch,
        Err(error) => return (CheckResult::Failed { why: error.to_string() }, None),
    };
    let mut check = CheckResult::Passed;
    for argv in area.trials().commands {
        let ran = parts.exec.run(&Program {
            argv: argv.clone(),
            dir: scratch.dir().to_owned(),
            timeout: area.check_timeout,
            output_cap: CHECK_OUTPUT,
        });
        if ran.exit != Exit::Code(0) {
            check = CheckResult::Failed { why: said(&ran, &argv) };
            break;
        }
    }
    let left_over = scratch.remove().err();
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
