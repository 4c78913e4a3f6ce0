//! What `/proc` says of one process.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::sys::managers::process;

/// More than the line of any process has.
const STAT_BYTES: usize = 1_024;
/// Most processes that are looked at.
const MOST: usize = 100_000;
/// The flag of threads of the kernel's own.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// One line of `/proc/PID/stat`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Stat {
    pub(super) pid: u32,
    pub(super) name: String,
    /// One letter, such as `R`, `S`, `D` and `Z`.
    pub(super) state: char,
    pub(super) parent: u32,
    pub(super) is_kernel: bool,
    /// Time on a processor, in ticks.
    pub(super) ticks: u64,
    pub(super) threads: u64,
    /// Ticks since the machine started. With the pid it names the process for as long as the machine runs.
    pub(super) started: u64,
    /// Memory, in pages.
    pub(super) pages: u64,
}

impl Stat {
    /// Of a process that is there.
    pub(super) fn of(proc: &Path, pid: u32) -> Option<Self> {
        let mut room = [0; STAT_BYTES];
        let line = process::whole(&format!("{}/{pid}/stat", proc.display()), &mut room)?;
        // A process names itself, and need not do so in UTF-8.
        Self::parse(&String::from_utf8_lossy(line))
    }

    /// The name may hold blanks and brackets; what follows the last bracket does not.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let (before, after) = line.rsplit_once(')')?;
        let (pid, name) = before.split_once(" (")?;
        let fields: Vec<&str> = after.split_ascii_whitespace().collect();
        // The state is field 3 of proc(5) and the first one here.
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        Some(Self {
            pid: pid.parse().ok()?,
            name: name.to_owned(),
            state: fields.first()?.chars().next()?,
            parent: u32::try_from(number(4)?).ok()?,
            is_kernel: number(9)? & KERNEL_THREAD != 0,
            ticks: number(14)?.saturating_add(number(15)?),
            threads: number(20)?,
            started: number(22)?,
            pages: number(24)?,
        })
    }
}

/// Every process that is there now, by pid.
///
/// # Errors
/// `proc` is not there, or has no end.
pub(super) fn all(proc: &Path) -> Result<BTreeMap<u32, Stat>, String> {
    let entries = fs::read_dir(proc).map_err(|error| format!("{}: {error}", proc.display()))?;
    let mut found = BTreeMap::new();
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // One that ended in between is no more.
        if let Some(stat) = Stat::of(proc, pid) {
            found.insert(pid, stat);
        }
        if found.len() >= MOST {
            return Err(format!("more than {MOST} processes"));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_shift_the_fields() {
        let line = "42 (a) b) D 7 42 42 0 -1 4194304 1 2 3 4 11 22 0 0 20 0 3 0 999 4096 55 18446744073709551615 1";
        let stat = Stat::parse(line).expect("sound");
        assert_eq!((stat.pid, stat.name.as_str(), stat.state, stat.parent), (42, "a) b", 'D', 7));
        assert_eq!((stat.ticks, stat.threads, stat.started, stat.pages), (33, 3, 999, 55));
        assert!(!stat.is_kernel);
        for bad in ["", "42 (a", "42 (a) R", "x (a) R 1", ") ("] {
            assert_eq!(Stat::parse(bad), None, "{bad}");
        }
        let own = Stat::of(Path::new("/proc"), std::process::id()).expect("this process");
        assert!(own.threads >= 1 && own.pages > 0 && own.started > 0);
    }
}
