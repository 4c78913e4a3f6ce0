//! What became of a change: what its lesson predicted, held against what was observed.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::attest;
use super::expr::Truth;
use super::intervention::{Event, State};
use super::lesson::span_text;
use super::pace::VALIDATE_WINDOW;

/// A claim as this host's signals answer it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Observed {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// The signals it reads are missing here, or have gaps where it looks.
    Unknown,
}

impl Observed {
    /// The word for it in listings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::True => "true",
            Self::False => "false",
            Self::Unknown => "unknown",
        }
    }
}

impl From<Truth> for Observed {
    fn from(truth: Truth) -> Self {
        match truth {
            Truth::True => Self::True,
            Truth::False => Self::False,
            Truth::Unknown => Self::Unknown,
        }
    }
}

impl From<Observed> for attest::Holds {
    fn from(observed: Observed) -> Self {
        match observed {
            Observed::True => Self::True,
            Observed::False => Self::False,
            Observed::Unknown => Self::Unknown,
        }
    }
}

/// The outcome that peers are told: an end in which the signals were missing is `unknown` to them. None where it has not
/// ended.
#[must_use]
pub fn attested(state: State, marks: &[Mark]) -> Option<attest::Outcome> {
    Some(match state {
        State::Validated => attest::Outcome::Validated,
        State::NoEffect if marks.contains(&Mark::Unknown) => attest::Outcome::Unknown,
        State::NoEffect => attest::Outcome::NoEffect,
        State::Reverted => attest::Outcome::Reverted,
        State::Aborted => attest::Outcome::Aborted,
        State::Proposed | State::Guarded | State::Backlog | State::Refused | State::Approved => return None,
        State::Proved | State::Applied | State::Validating => return None,
    })
}

/// What this host's signals say of a claim, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Measured {
    /// What it comes to.
    pub says: Observed,
    /// What each of its calls comes to, in words.
    pub readings: Readings,
}

impl Measured {
    /// Nothing was measured.
    #[must_use]
    pub const fn nothing() -> Self {
        Self { says: Observed::Unknown, readings: Readings::new() }
    }
}

/// What each call of a claim came to, in words: a number, its bounds, or `unknown`.
pub type Readings = BTreeMap<String, String>;

/// What was predicted before the change was made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Prediction {
    /// The lesson's claim over signals, in CEL.
    pub claim: String,
    /// What the claim came to just before the change.
    pub before: Observed,
    /// The window in which it is to hold, in seconds: the lesson's own, at least this host's least.
    pub window_s: u64,
    /// What its calls came to just before the change.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub readings: Readings,
}

/// What was observed after the change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Observation {
    /// The lesson's claim.
    pub claim: Observed,
    /// Whether the finding is gone from the file.
    pub finding_gone: Observed,
    /// Whether the project's check passes.
    pub check: Observed,
    /// What the calls of the claim came to.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub readings: Readings,
}

/// The time since the change, by both ways of counting it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Elapsed {
    /// By the wall clock; none when that says that the change lies ahead.
    pub wall: Option<Duration>,
    /// Time that has surely passed.
    pub running: Duration,
}

impl Elapsed {
    /// The lesser of both, so that a clock that jumps ahead brings no verdict forward.
    #[must_use]
    pub fn least(self) -> Duration {
        self.wall.unwrap_or(Duration::ZERO).min(self.running)
    }
}

/// What limits the worth of an outcome.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    /// The signals that would tell are missing: it supports nothing.
    Unknown,
    /// Judged after less than 60 minutes, because the configuration says so.
    ShortWindow,
}

impl Mark {
    /// The word for it in listings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::ShortWindow => "short-window",
        }
    }
}

/// What is to be done with a change now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Judgement {
    /// Nothing yet: no verdict before this much more time.
    Wait(Duration),
    /// It stays.
    Keep {
        /// [`Event::Validate`] or [`Event::FindNoEffect`].
        event: Event,
        /// Why, in one sentence.
        why: &'static str,
        /// What limits the worth of that.
        marks: Vec<Mark>,
    },
    /// It is taken back.
    RollBack {
        /// Why, in one sentence.
        why: &'static str,
    },
}

impl Judgement {
    /// What would be done, in one phrase.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Wait(left) => format!("no verdict before {} more", span_text(*left)),
            Self::Keep { event: Event::Validate, why, .. } => format!("would be validated: {why}"),
            Self::Keep { why, .. } => format!("would stay without effect: {why}"),
            Self::RollBack { why } => format!("would be taken back: {why}"),
        }
    }
}

/// The window of a prediction: the lesson's own, and never less than `least`.
#[must_use]
pub fn window(within: Duration, least: Duration) -> Duration {
    within.max(least)
}

