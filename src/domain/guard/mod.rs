//! What stands between a plan and a change. Every check is evaluated and its verdict kept by name; only [`approve`]
//! makes an [`Approved`] plan, and only [`prove`] a [`Proved`] one.

mod approval;
mod house;
mod merit;
mod place;
mod proof;
mod suggestion;

use std::ops::Deref;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::fix::{FixPlan, TextHash};
use super::pace::Pace;

pub use approval::{Approval, ApprovalMode, Approvals};
pub use house::Standing;
pub use place::{is_blocked, is_blocked_name};
pub use proof::{Proof, Proved, StateHash, Trial, prove};
pub use suggestion::{Edited, Suggestion, weigh};

/// Who asks for a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AskedBy {
    /// The audit, by itself.
    Audit,
    /// A person, who has seen the diff.
    Person,
}

/// What a change does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActionKind {
    /// Makes a branch of its own, which nobody uses until somebody merges it.
    Branch,
    /// Makes a commit on the branch that people use.
    Commit,
    /// Replaces a file outside git.
    File,
}

impl ActionKind {
    /// The word for it in files and listings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Branch => "branch",
            Self::Commit => "commit",
            Self::File => "file",
        }
    }

    /// Whether people use the result at once.
    #[must_use]
    pub const fn is_intervention(self) -> bool {
        matches!(self, Self::Commit | Self::File)
    }
}

/// What would try a change before it is made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Canary {
    /// A command or a shadow that the configuration names, or the checker of this kind of file.
    There,
    /// The checker of this kind of file, which is not installed.
    Missing {
        /// The program.
        program: String,
        /// The Debian package that has it.
        package: String,
    },
    /// Nothing.
    None,
}

/// What was said of the lesson's own examples: its pattern matches each bad one, and no longer after the fix.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Drill {
    /// They hold.
    Held,
    /// They do not, and why.
    Failed(String),
}

/// A file or directory as the kernel knows it, whatever name leads to it: device and inode.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FileId {
    /// The device.
    pub device: u64,
    /// The inode on it.
    pub inode: u64,
}

/// The file as it is now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileFacts {
    /// The root with every link resolved.
    pub real_root: PathBuf,
    /// The file with every link resolved.
    pub real_path: PathBuf,
    /// Whether it is a plain file.
    pub regular: bool,
    /// How many names it has; more than one is a hard link.
    pub links: u64,
    /// The file itself and every directory above it.
    pub lineage: Vec<FileId>,
    /// What it holds.
    pub hash: TextHash,
}

/// What the user's repository says of the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RepoFacts {
    /// The root is in no repository.
    Outside,
    /// There is one that cannot or must not be used, and why.
    Unusable(String),
    /// The repository and the file in it.
    Inside {
        /// The commit at HEAD, in hexadecimal; none before the first commit.
        head: Option<String>,
        /// What is going on in it, such as a merge or a rebase; none at rest.
        busy: Option<String>,
        /// Whether the file is in the index.
        tracked: bool,
        /// Whether an ignore rule names the file.
        ignored: bool,
        /// Whether an attribute calls the file generated.
        generated: bool,
        /// Whether the index holds anything but what HEAD holds for it.
        staged: bool,
        /// What HEAD holds for it, when that is a plain file.
        at_head: Option<TextHash>,
    },
}

/// What is known of the place that a plan would change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts {
    /// The file; none when it cannot be read, and why.
    pub file: Result<FileFacts, String>,
    /// The repository.
    pub repo: RepoFacts,
}

/// What this host allows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Who asks.
    pub asked_by: AskedBy,
    /// Directories and files that nothing below may change: mesh's home, its unit file. Links resolved.
    pub blocked: Vec<PathBuf>,
    /// The same as the kernel knows them, so that another name (a bind mount) does not help.
    pub blocked_ids: Vec<FileId>,
    /// Most lines one fix may change here, whatever its lesson says.
    pub max_lines: u32,
    /// What the change does.
    pub kind: ActionKind,
    /// What no change may do here.
    pub blocked_kinds: Vec<ActionKind>,
    /// What would try the change before it is made.
    pub canary: Canary,
    /// How far a change of each risk goes without a person.
    pub approvals: Approvals,
    /// How much and how fast.
    pub pace: Pace,
    /// Now.
    pub now: Timestamp,
}

