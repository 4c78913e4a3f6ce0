//! What the last audit found, and which of it a person lives with.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use rusqlite::params;

use super::db::{Db, DbError};
use super::fixes::{json, parsed, path_bytes};
use crate::domain::finding::{Finding, Fingerprint};
use crate::domain::id::Slug;

/// A finding that a person lives with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Accepted {
    /// The finding.
    pub fingerprint: Fingerprint,
    /// Its lesson.
    pub lesson: Slug,
    /// Why it may stay.
    pub reason: String,
    /// Until when; for good where absent.
    pub expires_at: Option<Timestamp>,
}

impl Db {
    /// Remembers what an audit of `lessons` found in `root`, in place of what the one before found for them.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn save_findings(
        &mut self,
        root: &Path,
        lessons: &[Slug],
        findings: &[Finding],
        now: Timestamp,
    ) -> Result<(), DbError> {
        // Most audits find what the one before found, and then there is nothing to write.
        if self.is_saved(root, lessons, findings)? {
            return Ok(());
        }
        let root = path_bytes(root);
        self.write(|transaction| {
            let mut since = BTreeMap::new();
            {
                let mut query =
                    transaction.prepare("SELECT fingerprint, first_seen_at FROM findings WHERE root = ?1")?;
                let mut rows = query.query([root])?;
                while let Some(row) = rows.next()? {
                    since.insert(row.get::<_, [u8; 32]>(0)?, row.get::<_, i64>(1)?);
                }
            }
            for lesson in lessons {
                transaction
                    .execute("DELETE FROM findings WHERE root = ?1 AND lesson = ?2", params![root, lesson.as_str()])?;
            }
            let mut insert = transaction.prepare(
                "INSERT OR REPLACE INTO findings (root, fingerprint, lesson, suppressed, body, first_seen_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?;
            for finding in findings {
                let fingerprint = *finding.fingerprint.as_bytes();
                let seen = since.get(&fingerprint).copied().unwrap_or_else(|| now.as_millisecond());
                let suppressed = finding.suppressed.is_some();
                insert.execute(params![root, fingerprint, finding.lesson.as_str(), suppressed, json(finding), seen])?;
            }
            Ok(())
        })
    }

    fn is_saved(&self, root: &Path, lessons: &[Slug], findings: &[Finding]) -> Result<bool, DbError> {
        let mut saved = self.findings_of(root)?;
        saved.retain(|finding| lessons.contains(&finding.lesson));
        let found: BTreeMap<_, _> = findings.iter().map(|finding| (finding.fingerprint, finding)).collect();
        Ok(saved.len() == found.len() && saved.iter().all(|one| found.get(&one.fingerprint) == Some(&one)))
    }

    /// What the last audit of `root` found, by path and line.
    ///
    /// # Errors
    /// SQLite refused, or a row is not one of ours.
    pub fn findings_of(&self, root: &Path) -> Result<Vec<Finding>, DbError> {
        let mut findings: Vec<Finding> = self.read(|connection| {
            connection
                .prepare("SELECT body FROM findings WHERE root = ?1")?
                .query_map([path_bytes(root)], |row| parsed(row, 0))?
                .collect()
        })?;
        findings.sort_by(|a, b| (&a.path, a.line, a.column).cmp(&(&b.path, b.line, b.column)));
        Ok(findings)
    }

    /// How many findings that nobody suppressed each lesson has, over all roots.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn finding_counts(&self) -> Result<BTreeMap<String, u64>, DbError> {
        self.read(|connection| {
            connection
                .prepare("SELECT lesson, count(*) FROM findings WHERE suppressed = 0 GROUP BY lesson")?
                .query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs())))?
                .collect()
        })
    }

    /// The baseline of `root` as it holds at `now`: what has expired is not in it.
    ///
    /// # Errors
    /// SQLite refused, or a row is not one of ours.
    pub fn baseline(&self, root: &Path, now: Timestamp) -> Result<Vec<Accepted>, DbError> {
        let rows: Vec<([u8; 32], String, String, Option<i64>)> = self.read(|connection| {
            connection
                .prepare(
                    "SELECT fingerprint, lesson, reason, expires_at FROM baseline
                     WHERE root = ?1 AND (expires_at IS NULL OR expires_at > ?2) ORDER BY fingerprint",
                )?
                .query_map(params![path_bytes(root), now.as_millisecond()], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
                })?
                .collect()
        })?;
        rows.into_iter()
            .map(|(fingerprint, lesson, reason, expires_at)| {
                let impossible = || DbError::Impossible { what: "baseline row" };
                Ok(Accepted {
                    fingerprint: Fingerprint::from_bytes(fingerprint),
                    lesson: lesson.parse().map_err(|_| impossible())?,
                    reason,
                    expires_at: match expires_at {
                        Some(at) => Some(Timestamp::from_millisecond(at).map_err(|_| impossible())?),
                        None => None,
                    },
                })
            })
            .collect()
    }

    /// Makes `accepted` the baseline of `root`.
    ///
    /// # Errors
    /// SQLite refused; the old baseline stays.
    pub fn replace_baseline<'a>(
        &mut self,
        root: &Path,
        accepted: impl Iterator<Item = &'a Accepted>,
    ) -> Result<(), DbError> {
        let root = path_bytes(root);
        self.write(|transaction| {
            transaction.execute("DELETE FROM baseline WHERE root = ?1", [root])?;
            let mut insert = transaction.prepare(
                "INSERT INTO baseline (root, fingerprint, lesson, reason, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?;
            for entry in accepted {
                insert.execute(params![
                    root,
                    *entry.fingerprint.as_bytes(),
                    entry.lesson.as_str(),
                    entry.reason,
                    entry.expires_at.map(Timestamp::as_millisecond)
                ])?;
            }
            Ok(())
        })
    }
}
