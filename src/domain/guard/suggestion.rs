//! The checks on what mesh proposes by itself and a person makes. Those of a fix that is mended by a lesson are its own.

use super::{Check, Policy, Standing, Verdict, block, house, merit, refuse, verdict};
use crate::domain::expr::Claim;
use crate::domain::foreign_text::display_line;
use crate::domain::id::Slug;
use crate::domain::lesson::Risk;

/// What the guard needs to know of a proposal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Suggestion<'a> {
    /// How much it could break.
    pub risk: Risk,
    /// Why mesh does not do it itself, where that is so.
    pub needs_person: Option<&'a str>,
    /// How it is taken back; empty when nobody knows.
    pub way_back: &'a str,
    /// What it would show, in CEL.
    pub claim: &'a str,
    /// Applicable lessons that it neither cites nor argues against.
    pub uncited: &'a [Slug],
}

/// Puts a proposal before every check that it has to pass. Who made it and what it says of itself matter nothing.
#[must_use]
pub fn weigh(suggestion: &Suggestion<'_>, policy: &Policy, standing: &Standing) -> Vec<Verdict> {
    let cites = match suggestion.uncited.first() {
        None => Ok(()),
        Some(lesson) => refuse(format!("lesson {lesson} applies, and is neither cited nor argued against")),
    };
    let person = suggestion.needs_person.map_or(Ok(()), block);
    let way_back = if suggestion.way_back.is_empty() { refuse("there is no way back") } else { Ok(()) };
    let can_fail = Claim::compile(suggestion.claim)
        .map(drop)
        .or_else(|error| refuse(format!("its prediction cannot fail: {}", display_line(&error.to_string()))));
    let canary = if suggestion.risk < Risk::Medium { Ok(()) } else { merit::tried_first(suggestion.risk, policy) };
    [
        (Check::BlockedPath, person),
        (Check::Cites, cites),
        (Check::ActionKind, house::action_kind(policy)),
        (Check::DailyBudget, house::daily_budget(policy, standing)),
        (Check::Concurrency, house::concurrency(policy, standing)),
        (Check::Duplicate, house::duplicate(policy, standing)),
        (Check::RollbackDefined, way_back),
        (Check::Canary, canary),
        (Check::NotFrozen, house::not_frozen(standing)),
        (Check::CanFail, can_fail),
        (Check::NotPaused, house::not_paused(standing)),
        (Check::Writable, house::writable(standing)),
    ]
    .into_iter()
    .map(|(check, answer)| verdict(check, answer))
    .collect()
}
