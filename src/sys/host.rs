//! Facts of this machine: what tells it from a copy of it, what it is, what it is called.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::managers::process;
use crate::domain::service::Process;

/// Has the system write no core of this process, and show its memory to nobody but root: it holds private keys. Programs that it
/// starts are as they are.
pub fn keep_memory_private() {
    let hidden = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    if let Err(error) = hidden {
        tracing::warn!("the memory of this process can be looked at: {error}");
    }
}

/// What tells this machine from a copy of its disk: a hash of the system's machine id. `None` where there
/// is none, as in small containers.
#[must_use]
pub fn machine_id() -> Option<String> {
    let id = ["/etc/machine-id", "/var/lib/dbus/machine-id"]
        .into_iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .find(|id| id.trim().len() >= 32)?;
    // The raw id is not to leave its file: other programs derive secrets from it.
    let hash = Sha256::digest(format!("mesh machine {}", id.trim()));
    Some(hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect())
}

/// The distribution's `ID`, such as `debian`.
#[must_use]
pub fn distribution() -> Option<String> {
    let release = fs::read_to_string("/etc/os-release").ok()?;
    let id = release.lines().find_map(|line| line.strip_prefix("ID="))?;
    Some(id.trim_matches(['"', '\'']).to_owned())
}

/// This host's name, as a peer name: lower case, other characters as `-`.
#[must_use]
pub fn name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    let short = name.split('.').next().unwrap_or_default();
    let plain: String = short.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect::<String>();
    let plain = plain.trim_matches('-');
    if plain.is_empty() { "host".to_owned() } else { plain.chars().take(48).collect() }
}

/// Makes an empty bare repository whose first branch is `branch`; one that is there stays.
///
/// # Errors
/// What git said.
pub fn make_bare_repository(path: &Path, branch: &str) -> Result<(), String> {
    let mut options = git2::RepositoryInitOptions::new();
    options.bare(true).no_reinit(false).initial_head(branch).mkpath(true).external_template(false);
    git2::Repository::init_opts(path, &options).map(drop).map_err(|error| error.message().to_owned())
}

/// Free and total space, in bytes, for whoever is not root on the file system of `path`.
///
/// # Errors
/// The path is not there.
pub fn space(path: &Path) -> std::io::Result<(u64, u64)> {
    let found = rustix::fs::statvfs(path)?;
    Ok((found.f_bavail.saturating_mul(found.f_frsize), found.f_blocks.saturating_mul(found.f_frsize)))
}

/// Whether `program`, started in `dir`, is a file that may be run: a path, or a name that `$PATH` leads to.
#[must_use]
pub fn can_run(program: &str, dir: &Path) -> bool {
    find_program(program, dir).is_some()
}

/// Where the checkers of services are, which are not on every user's search path.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/sbin:/sbin";

/// The program of this name: seen from `dir` where it is a path, else on the search path.
#[must_use]
pub fn find_program(program: &str, dir: &Path) -> Option<PathBuf> {
    let runs = |path: &PathBuf| path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok();
    if program.contains('/') {
        return Some(dir.join(program)).filter(runs);
    }
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":");
    path.push(SYSTEM_PATH);
    std::env::split_paths(&path).filter(|folder| folder.is_absolute()).map(|folder| folder.join(program)).find(runs)
}

/// Asks a process to read its configuration again.
///
/// # Errors
/// It is gone, also when its pid was given to another one, or it belongs to somebody else.
pub fn hang_up(wanted: Process) -> std::io::Result<()> {
    use rustix::process::{Pid, Signal, kill_process};
    let gone = || std::io::Error::from(std::io::ErrorKind::NotFound);
    let pid = i32::try_from(wanted.pid).ok().and_then(Pid::from_raw).ok_or_else(gone)?;
    if !process::is_alive(wanted) {
        return Err(gone());
    }
    Ok(kill_process(pid, Signal::HUP)?)
}
