//! Times of the week, as people write them: `Mon-Fri 22:00-07:00 +08:00`.

use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

const DAY: i64 = 24 * 60;
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// Hours of some days of the week. Hours that run over midnight belong to the day on which they begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Window {
    /// Whether each day from Monday on is one of them.
    days: [bool; 7],
    /// Minutes of the day, local.
    from: i64,
    to: i64,
    /// Minutes that local time is ahead of UTC.
    offset: i64,
}

/// Why a text is no such time.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is no time of the week such as `Sun`, `02:00-04:00` (UTC) or `Mon-Fri 22:00-07:00 +08:00`")]
pub struct WindowError(String);

/// Minutes of a day; `24:00` is its end.
pub(in crate::domain) fn clock(text: &str) -> Option<i64> {
    let (hours, minutes) = text.split_once(':')?;
    let two = |part: &str| (part.len() == 2).then(|| part.parse::<u8>().ok()).flatten();
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    let sum = i64::from(hours) * 60 + i64::from(minutes);
    (minutes < 60 && sum <= DAY).then_some(sum)
}

/// Minutes that local time is ahead of UTC, as in `+08:00`.
pub(in crate::domain) fn offset(text: &str) -> Option<i64> {
    let (ahead, rest) = (text.strip_prefix('+'), text.strip_prefix('-'));
    let minutes = clock(ahead.or(rest)?)?;
    (minutes < DAY).then_some(if ahead.is_some() { minutes } else { -minutes })
}

/// Two times of the day and an offset as [`clock`] and [`offset`] read them.
pub(in crate::domain) fn written(from: i64, to: i64, offset: i64) -> String {
    let clock = |minutes: i64| format!("{:02}:{:02}", minutes / 60, minutes % 60);
    let sign = if offset < 0 { '-' } else { '+' };
    format!("{}-{} {sign}{}", clock(from), clock(to), clock(offset.abs()))
}

fn days(text: &str) -> Option<[bool; 7]> {
    let place = |name: &str| DAYS.iter().position(|day| *day == name);
    let mut found = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (place(first)?, place(last)?);
        // Also round the end of the week: Sat-Mon.
        (0..=(last + 7 - first) % 7).for_each(|step| found[(first + step) % 7] = true);
    }
    Some(found)
}

fn hours(text: &str) -> Option<(i64, i64)> {
    let (from, to) = text.split_once('-')?;
    let (from, to) = (clock(from)?, clock(to)?);
    (from < DAY && from != to).then_some((from, to))
}

impl FromStr for Window {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        let mut window = Self { days: [true; 7], from: 0, to: DAY, offset: 0 };
        let (mut left, mut told) = (text.split(' ').peekable(), 0);
        if let Some(days) = left.peek().copied().and_then(days) {
            (window.days, told) = (days, 1);
            left.next();
        }
        if let Some((from, to)) = left.peek().copied().and_then(hours) {
            (window.from, window.to, told) = (from, to, 1);
            left.next();
        }
        if let Some(offset) = left.peek().copied().and_then(offset) {
            window.offset = offset;
            left.next();
        }
        if left.next().is_some() || told == 0 { Err(WindowError(text.to_owned())) } else { Ok(window) }
    }
}

impl TryFrom<String> for Window {
    type Error = WindowError;

    fn try_from(text: String) -> Result<Self, WindowError> {
        text.parse()
    }
}

impl From<Window> for String {
    fn from(window: Window) -> Self {
        let days: Vec<&str> = DAYS.iter().zip(window.days).filter(|(_, is)| *is).map(|(day, _)| *day).collect();
        format!("{} {}", days.join(","), written(window.from, window.to, window.offset))
    }
}

impl Window {
    /// Whether it is such a time now.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        let minutes = now.as_second().div_euclid(60) + self.offset;
        let length = if self.to > self.from { self.to - self.from } else { self.to + DAY - self.from };
        let into = (minutes - self.from).rem_euclid(DAY);
        // The day on which those hours began; the first day of 1970 was a Thursday.
        let day = (minutes - into).div_euclid(DAY) + 3;
        into < length && usize::try_from(day.rem_euclid(7)).is_ok_and(|day| self.days[day])
    }
}

/// When something is done: at the times of `only`, all of them where none is named, but for those of `except`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Times {
    /// Where there are any, only then.
    pub only: Vec<Window>,
    /// Not then.
    pub except: Vec<Window>,
}

impl Times {
    /// Whether now is such a time.
    #[must_use]
    pub fn hold(&self, now: Timestamp) -> bool {
        let any = |windows: &[Window]| windows.iter().any(|window| window.holds(now));
        (self.only.is_empty() || any(&self.only)) && !any(&self.except)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn b25_hours_of_days_hold_then_and_at_no_other_minute() {
        // 2026-03-01 was a Sunday.
        let nights: Window = "Mon-Fri 22:00-07:00".parse().expect("a time");
        for (time, holds) in [
            ("2026-03-02T21:59:59Z", false),
            ("2026-03-02T22:00:00Z", true),
            ("2026-03-03T06:59:59Z", true),
            ("2026-03-03T07:00:00Z", false),
            // The night of Friday ends on Saturday; Sunday's is none of them.
            ("2026-03-07T06:00:00Z", true),
            ("2026-03-07T23:00:00Z", false),
            ("2026-03-02T06:00:00Z", false),
        ] {
            assert_eq!(nights.holds(at(time)), holds, "{time}");
        }
        let east: Window = "Sun +08:00".parse().expect("a time");
        assert!(east.holds(at("2026-02-28T16:00:00Z")) && !east.holds(at("2026-03-01T16:00:00Z")));
        let weekend: Window = "Sat-Mon 00:00-24:00".parse().expect("a time");
        assert!(weekend.holds(at("2026-03-02T23:59:00Z")) && !weekend.holds(at("2026-03-03T00:00:00Z")));
        assert!("02:00-04:00".parse::<Window>().expect("a time").holds(at("1969-12-31T03:00:00Z")));
    }

    #[test]
    fn b25_what_is_left_out_counts_before_what_is_named() {
        let windows = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a time")).collect();
        let times = Times { only: windows(&["Mon-Fri"]), except: windows(&["02:00-04:00"]) };
        assert!(times.hold(at("2026-03-02T01:00:00Z")));
        assert!(!times.hold(at("2026-03-02T03:00:00Z")) && !times.hold(at("2026-03-01T01:00:00Z")));
        assert!(Times::default().hold(at("2026-03-01T01:00:00Z")));
    }

    #[test]
    fn what_is_written_is_read_back_and_nonsense_is_refused() {
        for text in ["Mon,Tue 22:00-07:00 +08:00", "Sun 00:00-24:00 -03:30"] {
            assert_eq!(String::from(text.parse::<Window>().expect("a time")), text);
        }
        for text in
            ["", "+08:00", "mon", "Mon-", "Mon 25:00-26:00", "22:00-22:00", "24:00-02:00", "Mon  Tue", "é", "Sun x"]
        {
            assert!(text.parse::<Window>().is_err(), "{text}");
        }
    }
}
