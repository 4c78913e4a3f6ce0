//! What peers say in their heads that they have seen of others.

use rusqlite::{Transaction, params};

use super::db::{Db, DbError};
use super::own_log::{column, seq_of};
use crate::domain::head::Seen;
use crate::domain::id::{EntryId, HostId};

/// Remembers what the newest head of a host says, in place of what its head before said.
pub(super) fn hear(transaction: &Transaction<'_>, by: HostId, seen: &[Seen]) -> rusqlite::Result<()> {
    transaction.prepare_cached("DELETE FROM gossip WHERE by_host = ?1")?.execute([by.as_bytes()])?;
    let mut insert = transaction
        .prepare_cached("INSERT OR REPLACE INTO gossip (by_host, host, seq, tip) VALUES (?1, ?2, ?3, ?4)")?;
    for seen in seen {
        insert.execute(params![by.as_bytes(), seen.host.as_bytes(), column(seen.seq), seen.tip.as_bytes()])?;
    }
    Ok(())
}

impl Db {
    /// What others say that they have seen of `host`: who, and what.
    ///
    /// # Errors
    /// The database failed.
    pub fn gossip_about(&self, host: HostId) -> Result<Vec<(HostId, Seen)>, DbError> {
        let rows = self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT by_host, seq, tip FROM gossip WHERE host = ?1 ORDER BY by_host")?;
            let rows = statement.query_map([host.as_bytes()], |row| {
                Ok((row.get::<_, [u8; 32]>(0)?, row.get::<_, i64>(1)?, row.get::<_, [u8; 32]>(2)?))
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        rows.into_iter()
            .map(|(by, seq, tip)| {
                Ok((HostId::from_bytes(by), Seen { host, seq: seq_of(seq)?, tip: EntryId::from_bytes(tip) }))
            })
            .collect()
    }
}
