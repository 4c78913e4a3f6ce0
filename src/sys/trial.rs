//! Changes tried before they are made: the project's own commands in a copy, an instance of the service that nobody
//! uses, and the checker of that kind of file, which is tried itself first.

mod lent;

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lent::Lent;

use crate::domain::canary::{Kind, filled};
use crate::domain::guard::Trial;
use crate::ports::{Exec, Exit, Program, Ran, Shadow, Trials};
use crate::sys::repo::scratch::remove_all;

/// Bytes kept of each stream.
const OUTPUT: usize = 1024 * 1024;
/// Lines of a failed trial that are kept.
const TAIL_LINES: usize = 20;
/// Characters of a failed trial that are kept.
const TAIL_CHARS: usize = 2_000;
/// Between two questions to a shadow.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// Folders above a file in which its main file is looked for.
const ABOVE: usize = 4;
/// Most files beside the changed one that are copied for a checker.
const MAX_FILES: usize = 2_000;
/// Most bytes of them.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Where a change is tried.
#[derive(Clone, Copy, Debug)]
pub(in crate::sys) struct Place<'a> {
    /// The copy in which commands run; it holds the changed file.
    pub(in crate::sys) copy: &'a Path,
    /// The folder with the files that stand around the changed one: the copy, or the folder that people use.
    pub(in crate::sys) around: &'a Path,
    /// The changed file, relative to both.
    pub(in crate::sys) path: &'a str,
    /// Its text without the change, where that is known.
    pub(in crate::sys) before: Option<&'a str>,
    /// Its text with the change.
    pub(in crate::sys) after: &'a str,
    /// A folder that the checker's own copy is made in, and removed from.
    pub(in crate::sys) bench: &'a Path,
}

/// Runs the trials; the first that fails ends it.
pub(in crate::sys) fn run(exec: &dyn Exec, place: Place<'_>, trials: &Trials) -> Trial {
    if trials.is_empty() {
        return Trial::None;
    }
    let lent = match trials.user.as_ref().map(|user| Lent::make(place.copy, user)).transpose() {
        Ok(lent) => lent,
        Err(why) => return Trial::Failed(why),
    };
    let copy = lent.as_ref().map_or(place.copy, Lent::dir);
    let file = copy.join(place.path);
    let mut passed = false;
    for argv in trials.commands.iter().filter(|argv| !argv.is_empty()) {
        let program = program(filled(argv, &file.to_string_lossy()), copy, trials);
        let ran = owners(exec, &program, trials, &AtomicBool::new(false));
        if ran.exit != Exit::Code(0) {
            return Trial::Failed(said(&ran, &program.argv));
        }
        passed = true;
    }
    if let Some(shadow) = &trials.shadow {
        if let Err(why) = beside(exec, copy, shadow, trials) {
            return Trial::Failed(why);
        }
        passed = true;
    }
    match trials.checker.map(|kind| checked(exec, place, kind, trials)) {
        // What cannot tell says nothing against what another trial has shown.
        Some(Trial::Cannot(_)) | None if passed => Trial::Passed,
        Some(trial) => trial,
        None => Trial::None,
    }
}

fn program(argv: Vec<String>, dir: &Path, trials: &Trials) -> Program {
    Program { argv, dir: dir.to_owned(), timeout: trials.timeout, output_cap: OUTPUT, memory: trials.memory }
}

/// Runs what the root's owner named, with the rights that he named. A checker is the system's and runs as mesh.
fn owners(exec: &dyn Exec, program: &Program, trials: &Trials, stop: &AtomicBool) -> Ran {
    match &trials.user {
        Some(user) => exec.run_as(user, program, stop),
        None => exec.run_until(program, stop),
    }
}

