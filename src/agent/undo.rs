//! Changes and their way back, with the real parts: what a killed process left is settled before anything else, and a
//! door that a failed way back has closed is opened by a person alone.

use jiff::Timestamp;

use super::parts::{Parts, environment};
use super::workshop::Workshop;
use crate::domain::attest::Environment;
use crate::domain::fix::KnownLesson;
use crate::domain::ledger::Entry;
use crate::domain::outcome::Observed;
use crate::loops::attest::{self, AttestError};
use crate::loops::library::claim_says;
use crate::loops::seed::{self, Area, Finished, Found, Hand, SeedError};
use crate::store::crash;
use crate::store::db::{Db, DbError};
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
    /// What peers would be told.
    #[error(transparent)]
    Attest(#[from] AttestError),
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// What the signals of this host say of a claim at `now`.
pub fn measured(now: Timestamp) -> impl Fn(&Db, &str) -> Result<Observed, DbError> {
    move |db, claim| claim_says(db, claim, now).map(Observed::from)
}

/// Judges what is in place and queues what peers are told of it. Returns what ended.
///
/// # Errors
/// The ledger or the audit worker cannot be used.
pub fn validate(parts: &mut Parts, areas: &[Area], lessons: &[KnownLesson]) -> Result<Vec<Finished>, UndoError> {
    let applier = applier(parts);
    let lock = parts.home.lock_changes().map_err(UndoError::Lock)?;
    let now = parts.now();
    let measure = measured(now);
    let hand = Hand { applier: &applier, measure: &measure, lock: &lock };
    let ended = seed::validate(&mut Workshop::of(parts).with(&mut parts.db), hand, areas, lessons, now)?;
    let here = Environment::of(&environment());
    for told in ended.iter().filter_map(|finished| finished.attestation(here.clone())) {
        attest::queue(&mut parts.db, &told, now)?;
    }
    Ok(ended)
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
    let measure = measured(now);
    let hand = Hand { applier: &applier, measure: &measure, lock: &lock };
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
