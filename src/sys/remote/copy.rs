//! Copies what a tip needs, and nothing that nobody would read, from one repository to another.

use git2::{ObjectType, Odb, Oid};

use super::request::shown;
use crate::domain::limits::{COMMIT_BYTES, LARGEST_FILE, TREE_BYTES};
use crate::ports::RemoteError;
use crate::sys::cache::objects;
use crate::sys::cache::tree::{DIRECTORY, FILE};

/// Deepest directory that is read; mesh's own paths have seven names.
pub(super) const DEPTH: u32 = 16;

/// A copy, and how much more it may take.
pub(super) struct Copy<'a> {
    pub(super) from: &'a Odb<'a>,
    pub(super) to: &'a Odb<'a>,
    pub(super) objects: u64,
    pub(super) bytes: u64,
}

impl Copy<'_> {
    /// Copies commit `tip` with whatever of its directories and plain files is not there yet, and no history.
    pub(super) fn tip(&mut self, tip: Oid) -> Result<(), RemoteError> {
        let unreadable = || RemoteError::Protocol(format!("commit {tip} of the branch cannot be read"));
        let root = objects::root_of(self.from, tip).map_err(|_| unreadable())?;
        self.directory(root, 0)?;
        self.object(tip, ObjectType::Commit, COMMIT_BYTES)?.ok_or_else(unreadable)
    }

    /// A directory is written after all that is in it, so that one which is there is complete.
    fn directory(&mut self, id: Oid, depth: u32) -> Result<(), RemoteError> {
        if depth > DEPTH || self.to.exists(id) {
            return Ok(());
        }
        let Ok(tree) = objects::tree(self.from, id) else { return Ok(()) };
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
        let Ok(bytes) = objects::read(self.from, id, kind, max) else { return Ok(None) };
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
