//! What a killed process had begun is finished or undone, and the ledger is told.

use jiff::Timestamp;

use super::intervene::{Hand, in_place, keep, stop_everything, tell};
use super::{Parts, SeedError};
use crate::domain::fix::EndedBy;
use crate::domain::intervention::{Actor, Event, InterventionId, State};
use crate::domain::ledger::{Entry, Note};
use crate::ports::{ApplyError, Recovered};
use crate::store::ledger::Happening;

/// What became of one change that a killed process had begun.
pub type Found = (InterventionId, Result<Recovered, ApplyError>);

/// Settles what a killed process had begun, and says what it did. Called before anything else is changed.
///
/// # Errors
/// The database failed. What cannot be settled stops all changes and is in the ledger.
pub fn recover(parts: &mut Parts<'_>, hand: Hand<'_>, now: Timestamp) -> Result<Vec<Found>, SeedError> {
    let applier = hand.applier;
    let pending = match applier.pending() {
        Ok(pending) => pending,
        Err(error) => {
            let moment = parts.moment.clone();
            let why = format!("the undo journal cannot be read: {error}");
            parts.db.note_host(&moment, &Entry::ReadOnly { why })?;
            return Ok(Vec::new());
        }
    };
    // A rollback may have ended on disk, and been killed before the ledger was told.
    let ended = applier.settled().unwrap_or_default();
    let mut found = Vec::new();
    for id in pending.iter().chain(&ended).cloned() {
        let stands = parts.db.intervention(&id.fix)?.filter(|known| known.id == id).map(|known| known.state);
        if ended.contains(&id) && !stands.is_some_and(State::stands) {
            continue;
        }
        let in_place_already = stands.is_some_and(State::is_under_way);
        let settled = applier.recover(&id, now);
        let mut ended_by = None;
        match (&settled, stands) {
            // In place: its verdict is still to come.
            (Ok(Recovered::Finished(_)), Some(_)) if in_place_already => continue,
            (Ok(Recovered::Finished(applied)), Some(State::Proved)) => {
                let note = Note { commit: applied.commit.clone(), ..Note::why("it was whole when mesh started again") };
                in_place(parts, &id, Actor::Agent, note)?;
            }
            // Ended, and killed before the way back was forgotten.
            (Ok(Recovered::Finished(_)), Some(_)) => {
                if let Err(error) = applier.settle(&id) {
                    stop_everything(parts, &id, &error)?;
                }
                continue;
            }
            (Ok(Recovered::RolledBack | Recovered::Undone), Some(stands)) if stands.stands() => {
                let note = Note::why("its way back was gone to the end when mesh started again");
                tell(parts, &id, &[Happening::new(Event::RollBack, Actor::Agent, note)])?;
            }
            (Ok(Recovered::RolledBack | Recovered::Undone), Some(State::Proved)) => {
                let note = Note::why("it was undone when mesh started again");
                tell(parts, &id, &[Happening::new(Event::Abandon, Actor::Agent, note)])?;
                ended_by = Some(EndedBy::Crash);
            }
            (Ok(_), _) => {}
            (Err(error), _) => stop_everything(parts, &id, error)?,
        }
        if let Some(mut fix) = parts.db.fix(&id.fix)? {
            if let Ok(Recovered::Finished(applied)) = &settled {
                fix.commit.clone_from(&applied.commit);
            }
            fix.ended_by = ended_by.or(fix.ended_by);
            keep(parts, fix, &id, "settled when mesh started again".to_owned(), now)?;
        }
        found.push((id, settled));
    }
    Ok(found)
}
