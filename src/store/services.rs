//! Services as they were last seen, what happened to them, and which of them a person wants to be down.

use std::path::{Path, PathBuf};

use rusqlite::params;
use serde::Serialize;

use super::db::{Db, DbError};
use super::files::{self, FileError};
use super::home::Home;
use crate::domain::id::ServiceName;

/// Most events that are kept of all services together.
const EVENTS: i64 = 20_000;

/// A service as it was last seen.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ServiceRow {
    /// Its name.
    pub name: String,
    /// Who runs it.
    pub manager: String,
    /// Where it was in its life.
    pub state: String,
    /// Whether it lived; `None` when that was not known.
    pub liveness: Option<bool>,
    /// Whether people are woken for it.
    pub critical: bool,
    /// Its main process.
    pub pid: Option<u32>,
    /// How often it was started again.
    pub restarts: u64,
    /// What a person should know of it.
    pub why: String,
    /// When, in milliseconds since 1970.
    pub at: i64,
}

/// Something that happened to a service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ServiceEvent {
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// The service; empty when it is of the supervision itself.
    pub service: String,
    /// The word for it.
    pub event: String,
    /// What, in a few words.
    pub what: String,
}

impl Db {
    /// Remembers what happened, and with `rows` how all services are: others are forgotten.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn record_services(&mut self, events: &[ServiceEvent], rows: Option<&[ServiceRow]>) -> Result<(), DbError> {
        self.write(|transaction| {
            let mut insert = transaction
                .prepare_cached("INSERT INTO service_events (at, service, event, what) VALUES (?1, ?2, ?3, ?4)")?;
            for event in events {
                insert.execute(params![event.at, event.service, event.event, event.what])?;
            }
            if !events.is_empty() {
                transaction.execute(
                    "DELETE FROM service_events WHERE id <= (SELECT max(id) FROM service_events) - ?1",
                    [EVENTS],
                )?;
            }
            let Some(rows) = rows else { return Ok(()) };
            transaction.execute("DELETE FROM services", [])?;
            let mut insert = transaction.prepare_cached(
                "INSERT INTO services (name, manager, state, liveness, critical, pid, restarts, why, at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?;
            for row in rows {
                let restarts = i64::try_from(row.restarts).unwrap_or(i64::MAX);
                insert.execute(params![
                    row.name,
                    row.manager,
                    row.state,
                    row.liveness,
                    row.critical,
                    row.pid,
                    restarts,
                    row.why,
                    row.at
                ])?;
            }
            Ok(())
        })
    }

    /// All services as they were last seen, by name.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn services(&self) -> Result<Vec<ServiceRow>, DbError> {
        self.read(|connection| {
            let sql =
                "SELECT name, manager, state, liveness, critical, pid, restarts, why, at FROM services ORDER BY name";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([], |row| {
                Ok(ServiceRow {
                    name: row.get(0)?,
                    manager: row.get(1)?,
                    state: row.get(2)?,
                    liveness: row.get(3)?,
                    critical: row.get(4)?,
                    pid: row.get(5)?,
                    restarts: u64::try_from(row.get::<_, i64>(6)?).unwrap_or(0),
                    why: row.get(7)?,
                    at: row.get(8)?,
                })
            })?;
            rows.collect()
        })
    }

    /// The newest events, of one service or of all, the newest first.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn service_events(&self, service: Option<&str>, most: u32) -> Result<Vec<ServiceEvent>, DbError> {
        self.read(|connection| {
            let sql = "SELECT at, service, event, what FROM service_events
                       WHERE ?1 IS NULL OR service = ?1 ORDER BY id DESC LIMIT ?2";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map(params![service, most], |row| {
                Ok(ServiceEvent { at: row.get(0)?, service: row.get(1)?, event: row.get(2)?, what: row.get(3)? })
            })?;
            rows.collect()
        })
    }
}

