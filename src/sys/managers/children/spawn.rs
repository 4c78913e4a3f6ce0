//! Starts a child: a session of its own, its own output files, a clean environment, and the rights it is to have.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::path::Path;

use super::birth::Birth;
use super::cgroup::Cgroup;
use super::logs::Logs;
use super::marks;
use crate::domain::service::Child;
use crate::sys::user::User;

/// The search path where we have none.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// What a child is started with beside its definition.
pub(super) struct Surroundings<'a> {
    /// The home that it belongs to.
    pub home: &'a str,
    /// Where its output goes.
    pub logs: &'a Logs,
    /// Where it may say that it is ready and lives.
    pub notify: Option<&'a str>,
    /// The cgroup that it enters.
    pub cgroup: Option<&'a Cgroup>,
}

/// Starts a command that is not looked after: it has no cgroup of its own, and is not heard. Returns its pid.
///
/// # Errors
/// Why it does not run. Nothing of it is left.
pub(in crate::sys::managers) fn spawn_alone(command: &Child, home: &str, logs: &Logs) -> Result<u32, String> {
    spawn(command, &Surroundings { home, logs, notify: None, cgroup: None })
}

/// Starts it and returns its pid.
///
/// # Errors
/// Why it does not run. Nothing of it is left.
pub(super) fn spawn(child: &Child, around: &Surroundings<'_>) -> Result<u32, String> {
    let Some((program, arguments)) = child.argv.split_first() else { return Err("no program named".to_owned()) };
    let open = |path: &Path| match Logs::open(path) {
        Ok(file) => Ok(OwnedFd::from(file)),
        Err(error) => Err(format!("{}: {error}", path.display())),
    };
    let nothing = File::open("/dev/null").map_err(|error| format!("/dev/null: {error}"))?;
    let streams = [nothing.into(), open(&around.logs.out)?, open(&around.logs.err)?];
    let user = child.user.as_deref().map(User::named).transpose()?;
    let environment = environment(child, user.as_ref(), around);
    let path = environment.get(OsStr::new("PATH")).cloned().unwrap_or_default();
    let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
    let command = (OsStr::new(program), &*arguments);
    let run = Birth::of(command, &path, environment, &child.dir, streams, user.map(|user| user.ids()))
        .and_then(|birth| birth.run(around.cgroup));
    // It is not waited for here: its end is seen through its pidfd.
    run.map_err(|error| match error.kind() {
        ErrorKind::NotFound if !child.dir.is_dir() => format!("no directory {}", child.dir.display()),
        ErrorKind::NotFound => format!("no program {program} on PATH"),
        _ => format!("{program}: {error}"),
    })
}

/// All that a child finds in its environment, by name.
fn environment(child: &Child, user: Option<&User>, around: &Surroundings<'_>) -> BTreeMap<OsString, OsString> {
    let mut found = BTreeMap::new();
    let mut set = |name: &str, value: OsString| found.insert(OsString::from(name), value);
    set("PATH", std::env::var_os("PATH").unwrap_or_else(|| OsString::from(PATH)));
    set("LANG", std::env::var_os("LANG").unwrap_or_else(|| OsString::from("C.UTF-8")));
    match user {
        Some(user) => {
            for (name, value) in user.environment() {
                set(name, value.into());
            }
        }
        None => {
            for name in ["HOME", "USER", "LOGNAME"] {
                if let Some(value) = std::env::var_os(name) {
                    set(name, value);
                }
            }
        }
    }
    for (name, value) in &child.env {
        set(name, value.into());
    }
    set(marks::SERVICE, child.name.as_str().into());
    set(marks::HOME, around.home.into());
    if let Some(socket) = around.notify.filter(|_| child.notify) {
        set("NOTIFY_SOCKET", socket.into());
        if let Some(watchdog) = child.watchdog {
            set("WATCHDOG_USEC", watchdog.as_micros().to_string().into());
        }
    }
    found
}
