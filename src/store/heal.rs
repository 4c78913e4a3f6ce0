//! What rules remember: incidents, records, drills and invariants.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};
use serde::de::DeserializeOwned;

use super::db::{Db, DbError, SET_FACT};
use super::fixes::json;
use super::ledger::tick;
use crate::domain::heal::drill::DrillVerdict;
use crate::domain::heal::engine::{Explained, Key, Record};
use crate::domain::heal::incident::{Incident, State};
use crate::domain::ledger::RuleStep;
use crate::domain::running::Moment;

/// Incidents that are over are kept for this many seconds.
const KEPT: i64 = 365 * 86_400;

pub(super) fn body<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    })
}

/// An assertion as it was last looked at.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct InvariantRow {
    /// Its name.
    pub name: String,
    /// Whether it holds; none when that is not known.
    pub holds: Option<bool>,
    /// The numbers or the words behind it.
    pub detail: String,
    /// When it was looked at, in seconds since 1970.
    pub at: i64,
    /// Since when it does not hold.
    pub since: Option<i64>,
}

/// What an engine goes on with: records, incidents that are not over, and the last incident's number.
pub type RuleState = (BTreeMap<Key, Record>, Vec<Incident>, u64);

fn keep<'a>(
    transaction: &Transaction<'_>,
    records: impl Iterator<Item = (&'a Key, &'a Record)>,
    incidents: impl Iterator<Item = &'a Incident>,
    explained: impl IntoIterator<Item = Explained>,
) -> rusqlite::Result<()> {
    let mut keep = transaction.prepare_cached(
        "INSERT INTO rule_records (rule, target, body) VALUES (?1, ?2, ?3) \
         ON CONFLICT (rule, target) DO UPDATE SET body = ?3",
    )?;
    for ((rule, target), record) in records {
        keep.execute(params![rule, target, json(record)])?;
    }
    for one in incidents {
        let mut one = one.clone();
        // What a person said since the engine read it must not be lost.
        if let Some(stored) = incident(transaction, one.id)? {
            one.hear(&stored);
        }
        put(transaction, &one)?;
    }
    let mut keep = transaction.prepare_cached(
        "INSERT INTO rule_records (rule, target, body, explained) VALUES (?1, ?2, '', ?3) \
         ON CONFLICT (rule, target) DO UPDATE SET explained = ?3",
    )?;
    for one in explained {
        keep.execute(params![one.rule, one.target, json(&one)])?;
    }
    Ok(())
}

fn incident(connection: &Connection, id: u64) -> rusqlite::Result<Option<Incident>> {
    let id = i64::try_from(id).unwrap_or(i64::MAX);
    connection
        .prepare_cached("SELECT body FROM incidents WHERE id = ?1")?
        .query_row([id], |row| body(row, 0))
        .optional()
}

fn put(connection: &Connection, one: &Incident) -> rusqlite::Result<()> {
    let id = i64::try_from(one.id).unwrap_or(i64::MAX);
    let mut put = connection.prepare_cached(
        "INSERT INTO incidents (id, rule, target, state, opened, closed, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
         ON CONFLICT (id) DO UPDATE SET state = ?4, closed = ?6, body = ?7",
    )?;
    put.execute(params![id, one.rule, one.target, one.state.name(), one.opened, one.closed, json(one)]).map(drop)
}

impl Db {
    /// Everything that an engine goes on with: records, incidents that are not over, and the last incident's number.
    ///
    /// # Errors
    /// SQLite refused, or a row is not one of ours.
    pub fn rule_state(&self) -> Result<RuleState, DbError> {
        self.read(|connection| {
            let records = connection
                .prepare("SELECT rule, target, body FROM rule_records WHERE body <> ''")?
                .query_map([], |row| Ok(((row.get(0)?, row.get(1)?), body(row, 2)?)))?
                .collect::<rusqlite::Result<BTreeMap<Key, Record>>>()?;
            let open = connection
                .prepare("SELECT body FROM incidents WHERE state <> 'resolved' ORDER BY id")?
                .query_map([], |row| body(row, 0))?
                .collect::<rusqlite::Result<Vec<Incident>>>()?;
            let last: i64 = connection.query_row("SELECT coalesce(max(id), 0) FROM incidents", [], |row| row.get(0))?;
            Ok((records, open, last.unsigned_abs()))
        })
    }

