//! Processes by pid and start: a pid that was given to another process since is told apart.

use std::fs;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::param::clock_ticks_per_second;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid};
use rustix::time::{ClockId, clock_gettime};

use crate::domain::service::{EndCause, Process, ReloadSignal};

/// Most processes of one tree.
const TREE: usize = 4_096;

/// What `/proc/PID/stat` says of the process that has this pid now, a dead one that was not yet fetched included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stat {
    /// One letter, such as `R`, `S`, `T` and `Z`.
    pub state: char,
    /// Its parent.
    pub parent: u32,
    /// Its process group.
    pub group: u32,
    /// Its session; 0 is the kernel's own.
    pub session: u32,
    /// Threads.
    pub threads: u64,
    /// Ticks from the machine's start to its own.
    pub start_ticks: u64,
}

/// What is said of the process that has this pid now; `None` where there is none.
#[must_use]
pub fn stat(pid: u32) -> Option<Stat> {
    let mut room = [0; 1_024];
    Stat::parse(whole(&format!("/proc/{pid}/stat"), &mut room)?)
}

impl Stat {
    /// The name stands in parentheses and may hold anything, a parenthesis and what is no text too.
    fn parse(line: &[u8]) -> Option<Self> {
        let name_ends = line.iter().rposition(|byte| *byte == b')')?;
        let mut fields = std::str::from_utf8(&line[name_ends + 1..]).ok()?.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let mut number = |skipped: usize| fields.nth(skipped)?.parse::<u64>().ok();
        let mut pid = || u32::try_from(number(0)?).ok();
        // The kernel's own have a group and a session of 0, and a terminal's group that is none is -1: it is not read.
        let (parent, group, session) = (pid()?, pid()?, pid()?);
        let (threads, start_ticks) = (number(13)?, number(1)?);
        Some(Self { state, parent, group, session, threads, start_ticks })
    }

    /// Whether it has not ended.
    #[must_use]
    pub const fn lives(&self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }
}

/// A file of `/proc` that the kernel writes whole into one read, without asking first how long it is. `None` where it cannot
/// be read.
pub(in crate::sys) fn whole<'a>(path: &str, room: &'a mut [u8]) -> Option<&'a [u8]> {
    let mut file = fs::File::open(path).ok()?;
    let read = file.read(room).ok()?;
    room.get(..read).filter(|text| !text.is_empty())
}

/// How many files the process with this folder below `/proc` has open.
pub(in crate::sys) fn open_files(folder: &Path) -> io::Result<usize> {
    let open = folder.join("fd");
    // Kernels since 6.2 say it as the size of the folder; older ones, and where there are none, zero.
    match fs::metadata(&open)?.len() {
        0 => Ok(fs::read_dir(open)?.count()),
        count => Ok(usize::try_from(count).unwrap_or(usize::MAX)),
    }
}

