//! Takes the actions of the catalogue, and goes back.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process};

use super::eyes::{good_copy, run_for};
use super::{files, process};
use crate::domain::foreign_text::{display_bytes, display_line, error_line};
use crate::domain::guard::is_blocked_name;
use crate::domain::heal::action::{Action, Done, On, StopSignal, WayBack};
use crate::domain::heal::breaker::{Breaker, Next};
use crate::domain::heal::target::{Target, TargetKind};
use crate::domain::undo;
use crate::ports::heal::{Hands, Order, Services};
use crate::ports::{Exec, Exit, Program};
use crate::sys::apply::Changes;

/// How long a declared program may run.
const RUN: Duration = Duration::from_secs(600);
/// How long a program of the system may run.
const TOOL: Duration = Duration::from_secs(120);
/// How long a target's own check may take.
const CHECK: Duration = Duration::from_secs(5);
/// Output that is kept, in bytes.
const OUTPUT: usize = 4 * 1024;
/// Largest file that is put back, in bytes.
const GOOD_BYTES: u64 = 4 * 1024 * 1024;
/// The age of files that may be removed where the target does not say.
const PURGE_AFTER: Duration = Duration::from_secs(7 * 86_400);

/// Takes actions on this machine.
pub struct SystemHands<S, E> {
    /// Whoever runs the services.
    pub services: S,
    exec: E,
    changes: Changes,
    good: PathBuf,
    /// Nothing in these is renamed, removed or replaced: mesh's own home.
    blocked: Vec<PathBuf>,
    clock: fn() -> Timestamp,
}

impl<S: Services, E: Exec> SystemHands<S, E> {
    /// Acts through `services` and `exec`; files are replaced by `changes`; mesh's own copies of good files are in
    /// `good`; nothing below `blocked` is touched.
    pub fn new(
        services: S,
        exec: E,
        changes: Changes,
        good: PathBuf,
        blocked: Vec<PathBuf>,
        clock: fn() -> Timestamp,
    ) -> Self {
        Self { services, exec, changes, good, blocked, clock }
    }

