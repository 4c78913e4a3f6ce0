//! Which paths a lesson looks at.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::path::Path;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::domain::foreign_text;

use super::error::CompileError;
use crate::domain::detect::extension;

/// A set of gitignore-style globs, relative to the root. The two commonest shapes, `**/*.ext` and
/// `**/folder/**`, are compared without a matcher, because every rule asks for every path.
#[derive(Debug)]
pub(super) struct Globs {
    extensions: Vec<String>,
    folders: Vec<String>,
    others: Option<Gitignore>,
    named: bool,
}

fn plain(part: &str) -> bool {
    !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
}

impl Globs {
    pub(super) fn compile(globs: &[String]) -> Result<Self, CompileError> {
        let mut set = Self { extensions: Vec::new(), folders: Vec::new(), others: None, named: false };
        let mut others = GitignoreBuilder::new("");
        let mut count = 0;
        for glob in globs {
            let shown = || foreign_text::display_line(glob);
            let any_depth = glob.strip_prefix("**/").unwrap_or(glob);
            if let Some(extension) = any_depth.strip_prefix("*.").filter(|part| plain(part)) {
                set.extensions.push(extension.to_owned());
            } else if let Some(folder) =
                glob.strip_prefix("**/").and_then(|rest| rest.strip_suffix("/**")).filter(|part| plain(part))
            {
                set.folders.push(folder.to_owned());
            } else {
                others.add_line(None, glob).map_err(|cause| CompileError::Glob { glob: shown(), cause })?;
                count += 1;
            }
            let last = glob.rsplit('/').next().unwrap_or_default();
            set.named |= last.chars().any(char::is_alphanumeric);
        }
        if count > 0 {
            let built = others.build();
            set.others = Some(built.map_err(|cause| CompileError::Glob { glob: "detect.scope".into(), cause })?);
        }
        Ok(set)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.extensions.is_empty() && self.folders.is_empty() && self.others.is_none()
    }

    /// True when a glob names files and not only folders: enough to look into a file without extension.
    pub(super) const fn names_files(&self) -> bool {
        self.named
    }

    pub(super) fn matches(&self, path: &str) -> bool {
        let ending = extension(path);
        (!ending.is_empty() && self.extensions.iter().any(|known| known == ending))
            || (!self.folders.is_empty()
                && path.rsplit_once('/').is_some_and(|(folders, _)| {
                    folders.split('/').any(|folder| self.folders.iter().any(|known| known == folder))
                }))
            || self.others.as_ref().is_some_and(|globs| {
                !path.starts_with('/') && globs.matched_path_or_any_parents(Path::new(path), false).is_ignore()
            })
    }
}

/// The globs of all lessons. Most of them say the same, and a path is then held against them once.
#[derive(Debug, Default)]
pub(super) struct SharedGlobs {
    compiled: Vec<Globs>,
    known: HashMap<Vec<String>, usize>,
}

impl SharedGlobs {
    /// The place of these globs.
    pub(super) fn compile(&mut self, globs: &[String]) -> Result<usize, CompileError> {
        if let Some(known) = self.known.get(globs) {
            return Ok(*known);
        }
        self.compiled.push(Globs::compile(globs)?);
        self.known.insert(globs.to_owned(), self.compiled.len() - 1);
        Ok(self.compiled.len() - 1)
    }

    /// These globs, held against a path as far as somebody asks.
    pub(super) fn at<'p>(&'p self, path: &'p str) -> Matched<'p> {
        Matched { globs: &self.compiled, path, known: vec![OnceCell::new(); self.compiled.len()] }
    }
}

/// What is known of a path.
pub(super) struct Matched<'p> {
    globs: &'p [Globs],
    path: &'p str,
    known: Vec<OnceCell<bool>>,
}

impl<'p> Matched<'p> {
    /// The globs at a place.
    pub(super) fn of(&self, place: usize) -> &'p Globs {
        &self.globs[place]
    }

    /// Whether those match the path.
    pub(super) fn matches(&self, place: usize) -> bool {
        *self.known[place].get_or_init(|| self.globs[place].matches(self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn globs(list: &[&str]) -> Globs {
        Globs::compile(&list.iter().map(|glob| (*glob).to_owned()).collect::<Vec<_>>()).expect("globs")
    }

    #[test]
    fn globs_match_as_in_gitignore() {
        let cases = [
            ("**/*.py", "a.py", true),
            ("**/*.py", "x/a.py", true),
            ("*.py", "x/a.py", true),
            ("**/*.py", "x/.py", false),
            ("**/*.py", "a.pyc", false),
            ("**/tests/**", "a/tests/b.py", true),
            ("**/tests/**", "tests/b.py", true),
            ("**/tests/**", "a/tests", false),
            ("src/**", "src/a/b.rs", true),
            ("src/**", "lib/src/b.rs", false),
            ("/a.toml", "x/a.toml", false),
            ("build/", "build/x/y", true),
            ("Dockerfile*", "x/Dockerfile.web", true),
            ("*.service", "/abs.service", true),
            ("a?c", "/abc", false),
        ];
        for (glob, path, expected) in cases {
            assert_eq!(globs(&[glob]).matches(path), expected, "{glob} {path}");
        }
        assert!(globs(&[]).is_empty());
    }
}
