//! Plain processes: services that are neither units nor children of mesh. Each is found by its pid file or its command
//! line, held by a handle of exactly that process, and started and stopped by the commands that its owner names.
//!
//! Nothing tells that such a process begins. So it is looked for when mesh starts, with every sweep, and more often
//! for as long as it was asked to start or it cannot be told which process it is. Its end is told by the kernel.

mod find;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use regex::Regex;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use self::find::{Found, find};
use crate::domain::id::ServiceName;
use crate::domain::service::{Child, End, EndCause, Observation, Plain, Process, Run, Verb};
use crate::ports::Clock as _;
use crate::ports::manager::{Target, Teller};
use crate::sys::clock::SystemClock;
use crate::sys::managers::children::logs::Logs;
use crate::sys::managers::children::record::{Record, Records};
use crate::sys::managers::children::spawn::spawn_alone;
use crate::sys::managers::process;
use crate::sys::managers::retry::Pause;
use crate::sys::managers::thread::{Order, Orders, Threaded, Voice};

/// The start command that was about to be begun.
const NOT_KNOWN: Process = Process { pid: 0, start_ticks: 0 };
/// No start command: it could not be begun.
const NONE: Process = Process { pid: 0, start_ticks: u64::MAX };

/// Looks after plain processes.
#[derive(Debug)]
pub struct Processes {
    orders: Orders,
}

impl Processes {
    /// Opens those of the home whose state directory is `state`. What they are is sent through the returned sender,
    /// before [`Manager::watch`](crate::ports::manager::Manager::watch) is called.
    ///
    /// # Errors
    /// A folder cannot be made, or the system gives no thread.
    pub fn open(state: &Path, teller: Teller) -> io::Result<(Self, Sender<Vec<Plain>>)> {
        let state = fs::canonicalize(state)?;
        let dir = state.join("services");
        let (logs, starts) = (dir.join("log"), dir.join("starts"));
        for folder in [&dir, &logs, &starts] {
            match fs::DirBuilder::new().create(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                Ok(()) | Err(_) => {}
            }
            fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        }
        let (send, definitions) = channel();
        let (events, heard) = unbounded_channel();
        let watching = Watching {
            voice: Voice::new(teller),
            home: state.to_string_lossy().into_owned(),
            logs,
            boot: fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned(),
            starts: Records::at(&starts),
            definitions,
            services: BTreeMap::new(),
            events,
        };
        let orders = Orders::start("processes", |orders| watching.serve(orders, heard))?;
        Ok((Self { orders }, send))
    }
}

impl Threaded for Processes {
    fn orders(&self) -> &Orders {
        &self.orders
    }
}

/// A process that ends, as the kernel tells it.
struct Ended {
    service: ServiceName,
    process: Process,
    /// Which command it was, and how it ended; `None` for the service itself.
    command: Option<(Verb, EndCause)>,
}

/// The process that a service is. What waits for its end goes with this.
struct Held {
    process: Process,
    pidfd: OwnedFd,
    waiting: Option<JoinHandle<()>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(waiting) = &self.waiting {
            waiting.abort();
        }
    }
}

fn awaited(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    #[expect(unsafe_code, reason = "the runtime takes a handle to wait on in no other way")]
    // SAFETY: the handle is owned by what waits on it, and stays the same one for as long as that.
    let registered = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) };
    registered.map_err(Into::into)
}

struct Kept {
    wanted: Plain,
    pattern: Option<Regex>,
    held: Option<Held>,
    /// The commands that are under way.
    starting: Option<Process>,
    stopping: Option<Process>,
    /// Whether an agent was killed at the very moment in which it began to start it: it may be under way, once.
    begun: bool,
    /// Whether it was asked to start and was not found since.
    expected: bool,
    /// When it is looked for again, and the pauses after that.
    sought: Option<(Instant, Pause)>,
    /// How it last ended.
    end: Option<End>,
    /// Why it is not started, since it is not known whether its start command runs.
    unreadable: Option<String>,
}

impl Kept {
    fn seek(&mut self) {
        let mut pauses = Pause::default();
        self.sought = Some((Instant::now() + pauses.next(), pauses));
    }

    fn commands(&self) -> Vec<u32> {
        self.starting.iter().chain(&self.stopping).map(|one| one.pid).collect()
    }
}

/// What a look has shown.
enum Sight {
    Runs,
    Down,
    Unknown(String),
}

