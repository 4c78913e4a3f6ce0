//! What is seen of each target: its facts, by the names of the catalogue.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::lines::Lines;
use super::process::{Gone, Looked};
use super::{certificate, files, process};
use crate::domain::heal::breaker::Breaker;
use crate::domain::heal::condition::{Occurrence, What};
use crate::domain::heal::target::{Target, TargetKind};
use crate::domain::operations::{Operations, Recent};
use crate::domain::signal::SeriesName;
use crate::ports::heal::{Eyes, Seen, ServiceSeen, Services};
use crate::ports::{Exec, Exit, Program, Ran, Reading};

/// How long a target's own check may take.
const CHECK: Duration = Duration::from_secs(5);
/// Output of a check that is kept, in bytes.
const OUTPUT: usize = 4 * 1024;
/// Memory of a service where its target does not say how much is too much, in megabytes.
const MEMORY_MB: u64 = 2_048;
/// Room that a deleted file may hold where its target does not say, in megabytes.
const DELETED_MB: u64 = 1_024;
/// The age of files that may be removed where the target does not say.
const PURGE_AFTER: Duration = Duration::from_secs(7 * 86_400);
/// A file and a process are dated by clocks of different grain, in seconds.
const GRAIN: f64 = 0.05;
/// From this share of the files that a process may have open on, in percent, it is asked at each look how many it may.
const FILES_ASKED: f64 = 20.0;
/// Rates of operations are of this long a time.
const OPERATIONS: Duration = Duration::from_secs(600);

/// Looks at real files and processes.
pub struct SystemEyes<S, E> {
    /// Whoever runs the services.
    pub services: S,
    exec: E,
    /// Where mesh keeps the last good copies of files whose targets name none.
    good: PathBuf,
    known: BTreeMap<String, Known>,
    /// Whether it keeps copies of what is good.
    pub keeps: bool,
    /// How long before the machine's own start the drill's machine started.
    pub older_by: f64,
    /// Seconds after which a process that held nothing of what is gone is looked at again for that: it takes longer than all
    /// the rest, and files go away from under a process once in months.
    pub gone_after: i64,
}

/// What is remembered of a target from one look to the next.
#[derive(Default)]
struct Known {
    lines: Lines,
    heartbeat: Option<(String, i64)>,
    progress: Option<(String, i64)>,
    busy: Option<(u64, Instant)>,
    /// What was seen of its processes last.
    looked: Option<Looked>,
    /// How many files a process may have open: of which one, and how many.
    most_files: Option<((u32, u64), f64)>,
    /// What a process holds of what is gone: which one, when it was looked at, and what.
    gone: Option<((u32, u64), i64, Gone)>,
    restarts: VecDeque<(i64, u64)>,
    size: Option<(u64, i64)>,
    operations: Option<Recent>,
    classes: BTreeMap<String, u64>,
}

impl Known {
    /// How much a process uses of the files that it may have open, in percent. Who may have how many hardly ever changes, so
    /// that is asked again only where it matters.
    fn share_of_files(&mut self, process: (u32, u64), count: usize) -> Option<f64> {
        let percent = |most: f64| 100.0 * count as f64 / most.max(1.0);
        let known = self.most_files.filter(|known| known.0 == process).map(|known| percent(known.1));
        known.filter(|percent| *percent < FILES_ASKED).or_else(|| {
            let most = crate::sys::managers::process::most_files(Path::new(&format!("/proc/{}", process.0)))?;
            self.most_files = Some((process, most));
            Some(percent(most))
        })
    }

    /// What a process holds of what is gone. One that held something is looked at each time, since rules wait for its end.
    fn holds_gone(&mut self, process: (u32, u64), now: i64, again: i64) -> Option<Gone> {
        let last = self.gone.filter(|(of, at, gone)| *of == process && gone.is_nothing() && now - at < again);
        last.map(|(_, _, gone)| gone).or_else(|| {
            let gone = Gone::of(process.0)?;
            self.gone = Some((process, now, gone));
            Some(gone)
        })
    }
}

#[derive(Default, Deserialize)]
struct Counters {
    evaluated: Option<u64>,
    hits: Option<u64>,
    #[serde(default)]
    classes: BTreeMap<String, u64>,
}

/// Facts of one target as they are gathered.
struct Facts<'a> {
    target: &'a Target,
    readings: Vec<Reading>,
}

