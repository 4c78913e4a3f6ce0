//! Errors of memory modules that the hardware corrected, or could not: the counters of the kernel's EDAC drivers.

use std::path::PathBuf;

use super::last_hour::LastHour;
use super::{reading, small_file};
use crate::domain::signal::Subject;
use crate::ports::{Probe, Reading};

/// Reads the counters of each memory controller.
pub struct EdacProbe {
    controllers: PathBuf,
    corrected: Option<u64>,
    hour: LastHour<f64>,
}

impl EdacProbe {
    /// Reads below `controllers`, which is `/sys/devices/system/edac/mc`. Most machines have none: then nothing is told.
    #[must_use]
    pub fn new(controllers: impl Into<PathBuf>) -> Self {
        Self { controllers: controllers.into(), corrected: None, hour: LastHour::new() }
    }

    /// Corrected and uncorrected errors since the machine started, of all controllers.
    fn counts(&self) -> Option<(u64, u64)> {
        let entries = std::fs::read_dir(&self.controllers).ok()?.flatten();
        let of = |path: PathBuf, name: &str| small_file(path.join(name))?.trim().parse::<u64>().ok();
        let found = entries.filter_map(|entry| Some((of(entry.path(), "ce_count")?, of(entry.path(), "ue_count")?)));
        found.reduce(|sum, one| (sum.0.saturating_add(one.0), sum.1.saturating_add(one.1)))
    }
}

impl Probe for EdacProbe {
    fn read(&mut self) -> Vec<Reading> {
        let Some((corrected, uncorrected)) = self.counts() else { return Vec::new() };
        // The first look says nothing of an hour. A driver that was loaded anew begins at 0.
        if let Some(before) = self.corrected.replace(corrected) {
            self.hour.add(corrected.saturating_sub(before) as f64);
        }
        let host = Subject::default();
        vec![
            reading("host.edac.corrected", &host, Ok(self.hour.sum(|count| count))),
            reading("host.edac.uncorrected", &host, Ok(uncorrected as f64)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b8_corrected_errors_are_counted_by_the_hour_and_others_since_the_start() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let controller = |name: &str, corrected: u32, uncorrected: u32| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(&path).expect("made");
            std::fs::write(path.join("ce_count"), format!("{corrected}\n")).expect("written");
            std::fs::write(path.join("ue_count"), format!("{uncorrected}\n")).expect("written");
        };
        let mut probe = EdacProbe::new(dir.path());
        assert_eq!(probe.read(), [], "no controller");
        std::fs::create_dir(dir.path().join("power")).expect("made");
        controller("mc0", 7, 0);
        controller("mc1", 0, 0);
        let mut told = || probe.read().into_iter().map(|one| one.value.expect("known")).collect::<Vec<_>>();
        assert_eq!(told(), [0.0, 0.0], "what was before is not of this hour");
        controller("mc1", 12, 1);
        assert_eq!(told(), [12.0, 1.0]);
        controller("mc0", 0, 0);
        assert_eq!(told(), [12.0, 1.0], "one that began anew takes nothing back");
    }
}
