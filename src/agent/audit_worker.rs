//! `mesh audit-worker`: the limited process in which patterns run. It trusts its parent and nothing else.
//!
//! Limits come first: address space, CPU time, no core, few files, lowest priority; nothing to read but the
//! root, nothing to write, no network (where the kernel has Landlock); death with the parent. Then requests,
//! one JSON line each ([`crate::sys::auditor::wire`]), until the parent closes the pipe.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::num::NonZero;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use landlock::{
    ABI, Access, AccessFs, AccessNet, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, Scope,
};
use rustix::process::{Resource, Rlimit, Signal};

use crate::domain::detect::LanguageName;
use crate::domain::id::Slug;
use crate::domain::lesson::Lesson;
use crate::domain::limits;
use crate::domain::words::Words;
use crate::ports::{Admission, Mended};
use crate::scan::{Deadline, Engine, FileRefusal, MendRefusal, mend, prove};
use crate::sys::auditor::flight::{self, THREADS};
use crate::sys::auditor::wire::{Answer, Asked, FileAnswer, Request};
use crate::sys::tree::confined::{Root, Unread};

/// Stack of a thread that runs patterns. The matcher recurses with the rule and with the file: 12 levels of
/// rule over a tree of depth 1,000 fit. Four such stacks and two heaps of 64 MiB leave half of the limited
/// address space to syntax trees; what overflows ends this process, which is what it is for.
const STACK_BYTES: usize = 32 * 1024 * 1024;
/// A backstop should the parent ever forget this process.
const CPU: Duration = Duration::from_secs(15 * 60);
const OPEN_FILES: u64 = 64;
/// Files whose identifiers go to the parent in one answer: an answer each would cost a write for every file.
const WORDS_AT_ONCE: usize = 64;
/// Only the flight record is ever written to.
const WRITTEN_BYTES: u64 = 64 * 1024;

