//! One root audited: scanned, held against its baseline, remembered, and its fixes planned or made.
//!
//! Seeding belongs to the same step, so that no plan is made from findings of another time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::domain::finding::{Fingerprint, Suppression};
use crate::domain::fix::KnownLesson;
use crate::domain::id::Slug;
use crate::domain::lesson::Lesson;
use crate::loops::seed::{Area, Mode, Parts, SeedError, Seeding, seed};
use crate::ports::{ScanProgress, ScanReport};
use crate::store::baseline::Accepted;

/// What auditing one root came to.
#[derive(Clone, Debug)]
pub struct RootAudit {
    /// The root.
    pub root: PathBuf,
    /// What was found; what the baseline holds is marked.
    pub report: ScanReport,
    /// What a person accepted, with reasons.
    pub accepted: BTreeMap<Fingerprint, Accepted>,
    /// What became of the fixes.
    pub seeding: Seeding,
}

/// Audits the root with `lessons` and seeds as far as `mode` says.
///
/// # Errors
/// The audit worker, the root or the database cannot be used.
pub fn audit(
    parts: &mut Parts<'_>,
    area: &Area,
    lessons: &[KnownLesson],
    mode: Mode,
    now: Timestamp,
    progress: &mut dyn FnMut(ScanProgress),
) -> Result<RootAudit, SeedError> {
    let run: Vec<Lesson> = lessons.iter().map(|known| known.lesson.clone()).collect();
    let report = parts.auditor.scan(&area.root, &run, progress)?;
    let accepted = parts.db.baseline(&area.root, now)?.into_iter().map(|entry| (entry.fingerprint, entry)).collect();
    let mut audited =
        RootAudit { root: area.root.clone(), report, accepted: BTreeMap::new(), seeding: Seeding::default() };
    audited.accept(accepted);
    if mode != Mode::Tell {
        let slugs: Vec<Slug> = run.iter().map(|lesson| lesson.id.clone()).collect();
        parts.db.save_findings(&area.root, &slugs, &audited.report.findings, now)?;
    }
    audited.seeding = seed(parts, area, lessons, &audited.report.findings, mode, now)?;
    Ok(audited)
}

/// The baseline as it is and, for `reason` until `expires_at`, everything reported `below` a folder of the root. What
/// was accepted before keeps its own reason and end.
#[must_use]
pub fn accept_all(
    audited: &RootAudit,
    below: &Path,
    reason: &str,
    expires_at: Option<Timestamp>,
) -> BTreeMap<Fingerprint, Accepted> {
    let mut accepted = audited.accepted.clone();
    for finding in &audited.report.findings {
        if finding.suppressed.is_none() && Path::new(&finding.path).starts_with(below) {
            let (fingerprint, lesson) = (finding.fingerprint, finding.lesson.clone());
            accepted.insert(fingerprint, Accepted { fingerprint, lesson, reason: reason.to_owned(), expires_at });
        }
    }
    accepted
}

/// The baseline without what `lessons`, which ran, do not find any more.
#[must_use]
pub fn still_found(audited: &RootAudit, lessons: &[KnownLesson]) -> BTreeMap<Fingerprint, Accepted> {
    let ran = |entry: &Accepted| lessons.iter().any(|known| known.lesson.id == entry.lesson);
    let found = |fingerprint| audited.report.findings.iter().any(|finding| finding.fingerprint == fingerprint);
    let mut accepted = audited.accepted.clone();
    accepted.retain(|fingerprint, entry| !ran(entry) || found(*fingerprint));
    accepted
}

impl RootAudit {
    /// Takes `accepted` as the baseline, and marks what it holds.
    pub fn accept(&mut self, accepted: BTreeMap<Fingerprint, Accepted>) {
        self.accepted = accepted;
        for finding in &mut self.report.findings {
            if finding.suppressed.is_none() && self.accepted.contains_key(&finding.fingerprint) {
                finding.suppressed = Some(Suppression::Baseline);
            }
        }
    }
}

/// Mesh's own configuration and state as roots: audited like any other, and never changed, because the guard blocks
/// them. They have no check.
#[must_use]
pub fn own_areas(config: PathBuf, state: PathBuf) -> Vec<Area> {
    vec![Area::bare(config), Area::bare(state)]
}
