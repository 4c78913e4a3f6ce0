//! The way back of a change: what is on disk before anything is changed, and how far the change is.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::fix::TextHash;

/// Version of the journal's format.
pub const VERSION: u32 = 1;

/// What a plain file is besides its bytes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Attributes {
    /// Permission bits, the special ones included.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last change of the bytes: seconds since 1970 and nanoseconds.
    pub modified: (i64, u32),
    /// Extended attributes by name: access lists, capabilities, labels, and the user's own.
    pub extended: BTreeMap<String, Vec<u8>>,
}

impl Attributes {
    /// Whether owner, mode and extended attributes are the same, whenever the bytes were written.
    #[must_use]
    pub fn same_rights(&self, other: &Self) -> bool {
        let rights = |of: &Self| (of.mode, of.uid, of.gid);
        rights(self) == rights(other) && self.extended == other.extended
    }
}

/// One move of a branch, and of the file in the work tree that stands on it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Step {
    /// The commit it leads to before, in hexadecimal.
    pub from: String,
    /// The commit it leads to afterwards, in hexadecimal.
    pub to: String,
}

/// Where a change is made, and what leads back.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Way {
    /// A commit on a branch; back by a commit that reverts it.
    Commit {
        /// The branch, as in `refs/heads/main`.
        reference: String,
        /// Whether the work tree of the root stands on the branch.
        checked_out: bool,
        /// The commit that makes the change.
        made: Option<Step>,
        /// The commit that takes it back.
        taken_back: Option<Step>,
    },
    /// A file outside git; back by the captured copy.
    Copy,
}

/// How an entry of the journal ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The change stands, and was judged for good.
    Kept,
    /// Nothing was changed, or it was undone half-way.
    Undone,
    /// It was taken back, whole.
    RolledBack,
}

/// How far a change is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The way back is on disk; nothing is changed.
    Prepared,
    /// The change is being made: only the world knows how far it is.
    Changing,
    /// The change is in place.
    Changed,
    /// It is being taken back: only the world knows how far that is.
    Reverting,
    /// Over.
    Closed(End),
}

/// One entry of the undo journal. The bytes before and after are files beside it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Journal {
    /// [`VERSION`].
    pub version: u32,
    /// The intervention.
    pub id: String,
    /// How far it is.
    pub stage: Stage,
    /// The root, absolute, links resolved.
    pub root: PathBuf,
    /// The file, relative to the root.
    pub path: String,
    /// What the file held.
    pub before: TextHash,
    /// What it is to hold.
    pub after: TextHash,
    /// What the file was besides its bytes; none when no work tree holds it.
    pub attributes: Option<Attributes>,
    /// Where, and what leads back.
    pub way: Way,
}

/// Where a change is to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// A commit on top of `base`, with `message`.
    Branch {
        /// The branch, as in `main`; the checked-out one when absent.
        branch: Option<String>,
        /// The commit that was approved, in hexadecimal.
        base: String,
        /// The commit message.
        message: String,
    },
    /// A file outside git.
    File,
}

/// A change of one file, ready to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// The intervention: letters, digits, `.` and `-`.
    pub id: String,
    /// The root, absolute.
    pub root: PathBuf,
    /// The file, relative to the root.
    pub path: String,
    /// The bytes that it starts from.
    pub before: Vec<u8>,
    /// The bytes that it ends in.
    pub after: Vec<u8>,
    /// Where.
    pub target: Target,
}

/// Whether `id` may name an entry of the journal, and so a folder.
#[must_use]
pub fn is_id(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    !id.is_empty() && id.len() <= 64 && !id.starts_with('.') && id.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_plain_name() {
        assert!(is_id("1a2b3c4d.2"));
        for bad in ["", ".", "..", ".a", "a/b", "a\0", "a b", &"a".repeat(65)] {
            assert!(!is_id(bad), "{bad}");
        }
    }
}