struct Watching {
    voice: Voice,
    home: String,
    logs: PathBuf,
    boot: String,
    /// Start commands that are under way: an agent that comes after this one starts nothing twice.
    starts: Records,
    definitions: Receiver<Vec<Plain>>,
    services: BTreeMap<ServiceName, Kept>,
    events: UnboundedSender<Ended>,
}

impl Watching {
    /// Serves until nobody can give orders any more.
    async fn serve(mut self, mut orders: UnboundedReceiver<Order>, mut heard: UnboundedReceiver<Ended>) {
        loop {
            let next = self.services.values().filter_map(|kept| kept.sought.as_ref().map(|(at, _)| *at)).min();
            let sought = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                order = orders.recv() => match order {
                    None => return,
                    Some(Order::Watch(targets)) => self.follow(&targets),
                    Some(Order::Look(service)) => {
                        self.look_again(&service);
                        self.rotate(&service);
                    }
                    Some(Order::Act(service, verb)) => self.act(&service, verb),
                },
                Some(ended) = heard.recv() => self.ended(ended),
                () = sought => self.seek(),
            }
        }
    }

    fn follow(&mut self, targets: &[Target]) {
        let mut wanted: BTreeMap<ServiceName, Plain> = BTreeMap::new();
        while let Ok(all) = self.definitions.try_recv() {
            wanted = all.into_iter().map(|plain| (plain.start.name.clone(), plain)).collect();
        }
        let mut before = std::mem::take(&mut self.services);
        for name in targets.iter().map(|target| &target.service) {
            let known = before.remove(name);
            let Some(plain) = wanted.remove(name).or_else(|| known.as_ref().map(|kept| kept.wanted.clone())) else {
                continue;
            };
            let kept = match known {
                Some(kept) if (&kept.wanted.pidfile, &kept.wanted.matching) == (&plain.pidfile, &plain.matching) => {
                    Kept { wanted: plain, ..kept }
                }
                _ => self.taken_up(name, plain),
            };
            self.services.insert(name.clone(), kept);
            self.look_again(name);
        }
        before.keys().for_each(|service| self.voice.forget(service));
    }

    /// A service that was not known: a start command of it may be under way since before this agent.
    fn taken_up(&self, name: &ServiceName, wanted: Plain) -> Kept {
        let pattern = wanted.matching.as_deref().and_then(|text| Regex::new(text).ok());
        let (record, unreadable) = match self.starts.read(name) {
            Ok(record) => (record.filter(|record| record.boot == self.boot), None),
            Err(why) => (None, Some(why)),
        };
        let begun = record.as_ref().is_some_and(|record| record.process == NOT_KNOWN);
        let starting = record.map(|record| record.process).filter(|process| process::is_alive(*process));
        if let Some(process) = starting
            && let Ok(pidfd) = process::open_exactly(process)
        {
            self.await_end(name, process, &pidfd, Some(Verb::Start));
        }
        let (held, stopping, sought, end, expected) = (None, None, None, None, starting.is_some());
        Kept { wanted, pattern, held, starting, stopping, begun, expected, sought, end, unreadable }
    }

    /// Tells of the end of a process once it comes. `None` when it would not be seen.
    fn await_end(
        &self,
        service: &ServiceName,
        process: Process,
        pidfd: &OwnedFd,
        command: Option<Verb>,
    ) -> Option<JoinHandle<()>> {
        let (events, service) = (self.events.clone(), service.clone());
        let pidfd = pidfd.try_clone().and_then(awaited);
        match pidfd {
            Ok(pidfd) => Some(tokio::spawn(async move {
                // An error is no end, but nothing better will come: whoever hears it looks.
                let _ready = pidfd.readable().await.is_ok();
                let command = command.map(|verb| (verb, process::how(pidfd.get_ref())));
                // Nobody listens any more when the manager is gone.
                drop(events.send(Ended { service, process, command }));
            })),
            Err(error) => {
                self.voice
                    .trouble(format!("the end of process {} of service {service} is seen late: {error}", process.pid));
                None
            }
        }
    }

    /// A fresh look that is told of also when it shows nothing new.
    fn look_again(&mut self, service: &ServiceName) -> Sight {
        self.voice.forget(service);
        self.look(service)
    }

    fn look(&mut self, service: &ServiceName) -> Sight {
        let Some(kept) = self.services.get_mut(service) else { return Sight::Down };
        if let Some(held) = kept.held.take_if(|held| !process::runs(&held.pidfd)) {
            kept.end = Some(End { process: Some(held.process), cause: EndCause::Untold, at: Some(SystemClock.now()) });
        }
        let found = match &kept.held {
            Some(held) => Found::One(held.process),
            None => find(kept.wanted.pidfile.as_deref(), kept.pattern.as_ref(), &kept.commands()),
        };
        let found = match (found, kept.held.is_some()) {
            (Found::One(process), false) => match process::open_exactly(process) {
                Ok(pidfd) => {
                    let waiting = self.await_end(service, process, &pidfd, None);
                    if let Some(kept) = self.services.get_mut(service) {
                        kept.held = Some(Held { process, pidfd, waiting });
                    }
                    Found::One(process)
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => Found::None,
                Err(error) => Found::Unknown(format!("process {}: {error}", process.pid)),
            },
            (found, _) => found,
        };
        let Some(kept) = self.services.get_mut(service) else { return Sight::Down };
        let (sight, seen) = match found {
            Found::One(process) => {
                (kept.sought, kept.expected) = (None, false);
                let since = process::since(process, SystemClock.now());
                let up = Observation::of(service.clone(), Run::Up);
                (Sight::Runs, Observation { process: Some(process), since, ..up })
            }
            Found::None => {
                if !kept.expected {
                    kept.sought = None;
                }
                (Sight::Down, Observation { end: kept.end.clone(), ..Observation::of(service.clone(), Run::Down) })
            }
            Found::Unknown(why) => {
                if kept.sought.is_none() {
                    kept.seek();
                }
                (Sight::Unknown(why.clone()), Observation::unknown(service.clone(), why))
            }
        };
        self.voice.tell(seen);
        sight
    }

    /// Looks for those whose time has come.
    fn seek(&mut self) {
        let now = Instant::now();
        for service in self.services.keys().cloned().collect::<Vec<_>>() {
            let Some((at, pauses)) = self.services.get_mut(&service).and_then(|kept| kept.sought.as_mut()) else {
                continue;
            };
            if *at <= now {
                *at = now + pauses.next();
                self.look(&service);
            }
        }
    }

    fn ended(&mut self, ended: Ended) {
        let Ended { service, process, command } = ended;
        let Some(kept) = self.services.get_mut(&service) else { return };
        match command {
            None => {
                self.look(&service);
            }
            Some((Verb::Start, cause)) if kept.starting == Some(process) => {
                kept.starting = None;
                let sight = self.look_again(&service);
                match (sight, cause) {
                    // What it has started may not have written its pid yet.
                    (Sight::Down, EndCause::Exit(0) | EndCause::Unseen) => self.expect(&service, true),
                    (Sight::Down, cause) => {
                        self.expect(&service, false);
                        let why = format!("its start command {cause}: see {}", self.logs_of(&service).err.display());
                        self.voice.refuse(service, Verb::Start, why);
                    }
                    (Sight::Runs | Sight::Unknown(_), _) => {}
                }
            }
            Some((verb, cause)) if kept.stopping == Some(process) => {
                kept.stopping = None;
                if cause != EndCause::Exit(0) && kept.held.as_ref().is_some_and(|held| process::runs(&held.pidfd)) {
                    let why = format!("its stop command {cause}: see {}", self.logs_of(&service).err.display());
                    self.voice.refuse(service, verb, why);
                }
            }
            Some(_) => {}
        }
    }

    /// Whether it is looked for again and again, as one that was started.
    fn expect(&mut self, service: &ServiceName, expected: bool) {
        if let Some(kept) = self.services.get_mut(service) {
            (kept.expected, kept.sought) = (expected, None);
            if expected {
                kept.seek();
            }
        }
    }

    fn act(&mut self, service: &ServiceName, verb: Verb) {
        if !self.services.contains_key(service) {
            let why = "it is not among the processes that are watched".to_owned();
            return self.voice.refuse(service.clone(), verb, why);
        }
        let sight = self.look_again(service);
        let done = match (verb, sight) {
            (Verb::Start, Sight::Runs) | (Verb::Stop | Verb::Kill, Sight::Down) => Ok(()),
            (Verb::Start, Sight::Down) => self.start(service),
            (Verb::Stop, Sight::Runs) => self.stop(service),
            (Verb::Kill, Sight::Runs) => self.kill(service),
            (_, Sight::Unknown(why)) => Err(why),
            (Verb::Reload, Sight::Runs) => self.reload(service),
            (Verb::Reload, Sight::Down) => Err("it does not run".to_owned()),
        };
        if let Err(why) = done {
            self.voice.refuse(service.clone(), verb, why);
        }
    }

    fn start(&mut self, service: &ServiceName) -> Result<(), String> {
        let Some(kept) = self.services.get(service) else { return Ok(()) };
        if let Some(why) = &kept.unreadable {
            return Err(why.clone());
        }
        if let Some(running) = kept.starting {
            return Err(format!(
                "its start command still runs as process {}, and nothing that it is known by is there: `start` ends once \
                 the service runs; what stays in the foreground is a `command`",
                running.pid
            ));
        }
        if kept.begun {
            // Should nothing come of that in its time, the next order starts it.
            if let Some(kept) = self.services.get_mut(service) {
                kept.begun = false;
            }
            self.expect(service, true);
            return Ok(());
        }
        // Written before and after: a kill in between leaves a start of which the process is not known.
        self.note(service, NOT_KNOWN);
        let begun = self.begin(service, &kept.wanted.start, Verb::Start);
        self.note(service, *begun.as_ref().unwrap_or(&NONE));
        let process = begun?;
        if let Some(kept) = self.services.get_mut(service) {
            kept.starting = Some(process);
        }
        self.expect(service, true);
        Ok(())
    }

    fn note(&self, service: &ServiceName, process: Process) {
        let record = Record { boot: self.boot.clone(), process, definition: String::new(), asked: false };
        if let Err(error) = self.starts.write(service, &record) {
            self.voice.trouble(format!("that service {service} is being started cannot be written down: {error}"));
        }
    }

    /// Begins a command, and says what came of it later.
    fn begin(&self, service: &ServiceName, command: &Child, verb: Verb) -> Result<Process, String> {
        let pid = spawn_alone(command, &self.home, &self.logs_of(service))?;
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| format!("impossible pid {pid}"))?;
        let process = process::now(pid).unwrap_or(Process { pid, start_ticks: 0 });
        // It is our child and not waited for: its pid is its own, whether it still runs or not.
        let pidfd =
            pidfd_open(raw, PidfdFlags::empty()).map_err(|error| format!("its end would not be seen: {error}"))?;
        self.await_end(service, process, &pidfd, Some(verb));
        Ok(process)
    }

    fn stop(&mut self, service: &ServiceName) -> Result<(), String> {
        let Some((kept, held)) = self.services.get(service).and_then(|kept| Some((kept, kept.held.as_ref()?))) else {
            return Ok(());
        };
        if kept.wanted.stop.is_empty() {
            pidfd_send_signal(&held.pidfd, Signal::TERM).map_err(|error| error.to_string())?;
            // One that was halted cannot end otherwise.
            let _gone_is_no_matter = pidfd_send_signal(&held.pidfd, Signal::CONT);
            return Ok(());
        }
        if kept.stopping.is_some() {
            return Ok(());
        }
        let command = Child { argv: kept.wanted.stop.clone(), ..kept.wanted.start.clone() };
        let process = self.begin(service, &command, Verb::Stop)?;
        if let Some(kept) = self.services.get_mut(service) {
            kept.stopping = Some(process);
        }
        Ok(())
    }

    /// Kills it, and all of its group where it leads one.
    fn kill(&self, service: &ServiceName) -> Result<(), String> {
        let Some(held) = self.services.get(service).and_then(|kept| kept.held.as_ref()) else { return Ok(()) };
        let leader = held.process.pid;
        let leads = process::group(leader) == Some(leader);
        let group = process::pids().into_iter().filter(|pid| leads && *pid != leader);
        let group: Vec<Process> =
            group.filter(|pid| process::group(*pid) == Some(leader)).filter_map(process::now).collect();
        pidfd_send_signal(&held.pidfd, Signal::KILL).map_err(|error| error.to_string())?;
        group.into_iter().for_each(process::kill_exactly);
        Ok(())
    }

    fn reload(&self, service: &ServiceName) -> Result<(), String> {
        let Some((kept, held)) = self.services.get(service).and_then(|kept| Some((kept, kept.held.as_ref()?))) else {
            return Ok(());
        };
        process::reload(&held.pidfd, kept.wanted.start.reload)?;
        self.voice.reloaded(service.clone());
        Ok(())
    }

    fn logs_of(&self, service: &ServiceName) -> Logs {
        Logs::of(&self.logs, service)
    }

    fn rotate(&self, service: &ServiceName) {
        let Some(command) = self.services.get(service).map(|kept| &kept.wanted.start) else { return };
        let logs = self.logs_of(service);
        if let Err(error) = logs.rotate(command.log_bytes, command.log_files) {
            self.voice.trouble(format!("{} is not rotated: {error}", logs.out.display()));
        }
    }
}
