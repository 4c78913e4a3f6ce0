//! From a commit that fixed something to a lesson draft: proposed, tried where patterns may run, and put in words.

mod trial;
mod words;

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::admission::DetectError;
use crate::domain::detect::LanguageName;
use crate::domain::id::Slug;
use crate::domain::lesson::{Lesson, LessonError};
use crate::ports::{Auditor, AuditorError, RepoError};
use crate::scan::learn::{LearnRefusal, Learned, propose};
use crate::store::files::{self, FileError};
use crate::sys::repo::history::{self, Change, ChangedFile};

/// Most places a lesson may also hit before its pattern counts as too general.
pub const ALSO_HITS: usize = 20;
/// Commits of the history that are looked at.
const HISTORY: usize = 200;
/// Time to read the history.
const HISTORY_TIME: Duration = Duration::from_secs(5);
/// Files, and bytes in all, of one commit that a pattern is tried on.
const TREE: (usize, usize) = (4_000, 48 * 1024 * 1024);

/// What to learn from.
#[derive(Clone, Debug)]
pub struct Ask {
    /// A directory in the repository.
    pub repo: PathBuf,
    /// The commit with the fix.
    pub revision: String,
    /// The one file of the commit to learn from.
    pub file: Option<String>,
    /// The lesson's name; made of the title when absent.
    pub id: Option<Slug>,
    /// The lesson's title; the commit's subject when absent.
    pub title: Option<String>,
}

/// A lesson nobody has confirmed yet, and what was seen when it was tried.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The lesson.
    pub lesson: Lesson,
    /// The commit, in hexadecimal.
    pub commit: String,
    /// The file it was learned from.
    pub path: String,
    /// What is looked for, for people.
    pub pattern: String,
    /// The example before the fix, and after it as a person wrote it.
    pub example: (String, String),
    /// Other places of the commit that it hits: path and line.
    pub also: Vec<(String, u32)>,
    /// Whether the fix makes of the old file exactly what the person made of it, but for white space.
    pub reproduces: bool,
    /// Why the fix is not made without asking, or why there is none.
    pub doubt: Option<String>,
    /// How the pattern did in the commits before.
    pub history: History,
    /// Files that were not tried because there are too many.
    pub untried: usize,
}

/// Commits before the fix.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct History {
    /// Commits that changed a file of the language.
    pub commits: usize,
    /// Of these: commits that took the pattern away.
    pub removed: usize,
    /// Of these: commits that brought it in.
    pub introduced: usize,
}

