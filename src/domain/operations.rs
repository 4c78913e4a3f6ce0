//! Operations on something upstream, counted by kind and outcome: which share of each kind failed of late.
//!
//! Failures age out by time alone. A success takes none of them away, and reads say nothing of writes: an operation that
//! fails every second time, beside others that never do, is seen all the same.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Of fewer operations than these no share is told.
const FEW: u64 = 10;
/// Most looks that a window is kept in.
const LOOKS: usize = 512;

/// How operations of one kind ended, counted since their program began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Outcomes {
    /// Those that succeeded.
    pub ok: u64,
    /// Those that failed.
    pub failed: u64,
}

impl Outcomes {
    /// What came since `before`. A count that went back began anew.
    const fn since(self, before: Self) -> Self {
        if self.ok < before.ok || self.failed < before.failed {
            return self;
        }
        Self { ok: self.ok - before.ok, failed: self.failed - before.failed }
    }

    const fn plus(self, other: Self) -> Self {
        Self { ok: self.ok.saturating_add(other.ok), failed: self.failed.saturating_add(other.failed) }
    }

    /// The share that failed. None fails of none, as while all are held back; of a few nothing can be said.
    fn percent(self) -> Option<f64> {
        match self.ok.saturating_add(self.failed) {
            0 => Some(0.0),
            all if all < FEW => None,
            all => Some(100.0 * self.failed as f64 / all as f64),
        }
    }
}

/// How much of what is allowed was used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Quota {
    /// So much.
    pub used: u64,
    /// Of so much.
    pub limit: u64,
}

impl Quota {
    /// The share; none where nothing is allowed at all.
    #[must_use]
    pub fn percent(self) -> Option<f64> {
        (self.limit > 0).then(|| 100.0 * self.used as f64 / self.limit as f64)
    }
}

/// What a program writes of its operations.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Operations {
    /// Those that change nothing.
    pub read: Outcomes,
    /// Those that do.
    pub write: Outcomes,
    /// What upstream says of a quota, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
}

/// Operations of the last while.
#[derive(Clone, Debug)]
pub struct Recent {
    span: Duration,
    /// The newest counts, and when they were seen, in seconds of whatever clock.
    last: Option<(i64, Operations)>,
    /// What came with each look.
    looks: VecDeque<(i64, Outcomes, Outcomes)>,
}

impl Recent {
    /// Operations of the last `span`, none of which were seen yet.
    #[must_use]
    pub const fn of(span: Duration) -> Self {
        Self { span, last: None, looks: VecDeque::new() }
    }

    /// The same where the newest counts were seen before.
    #[must_use]
    pub const fn going_on(span: Duration, last: Option<(i64, Operations)>) -> Self {
        Self { span, last, looks: VecDeque::new() }
    }

    /// The newest counts, and when they were seen.
    #[must_use]
    pub const fn last(&self) -> Option<(i64, Operations)> {
        self.last
    }

    /// Takes in what is counted at `now`. The first look only finds its place.
    pub fn look(&mut self, now: i64, counted: Operations) {
        let span = i64::try_from(self.span.as_secs()).unwrap_or(i64::MAX);
        let is_recent = |at: i64| (0..=span).contains(&now.saturating_sub(at));
        if let Some((_, before)) = self.last.filter(|(at, _)| is_recent(*at)) {
            self.looks.push_back((now, counted.read.since(before.read), counted.write.since(before.write)));
        }
        self.looks.retain(|(at, ..)| is_recent(*at) && now.saturating_sub(*at) < span);
        let most = self.looks.len().saturating_sub(LOOKS);
        self.looks.drain(..most);
        self.last = Some((now, counted));
    }

    /// The share of reads that failed, in percent.
    #[must_use]
    pub fn read_error_percent(&self) -> Option<f64> {
        self.looks.iter().fold(Outcomes::default(), |sum, (_, read, _)| sum.plus(*read)).percent()
    }

