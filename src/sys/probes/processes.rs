//! Processes that nobody reaps, and processes that hang in the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::{procfs, reading};
use crate::domain::signal::{SeriesName, Subject};
use crate::ports::{Probe, Reading};

const ZOMBIES: &str = "host.processes.zombies";
const BLOCKED: &str = "host.processes.blocked";

/// Looks at the state of every process, and at nothing else of it.
pub struct ProcessesProbe {
    proc: PathBuf,
    /// Those that could not be woken at the look before: pid and start.
    waiting: BTreeSet<(u32, u64)>,
    remarks: Vec<(SeriesName, String)>,
}

impl ProcessesProbe {
    /// Reads from `proc`, which is `/proc`.
    #[must_use]
    pub fn new(proc: impl Into<PathBuf>) -> Self {
        Self { proc: proc.into(), waiting: BTreeSet::new(), remarks: Vec::new() }
    }
}

impl Probe for ProcessesProbe {
    fn read(&mut self) -> Vec<Reading> {
        self.remarks.clear();
        let all = match procfs::all(&self.proc) {
            Ok(all) => all,
            Err(why) => return [ZOMBIES, BLOCKED].map(|signal| host(signal, Err(why.clone()))).into(),
        };
        let mut zombies: BTreeMap<u32, u32> = BTreeMap::new();
        for stat in all.values().filter(|stat| stat.state == 'Z') {
            *zombies.entry(stat.parent).or_default() += 1;
        }
        let most = zombies.into_iter().max_by_key(|(_, count)| *count);
        if let Some((parent, _)) = most {
            let name = all.get(&parent).map_or("?", |stat| stat.name.as_str());
            self.remark(ZOMBIES, format!("not reaped by pid {parent} ({name})"));
        }
        // To wait for a disk for a moment is usual; to be found so twice is not.
        let waiting: Vec<_> = all.values().filter(|stat| stat.state == 'D' && !stat.is_kernel).collect();
        let stuck: Vec<_> =
            waiting.iter().filter(|stat| self.waiting.contains(&(stat.pid, stat.started))).copied().collect();
        if let Some(first) = stuck.first() {
            self.remark(BLOCKED, format!("pid {} ({}) among them", first.pid, first.name));
        }
        self.waiting = waiting.iter().map(|stat| (stat.pid, stat.started)).collect();
        vec![host(ZOMBIES, Ok(f64::from(most.map_or(0, |(_, count)| count)))), host(BLOCKED, Ok(stuck.len() as f64))]
    }

    fn remarks(&self) -> Vec<(SeriesName, String)> {
        self.remarks.clone()
    }
}

impl ProcessesProbe {
    fn remark(&mut self, signal: &'static str, text: String) {
        self.remarks.push((SeriesName::of(signal, Subject::default()), text));
    }
}

fn host(signal: &'static str, value: Result<f64, String>) -> Reading {
    reading(signal, &Subject::default(), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(dir: &std::path::Path, pid: u32, state: char, parent: u32, started: u32, flags: u32) {
        let line = format!("{pid} (p{pid}) {state} {parent} 0 0 0 0 {flags} 0 0 0 0 0 0 0 0 0 0 1 0 {started} 0 0");
        std::fs::create_dir_all(dir.join(pid.to_string())).expect("made");
        std::fs::write(dir.join(format!("{pid}/stat")), line).expect("written");
    }

    #[test]
    fn a17_zombies_are_counted_of_one_parent_and_only_who_stays_blocked_counts() {
        let dir = tempfile::tempdir().expect("a temp dir");
        process(dir.path(), 10, 'S', 1, 5, 0);
        (20..25).for_each(|pid| process(dir.path(), pid, 'Z', 10, 9, 0));
        process(dir.path(), 30, 'Z', 1, 9, 0);
        process(dir.path(), 40, 'D', 1, 9, 0);
        process(dir.path(), 41, 'D', 1, 9, 0);
        process(dir.path(), 42, 'D', 2, 9, 0x0020_0000);
        std::fs::create_dir(dir.path().join("sys")).expect("made");
        let mut probe = ProcessesProbe::new(dir.path());
        let values = |readings: &[Reading]| readings.iter().map(|one| one.value.clone()).collect::<Vec<_>>();
        assert_eq!(values(&probe.read()), [Ok(5.0), Ok(0.0)]);
        assert_eq!(probe.remarks()[0].1, "not reaped by pid 10 (p10)");
        // One went on, and its pid was given to another one that waits too.
        process(dir.path(), 41, 'D', 1, 77, 0);
        assert_eq!(values(&probe.read()), [Ok(5.0), Ok(1.0)]);
        assert_eq!(probe.remarks()[1].1, "pid 40 (p40) among them");
        assert!(values(&ProcessesProbe::new("/gone").read()).iter().all(Result::is_err));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test starts what it measures")]
    fn a_real_zombie_is_seen() {
        let mut child = std::process::Command::new("true").spawn().expect("runs");
        let is_zombie = || procfs::Stat::of("/proc".as_ref(), child.id()).is_some_and(|stat| stat.state == 'Z');
        while !is_zombie() {
            std::thread::yield_now();
        }
        let readings = ProcessesProbe::new("/proc").read();
        assert!(readings[0].value.as_ref().is_ok_and(|count| *count >= 1.0), "{readings:?}");
        child.wait().expect("reaped");
    }
}