/// Why the worker gave up. Its parent sees these words in the flight record.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// A limit could not be set: nothing is run without them.
    #[error("cannot limit this process")]
    Limit(#[from] rustix::io::Errno),
    /// Landlock is there and refused.
    #[error("cannot confine this process")]
    Confine(#[from] landlock::RulesetError),
    /// The root cannot be opened.
    #[error("cannot open the root")]
    Root(#[source] rustix::io::Errno),
    /// The pipe to the parent broke.
    #[error("cannot speak with the parent")]
    Pipe(#[from] std::io::Error),
    /// The parent sent no request.
    #[error("the parent sent no request that this program knows")]
    Request(#[from] serde_json::Error),
    /// The parent asked out of order.
    #[error("the first request must be a greeting, and none may follow")]
    Order,
}

fn limit_resources() -> Result<(), WorkerError> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let both = |value| Rlimit { current: Some(value), maximum: Some(value) };
    let limits = [
        (Resource::Core, 0),
        (Resource::As, limits::WORKER_ADDRESS_SPACE),
        (Resource::Cpu, CPU.as_secs()),
        (Resource::Nofile, OPEN_FILES),
        (Resource::Fsize, WRITTEN_BYTES),
    ];
    for (resource, value) in limits {
        rustix::process::setrlimit(resource, both(value))?;
    }
    rustix::process::nice(19)?;
    Ok(())
}

/// Takes away every file but those below `root`, and every address. Threads started later inherit it.
fn confine(root: Option<&Path>) -> Result<(), WorkerError> {
    let newest = ABI::V6;
    let rules = Ruleset::default()
        .handle_access(AccessFs::from_all(newest))?
        .handle_access(AccessNet::from_all(newest))?
        .scope(Scope::from_all(newest))?
        .create()?;
    let rules = match root.map(PathFd::new) {
        Some(Ok(fd)) => rules.add_rule(PathBeneath::new(fd, AccessFs::ReadFile | AccessFs::ReadDir))?,
        // A root that is not there is said by the one who opens it.
        Some(Err(_)) | None => rules,
    };
    // A kernel without Landlock leaves the other limits; this also gives up ever gaining privileges.
    rules.restrict_self()?;
    Ok(())
}

/// Serves the parent until it closes the pipe.
///
/// # Errors
/// A limit cannot be set, or the parent is gone or talks nonsense.
pub fn serve() -> Result<(), WorkerError> {
    limit_resources()?;
    let mut lines = std::io::stdin().lock().lines();
    let mut next = || -> Result<Option<Asked>, WorkerError> {
        lines.next().map(|line| Ok(serde_json::from_str(&line?)?)).transpose()
    };
    let Some(Asked { request: Request::Hello { root }, .. }) = next()? else { return Err(WorkerError::Order) };
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(THREADS);
    confine(root.as_deref())?;
    let root = root.map(|root| Root::open(&root)).transpose().map_err(WorkerError::Root)?;
    say(&Answer::Ready)?;
    let (mut engine, _) = Engine::compile(&[]);
    let mut names = Vec::new();
    while let Some(Asked { round, request }) = next()? {
        let answer = match request {
            Request::Hello { .. } => return Err(WorkerError::Order),
            Request::Compile { lessons } => {
                let (compiled, refused) = on_big_stack(round, || Engine::compile(&lessons));
                engine = compiled;
                names = lessons.into_iter().map(|lesson| lesson.id).collect::<Vec<_>>();
                #[cfg(debug_assertions)]
                super::misbehave::at("(compile)", &names);
                Answer::Compiled {
                    refused: refused.into_iter().map(|(lesson, why)| (lesson, chain(&why))).collect(),
                    demands: engine.word_demands().to_vec(),
                }
            }
            Request::Scan { files, deadline_ms } => {
                let scan =
                    Scan { engine: &engine, root: root.as_ref(), files: &files, names: &names, round, deadline_ms };
                Answer::Scanned { parsed: scan.run(threads)? }
            }
            Request::Admit { lesson } => Answer::Admission(on_big_stack(round, || admit(&lesson))),
            Request::Mend { lesson, path, text, only } => {
                Answer::Mended(on_big_stack(round, || match mend(&lesson, &path, &text, only) {
                    Ok(Some(text)) => Mended::Text(text),
                    Ok(None) => Mended::Nothing,
                    Err(why) => refused_mend(&why),
                }))
            }
        };
        say(&answer)?;
    }
    Ok(())
}

fn admit(lesson: &Lesson) -> Admission {
    #[cfg(debug_assertions)]
    super::misbehave::at("(admit)", std::slice::from_ref(&lesson.id));
    match prove(lesson) {
        Ok(()) => Admission::Admitted,
        Err(why) => Admission::Refused(chain(&why)),
    }
}

fn refused_mend(why: &MendRefusal) -> Mended {
    Mended::Refused(chain(why))
}

/// An error and its causes in one sentence.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// One line to the parent, in one piece, since several threads speak.
fn say(answer: &Answer) -> Result<(), WorkerError> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    out.write_all(&line)?;
    Ok(out.flush()?)
}

/// Runs `work` where deep recursion has room, and has the flight record say so.
fn on_big_stack<T: Send>(round: u64, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let noted = || {
            flight::note(0, round, 0, true);
            let result = work();
            flight::note(0, round, 0, false);
            result
        };
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, noted);
        // Both end this process, and the parent reads why in the flight record.
        thread.expect("a thread can be started").join().expect("the work does not panic")
    })
}

/// One request to scan.
struct Scan<'a> {
    engine: &'a Engine,
    root: Option<&'a Root>,
    files: &'a [String],
    #[cfg_attr(not(debug_assertions), expect(dead_code, reason = "read where a test makes the worker misbehave"))]
    names: &'a [Slug],
    round: u64,
    deadline_ms: u64,
}

