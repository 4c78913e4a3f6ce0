//! What mesh proposed by itself, and what a model offered and was refused.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, params};
use serde::{Deserialize, Serialize};

use super::db::{Db, DbError};
use super::fixes::json;
use super::heal::body;
use crate::domain::fix::FixId;
use crate::domain::guard::Verdict;
use crate::domain::kaizen::offer::Refused;
use crate::domain::kaizen::proposal::Proposal;

/// Refusals that are kept one by one.
const REFUSALS: i64 = 1_000;

/// A proposal, as it is remembered.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Proposed {
    /// Its name: the same as that of its intervention.
    pub id: FixId,
    /// When it was first made, in seconds since 1970.
    pub made: i64,
    /// When it was last made again or moved on.
    pub updated: i64,
    /// The proposal.
    pub proposal: Proposal,
    /// What each check of the guard said last.
    pub verdicts: Vec<Verdict>,
}

/// A refusal, as it is remembered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct RefusedOffer {
    /// When, in seconds since 1970.
    pub at: i64,
    /// Whose offer it was.
    pub model: String,
    /// Why, in one word.
    pub why: String,
    /// What was wrong. Foreign text, made fit to be shown.
    pub detail: String,
}

impl Db {
    /// Every proposal, newest first.
    ///
    /// # Errors
    /// SQLite refused, or a row is not one of ours.
    pub fn proposals(&self) -> Result<Vec<Proposed>, DbError> {
        self.read(|connection| {
            connection
                .prepare("SELECT body FROM proposals ORDER BY made DESC, id")?
                .query_map([], |row| body(row, 0))?
                .collect()
        })
    }

    /// One proposal.
    ///
    /// # Errors
    /// SQLite refused, or the row is not one of ours.
    pub fn proposal(&self, id: &FixId) -> Result<Option<Proposed>, DbError> {
        self.read(|connection| {
            connection
                .query_row("SELECT body FROM proposals WHERE id = ?1", [id.as_str()], |row| body(row, 0))
                .optional()
        })
    }

    /// Remembers a proposal.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn keep_proposal(&mut self, proposed: &Proposed) -> Result<(), DbError> {
        self.write(|transaction| {
            transaction
                .execute(
                    "INSERT INTO proposals (id, made, updated, body) VALUES (?1, ?2, ?3, ?4) \
                     ON CONFLICT (id) DO UPDATE SET updated = ?3, body = ?4",
                    params![proposed.id.as_str(), proposed.made, proposed.updated, json(proposed)],
                )
                .map(drop)
        })
    }

    /// Remembers that an offer was not taken.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn refuse_offer(&mut self, at: Timestamp, model: &str, refused: &Refused) -> Result<(), DbError> {
        self.write(|transaction| {
            transaction.execute(
                "INSERT INTO proposal_refusals (at, model, why, detail) VALUES (?1, ?2, ?3, ?4)",
                params![at.as_second(), model, refused.why.name(), refused.detail],
            )?;
            transaction
                .execute(
                    "DELETE FROM proposal_refusals WHERE id <= (SELECT max(id) FROM proposal_refusals) - ?1",
                    [REFUSALS],
                )
                .map(drop)
        })
    }

    /// The newest refusals, newest first.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn refused_offers(&self, most: u32) -> Result<Vec<RefusedOffer>, DbError> {
        self.read(|connection| {
            connection
                .prepare("SELECT at, model, why, detail FROM proposal_refusals ORDER BY id DESC LIMIT ?1")?
                .query_map([most], |row| {
                    Ok(RefusedOffer { at: row.get(0)?, model: row.get(1)?, why: row.get(2)?, detail: row.get(3)? })
                })?
                .collect()
        })
    }

    /// How many of the refusals that are kept have each reason.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn refusal_counts(&self) -> Result<BTreeMap<String, u64>, DbError> {
        self.read(|connection| {
            connection
                .prepare("SELECT why, count(*) FROM proposal_refusals GROUP BY why")?
                .query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs())))?
                .collect()
        })
    }
}
