//! The circuit breaker before a call to something outside: failures age out by time alone, and a success clears nothing
//! but after a trial call.
//!
//! A success that cleared the failures would hide an operation that fails every second time: see rule 46.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::running::Running;

/// When calls are no longer made, and when one is tried again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// This many failures within the window open the breaker.
    pub failures: usize,
    /// How long a failure counts.
    pub window: Duration,
    /// How long no call is made; then one is tried.
    pub rest: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { failures: 5, window: Duration::from_secs(10 * 60), rest: Duration::from_secs(5 * 60) }
    }
}

/// Where a breaker stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum State {
    /// Calls are made.
    #[default]
    Closed,
    /// No call is made.
    Open {
        /// Since when.
        since: Running,
    },
    /// One call is made to see whether it works again.
    HalfOpen {
        /// When it began. One that nobody ended is given up after a rest, so that a killed process closes nothing for good.
        since: Running,
    },
}

impl State {
    /// The word for it in listings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen { .. } => "half-open",
        }
    }
}

/// No call is made now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShortCircuit {
    /// How much longer.
    pub left: Duration,
}

/// What is remembered of the calls to one place.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CircuitBreaker {
    state: State,
    /// When calls failed, oldest first; those that still count, as far as anybody has looked.
    failures: Vec<Running>,
}

impl CircuitBreaker {
    /// Where it stands.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// How many failures count at `now`.
    #[must_use]
    pub fn failures(&self, now: Running, limits: &Limits) -> usize {
        self.failures.iter().filter(|at| now.since(**at) < limits.window).count()
    }

    /// Whether a call may be made now. Whoever is let through owes a [`CircuitBreaker::succeeded`] or [`CircuitBreaker::failed`].
    ///
    /// # Errors
    /// The breaker is open, or a trial call is under way.
    pub fn admit(&mut self, now: Running, limits: &Limits) -> Result<(), ShortCircuit> {
        match self.state {
            State::Closed => Ok(()),
            State::Open { since } | State::HalfOpen { since } => {
                let left = limits.rest.saturating_sub(now.since(since));
                if !left.is_zero() {
                    return Err(ShortCircuit { left });
                }
                self.state = State::HalfOpen { since: now };
                Ok(())
            }
        }
    }

    /// A call that was let through succeeded. Only the trial call of a half-open breaker changes anything.
    pub fn succeeded(&mut self) {
        if matches!(self.state, State::HalfOpen { .. }) {
            *self = Self::default();
        }
    }

    /// A call that was let through failed.
    pub fn failed(&mut self, now: Running, limits: &Limits) {
        self.failures.retain(|at| now.since(*at) < limits.window);
        self.failures.push(now);
        let kept = limits.failures.max(1);
        self.failures.drain(..self.failures.len().saturating_sub(kept));
        match self.state {
            State::Closed if self.failures.len() < kept => {}
            State::Closed | State::HalfOpen { .. } => self.state = State::Open { since: now },
            // A call that was let through before it opened.
            State::Open { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits { failures: 3, window: Duration::from_secs(60), rest: Duration::from_secs(30) };

    fn at(seconds: u64) -> Running {
        Running::from_millis(seconds * 1_000)
    }

    #[test]
    fn b20_an_operation_that_fails_every_second_time_opens_it() {
        let mut breaker = CircuitBreaker::default();
        for second in [0, 10, 20] {
            assert_eq!(breaker.admit(at(second), &LIMITS), Ok(()));
            breaker.failed(at(second), &LIMITS);
            if breaker.admit(at(second + 5), &LIMITS).is_ok() {
                breaker.succeeded();
            }
        }
        assert_eq!(breaker.state(), State::Open { since: at(20) });
    }

    #[test]
    fn a_trial_call_closes_it_and_forgets_or_opens_it_again() {
        let mut breaker = CircuitBreaker::default();
        (0..3).for_each(|second| breaker.failed(at(second), &LIMITS));
        assert_eq!(breaker.admit(at(3), &LIMITS), Err(ShortCircuit { left: Duration::from_secs(29) }));
        assert_eq!(breaker.admit(at(32), &LIMITS), Ok(()));
        assert_eq!(breaker.state(), State::HalfOpen { since: at(32) });
        assert!(breaker.admit(at(33), &LIMITS).is_err(), "one trial call at a time");
        breaker.failed(at(34), &LIMITS);
        assert_eq!(breaker.state(), State::Open { since: at(34) });
        assert_eq!(breaker.admit(at(64), &LIMITS), Ok(()));
        breaker.succeeded();
        assert_eq!(breaker, CircuitBreaker::default());
    }

    #[test]
    fn a_trial_call_that_nobody_ended_is_made_again() {
        let mut breaker = CircuitBreaker::default();
        (0..3).for_each(|second| breaker.failed(at(second), &LIMITS));
        assert_eq!(breaker.admit(at(40), &LIMITS), Ok(()));
        let text = serde_json::to_string(&breaker).expect("plain");
        let mut restarted: CircuitBreaker = serde_json::from_str(&text).expect("its own words");
        assert!(restarted.admit(at(69), &LIMITS).is_err());
        assert_eq!(restarted.admit(at(70), &LIMITS), Ok(()));
    }

    /// What a caller does, and how many seconds later.
    fn calls() -> impl Strategy<Value = Vec<(u64, bool)>> {
        proptest::collection::vec((0..40_u64, any::<bool>()), 0..80)
    }

    proptest! {
        /// Closed, it opens exactly when the last failures, whatever succeeded between, lie within one window.
        #[test]
        fn it_opens_when_enough_failures_lie_within_a_window_and_never_else(calls in calls()) {
            let (mut breaker, mut now) = (CircuitBreaker::default(), 0);
            let mut failures = Vec::new();
            for (pause, fails) in calls {
                now += pause;
                prop_assert_eq!(breaker.admit(at(now), &LIMITS), Ok(()));
                if fails {
                    failures.push(now);
                    breaker.failed(at(now), &LIMITS);
                } else {
                    let before = breaker.clone();
                    breaker.succeeded();
                    prop_assert_eq!(&breaker, &before);
                }
                let recent = failures.iter().filter(|failed| now - **failed < 60).count();
                prop_assert_eq!(breaker.state() != State::Closed, recent >= 3 && fails);
                if breaker.state() != State::Closed {
                    break;
                }
            }
        }

        /// Once open, no call is let through before a rest is over, only one is then, and only its success closes.
        #[test]
        fn only_a_trial_call_that_succeeds_closes_it(calls in calls()) {
            let mut breaker = CircuitBreaker::default();
            (0..3).for_each(|_| breaker.failed(at(0), &LIMITS));
            let (mut now, mut since) = (0, 0);
            for (pause, fails) in calls {
                now += pause;
                match breaker.admit(at(now), &LIMITS) {
                    Err(ShortCircuit { left }) => {
                        prop_assert!(now - since < 30);
                        prop_assert_eq!(left, Duration::from_secs(30 - (now - since)));
                        prop_assert_eq!(breaker.state().name(), "open");
                    }
                    Ok(()) => {
                        prop_assert!(now - since >= 30);
                        if fails {
                            breaker.failed(at(now), &LIMITS);
                            prop_assert_eq!(breaker.state(), State::Open { since: at(now) });
                            since = now;
                        } else {
                            breaker.succeeded();
                            prop_assert_eq!(&breaker, &CircuitBreaker::default());
                            break;
                        }
                    }
                }
            }
        }
    }
}
