//! Lists a tree, directory by directory, minus what its ignore files say.
//!
//! Only `.gitignore` and `.ignore` files that belong to the tree count, not a user's or a clone's private
//! ones: every host then audits the same files. A directory with `.git` starts afresh, as in git. One
//! directory can be listed by itself with the same result, which is what makes a refresh equal to a walk.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::{Kind, Stat, Tree, file_name, is_secret};

/// Names of ignore files, the stronger one first.
pub(super) const IGNORE_FILES: [&[u8]; 2] = [b".ignore", b".gitignore"];

const BOUNDARIES: [&[u8]; 4] = [b".git", b".hg", b".jj", b".svn"];

/// Names found, by path.
pub(super) type Found = BTreeMap<Vec<u8>, (Kind, Stat)>;

/// The ignore rules that hold in one directory: one stack for each name of [`IGNORE_FILES`], outermost first.
#[derive(Default)]
struct Rules([Vec<Gitignore>; 2]);

impl Rules {
    /// Adds the ignore files of `dir` that are there, and says how many of each kind were added.
    fn enter(&mut self, dir: &Path) -> [usize; 2] {
        let mut added = [0; 2];
        for (slot, name) in IGNORE_FILES.iter().enumerate() {
            let path = dir.join(std::ffi::OsStr::from_bytes(name));
            // A link could make the audit depend on a file outside of the root.
            if !std::fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file()) {
                continue;
            }
            let mut builder = GitignoreBuilder::new(dir);
            // A line that is no glob is left out, as git does; the others hold.
            let _partial = builder.add(&path);
            if let Ok(rules) = builder.build() {
                self.0[slot].push(rules);
                added[slot] += 1;
            }
        }
        added
    }

    fn leave(&mut self, added: [usize; 2]) {
        for (stack, count) in self.0.iter_mut().zip(added) {
            stack.truncate(stack.len() - count);
        }
    }

    fn ignores(&self, path: &Path, is_dir: bool) -> bool {
        for stack in &self.0 {
            for rules in stack.iter().rev() {
                match rules.matched(path, is_dir) {
                    Match::Ignore(_) => return true,
                    Match::Whitelist(_) => return false,
                    Match::None => {}
                }
            }
        }
        false
    }
}

/// Lists trees below one root.
pub(super) struct Walker<'a> {
    root: &'a Path,
    fd: BorrowedFd<'a>,
    /// Names found so far.
    pub(super) found: Found,
}

impl<'a> Walker<'a> {
    pub(super) fn new(root: &'a Path, fd: BorrowedFd<'a>) -> Self {
        Self { root, fd, found: Found::new() }
    }

    fn absolute(&self, relative: &[u8]) -> PathBuf {
        if relative.is_empty() { self.root.to_owned() } else { self.root.join(std::ffi::OsStr::from_bytes(relative)) }
    }

    fn stat(&self, path: &[u8]) -> Option<Stat> {
        Stat::of(self.fd, &CString::new(path).ok()?).ok()
    }

    /// Lists the directory at `relative`, and all below it when `deep`.
    pub(super) fn list(&mut self, relative: &[u8], deep: bool) {
        let mut rules = Rules::default();
        let mut chain = ignoring_above(self.root).unwrap_or_default();
        // Directories from the root down to, and without, the listed one.
        let mut at = 0;
        while !relative.is_empty() {
            chain.push(self.absolute(&relative[..at]));
            match relative[at..].iter().skip(1).position(|&byte| byte == b'/') {
                Some(next) => at += next + 1,
                None => break,
            }
        }
        for dir in chain {
            if has_boundary(&dir) {
                rules = Rules::default();
            }
            rules.enter(&dir);
        }
        self.list_in(relative, &mut rules, deep);
    }

