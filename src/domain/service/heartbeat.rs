//! A heartbeat with a payload: that it changes is life, and that its work count changes is productivity.

use std::time::Duration;

use serde::Deserialize;

use super::life::{Event, Sign};
use super::wanted::Heartbeat;
use crate::domain::running::Running;

/// What a service wrote.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(untagged)]
pub enum Beat {
    /// `{"beat": 17, "done": 3411}`
    Whole {
        /// Changes while it lives.
        beat: u64,
        /// Changes while it gets work done.
        done: Option<u64>,
    },
    /// `17`
    Plain(u64),
}

impl Beat {
    /// Reads one.
    ///
    /// # Errors
    /// It is of neither form.
    pub fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text.trim())
            .map_err(|_| "it holds neither a number nor {\"beat\": number, \"done\": number}".to_owned())
    }

    const fn beat(&self) -> u64 {
        match self {
            Self::Whole { beat, .. } | Self::Plain(beat) => *beat,
        }
    }

    const fn done(&self) -> Option<u64> {
        match self {
            Self::Whole { done, .. } => *done,
            Self::Plain(_) => None,
        }
    }
}

/// What was read of a heartbeat over time.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Pulse {
    beat: Option<(u64, Running)>,
    done: Option<(u64, Running)>,
}

impl Pulse {
    /// Holds what was read now against what was read before. A file that is missing or cannot be understood says
    /// nothing: whoever took it away is not the one that beats.
    pub fn take(&mut self, wanted: &Heartbeat, read: Result<Beat, String>, now: Running) -> Vec<Event> {
        let beat = match read {
            Ok(beat) => beat,
            Err(why) => return vec![Event::Sign(Sign::Unknown(why))],
        };
        let fresh = renew(&mut self.beat, beat.beat(), now);
        let age = self.beat.map_or(Duration::ZERO, |(_, at)| now.since(at));
        let sign = if fresh || age <= wanted.within {
            Sign::Alive
        } else {
            Sign::Lost(format!("its heartbeat has not changed for {} s", age.as_secs()))
        };
        let mut events = vec![Event::Beat(age), Event::Sign(sign)];
        if let (Some(within), Some(done)) = (wanted.productive_within, beat.done()) {
            renew(&mut self.done, done, now);
            let idle = self.done.map_or(Duration::ZERO, |(_, at)| now.since(at));
            events.push(Event::Productive(Some(idle <= within)));
        }
        events
    }

    /// The time since it last changed.
    #[must_use]
    pub fn age(&self, now: Running) -> Option<Duration> {
        self.beat.map(|(_, at)| now.since(at))
    }
}

/// Whether the value is another one than before.
fn renew(known: &mut Option<(u64, Running)>, value: u64, now: Running) -> bool {
    if known.is_some_and(|(before, _)| before == value) {
        return false;
    }
    *known = Some((value, now));
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a3_a4_a_beat_that_stands_still_is_death_and_work_that_stands_still_is_not() {
        let wanted = Heartbeat {
            file: "/x".into(),
            within: Duration::from_secs(60),
            productive_within: Some(Duration::from_secs(100)),
        };
        let at = |second: u64| Running::from_millis(second * 1_000);
        let mut pulse = Pulse::default();
        let mut read = |text: &str, second| pulse.take(&wanted, Beat::parse(text), at(second));
        let beats = |age| [Event::Beat(Duration::from_secs(age)), Event::Sign(Sign::Alive)];
        let works = |works| [&beats(0)[..], &[Event::Productive(Some(works))]].concat();
        assert_eq!(read("{\"beat\": 1, \"done\": 7}", 0), works(true));
        assert_eq!(read("{\"beat\": 2, \"done\": 7}", 90), works(true));
        assert_eq!(read("{\"beat\": 3, \"done\": 7}", 130), works(false));
        assert_eq!(read("4", 140), beats(0));
        assert_eq!(read("4", 200), beats(60));
        let lost = read("4", 201);
        assert!(
            matches!(&lost[..], [Event::Beat(_), Event::Sign(Sign::Lost(why))] if why.contains("61 s")),
            "{lost:?}"
        );
        for text in ["", "soon", "-1", "{\"beat\": \"x\"}"] {
            assert!(matches!(read(text, 900).as_slice(), [Event::Sign(Sign::Unknown(_))]), "{text}");
        }
    }
}
