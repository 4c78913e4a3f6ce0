//! What was counted within the last hour, look by look.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

const HOUR: Duration = Duration::from_secs(3_600);
/// Most looks that an hour is kept in.
const LOOKS: usize = 512;

/// Counts of the last hour.
#[derive(Debug)]
pub(super) struct LastHour<T>(VecDeque<(Instant, T)>);

impl<T: Copy> LastHour<T> {
    pub(super) const fn new() -> Self {
        Self(VecDeque::new())
    }

    /// Adds what a look found, and forgets what is too old.
    pub(super) fn add(&mut self, found: T) {
        self.0.push_back((Instant::now(), found));
        while self.0.front().is_some_and(|(at, _)| at.elapsed() > HOUR) || self.0.len() > LOOKS {
            self.0.pop_front();
        }
    }

    pub(super) fn sum(&self, of: impl Fn(T) -> f64) -> f64 {
        self.0.iter().map(|(_, found)| of(*found)).sum()
    }
}
