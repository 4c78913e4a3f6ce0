//! Runs programs: own process group, deadline, capped output, clean environment.

#![expect(clippy::disallowed_methods, reason = "the Exec adapter: the one place that starts other people's programs")]

use std::ffi::OsString;
use std::io::{ErrorKind, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, kill_process_group, prlimit, waitid};

use crate::ports::{Exec, Exit, Program, Ran};
use crate::sys::host::find_program;
use crate::sys::user::User;

/// Time between asking a group to end and killing it.
const GRACE: Duration = Duration::from_secs(1);
/// Time to read what is left in the pipes once the group is dead; a process that left the group may hold them open.
const DRAIN: Duration = Duration::from_secs(1);
/// Between two looks whether the program is to be stopped.
const LOOK: Duration = Duration::from_millis(50);
/// Bytes read at once.
const CHUNK: usize = 8 * 1024;
/// Chunks waiting to be taken; a flood blocks its writer, not us.
const QUEUE: usize = 16;
/// The search path where we have none.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Runs real processes.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemExec;

impl Exec for SystemExec {
    fn run(&self, program: &Program) -> Ran {
        self.run_until(program, &AtomicBool::new(false))
    }

    fn run_until(&self, program: &Program, stop: &AtomicBool) -> Ran {
        perform(program, None, stop)
    }

    fn run_as(&self, user: &str, program: &Program, stop: &AtomicBool) -> Ran {
        perform(program, Some(user), stop)
    }

    fn finds(&self, program: &str, dir: &Path) -> bool {
        find_program(program, dir).is_some()
    }
}

/// Runs programs with the rights of one user of this machine; with our own where none is named.
#[derive(Clone, Debug, Default)]
pub struct ExecAs(pub Option<String>);

impl Exec for ExecAs {
    fn run(&self, program: &Program) -> Ran {
        perform(program, self.0.as_deref(), &AtomicBool::new(false))
    }
}

fn perform(program: &Program, user: Option<&str>, stop: &AtomicBool) -> Ran {
    let started = Instant::now();
    let mut ran = Ran { exit: Exit::TimedOut, stdout: Vec::new(), stderr: Vec::new(), took: Duration::ZERO };
    ran.exit = match user.map(User::to_run_as).transpose().and_then(|user| start(program, user.as_ref())) {
        Ok(child) => follow(child, started, program, stop, &mut ran),
        Err(why) => Exit::NotStarted(why),
    };
    ran.took = started.elapsed();
    ran
}

/// What comes in while a program runs.
enum Event {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    PipeClosed,
    Ended,
}

fn start(program: &Program, user: Option<&User>) -> Result<Child, String> {
    let Some((name, arguments)) = program.argv.split_first() else {
        return Err("no program named".to_owned());
    };
    let found = find_program(name, &program.dir);
    let mut command = Command::new(found.as_deref().unwrap_or(Path::new(name)));
    command
        .args(arguments)
        .current_dir(&program.dir)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| OsString::from(PATH)))
        .env("LANG", std::env::var_os("LANG").unwrap_or_else(|| OsString::from("C.UTF-8")))
        .env("MESH", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    if let Some(home) = std::env::var_os("HOME") {
        command.env("HOME", home);
    }
    if let Some(user) = user {
        user.lend(&mut command);
    }
    let child = command.spawn().map_err(|error| match error.kind() {
        ErrorKind::NotFound if !program.dir.is_dir() => format!("no directory {}", program.dir.display()),
        ErrorKind::NotFound => format!("no program {name} on PATH"),
        _ => format!("{name}: {error}"),
    })?;
    if let Some(bytes) = program.memory {
        limit_memory(&child, bytes);
    }
    Ok(child)
}

/// Bounds what each process of the group may have for itself. Address space that is only set aside does not count, so
/// that runtimes which set aside much of it still start.
fn limit_memory(child: &Child, bytes: u64) {
    let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
    match prlimit(Some(Pid::from_child(child)), Resource::Data, limit) {
        // An error means that it is gone already.
        Ok(_) | Err(_) => {}
    }
}