    /// The target's path, if a rule may change what is there.
    fn place<'a>(&self, target: &'a Target) -> Result<&'a Path, String> {
        let path = target.path.as_deref().ok_or("the target names no path")?;
        self.demand_free(path)?;
        Ok(path)
    }

    fn demand_free(&self, path: &Path) -> Result<(), String> {
        if let Some(why) = is_blocked_name(path) {
            return Err(why);
        }
        let folder = path.parent().and_then(|folder| folder.canonicalize().ok()).unwrap_or_default();
        let own = self.blocked.iter().any(|blocked| folder.starts_with(blocked) || path.starts_with(blocked));
        if own { Err(format!("{} is mesh's own", path.display())) } else { Ok(()) }
    }

    fn service<'a>(&self, on: On, target: &'a Target) -> Result<Vec<&'a str>, String> {
        let found: Vec<&str> = match on {
            On::Target => target.service().into_iter().collect(),
            On::Parent => target.parent.as_deref().filter(|name| !name.starts_with("tcp:")).into_iter().collect(),
            On::First => target.services.first().map(String::as_str).into_iter().collect(),
            On::Rest => target.services.iter().skip(1).map(String::as_str).collect(),
        };
        if found.is_empty() && on != On::Rest {
            return Err("the target names no such service".to_owned());
        }
        Ok(found)
    }

    fn order(&mut self, on: On, target: &Target, order: Order) -> Result<String, String> {
        let mut said = Vec::new();
        for service in self.service(on, target)? {
            let what =
                self.services.order(service, order).map_err(|why| format!("{service}: {}", display_line(&why)))?;
            said.push(format!("{service} {}", display_line(&what)));
        }
        Ok(said.join(", "))
    }

    fn run(&self, argv: &[String], target: Option<&Target>, timeout: Duration) -> Result<String, String> {
        if argv.is_empty() {
            return Err("the target declares no program for it: add `run`".to_owned());
        }
        let program =
            Program { argv: argv.to_vec(), dir: PathBuf::from("/"), timeout, output_cap: OUTPUT, memory: None };
        let ran = target.map_or_else(|| self.exec.run(&program), |target| run_for(&self.exec, target, &program));
        let said = if ran.stderr.is_empty() { &ran.stdout } else { &ran.stderr };
        let said: String = display_bytes(said).chars().take(200).collect();
        match ran.exit {
            Exit::Code(0) => Ok(format!("ended well {said}")),
            Exit::Code(code) => Err(format!("ended with {code}: {said}")),
            Exit::Signal(signal) => Err(format!("ended by signal {signal}: {said}")),
            Exit::TimedOut => Err(format!("was stopped after {} s", timeout.as_secs())),
            Exit::NotStarted(why) => Err(format!("was not started: {}", display_line(&why))),
        }
    }

    fn tool(&self, words: &[&str]) -> Result<String, String> {
        self.run(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>(), None, TOOL)
    }

    fn signal(&mut self, signal: StopSignal, target: &Target) -> Result<String, String> {
        let service = target.service().ok_or("the target names no service")?;
        let pid = self.services.seen(service).and_then(|seen| seen.pid).ok_or("the service has no process")?;
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or("the service has no process")?;
        let signal = match signal {
            StopSignal::Hup => Signal::HUP,
            StopSignal::Usr1 => Signal::USR1,
            StopSignal::Term => Signal::TERM,
            StopSignal::Cont => Signal::CONT,
        };
        kill_process(pid, signal).map_err(|errno| errno.to_string())?;
        Ok(format!("sent to {}", pid.as_raw_nonzero()))
    }

    fn quarantine(&self, target: &Target, ways: &[WayBack]) -> Result<String, String> {
        let path = self.place(target)?;
        // Looked at again at the last moment: the process that was waited for may have written it anew.
        if process::owner_lives(path) == Some(true) || process::is_locked(path) == Some(true) {
            return Err("somebody has it now".to_owned());
        }
        let Some(WayBack::Rename { now, .. }) = ways.first() else { return Err("no way back was prepared".to_owned()) };
        rename_new(path, Path::new(now))?;
        Ok(format!("renamed to {now}"))
    }

    fn rotate(&self, target: &Target, keep: u32, ways: &[WayBack]) -> Result<String, String> {
        let path = self.place(target)?;
        let before = fs::symlink_metadata(path).map_err(|error| error.to_string())?;
        if !before.is_file() {
            return Err("it is no plain file".to_owned());
        }
        let Some(WayBack::Rename { now, .. }) = ways.first() else { return Err("no way back was prepared".to_owned()) };
        rename_new(path, Path::new(now))?;
        let made = fs::OpenOptions::new().write(true).create_new(true).mode(before.mode() & 0o7777).open(path);
        made.map_err(|error| format!("the new log cannot be made: {error}"))?;
        // Whoever may write the log may write the new one too; without the right to give it away it is ours alone.
        drop(std::os::unix::fs::chown(path, Some(before.uid()), Some(before.gid())));
        let mut old = rotated(path);
        old.sort();
        let surplus = old.len().saturating_sub(usize::try_from(keep.max(1)).unwrap_or(1));
        let removed = old.iter().take(surplus).filter(|path| fs::remove_file(path).is_ok()).count();
        Ok(format!("renamed to {now}, {removed} older ones removed"))
    }

    fn purge(&self, target: &Target) -> Result<String, String> {
        if target.purge.is_empty() {
            return Err("the target allows no folder to be cleaned: add `purge`".to_owned());
        }
        target.purge.iter().try_for_each(|folder| self.demand_free(&folder.join("x")))?;
        let after = target.purge_after.unwrap_or(PURGE_AFTER);
        let after = i64::try_from(after.as_secs()).unwrap_or(i64::MAX);
        let old = files::old(&target.purge, (self.clock)().as_second(), after);
        let freed = files::megabytes(&old);
        let removed = old.iter().filter(|path| fs::remove_file(path).is_ok()).count();
        Ok(format!("{removed} files removed, {freed:.0} MB"))
    }

    fn make_path(&self, target: &Target) -> Result<String, String> {
        let path = self.place(target)?;
        let mode = target.mode_bits();
        match fs::symlink_metadata(path) {
            Ok(found) if found.is_symlink() => Err("it is a link: what it leads to is not declared".to_owned()),
            Ok(_) => {
                let mode = mode.ok_or("the target declares no mode")?;
                fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(|error| error.to_string())?;
                Ok(format!("mode {mode:04o}"))
            }
            Err(_) if target.directory => {
                let mode = mode.unwrap_or(0o755);
                fs::DirBuilder::new().mode(mode).create(path).map_err(|error| error.to_string())?;
                // The process's own mask may have taken bits away.
                fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(|error| error.to_string())?;
                Ok(format!("made with mode {mode:04o}"))
            }
            Err(_) => Err("a file that is gone cannot be made: what it held is not declared".to_owned()),
        }
    }

    /// Through the same undo journal as the fixes of lessons: the bytes before are on disk first.
    fn restore(&self, target: &Target, id: &str) -> Result<String, String> {
        let path = self.place(target)?;
        let good = good_copy(&self.good, target);
        let size = fs::metadata(&good).map_err(|error| format!("no good copy: {error}"))?.len();
        if size == 0 || size > GOOD_BYTES {
            return Err(format!("the good copy has {size} bytes"));
        }
        let after = fs::read(&good).map_err(|error| error.to_string())?;
        let before = fs::read(path).map_err(|error| error.to_string())?;
        let (root, name) = (path.parent().unwrap_or(Path::new("/")), path.file_name().unwrap_or_default());
        let name = name.to_str().ok_or("the file's name is not UTF-8")?;
        let change = undo::Change {
            id: id.to_owned(),
            root: root.to_owned(),
            path: name.to_owned(),
            before,
            after,
            target: undo::Target::File,
        };
        self.changes.apply(&change, (self.clock)()).map_err(|error| error_line(&error))?;
        if target.kind == TargetKind::Config && !target.check.is_empty() {
            self.run(&target.check, Some(target), CHECK)
                .map_err(|why| format!("the good copy does not pass the check: {why}"))?;
        }
        Ok(format!("restored from {}", good.display()))
    }
}

