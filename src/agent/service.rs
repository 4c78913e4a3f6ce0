//! The agent: a round, a wait, the next round, until it is told to stop.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::cycle::{self, CycleError, Round};
use super::heal::{self, Heal};
use super::kaizen::Kaizen;
use super::maintenance;
use super::notifying::{self, Notifying};
use super::parts::{Parts, PartsError};
use super::rules::RulesError;
use super::services::{Say, Services};
use super::watch::Watch;
use super::{hindsight, reload, timing, undo};
use crate::domain::foreign_text::error_line;
use crate::domain::schedule;
use crate::loops::seed::{Found, Mode};
use crate::store::config::ConfigError;
use crate::store::db::DbError;
use crate::sys::memory;
use crate::sys::ready::Ready;

/// From the end of a round until what it set off in other threads is over too: then the agent rests.
const SETTLED: Duration = Duration::from_secs(20);

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
    /// What a killed process left cannot be looked at.
    #[error("the agent cannot start")]
    Undo(#[source] undo::UndoError),
    /// The database, for what is measured.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The rules.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// The system does not give what an agent needs.
    #[error("the agent cannot run")]
    System(#[source] std::io::Error),
    /// Supervision ended by a panic: the agent ends too, so that it is started again and takes its services over.
    #[error("supervision ended by a fault of the program: every service stays as it is; start mesh again")]
    Supervision,
    /// A round ended by a panic: it ends the agent, so that no half-dead one stays.
    #[error("a round ended by a fault of the program: {0}")]
    Round(String),
}

/// What goes on while rounds come and go.
struct Running {
    parts: Parts,
    watch: Watch,
    services: Services,
    heal: Option<Heal>,
    kaizen: Option<Kaizen>,
    notifying: Notifying,
    mode: Mode,
}

impl Running {
    /// Takes over what was read again.
    fn refresh(&mut self) {
        self.watch.refresh(&self.parts);
        self.services.refresh(&self.parts);
        self.notifying.refresh(&self.parts);
        if self.mode != Mode::Tell
            && let Err(error) = maintenance::configure(&mut self.parts)
        {
            self.watch.notes.push(format!("maintenance windows are not taken over: {}", error_line(&error)));
        }
        if let Some(heal) = &mut self.heal {
            heal.refresh(&self.parts, is_dry(self.mode));
        }
    }
}

/// What the agent is told by signals.
struct Told {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Told {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

/// Whether everything is done but what changes anything.
fn is_dry(mode: Mode) -> bool {
    mode != Mode::Seed
}

/// Runs rounds, and rules and supervision beside them, until SIGTERM or SIGINT. A round that is under way is finished
/// first. SIGHUP reads the configuration again. What happens to services is told by `say`, and what rules do by `log`,
/// at once.
///
/// # Errors
/// The home is in use or the system refuses; a failed round is told and tried again.
pub fn serve(
    mut parts: Parts,
    mode: Mode,
    say: Say,
    log: heal::Log,
    tell: &mut dyn FnMut(Note<'_>),
) -> Result<(), ServiceError> {
    let mut lock = parts.lock()?;
    memory::share_pools();
    // Before any loop runs: until then it is not known what is in place.
    if mode != Mode::Tell {
        let found = undo::recover(&mut parts).map_err(ServiceError::Undo)?;
        if !found.is_empty() {
            tell(Note::Recovered(&found));
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ServiceError::System)?;
    // Heard from here on: whoever is told that the agent serves may send one at once.
    let mut told = runtime.block_on(async { Told::listen() }).map_err(ServiceError::System)?;
    reload::announce(&mut lock).map_err(ServiceError::System)?;
    if mode != Mode::Tell {
        maintenance::configure(&mut parts)?;
    }
    let watch = Watch::start(&parts)?;
    if let Some(address) = watch.address {
        tell(Note::Serving(address));
    }
    let services = Services::start(&parts, mode, watch.door(), say)?;
    let heal = Heal::start(&parts, is_dry(mode), mode != Mode::Tell, services.asks(), log)?;
    let kaizen = (mode != Mode::Tell).then(|| Kaizen::start(&parts, log)).transpose()?;
    let notifying = Notifying::start(&parts, mode == Mode::Tell)?;
    let running = Running { parts, watch, services, heal, kaizen, notifying, mode };
    tell_notes(&running, tell);
    let manager = Arc::new(Ready::from_environment());
    manager.ready();
    runtime.spawn(show_life(manager.clone()));
    let running = runtime.block_on(rounds(running, mode, &mut told, tell))?;
    manager.stopping();
    if let Some(heal) = running.heal {
        heal.stop();
    }
    if let Some(kaizen) = running.kaizen {
        kaizen.stop();
    }
    running.services.stop();
    running.notifying.stop();
    running.watch.stop();
    Ok(())
}

/// Tells the service manager as often as it wants that the thread which hears signals and starts rounds still does.
async fn show_life(manager: Arc<Ready>) {
    let Some(every) = manager.every else { return };
    let mut ticks = tokio::time::interval(every);
    loop {
        ticks.tick().await;
        manager.alive();
    }
}

async fn rounds(
    mut running: Running,
    mode: Mode,
    told: &mut Told,
    tell: &mut dyn FnMut(Note<'_>),
) -> Result<Running, ServiceError> {
    let interval = running.parts.config.interval();
    // The first round is at once: a person who starts the agent wants to see it work. The second one finds the
    // host's own place in the interval, so that a fleet that was started together does not stay together.
    let mut wait = schedule::first_offset(running.parts.key.host(), interval);
    loop {
        let round;
        (running, round) = aside(running, move |running| {
            let round = cycle::round(&mut running.parts, &[], mode, &mut |_| {}).and_then(|round| {
                if !is_dry(mode) {
                    notifying::tell_round(&mut running.parts, &round)?;
                    hindsight::after_round(&mut running.parts, &round);
                }
                Ok(round)
            });
            running.refresh();
            if let (Some(kaizen), Ok(round)) = (&mut running.kaizen, &round) {
                kaizen.refresh(&running.parts, &round.library);
            }
            round
        })
        .await?;
        match &round {
            Ok(round) => tell(Note::Round(round)),
            Err(error) => tell(Note::Failed(error)),
        }
        tell_notes(&running, tell);
        // With all its lessons it would be held until the next one.
        drop(round);
        tell(Note::Waiting(wait));
        let mut waited = pin!(tokio::time::sleep(wait));
        let mut settled = pin!(tokio::time::sleep(SETTLED));
        let mut rests = false;
        loop {
            tokio::select! {
                () = &mut waited => break,
                () = &mut settled, if !rests => { memory::give_back(); rests = true; }
                () = running.services.ended() => return Err(ServiceError::Supervision),
                _ = told.terminate.recv() => { tell(Note::Stopping); return Ok(running); }
                _ = told.interrupt.recv() => { tell(Note::Stopping); return Ok(running); }
                _ = told.hangup.recv() => {
                    let read;
                    (running, read) = aside(running, |running| {
                        let read = running.parts.refresh();
                        running.refresh();
                        let told = reload::tell(&mut running.parts, &read);
                        read.and_then(|bad| told.map(|()| bad).map_err(PartsError::Db))
                    })
                    .await?;
                    match &read {
                        Ok(bad) => tell(Note::Reloaded(bad.as_ref())),
                        Err(error) => tell(Note::Cannot(&error_line(error))),
                    }
                    tell_notes(&running, tell);
                }
            }
        }
        wait = timing::next_wait(interval);
    }
}

/// Does work that takes its time beside the loop, which hears signals meanwhile.
async fn aside<T: Send + 'static>(
    mut running: Running,
    work: impl FnOnce(&mut Running) -> T + Send + 'static,
) -> Result<(Running, T), ServiceError> {
    let done = tokio::task::spawn_blocking(move || {
        let result = work(&mut running);
        (running, result)
    });
    done.await.map_err(|fault| ServiceError::Round(fault.to_string()))
}

fn tell_notes(running: &Running, tell: &mut dyn FnMut(Note<'_>)) {
    let rules = running.heal.iter().flat_map(|heal| &heal.notes);
    let kaizen = running.kaizen.iter().flat_map(|kaizen| &kaizen.notes);
    let notes = running.watch.notes.iter().chain(&running.services.notes).chain(rules).chain(kaizen);
    let notes = notes.chain(&running.notifying.notes);
    notes.for_each(|note| tell(Note::Cannot(note)));
}
