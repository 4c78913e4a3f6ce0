//! What a service uses: its processes, and its cgroup where it has one. Only its own processes are looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::procfs::{self, Stat};
use super::{megabytes, percent, reading, small_file};
use crate::domain::signal::{SeriesName, Subject};
use crate::ports::{Probe, Reading};
use crate::sys::managers::process;

/// Most processes of one service that are looked at.
const MOST: usize = 10_000;
/// Most cgroups below that of a service.
const DEEPEST: usize = 1_000;
/// A process that has been given another limit of open files is judged by the old one for no longer than this.
const LIMITS_FOR: Duration = Duration::from_secs(3_600);

/// Where a service is now. One that is nowhere does not run, which is not the same as not to be found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Whereabouts {
    /// Its first process. The ones that descend from it are its own.
    pub pid: Option<u32>,
    /// Its cgroup, below the mount point of cgroups; whatever is in it is its own.
    pub cgroup: Option<PathBuf>,
}

/// Finds a service at each look, since it may have been started anew. `Err` says why it is not to be found.
pub type Find = Box<dyn FnMut() -> Result<Whereabouts, String> + Send>;

/// Measures one service.
pub struct ServiceProbe {
    name: Subject,
    proc: PathBuf,
    cgroups: PathBuf,
    find: Find,
    /// Time on a processor of each process, by pid and start.
    ticks: BTreeMap<(u32, u64), u64>,
    /// How many files each process may have open, and since when that is known.
    limits: BTreeMap<(u32, u64), Option<f64>>,
    limits_at: Instant,
    /// The cgroup's time on a processor and the time that it was held back, in microseconds.
    used: Option<(f64, f64)>,
    looked: Option<Instant>,
    remarks: Vec<(SeriesName, String)>,
    /// What was told so far: none of it is known when the service cannot be seen.
    told: BTreeSet<&'static str>,
}

impl ServiceProbe {
    /// Measures what `find` finds, from `proc` and `cgroups`, which are `/proc` and `/sys/fs/cgroup`.
    #[must_use]
    pub fn new(name: Subject, proc: impl Into<PathBuf>, cgroups: impl Into<PathBuf>, find: Find) -> Self {
        let (proc, cgroups) = (proc.into(), cgroups.into());
        let told = BTreeSet::from(["service.rss_mb"]);
        let (ticks, limits, limits_at) = (BTreeMap::new(), BTreeMap::new(), Instant::now());
        Self {
            name,
            proc,
            cgroups,
            find,
            ticks,
            limits,
            limits_at,
            used: None,
            looked: None,
            remarks: Vec::new(),
            told,
        }
    }

    fn remark(&mut self, signal: &'static str, text: String) {
        self.remarks.push((SeriesName::of(signal, self.name.clone()), text));
    }

    /// What comes next is counted from its own first look.
    fn begin_anew(&mut self) {
        (self.ticks, self.used, self.looked) = (BTreeMap::new(), None, None);
    }

