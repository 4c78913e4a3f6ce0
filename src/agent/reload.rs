//! Reading the configuration again while the agent runs: who asks, whom, and what came of it.

use std::thread;
use std::time::{Duration, Instant};

use super::parts::{Parts, PartsError};
use crate::domain::foreign_text::error_line;
use crate::ports::Clock as _;
use crate::store::config::ConfigError;
use crate::store::db::DbError;
use crate::store::home::AgentLock;
use crate::sys::host;
use crate::sys::managers::process;

/// What the agent did about it last: a moment, and what was wrong, if something was.
const FACT: &str = "reload";
/// Between two looks at whether it did.
const LOOK: Duration = Duration::from_millis(50);

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reloaded {
    /// The new configuration is in force.
    Taken,
    /// It is not in order, and the one before stays.
    Kept(String),
    /// The agent was told, and did not answer in time: it finishes its round first.
    Asked,
    /// No agent runs.
    NoAgent,
}

/// Why nobody could be asked.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The home.
    #[error(transparent)]
    Parts(#[from] PartsError),
    /// The system does not let us.
    #[error("the agent (pid {pid}) cannot be told: are you its user?")]
    Signal {
        /// The agent.
        pid: u32,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
}

/// Says in the lock that this process is the agent.
///
/// # Errors
/// The system refused.
pub fn announce(lock: &mut AgentLock) -> std::io::Result<()> {
    let own = process::now(std::process::id()).ok_or(std::io::ErrorKind::NotFound)?;
    lock.name_holder(own)
}

/// Remembers what came of reading the configuration again.
///
/// # Errors
/// SQLite refused.
pub fn tell(parts: &mut Parts, read: &Result<Option<ConfigError>, PartsError>) -> Result<(), DbError> {
    let wrong = match read {
        Ok(None) => String::new(),
        Ok(Some(error)) => error_line(error),
        Err(error) => error_line(error),
    };
    let at = parts.clock.now().as_nanosecond();
    parts.db.set_fact(FACT, &format!("{at} {wrong}"))
}

/// Asks the agent of this home to read its configuration again, and waits for at most `wait`.
///
/// # Errors
/// The agent cannot be told.
pub fn ask(parts: &Parts, wait: Duration) -> Result<Reloaded, ReloadError> {
    let fact = || parts.db.fact(FACT).map_err(PartsError::Db);
    let Some(agent) = parts.home.agent().map_err(PartsError::Home)? else { return Ok(Reloaded::NoAgent) };
    let before = fact()?;
    match host::hang_up(agent) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Reloaded::NoAgent),
        Err(cause) => return Err(ReloadError::Signal { pid: agent.pid, cause }),
    }
    let end = Instant::now() + wait;
    while Instant::now() < end {
        if let Some(said) = fact()?.filter(|said| before.as_ref() != Some(said)) {
            let wrong = said.split_once(' ').map_or("", |(_, wrong)| wrong);
            return Ok(if wrong.is_empty() { Reloaded::Taken } else { Reloaded::Kept(wrong.to_owned()) });
        }
        thread::sleep(LOOK);
    }
    Ok(Reloaded::Asked)
}
