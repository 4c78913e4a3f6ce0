//! From findings to fixes: plans are made by the audit worker, put before the guard, committed on a branch of their
//! own once the project's check has passed, and remembered whatever became of them.

mod book;
mod intervene;
mod mend;
mod onto;
mod person;
mod settle;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::detect::{ENGINE, FixClass};
use crate::domain::finding::Finding;
use crate::domain::fix::{EndedBy, Fix, FixId, FixPlan, FixState, KnownLesson};
use crate::domain::guard::{ActionKind, AskedBy, Drill, FileId};
use crate::domain::id::Slug;
use crate::domain::intervention::{Actor, Event};
use crate::domain::ledger::Note;
use crate::domain::lesson::Lesson;
use crate::domain::pace::Pace;
use crate::domain::running::Moment;
use crate::ports::{Admission, ApplyError, Auditor, AuditorError, BranchIs, Exec, Repo, Skipped, Trials};
use crate::store::db::{Db, DbError};
use crate::store::ledger::{Happening, LedgerError};

pub use intervene::{Finished, Found, Hand, intervene, recover, validate};
pub use onto::{apply_onto, rollback_onto};
pub use person::{PersonError, apply, rehearse, rollback};

/// A root and the command that says whether its project still works.
#[derive(Clone, Debug)]
pub struct Area {
    /// The root, absolute.
    pub root: std::path::PathBuf,
    /// The check command, run in a scratch copy of the root; empty when there is none.
    pub check: Vec<String>,
    /// After this the check is stopped and counts as failed.
    pub check_timeout: Duration,
    /// The command that tries what is risky, run in the same copy after the check; empty when there is none.
    pub canary: Vec<String>,
    /// Most changes in 24 h, where the area has a limit of its own.
    pub limit_per_day: Option<u32>,
}

impl Area {
    /// A root that nothing is configured for.
    #[must_use]
    pub const fn bare(root: std::path::PathBuf) -> Self {
        Self { root, check: Vec::new(), check_timeout: Duration::ZERO, canary: Vec::new(), limit_per_day: None }
    }

    /// Whether a change can be tried before it is made.
    #[must_use]
    pub fn has_canary(&self) -> bool {
        !self.check.is_empty() || !self.canary.is_empty()
    }

    /// The commands that try a change, in order.
    #[must_use]
    pub fn trials(&self) -> Trials {
        let commands = [&self.check, &self.canary].into_iter().filter(|argv| !argv.is_empty()).cloned().collect();
        Trials { commands, timeout: self.check_timeout }
    }
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
    /// The clocks at the start of this run.
    pub moment: Moment,
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
    /// What no change may do here.
    pub blocked_kinds: Vec<ActionKind>,
    /// How much and how fast.
    pub pace: Pace,
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
    /// The ledger does not take it.
    #[error("fix could not be written into the ledger")]
    Ledger(#[source] LedgerError),
    /// What a killed process left cannot be looked at.
    #[error("undo journal cannot be used")]
    Undo(#[source] ApplyError),
}

impl From<LedgerError> for SeedError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Db(error) => Self::Db(error),
            error @ (LedgerError::Illegal { .. } | LedgerError::Unknown(_)) => Self::Ledger(error),
        }
    }
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
                let drill = drill(parts, &known.lesson, now)?;
                let wish = settle::Wish { asked_by: AskedBy::Audit, kind: ActionKind::Branch, go, drill: &drill };
                settle::settle(parts, area, &plan, prior, wish, now)?
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
    // What is being measured is not touched, whatever its file holds by now.
    if prior.state == FixState::Validating {
        return true;
    }
    if !prior.same_content(plan) {
        return false;
    }
    match prior.state {
        FixState::Seeded | FixState::Applied | FixState::Validating | FixState::Validated | FixState::NoEffect => true,
        // What was taken back is not made again for the same text.
        FixState::Reverted | FixState::Aborted => true,
        // A failed check is tried again once HEAD has moved; settle looks at that.
        FixState::Refused => prior.ended_by == Some(EndedBy::Person),
        FixState::Proposed | FixState::Backlog => false,
    }
}

/// What the audit worker says of the lesson's own examples. It is asked once for each text of a lesson.
fn drill(parts: &mut Parts<'_>, lesson: &Lesson, now: Timestamp) -> Result<Drill, SeedError> {
    let digest = lesson.digest();
    let refusal = match parts.db.admission(&digest, ENGINE)? {
        Some(refusal) => refusal,
        None => {
            let refusal = match parts.auditor.admit(lesson)? {
                Admission::Admitted => None,
                Admission::Refused(why) => Some(why),
            };
            parts.db.record_admission(&digest, ENGINE, refusal.as_deref(), now)?;
            refusal
        }
    };
    Ok(refusal.map_or(Drill::Held, Drill::Failed))
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
        let (state, ended_by, reason, event) = match parts.repo.branch(root, branch, commit) {
            Ok(BranchIs::Merged) => (FixState::Applied, None, None, Some((Event::Apply, "its branch was merged"))),
            Ok(BranchIs::Gone) => {
                let reason = "its branch was deleted, so it is not made again";
                let event = Some((Event::Refuse, reason));
                (FixState::Refused, Some(EndedBy::Person), Some(reason.to_owned()), event)
            }
            Ok(BranchIs::Moved) => (FixState::Seeded, None, Some("somebody works on its branch".to_owned()), None),
            Ok(BranchIs::Ours) | Err(_) => continue,
        };
        if fix.state == state && fix.reason == reason {
            continue;
        }
        if let Some((event, why)) = event {
            let note = Note { commit: fix.commit.clone(), ..Note::why(why) };
            book::follow(parts, &fix, Happening::new(event, Actor::Outside, note))?;
        }
        fix.state = state;
        fix.ended_by = ended_by;
        fix.reason = reason;
        fix.updated_at = now;
        parts.db.save_fix(&fix)?;
    }
    Ok(())
}
