//! The agent: a round, a wait, the next round, until it is told to stop.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::cycle::{self, CycleError, Round};
use super::parts::{Parts, PartsError};
use super::{timing, undo};
use crate::domain::schedule;
use crate::loops::seed::{Found, Mode, SeedError};

/// What the agent tells while it runs.
pub enum Note<'a> {
    /// What a killed process had begun is finished or undone.
    Recovered(&'a [Found]),
    /// A round is done.
    Round(&'a Round),
    /// A round was broken off; the next one tries again.
    Failed(&'a CycleError),
    /// How long it waits.
    Waiting(Duration),
    /// It was told to stop.
    Stopping,
}

/// Why the agent ended.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// A part of the home is not in order.
    #[error(transparent)]
    Parts(#[from] PartsError),
    /// What a killed process left cannot be looked at.
    #[error("the agent cannot start")]
    Undo(#[source] SeedError),
    /// The system does not give what an agent needs.
    #[error("the agent cannot run")]
    System(#[source] std::io::Error),
    /// A round ended by a panic: it ends the agent, so that no half-dead one stays.
    #[error("a round ended by a fault of the program: {0}")]
    Round(String),
}

/// Runs rounds until SIGTERM or SIGINT. A round that is under way is finished first.
///
/// # Errors
/// The home is in use or the system refuses; a failed round is told and tried again.
pub fn serve(mut parts: Parts, mode: Mode, tell: &mut dyn FnMut(Note<'_>)) -> Result<(), ServiceError> {
    let _lock = parts.lock()?;
    // Before any loop runs: until then it is not known what is in place.
    let found = undo::recover(&mut parts).map_err(ServiceError::Undo)?;
    if !found.is_empty() {
        tell(Note::Recovered(&found));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ServiceError::System)?;
    runtime.block_on(rounds(parts, mode, tell))
}

async fn rounds(mut parts: Parts, mode: Mode, tell: &mut dyn FnMut(Note<'_>)) -> Result<(), ServiceError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(ServiceError::System)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServiceError::System)?;
    let interval = parts.config.interval();
    // The first round is at once: a person who starts the agent wants to see it work. The second one finds the
    // host's own place in the interval, so that a fleet that was started together does not stay together.
    let mut wait = schedule::first_offset(parts.key.host(), interval);
    loop {
        let work = tokio::task::spawn_blocking(move || {
            let round = cycle::round(&mut parts, &[], mode, &mut |_| {});
            (parts, round)
        });
        let round;
        (parts, round) = work.await.map_err(|fault| ServiceError::Round(fault.to_string()))?;
        match &round {
            Ok(round) => tell(Note::Round(round)),
            Err(error) => tell(Note::Failed(error)),
        }
        tell(Note::Waiting(wait));
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = terminate.recv() => { tell(Note::Stopping); return Ok(()); }
            _ = interrupt.recv() => { tell(Note::Stopping); return Ok(()); }
        }
        wait = timing::next_wait(interval);
    }
}
