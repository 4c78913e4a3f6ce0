//! Children: services that mesh runs itself, and that outlive it.
//!
//! Each has a session of its own and, where there are cgroups, one of those. Which process it is stands on disk; an
//! agent that comes after another one takes over what it finds by pid and start time, or by the mark that each child
//! carries. So none is started twice, and none is ended because mesh ends.

mod birth;
mod cgroup;
pub(super) mod logs;
mod marks;
mod notify;
pub(super) mod record;
pub(super) mod spawn;
mod watcher;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};
use sha2::{Digest as _, Sha256};

use self::cgroup::{Cgroup, Cgroups};
use self::logs::Logs;
use self::notify::NotifySocket;
use self::record::{Record, Records};
use self::spawn::Surroundings;
use self::watcher::{Order, Watched, Watcher};
use super::process;
use crate::domain::id::ServiceName;
use crate::domain::service::{Child, End, EndCause, Observation, Process, Run, Verb};
use crate::ports::Clock as _;
use crate::ports::manager::{Manager, Target, Teller, Told};
use crate::sys::clock::SystemClock;

/// Runs children.
pub struct Children {
    home: String,
    teller: Teller,
    records: Records,
    logs: PathBuf,
    boot: String,
    notify: Option<String>,
    cgroups: Option<Cgroups>,
    watcher: Watcher,
    definitions: Receiver<Vec<Child>>,
    /// With what tells the definition from another.
    wanted: BTreeMap<ServiceName, (Child, String)>,
    running: BTreeMap<ServiceName, Running>,
    /// What cannot be run, because it is not known whether it runs.
    unknown: BTreeMap<ServiceName, String>,
}

struct Running {
    process: Process,
    pidfd: OwnedFd,
    definition: String,
    cgroup: Option<Cgroup>,
}

impl Running {
    /// Whether it has not ended.
    fn is_alive(&self) -> bool {
        process::runs(&self.pidfd)
    }
}

impl Children {
    /// Opens the children of the home whose state directory is `state`. What they are is sent through the returned
    /// sender, before [`Manager::watch`] is called.
    ///
    /// # Errors
    /// A folder cannot be made, or the system gives no thread.
    pub fn open(state: &Path, teller: Teller) -> io::Result<(Self, Sender<Vec<Child>>)> {
        let state = fs::canonicalize(state)?;
        let dir = state.join("services");
        let logs = dir.join("log");
        for folder in [&dir, &logs] {
            match fs::DirBuilder::new().create(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                Ok(()) | Err(_) => {}
            }
            fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        }
        let home = state.to_string_lossy().into_owned();
        let digest = Sha256::digest(home.as_bytes());
        let tag = digest[..4].iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let socket = match NotifySocket::bind(&dir, &tag) {
            Ok(socket) => Some(socket),
            Err(why) => {
                teller.tell(Told::Trouble(why));
                None
            }
        };
        let notify = socket.as_ref().map(|socket| socket.path().to_owned());
        let watcher = Watcher::start(teller.clone(), home.clone(), socket)?;
        let (send, definitions) = channel();
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        let children = Self {
            home,
            teller,
            records: Records::at(&dir),
            logs,
            boot,
            notify,
            cgroups: Cgroups::find(&tag),
            watcher,
            definitions,
            wanted: BTreeMap::new(),
            running: BTreeMap::new(),
            unknown: BTreeMap::new(),
        };
        Ok((children, send))
    }

