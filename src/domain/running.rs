//! Time that has surely passed, whatever the wall clock says: what budgets and freezes are counted by.
//!
//! Within one boot the machine's own count of seconds since it started is believed. Over a reboot only the new boot's
//! count is: how long the machine was off is known to the wall clock alone, which may be wrong. So the sum may run
//! behind, which makes a budget smaller and a freeze longer, and never ahead.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A sum of time that has surely passed since this home was made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Running {
    milliseconds: u64,
}

impl Running {
    /// The sum with this many milliseconds, as it was stored.
    #[must_use]
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self { milliseconds }
    }

    /// The sum in milliseconds, for storing.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.milliseconds
    }

    /// The time from `earlier` to this; nothing when it is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.milliseconds.saturating_sub(earlier.milliseconds))
    }

    /// The sum after `span` more.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self { milliseconds: self.milliseconds.saturating_add(millis(span)) }
    }

    /// The sum `span` before; the beginning where there is none.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        Self { milliseconds: self.milliseconds.saturating_sub(millis(span)) }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// The clocks of the machine at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Moment {
    /// The wall clock, for people.
    pub wall: Timestamp,
    /// What tells this boot of the machine from others.
    pub boot: String,
    /// Time since this boot, suspended or not.
    pub uptime: Duration,
}

/// The last moment that was counted, and the sum at it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Counted {
    /// The boot.
    pub boot: String,
    /// Milliseconds since that boot.
    pub uptime: u64,
    /// The sum.
    pub running: Running,
}

/// Counts on from `last` to `now`.
#[must_use]
pub fn count(last: Option<&Counted>, now: &Moment) -> Counted {
    let uptime = millis(now.uptime);
    let (sum, passed) = match last {
        None => (Running::default(), 0),
        Some(last) if last.boot == now.boot => (last.running, uptime.saturating_sub(last.uptime)),
        Some(last) => (last.running, uptime),
    };
    Counted { boot: now.boot.clone(), uptime, running: sum.after(Duration::from_millis(passed)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(wall: i64, boot: &str, uptime: u64) -> Moment {
        let wall = Timestamp::from_second(wall).expect("a time");
        Moment { wall, boot: boot.to_owned(), uptime: Duration::from_secs(uptime) }
    }

    #[test]
    fn only_what_surely_passed_is_counted() {
        let first = count(None, &at(1_000, "a", 500));
        assert_eq!(first.running, Running::default());
        // The wall clock jumps ten years ahead, then back to 1970: ten seconds have passed.
        let second = count(Some(&first), &at(320_000_000, "a", 505));
        let third = count(Some(&second), &at(0, "a", 510));
        assert_eq!(third.running.as_millis(), 10_000);
        // A reboot: only the new boot's own time.
        let fourth = count(Some(&third), &at(900_000_000, "b", 30));
        assert_eq!(fourth.running.as_millis(), 40_000);
        // A count of seconds that runs back gives nothing.
        assert_eq!(count(Some(&fourth), &at(900_000_000, "b", 3)).running, fourth.running);
    }
}
