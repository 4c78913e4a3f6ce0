//! The rosters that were verified here, and what was last seen of them on the remote.

use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, params};

use super::db::{Db, DbError};
use super::own_log::{column, seq_of};
use crate::domain::id::{EntryId, HostId};
use crate::domain::roster::{self, Roster};

/// What is wrong with the rosters on the remote; absent while nothing is.
pub const ROSTER_FACT: &str = "roster.fault";

/// A verified roster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RosterRow {
    /// Its id.
    pub id: EntryId,
    /// What it says.
    pub roster: Roster,
    /// The file, byte for byte.
    pub envelope: Vec<u8>,
}

impl Db {
    /// The newest roster that was verified here.
    ///
    /// # Errors
    /// The database failed, or the row is not one of ours.
    pub fn roster(&self) -> Result<Option<RosterRow>, DbError> {
        self.roster_where("ORDER BY version DESC LIMIT 1", &[])
    }

    /// The roster of one version, if it was verified here.
    ///
    /// # Errors
    /// The database failed, or the row is not one of ours.
    pub fn roster_version(&self, version: u64) -> Result<Option<RosterRow>, DbError> {
        self.roster_where("WHERE version = ?1", &[&column(version)])
    }

    fn roster_where(&self, clause: &str, parameters: &[&dyn rusqlite::ToSql]) -> Result<Option<RosterRow>, DbError> {
        let row: Option<([u8; 32], Vec<u8>)> = self.read(|connection| {
            connection
                .query_row(&format!("SELECT id, envelope FROM rosters {clause}"), parameters, |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })
                .optional()
        })?;
        row.map(|(id, envelope)| {
            let (roster, _) = roster::read(&envelope).map_err(|_| DbError::Impossible { what: "roster" })?;
            Ok(RosterRow { id: EntryId::from_bytes(id), roster, envelope })
        })
        .transpose()
    }

    /// Remembers a roster that was verified; the version before it must be the last one here.
    ///
    /// # Errors
    /// The database failed, or the version is known.
    pub fn record_roster(&mut self, row: &RosterRow, now: Timestamp) -> Result<(), DbError> {
        self.write(|transaction| {
            transaction
                .execute(
                    "INSERT INTO rosters (version, id, envelope, received_at) VALUES (?1, ?2, ?3, ?4)",
                    params![column(row.roster.version), row.id.as_bytes(), row.envelope, now.as_second()],
                )
                .map(drop)
        })
    }

    /// Hosts whose newest heads name a roster version above `known`.
    ///
    /// # Errors
    /// The database failed.
    pub fn ahead_of_roster(&self, known: u64) -> Result<Vec<(HostId, u64)>, DbError> {
        let rows = self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT host, roster FROM peers WHERE roster > ?1 AND state != 'quarantined' ORDER BY host",
            )?;
            let rows =
                statement.query_map([column(known)], |row| Ok((row.get::<_, [u8; 32]>(0)?, row.get::<_, i64>(1)?)))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        rows.into_iter().map(|(host, version)| Ok((HostId::from_bytes(host), seq_of(version)?))).collect()
    }

    /// Forgets a small named fact.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn forget_fact(&mut self, name: &str) -> Result<(), DbError> {
        self.write(|transaction| transaction.execute("DELETE FROM facts WHERE name = ?1", [name]).map(drop))
    }
}
