//! What the loops need of the world and tests must be able to replace. Each has one real adapter in `sys`.

mod applier;
mod courier;
pub mod heal;
pub mod manager;
pub mod model;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::detect::LanguageName;
use crate::domain::finding::Finding;
use crate::domain::fix::FixPlan;
use crate::domain::guard::{Approved, Facts, Trial};
use crate::domain::id::{HostId, Slug};
use crate::domain::lesson::Lesson;
use crate::domain::signal::SeriesName;

pub use courier::{Address, Courier, DingTalk, Email, Hook, Ntfy, Secret, Secrets, Tls, Undelivered, Way, Webhook};

pub use applier::{AppliedAs, Applier, ApplyError, Recovered, Shadow, Trials};

/// The wall clock.
pub trait Clock: Send + Sync {
    /// Now, in UTC.
    fn now(&self) -> Timestamp;
}

/// A commit on the shared branch. It carries no authority: only what is signed below it does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Tip(pub [u8; 20]);

/// Why the network side failed. Every text in it is the server's or a library's: show it sanitised.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// Not reached, or the line broke.
    #[error("remote not reached: {0}")]
    Unreachable(String),
    /// Too slow, too much, or too large; the child was stopped.
    #[error("remote stopped at a limit: {0}")]
    Limit(String),
    /// The server asks for, or refuses, credentials.
    #[error("remote refused the credentials: {0}")]
    Credentials(String),
    /// The server refused the ref, for good or until the next try.
    #[error("remote refused the push: {0}")]
    Refused(String),
    /// Somebody else's push came first, as often as was tried.
    #[error("remote moved on during each of {tries} tries to push")]
    Contended {
        /// How often it was tried.
        tries: u32,
    },
    /// The server does not speak git as expected.
    #[error("remote does not behave as a git server: {0}")]
    Protocol(String),
    /// The address in the config is of no known form.
    #[error("remote address is not usable: {0}")]
    Address(String),
    /// The local cache could not be used; it is disposable and re-made.
    #[error("local cache of the shared branch failed: {0}")]
    Cache(String),
}

/// The shared branch on the git server.
pub trait Remote: Send {
    /// The branch's tip as the server names it, without fetching. `None`: there is no such branch.
    ///
    /// # Errors
    /// The server is not reached or does not answer as a git server.
    fn tip(&mut self) -> Result<Option<Tip>, RemoteError>;

    /// Brings the branch into the local cache.
    ///
    /// # Errors
    /// The server is not reached, or a limit was met; the cache keeps what it had.
    fn fetch(&mut self) -> Result<Option<Tip>, RemoteError>;

    /// Puts `files` (path to bytes) on top of whatever the branch is now, and reads them back.
    /// A raced push is tried again, bounded, with jitter; files of others are never removed.
    ///
    /// # Errors
    /// Nothing counts as published unless the returned tip, read back from the server, holds every file.
    fn publish(&mut self, files: &BTreeMap<String, Vec<u8>>, message: &str) -> Result<Tip, RemoteError>;
}

/// A blob at a constructed path, as found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Blob {
    /// A plain file (mode 100644) within the size limit.
    Found(Vec<u8>),
    /// No entry of that name.
    Missing,
    /// Something is there that mesh does not read, and why: a link, a directory, a program, too large.
    Refused(String),
}

/// Consecutive log files of one host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogSlice {
    /// Files from the asked seq on, in order, up to the first one missing.
    pub blobs: Vec<Blob>,
    /// The lowest later seq that exists after the first missing one: a hole in the log.
    pub beyond_gap: Option<u64>,
}

/// Hosts whose part of the branch differs between two tips.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ChangedHosts {
    /// Hosts with a well-formed directory that is new or changed.
    pub changed: Vec<HostId>,
    /// Hosts whose directory was there and is gone.
    pub gone: Vec<HostId>,
    /// Names that no mesh makes, which are ignored and counted.
    pub ignored: u64,
}

