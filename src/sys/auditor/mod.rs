//! Audits a root with lessons: looks at the tree, remembers what is known, and has the worker do the rest.
//!
//! No pattern is compiled or run in this process. An unchanged tree under known lessons starts no worker.

pub mod flight;
mod known;
mod look;
mod mends;
mod process;
mod run;
pub mod wire;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::known::{LessonDigest, digest};
use self::look::{Ahead, Look};
use self::mends::Mends;
use self::process::{Event, Worker};
use self::run::Run;
use self::wire::{Answer, Request};
use self::words::FileWords;
use super::tree::snapshot::{self, Snapshot};
use crate::domain::detect::ENGINE;
use crate::domain::detect::LanguageName;
use crate::domain::finding::Fingerprint;
use crate::domain::lesson::Lesson;
use crate::ports::{Admission, Auditor, AuditorError, Clock, Mended, ScanProgress, ScanReport};

/// CPU time to compile, prove and stress a lesson: 32 examples and the stress files, each well below its limit.
const ADMIT_CPU: Duration = Duration::from_secs(20);
/// CPU time to mend one file.
const MEND_CPU: Duration = Duration::from_secs(5);

/// The parent's end of the audit worker.
pub struct WorkerAuditor<C> {
    program: PathBuf,
    state: PathBuf,
    clock: C,
    /// A worker without a root, for single lessons and texts.
    rootless: Option<Worker>,
    /// A root that is being looked at already.
    ahead: Option<Ahead>,
}

impl<C: Clock> WorkerAuditor<C> {
    /// An auditor that runs `program audit-worker` and keeps its snapshots in the folder `state`.
    pub fn new(program: PathBuf, state: PathBuf, clock: C) -> Self {
        Self { program, state, clock, rootless: None, ahead: None }
    }

    /// Begins to look at `root` while the caller does something else. The next scan, if it is of this root, goes on from
    /// there; what changes in between is news to the one after it.
    pub fn look_ahead(&mut self, root: &Path) {
        self.ahead = Some(Ahead::begin(root, &self.state, self.clock.now()));
    }

    /// What tells the results of this program from those of another build.
    fn build(&self) -> String {
        let seen = std::fs::metadata(&self.program).ok();
        let modified = seen.as_ref().and_then(|seen| seen.modified().ok());
        format!("{ENGINE} {} {:?} {modified:?}", env!("CARGO_PKG_VERSION"), seen.map(|seen| seen.len()))
    }

    /// Asks the rootless worker; `Err` in the inner result says how it died of it.
    fn ask(&mut self, request: &dyn Fn() -> Request, limit: Duration) -> Result<Result<Answer, String>, AuditorError> {
        let failed = |error: std::io::Error| AuditorError::Worker(error.to_string());
        // The first death may be an old one: of the thread that started the worker, or by somebody's hand.
        for last in [false, true] {
            if self.rootless.is_none() {
                self.rootless = Some(Worker::start(&self.program, None).map_err(failed)?);
            }
            let worker = self.rootless.as_mut().expect("it was just started");
            worker.send(request()).map_err(failed)?;
            let died = loop {
                match worker.next(limit) {
                    Event::Answer(Answer::Ready) | Event::Quiet => {}
                    Event::Answer(answer) => return Ok(Ok(answer)),
                    Event::Died { why, .. } => break why,
                    Event::Stuck { .. } => {
                        self.rootless = None;
                        return Ok(Err(format!("it took more than {} s of CPU time", limit.as_secs())));
                    }
                }
            };
            self.rootless = None;
            if last {
                return Ok(Err(format!("it stopped the audit worker ({died})")));
            }
        }
        unreachable!("the second round returns")
    }
}

impl<C: Clock> Auditor for WorkerAuditor<C> {
    fn admit(&mut self, lesson: &Lesson) -> Result<Admission, AuditorError> {
        let request = || Request::Admit { lesson: Box::new(lesson.clone()) };
        match self.ask(&request, ADMIT_CPU)? {
            Ok(Answer::Admission(admission)) => Ok(admission),
            Ok(other) => Err(nonsense(&other)),
            Err(why) => Ok(Admission::Refused(why)),
        }
    }

