//! Measuring and showing: the thread that asks the checks, and the server that shows what came of it. Both go on whatever a round does.

use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;

use super::checks::{Views, Wanted, checks};
use super::cycle::STRAIN_FACT;
use super::parts::Parts;
use crate::domain::chain::PeerState;
use crate::domain::foreign_text::{display_line, error_line};
use crate::domain::heal::incident::State;
use crate::domain::ledger::RuleStep;
use crate::domain::signal::{SeriesName, Subject};
use crate::domain::snapshot::Snapshot;
use crate::http::{self, Published, Token};
use crate::loops::exchange::SYNCED_FACT;
use crate::loops::measure::{self, Event, Measured};
use crate::ports::{Clock as _, Reading};
use crate::store::db::{Db, DbError};
use crate::store::files;
use crate::store::home::Home;
use crate::store::keyring::{Keyring, RosterStanding};
use crate::store::standing::PausedArea;
use crate::sys::apply::read_only;
use crate::sys::clock::SystemClock;

/// Incidents that are told in the reasons.
const INCIDENTS: usize = 20;
/// Between two looks at what is shown besides signals.
const LOOK: Duration = Duration::from_secs(10);
/// Largest token file, in bytes.
const TOKEN_BYTES: u64 = 4 * 1024;

/// Where other loops tell what they measure and know.
#[derive(Clone)]
pub struct Door {
    events: Sender<Event>,
    seen: watch::Sender<Views>,
}

impl Door {
    /// Tells how the services are now. It does not wait.
    pub fn services(&self, services: &Views) {
        // Before the event, on which they are looked at.
        self.seen.send_replace(services.clone());
        drop(self.events.send(Event::Services(services.clone())));
    }

    /// Tells readings, and the time between two of them. It does not wait.
    pub fn told(&self, every: Duration, readings: Vec<Reading>) {
        drop(self.events.send(Event::Told(every, readings)));
    }
}

/// The running threads.
pub struct Watch {
    events: Sender<Event>,
    threads: Vec<JoinHandle<()>>,
    made_from: Wanted,
    seen: watch::Sender<Views>,
    /// Where `/health` is served.
    pub address: Option<SocketAddr>,
    /// What could not be done, a sentence each. The rest runs.
    pub notes: Vec<String>,
}

impl Watch {
    /// Starts measuring, and serving where the configuration says so.
    ///
    /// # Errors
    /// The database cannot be opened.
    pub fn start(parts: &Parts) -> Result<Self, DbError> {
        let mut db = Db::open_small(&parts.home.database())?;
        let mut world = World::of(parts)?;
        let made_from = Wanted::now(parts);
        let mut notes = Vec::new();
        let seen = watch::Sender::new(Views::new());
        let checks = checks(&made_from, &db, &seen.subscribe(), &mut notes);
        let (publisher, published) = watch::channel(Published::now(world.snapshot(&Measured::default())));
        let mut threads = Vec::new();
        let mut address = None;
        match listen(parts) {
            Ok(Some((listener, token))) => {
                address = listener.local_addr().ok();
                threads.push(thread::spawn(move || {
                    if let Err(error) = serve(listener, token, published) {
                        tracing::error!("http: {error}");
                    }
                }));
            }
            Ok(None) => {}
            Err(why) => notes.push(why),
        }
        let (events, received) = channel();
        let answers = events.clone();
        // Nobody waits on the other end of a channel that was just made.
        drop(events.send(Event::Checks(checks)));
        threads.push(thread::spawn(move || {
            measure::run(&SystemClock, &mut db, answers, &received, &mut |measured| {
                // What nobody can ask for is not made.
                if publisher.receiver_count() > 0 {
                    publisher.send_replace(Published::now(world.snapshot(measured)));
                }
            });
        }));
        Ok(Self { events, threads, made_from, seen, address, notes })
    }

    /// Takes over a configuration that was read again, and new mounts; shows what a round changed.
    pub fn refresh(&mut self, parts: &Parts) {
        let wanted = Wanted::now(parts);
        self.notes.clear();
        if wanted != self.made_from {
            let made = checks(&wanted, &parts.db, &self.seen.subscribe(), &mut self.notes);
            self.made_from = wanted;
            self.send(Event::Checks(made));
        }
        self.send(Event::Told(parts.config.interval(), vec![findings(&parts.db)]));
    }

    /// A door for what other loops measure and know.
    #[must_use]
    pub fn door(&self) -> Door {
        Door { events: self.events.clone(), seen: self.seen.clone() }
    }

    fn send(&mut self, event: Event) {
        if self.events.send(event).is_err() {
            self.notes.push("measuring has ended by a fault of the program: restart mesh".to_owned());
        }
    }

    /// Ends both threads. A probe that hangs is left behind.
    pub fn stop(self) {
        drop(self.events.send(Event::Stop));
        for thread in self.threads {
            // One that fell over has ended too.
            drop(thread.join());
        }
    }
}

fn findings(db: &Db) -> Reading {
    let counts = db.finding_counts().map_err(|error| error_line(&error));
    // Fewer than 2^53 findings.
    let value = counts.map(|counts| counts.values().sum::<u64>() as f64);
    Reading { name: SeriesName::of("audit.findings", Subject::default()), value }
}

fn listen(parts: &Parts) -> Result<Option<(TcpListener, Option<Token>)>, String> {
    let Some(address) = parts.config.http.listen else { return Ok(None) };
    let failed = |error: &(dyn std::error::Error + 'static)| {
        format!("/health is not served on {address}: {}", error_line(error))
    };
    let token = match &parts.config.http.token_file {
        Some(path) => {
            files::demand_private(path, 0o600).map_err(|error| failed(&error))?;
            let text = files::read_text(path, TOKEN_BYTES).map_err(|error| failed(&error))?;
            if text.trim().len() < 16 {
                return Err(format!(
                    "/health is not served on {address}: {} holds no token of 16 bytes",
                    path.display()
                ));
            }
            Some(Token::of(&text))
        }
        None => None,
    };
    let listener = TcpListener::bind(address).map_err(|error| failed(&error))?;
    listener.set_nonblocking(true).map_err(|error| failed(&error))?;
    Ok(Some((listener, token)))
}