/// Why nothing was learned.
#[derive(Debug, thiserror::Error)]
pub enum LearnError {
    /// The repository or the commit.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// The commit changes no file that can be learned from.
    #[error("commit changes no source file that was there before: nothing was fixed in it{}", asked(.file.as_deref()))]
    NoFile {
        /// The file that was asked for.
        file: Option<String>,
    },
    /// Several files have a fix of their own.
    #[error("commit fixes different things in {}: name one with --file", .files.join(", "))]
    SeveralFiles {
        /// The files.
        files: Vec<String>,
    },
    /// The change in the file teaches nothing.
    #[error("cannot learn from {path}")]
    Refused {
        /// The file.
        path: String,
        /// Why.
        #[source]
        cause: LearnRefusal,
    },
    /// No proposal tells the old text from the new.
    #[error("no pattern holds: {why}")]
    NoPattern {
        /// What was seen.
        why: String,
    },
    /// The lesson breaks a bound.
    #[error("the lesson is not acceptable")]
    Lesson(#[from] LessonError),
    /// The pattern breaks a bound.
    #[error("the pattern is not acceptable")]
    Detect(#[from] DetectError),
    /// The audit worker refuses it.
    #[error("the audit worker refuses the lesson: {0}")]
    NotAdmitted(String),
    /// The audit worker.
    #[error("the lesson could not be tried")]
    Auditor(#[from] AuditorError),
    /// The place to try it in.
    #[error("cannot write a copy to try it on")]
    File(#[from] FileError),
    /// The name is none.
    #[error("no name for the lesson can be made of its title: give one with --id")]
    Name,
}

fn asked(file: Option<&str>) -> String {
    file.map(|file| format!(" ({file})")).unwrap_or_default()
}

/// A directory to try things in, removed when dropped.
#[derive(Debug)]
pub struct WorkDir(PathBuf);

impl WorkDir {
    /// Makes a directory of this process below `parent`.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make(parent: &Path) -> Result<Self, FileError> {
        let dir = parent.join(format!("learn-{}", std::process::id()));
        files::make_dir(parent)?;
        // A killed process of the same number may have left one.
        match std::fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(FileError::io("clear", &dir)(error));
            }
            _ => {}
        }
        files::make_dir(&dir)?;
        Ok(Self(dir))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        // What is left is cleared by the next one of this number, and harms nobody until then.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Drafts a lesson from a commit. `work` is an empty directory that the caller removes; the auditor keeps what it
/// knows elsewhere.
///
/// # Errors
/// The commit is no fix of one thing, no pattern holds, or a part could not be used.
pub fn learn(auditor: &mut dyn Auditor, work: &Path, now: Timestamp, ask: &Ask) -> Result<Draft, LearnError> {
    let change = history::change(&ask.repo, &ask.revision)?;
    let (path, before, after, learned) = teacher(&change, ask.file.as_deref())?;
    let language = learned.language;
    let wanted = |path: &str| LanguageName::of_path(path) == Some(language);
    let (old_tree, _) = history::texts_at(&ask.repo, &change.parent, &wanted, TREE)?;
    let (new_tree, untried) = history::texts_at(&ask.repo, &change.commit, &wanted, TREE)?;
    let past = history::recent(&ask.repo, &change.commit, &wanted, HISTORY, HISTORY_TIME)?;
    let material = trial::Material {
        path: &path,
        before: &before,
        after: &after,
        learned: &learned,
        old_tree: &old_tree,
        new_tree: &new_tree,
        past: &past,
    };
    let title = words::title(ask.title.as_deref(), &change.message);
    let id = match &ask.id {
        Some(id) => id.clone(),
        None => words::slug(&title).ok_or(LearnError::Name)?,
    };
    let mut draft = trial::run(auditor, work, &material, |found| words::lesson(&id, &title, &change, found, now))?;
    draft.untried = untried;
    draft.commit = change.commit;
    Ok(draft)
}

/// The file of the commit that has the fix.
fn teacher(change: &Change, only: Option<&str>) -> Result<(String, String, String, Learned), LearnError> {
    let wanted = |file: &&ChangedFile| only.is_none_or(|only| file.path == only);
    let mut taught: Vec<(String, String, String, Learned)> = Vec::new();
    let mut refused: Vec<(String, LearnRefusal)> = Vec::new();
    for file in change.files.iter().filter(wanted) {
        let (Some(before), Some(after), Some(language)) =
            (&file.before, &file.after, LanguageName::of_path(&file.path))
        else {
            continue;
        };
        match propose(language, before, after) {
            Ok(learned) => taught.push((file.path.clone(), before.clone(), after.clone(), learned)),
            Err(cause) => refused.push((file.path.clone(), cause)),
        }
    }
    // A test that came with the fix teaches nothing of its own.
    if taught.iter().any(|(path, ..)| !is_test(path)) {
        taught.retain(|(path, ..)| !is_test(path));
    }
    let pattern = |(_, _, _, learned): &(String, String, String, Learned)| {
        learned.proposals.get(1).or(learned.proposals.first()).map(|proposal| proposal.pattern.clone())
    };
    if taught.windows(2).any(|pair| pattern(&pair[0]) != pattern(&pair[1])) {
        return Err(LearnError::SeveralFiles { files: taught.into_iter().map(|(path, ..)| path).collect() });
    }
    if let Some(first) = taught.into_iter().next() {
        return Ok(first);
    }
    // The most telling refusal: of a file that has code, not of its configuration.
    let rank = |cause: &LearnRefusal| match cause {
        LearnRefusal::Language { .. } => 2,
        LearnRefusal::OnlyAdds | LearnRefusal::NothingChanged => 1,
        _ => 0,
    };
    match refused.into_iter().min_by_key(|(path, cause)| (is_test(path), rank(cause))) {
        Some((path, cause)) => Err(LearnError::Refused { path, cause }),
        None => Err(LearnError::NoFile { file: only.map(ToOwned::to_owned) }),
    }
}

/// Globs of files that are not looked at unless the fix is in one of them.
const TESTS: [&str; 5] = ["**/test/**", "**/tests/**", "**/test_*", "**/*_test.*", "**/*.test.*"];

fn is_test(path: &str) -> bool {
    let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
    folders.split('/').any(|folder| matches!(folder, "test" | "tests"))
        || name.starts_with("test_")
        || name.contains("_test.")
        || name.contains(".test.")
}

/// A language as people write it.
pub(super) const fn language_name(language: LanguageName) -> (&'static str, &'static str) {
    match language {
        LanguageName::Bash => ("Shell", "shell"),
        LanguageName::Go => ("Go", "go"),
        LanguageName::JavaScript => ("JavaScript", "javascript"),
        LanguageName::Json => ("JSON", "json"),
        LanguageName::Python => ("Python", "python"),
        LanguageName::Rust => ("Rust", "rust"),
        LanguageName::Toml => ("TOML", "toml"),
        LanguageName::Tsx | LanguageName::TypeScript => ("TypeScript", "typescript"),
        LanguageName::Yaml => ("YAML", "yaml"),
    }
}
