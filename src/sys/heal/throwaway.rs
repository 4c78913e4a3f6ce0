//! A throw-away place for drills: a folder with services in it that fail in truth, on request. Everything in it ends
//! with it.

mod child;

use std::cell::{RefCell, RefMut};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::domain::heal::condition::EventName;
use crate::domain::heal::drill::Stage;
use crate::ports::heal::{Order, ServiceSeen, Services};
use crate::sys::managers::process as managed;

pub use child::run as run_child;

/// Longest time that a process is waited for.
const WAIT: Duration = Duration::from_secs(20);
/// Time between asking a process to end and killing it.
const GRACE: Duration = Duration::from_secs(2);
/// Between two looks at something that is waited for.
const TICK: Duration = Duration::from_millis(5);

/// One throw-away service.
struct Unit {
    folder: PathBuf,
    program: PathBuf,
    child: Option<Child>,
    wanted: bool,
    failed: bool,
    given_up: bool,
    held: bool,
    exit_code: Option<i32>,
    restarts: u64,
    /// Starts that the manager makes by itself, in all and still.
    allowed: u32,
    left: u32,
    /// Most memory that it may have: beyond that the manager kills it, as supervision does where no kernel limit is.
    memory_mb: Option<u64>,
}

/// The services of a throw-away place, and the processes that play owners of locks. Eyes, hands and the drill itself
/// look at the same ones.
#[derive(Default)]
struct Inside {
    units: BTreeMap<String, Unit>,
    owners: Vec<Child>,
    happened: Vec<(String, EventName)>,
}

/// A throw-away place.
pub struct Place {
    folder: PathBuf,
    program: PathBuf,
    own: String,
    inside: RefCell<Inside>,
}

/// A place as a manager of services.
#[derive(Clone, Copy)]
pub struct Manager<'a>(pub &'a Place);

impl Place {
    /// A place in an empty folder. `program` is mesh itself, which plays the services; `own` is the service that is
    /// meant where none is named.
    #[must_use]
    pub fn new(folder: &Path, program: &Path, own: &str) -> Self {
        let inside = RefCell::default();
        Self { folder: folder.to_owned(), program: program.to_owned(), own: own.to_owned(), inside }
    }

