//! One entry of the user's index, replaced under git's own lock; every other entry stays as it is.

use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use git2::{Index, IndexTime, Oid, Repository};

use crate::sys::disk::Unsaved;

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
        let copy = work.join("index");
        fs::copy(&self.index, &copy)?;
        let mut index = Index::open(&copy).map_err(git)?;
        let mut entry =
            index.get_path(path, 0).ok_or_else(|| io::Error::other("the index does not hold the file any more"))?;
        entry.id = blob;
        entry.ctime = IndexTime::new(low_signed(file.ctime()), nanos(file.ctime_nsec()));
        entry.mtime = IndexTime::new(low_signed(file.mtime()), nanos(file.mtime_nsec()));
        (entry.dev, entry.ino) = (low(file.dev()), low(file.ino()));
        (entry.uid, entry.gid) = (file.uid(), file.gid());
        entry.file_size = low(file.size());
        index.add(&entry).map_err(git)?;
        index.write().map_err(git)?;
        let bytes = fs::read(&copy)?;
        fs::remove_file(&copy)?;

        let beside = self.lock.with_extension("lock.mesh");
        let mut new =
            OpenOptions::new().write(true).create(true).truncate(true).mode(old.mode() & 0o777).open(&beside)?;
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

fn git(error: git2::Error) -> io::Error {
    io::Error::other(error.message().to_owned())
}

/// The index keeps the low 32 bits of what is longer.
fn low(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).expect("32 bits were kept")
}

fn low_signed(number: i64) -> i32 {
    low(number.cast_unsigned()).cast_signed()
}

fn nanos(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(0)
}