impl Facts<'_> {
    fn note(&mut self, signal: &'static str, value: f64) {
        let name = SeriesName::of(signal, self.target.name.clone());
        self.readings.push(Reading { name, value: Ok(value) });
    }

    fn truth(&mut self, signal: &'static str, holds: bool) {
        self.note(signal, f64::from(u8::from(holds)));
    }

    fn maybe(&mut self, signal: &'static str, value: Option<f64>) {
        let name = SeriesName::of(signal, self.target.name.clone());
        self.readings.push(Reading { name, value: value.ok_or_else(|| "it cannot be read".to_owned()) });
    }
}

/// Where mesh keeps its own last good copy of a target's file.
pub(super) fn good_copy(folder: &Path, target: &Target) -> PathBuf {
    target.good.clone().unwrap_or_else(|| folder.join(target.name.as_str().replace('/', "_")))
}

impl<S: Services, E: Exec> Eyes for SystemEyes<S, E> {
    fn look(&mut self, targets: &[Target], wall: i64, now: i64) -> Seen {
        let mut seen = Seen::default();
        let happened = self.services.happened();
        let uptime = process::uptime_s().map(|uptime| uptime + self.older_by);
        for target in targets {
            let mut known = self.known.remove(target.name.as_str()).unwrap_or_default();
            let mut facts = Facts { target, readings: std::mem::take(&mut seen.readings) };
            facts.maybe("host.uptime_s", uptime);
            let lines = self.look_at(target, &mut known, &mut facts, wall, now);
            let name = target.name.as_str();
            let events = happened.iter().filter(|(service, _)| target.service() == Some(service));
            let events = events.map(|(_, event)| What::Event(*event));
            let all = events.chain(lines.into_iter().map(What::Line));
            seen.occurrences.extend(all.map(|what| Occurrence { at: now, target: name.to_owned(), what }));
            seen.readings = facts.readings;
            self.known.insert(name.to_owned(), known);
        }
        seen
    }
}

impl<S: Services, E: Exec> SystemEyes<S, E> {
    /// Looks through `services` and `exec`; mesh's own copies of good files are in `good`.
    pub fn new(services: S, exec: E, good: PathBuf) -> Self {
        Self { services, exec, good, known: BTreeMap::new(), keeps: true, older_by: 0.0, gone_after: 0 }
    }

