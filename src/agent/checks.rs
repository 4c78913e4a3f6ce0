//! What is measured on this host: the checks of every host, and those that its configuration asks for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch::Receiver;

use super::parts::Parts;
use crate::domain::foreign_text::error_line;
use crate::domain::signal::{self, SeriesName, Signal, Subject};
use crate::domain::snapshot::ServiceView;
use crate::domain::window::Times;
use crate::loops::measure::{Bounds, Check};
use crate::ports::{Probe, Program};
use crate::store::config::Config;
use crate::store::db::Db;
use crate::store::model_config::ModelConfig;
use crate::store::notify_config::HomeSecrets;
use crate::store::signal_config::{FileIs, ServiceFile, SignalsConfig, Watched, WatchedKind, bounds};
use crate::sys::clock::SystemClock;
use crate::sys::exec::{ExecAs, SystemExec};
use crate::sys::model::{HttpModel, ModelProbe};
use crate::sys::probes::{
    CertificateFile, DnsProbe, EdacProbe, EnvironmentProbe, Expected, FileProbe, Find, HostProbe, HttpClient,
    HttpProbe, JobProbe, JournalOf, JournalProbe, KernelProbe, LogProbe, Mount, MountedProbe, NetworkProbe, NtpProbe,
    NumberProbe, Page, ProcessesProbe, ProgramProbe, RaidProbe, ServiceProbe, SmartProbe, TcpProbe, TlsProbe, USUAL,
    UpstreamProbe, Whereabouts, by_pid_file, mounts,
};

/// How long a built-in check may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// Between two questions to the model: a server loads it for each.
const MODEL_EVERY: Duration = Duration::from_secs(3_600);
/// More than the timeout that a check keeps itself.
const SLACK: Duration = Duration::from_secs(3);
/// Output of a program that is read, in bytes.
const OUTPUT: usize = 16 * 1024;
/// The same of smartctl, which prints a table.
const SMART_OUTPUT: usize = 256 * 1024;
const PROC: &str = "/proc";
const CGROUPS: &str = "/sys/fs/cgroup";
const MOUNTS: &str = "/proc/self/mountinfo";

/// Services as they are now, by name.
pub(super) type Views = BTreeMap<String, ServiceView>;

/// What the checks were made from: they are made again when it differs.
#[derive(Clone, PartialEq)]
pub(super) struct Wanted {
    home: PathBuf,
    signals: SignalsConfig,
    signal: Vec<Watched>,
    /// Services that are supervised.
    services: Vec<String>,
    mounts: Vec<Mount>,
    /// The model that is asked for hints.
    model: Option<ModelConfig>,
}

impl Wanted {
    pub(super) fn now(parts: &Parts) -> Self {
        let mounts = mounts(Path::new(MOUNTS));
        let Config { signals, signal, services, model, .. } = parts.config.clone();
        let services = services.into_iter().map(|service| service.name.to_string()).collect();
        Self { home: parts.home.root().to_owned(), signals, signal, services, mounts, model }
    }

    /// The bounds of these signals of a subject, and of all that the configuration says something of.
    fn bounds(&self, signals: &[&'static str], subject: &Subject) -> BTreeMap<&'static str, Bounds> {
        let set = self.signals.set.keys().chain(signals).filter_map(|name| signal::find(name));
        let of = |signal: &'static Signal| {
            let (threshold, critical) = bounds(&self.signals, &self.signal, signal, subject.as_str());
            (signal.name, Bounds { threshold, critical })
        };
        set.map(of).collect()
    }
}

/// The checks while they are made. What cannot be made is named in `notes`.
struct Making<'a> {
    wanted: &'a Wanted,
    db: &'a Db,
    seen: &'a Receiver<Views>,
    notes: &'a mut Vec<String>,
    made: Vec<Check>,
    client: Option<HttpClient>,
}

/// What is measured here; `seen` says where supervised services are. What cannot be is named in `notes`.
pub(super) fn checks(wanted: &Wanted, db: &Db, seen: &Receiver<Views>, notes: &mut Vec<String>) -> Vec<Check> {
    let mut making = Making { wanted, db, seen, notes, made: Vec::new(), client: None };
    making.host();
    making.services();
    making.model();
    for watched in &wanted.signal {
        if let Err(why) = making.watched(watched) {
            making.notes.push(format!("signal {} is not measured: {why}", watched.name.as_str()));
        }
    }
    making.made
}

