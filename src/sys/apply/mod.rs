//! Changes what people use, and takes it back. The way back is on disk before anything is changed, so that a process
//! killed at any point can be followed by one that finishes or undoes.

mod branch;
mod index;
mod journal;
mod port;
mod prove;
pub mod read_only;
mod recover;
mod spot;

use std::fs::File;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};

use crate::domain::fix::TextHash;
use crate::domain::id::HostId;
use crate::domain::undo::{Attributes, Change, End, Journal, Stage, Step, Target, VERSION, Way};
use crate::ports::{AppliedAs, ApplyError};
use crate::sys::disk::Unsaved;
use crate::sys::repo::commit::{Edit, commit_tree, find};
use branch::{Advance, Ground, Reached, own_state, temporary, untouched};
use index::Marker;
use journal::Book;
use spot::{Kept, Spot};

pub use port::SystemApplier;
pub use prove::Shown;

/// Every named point at which a process may be killed, in the order of a change and its way back.
pub const POINTS: [&str; 13] = [
    "apply.journaled",
    "apply.staged",
    "apply.object-written",
    "apply.file-replaced",
    "apply.ref-moved",
    "apply.changed",
    "apply.closed",
    "rollback.begun",
    "rollback.staged",
    "rollback.object-written",
    "rollback.file-replaced",
    "rollback.ref-moved",
    "rollback.done",
];

/// Makes changes on this machine.
#[derive(Clone, Debug)]
pub struct Changes {
    state: PathBuf,
    host: HostId,
    email: String,
    book: Book,
    point: fn(&str),
    /// False in a scratch copy, which nothing has to outlive.
    durable: bool,
}

impl Changes {
    /// Journals are below `state`, commits are by `host`. `point` is told each of [`POINTS`] as it is passed.
    #[must_use]
    pub fn new(state: &Path, host: HostId, point: fn(&str)) -> Self {
        Self::with(state, host, point, true)
    }

    fn with(state: &Path, host: HostId, point: fn(&str), durable: bool) -> Self {
        let book = Book::new(state.join("undo"), durable);
        Self { state: state.to_owned(), host, email: format!("mesh@{}", host.short()), book, point, durable }
    }

    /// Makes the change.
    ///
    /// # Errors
    /// Nothing was changed, or it is undone, or it is broken; the variant says which.
    pub fn apply(&self, change: &Change, now: Timestamp) -> Result<AppliedAs, ApplyError> {
        let _lock = self.lock()?;
        self.demand_open()?;
        match self.book.read(&change.id).map_err(own_state)?.map(|journal| journal.stage) {
            None | Some(Stage::Closed(End::Undone | End::RolledBack)) => {}
            Some(Stage::Closed(End::Kept)) => return Err(untouched("it was made before, and stands")),
            Some(_) => return Err(untouched("it is under way: the next start of mesh finishes or undoes it")),
        }
        let ready = self.ready(change)?;
        let mut journal = ready.journal;
        // Saved before anything is laid down elsewhere, or changed.
        let begun = self.book.begin(&journal, &change.before, &change.after).map_err(own_state)?;
        (self.point)("apply.journaled");
        let made = match &change.target {
            Target::Branch { message, .. } => {
                self.apply_commit(&mut journal, change, ready.ground, message, now, begun)
            }
            Target::File => self.apply_file(&mut journal, change, begun),
        };
        match made {
            Ok(unsaved) => {
                (self.point)("apply.changed");
                // The change is whole: a journal that cannot say so says `changing`, and recovery finds it whole.
                drop(self.book.note_after(&mut journal, Stage::Changed, unsaved));
                (self.point)("apply.closed");
                Ok(self.applied_as(&journal))
            }
            Err(error @ ApplyError::Broken { .. }) => Err(self.close_door(error)),
            Err(error) => {
                // A journal that cannot be closed is closed by the next recovery, which finds nothing to undo.
                drop(self.book.note(&mut journal, Stage::Closed(End::Undone)));
                Err(error)
            }
        }
    }

    /// Takes the change back: a commit that reverts it, or the captured copy. A second call changes nothing.
    ///
    /// # Errors
    /// [`ApplyError::Moved`] when somebody has worked there since: the change stays. [`ApplyError::Broken`] when it
    /// failed otherwise: from then on nothing is changed until a person says so.
    pub fn rollback(&self, id: &str, now: Timestamp) -> Result<(), ApplyError> {
        let _lock = self.lock()?;
        self.roll_back_locked(id, now)
    }

