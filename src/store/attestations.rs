//! What hosts attested of interventions: of each host and intervention its last word.

use jiff::Timestamp;
use rusqlite::{Transaction, params};

use super::db::{Db, DbError};
use super::own_log::{column, seq_of, time_of};
use crate::domain::attest::{Attestation, Environment, Outcome, Word};
use crate::domain::entry::Verified;
use crate::domain::envelope::Kind;
use crate::domain::id::{EntryId, HostId};

/// Remembers an attestation in place of what its host said before of the same intervention.
pub(super) fn hear(
    transaction: &Transaction<'_>,
    said: &Verified<Attestation>,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let body = said.body();
    let mut statement = transaction.prepare_cached(
        "INSERT INTO attestations (host, intervention, seq, attested_in, entry, outcome, short_window, os, arch, distro, at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
         ON CONFLICT (host, intervention) DO UPDATE SET seq = ?3, attested_in = ?4, entry = ?5, outcome = ?6,
         short_window = ?7, os = ?8, arch = ?9, distro = ?10, at = ?11 WHERE seq < ?3",
    )?;
    statement
        .execute(params![
            said.host().as_bytes(),
            body.intervention,
            column(said.seq()),
            said.entry().as_bytes(),
            body.entry.as_bytes(),
            body.outcome.name(),
            body.short_window,
            body.environment.os,
            body.environment.arch,
            body.environment.distro,
            now.as_second(),
        ])
        .map(drop)
}

/// Forgets what `host` said in `entry`, which it took back.
pub(super) fn unhear(transaction: &Transaction<'_>, host: HostId, entry: EntryId) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("DELETE FROM attestations WHERE host = ?1 AND attested_in = ?2")?
        .execute(params![host.as_bytes(), entry.as_bytes()])
        .map(drop)
}

impl Db {
    /// Queues an attestation to be signed at the next sync, in place of one that waits about the same intervention.
    ///
    /// # Errors
    /// The database failed.
    pub fn queue_attestation(&mut self, attestation: &Attestation, now: Timestamp) -> Result<(), DbError> {
        let body = serde_json::to_string(attestation).expect("an attestation is a plain table of text");
        let intervention = Some(attestation.intervention.as_str());
        self.queue(Kind::Attestation.name(), attestation.lesson.as_str(), intervention, &body, now)
    }

    /// Every host's word on the interventions that followed one lesson entry, whoever may be heard.
    ///
    /// # Errors
    /// The database failed, or a row is not one of ours.
    pub fn words_on(&self, entry: EntryId) -> Result<Vec<Word>, DbError> {
        let rows = self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT host, seq, outcome, short_window, os, arch, distro, at FROM attestations
                 WHERE entry = ?1 ORDER BY host, seq",
            )?;
            let rows = statement.query_map([entry.as_bytes()], |row| {
                Ok((
                    row.get::<_, [u8; 32]>(0)?,
                    row.get::<_, i64>(1)?,
                    row.get::<_, String>(2)?,
                    row.get::<_, bool>(3)?,
                    Environment { os: row.get(4)?, arch: row.get(5)?, distro: row.get(6)? },
                    row.get::<_, i64>(7)?,
                ))
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        rows.into_iter()
            .map(|(host, seq, outcome, short_window, environment, at)| {
                Ok(Word {
                    host: HostId::from_bytes(host),
                    seq: seq_of(seq)?,
                    outcome: Outcome::of_name(&outcome).ok_or(DbError::Impossible { what: "outcome" })?,
                    short_window,
                    environment,
                    at: time_of(at)?,
                })
            })
            .collect()
    }
}
