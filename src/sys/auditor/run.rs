//! Has the worker scan files, and finds out which lesson it dies of when it dies.
//!
//! A dead worker costs nobody else anything: what was done stays, what was not begun goes to a new worker,
//! and what was in flight is run again lesson by lesson, so that the guilty one is known by name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use super::by_id;
use super::known::{Known, LessonDigest};
use super::process::{Event, PATIENCE, Worker};
use super::wire::{Answer, Request};
use super::words::FileWords;
use crate::domain::foreign_text::display_line;
use crate::domain::id::Slug;
use crate::domain::lesson::Lesson;
use crate::domain::limits;
use crate::domain::words::WordDemand;
use crate::ports::{AuditorError, ScanProgress};

/// Files of one request: enough that the end of a request, where threads wait for each other, is rare.
const BATCH: usize = 8_192;
/// CPU time to compile the lessons of a run.
const COMPILE_CPU: Duration = Duration::from_secs(10);
/// Deaths in a row without any progress after which the audit is given up.
const BARREN: u32 = 3;

type Lessons<'a> = Vec<(LessonDigest, &'a Lesson)>;

/// What a worker died of.
enum Death {
    /// The parent: a thread had spent its time.
    Stuck,
    /// Itself, or somebody else.
    Other(String),
}

/// How a request ended.
enum End {
    Done,
    Died { why: Death, suspects: Vec<usize>, left: Vec<usize> },
}

/// The work of one scan.
pub(super) struct Run<'a> {
    program: &'a Path,
    root: &'a Path,
    pub(super) known: &'a mut Known,
    progress: &'a mut dyn FnMut(ScanProgress),
    at: ScanProgress,
    /// Files that were parsed.
    pub(super) parsed: u64,
    /// Files that hold nothing the lessons look for, by what is known of them.
    pub(super) unread: u64,
    /// What the files hold, as far as that is known.
    words: &'a mut FileWords,
    /// What the rules demand that were compiled last.
    demands: Vec<WordDemand>,
}

fn failed(error: &std::io::Error) -> AuditorError {
    AuditorError::Worker(error.to_string())
}

impl<'a> Run<'a> {
    pub(super) fn new(
        program: &'a Path,
        root: &'a Path,
        known: &'a mut Known,
        words: &'a mut FileWords,
        progress: &'a mut dyn FnMut(ScanProgress),
    ) -> Self {
        let at = ScanProgress { done: 0, total: 0, findings: 0 };
        Self { program, root, known, progress, at, parsed: 0, unread: 0, words, demands: Vec::new() }
    }

