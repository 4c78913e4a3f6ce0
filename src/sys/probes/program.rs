//! A program of the user's, with the exit codes of Nagios plugins: 0 good, 1 warning, 2 critical, else unknown.

use super::reading;
use crate::domain::signal::Subject;
use crate::ports::{Exec, Exit, Probe, Program, Ran, Reading};

/// Runs a program and reads its code, and the number that it prints.
pub struct ProgramProbe<E> {
    name: Subject,
    program: Program,
    signal: Option<&'static str>,
    label: Option<String>,
    exec: E,
}

impl<E: Exec> ProgramProbe<E> {
    /// Runs `program`. Where `signal` is named, the number that it prints is a reading of that: the one with
    /// `label` in its performance data, else the first one there, else the first word.
    #[must_use]
    pub fn new(name: Subject, program: Program, signal: Option<&'static str>, label: Option<String>, exec: E) -> Self {
        Self { name, program, signal, label, exec }
    }
}

impl<E: Exec + Send> Probe for ProgramProbe<E> {
    fn read(&mut self) -> Vec<Reading> {
        let ran = self.exec.run(&self.program);
        let said = String::from_utf8_lossy(&ran.stdout);
        let status = status(&ran, &said);
        let mut readings = Vec::new();
        if let Some(signal) = self.signal {
            let value = match &status {
                Ok(_) => value(&said, self.label.as_deref()).ok_or_else(|| "it printed no such number".to_owned()),
                Err(why) => Err(why.clone()),
            };
            readings.push(reading(signal, &self.name, value));
        }
        readings.push(reading("check.status", &self.name, status));
        readings
    }
}

fn status(ran: &Ran, said: &str) -> Result<f64, String> {
    let first = || said.lines().next().unwrap_or_default().chars().take(200).collect::<String>();
    match &ran.exit {
        Exit::Code(code @ 0..=2) => Ok(f64::from(*code)),
        Exit::Code(code) => Err(format!("code {code}: {}", first())),
        Exit::Signal(signal) => Err(format!("ended by signal {signal}")),
        Exit::TimedOut => Err("no answer in time".to_owned()),
        Exit::NotStarted(why) => Err(why.clone()),
    }
}

/// The number in `text | 'a label'=12.5ms;warn;crit other=3`, or at the start of the text.
fn value(said: &str, label: Option<&str>) -> Option<f64> {
    let data = said.split_once('|').map_or("", |(_, data)| data);
    let mut labelled = data.split_ascii_whitespace().filter_map(|item| item.split_once('='));
    let found = match label {
        Some(label) => labelled.find(|(name, _)| name.trim_matches('\'') == label),
        None => labelled.next(),
    };
    match (found, label) {
        (Some((_, rest)), _) => number(rest),
        (None, None) => number(said.split_ascii_whitespace().next()?),
        (None, Some(_)) => None,
    }
}

/// The number that a text starts with.
fn number(text: &str) -> Option<f64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '-' | '+')).unwrap_or(text.len());
    text[..end].parse::<f64>().ok().filter(|number| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b23_the_number_of_a_plugin_is_found() {
        let plugin = "DISK OK - free | 'used'=12.5GB;80;90 /var=3%;1;2\nmore";
        assert_eq!(value(plugin, None), Some(12.5));
        assert_eq!(value(plugin, Some("/var")), Some(3.0));
        assert_eq!(value(plugin, Some("missing")), None);
        assert_eq!(value("17 jobs", None), Some(17.0));
        assert_eq!(value("-2.5", None), Some(-2.5));
        for text in ["", "none", "|", "| =", "| a=U", "1e999", "inf"] {
            assert!(value(text, None).is_none_or(f64::is_finite), "{text}");
        }
    }
}