/// Judges a change. Harm is answered at once; nothing good is said before the window has passed, nor ever without the
/// signals that would show the opposite.
#[must_use]
pub fn judge(predicted: &Prediction, observed: &Observation, elapsed: Elapsed) -> Judgement {
    if observed.check == Observed::False {
        return Judgement::RollBack { why: "the project's check fails" };
    }
    if observed.finding_gone == Observed::False {
        return Judgement::RollBack { why: "the finding is still there" };
    }
    let window = Duration::from_secs(predicted.window_s);
    let elapsed = elapsed.least();
    if elapsed < window {
        return Judgement::Wait(window.saturating_sub(elapsed));
    }
    let short = (window < VALIDATE_WINDOW).then_some(Mark::ShortWindow);
    let keep = |event, why, unknown: bool| {
        let marks = short.into_iter().chain(unknown.then_some(Mark::Unknown)).collect();
        Judgement::Keep { event, why, marks }
    };
    match (observed.claim, predicted.before) {
        (Observed::True, _) if observed.finding_gone == Observed::True => {
            keep(Event::Validate, "the claim holds after the window", false)
        }
        (Observed::True, _) => keep(Event::FindNoEffect, "nobody can tell whether the finding is gone", true),
        (Observed::False, Observed::False) => {
            keep(Event::FindNoEffect, "the claim did not hold before and does not hold now", false)
        }
        (Observed::False, Observed::True | Observed::Unknown) => {
            Judgement::RollBack { why: "the claim does not hold after the change" }
        }
        (Observed::Unknown, _) => keep(Event::FindNoEffect, "the signals that the claim reads are missing here", true),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: u64 = 3_600;

    fn elapsed(seconds: u64) -> Elapsed {
        let span = Duration::from_secs(seconds);
        Elapsed { wall: Some(span), running: span }
    }

    fn any_observed() -> impl Strategy<Value = Observed> {
        prop_oneof![Just(Observed::True), Just(Observed::False), Just(Observed::Unknown)]
    }

    fn case(before: Observed, claim: Observed, window_s: u64) -> (Prediction, Observation) {
        let predicted = Prediction { claim: "c".to_owned(), before, window_s, readings: Readings::new() };
        (
            predicted,
            Observation { claim, finding_gone: Observed::True, check: Observed::Unknown, readings: Readings::new() },
        )
    }

    fn kept(judgement: &Judgement) -> Option<(Event, &[Mark])> {
        match judgement {
            Judgement::Keep { event, marks, .. } => Some((*event, marks)),
            Judgement::Wait(_) | Judgement::RollBack { .. } => None,
        }
    }

    #[test]
    fn outcomes_follow_from_predicted_and_observed() {
        use Observed::{False, True, Unknown};
        let judged = |before, claim| {
            let (predicted, observed) = case(before, claim, HOUR);
            judge(&predicted, &observed, elapsed(HOUR))
        };
        assert_eq!(kept(&judged(False, True)), Some((Event::Validate, &[][..])));
        assert_eq!(kept(&judged(Unknown, True)), Some((Event::Validate, &[][..])));
        assert_eq!(kept(&judged(False, False)), Some((Event::FindNoEffect, &[][..])));
        assert_eq!(kept(&judged(True, Unknown)), Some((Event::FindNoEffect, &[Mark::Unknown][..])));
        for before in [True, Unknown] {
            assert!(matches!(judged(before, False), Judgement::RollBack { .. }), "{before:?}");
        }
    }

    #[test]
    fn harm_is_answered_at_once() {
        for harm in [
            |seen: &mut Observation| seen.check = Observed::False,
            |seen: &mut Observation| {
                seen.finding_gone = Observed::False;
            },
        ] {
            let (predicted, mut observed) = case(Observed::True, Observed::True, HOUR);
            harm(&mut observed);
            assert!(matches!(judge(&predicted, &observed, elapsed(0)), Judgement::RollBack { .. }));
        }
    }

    #[test]
    fn a_jump_of_the_clock_brings_no_verdict_forward() {
        let (predicted, observed) = case(Observed::False, Observed::True, HOUR);
        let day = Duration::from_secs(24 * HOUR);
        let ahead = Elapsed { wall: Some(day), running: Duration::from_secs(60) };
        let back = Elapsed { wall: None, running: day };
        for jumped in [ahead, back] {
            assert!(matches!(judge(&predicted, &observed, jumped), Judgement::Wait(_)), "{jumped:?}");
        }
    }

    #[test]
    fn a_short_window_is_marked() {
        let (predicted, observed) = case(Observed::False, Observed::True, HOUR - 1);
        let judgement = judge(&predicted, &observed, elapsed(HOUR));
        assert_eq!(kept(&judgement), Some((Event::Validate, &[Mark::ShortWindow][..])));
        let least = Duration::from_secs(HOUR);
        assert_eq!(window(Duration::from_secs(60), least), least);
        assert_eq!(window(least * 7, least), least * 7);
    }

    proptest! {
        /// Validated only with the claim observed, the finding gone, no failing check and the whole window behind.
        #[test]
        fn nothing_is_validated_without_evidence(
            before in any_observed(), claim in any_observed(), gone in any_observed(), check in any_observed(),
            wall in proptest::option::of(0..3 * HOUR), running in 0..3 * HOUR, window_s in 0..2 * HOUR,
        ) {
            let predicted = Prediction { claim: "c".to_owned(), before, window_s, readings: Readings::new() };
            let observed = Observation { claim, finding_gone: gone, check, readings: Readings::new() };
            let elapsed = Elapsed { wall: wall.map(Duration::from_secs), running: Duration::from_secs(running) };
            let judgement = judge(&predicted, &observed, elapsed);
            if let Some((event, marks)) = kept(&judgement) {
                prop_assert!(wall.unwrap_or(0) >= window_s && running >= window_s);
                prop_assert_eq!(marks.contains(&Mark::ShortWindow), window_s < HOUR);
                if event == Event::Validate {
                    prop_assert_eq!((claim, gone), (Observed::True, Observed::True));
                    prop_assert!(check != Observed::False && !marks.contains(&Mark::Unknown));
                }
            }
        }
    }
}
