//! One incident: a rule that holds for a target, from its opening to its end. A table of states and events; a pair that
//! is not in it is impossible.

use serde::{Deserialize, Serialize};

use super::action::WayBack;
use super::condition::Memory;
use super::target::TargetKind;

/// Steps that are kept of an incident's thread.
const THREAD: usize = 200;

/// Where an incident stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The rule holds, and nothing is being done.
    Open,
    /// An action is being taken.
    Acting,
    /// It was taken, and it is watched whether it helped.
    Validating,
    /// Over.
    Resolved,
    /// A person is needed.
    Escalated,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Open, Self::Acting, Self::Validating, Self::Resolved, Self::Escalated];

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Acting => "acting",
            Self::Validating => "validating",
            Self::Resolved => "resolved",
            Self::Escalated => "escalated",
        }
    }
}

/// What happens to an incident.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// An action is begun.
    Act,
    /// The actions were taken.
    Performed,
    /// An action failed, or was broken off by the end of the process.
    Failed,
    /// It was seen that they helped.
    Healed,
    /// It was not seen in time.
    Missed,
    /// The rule no longer holds, without that.
    Cleared,
    /// Nothing more is done by itself.
    GiveUp,
    /// It may be tried again.
    Retry,
}

impl Event {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Act,
        Self::Performed,
        Self::Failed,
        Self::Healed,
        Self::Missed,
        Self::Cleared,
        Self::GiveUp,
        Self::Retry,
    ];
}

/// A pair that is not in the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("an incident that is {} cannot take {event:?}", state.name())]
pub struct Illegal {
    /// Where it stood.
    pub state: State,
    /// What was to happen.
    pub event: Event,
}

/// The state after `event`.
///
/// # Errors
/// The pair is not in the table.
pub const fn step(state: State, event: Event) -> Result<State, Illegal> {
    match (state, event) {
        (State::Open, Event::Act) => Ok(State::Acting),
        (State::Open | State::Escalated, Event::Cleared) | (State::Validating, Event::Healed) => Ok(State::Resolved),
        (State::Open, Event::GiveUp) => Ok(State::Escalated),
        (State::Acting, Event::Performed) => Ok(State::Validating),
        (State::Acting, Event::Failed) | (State::Validating, Event::Missed) | (State::Escalated, Event::Retry) => {
            Ok(State::Open)
        }
        (state, event) => Err(Illegal { state, event }),
    }
}

/// How an incident ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// Mesh acted, and it was seen to help.
    Healed,
    /// It went away, and mesh had done nothing.
    ClearedByItself,
    /// It went away after an action that was not seen to help, or after a person was called.
    Cleared,
}

/// One line of the thread.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Told {
    /// The wall clock, in seconds since 1970.
    pub at: i64,
    /// What happened.
    pub what: String,
    /// Whether a person said it.
    #[serde(default)]
    pub person: bool,
}

/// One incident.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Incident {
    /// Its number on this host.
    pub id: u64,
    /// The rule.
    pub rule: u32,
    /// The rule's version when it was opened.
    pub version: u32,
    /// The rule's name.
    pub name: String,
    /// The target's name.
    pub target: String,
    /// What the target is.
    pub kind: TargetKind,
    /// What no other rule may work on meanwhile.
    pub resource: String,
    /// Where it stands.
    pub state: State,
    /// When it was opened, by the wall clock in seconds.
    pub opened: i64,
    /// When it ended.
    pub closed: Option<i64>,
    /// How it ended.
    pub ending: Option<Ending>,
    /// How many attempts were made.
    pub attempts: usize,
    /// Not before this, by the engine's clock in seconds.
    pub next_at: i64,
    /// When the last attempt was made, by the engine's clock.
    pub acted_at: Option<i64>,
    /// Until when it must be seen to have helped, by the engine's clock.
    pub deadline: Option<i64>,
    /// What the validation remembers.
    pub memory: Memory,
    /// What leads back from what was done in the present attempt, in the order of doing.
    pub ways: Vec<WayBack>,
    /// Whether the diagnosis was confirmed once.
    pub confirmed: bool,
    /// The part of the diagnosis that was refuted last.
    pub refuted: Option<String>,
    /// Why nothing is done now.
    pub waits: String,
    /// What would mend it for good, once the rule has acted.
    #[serde(default)]
    pub proposal: Option<String>,
    /// Whether it only tells.
    pub reports: bool,
    /// Whether a person allowed the action.
    pub approved: bool,
    /// Whether a person has seen it.
    pub acked: bool,
    /// No notices until then, by the wall clock in seconds.
    pub snoozed_until: Option<i64>,
    /// When a person was called last, by the wall clock in seconds.
    #[serde(default)]
    pub called: Option<i64>,
    /// What happened, in order.
    pub thread: Vec<Told>,
}

