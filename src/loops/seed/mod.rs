//! From findings to fixes: plans are made by the audit worker, put before the guard, committed on a branch of their
//! own once the project's check has passed, and remembered whatever became of them.

mod mend;
mod person;
mod settle;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::detect::FixClass;
use crate::domain::finding::Finding;
use crate::domain::fix::{EndedBy, Fix, FixId, FixPlan, FixState, KnownLesson};
use crate::domain::guard::{AskedBy, FileId};
use crate::domain::id::Slug;
use crate::ports::{Auditor, AuditorError, BranchIs, Exec, Repo, Skipped};
use crate::store::db::{Db, DbError};

pub use person::{PersonError, apply, rollback};

/// A root and the command that says whether its project still works.
#[derive(Clone, Debug)]
pub struct Area {
    /// The root, absolute.
    pub root: std::path::PathBuf,
    /// The check command, run in a scratch copy of the root; empty when there is none.
    pub check: Vec<String>,
    /// After this the check is stopped and counts as failed.
    pub check_timeout: Duration,
}

/// What seeding works with.
pub struct Parts<'a> {
    /// Mends texts.
    pub auditor: &'a mut dyn Auditor,
    /// Knows and changes repositories.
    pub repo: &'a dyn Repo,
    /// Runs check commands.
    pub exec: &'a dyn Exec,
    /// Remembers.
    pub db: &'a mut Db,
    /// What this host allows.
    pub house: &'a House,
}

/// What this host allows, whoever asks.
#[derive(Clone, Debug)]
pub struct House {
    /// Mesh's own files and directories, links resolved.
    pub blocked: Vec<std::path::PathBuf>,
    /// The same as the kernel knows them.
    pub blocked_ids: Vec<FileId>,
    /// Most lines one fix may change here.
    pub max_lines: u32,
    /// Most branches of one lesson that may wait in one root.
    pub max_open: u32,
}

/// How far to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Plan and list; make nothing.
    List,
    /// Make what needs no person.
    Seed,
}

/// What became of the findings of one lesson in one file.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The fix as it is remembered now.
    pub fix: Fix,
    /// The plan it came from, with both texts.
    pub plan: FixPlan,
    /// Whether this run made its branch.
    pub new: bool,
}

/// What seeding one root came to.
#[derive(Clone, Debug, Default)]
pub struct Seeding {
    /// By path and lesson.
    pub outcomes: Vec<Outcome>,
    /// Files with findings for which no plan could be made, and why.
    pub unplanned: Vec<Skipped>,
}

