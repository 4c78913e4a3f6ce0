//! Fixes as they are remembered.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::types::Type;
use rusqlite::{OptionalExtension as _, Row, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::db::{Db, DbError};
use crate::domain::fix::{Fix, FixId};
use crate::domain::id::{EntryId, Slug};

pub(super) fn path_bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

pub(super) fn path_of(bytes: Vec<u8>) -> PathBuf {
    OsString::from_vec(bytes).into()
}

/// The word that serde writes for a plain enum or name.
pub(super) fn word(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).expect("a plain enum or name always has a word");
    value.as_str().expect("a plain enum or name is one word").to_owned()
}

pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("records hold only text, numbers and lists")
}

fn bad(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}

pub(super) fn parsed<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| bad(column, error))
}

pub(super) fn from_word<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_value(serde_json::Value::String(text)).map_err(|error| bad(column, error))
}

fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    Timestamp::from_millisecond(row.get(column)?).map_err(|error| bad(column, error))
}

const COLUMNS: &str = "id, lesson, rev, entry, class, state, root, path, branch, commit_id, base_id, before_hash, \
     after_hash, diff, reason, check_said, ended_by, mends, verdicts, created_at, updated_at";

fn fix_of(row: &Row<'_>) -> rusqlite::Result<Fix> {
    let entry: Option<[u8; 32]> = row.get(3)?;
    let ended_by: Option<String> = row.get(16)?;
    Ok(Fix {
        id: from_word(row, 0)?,
        lesson: from_word(row, 1)?,
        rev: row.get(2)?,
        entry: entry.map(EntryId::from_bytes),
        class: from_word(row, 4)?,
        state: from_word(row, 5)?,
        root: path_of(row.get(6)?),
        path: row.get(7)?,
        branch: row.get(8)?,
        commit: row.get(9)?,
        base: row.get(10)?,
        before: from_word(row, 11)?,
        after: from_word(row, 12)?,
        diff: row.get(13)?,
        reason: row.get(14)?,
        check: parsed(row, 15)?,
        ended_by: if ended_by.is_some() { Some(from_word(row, 16)?) } else { None },
        mends: parsed(row, 17)?,
        verdicts: parsed(row, 18)?,
        created_at: time(row, 19)?,
        updated_at: time(row, 20)?,
    })
}

impl Db {
    /// Every fix, newest first.
    ///
    /// # Errors
    /// SQLite refused, or a row is not one of ours.
    pub fn fixes(&self) -> Result<Vec<Fix>, DbError> {
        self.read(|connection| {
            let sql = format!("SELECT {COLUMNS} FROM fixes ORDER BY updated_at DESC, id");
            connection.prepare(&sql)?.query_map([], fix_of)?.collect()
        })
    }

    /// The fixes of one root, by path.
    ///
    /// # Errors
    /// SQLite refused, or a row is not one of ours.
    pub fn fixes_of(&self, root: &Path) -> Result<Vec<Fix>, DbError> {
        self.read(|connection| {
            let sql = format!("SELECT {COLUMNS} FROM fixes WHERE root = ?1 ORDER BY path, id");
            connection.prepare(&sql)?.query_map([path_bytes(root)], fix_of)?.collect()
        })
    }

    /// One fix.
    ///
    /// # Errors
    /// SQLite refused, or the row is not one of ours.
    pub fn fix(&self, id: &FixId) -> Result<Option<Fix>, DbError> {
        self.read(|connection| {
            let sql = format!("SELECT {COLUMNS} FROM fixes WHERE id = ?1");
            connection.prepare_cached(&sql)?.query_row([id.as_str()], fix_of).optional()
        })
    }

    /// Remembers a fix in place of what was known of it.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn save_fix(&mut self, fix: &Fix) -> Result<(), DbError> {
        self.write(|transaction| {
            let marks =
                "?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21";
            transaction.execute(
                &format!("INSERT OR REPLACE INTO fixes ({COLUMNS}) VALUES ({marks})"),
                params![
                    fix.id.as_str(),
                    fix.lesson.as_str(),
                    fix.rev,
                    fix.entry.map(|entry| *entry.as_bytes()),
                    word(&fix.class),
                    word(&fix.state),
                    path_bytes(&fix.root),
                    fix.path,
                    fix.branch,
                    fix.commit,
                    fix.base,
                    word(&fix.before),
                    word(&fix.after),
                    fix.diff,
                    fix.reason,
                    json(&fix.check),
                    fix.ended_by.as_ref().map(word),
                    json(&fix.mends),
                    json(&fix.verdicts),
                    fix.created_at.as_millisecond(),
                    fix.updated_at.as_millisecond(),
                ],
            )?;
            Ok(())
        })
    }

    /// Forgets fixes of `lessons` in `root` that were only planned or refused and whose findings are gone: all but
    /// `current`. What a person ended is kept, so that it does not come back.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn forget_stale_fixes(
        &mut self,
        root: &Path,
        lessons: &BTreeSet<Slug>,
        current: &BTreeSet<FixId>,
    ) -> Result<(), DbError> {
        let stale: Vec<FixId> = self
            .fixes_of(root)?
            .into_iter()
            .filter(|fix| {
                let only_planned = fix.ended_by.is_none() && fix.branch.is_none() && !fix.state.stands();
                only_planned && lessons.contains(&fix.lesson) && !current.contains(&fix.id)
            })
            .map(|fix| fix.id)
            .collect();
        if stale.is_empty() {
            return Ok(());
        }
        self.write(|transaction| {
            stale
                .iter()
                .try_for_each(|id| transaction.execute("DELETE FROM fixes WHERE id = ?1", [id.as_str()]).map(|_| ()))
        })
    }
}
