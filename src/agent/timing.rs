//! When the agent does the next thing: the schedule of `domain`, with the system's random numbers.

use std::time::Duration;

use crate::domain::schedule;

/// The wait until the next sync.
#[must_use]
pub fn next_wait(interval: Duration) -> Duration {
    let mut random = [0; 8];
    // Without random numbers the wait is the shortest one, which is safe.
    if getrandom::fill(&mut random).is_err() {
        return schedule::next_wait(interval, 0);
    }
    schedule::next_wait(interval, u64::from_le_bytes(random))
}
