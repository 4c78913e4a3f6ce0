//! A branch moved from one commit to the next by compare-and-swap, and the work tree that stands on it with it: one
//! file and its entry in the index, under git's own lock. Whether the branch has moved decides what is so.

use std::cell::RefCell;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use git2::{AttrCheckFlags, AttrValue, ErrorCode, Oid, Repository, Tree};

use super::index::{IndexLock, Marker, drop_stale_lock};
use super::spot::{Kept, Seen, Spot};
use crate::domain::fix::TextHash;
use crate::domain::undo::{Attributes, Step};
use crate::ports::{ApplyError, RepoError};
use crate::sys::disk::Unsaved;
use crate::sys::repo::commit::add_objects;
use crate::sys::repo::staged::{IndexFile, Staged as InIndex};
use crate::sys::repo::{facts, must_open, within};

/// A file of a repository, and the branch that it is changed on.
pub(super) struct Ground {
    pub(super) repo: Repository,
    /// The file, relative to the repository's files.
    pub(super) inside: PathBuf,
    /// The branch, as in `refs/heads/main`.
    pub(super) reference: String,
    /// The file in the work tree, where that stands on the branch.
    pub(super) seat: Option<Spot>,
    index: RefCell<IndexFile>,
    /// The file for people.
    path: String,
    durable: bool,
}

/// One move, and what it needs.
pub(super) struct Advance<'a> {
    pub(super) from: Oid,
    pub(super) to: Oid,
    /// What the file holds before.
    pub(super) old: &'a [u8],
    /// What it is to hold.
    pub(super) new: &'a [u8],
    /// The change, which names what lies about while it is made.
    pub(super) id: &'a str,
    /// A folder of ours.
    pub(super) work: &'a Path,
    /// Told where it is, after the new file lies ready, after it was put in place, and after the branch was moved.
    pub(super) reached: &'a dyn Fn(Reached),
}

/// What lies ready for a move.
pub(super) struct Staged {
    /// In the work tree that stands on the branch: the lock on its index, and the file as it is.
    seat: Option<(IndexLock, Seen)>,
}

/// Points on the way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reached {
    Staged,
    FileReplaced,
    RefMoved,
}

pub(super) fn untouched(why: impl ToString) -> ApplyError {
    ApplyError::Untouched { why: why.to_string() }
}

fn refused(error: git2::Error) -> ApplyError {
    untouched(error.message())
}

fn repo_refused(error: RepoError) -> ApplyError {
    untouched(error)
}

/// The name under which the other version of the file lies beside it while it is replaced.
pub(super) fn temporary(id: &str) -> String {
    format!(".mesh-{id}.tmp")
}

impl Ground {
    /// The ground below `root`, on `branch` (as in `main`) or on the branch that is checked out.
    pub(super) fn of(root: &Path, path: &str, branch: Option<&str>, durable: bool) -> Result<Self, ApplyError> {
        let repo = must_open(root).map_err(repo_refused)?;
        let name = |head: git2::Reference<'_>| head.symbolic_target_bytes().map(<[u8]>::to_vec);
        let head = repo.find_reference("HEAD").map(name).map_err(refused)?;
        let head = head.and_then(|name| String::from_utf8(name).ok());
        let reference = match branch {
            Some(branch) => format!("refs/heads/{branch}"),
            None => head.ok_or_else(|| untouched("HEAD is detached: check a branch out first, or name one"))?,
        };
        Self::on(repo, root, path, reference, durable)
    }

    /// The ground of a change that was begun.
    pub(super) fn again(root: &Path, path: &str, reference: &str, durable: bool) -> Result<Self, ApplyError> {
        Self::on(must_open(root).map_err(repo_refused)?, root, path, reference.to_owned(), durable)
    }

    fn on(repo: Repository, root: &Path, path: &str, reference: String, durable: bool) -> Result<Self, ApplyError> {
        let real = root.canonicalize().map_err(untouched)?;
        let inside = within(&repo, &real.join(path)).ok_or_else(|| untouched("the file is outside the repository"))?;
        let seat = if stands_on(&repo, &reference) {
            Some(Spot::open(&real, path, durable).map_err(untouched)?)
        } else {
            None
        };
        let index = RefCell::default();
        Ok(Self { repo, inside, reference, seat, index, path: path.to_owned(), durable })
    }

    /// Where the branch leads.
    pub(super) fn tip(&self) -> Result<Oid, ApplyError> {
        let reference = self.repo.find_reference(&self.reference).map_err(refused)?;
        reference
            .target()
            .ok_or_else(|| untouched(format!("{} leads to another name, not to a commit", self.reference)))
    }

