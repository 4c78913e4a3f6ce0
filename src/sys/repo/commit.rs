//! One commit with one file changed, and the branch that leads to it.

use std::fs::File;
use std::path::Path;

use git2::build::TreeUpdateBuilder;
use git2::{Commit, Delta, ErrorCode, FileMode, Oid, Repository, Signature, Time, Tree};
use jiff::Timestamp;

use super::facts::plain_entry;
use super::{git, within};
use crate::domain::fix::{FixPlan, TextHash};
use crate::domain::guard::Approved;
use crate::ports::{BranchIs, Committed, RepoError};

pub(super) fn commit(
    repo: &Repository,
    plan: &Approved<FixPlan>,
    email: &str,
    now: Timestamp,
) -> Result<Committed, RepoError> {
    let unusable = |why: &str| RepoError::Unusable { root: plan.root.clone(), why: why.to_owned() };
    let real_root = plan.root.canonicalize().map_err(|error| unusable(&error.to_string()))?;
    let path = within(repo, &real_root.join(&plan.path)).ok_or_else(|| unusable("the file is outside of it"))?;
    let base = find(repo, plan.head())?;
    let edit = Edit { path: &path, before: plan.before_hash(), after: plan.after.as_bytes() };
    let id = edit.on_top_of(repo, &base, &plan.message(), email, now)?;
    sync_commit(repo, id, &path)?;
    Ok(Committed { commit: id.to_string(), base: base.id().to_string() })
}

/// New bytes for one file of a commit.
pub(in crate::sys) struct Edit<'a> {
    /// The file, relative to the repository's files.
    pub(in crate::sys) path: &'a Path,
    /// What the commit must hold for it.
    pub(in crate::sys) before: TextHash,
    /// What it is to hold.
    pub(in crate::sys) after: &'a [u8],
}

impl Edit<'_> {
    /// Makes a commit on top of `base` with that one file changed. [`sync_commit`] puts it on disk.
    pub(in crate::sys) fn on_top_of(
        &self,
        repo: &Repository,
        base: &Commit<'_>,
        message: &str,
        email: &str,
        now: Timestamp,
    ) -> Result<Oid, RepoError> {
        let unusable = |why: &str| RepoError::Unusable { root: repo.path().to_owned(), why: why.to_owned() };
        let old_tree = base.tree().map_err(git("read the tree below"))?;
        let entry =
            plain_entry(&old_tree, self.path).ok_or_else(|| unusable("the commit below does not hold the file"))?;
        let held = repo.find_blob(entry.id()).map_err(git("read the file as committed"))?;
        if TextHash::of(held.content()) != self.before {
            return Err(unusable("the commit below holds another text than the plan starts from"));
        }
        let mode = if entry.filemode() == 0o100_755 { FileMode::BlobExecutable } else { FileMode::Blob };
        let blob = repo.blob(self.after).map_err(git("write the mended file"))?;
        let tree_id = TreeUpdateBuilder::new()
            .upsert(self.path, blob, mode)
            .create_updated(repo, &old_tree)
            .map_err(git("write the tree"))?;
        commit_tree(repo, base, tree_id, self.path, message, email, now)
    }
}

/// Makes a commit of `tree` on top of `base`, from which it must differ in the file at `path` alone.
pub(in crate::sys) fn commit_tree(
    repo: &Repository,
    base: &Commit<'_>,
    tree: Oid,
    path: &Path,
    message: &str,
    email: &str,
    now: Timestamp,
) -> Result<Oid, RepoError> {
    let tree = repo.find_tree(tree).map_err(git("read the new tree"))?;
    one_file_differs(repo, &base.tree().map_err(git("read the tree below"))?, &tree, path)?;
    let time = Time::new(now.as_second(), 0);
    let author = Signature::new("mesh", email, &time).map_err(git("name the author"))?;
    repo.commit(None, &author, &author, message, &tree, &[base]).map_err(git("write the commit"))
}

/// Puts a new commit, its trees down to `path`, and the file on disk.
pub(in crate::sys) fn sync_commit(repo: &Repository, id: Oid, path: &Path) -> Result<(), RepoError> {
    let tree = repo.find_commit(id).and_then(|commit| commit.tree()).map_err(git("read the new tree"))?;
    let mut written = vec![tree.id(), id];
    for part in path.ancestors().filter(|part| !part.as_os_str().is_empty()) {
        written.push(tree.get_path(part).map_err(git("read the new tree"))?.id());
    }
    sync_objects(repo, &written)
}

/// The promise of a seeded commit, checked on what was written.
fn one_file_differs(repo: &Repository, old: &Tree<'_>, new: &Tree<'_>, path: &Path) -> Result<(), RepoError> {
    let diff = repo.diff_tree_to_tree(Some(old), Some(new), None).map_err(git("compare the trees"))?;
    let only = diff.deltas().len() == 1
        && diff.deltas().all(|delta| {
            let (before, after) = (delta.old_file(), delta.new_file());
            delta.status() == Delta::Modified && before.mode() == after.mode() && after.path() == Some(path)
        });
    if only {
        return Ok(());
    }
    Err(RepoError::Git { what: "write the tree", why: "more than the one file would change".to_owned() })
}

