//! What commits changed, as text. Nothing is written.

use std::path::Path;
use std::time::{Duration, Instant};

use git2::{Commit, Delta, DiffOptions, ObjectType, Oid, Repository, Sort, TreeWalkMode, TreeWalkResult};

use super::{git, must_open};
use crate::domain::limits::AUDIT_FILE_BYTES;
use crate::ports::RepoError;

/// Most files of one commit that are read.
const FILES: usize = 200;

/// A file that a commit changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChangedFile {
    /// Its path in the repository, parts by `/`.
    pub path: String,
    /// Its text in the parent; `None` when it is new, not text or too large.
    pub before: Option<String>,
    /// Its text in the commit; `None` when it is gone, not text or too large.
    pub after: Option<String>,
}

/// A commit against its only parent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// The commit, in hexadecimal.
    pub commit: String,
    /// Its parent, in hexadecimal.
    pub parent: String,
    /// The message.
    pub message: String,
    /// What changed, by path; links and submodules are left out.
    pub files: Vec<ChangedFile>,
}

/// The change that a revision names.
///
/// # Errors
/// No such revision; a merge or a first commit, which is no single change.
pub fn change(dir: &Path, revision: &str) -> Result<Change, RepoError> {
    let repo = must_open(dir)?;
    let unusable = |why: String| RepoError::Unusable { root: dir.to_owned(), why };
    let object = repo.revparse_single(revision).map_err(git("find the commit"))?;
    let commit = object.peel_to_commit().map_err(git("find the commit"))?;
    let parent = match commit.parent_count() {
        0 => {
            return Err(unusable(format!(
                "commit {} is the first one: there is nothing before it",
                short(commit.id())
            )));
        }
        1 => commit.parent(0).map_err(git("read the parent of the commit"))?,
        _ => {
            return Err(unusable(format!(
                "commit {} is a merge: name the commit that has the fix",
                short(commit.id())
            )));
        }
    };
    Ok(Change {
        commit: commit.id().to_string(),
        parent: parent.id().to_string(),
        message: String::from_utf8_lossy(commit.message_bytes()).into_owned(),
        files: changed(&repo, &parent, &commit, &|_| true)?,
    })
}

fn short(id: Oid) -> String {
    id.to_string()[..12].to_owned()
}

fn changed(
    repo: &Repository,
    old: &Commit<'_>,
    new: &Commit<'_>,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<Vec<ChangedFile>, RepoError> {
    let (old, new) = (old.tree().map_err(git("read a tree"))?, new.tree().map_err(git("read a tree"))?);
    let mut options = DiffOptions::new();
    options.ignore_submodules(true).skip_binary_check(true);
    let diff = repo.diff_tree_to_tree(Some(&old), Some(&new), Some(&mut options)).map_err(git("compare the trees"))?;
    let mut files = Vec::new();
    for delta in diff.deltas() {
        let side = if delta.status() == Delta::Deleted { delta.old_file() } else { delta.new_file() };
        let Some(path) = side.path().and_then(Path::to_str).filter(|path| wanted(path)) else { continue };
        if files.len() == FILES {
            break;
        }
        let side = |file: git2::DiffFile<'_>| plain_text(repo, file.id(), i32::from(file.mode()));
        files.push(ChangedFile {
            path: path.to_owned(),
            before: side(delta.old_file()),
            after: side(delta.new_file()),
        });
    }
    Ok(files)
}

fn plain_text(repo: &Repository, id: Oid, mode: i32) -> Option<String> {
    if id.is_zero() || !matches!(mode, 0o100_644 | 0o100_755) {
        return None;
    }
    let (size, _) = repo.odb().ok()?.read_header(id).ok()?;
    if u64::try_from(size).ok()? > AUDIT_FILE_BYTES {
        return None;
    }
    String::from_utf8(repo.find_blob(id).ok()?.content().to_vec()).ok()
}

/// The wanted texts of a commit by path, up to `files` of them and `bytes` in all; and how many were left out.
///
/// # Errors
/// The commit or a tree cannot be read.
pub fn texts_at(
    dir: &Path,
    commit: &str,
    wanted: &dyn Fn(&str) -> bool,
    (files, bytes): (usize, usize),
) -> Result<(Vec<(String, String)>, usize), RepoError> {
    let repo = must_open(dir)?;
    let id = Oid::from_str(commit).map_err(git("read the commit's name"))?;
    let tree = repo.find_commit(id).and_then(|commit| commit.tree()).map_err(git("read the commit"))?;
    let (mut texts, mut size, mut left_out) = (Vec::new(), 0, 0);
    tree.walk(TreeWalkMode::PreOrder, |folder, entry| {
        let Ok(name) = entry.name() else { return TreeWalkResult::Ok };
        let path = format!("{folder}{name}");
        if entry.kind() == Some(ObjectType::Blob)
            && wanted(&path)
            && let Some(text) = plain_text(&repo, entry.id(), entry.filemode())
        {
            if texts.len() < files && size + text.len() <= bytes {
                size += text.len();
                texts.push((path, text));
            } else {
                left_out += 1;
            }
        }
        TreeWalkResult::Ok
    })
    .map_err(git("list the commit's files"))?;
    Ok((texts, left_out))
}

/// What the last `count` commits before `commit` changed in wanted files, newest first, for as long as `time` lasts.
///
/// # Errors
/// The history cannot be read.
pub fn recent(
    dir: &Path,
    commit: &str,
    wanted: &dyn Fn(&str) -> bool,
    count: usize,
    time: Duration,
) -> Result<Vec<Vec<ChangedFile>>, RepoError> {
    let start = Instant::now();
    let repo = must_open(dir)?;
    let id = Oid::from_str(commit).map_err(git("read the commit's name"))?;
    let mut walk = repo.revwalk().map_err(git("walk the history"))?;
    walk.set_sorting(Sort::TIME).and_then(|()| walk.push(id)).map_err(git("walk the history"))?;
    let mut found = Vec::new();
    for id in walk.skip(1) {
        if found.len() == count || start.elapsed() > time {
            break;
        }
        let Ok(commit) = id.and_then(|id| repo.find_commit(id)) else { break };
        if commit.parent_count() != 1 {
            continue;
        }
        // A shallow clone ends here.
        let Ok(parent) = commit.parent(0) else { break };
        let files = changed(&repo, &parent, &commit, wanted)?;
        if !files.is_empty() {
            found.push(files);
        }
    }
    Ok(found)
}
