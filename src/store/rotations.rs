//! Keys that hosts moved away from: those of peers, and this host's own.

use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::db::{Db, DbError};
use super::own_log::{OwnEntry, column, insert, seq_of};
use crate::domain::id::{EntryId, HostId};
use crate::domain::rotate::Rotation;

/// The key that the own log is signed with; absent until the first move.
pub const OWN_KEY_FACT: &str = "own.key";

/// Remembers what a key announced in its last entry; the first announcement counts.
pub(super) fn announce(transaction: &Transaction<'_>, rotation: &Rotation) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("INSERT OR IGNORE INTO rotations (old, new, seq, entry, taken) VALUES (?1, ?2, ?3, ?4, 0)")?
        .execute(params![
            rotation.old.as_bytes(),
            rotation.new.as_bytes(),
            column(rotation.seq),
            rotation.entry.as_bytes(),
        ])
        .map(drop)
}

impl Db {
    /// Moves that were announced; with whether the new key took them up.
    ///
    /// # Errors
    /// The database failed.
    pub fn rotations(&self) -> Result<Vec<(Rotation, bool)>, DbError> {
        let rows = self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT old, new, seq, entry, taken FROM rotations ORDER BY old")?;
            let rows = statement.query_map([], |row| {
                let keys = (row.get::<_, [u8; 32]>(0)?, row.get::<_, [u8; 32]>(1)?);
                Ok((keys, row.get::<_, i64>(2)?, row.get::<_, [u8; 32]>(3)?, row.get::<_, bool>(4)?))
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        rows.into_iter()
            .map(|((old, new), seq, entry, taken)| {
                let (old, new) = (HostId::from_bytes(old), HostId::from_bytes(new));
                Ok((Rotation { old, new, seq: seq_of(seq)?, entry: EntryId::from_bytes(entry) }, taken))
            })
            .collect()
    }

    /// The seq of the last entry of a key that was left, if it was.
    ///
    /// # Errors
    /// The database failed.
    pub fn left_at(&self, host: HostId) -> Result<Option<u64>, DbError> {
        let seq: Option<i64> = self.read(|connection| {
            connection
                .query_row("SELECT seq FROM rotations WHERE old = ?1", [host.as_bytes()], |row| row.get(0))
                .optional()
        })?;
        seq.map(seq_of).transpose()
    }

    /// Notes that the new key took the move up.
    ///
    /// # Errors
    /// The database failed.
    pub fn take_rotation(&mut self, old: HostId) -> Result<(), DbError> {
        self.write(|transaction| {
            transaction.execute("UPDATE rotations SET taken = 1 WHERE old = ?1", [old.as_bytes()]).map(drop)
        })
    }

    /// Puts this host's log of `old` aside and begins the one of `new` with its first entry, in one step.
    ///
    /// # Errors
    /// The database failed; nothing was changed.
    pub fn switch_own(&mut self, old: HostId, new: HostId, first: &OwnEntry, now: Timestamp) -> Result<(), DbError> {
        self.write(|transaction| {
            transaction.execute(
                "INSERT INTO past_entries (host, seq, id, payload_type, envelope, left_at)
                 SELECT ?1, seq, id, payload_type, envelope, ?2 FROM own_entries",
                params![old.as_bytes(), now.as_second()],
            )?;
            transaction.execute("DELETE FROM own_entries", [])?;
            // What is known of the old key's head and request is nothing of the new one's.
            transaction.execute("DELETE FROM facts WHERE name IN ('head', 'join', 'remote.tip')", [])?;
            transaction.execute(
                "INSERT OR REPLACE INTO facts (name, value) VALUES (?1, ?2)",
                params![OWN_KEY_FACT, new.to_string()],
            )?;
            insert(transaction, first)
        })
    }

    /// Entries that this host signed with keys that it has left: the key, and the envelope.
    ///
    /// # Errors
    /// The database failed.
    pub fn past_entries(&self) -> Result<Vec<(HostId, Vec<u8>)>, DbError> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT host, envelope FROM past_entries ORDER BY left_at, seq")?;
            let rows =
                statement.query_map([], |row| Ok((HostId::from_bytes(row.get(0)?), row.get::<_, Vec<u8>>(1)?)))?;
            rows.collect()
        })
    }
}
