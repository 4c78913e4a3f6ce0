//! Children by the mark that each one carries from its start: one that was started and not recorded is found.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use crate::domain::id::ServiceName;
use crate::domain::service::Process;
use crate::sys::managers::process;

/// The variable that names the service.
pub(super) const SERVICE: &str = "MESH_SERVICE";
/// The variable that names the home.
pub(super) const HOME: &str = "MESH_SERVICE_HOME";
/// Most bytes of an environment that are read.
const ENVIRON_BYTES: u64 = 256 * 1024;

/// Running children of the home `home` by name: of each the oldest process that leads a session, since whatever a
/// child starts is younger. `logs` is where their output goes: one that wrote over its environment is known by that.
pub(super) fn find(home: &str, logs: &Path) -> BTreeMap<ServiceName, Process> {
    let mut found: BTreeMap<ServiceName, Process> = BTreeMap::new();
    for pid in process::pids().into_iter().filter(|pid| leads_session(*pid)) {
        let Some(name) = by_environment(pid, home).or_else(|| by_output(pid, logs)) else { continue };
        // Read after the mark: the same process, or one that carries no mark of ours.
        let Some(process) = process::now(pid) else { continue };
        let oldest = found.entry(name).or_insert(process);
        if (process.start_ticks, process.pid) < (oldest.start_ticks, oldest.pid) {
            *oldest = process;
        }
    }
    found
}

/// Live processes of one service that are in the session of `leader`, or carry its mark.
pub(super) fn left_of(home: &str, name: &ServiceName, leader: u32) -> Vec<Process> {
    let pids = process::pids().into_iter();
    let ours =
        pids.filter(|pid| process::session(*pid) == Some(leader) && by_environment(*pid, home).as_ref() == Some(name));
    ours.filter_map(process::now).collect()
}

/// The processes of a session.
pub(super) fn session_of(leader: u32) -> Vec<u32> {
    process::pids().into_iter().filter(|pid| process::session(*pid) == Some(leader)).collect()
}

fn leads_session(pid: u32) -> bool {
    process::session(pid) == Some(pid)
}

fn by_environment(pid: u32, home: &str) -> Option<ServiceName> {
    let mut text = Vec::new();
    File::open(format!("/proc/{pid}/environ")).ok()?.take(ENVIRON_BYTES).read_to_end(&mut text).ok()?;
    let value = |name: &str| {
        let mut variables = text.split(|byte| *byte == 0).filter_map(|one| std::str::from_utf8(one).ok());
        variables.find_map(|one| one.strip_prefix(name)?.strip_prefix('='))
    };
    (value(HOME)? == home).then(|| value(SERVICE)?.parse().ok())?
}

fn by_output(pid: u32, logs: &Path) -> Option<ServiceName> {
    let target = fs::read_link(format!("/proc/{pid}/fd/1")).ok()?;
    let name = target.strip_prefix(logs).ok()?.to_str()?;
    name.strip_suffix(".out")?.parse().ok()
}
