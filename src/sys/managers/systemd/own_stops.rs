//! The stops that mesh itself asked systemd for, on disk: an agent that was restarted before it started the unit again
//! would take it for stopped by a person, and leave it down.
//!
//! Each names the run of the unit that it ended, so that an old one says nothing of a later stop. Like the record of a
//! child it is renamed into place and not synced: after a crash of the machine another boot id says so.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::ports::manager::Target;

/// Largest file that is read, in bytes.
const LARGEST: u64 = 4 * 1024;

#[derive(Serialize, Deserialize)]
struct Stop {
    boot: String,
    unit: String,
    /// When the unit last left its inactive state, in microseconds since boot.
    run: u64,
}

/// The folder of them, if there is one.
#[derive(Default)]
pub(super) struct OwnStops {
    dir: Option<PathBuf>,
    boot: String,
}

impl OwnStops {
    /// Those in `dir`, which is made.
    ///
    /// # Errors
    /// The folder cannot be made, or the kernel does not say which boot this is.
    pub(super) fn at(dir: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&dir)?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        Ok(Self { dir: Some(dir), boot })
    }

    fn path(&self, target: &Target) -> Option<PathBuf> {
        Some(self.dir.as_deref()?.join(format!("{}.json", target.service)))
    }

    /// The run of this unit that mesh ended last, in this boot. What cannot be read is none: then the stop counts as a
    /// person's, and the unit stays down.
    pub(super) fn of(&self, target: &Target) -> Option<u64> {
        let path = self.path(target)?;
        let is_small = fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file() && meta.len() <= LARGEST);
        let stop: Stop = serde_json::from_slice(&fs::read(&path).ok().filter(|_| is_small)?).ok()?;
        (stop.boot == self.boot && stop.unit == target.unit).then_some(stop.run)
    }

    /// Writes down that mesh is about to end this run.
    pub(super) fn note(&self, target: &Target, run: u64) -> io::Result<()> {
        let Some(path) = self.path(target) else { return Ok(()) };
        let stop = Stop { boot: self.boot.clone(), unit: target.unit.clone(), run };
        let new = path.with_extension("new");
        let bytes = serde_json::to_vec(&stop).map_err(io::Error::other)?;
        fs::write(&new, bytes).and_then(|()| fs::rename(&new, &path))
    }

    /// It was not done after all.
    pub(super) fn forget(&self, target: &Target) {
        if let Some(path) = self.path(target) {
            // One that stays says nothing of a later run.
            drop(fs::remove_file(path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_is_of_one_run_of_one_unit_in_one_boot() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let stops = || OwnStops::at(dir.path().join("asked")).expect("made");
        let web = Target { service: "web".parse().expect("a name"), unit: "web.service".to_owned() };
        assert_eq!(stops().of(&web), None);
        stops().note(&web, 7).expect("written");
        assert_eq!(stops().of(&web), Some(7), "by whoever comes after");
        assert_eq!(stops().of(&Target { unit: "other.service".to_owned(), ..web.clone() }), None);
        assert_eq!(OwnStops { boot: "before".to_owned(), ..stops() }.of(&web), None);
        fs::write(dir.path().join("asked/web.json"), "{").expect("damaged");
        assert_eq!(stops().of(&web), None, "then it counts as a person's");
        stops().note(&web, 8).expect("written");
        stops().forget(&web);
        assert_eq!((stops().of(&web), OwnStops::default().note(&web, 1).is_ok()), (None, true));
    }
}
