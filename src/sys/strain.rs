//! What is left of space and time on this host.

use std::fs;
use std::path::Path;

use super::host;
use crate::domain::strain::Reading;

/// The environment variable that plays a reading, `FREE,TOTAL,LOAD` in bytes and load for each processor, for tests of a
/// disk that nobody can fill. Debug builds only.
pub const PLAYED: &str = "MESH_PLAYED_STRAIN";

/// What is left on the file system of `state`, and how busy the processors are.
#[must_use]
pub fn reading(state: &Path) -> Reading {
    played().unwrap_or_else(|| Reading { space: host::space(state).ok(), load_per_core: load_per_core() })
}

fn played() -> Option<Reading> {
    let text = cfg!(debug_assertions).then(|| std::env::var(PLAYED).ok()).flatten()?;
    let mut parts = text.split(',');
    let space = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some(Reading { space: Some(space), load_per_core: parts.next()?.parse().ok() })
}

/// The load average of the last minute for each processor; none where the system does not tell.
fn load_per_core() -> Option<f64> {
    let load: f64 = fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()?;
    let cores = u32::try_from(std::thread::available_parallelism().ok()?.get()).ok()?;
    Some(load / f64::from(cores))
}
