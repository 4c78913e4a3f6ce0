//! The checks on the change itself: who may ask for it, its size, its risk, and whether its lesson can be proved wrong.

use super::{ActionKind, AskedBy, Canary, Drill, No, Policy, block, refuse};
use crate::domain::detect::FixClass;
use crate::domain::expr::Claim;
use crate::domain::fix::FixPlan;
use crate::domain::foreign_text::display_line;
use crate::domain::lesson::Risk;
use crate::domain::source_marks::suppressions_added;
use crate::domain::trust::Grant;
use crate::domain::utc_time;

pub(super) fn grant(plan: &FixPlan, policy: &Policy) -> Result<(), No> {
    if plan.grant < Grant::Propose {
        return refuse("the grant of its issuer ends at audit: raise it with `mesh grant NAME propose`");
    }
    let by_itself = policy.kind.is_intervention() && policy.asked_by == AskedBy::Audit;
    if by_itself && plan.grant < Grant::Apply {
        return Err(No::Ask("the grant of its issuer ends at propose: a person asks for it".to_owned()));
    }
    Ok(())
}

pub(super) fn class(plan: &FixPlan, policy: &Policy) -> Result<(), No> {
    match (plan.class, policy.asked_by) {
        (FixClass::Safe, _) | (FixClass::Review, AskedBy::Person) => Ok(()),
        (FixClass::Review, AskedBy::Audit) => {
            Err(No::Ask(format!("its class is review: look at the diff, then `mesh fix apply {}`", plan.id)))
        }
        (FixClass::None, _) => refuse("the lesson has no fix: a person writes it"),
    }
}

pub(super) fn diff_size(plan: &FixPlan, policy: &Policy) -> Result<(), No> {
    no_larger(plan.changed_lines(), plan.max_lines.min(policy.max_lines))
}

pub(super) fn no_larger(changed: usize, most: u32) -> Result<(), No> {
    if changed <= usize::try_from(most).unwrap_or(usize::MAX) {
        return Ok(());
    }
    refuse(format!("it changes {changed} lines, at most {most} are allowed"))
}

pub(super) fn no_suppression(before: &str, after: &str) -> Result<(), No> {
    match suppressions_added(before, after) {
        None => Ok(()),
        Some(mark) => refuse(format!("it adds `{mark}`, which silences a checker instead of mending")),
    }
}

/// A branch that a person has to ask for is for looking at, and needs none.
pub(super) fn canary(plan: &FixPlan, policy: &Policy) -> Result<(), No> {
    let asked_for = policy.asked_by == AskedBy::Person || plan.class == FixClass::Review;
    let to_look_at = policy.kind == ActionKind::Branch && asked_for;
    if plan.risk >= Risk::Medium && !to_look_at { tried_first(plan.risk, policy) } else { Ok(()) }
}

/// What is risky is tried somewhere first, whoever asks.
pub(super) fn tried_first(risk: Risk, policy: &Policy) -> Result<(), No> {
    let risk = risk.name();
    match &policy.canary {
        Canary::There => Ok(()),
        Canary::Missing { program, package } => block(format!(
            "blocked on missing canary: the risk is {risk}, and `{program}`, which would try it, is not installed: \
             apt-get install {package}"
        )),
        Canary::None => block(format!(
            "blocked on missing canary: the risk is {risk}, and no `check`, `canary` or `shadow` is named for this root"
        )),
    }
}

/// What can only succeed proves nothing.
pub(super) fn can_fail(plan: &FixPlan, drill: &Drill) -> Result<(), No> {
    if let Err(error) = Claim::compile(&plan.claim) {
        return refuse(format!("its validation cannot fail: `falsifiable.expr` is refused: {error}"));
    }
    if plan.bad_examples == 0 {
        return refuse("its validation cannot fail: the lesson shows no bad example that its pattern must find");
    }
    match drill {
        Drill::Held => Ok(()),
        Drill::Failed(why) => {
            refuse(format!("its validation cannot fail: the lesson's own examples do not hold: {}", display_line(why)))
        }
    }
}

pub(super) fn lesson_in_force(plan: &FixPlan, policy: &Policy) -> Result<(), No> {
    if let Some(fault) = &plan.lesson_fault {
        return refuse(format!("the lesson is not sound: {}", display_line(fault)));
    }
    match utc_time::parse(&plan.retired_after) {
        Some(after) if policy.now <= after => Ok(()),
        Some(_) => refuse(format!("the lesson is retired since {}", display_line(&plan.retired_after))),
        None => refuse("the lesson has no date after which it retires"),
    }
}