    fn look_at(
        &mut self,
        target: &Target,
        known: &mut Known,
        facts: &mut Facts<'_>,
        wall: i64,
        now: i64,
    ) -> Vec<String> {
        facts.truth("unit.critical", target.critical);
        facts.truth("target.runnable", !target.run.is_empty());
        facts.truth("breaker.open", target.breaker.as_ref().is_some_and(|path| is_open(path, wall)));
        let probes = matches!(target.kind, TargetKind::Service | TargetKind::Tunnel | TargetKind::Endpoint);
        if probes && !target.check.is_empty() {
            let ok = self.ask(target);
            facts.maybe("unit.probe_failed", ok.map(|ok| num(!ok)));
        }
        self.progress(target, known, facts, now);
        if let Some(service) = target.service() {
            if let Some(seen) = self.services.seen(service) {
                self.service(target, known, &seen, facts, now);
            }
            let up = target.parent.as_ref().map(|parent| self.is_up(parent));
            facts.maybe("unit.parent_up", up.unwrap_or(Some(true)).map(|up| f64::from(u8::from(up))));
        }
        let Some(path) = target.path.as_deref() else { return Vec::new() };
        let age = files::changed(path).map(|at| (wall as f64 - at).max(0.0));
        match target.kind {
            TargetKind::Lock => {
                facts.truth("path.present", path.exists());
                let lifetime = target.lifetime.unwrap_or(Duration::from_secs(3_600)).as_secs_f64().max(1.0);
                facts.note("lock.age_lifetimes", age.unwrap_or(0.0) / lifetime);
                let there = path.exists();
                facts.maybe("lock.held", if there { process::is_locked(path).map(num) } else { Some(0.0) });
                facts.maybe("lock.owner_alive", if there { process::owner_lives(path).map(num) } else { Some(0.0) });
            }
            TargetKind::Pidfile => {
                facts.truth("path.present", path.exists());
                let live = if path.exists() { process::owner_lives(path) } else { Some(false) };
                facts.maybe("pidfile.live", live.map(num));
            }
            TargetKind::Log | TargetKind::Messages => return log(path, known, facts, wall, now),
            TargetKind::Space => {
                let (room, count) = files::used(path, target.max_mb, target.max_count);
                facts.maybe("space.used_percent", room);
                facts.maybe("space.files_percent", count);
                let after = i64::try_from(target.purge_after.unwrap_or(PURGE_AFTER).as_secs()).unwrap_or(i64::MAX);
                let old = files::old(&target.purge, wall, after);
                facts.note("space.purgeable_mb", files::megabytes(&old));
            }
            TargetKind::Path => {
                let metadata = fs::symlink_metadata(path).ok();
                facts.truth("path.present", metadata.is_some());
                let fits = metadata.is_some_and(|found| {
                    use std::os::unix::fs::PermissionsExt as _;
                    let mode = target.mode_bits().is_none_or(|mode| found.permissions().mode() & 0o7777 == mode);
                    mode && (!target.directory || found.is_dir())
                });
                facts.truth("path.mode_ok", fits);
            }
            TargetKind::Config => {
                let ok = self.ask(target);
                facts.maybe("config.ok", ok.map(num));
                self.copies(target, path, ok, "config.good_copy", facts);
            }
            TargetKind::State => {
                let ok = files::parses(path);
                facts.maybe("state.parses", ok.map(num));
                self.copies(target, path, ok, "state.good_copy", facts);
            }
            TargetKind::Environment => {
                let failed = target.services.iter().filter(|service| {
                    let seen = self.services.seen(service);
                    seen.is_some_and(|seen| seen.failed && seen.exit_code == Some(127))
                });
                facts.note("environment.units_failed", failed.count() as f64);
                // A file that was changed after they started has not been tried by them.
                let tried = |pid| {
                    let started = process::started_at(pid);
                    started.zip(files::changed(path)).is_some_and(|(started, changed)| started + GRAIN >= changed)
                };
                let working = target.services.iter().all(|service| {
                    let seen = self.services.seen(service);
                    seen.and_then(|seen| seen.pid).is_some_and(tried)
                });
                let good = good_copy(&self.good, target);
                let differs = fs::read(&good).ok().map(|good| fs::read(path).ok() != Some(good));
                facts.maybe("environment.differs", differs.map(num));
                if self.keeps && target.good.is_none() && working {
                    keep(path, &good);
                }
            }
            TargetKind::Certificate => {
                let end = fs::read_to_string(path).ok().and_then(|pem| certificate::not_after(&pem));
                facts.maybe("cert.days_left", end.map(|end| (end - wall) as f64 / 86_400.0));
            }
            TargetKind::Job => {
                let period = target.period.unwrap_or(Duration::from_secs(86_400)).as_secs_f64().max(1.0);
                facts.maybe("job.overdue", age.map(|age| age / period));
            }
            TargetKind::Backup => {
                let found = files::backups(path, wall);
                let period = target.period.unwrap_or(Duration::from_secs(86_400)).as_secs_f64().max(1.0);
                facts.maybe("backup.age_periods", found.map(|(age, _)| age / period));
                facts.maybe("backup.size_percent", found.and_then(|(_, size)| size));
            }
            TargetKind::Operations => operations(path, known, facts, now),
            TargetKind::Counters => counters(path, known, facts),
            TargetKind::Service | TargetKind::Tunnel | TargetKind::Endpoint | TargetKind::Host | TargetKind::Mesh => {}
        }
        Vec::new()
    }

