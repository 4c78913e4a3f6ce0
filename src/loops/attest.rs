//! Attestations on their way out.

use jiff::Timestamp;

use crate::domain::attest::{Attestation, AttestationError};
use crate::store::db::{Db, DbError};

/// Why an attestation is not queued.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// It breaks a bound.
    #[error("attestation is not acceptable")]
    Unacceptable(#[from] AttestationError),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Queues the outcome of an intervention; the next sync signs and publishes it. One that waits about the same
/// intervention is replaced, and one that was published already is followed by this one, which then counts alone.
///
/// # Errors
/// It breaks a bound, or the database failed.
pub fn queue(db: &mut Db, attestation: &Attestation, now: Timestamp) -> Result<(), AttestError> {
    attestation.check()?;
    Ok(db.queue_attestation(attestation, now)?)
}