/// Starts the shadow and asks it until it works, ends, or its time is over.
fn beside(exec: &dyn Exec, dir: &Path, shadow: &Shadow, trials: &Trials) -> Result<(), String> {
    let (stop, ended) = (AtomicBool::new(false), AtomicBool::new(false));
    let started = Instant::now();
    let of = |argv: &Vec<String>, timeout| Program { timeout, ..program(argv.clone(), dir, trials) };
    let start = of(&shadow.start, shadow.within + ASK_EVERY);
    thread::scope(|scope| {
        let instance = scope.spawn(|| {
            let ran = owners(exec, &start, trials, &stop);
            ended.store(true, Ordering::SeqCst);
            ran
        });
        let mut works = Err("it was never asked".to_owned());
        while !ended.load(Ordering::SeqCst) {
            let left = shadow.within.saturating_sub(started.elapsed());
            if left.is_zero() {
                break;
            }
            let probe = of(&shadow.probe, left);
            let ran = owners(exec, &probe, trials, &ended);
            let over = ended.load(Ordering::SeqCst);
            works = if ran.exit == Exit::Code(0) && !over { Ok(()) } else { Err(said(&ran, &probe.argv)) };
            if works.is_ok() || over {
                break;
            }
            thread::sleep(ASK_EVERY.min(shadow.within.saturating_sub(started.elapsed())));
        }
        let died = ended.load(Ordering::SeqCst);
        stop.store(true, Ordering::SeqCst);
        let ran = instance.join().map_err(|_| "the shadow could not be followed".to_owned())?;
        match works {
            Ok(()) => Ok(()),
            Err(_) if died => Err(format!("the shadow ended: {}", said(&ran, &start.argv))),
            Err(why) => Err(format!("the shadow does not work within {} s: {why}", shadow.within.as_secs())),
        }
    })
}

/// Asks the checker of the kind of file. It is tried first on a text that it must refuse: one that passes everything, or
/// does not look at this file, proves nothing.
fn checked(exec: &dyn Exec, place: Place<'_>, kind: &Kind, trials: &Trials) -> Trial {
    let asked = (|| {
        let bench = Bench::make(place, kind).map_err(|why| format!("{} cannot be tried: {why}", kind.name))?;
        let ask = |text: &str| -> Result<Option<String>, String> {
            fs::write(&bench.file, text).map_err(|error| error.to_string())?;
            let argv = bench.command(kind);
            let ran = exec.run(&program(argv.clone(), &bench.dir, trials));
            match ran.exit {
                Exit::Code(0) => Ok(None),
                Exit::NotStarted(_) => Err(missing(kind)),
                Exit::Code(_) | Exit::Signal(_) | Exit::TimedOut => Ok(Some(bench.renamed(&said(&ran, &argv)))),
            }
        };
        let blind = || format!("`{}` does not look at this file, so it proves nothing", kind.argv.join(" "));
        ask(kind.spoiled)?.ok_or_else(blind)?;
        let Some(why) = ask(place.after)? else { return Ok(Trial::Passed) };
        match place.before.map(ask).transpose()?.flatten() {
            Some(before) => Err(format!("it is refused without the change, too: {before}")),
            None => Ok(Trial::Failed(why)),
        }
    })();
    // The verdict is the message; what is left of a copy is removed by the next one.
    drop(remove_all(place.bench));
    asked.unwrap_or_else(Trial::Cannot)
}

/// What to do about a checker that is not there.
fn missing(kind: &Kind) -> String {
    format!("`{}` is not installed: apt-get install {}", kind.program(), kind.package)
}

/// A copy of the changed file with what its checker needs around it.
struct Bench {
    dir: PathBuf,
    file: PathBuf,
    main: PathBuf,
    /// What people call the copied folder.
    real: PathBuf,
}

