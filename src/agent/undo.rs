//! Changes and their way back, with the real parts: what a killed process left is settled before anything else, and a
//! door that a failed way back has closed is opened by a person alone.

use jiff::Timestamp;

use super::parts::{Parts, environment};
use super::workshop::Workshop;
use crate::domain::attest::Environment;
use crate::domain::fix::{Fix, FixState, KnownLesson};
use crate::domain::guard::AskedBy;
use crate::domain::ledger::Entry;
use crate::domain::outcome::Measured;
use crate::loops::attest::{self, AttestError};
use crate::loops::audit::RootAudit;
use crate::loops::library::claim_measured;
use crate::loops::seed::{self, Area, Finished, Found, Hand, Parts as SeedParts, SeedError};
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
pub fn measured(now: Timestamp) -> impl Fn(&Db, &str) -> Result<Measured, DbError> {
    move |db, claim| claim_measured(db, claim, now)
}

/// Works with the hand that makes changes in this home, while nobody else makes any.
fn in_hand<T>(
    parts: &mut Parts,
    work: impl FnOnce(&mut SeedParts<'_>, Hand<'_>, Timestamp) -> Result<T, UndoError>,
) -> Result<T, UndoError> {
    let applier = applier(parts);
    let lock = parts.home.lock_changes().map_err(UndoError::Lock)?;
    let now = parts.now();
    let measure = measured(now);
    let hand = Hand { applier: &applier, measure: &measure, lock: &lock };
    let mut workshop = Workshop::of(parts);
    work(&mut workshop.with(&mut parts.db), hand, now)
}

/// Makes, where people use it, what the audits of a round found ready: plans of lessons whose issuer has the grant to apply
/// by itself. Each is put before the guard again. Returns what is in place now.
///
/// # Errors
/// The ledger or the audit worker cannot be used.
pub fn make_ready(
    parts: &mut Parts,
    areas: &[Area],
    lessons: &[KnownLesson],
    roots: &mut [RootAudit],
) -> Result<Vec<Fix>, UndoError> {
    if roots.iter().all(|root| root.seeding.outcomes.iter().all(|outcome| outcome.ready.is_none())) {
        return Ok(Vec::new());
    }
    in_hand(parts, |work, hand, now| {
        let mut made = Vec::new();
        for root in roots {
            let Some(area) = areas.iter().find(|area| area.root == root.root) else { continue };
            for outcome in &mut root.seeding.outcomes {
                let known = lessons.iter().find(|known| known.lesson.id == outcome.plan.lesson);
                let (Some(kind), Some(known)) = (outcome.ready, known) else { continue };
                let wish = (kind, AskedBy::Audit);
                outcome.fix = seed::intervene(work, hand, area, known, &outcome.plan, wish, now)?;
                if outcome.fix.state == FixState::Validating {
                    made.push(outcome.fix.clone());
                }
            }
        }
        Ok(made)
    })
}

/// Judges what is in place and queues what peers are told of it. Returns what ended.
///
/// # Errors
/// The ledger or the audit worker cannot be used.
pub fn validate(parts: &mut Parts, areas: &[Area], lessons: &[KnownLesson]) -> Result<Vec<Finished>, UndoError> {
    in_hand(parts, |work, hand, now| {
        let ended = seed::validate(work, hand, areas, lessons, now)?;
        tell_peers(work, now)?;
        seed::prune(work, hand)?;
        Ok(ended)
    })
}

/// Queues what peers are to be told of interventions that are over. Whatever ended them, and whenever the process was
/// killed, each is told once as it stands.
///
/// # Errors
/// The ledger cannot be used, or the word breaks a bound.
pub fn tell_peers(work: &mut SeedParts<'_>, now: Timestamp) -> Result<(), UndoError> {
    let here = Environment::of(&environment());
    for finished in seed::untold(work)? {
        if let Some(told) = finished.attestation(here.clone()) {
            attest::queue(work.db, &told, now)?;
        }
        work.db.note_told(&finished.id, finished.state)?;
    }
    Ok(())
}

/// What the next round would settle and judge, a sentence each. Nothing is changed or remembered.
///
/// # Errors
/// The ledger or the audit worker cannot be used.
pub fn foresee(parts: &mut Parts, areas: &[Area], lessons: &[KnownLesson]) -> Result<Vec<String>, UndoError> {
    in_hand(parts, |work, hand, _| {
        let mut said = Vec::new();
        for id in hand.applier.pending().unwrap_or_default() {
            let known = work.db.intervention(&id.fix)?.filter(|known| known.id == id);
            if !known.is_some_and(|known| known.state.is_under_way()) {
                said.push(format!(
                    "intervention {id}: was begun by a process that was killed, and would be finished or undone"
                ));
            }
        }
        said.extend(seed::foresee(work, hand, areas, lessons)?);
        Ok(said)
    })
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
    let found = in_hand(parts, |work, hand, now| Ok(seed::recover(work, hand, now)?))?;
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