    /// Takes over what an earlier agent left of a child, or says what became of it.
    fn adopt(&mut self, name: &ServiceName, marked: &mut Option<BTreeMap<ServiceName, Process>>) {
        let record = match self.records.read(name) {
            Ok(record) => record.filter(|record| record.boot == self.boot),
            Err(why) => {
                self.unknown.insert(name.clone(), why.clone());
                self.teller.tell(Told::Seen(Observation::unknown(name.clone(), why)));
                return;
            }
        };
        self.unknown.remove(name);
        let definition = record.as_ref().map(|record| record.definition.clone()).unwrap_or_default();
        let recorded = record.as_ref().map(|record| record.process).filter(|process| process::is_alive(*process));
        let found = recorded.or_else(|| {
            let marked = marked.get_or_insert_with(|| marks::find(&self.home, &self.logs));
            marked.get(name).copied()
        });
        if let Some(process) = found
            && let Ok(pidfd) = process::open_exactly(process)
        {
            let definition = if recorded.is_some() { definition } else { String::new() };
            if recorded.is_none() {
                self.note(name, process, &definition, false);
            }
            self.keep(name, process, pidfd, definition, false);
            self.tell(name);
            return;
        }
        let end = record.filter(|record| !record.asked).map(|record| End {
            process: Some(record.process),
            cause: EndCause::Unseen,
            at: None,
        });
        self.teller.tell(Told::Seen(Observation { end, ..Observation::of(name.clone(), Run::Down) }));
    }

    /// Looks after a process from now on.
    fn keep(&mut self, name: &ServiceName, process: Process, pidfd: OwnedFd, definition: String, own: bool) {
        let Some((child, _)) = self.wanted.get(name) else { return };
        let cgroup = self.cgroups.as_ref().and_then(|cgroups| cgroups.of(name, child.memory).ok());
        // One that was started before there were cgroups is in none.
        let cgroup = cgroup.filter(|cgroup| cgroup.pids().contains(&process.pid));
        let kernel_limits = cgroup.as_ref().is_some_and(Cgroup::limits_memory);
        match pidfd.try_clone() {
            Ok(copy) => self.watcher.order(Order::Watch(Watched {
                service: name.clone(),
                process,
                pidfd: copy,
                own,
                cgroup: cgroup.clone(),
                notify: child.notify,
                memory: child.memory.filter(|_| !kernel_limits),
                logs: Logs::of(&self.logs, name),
                log_bytes: child.log_bytes,
                log_files: child.log_files,
            })),
            Err(error) => self.trouble(format!("the end of service {name} would not be seen: {error}")),
        }
        self.running.insert(name.clone(), Running { process, pidfd, definition, cgroup });
    }