    /// What a commit holds for the file: the blob, its mode, its bytes.
    pub(super) fn held(&self, commit: Oid) -> Result<(Oid, i32, Vec<u8>), ApplyError> {
        let tree: Tree<'_> = self.repo.find_commit(commit).and_then(|commit| commit.tree()).map_err(refused)?;
        let entry = facts::plain_entry(&tree, &self.inside)
            .ok_or_else(|| untouched(format!("commit {commit} does not hold {} as a plain file", self.path)))?;
        let blob = self.repo.find_blob(entry.id()).map_err(refused)?;
        Ok((entry.id(), entry.filemode(), blob.content().to_vec()))
    }

    /// Whether the branch holds `commit`.
    pub(super) fn holds(&self, commit: Oid) -> Result<bool, ApplyError> {
        let tip = self.tip()?;
        Ok(tip == commit || self.repo.graph_descendant_of(tip, commit).unwrap_or(false))
    }

    /// Adds what of a new commit has to be on disk before a branch leads to it.
    pub(super) fn add_commit(&self, commit: Oid, unsaved: &mut Unsaved) -> Result<(), ApplyError> {
        if self.durable { add_objects(&self.repo, commit, &self.inside, unsaved).map_err(repo_refused) } else { Ok(()) }
    }

    fn staged(&self) -> Result<InIndex, ApplyError> {
        self.index.borrow_mut().at(&self.repo, &self.inside).map_err(refused)
    }

    fn moved_branch(&self) -> ApplyError {
        ApplyError::Moved { what: self.reference.trim_start_matches("refs/heads/").to_owned() }
    }

    fn moved_file(&self) -> ApplyError {
        ApplyError::Moved { what: self.path.clone() }
    }

    /// Demands that nothing of the user's is in the way; returns the file of the work tree, where there is one.
    pub(super) fn demand_clean(&self, from: Oid, old: &[u8]) -> Result<Option<Seen>, ApplyError> {
        if stands_elsewhere(&self.repo, &self.reference).map_err(refused)? {
            return Err(untouched(format!("{} is checked out in another work tree", self.reference)));
        }
        if self.tip()? != from {
            return Err(self.moved_branch());
        }
        let (blob, mode, bytes) = self.held(from)?;
        if bytes != old {
            return Err(self.moved_file());
        }
        let Some(spot) = &self.seat else { return Ok(None) };
        if let Some(what) = facts::busy(self.repo.state()) {
            return Err(untouched(format!("a {what} is under way in the repository: finish it first")));
        }
        let seen = spot.read().map_err(untouched)?.ok_or_else(|| self.moved_file())?;
        if seen.bytes != old {
            return Err(untouched(format!("{} has changes that are not committed, or git filters it", self.path)));
        }
        if seen.metadata.nlink() != 1 {
            return Err(untouched(format!("{} is a hard link: its other names would not follow", self.path)));
        }
        let modes = self.repo.config().and_then(|config| config.get_bool("core.filemode")).unwrap_or(true);
        if modes && (seen.attributes.mode & 0o100 != 0) != (mode == 0o100_755) {
            return Err(untouched(format!("{} has a mode that is not committed", self.path)));
        }
        let staged = self.staged()?;
        for attribute in ["filter", "ident", "working-tree-encoding"] {
            let value =
                self.repo.get_attr(&self.inside, attribute, AttrCheckFlags::FILE_THEN_INDEX).map_err(refused)?;
            if !matches!(AttrValue::from_string(value), AttrValue::Unspecified | AttrValue::False) {
                return Err(untouched(format!("git rewrites {} by its attribute `{attribute}`", self.path)));
            }
        }
        let entry = staged.plain().map_err(|why| untouched(format!("{}: {why}", self.path)))?;
        if entry.id != blob || i64::from(entry.mode) != i64::from(mode) {
            return Err(untouched(format!("{} has staged changes", self.path)));
        }
        Ok(Some(seen))
    }

    /// Writes what the lock on the index will hold, where a work tree stands on the branch. To be saved before
    /// [`Ground::stage`].
    pub(super) fn mark(&self, id: &str, unsaved: &mut Unsaved) -> Result<Option<Marker>, ApplyError> {
        match self.seat {
            Some(_) => Marker::write(&self.repo, id, unsaved).map(Some).map_err(untouched),
            None => Ok(None),
        }
    }