/// How many files it may have open, as its soft limit says; `None` where it has none.
pub(in crate::sys) fn most_files(folder: &Path) -> Option<f64> {
    let mut room = [0; 4_096];
    let limits = std::str::from_utf8(whole(&folder.join("limits").to_string_lossy(), &mut room)?).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// The process that has this pid now, as `/proc` tells; `None` when there is none, or a dead one that was not yet
/// fetched by its parent.
#[must_use]
pub fn now(pid: u32) -> Option<Process> {
    let stat = stat(pid).filter(Stat::lives)?;
    Some(Process { pid, start_ticks: stat.start_ticks })
}

/// The session of the process that has this pid now; 0 is the kernel's own.
#[must_use]
pub fn session(pid: u32) -> Option<u32> {
    Some(stat(pid)?.session)
}

/// The parent of the process that has this pid now.
#[must_use]
pub fn parent(pid: u32) -> Option<u32> {
    Some(stat(pid)?.parent)
}

/// The process group of the process that has this pid now.
#[must_use]
pub fn group(pid: u32) -> Option<u32> {
    Some(stat(pid)?.group)
}

/// Pages of memory of the process that has this pid now: those that are here, and of them those that files or other processes
/// lend it.
pub(in crate::sys) fn pages(pid: u32) -> Option<(u64, u64)> {
    let mut room = [0; 256];
    let statm = std::str::from_utf8(whole(&format!("/proc/{pid}/statm"), &mut room)?).ok()?;
    let mut fields = statm.split_ascii_whitespace().skip(1).map_while(|field| field.parse().ok());
    Some((fields.next()?, fields.next()?))
}

/// Every pid that some process has now.
#[must_use]
pub fn pids() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// This process and those below it, itself first, at most so many that a fork bomb keeps nobody busy. Only itself where
/// the kernel does not say who that is ([`tells_below`]).
#[must_use]
pub fn tree(pid: u32) -> Vec<u32> {
    let (mut open, mut found) = (vec![pid], Vec::new());
    while let Some(pid) = open.pop() {
        if found.len() >= TREE {
            break;
        }
        found.push(pid);
        let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for task in tasks.flatten() {
            let below = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            open.extend(below.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
    }
    found
}

/// Whether the kernel says what a process has started.
#[must_use]
pub fn tells_below() -> bool {
    static TELLS: OnceLock<bool> = OnceLock::new();
    *TELLS.get_or_init(|| Path::new("/proc/thread-self/children").exists())
}

/// Whether exactly this process is still there.
#[must_use]
pub fn is_alive(process: Process) -> bool {
    now(process.pid) == Some(process)
}

/// When it started, by the wall clock as it stands at `now`.
#[must_use]
pub fn since(process: Process, now: Timestamp) -> Option<Timestamp> {
    let started = Duration::from_secs_f64(process.start_ticks as f64 / clock_ticks_per_second() as f64);
    let boot = clock_gettime(ClockId::Boottime);
    let boot = SignedDuration::new(boot.tv_sec, i32::try_from(boot.tv_nsec).ok()?);
    now.checked_sub(boot).ok()?.checked_add(SignedDuration::try_from(started).ok()?).ok()
}

/// A handle of exactly this process.
///
/// # Errors
/// It has ended, or the system gives no handle.
pub(super) fn open_exactly(process: Process) -> io::Result<OwnedFd> {
    let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    // Looked at after the handle was had: the pid may have gone to another process in between.
    if is_alive(process) { Ok(pidfd) } else { Err(io::ErrorKind::NotFound.into()) }
}

/// Whether the process of this handle has not ended.
pub(super) fn runs(pidfd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    // A pidfd is readable once its process has ended.
    matches!(poll(&mut fds, Some(&now)), Ok(0) | Err(_))
}

/// How a child of this very program ended; it is fetched by that.
pub(super) fn how(pidfd: &OwnedFd) -> EndCause {
    loop {
        return match waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => EndCause::Exit(code),
                (None, Some(signal)) => EndCause::Signal(signal),
                (None, None) => EndCause::Unseen,
            },
            Err(Errno::INTR) => continue,
            Ok(None) | Err(_) => EndCause::Unseen,
        };
    }
}

/// Has a process read its configuration again, by the signal that its owner names for that.
///
/// # Errors
/// Why not, in one sentence.
pub(super) fn reload(pidfd: &OwnedFd, signal: Option<ReloadSignal>) -> Result<(), String> {
    let signal = match signal {
        Some(ReloadSignal::Hup) => Signal::HUP,
        Some(ReloadSignal::Usr1) => Signal::USR1,
        Some(ReloadSignal::Usr2) => Signal::USR2,
        None => return Err("nobody says how it reads its configuration again: add `reload = \"HUP\"`".to_owned()),
    };
    pidfd_send_signal(pidfd, signal).map_err(|error| error.to_string())
}

/// Kills this process and no other one that has its pid by now.
pub(super) fn kill_exactly(wanted: Process) {
    if let Ok(pidfd) = open_exactly(wanted) {
        let _gone_is_what_was_wanted = pidfd_send_signal(&pidfd, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let line = b"7 (a) \xff (b) S 3 5 4 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 9 0 1234 5 6";
        let found = Stat::parse(line).expect("whole");
        assert_eq!(found, Stat { state: 'S', parent: 3, group: 5, session: 4, threads: 9, start_ticks: 1_234 });
        assert_eq!(Stat::parse(b"7 (a) S 3 5"), None);
    }

    #[test]
    fn a_process_is_known_by_pid_and_start() {
        let own = now(std::process::id()).expect("we run");
        assert!(is_alive(own));
        assert!(!is_alive(Process { start_ticks: own.start_ticks + 1, ..own }), "another one with the same pid");
        assert!(now(u32::MAX).is_none());
        let sessions: Vec<u32> = fs::read_dir("/proc")
            .expect("readable")
            .filter_map(|entry| session(entry.ok()?.file_name().to_str()?.parse().ok()?))
            .collect();
        assert!(sessions.contains(&session(own.pid).expect("ours")), "kernel threads are no obstacle");
    }
}
