//! One plan to its end: guard, commit, check, branch, record. The branch comes last, so that a failed check or a
//! crash leaves none behind.

use jiff::Timestamp;

use super::{Area, Parts, SeedError, book};
use crate::domain::fix::{CheckResult, EndedBy, Fix, FixPlan, FixState};
use crate::domain::guard::{self, ActionKind, Answer, Approved, AskedBy, Check, Drill, Policy, Scene, Trial, Verdict};
use crate::domain::intervention::{Actor, Event};
use crate::domain::ledger::Note;
use crate::ports::CommittedFile;
use crate::store::ledger::Happening;

/// What to do with a plan that the guard lets through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Go {
    /// Make it.
    Make,
    /// List it: nothing is made in this run.
    List,
    /// List it: too many branches of its lesson wait already.
    Full,
    /// List it: it is made where people use it, which comes later.
    Later,
    /// List it: other hosts try it first. A branch would stay a person's to take when this host's wave has come.
    Waits,
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
    let (mut fix, approved) = foretell(parts, area, plan, prior.as_ref(), wish, now)?;
    // That it was tried a moment ago says less than what came of it then.
    if let Some(prior) = prior.as_ref().filter(|prior| prior.same_content(plan) && prior.reason.is_some())
        && only_just_tried(&fix.verdicts)
    {
        return Ok(prior.clone());
    }
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
                make(parts, area, &approved, prior.as_ref(), &mut fix, (wish.asked_by, now));
                happenings.push(Event::Approve);
                match fix.state {
                    FixState::Seeded => happenings.push(Event::Prove),
                    FixState::Backlog => happenings.extend([Event::Ask, Event::Block]),
                    _ => happenings.push(Event::Refuse),
                }
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
            if let Some(prior) = prior.filter(|prior| says_the_same(prior, &fix)) {
                if prior.reason == fix.reason {
                    return Ok(prior);
                }
            } else {
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
    prior: Option<&Fix>,
    wish: Wish<'_>,
    now: Timestamp,
) -> Result<(Fix, Option<Approved<FixPlan>>), SeedError> {
    let mut fix = Fix::proposed(plan, prior, now);
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
                Go::Later => Some(format!("the agent makes it by itself, or `mesh fix apply {} --to-branch`", plan.id)),
                Go::Waits => Some(format!(
                    "other hosts try it first: `mesh why {}` says which wave this host is in",
                    plan.lesson
                )),
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
        canary: area.trials(&plan.path, parts.exec).1,
        approvals: house.approvals,
        pace: house.pace.clone(),
        now,
    };
    let facts = parts.repo.facts(&plan.root, &plan.path);
    let standing = parts.db.standing(&parts.moment, &plan.root, plan.action(), area.limit_per_day)?;
    let scene = Scene { facts: &facts, policy: &policy, standing: &standing, drill: wish.drill };
    Ok(guard::approve(plan.clone(), scene))
}

fn only_just_tried(verdicts: &[Verdict]) -> bool {
    let mut against = verdicts.iter().filter(|verdict| !verdict.passes()).peekable();
    against.peek().is_some() && against.all(|verdict| verdict.check == Check::Duplicate)
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
    (asked_by, now): (AskedBy, Timestamp),
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
    let place = CommittedFile { root: &area.root, commit: &made.commit, path: &approved.path };
    let trials = area.trials(&approved.path, parts.exec).0;
    let trial = parts.repo.trial(place, Some(&approved.before), &trials);
    fix.check = CheckResult::of(&trial);
    match &trial {
        Trial::Failed(why) => return refuse(fix, format!("the project's check fails with it: {why}")),
        // A branch that a person asks for is for looking at.
        Trial::Cannot(why) if approved.demands_trial() && asked_by == AskedBy::Audit => {
            fix.state = FixState::Backlog;
            fix.reason = Some(format!("blocked on missing canary: {why}"));
            return;
        }
        Trial::Cannot(_) | Trial::None | Trial::Passed => {}
    }
    let expected = prior.filter(|prior| prior.is_open()).and_then(|prior| prior.commit.as_deref());
    match parts.repo.set_branch(approved, &made, expected) {
        Ok(commit) => {
            fix.state = FixState::Seeded;
            fix.branch = Some(approved.branch());
            fix.commit = Some(commit);
            fix.reason = match trial {
                Trial::None => Some("unchecked: no check command is configured for this root".to_owned()),
                Trial::Cannot(why) => Some(format!("unchecked: {why}")),
                Trial::Passed | Trial::Failed(_) => None,
            };
        }
        Err(error) => refuse(fix, error.to_string()),
    }
}
