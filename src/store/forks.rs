//! Keys that signed two entries with one seq: the proofs, those that still wait for their entries, and the entries
//! that this host shows so that others can prove it.

use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::db::{Db, DbError};
use super::own_log::{column, seq_of};
use super::packed_entry::EntryFile;
use crate::domain::fork::ForkProof;
use crate::domain::id::{EntryId, HostId};
use crate::domain::limits;

/// `CROSS` keeps the order: SQLite would else go through all entries to find the few that are evidence.
const TO_SHOW: &str =
    "SELECT evidence.id, entries.envelope FROM evidence CROSS JOIN entries ON entries.id = evidence.id WHERE shown = 0";

/// A fork that was proved here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fork {
    /// The key.
    pub host: HostId,
    /// The seq of both entries.
    pub seq: u64,
    /// One envelope file.
    pub one: Vec<u8>,
    /// The other.
    pub other: Vec<u8>,
}

/// Remembers what `publisher` says that it can prove; nothing follows from it yet.
pub(super) fn claim(transaction: &Transaction<'_>, publisher: HostId, proofs: &[ForkProof]) -> rusqlite::Result<()> {
    for proof in proofs {
        transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO fork_claims (publisher, host, seq, one, other) SELECT ?1, ?2, ?3, ?4, ?5
                 WHERE (SELECT count(*) FROM fork_claims WHERE publisher = ?1) < ?6",
            )?
            .execute(params![
                publisher.as_bytes(),
                proof.key.as_bytes(),
                column(proof.at),
                proof.one.as_bytes(),
                proof.other.as_bytes(),
                limits::FORK_CLAIMS,
            ])?;
    }
    Ok(())
}

