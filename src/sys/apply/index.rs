//! One entry of the user's index, replaced under git's own lock; every other entry stays as it is.

use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use git2::{Index, IndexTime, Oid, Repository};

use crate::sys::disk::Unsaved;
use crate::sys::repo::restage::{self, Seal};

/// How long another git may hold the lock, and how often that is looked at.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);

/// `index.lock`, held: no other git writes to the index or commits in this work tree.
#[derive(Debug)]
pub(super) struct IndexLock {
    index: PathBuf,
    lock: PathBuf,
    marker: String,
}

impl IndexLock {
    /// Takes the lock for the change `id`, or takes over the one that a killed process left for it.
    pub(super) fn take(repo: &Repository, id: &str) -> io::Result<Self> {
        let index = repo.path().join("index");
        let lock = repo.path().join("index.lock");
        let held = Self { index, lock, marker: format!("mesh {id}\n") };
        for _ in 0..TRIES {
            if held.try_take()? {
                return Ok(held);
            }
            thread::sleep(PAUSE);
        }
        Err(io::Error::other(format!("{} is there: another git works in the repository", held.lock.display())))
    }

    fn try_take(&self) -> io::Result<bool> {
        // Written first and named second, so that a lock of ours is never without its marker.
        let written = self.lock.with_extension("lock.mesh");
        fs::write(&written, &self.marker)?;
        let linked = match fs::hard_link(&written, &self.lock) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(self.is_ours()),
            // File systems without hard links.
            Err(_) => match OpenOptions::new().write(true).create_new(true).open(&self.lock) {
                Ok(mut file) => file.write_all(self.marker.as_bytes()).map(|()| true),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(self.is_ours()),
                Err(error) => Err(error),
            },
        };
        fs::remove_file(&written)?;
        linked
    }

    fn is_ours(&self) -> bool {
        fs::read(&self.lock).is_ok_and(|text| text == self.marker.as_bytes())
    }

    /// Lets `path` be `blob` in the index, with what `lstat` says of its file. `work` is a folder of ours.
    ///
    /// The new index keeps the date of the old one: to git an entry that is younger than the index is one to look at
    /// again, and that must stay so for all of them. What is `unsaved` is saved first; the folder that is returned is yet
    /// to be.
    pub(super) fn put(
        &self,
        work: &Path,
        path: &Path,
        blob: Oid,
        file: &fs::Metadata,
        mut unsaved: Unsaved,
    ) -> io::Result<File> {
        let old = fs::metadata(&self.index)?;
        let seal = Seal::of(blob, file);
        let bytes = match restage::with(&fs::read(&self.index)?, path.as_os_str().as_bytes(), &seal) {
            Some(bytes) => bytes,
            None => by_libgit2(&self.index, work, path, &seal)?,
        };

        let beside = self.lock.with_extension("lock.mesh");
        let mode = old.permissions().mode() & 0o777;
        let mut new = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&beside)?;
        new.write_all(&bytes)?;
        new.set_permissions(old.permissions())?;
        new.set_times(FileTimes::new().set_modified(old.modified()?))?;
        unsaved.add(new);
        unsaved.save()?;
        fs::rename(&beside, &self.index)?;
        File::open(self.index.parent().unwrap_or(Path::new(".")))
    }
}

impl Drop for IndexLock {
    fn drop(&mut self) {
        if self.is_ours() {
            // Nobody else removes it; a lock that stays is told by every git that meets it.
            drop(fs::remove_file(&self.lock));
        }
    }
}

/// Removes the lock that a killed process left for the change `id`, if there is one.
pub(super) fn drop_stale_lock(repo: &Repository, id: &str) -> io::Result<()> {
    let lock = repo.path().join("index.lock");
    let ours = fs::read(&lock).is_ok_and(|text| text == format!("mesh {id}\n").as_bytes());
    if ours { fs::remove_file(lock) } else { Ok(()) }
}

/// The bytes of an index with other values for `path`, whatever its form. `work` is a folder of ours.
fn by_libgit2(index: &Path, work: &Path, path: &Path, seal: &Seal) -> io::Result<Vec<u8>> {
    let copy = work.join("index");
    fs::copy(index, &copy)?;
    let mut index = Index::open(&copy).map_err(git)?;
    let mut entry =
        index.get_path(path, 0).ok_or_else(|| io::Error::other("the index does not hold the file any more"))?;
    entry.id = seal.id;
    entry.ctime = IndexTime::new(seal.ctime.0, seal.ctime.1);
    entry.mtime = IndexTime::new(seal.mtime.0, seal.mtime.1);
    (entry.dev, entry.ino) = (seal.dev, seal.ino);
    (entry.uid, entry.gid) = (seal.uid, seal.gid);
    entry.file_size = seal.size;
    index.add(&entry).map_err(git)?;
    index.write().map_err(git)?;
    let bytes = fs::read(&copy)?;
    fs::remove_file(&copy)?;
    Ok(bytes)
}

fn git(error: git2::Error) -> io::Error {
    io::Error::other(error.message().to_owned())
}