/// The local cache of the shared branch. Never checked out; read by constructed path only.
pub trait Branch {
    /// Hosts that differ from `old` (everything, when `None`) to `new`.
    ///
    /// # Errors
    /// The cache lacks the tip or is damaged.
    fn changed_hosts(&self, old: Option<Tip>, new: Tip) -> Result<ChangedHosts, RemoteError>;

    /// The file at `path`, not loaded when larger than `max` bytes.
    ///
    /// # Errors
    /// The cache lacks the tip or is damaged.
    fn file(&self, tip: Tip, path: &str, max: usize) -> Result<Blob, RemoteError>;

    /// Log files of `host` from `from` on, at most `count`.
    ///
    /// # Errors
    /// The cache lacks the tip or is damaged.
    fn log(&self, tip: Tip, host: HostId, from: u64, count: u64) -> Result<LogSlice, RemoteError>;
}

/// A program to run: an argument vector, never a shell string.
#[derive(Clone, Debug)]
pub struct Program {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Where it runs.
    pub dir: PathBuf,
    /// After this, its whole process group is killed.
    pub timeout: Duration,
    /// Output kept of each stream, in bytes; the rest is counted and dropped.
    pub output_cap: usize,
    /// Most memory that each of its processes may have for itself, in bytes.
    pub memory: Option<u64>,
}

/// How a program ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
    /// It ran past its timeout and was killed with its group.
    TimedOut,
    /// It could not be started.
    NotStarted(String),
}

/// What a program did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ran {
    /// How it ended.
    pub exit: Exit,
    /// Its standard output, capped.
    pub stdout: Vec<u8>,
    /// Its standard error, capped.
    pub stderr: Vec<u8>,
    /// How long it took.
    pub took: Duration,
}

/// Runs programs.
pub trait Exec: Send + Sync {
    /// Runs `program` to its end or its timeout.
    fn run(&self, program: &Program) -> Ran;

    /// The same, and ends it with its group as if its time were over once `stop` is set; at its timeout, where it cannot be
    /// stopped before.
    fn run_until(&self, program: &Program, _stop: &AtomicBool) -> Ran {
        self.run(program)
    }

    /// The same with the rights of a user of this machine, and no group but its own.
    fn run_as(&self, user: &str, _program: &Program, _stop: &AtomicBool) -> Ran {
        let exit = Exit::NotStarted(format!("nothing is run as {user} here"));
        Ran { exit, stdout: Vec::new(), stderr: Vec::new(), took: Duration::ZERO }
    }

    /// Whether there is such a program, seen from `dir`.
    fn finds(&self, _program: &str, _dir: &Path) -> bool {
        true
    }
}

/// One reading of one series.
#[derive(Clone, PartialEq, Debug)]
pub struct Reading {
    /// What was measured.
    pub name: SeriesName,
    /// What it was, or why that is not known. The text is foreign: show it sanitised.
    pub value: Result<f64, String>,
}

/// Measures something on this host. It may block: each one is asked in a thread of its own.
pub trait Probe: Send {
    /// Asks once. A probe that cannot say answers with the reason, or not at all where it needs two looks to
    /// tell a change.
    fn read(&mut self) -> Vec<Reading>;

    /// Where it stopped reading, so that it goes on there after a restart.
    fn mark(&self) -> Option<String> {
        None
    }

    /// What is to be said of a series beside its value, such as who is the cause. Of a series that has no reading
    /// it says why this host cannot tell it: that is shown, and alarms nobody. Foreign text: show it sanitised.
    fn remarks(&self) -> Vec<(SeriesName, String)> {
        Vec::new()
    }
}

/// What the audit worker said of a lesson that was put before it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Admission {
    /// Its patterns compile, its examples hold, and it is fast enough on the stress files.
    Admitted,
    /// It is refused, and why, in one sentence.
    Refused(String),
}