    fn inside(&self) -> RefMut<'_, Inside> {
        self.inside.borrow_mut()
    }

    /// Does one thing to it. Stages that are about clocks and rules are for the drill itself and do nothing here.
    ///
    /// # Errors
    /// The system refused.
    pub fn stage(&self, stage: &Stage) -> io::Result<()> {
        let at = |path: &str| self.folder.join(path);
        let own = |name: &Option<String>| name.clone().unwrap_or_else(|| self.own.clone());
        match stage {
            Stage::Child { name, plan, restarts, memory_mb, start } => {
                self.set(&own(name), plan, (*restarts, *memory_mb), *start)
            }
            Stage::Settle => self.settle(),
            Stage::OperatorStop => {
                let mut inside = self.inside();
                if let Some(unit) = inside.units.get_mut(&self.own) {
                    unit.wanted = false;
                    unit.stop();
                }
                Ok(())
            }
            Stage::Write { path, text } => {
                make_parent(&at(path))?;
                fs::write(at(path), text.replace("./", &format!("{}/", self.folder.display())))
            }
            Stage::Size { path, mb, filled } => {
                make_parent(&at(path))?;
                let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(at(path))?;
                if *filled {
                    let block = vec![b'x'; 1024 * 1024];
                    (0..*mb).try_for_each(|_| io::Write::write_all(&mut &file, &block))
                } else {
                    file.set_len(mb * 1024 * 1024)
                }
            }
            Stage::Many { path, count } => {
                fs::create_dir_all(at(path))?;
                (0..*count).try_for_each(|n| fs::write(at(path).join(format!("session-{n}")), "x"))
            }
            Stage::Directory { path } => fs::create_dir_all(at(path)),
            Stage::Remove { path } => {
                if at(path).is_dir() {
                    fs::remove_dir(at(path))
                } else {
                    fs::remove_file(at(path))
                }
            }
            Stage::Mode { path, mode } => {
                let mode = u32::from_str_radix(mode, 8).map_err(io::Error::other)?;
                fs::set_permissions(at(path), fs::Permissions::from_mode(mode))
            }
            Stage::Age { path, span } => {
                let mut all = super::files::below(&at(path));
                if all.is_empty() {
                    all.push(at(path));
                }
                all.iter().try_for_each(|path| set_back(path, *span))
            }
            Stage::DeadOwner { path } => {
                let mut child = self.owner(&["ends"])?;
                child.wait()?;
                fs::write(at(path), format!("{}\n", child.id()))
            }
            Stage::ReusedOwner { path } => {
                let child = self.owner(&["sleeps"])?;
                fs::write(at(path), format!("{}\n", child.id()))?;
                self.inside().owners.push(child);
                // Written long before the process was started that has its number now.
                set_back(&at(path), Duration::from_secs(86_400))
            }
            Stage::LiveOwner { path } => {
                let child = self.owner(&["sleeps"])?;
                fs::write(at(path), format!("{}\n", child.id()))?;
                self.inside().owners.push(child);
                Ok(())
            }
            Stage::Hold { path } => {
                let text = at(path).display().to_string();
                let child = self.owner(&["holds", &text])?;
                self.inside().owners.push(child);
                wait_for(|| super::process::is_locked(&at(path)) == Some(true))
            }
            Stage::ReplaceProgram { name } => {
                let inside = self.inside();
                let unit = inside.units.get(&own(name)).ok_or_else(|| io::Error::other("no such service"))?;
                fs::remove_file(&unit.program)?;
                link_or_copy(&self.program, &unit.program)
            }
            Stage::Acted { .. } | Stage::Uptime { .. } | Stage::Pass { .. } => Ok(()),
        }
    }

    fn owner(&self, words: &[&str]) -> io::Result<Child> {
        #[expect(clippy::disallowed_methods, reason = "a throw-away process that plays the owner of a lock")]
        let mut command = Command::new(&self.program);
        command.arg("drill-child").args(words).env_clear().process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
    }

    fn set(&self, name: &str, plan: &[String], limits: (u32, Option<u64>), start: bool) -> io::Result<()> {
        let (restarts, memory_mb) = limits;
        let mut inside = self.inside();
        let folder = self.folder.join(name);
        if !inside.units.contains_key(name) {
            fs::create_dir_all(&folder)?;
            let program = folder.join("program");
            link_or_copy(&self.program, &program)?;
            let unit = Unit {
                folder: folder.clone(),
                program,
                child: None,
                wanted: true,
                failed: false,
                given_up: false,
                held: false,
                exit_code: None,
                restarts: 0,
                allowed: 0,
                left: 0,
                memory_mb: None,
            };
            inside.units.insert(name.to_owned(), unit);
        }
        let place = format!("{}/", self.folder.display());
        let plan: Vec<String> = plan.iter().map(|word| word.replace("./", &place)).collect();
        fs::write(folder.join("plan"), plan.join("\n"))?;
        let Some(unit) = inside.units.get_mut(name) else { return Ok(()) };
        (unit.allowed, unit.left, unit.memory_mb) = (restarts, restarts, memory_mb);
        if start {
            unit.stop();
            unit.start()?;
        }
        Ok(())
    }

    /// Waits until each service is as it will be: up and at work, or ended.
    ///
    /// # Errors
    /// One of them is neither in time.
    pub fn settle(&self) -> io::Result<()> {
        wait_for(|| {
            self.reap();
            self.inside().units.values().all(|unit| {
                unit.child.as_ref().is_none_or(|child| {
                    let ready = fs::read_to_string(unit.folder.join("ready"));
                    ready.is_ok_and(|pid| pid == child.id().to_string()) && !unit.is_over_memory()
                })
            })
        })
    }

    /// Takes note of what ended, and starts again what the manager starts again.
    fn reap(&self) {
        let mut inside = self.inside();
        let mut happened = Vec::new();
        for (name, unit) in &mut inside.units {
            let too_large = unit.is_over_memory();
            let Some(child) = unit.child.as_mut() else { continue };
            if too_large {
                signal(Pid::from_child(child), Signal::KILL);
                drop(child.wait());
            }
            let Ok(Some(status)) = child.try_wait() else { continue };
            unit.child = None;
            unit.exit_code = Some(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)));
            happened.push((name.clone(), if too_large { EventName::OomKill } else { EventName::Exited }));
            if unit.left > 0 && unit.wanted {
                unit.left -= 1;
                if unit.start().is_ok() {
                    unit.restarts += 1;
                    happened.push((name.clone(), EventName::Restarted));
                    continue;
                }
            }
            unit.failed = unit.wanted;
            if unit.allowed > 0 {
                unit.given_up = unit.wanted;
                happened.push((name.clone(), EventName::GivenUp));
            }
        }
        inside.happened.append(&mut happened);
    }

    /// Everything in the folder that a rule may have touched: what the children write for themselves is not told.
    #[must_use]
    pub fn shape(&self) -> BTreeMap<String, String> {
        const OWN: [&str; 10] = [
            "plan",
            "ready",
            "beat",
            "progress",
            "port",
            "program",
            "child.log",
            "operations.json",
            "held",
            "lock-got",
        ];
        let mut shape = BTreeMap::new();
        let mut folders = vec![self.folder.clone()];
        while let Some(folder) = folders.pop() {
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for entry in entries.flatten() {
                let path = entry.path();
                let name = entry.file_name().to_string_lossy().into_owned();
                let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
                // `.new` is what a child is about to put in a file's place.
                let own = OWN.contains(&name.as_str()) || name.ends_with(".new");
                if own || name.starts_with("state-of-mesh") {
                    continue;
                }
                let shown = path.strip_prefix(&self.folder).unwrap_or(&path).display().to_string();
                let what = if metadata.is_dir() {
                    folders.push(path);
                    format!("directory {:o}", metadata.mode())
                } else {
                    // Large files are told apart by their size: they are holes.
                    let small = metadata.len() < 1024 * 1024;
                    let bytes = if small { fs::read(&path).unwrap_or_default() } else { Vec::new() };
                    format!("{:o} {} {}", metadata.mode(), metadata.len(), blake3::hash(&bytes).to_hex())
                };
                shape.insert(shown, what);
            }
        }
        shape
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inside = self.inside();
        inside.units.values_mut().for_each(Unit::stop);
        for owner in &mut inside.owners {
            // It may have ended by itself.
            drop(owner.kill());
            drop(owner.wait());
        }
    }
}

