//! A copy of a tried tree for a user who may not enter mesh's own home: it is his, nobody else can enter it, and it goes
//! with the trial.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, chown, lchown, symlink};
use std::path::{Path, PathBuf};

use crate::sys::repo::scratch::remove_all;
use crate::sys::user::User;

/// Most files that are copied.
const MOST_FILES: usize = 200_000;

/// The copy.
pub(super) struct Lent {
    dir: PathBuf,
}

impl Lent {
    /// Copies `from` into a folder of the user's.
    ///
    /// # Errors
    /// There is no such user, mesh may not give its files away, or the copy cannot be made. Nothing is left of it then.
    pub(super) fn make(from: &Path, user: &str) -> Result<Self, String> {
        let owner = User::to_run_as(user)?;
        let name = getrandom::u64().map_err(|error| error.to_string())?;
        let lent = Self { dir: std::env::temp_dir().join(format!("mesh-trial-{name:016x}")) };
        let made = fs::DirBuilder::new().mode(0o700).create(&lent.dir);
        made.and_then(|()| copied(from, &lent.dir, &owner, &mut 0))
            .map_err(|error| format!("no copy can be made for {user}: {error}"))?;
        Ok(lent)
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // What cannot be removed is in the folder for temporary files.
        drop(remove_all(&self.dir));
    }
}

fn copied(from: &Path, to: &Path, owner: &User, files: &mut usize) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        *files += 1;
        if *files > MOST_FILES {
            return Err(io::Error::other(format!("more than {MOST_FILES} files")));
        }
        let (source, copy, kind) = (entry.path(), to.join(entry.file_name()), entry.file_type()?);
        if kind.is_dir() {
            fs::create_dir(&copy)?;
            copied(&source, &copy, owner, files)?;
        } else if kind.is_file() {
            // With its rights.
            fs::copy(&source, &copy)?;
            chown(&copy, Some(owner.uid), Some(owner.gid))?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(&source)?, &copy)?;
            lchown(&copy, Some(owner.uid), Some(owner.gid))?;
        }
    }
    fs::set_permissions(to, fs::Permissions::from_mode(0o700))?;
    chown(to, Some(owner.uid), Some(owner.gid))
}
