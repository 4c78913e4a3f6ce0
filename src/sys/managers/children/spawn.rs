//! Starts a child: a session of its own, its own output files, a clean environment, and the rights it is to have.

#![expect(clippy::disallowed_methods, reason = "the adapter that starts services")]

use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

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
    let open = |path: &Path| Logs::open(path).map_err(|error| format!("{}: {error}", path.display()));
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(&child.dir)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| OsString::from(PATH)))
        .env("LANG", std::env::var_os("LANG").unwrap_or_else(|| OsString::from("C.UTF-8")))
        .stdin(Stdio::null())
        .stdout(open(&around.logs.out)?)
        .stderr(open(&around.logs.err)?);
    match &child.user {
        Some(name) => {
            let user = User::named(name)?;
            user.lend(&mut command);
        }
        None => {
            for name in ["HOME", "USER", "LOGNAME"] {
                if let Some(value) = std::env::var_os(name) {
                    command.env(name, value);
                }
            }
        }
    }
    command.envs(&child.env).env(marks::SERVICE, child.name.as_str()).env(marks::HOME, around.home);
    if let Some(socket) = around.notify.filter(|_| child.notify) {
        command.env("NOTIFY_SOCKET", socket);
        if let Some(watchdog) = child.watchdog {
            command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        }
    }
    let door = match around.cgroup {
        Some(cgroup) => Some(cgroup.door().map_err(|error| format!("its cgroup cannot be entered: {error}"))?),
        None => None,
    };
    let enter = move || -> io::Result<()> {
        rustix::process::setsid()?;
        match &door {
            Some(door) => {
                let mut door: &fs::File = door;
                door.write_all(b"0")
            }
            None => Ok(()),
        }
    };
    #[expect(unsafe_code, reason = "a session of its own can only be begun between fork and exec")]
    // SAFETY: two system calls, nothing that allocates or locks.
    unsafe {
        command.pre_exec(enter);
    }
    match command.spawn() {
        // It is not waited for here: its end is seen through its pidfd.
        Ok(started) => Ok(started.id()),
        Err(error) if error.kind() == ErrorKind::NotFound && !child.dir.is_dir() => {
            Err(format!("no directory {}", child.dir.display()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Err(format!("no program {program} on PATH")),
        Err(error) => Err(format!("{program}: {error}")),
    }
}
