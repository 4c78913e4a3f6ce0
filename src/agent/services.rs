//! Supervision with the real parts: who runs what, what each service is asked, and where it is remembered.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::notifying;
use super::parts::Parts;
use super::watch::Door;
use crate::domain::foreign_text::error_line;
use crate::domain::id::ServiceName;
use crate::domain::notice::Notice;
use crate::domain::service::{Ask, Child, Counts, ManagerKind, Plain, Process};
use crate::domain::signal::{SeriesName, Subject};
use crate::loops::seed::Mode;
use crate::loops::supervise::{self, Event, Happened, Regular, Shown, Supervised, What, World};
use crate::ports::manager::{Manager, Question, Teller};
use crate::ports::{Clock as _, Program, Reading};
use crate::store::db::{Db, DbError};
use crate::store::service_config::Service;
use crate::store::services::{ServiceEvent, ServiceRow, Stops};
use crate::sys::clock::SystemClock;
use crate::sys::exec::ExecAs;
use crate::sys::managers::children::Children;
use crate::sys::managers::docker::{self, Docker};
use crate::sys::managers::launchd::{self, Launchd};
use crate::sys::managers::processes::Processes;
use crate::sys::managers::questions::{CommandQuestion, HeartbeatQuestion, HttpQuestion, SourceQuestion, TcpQuestion};
use crate::sys::managers::systemd::Systemd;
use crate::sys::managers::wishes;
use crate::sys::probes::HttpClient;

/// More than the timeout that a question keeps itself.
const SLACK: Duration = Duration::from_secs(3);
/// Between two looks at source files, and how long one may take.
const SOURCES: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(30));
/// How long reading a heartbeat may take.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Output of a check that is read, in bytes.
const OUTPUT: usize = 16 * 1024;
/// Between two readings of what is counted of services, where nothing happens.
const READINGS: Duration = Duration::from_secs(300);
/// The same where hearts beat: their age moves all the time.
const BEATS: Duration = Duration::from_secs(30);
/// Longest wait before what happened is on disk.
const GATHER: Duration = Duration::from_millis(200);

/// Below the state directory, what mesh itself asked systemd to stop.
const ASKED: &str = "services/asked";

/// Tells people what happened.
pub type Say = fn(&Happened);

/// The running supervision.
pub struct Services {
    events: Sender<Event>,
    threads: Vec<JoinHandle<()>>,
    made_from: Vec<Service>,
    managers: BTreeSet<ManagerKind>,
    definitions: Option<Sender<Vec<Child>>>,
    plain: Option<Sender<Vec<Plain>>>,
    running: oneshot::Receiver<()>,
    /// What could not be done, a sentence each. The rest runs.
    pub notes: Vec<String>,
}

impl Services {
    /// Starts supervising what the configuration names. With [`Mode::Tell`] it looks, does nothing and
    /// remembers nothing. `door` is
    /// where it is shown, `say` tells people.
    ///
    /// # Errors
    /// The database cannot be opened.
    pub fn start(parts: &Parts, mode: Mode, door: Door, say: Say) -> Result<Self, DbError> {
        let (db, records) = (Db::open_small(&parts.home.database())?, Db::open_small(&parts.home.database())?);
        let (events, received) = channel();
        let (remember, remembered) = channel();
        let (alive, running) = oneshot::channel::<()>();
        let mut services = Self {
            events: events.clone(),
            threads: Vec::new(),
            made_from: Vec::new(),
            managers: BTreeSet::new(),
            definitions: None,
            plain: None,
            running,
            notes: Vec::new(),
        };
        let records = (mode != Mode::Tell).then_some(records);
        services.threads.push(thread::spawn(move || record(records, &remembered, say)));
        let mut world = RealWorld { db, only_looks: mode != Mode::Seed, held: false, door, remember, told: None };
        let answers = events;
        services.threads.push(thread::spawn(move || {
            // Dropped with the thread, however that ends.
            let _alive = alive;
            supervise::run(&mut world, answers, &received);
        }));
        services.hear_wishes(&Stops::of(&parts.home));
        services.refresh(parts);
        Ok(services)
    }