/// Follows the child to its end. It is reaped last: until then its group id cannot be taken by anybody else.
fn follow(mut child: Child, started: Instant, program: &Program, stop: &AtomicBool, ran: &mut Ran) -> Exit {
    let group = Pid::from_child(&child);
    let (send, events) = sync_channel(QUEUE);
    let mut pipes = 0;
    if let Some(stdout) = child.stdout.take() {
        pipes += 1;
        read_pipe(stdout, Event::Stdout, send.clone());
    }
    if let Some(stderr) = child.stderr.take() {
        pipes += 1;
        read_pipe(stderr, Event::Stderr, send.clone());
    }
    thread::spawn(move || {
        // The child stays a zombie. An error means it is gone, which is an end too.
        while let Err(Errno::INTR) = waitid(WaitId::Pid(group), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {}
        drop(send.send(Event::Ended));
    });

    let mut taking = Taking { events, pipes, ended: false, cap: program.output_cap, ran };
    let deadline = started.checked_add(program.timeout);
    let mut in_time = false;
    while !in_time && !stop.load(Ordering::SeqCst) && deadline.is_none_or(|at| Instant::now() < at) {
        let look = Instant::now().checked_add(LOOK);
        in_time = taking.until(deadline.min(look).or(look), |state| state.ended);
    }
    if !in_time {
        signal(group, Signal::TERM);
        taking.until(Instant::now().checked_add(GRACE), |state| state.ended);
    }
    // Whoever the program left behind goes with it.
    signal(group, Signal::KILL);
    taking.until(Instant::now().checked_add(DRAIN), |state| state.ended && state.pipes == 0);
    drop(taking);

    match child.wait() {
        Ok(_) if !in_time => Exit::TimedOut,
        Ok(status) => exit_of(status),
        Err(error) => Exit::NotStarted(format!("lost sight of the program: {error}")),
    }
}

fn exit_of(status: ExitStatus) -> Exit {
    status.code().map_or_else(|| Exit::Signal(status.signal().unwrap_or_default()), Exit::Code)
}

fn signal(group: Pid, signal: Signal) {
    match kill_process_group(group, signal) {
        // An error is ESRCH: everybody is gone, which is what was wanted.
        Ok(()) | Err(_) => {}
    }
}

fn read_pipe(mut pipe: impl Read + Send + 'static, event: fn(Vec<u8>) -> Event, send: SyncSender<Event>) {
    thread::spawn(move || {
        let mut chunk = vec![0; CHUNK];
        loop {
            match pipe.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => {
                    if send.send(event(chunk[..count].to_vec())).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        drop(send.send(Event::PipeClosed));
    });
}

/// Takes events and keeps what fits.
struct Taking<'a> {
    events: Receiver<Event>,
    pipes: usize,
    ended: bool,
    cap: usize,
    ran: &'a mut Ran,
}

impl Taking<'_> {
    /// Takes events until `done`, true, or the deadline, false. Without a deadline it waits for as long as it takes.
    fn until(&mut self, deadline: Option<Instant>, done: fn(&Self) -> bool) -> bool {
        while !done(self) {
            let left = deadline.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return false;
            }
            match self.events.recv_timeout(left) {
                Ok(Event::Stdout(bytes)) => keep(&mut self.ran.stdout, &bytes, self.cap),
                Ok(Event::Stderr(bytes)) => keep(&mut self.ran.stderr, &bytes, self.cap),
                Ok(Event::PipeClosed) => self.pipes = self.pipes.saturating_sub(1),
                Ok(Event::Ended) => self.ended = true,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return done(self),
            }
        }
        true
    }
}

fn keep(kept: &mut Vec<u8>, bytes: &[u8], cap: usize) {
    let room = cap.saturating_sub(kept.len()).min(bytes.len());
    kept.extend_from_slice(&bytes[..room]);
}
