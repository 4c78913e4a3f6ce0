//! The agent's side of the network worker: start it, wait so long and no longer, understand how it ended.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use git2::Oid;
use rustix::process::{Pid, Signal, kill_process_group};

use super::address::Address;
use super::request::{Answer, Limits, RemoteConfig, Request, Task, TokenSource, shown};
use crate::ports::{Remote, RemoteError, Tip};

/// What the worker may know of the agent's environment: where programs are, and what `ssh` and TLS look for.
const ENVIRONMENT: [&str; 12] = [
    "HOME",
    "KRB5CCNAME",
    "LOGNAME",
    "PATH",
    "SHELL",
    "SSH_AUTH_SOCK",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TMPDIR",
    "TZ",
    "USER",
    "XDG_RUNTIME_DIR",
];
/// Longest answer that is read, in bytes.
const ANSWER_BYTES: u64 = 64 * 1024;

/// The shared branch on a git server, spoken to through a limited process.
#[derive(Clone, Debug)]
pub struct GitRemote {
    program: PathBuf,
    cache: PathBuf,
    config: RemoteConfig,
    limits: Limits,
}

impl GitRemote {
    /// The remote of `config`, cached in the bare repository `cache`, whose parent directory exists.
    /// `program` is this program: it is started as `mesh net-worker`.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>, cache: impl Into<PathBuf>, config: RemoteConfig) -> Self {
        Self { program: program.into(), cache: cache.into(), config, limits: Limits::default() }
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    fn ask(&self, task: Task) -> Result<Option<Tip>, RemoteError> {
        let failed = |why: String| RemoteError::Cache(format!("cannot use the network worker: {why}"));
        let (cache, config, limits) = (self.cache.clone(), self.config.clone(), self.limits);
        let request = Request { parent: std::process::id(), cache, config, limits, task };
        let request = serde_json::to_vec(&request).map_err(|error| failed(error.to_string()))?;
        let worker = self.start().map_err(|error| failed(format!("{}: {error}", self.program.display())))?;
        let ended = converse(worker, request, self.limits.wall);
        match ended.answer {
            Some(Answer::Tip(None)) => Ok(None),
            Some(Answer::Tip(Some(hex))) => {
                let bytes = Oid::from_str(&hex).ok().and_then(|id| id.as_bytes().try_into().ok());
                bytes.map(|bytes| Some(Tip(bytes))).ok_or_else(|| failed(format!("it names {} as tip", shown(&hex))))
            }
            Some(Answer::Failed(failure)) => Err(failure.into()),
            None => Err(self.without_answer(&ended)),
        }
    }

    /// Cleared of everything that could steer git or carry a secret to where it is not needed.
    #[expect(clippy::disallowed_methods, reason = "the worker is part of this adapter and has its own limits")]
    fn start(&self) -> std::io::Result<Child> {
        let mut command = Command::new(&self.program);
        command.arg("net-worker").env_clear().env("MALLOC_ARENA_MAX", "1");
        let token = match (&self.config.address, &self.config.token) {
            (Address::Http(_), Some(TokenSource::Env(name))) => Some(name.as_str()),
            _ => None,
        };
        for name in ENVIRONMENT.into_iter().chain(token) {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn()
    }

    fn without_answer(&self, ended: &Ended) -> RemoteError {
        let said = shown(&String::from_utf8_lossy(&ended.stderr));
        let Some(status) = ended.status else {
            let seconds = self.limits.wall.as_secs_f64();
            return RemoteError::Limit(format!("no end after {seconds} seconds of wall time"));
        };
        match status.signal().and_then(Signal::from_named_raw) {
            Some(Signal::XCPU | Signal::KILL) => RemoteError::Limit("more CPU time than one fetch may have".to_owned()),
            Some(Signal::ABORT) if said.contains("memory allocation") => {
                RemoteError::Limit("more memory than one fetch may have".to_owned())
            }
            Some(_) => RemoteError::Limit(format!("the network worker ended by {status}: {said}")),
            None => RemoteError::Cache(format!("the network worker ended without an answer ({status}): {said}")),
        }
    }
}

struct Ended {
    answer: Option<Answer>,
    /// `None`: it was stopped at its wall time.
    status: Option<ExitStatus>,
    stderr: Vec<u8>,
}

/// Sends the request and waits for the end of the answer. Pipes are served by threads, for a worker that neither
/// reads nor writes must not hold us. Its process group, `ssh` included, is always gone afterwards.
fn converse(mut worker: Child, request: Vec<u8>, wall: std::time::Duration) -> Ended {
    let (stdin, stdout, stderr) = (worker.stdin.take(), worker.stdout.take(), worker.stderr.take());
    std::thread::spawn(move || {
        // A worker that ended early shows in its status.
        let _broken_pipe = stdin.map(|mut stdin| stdin.write_all(&request));
    });
    let stderr = std::thread::spawn(move || stderr.map(|stderr| read_some(stderr, 4096)).unwrap_or_default());
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let _receiver_gave_up = send.send(stdout.map(|stdout| read_some(stdout, ANSWER_BYTES)).unwrap_or_default());
    });
    let answer = receive.recv_timeout(wall);
    let in_time = !matches!(answer, Err(RecvTimeoutError::Timeout));
    let answer = answer.ok().and_then(|line| serde_json::from_slice(&line).ok());
    if (!in_time || answer.is_some())
        && let Some(group) = i32::try_from(worker.id()).ok().and_then(Pid::from_raw)
    {
        // Not reaped yet, so the id is still its own.
        let _already_gone = kill_process_group(group, Signal::KILL);
    }
    let status = worker.wait().ok().filter(|_| in_time);
    Ended { answer, status, stderr: stderr.join().unwrap_or_default() }
}

/// Keeps the first bytes and drains the rest, so that the writer is never held.
fn read_some(mut from: impl Read, most: u64) -> Vec<u8> {
    let mut kept = Vec::new();
    let _as_far_as_it_went = from.by_ref().take(most).read_to_end(&mut kept);
    let _drained = std::io::copy(&mut from, &mut std::io::sink());
    kept
}

impl Remote for GitRemote {
    fn tip(&mut self) -> Result<Option<Tip>, RemoteError> {
        self.ask(Task::Tip)
    }

    fn fetch(&mut self) -> Result<Option<Tip>, RemoteError> {
        self.ask(Task::Fetch)
    }

    fn publish(&mut self, files: &BTreeMap<String, Vec<u8>>, message: &str) -> Result<Tip, RemoteError> {
        let files = files.iter().map(|(path, bytes)| (path.clone(), STANDARD.encode(bytes))).collect();
        let tip = self.ask(Task::Publish { files, message: message.to_owned() })?;
        tip.ok_or_else(|| RemoteError::Cache("the network worker published, but names no tip".to_owned()))
    }
}