/// Puts new objects on disk before a branch leads to them: libgit2 does not, and a branch to an empty object after
/// a power cut breaks the user's repository.
fn sync_objects(repo: &Repository, objects: &[Oid]) -> Result<(), RepoError> {
    let failed = |error: std::io::Error| RepoError::Git { what: "put objects on disk", why: error.to_string() };
    for object in objects {
        let hex = object.to_string();
        let folder = repo.commondir().join("objects").join(&hex[..2]);
        match File::open(folder.join(&hex[2..])) {
            Ok(file) => {
                file.sync_all().map_err(failed)?;
                File::open(&folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
            }
            // In a pack or an alternate, and so on disk for longer.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(())
}

pub(super) fn set_branch(
    repo: &Repository,
    plan: &Approved<FixPlan>,
    made: &Committed,
    expected: Option<&str>,
) -> Result<String, RepoError> {
    let branch = plan.branch();
    let new = find(repo, &made.commit)?;
    let at = tip(repo, &branch)?;
    if let Some(at) = at
        && let Ok(there) = repo.find_commit(at)
        && same_change(&there, &new)
    {
        return Ok(at.to_string());
    }
    if at.map(|at| at.to_string()).as_deref() != expected {
        return Err(RepoError::Moved { branch });
    }
    if checked_out(repo, &branch)? {
        return Err(RepoError::CheckedOut { branch });
    }
    for other in ["mesh", "mesh/fix"] {
        if tip(repo, other)?.is_some() {
            return Err(RepoError::InTheWay { branch, other: other.to_owned() });
        }
    }
    let expected = at.unwrap_or(Oid::ZERO_SHA1);
    match repo.reference_matching(&full(&branch), new.id(), true, expected, "mesh: fix seeded") {
        Ok(_) => Ok(made.commit.clone()),
        Err(error) if matches!(error.code(), ErrorCode::Modified | ErrorCode::Exists | ErrorCode::Locked) => {
            Err(RepoError::Moved { branch })
        }
        Err(error) => Err(git("make the branch")(error)),
    }
}

/// Whether two commits are the same change of the same base by the same lesson, whenever they were made.
fn same_change(one: &Commit<'_>, other: &Commit<'_>) -> bool {
    one.tree_id() == other.tree_id()
        && one.parent_ids().eq(other.parent_ids())
        && one.message_bytes() == other.message_bytes()
        && one.author().email_bytes() == other.author().email_bytes()
}

pub(super) fn delete_branch(repo: &Repository, branch: &str, expected: &str) -> Result<(), RepoError> {
    let moved = || RepoError::Moved { branch: branch.to_owned() };
    let mut reference = match repo.find_reference(&full(branch)) {
        Ok(reference) => reference,
        Err(error) if error.code() == ErrorCode::NotFound => return Ok(()),
        Err(error) => return Err(git("read the branch")(error)),
    };
    if reference.target().map(|at| at.to_string()).as_deref() != Some(expected) {
        return Err(moved());
    }
    if checked_out(repo, branch)? {
        return Err(RepoError::CheckedOut { branch: branch.to_owned() });
    }
    // Compares with what was read above before it deletes.
    match reference.delete() {
        Ok(()) => Ok(()),
        Err(error) if matches!(error.code(), ErrorCode::Modified | ErrorCode::Locked) => Err(moved()),
        Err(error) => Err(git("delete the branch")(error)),
    }
}

pub(super) fn branch(repo: &Repository, branch: &str, commit: &str) -> Result<BranchIs, RepoError> {
    let ours = Oid::from_str(commit).map_err(git("read the commit's name"))?;
    let head = repo.head().ok().and_then(|head| head.target());
    let merged = head.is_some_and(|head| head == ours || repo.graph_descendant_of(head, ours).unwrap_or_default());
    Ok(match tip(repo, branch)? {
        _ if merged => BranchIs::Merged,
        Some(at) if at == ours => BranchIs::Ours,
        Some(_) => BranchIs::Moved,
        None => BranchIs::Gone,
    })
}

fn full(branch: &str) -> String {
    format!("refs/heads/{branch}")
}

pub(in crate::sys) fn find<'r>(repo: &'r Repository, commit: &str) -> Result<Commit<'r>, RepoError> {
    Oid::from_str(commit).and_then(|id| repo.find_commit(id)).map_err(git("read the commit"))
}

fn tip(repo: &Repository, branch: &str) -> Result<Option<Oid>, RepoError> {
    match repo.find_reference(&full(branch)) {
        Ok(reference) => Ok(Some(reference.target().unwrap_or(Oid::ZERO_SHA1))),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(git("read the branch")(error)),
    }
}

/// Whether any work tree of the repository stands on the branch: moving it would make that tree look changed.
fn checked_out(repo: &Repository, branch: &str) -> Result<bool, RepoError> {
    let on = |repo: &Repository| {
        let head = repo.find_reference("HEAD").ok();
        let name = head.as_ref().and_then(|head| head.symbolic_target_bytes());
        name == Some(full(branch).as_bytes())
    };
    if on(repo) || Repository::open(repo.commondir()).is_ok_and(|main| on(&main)) {
        return Ok(true);
    }
    let names = repo.worktrees().map_err(git("list the work trees"))?;
    let linked = names.iter().flatten().flatten().filter_map(|name| repo.find_worktree(name).ok());
    Ok(linked.filter_map(|tree| Repository::open_from_worktree(&tree).ok()).any(|tree| on(&tree)))
}
