//! Lesson drafts that mesh made: TOML files below `state/`, until a person takes or leaves them.

use std::path::PathBuf;

use super::authored::{self, Authored, AuthoredError};
use super::files::{self, FileError};
use super::home::Home;
use crate::domain::id::Slug;
use crate::domain::lesson::Lesson;

/// `state/drafts/`.
#[must_use]
pub fn folder(home: &Home) -> PathBuf {
    home.state().join("drafts")
}

/// The file of one draft.
#[must_use]
pub fn file(home: &Home, id: &Slug) -> PathBuf {
    folder(home).join(format!("{id}.toml"))
}

/// Every draft, each with its file.
///
/// # Errors
/// The folder cannot be listed.
pub fn load(home: &Home) -> Result<Vec<Authored>, FileError> {
    let paths = files::list(&folder(home), "toml")?;
    Ok(paths.into_iter().map(|path| (path.clone(), authored::load_file(&path))).collect())
}

/// The draft of this name, where there is one.
///
/// # Errors
/// It is there and cannot be read.
pub fn find(home: &Home, id: &Slug) -> Result<Option<Lesson>, AuthoredError> {
    match authored::load_file(&file(home, id)) {
        Ok(lesson) => Ok(Some(lesson)),
        Err(AuthoredError::File(error)) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Keeps a draft in place of the one before it.
///
/// # Errors
/// It cannot be written, or does not read back as the same.
pub fn keep(home: &Home, draft: &Lesson) -> Result<(), AuthoredError> {
    let path = file(home, &draft.id);
    let text = authored::to_toml(&path, draft)?;
    files::make_dir(&folder(home))?;
    Ok(files::write_whole(&path, text.as_bytes(), 0o600)?)
}

/// Makes the draft a lesson of this home: its file moves to `config/lessons/`, where a lesson of that name is replaced.
///
/// # Errors
/// It cannot be written, or the draft not be removed.
pub fn confirm(home: &Home, draft: &Lesson) -> Result<PathBuf, AuthoredError> {
    let path = authored::folder(home).join(format!("{}.toml", draft.id));
    let text = authored::to_toml(&path, draft)?;
    files::write_whole(&path, text.as_bytes(), 0o600)?;
    files::remove(&file(home, &draft.id))?;
    Ok(path)
}
