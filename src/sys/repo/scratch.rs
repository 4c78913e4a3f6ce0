//! A copy of a commit's files, in a small repository of its own that borrows the user's objects. So the project's
//! check may run git in it, and nothing of it is left in the user's repository.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use git2::build::CheckoutBuilder;
use git2::{Oid, Repository, RepositoryInitOptions};
use rustix::fs::{FlockOperation, flock};

use super::{git, must_open, within};
use crate::ports::{RepoError, Scratch};

/// The copy. Its directory is locked for as long as it is used.
pub(super) struct Copy {
    /// What is removed at the end.
    holder: PathBuf,
    /// The copy of the audited root.
    dir: PathBuf,
    removed: bool,
    _lock: File,
}

impl Copy {
    /// Copies `commit` of the repository of `root` to below `holder`.
    pub(super) fn make(root: &Path, commit: &str, holder: &Path) -> Result<Self, RepoError> {
        let failed =
            |what| move |error: io::Error| RepoError::Scratch { what, dir: holder.to_owned(), why: error.to_string() };
        let user = must_open(root)?;
        fs::create_dir_all(holder).map_err(failed("make"))?;
        let lock = File::open(holder).map_err(failed("open"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| failed("lock")(io::Error::other("another process uses it")))?;
        let files = holder.join("files");
        // What a killed run has left.
        if files.symlink_metadata().is_ok() {
            remove_all(&files).map_err(failed("clear"))?;
        }
        let root = root.canonicalize().map_err(failed("find the root of"))?;
        let inner = within(&user, &root).unwrap_or_default();
        let copy = Self { holder: holder.to_owned(), dir: files.join(inner), removed: false, _lock: lock };
        fill(&user, commit, &files).inspect_err(|_| drop(remove_all(&files)))?;
        Ok(copy)
    }

    fn clear(&mut self) -> io::Result<()> {
        self.removed = true;
        remove_all(&self.holder)
    }
}

impl Scratch for Copy {
    fn dir(&self) -> &Path {
        &self.dir
    }

    fn remove(mut self: Box<Self>) -> Result<(), RepoError> {
        let why =
            |error: io::Error| RepoError::Scratch { what: "remove", dir: self.holder.clone(), why: error.to_string() };
        let holder = self.holder.clone();
        self.removed = true;
        remove_all(&holder).map_err(why)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if !self.removed {
            // `remove` reports; here is only the way out of an error that is already being told.
            drop(self.clear());
        }
    }
}

fn fill(user: &Repository, commit: &str, files: &Path) -> Result<(), RepoError> {
    let io_failed =
        |error: io::Error| RepoError::Scratch { what: "fill", dir: files.to_owned(), why: error.to_string() };
    let mut options = RepositoryInitOptions::new();
    options.external_template(false).mkpath(true);
    let copy = Repository::init_opts(files, &options).map_err(git("make a scratch repository"))?;
    let common = user.commondir().canonicalize().map_err(io_failed)?;
    let objects = common.join("objects");
    let mut line = objects.as_os_str().as_encoded_bytes().to_vec();
    if line.contains(&b'\n') {
        return Err(io_failed(io::Error::other("the repository's path holds a line break")));
    }
    line.push(b'\n');
    let info = copy.path().join("objects/info");
    fs::create_dir_all(&info).and_then(|()| fs::write(info.join("alternates"), line)).map_err(io_failed)?;
    let shallow = common.join("shallow");
    if shallow.exists() {
        fs::copy(shallow, copy.path().join("shallow")).map_err(io_failed)?;
    }
    // Opened again, so that the borrowed objects are seen.
    let copy = Repository::open(files).map_err(git("open the scratch repository"))?;
    let id = Oid::from_str(commit).map_err(git("read the commit's name"))?;
    let commit = copy.find_commit(id).map_err(git("read the commit"))?;
    copy.checkout_tree(commit.as_object(), Some(CheckoutBuilder::new().force())).map_err(git("copy the files"))?;
    copy.set_head_detached(id).map_err(git("name the scratch commit"))
}

/// Removes a directory, also when a program took the right to write in parts of it away.
fn remove_all(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let mut folders = vec![dir.to_owned()];
            while let Some(folder) = folders.pop() {
                fs::set_permissions(&folder, Permissions::from_mode(0o700))?;
                for entry in fs::read_dir(&folder)? {
                    let entry = entry?;
                    if entry.file_type()?.is_dir() {
                        folders.push(entry.path());
                    }
                }
            }
            fs::remove_dir_all(dir)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
