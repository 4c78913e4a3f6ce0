//! `for`: whether a claim has held for long enough without a break.

use std::time::Duration;

use super::expr::Truth;

/// Since when a claim holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Hold {
    since: Option<i64>,
}

impl Hold {
    /// Takes what is said now, in seconds since 1970, and answers whether it has been true for `long`. What is
    /// unknown breaks it: nobody saw that it held.
    pub fn step(&mut self, truth: Truth, now: i64, long: Duration) -> bool {
        if truth != Truth::True {
            self.since = None;
            return false;
        }
        // A clock that was set back starts it anew.
        let since = self.since.filter(|since| *since <= now).unwrap_or(now);
        self.since = Some(since);
        u64::try_from(now - since).is_ok_and(|held| held >= long.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b24_only_an_unbroken_truth_holds() {
        let minutes = Duration::from_secs(300);
        let mut hold = Hold::default();
        let mut step = |truth, now| hold.step(truth, now, minutes);
        assert!(!step(Truth::True, 0) && !step(Truth::True, 299) && step(Truth::True, 300));
        assert!(!step(Truth::Unknown, 310) && !step(Truth::True, 320) && step(Truth::True, 620));
        assert!(!step(Truth::False, 630) && !step(Truth::True, 10_000));
        assert!(!step(Truth::True, 50), "the clock went back");
        assert!(step(Truth::True, 350));
        assert!(Hold::default().step(Truth::True, 0, Duration::ZERO));
    }
}
