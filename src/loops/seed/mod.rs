//! From findings to fixes: plans are made by the audit worker, put before the guard, committed on a branch of their
//! own once the project's check has passed, and remembered whatever became of them.

mod book;
mod branches;
mod finished;
mod intervene;
mod mend;
mod onto;
mod person;
mod recover;
mod settle;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::canary::Kind;
use crate::domain::detect::{ENGINE, FixClass};
use crate::domain::finding::Finding;
use crate::domain::fix::{EndedBy, Fix, FixId, FixPlan, FixState, KnownLesson};
use crate::domain::guard::{ActionKind, Approvals, AskedBy, Canary, Drill, FileId, RepoFacts, Verdict};
use crate::domain::id::Slug;
use crate::domain::lesson::{Lesson, Risk};
use crate::domain::pace::Pace;
use crate::domain::running::Moment;
use crate::domain::trust::Grant;
use crate::ports::{Admission, ApplyError, Auditor, AuditorError, Exec, Repo, Shadow, Skipped, Trials};
use crate::store::db::{Db, DbError};
use crate::store::ledger::LedgerError;

use branches::follow_branches;
use settle::{Go, Wish};

pub use finished::{Finished, untold};
pub use intervene::{Hand, intervene};
pub use onto::{apply_onto, rehearse_onto, rollback_onto};
pub use person::{PersonError, apply, explain, rehearse, rollback};
pub use recover::{Found, recover};
pub use verdict::{foresee, prune, validate};

/// A change in the middle of which mesh ended so often is not tried again by itself.
const CRASHES: u32 = 3;
/// After this a trial is stopped, where the configuration does not say.
pub const CHECK_TIMEOUT: Duration = Duration::from_secs(600);

/// A root and the command that says whether its project still works.
#[derive(Clone, Debug)]
pub struct Area {
    /// The root, absolute.
    pub root: std::path::PathBuf,
    /// The check command, run in a scratch copy of the root; empty when there is none.
    pub check: Vec<String>,
    /// After this the check is stopped and counts as failed.
    pub check_timeout: Duration,
    /// The command that tries what is risky, run in the same copy after the check; empty when there is none. It stands in
    /// for the checker of a kind of file.
    pub canary: Vec<String>,
    /// An instance of the service that is started from the copy and asked.
    pub shadow: Option<Shadow>,
    /// Most memory of each process of a trial, in bytes.
    pub check_memory: Option<u64>,
    /// Whose rights the commands have; those of mesh where nobody is named.
    pub user: Option<String>,
    /// Most changes in 24 h, where the area has a limit of its own.
    pub limit_per_day: Option<u32>,
}

impl Area {
    /// A root that nothing is configured for.
    #[must_use]
    pub const fn bare(root: std::path::PathBuf) -> Self {
        Self {
            root,
            check: Vec::new(),
            check_timeout: CHECK_TIMEOUT,
            canary: Vec::new(),
            shadow: None,
            check_memory: None,
            user: None,
            limit_per_day: None,
        }
    }

