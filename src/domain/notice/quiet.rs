//! Hours in which only what is critical is told.

use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::window;

const DAY: i64 = 24 * 60;

/// Quiet hours as they are written: `22:00-07:00`, in UTC, or with an offset such as `22:00-07:00 +08:00`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct QuietHours {
    /// Minutes of the day, local.
    from: i64,
    to: i64,
    /// Minutes that local time is ahead of UTC.
    offset: i64,
}

/// Why a text is no quiet hours.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not quiet hours such as `22:00-07:00` (UTC) or `22:00-07:00 +08:00`")]
pub struct QuietHoursError(String);

impl FromStr for QuietHours {
    type Err = QuietHoursError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || QuietHoursError(text.to_owned());
        let (span, offset) = text.split_once(' ').unwrap_or((text, "+00:00"));
        let (from, to) = span.split_once('-').ok_or_else(wrong)?;
        let clock = |text| window::clock(text).filter(|minutes| *minutes < DAY).ok_or_else(wrong);
        let offset = window::offset(offset).ok_or_else(wrong)?;
        let hours = Self { from: clock(from)?, to: clock(to)?, offset };
        if hours.from == hours.to { Err(wrong()) } else { Ok(hours) }
    }
}

impl TryFrom<String> for QuietHours {
    type Error = QuietHoursError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<QuietHours> for String {
    fn from(hours: QuietHours) -> Self {
        window::written(hours.from, hours.to, hours.offset)
    }
}

impl QuietHours {
    /// When the quiet that holds at `now` ends; `None` when it is not quiet.
    #[must_use]
    pub fn end(&self, now: Timestamp) -> Option<Timestamp> {
        let minute = (now.as_second().div_euclid(60) + self.offset).rem_euclid(DAY);
        let length = (self.to - self.from).rem_euclid(DAY);
        let into = (minute - self.from).rem_euclid(DAY);
        if into >= length {
            return None;
        }
        let end = (now.as_second().div_euclid(60) + length - into) * 60;
        Timestamp::from_second(end).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn quiet_runs_over_midnight_and_ends_on_the_minute() {
        let night: QuietHours = "22:00-07:00".parse().expect("hours");
        assert_eq!(night.end(at("2026-03-01T21:59:59Z")), None);
        assert_eq!(night.end(at("2026-03-01T22:00:00Z")), Some(at("2026-03-02T07:00:00Z")));
        assert_eq!(night.end(at("2026-03-02T06:59:59Z")), Some(at("2026-03-02T07:00:00Z")));
        assert_eq!(night.end(at("2026-03-02T07:00:00Z")), None);
        let east: QuietHours = "22:00-07:00 +08:00".parse().expect("hours");
        assert_eq!(east.end(at("2026-03-01T14:00:00Z")), Some(at("2026-03-01T23:00:00Z")));
        assert_eq!(east.end(at("2026-03-01T23:00:00Z")), None);
    }

    #[test]
    fn what_is_written_is_read_back_and_nonsense_is_refused() {
        for text in ["22:00-07:00 +08:00", "00:30-23:59 -03:30"] {
            assert_eq!(String::from(text.parse::<QuietHours>().expect("hours")), text);
        }
        for text in ["", "22-07", "24:00-07:00", "22:00-22:00", "22:00-07:00 08:00", "2:00-07:00", "é-x +é"] {
            assert!(text.parse::<QuietHours>().is_err(), "{text}");
        }
    }
}
