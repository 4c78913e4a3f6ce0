//! Cases: troubles that began together, with what was found of them.

use rusqlite::params;
use serde::{Deserialize, Serialize};

use super::db::{Db, DbError};
use super::fixes::json;
use crate::domain::kaizen::correlation::Case;
use crate::domain::kaizen::diagnosis::Hint;

/// Cases are kept for this many seconds.
const KEPT: i64 = 90 * 86_400;

/// A case, with what a model made of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KnownCase {
    /// The case.
    pub case: Case,
    /// The hint, where a model was asked.
    pub hint: Option<Hint>,
}

impl Db {
    /// Cases that began at `since` or later, newest first.
    ///
    /// # Errors
    /// SQLite refused, or a row is not one of ours.
    pub fn cases(&self, since: i64) -> Result<Vec<KnownCase>, DbError> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT body FROM cases WHERE began >= ?1 ORDER BY began DESC, name")?
                .query_map([since], |row| super::heal::body(row, 0))?
                .collect()
        })
    }

    /// Takes `cases` for those that began at `since` or later, and drops what is very old.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn keep_cases(&mut self, since: i64, cases: &[KnownCase]) -> Result<(), DbError> {
        let stands = "SELECT NOT EXISTS (SELECT 1 FROM cases WHERE began >= ?1 OR began < ?2)";
        let none = self.read(|connection| connection.query_row(stands, [since, since - KEPT], |row| row.get(0)))?;
        if none && cases.is_empty() {
            return Ok(());
        }
        self.write(|transaction| {
            transaction.execute("DELETE FROM cases WHERE began >= ?1 OR began < ?2", [since, since - KEPT])?;
            let mut insert =
                transaction.prepare_cached("INSERT OR REPLACE INTO cases (name, began, body) VALUES (?1, ?2, ?3)")?;
            for known in cases {
                insert.execute(params![known.case.name(), known.case.began(), json(known)])?;
            }
            Ok(())
        })
    }

    /// The case that an incident is one of.
    ///
    /// # Errors
    /// SQLite refused, or a row is not one of ours.
    pub fn case_of(&self, incident: u64, opened: i64) -> Result<Option<KnownCase>, DbError> {
        let near = opened - crate::domain::kaizen::correlation::TOGETHER_S;
        Ok(self.cases(near)?.into_iter().find(|known| known.case.holds(incident)))
    }
}