fn serve(listener: TcpListener, token: Option<Token>, published: watch::Receiver<Published>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        http::serve(tokio::net::TcpListener::from_std(listener)?, token, published).await;
        Ok(())
    })
}

/// What is shown besides signals, looked at with an own connection.
struct World {
    home: Home,
    db: Db,
    started: Timestamp,
    looked: Option<(Instant, Snapshot)>,
}

impl World {
    fn of(parts: &Parts) -> Result<Self, DbError> {
        let db = Db::open_small(&parts.home.database())?;
        Ok(Self { home: parts.home.clone(), db, started: parts.now(), looked: None })
    }

    fn snapshot(&mut self, measured: &Measured) -> Snapshot {
        let now = SystemClock.now();
        let mut snapshot = match &self.looked {
            Some((at, known)) if at.elapsed() < LOOK => known.clone(),
            _ => {
                let looked = self.look(now).unwrap_or_else(|error| Snapshot {
                    reasons: vec![format!("the database cannot be read: {}", error_line(&error))],
                    ..Snapshot::default()
                });
                self.looked = Some((Instant::now(), looked.clone()));
                looked
            }
        };
        snapshot.version = env!("CARGO_PKG_VERSION");
        snapshot.uptime_s = now.as_second() - self.started.as_second();
        snapshot.at = Some(now);
        snapshot.signals = measured.signals.clone();
        snapshot.services = measured.services.clone();
        snapshot.reasons.extend(measured.problems.iter().cloned());
        snapshot.judge();
        snapshot
    }

    /// What rules did, and what is asserted and does not hold.
    fn look_at_rules(&self, snapshot: &mut Snapshot, now: Timestamp) -> Result<(), DbError> {
        let since = now.as_millisecond() - 24 * 3_600 * 1_000;
        snapshot.rules_fired_24h = self.db.count_rule_steps(RuleStep::Acts, since)?;
        snapshot.self_heal_recoveries_24h = self.db.count_rule_steps(RuleStep::Healed, since)?;
        let steps = [RuleStep::Failed, RuleStep::Missed];
        let failures = steps.map(|step| self.db.count_rule_steps(step, since));
        snapshot.self_heal_failures_24h = failures.into_iter().sum::<Result<u64, _>>()?;
        for one in self.db.incidents(false, INCIDENTS)?.into_iter().filter(|one| one.state == State::Escalated) {
            let why = &one.waits;
            snapshot
                .reasons
                .push(format!("incident {}: rule {} {} on {}: {why}", one.id, one.rule, one.name, one.target));
        }
        let broken = self.db.invariants()?.into_iter().filter(|one| one.holds == Some(false));
        for one in broken {
            snapshot.invariant_violations_open += 1;
            snapshot.reasons.push(format!("invariant {} does not hold: {}", one.name, display_line(&one.detail)));
        }
        Ok(())
    }

    fn look(&self, now: Timestamp) -> Result<Snapshot, DbError> {
        let mut snapshot = Snapshot::default();
        for fix in self.db.fixes()? {
            *snapshot.interventions.entry(fix.state.name().to_owned()).or_default() += 1;
        }
        for row in self.db.inbox()? {
            *snapshot.inbox.entry(row.state.name().to_owned()).or_default() += 1;
        }
        match Keyring::load_with_roster(&self.home, &self.db, now) {
            Ok(keyring) => {
                if let RosterStanding::Stale { version, why } = keyring.roster() {
                    snapshot.reasons.push(format!("roster {version}: {why}"));
                }
                for peer in keyring.peers() {
                    let known = self.db.peer(peer.line.host)?.map_or(PeerState::Unseen, |row| row.state);
                    let revoked = keyring.revoked(peer.line.host).is_some() && known != PeerState::Quarantined;
                    let state = if revoked { PeerState::Revoked } else { known };
                    snapshot.peers.insert(peer.name.to_string(), state.name().to_owned());
                }
            }
            Err(error) => snapshot.reasons.push(format!("the keys are not in order: {}", error_line(&error))),
        }
        for stopped in self.db.stopped_lessons()? {
            snapshot.reasons.push(format!("lesson {} is stopped: {}", stopped.slug, stopped.why));
        }
        self.look_at_rules(&mut snapshot, now)?;
        let synced = self.db.fact(SYNCED_FACT)?.and_then(|at| at.parse::<Timestamp>().ok());
        let moment = SystemClock.moment();
        for frozen in self.db.frozen(&moment)? {
            let (area, left) = (frozen.area.to_string_lossy().into_owned(), frozen.left.as_secs().div_ceil(60));
            snapshot.reasons.push(format!("{area} is frozen for {left} min more: {}", frozen.why));
            snapshot.frozen_areas.push(area);
        }
        snapshot.reasons.extend(self.db.paused_areas(&moment)?.iter().map(PausedArea::words));
        snapshot.reasons.extend(self.db.fact(STRAIN_FACT)?.filter(|why| !why.is_empty()));
        snapshot.paused = self.db.paused(&moment)?.is_some();
        let door = || read_only::reason(&self.home.state());
        snapshot
            .reasons
            .extend(self.db.read_only()?.or_else(door).map(|why| format!("nothing is changed any more: {why}")));
        snapshot.worker_sync_lag_s = synced.map(|at| now.as_second() - at.as_second());
        Ok(snapshot)
    }
}
