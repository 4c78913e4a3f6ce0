//! What stands between a plan and a change. Every check is evaluated and its verdict kept by name; only
//! [`approve`] makes an [`Approved`] plan.

use std::ops::Deref;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::detect::FixClass;
use super::fix::{FixPlan, TextHash};
use super::foreign_text::display_line;
use super::source_marks::{generated_mark, suppressions_added};

/// Who asks for a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AskedBy {
    /// The audit, by itself.
    Audit,
    /// A person, who has seen the diff.
    Person,
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
}

impl Check {
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
        }
    }
}

/// What a check says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// Nothing against it.
    Pass,
    /// Not by itself: it is listed, and a person decides.
    Ask,
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

/// Something that the guard has let through. Nothing else can make one.
#[derive(Clone, PartialEq, Debug)]
pub struct Approved<T> {
    inner: T,
    head: String,
    verdicts: Vec<Verdict>,
}

impl<T> Approved<T> {
    /// What each check said.
    #[must_use]
    pub fn verdicts(&self) -> &[Verdict] {
        &self.verdicts
    }

    /// The commit, in hexadecimal, that the facts were gathered at: the change is made on top of this one.
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
    /// Whether a person could still ask for it.
    #[must_use]
    pub fn may_ask(&self) -> bool {
        self.verdicts.iter().all(|verdict| verdict.answer != Answer::Refuse)
    }

    /// What stood in the way, hardest first, in one sentence.
    #[must_use]
    pub fn why(&self) -> String {
        let hardest = if self.may_ask() { Answer::Ask } else { Answer::Refuse };
        let mut whys = self.verdicts.iter().filter(|verdict| verdict.answer == hardest);
        let first = whys.next().map(|verdict| verdict.why.clone()).unwrap_or_default();
        match whys.count() {
            0 => first,
            more => format!("{first} (and {more} more)"),
        }
    }
}

/// Puts the plan before every check.
///
/// # Errors
/// At least one check did not pass; all verdicts are in the refusal.
pub fn approve(plan: FixPlan, facts: &Facts, policy: &Policy) -> Result<Approved<FixPlan>, Refusal> {
    let answers = [
        (Check::InsideRoot, inside_root(&plan, facts)),
        (Check::BlockedPath, blocked_path(&plan, facts, policy)),
        (Check::Grant, grant(&plan)),
        (Check::Class, class(&plan, policy)),
        (Check::DiffSize, diff_size(&plan, policy)),
        (Check::Unchanged, unchanged(&plan, facts)),
        (Check::NoSuppression, no_suppression(&plan)),
        (Check::Repository, repository(facts, policy)),
        (Check::Tracked, tracked(&plan, facts)),
        (Check::Clean, clean(&plan, facts)),
    ];
    let verdicts: Vec<Verdict> = answers
        .into_iter()
        .map(|(check, answer)| match answer {
            Ok(()) => Verdict { check, answer: Answer::Pass, why: String::new() },
            Err(No::Ask(why)) => Verdict { check, answer: Answer::Ask, why },
            Err(No::Refuse(why)) => Verdict { check, answer: Answer::Refuse, why },
        })
        .collect();
    let head = match &facts.repo {
        RepoFacts::Inside { head: Some(head), .. } => Some(head.clone()),
        RepoFacts::Inside { head: None, .. } | RepoFacts::Outside | RepoFacts::Unusable(_) => None,
    };
    match head {
        Some(head) if verdicts.iter().all(|verdict| verdict.answer == Answer::Pass) => {
            Ok(Approved { inner: plan, head, verdicts })
        }
        _ => Err(Refusal { verdicts }),
    }
}

/// Why a check does not pass.
enum No {
    Ask(String),
    Refuse(String),
}

fn refuse(why: impl Into<String>) -> Result<(), No> {
    Err(No::Refuse(why.into()))
}

