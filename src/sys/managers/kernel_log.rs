//! The kernel's log, asked whether it killed a process for want of memory.
//!
//! Where the memory controller is in the unified hierarchy, systemd knows this itself. Where it is in one of its own,
//! only the kernel says so, and only here.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

use rustix::fs::OFlags;

/// The longest record that the kernel gives out.
const RECORD: usize = 8192;
/// How far the log's clock may be from the one that systemd uses, at least.
const APART: Duration = Duration::from_secs(2);
/// And for each part of this many of the time since boot: the log's clock is never corrected, the other one is.
const DRIFT: u32 = 2000;

/// One killing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Kill {
    /// The record's number, which only grows.
    pub(super) number: u64,
    /// When, since boot, by the log's clock.
    at: Duration,
    /// The cgroup that the process was in.
    cgroup: String,
}

/// The newest killing of a process of `unit` beyond record `after` and between two times since boot; `None` also where the log
/// may not be read.
pub(super) fn killed_for_memory(unit: &str, from: Duration, to: Duration, after: u64) -> Option<u64> {
    let near = APART + to / DRIFT;
    let (from, to) = (from.saturating_sub(near), to + near);
    let fits = |kill: &Kill| kill.number > after && is_of(&kill.cgroup, unit) && (from..=to).contains(&kill.at);
    kills().into_iter().filter(fits).map(|kill| kill.number).max()
}

/// systemd gives each unit a group of its name, and may make others below it. What is above it differs between a machine
/// and a container on it, so it is not compared.
fn is_of(cgroup: &str, unit: &str) -> bool {
    cgroup.split('/').any(|name| name == unit)
}

/// All killings that the log still holds.
fn kills() -> Vec<Kill> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let Ok(mut log) = OpenOptions::new().read(true).custom_flags(flags).open("/dev/kmsg") else { return Vec::new() };
    let mut kills = Vec::new();
    let mut record = vec![0; RECORD];
    loop {
        match log.read(&mut record) {
            Ok(0) => return kills,
            Ok(length) => kills.extend(kill(&String::from_utf8_lossy(&record[..length]))),
            // Records were overwritten while they were read: the next one is there.
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::Interrupted) => {}
            // The end, or not ours to read.
            Err(_) => return kills,
        }
    }
}

/// Reads `priority,number,microseconds,flags;text`.
fn kill(record: &str) -> Option<Kill> {
    let (head, text) = record.split_once(';')?;
    let said = text.strip_prefix("oom-kill:")?;
    let mut head = head.split(',').skip(1);
    let number = head.next()?.parse().ok()?;
    let at = Duration::from_micros(head.next()?.parse().ok()?);
    let cgroup = said.split(',').find_map(|part| part.strip_prefix("task_memcg="))?.to_owned();
    Some(Kill { number, at, cgroup })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = "6,497,851300358,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=a,\
        mems_allowed=0,oom_memcg=/x/system.slice/web.service,task_memcg=/x/system.slice/web.service,task=python3,\
        pid=29499,uid=0\n";

    #[test]
    fn a_killing_is_read_and_nothing_else() {
        let known = kill(RECORD).expect("a killing");
        assert_eq!((known.number, known.at), (497, Duration::from_micros(851_300_358)));
        assert_eq!(known.cgroup, "/x/system.slice/web.service");
        for other in ["", ";", "6,1,2,-;usb 1-1: oom-kill:", "6,x,2,-;oom-kill:task_memcg=/a", "6,1,2,-;oom-kill:pid=3"]
        {
            assert_eq!(kill(other), None, "{other}");
        }
    }

    #[test]
    fn a_unit_is_known_by_its_whole_name() {
        assert!(is_of("/docker/1/system.slice/web.service", "web.service"));
        assert!(is_of("/system.slice/web.service/worker", "web.service"));
        assert!(!is_of("/system.slice/myweb.service", "web.service"));
    }
}
