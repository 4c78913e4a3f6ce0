//! One pack in place of many: each fetch leaves a pack in the cache, each push some files, and libgit2 never joins them.
//!
//! Nothing is taken away before the disk has what takes its place: what is here may be more than one fetch may bring
//! again, and a host without it would read nothing any more.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use git2::{ObjectType, Odb, Oid, PackBuilder, Repository};

use super::copy::DEPTH;
use super::packs::{cut_off, failed, tidy};
use crate::domain::limits::{COMMIT_BYTES, LARGEST_FILE, TREE_BYTES};
use crate::ports::RemoteError;
use crate::sys::cache::objects;
use crate::sys::cache::tree::{DIRECTORY, FILE};
use crate::sys::disk::Unsaved;

/// Puts what `tips` need into one pack and removes all else. More than `most` objects stay as they are, and their packs are no
/// longer counted.
pub(super) fn make(cache: &Repository, tips: &[Oid], most: usize) -> Result<(), RemoteError> {
    let path = cache.path();
    let old = tidy(path);
    let odb = objects::open(path)?;
    let git_failed = |error: git2::Error| failed(path, error.message());
    let mut builder = cache.packbuilder().map_err(git_failed)?;
    builder.set_threads(1);
    let mut walk = Walk { odb: &odb, builder, seen: HashSet::new(), most };
    match tips.iter().try_for_each(|tip| walk.tip(*tip)) {
        Ok(()) => {}
        Err(Stop::TooMany) => return keep_all(path).map_err(|error| failed(path, &error.to_string())),
        Err(Stop::Git(error)) => return Err(git_failed(error)),
    }
    if walk.seen.is_empty() {
        return Ok(());
    }
    let folder = path.join("objects/pack");
    walk.builder.write(&folder, 0o444).map_err(git_failed)?;
    let name = walk.builder.name().map_err(git_failed)?;
    let name = name.ok_or_else(|| failed(path, "the new pack has no name"))?;
    let new = format!("pack-{name}");
    // A ref to what goes, such as one to an earlier push, would end every later fetch.
    let led_to: Vec<git2::Reference<'_>> = cache.references().and_then(|refs| refs.collect()).map_err(git_failed)?;
    for mut led in led_to.into_iter().filter(|led| led.target().is_some_and(|target| !walk.seen.contains(&target))) {
        led.delete().map_err(git_failed)?;
    }
    let replaced = || -> io::Result<()> {
        let mut unsaved = Unsaved::new(true);
        for extension in ["pack", "idx"] {
            unsaved.add_at(&folder.join(&new).with_extension(extension))?;
        }
        unsaved.add_at(&folder)?;
        unsaved.save()?;
        // What came before the tips goes. Where git is not told, it looks for it, finds none, and has everything sent again.
        cut_off(path, tips.iter().copied().filter(|tip| walk.seen.contains(tip)))?;
        for pack in old.iter().filter(|pack| **pack != *OsStr::new(&new)) {
            // The index first: without it the pack is nothing to git.
            for extension in ["idx", "pack", "rev", "keep"] {
                remove(&folder.join(pack).with_extension(extension))?;
            }
        }
        loose_folders(path)?.iter().try_for_each(fs::remove_dir_all)
    };
    replaced().map_err(|error| failed(path, &error.to_string()))
}

/// Packs that were not left for good.
pub(super) fn counted(cache: &Path) -> usize {
    let folder = cache.join("objects/pack");
    tidy(cache).iter().filter(|pack| !folder.join(pack).with_extension("keep").exists()).count()
}

fn keep_all(cache: &Path) -> io::Result<()> {
    let folder = cache.join("objects/pack");
    tidy(cache).iter().try_for_each(|pack| fs::write(folder.join(pack).with_extension("keep"), ""))
}

fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The folders of objects that stand in files of their own.
fn loose_folders(cache: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(cache.join("objects"))?.flatten().map(|entry| entry.path());
    let is_loose = |path: &PathBuf| path.file_name().is_some_and(|name| name.len() == 2);
    Ok(entries.filter(is_loose).collect())
}

