//! Processes by pid and start: a pid that was given to another process since is told apart.

use std::fs;
use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustix::param::clock_ticks_per_second;
use rustix::time::{ClockId, clock_gettime};

use crate::domain::service::Process;

/// Most processes of one tree.
const TREE: usize = 4_096;

/// The process that has this pid now, as `/proc` tells; `None` when there is none, or a dead one that was not yet
/// fetched by its parent.
#[must_use]
pub fn now(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = fields(&stat)?;
    let state = fields.next()?;
    let start_ticks = fields.nth(18)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(Process { pid, start_ticks })
}

/// The session of the process that has this pid now; 0 is the kernel's own.
#[must_use]
pub fn session(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    fields(&stat)?.nth(3)?.parse().ok()
}

/// Fields from the third on: the state, the parent, the group, the session. The name before them stands in
/// parentheses and may hold anything, a parenthesis too.
fn fields(stat: &str) -> Option<std::str::SplitAsciiWhitespace<'_>> {
    Some(stat.rsplit_once(')')?.1.split_ascii_whitespace())
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
    Path::new("/proc/thread-self/children").exists()
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

#[cfg(test)]
mod tests {
    use super::*;

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
