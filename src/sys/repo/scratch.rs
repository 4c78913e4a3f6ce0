//! A copy of a commit's files, in a small repository of its own that borrows the user's objects. So the project's
//! check may run git in it, and nothing of it is left in the user's repository.
//!
//! The copy of a root is kept and moved from commit to commit, so that only what differs is written. What a check has
//! touched, left or taken away is found by `sweep` and made anew; `.git` is always made anew.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use git2::build::CheckoutBuilder;
use git2::{Oid, Repository};
use rustix::fs::{FlockOperation, flock};

use super::sweep::sweep;
use super::{git, must_open, within};
use crate::ports::RepoError;

/// Copies of one root that may be in use at once.
const SLOTS: u8 = 2;

/// A copy of a commit's files to try things in. It is its user's alone until it is dropped: the directory is locked for
/// as long. Then the next one gets it, with everything that was changed in it made anew.
pub(super) struct Copy {
    holder: PathBuf,
    /// The copy of the audited root.
    dir: PathBuf,
    _lock: File,
}

impl Copy {
    /// Copies `commit` of the repository of `root` to below `worktrees`.
    pub(super) fn make(root: &Path, commit: &str, worktrees: &Path) -> Result<Self, RepoError> {
        let failed = |what| {
            move |error: io::Error| RepoError::Scratch { what, dir: worktrees.to_owned(), why: error.to_string() }
        };
        let user = must_open(root)?;
        let root = root.canonicalize().map_err(failed("find the root of"))?;
        let inner = within(&user, &root).unwrap_or_default();
        let top = user.workdir().unwrap_or(&root).as_os_str().as_encoded_bytes();
        let name = blake3::hash(top).to_hex()[..16].to_owned();
        for slot in 0..SLOTS {
            let holder = worktrees.join(format!("{name}.{slot}"));
            fs::create_dir_all(&holder).map_err(failed("make"))?;
            let lock = File::open(&holder).map_err(failed("open"))?;
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
                continue;
            }
            let files = holder.join("files");
            if reuse(&user, commit, &holder).is_err() {
                remove_all(&files).map_err(failed("clear"))?;
                fill(&user, commit, None, &holder).inspect_err(|_| drop(remove_all(&files)))?;
            }
            return Ok(Self { holder, dir: files.join(inner), _lock: lock });
        }
        Err(failed("lock")(io::Error::other("other processes use all of them")))
    }

    /// The copy of the audited root.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A folder beside the files, for whoever has the copy.
    pub(super) fn bench(&self) -> PathBuf {
        self.holder.join("bench")
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // For the room it takes; what is left all the same is met by the next use, which sweeps again.
        drop(tidy(&self.holder));
    }
}

fn tidy(holder: &Path) -> io::Result<()> {
    sweep(&holder.join("files"), &holder.join(INDEX), &holder.join(COMMIT))
}

/// Moves the copy that is there to `commit`.
fn reuse(user: &Repository, commit: &str, holder: &Path) -> Result<(), RepoError> {
    let failed =
        |error: io::Error| RepoError::Scratch { what: "clean", dir: holder.to_owned(), why: error.to_string() };
    let known = fs::read_to_string(holder.join(COMMIT)).map_err(failed)?;
    let known = Oid::from_str(&known).map_err(git("read the scratch commit's name"))?;
    tidy(holder).map_err(failed)?;
    fill(user, commit, Some(known), holder)
}

/// What the copy holds, written once it holds it; its date tells what was changed since.
const COMMIT: &str = "commit";
/// The index of the copy, out of the reach of what runs in it.
const INDEX: &str = "index";

/// Makes the files those of `commit`; with `known`, they are those of that commit already, where there are any.
fn fill(user: &Repository, commit: &str, known: Option<Oid>, holder: &Path) -> Result<(), RepoError> {
    let io_failed =
        |error: io::Error| RepoError::Scratch { what: "fill", dir: holder.to_owned(), why: error.to_string() };
    let files = holder.join("files");
    let copy = borrow(user, &files)?;
    if let Some(known) = known {
        fs::copy(holder.join(INDEX), copy.path().join("index")).map_err(io_failed)?;
        copy.set_head_detached(known).map_err(git("name the scratch commit"))?;
    }
    let id = Oid::from_str(commit).map_err(git("read the commit's name"))?;
    let commit = copy.find_commit(id).map_err(git("read the commit"))?;
    copy.checkout_tree(commit.as_object(), Some(CheckoutBuilder::new().force())).map_err(git("copy the files"))?;
    copy.set_head_detached(id).map_err(git("name the scratch commit"))?;
    fs::copy(copy.path().join("index"), holder.join(INDEX)).map_err(io_failed)?;
    // Always a new file: the date of its making counts.
    let written = holder.join("commit.new");
    fs::write(&written, id.to_string()).and_then(|()| fs::rename(&written, holder.join(COMMIT))).map_err(io_failed)
}

/// What git has to be told of a scratch repository. A record of where its branches were is for nobody.
const CONFIG: &str =
    "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\tlogallrefupdates = false\n";

/// Makes `files` a repository that reads the objects of `user`, with no commit checked out. It is written out here:
/// libgit2 would try what the file system can do, and fill it from a template, in ten times as many steps.
pub(in crate::sys) fn borrow(user: &Repository, files: &Path) -> Result<Repository, RepoError> {
    let io_failed =
        |error: io::Error| RepoError::Scratch { what: "fill", dir: files.to_owned(), why: error.to_string() };
    let common = user.commondir().canonicalize().map_err(io_failed)?;
    let objects = common.join("objects");
    let mut line = objects.as_os_str().as_encoded_bytes().to_vec();
    if line.contains(&b'\n') {
        return Err(io_failed(io::Error::other("the repository's path holds a line break")));
    }
    line.push(b'\n');
    let dir = files.join(".git");
    let made = fs::create_dir_all(dir.join("objects/info"))
        .and_then(|()| fs::create_dir_all(dir.join("refs/heads")))
        .and_then(|()| fs::write(dir.join("objects/info/alternates"), line))
        .and_then(|()| fs::write(dir.join("config"), CONFIG))
        .and_then(|()| fs::write(dir.join("HEAD"), "ref: refs/heads/main\n"));
    made.map_err(io_failed)?;
    let shallow = common.join("shallow");
    if shallow.exists() {
        fs::copy(shallow, dir.join("shallow")).map_err(io_failed)?;
    }
    Repository::open(files).map_err(git("open the scratch repository"))
}

/// Removes a directory, also when a program took the right to write in parts of it away.
pub(in crate::sys) fn remove_all(dir: &Path) -> io::Result<()> {
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