    fn start(&mut self, name: &ServiceName) -> Result<(), String> {
        if let Some(why) = self.unknown.get(name) {
            return Err(why.clone());
        }
        if self.running.get(name).is_some_and(Running::is_alive) {
            return Ok(());
        }
        let Some((child, definition)) = self.wanted.get(name) else {
            return Err("it is not in the configuration".to_owned());
        };
        let logs = Logs::of(&self.logs, name);
        let cgroup = match &self.cgroups {
            Some(cgroups) => Some(cgroups.anew(name, child.memory).map_err(|error| format!("its cgroup: {error}"))?),
            None => None,
        };
        let around =
            Surroundings { home: &self.home, logs: &logs, notify: self.notify.as_deref(), cgroup: cgroup.as_ref() };
        let pid = spawn::spawn(child, &around)?;
        let definition = definition.clone();
        // It is our child and not waited for: its pid is its own, whether it still runs or not.
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| format!("impossible pid {pid}"))?;
        let pidfd = pidfd_open(raw, PidfdFlags::empty()).map_err(|error| {
            // What cannot be seen to end must not run.
            watcher::kill_group(pid);
            format!("its end would not be seen: {error}")
        })?;
        let process = process::now(pid).unwrap_or(Process { pid, start_ticks: 0 });
        self.note(name, process, &definition, false);
        self.keep(name, process, pidfd, definition, true);
        Ok(())
    }

    /// Writes down which process a child is. It runs on where that fails: its mark is enough to find it again.
    fn note(&self, name: &ServiceName, process: Process, definition: &str, asked: bool) {
        let record = Record { boot: self.boot.clone(), process, definition: definition.to_owned(), asked };
        if let Err(error) = self.records.write(name, &record) {
            self.trouble(format!("service {name} runs as {} and that cannot be written down: {error}", process.pid));
        }
    }

    fn stop(&self, name: &ServiceName, verb: Verb) -> Result<(), String> {
        let Some(running) = self.running.get(name).filter(|running| running.is_alive()) else { return Ok(()) };
        self.note(name, running.process, &running.definition, true);
        let group = i32::try_from(running.process.pid).ok().and_then(Pid::from_raw);
        let group = group.ok_or_else(|| "impossible pid".to_owned())?;
        let signal = if verb == Verb::Kill { Signal::KILL } else { Signal::TERM };
        if verb == Verb::Kill
            && let Some(cgroup) = &running.cgroup
        {
            drop(cgroup.kill());
        }
        // The group is its own as long as its leader is there.
        kill_process_group(group, signal)
            .or_else(|_| pidfd_send_signal(&running.pidfd, signal))
            .map_err(|error| error.to_string())?;
        // One that was halted cannot end otherwise.
        let _gone_is_no_matter = kill_process_group(group, Signal::CONT);
        Ok(())
    }

    fn reload(&self, name: &ServiceName) -> Result<(), String> {
        let running = self.running.get(name).filter(|running| running.is_alive()).ok_or("it does not run")?;
        process::reload(&running.pidfd, self.wanted.get(name).and_then(|(child, _)| child.reload))?;
        self.teller.tell(Told::Reloaded(name.clone()));
        Ok(())
    }

    fn tell(&self, name: &ServiceName) {
        let seen = match self.running.get(name) {
            Some(running) if running.is_alive() => {
                let changed = self.wanted.get(name).is_some_and(|(_, definition)| *definition != running.definition);
                Observation {
                    process: Some(running.process),
                    since: process::since(running.process, SystemClock.now()),
                    needs_reload: changed && !running.definition.is_empty(),
                    ..Observation::of(name.clone(), Run::Up)
                }
            }
            // The watcher tells of its end, or has told, and knows how it came.
            Some(_) => return,
            None => Observation::of(name.clone(), Run::Down),
        };
        self.teller.tell(Told::Seen(seen));
    }

    fn trouble(&self, what: String) {
        self.teller.tell(Told::Trouble(what));
    }
}

impl Manager for Children {
    fn watch(&mut self, targets: &[Target]) {
        while let Ok(children) = self.definitions.try_recv() {
            let wanted = |child: Child| (child.name.clone(), (child.clone(), definition_of(&child)));
            self.wanted = children.into_iter().map(wanted).collect();
        }
        let wanted = |name: &ServiceName| targets.iter().any(|target| target.service == *name);
        let gone: Vec<ServiceName> = self.running.keys().filter(|name| !wanted(name)).cloned().collect();
        for name in gone {
            self.watcher.order(Order::Forget(name.clone()));
            if let Some(running) = self.running.remove(&name).filter(Running::is_alive) {
                let pid = running.process.pid;
                self.trouble(format!("service {name} is no longer in the configuration and runs on as process {pid}"));
            }
        }
        let mut marked = None;
        for target in targets {
            if self.running.contains_key(&target.service) {
                self.tell(&target.service);
            } else {
                self.adopt(&target.service, &mut marked);
            }
        }
    }

    fn look(&mut self, service: &ServiceName) {
        if self.unknown.contains_key(service) {
            self.adopt(service, &mut None);
        } else {
            self.tell(service);
        }
    }

    fn act(&mut self, service: &ServiceName, verb: Verb) {
        let done = match verb {
            Verb::Start => self.start(service),
            Verb::Stop | Verb::Kill => self.stop(service, verb),
            Verb::Reload => self.reload(service),
        };
        match done {
            Ok(()) => self.tell(service),
            Err(why) => self.teller.tell(Told::Refused { service: service.clone(), verb, why }),
        }
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        let empty = self.running.values().filter(|running| !running.is_alive());
        empty.filter_map(|running| running.cgroup.as_ref()).for_each(Cgroup::remove);
        if let Some(cgroups) = &self.cgroups {
            cgroups.remove();
        }
    }
}

/// What tells one definition from another.
fn definition_of(child: &Child) -> String {
    let bytes = serde_json::to_vec(child).unwrap_or_default();
    Sha256::digest(&bytes)[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}
