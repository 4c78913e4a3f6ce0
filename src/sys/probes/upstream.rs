//! What a program says of its operations upstream: which share of reads and writes failed of late, and what is left of a
//! quota.

use std::path::PathBuf;
use std::time::Duration;

use super::{reading, small_file};
use crate::domain::operations::{Operations, Recent};
use crate::domain::signal::Subject;
use crate::ports::{Clock, Probe, Reading};

/// Looks at the file in which a program counts its operations.
pub struct UpstreamProbe<C> {
    name: Subject,
    path: PathBuf,
    recent: Recent,
    clock: C,
}

impl<C: Clock> UpstreamProbe<C> {
    /// Looks at `path` and tells what failed within `window`. `mark` holds what was counted last.
    #[must_use]
    pub fn new(name: Subject, path: PathBuf, window: Duration, mark: Option<&str>, clock: C) -> Self {
        let last = mark.and_then(|mark| serde_json::from_str(mark).ok());
        Self { name, path, recent: Recent::going_on(window, last), clock }
    }

    fn counted(&self) -> Result<Operations, String> {
        let path = self.path.display();
        let text = small_file(&self.path).ok_or_else(|| format!("{path} cannot be read"))?;
        serde_json::from_str(&text).map_err(|error| format!("{path} does not count operations: {error}"))
    }
}

impl<C: Clock> Probe for UpstreamProbe<C> {
    fn read(&mut self) -> Vec<Reading> {
        let counted = match self.counted() {
            Ok(counted) => counted,
            Err(why) => {
                let unknown = |signal| reading(signal, &self.name, Err(why.clone()));
                return vec![unknown("upstream.write_error_percent"), unknown("upstream.read_error_percent")];
            }
        };
        self.recent.look(self.clock.now().as_second(), counted);
        let few = || "too few operations within the window to tell a share".to_owned();
        let mut readings = vec![
            reading("upstream.write_error_percent", &self.name, self.recent.write_error_percent().ok_or_else(few)),
            reading("upstream.read_error_percent", &self.name, self.recent.read_error_percent().ok_or_else(few)),
        ];
        if let Some(quota) = counted.quota {
            let used = quota.percent().ok_or_else(|| "the quota allows nothing".to_owned());
            readings.push(reading("upstream.quota_used_percent", &self.name, used));
        }
        readings
    }

    fn mark(&self) -> Option<String> {
        self.recent.last().and_then(|last| serde_json::to_string(&last).ok())
    }
}
