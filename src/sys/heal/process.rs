//! What the kernel tells of a process and those below it.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::time::{ClockId, clock_gettime};

use crate::sys::managers::process::{self as managed, Stat};

/// Clock ticks in a second, as `/proc` counts them on every Linux that we run on.
const TICKS: f64 = 100.0;
/// Most processes of a tree that are looked at.
const TREE: usize = 512;

/// One process at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) stat: Stat,
}

impl Process {
    /// The process with this pid.
    pub(super) fn of(pid: u32) -> Option<Self> {
        Some(Self { pid, stat: managed::stat(pid)? })
    }
}

/// Whether it lives: a zombie has ended.
fn lives(pid: u32) -> bool {
    managed::stat(pid).is_some_and(|stat| stat.lives())
}

/// The wall clock at the machine's start, in seconds. The kernel's own `btime` is rounded.
fn boot_time() -> f64 {
    let seconds = |id| {
        let at = clock_gettime(id);
        at.tv_sec as f64 + at.tv_nsec as f64 / 1e9
    };
    seconds(ClockId::Realtime) - seconds(ClockId::Boottime)
}

/// When the process was started, on the wall clock in seconds.
pub(super) fn started_at(pid: u32) -> Option<f64> {
    Some(boot_time() + managed::stat(pid)?.start_ticks as f64 / TICKS)
}

/// A process and all below it, the ended ones that nobody waited for included.
#[derive(Default)]
pub(super) struct Tree {
    /// Itself first.
    pub(super) processes: Vec<Process>,
    /// Nanoseconds in which their threads ran or waited for a core: time in which they wanted one.
    pub(super) wanted_ns: u64,
}

impl Tree {
    /// Of the process with this pid; empty where there is none.
    pub(super) fn of(root: u32) -> Self {
        let mut tree = Self::default();
        if !managed::tells_below() {
            tree.processes = by_parents(root);
            for at in 0..tree.processes.len() {
                tree.look_at_threads(tree.processes[at], &mut Vec::new());
            }
            return tree;
        }
        let mut open = vec![root];
        while let Some(pid) = open.pop() {
            let Some(process) = Process::of(pid).filter(|_| tree.processes.len() < TREE) else { continue };
            tree.processes.push(process);
            tree.look_at_threads(process, &mut open);
        }
        // What is below a process that has gone meanwhile is no longer below it.
        if tree.processes.first().is_none_or(|first| first.pid != root) { Self::default() } else { tree }
    }

    /// What its threads wanted of the processors, and what they started.
    fn look_at_threads(&mut self, process: Process, started: &mut Vec<u32>) {
        let mut look = |thread: &str| {
            let folder = format!("/proc/{}/task/{thread}", process.pid);
            let mut room = [0; 4_096];
            let spent = managed::whole(&format!("{folder}/schedstat"), &mut room).and_then(text);
            let mut spent = spent.unwrap_or_default().split_ascii_whitespace().map_while(|one| one.parse::<u64>().ok());
            self.wanted_ns += spent.next().zip(spent.next()).map_or(0, |(ran, waited)| ran + waited);
            let path = format!("{folder}/children");
            let below = managed::whole(&path, &mut room).unwrap_or_default();
            // Of one that started very many the kernel gives as many as fit.
            let more = if below.len() > 4_000 { fs::read(&path).unwrap_or_default() } else { Vec::new() };
            let below = text(if more.is_empty() { below } else { &more }).unwrap_or_default();
            started.extend(below.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        };
        if process.stat.threads == 1 {
            return look(&process.pid.to_string());
        }
        let Ok(threads) = fs::read_dir(format!("/proc/{}/task", process.pid)) else { return };
        threads.flatten().for_each(|thread| look(&thread.file_name().to_string_lossy()));
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// The same tree where the kernel does not say what a process has started.
fn by_parents(root: u32) -> Vec<Process> {
    let all: Vec<Process> = managed::pids().into_iter().filter_map(Process::of).collect();
    let mut found: Vec<Process> = all.iter().filter(|one| one.pid == root).copied().collect();
    let mut next = 0;
    while next < found.len() && found.len() < TREE {
        let parent = found[next].pid;
        found.extend(all.iter().filter(|one| one.stat.parent == parent && one.pid != parent));
        next += 1;
    }
    found
}

/// Memory of its own, in megabytes: what files lend it is not counted.
pub(super) fn anonymous_mb(pid: u32) -> Option<f64> {
    let (resident, lent) = managed::pages(pid)?;
    Some((resident.saturating_sub(lent) * rustix::param::page_size() as u64) as f64 / (1_024.0 * 1_024.0))
}

/// How many files it may have open.
pub(super) fn most_files(pid: u32) -> Option<f64> {
    let mut room = [0; 4_096];
    let limits = text(managed::whole(&format!("/proc/{pid}/limits"), &mut room)?)?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Open files, and the megabytes on disk that only this process still holds.
pub(super) fn open_files(pid: u32) -> Option<(usize, f64)> {
    let (mut count, mut blocks) = (0, 0);
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten() {
        count += 1;
        let Ok(link) = fs::read_link(entry.path()) else { continue };
        if link.as_os_str().as_bytes().ends_with(b" (deleted)") {
            blocks += fs::metadata(entry.path()).map_or(0, |file| if file.is_file() { file.blocks() } else { 0 });
        }
    }
    Some((count, blocks as f64 * 512.0 / (1_024.0 * 1_024.0)))
}

/// Programs and libraries that it runs and that are no longer there.
pub(super) fn deleted_maps(pid: u32) -> Option<usize> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let gone = |line: &&str| {
        let mut fields = line.split_ascii_whitespace();
        let runs = fields.nth(1).is_some_and(|rights| rights.contains('x'));
        runs && line.ends_with(" (deleted)") && !["/memfd:", "/dev/", "/SYSV"].iter().any(|not| line.contains(not))
    };
    Some(maps.lines().filter(gone).count())
}

/// Whether any process holds a lock on the file, as the kernel lists them.
pub(super) fn is_locked(path: &Path) -> Option<bool> {
    let file = fs::metadata(path).ok()?;
    let device = file.dev();
    let wanted = format!("{:02x}:{:02x}:{}", rustix::fs::major(device), rustix::fs::minor(device), file.ino());
    let locks = fs::read_to_string("/proc/locks").ok()?;
    Some(locks.lines().any(|line| line.split_ascii_whitespace().any(|field| field == wanted)))
}

/// The pid that a lock or pid file names.
pub(super) fn named_pid(path: &Path) -> Option<u32> {
    let text = fs::read_to_string(path).ok()?;
    let digits: String = text.trim_start().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok().filter(|pid| *pid > 0)
}

/// Whether the process that the file names lives and is the one that wrote it: one that was started after the file
/// was written only has its number.
pub(super) fn owner_lives(path: &Path) -> Option<bool> {
    let pid = named_pid(path)?;
    if !lives(pid) {
        return Some(false);
    }
    let written = fs::metadata(path).ok()?.mtime() as f64;
    Some(started_at(pid)? <= written + 2.0)
}

/// Seconds since the machine's start.
#[must_use]
pub fn uptime_s() -> Option<f64> {
    fs::read_to_string("/proc/uptime").ok()?.split_ascii_whitespace().next()?.parse().ok()
}
