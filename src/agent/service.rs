//! The agent: a round, a wait, the next round, until it is told to stop.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::cycle::{self, CycleError, Round};
use super::parts::{Parts, PartsError};
use super::timing;
use super::watch::Watch;
use crate::domain::schedule;
use crate::loops::seed::Mode;
use crate::store::config::ConfigError;
use crate::store::db::DbError;

/// What the agent tells while it runs.
pub enum Note<'a> {
    /// A round is done.
    Round(&'a Round),
    /// A round was broken off; the next one tries again.
    Failed(&'a CycleError),
    /// How long it waits.
    Waiting(Duration),
    /// Where its state is served.
    Serving(SocketAddr),
    /// Something that it cannot do; the rest goes on.
    Cannot(&'a str),
    /// The configuration was read again because somebody asked for it; with what is wrong with it, if something
    /// is, and then the one before stays.
    Reloaded(Option<&'a ConfigError>),
    /// It was told to stop.
    Stopping,
}

/// Why the agent ended.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// A part of the home is not in order.
    #[error(transparent)]
    Parts(#[from] PartsError),
    /// The database, for what is measured.
    #[error(transparent)]
    Db(#[from] DbError),
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
pub fn serve(parts: Parts, mode: Mode, tell: &mut dyn FnMut(Note<'_>)) -> Result<(), ServiceError> {
    let _lock = parts.lock()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ServiceError::System)?;
    runtime.block_on(rounds(parts, mode, tell))
}

async fn rounds(mut parts: Parts, mode: Mode, tell: &mut dyn FnMut(Note<'_>)) -> Result<(), ServiceError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(ServiceError::System)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServiceError::System)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(ServiceError::System)?;
    let mut watch = Watch::start(&parts)?;
    if let Some(address) = watch.address {
        tell(Note::Serving(address));
    }
    watch.notes.iter().for_each(|note| tell(Note::Cannot(note)));
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
        refresh(&mut watch, &parts, tell);
        tell(Note::Waiting(wait));
        let mut waited = pin!(tokio::time::sleep(wait));
        loop {
            tokio::select! {
                () = &mut waited => break,
                _ = terminate.recv() => return Ok(stop(watch, tell)),
                _ = interrupt.recv() => return Ok(stop(watch, tell)),
                _ = hangup.recv() => {
                    tell(Note::Reloaded(parts.refresh()?.as_ref()));
                    refresh(&mut watch, &parts, tell);
                }
            }
        }
        wait = timing::next_wait(interval);
    }
}

fn refresh(watch: &mut Watch, parts: &Parts, tell: &mut dyn FnMut(Note<'_>)) {
    watch.refresh(parts);
    watch.notes.iter().for_each(|note| tell(Note::Cannot(note)));
}

fn stop(watch: Watch, tell: &mut dyn FnMut(Note<'_>)) {
    tell(Note::Stopping);
    watch.stop();
}
