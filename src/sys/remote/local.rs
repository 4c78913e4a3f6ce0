//! A repository on this machine: what the cache lacks is copied, and the branch is moved by compare-and-swap.
//!
//! libgit2's own transport for paths copies the whole history, and its push loses pushes of others while it reports
//! success.

use std::fs::File;
use std::path::Path;

use git2::{ErrorCode, ObjectType, Odb, Oid, Repository};
use rustix::fs::{FlockOperation, flock};

use super::request::{Limits, shown};
use super::session::Pushed;
use crate::domain::limits::{COMMIT_BYTES, LARGEST_FILE, TREE_BYTES};
use crate::ports::RemoteError;
use crate::sys::cache::objects;
use crate::sys::cache::tree::{DIRECTORY, FILE};

/// Deepest directory that is copied; mesh's own paths have seven names.
const DEPTH: u32 = 16;

/// The branch's tip in the repository at `path`.
pub(super) fn tip(path: &Path, branch_ref: &str) -> Result<Option<Oid>, RemoteError> {
    branch_tip(&open(path)?, branch_ref).map_err(|error| RemoteError::Protocol(shown(error.message())))
}

fn open(path: &Path) -> Result<Repository, RemoteError> {
    let unreachable = |why: &str| RemoteError::Unreachable(shown(&format!("{}: {why}", path.display())));
    Repository::open(path).map_err(|error| unreachable(error.message()))
}

fn branch_tip(repository: &Repository, branch_ref: &str) -> Result<Option<Oid>, git2::Error> {
    match repository.refname_to_id(branch_ref) {
        Ok(tip) => Ok(Some(tip)),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Copies commit `tip` and whatever of its directories and files `cache` lacks, without any history.
pub(super) fn copy(path: &Path, cache: &Repository, tip: Oid, limits: &Limits) -> Result<(), RemoteError> {
    let remote = open(path)?;
    let read_failed = |error: git2::Error| RemoteError::Cache(shown(error.message()));
    let (from, to) = (remote.odb().map_err(read_failed)?, cache.odb().map_err(read_failed)?);
    let mut copy = Copy { from, to, objects: limits.objects, bytes: limits.bytes };
    let unreadable = || RemoteError::Protocol(format!("commit {tip} of the branch cannot be read"));
    let root = objects::root_of(&copy.from, tip).map_err(|_| unreadable())?;
    copy.directory(root, 0)?;
    copy.object(tip, ObjectType::Commit, COMMIT_BYTES)?.map(drop).ok_or_else(unreadable)
}

struct Copy<'a> {
    from: Odb<'a>,
    to: Odb<'a>,
    /// How many more are taken.
    objects: u64,
    /// How many more are taken.
    bytes: u64,
}

impl Copy<'_> {
    /// A directory is written after all that is in it, so that one which is there is complete.
    fn directory(&mut self, id: Oid, depth: u32) -> Result<(), RemoteError> {
        if depth > DEPTH || self.to.exists(id) {
            return Ok(());
        }
        let Ok(tree) = objects::tree(&self.from, id) else { return Ok(()) };
        for entry in tree.entries() {
            if entry.mode == DIRECTORY {
                self.directory(entry.id, depth + 1)?;
            } else if entry.mode == FILE && !self.to.exists(entry.id) {
                self.object(entry.id, ObjectType::Blob, LARGEST_FILE)?;
            }
        }
        self.object(id, ObjectType::Tree, TREE_BYTES).map(drop)
    }

    /// `None`: it is not there, of another kind, or too large to be read by anybody.
    fn object(&mut self, id: Oid, kind: ObjectType, max: usize) -> Result<Option<()>, RemoteError> {
        let Ok(bytes) = objects::read(&self.from, id, kind, max) else { return Ok(None) };
        let limit = || RemoteError::Limit("the branch has more that is new than one fetch may bring".to_owned());
        self.objects = self.objects.checked_sub(1).ok_or_else(limit)?;
        self.bytes = self.bytes.checked_sub(bytes.len() as u64).ok_or_else(limit)?;
        let written = self.to.write(kind, &bytes).map_err(|error| RemoteError::Cache(shown(error.message())))?;
        if written == id {
            return Ok(Some(()));
        }
        Err(RemoteError::Protocol(format!("object {id} is damaged")))
    }
}

/// Moves the branch to what `commit` makes of its tip. Other publishers of this machine wait their turn, so that none
/// loses every race; against git itself the comparison holds, under the lock that git takes as well.
pub(super) fn push(
    path: &Path,
    branch_ref: &str,
    commit: impl FnOnce(&Repository, Option<Oid>) -> Result<Oid, git2::Error>,
) -> Result<Pushed, RemoteError> {
    let unreachable = |why: String| RemoteError::Unreachable(shown(&format!("{}: {why}", path.display())));
    let directory = File::open(path).map_err(|error| unreachable(error.to_string()))?;
    flock(&directory, FlockOperation::LockExclusive).map_err(|error| unreachable(error.to_string()))?;
    let remote = open(path)?;
    let moved = branch_tip(&remote, branch_ref).and_then(|tip| {
        let commit = commit(&remote, tip)?;
        let expected = tip.unwrap_or(Oid::ZERO_SHA1);
        remote.reference_matching(branch_ref, commit, true, expected, "mesh: publish").map(drop)
    });
    Ok(match moved {
        Ok(()) => Pushed::Accepted,
        Err(error) if matches!(error.code(), ErrorCode::Modified | ErrorCode::Locked) => Pushed::Raced,
        Err(error) => Pushed::Refused(shown(error.message())),
    })
}