/// A check by its name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// The path is plain and stays inside the root.
    InsideRoot,
    /// The path is not mesh's own, git's, or a secret's.
    BlockedPath,
    /// The lesson's issuer may have fixes seeded here.
    Grant,
    /// The class allows it for whoever asks.
    Class,
    /// The change is no larger than the lesson and this host allow.
    DiffSize,
    /// The file still holds what the plan starts from.
    Unchanged,
    /// The change does not silence a checker.
    NoSuppression,
    /// There is a repository to make a branch in, at rest and with a commit.
    Repository,
    /// The file is tracked, not ignored and not generated.
    Tracked,
    /// The file holds exactly what HEAD holds: no uncommitted work would be taken along.
    Clean,
    /// The action is of a kind that may be taken here.
    ActionKind,
    /// The host's budget of the day is not spent.
    DailyBudget,
    /// The area's own budget of the day is not spent.
    AreaBudget,
    /// Not too much is in place and unjudged.
    Concurrency,
    /// The same action was not taken a short time ago.
    Duplicate,
    /// There is a way back.
    RollbackDefined,
    /// What is risky is tried somewhere first.
    Canary,
    /// The area is not frozen.
    NotFrozen,
    /// The lesson's claim can come out false, and its pattern tells bad from good.
    CanFail,
    /// The lesson is sound and not retired.
    LessonInForce,
    /// The configuration lets a change of this risk be made.
    Approval,
    /// Nobody has paused mesh, or this area.
    NotPaused,
    /// No rollback has failed here.
    Writable,
    /// Of a proposal: each lesson that applies is cited or argued against.
    Cites,
    /// Proof: change and rollback leave a scratch copy as it was.
    RollbackProved,
    /// Proof: the project's check and the canary pass.
    TrialPassed,
    /// Proof: the finding is gone.
    FindingGone,
}

impl Check {
    /// Whether it is a part of the proof in a scratch copy, which comes after the guard.
    #[must_use]
    pub const fn is_proof(self) -> bool {
        matches!(self, Self::RollbackProved | Self::TrialPassed | Self::FindingGone)
    }

    /// The word for it in files and listings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InsideRoot => "inside-root",
            Self::BlockedPath => "blocked-path",
            Self::Grant => "grant",
            Self::Class => "class",
            Self::DiffSize => "diff-size",
            Self::Unchanged => "unchanged",
            Self::NoSuppression => "no-suppression",
            Self::Repository => "repository",
            Self::Tracked => "tracked",
            Self::Clean => "clean",
            Self::ActionKind => "action-kind",
            Self::DailyBudget => "daily-budget",
            Self::AreaBudget => "area-budget",
            Self::Concurrency => "concurrency",
            Self::Duplicate => "duplicate",
            Self::RollbackDefined => "rollback-defined",
            Self::Canary => "canary",
            Self::NotFrozen => "not-frozen",
            Self::CanFail => "can-fail",
            Self::LessonInForce => "lesson-in-force",
            Self::Approval => "approval",
            Self::NotPaused => "not-paused",
            Self::Writable => "writable",
            Self::Cites => "cites",
            Self::RollbackProved => "rollback-proved",
            Self::TrialPassed => "trial-passed",
            Self::FindingGone => "finding-gone",
        }
    }
}

/// What a check says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// Nothing against it.
    Pass,
    /// Not by itself: it is listed, and a person decides.
    Ask,
    /// Not until something here changes: it goes to the backlog with what is missing.
    Block,
    /// No.
    Refuse,
}

/// One check's answer, kept with the fix.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Verdict {
    /// The check.
    pub check: Check,
    /// Its answer.
    pub answer: Answer,
    /// Why, in one sentence; empty when it passes.
    pub why: String,
}

impl Verdict {
    /// Whether the check has nothing against it.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.answer == Answer::Pass
    }
}

/// Something that the guard has let through. Nothing else can make one.
#[derive(Clone, PartialEq, Debug)]
pub struct Approved<T> {
    inner: T,
    kind: ActionKind,
    head: String,
    verdicts: Vec<Verdict>,
}

impl<T> Approved<T> {
    /// What each check said.
    #[must_use]
    pub fn verdicts(&self) -> &[Verdict] {
        &self.verdicts
    }

    /// What it was approved to do, and nothing else.
    #[must_use]
    pub const fn kind(&self) -> ActionKind {
        self.kind
    }

    /// The commit, in hexadecimal, that the facts were gathered at: the change is made on top of this one. Empty for a
    /// file outside git.
    #[must_use]
    pub fn head(&self) -> &str {
        &self.head
    }
}

impl<T> Deref for Approved<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.inner
    }
}

/// Why a plan was not let through.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// What each check said.
    pub verdicts: Vec<Verdict>,
}

impl Refusal {
    /// The hardest answer among the checks.
    #[must_use]
    pub fn hardest(&self) -> Answer {
        hardest(&self.verdicts)
    }