/// A file that was not audited, and why.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Skipped {
    /// The file, relative to the root.
    pub path: String,
    /// Why.
    pub reason: String,
}

/// A comment that claims to suppress findings but does not, or suppresses nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IdleSuppression {
    /// The file, relative to the root.
    pub path: String,
    /// Its line, from 1.
    pub line: u32,
    /// What is wrong with it.
    pub why: String,
}

/// What an audit of one root found.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ScanReport {
    /// Findings by path and line; suppressed ones included and marked.
    pub findings: Vec<Finding>,
    /// Files that were not looked at.
    pub skipped: Vec<Skipped>,
    /// Comments that suppress nothing.
    pub idle_suppressions: Vec<IdleSuppression>,
    /// Lessons that were stopped for taking too long, with the file, and are not to run here again.
    pub overruns: Vec<(Slug, String)>,
    /// Lessons that do not run here at all, and why.
    #[serde(default)]
    pub refused: Vec<(Slug, String)>,
    /// Lessons with more findings than one may report, and how many more.
    #[serde(default)]
    pub capped: Vec<(Slug, u64)>,
    /// Languages of which there is a file.
    #[serde(default)]
    pub languages: BTreeSet<LanguageName>,
    /// Files looked at.
    pub files: u64,
    /// Files that had to be parsed; the others held none of the texts that a match needs, or were unchanged.
    pub parsed: u64,
    /// Files whose findings were known from an earlier audit.
    pub unchanged: u64,
    /// Files that were not read again for a new lesson: they hold none of the identifiers that it looks for.
    pub unread: u64,
}

/// How far an audit is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScanProgress {
    /// Files done.
    pub done: u64,
    /// Files known so far.
    pub total: u64,
    /// Findings so far.
    pub findings: u64,
}

/// One file mended, with the fix guards held.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Mended {
    /// The new text.
    Text(String),
    /// A guard refused, and why, in one sentence.
    Refused(String),
    /// There is nothing (more) to mend in this file.
    Nothing,
}

/// Why the audit worker could not be used.
#[derive(Debug, thiserror::Error)]
pub enum AuditorError {
    /// It could not be started or its pipe broke.
    #[error("audit worker failed: {0}")]
    Worker(String),
    /// The root cannot be read.
    #[error("cannot audit {root}", root = root.display())]
    Root {
        /// The root.
        root: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
}

/// Runs lessons over files, in a limited process of its own: no pattern of anybody runs in the agent.
pub trait Auditor: Send {
    /// Compiles, tests and stresses a lesson.
    ///
    /// # Errors
    /// The worker could not be used; a hostile lesson is `Admission::Refused`, not an error.
    fn admit(&mut self, lesson: &Lesson) -> Result<Admission, AuditorError>;

    /// Audits one root with these lessons.
    ///
    /// # Errors
    /// The worker could not be used, or the root cannot be read.
    fn scan(
        &mut self,
        root: &Path,
        lessons: &[Lesson],
        progress: &mut dyn FnMut(ScanProgress),
    ) -> Result<ScanReport, AuditorError>;