    fn scan(
        &mut self,
        root: &Path,
        lessons: &[Lesson],
        progress: &mut dyn FnMut(ScanProgress),
    ) -> Result<ScanReport, AuditorError> {
        let ahead = self.ahead.take().filter(|ahead| ahead.is_of(root));
        let looked = ahead.map_or_else(|| Look::at(root, &self.state, self.clock.now()), Ahead::end);
        let mut looked = looked.map_err(|cause| AuditorError::Root { root: root.to_owned(), cause })?;
        let mut known = std::mem::take(&mut looked.known);

        let build = self.build();
        let lessons: Vec<_> = lessons.iter().map(|lesson| (digest(lesson, &build), lesson)).collect();
        let files: Vec<&str> = looked.readable().collect();
        let changed: BTreeSet<&str> = files.iter().copied().filter(|path| looked.is_changed(path)).collect();
        let mut dirty = looked.is_news();
        if dirty {
            looked.gone().chain(changed.iter().copied()).for_each(|path| known.forget_file(path));
            // What another set of lessons knows of these files would go stale.
            known.keep_lessons(&lessons.iter().map(|(digest, _)| digest).collect());
        }
        let (old_lessons, new_lessons): (Vec<_>, Vec<_>) =
            lessons.iter().cloned().partition(|(digest, _)| known.knows(digest));
        dirty |= !new_lessons.is_empty();
        let words_file = looked.kept_in.with_extension("words");
        let mut words =
            if dirty { FileWords::load(&words_file, &build, looked.seen_before) } else { FileWords::default() };
        looked.gone().chain(changed.iter().copied()).for_each(|path| words.forget(path));
        let mut run = Run::new(&self.program, &looked.root, &mut known, &mut words, progress);
        let unchanged = if new_lessons.is_empty() { files.len() - changed.len() } else { 0 };
        if new_lessons.is_empty() || changed.len() == files.len() {
            let which: Vec<&str> = if new_lessons.is_empty() { changed.into_iter().collect() } else { files.clone() };
            dirty |= !which.is_empty();
            run.job(&lessons, &which)?;
        } else {
            run.job(&new_lessons, &files)?;
            run.job(&old_lessons, &changed.into_iter().collect::<Vec<_>>())?;
        }
        let again: Vec<_> = lessons.iter().filter(|(digest, _)| !run.known.suffices(digest)).cloned().collect();
        if !again.is_empty() {
            again.iter().for_each(|(digest, _)| run.known.forget_lesson(digest));
            run.job(&again, &files)?;
        }

        let mut report = ScanReport {
            skipped: looked.skipped(),
            languages: files.iter().filter_map(|path| LanguageName::of_path(path)).collect(),
            files: files.len() as u64,
            parsed: run.parsed,
            unchanged: unchanged as u64,
            unread: run.unread,
            ..ScanReport::default()
        };
        known.report(&lessons, &mut report);
        report.skipped.sort_by(|a, b| (&a.path, &a.reason).cmp(&(&b.path, &b.reason)));
        if dirty {
            known.tidy();
            let known = serde_json::to_vec(&known).expect("what is known is text, numbers, lists and maps");
            // The words first: without the snapshot of the same moment nobody reads them.
            let stored = words.store(&words_file, &build, looked.seen_at);
            let snapshot = Snapshot { seen_at: looked.seen_at, tree: looked.tree, known };
            if let Err(error) = stored.and_then(|()| snapshot::store(&looked.kept_in, &looked.root, &snapshot)) {
                tracing::warn!(%error, "snapshot of the audit is not kept; the next one starts anew");
            }
        }
        Ok(report)
    }

    fn mend(
        &mut self,
        lesson: &Lesson,
        path: &str,
        text: &str,
        only: Option<Fingerprint>,
    ) -> Result<Mended, AuditorError> {
        let mends = Mends::of(&self.state);
        let place = mends.place(&digest(lesson, &self.build()), path, text, only);
        if let Some(known) = mends.recall(&place) {
            return Ok(known);
        }
        let request =
            || Request::Mend { lesson: Box::new(lesson.clone()), path: path.to_owned(), text: text.to_owned(), only };
        match self.ask(&request, MEND_CPU)? {
            Ok(Answer::Mended(mended)) => {
                mends.keep(&place, &mended);
                Ok(mended)
            }
            Ok(other) => Err(nonsense(&other)),
            Err(why) => Ok(Mended::Refused(why)),
        }
    }
}

fn nonsense(answer: &Answer) -> AuditorError {
    AuditorError::Worker(format!("it answered {answer:.100?} to another question"))
}

/// Lessons by their id, for answers that name them.
fn by_id(lessons: &[(LessonDigest, &Lesson)]) -> BTreeMap<crate::domain::id::Slug, LessonDigest> {
    lessons.iter().map(|(digest, lesson)| (lesson.id.clone(), digest.clone())).collect()
}