impl Unit {
    fn start(&mut self) -> io::Result<()> {
        #[expect(clippy::disallowed_methods, reason = "a throw-away service of a drill, which ends with it")]
        let mut command = Command::new(&self.program);
        command.args(["drill-child", "service"]).arg(&self.folder).env_clear().process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn()?);
        (self.failed, self.given_up, self.held, self.wanted) = (false, false, false, true);
        Ok(())
    }

    /// Whether it has more memory than it may have.
    fn is_over_memory(&self) -> bool {
        let Some((child, most)) = self.child.as_ref().zip(self.memory_mb) else { return false };
        super::process::anonymous_mb(child.id()).is_some_and(|mb| mb > most as f64)
    }

    /// Waits until it is at work. One that ends is told of by the next look.
    fn wait_ready(&mut self) -> io::Result<()> {
        let Some(child) = self.child.as_mut() else { return Ok(()) };
        let ready = self.folder.join("ready");
        wait_for(|| {
            let ended = managed::stat(child.id()).is_none_or(|stat| stat.state == 'Z');
            ended || fs::read_to_string(&ready).is_ok_and(|pid| pid == child.id().to_string())
        })
    }

    fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let group = Pid::from_child(&child);
        signal(group, Signal::TERM);
        let end = Instant::now() + GRACE;
        while matches!(child.try_wait(), Ok(None)) {
            if Instant::now() >= end {
                signal(group, Signal::KILL);
                drop(child.wait());
            } else {
                thread::sleep(TICK);
            }
        }
        signal(group, Signal::KILL);
    }
}

impl Services for Manager<'_> {
    fn seen(&mut self, service: &str) -> Option<ServiceSeen> {
        self.0.reap();
        let inside = self.0.inside();
        let unit = inside.units.get(service)?;
        Some(ServiceSeen {
            pid: unit.child.as_ref().map(Child::id),
            wanted: unit.wanted,
            failed: unit.failed,
            given_up: unit.given_up,
            retried: unit.left > 0 && unit.wanted,
            held: unit.held,
            exit_code: unit.exit_code,
            restarts: unit.restarts,
            needs_reload: false,
        })
    }

    fn order(&mut self, service: &str, order: Order) -> Result<String, String> {
        self.0.reap();
        let mut inside = self.0.inside();
        let unit = inside.units.get_mut(service).ok_or("no such service")?;
        let started = |result: io::Result<()>| result.map(|()| "started".to_owned()).map_err(|error| error.to_string());
        match order {
            Order::Start if unit.child.is_some() => Ok("is up".to_owned()),
            Order::Start if unit.given_up => Err("its manager has given up on it: reset it first".to_owned()),
            Order::Start => started(unit.start().and_then(|()| unit.wait_ready())),
            Order::Restart => {
                unit.stop();
                started(unit.start().and_then(|()| unit.wait_ready()))
            }
            Order::Reload => {
                let child = unit.child.as_ref().ok_or("it is not up")?;
                kill_process(Pid::from_child(child), Signal::HUP).map_err(|error| error.to_string())?;
                Ok("was told to read its configuration again".to_owned())
            }
            Order::ResetFailed => {
                (unit.given_up, unit.failed) = (false, unit.child.is_none());
                Ok("reset".to_owned())
            }
            Order::StopRetrying => {
                unit.left = 0;
                unit.stop();
                (unit.given_up, unit.failed, unit.held) = (false, true, true);
                Ok("is left down".to_owned())
            }
            Order::AllowRetries => {
                unit.left = unit.allowed;
                unit.held = false;
                Ok("may be started again".to_owned())
            }
        }
    }

    fn happened(&mut self) -> Vec<(String, EventName)> {
        self.0.reap();
        std::mem::take(&mut self.0.inside().happened)
    }
}

fn signal(group: Pid, signal: Signal) {
    match kill_process_group(group, signal) {
        // An error is that nobody is there any more, which is what is wanted.
        Ok(()) | Err(_) => {}
    }
}

fn set_back(path: &Path, span: Duration) -> io::Result<()> {
    let changed = fs::metadata(path)?.modified()?;
    fs::File::options().append(true).open(path)?.set_modified(changed - span)
}

fn make_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

fn link_or_copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to).or_else(|_| fs::copy(from, to).map(drop))
}

fn wait_for(mut done: impl FnMut() -> bool) -> io::Result<()> {
    let end = Instant::now() + WAIT;
    while !done() {
        if Instant::now() >= end {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "a throw-away process is not ready in time"));
        }
        thread::sleep(TICK);
    }
    Ok(())
}