    fn service(&mut self, target: &Target, known: &mut Known, seen: &ServiceSeen, facts: &mut Facts<'_>, now: i64) {
        facts.truth("unit.active", seen.pid.is_some());
        facts.truth("unit.failed", seen.failed);
        facts.truth("unit.wanted", seen.wanted);
        facts.truth("unit.given_up", seen.given_up);
        facts.truth("unit.retried", seen.retried);
        facts.truth("unit.needs_reload", seen.needs_reload);
        facts.truth("unit.held_down", seen.held);
        facts.note("service.restarts", seen.restarts as f64);
        known.restarts.push_back((now, seen.restarts));
        known.restarts.retain(|(at, _)| now - *at <= 600);
        let first = known.restarts.front().map_or(0, |(_, count)| *count);
        facts.note("unit.restarts_10m", seen.restarts.saturating_sub(first) as f64);
        facts.maybe("unit.exit_code", seen.exit_code.map(f64::from));
        if let (Some(path), Some(period)) = (&target.heartbeat, target.period) {
            let age = unchanged_for(&mut known.heartbeat, path, now);
            facts.maybe("service.heartbeat_age_s", age);
            facts.maybe("unit.heartbeat_periods", age.map(|age| age / period.as_secs_f64().max(1.0)));
        }
        let Some(pid) = seen.pid else {
            known.busy = None;
            return;
        };
        let Some(looked) = Looked::at(pid, known.looked.as_ref()) else { return };
        facts.truth("unit.stopped", looked.main.stat.state == 'T');
        facts.note("unit.zombies", looked.zombies as f64);
        facts.note("service.rss_mb", looked.memory_mb);
        facts.note("unit.memory_percent", 100.0 * looked.memory_mb / target.max_mb.unwrap_or(MEMORY_MB).max(1) as f64);
        let process = (pid, looked.main.stat.start_ticks);
        let share = looked.files.and_then(|count| known.share_of_files(process, count));
        facts.maybe("unit.fd_percent", share);
        if let Some(most) = target.max_count.filter(|most| *most > 0) {
            facts.note("unit.thread_percent", 100.0 * looked.threads as f64 / most as f64);
        }
        let gone = known.holds_gone(process, now, self.gone_after);
        facts.maybe("unit.deleted_maps", gone.map(|gone| gone.mapped as f64));
        let most = target.max_mb.unwrap_or(DELETED_MB).max(1) as f64;
        facts.maybe("unit.deleted_open_percent", gone.map(|gone| 100.0 * gone.held_mb / most));
        let wanted = looked.wanted_ns;
        known.looked = Some(looked);
        let at = Instant::now();
        if let Some((before, then)) = known.busy.replace((wanted, at)) {
            let passed = at.duration_since(then).as_secs_f64().max(0.001);
            facts.note("unit.busy_percent", wanted.saturating_sub(before) as f64 / 1e7 / passed);
        }
        if !target.sources.is_empty() {
            let newer = files::newest(&target.sources).zip(process::started_at(pid));
            let stale = |(source, started): (f64, f64)| if source - started > GRAIN { source - started } else { 0.0 };
            facts.maybe("unit.stale_code_s", newer.map(stale));
        }
    }

    fn progress(&self, target: &Target, known: &mut Known, facts: &mut Facts<'_>, now: i64) {
        let Some(path) = &target.progress else {
            facts.note("target.blocked", 0.0);
            return;
        };
        let before = known.progress.clone();
        let age = unchanged_for(&mut known.progress, path, now);
        facts.maybe("target.progress_age_s", age);
        let Some((before, (text, at))) = before.zip(known.progress.clone()) else { return };
        facts.truth("target.blocked", before.0 == text);
        let count = |text: &str| text.trim().parse::<f64>().ok();
        let moved =
            count(&text).zip(count(&before.0)).map_or(num(text != before.0), |(now, then)| (now - then).max(0.0));
        let seconds = (now - before.1).max(1) as f64;
        facts.note("service.throughput", if at == before.1 { 0.0 } else { moved * 3_600.0 / seconds });
    }

    /// Whether a service, or an address after `tcp:`, is up.
    fn is_up(&mut self, name: &str) -> Option<bool> {
        use std::net::{TcpStream, ToSocketAddrs as _};
        match name.strip_prefix("tcp:") {
            Some(address) => {
                let address = address.to_socket_addrs().ok()?.next()?;
                Some(TcpStream::connect_timeout(&address, Duration::from_secs(2)).is_ok())
            }
            // One that its manager is about to start decides nothing: it may be up in a second.
            None => {
                self.services.seen(name).filter(|seen| seen.pid.is_some() || !seen.retried).map(|s| s.pid.is_some())
            }
        }
    }

    /// Runs a target's check: yes, no, or not known when it gave no answer.
    fn ask(&self, target: &Target) -> Option<bool> {
        let argv = &target.check;
        if argv.is_empty() {
            return None;
        }
        let program =
            Program { argv: argv.clone(), dir: PathBuf::from("/"), timeout: CHECK, output_cap: OUTPUT, memory: None };
        match run_for(&self.exec, target, &program).exit {
            Exit::Code(code) => Some(code == 0),
            Exit::Signal(_) | Exit::TimedOut | Exit::NotStarted(_) => None,
        }
    }

    /// Keeps a copy of what is good, and says whether there is one to go back to.
    fn copies(&self, target: &Target, path: &Path, ok: Option<bool>, signal: &'static str, facts: &mut Facts<'_>) {
        let good = good_copy(&self.good, target);
        if self.keeps && target.good.is_none() && ok == Some(true) {
            keep(path, &good);
        }
        facts.truth(signal, fs::read(&good).is_ok_and(|good| !good.is_empty() && fs::read(path).ok() != Some(good)));
    }
}

/// Runs what a target's owner declared, with the rights that he named.
pub(super) fn run_for(exec: &impl Exec, target: &Target, program: &Program) -> Ran {
    match &target.user {
        Some(user) => exec.run_as(user, program, &AtomicBool::new(false)),
        None => exec.run(program),
    }
}