    /// What tries a change of the file at `path`, and whether that is there.
    #[must_use]
    pub fn trials(&self, path: &str, exec: &dyn Exec) -> (Trials, Canary) {
        let commands = [&self.check, &self.canary].into_iter().filter(|argv| !argv.is_empty()).cloned().collect();
        let mut trials = Trials {
            commands,
            shadow: self.shadow.clone(),
            checker: None,
            timeout: self.check_timeout,
            memory: self.check_memory,
            user: self.user.clone(),
        };
        let kind = Kind::of(&self.root.join(path)).filter(|_| self.canary.is_empty());
        let missing = kind.filter(|kind| !exec.finds(kind.program(), &self.root));
        trials.checker = kind.filter(|_| missing.is_none());
        let canary = match missing {
            _ if !trials.is_empty() => Canary::There,
            Some(kind) => Canary::Missing { program: kind.program().to_owned(), package: kind.package.to_owned() },
            None => Canary::None,
        };
        (trials, canary)
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
    /// How far a change of each risk goes without a person.
    pub approvals: Approvals,
    /// How much and how fast.
    pub pace: Pace,
}

/// How far to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Tell what would be done: make nothing, and remember nothing.
    Tell,
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
    /// What may be made of it now where people use it, without a person.
    pub ready: Option<ActionKind>,
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
    if mode != Mode::Tell {
        follow_branches(parts, &area.root, now)?;
    }
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
        let mut ready = None;
        let fix = match prior {
            Some(prior) if settled(&prior, &plan) && !is_tried_again(parts, &prior)? => prior,
            prior => {
                let kind = kind_by_itself(parts, known, &plan, prior.as_ref());
                let room =
                    mode == Mode::Seed && open_branches(parts, &area.root, lesson, &plan.id)? < most(parts, known);
                let go = match (mode, room) {
                    _ if kind.is_intervention() => Go::Later,
                    (Mode::Seed, _) if waits(known, prior.as_ref()) => Go::Waits,
                    (Mode::List | Mode::Tell, _) => Go::List,
                    (Mode::Seed, false) => Go::Full,
                    (Mode::Seed, true) => Go::Make,
                };
                let drill = drill(parts, &known.lesson, now)?;
                let wish = Wish { asked_by: AskedBy::Audit, kind, go, drill: &drill };
                let fix = match mode {
                    Mode::Tell => settle::foretell(parts, area, &plan, prior.as_ref(), wish, now)?.0,
                    Mode::List | Mode::Seed => settle::settle(parts, area, &plan, prior, wish, now)?,
                };
                let passes = fix.state == FixState::Proposed && fix.verdicts.iter().all(Verdict::passes);
                ready = Some(kind).filter(|kind| kind.is_intervention() && passes);
                fix
            }
        };
        let new = fix.is_open() && before != Some((fix.state, fix.commit.clone()));
        seeding.outcomes.push(Outcome { fix, plan, new, ready });
    }
    if mode == Mode::Tell {
        return Ok(seeding);
    }
    let ran: BTreeSet<Slug> = known.keys().map(|slug| (*slug).clone()).collect();
    let current: BTreeSet<FixId> = seeding.outcomes.iter().map(|outcome| outcome.fix.id.clone()).collect();
    parts.db.forget_stale_fixes(&area.root, &ran, &current)?;
    Ok(seeding)
}

/// What a plan would do without a person: a branch that somebody looks at, unless the lesson's issuer was given the grant
/// to apply by itself. A branch that waits already stays a person's to take.
fn kind_by_itself(parts: &Parts<'_>, known: &KnownLesson, plan: &FixPlan, prior: Option<&Fix>) -> ActionKind {
    let may = known.grant >= Grant::Apply && goes_by_itself(&known.lesson);
    if !may || prior.is_some_and(Fix::is_open) {
        return ActionKind::Branch;
    }
    kind_in_place(parts, plan)
}

/// Whether it would change what people use here if this host's wave had come.
fn waits(known: &KnownLesson, prior: Option<&Fix>) -> bool {
    known.waits && goes_by_itself(&known.lesson) && !prior.is_some_and(Fix::is_open)
}

/// Whether class and risk leave no person in between.
fn goes_by_itself(lesson: &Lesson) -> bool {
    lesson.fix.class == FixClass::Safe && lesson.risk < Risk::High
}

/// What a change of what people use does: a file outside git has no branch, so it is replaced where it is.
fn kind_in_place(parts: &Parts<'_>, plan: &FixPlan) -> ActionKind {
    match parts.repo.facts(&plan.root, &plan.path).repo {
        RepoFacts::Outside => ActionKind::File,
        RepoFacts::Inside { .. } | RepoFacts::Unusable(_) => ActionKind::Commit,
    }
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

/// Whether what ended was broken off by the end of mesh itself, which says nothing of the fix. One that mesh did not outlive
/// again and again is left to a person.
fn is_tried_again(parts: &Parts<'_>, prior: &Fix) -> Result<bool, DbError> {
    if prior.state != FixState::Aborted || prior.ended_by != Some(EndedBy::Crash) {
        return Ok(false);
    }
    Ok(parts.db.intervention(&prior.id)?.is_none_or(|last| last.id.attempt < CRASHES))
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
