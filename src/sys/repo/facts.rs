//! What is so, for the guard to judge. Nothing is written.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use git2::{AttrCheckFlags, AttrValue, ObjectType, Oid, Repository, RepositoryState, Tree, TreeEntry};
use rustix::fs::OFlags;

use super::staged::{IndexFile, Staged};
use super::{Asked, Last, kept, within};
use crate::domain::fix::TextHash;
use crate::domain::guard::{Facts, FileFacts, FileId, RepoFacts};
use crate::domain::limits::AUDIT_FILE_BYTES;

/// Reads a plain file below `root` as text.
///
/// # Errors
/// Why not, in a few words: a link leads out, not a plain file, too large, not UTF-8.
pub fn read_text(root: &Path, path: &str) -> Result<String, String> {
    let (real_root, real_path) = resolve(root, path)?;
    if !real_path.starts_with(&real_root) {
        return Err("it leads out of the root".to_owned());
    }
    let (_, bytes) = read_plain(&real_path)?;
    String::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())
}

/// The files and directories at `paths`, and everything in them two levels down, as the kernel knows them.
/// What does not exist is left out.
#[must_use]
pub fn identities(paths: &[PathBuf]) -> Vec<FileId> {
    let mut found = HashSet::new();
    let mut next: Vec<(PathBuf, u8)> = paths.iter().map(|path| (path.clone(), 2)).collect();
    while let Some((path, depth)) = next.pop() {
        let Ok(metadata) = path.symlink_metadata() else { continue };
        found.insert(FileId { device: metadata.dev(), inode: metadata.ino() });
        if depth > 0
            && metadata.is_dir()
            && let Ok(entries) = path.read_dir()
        {
            next.extend(entries.flatten().map(|entry| (entry.path(), depth - 1)));
        }
    }
    found.into_iter().collect()
}

/// `last` is the repository that was asked before; it is asked again where it is the same.
pub(super) fn gather(last: &mut Last, root: &Path, path: &str) -> Facts {
    match file_facts(root, path) {
        Ok((file, bytes)) => Facts { repo: repo_facts(last, &file, &bytes), file: Ok(file) },
        Err(why) => Facts { repo: RepoFacts::Outside, file: Err(why) },
    }
}

fn resolve(root: &Path, path: &str) -> Result<(PathBuf, PathBuf), String> {
    let real_root = root.canonicalize().map_err(|error| error.to_string())?;
    let real_path = real_root.join(path).canonicalize().map_err(|error| error.to_string())?;
    Ok((real_root, real_path))
}

/// Opens without following a link or waiting for a pipe's other end.
fn open_plain(path: &Path) -> std::io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

