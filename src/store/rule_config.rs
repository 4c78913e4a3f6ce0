//! `[rules]` and `[[target]]` of the configuration: what rules are about here, and how fast they go.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::config::Span;
use crate::domain::heal::target::Target;

/// Time between two looks.
const INTERVAL: Span = Span(Duration::from_secs(60));
/// Most actions of all rules within an hour.
const ACTIONS_PER_HOUR: u32 = 12;
/// How long a person who was called may be silent.
const UNSEEN_AFTER: Span = Span(Duration::from_secs(7_200));
/// Looks after which the invariants are checked.
const INVARIANTS_EVERY: u32 = 10;

/// `[rules]`, as it is written.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RulesFile {
    enabled: Option<bool>,
    interval: Option<Span>,
    actions_per_hour: Option<u32>,
    invariants_every: Option<std::num::NonZeroU32>,
    unseen_after: Option<Span>,
}

/// How rules are applied here.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct RulesConfig {
    /// Whether the agent applies rules at all.
    pub enabled: bool,
    /// Time between two looks.
    pub interval: Span,
    /// Most actions of all rules within an hour.
    pub actions_per_hour: u32,
    /// Looks after which the invariants are checked.
    pub invariants_every: u32,
    /// After this a person who was called and has not answered is called again.
    pub unseen_after: Span,
}

impl RulesFile {
    pub(super) fn overlaid_by(self, later: Self) -> Self {
        Self {
            enabled: later.enabled.or(self.enabled),
            interval: later.interval.or(self.interval),
            actions_per_hour: later.actions_per_hour.or(self.actions_per_hour),
            invariants_every: later.invariants_every.or(self.invariants_every),
            unseen_after: later.unseen_after.or(self.unseen_after),
        }
    }

    pub(super) fn complete(self) -> RulesConfig {
        RulesConfig {
            enabled: self.enabled.unwrap_or(true),
            interval: self.interval.unwrap_or(INTERVAL),
            actions_per_hour: self.actions_per_hour.unwrap_or(ACTIONS_PER_HOUR),
            invariants_every: self.invariants_every.map_or(INVARIANTS_EVERY, std::num::NonZeroU32::get),
            unseen_after: self.unseen_after.unwrap_or(UNSEEN_AFTER),
        }
    }
}

/// `[[target]]`, checked as it is read, so that a mistake has its line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(transparent)]
pub struct Declared(Target);

impl<'de> Deserialize<'de> for Declared {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let target = Target::deserialize(input)?;
        target.check().map_err(serde::de::Error::custom)?;
        Ok(Self(target))
    }
}

/// The targets of all files: a later one of the same name wins.
pub(super) fn joined(before: Option<Vec<Declared>>, later: Option<Vec<Declared>>) -> Option<Vec<Declared>> {
    let (Some(mut all), Some(later)) = (before.clone(), later.clone()) else { return before.or(later) };
    for one in later {
        all.retain(|known| known.0.name != one.0.name);
        all.push(one);
    }
    Some(all)
}

/// The targets themselves.
pub(super) fn targets(declared: Option<Vec<Declared>>) -> Vec<Target> {
    declared.unwrap_or_default().into_iter().map(|one| one.0).collect()
}