    /// Takes over a configuration that was read again.
    pub fn refresh(&mut self, parts: &Parts) {
        if parts.config.services == self.made_from {
            return;
        }
        self.notes.clear();
        self.made_from = parts.config.services.clone();
        let wanted: BTreeSet<ManagerKind> = self.made_from.iter().map(|service| service.manager).collect();
        let mut managers: Vec<(ManagerKind, Box<dyn Manager>)> = Vec::new();
        for kind in wanted.difference(&self.managers.clone()) {
            match self.manager(*kind, parts) {
                Ok(manager) => {
                    self.managers.insert(*kind);
                    managers.push((*kind, manager));
                }
                Err(why) => self.notes.push(format!("services of {} are not supervised: {why}", kind.name())),
            }
        }
        if let Some(definitions) = &self.definitions {
            let children = self.made_from.iter().filter_map(|service| service.child.clone()).collect();
            // It is read before the services below are, by the same thread.
            drop(definitions.send(children));
        }
        if let Some(plain) = &self.plain {
            drop(plain.send(self.made_from.iter().filter_map(|service| service.plain.clone()).collect()));
        }
        let mut client = None;
        let mut supervised = Vec::new();
        for service in self.made_from.clone() {
            supervised.push(self.supervised(service, parts.home.root(), &mut client));
        }
        self.send(Event::Services(supervised, managers));
    }

    fn manager(&mut self, kind: ManagerKind, parts: &Parts) -> Result<Box<dyn Manager>, String> {
        let teller = Teller::from(self.events.clone());
        match kind {
            ManagerKind::Child => {
                let (children, definitions) =
                    Children::open(&parts.home.state(), teller).map_err(|error| error.to_string())?;
                self.definitions = Some(definitions);
                Ok(Box::new(children))
            }
            ManagerKind::Process => {
                let (processes, plain) =
                    Processes::open(&parts.home.state(), teller).map_err(|error| error.to_string())?;
                self.plain = Some(plain);
                Ok(Box::new(processes))
            }
            ManagerKind::Systemd => boxed(Systemd::remembering(&parts.home.state().join(ASKED), teller)),
            ManagerKind::Docker => boxed(Docker::at(Path::new(docker::SOCKET), teller)),
            ManagerKind::Launchd => boxed(Launchd::by(launchd::LAUNCHCTL.into(), teller)),
        }
    }

    fn supervised(&mut self, service: Service, home: &Path, client: &mut Option<HttpClient>) -> Supervised {
        let mut regular = Vec::new();
        if let Some(probe) = &service.probe {
            let question: Result<Box<dyn Question>, String> = match &probe.ask {
                Ask::Http(url) => {
                    let known = match client {
                        Some(client) => Ok(client.clone()),
                        None => HttpClient::new().inspect(|made| *client = Some(made.clone())),
                    };
                    known.map(|client| {
                        let question = HttpQuestion { url: url.clone(), timeout: probe.timeout, client };
                        Box::new(question) as Box<dyn Question>
                    })
                }
                Ask::Tcp(address) => Ok(Box::new(TcpQuestion { address: address.clone(), timeout: probe.timeout })),
                Ask::Command { argv, user } => {
                    // No other user can be in our home.
                    let dir = if user.is_some() { Path::new("/") } else { home };
                    let (argv, dir, exec) = (argv.clone(), dir.to_owned(), ExecAs(user.clone()));
                    let program = Program { argv, dir, timeout: probe.timeout, output_cap: OUTPUT, memory: None };
                    Ok(Box::new(CommandQuestion { program, exec }))
                }
            };
            match question {
                Ok(question) => {
                    regular.push(Regular { every: probe.every, deadline: probe.timeout + SLACK, question });
                }
                Err(why) => self.notes.push(format!("service {} is not asked whether it lives: {why}", service.name)),
            }
        }
        if let Some(heartbeat) = service.heartbeat.clone() {
            let every = (heartbeat.within / 4).max(Duration::from_secs(1));
            let question = Box::new(HeartbeatQuestion::new(heartbeat));
            regular.push(Regular { every, deadline: HEARTBEAT, question });
        }
        if !service.watch.is_empty() {
            let question = Box::new(SourceQuestion { paths: service.watch.clone(), clock: SystemClock });
            regular.push(Regular { every: SOURCES.0, deadline: SOURCES.1, question });
        }
        Supervised {
            watchdog: service.child.as_ref().and_then(|child| child.watchdog),
            name: service.name,
            manager: service.manager,
            unit: service.unit,
            policy: service.policy,
            depends_on: service.depends_on,
            regular,
        }
    }