fn is_plain(path: &str) -> bool {
    let parts = Path::new(path).components();
    // `components` folds `a//b` and `a/./b`; a path that a scan made has neither.
    let folded = path.split('/').any(|part| part.is_empty() || part == "." || part == "..");
    !folded && !path.contains('\0') && parts.into_iter().all(|part| matches!(part, Component::Normal(_)))
}

fn inside_root(plan: &FixPlan, facts: &Facts) -> Result<(), No> {
    if !is_plain(&plan.path) {
        return refuse(format!("path {} is not a plain path below the root", display_line(&plan.path)));
    }
    let file = match &facts.file {
        Ok(file) => file,
        Err(why) => return refuse(format!("file cannot be read: {}", display_line(why))),
    };
    if file.real_path != file.real_root.join(&plan.path) {
        let real = file.real_path.to_string_lossy();
        return refuse(format!("a symbolic link leads to {}: name the real file's root", display_line(&real)));
    }
    if !file.regular {
        return refuse("not a plain file");
    }
    Ok(())
}

/// Names of directories that nothing below may be changed in, in lower case.
const BLOCKED_DIRECTORIES: [&str; 9] =
    [".git", ".hg", ".svn", ".jj", ".ssh", ".gnupg", ".aws", ".kube", ".password-store"];
/// Names of files that are never changed, in lower case.
const BLOCKED_FILES: [&str; 12] = [
    ".gitmodules",
    ".env",
    ".netrc",
    ".pgpass",
    ".htpasswd",
    ".git-credentials",
    ".npmrc",
    ".pypirc",
    "authorized_keys",
    "shadow",
    "sudoers",
    "mesh.service",
];
/// Starts of names of files that are never changed, in lower case.
const BLOCKED_STARTS: [&str; 6] = [".env.", "id_rsa", "id_ed25519", "id_ecdsa", "credentials", "ssh_host_"];
/// Ends of names of files that are never changed, in lower case.
const BLOCKED_ENDS: [&str; 8] = [".pem", ".key", ".p12", ".pfx", ".jks", ".keystore", ".kdbx", ".asc"];

fn is_blocked_name(path: &Path) -> Option<String> {
    let mut names = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_string_lossy().to_lowercase()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => None,
    });
    let file = names.next_back()?;
    // File systems that fold names take trailing dots and spaces, and `git~1`, for `.git`.
    let folded = |name: &str| name.trim_end_matches(['.', ' ']).to_owned();
    let directory = names.chain([file.clone()]).find(|name| {
        let name = folded(name);
        BLOCKED_DIRECTORIES.contains(&name.as_str()) || name == "git~1" || name == "mesh.service.d"
    });
    if let Some(directory) = directory {
        return Some(format!("nothing in {} is changed", display_line(&directory)));
    }
    let blocked = BLOCKED_FILES.contains(&file.as_str())
        || BLOCKED_STARTS.iter().any(|start| file.starts_with(start))
        || BLOCKED_ENDS.iter().any(|end| file.ends_with(end));
    blocked.then(|| format!("{} may be a secret or a key to the machine", display_line(&file)))
}

fn blocked_path(plan: &FixPlan, facts: &Facts, policy: &Policy) -> Result<(), No> {
    if let Some(why) = is_blocked_name(Path::new(&plan.path)) {
        return refuse(why);
    }
    let file = match &facts.file {
        Ok(file) => file,
        Err(why) => return refuse(format!("file cannot be read: {}", display_line(why))),
    };
    if let Some(why) = is_blocked_name(&file.real_path) {
        return refuse(why);
    }
    let below =
        |blocked: &PathBuf| file.real_path.starts_with(blocked) || plan.root.join(&plan.path).starts_with(blocked);
    let same = |id: &FileId| file.lineage.contains(id);
    if policy.blocked.iter().any(below) || policy.blocked_ids.iter().any(same) {
        return refuse("mesh never changes its own files: a person does");
    }
    if file.links > 1 {
        return refuse(format!("the file has {} names (hard links), and the others are not known", file.links));
    }
    Ok(())
}