enum Stop {
    TooMany,
    Git(git2::Error),
}

struct Walk<'a> {
    odb: &'a Odb<'a>,
    builder: PackBuilder<'a>,
    seen: HashSet<Oid>,
    most: usize,
}

impl Walk<'_> {
    /// Takes commit `tip` with its directories and plain files, and no history.
    fn tip(&mut self, tip: Oid) -> Result<(), Stop> {
        let Ok(root) = objects::root_of(self.odb, tip) else { return Ok(()) };
        self.object(tip, ObjectType::Commit, COMMIT_BYTES, "")?;
        self.directory(root, "", 0)
    }

    fn directory(&mut self, id: Oid, name: &str, depth: u32) -> Result<(), Stop> {
        if depth > DEPTH || !self.object(id, ObjectType::Tree, TREE_BYTES, name)? {
            return Ok(());
        }
        let Ok(tree) = objects::tree(self.odb, id) else { return Ok(()) };
        for entry in tree.entries() {
            let name = String::from_utf8_lossy(&entry.name);
            if entry.mode == DIRECTORY {
                self.directory(entry.id, &name, depth + 1)?;
            } else if entry.mode == FILE {
                self.object(entry.id, ObjectType::Blob, LARGEST_FILE, &name)?;
            }
        }
        Ok(())
    }

    /// Whether it was taken now: it is there, of this kind, of a size that is read, and was not taken before.
    fn object(&mut self, id: Oid, kind: ObjectType, max: usize, name: &str) -> Result<bool, Stop> {
        let fits = |(size, found): (usize, ObjectType)| found == kind && size <= max;
        if self.seen.contains(&id) || !self.odb.read_header(id).is_ok_and(fits) {
            return Ok(false);
        }
        if self.seen.len() >= self.most {
            return Err(Stop::TooMany);
        }
        self.seen.insert(id);
        self.builder.insert_object(id, Some(name)).map_err(Stop::Git)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use git2::{FileMode, Signature, Time};

    use super::*;

    /// A commit with so many files, on top of nothing.
    fn commit(repo: &Repository, files: usize) -> Oid {
        let empty = repo.treebuilder(None).and_then(|builder| builder.write()).expect("written");
        let empty = repo.find_tree(empty).expect("there");
        let mut update = git2::build::TreeUpdateBuilder::new();
        for n in 0..files {
            update.upsert(format!("a/{n}"), repo.blob(n.to_string().as_bytes()).expect("written"), FileMode::Blob);
        }
        let tree = repo.find_tree(update.create_updated(repo, &empty).expect("written")).expect("there");
        let nobody = Signature::new("n", "n@localhost", &Time::new(0, 0)).expect("sound");
        repo.commit(None, &nobody, &nobody, "m", &tree, &[]).expect("written")
    }

    #[test]
    fn what_no_tip_needs_goes_and_what_is_too_much_stays() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let repo = Repository::init_bare(dir.path()).expect("made");
        let (tip, old) = (commit(&repo, 5), commit(&repo, 9));
        let all = [tip, old];
        // A commit, two directories and the files of each, of which five are the same.
        make(&repo, &all, 14).expect("looked at");
        assert_eq!((tidy(dir.path()).len(), counted(dir.path())), (0, 0), "one object too many");
        make(&repo, &all, 15).expect("made");
        assert_eq!((tidy(dir.path()).len(), counted(dir.path())), (1, 1));
        assert!(loose_folders(dir.path()).expect("read").is_empty());
        make(&repo, &all, 3).expect("looked at");
        assert_eq!((tidy(dir.path()).len(), counted(dir.path())), (1, 0), "it is kept and no longer counted");
        make(&repo, &[tip], 99).expect("made");
        let odb = objects::open(dir.path()).expect("readable");
        assert!(odb.exists(tip) && !odb.exists(old) && objects::root_of(&odb, tip).is_ok());
        assert_eq!((tidy(dir.path()).len(), counted(dir.path())), (1, 1));
        make(&repo, &[tip], 99).expect("made again");
        assert!(objects::open(dir.path()).expect("readable").exists(tip), "the new pack has the name of the old one");
    }
}