    /// Hears what a person wants to be down, now and from now on.
    fn hear_wishes(&mut self, stops: &Stops) {
        let mut known: BTreeSet<ServiceName> = BTreeSet::new();
        let (events, read) = (self.events.clone(), stops.clone());
        let mut changed = move || {
            // A folder that cannot be read right now says nothing new.
            let Ok(now) = read.all() else { return true };
            let now: BTreeSet<ServiceName> = now.into_iter().collect();
            let started = read.take_starts().unwrap_or_default();
            let stopped = now.difference(&known).cloned().map(|service| (service, true));
            // A stop that is gone without that word was taken away by hand.
            let ended = known.difference(&now).filter(|service| !started.contains(service)).cloned();
            let ended = ended.chain(started.iter().cloned()).map(|service| (service, false));
            let told: Vec<_> = ended.chain(stopped).collect();
            known = now;
            told.into_iter().all(|(service, stop)| events.send(Event::Wish { service, stop }).is_ok())
        };
        let dir = stops.dir().map_err(|error| error_line(&error)).map(Path::to_owned);
        changed();
        let watched = dir.and_then(|dir| wishes::watch(&dir, changed).map_err(|error| error.to_string()));
        if let Err(why) = watched {
            self.notes.push(format!("`mesh service stop` is heard only when the agent starts: {why}"));
        }
    }

    /// Where rules ask how services are, and for what is to be done.
    #[must_use]
    pub fn asks(&self) -> Sender<Event> {
        self.events.clone()
    }

    fn send(&self, event: Event) {
        // One that has ended is noticed by `ended`.
        drop(self.events.send(event));
    }

    /// Waits until supervision has ended, which it does by itself only through a fault of the program.
    pub async fn ended(&mut self) {
        let _never_a_word = (&mut self.running).await;
    }

    /// Ends supervision. Every service stays as it is.
    pub fn stop(self) {
        drop(self.events.send(Event::Stop));
        for thread in self.threads {
            // One that fell over has ended too.
            drop(thread.join());
        }
    }
}

fn boxed<M: Manager + 'static>(made: std::io::Result<M>) -> Result<Box<dyn Manager>, String> {
    made.map(|manager| Box::new(manager) as Box<dyn Manager>).map_err(|error| error.to_string())
}

/// What is to be remembered.
enum Memory {
    Happened(i64, Happened),
    Shown(i64, Shown),
}

struct RealWorld {
    db: Db,
    only_looks: bool,
    held: bool,
    door: Door,
    remember: Sender<Memory>,
    told: Option<(Instant, BTreeMap<String, Counts>)>,
}

impl World for RealWorld {
    fn is_held(&mut self) -> bool {
        // A database that cannot be read now does not end what it said before.
        if let Ok(paused) = self.db.paused(&SystemClock.moment()) {
            self.held = paused.is_some();
        }
        self.only_looks || self.held
    }

    fn is_maintained(&mut self, service: &ServiceName) -> bool {
        let windows = self.db.maintenance();
        windows.is_ok_and(|windows| windows.covering(service.as_str(), SystemClock.now()).is_some())
    }

    fn jitter(&mut self) -> f64 {
        // Without random numbers there is no jitter, and all else goes on.
        getrandom::u32().map_or(0.0, |random| f64::from(random) / f64::from(u32::MAX))
    }

    fn is_replaced(&mut self, process: Process) -> Option<bool> {
        let program = std::fs::read_link(format!("/proc/{}/exe", process.pid)).ok()?;
        Some(program.as_os_str().as_encoded_bytes().ends_with(b" (deleted)"))
    }

    fn happened(&mut self, happened: Happened) {
        drop(self.remember.send(Memory::Happened(SystemClock.now().as_millisecond(), happened)));
    }

