//! One guarded change from proposal to outcome, as a table of states and events.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::fix::{FixId, FixIdError};

/// The name of one attempt at a fix: `1a2b3c4d.2` is the second attempt at fix `1a2b3c4d`.
///
/// A fix keeps its name for as long as its finding is there; each attempt ends once.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct InterventionId {
    /// The fix.
    pub fix: FixId,
    /// Which attempt at it, from 1.
    pub attempt: u32,
}

impl fmt::Display for InterventionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.fix, self.attempt)
    }
}

impl FromStr for InterventionId {
    type Err = FixIdError;
    fn from_str(text: &str) -> Result<Self, FixIdError> {
        let (fix, attempt) = text.split_once('.').ok_or(FixIdError)?;
        let attempt = attempt.parse().ok().filter(|attempt| *attempt > 0).ok_or(FixIdError)?;
        Ok(Self { fix: fix.parse()?, attempt })
    }
}

impl Serialize for InterventionId {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for InterventionId {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Where an intervention stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Planned.
    Proposed,
    /// The guard has answered, and somebody has yet to ask for it.
    Guarded,
    /// Not until something here changes: a canary, a budget, the end of a freeze or pause.
    Backlog,
    /// No. Nothing was changed.
    Refused,
    /// Every check passed.
    Approved,
    /// Tried in a scratch copy, where it held and could be taken back. A seeded branch stands here.
    Proved,
    /// Part of what people use.
    Applied,
    /// Its effect is being measured.
    Validating,
    /// What was predicted came true.
    Validated,
    /// It stands, and nothing shows that it helped.
    NoEffect,
    /// Taken back, by judgement or by a person.
    Reverted,
    /// Given up half-way, and what was begun is undone.
    Aborted,
}

impl State {
    /// Every state, in the order of a life.
    pub const ALL: [Self; 12] = [
        Self::Proposed,
        Self::Guarded,
        Self::Backlog,
        Self::Refused,
        Self::Approved,
        Self::Proved,
        Self::Applied,
        Self::Validating,
        Self::Validated,
        Self::NoEffect,
        Self::Reverted,
        Self::Aborted,
    ];

    /// The word for it in files and listings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Guarded => "guarded",
            Self::Backlog => "backlog",
            Self::Refused => "refused",
            Self::Approved => "approved",
            Self::Proved => "proved",
            Self::Applied => "applied",
            Self::Validating => "validating",
            Self::Validated => "validated",
            Self::NoEffect => "no_effect",
            Self::Reverted => "reverted",
            Self::Aborted => "aborted",
        }
    }

    /// Whether this attempt is over: nothing can follow but that what stands is taken back.
    #[must_use]
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Validated | Self::NoEffect | Self::Reverted | Self::Aborted)
    }

    /// Whether it is part of what people use.
    #[must_use]
    pub const fn stands(self) -> bool {
        matches!(self, Self::Applied | Self::Validating | Self::Validated | Self::NoEffect)
    }

    /// Whether it is part of what people use and not yet judged: what concurrency counts.
    #[must_use]
    pub const fn is_under_way(self) -> bool {
        matches!(self, Self::Applied | Self::Validating)
    }
}

/// What happens to an intervention.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Put before the guard, for the first time or again.
    Ask,
    /// Every check passed.
    Approve,
    /// A check said: not until something here changes.
    Block,
    /// A check, the proof or a person said no, before anything was changed.
    Refuse,
    /// The change held in a scratch copy and could be taken back there.
    Prove,
    /// The change is in place.
    Apply,
    /// The measuring began.
    Watch,
    /// The prediction came true.
    Validate,
    /// The window ended and nothing shows that it helped.
    FindNoEffect,
    /// The change was taken back.
    RollBack,
    /// The attempt was given up, and what was begun is undone.
    Abandon,
}

impl Event {
    /// Every event.
    pub const ALL: [Self; 11] = [
        Self::Ask,
        Self::Approve,
        Self::Block,
        Self::Refuse,
        Self::Prove,
        Self::Apply,
        Self::Watch,
        Self::Validate,
        Self::FindNoEffect,
        Self::RollBack,
        Self::Abandon,
    ];
}

/// An event that cannot happen in a state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("an intervention that is {} cannot {event:?}", state.name())]
pub struct Illegal {
    /// The state.
    pub state: State,
    /// The event.
    pub event: Event,
}