    fn able<'l>(&self, lessons: &Lessons<'l>) -> Lessons<'l> {
        lessons.iter().filter(|(digest, _)| !self.known.is_disabled(digest)).cloned().collect()
    }

    /// Scans `files` with `lessons`; all that is found goes to `known`.
    pub(super) fn job(&mut self, lessons: &Lessons<'_>, files: &[&str]) -> Result<(), AuditorError> {
        for (digest, _) in lessons {
            self.known.lesson(digest);
        }
        self.at.total += files.len() as u64;
        let mut queue: Vec<&str> = files.iter().rev().copied().collect();
        let mut worker: Option<Worker> = None;
        let mut ran = Vec::new();
        let mut barren = 0;
        while !queue.is_empty() {
            let able = self.able(lessons);
            if able.is_empty() {
                break;
            }
            if worker.is_none() || ran.len() != able.len() {
                worker = self.compiled(&able)?;
                ran = self.able(&able);
            }
            let Some(ready) = worker.as_mut() else { continue };
            let batch = queue.split_off(queue.len().saturating_sub(BATCH));
            let before = batch.len();
            let batch: Vec<&str> =
                batch.into_iter().rev().filter(|path| self.words.may_meet(path, &self.demands)).collect();
            self.unread += (before - batch.len()) as u64;
            self.at.done += (before - batch.len()) as u64;
            let mut suspects = BTreeSet::new();
            match self.scan(ready, &ran, &batch, &mut suspects)? {
                End::Done => barren = 0,
                End::Died { why, suspects: seen, left } => {
                    worker = None;
                    barren = if seen.is_empty() && left.len() == batch.len() { barren + 1 } else { 0 };
                    if let (BARREN, Death::Other(why)) = (barren, &why) {
                        return Err(AuditorError::Worker(format!(
                            "it died {BARREN} times at the start of a scan: {why}"
                        )));
                    }
                    suspects.extend(seen.iter().map(|&at| batch[at]));
                    queue.extend(left.iter().rev().map(|&at| batch[at]));
                }
            }
            if !suspects.is_empty() {
                worker = None;
                let done = self.at.done + suspects.len() as u64;
                self.one_by_one(&ran, &suspects)?;
                self.at.done = done;
            }
        }
        Ok(())
    }

    /// A worker that has compiled the lessons; `None` when one of them had to be put aside first.
    fn compiled(&mut self, lessons: &Lessons<'_>) -> Result<Option<Worker>, AuditorError> {
        match self.compile(lessons)? {
            Ok(worker) => Ok(Some(worker)),
            Err(why) => {
                let mut guilty = false;
                for lesson in lessons {
                    if let Err(why) = self.compile(&vec![lesson.clone()])? {
                        let known = self.known.lesson(&lesson.0);
                        known.disabled = true;
                        known.refused = Some(format!("compiling it stopped the audit worker ({why})"));
                        guilty = true;
                    }
                }
                if guilty {
                    Ok(None)
                } else {
                    Err(AuditorError::Worker(format!("it died of compiling all lessons: {why}")))
                }
            }
        }
    }

    /// Starts a worker and has it compile; the inner error says how it died of that.
    fn compile(&mut self, lessons: &Lessons<'_>) -> Result<Result<Worker, String>, AuditorError> {
        let mut worker = Worker::start(self.program, Some(self.root.to_owned())).map_err(|e| failed(&e))?;
        let lessons_only = lessons.iter().map(|(_, lesson)| (*lesson).clone()).collect();
        worker.send(Request::Compile { lessons: lessons_only }).map_err(|e| failed(&e))?;
        let mut ready = false;
        loop {
            match worker.next(COMPILE_CPU) {
                Event::Quiet => {}
                Event::Answer(Answer::Ready) => ready = true,
                Event::Answer(Answer::Compiled { refused, demands }) => {
                    self.demands = demands;
                    let digests = by_id(lessons);
                    for (lesson, why) in refused {
                        if let Some(digest) = digests.get(&lesson) {
                            self.known.lesson(digest).refused = Some(why);
                        }
                    }
                    return Ok(Ok(worker));
                }
                Event::Answer(other) => return Err(super::nonsense(&other)),
                // Before it was ready it had not seen a lesson.
                Event::Died { why, .. } if !ready => return Err(AuditorError::Worker(why)),
                Event::Died { why, .. } => return Ok(Err(why)),
                Event::Stuck { .. } => return Ok(Err(format!("more than {} s", COMPILE_CPU.as_secs()))),
            }
        }
    }

    /// Scans one batch. Files that the worker itself gave up go to `late`.
    fn scan<'f>(
        &mut self,
        worker: &mut Worker,
        lessons: &Lessons<'_>,
        batch: &[&'f str],
        late: &mut BTreeSet<&'f str>,
    ) -> Result<End, AuditorError> {
        let digests = by_id(lessons);
        let set = self.known.set(&digests.values().cloned().collect());
        let files = batch.iter().map(|&path| path.to_owned()).collect();
        // A backstop: the time that counts is watched from here.
        let deadline_ms = u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX);
        worker.send(Request::Scan { files, deadline_ms }).map_err(|e| failed(&e))?;
        let base = self.at.done;
        let end = loop {
            match worker.next(limits::WORKER_SILENCE) {
                Event::Answer(Answer::Scanned { parsed }) => {
                    self.parsed += parsed;
                    self.at.done = base + (batch.len() - late.len()) as u64;
                    break End::Done;
                }
                Event::Answer(answer) => self.take(answer, batch, set, &digests, late),
                Event::Quiet => {
                    self.at.done = base + worker.reached().0.unwrap_or(0);
                    (self.progress)(self.at);
                }
                Event::Died { why, at } => {
                    let suspects = at.iter().filter_map(|&at| usize::try_from(at).ok()).collect();
                    break Self::died(worker, batch.len(), Death::Other(why), suspects);
                }
                Event::Stuck { at } => {
                    let suspects = usize::try_from(at).into_iter().collect();
                    break Self::died(worker, batch.len(), Death::Stuck, suspects);
                }
            }
        };
        if let End::Died { suspects, left, .. } = &end {
            for answer in worker.rest() {
                self.take(answer, batch, set, &digests, late);
            }
            self.at.done = base + (batch.len() - suspects.len() - left.len()) as u64;
        }
        (self.progress)(self.at);
        Ok(end)
    }

    fn died(worker: &Worker, len: usize, why: Death, mut suspects: Vec<usize>) -> End {
        suspects.retain(|&at| at < len);
        let (highest, in_flight) = worker.reached();
        let begun = highest.and_then(|highest| usize::try_from(highest).ok()).map_or(0, |highest| highest + 1);
        let in_flight: BTreeSet<usize> = in_flight.iter().filter_map(|&at| usize::try_from(at).ok()).collect();
        let left = (0..len).filter(|at| !suspects.contains(at) && (*at >= begun || in_flight.contains(at))).collect();
        End::Died { why, suspects, left }
    }

    fn take<'f>(
        &mut self,
        answer: Answer,
        batch: &[&'f str],
        set: usize,
        digests: &BTreeMap<Slug, LessonDigest>,
        late: &mut BTreeSet<&'f str>,
    ) {
        let answer = match answer {
            Answer::File(answer) => answer,
            Answer::Words(files) => {
                for (at, words) in files {
                    if let Some(path) = batch.get(at) {
                        self.words.learn(path, &words);
                    }
                }
                return;
            }
            // Whatever else a worker says that is about to die is not an answer to this question.
            _ => return,
        };
        let Some(&path) = batch.get(answer.file) else { return };
        if answer.overrun {
            late.insert(path);
            return;
        }
        self.at.findings += self.known.learn(path, answer, set, digests);
    }

    /// Runs each lesson alone on each of these files; those that stop the worker are named and put aside.
    fn one_by_one(&mut self, lessons: &Lessons<'_>, files: &BTreeSet<&str>) -> Result<(), AuditorError> {
        for lesson in lessons {
            let alone = vec![lesson.clone()];
            let mut worker = None;
            for file in files {
                if !self.is_guilty(&alone, file, &mut worker)? {
                    continue;
                }
                if self.known.overrun(&lesson.0, file) >= limits::WORKER_KILLS as usize {
                    self.known.lesson(&lesson.0).disabled = true;
                    break;
                }
            }
        }
        Ok(())
    }

    /// Whether one lesson alone stops the worker at one file. A death may have been by another's hand, so
    /// it counts only when it happens twice; time spent is the lesson's own.
    fn is_guilty(
        &mut self,
        alone: &Lessons<'_>,
        file: &str,
        worker: &mut Option<Worker>,
    ) -> Result<bool, AuditorError> {
        for _ in 0..2 {
            if worker.is_none() {
                *worker = self.compiled(alone)?;
            }
            let Some(ready) = worker.as_mut() else { return Ok(false) };
            let mut late = BTreeSet::new();
            match self.scan(ready, alone, &[file], &mut late)? {
                End::Done => return Ok(!late.is_empty()),
                End::Died { why: Death::Stuck, .. } => {
                    *worker = None;
                    return Ok(true);
                }
                End::Died { why: Death::Other(why), .. } => {
                    *worker = None;
                    tracing::debug!(lesson = %alone[0].1.id, file = display_line(file), why, "audit worker died");
                }
            }
        }
        Ok(true)
    }
}
