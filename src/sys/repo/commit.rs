//! One commit with one file changed, and the branch that leads to it.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use git2::build::TreeUpdateBuilder;
use git2::{Commit, ErrorCode, FileMode, ObjectType, Oid, Repository, Signature, Time, Tree, TreeEntry};
use jiff::Timestamp;

use super::facts::plain_entry;
use super::{git, within};
use crate::domain::fix::{FixPlan, TextHash};
use crate::domain::guard::Approved;
use crate::ports::{BranchIs, Committed, RepoError};
use crate::sys::disk::Unsaved;

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
    let edit = Edit { path: &path, before: plan.before.hash(), after: plan.after.as_bytes() };
    let id = edit.on_top_of(repo, &base, &plan.message(), email, now)?;
    save_commit(repo, id, &path)?;
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
    /// Makes a commit on top of `base` with that one file changed. [`add_objects`] says what is to be saved of it.
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
fn save_commit(repo: &Repository, id: Oid, path: &Path) -> Result<(), RepoError> {
    let mut unsaved = Unsaved::new(true);
    add_objects(repo, id, path, &mut unsaved)?;
    unsaved.save().map_err(|error| RepoError::Git { what: "put objects on disk", why: error.to_string() })
}

/// Adds a new commit, its trees down to `path`, and the file to what is yet to be saved before a branch leads to them:
/// libgit2 does not, and a branch to an empty object after a power cut breaks the user's repository.
pub(in crate::sys) fn add_objects(
    repo: &Repository,
    id: Oid,
    path: &Path,
    unsaved: &mut Unsaved,
) -> Result<(), RepoError> {
    let tree = repo.find_commit(id).and_then(|commit| commit.tree()).map_err(git("read the new tree"))?;
    let mut written = vec![tree.id(), id];
    for part in path.ancestors().filter(|part| !part.as_os_str().is_empty()) {
        written.push(tree.get_path(part).map_err(git("read the new tree"))?.id());
    }
    let objects = repo.commondir().join("objects");
    let in_objects = |error: io::Error| RepoError::Git { what: "put objects on disk", why: error.to_string() };
    unsaved.add_at(&objects).map_err(in_objects)?;
    for object in written {
        let hex = object.to_string();
        let folder = objects.join(&hex[..2]);
        match unsaved.add_at(&folder.join(&hex[2..])).and_then(|()| unsaved.add_at(&folder)) {
            // In a pack or an alternate, and so on disk for longer.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other.map_err(in_objects)?,
        }
    }
    Ok(())
}

/// The promise of a seeded commit, checked on what was written: beside the way down to the file, both trees hold the
/// same objects. Only the trees on that way are read, however many there are.
fn one_file_differs(repo: &Repository, old: &Tree<'_>, new: &Tree<'_>, path: &Path) -> Result<(), RepoError> {
    let more = || RepoError::Git { what: "write the tree", why: "more than the one file would change".to_owned() };
    let mut way: Vec<&[u8]> = path.iter().map(OsStrExt::as_bytes).collect();
    let file = way.pop().ok_or_else(more)?;
    let (mut old, mut new) = (old.clone(), new.clone());
    for folder in way {
        let (before, after) = only_that_differs(&old, &new, folder).ok_or_else(more)?;
        let tree = |entry: &TreeEntry<'_>| repo.find_tree(entry.id()).map_err(git("compare the trees"));
        (old, new) = (tree(&before)?, tree(&after)?);
    }
    let (before, after) = only_that_differs(&old, &new, file).ok_or_else(more)?;
    let is_file = |entry: &TreeEntry<'_>| entry.kind() == Some(ObjectType::Blob);
    if is_file(&before) && is_file(&after) { Ok(()) } else { Err(more()) }
}

/// The entry `name` of both trees, if it differs in its object and nothing else differs.
fn only_that_differs(old: &Tree<'_>, new: &Tree<'_>, name: &[u8]) -> Option<(TreeEntry<'static>, TreeEntry<'static>)> {
    if old.len() != new.len() {
        return None;
    }
    let mut found = None;
    for (before, after) in old.iter().zip(new.iter()) {
        if before.name_bytes() != after.name_bytes() || before.filemode_raw() != after.filemode_raw() {
            return None;
        }
        if before.id() != after.id() {
            let named = before.name_bytes() == name && found.is_none();
            found = named.then(|| (before.to_owned(), after.to_owned()));
            found.as_ref()?;
        }
    }
    found
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

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(repo: &Repository, below: Option<&Tree<'_>>, files: &[(&str, &str, FileMode)]) -> Oid {
        let mut update = TreeUpdateBuilder::new();
        for (path, text, mode) in files {
            update.upsert(*path, repo.blob(text.as_bytes()).expect("written"), *mode);
        }
        let empty = repo.treebuilder(None).and_then(|builder| builder.write()).expect("written");
        let empty = repo.find_tree(empty).expect("there");
        update.create_updated(repo, below.unwrap_or(&empty)).expect("written")
    }

    #[test]
    fn a_commit_of_more_than_the_one_file_is_refused() {
        const PLAIN: FileMode = FileMode::Blob;
        let dir = tempfile::tempdir().expect("a temp dir");
        let repo = Repository::init(dir.path()).expect("made");
        let files = [("a/b/x.py", "x", PLAIN), ("a/b/y.py", "y", PLAIN), ("a/z.py", "z", PLAIN), ("top", "t", PLAIN)];
        let base = repo.find_tree(tree(&repo, None, &files)).expect("there");
        let differs = |changes: &[(&str, &str, FileMode)], path: &str| {
            let new = repo.find_tree(tree(&repo, Some(&base), changes)).expect("there");
            one_file_differs(&repo, &base, &new, Path::new(path)).is_ok()
        };
        let mend = ("a/b/x.py", "mended", PLAIN);
        assert!(differs(&[mend], "a/b/x.py"));
        assert!(differs(&[("top", "mended", PLAIN)], "top"));
        for (what, changes, path) in [
            ("nothing", vec![("top", "t", PLAIN)], "top"),
            ("another file", vec![mend], "a/b/y.py"),
            ("a file beside it", vec![mend, ("a/b/y.py", "too", PLAIN)], "a/b/x.py"),
            ("a file above it", vec![mend, ("a/z.py", "too", PLAIN)], "a/b/x.py"),
            ("a file at the top", vec![mend, ("top", "too", PLAIN)], "a/b/x.py"),
            ("a new file", vec![mend, ("a/b/new.py", "", PLAIN)], "a/b/x.py"),
            ("a new folder", vec![mend, ("new/new.py", "", PLAIN)], "a/b/x.py"),
            ("its mode", vec![("a/b/x.py", "mended", FileMode::BlobExecutable)], "a/b/x.py"),
            ("the mode of another", vec![mend, ("top", "t", FileMode::BlobExecutable)], "a/b/x.py"),
            ("its kind", vec![("a/b/x.py", "mended", FileMode::Link)], "a/b/x.py"),
            ("its folder", vec![mend], "a/b"),
            ("a path through a file", vec![("top", "mended", PLAIN)], "top/x.py"),
        ] {
            assert!(!differs(&changes, path), "{what}");
        }
    }
}