impl Making<'_> {
    /// A check of the host itself. `signals` are those that are unknown when it does not answer.
    fn own(&mut self, label: &str, subject: Subject, signals: &[&'static str], probe: Box<dyn Probe>) {
        self.made.push(Check {
            label: label.to_owned(),
            every: self.wanted.signals.interval.0,
            deadline: DEADLINE,
            names: signals.iter().map(|signal| SeriesName::of(signal, subject.clone())).collect(),
            bounds: self.wanted.bounds(signals, &subject),
            service: None,
            times: Times::default(),
            probe,
        });
    }

    fn host(&mut self) {
        let host = Subject::default();
        let always = ["host.load.per_core", "host.memory.used_percent"];
        self.own("host", host.clone(), &always, Box::new(HostProbe::new(PROC)));
        let seen = self.mark("network");
        let network = NetworkProbe::new(PROC, "/sys/class/net", seen.as_deref());
        self.own("network", host.clone(), &["host.ports.used_percent"], Box::new(network));
        let counted = ["host.processes.zombies", "host.processes.blocked"];
        self.own("processes", host.clone(), &counted, Box::new(ProcessesProbe::new(PROC)));
        let seen = self.mark("mounted");
        let mounted = MountedProbe::new(MOUNTS, "/etc/fstab", seen.as_deref());
        self.own("mounted", host.clone(), &[], Box::new(mounted));
        let stopped = self.mark("kernel");
        match KernelProbe::new(PathBuf::from("/dev/kmsg"), PROC, stopped.as_deref()) {
            Ok(probe) => self.own("kernel", host, &[], Box::new(probe)),
            Err(why) => self.notes.push(format!("the kernel's log is not followed: {why}")),
        }
        self.own("raid", Subject::default(), &[], Box::new(RaidProbe::new("/proc/mdstat")));
        self.own("edac", Subject::default(), &[], Box::new(EdacProbe::new("/sys/devices/system/edac/mc")));
        for mount in self.wanted.mounts.clone() {
            let (subject, signals) = (mount.subject(), ["host.disk.used_percent", "host.disk.inodes_used_percent"]);
            self.own(&format!("disk:{}", subject.as_str()), subject, &signals, Box::new(mount));
        }
    }

    /// What supervised services use, but for those that a `[[signal]]` of the same name measures.
    fn services(&mut self) {
        for name in &self.wanted.services {
            let is_same = |one: &Watched| matches!(one.kind, WatchedKind::Service { .. }) && one.name.as_str() == name;
            if self.wanted.signal.iter().any(is_same) {
                continue;
            }
            let subject = Subject::near(name);
            let find = supervised(name.clone(), self.seen.clone());
            let probe = ServiceProbe::new(subject.clone(), PROC, CGROUPS, find);
            self.own(&format!("service:{name}"), subject, &["service.rss_mb"], Box::new(probe));
            if let Some(made) = self.made.last_mut() {
                made.service = Some(name.clone());
            }
        }
    }

    /// A model on this machine is asked for one token. One elsewhere is not: that would cost.
    fn model(&mut self) {
        let Some(config) = self.wanted.model.as_ref().filter(|config| !config.remote) else { return };
        let names = ["model.answers", "model.present"];
        let subject = Subject::near(&config.name);
        let endpoint = super::kaizen::endpoint(config);
        let secrets = std::sync::Arc::new(HomeSecrets::at(&self.wanted.home));
        match HttpModel::new(endpoint, secrets) {
            Ok(model) => self.made.push(Check {
                label: "model".to_owned(),
                every: MODEL_EVERY,
                deadline: config.timeout.0 * 2 + SLACK,
                names: names.iter().map(|signal| SeriesName::of(signal, subject.clone())).collect(),
                bounds: self.wanted.bounds(&names, &subject),
                times: Times::default(),
                service: None,
                probe: Box::new(ModelProbe::new(subject, model)),
            }),
            Err(why) => self.notes.push(format!("the model is not measured: {why}")),
        }
    }

    /// Where a probe stopped. Where that cannot be read it starts anew, and says so.
    fn mark(&mut self, label: &str) -> Option<String> {
        self.db.probe_mark(label).unwrap_or_else(|error| {
            self.notes.push(format!("{label} starts anew: {}", error_line(&error)));
            None
        })
    }

    fn watched(&mut self, watched: &Watched) -> Result<(), String> {
        let label = format!("{}:{}", watched.main_signal(), watched.name.as_str());
        let probe = self.probe(watched, &label)?;
        let signals: Vec<_> = watched.kind.signals().iter().copied().chain(watched.signal).collect();
        self.add(watched, label, &signals, probe);
        if let WatchedKind::Service { at: at @ ServiceFile::PidFile(_), environment } = &watched.kind {
            let label = format!("service.environment_changed:{}", watched.name.as_str());
            let names = environment.clone().unwrap_or_else(|| USUAL.map(str::to_owned).to_vec());
            let (mark, find) = (self.mark(&label), find(at));
            let probe = EnvironmentProbe::new(watched.name.clone(), PROC, names, find, mark.as_deref(), SystemClock);
            self.add(watched, label, &["service.environment_changed"], Box::new(probe));
        }
        Ok(())
    }

    fn add(&mut self, watched: &Watched, label: String, signals: &[&'static str], probe: Box<dyn Probe>) {
        let subject = &watched.name;
        let bounded: Vec<_> = signals.iter().chain(watched.kind.more_signals()).copied().collect();
        self.made.push(Check {
            label,
            every: watched.every.0,
            deadline: watched.timeout.0 + SLACK,
            names: signals.iter().map(|signal| SeriesName::of(signal, subject.clone())).collect(),
            bounds: self.wanted.bounds(&bounded, subject),
            service: None,
            times: watched.times.clone(),
            probe,
        });
    }

    fn probe(&mut self, watched: &Watched, label: &str) -> Result<Box<dyn Probe>, String> {
        let (name, timeout) = (watched.name.clone(), watched.timeout.0);
        Ok(match &watched.kind {
            WatchedKind::Http { url, json, body, header } => {
                let client = match &self.client {
                    Some(client) => client.clone(),
                    None => self.client.insert(HttpClient::new()?).clone(),
                };
                let number = json.clone().zip(watched.signal);
                let page = Page { url: url.clone(), number, body: body.clone(), header: header.clone() };
                Box::new(HttpProbe::new(name, page, timeout, client)?)
            }
            WatchedKind::Tcp { address, speaks } => Box::new(TcpProbe::new(name, address.clone(), *speaks, timeout)),
            WatchedKind::Tls { address, server_name } => {
                Box::new(TlsProbe::new(name, address.clone(), server_name.as_deref(), timeout, SystemClock)?)
            }
            WatchedKind::Dns { host, server } => Box::new(DnsProbe::new(name, host.clone(), server.clone(), timeout)),
            WatchedKind::Ntp(address) => Box::new(NtpProbe::new(name, address.clone(), timeout, SystemClock)),
            WatchedKind::Log { path, pattern } => {
                Box::new(LogProbe::new(name, path.clone(), pattern, self.mark(label).as_deref())?)
            }
            WatchedKind::Journal { unit, pattern } => {
                let of = JournalOf { unit: unit.clone(), pattern: pattern.clone() };
                let mark = self.mark(label);
                Box::new(JournalProbe::new(name, &of, "journalctl", timeout, mark.as_deref(), SystemExec)?)
            }
            WatchedKind::Certificate(path) => Box::new(CertificateFile::new(name, path.clone(), SystemClock)),
            WatchedKind::File { path, is } => {
                let FileIs { sha256, uid, gid, mode, unchanged } = is.clone();
                let expected = Expected { sha256, uid, gid, mode, unchanged };
                Box::new(FileProbe::new(name, path.clone(), expected, self.mark(label).as_deref(), SystemClock))
            }
            WatchedKind::Smart(disk) => {
                let words = ["smartctl", "--json", "--health", "--attributes", "--nocheck=standby"];
                let argv = words.map(str::to_owned).into_iter().chain([disk.display().to_string()]).collect();
                let dir = self.wanted.home.clone();
                let program = Program { argv, dir, timeout, output_cap: SMART_OUTPUT, memory: None };
                Box::new(SmartProbe::new(name, program, SystemExec))
            }
            WatchedKind::Job(stamp) => Box::new(JobProbe::new(name, stamp.clone(), SystemClock)),
            WatchedKind::Number { path, json } => {
                let signal = watched.signal.ok_or("`signal` is missing")?;
                Box::new(NumberProbe::new(name, path.clone(), json.clone(), signal))
            }
            WatchedKind::Command { argv, value, user } => {
                // No other user can be in our home.
                let dir = if user.is_some() { PathBuf::from("/") } else { self.wanted.home.clone() };
                let program = Program { argv: argv.clone(), dir, timeout, output_cap: OUTPUT, memory: None };
                Box::new(ProgramProbe::new(name, program, watched.signal, value.clone(), ExecAs(user.clone())))
            }
            WatchedKind::Upstream { path, window_s } => {
                let (window, mark) = (Duration::from_secs(*window_s), self.mark(label));
                Box::new(UpstreamProbe::new(name, path.clone(), window, mark.as_deref(), SystemClock))
            }
            WatchedKind::Service { at, .. } => Box::new(ServiceProbe::new(name, PROC, CGROUPS, find(at))),
        })
    }
}

/// How a supervised service is found at each look: its manager has told of its main process.
fn supervised(name: String, seen: Receiver<Views>) -> Find {
    Box::new(move || match seen.borrow().get(&name) {
        Some(view) if !view.is_seen() && !view.why.is_empty() => Err(view.why.clone()),
        Some(view) => Ok(Whereabouts { pid: view.pid, cgroup: None }),
        None => Ok(Whereabouts::default()),
    })
}

/// How a service that mesh does not start itself is found at each look.
fn find(at: &ServiceFile) -> Find {
    match at.clone() {
        ServiceFile::PidFile(path) => Box::new(move || by_pid_file(Path::new(PROC), &path)),
        ServiceFile::Cgroup(cgroup) => Box::new(move || Ok(Whereabouts { pid: None, cgroup: Some(cgroup.clone()) })),
    }
}
