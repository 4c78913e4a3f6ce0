//! A program that gets the letter as JSON in its last argument.

use std::path::PathBuf;

use super::{ANSWER, TIMEOUT};
use crate::domain::foreign_text::display_line;
use crate::domain::notice::Letter;
use crate::ports::{Courier, Exec as _, Exit, Undelivered};
use crate::sys::exec::SystemExec;

pub(super) struct Program {
    pub(super) argv: Vec<String>,
    pub(super) home: PathBuf,
}

impl Courier for Program {
    fn deliver(&mut self, letter: &Letter) -> Result<(), Undelivered> {
        let json = serde_json::to_string(letter).map_err(|error| super::undelivered(&error))?;
        let ran = SystemExec.run(&crate::ports::Program {
            argv: self.argv.iter().cloned().chain([json]).collect(),
            dir: self.home.clone(),
            timeout: TIMEOUT,
            output_cap: usize::try_from(ANSWER).unwrap_or_default(),
            memory: None,
        });
        let said = display_line(&String::from_utf8_lossy(&ran.stderr));
        let name = &self.argv[0];
        Err(Undelivered(match ran.exit {
            Exit::Code(0) => return Ok(()),
            Exit::Code(code) => format!("{name} ended with {code}: {said}"),
            Exit::Signal(signal) => format!("{name} was ended by signal {signal}"),
            Exit::TimedOut => format!("{name} was stopped after {} s", TIMEOUT.as_secs()),
            Exit::NotStarted(why) => format!("{name} was not started: {why}"),
        }))
    }
}
