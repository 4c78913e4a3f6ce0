//! Lessons as people write them: TOML files, checked one by one so that a bad file hides no good one.

use std::path::{Path, PathBuf};

use super::files::{self, FileError};
use super::home::Home;
use super::toml_line;
use crate::domain::expr::{Claim, ExprError};
use crate::domain::lesson::{Lesson, LessonError};

const LESSON_BYTES: u64 = 128 * 1024;

/// Why a lesson file is refused.
#[derive(Debug, thiserror::Error)]
pub enum AuthoredError {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A line is not right.
    #[error("{path}:{line}: {reason}", path = path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A bound is broken.
    #[error("{path} is not an acceptable lesson", path = path.display())]
    Lesson {
        /// The file.
        path: PathBuf,
        /// Which bound.
        #[source]
        cause: LessonError,
    },
    /// An expression cannot be evaluated: the lesson stays a draft.
    #[error("{path}: `{field}` cannot be evaluated, so the lesson stays a draft and is not shared", path = path.display())]
    Claim {
        /// The file.
        path: PathBuf,
        /// Which expression.
        field: &'static str,
        /// Why not.
        #[source]
        cause: ExprError,
    },
}

/// Compiles both expressions of a lesson.
///
/// # Errors
/// Which one is refused, and why.
pub fn check_claims(lesson: &Lesson) -> Result<(), (&'static str, ExprError)> {
    let claims = [("falsifiable.expr", &lesson.falsifiable.expr), ("retired_when.expr", &lesson.retired_when.expr)];
    claims.into_iter().try_for_each(|(field, text)| Claim::compile(text).map(drop).map_err(|cause| (field, cause)))
}

/// Reads a lesson from TOML and checks all that needs no pattern to run. `path` is for messages.
///
/// # Errors
/// The first mistake, with its line where it has one.
pub fn parse(path: &Path, text: &str) -> Result<Lesson, AuthoredError> {
    let lesson = parse_but_claims(path, text)?;
    check_claims(&lesson).map_err(|(field, cause)| AuthoredError::Claim { path: path.to_owned(), field, cause })?;
    Ok(lesson)
}

/// The same without the claims: compiling those costs more than all the rest.
///
/// # Errors
/// The first mistake, with its line where it has one.
pub fn parse_but_claims(path: &Path, text: &str) -> Result<Lesson, AuthoredError> {
    let lesson: Lesson = toml::from_str(text).map_err(|error| {
        let (line, reason) = toml_line::mistake(text, &error);
        AuthoredError::Line { path: path.to_owned(), line, reason }
    })?;
    lesson.check().map_err(|cause| AuthoredError::Lesson { path: path.to_owned(), cause })?;
    Ok(lesson)
}

/// Writes a lesson as the TOML that a person edits. `path` is for messages.
///
/// # Errors
/// What is written does not read back as the same lesson.
pub fn to_toml(path: &Path, lesson: &Lesson) -> Result<String, AuthoredError> {
    let wrong = |reason: String| AuthoredError::Line { path: path.to_owned(), line: 0, reason };
    let table = toml::Table::try_from(lesson).map_err(|error| wrong(error.to_string()))?;
    let body = super::authored_text::write(&table);
    let text = format!(
        "# A lesson: what was learned from a fix. docs/lessons.md explains every field.\n\
         # A first draft: make `when`, `because`, `falsifiable` and `retired_when` sharper, and add examples.\n{body}"
    );
    if parse(path, &text)? == *lesson {
        Ok(text)
    } else {
        Err(wrong("the lesson cannot be written as TOML".to_owned()))
    }
}

/// Reads one lesson file.
///
/// # Errors
/// Unreadable, or not an acceptable lesson.
pub fn load_file(path: &Path) -> Result<Lesson, AuthoredError> {
    parse(path, &files::read_text(path, LESSON_BYTES)?)
}

/// A lesson file and what it holds.
pub type Authored = (PathBuf, Result<Lesson, AuthoredError>);

/// Every lesson authored in this home, each with its file.
///
/// # Errors
/// The folder cannot be listed.
pub fn load(home: &Home) -> Result<Vec<Authored>, FileError> {
    let paths = files::list(&folder(home), "toml")?;
    Ok(paths.into_iter().map(|path| (path.clone(), load_file(&path))).collect())
}

/// `config/lessons/`.
#[must_use]
pub fn folder(home: &Home) -> PathBuf {
    home.config().join("lessons")
}
