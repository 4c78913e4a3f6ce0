//! What runs here and could be measured, proposed to a person.

use super::parts::Parts;
use crate::store::files::FileError;
use crate::store::proposal;
use crate::sys::exec::SystemExec;
use crate::sys::inventory::{self, Places};

/// Looks around and writes the proposal. Returns how many things are in it; with none nothing is written.
///
/// # Errors
/// The file cannot be written.
pub fn write(parts: &Parts) -> Result<usize, FileError> {
    let found = inventory::look(&Places::default(), &SystemExec);
    proposal::write(&parts.home, &parts.config, &found)
}
