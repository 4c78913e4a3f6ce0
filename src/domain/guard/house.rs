//! The checks on what has been done here already, and on what a person has switched off.

use std::time::Duration;

use super::{ActionKind, AskedBy, No, Policy, block, refuse};
use crate::domain::foreign_text::display_line;

/// What the ledger says of the host and of one area, at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Standing {
    /// Why mesh is paused, if it is.
    pub paused: Option<String>,
    /// Why the area is paused, if it is.
    pub area_paused: Option<String>,
    /// Why nothing may be changed any more: a rollback has failed.
    pub read_only: Option<String>,
    /// Why the area is frozen, if it is.
    pub frozen: Option<String>,
    /// Changes made on this host within the last 24 h.
    pub interventions: u32,
    /// Those of them in this area.
    pub area_interventions: u32,
    /// Most changes that the area's own configuration allows in 24 h.
    pub area_limit: Option<u32>,
    /// Branches made or moved within the last 24 h.
    pub branches: u32,
    /// Changes that are in place and not yet judged.
    pub under_way: u32,
    /// How long ago the same action was last taken or tried.
    pub same_action: Option<Duration>,
    /// Whether that was given up half-way and undone, so that it changed nothing.
    pub same_undone: bool,
}

pub(super) fn action_kind(policy: &Policy) -> Result<(), No> {
    if policy.blocked_kinds.contains(&policy.kind) {
        return refuse(format!("`limits.blocked_kinds` in the configuration names `{}`", policy.kind.name()));
    }
    Ok(())
}

pub(super) fn daily_budget(policy: &Policy, standing: &Standing) -> Result<(), No> {
    let (what, done, most) = match policy.kind {
        ActionKind::Branch => ("branches", standing.branches, policy.pace.branches_per_day),
        ActionKind::Commit | ActionKind::File => {
            ("interventions", standing.interventions, policy.pace.interventions_per_day)
        }
    };
    if done < most { Ok(()) } else { block(format!("{done} {what} within 24 h, and {most} are allowed")) }
}

pub(super) fn area_budget(policy: &Policy, standing: &Standing) -> Result<(), No> {
    match standing.area_limit {
        Some(most) if policy.kind.is_intervention() && standing.area_interventions >= most => block(format!(
            "{} interventions in this root within 24 h, and {most} are allowed",
            standing.area_interventions
        )),
        Some(_) | None => Ok(()),
    }
}

pub(super) fn concurrency(policy: &Policy, standing: &Standing) -> Result<(), No> {
    let most = policy.pace.concurrent;
    if !policy.kind.is_intervention() || standing.under_way < most {
        return Ok(());
    }
    block(format!("{} interventions are not judged yet, and {most} may be under way", standing.under_way))
}

/// A branch is made again wherever its base moves; what is refused is to do the same to what people use.
pub(super) fn duplicate(policy: &Policy, standing: &Standing) -> Result<(), No> {
    // A person who saw that nothing came of it need not wait; by itself it waits all the same, for the sake of what keeps
    // ending mesh.
    if standing.same_undone && policy.asked_by == AskedBy::Person {
        return Ok(());
    }
    match standing.same_action {
        Some(ago) if policy.kind.is_intervention() && ago < policy.pace.duplicate_window => refuse(format!(
            "the same action was taken {} min ago, and is not taken again within {} min",
            ago.as_secs() / 60,
            policy.pace.duplicate_window.as_secs() / 60
        )),
        Some(_) | None => Ok(()),
    }
}

pub(super) fn not_frozen(standing: &Standing) -> Result<(), No> {
    match &standing.frozen {
        None => Ok(()),
        Some(why) => block(format!("the area is frozen: {}; see `mesh freeze list`", display_line(why))),
    }
}

pub(super) fn not_paused(standing: &Standing) -> Result<(), No> {
    match (&standing.paused, &standing.area_paused) {
        (None, None) => Ok(()),
        (Some(why), _) => block(format!("mesh is paused: {}; `mesh resume` ends that", display_line(why))),
        (None, Some(why)) => {
            block(format!("the area is paused: {}; `mesh resume --area` ends that", display_line(why)))
        }
    }
}

pub(super) fn writable(standing: &Standing) -> Result<(), No> {
    match &standing.read_only {
        None => Ok(()),
        Some(why) => refuse(format!("mesh changes nothing any more: {}", display_line(why))),
    }
}