/// Renames, and never over something that is there.
fn rename_new(from: &Path, to: &Path) -> Result<(), String> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE).map_err(|errno| format!("cannot rename: {errno}"))
}

/// Writes a breaker's file whole: whoever looks at it meanwhile sees the one before or this one.
fn write_breaker(path: &Path, breaker: Breaker) -> Result<(), String> {
    let text = breaker.text().ok_or("no rule writes that")?;
    let fresh = path.with_extension("mesh-new");
    fs::write(&fresh, text).and_then(|()| fs::rename(&fresh, path)).map_err(|error| error.to_string())
}

/// Earlier rotations of a log by mesh.
fn rotated(path: &Path) -> Vec<PathBuf> {
    let Some((folder, name)) = path.parent().zip(path.file_name()) else { return Vec::new() };
    let start = format!("{}.mesh-", name.to_string_lossy());
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let ours = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(&start));
    ours.map(|entry| entry.path()).collect()
}

impl<S: Services, E: Exec> Hands for SystemHands<S, E> {
    fn prepare(&mut self, action: &Action, target: &Target, id: &str) -> Result<Vec<WayBack>, String> {
        let text = |path: &Path| path.display().to_string();
        Ok(match action {
            Action::Quarantine | Action::Rotate { .. } => {
                let path = self.place(target)?;
                let word = if *action == Action::Quarantine { "quarantine" } else { "mesh" };
                let now = format!("{}.{word}-{id}", path.display());
                let emptied = matches!(action, Action::Rotate { .. });
                vec![WayBack::Rename { now, was: text(path), emptied }]
            }
            Action::MakePath => {
                let path = self.place(target)?;
                match fs::symlink_metadata(path) {
                    Ok(found) => vec![WayBack::Mode { path: text(path), mode: found.permissions().mode() & 0o7777 }],
                    Err(_) => vec![WayBack::RemoveDirectory { path: text(path) }],
                }
            }
            Action::RestoreGood => {
                self.place(target)?;
                vec![WayBack::Journal { id: id.to_owned() }]
            }
            Action::OpenBreaker { .. } => {
                let path = target.breaker.as_deref().ok_or("the target names no breaker")?;
                self.demand_free(path)?;
                vec![WayBack::CloseBreaker { path: text(path) }]
            }
            Action::StopRetrying { on } => {
                let services = self.service(*on, target)?;
                services.into_iter().map(|one| WayBack::AllowRetries { service: one.to_owned() }).collect()
            }
            Action::SuspendRules { .. } => vec![WayBack::AllowRules { target: target.name.as_str().to_owned() }],
            Action::Start { .. }
            | Action::Restart { .. }
            | Action::Reload { .. }
            | Action::ResetFailed { .. }
            | Action::Signal { .. }
            | Action::Purge
            | Action::VacuumJournal { .. }
            | Action::RunDeclared
            | Action::DaemonReload
            | Action::Mount
            | Action::ConfigurePackages => Vec::new(),
        })
    }