    fn processes(&mut self, stats: &[Stat], passed: Option<f64>, has_cgroup_cpu: bool) -> Vec<Reading> {
        let page = rustix::param::page_size() as u64;
        let rss = stats.iter().map(|stat| megabytes(stat.pages.saturating_mul(page))).sum();
        let threads: u64 = stats.iter().map(|stat| stat.threads).sum();
        let mut told = vec![
            ("service.rss_mb", rss),
            ("service.processes", stats.len() as f64),
            ("service.threads", threads as f64),
        ];
        let before = std::mem::replace(
            &mut self.ticks,
            stats.iter().map(|stat| ((stat.pid, stat.started), stat.ticks)).collect(),
        );
        if let Some(passed) = passed.filter(|_| !has_cgroup_cpu && !before.is_empty()) {
            // One that was not there before has worked since.
            let spent =
                self.ticks.iter().map(|(key, ticks)| ticks.saturating_sub(before.get(key).copied().unwrap_or(0)));
            let seconds = spent.sum::<u64>() as f64 / rustix::param::clock_ticks_per_second() as f64;
            told.push(("service.cpu_percent", percent(seconds, passed)));
        }
        let mut readings: Vec<_> =
            told.into_iter().map(|(signal, value)| reading(signal, &self.name, Ok(value))).collect();
        let (mut open, mut worst) = (0_usize, None::<(f64, u32)>);
        let mut hidden = None;
        let known = self.known_limits();
        for stat in stats {
            let dir = self.proc.join(stat.pid.to_string());
            match process::open_files(&dir) {
                Ok(count) => {
                    open += count;
                    let key = (stat.pid, stat.started);
                    let limit = known.get(&key).copied().unwrap_or_else(|| process::most_files(&dir));
                    self.limits.insert(key, limit);
                    if let Some(limit) = limit {
                        let used = percent(count as f64, limit);
                        worst = Some(worst.filter(|(most, _)| *most >= used).unwrap_or((used, stat.pid)));
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => hidden = Some(error.to_string()),
                // It ended in between.
                Err(_) => {}
            }
        }
        match (hidden, worst) {
            (Some(why), _) => {
                for signal in ["service.fds", "service.fd_used_percent"] {
                    self.remark(signal, why.clone());
                }
            }
            (None, worst) => {
                readings.push(reading("service.fds", &self.name, Ok(open as f64)));
                if let Some((used, pid)) = worst {
                    readings.push(reading("service.fd_used_percent", &self.name, Ok(used)));
                    self.remark("service.fd_used_percent", format!("most by pid {pid}"));
                }
            }
        }
        readings
    }

    /// Limits that are believed without being read again; what this look knows is collected anew.
    fn known_limits(&mut self) -> BTreeMap<(u32, u64), Option<f64>> {
        let known = std::mem::take(&mut self.limits);
        if self.limits_at.elapsed() < LIMITS_FOR {
            return known;
        }
        self.limits_at = Instant::now();
        BTreeMap::new()
    }

    /// What the cgroup says, and whether it tells the time on a processor.
    fn cgroup(&mut self, dir: &Path, passed: Option<f64>) -> (Vec<Reading>, bool) {
        let file = |name: &str| small_file(dir.join(name));
        let mut told = Vec::new();
        let memory = file("memory.current").as_deref().and_then(number);
        told.extend(memory.map(|bytes| ("service.cgroup_mb", bytes / 1e6)));
        // `max` is no limit.
        let limit = file("memory.max").as_deref().and_then(number);
        told.extend(memory.zip(limit).map(|(bytes, limit)| ("service.cgroup_used_percent", percent(bytes, limit))));
        let kills = file("memory.events").and_then(|text| field(&text, "oom_kill"));
        told.extend(kills.map(|kills| ("service.oom_kills", kills)));
        let stat = file("cpu.stat").unwrap_or_default();
        let used = field(&stat, "usage_usec").map(|used| (used, field(&stat, "throttled_usec").unwrap_or(0.0)));
        let before = std::mem::replace(&mut self.used, used);
        if let (Some(passed), Some((used, held)), Some((used_before, held_before))) = (passed, used, before) {
            // Less than before: it was made anew.
            if used >= used_before {
                told.push(("service.cpu_percent", percent((used - used_before) / 1e6, passed)));
                told.push(("service.throttled_percent", percent((held - held_before).max(0.0) / 1e6, passed)));
            }
        }
        let readings = told.into_iter().map(|(signal, value)| reading(signal, &self.name, Ok(value))).collect();
        (readings, used.is_some())
    }
}

impl Probe for ServiceProbe {
    fn read(&mut self) -> Vec<Reading> {
        self.remarks.clear();
        let now = Instant::now();
        let found = (self.find)().and_then(|found| match (&found.pid, &found.cgroup) {
            (_, Some(cgroup)) => {
                let dir = self.cgroups.join(cgroup.strip_prefix("/").unwrap_or(cgroup));
                if dir.is_dir() {
                    let stats = members(&dir).into_iter().filter_map(|pid| Stat::of(&self.proc, pid)).collect();
                    Ok(Some((stats, Some(dir))))
                } else {
                    Err(format!("no cgroup {}", dir.display()))
                }
            }
            (Some(pid), None) => Ok(Some((descendants(&self.proc, *pid)?, None))),
            (None, None) => Ok(None),
        });
        let (stats, cgroup): (Vec<Stat>, _) = match found {
            Ok(Some(found)) => found,
            Ok(None) => {
                self.begin_anew();
                for signal in self.told.clone() {
                    self.remark(signal, "no process of it is known".to_owned());
                }
                return Vec::new();
            }
            Err(why) => {
                self.begin_anew();
                return self.told.iter().map(|signal| reading(signal, &self.name, Err(why.clone()))).collect();
            }
        };
        let passed = self.looked.replace(now).map(|before| (now - before).as_secs_f64()).filter(|passed| *passed > 0.0);
        let (mut readings, has_cpu) =
            cgroup.as_deref().map(|dir| self.cgroup(dir, passed)).unwrap_or((Vec::new(), false));
        readings.extend(self.processes(&stats, passed, has_cpu));
        self.told.extend(readings.iter().map(|reading| reading.name.signal.name));
        readings
    }

    fn remarks(&self) -> Vec<(SeriesName, String)> {
        self.remarks.clone()
    }
}

/// The processes of a cgroup and of those below it.
fn members(dir: &Path) -> BTreeSet<u32> {
    let mut pids = BTreeSet::new();
    let mut dirs = vec![dir.to_owned()];
    let mut seen = 0;
    while let Some(dir) = dirs.pop() {
        seen += 1;
        let text = small_file(dir.join("cgroup.procs")).unwrap_or_default();
        pids.extend(text.lines().filter_map(|pid| pid.parse::<u32>().ok()).take(MOST));
        if seen < DEEPEST {
            let below = fs::read_dir(&dir).into_iter().flatten().flatten();
            dirs.extend(
                below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()),
            );
        }
    }
    pids
}

/// A process and all that descend from it.
fn descendants(proc: &Path, first: u32) -> Result<Vec<Stat>, String> {
    let first = Stat::of(proc, first).ok_or_else(|| format!("there is no process {first}"))?;
    let mut pids = BTreeSet::from([first.pid]);
    let mut found = vec![first];
    // Not every kernel lists children: then the parents of all processes say the same.
    let mut all = None;
    let mut next = 0;
    while let Some(stat) = found.get(next) {
        next += 1;
        let children = match children(proc, stat) {
            Some(children) => children,
            None => {
                let all = match &all {
                    Some(all) => all,
                    None => all.insert(procfs::all(proc)?),
                };
                all.values().filter(|other| other.parent == stat.pid).map(|other| other.pid).collect()
            }
        };
        let new: Vec<u32> = children.into_iter().filter(|child| pids.len() < MOST && pids.insert(*child)).collect();
        found.extend(new.into_iter().filter_map(|child| Stat::of(proc, child)));
    }
    Ok(found)
}

/// The children of all threads of a process; `None` where the kernel does not list them.
fn children(proc: &Path, of: &Stat) -> Option<Vec<u32>> {
    let threads = proc.join(of.pid.to_string()).join("task");
    let listed = |thread: &Path| {
        let text = small_file(thread.join("children"))?;
        Some(text.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok()).collect::<Vec<_>>())
    };
    if of.threads == 1 {
        return listed(&threads.join(of.pid.to_string()));
    }
    let mut found = Vec::new();
    for thread in fs::read_dir(threads).ok()?.flatten() {
        found.extend(listed(&thread.path())?);
    }
    Some(found)
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse::<f64>().ok().filter(|number| number.is_finite())
}

