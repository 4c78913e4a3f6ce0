//! How a service is treated: the numbers, their defaults, and the wait before a restart.

use std::time::Duration;

use serde::Serialize;

/// Longest time between asking a service to end and killing it.
pub const GRACE_MOST: Duration = Duration::from_secs(60);

/// Whether people are woken for a service.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Criticality {
    /// The host is critical while it is down.
    #[default]
    Critical,
    /// It is shown, and nobody is woken.
    Optional,
}

/// What makes a started service ready.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReadyBy {
    /// That it runs.
    #[default]
    Running,
    /// The first sign of life.
    Sign,
    /// Its own word (`READY=1`).
    Word,
}

/// How a service is treated.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Policy {
    /// Whether people are woken for it.
    pub criticality: Criticality,
    /// What makes it ready.
    pub ready_by: ReadyBy,
    /// How long it may take to become ready.
    pub start_within: Duration,
    /// Between asking it to end and killing it.
    pub grace: Duration,
    /// Failed probes in a row after which it counts as hung.
    pub failures: u32,
    /// The second wait in a row before a restart; the first restart does not wait. Each one doubles.
    pub backoff_first: Duration,
    /// The longest wait.
    pub backoff_most: Duration,
    /// Once it ran this long, its next end is a first one.
    pub steady: Duration,
    /// Most restarts within `window`; then it is given up for a while.
    pub restarts: u32,
    /// The window.
    pub window: Duration,
    /// After giving up, the time to the next try.
    pub retry_after: Duration,
    /// How long its source files must have been quiet before it is restarted for them.
    pub stale_after: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            criticality: Criticality::Critical,
            ready_by: ReadyBy::Running,
            start_within: seconds(90),
            grace: GRACE_MOST,
            failures: 3,
            backoff_first: seconds(1),
            backoff_most: seconds(60),
            steady: seconds(10),
            restarts: 5,
            window: seconds(600),
            retry_after: seconds(1_800),
            stale_after: seconds(300),
        }
    }
}

impl Policy {
    /// The wait before the restart after `attempts` that failed in a row. `jitter`, from 0 to 1, takes up to half
    /// of it away, so that what fell together does not rise together.
    #[must_use]
    pub fn backoff(&self, attempts: u32, jitter: f64) -> Duration {
        let Some(doublings) = attempts.checked_sub(1) else { return Duration::ZERO };
        let whole = self.backoff_first.saturating_mul(1 << doublings.min(20)).min(self.backoff_most);
        spread(whole, jitter)
    }

    /// The time to the next try after giving up.
    #[must_use]
    pub fn retry(&self, jitter: f64) -> Duration {
        spread(self.retry_after, jitter)
    }
}

fn spread(whole: Duration, jitter: f64) -> Duration {
    let jitter = if jitter.is_finite() { jitter.clamp(0.0, 1.0) } else { 0.0 };
    whole.mul_f64(1.0 - jitter / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a11_the_wait_grows_to_its_cap_with_jitter() {
        let policy = Policy::default();
        let wait = |attempts| policy.backoff(attempts, 0.0).as_secs();
        assert_eq!([wait(0), wait(1), wait(2), wait(3), wait(7), wait(u32::MAX)], [0, 1, 2, 4, 60, 60]);
        assert_eq!(policy.backoff(3, 1.0), Duration::from_secs(2));
        assert_eq!(policy.backoff(3, f64::NAN), Duration::from_secs(4));
        assert_eq!(policy.retry(0.5), Duration::from_secs(1_350));
    }
}