    fn take(&mut self, action: &Action, target: &Target, id: &str, ways: &[WayBack]) -> Done {
        let result = match action {
            Action::Start { on } => self.order(*on, target, Order::Start),
            Action::Restart { on } => self.order(*on, target, Order::Restart),
            Action::Reload { on } => self.order(*on, target, Order::Reload),
            Action::ResetFailed { on } => self.order(*on, target, Order::ResetFailed),
            Action::StopRetrying { on } => self.order(*on, target, Order::StopRetrying),
            Action::Signal { signal } => self.signal(*signal, target),
            Action::Quarantine => self.quarantine(target, ways),
            Action::Rotate { keep } => self.rotate(target, *keep, ways),
            Action::Purge => self.purge(target),
            Action::VacuumJournal { max_mb } => self.tool(&["journalctl", &format!("--vacuum-size={max_mb}M")]),
            Action::MakePath => self.make_path(target),
            Action::RestoreGood => self.restore(target, id),
            Action::OpenBreaker { lasts } => {
                let path = target.breaker.clone().unwrap_or_default();
                let until =
                    (self.clock)().as_second().saturating_add(i64::try_from(lasts.as_secs()).unwrap_or(i64::MAX));
                write_breaker(&path, Breaker::Open(until)).map(|()| "open".to_owned())
            }
            Action::RunDeclared => self.run(&target.run, Some(target), RUN),
            Action::SuspendRules { .. } => Ok("suspended".to_owned()),
            Action::DaemonReload => self.tool(&["systemctl", "daemon-reload"]),
            Action::Mount => {
                let path = target.path.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
                self.tool(&["mount", "--", &path])
            }
            Action::ConfigurePackages => self.tool(&["dpkg", "--configure", "-a"]),
        };
        Done { result, way_back: ways.to_vec() }
    }

    fn tend(&mut self, target: &Target, wall: i64) -> Option<Result<String, String>> {
        let path = target.breaker.as_deref()?;
        let shown = display_line(&path.display().to_string());
        // One that cannot be read is none of ours.
        let breaker = Breaker::parse(&fs::read_to_string(path).ok()?);
        match breaker.next(wall) {
            Next::Keep => None,
            Next::Write(next) => Some(write_breaker(path, next).map(|()| format!("breaker {shown} is half open"))),
            Next::Remove => {
                let removed = fs::remove_file(path).map_err(|error| error.to_string());
                Some(removed.map(|()| format!("breaker {shown} is closed: its time is over, and no rule held again")))
            }
        }
    }

    fn take_back(&mut self, way: &WayBack) -> Result<String, String> {
        match way {
            WayBack::Rename { now, was, emptied } => {
                let (now, was) = (Path::new(now), Path::new(was));
                if now.symlink_metadata().is_err() {
                    return Ok("it was not renamed".to_owned());
                }
                if *emptied && fs::metadata(was).is_ok_and(|file| file.is_file() && file.len() == 0) {
                    fs::remove_file(was).map_err(|error| error.to_string())?;
                }
                rename_new(now, was).map_err(|why| format!("{why}: its place is taken, so it stays aside"))?;
                Ok(format!("renamed back to {}", was.display()))
            }
            WayBack::RemoveDirectory { path } => match fs::remove_dir(path) {
                Ok(()) => Ok(format!("removed {path}")),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok("it is not there".to_owned()),
                Err(error) => Err(format!("{path}: {error}")),
            },
            WayBack::Mode { path, mode } => fs::set_permissions(path, fs::Permissions::from_mode(*mode))
                .map(|()| format!("mode {mode:04o} again"))
                .map_err(|error| error.to_string()),
            WayBack::Journal { id } => match self.changes.rollback(id, (self.clock)()) {
                Ok(()) => Ok("the bytes before are back".to_owned()),
                Err(error) if error.to_string().contains("no way back is recorded") => {
                    Ok("nothing was changed".to_owned())
                }
                Err(error) => Err(error_line(&error)),
            },
            WayBack::CloseBreaker { path } => match fs::remove_file(path) {
                Ok(()) => Ok("closed".to_owned()),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok("it was not open".to_owned()),
                Err(error) => Err(error.to_string()),
            },
            WayBack::AllowRetries { service } => self.services.order(service, Order::AllowRetries),
            WayBack::AllowRules { .. } => Ok("rules act again".to_owned()),
        }
    }
}