    /// What stood in the way, hardest first, in one sentence.
    #[must_use]
    pub fn why(&self) -> String {
        why(&self.verdicts)
    }
}

/// The hardest answer among verdicts. Of none at all, nothing good is said.
#[must_use]
pub fn hardest(verdicts: &[Verdict]) -> Answer {
    verdicts.iter().map(|verdict| verdict.answer).max().unwrap_or(Answer::Refuse)
}

/// What stood in the way, hardest first, in one sentence; empty when nothing did.
#[must_use]
pub fn why(verdicts: &[Verdict]) -> String {
    let hardest = verdicts.iter().map(|verdict| verdict.answer).max().unwrap_or(Answer::Pass);
    let mut whys = verdicts.iter().filter(|verdict| verdict.answer == hardest && !verdict.passes());
    let first = whys.next().map(|verdict| verdict.why.clone()).unwrap_or_default();
    match whys.count() {
        0 => first,
        more => format!("{first} (and {more} more)"),
    }
}

/// Everything that a plan is judged by.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// The place that it would change.
    pub facts: &'a Facts,
    /// What this host allows.
    pub policy: &'a Policy,
    /// What has been done here.
    pub standing: &'a Standing,
    /// The lesson's own examples.
    pub drill: &'a Drill,
}

/// Puts the plan before every check.
///
/// # Errors
/// At least one check did not pass; all verdicts are in the refusal.
pub fn approve(plan: FixPlan, scene: Scene<'_>) -> Result<Approved<FixPlan>, Refusal> {
    let Scene { facts, policy, standing, drill } = scene;
    let verdicts: Vec<Verdict> = [
        (Check::InsideRoot, place::inside_root(&plan.path, facts)),
        (Check::BlockedPath, place::blocked_path(&plan.root, &plan.path, facts, policy)),
        (Check::Grant, merit::grant(&plan, policy)),
        (Check::Class, merit::class(&plan, policy)),
        (Check::DiffSize, merit::diff_size(&plan, policy)),
        (Check::Unchanged, place::unchanged(plan.before.hash(), facts)),
        (Check::NoSuppression, merit::no_suppression(&plan.before, &plan.after)),
        (Check::Repository, place::repository(facts, policy)),
        (Check::Tracked, place::tracked(&plan, facts)),
        (Check::Clean, place::clean(&plan, facts)),
        (Check::ActionKind, house::action_kind(policy)),
        (Check::DailyBudget, house::daily_budget(policy, standing)),
        (Check::AreaBudget, house::area_budget(policy, standing)),
        (Check::Concurrency, house::concurrency(policy, standing)),
        (Check::Duplicate, house::duplicate(policy, standing)),
        (Check::RollbackDefined, place::rollback_defined(&plan, facts, policy)),
        (Check::Canary, merit::canary(&plan, policy)),
        (Check::NotFrozen, house::not_frozen(standing)),
        (Check::CanFail, merit::can_fail(&plan, drill)),
        (Check::LessonInForce, merit::lesson_in_force(&plan, policy)),
        (Check::Approval, approval::approval(&plan, policy)),
        (Check::NotPaused, house::not_paused(standing)),
        (Check::Writable, house::writable(standing)),
    ]
    .into_iter()
    .map(|(check, answer)| verdict(check, answer))
    .collect();
    let head = match &facts.repo {
        RepoFacts::Inside { head: Some(head), .. } => Some(head.clone()),
        RepoFacts::Outside if policy.kind == ActionKind::File => Some(String::new()),
        RepoFacts::Inside { head: None, .. } | RepoFacts::Outside | RepoFacts::Unusable(_) => None,
    };
    match head {
        Some(head) if verdicts.iter().all(Verdict::passes) => {
            Ok(Approved { inner: plan, kind: policy.kind, head, verdicts })
        }
        _ => Err(Refusal { verdicts }),
    }
}

/// Why a check does not pass.
enum No {
    Ask(String),
    Block(String),
    Refuse(String),
}

fn refuse(why: impl Into<String>) -> Result<(), No> {
    Err(No::Refuse(why.into()))
}

fn block(why: impl Into<String>) -> Result<(), No> {
    Err(No::Block(why.into()))
}

fn verdict(check: Check, answer: Result<(), No>) -> Verdict {
    let (answer, why) = match answer {
        Ok(()) => (Answer::Pass, String::new()),
        Err(No::Ask(why)) => (Answer::Ask, why),
        Err(No::Block(why)) => (Answer::Block, why),
        Err(No::Refuse(why)) => (Answer::Refuse, why),
    };
    Verdict { check, answer, why }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
