//! Lessons of peers that too many hosts took back: stopped here until a person lifts that.

use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, params};

use super::db::{Db, DbError};
use super::own_log::time_of;
use crate::domain::id::EntryId;

/// A lesson that is stopped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoppedLesson {
    /// Its entry.
    pub entry: EntryId,
    /// Its name.
    pub slug: String,
    /// Why.
    pub why: String,
    /// Since when.
    pub at: Timestamp,
}

impl Db {
    /// Stops a lesson. One that a person let go on stops again only when more hosts took it back than then.
    ///
    /// # Errors
    /// The database failed.
    pub fn stop_lesson(
        &mut self,
        entry: EntryId,
        slug: &str,
        why: &str,
        reverted: usize,
        now: Timestamp,
    ) -> Result<(), DbError> {
        let reverted = i64::try_from(reverted).unwrap_or(i64::MAX);
        self.write(|transaction| {
            transaction
                .execute(
                    "INSERT INTO stopped_lessons (entry, slug, why, reverted, at) VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT (entry) DO UPDATE SET why = ?3, reverted = ?4, at = ?5, lifted_at = NULL, reason = NULL
                     WHERE lifted_at IS NOT NULL AND reverted < ?4",
                    params![entry.as_bytes(), slug, why, reverted, now.as_second()],
                )
                .map(drop)
        })
    }

    /// Why a lesson is stopped, if it is.
    ///
    /// # Errors
    /// The database failed.
    pub fn stopped_lesson(&self, entry: EntryId) -> Result<Option<String>, DbError> {
        self.read(|connection| {
            connection
                .query_row(
                    "SELECT why FROM stopped_lessons WHERE entry = ?1 AND lifted_at IS NULL",
                    [entry.as_bytes()],
                    |row| row.get(0),
                )
                .optional()
        })
    }

    /// All lessons that are stopped.
    ///
    /// # Errors
    /// The database failed.
    pub fn stopped_lessons(&self) -> Result<Vec<StoppedLesson>, DbError> {
        let rows = self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT entry, slug, why, at FROM stopped_lessons WHERE lifted_at IS NULL ORDER BY at, entry",
            )?;
            let rows = statement.query_map([], |row| {
                Ok((row.get::<_, [u8; 32]>(0)?, row.get(1)?, row.get(2)?, row.get::<_, i64>(3)?))
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        rows.into_iter()
            .map(|(entry, slug, why, at)| {
                Ok(StoppedLesson { entry: EntryId::from_bytes(entry), slug, why, at: time_of(at)? })
            })
            .collect()
    }

    /// Lets a lesson go on, because a person says so. True when it was stopped.
    ///
    /// # Errors
    /// The database failed.
    pub fn lift_lesson(&mut self, slug: &str, reason: &str, now: Timestamp) -> Result<bool, DbError> {
        self.write(|transaction| {
            let changed = transaction.execute(
                "UPDATE stopped_lessons SET lifted_at = ?2, reason = ?3 WHERE slug = ?1 AND lifted_at IS NULL",
                params![slug, now.as_second(), reason],
            )?;
            Ok(changed > 0)
        })
    }
}
