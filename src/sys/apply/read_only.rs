//! The closed door: after a way back that failed, nothing is changed until a person has looked.

use std::fs;
use std::io;
use std::path::Path;

use super::journal::write_whole;

const NAME: &str = "read-only";

/// Why nothing may be changed; none when it may. What cannot be read counts as closed.
#[must_use]
pub fn reason(state: &Path) -> Option<String> {
    match fs::read(state.join(NAME)) {
        Ok(text) => Some(String::from_utf8_lossy(&text).trim_end().to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(format!("{NAME} cannot be read: {error}")),
    }
}

/// Closes the door. The first reason stays.
///
/// # Errors
/// The system refused.
pub fn close(state: &Path, reason: &str) -> io::Result<()> {
    if self::reason(state).is_some() {
        return Ok(());
    }
    write_whole(&state.join(NAME), format!("{reason}\n").as_bytes())
}

/// Opens it again; returns why it was closed.
///
/// # Errors
/// The system refused.
pub fn open(state: &Path) -> io::Result<Option<String>> {
    let why = reason(state);
    match fs::remove_file(state.join(NAME)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(why),
    }
}