    /// Takes the lock on the index and lays the new file beside the old one. The journal must know of the change by
    /// then, so that what is left of this is cleared after a power cut; and it is to be saved before
    /// [`Ground::advance`].
    pub(super) fn stage(
        &self,
        marker: Option<Marker>,
        advance: &Advance<'_>,
        unsaved: &mut Unsaved,
    ) -> Result<Staged, ApplyError> {
        let (Some(spot), Some(marker)) = (&self.seat, marker) else { return Ok(Staged { seat: None }) };
        let lock = marker.take().map_err(untouched)?;
        let seen = self.demand_clean(advance.from, advance.old)?.ok_or_else(|| self.moved_file())?;
        unsaved.add_at(self.repo.path()).map_err(untouched)?;
        spot.stage(&temporary(advance.id), advance.new, &seen.attributes, false, unsaved).map_err(untouched)?;
        Ok(Staged { seat: Some((lock, seen)) })
    }

    /// Takes away what [`Ground::stage`] laid down, all but the lock.
    pub(super) fn unstage(&self, id: &str) -> Result<(), ApplyError> {
        self.seat.as_ref().map_or(Ok(()), |spot| spot.settle(&temporary(id))).map_err(untouched)
    }

    /// Moves file, branch and index entry, in this order. Returned is what the disk may not have yet; without it,
    /// recovery finds the change whole.
    ///
    /// # Errors
    /// Nothing was changed, or it is undone, or it is broken; the variant says which.
    pub(super) fn advance(&self, staged: Staged, advance: &Advance<'_>) -> Result<Unsaved, ApplyError> {
        let mut unsaved = Unsaved::new(self.durable);
        let (Some(spot), Some((lock, seen))) = (&self.seat, staged.seat) else {
            self.demand_clean(advance.from, advance.old)?;
            self.move_branch(advance.from, advance.to, &mut unsaved)?;
            (advance.reached)(Reached::RefMoved);
            return Ok(unsaved);
        };
        let temporary = temporary(advance.id);
        spot.swap(&temporary, TextHash::of(advance.old), &seen.attributes).map_err(|kept| match kept {
            Kept::Moved => self.moved_file(),
            Kept::Refused(why) => untouched(why),
        })?;
        (advance.reached)(Reached::FileReplaced);
        let moved = spot.add_folder(&mut unsaved).map_err(untouched);
        if let Err(error) = moved.and_then(|()| self.move_branch(advance.from, advance.to, &mut unsaved)) {
            self.put_back(spot, advance, &seen.attributes, &error)?;
            return Err(error);
        }
        (advance.reached)(Reached::RefMoved);
        let mut unsaved = match self.put_entry(&lock, spot, advance, unsaved) {
            Ok(unsaved) => unsaved,
            Err(error) => {
                // Backwards, in the opposite order.
                let mut unsaved = Unsaved::new(self.durable);
                let way = self.move_branch(advance.to, advance.from, &mut unsaved);
                way.map_err(|why| self.broken(&format!("{error}; then {why}")))?;
                drop(unsaved.save());
                self.put_back(spot, advance, &seen.attributes, &error)?;
                return Err(ApplyError::Undone { why: error.to_string() });
            }
        };
        // What is left over is cleared at the next start; the change itself is whole.
        spot.let_go(&temporary, &mut unsaved)
            .or_else(|_| spot.let_go(&temporary, &mut unsaved))
            .map_err(|why| self.broken(&why.to_string()))?;
        Ok(unsaved)
    }

    fn put_entry(
        &self,
        lock: &IndexLock,
        spot: &Spot,
        advance: &Advance<'_>,
        unsaved: Unsaved,
    ) -> Result<Unsaved, ApplyError> {
        let (blob, _, _) = self.held(advance.to)?;
        let seen = spot.read().map_err(untouched)?.ok_or_else(|| self.moved_file())?;
        let folder = lock.put(advance.work, &self.inside, blob, &seen.metadata, unsaved).map_err(untouched)?;
        let mut unsaved = Unsaved::new(self.durable);
        unsaved.add(folder);
        Ok(unsaved)
    }

    fn put_back(
        &self,
        spot: &Spot,
        advance: &Advance<'_>,
        like: &Attributes,
        first: &ApplyError,
    ) -> Result<(), ApplyError> {
        spot.swap_back(&temporary(advance.id), advance.old, advance.new, like).map_err(|kept| {
            let why = match kept {
                Kept::Moved => "somebody wrote to it in between".to_owned(),
                Kept::Refused(why) => why.to_string(),
            };
            self.broken(&format!("{first}; then {why}"))
        })
    }

