//! What is known of the files of one root, by lesson: the part of a report that an unchanged file keeps.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use serde::{Deserialize, Serialize};

use super::wire::FileAnswer;
use crate::domain::finding::Finding;
use crate::domain::id::Slug;
use crate::domain::lesson::Lesson;
use crate::domain::limits;
use crate::ports::{IdleSuppression, ScanReport, Skipped};

/// Open findings of one lesson that are worth keeping: later ones by path are never shown.
const KEEP: usize = limits::FINDINGS_PER_LESSON as usize;

/// What a lesson and the program that runs it hash to; another digest is another lesson.
pub(super) type LessonDigest = String;

/// The digest of `lesson` as run by the program that `build` tells from others.
pub(super) fn digest(lesson: &Lesson, build: &str) -> LessonDigest {
    let mut hash = blake3::Hasher::new();
    hash.update(build.as_bytes()).update(&[0]);
    hash.update(&serde_json::to_vec(lesson).expect("a lesson holds only text, numbers, lists and maps"));
    hash.finalize().to_hex()[..32].to_owned()
}

/// What is known of a root.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Known {
    lessons: BTreeMap<LessonDigest, OfLesson>,
    /// Sets of lessons that ran together.
    sets: Vec<BTreeSet<LessonDigest>>,
    /// What was said of a file without naming a lesson.
    notes: BTreeMap<String, Vec<Note>>,
}

/// What is known of one lesson.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct OfLesson {
    files: BTreeMap<String, OfFile>,
    /// Files at which it was stopped.
    overruns: BTreeSet<String>,
    /// It was stopped too often and is not run here again.
    pub(super) disabled: bool,
    /// Why it was left out.
    pub(super) refused: Option<String>,
    /// Open findings that are kept.
    kept: usize,
    /// Files behind this path have their findings counted, not kept.
    last: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct OfFile {
    findings: Vec<Finding>,
    rules: BTreeSet<Slug>,
    /// Open findings that are not kept.
    dropped: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    set: usize,
    refused: Option<String>,
    idle: Vec<(u32, String)>,
}

fn is_open(finding: &&Finding) -> bool {
    finding.suppressed.is_none()
}

impl OfFile {
    fn open(&self) -> usize {
        self.findings.iter().filter(is_open).count()
    }

    fn drop_open(&mut self) {
        self.dropped += self.open() as u64;
        self.findings.retain(|finding| finding.suppressed.is_some());
    }
}

impl OfLesson {
    fn forget(&mut self, path: &str) {
        if let Some(old) = self.files.remove(path) {
            self.kept -= old.open();
        }
    }

    fn learn(&mut self, path: &str, mut file: OfFile) {
        self.forget(path);
        if self.last.as_deref().is_some_and(|last| path > last) {
            file.drop_open();
        }
        self.kept += file.open();
        self.files.insert(path.to_owned(), file);
        while self.kept > 2 * KEEP {
            // Those behind the last kept one have nothing to drop any more.
            let end = self.last.clone().map_or(Bound::Unbounded, Bound::Included);
            let kept = self.files.range_mut::<String, _>((Bound::Unbounded, end));
            let Some((path, file)) = kept.rev().find(|(_, file)| file.open() > 0) else { break };
            if self.kept - file.open() < KEEP {
                break;
            }
            self.kept -= file.open();
            file.drop_open();
            self.last = Some(path.clone());
        }
    }

    /// False when a finding that was not kept would now be among the first.
    fn suffices(&self) -> bool {
        let mut shown = 0;
        self.files.values().all(|file| {
            shown += file.open();
            file.dropped == 0 || shown >= KEEP
        })
    }
}

impl Known {
    pub(super) fn lesson(&mut self, digest: &LessonDigest) -> &mut OfLesson {
        self.lessons.entry(digest.clone()).or_default()
    }

    pub(super) fn knows(&self, digest: &LessonDigest) -> bool {
        self.lessons.contains_key(digest)
    }

    pub(super) fn is_disabled(&self, digest: &LessonDigest) -> bool {
        self.lessons.get(digest).is_some_and(|lesson| lesson.disabled)
    }

    /// Whether what is kept of the lesson is all that a report needs.
    pub(super) fn suffices(&self, digest: &LessonDigest) -> bool {
        self.lessons.get(digest).is_some_and(OfLesson::suffices)
    }

    pub(super) fn forget_lesson(&mut self, digest: &LessonDigest) {
        self.lessons.remove(digest);
    }

    /// Keeps these lessons alone. True when there were others.
    pub(super) fn keep_lessons(&mut self, digests: &BTreeSet<&LessonDigest>) -> bool {
        let before = self.lessons.len();
        self.lessons.retain(|digest, _| digests.contains(digest));
        before != self.lessons.len()
    }

    /// Forgets what is known of one file.
    pub(super) fn forget_file(&mut self, path: &str) {
        for lesson in self.lessons.values_mut() {
            lesson.forget(path);
            // Of a disabled lesson they are why it is.
            if !lesson.disabled {
                lesson.overruns.remove(path);
            }
        }
        self.notes.remove(path);
    }

