//! One root audited: scanned, held against its baseline, remembered, and its fixes planned or made.
//!
//! Seeding belongs to the same step, so that no plan is made from findings of another time.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

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
    let mut report = parts.auditor.scan(&area.root, &run, progress)?;
    let accepted: BTreeMap<Fingerprint, Accepted> =
        parts.db.baseline(&area.root, now)?.into_iter().map(|entry| (entry.fingerprint, entry)).collect();
    for finding in &mut report.findings {
        if finding.suppressed.is_none() && accepted.contains_key(&finding.fingerprint) {
            finding.suppressed = Some(Suppression::Baseline);
        }
    }
    let slugs: Vec<Slug> = run.iter().map(|lesson| lesson.id.clone()).collect();
    parts.db.save_findings(&area.root, &slugs, &report.findings, now)?;
    let seeding = seed(parts, area, lessons, &report.findings, mode, now)?;
    Ok(RootAudit { root: area.root.clone(), report, accepted, seeding })
}

/// The baseline that accepts everything which `audited` reports, for `reason`, until `expires_at`. What was accepted
/// before keeps its own reason and end.
#[must_use]
pub fn accept_all(audited: &RootAudit, reason: &str, expires_at: Option<Timestamp>) -> Vec<Accepted> {
    let accept = |finding: &crate::domain::finding::Finding| {
        let new = Accepted {
            fingerprint: finding.fingerprint,
            lesson: finding.lesson.clone(),
            reason: reason.to_owned(),
            expires_at,
        };
        audited.accepted.get(&finding.fingerprint).cloned().unwrap_or(new)
    };
    let in_source = |by: &Option<Suppression>| matches!(by, Some(Suppression::InSource { .. }));
    audited.report.findings.iter().filter(|finding| !in_source(&finding.suppressed)).map(accept).collect()
}

/// The baseline without what is not found any more.
#[must_use]
pub fn still_found(audited: &RootAudit) -> Vec<Accepted> {
    let found = |entry: &&Accepted| audited.report.findings.iter().any(|f| f.fingerprint == entry.fingerprint);
    audited.accepted.values().filter(found).cloned().collect()
}

/// Mesh's own configuration and state as roots: audited like any other, and never changed, because the guard blocks
/// them. They have no check.
#[must_use]
pub fn own_areas(config: PathBuf, state: PathBuf) -> Vec<Area> {
    let area = |root| Area { root, check: Vec::new(), check_timeout: Duration::ZERO };
    vec![area(config), area(state)]
}
