//! Changes and their way back, with the real parts: what a killed process left is settled before anything else, and a
//! door that a failed way back has closed is opened by a person alone.

use super::parts::Parts;
use super::workshop::Workshop;
use crate::domain::ledger::Entry;
use crate::domain::outcome::Observed;
use crate::loops::seed::{self, Found, Hand, SeedError};
use crate::store::crash;
use crate::store::db::DbError;
use crate::store::home::HomeError;
use crate::sys::apply::{SystemApplier, read_only};

/// Why what a killed process left cannot be settled.
#[derive(Debug, thiserror::Error)]
pub enum UndoError {
    /// The lock of changes.
    #[error(transparent)]
    Lock(HomeError),
    /// The ledger.
    #[error(transparent)]
    Seed(#[from] SeedError),
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// For what is judged at once: nothing is said of signals.
#[must_use]
pub const fn unmeasured(_: &str) -> Observed {
    Observed::Unknown
}

/// What makes changes in this home.
#[must_use]
pub fn applier(parts: &Parts) -> SystemApplier {
    SystemApplier::new(&parts.home.state(), parts.key.host(), crash::point)
}

/// Finishes or undoes what a killed process had begun, and says what it did.
///
/// # Errors
/// The ledger or the undo journal cannot be used: nothing may be changed then.
pub fn recover(parts: &mut Parts) -> Result<Vec<Found>, UndoError> {
    let applier = applier(parts);
    let lock = parts.home.lock_changes().map_err(UndoError::Lock)?;
    let now = parts.now();
    let hand = Hand { applier: &applier, measure: &unmeasured, lock: &lock };
    let found = seed::recover(&mut Workshop::of(parts).with(&mut parts.db), hand, now)?;
    // Closed by a process that could not tell the ledger any more.
    if let Some(why) = read_only::reason(&parts.home.state())
        && parts.db.read_only()?.is_none()
    {
        parts.db.note_host(&parts.clock.moment(), &Entry::ReadOnly { why })?;
    }
    Ok(found)
}

/// Why nothing may be changed: by the ledger, or by a process that could not tell the ledger any more.
///
/// # Errors
/// The database failed.
pub fn stopped(parts: &Parts) -> Result<Option<String>, DbError> {
    Ok(parts.db.read_only()?.or_else(|| read_only::reason(&parts.home.state())))
}

/// Opens the door that a failed way back has closed. Returns why it was closed.
///
/// # Errors
/// The system refused.
pub fn open_door(parts: &Parts) -> std::io::Result<Option<String>> {
    read_only::open(&parts.home.state())
}
