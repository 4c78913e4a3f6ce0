//! The user's repositories, through libgit2: looked at, and given one branch with one commit per fix. The user's
//! branches, index, files and uncommitted work are never written, and no hook is run (libgit2 knows none).

pub(in crate::sys) mod commit;
pub mod facts;
pub mod history;
pub(in crate::sys) mod restage;
pub(in crate::sys) mod scratch;
pub(in crate::sys) mod staged;
mod sweep;

use std::cell::RefCell;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use git2::{ErrorCode, Repository, RepositoryOpenFlags};
use jiff::Timestamp;

use crate::domain::fix::FixPlan;
use crate::domain::guard::{Approved, Facts, Trial};
use crate::domain::id::HostId;
use crate::ports::{BranchIs, Committed, CommittedFile, Repo, RepoError, Trials};
use crate::sys::exec::SystemExec;
use crate::sys::trial;

use staged::IndexFile;

pub use facts::{identities, read_text};

/// Repositories on this machine.
pub struct GitRepo {
    /// Who signs the commits, such as `mesh@1a2b3c4d`.
    email: String,
    /// Where scratch copies are made.
    worktrees: PathBuf,
    last: RefCell<Last>,
}

/// The repository that was asked last, by its root: a round asks for each finding, and opening is most of the answer.
type Last = Option<Asked>;

struct Asked {
    root: PathBuf,
    repo: Repository,
    index: IndexFile,
}

impl GitRepo {
    /// Commits are by `host`; scratch copies are made below `worktrees`.
    #[must_use]
    pub fn new(host: HostId, worktrees: PathBuf) -> Self {
        Self { email: format!("mesh@{}", host.short()), worktrees, last: RefCell::new(None) }
    }

    fn ask<T>(&self, root: &Path, ask: impl FnOnce(&Repository) -> Result<T, RepoError>) -> Result<T, RepoError> {
        let unusable = |why: String| RepoError::Unusable { root: root.to_owned(), why };
        let real = root.canonicalize().map_err(|error| unusable(error.to_string()))?;
        let mut last = self.last.borrow_mut();
        let asked = kept(&mut last, &real).map_err(unusable)?;
        ask(&asked.ok_or_else(|| unusable("there is none".to_owned()))?.repo)
    }
}

impl Repo for GitRepo {
    fn read(&self, root: &Path, path: &str) -> Result<String, RepoError> {
        read_text(root, path).map_err(|why| RepoError::File { path: path.to_owned(), why })
    }

    fn facts(&self, root: &Path, path: &str) -> Facts {
        facts::gather(&mut self.last.borrow_mut(), root, path)
    }

    fn commit(&self, plan: &Approved<FixPlan>, now: Timestamp) -> Result<Committed, RepoError> {
        self.ask(&plan.root, |repo| commit::commit(repo, plan, &self.email, now))
    }

    fn trial(&self, file: CommittedFile<'_>, before: Option<&str>, trials: &Trials) -> Trial {
        if trials.is_empty() {
            return Trial::None;
        }
        let copy = match scratch::Copy::make(file.root, file.commit, &self.worktrees) {
            Ok(copy) => copy,
            Err(error) => return Trial::Failed(error.to_string()),
        };
        let after = match read_text(copy.dir(), file.path) {
            Ok(after) => after,
            Err(why) => return Trial::Failed(format!("{} in the copy: {why}", file.path)),
        };
        let bench = copy.bench();
        let place = trial::Place {
            copy: copy.dir(),
            around: copy.dir(),
            path: file.path,
            before,
            after: &after,
            bench: &bench,
        };
        trial::run(&SystemExec, place, trials)
    }

    fn set_branch(
        &self,
        plan: &Approved<FixPlan>,
        made: &Committed,
        expected: Option<&str>,
    ) -> Result<String, RepoError> {
        self.ask(&plan.root, |repo| commit::set_branch(repo, plan, made, expected))
    }

    fn delete_branch(&self, root: &Path, branch: &str, expected: &str) -> Result<(), RepoError> {
        self.ask(root, |repo| commit::delete_branch(repo, branch, expected))
    }

    fn branch(&self, root: &Path, branch: &str, commit: &str) -> Result<BranchIs, RepoError> {
        self.ask(root, |repo| commit::branch(repo, branch, commit))
    }
}

/// What opening a repository can come to.
enum Opened {
    Yes(Repository),
    None,
    Unusable(String),
}

/// Opens the repository that `dir` is in; the environment has no say.
fn open(dir: &Path) -> Opened {
    match Repository::open_ext(dir, RepositoryOpenFlags::empty(), &[] as &[&OsStr]) {
        Ok(repo) if repo.is_bare() => Opened::Unusable("it is a bare repository, without files".to_owned()),
        Ok(repo) => Opened::Yes(repo),
        Err(error) if error.code() == ErrorCode::NotFound => Opened::None,
        Err(error) if error.code() == ErrorCode::Owner => {
            Opened::Unusable("it belongs to another user: run mesh as that user".to_owned())
        }
        Err(error) => Opened::Unusable(error.message().to_owned()),
    }
}

/// The repository that `real_root` is in, kept open from the last time where it is the same. None: there is none.
fn kept<'k>(last: &'k mut Last, real_root: &Path) -> Result<Option<&'k mut Asked>, String> {
    if last.as_ref().is_none_or(|asked| asked.root != real_root || !asked.repo.path().is_dir()) {
        *last = match open(real_root) {
            Opened::Yes(repo) => Some(Asked { root: real_root.to_owned(), repo, index: IndexFile::default() }),
            Opened::None => return Ok(None),
            Opened::Unusable(why) => return Err(why),
        };
    }
    Ok(last.as_mut())
}

pub(in crate::sys) fn must_open(root: &Path) -> Result<Repository, RepoError> {
    let unusable = |why| RepoError::Unusable { root: root.to_owned(), why };
    match open(root) {
        Opened::Yes(repo) => Ok(repo),
        Opened::None => Err(unusable("there is none".to_owned())),
        Opened::Unusable(why) => Err(unusable(why)),
    }
}

/// The path of `real` within the repository's files. Both have every link resolved.
pub(in crate::sys) fn within(repo: &Repository, real: &Path) -> Option<PathBuf> {
    let top = repo.workdir()?.canonicalize().ok()?;
    real.strip_prefix(top).ok().map(Path::to_owned)
}

pub(in crate::sys) fn git(what: &'static str) -> impl Fn(git2::Error) -> RepoError {
    move |error| RepoError::Git { what, why: error.message().to_owned() }
}
