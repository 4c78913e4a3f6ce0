//! One entry of the user's index, replaced under git's own lock; every other entry stays as it is.

use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use git2::{Oid, Repository};

use crate::sys::disk::Unsaved;
use crate::sys::repo::restage::{self, Seal};

/// How long another git may hold the lock, and how often that is looked at.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);

/// The names that a lock for a change has, and what is in it.
#[derive(Debug)]
struct Names {
    index: PathBuf,
    lock: PathBuf,
    /// Where the lock, and then the new index, is written before it gets its name.
    beside: PathBuf,
    text: String,
}

impl Names {
    fn of(repo: &Repository, id: &str) -> Self {
        let [index, lock, beside] = ["index", "index.lock", "index.lock.mesh"].map(|name| repo.path().join(name));
        Self { index, lock, beside, text: format!("mesh {id}\n") }
    }

    fn is_ours(&self, path: &Path) -> bool {
        fs::read(path).is_ok_and(|text| text == self.text.as_bytes())
    }
}

/// What will be in `index.lock`, written under another name first, so that a lock of ours is never without it.
#[derive(Debug)]
pub(super) struct Marker(Names);

/// `index.lock`, held: no other git writes to the index or commits in this work tree.
#[derive(Debug)]
pub(super) struct IndexLock(Marker);

impl Marker {
    /// For a lock for the change `id`. It is to be saved before the lock is taken.
    pub(super) fn write(repo: &Repository, id: &str, unsaved: &mut Unsaved) -> io::Result<Self> {
        let names = Names::of(repo, id);
        // A process that was killed may have left it as another name of its lock, which is not written to.
        drop(fs::remove_file(&names.beside));
        let mut file = File::create(&names.beside)?;
        let marker = Self(names);
        file.write_all(marker.0.text.as_bytes())?;
        unsaved.add(file);
        Ok(marker)
    }

    /// Takes the lock, or takes over the one that a killed process left for the same change.
    pub(super) fn take(self) -> io::Result<IndexLock> {
        for _ in 0..TRIES {
            if self.try_take()? {
                fs::remove_file(&self.0.beside)?;
                return Ok(IndexLock(self));
            }
            thread::sleep(PAUSE);
        }
        Err(io::Error::other(format!("{} is there: another git works in the repository", self.0.lock.display())))
    }

    fn try_take(&self) -> io::Result<bool> {
        let Names { lock, beside, text, .. } = &self.0;
        match fs::hard_link(beside, lock) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(self.0.is_ours(lock)),
            // File systems without hard links.
            Err(_) => match OpenOptions::new().write(true).create_new(true).open(lock) {
                Ok(mut file) => file.write_all(text.as_bytes()).map(|()| true),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(self.0.is_ours(lock)),
                Err(error) => Err(error),
            },
        }
    }
}

impl Drop for Marker {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0.beside));
        if self.0.is_ours(&self.0.lock) {
            // Nobody else removes it; a lock that stays is told by every git that meets it.
            drop(fs::remove_file(&self.0.lock));
        }
    }
}

impl IndexLock {
    /// Takes the lock for the change `id`, or takes over the one that a killed process left for it.
    pub(super) fn take(repo: &Repository, id: &str, durable: bool) -> io::Result<Self> {
        let mut unsaved = Unsaved::new(durable);
        let marker = Marker::write(repo, id, &mut unsaved)?;
        unsaved.save()?;
        marker.take()
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
        let Names { index, beside, .. } = &self.0.0;
        let old = fs::metadata(index)?;
        let seal = Seal::of(blob, file);
        let bytes = match restage::with(&fs::read(index)?, path.as_os_str().as_bytes(), &seal) {
            Some(bytes) => bytes,
            None => restage::by_libgit2(index, work, path, &seal)?,
        };

        let mode = old.permissions().mode() & 0o777;
        let mut new = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(beside)?;
        new.write_all(&bytes)?;
        new.set_permissions(old.permissions())?;
        new.set_times(FileTimes::new().set_modified(old.modified()?))?;
        unsaved.add(new);
        unsaved.save()?;
        fs::rename(beside, index)?;
        File::open(index.parent().unwrap_or(Path::new(".")))
    }
}

/// Removes the lock that a killed process left for the change `id`, if there is one, and what was to become one.
pub(super) fn drop_stale_lock(repo: &Repository, id: &str) -> io::Result<()> {
    let names = Names::of(repo, id);
    [&names.beside, &names.lock].iter().filter(|path| names.is_ours(path)).try_for_each(fs::remove_file)
}