/// Whether a breaker holds operations back.
fn is_open(path: &Path, wall: i64) -> bool {
    fs::read_to_string(path).is_ok_and(|text| Breaker::parse(&text).holds(wall))
}

fn num(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

/// Copies what changed. A copy that cannot be made is one that is not offered later.
fn keep(path: &Path, good: &Path) {
    let Ok(bytes) = fs::read(path) else { return };
    if fs::read(good).ok().as_ref() == Some(&bytes) {
        return;
    }
    if let Some(folder) = good.parent() {
        drop(fs::create_dir_all(folder));
    }
    let fresh = good.with_extension("new");
    if fs::write(&fresh, &bytes).is_ok() {
        drop(fs::rename(&fresh, good));
    }
}

/// For how long the file's text has not been seen to change. What counts is when the change was seen: no clock of the
/// writer's is believed.
fn unchanged_for(known: &mut Option<(String, i64)>, path: &Path, now: i64) -> Option<f64> {
    let text = fs::read_to_string(path).unwrap_or_default();
    match known {
        Some((before, at)) if *before == text => return Some((now - *at).max(0) as f64),
        Some(_) | None => {}
    }
    *known = Some((text, now));
    Some(0.0)
}

fn log(path: &Path, known: &mut Known, facts: &mut Facts<'_>, wall: i64, now: i64) -> Vec<String> {
    let Some(new) = known.lines.look(path, now) else {
        facts.maybe("log.size_mb", None);
        return Vec::new();
    };
    let mb = |bytes: u64| bytes as f64 / (1_024.0 * 1_024.0);
    facts.note("log.size_mb", mb(new.size));
    if let Some(grown) = new.grown {
        if let Some((_, at)) = known.size {
            facts.note("log.growth_mb_per_h", mb(grown) * 3_600.0 / (wall - at).max(1) as f64);
        }
        facts.note("log.records", new.lines.len() as f64);
        facts.note("log.same_template", known.lines.same_template());
    }
    known.size = Some((new.size, wall));
    new.lines
}

fn operations(path: &Path, known: &mut Known, facts: &mut Facts<'_>, now: i64) {
    let read = fs::read_to_string(path).ok().and_then(|text| serde_json::from_str::<Operations>(&text).ok());
    let Some(counted) = read else {
        facts.maybe("operations.write_error_percent", None);
        return;
    };
    let recent = known.operations.get_or_insert_with(|| Recent::of(OPERATIONS));
    recent.look(now, counted);
    facts.maybe("operations.write_error_percent", recent.write_error_percent());
    facts.maybe("operations.read_error_percent", recent.read_error_percent());
}

fn counters(path: &Path, known: &mut Known, facts: &mut Facts<'_>) {
    let read = fs::read_to_string(path).ok().and_then(|text| serde_json::from_str::<Counters>(&text).ok());
    let Some(counters) = read else {
        facts.maybe("counters.evaluated", None);
        return;
    };
    facts.maybe("counters.evaluated", counters.evaluated.map(|count| count as f64));
    facts.maybe("counters.hits", counters.hits.map(|count| count as f64));
    if !counters.classes.is_empty() {
        let before = if known.classes.is_empty() { counters.classes.clone() } else { known.classes.clone() };
        let moved = |name: &String, count: u64| count > before.get(name).copied().unwrap_or(0);
        let moving = counters.classes.iter().filter(|(name, count)| moved(name, **count)).count();
        facts.note("counters.moving", moving as f64);
        facts.note("work.category_starved", counters.classes.values().filter(|count| **count == 0).count() as f64);
        known.classes = counters.classes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_held_nothing_is_looked_at_again_after_a_while_and_one_that_did_each_time() {
        let own = (std::process::id(), 1);
        let nothing = Gone { held_mb: 0.0, mapped: 0 };
        let something = Gone { held_mb: 7.5, mapped: 3 };
        for (last, now, looks) in [
            (Some((own, 100, nothing)), 399, false),
            (Some((own, 100, nothing)), 400, true),
            (Some(((own.0, 2), 100, nothing)), 101, true),
            (Some((own, 100, something)), 101, true),
            (None, 101, true),
        ] {
            let mut known = Known { gone: last, ..Known::default() };
            let found = known.holds_gone(own, now, 300).expect("this process");
            assert_ne!(found, something);
            assert_eq!(known.gone.map(|(of, at, _)| (of, at)), Some((own, if looks { now } else { 100 })), "{last:?}");
        }
    }
}
