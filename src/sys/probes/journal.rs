//! The journal of systemd: how many lines of a unit are errors. `journalctl` reads it, from where it stopped.

use std::time::Duration;

use regex::Regex;
use serde::Deserialize;
use serde_json::Value;

use super::last_hour::LastHour;
use super::{megabytes, reading};
use crate::domain::signal::Subject;
use crate::ports::{Exec, Exit, Probe, Program, Reading};

/// Most output that is kept of one look. Of a flood its start is read, and stands for all of it.
const LOOK: usize = 8 * 1024 * 1024;
/// Priorities up to this one are errors: emergency, alert, critical, error.
const ERROR: u8 = 3;
/// Longest cursor that is kept; they have about 130 bytes.
const CURSOR_BYTES: usize = 512;

/// What of the journal is looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JournalOf {
    /// The unit; all of them when `None`.
    pub unit: Option<String>,
    /// What counts as an error; else lines with the priority of one.
    pub pattern: Option<String>,
}

/// Asks `journalctl` for what is new.
pub struct JournalProbe<E> {
    name: Subject,
    unit: Option<String>,
    pattern: Option<Regex>,
    /// The program that reads the journal.
    program: String,
    timeout: Duration,
    cursor: Option<String>,
    hour: LastHour<f64>,
    skipped: f64,
    exec: E,
}

/// A line of its output.
#[derive(Deserialize)]
struct Line {
    #[serde(rename = "__CURSOR")]
    cursor: String,
    #[serde(rename = "__REALTIME_TIMESTAMP")]
    at: String,
    /// A text; a list of bytes where it is none; nothing where it is too large.
    #[serde(rename = "MESSAGE", default)]
    message: Value,
    #[serde(rename = "PRIORITY", default)]
    priority: Option<String>,
}

impl<E: Exec> JournalProbe<E> {
    /// Asks `program`, which is `journalctl`, and goes on from `mark`.
    ///
    /// # Errors
    /// The pattern is no regular expression.
    pub fn new(
        name: Subject,
        of: &JournalOf,
        program: &str,
        timeout: Duration,
        mark: Option<&str>,
        exec: E,
    ) -> Result<Self, String> {
        let build = |pattern: &String| regex::RegexBuilder::new(pattern).size_limit(256 * 1024).build();
        let pattern = of.pattern.as_ref().map(build).transpose().map_err(|error| error.to_string())?;
        let cursor = mark.filter(|mark| is_cursor(mark)).map(str::to_owned);
        let (unit, program) = (of.unit.clone(), program.to_owned());
        Ok(Self { name, unit, pattern, program, timeout, cursor, hour: LastHour::new(), skipped: 0.0, exec })
    }

    fn ask(&self, arguments: &[&str]) -> Result<Vec<u8>, String> {
        let fixed = [self.program.as_str(), "--quiet", "--no-pager", "--output=json"];
        let fields = "--output-fields=MESSAGE,PRIORITY";
        let argv = fixed.iter().chain([&fields]).chain(arguments).map(|one| (*one).to_owned()).collect();
        let dir = std::path::PathBuf::from("/");
        // Both questions of a look fit into its time.
        let ran = self.exec.run(&Program { argv, dir, timeout: self.timeout / 2, output_cap: LOOK, memory: None });
        match ran.exit {
            Exit::Code(0) => Ok(ran.stdout),
            // What it said by then is whole lines of the journal all the same.
            Exit::TimedOut if ran.stdout.len() >= LOOK => Ok(ran.stdout),
            Exit::TimedOut => Err("the journal did not answer in time".to_owned()),
            Exit::Code(code) => {
                let said = String::from_utf8_lossy(&ran.stderr);
                Err(format!("journalctl ended with {code}: {}", said.lines().next().unwrap_or_default()))
            }
            Exit::Signal(signal) => Err(format!("journalctl was ended by signal {signal}")),
            Exit::NotStarted(why) => Err(why),
        }
    }

    /// The newest line of the whole journal: a unit may have none yet.
    fn newest(&self) -> Result<Option<Line>, String> {
        let said = self.ask(&["--lines=1"])?;
        Ok(lines(&said).last())
    }

    /// Counts what is new. False at the first look, which only finds its place.
    fn look(&mut self) -> Result<bool, String> {
        let Some(cursor) = self.cursor.clone() else {
            self.cursor = self.newest()?.map(|line| line.cursor).filter(|cursor| is_cursor(cursor));
            return Ok(false);
        };
        let after = format!("--after-cursor={cursor}");
        let unit = self.unit.as_ref().map(|unit| format!("--unit={unit}"));
        let mut arguments = vec![after.as_str()];
        arguments.extend(unit.as_deref());
        let said = match self.ask(&arguments) {
            Ok(said) => said,
            Err(why) => {
                // It may be that the place is gone with the old part of the journal.
                self.cursor = None;
                return Err(why);
            }
        };
        let (mut matches, mut first, mut last) = (0.0, None, None);
        for line in lines(&said) {
            matches += f64::from(u8::from(self.is_error(&line)));
            let at = line.at.parse::<u64>().ok();
            first = first.or(at);
            last = at.or(last);
            if is_cursor(&line.cursor) {
                self.cursor = Some(line.cursor);
            }
        }
        if said.len() >= LOOK {
            // The rest is left out. By the time that it took it is told how much that was.
            let newest = self.newest()?;
            let end = newest.as_ref().and_then(|line| line.at.parse::<u64>().ok());
            if let (Some(first), Some(last), Some(end)) = (first, last, end) {
                let (read, all) = (last.saturating_sub(first).max(1), end.saturating_sub(first).max(1));
                // Fewer than 2^53 microseconds.
                let times = (all as f64 / read as f64).max(1.0);
                matches *= times;
                self.skipped += megabytes(said.len() as u64) * (times - 1.0);
            }
            self.cursor =
                newest.map(|line| line.cursor).filter(|cursor| is_cursor(cursor)).or_else(|| self.cursor.take());
        }
        self.hour.add(matches);
        Ok(true)
    }

    fn is_error(&self, line: &Line) -> bool {
        match &self.pattern {
            Some(pattern) => pattern.is_match(&text(&line.message)),
            None => line.priority.as_ref().and_then(|one| one.parse::<u8>().ok()).is_some_and(|one| one <= ERROR),
        }
    }
}

impl<E: Exec + Send> Probe for JournalProbe<E> {
    fn read(&mut self) -> Vec<Reading> {
        match self.look() {
            Ok(false) => Vec::new(),
            Ok(true) => vec![
                reading("log.error_rate", &self.name, Ok(self.hour.sum(|matches| matches))),
                reading("log.skipped_mb", &self.name, Ok(self.skipped)),
            ],
            Err(why) => vec![reading("log.error_rate", &self.name, Err(why))],
        }
    }

    fn mark(&self) -> Option<String> {
        self.cursor.clone()
    }
}

fn lines(said: &[u8]) -> impl Iterator<Item = Line> + '_ {
    // The last one may be cut off; what is no JSON is none of its lines.
    said.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok())
}

fn text(message: &Value) -> String {
    match message {
        Value::String(text) => text.clone(),
        Value::Array(bytes) => {
            let bytes = bytes.iter().filter_map(|byte| byte.as_u64().and_then(|byte| u8::try_from(byte).ok()));
            String::from_utf8_lossy(&bytes.collect::<Vec<_>>()).into_owned()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => String::new(),
    }
}

/// It becomes an argument again.
fn is_cursor(text: &str) -> bool {
    !text.is_empty() && text.len() <= CURSOR_BYTES && text.bytes().all(|byte| byte.is_ascii_graphic())
}