impl Db {
    /// Quarantines a key for good, with the two envelopes that prove why. `proven_by` is who published the proof;
    /// `None` where it was found here.
    ///
    /// # Errors
    /// The database failed.
    pub fn record_fork(&mut self, fork: &Fork, proven_by: Option<HostId>, now: Timestamp) -> Result<(), DbError> {
        self.write(|transaction| {
            transaction.execute(
                "INSERT OR IGNORE INTO forks (host, seq, one, other, at, proven_by) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    fork.host.as_bytes(),
                    column(fork.seq),
                    fork.one,
                    fork.other,
                    now.as_second(),
                    proven_by.as_ref().map(HostId::as_bytes),
                ],
            )?;
            transaction.execute(
                "UPDATE inbox SET state = 'quarantined', reason = 'its author signed two entries with one seq' WHERE host = ?1",
                [fork.host.as_bytes()],
            )?;
            transaction.execute("DELETE FROM fork_claims WHERE host = ?1", [fork.host.as_bytes()]).map(drop)
        })
    }

    /// The seq at which a key forked, if it did.
    ///
    /// # Errors
    /// The database failed.
    pub fn fork(&self, host: HostId) -> Result<Option<u64>, DbError> {
        Ok(self.forks_where("WHERE host = ?1", &[&host.as_bytes()])?.pop().map(|fork| fork.seq))
    }

    /// The proof that a key forked, if there is one.
    ///
    /// # Errors
    /// The database failed.
    pub fn fork_proof(&self, host: HostId) -> Result<Option<Fork>, DbError> {
        Ok(self.forks_where("WHERE host = ?1", &[&host.as_bytes()])?.pop())
    }

    /// Forks that were found by this host itself, which it tells the others.
    ///
    /// # Errors
    /// The database failed.
    pub fn forks_found_here(&self) -> Result<Vec<Fork>, DbError> {
        self.forks_where("WHERE proven_by IS NULL", &[])
    }

    fn forks_where(&self, condition: &str, parameters: &[&dyn rusqlite::ToSql]) -> Result<Vec<Fork>, DbError> {
        let rows = self.read(|connection| {
            let mut statement =
                connection.prepare_cached(&format!("SELECT host, seq, one, other FROM forks {condition}"))?;
            let rows = statement.query_map(parameters, |row| {
                Ok((row.get::<_, [u8; 32]>(0)?, row.get::<_, i64>(1)?, row.get(2)?, row.get(3)?))
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        rows.into_iter()
            .map(|(host, seq, one, other)| Ok(Fork { host: HostId::from_bytes(host), seq: seq_of(seq)?, one, other }))
            .collect()
    }

    /// What hosts say that they can prove, and who says it.
    ///
    /// # Errors
    /// The database failed.
    pub fn fork_claims(&self) -> Result<Vec<(HostId, ForkProof)>, DbError> {
        let rows = self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT publisher, host, seq, one, other FROM fork_claims ORDER BY host")?;
            let rows = statement.query_map([], |row| {
                let ids = (row.get::<_, [u8; 32]>(3)?, row.get::<_, [u8; 32]>(4)?);
                Ok((row.get::<_, [u8; 32]>(0)?, row.get::<_, [u8; 32]>(1)?, row.get::<_, i64>(2)?, ids))
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        rows.into_iter()
            .map(|(publisher, host, seq, (one, other))| {
                let (one, other) = (EntryId::from_bytes(one), EntryId::from_bytes(other));
                let proof = ForkProof { key: HostId::from_bytes(host), at: seq_of(seq)?, one, other };
                Ok((HostId::from_bytes(publisher), proof))
            })
            .collect()
    }

    /// Remembers what this host itself published before its home was restored.
    ///
    /// # Errors
    /// The database failed.
    pub fn claim_forks(&mut self, publisher: HostId, proofs: &[ForkProof]) -> Result<(), DbError> {
        self.write(|transaction| claim(transaction, publisher, proofs))
    }

    /// Notes that `asked_by` has seen another entry in the place of this one, so that this one is shown to it. A peer
    /// can have only so many shown.
    ///
    /// # Errors
    /// The database failed.
    pub fn show_evidence(&mut self, entry: EntryId, asked_by: HostId) -> Result<(), DbError> {
        self.write(|transaction| {
            transaction
                .execute(
                    "INSERT OR IGNORE INTO evidence (id, asked_by, shown) SELECT ?1, ?2, 0
                     WHERE (SELECT count(*) FROM evidence WHERE asked_by = ?2) < ?3",
                    params![entry.as_bytes(), asked_by.as_bytes(), limits::EVIDENCE_PER_PEER],
                )
                .map(drop)
        })
    }

    /// Entries that are to be shown and were not read back yet, with their envelopes.
    ///
    /// # Errors
    /// The database failed.
    pub fn evidence_to_show(&self) -> Result<Vec<(EntryId, Vec<u8>)>, DbError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(TO_SHOW)?;
            let rows =
                statement.query_map([], |row| Ok((EntryId::from_bytes(row.get(0)?), row.get::<_, EntryFile>(1)?.0)))?;
            rows.collect()
        })
    }

    /// Notes that all evidence that was to be shown was read back, or (`false`) that none is there any more.
    ///
    /// # Errors
    /// The database failed.
    pub fn set_evidence_shown(&mut self, shown: bool) -> Result<(), DbError> {
        self.write(|transaction| transaction.execute("UPDATE evidence SET shown = ?1", [shown]).map(drop))
    }

    /// An entry that this host knows, its own or of others, byte for byte.
    ///
    /// # Errors
    /// The database failed.
    pub fn any_entry(&self, id: EntryId) -> Result<Option<Vec<u8>>, DbError> {
        if let Some(envelope) = self.entry(id)? {
            return Ok(Some(envelope));
        }
        self.read(|connection| {
            connection
                .query_row("SELECT envelope FROM own_entries WHERE id = ?1", [id.as_bytes()], |row| row.get(0))
                .optional()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_is_found_without_going_through_all_entries() {
        let db = Db::in_memory().expect("made");
        let plan = db.read(|connection| {
            let mut explained = connection.prepare(&format!("EXPLAIN QUERY PLAN {TO_SHOW}"))?;
            explained.query_map([], |row| row.get::<_, String>(3))?.collect::<rusqlite::Result<Vec<_>>>()
        });
        let plan = plan.expect("explained");
        assert!(plan.iter().any(|step| step.starts_with("SEARCH entries")), "{plan:?}");
        assert!(!plan.iter().any(|step| step.starts_with("SCAN entries")), "{plan:?}");
    }
}