    fn roll_back_locked(&self, id: &str, now: Timestamp) -> Result<(), ApplyError> {
        self.demand_open()?;
        let journal = self.book.read(id).map_err(own_state)?;
        let mut journal = journal.ok_or_else(|| untouched("no way back is recorded for it"))?;
        match journal.stage {
            Stage::Closed(End::Undone | End::RolledBack) => Ok(()),
            Stage::Prepared | Stage::Changing => Err(untouched("it is not in place yet: restart mesh to finish it")),
            Stage::Changed | Stage::Reverting | Stage::Closed(End::Kept) => self.take_back(&mut journal, now),
        }
    }

    /// The changes whose way back is open: begun and not settled, or in place and not yet judged.
    ///
    /// # Errors
    /// The undo journal cannot be read; nothing may be changed then.
    pub fn pending(&self) -> Result<Vec<String>, ApplyError> {
        self.book.open_entries().map_err(own_state)
    }

    /// Notes that the change is judged for good. Its way back stays on disk for [`Changes::rollback`].
    ///
    /// # Errors
    /// The undo journal cannot be written, or the change is not in place.
    pub fn settle(&self, id: &str) -> Result<(), ApplyError> {
        let _lock = self.lock()?;
        match self.book.read(id).map_err(own_state)? {
            Some(mut journal) if journal.stage == Stage::Changed => {
                self.book.note(&mut journal, Stage::Closed(End::Kept)).map_err(own_state)
            }
            Some(Journal { stage: Stage::Closed(_), .. }) | None => Ok(()),
            Some(_) => Err(untouched("it is not in place")),
        }
    }

    /// The changes that are over and whose way back is still on disk.
    ///
    /// # Errors
    /// The undo journal cannot be read.
    pub fn settled(&self) -> Result<Vec<String>, ApplyError> {
        self.book.closed_entries().map_err(own_state)
    }

    /// Removes the way back of a change that is over, for good.
    ///
    /// # Errors
    /// It is not over, or the undo journal cannot be written.
    pub fn forget(&self, id: &str) -> Result<(), ApplyError> {
        let _lock = self.lock()?;
        match self.book.read(id).map_err(own_state)? {
            Some(Journal { stage: Stage::Closed(_), .. }) => self.book.forget(id).map_err(own_state),
            Some(_) => Err(untouched("it is not over, so its way back stays")),
            None => Ok(()),
        }
    }

    /// What the change is to people once it is in place.
    fn applied_as(&self, journal: &Journal) -> AppliedAs {
        match &journal.way {
            Way::Commit { made, .. } => {
                let commit = made.as_ref().map(|step| step.to.clone());
                let way_back = format!("git revert {}", commit.as_deref().unwrap_or_default());
                AppliedAs { commit, way_back }
            }
            Way::Copy => {
                let copy = self.book.folder(&journal.id).join("before");
                let way_back = format!("the captured copy {}, or the diff by `patch -R`", copy.display());
                AppliedAs { commit: None, way_back }
            }
        }
    }

    /// One process changes or recovers at a time.
    fn lock(&self) -> Result<File, ApplyError> {
        std::fs::create_dir_all(&self.state).map_err(own_state)?;
        let path = self.state.join("undo.lock");
        let file = File::options().create(true).append(true).open(path).map_err(own_state)?;
        flock(&file, FlockOperation::LockExclusive).map_err(|errno| own_state(errno.into()))?;
        Ok(file)
    }

    fn demand_open(&self) -> Result<(), ApplyError> {
        match read_only::reason(&self.state) {
            None => Ok(()),
            Some(why) => {
                let what = "mesh changes nothing until a person has looked and run `mesh resume --reason ...`";
                Err(untouched(format!("{what}: {why}")))
            }
        }
    }

    fn close_door(&self, error: ApplyError) -> ApplyError {
        match read_only::close(&self.state, &error.to_string()) {
            Ok(()) => error,
            // The open journal is what keeps the door closed then: recovery fails in the same way.
            Err(why) => {
                ApplyError::Broken { what: "state/read-only".to_owned(), why: format!("{why}; before: {error}") }
            }
        }
    }