    /// Stores what an engine knows now. What was found is put in words one by one, so that all of it is never held at once.
    ///
    /// # Errors
    /// SQLite refused; none of it is stored.
    pub fn keep_rule_state<'a>(
        &mut self,
        records: impl Iterator<Item = (&'a Key, &'a Record)>,
        incidents: impl Iterator<Item = &'a Incident>,
        explained: impl IntoIterator<Item = Explained>,
    ) -> Result<(), DbError> {
        self.write(|transaction| keep(transaction, records, incidents, explained))
    }

    /// The same at the end of a look, and counts the clock on and remembers a small named fact in the same step: each is
    /// a turn of the disk.
    ///
    /// # Errors
    /// SQLite refused; none of it is stored.
    pub fn keep_look<'a>(
        &mut self,
        records: impl Iterator<Item = (&'a Key, &'a Record)>,
        incidents: impl Iterator<Item = &'a Incident>,
        explained: impl IntoIterator<Item = Explained>,
        moment: &Moment,
        (fact, value): (&str, &str),
    ) -> Result<(), DbError> {
        self.write(|transaction| {
            transaction.prepare_cached(SET_FACT)?.execute([fact, value])?;
            tick(transaction, moment)?;
            keep(transaction, records, incidents, explained)
        })
    }

    /// What a person said of an open incident: seen, allowed, quiet until then. The engine reads it at its next look.
    ///
    /// # Errors
    /// SQLite refused, or the row is not one of ours.
    pub fn change_incident(
        &mut self,
        id: u64,
        change: impl FnOnce(&mut Incident),
    ) -> Result<Option<Incident>, DbError> {
        self.write(|transaction| {
            let Some(mut found) = incident(transaction, id)? else { return Ok(None) };
            if found.state != State::Resolved {
                change(&mut found);
                put(transaction, &found)?;
            }
            Ok(Some(found))
        })
    }

    /// One incident.
    ///
    /// # Errors
    /// SQLite refused, or the row is not one of ours.
    pub fn incident(&self, id: u64) -> Result<Option<Incident>, DbError> {
        self.read(|connection| incident(connection, id))
    }

    /// Incidents, newest first: those that are not over, or all of them.
    ///
    /// # Errors
    /// SQLite refused, or a row is not one of ours.
    pub fn incidents(&self, all: bool, most: usize) -> Result<Vec<Incident>, DbError> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        self.read(|connection| {
            connection
                .prepare_cached("SELECT body FROM incidents WHERE ?1 OR state <> 'resolved' ORDER BY id DESC LIMIT ?2")?
                .query_map(params![all, most], |row| body(row, 0))?
                .collect()
        })
    }

    /// Drops incidents that were over long ago.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn tidy_incidents(&mut self, now: i64) -> Result<(), DbError> {
        self.write(|transaction| {
            transaction
                .execute("DELETE FROM incidents WHERE state = 'resolved' AND closed < ?1", [now - KEPT])
                .map(drop)
        })
    }

    /// What the last look found of a rule, for each target.
    ///
    /// # Errors
    /// SQLite refused, or a row is not one of ours.
    pub fn explained(&self, rule: u32) -> Result<Vec<serde_json::Value>, DbError> {
        self.read(|connection| {
            connection
                .prepare("SELECT explained FROM rule_records WHERE rule = ?1 AND explained <> '' ORDER BY target")?
                .query_map([rule], |row| body(row, 0))?
                .collect()
        })
    }

    /// The last drill of each rule.
    ///
    /// # Errors
    /// SQLite refused, or a row is not one of ours.
    pub fn drills(&self) -> Result<BTreeMap<u32, DrillVerdict>, DbError> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT rule, body FROM drills")?
                .query_map([], |row| Ok((row.get(0)?, body(row, 1)?)))?
                .collect()
        })
    }

    /// Remembers what a drill came to.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn keep_drill(&mut self, rule: u32, verdict: &DrillVerdict) -> Result<(), DbError> {
        self.write(|transaction| {
            transaction
                .execute("INSERT OR REPLACE INTO drills (rule, body) VALUES (?1, ?2)", params![rule, json(verdict)])
                .map(drop)
        })
    }

    /// How many rows of the ledger say this of rules since `since`, in milliseconds since 1970.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn count_rule_steps(&self, step: RuleStep, since: i64) -> Result<u64, DbError> {
        self.read(|connection| {
            let sql = "SELECT count(*) FROM ledger WHERE word = ?1 AND at >= ?2";
            let count: i64 = connection.query_row(sql, params![step.word(), since], |row| row.get(0))?;
            Ok(count.unsigned_abs())
        })
    }

    /// Remembers what became of assertions. Those that are not among them are forgotten.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn keep_invariants(&mut self, found: &[(String, Option<bool>, String)], now: i64) -> Result<(), DbError> {
        self.write(|transaction| {
            transaction.execute("DELETE FROM invariants WHERE at < ?1 AND name NOT IN (SELECT value FROM json_each(?2))",
                params![now, json(&found.iter().map(|one| &one.0).collect::<Vec<_>>())])?;
            for (name, holds, detail) in found {
                transaction.execute(
                    "INSERT INTO invariants (name, holds, detail, at, since) VALUES (?1, ?2, ?3, ?4, iif(?2 IS 0, ?4, NULL)) \
                     ON CONFLICT (name) DO UPDATE SET holds = ?2, detail = ?3, at = ?4, \
                     since = iif(?2 IS 0, coalesce(since, ?4), NULL)",
                    params![name, holds, detail, now],
                )?;
            }
            Ok(())
        })
    }

    /// Every assertion as it was last looked at.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn invariants(&self) -> Result<Vec<InvariantRow>, DbError> {
        self.read(|connection| {
            connection
                .prepare("SELECT name, holds, detail, at, since FROM invariants ORDER BY name")?
                .query_map([], |row| {
                    Ok(InvariantRow {
                        name: row.get(0)?,
                        holds: row.get(1)?,
                        detail: row.get(2)?,
                        at: row.get(3)?,
                        since: row.get(4)?,
                    })
                })?
                .collect()
        })
    }
}