impl Bench {
    fn make(place: Place<'_>, kind: &Kind) -> Result<Self, String> {
        let told = |error: io::Error| error.to_string();
        remove_all(place.bench).map_err(told)?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(place.bench).map_err(told)?;
        let bench = place.bench.canonicalize().map_err(told)?;
        let file = place.around.join(place.path);
        let Some(main) = kind.main else {
            let name = file.file_name().ok_or("it has no name")?;
            let real = file.parent().unwrap_or(place.around).to_owned();
            return Ok(Self { file: bench.join(name), main: bench.join(name), dir: bench, real });
        };
        let real = file.ancestors().skip(1).take(ABOVE).find(|folder| folder.join(main).is_file());
        let real = real.ok_or_else(|| format!("there is no {main} beside it or above"))?.to_owned();
        let inside = file.strip_prefix(&real).map_err(|error| error.to_string())?;
        Copying { from: &real, to: &bench, but: inside, files: 0, bytes: 0 }.folder(Path::new(""))?;
        Ok(Self { file: bench.join(inside), main: bench.join(main), dir: bench, real })
    }

    fn command(&self, kind: &Kind) -> Vec<String> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        kind.command(&text(&self.file), &text(&self.main), &text(&self.dir))
    }

    /// Names in a message as people know them.
    fn renamed(&self, message: &str) -> String {
        message.replace(&*self.dir.to_string_lossy(), &self.real.to_string_lossy())
    }
}

/// Copies a folder of configuration, with what its files say of their own folder made to mean the copy.
struct Copying<'a> {
    from: &'a Path,
    to: &'a Path,
    /// The file that is written by the caller.
    but: &'a Path,
    files: usize,
    bytes: u64,
}

impl Copying<'_> {
    fn folder(&mut self, inside: &Path) -> Result<(), String> {
        let from = self.from.join(inside);
        let told = |error: io::Error| format!("{}: {error}", from.display());
        for entry in fs::read_dir(&from).map_err(told)? {
            let entry = entry.map_err(told)?;
            let (kind, inside) = (entry.file_type().map_err(told)?, inside.join(entry.file_name()));
            self.files += 1;
            if self.files > MAX_FILES || self.bytes > MAX_BYTES {
                let (files, mib) = (MAX_FILES, MAX_BYTES / (1024 * 1024));
                return Err(format!("{} holds more than {files} files or {mib} MiB", self.from.display()));
            }
            let to = self.to.join(&inside);
            if kind.is_dir() {
                fs::create_dir(&to).map_err(told)?;
                self.folder(&inside)?;
            } else if kind.is_symlink() {
                let target = fs::read_link(entry.path()).map_err(told)?;
                let target = target.strip_prefix(self.from).map_or(target.clone(), |inside| self.to.join(inside));
                std::os::unix::fs::symlink(target, &to).map_err(told)?;
            } else if kind.is_file() && inside != self.but {
                self.file(&entry.path(), &to).map_err(told)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.bytes += from.metadata()?.len();
        if self.bytes > MAX_BYTES {
            return Ok(());
        }
        fs::copy(from, to)?;
        let text = String::from_utf8(fs::read(from)?).unwrap_or_default();
        let (own, copy) = (self.from.to_string_lossy(), self.to.to_string_lossy());
        if text.contains(&*own) { fs::write(to, text.replace(&*own, &copy)) } else { Ok(()) }
    }
}

/// How a program ended, and the last it printed.
fn said(ran: &Ran, argv: &[String]) -> String {
    let name = argv.join(" ");
    let ended = match &ran.exit {
        Exit::Code(code) => format!("`{name}` ended with {code}"),
        Exit::Signal(signal) => format!("`{name}` was ended by signal {signal}"),
        Exit::TimedOut => format!("`{name}` was stopped after {} s", ran.took.as_secs()),
        Exit::NotStarted(why) => format!("`{name}` was not started: {why}"),
    };
    let (stdout, stderr) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    let lines: Vec<&str> = stdout.lines().chain(stderr.lines()).filter(|line| !line.trim().is_empty()).collect();
    let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
    let cut = tail.chars().count().saturating_sub(TAIL_CHARS);
    let tail: String = tail.chars().skip(cut).collect();
    if tail.is_empty() { ended } else { format!("{ended}\n{tail}") }
}
