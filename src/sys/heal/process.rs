//! What the kernel tells of a process and those below it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::time::{ClockId, clock_gettime};

use crate::sys::managers::process as managed;

/// Clock ticks in a second, as `/proc` counts them on every Linux that we run on.
const TICKS: f64 = 100.0;
/// Most processes of a tree that are looked at.
const TREE: usize = 512;

/// One process at one moment.
#[derive(Clone, Debug)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) parent: u32,
    pub(super) state: char,
    pub(super) threads: u64,
    /// Seconds since the machine's start.
    pub(super) started: f64,
}

/// The process with this pid.
pub(super) fn process(pid: u32) -> Option<Process> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in brackets and may hold anything.
    let rest = text.rsplit_once(')')?.1;
    let field = |index: usize| rest.split_ascii_whitespace().nth(index);
    let number = |index: usize| field(index).and_then(|text| text.parse::<u64>().ok());
    Some(Process {
        pid,
        state: field(0)?.chars().next()?,
        parent: u32::try_from(number(1)?).ok()?,
        threads: number(17)?,
        started: number(19)? as f64 / TICKS,
    })
}

/// Whether it lives: a zombie has ended.
pub(super) fn lives(pid: u32) -> bool {
    process(pid).is_some_and(|process| !matches!(process.state, 'Z' | 'X'))
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
    Some(boot_time() + process(pid)?.started)
}

/// The process and all below it, the ended ones that nobody waited for included.
pub(super) fn tree(root: u32) -> Vec<Process> {
    if managed::tells_below() {
        let found: Vec<Process> = managed::tree(root).into_iter().filter_map(process).collect();
        return if found.first().is_some_and(|first| first.pid == root) { found } else { Vec::new() };
    }
    let all: Vec<Process> = managed::pids().into_iter().filter_map(process).collect();
    let mut found: Vec<Process> = all.iter().filter(|one| one.pid == root).cloned().collect();
    let mut next = 0;
    while next < found.len() && found.len() < TREE {
        let parent = found[next].pid;
        found.extend(all.iter().filter(|one| one.parent == parent && one.pid != parent).cloned());
        next += 1;
    }
    found
}

/// Memory of its own, in megabytes: what files lend it is not counted.
pub(super) fn anonymous_mb(pid: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    Some(line.split_ascii_whitespace().next()?.parse::<f64>().ok()? / 1_024.0)
}

/// Open files, and how many it may have.
pub(super) fn open_files(pid: u32) -> Option<(f64, f64)> {
    let count = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let limit = line.split_ascii_whitespace().next()?.parse::<f64>().ok()?;
    Some((count as f64, limit))
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

/// Megabytes on disk that only this process still holds.
pub(super) fn deleted_open_mb(pid: u32) -> Option<f64> {
    let folder = format!("/proc/{pid}/fd");
    let mut blocks = 0;
    for entry in fs::read_dir(&folder).ok()?.flatten() {
        let Ok(link) = fs::read_link(entry.path()) else { continue };
        if link.to_string_lossy().ends_with(" (deleted)") {
            blocks += fs::metadata(entry.path()).map_or(0, |file| if file.is_file() { file.blocks() } else { 0 });
        }
    }
    Some(blocks as f64 * 512.0 / (1_024.0 * 1_024.0))
}

/// Nanoseconds in which its threads ran or waited for a core: time in which they wanted one.
pub(super) fn wanted_ns(pid: u32) -> Option<u64> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let of = |path: std::path::PathBuf| {
        let text = fs::read_to_string(path.join("schedstat")).ok()?;
        let mut fields = text.split_ascii_whitespace().map_while(|field| field.parse::<u64>().ok());
        Some(fields.next()? + fields.next()?)
    };
    Some(threads.flatten().filter_map(|entry| of(entry.path())).sum())
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