    /// Looks whether the change can be made, and what leads back. Changes nothing.
    fn ready(&self, change: &Change) -> Result<Ready, ApplyError> {
        let root = change.root.canonicalize().map_err(untouched)?;
        let entry = |attributes: Option<Attributes>, way| Journal {
            version: VERSION,
            id: change.id.clone(),
            stage: Stage::Prepared,
            root: root.clone(),
            path: change.path.clone(),
            before: TextHash::of(&change.before),
            after: TextHash::of(&change.after),
            attributes,
            way,
        };
        match &change.target {
            Target::Branch { branch, base, .. } => {
                let ground = Ground::of(&root, &change.path, branch.as_deref(), self.durable)?;
                let seen = ground.demand_clean(branch::oid(base)?, &change.before)?;
                let reference = ground.reference.clone();
                let way = Way::Commit { reference, checked_out: ground.seat.is_some(), made: None, taken_back: None };
                Ok(Ready { journal: entry(seen.map(|seen| seen.attributes), way), ground: Some(ground) })
            }
            Target::File => {
                let moved = || ApplyError::Moved { what: change.path.clone() };
                let spot = Spot::open(&root, &change.path, self.durable).map_err(untouched)?;
                let seen = spot.read().map_err(untouched)?.ok_or_else(moved)?;
                if std::os::unix::fs::MetadataExt::nlink(&seen.metadata) != 1 {
                    return Err(untouched(format!("{} is a hard link: its other names would not follow", change.path)));
                }
                if seen.bytes != change.before {
                    return Err(moved());
                }
                Ok(Ready { journal: entry(Some(seen.attributes), Way::Copy), ground: None })
            }
        }
    }

    fn apply_commit(
        &self,
        journal: &mut Journal,
        change: &Change,
        ground: Option<Ground>,
        message: &str,
        now: Timestamp,
        mut unsaved: Unsaved,
    ) -> Result<Unsaved, ApplyError> {
        let (Some(ground), Target::Branch { base, .. }) = (ground, &change.target) else {
            return Err(untouched("no branch"));
        };
        let base = find(&ground.repo, base).map_err(untouched)?;
        let edit = Edit { path: &ground.inside, before: journal.before, after: &change.after };
        let made = edit.on_top_of(&ground.repo, &base, message, &self.email, now).map_err(untouched)?;
        ground.add_commit(made, &mut unsaved)?;
        let marker = ground.mark(&journal.id, &mut unsaved)?;
        unsaved.save().map_err(own_state)?;
        let advance = Advance {
            from: base.id(),
            to: made,
            old: &change.before,
            new: &change.after,
            id: &change.id,
            work: &self.book.folder(&change.id),
            reached: &|reached| {
                (self.point)(match reached {
                    Reached::Staged => "apply.staged",
                    Reached::FileReplaced => "apply.file-replaced",
                    Reached::RefMoved => "apply.ref-moved",
                });
            },
        };
        if let Way::Commit { made, .. } = &mut journal.way {
            *made = Some(Step { from: advance.from.to_string(), to: advance.to.to_string() });
        }
        self.move_along(journal, Stage::Changing, &ground, marker, &advance, "apply.object-written")
    }

    /// Makes a move ready, notes that it begins, and makes it.
    fn move_along(
        &self,
        journal: &mut Journal,
        stage: Stage,
        ground: &Ground,
        marker: Option<Marker>,
        advance: &Advance<'_>,
        noted: &str,
    ) -> Result<Unsaved, ApplyError> {
        let mut unsaved = Unsaved::new(self.durable);
        let staged = ground.stage(marker, advance, &mut unsaved)?;
        (advance.reached)(Reached::Staged);
        if let Err(error) = self.book.note_beside(journal, stage, unsaved) {
            drop(ground.unstage(advance.id));
            return Err(own_state(error));
        }
        (self.point)(noted);
        ground.advance(staged, advance)
    }

    fn apply_file(&self, journal: &mut Journal, change: &Change, begun: Unsaved) -> Result<Unsaved, ApplyError> {
        begun.save().map_err(own_state)?;
        let like = journal.attributes.clone().ok_or_else(|| untouched("no captured copy"))?;
        let spot = Spot::open(&journal.root, &journal.path, self.durable).map_err(untouched)?;
        let temporary = temporary(&journal.id);
        let mut unsaved = Unsaved::new(self.durable);
        spot.stage(&temporary, &change.after, &like, false, &mut unsaved).map_err(untouched)?;
        (self.point)("apply.staged");
        if let Err(error) = self.book.note_beside(journal, Stage::Changing, unsaved) {
            drop(spot.settle(&temporary));
            return Err(own_state(error));
        }
        self.replace(&spot, journal, &change.before, &change.after, &like, "apply.file-replaced")?;
        Ok(Unsaved::new(self.durable))
    }