    fn broken(&self, why: &str) -> ApplyError {
        ApplyError::Broken { what: self.path.clone(), why: why.to_owned() }
    }

    fn move_branch(&self, from: Oid, to: Oid, unsaved: &mut Unsaved) -> Result<(), ApplyError> {
        match self.repo.reference_matching(&self.reference, to, true, from, "mesh: fix") {
            Ok(_) => {}
            Err(error) if matches!(error.code(), ErrorCode::Modified | ErrorCode::Exists | ErrorCode::Locked) => {
                return Err(self.moved_branch());
            }
            Err(error) => return Err(refused(error)),
        }
        // It is moved: that the disk has it at once is a wish, and recovery decides from what the disk has. The folders
        // of a branch that was packed are new.
        let all = self.repo.commondir().join("refs/heads");
        let path = self.repo.commondir().join(&self.reference);
        for part in path.ancestors().take_while(|part| part.starts_with(&all)) {
            drop(unsaved.add_at(part));
        }
        Ok(())
    }

    /// After a kill or a power cut: makes whole what the branch says is done, and undoes what it does not. Returns whether
    /// it is done.
    pub(super) fn recover(&self, step: &Step, id: &str, work: &Path, like: &Attributes) -> Result<bool, ApplyError> {
        let (from, to) = (oid(&step.from)?, oid(&step.to)?);
        let done = self.holds(to)?;
        let Some(spot) = &self.seat else {
            drop_stale_lock(&self.repo, id).map_err(untouched)?;
            return Ok(done);
        };
        let lock = IndexLock::take(&self.repo, id, self.durable).map_err(untouched)?;
        let ((old_blob, _, old), (new_blob, _, new)) = (self.held(from)?, self.held(to)?);
        let temporary = temporary(id);
        let (head_blob, _, _) = self.held(self.tip()?)?;
        let mended = if !done && head_blob == old_blob {
            spot.swap_back(&temporary, &old, &new, like)
        } else {
            // The disk may have kept that the branch moved, and not that the file did. Or somebody has committed the very
            // change meanwhile: then it is theirs.
            let again = if done && head_blob == new_blob { spot.swap_again(&temporary, &old, &new) } else { Ok(()) };
            again.and_then(|()| Ok(spot.tidy(&temporary, &old, &new)?))
        };
        match mended {
            // Neither the one nor the other: the user works on it.
            Ok(()) | Err(Kept::Moved) => {}
            Err(Kept::Refused(why)) if done => return Err(untouched(why)),
            Err(Kept::Refused(why)) => return Err(self.broken(&why.to_string())),
        }
        if !done {
            return Ok(false);
        }
        let seen = spot.read().map_err(untouched)?;
        let stale = self.staged()?.entry.is_some_and(|entry| entry.id == old_blob);
        if let Some(seen) = seen.filter(|seen| stale && seen.bytes == new && head_blob == new_blob) {
            let unsaved = Unsaved::new(self.durable);
            let folder = lock.put(work, &self.inside, new_blob, &seen.metadata, unsaved).map_err(untouched)?;
            let mut unsaved = Unsaved::new(self.durable);
            unsaved.add(folder);
            unsaved.save().map_err(untouched)?;
        }
        Ok(true)
    }
}

pub(super) fn oid(hex: &str) -> Result<Oid, ApplyError> {
    Oid::from_str(hex).map_err(refused)
}

fn stands_on(repo: &Repository, reference: &str) -> bool {
    let head = repo.find_reference("HEAD").ok();
    head.as_ref().and_then(|head| head.symbolic_target_bytes()) == Some(reference.as_bytes())
}

/// Whether another work tree of the repository stands on the branch: moving it would make that tree look changed.
fn stands_elsewhere(repo: &Repository, reference: &str) -> Result<bool, git2::Error> {
    let other = |one: &Repository| one.path() != repo.path() && stands_on(one, reference);
    if repo.is_worktree() && Repository::open(repo.commondir()).is_ok_and(|main| other(&main)) {
        return Ok(true);
    }
    let names = repo.worktrees()?;
    let linked = names.iter().flatten().flatten().filter_map(|name| repo.find_worktree(name).ok());
    Ok(linked.filter_map(|tree| Repository::open_from_worktree(&tree).ok()).any(|tree| other(&tree)))
}

/// The system's word on a folder of ours.
pub(super) fn own_state(error: io::Error) -> ApplyError {
    untouched(format!("the undo journal cannot be used: {error}"))
}