/// Services that a person wants to be down: one file each in `state/services/stopped`, so that it holds whatever becomes
/// of the agent, and `ls` shows it. A wish that one be started stands there until the agent has heard it.
#[derive(Clone, Debug)]
pub struct Stops {
    dir: PathBuf,
}

impl Stops {
    /// Those of a home.
    #[must_use]
    pub fn of(home: &Home) -> Self {
        Self { dir: home.state().join("services/stopped") }
    }

    /// The folder, made when it is missing.
    ///
    /// # Errors
    /// The system refused.
    pub fn dir(&self) -> Result<&Path, FileError> {
        files::make_dir(&self.dir)?;
        Ok(&self.dir)
    }

    /// Who is to be down. A file whose name is none of a service is passed over.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn all(&self) -> Result<Vec<ServiceName>, FileError> {
        self.named("stopped")
    }

    fn named(&self, ending: &str) -> Result<Vec<ServiceName>, FileError> {
        let paths = files::list(&self.dir, ending)?;
        Ok(paths.iter().filter_map(|path| path.file_stem()?.to_str()?.parse().ok()).collect())
    }

    /// Who is to be started now, whoever stopped it. Each is told once.
    ///
    /// # Errors
    /// The folder cannot be read or changed.
    pub fn take_starts(&self) -> Result<Vec<ServiceName>, FileError> {
        let names = self.named("started")?;
        names.iter().try_for_each(|name| files::remove(&self.dir.join(format!("{name}.started"))))?;
        Ok(names)
    }

    /// Says that a service is to be down, and why.
    ///
    /// # Errors
    /// The system refused.
    pub fn add(&self, name: &ServiceName, why: &str) -> Result<(), FileError> {
        // The later word counts.
        files::remove(&self.dir()?.join(format!("{name}.started")))?;
        files::write_whole(&self.dir()?.join(format!("{name}.stopped")), why.as_bytes(), 0o600)
    }

    /// Says that it is to be down no longer, and to be started also where somebody stopped it by other means.
    ///
    /// # Errors
    /// The system refused.
    pub fn remove(&self, name: &ServiceName) -> Result<(), FileError> {
        files::remove(&self.dir.join(format!("{name}.stopped")))?;
        files::write_whole(&self.dir()?.join(format!("{name}.started")), b"", 0o600)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_is_kept_and_what_is_gone_is_forgotten() {
        let mut db = Db::in_memory().expect("made");
        let row = |name: &str| ServiceRow {
            name: name.to_owned(),
            manager: "child".to_owned(),
            state: "up".to_owned(),
            liveness: None,
            critical: true,
            pid: Some(7),
            restarts: 3,
            why: String::new(),
            at: 1,
        };
        let event = |service: &str| ServiceEvent {
            at: 5,
            service: service.to_owned(),
            event: "ended".to_owned(),
            what: "exited with 1".to_owned(),
        };
        db.record_services(&[event("a"), event("b")], Some(&[row("a"), row("b")])).expect("stored");
        db.record_services(&[], Some(&[row("b")])).expect("stored");
        assert_eq!(db.services().expect("read"), [row("b")]);
        assert_eq!(db.service_events(Some("a"), 9).expect("read"), [event("a")]);
        assert_eq!(db.service_events(None, 9).expect("read").len(), 2);
    }

    #[test]
    fn a_stop_is_a_file_and_outlives_everything() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let stops = Stops::of(&Home::at(dir.path()));
        let name: ServiceName = "web".parse().expect("a name");
        assert!(stops.all().expect("none").is_empty());
        stops.add(&name, "backup").expect("written");
        std::fs::write(stops.dir().expect("there").join("A B.stopped"), "").expect("written");
        assert_eq!(stops.all().expect("read"), std::slice::from_ref(&name));
        stops.remove(&name).expect("removed");
        stops.remove(&name).expect("gone already");
        assert!(stops.all().expect("read").is_empty());
        assert_eq!(stops.take_starts().expect("taken"), [name]);
        assert!(stops.take_starts().expect("told once").is_empty());
    }
}