    /// Replaces `old` by `new`, which lies ready and is on disk, looks at the result, and undoes it when that is not as it
    /// should be or the disk does not take it.
    fn replace(
        &self,
        spot: &Spot,
        journal: &Journal,
        old: &[u8],
        new: &[u8],
        like: &Attributes,
        point: &str,
    ) -> Result<(), ApplyError> {
        let temporary = temporary(&journal.id);
        let what = || journal.path.clone();
        spot.swap(&temporary, TextHash::of(old), like).map_err(|kept| match kept {
            Kept::Moved => ApplyError::Moved { what: what() },
            Kept::Refused(why) => untouched(why),
        })?;
        (self.point)(point);
        let whole = spot.read().ok().flatten();
        let mut failed = format!("{} was not as written", journal.path);
        if whole.is_some_and(|seen| seen.bytes == new && seen.attributes.same_rights(like)) {
            let mut unsaved = Unsaved::new(self.durable);
            let gone = spot.let_go(&temporary, &mut unsaved);
            gone.map_err(|why| ApplyError::Broken { what: what(), why: why.to_string() })?;
            match unsaved.save() {
                Ok(()) => return Ok(()),
                Err(why) => failed = why.to_string(),
            }
        }
        match spot.swap_back(&temporary, old, new, like) {
            Ok(()) => Err(ApplyError::Undone { why: failed }),
            Err(Kept::Moved) => Err(ApplyError::Moved { what: what() }),
            Err(Kept::Refused(why)) => Err(ApplyError::Broken { what: what(), why: why.to_string() }),
        }
    }

    fn take_back(&self, journal: &mut Journal, now: Timestamp) -> Result<(), ApplyError> {
        let before = journal.stage;
        if before == Stage::Reverting
            && let Way::Commit { reference, taken_back: Some(step), .. } = &journal.way
        {
            // A killed process may have left it half-way.
            self.step_done(journal, reference, step)?;
        } else if before == Stage::Reverting && matches!(journal.way, Way::Commit { .. }) {
            self.clear(journal)?;
        }
        let taken = match journal.way.clone() {
            Way::Commit { reference, made: Some(made), .. } => self.revert(journal, &reference, &made, now),
            Way::Commit { made: None, .. } => Err(untouched("no commit is recorded for it")),
            Way::Copy => self.restore(journal),
        };
        match taken {
            Ok(unsaved) => {
                let stage = Stage::Closed(End::RolledBack);
                self.book.note_after(journal, stage, unsaved).map_err(own_state)?;
                (self.point)("rollback.done");
                Ok(())
            }
            Err(error @ (ApplyError::Moved { .. } | ApplyError::Undone { .. })) => {
                // A person's work is in the way: the change stays in place, and so does its way back.
                let stage = if before == Stage::Reverting { Stage::Changed } else { before };
                self.book.note(journal, stage).map_err(own_state)?;
                Err(error)
            }
            Err(error @ ApplyError::Broken { .. }) => Err(self.close_door(error)),
            Err(ApplyError::Untouched { why }) => {
                let why = format!("the way back failed: {why}");
                Err(self.close_door(ApplyError::Broken { what: journal.path.clone(), why }))
            }
        }
    }

    /// Restores the captured copy.
    fn restore(&self, journal: &mut Journal) -> Result<Unsaved, ApplyError> {
        let (before, after) =
            (self.book.before(journal).map_err(own_state)?, self.book.after(journal).map_err(own_state)?);
        let like = journal.attributes.clone().ok_or_else(|| untouched("no captured copy"))?;
        let spot = Spot::open(&journal.root, &journal.path, self.durable).map_err(untouched)?;
        spot.tidy(&temporary(&journal.id), &after, &before).map_err(untouched)?;
        let moved = || ApplyError::Moved { what: journal.path.clone() };
        let seen = spot.read().map_err(untouched)?.ok_or_else(moved)?;
        if seen.bytes == before && seen.attributes.same_rights(&like) {
            return Ok(Unsaved::new(self.durable));
        }
        if seen.bytes != after || !seen.attributes.same_rights(&like) {
            return Err(moved());
        }
        self.book.note(journal, Stage::Reverting).map_err(own_state)?;
        (self.point)("rollback.begun");
        let mut unsaved = Unsaved::new(self.durable);
        spot.stage(&temporary(&journal.id), &before, &like, true, &mut unsaved).map_err(untouched)?;
        (self.point)("rollback.staged");
        if let Err(error) = unsaved.save() {
            drop(spot.settle(&temporary(&journal.id)));
            return Err(untouched(error));
        }
        self.replace(&spot, journal, &after, &before, &like, "rollback.file-replaced")?;
        Ok(Unsaved::new(self.durable))
    }