    /// The share of writes that failed, in percent.
    #[must_use]
    pub fn write_error_percent(&self) -> Option<f64> {
        self.looks.iter().fold(Outcomes::default(), |sum, (_, _, write)| sum.plus(*write)).percent()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPAN: Duration = Duration::from_secs(600);

    fn counted(read: (u64, u64), write: (u64, u64)) -> Operations {
        let outcomes = |(ok, failed)| Outcomes { ok, failed };
        Operations { read: outcomes(read), write: outcomes(write), quota: None }
    }

    #[test]
    fn b20_successes_and_reads_clear_no_failure_of_writes_and_time_does() {
        let mut recent = Recent::of(SPAN);
        recent.look(0, counted((0, 0), (0, 0)));
        // Every second write fails, between a thousand reads that succeed.
        for step in 1..=10 {
            recent.look(i64::try_from(step).expect("small") * 10, counted((step * 100, 0), (step, step)));
        }
        assert_eq!((recent.read_error_percent(), recent.write_error_percent()), (Some(0.0), Some(50.0)));
        // One more success changes the share by itself, and no more.
        recent.look(110, counted((1_000, 0), (11, 10)));
        assert!(recent.write_error_percent().is_some_and(|share| share > 47.0), "{recent:?}");
        // Ten minutes after the last failure there is none.
        recent.look(100 + 599, counted((1_000, 0), (200, 10)));
        assert!(recent.write_error_percent().is_some_and(|share| share > 0.0), "one is still within the window");
        recent.look(100 + 600, counted((1_000, 0), (300, 10)));
        assert_eq!(recent.write_error_percent(), Some(0.0), "{recent:?}");
    }

    #[test]
    fn a_program_that_began_anew_counts_from_nothing_and_of_a_few_nothing_is_said() {
        let mut recent = Recent::of(SPAN);
        recent.look(0, counted((500, 500), (500, 500)));
        assert_eq!(recent.write_error_percent(), Some(0.0), "what was before is not of late");
        recent.look(60, counted((0, 0), (3, 6)));
        assert_eq!((recent.read_error_percent(), recent.write_error_percent()), (Some(0.0), None));
        recent.look(120, counted((0, 0), (14, 6)));
        assert_eq!(recent.write_error_percent(), Some(30.0));
        let mut restarted = Recent::going_on(SPAN, recent.last());
        restarted.look(180, counted((0, 0), (14, 16)));
        assert_eq!(restarted.write_error_percent(), Some(100.0));
        let mut late = Recent::going_on(SPAN, recent.last());
        late.look(9_000, counted((0, 0), (14, 16)));
        assert_eq!(late.write_error_percent(), Some(0.0), "nobody knows when these failed");
    }

    #[test]
    fn a_quota_of_nothing_has_no_share() {
        assert_eq!(Quota { used: 45, limit: 60 }.percent(), Some(75.0));
        assert_eq!(Quota { used: 1, limit: 0 }.percent(), None);
    }

    proptest! {
        /// The share is that of all operations whose look lies within the window, whatever came between.
        #[test]
        fn the_share_is_of_the_window_alone(looks in proptest::collection::vec((1..400_i64, 0..30_u64, 0..30_u64), 1..40)) {
            let mut recent = Recent::of(SPAN);
            recent.look(0, Operations::default());
            let (mut now, mut sum, mut seen) = (0, Outcomes::default(), Vec::new());
            for (pause, ok, failed) in looks {
                now += pause;
                sum = sum.plus(Outcomes { ok, failed });
                seen.push((now, ok, failed));
                recent.look(now, Operations { write: sum, ..Operations::default() });
                let within = seen.iter().filter(|(at, ..)| now - at < 600);
                let (ok, failed) = within.fold((0, 0), |(oks, fails), (_, ok, failed)| (oks + ok, fails + failed));
                let wanted = match ok + failed {
                    0 => Some(0.0),
                    1..10 => None,
                    all => Some(100.0 * failed as f64 / all as f64),
                };
                prop_assert_eq!(recent.write_error_percent(), wanted);
            }
        }
    }
}