fn grant(plan: &FixPlan) -> Result<(), No> {
    if plan.may_seed {
        return Ok(());
    }
    Err(No::Refuse("the grant of its issuer ends at audit: raise it with `mesh grant NAME propose`".to_owned()))
}

fn class(plan: &FixPlan, policy: &Policy) -> Result<(), No> {
    match (plan.class, policy.asked_by) {
        (FixClass::Safe, _) | (FixClass::Review, AskedBy::Person) => Ok(()),
        (FixClass::Review, AskedBy::Audit) => {
            Err(No::Ask(format!("its class is review: look at the diff, then `mesh fix apply {}`", plan.id)))
        }
        (FixClass::None, _) => refuse("the lesson has no fix: a person writes it"),
    }
}

fn diff_size(plan: &FixPlan, policy: &Policy) -> Result<(), No> {
    let most = plan.max_lines.min(policy.max_lines);
    let changed = plan.changed_lines();
    if changed <= usize::try_from(most).unwrap_or(usize::MAX) {
        return Ok(());
    }
    refuse(format!("it changes {changed} lines, at most {most} are allowed"))
}

fn unchanged(plan: &FixPlan, facts: &Facts) -> Result<(), No> {
    match &facts.file {
        Ok(file) if file.hash == plan.before_hash() => Ok(()),
        Ok(_) => refuse("the file has changed since it was looked at: audit it again"),
        Err(why) => refuse(format!("file cannot be read: {}", display_line(why))),
    }
}

fn no_suppression(plan: &FixPlan) -> Result<(), No> {
    match suppressions_added(&plan.before, &plan.after) {
        None => Ok(()),
        Some(mark) => refuse(format!("it adds `{mark}`, which silences a checker instead of mending")),
    }
}

fn repository(facts: &Facts, policy: &Policy) -> Result<(), No> {
    match &facts.repo {
        RepoFacts::Outside => {
            let why = "the file is in no git repository, so there is no branch to put it on: change it by hand";
            match policy.asked_by {
                AskedBy::Audit => Err(No::Ask(why.to_owned())),
                AskedBy::Person => refuse(why),
            }
        }
        RepoFacts::Unusable(why) => refuse(display_line(why)),
        RepoFacts::Inside { head: None, .. } => refuse("the repository has no commit yet"),
        RepoFacts::Inside { busy: Some(what), .. } => {
            refuse(format!("a {} is going on in the repository: end it first", display_line(what)))
        }
        RepoFacts::Inside { .. } => Ok(()),
    }
}

fn tracked(plan: &FixPlan, facts: &Facts) -> Result<(), No> {
    if let Some(mark) = generated_mark(&plan.path, &plan.before) {
        return refuse(format!("the file is made by a program ({mark}): mend what makes it"));
    }
    match &facts.repo {
        RepoFacts::Inside { generated: true, .. } => refuse("the repository's attributes call the file generated"),
        RepoFacts::Inside { ignored: true, tracked: false, .. } => refuse("the file is ignored by git"),
        RepoFacts::Inside { tracked: false, .. } => refuse("the file is not tracked by git: add and commit it first"),
        RepoFacts::Inside { .. } | RepoFacts::Outside | RepoFacts::Unusable(_) => Ok(()),
    }
}

fn clean(plan: &FixPlan, facts: &Facts) -> Result<(), No> {
    match &facts.repo {
        RepoFacts::Outside | RepoFacts::Unusable(_) => Ok(()),
        RepoFacts::Inside { staged: true, .. } => refuse("the file has staged work: commit it first"),
        RepoFacts::Inside { at_head: Some(hash), .. } if *hash == plan.before_hash() => Ok(()),
        RepoFacts::Inside { at_head: Some(_), .. } => {
            refuse("the file differs from HEAD (uncommitted work, or converted line ends): commit it first")
        }
        RepoFacts::Inside { at_head: None, .. } => refuse("HEAD does not hold the file as a plain file"),
    }
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