    /// Mends the finding at `fingerprint` (or all of the lesson's, when `None`) in one file's text.
    ///
    /// # Errors
    /// The worker could not be used.
    fn mend(
        &mut self,
        lesson: &Lesson,
        path: &str,
        text: &str,
        only: Option<crate::domain::finding::Fingerprint>,
    ) -> Result<Mended, AuditorError>;
}

/// Why a user's repository could not be read or changed. Nothing was changed, or what was is named.
#[derive(Debug, thiserror::Error)]
pub enum RepoError {
    /// The file cannot be read.
    #[error("cannot read {path}: {why}")]
    File {
        /// The file, relative to the root.
        path: String,
        /// Why.
        why: String,
    },
    /// It is no repository that mesh can use.
    #[error("cannot use the repository of {root}: {why}", root = root.display())]
    Unusable {
        /// The audited root.
        root: PathBuf,
        /// Why.
        why: String,
    },
    /// The branch is not where mesh left it.
    #[error("branch {branch} is not where mesh left it: somebody works on it, so it stays")]
    Moved {
        /// The branch.
        branch: String,
    },
    /// The branch is checked out.
    #[error("branch {branch} is checked out: switch to another one first")]
    CheckedOut {
        /// The branch.
        branch: String,
    },
    /// A branch's name is a directory of the wanted one.
    #[error("branch {other} is in the way of {branch}: rename it")]
    InTheWay {
        /// The wanted branch.
        branch: String,
        /// The one that stands there.
        other: String,
    },
    /// Git could not do it.
    #[error("git could not {what}: {why}")]
    Git {
        /// What was tried.
        what: &'static str,
        /// What the library says.
        why: String,
    },
    /// The scratch copy could not be made or removed.
    #[error("cannot {what} the scratch copy {dir}: {why}", dir = dir.display())]
    Scratch {
        /// What was tried.
        what: &'static str,
        /// Where it is.
        dir: PathBuf,
        /// Why.
        why: String,
    },
}

/// A commit that no branch leads to yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Committed {
    /// The commit, in hexadecimal.
    pub commit: String,
    /// The commit below it, in hexadecimal.
    pub base: String,
}

/// Where a branch that mesh made stands now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BranchIs {
    /// Where mesh left it.
    Ours,
    /// Somewhere else: somebody committed on it.
    Moved,
    /// Gone.
    Gone,
    /// Its commit is part of what HEAD holds.
    Merged,
}

/// A file of a commit.
#[derive(Clone, Copy, Debug)]
pub struct CommittedFile<'a> {
    /// The audited root.
    pub root: &'a Path,
    /// The commit, in hexadecimal.
    pub commit: &'a str,
    /// The file, relative to the root.
    pub path: &'a str,
}

/// A user's repository. Nothing here touches the user's branches, index, files or uncommitted work, or runs a hook.
pub trait Repo {
    /// The text of a file, as it is in the work tree.
    ///
    /// # Errors
    /// Not a plain file below the root, too large, or not UTF-8.
    fn read(&self, root: &Path, path: &str) -> Result<String, RepoError>;

    /// What the guard needs to know of a file.
    fn facts(&self, root: &Path, path: &str) -> Facts;

    /// Makes the commit, on top of the one that was approved, with that one file changed. No branch leads to it.
    ///
    /// # Errors
    /// The repository cannot be written, or the result would differ in more than that file.
    fn commit(&self, plan: &Approved<FixPlan>, now: Timestamp) -> Result<Committed, RepoError>;

    /// Runs `trials` on a copy of a commit, in which the file was changed; `before` is its text without the change,
    /// where that is known. The user's files are not touched. A copy that cannot be made is a trial that failed.
    fn trial(&self, file: CommittedFile<'_>, before: Option<&str>, trials: &Trials) -> Trial;

    /// Lets the plan's branch lead to `made`, by compare-and-swap: it must be at `expected`, or not exist.
    /// A branch that already holds the same change is taken as it is. Returns the commit it leads to.
    ///
    /// # Errors
    /// The branch is elsewhere or checked out, or a name is in its way.
    fn set_branch(
        &self,
        plan: &Approved<FixPlan>,
        made: &Committed,
        expected: Option<&str>,
    ) -> Result<String, RepoError>;

    /// Deletes a branch by compare-and-swap. One that is gone already is no error.
    ///
    /// # Errors
    /// The branch is not at `expected`, or is checked out.
    fn delete_branch(&self, root: &Path, branch: &str, expected: &str) -> Result<(), RepoError>;

    /// Where the branch that mesh left at `commit` stands.
    ///
    /// # Errors
    /// The repository cannot be read.
    fn branch(&self, root: &Path, branch: &str, commit: &str) -> Result<BranchIs, RepoError>;
}