    /// The number of a set of lessons that run together.
    pub(super) fn set(&mut self, digests: &BTreeSet<LessonDigest>) -> usize {
        if let Some(at) = self.sets.iter().position(|set| set == digests) {
            return at;
        }
        self.sets.push(digests.clone());
        self.sets.len() - 1
    }

    /// Learns what the lessons of `set` found in the file at `path`; returns how many findings those are.
    pub(super) fn learn(
        &mut self,
        path: &str,
        answer: FileAnswer,
        set: usize,
        by_id: &BTreeMap<Slug, LessonDigest>,
    ) -> u64 {
        let mut files: BTreeMap<&LessonDigest, OfFile> = BTreeMap::new();
        let found = answer.findings.len() as u64;
        for mut finding in answer.findings {
            if let Some(digest) = by_id.get(&finding.lesson) {
                path.clone_into(&mut finding.path);
                files.entry(digest).or_default().findings.push(finding);
            }
        }
        for (lesson, rule) in answer.matched {
            if let Some(digest) = by_id.get(&lesson) {
                files.entry(digest).or_default().rules.insert(rule);
            }
        }
        for (lesson, dropped) in answer.dropped {
            if let Some(digest) = by_id.get(&lesson) {
                files.entry(digest).or_default().dropped += dropped;
            }
        }
        for (digest, file) in files {
            self.lesson(digest).learn(path, file);
        }
        if answer.refused.is_some() || !answer.idle.is_empty() {
            let notes = self.notes.entry(path.to_owned()).or_default();
            notes.retain(|note| note.set != set);
            notes.push(Note { set, refused: answer.refused, idle: answer.idle });
        }
        found
    }

    /// Notes that `lesson` was stopped at the file, and how often that has happened to it.
    pub(super) fn overrun(&mut self, digest: &LessonDigest, path: &str) -> usize {
        let lesson = self.lesson(digest);
        lesson.overruns.insert(path.to_owned());
        lesson.overruns.len()
    }

    /// Forgets sets and notes that belong to no lesson any more.
    pub(super) fn tidy(&mut self) {
        let lessons = &self.lessons;
        let live: Vec<bool> =
            self.sets.iter().map(|set| set.iter().any(|digest| lessons.contains_key(digest))).collect();
        for notes in self.notes.values_mut() {
            notes.retain(|note| live.get(note.set).copied().unwrap_or(false));
        }
        self.notes.retain(|_, notes| !notes.is_empty());
        if self.notes.is_empty() {
            self.sets.clear();
        }
    }

    /// Adds to `report` what these lessons say of the root.
    pub(super) fn report(&self, lessons: &[(LessonDigest, &Lesson)], report: &mut ScanReport) {
        for (digest, lesson) in lessons {
            let Some(known) = self.lessons.get(digest) else { continue };
            if let Some(why) = &known.refused {
                report.refused.push((lesson.id.clone(), why.clone()));
            }
            report.overruns.extend(known.overruns.iter().map(|path| (lesson.id.clone(), path.clone())));
            if known.applies(lesson) {
                known.findings(lesson, report);
            }
        }
        report.findings.sort_by(|a, b| {
            (&a.path, a.line, a.column, &a.lesson, &a.rule, &a.fingerprint).cmp(&(
                &b.path,
                b.line,
                b.column,
                &b.lesson,
                &b.rule,
                &b.fingerprint,
            ))
        });
        for (path, notes) in &self.notes {
            let ran = |note: &&Note| {
                self.sets.get(note.set).is_some_and(|set| lessons.iter().any(|(digest, _)| set.contains(digest)))
            };
            let mut idle = BTreeSet::new();
            let mut refused = BTreeSet::new();
            for note in notes.iter().filter(ran) {
                idle.extend(note.idle.iter());
                refused.extend(note.refused.iter());
            }
            let skipped = |reason: &String| Skipped { path: path.clone(), reason: reason.clone() };
            report.skipped.extend(refused.into_iter().map(skipped));
            report.idle_suppressions.extend(idle.into_iter().map(|(line, why)| IdleSuppression {
                path: path.clone(),
                line: *line,
                why: why.clone(),
            }));
        }
    }
}

impl OfLesson {
    /// Whether the condition on the whole root holds.
    fn applies(&self, lesson: &Lesson) -> bool {
        let Some(when) = &lesson.detect.when_repo else { return true };
        let matched = |rule: &Slug| self.files.values().any(|file| file.rules.contains(rule));
        (when.any_file.is_empty() || when.any_file.iter().any(matched)) && !when.no_file.iter().any(matched)
    }

    fn findings(&self, lesson: &Lesson, report: &mut ScanReport) {
        let most = lesson.detect.limits.max_findings_per_repo.min(limits::FINDINGS_PER_LESSON) as usize;
        let mut open: Vec<&Finding> = Vec::new();
        let mut beyond = 0;
        for file in self.files.values() {
            open.extend(file.findings.iter().filter(is_open));
            beyond += file.dropped;
            report.findings.extend(file.findings.iter().filter(|finding| finding.suppressed.is_some()).cloned());
        }
        beyond += open.len().saturating_sub(most) as u64;
        report.findings.extend(open.into_iter().take(most).cloned());
        if beyond > 0 {
            report.capped.push((lesson.id.clone(), beyond));
        }
    }
}