impl Incident {
    /// Takes `event`. False, and nothing changes, when the pair is not in the table.
    pub fn take(&mut self, event: Event) -> bool {
        let next = step(self.state, event);
        if let Ok(next) = next {
            self.state = next;
        }
        next.is_ok()
    }

    /// Whether it waits for a person who has not said anything yet.
    #[must_use]
    pub fn waits_for_person(&self, wall: i64) -> bool {
        let called = self.called.is_some() && matches!(self.state, State::Open | State::Escalated);
        called && !self.acked && self.snoozed_until.is_none_or(|until| until <= wall)
    }

    /// Takes over what a person said of it, from where it is stored.
    pub fn hear(&mut self, stored: &Self) {
        (self.acked, self.approved, self.snoozed_until) = (stored.acked, stored.approved, stored.snoozed_until);
        let news: Vec<Told> =
            stored.thread.iter().filter(|line| line.person && !self.thread.contains(line)).cloned().collect();
        for line in news {
            self.put(line);
        }
    }

    /// Adds what a person said to the thread.
    pub fn tell_of_person(&mut self, at: i64, what: impl Into<String>) {
        self.put(Told { at, what: what.into(), person: true });
    }

    /// Adds a line to the thread, unless it is the newest one already.
    pub fn tell(&mut self, at: i64, what: impl Into<String>) {
        let what = what.into();
        if self.thread.last().is_some_and(|last| last.what == what) {
            return;
        }
        self.put(Told { at, what, person: false });
    }

    fn put(&mut self, line: Told) {
        if self.thread.len() >= THREAD {
            // The start of it says more than the middle.
            self.thread.remove(THREAD / 2);
        }
        self.thread.push(line);
    }
}

/// What a person is told of an incident. Whoever sends it decides how, and how often.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Notice {
    /// The incident.
    pub incident: u64,
    /// The rule.
    pub rule: u32,
    /// The rule's name.
    pub name: String,
    /// The target.
    pub target: String,
    /// What it is about.
    pub kind: NoticeKind,
    /// The wall clock, in seconds since 1970.
    pub at: i64,
    /// In words. Parts of it are foreign text, made fit to be shown.
    pub text: String,
    /// Whether a person has seen the incident, or wants to hear nothing of it now.
    pub quiet: bool,
}

/// What a notice is about. There is one thread for each incident; `Healed` is said after validation only.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoticeKind {
    /// The rule holds and its diagnosis is confirmed.
    Opened,
    /// A person must allow the action.
    NeedsApproval,
    /// Something was done.
    Acted,
    /// It helped.
    Healed,
    /// It went away otherwise.
    Cleared,
    /// A person is needed.
    Escalated,
    /// A person is needed, and nobody has said that he has seen it.
    Unseen,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolved_is_the_end_and_healed_comes_from_validation_alone() {
        for event in Event::ALL {
            assert_eq!(step(State::Resolved, event), Err(Illegal { state: State::Resolved, event }));
        }
        for state in State::ALL {
            assert_eq!(step(state, Event::Healed).is_ok(), state == State::Validating);
            assert_eq!(step(state, Event::Act).is_ok(), state == State::Open, "{state:?}");
        }
    }

    #[test]
    fn every_state_but_the_end_leads_to_it() {
        let mut reach = vec![State::Resolved];
        for _ in State::ALL {
            for state in State::ALL {
                let leads = Event::ALL.iter().any(|event| step(state, *event).is_ok_and(|next| reach.contains(&next)));
                if leads && !reach.contains(&state) {
                    reach.push(state);
                }
            }
        }
        assert_eq!(reach.len(), State::ALL.len());
    }
}
