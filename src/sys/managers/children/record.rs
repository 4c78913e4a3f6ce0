//! Which process a child is, on disk: read after a restart of the agent, so that no child is started twice.
//!
//! A record is renamed into its place and not synced: it must outlive the agent, not the machine. After a crash of
//! the machine no child is left, and another boot id says so.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::domain::id::ServiceName;
use crate::domain::service::Process;

/// Largest record that is read, in bytes.
const RECORD_BYTES: u64 = 4 * 1024;

/// The last process of a child.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(in crate::sys::managers) struct Record {
    /// The boot of the machine in which it ran.
    pub boot: String,
    /// The process.
    pub process: Process,
    /// The definition that it was started with.
    pub definition: String,
    /// Whether it was asked to end: its end is then no surprise.
    pub asked: bool,
}

/// The folder of records.
#[derive(Clone, Debug)]
pub(in crate::sys::managers) struct Records {
    dir: PathBuf,
}

impl Records {
    pub(in crate::sys::managers) fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    fn path(&self, name: &ServiceName) -> PathBuf {
        self.dir.join(format!("{name}.json"))
    }

    /// The record of a child; `None` when there is none.
    ///
    /// # Errors
    /// It cannot be read or understood. It is left as it is.
    pub(in crate::sys::managers) fn read(&self, name: &ServiceName) -> Result<Option<Record>, String> {
        let path = self.path(name);
        let failed = |why: &dyn std::fmt::Display| {
            format!(
                "{} cannot be read ({why}): see which process the service has, then move the file away",
                path.display()
            )
        };
        let size = match fs::symlink_metadata(&path) {
            Ok(meta) if !meta.is_file() => return Err(failed(&"no plain file")),
            Ok(meta) => meta.len(),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(&error)),
        };
        if size > RECORD_BYTES {
            return Err(failed(&"too large"));
        }
        let bytes = fs::read(&path).map_err(|error| failed(&error))?;
        serde_json::from_slice(&bytes).map(Some).map_err(|error| failed(&error))
    }

    /// Puts a record in its place.
    pub(in crate::sys::managers) fn write(&self, name: &ServiceName, record: &Record) -> io::Result<()> {
        let new = self.dir.join(format!(".{name}.json.new"));
        let bytes = serde_json::to_vec(record).map_err(io::Error::other)?;
        fs::write(&new, bytes).and_then(|()| fs::rename(&new, self.path(name))).inspect_err(|_| {
            // What is left of it is written over by the next one.
            drop(fs::remove_file(&new));
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_cannot_be_read_is_not_taken_for_none() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let (records, name) = (Records::at(dir.path()), "web".parse().expect("a name"));
        assert_eq!(records.read(&name), Ok(None));
        let record = Record {
            boot: "b".to_owned(),
            process: Process { pid: 7, start_ticks: 9 },
            definition: "d".to_owned(),
            asked: false,
        };
        records.write(&name, &record).expect("written");
        assert_eq!(records.read(&name), Ok(Some(record)));
        fs::write(dir.path().join("web.json"), "{\"boot\":").expect("damaged");
        assert!(records.read(&name).expect_err("damaged").contains("move the file away"));
        assert_eq!(fs::read(dir.path().join("web.json")).expect("there"), b"{\"boot\":");
    }
}