    fn show(&mut self, shown: &Shown) {
        drop(self.remember.send(Memory::Shown(SystemClock.now().as_millisecond(), shown.clone())));
        self.door.services(&shown.services);
    }

    fn counted(&mut self, counts: &BTreeMap<String, Counts>) {
        let known: BTreeMap<&String, _> = counts.iter().map(|(name, of)| (name, steady(of))).collect();
        let beats = counts.values().any(|of| of.heartbeat_age.is_some());
        let every = if beats { BEATS } else { READINGS };
        let is_known = |(at, told): &(Instant, BTreeMap<String, Counts>)| {
            told.iter().map(|(name, of)| (name, steady(of))).eq(known) && at.elapsed() < every
        };
        if self.told.as_ref().is_some_and(is_known) {
            return;
        }
        let mut readings = Vec::new();
        for (name, of) in counts {
            let mut tell = |signal, value| {
                readings.push(Reading { name: SeriesName::of(signal, Subject::near(name)), value: Ok(value) });
            };
            // Fewer than 2^53 of each.
            tell("service.restarts", of.restarts as f64);
            tell("service.liveness_kills", of.liveness_kills as f64);
            if let Some(age) = of.heartbeat_age {
                tell("service.heartbeat_age_s", age.as_secs_f64());
            }
        }
        self.door.told(every, readings);
        self.told = Some((Instant::now(), counts.clone()));
    }
}

/// What changes only when something happened.
const fn steady(counts: &Counts) -> (u64, u64, bool) {
    (counts.restarts, counts.liveness_kills, counts.heartbeat_age.is_some())
}

/// Puts on disk what happened, where there is one to put it on, and tells people. Nothing waits for it.
fn record(mut db: Option<Db>, remembered: &Receiver<Memory>, say: Say) {
    let mut refused = false;
    while let Ok(first) = remembered.recv() {
        let (mut events, mut rows, mut notices) = (Vec::new(), None, Vec::new());
        let until = Instant::now() + GATHER;
        let mut next = Some(first);
        while let Some(memory) = next {
            match memory {
                Memory::Happened(at, happened) => {
                    say(&happened);
                    notices.extend(notice_of(at, &happened));
                    events.push(event_row(at, &happened));
                }
                Memory::Shown(at, shown) => rows = Some(service_rows(at, &shown)),
            }
            next = remembered.recv_timeout(until.saturating_duration_since(Instant::now())).ok();
        }
        let Some(db) = &mut db else { continue };
        let stored = db.record_services(&events, rows.as_deref());
        let stored = stored.and_then(|()| notices.iter().try_for_each(|notice| notifying::tell(db, notice)));
        if let Err(error) = &stored
            && !refused
        {
            let what = What::Trouble(format!("what happens to services is not remembered: {}", error_line(error)));
            say(&Happened { service: None, optional: false, what });
        }
        refused = stored.is_err();
    }
}

/// What people are told beside the log; nothing of a service that is optional.
fn notice_of(at: i64, happened: &Happened) -> Option<Notice> {
    let (false, What::Notice(notice)) = (happened.optional, &happened.what) else { return None };
    let name = happened.service.as_ref()?.to_string();
    notifying::of_service(&name, notice, Timestamp::from_millisecond(at).ok()?)
}

fn event_row(at: i64, happened: &Happened) -> ServiceEvent {
    let (event, what) = match &happened.what {
        What::Notice(notice) => (notice.name(), notice.to_string()),
        What::Trouble(what) => ("trouble", what.clone()),
    };
    let service = happened.service.as_ref().map(ToString::to_string).unwrap_or_default();
    ServiceEvent { at, service, event: event.to_owned(), what }
}

fn service_rows(at: i64, shown: &Shown) -> Vec<ServiceRow> {
    let row = |(name, view): (&String, &crate::domain::snapshot::ServiceView)| ServiceRow {
        name: name.clone(),
        manager: view.manager.to_owned(),
        state: view.state.clone(),
        liveness: view.liveness,
        critical: view.critical,
        pid: view.pid,
        restarts: view.restarts,
        why: view.why.clone(),
        at,
    };
    shown.services.iter().map(row).collect()
}
