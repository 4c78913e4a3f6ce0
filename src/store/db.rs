//! The database file: opened, migrated and checked in one place. It is the truth of a home.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

/// Pages that [`Db::open_small`] keeps in memory, in KiB; SQLite keeps up to 2,000 otherwise.
const CACHE_KIB: i64 = 256;
/// Statements that a connection keeps ready.
const STATEMENTS: usize = 64;

/// Numbered migrations; `PRAGMA user_version` is the last one that ran. Never edited, only added to.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_chain.sql"),
    include_str!("migrations/0002_findings_and_fixes.sql"),
    include_str!("migrations/0003_attestations.sql"),
    include_str!("migrations/0004_samples.sql"),
    include_str!("migrations/0005_ledger.sql"),
    include_str!("migrations/0006_gossip.sql"),
    include_str!("migrations/0007_told.sql"),
    include_str!("migrations/0008_rosters.sql"),
    include_str!("migrations/0009_rotations.sql"),
    include_str!("migrations/0010_stopped_lessons.sql"),
    include_str!("migrations/0011_services.sql"),
    include_str!("migrations/0012_rules.sql"),
    include_str!("migrations/0013_notices.sql"),
    include_str!("migrations/0014_model.sql"),
    include_str!("migrations/0015_cases.sql"),
    include_str!("migrations/0016_proposals.sql"),
    include_str!("migrations/0017_packed_entries.sql"),
];

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// SQLite refused an operation.
    #[error("database {path} failed", path = path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        cause: rusqlite::Error,
    },
    /// Written by a newer mesh.
    #[error("database {path} is of version {found}, this mesh knows {known}: run the newer mesh, or restore the older file", path = path.display())]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: usize,
        /// The newest version known here.
        known: usize,
    },
    /// Damaged.
    #[error("database {path} is damaged ({detail}); it was left as it is: move it aside and restore a copy", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the integrity check said.
        detail: String,
    },
    /// A row that this program cannot have written.
    #[error("database holds an impossible {what}: run `mesh fsck`")]
    Impossible {
        /// What was being read.
        what: &'static str,
    },
}

/// An open database of the newest version.
#[derive(Debug)]
pub struct Db {
    path: PathBuf,
    connection: Connection,
}

impl Db {
    /// Opens the file, makes it when missing, and brings it to the newest version, each step in its own
    /// transaction.
    ///
    /// # Errors
    /// Unreadable, damaged, or of a newer version; never replaced by an empty one.
    pub fn open(path: &Path) -> Result<Self, DbError> {
        let fail = |cause| DbError::Sqlite { path: path.to_owned(), cause };
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(fail)?;
        Self::prepare(path, connection)
    }

    /// The same for a thread that asks for little at a time and rests in between: it keeps few pages in memory meanwhile.
    ///
    /// # Errors
    /// As of [`Db::open`].
    pub fn open_small(path: &Path) -> Result<Self, DbError> {
        let db = Self::open(path)?;
        let fail = |cause| DbError::Sqlite { path: path.to_owned(), cause };
        db.connection.pragma_update(None, "cache_size", -CACHE_KIB).map_err(fail)?;
        Ok(db)
    }

    /// A database in memory, for tests.
    ///
    /// # Errors
    /// SQLite refused to make it.
    pub fn in_memory() -> Result<Self, DbError> {
        let path = Path::new(":memory:");
        let connection =
            Connection::open_in_memory().map_err(|cause| DbError::Sqlite { path: path.to_owned(), cause })?;
        Self::prepare(path, connection)
    }

    fn prepare(path: &Path, mut connection: Connection) -> Result<Self, DbError> {
        let fail = |cause| DbError::Sqlite { path: path.to_owned(), cause };
        connection.busy_timeout(Duration::from_secs(10)).map_err(fail)?;
        // Nothing is known here of how values are spread, so no plan depends on what is asked for. Without this, SQLite plans
        // a statement that waited in the cache anew each time, since its values were taken out of it meanwhile.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(fail)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        connection
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;")
            .map_err(fail)?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
        let found: u32 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(fail)?;
        let found = usize::try_from(found).unwrap_or(usize::MAX);
        if found > MIGRATIONS.len() {
            return Err(DbError::TooNew { path: path.to_owned(), found, known: MIGRATIONS.len() });
        }
        for (version, migration) in (1..).zip(MIGRATIONS).skip(found) {
            transaction.execute_batch(migration).map_err(fail)?;
            transaction.pragma_update(None, "user_version", version).map_err(fail)?;
        }
        transaction.commit().map_err(fail)?;
        Ok(Self { path: path.to_owned(), connection })
    }

