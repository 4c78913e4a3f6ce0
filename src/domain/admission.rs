//! The static limits of a lesson's detection, fix and examples: the first layer against hostile patterns.

use super::detect::{Detect, ENGINE, Fix, Tests};

/// Why a detection is refused by shape alone.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DetectError {
    /// Written for another engine.
    #[error("`detect.engine` is not {ENGINE}, the only engine of this build")]
    Engine,
}

/// Checks the static limits.
///
/// # Errors
/// The first limit that is broken.
pub fn check(detect: &Detect, _fix: &Fix, _tests: &Tests) -> Result<(), DetectError> {
    if detect.engine != ENGINE {
        return Err(DetectError::Engine);
    }
    Ok(())
}