fn field(text: &str, name: &str) -> Option<f64> {
    number(text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?)
}

/// The process that a pid file names, unless its number was given to another one since.
///
/// # Errors
/// There is no such file or process, or the process is younger than the file.
pub fn by_pid_file(proc: &Path, file: &Path) -> Result<Whereabouts, String> {
    use std::os::unix::fs::MetadataExt as _;
    /// A clock that was set may have moved one of both dates.
    const SLACK_S: i64 = 10;
    let failed = |why: &dyn std::fmt::Display| format!("{}: {why}", file.display());
    let written = file.metadata().map_err(|error| failed(&error))?.mtime();
    let text = small_file(file).ok_or_else(|| failed(&"it cannot be read"))?;
    let pid = text.trim().parse::<u32>().map_err(|_| failed(&"it holds no number of a process"))?;
    let stat = Stat::of(proc, pid).ok_or_else(|| failed(&format!("there is no process {pid}")))?;
    let boot = small_file(proc.join("stat")).unwrap_or_default();
    let boot = boot.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<i64>().ok());
    let since_boot = i64::try_from(stat.started / rustix::param::clock_ticks_per_second()).unwrap_or(i64::MAX);
    match boot.and_then(|boot| boot.checked_add(since_boot)) {
        Some(started) if started > written + SLACK_S => {
            Err(failed(&format!("process {pid} ({}) is younger than the file: it is another one", stat.name)))
        }
        _ => Ok(Whereabouts { pid: Some(pid), cgroup: None }),
    }
}