    /// Checks the whole file.
    ///
    /// # Errors
    /// What SQLite's integrity check found.
    pub fn check(&self) -> Result<(), DbError> {
        let detail: String =
            self.read(|connection| connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)))?;
        if detail == "ok" { Ok(()) } else { Err(DbError::Damaged { path: self.path.clone(), detail }) }
    }

    /// Runs queries that change nothing.
    ///
    /// # Errors
    /// SQLite refused.
    pub(super) fn read<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, DbError> {
        query(&self.connection).map_err(|cause| DbError::Sqlite { path: self.path.clone(), cause })
    }

    /// Runs one transaction: all of it is on disk when this returns, or none of it.
    ///
    /// # Errors
    /// SQLite refused; nothing was changed.
    pub(super) fn write<T>(
        &mut self,
        change: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, DbError> {
        let path = self.path.clone();
        let fail = |cause| DbError::Sqlite { path, cause };
        let run = |connection: &mut Connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = change(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        run(&mut self.connection).map_err(fail)
    }

    /// A small named fact, such as the last tip that was read.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn fact(&self, name: &str) -> Result<Option<String>, DbError> {
        use rusqlite::OptionalExtension as _;
        self.read(|connection| {
            let mut facts = connection.prepare_cached("SELECT value FROM facts WHERE name = ?1")?;
            facts.query_row([name], |row| row.get(0)).optional()
        })
    }

    /// Remembers a small named fact.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn set_fact(&mut self, name: &str, value: &str) -> Result<(), DbError> {
        self.set_facts([(name, value)])
    }

    /// Remembers small named facts in one step.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn set_facts<'a>(&mut self, facts: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<(), DbError> {
        self.write(|transaction| {
            let mut statement = transaction.prepare_cached(SET_FACT)?;
            facts.into_iter().try_for_each(|(name, value)| statement.execute([name, value]).map(drop))
        })
    }
}

/// Remembers a small fact (`?2`) by its name (`?1`).
pub(super) const SET_FACT: &str = "INSERT OR REPLACE INTO facts (name, value) VALUES (?1, ?2)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_that_is_kept_is_planned_once() {
        let db = Db::in_memory().expect("opened");
        let again = db.read(|connection| {
            let mut planned = 0;
            for n in 0..5 {
                let mut statement = connection.prepare_cached("SELECT min(at) FROM samples WHERE series = ?1")?;
                statement.query_row([n], |row| row.get::<_, Option<i64>>(0))?;
                planned = statement.get_status(rusqlite::StatementStatus::RePrepare);
            }
            Ok(planned)
        });
        assert_eq!(again.expect("counted"), 0);
    }

    #[test]
    fn a_database_of_a_newer_version_is_refused_and_kept() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let path = dir.path().join("mesh.db");
        let mut db = Db::open(&path).expect("made");
        db.set_fact("a", "1").expect("written");
        db.read(|connection| connection.pragma_update(None, "user_version", 9_999)).expect("raised");
        drop(db);
        assert!(matches!(Db::open(&path), Err(DbError::TooNew { found: 9_999, .. })));
        let connection = Connection::open(&path).expect("still a database");
        let kept: String = connection.query_row("SELECT value FROM facts", [], |row| row.get(0)).expect("still there");
        assert_eq!(kept, "1");
    }

    #[test]
    fn unreadable_state_is_never_replaced_by_empty_state() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let path = dir.path().join("mesh.db");
        std::fs::write(&path, b"not a database, but somebody's only copy of something").expect("written");
        let before = std::fs::read(&path).expect("read");
        assert!(Db::open(&path).is_err());
        assert_eq!(std::fs::read(&path).expect("read"), before);
    }
}
