//! A look at an audited root: the tree as it is, and what was known of it before. One can be begun before it is asked for.

use std::io;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use jiff::Timestamp;

use super::known::Known;
use crate::domain::limits;
use crate::ports::Skipped;
use crate::sys::tree::snapshot;
use crate::sys::tree::{Entry, Kind, News, Tree, refresh, walk};

/// A look that a thread of its own has begun.
pub(super) struct Ahead {
    root: PathBuf,
    thread: JoinHandle<io::Result<Look>>,
}

impl Ahead {
    /// Begins to look at `root`, of which `state` keeps a snapshot.
    pub(super) fn begin(root: &Path, state: &Path, now: Timestamp) -> Self {
        let (root, state) = (root.to_owned(), state.to_owned());
        let at = root.clone();
        Self { root, thread: std::thread::spawn(move || Look::at(&at, &state, now)) }
    }

    /// Whether it looks at `root`, by the path that it was given.
    pub(super) fn is_of(&self, root: &Path) -> bool {
        self.root == root
    }

    /// What it saw.
    ///
    /// # Errors
    /// As of [`Look::at`].
    pub(super) fn end(self) -> io::Result<Look> {
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// The tree as it is, beside what it was.
pub(super) struct Look {
    /// The root, links resolved.
    pub(super) root: PathBuf,
    /// The file of its snapshot.
    pub(super) kept_in: PathBuf,
    /// Nanoseconds since 1970, a moment before it was looked at.
    pub(super) seen_at: i64,
    /// The same of the look before this one, if there was one.
    pub(super) seen_before: Option<i64>,
    /// What is known of its files, as of that look.
    pub(super) known: Known,
    /// The tree as it is.
    pub(super) tree: Tree,
    /// The earlier tree; `None` as well when nothing changed.
    old: Option<Tree>,
    same: bool,
}

impl Look {
    /// Looks at `root`, of which `state` keeps a snapshot.
    ///
    /// # Errors
    /// The root cannot be opened or listed.
    pub(super) fn at(root: &Path, state: &Path, now: Timestamp) -> io::Result<Self> {
        let root = root.canonicalize()?;
        let seen_at = i64::try_from(now.as_nanosecond()).unwrap_or(i64::MAX);
        let kept_in = snapshot::path_of(state, &root);
        let before = snapshot::load(&kept_in, &root);
        let seen_before = before.as_ref().map(|before| before.seen_at);
        let known = before.as_ref().and_then(|before| serde_json::from_slice(&before.known).ok()).unwrap_or_default();
        let (tree, old, same) = match before.map(|before| before.tree) {
            None => (walk(&root)?, None, false),
            Some(old) => match refresh(&root, &old, seen_before.unwrap_or(i64::MIN))? {
                News::Nothing => (old, None, true),
                News::Tree(new) => (new, Some(old), false),
            },
        };
        Ok(Self { root, kept_in, seen_at, seen_before, known, tree, old, same })
    }

    /// Whether anything differs from what it was.
    pub(super) const fn is_news(&self) -> bool {
        !self.same
    }

    /// Files that the worker may look at.
    pub(super) fn readable(&self) -> impl Iterator<Item = &str> {
        let readable = self.tree.entries().iter().filter(|entry| is_readable(entry));
        readable.filter_map(|entry| std::str::from_utf8(self.tree.path(entry)).ok())
    }

    /// Whether a file is new, or may differ from what it was.
    pub(super) fn is_changed(&self, path: &str) -> bool {
        if self.same {
            return false;
        }
        let (Some(old), Some(seen_at)) = (&self.old, self.seen_before) else { return true };
        match (old.get(path.as_bytes()), self.tree.get(path.as_bytes())) {
            (Some(was), Some(is)) => was.kind != is.kind || was.stat != is.stat || was.stat.is_racy(seen_at),
            _ => true,
        }
    }

    /// Files that were known and are not there any more, or not to be read.
    pub(super) fn gone(&self) -> impl Iterator<Item = &str> {
        let old = self.old.iter().flat_map(|old| old.entries().iter().map(move |entry| (old.path(entry), entry)));
        old.filter(|(path, was)| is_readable(was) && !self.tree.get(path).is_some_and(is_readable))
            .filter_map(|(path, _)| std::str::from_utf8(path).ok())
    }

    /// Names that the worker is not asked about, each with the reason.
    pub(super) fn skipped(&self) -> Vec<Skipped> {
        let reason = |kind, size| match kind {
            Kind::Secret => Some("a key or secret by its name: only its mode is looked at"),
            Kind::Link => Some("a symbolic link: not followed"),
            Kind::Special => Some("not a plain file"),
            Kind::Unnamed => Some("its name is not UTF-8"),
            Kind::Sealed => Some("a directory that cannot be listed"),
            Kind::File if size > limits::AUDIT_FILE_BYTES => Some("larger than 1 MiB"),
            Kind::File | Kind::Dir | Kind::Boundary | Kind::Above => None,
        };
        let entries = self.tree.entries().iter();
        entries
            .filter_map(|entry| {
                let reason = reason(entry.kind, entry.stat.size)?.to_owned();
                Some(Skipped { path: String::from_utf8_lossy(self.tree.path(entry)).into_owned(), reason })
            })
            .collect()
    }
}

fn is_readable(entry: &Entry) -> bool {
    entry.kind == Kind::Secret || entry.kind == Kind::File && entry.stat.size <= limits::AUDIT_FILE_BYTES
}