impl Scan<'_> {
    /// Scans all files and returns how many were parsed.
    fn run(&self, threads: usize) -> Result<u64, WorkerError> {
        let next = Mutex::new(0);
        let parsed = AtomicU64::new(0);
        std::thread::scope(|scope| {
            let start = |slot| {
                let (next, parsed) = (&next, &parsed);
                let work = move || self.thread(slot, next, parsed);
                std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, work)
            };
            let threads: Vec<_> = (0..threads.min(self.files.len())).map(start).collect::<Result<_, _>>()?;
            threads.into_iter().try_for_each(|thread| thread.join().expect("a scan does not panic"))
        })?;
        Ok(parsed.into_inner())
    }

    fn thread(&self, slot: usize, next: &Mutex<usize>, parsed: &AtomicU64) -> Result<(), WorkerError> {
        let mut buffer = Vec::new();
        let mut words = Vec::new();
        let mut last = 0;
        loop {
            let at = {
                // Under one lock, so that no later file is on record before an earlier one.
                let mut next = next.lock().expect("no thread panics with the lock");
                let at = *next;
                *next += 1;
                let left = at < self.files.len();
                if left {
                    last = at;
                }
                flight::note(slot, self.round, last as u64, left);
                at
            };
            let Some(path) = self.files.get(at) else { return say(&Answer::Words(words)) };
            if let Some(answer) = self.file(at, path, &mut buffer, &mut words, parsed) {
                say(&Answer::File(answer))?;
            }
            if words.len() >= WORDS_AT_ONCE {
                say(&Answer::Words(std::mem::take(&mut words)))?;
            }
        }
    }

    /// `None`: nothing to say of it.
    fn file(
        &self,
        at: usize,
        path: &str,
        buffer: &mut Vec<u8>,
        words: &mut Vec<(usize, String)>,
        parsed: &AtomicU64,
    ) -> Option<FileAnswer> {
        let refused = |why: String| Some(FileAnswer { file: at, refused: Some(why), ..FileAnswer::default() });
        let interest = self.engine.interest(path);
        // What no lesson of today looks at is read once for its words, so that one of tomorrow need not.
        if interest.is_none() && LanguageName::of_path(path).is_none() {
            return None;
        }
        let text = match self.root?.text(path, buffer) {
            Ok(text) => text,
            // It went since the tree was listed; the next look will know.
            Err(Unread::Gone) => return None,
            Err(why) => return interest.and_then(|_| refused(why.to_string())),
        };
        let held = Words::of(text.as_bytes());
        words.push((at, STANDARD.encode(held.as_bytes())));
        let interest = interest?;
        #[cfg(debug_assertions)]
        super::misbehave::at(path, self.names);
        let interest = self.engine.narrow(interest, &held)?;
        let candidates = self.engine.candidates(&interest, text.as_bytes())?;
        let deadline = Deadline::after(Duration::from_millis(self.deadline_ms));
        let report = match self.engine.scan(path, text, &candidates, deadline) {
            Ok(report) => report,
            Err(FileRefusal::Overrun { .. }) => {
                return Some(FileAnswer { file: at, overrun: true, ..FileAnswer::default() });
            }
            Err(why) => return refused(why.to_string()),
        };
        parsed.fetch_add(u64::from(report.parsed), Ordering::Relaxed);
        let mut answer = FileAnswer {
            file: at,
            findings: report.findings,
            matched: report.matched,
            idle: report.idle_suppressions,
            ..FileAnswer::default()
        };
        bound(&mut answer);
        let silent = answer.findings.is_empty() && answer.matched.is_empty() && answer.idle.is_empty();
        (!silent).then_some(answer)
    }
}

/// No lesson sends more open findings of one file than it may report of a whole root.
fn bound(answer: &mut FileAnswer) {
    let most = u64::from(limits::FINDINGS_PER_LESSON);
    let mut open: BTreeMap<Slug, u64> = BTreeMap::new();
    answer.findings.retain(|finding| {
        if finding.suppressed.is_some() {
            return true;
        }
        let seen = open.entry(finding.lesson.clone()).or_default();
        *seen += 1;
        *seen <= most
    });
    let over = open.into_iter().filter(|&(_, seen)| seen > most);
    answer.dropped = over.map(|(lesson, seen)| (lesson, seen - most)).collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t20_a_confined_thread_reads_below_the_root_alone_and_writes_and_connects_nowhere() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("root");
        std::fs::create_dir(&root).unwrap();
        let (inside, outside) = (root.join("inside"), temp.path().join("outside"));
        std::fs::write(&inside, "i").unwrap();
        std::fs::write(&outside, "o").unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = std::thread::spawn(move || {
            // It holds for this thread alone, and the test's other threads go on as they were.
            confine(Some(&root)).unwrap();
            [
                std::fs::read(&inside).is_ok(),
                std::fs::read_dir(&root).is_ok(),
                std::fs::read(&outside).is_ok(),
                std::fs::read("/etc/passwd").is_ok(),
                std::fs::write(&inside, "x").is_ok(),
                std::fs::remove_file(&inside).is_ok(),
                std::net::TcpStream::connect(address).is_ok(),
                std::net::TcpListener::bind("127.0.0.1:0").is_ok(),
            ]
        });
        let expected = [true, true, false, false, false, false, false, false];
        assert_eq!(seen.join().unwrap(), expected, "this test needs a kernel with Landlock ABI 4 (Linux 6.7)");
    }
}