    /// Makes a commit on top of the branch, as it is now, that takes `made` back.
    fn revert(
        &self,
        journal: &mut Journal,
        reference: &str,
        made: &Step,
        now: Timestamp,
    ) -> Result<Unsaved, ApplyError> {
        let ground = Ground::again(&journal.root, &journal.path, reference, self.durable)?;
        let commit = branch::oid(&made.to)?;
        if !ground.holds(commit)? {
            return Err(ApplyError::Moved { what: reference.trim_start_matches("refs/heads/").to_owned() });
        }
        let tip = ground.tip()?;
        let (_, _, held) = ground.held(tip)?;
        let before = self.book.before(journal).map_err(own_state)?;
        if held == before {
            return Ok(Unsaved::new(self.durable));
        }
        // Looked at before anything is noted: what is in the way of a revert is a person's, and no failure.
        ground.demand_clean(tip, &held).map_err(|error| match error {
            ApplyError::Untouched { why } => ApplyError::Undone { why },
            other => other,
        })?;
        let mut unsaved = Unsaved::new(self.durable);
        self.book.write(journal, Stage::Reverting, &mut unsaved).map_err(own_state)?;
        (self.point)("rollback.begun");
        let tip = find(&ground.repo, &tip.to_string()).map_err(untouched)?;
        let ours = find(&ground.repo, &made.to).map_err(untouched)?;
        let subject = ours.summary().ok().flatten().unwrap_or("fix");
        let trailers: String =
            ours.message().unwrap_or_default().lines().filter(|line| line.starts_with("Mesh-")).fold(
                String::new(),
                |mut all, line| {
                    all.push_str(line);
                    all.push('\n');
                    all
                },
            );
        let message = format!("Revert \"{subject}\"\n\nThis reverts commit {}.\n\n{trailers}", made.to);
        let back = if TextHash::of(&held) == journal.after {
            let edit = Edit { path: &ground.inside, before: journal.after, after: &before };
            edit.on_top_of(&ground.repo, &tip, &message, &self.email, now).map_err(untouched)?
        } else {
            // Other lines of the file have changed since.
            let merged = ground.repo.revert_commit(&ours, &tip, 0, None);
            let mut merged = merged.map_err(|error| untouched(error.message()))?;
            if merged.has_conflicts() {
                return Err(ApplyError::Moved { what: journal.path.clone() });
            }
            let tree = merged.write_tree_to(&ground.repo).map_err(|error| untouched(error.message()))?;
            commit_tree(&ground.repo, &tip, tree, &ground.inside, &message, &self.email, now).map_err(untouched)?
        };
        ground.add_commit(back, &mut unsaved)?;
        let marker = ground.mark(&journal.id, &mut unsaved)?;
        unsaved.save().map_err(own_state)?;
        let id = journal.id.clone();
        let (_, _, new) = ground.held(back)?;
        let advance = Advance {
            from: tip.id(),
            to: back,
            old: &held,
            new: &new,
            id: &id,
            work: &self.book.folder(&id),
            reached: &|reached| {
                (self.point)(match reached {
                    Reached::Staged => "rollback.staged",
                    Reached::FileReplaced => "rollback.file-replaced",
                    Reached::RefMoved => "rollback.ref-moved",
                });
            },
        };
        if let Way::Commit { taken_back, .. } = &mut journal.way {
            *taken_back = Some(Step { from: advance.from.to_string(), to: advance.to.to_string() });
        }
        self.move_along(journal, Stage::Reverting, &ground, marker, &advance, "rollback.object-written")
    }
}

/// A change that can be made.
struct Ready {
    journal: Journal,
    ground: Option<Ground>,
}
