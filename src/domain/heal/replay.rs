//! Recorded series held against a rule: what was measured row by row, and whether the rule must hold at any of them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::condition::{EventName, Look, Memory, Occurrence, What};
use super::rule::{Rule, span};
use crate::domain::expr::Truth;
use crate::domain::foreign_text;
use crate::domain::series::{History, Point, Series};
use crate::domain::signal::{Signal, demand};

/// The target that is played.
const TARGET: &str = "replayed";
/// Most rows of one series.
const ROWS: usize = 2_000;
/// Longest text, in bytes.
const TEXT_BYTES: usize = 200;

/// A recorded series as it is written.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeriesText {
    say: String,
    #[serde(rename = "match")]
    matches: bool,
    #[serde(with = "span")]
    every: Duration,
    #[serde(default)]
    facts: BTreeMap<String, Vec<f64>>,
    #[serde(default)]
    events: Vec<EventText>,
}

#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventText {
    #[serde(with = "span")]
    at: Duration,
    event: EventName,
}

/// A recorded series that was checked.
#[derive(Clone, PartialEq, Debug)]
pub struct Recorded {
    /// What it shows, in words.
    pub say: String,
    /// Whether the rule must hold at a row of it.
    pub matches: bool,
    every: Duration,
    rows: usize,
    /// A gap is no number.
    facts: Vec<(&'static Signal, String, Vec<f64>)>,
    events: Vec<(Duration, EventName)>,
}

impl SeriesText {
    /// Checks what the format alone does not say.
    ///
    /// # Errors
    /// The mistake, in one sentence.
    pub fn check(self) -> Result<Recorded, String> {
        if self.say.trim().is_empty() || self.say.len() > TEXT_BYTES || foreign_text::check(&self.say).is_err() {
            return Err(format!("`say` must be 1 to {TEXT_BYTES} bytes of plain text"));
        }
        if self.every.is_zero() {
            return Err("`every` must be longer than nothing".to_owned());
        }
        let every = self.every.as_secs();
        let last = self.events.iter().map(|event| event.at.as_secs() / every + 1).max().unwrap_or(0);
        let events = usize::try_from(last).unwrap_or(usize::MAX);
        let rows = self.facts.values().map(Vec::len).max().unwrap_or(events);
        if rows == 0 || rows > ROWS || events > rows {
            return Err(format!("must have 1 to {ROWS} rows, and no event after the last"));
        }
        let mut facts = Vec::new();
        for (name, values) in self.facts {
            if values.len() != rows {
                return Err(format!("`{name}` has {} values and others have {rows}", values.len()));
            }
            let (signal, subject) = name.split_once('/').unwrap_or((&name, ""));
            let signal = demand(signal).map_err(|error| error.to_string())?;
            facts.push((signal, subject.replace("{target}", TARGET), values));
        }
        let events = self.events.into_iter().map(|event| (event.at, event.event)).collect();
        Ok(Recorded { say: self.say, matches: self.matches, every: self.every, rows, facts, events })
    }
}

impl Recorded {
    /// The first row, from 0, at which the rule holds and its diagnosis is confirmed.
    #[must_use]
    pub fn holds_at(&self, rule: &Rule) -> Option<usize> {
        let mut memory = Memory::default();
        (0..self.rows).find(|row| {
            let history = self.history(*row);
            let now = self.at(*row);
            let new = self.events.iter().filter(|(at, _)| at.as_secs() / self.every.as_secs() == *row as u64);
            let occurrences: Vec<Occurrence> = new
                .map(|(_, event)| Occurrence { at: now, target: TARGET.to_owned(), what: What::Event(*event) })
                .collect();
            let look = Look { target: TARGET, history: &history, occurrences: &occurrences, wall: now, now };
            let holds = rule.trigger.look(&mut memory, &look).truth == Truth::True;
            let confirmed = |question: &super::rule::Diagnosis| {
                question.when.look(&mut Memory::default(), &look).truth == Truth::True
            };
            holds && rule.diagnose.iter().all(confirmed)
        })
    }

    /// Whether the rule does what it must.
    #[must_use]
    pub fn is_right(&self, rule: &Rule) -> bool {
        self.holds_at(rule).is_some() == self.matches
    }

    fn at(&self, row: usize) -> i64 {
        let seconds = self.every.as_secs().saturating_mul(row as u64 + 1);
        i64::try_from(seconds).unwrap_or(i64::MAX)
    }

    /// What was measured up to this row.
    fn history(&self, row: usize) -> History {
        let mut history = History::new();
        for (signal, subject, values) in &self.facts {
            let points = values.iter().take(row + 1).enumerate().map(|(row, value)| {
                let known = (!value.is_nan()).then_some(*value);
                Point::reading(self.at(row), known)
            });
            let series = Series { subject: subject.clone(), every: self.every, points: points.collect() };
            history.put(signal.name, series);
        }
        history
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        match toml::from_str::<SeriesText>(text) {
            Ok(series) => series.check().expect_err(text),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn mistakes_of_a_series_are_named() {
        let start = "say = \"it grows\"\nmatch = true\nevery = \"1m\"\n";
        for (text, expected) in [
            (String::from("match = true\nevery = \"1m\"\n"), "missing field `say`"),
            (start.to_owned(), "must have 1 to"),
            (format!("{start}[facts]\n\"unit.faild/{{target}}\" = [1]\n"), "did you mean"),
            (
                format!("{start}[facts]\n\"unit.failed/{{target}}\" = [1]\n\"unit.active/{{target}}\" = [1, 0]\n"),
                "has 1 values and others have 2",
            ),
            (
                format!(
                    "{start}events = [{{ at = \"9m\", event = \"exited\" }}]\n[facts]\n\"unit.failed/{{target}}\" = [1]\n"
                ),
                "no event after the last",
            ),
        ] {
            let why = refused(&text);
            assert!(why.contains(expected), "{text}: {why}");
        }
    }
}
