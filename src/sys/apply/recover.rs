//! After a kill: the world is looked at, and what was begun is finished or undone.

use jiff::Timestamp;

use super::branch::{Ground, own_state, temporary, untouched};
use super::index::drop_stale_lock;
use super::spot::{Kept, Spot};
use super::{Changes, read_only};
use crate::domain::undo::{Attributes, End, Journal, Stage, Step, Way};
use crate::ports::{ApplyError, Recovered};
use crate::sys::repo::must_open;

impl Changes {
    /// Finishes or undoes what a killed process had begun; never both, never neither. Called again, it says the same.
    ///
    /// # Errors
    /// [`ApplyError::Moved`]: somebody has worked there since, and what they made of it stays. [`ApplyError::Untouched`]:
    /// it cannot be told yet, as while another git works there; it is tried again at the next start.
    /// [`ApplyError::Broken`]: from then on nothing is changed until a person says so.
    pub fn recover(&self, id: &str, now: Timestamp) -> Result<Recovered, ApplyError> {
        let _lock = self.lock()?;
        let Some(mut journal) = self.book.read(id).map_err(own_state)? else { return Ok(Recovered::Undone) };
        match journal.stage {
            Stage::Closed(End::Undone) => Ok(Recovered::Undone),
            Stage::Closed(End::RolledBack) => Ok(Recovered::RolledBack),
            Stage::Closed(End::Kept) | Stage::Changed => Ok(Recovered::Finished(self.applied_as(&journal))),
            Stage::Reverting => {
                // A way back that was begun is gone to its end.
                self.roll_back_locked(id, now)?;
                Ok(Recovered::RolledBack)
            }
            Stage::Prepared | Stage::Changing => {
                self.demand_open()?;
                let done = match &journal.way {
                    // The copies and the commit may not be on disk, and are not needed.
                    _ if journal.stage == Stage::Prepared => self.clear(&journal).map(|()| false),
                    Way::Commit { reference, made: Some(made), .. } => self.step_done(&journal, reference, made),
                    Way::Commit { made: None, .. } => Ok(false),
                    Way::Copy => self.copy_done(&journal),
                };
                match done {
                    Ok(true) => {
                        self.book.note(&mut journal, Stage::Changed).map_err(own_state)?;
                        Ok(Recovered::Finished(self.applied_as(&journal)))
                    }
                    Ok(false) => {
                        self.book.note(&mut journal, Stage::Closed(End::Undone)).map_err(own_state)?;
                        Ok(Recovered::Undone)
                    }
                    Err(error @ ApplyError::Moved { .. }) => {
                        self.book.note(&mut journal, Stage::Closed(End::Undone)).map_err(own_state)?;
                        Err(error)
                    }
                    Err(error @ ApplyError::Broken { .. }) => Err(self.close_door(error)),
                    Err(error) => Err(error),
                }
            }
        }
    }

    /// Why nothing may be changed; none when it may.
    #[must_use]
    pub fn read_only(&self) -> Option<String> {
        read_only::reason(&self.state)
    }

    pub(super) fn step_done(&self, journal: &Journal, reference: &str, step: &Step) -> Result<bool, ApplyError> {
        let ground = Ground::again(&journal.root, &journal.path, reference, self.durable)?;
        // Of a file that no work tree held, there is nothing to put back.
        let none = Attributes { mode: 0o600, uid: 0, gid: 0, modified: (0, 0), extended: Default::default() };
        let like = journal.attributes.as_ref().unwrap_or(&none);
        ground.recover(step, &journal.id, &self.book.folder(&journal.id), like)
    }

    /// Clears what lies ready for a change of which nothing was made yet.
    pub(super) fn clear(&self, journal: &Journal) -> Result<(), ApplyError> {
        // In a folder that is gone, or a repository, nothing is left.
        if let Ok(spot) = Spot::open(&journal.root, &journal.path, self.durable) {
            spot.settle(&temporary(&journal.id)).map_err(untouched)?;
        }
        match (&journal.way, must_open(&journal.root)) {
            (Way::Commit { .. }, Ok(repo)) => drop_stale_lock(&repo, &journal.id).map_err(untouched),
            _ => Ok(()),
        }
    }

    fn copy_done(&self, journal: &Journal) -> Result<bool, ApplyError> {
        let (before, after) =
            (self.book.before(journal).map_err(own_state)?, self.book.after(journal).map_err(own_state)?);
        let moved = || ApplyError::Moved { what: journal.path.clone() };
        let spot = Spot::open(&journal.root, &journal.path, self.durable).map_err(untouched)?;
        let seen = spot.read().map_err(untouched)?.ok_or_else(moved)?;
        let temporary = temporary(&journal.id);
        if seen.bytes == after {
            spot.tidy(&temporary, &before, &after).map_err(untouched)?;
            let now = spot.read().map_err(untouched)?.ok_or_else(moved)?;
            return if now.bytes == after { Ok(true) } else { Err(moved()) };
        }
        let like = journal.attributes.as_ref().ok_or_else(|| untouched("no captured copy"))?;
        match spot.swap_back(&temporary, &before, &after, like) {
            Ok(()) => Ok(false),
            Err(Kept::Moved) => Err(moved()),
            Err(Kept::Refused(why)) => Err(untouched(why)),
        }
    }
}