    fn list_in(&mut self, relative: &[u8], rules: &mut Rules, deep: bool) {
        let dir = self.absolute(relative);
        // The stat comes before the listing: a name that comes in between makes the directory newer.
        let Some(stat) = self.stat(relative) else { return };
        let Ok(listing) = std::fs::read_dir(&dir) else {
            self.found.insert(relative.to_owned(), (Kind::Sealed, stat));
            return;
        };
        self.found.insert(relative.to_owned(), (Kind::Dir, stat));
        let names: Vec<_> = listing
            .filter_map(Result::ok)
            .filter_map(|entry| Some((entry.file_name().into_vec(), entry.file_type().ok()?)))
            .collect();
        let mut fresh = Rules::default();
        let starts_afresh = names.iter().any(|(name, _)| BOUNDARIES.contains(&name.as_slice()));
        let rules = if starts_afresh { &mut fresh } else { rules };
        let has_ignore = names.iter().any(|(name, _)| IGNORE_FILES.contains(&name.as_slice()));
        let added = if has_ignore { rules.enter(&dir) } else { [0; 2] };
        for (name, file_type) in names {
            let mut path = relative.to_owned();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
            if BOUNDARIES.contains(&name.as_slice()) {
                self.found.insert(path, (Kind::Boundary, Stat::default()));
                continue;
            }
            let is_ignore_file = IGNORE_FILES.contains(&name.as_slice());
            if !is_ignore_file && rules.ignores(&dir.join(std::ffi::OsStr::from_bytes(&name)), file_type.is_dir()) {
                continue;
            }
            if file_type.is_dir() {
                if deep {
                    self.list_in(&path, rules, true);
                } else if let Some(stat) = self.stat(&path) {
                    self.found.insert(path, (Kind::Dir, stat));
                }
                continue;
            }
            let kind = if file_type.is_symlink() {
                Kind::Link
            } else if !file_type.is_file() {
                Kind::Special
            } else if std::str::from_utf8(&path).is_err() {
                Kind::Unnamed
            } else if is_secret(file_name(&path)) {
                Kind::Secret
            } else {
                Kind::File
            };
            let stat = if kind.is_watched() { self.stat(&path) } else { Some(Stat::default()) };
            if let Some(stat) = stat {
                self.found.insert(path, (kind, stat));
            }
        }
        rules.leave(added);
    }
}

fn has_boundary(dir: &Path) -> bool {
    BOUNDARIES.iter().any(|name| std::fs::symlink_metadata(dir.join(std::ffi::OsStr::from_bytes(name))).is_ok())
}

/// Directories above the root whose ignore files hold in it: from the top of its repository down.
/// `None` when the root is not inside of a repository, or is its top.
fn ignoring_above(root: &Path) -> Option<Vec<PathBuf>> {
    if has_boundary(root) {
        return None;
    }
    let top = root.ancestors().skip(1).position(has_boundary)?;
    let mut above: Vec<_> = root.ancestors().skip(1).take(top + 1).map(Path::to_owned).collect();
    above.reverse();
    Some(above)
}

/// The state of all ignore files above the root, so that a change of one is noticed.
pub(super) fn above(root: &Path, fd: BorrowedFd<'_>) -> Found {
    let mut found = Found::new();
    for dir in ignoring_above(root).unwrap_or_default() {
        for name in IGNORE_FILES {
            let path = dir.join(std::ffi::OsStr::from_bytes(name)).into_os_string().into_vec();
            if let Ok(c_path) = CString::new(path.clone()) {
                let stat = Stat::of(fd, &c_path).unwrap_or_default();
                found.insert(path, (Kind::Above, stat));
            }
        }
    }
    found
}

/// Lists everything below `root`.
///
/// # Errors
/// The root cannot be opened or listed. What cannot be listed below it is [`Kind::Sealed`].
pub fn walk(root: &Path) -> std::io::Result<Tree> {
    let fd = super::open_root(root)?;
    std::fs::read_dir(root)?;
    let fd = std::os::fd::AsFd::as_fd(&fd);
    let mut walker = Walker::new(root, fd);
    walker.list(b"", true);
    walker.found.extend(above(root, fd));
    Ok(Tree::from_sorted(walker.found.iter().map(|(path, &(kind, stat))| (path.as_slice(), kind, stat))))
}