/// The state after `event`.
///
/// # Errors
/// The event cannot happen in this state.
pub const fn step(state: State, event: Event) -> Result<State, Illegal> {
    use Event as E;
    use State as S;
    let illegal = Err(Illegal { state, event });
    // No wildcard: a new state or event does not compile until each pair is answered.
    match state {
        S::Proposed => match event {
            E::Ask => Ok(S::Guarded),
            E::Approve | E::Block | E::Refuse | E::Prove | E::Apply | E::Watch => illegal,
            E::Validate | E::FindNoEffect | E::RollBack | E::Abandon => illegal,
        },
        S::Guarded => match event {
            E::Ask => Ok(S::Guarded),
            E::Approve => Ok(S::Approved),
            E::Block => Ok(S::Backlog),
            E::Refuse => Ok(S::Refused),
            E::Prove | E::Apply | E::Watch | E::Validate | E::FindNoEffect | E::RollBack | E::Abandon => illegal,
        },
        S::Backlog => match event {
            E::Ask => Ok(S::Guarded),
            E::Refuse => Ok(S::Refused),
            E::Approve | E::Block | E::Prove | E::Apply | E::Watch => illegal,
            E::Validate | E::FindNoEffect | E::RollBack | E::Abandon => illegal,
        },
        S::Refused => match event {
            E::Ask => Ok(S::Guarded),
            E::Approve | E::Block | E::Refuse | E::Prove | E::Apply | E::Watch => illegal,
            E::Validate | E::FindNoEffect | E::RollBack | E::Abandon => illegal,
        },
        S::Approved => match event {
            E::Ask => Ok(S::Guarded),
            E::Prove => Ok(S::Proved),
            E::Refuse => Ok(S::Refused),
            E::Approve | E::Block | E::Apply | E::Watch | E::Validate | E::FindNoEffect | E::RollBack => illegal,
            E::Abandon => illegal,
        },
        S::Proved => match event {
            E::Ask => Ok(S::Guarded),
            E::Apply => Ok(S::Applied),
            E::Refuse => Ok(S::Refused),
            E::Abandon => Ok(S::Aborted),
            E::Approve | E::Block | E::Prove | E::Watch | E::Validate | E::FindNoEffect | E::RollBack => illegal,
        },
        S::Applied => match event {
            E::Watch => Ok(S::Validating),
            E::RollBack => Ok(S::Reverted),
            E::Abandon => Ok(S::Aborted),
            E::Ask | E::Approve | E::Block | E::Refuse | E::Prove | E::Apply => illegal,
            E::Validate | E::FindNoEffect => illegal,
        },
        S::Validating => match event {
            E::Validate => Ok(S::Validated),
            E::FindNoEffect => Ok(S::NoEffect),
            E::RollBack => Ok(S::Reverted),
            E::Abandon => Ok(S::Aborted),
            E::Ask | E::Approve | E::Block | E::Refuse | E::Prove | E::Apply | E::Watch => illegal,
        },
        // What stands can be taken back for as long as its way back is known.
        S::Validated | S::NoEffect => match event {
            E::RollBack => Ok(S::Reverted),
            E::Ask | E::Approve | E::Block | E::Refuse | E::Prove | E::Apply | E::Watch => illegal,
            E::Validate | E::FindNoEffect | E::Abandon => illegal,
        },
        S::Reverted | S::Aborted => match event {
            E::Ask | E::Approve | E::Block | E::Refuse | E::Prove | E::Apply | E::Watch => illegal,
            E::Validate | E::FindNoEffect | E::RollBack | E::Abandon => illegal,
        },
    }
}

/// Who made a transition happen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Actor {
    /// Mesh by itself.
    Agent,
    /// A person, through a command of mesh.
    Person,
    /// Somebody past mesh, such as a person who merged a branch with git. It counts against no budget.
    Outside,
}

impl Actor {
    /// The word for it in listings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Agent => "mesh",
            Self::Person => "a person, through mesh",
            Self::Outside => "somebody, with git",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_those_of_the_files() {
        for state in State::ALL {
            assert_eq!(serde_json::to_value(state).expect("plain"), state.name());
        }
        let id: InterventionId = "1a2b3c4d.12".parse().expect("an id");
        assert_eq!((id.attempt, id.to_string().as_str()), (12, "1a2b3c4d.12"));
        for bad in ["1a2b3c4d", "1a2b3c4d.0", "1a2b3c4d.-1", ".1", "1a2b3c4d.4294967296"] {
            assert_eq!(bad.parse::<InterventionId>(), Err(FixIdError), "{bad}");
        }
    }

    #[test]
    fn the_legal_pairs_are_these_and_no_others() {
        let mut legal = Vec::new();
        for state in State::ALL {
            for event in Event::ALL {
                match step(state, event) {
                    Ok(next) => legal.push(format!("{} {event:?} {}", state.name(), next.name())),
                    Err(illegal) => assert_eq!(illegal, Illegal { state, event }),
                }
            }
        }
        let wanted = "proposed Ask guarded, guarded Ask guarded, guarded Approve approved, guarded Block backlog, \
            guarded Refuse refused, backlog Ask guarded, backlog Refuse refused, refused Ask guarded, \
            approved Ask guarded, approved Refuse refused, approved Prove proved, proved Ask guarded, \
            proved Refuse refused, proved Apply applied, proved Abandon aborted, applied Watch validating, \
            applied RollBack reverted, applied Abandon aborted, validating Validate validated, \
            validating FindNoEffect no_effect, validating RollBack reverted, validating Abandon aborted, \
            validated RollBack reverted, no_effect RollBack reverted";
        assert_eq!(legal.join(", "), wanted);
    }

    proptest! {
        /// However events come, nothing is applied that was not guarded, approved and proved just before, nothing is
        /// judged that was not watched, and what is over stays so, but that what stands may be taken back.
        #[test]
        fn no_order_of_events_leads_past_the_guard(events in proptest::collection::vec(0..Event::ALL.len(), 0..60)) {
            let mut path = vec![State::Proposed];
            for event in events {
                let now = path[path.len() - 1];
                match step(now, Event::ALL[event]) {
                    Ok(next) => path.push(next),
                    Err(_) => prop_assert_eq!(path[path.len() - 1], now),
                }
            }
            for (at, state) in path.iter().enumerate() {
                let before = |steps: usize| at.checked_sub(steps).map(|at| path[at]);
                match state {
                    State::Applied => {
                        prop_assert_eq!(before(1), Some(State::Proved));
                        prop_assert_eq!(before(2), Some(State::Approved));
                        prop_assert_eq!(before(3), Some(State::Guarded));
                    }
                    State::Validated | State::NoEffect => prop_assert_eq!(before(1), Some(State::Validating)),
                    _ => {}
                }
                let after = path.get(at + 1);
                let taken_back = matches!(state, State::Validated | State::NoEffect) && after == Some(&State::Reverted);
                prop_assert!(!state.is_end() || after.is_none() || taken_back);
            }
        }
    }
}
