//! One audit worker: started, spoken to, watched, killed.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use super::flight::{FlightRecord, Slot};
use super::wire::{Answer, Asked, Request};

/// How often the flight record is read.
const LOOK: Duration = Duration::from_millis(50);
/// A longer answer is not one of an honest worker.
const LINE_BYTES: u64 = 16 * 1024 * 1024;
/// Wall time at one place after which even a worker that got no CPU is given up. The worker has the lowest
/// priority, so on a busy host some milliseconds of work can take it many seconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(5 * 60);

/// What a worker did next.
#[derive(Debug)]
pub(super) enum Event {
    /// It said something.
    Answer(Answer),
    /// Nothing to say yet.
    Quiet,
    /// It is gone, or talked nonsense and was killed; these places of the round were in flight.
    Died {
        /// Why, as far as is known.
        why: String,
        /// Places of files that threads were at.
        at: Vec<u64>,
    },
    /// A thread spent its time at one place and the worker was killed; others were in flight.
    Stuck {
        /// The place.
        at: u64,
    },
}

/// Since when a thread is where it is.
struct Stay {
    slot: Slot,
    cpu: Duration,
    since: Instant,
}

/// A running worker.
pub(super) struct Worker {
    child: Child,
    stdin: Option<ChildStdin>,
    answers: Receiver<std::io::Result<Answer>>,
    record: FlightRecord,
    stays: BTreeMap<u64, Stay>,
    round: u64,
}

impl Worker {
    /// Starts one that may read below `root` only, or nothing at all.
    #[expect(clippy::disallowed_methods, reason = "a long-lived child that is spoken to, which the Exec port has not")]
    pub(super) fn start(program: &Path, root: Option<PathBuf>) -> std::io::Result<Self> {
        let (record, stderr) = FlightRecord::new()?;
        let mut child = Command::new(program)
            .arg("audit-worker")
            .env_clear()
            // Each further heap of glibc reserves 128 MiB of the limited address space.
            .env("MALLOC_ARENA_MAX", "2")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().ok_or_else(|| std::io::Error::other("worker has no standard output"))?;
        let (send, answers) = sync_channel(64);
        std::thread::Builder::new().name("audit-answers".to_owned()).spawn(move || {
            let mut lines = BufReader::with_capacity(1 << 16, stdout);
            let mut line = Vec::new();
            loop {
                line.clear();
                let answer = match (&mut lines).take(LINE_BYTES).read_until(b'\n', &mut line) {
                    Ok(_) if line.last() != Some(&b'\n') => break,
                    Ok(_) => serde_json::from_slice(&line).map_err(Into::into),
                    Err(error) => Err(error),
                };
                if send.send(answer).is_err() {
                    break;
                }
            }
        })?;
        let mut worker = Self { child, stdin, answers, record, stays: BTreeMap::new(), round: 0 };
        worker.send(Request::Hello { root })?;
        Ok(worker)
    }

    /// Sends a request. A worker that died meanwhile is reported by [`Self::next`].
    pub(super) fn send(&mut self, request: Request) -> std::io::Result<()> {
        self.stays.clear();
        self.round += 1;
        let mut line = serde_json::to_vec(&Asked { round: self.round, request })?;
        line.push(b'\n');
        match self.stdin.as_mut().map(|stdin| stdin.write_all(&line)) {
            Some(Err(error)) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    }

    /// Waits a moment for what comes next. `limit` is the CPU time that one place may take.
    pub(super) fn next(&mut self, limit: Duration) -> Event {
        match self.answers.recv_timeout(LOOK) {
            Ok(Ok(answer)) => Event::Answer(answer),
            Ok(Err(error)) => self.died(&format!("it answered nonsense: {error}")),
            Err(RecvTimeoutError::Disconnected) => {
                let why = match self.child.wait() {
                    Ok(status) => status.to_string(),
                    Err(error) => error.to_string(),
                };
                self.died(&why)
            }
            Err(RecvTimeoutError::Timeout) => match self.stuck(limit) {
                Some(at) => {
                    self.kill();
                    Event::Stuck { at }
                }
                None => Event::Quiet,
            },
        }
    }

    /// Places that the round has reached: all before the highest are done, but for those in flight.
    pub(super) fn reached(&self) -> (Option<u64>, Vec<u64>) {
        let slots = self.record.slots(self.round);
        let highest = slots.iter().map(|slot| slot.file).max();
        (highest, slots.iter().filter(|slot| slot.busy).map(|slot| slot.file).collect())
    }

    /// The answers that it had sent before it died.
    pub(super) fn rest(&mut self) -> Vec<Answer> {
        self.answers.iter().filter_map(Result::ok).collect()
    }

    fn died(&mut self, why: &str) -> Event {
        self.kill();
        let words = self.record.last_words();
        let why = if words.is_empty() { why.to_owned() } else { format!("{why}: {words}") };
        Event::Died { why, at: self.reached().1 }
    }

    /// The place at which a thread has spent `limit`, by CPU time: a busy host is no reason to kill.
    fn stuck(&mut self, limit: Duration) -> Option<u64> {
        let slots = self.record.slots(self.round);
        self.stays.retain(|thread, stay| slots.iter().any(|slot| slot.thread == *thread && *slot == stay.slot));
        for slot in slots.into_iter().filter(|slot| slot.busy) {
            let cpu = cpu_time(self.child.id(), slot.thread);
            let stay = self.stays.entry(slot.thread).or_insert_with(|| Stay {
                slot,
                cpu: cpu.unwrap_or_default(),
                since: Instant::now(),
            });
            let wall = stay.since.elapsed();
            let used = cpu.map_or(wall, |cpu| cpu.saturating_sub(stay.cpu));
            if used >= limit || wall >= PATIENCE.max(limit) {
                return Some(slot.file);
            }
        }
        None
    }

    fn kill(&mut self) {
        // It may be gone already; either way it is waited for.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stdin = None;
        self.kill();
    }
}

/// CPU time of one thread of a process.
fn cpu_time(process: u32, thread: u64) -> Option<Duration> {
    /// The unit of `/proc/*/stat` on every Linux that Rust runs on.
    const TICK: Duration = Duration::from_millis(10);
    let stat = std::fs::read_to_string(format!("/proc/{process}/task/{thread}/stat")).ok()?;
    // The name before it may hold anything, a closing bracket included.
    let mut fields = stat.rsplit(')').next()?.split_ascii_whitespace().skip(11);
    let ticks: u32 = fields.next()?.parse::<u32>().ok()?.checked_add(fields.next()?.parse().ok()?)?;
    Some(TICK * ticks)
}