/// Why seeding stopped half-way. What was done until then is remembered.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// The audit worker could not be used.
    #[error("fix could not be planned")]
    Auditor(#[from] AuditorError),
    /// Nothing can be remembered, so nothing more is done.
    #[error("fix could not be recorded")]
    Db(#[from] DbError),
}

/// Plans a fix for every finding that nobody suppressed, and makes those that need no person.
///
/// `findings` are all of `lessons` in the whole root: plans whose findings are gone are forgotten.
///
/// # Errors
/// The audit worker or the database failed; a refusal is an outcome, not an error.
pub fn seed(
    parts: &mut Parts<'_>,
    area: &Area,
    lessons: &[KnownLesson],
    findings: &[Finding],
    mode: Mode,
    now: Timestamp,
) -> Result<Seeding, SeedError> {
    follow_branches(parts, &area.root, now)?;
    let known: BTreeMap<&Slug, &KnownLesson> = lessons.iter().map(|known| (&known.lesson.id, known)).collect();
    let mut seeding = Seeding::default();
    for ((path, lesson), group) in groups(findings) {
        let Some(known) = known.get(lesson).filter(|known| known.lesson.fix.class != FixClass::None) else { continue };
        let plan = match mend::plan(parts, area, known, path, &group)? {
            mend::Planned::Plan(plan) => *plan,
            mend::Planned::Not(reason) => {
                let reason = format!("{lesson}: {reason}");
                seeding.unplanned.push(Skipped { path: path.to_owned(), reason });
                continue;
            }
            mend::Planned::Nothing => continue,
        };
        let prior = parts.db.fix(&plan.id)?;
        let before = prior.as_ref().map(|prior| (prior.state, prior.commit.clone()));
        let fix = match prior {
            Some(prior) if settled(&prior, &plan) => prior,
            prior => {
                let room =
                    mode == Mode::Seed && open_branches(parts, &area.root, lesson, &plan.id)? < most(parts, known);
                let go = match (mode, room) {
                    (Mode::List, _) => settle::Go::List,
                    (Mode::Seed, false) => settle::Go::Full,
                    (Mode::Seed, true) => settle::Go::Make,
                };
                settle::settle(parts, area, &plan, prior, AskedBy::Audit, go, now)?
            }
        };
        let new = fix.is_open() && before != Some((fix.state, fix.commit.clone()));
        seeding.outcomes.push(Outcome { fix, plan, new });
    }
    let ran: BTreeSet<Slug> = known.keys().map(|slug| (*slug).clone()).collect();
    let current: BTreeSet<FixId> = seeding.outcomes.iter().map(|outcome| outcome.fix.id.clone()).collect();
    parts.db.forget_stale_fixes(&area.root, &ran, &current)?;
    Ok(seeding)
}

/// Findings by path and lesson, suppressed ones included: whether there are any changes how the file is mended.
/// Groups of suppressed findings alone are left out.
fn groups(findings: &[Finding]) -> BTreeMap<(&str, &Slug), Vec<&Finding>> {
    let mut groups: BTreeMap<(&str, &Slug), Vec<&Finding>> = BTreeMap::new();
    for finding in findings {
        groups.entry((&finding.path, &finding.lesson)).or_default().push(finding);
    }
    groups.retain(|_, group| group.iter().any(|finding| finding.suppressed.is_none()));
    for group in groups.values_mut() {
        group.sort_by_key(|finding| (finding.line, finding.column));
    }
    groups
}

/// Whether what is known of this very change stands, and need not be tried again.
fn settled(prior: &Fix, plan: &FixPlan) -> bool {
    if !prior.same_content(plan) {
        return false;
    }
    match prior.state {
        FixState::Seeded | FixState::Applied => true,
        // A failed check is tried again once HEAD has moved; settle looks at that.
        FixState::Refused => prior.ended_by == Some(EndedBy::Person),
        FixState::Proposed => false,
    }
}

/// Branches of the lesson that wait in the root, but for this one.
fn open_branches(parts: &Parts<'_>, root: &Path, lesson: &Slug, but: &FixId) -> Result<usize, DbError> {
    let fixes = parts.db.fixes_of(root)?;
    Ok(fixes.iter().filter(|fix| fix.is_open() && fix.lesson == *lesson && fix.id != *but).count())
}

fn most(parts: &Parts<'_>, known: &KnownLesson) -> usize {
    usize::try_from(known.lesson.fix.max_files.min(parts.house.max_open)).unwrap_or(usize::MAX)
}

/// Looks what people did with the branches that wait: merged, deleted, worked on.
///
/// # Errors
/// The database failed. A repository that cannot be read changes nothing.
fn follow_branches(parts: &mut Parts<'_>, root: &Path, now: Timestamp) -> Result<(), SeedError> {
    for mut fix in parts.db.fixes_of(root)?.into_iter().filter(Fix::is_open) {
        let (Some(branch), Some(commit)) = (&fix.branch, &fix.commit) else { continue };
        let (state, ended_by, reason) = match parts.repo.branch(root, branch, commit) {
            Ok(BranchIs::Merged) => (FixState::Applied, None, None),
            Ok(BranchIs::Gone) => {
                let reason = "its branch was deleted, so it is not made again".to_owned();
                (FixState::Refused, Some(EndedBy::Person), Some(reason))
            }
            Ok(BranchIs::Moved) => (FixState::Seeded, None, Some("somebody works on its branch".to_owned())),
            Ok(BranchIs::Ours) | Err(_) => continue,
        };
        if fix.state == state && fix.reason == reason {
            continue;
        }
        fix.state = state;
        fix.ended_by = ended_by;
        fix.reason = reason;
        fix.updated_at = now;
        parts.db.save_fix(&fix)?;
    }
    Ok(())
}
