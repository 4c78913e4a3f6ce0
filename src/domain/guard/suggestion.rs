//! The checks on what mesh proposes by itself and a person makes. Those of a fix that is mended by a lesson are its own.

use std::path::Path;

use similar::{ChangeTag, TextDiff};

use super::{Check, Facts, Policy, Standing, Verdict, block, house, merit, place, refuse, verdict};
use crate::domain::expr::Claim;
use crate::domain::fix::TextHash;
use crate::domain::foreign_text::display_line;
use crate::domain::id::Slug;
use crate::domain::lesson::Risk;

/// The file that a proposal would change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Edited<'a> {
    /// The audited root.
    pub root: &'a Path,
    /// The file in it.
    pub path: &'a str,
    /// What is known of it.
    pub facts: &'a Facts,
    /// What it held when the edit was looked at.
    pub before: &'a str,
    /// What it would hold.
    pub after: &'a str,
}

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
    /// The file that it would change, where it is an edit.
    pub edited: Option<Edited<'a>>,
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
    let of_place = match &suggestion.edited {
        None => vec![(Check::BlockedPath, person)],
        Some(Edited { root, path, facts, before, after }) => {
            let diff = TextDiff::from_lines(*before, *after);
            let changed = diff.iter_all_changes().filter(|change| change.tag() != ChangeTag::Equal).count();
            vec![
                (Check::InsideRoot, place::inside_root(path, facts)),
                (Check::BlockedPath, place::blocked_path(root, path, facts, policy)),
                (Check::DiffSize, merit::no_larger(changed, policy.max_lines)),
                (Check::Unchanged, place::unchanged(TextHash::of(before.as_bytes()), facts)),
                (Check::NoSuppression, merit::no_suppression(before, after)),
                (Check::Approval, person),
            ]
        }
    };
    let of_all = [
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
    ];
    of_place.into_iter().chain(of_all).map(|(check, answer)| verdict(check, answer)).collect()
}