fn read_plain(path: &Path) -> Result<(std::fs::Metadata, Vec<u8>), String> {
    let file = open_plain(path).map_err(|error| error.to_string())?;
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("not a plain file".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(AUDIT_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > AUDIT_FILE_BYTES {
        return Err(format!("larger than {} KiB", AUDIT_FILE_BYTES / 1024));
    }
    Ok((metadata, bytes))
}

fn file_facts(root: &Path, path: &str) -> Result<(FileFacts, Vec<u8>), String> {
    let (real_root, real_path) = resolve(root, path)?;
    let (metadata, bytes) = read_plain(&real_path)?;
    let mut lineage = vec![FileId { device: metadata.dev(), inode: metadata.ino() }];
    for above in real_path.ancestors().skip(1) {
        let metadata = above.symlink_metadata().map_err(|error| error.to_string())?;
        lineage.push(FileId { device: metadata.dev(), inode: metadata.ino() });
    }
    let (links, hash) = (metadata.nlink(), TextHash::of(&bytes));
    Ok((FileFacts { real_root, real_path, regular: true, links, lineage, hash }, bytes))
}

fn repo_facts(last: &mut Last, file: &FileFacts, bytes: &[u8]) -> RepoFacts {
    let Asked { repo, index, .. } = match kept(last, &file.real_root) {
        Ok(Some(asked)) => asked,
        Ok(None) => return RepoFacts::Outside,
        Err(why) => return RepoFacts::Unusable(format!("the repository cannot be used: {why}")),
    };
    let folder = file.real_path.parent().unwrap_or(&file.real_root);
    // Where it is is enough: to open it reads its configuration again for each file.
    let inner = Repository::discover_path(folder, &[] as &[&Path]);
    if !inner.is_ok_and(|inner| inner == repo.path()) {
        let why = "the file is in a submodule or another repository inside the root: make that a root of its own";
        return RepoFacts::Unusable(why.to_owned());
    }
    match inside(repo, index, file, bytes) {
        Ok(facts) => facts,
        Err(error) => RepoFacts::Unusable(format!("the repository cannot be read: {}", error.message())),
    }
}

fn inside(repo: &Repository, index: &mut IndexFile, file: &FileFacts, bytes: &[u8]) -> Result<RepoFacts, git2::Error> {
    let Some(path) = within(repo, &file.real_path) else {
        return Ok(RepoFacts::Unusable("the repository keeps its files elsewhere".to_owned()));
    };
    let head = match repo.head() {
        Ok(head) => Some(head.peel_to_commit()?),
        Err(error) if matches!(error.code(), git2::ErrorCode::UnbornBranch | git2::ErrorCode::NotFound) => None,
        Err(error) => return Err(error),
    };
    let committed = match &head {
        Some(commit) => plain_entry(&commit.tree()?, &path),
        None => None,
    };
    let Staged { entry, conflicted } = index.at(repo, &path)?;
    let staged = conflicted
        || match (&entry, &committed) {
            (Some(entry), Some(committed)) => {
                entry.id != committed.id() || i64::from(entry.mode) != i64::from(committed.filemode())
            }
            (Some(_), None) => true,
            (None, _) => false,
        };
    let at_head = match &committed {
        // Mostly it is what is there now, and need not be unpacked.
        Some(entry) if Oid::hash_object(ObjectType::Blob, bytes)? == entry.id() => Some(file.hash),
        Some(entry) => Some(TextHash::of(repo.find_blob(entry.id())?.content())),
        None => None,
    };
    let generated = repo.get_attr(&path, "linguist-generated", AttrCheckFlags::FILE_THEN_INDEX)?;
    let generated = matches!(AttrValue::from_string(generated), AttrValue::True | AttrValue::String("true"));
    Ok(RepoFacts::Inside {
        head: head.map(|commit| commit.id().to_string()),
        busy: busy(repo.state()).map(str::to_owned),
        tracked: entry.is_some() || conflicted,
        ignored: repo.is_path_ignored(&path)?,
        generated,
        staged,
        at_head,
    })
}

/// The entry at `path` if it is a plain file or a program.
pub(in crate::sys) fn plain_entry(tree: &Tree<'_>, path: &Path) -> Option<TreeEntry<'static>> {
    let entry = tree.get_path(path).ok()?;
    (entry.kind() == Some(ObjectType::Blob) && matches!(entry.filemode(), 0o100_644 | 0o100_755)).then_some(entry)
}

pub(in crate::sys) const fn busy(state: RepositoryState) -> Option<&'static str> {
    match state {
        RepositoryState::Clean => None,
        RepositoryState::Merge => Some("merge"),
        RepositoryState::Revert | RepositoryState::RevertSequence => Some("revert"),
        RepositoryState::CherryPick | RepositoryState::CherryPickSequence => Some("cherry-pick"),
        RepositoryState::Bisect => Some("bisect"),
        RepositoryState::Rebase | RepositoryState::RebaseInteractive | RepositoryState::RebaseMerge => Some("rebase"),
        RepositoryState::ApplyMailbox | RepositoryState::ApplyMailboxOrRebase => Some("patch series"),
    }
}
