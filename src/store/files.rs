//! Files written whole or not at all, and the modes that are demanded of them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Why a file or folder of the home cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("cannot {action} {path}", path = path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// Others could read or change it.
    #[error("{path} has mode {mode:04o}: run `chmod {wanted:04o} {path}`", path = path.display())]
    LooseMode {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// The mode it must have at most.
        wanted: u32,
    },
    /// Another user's.
    #[error("{path} belongs to user {owner}, not to {expected} who runs mesh: run `chown {expected} {path}`", path = path.display())]
    ForeignOwner {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who runs mesh.
        expected: u32,
    },
    /// A link, or something that is no plain file.
    #[error("{path} is not a plain file: put the file itself there, not a link to it", path = path.display())]
    NotPlain {
        /// The file.
        path: PathBuf,
    },
    /// Larger than is read.
    #[error("{path} has {got} bytes, at most {max} are read", path = path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        got: u64,
        /// The limit.
        max: u64,
    },
    /// Not text.
    #[error("{path} is not UTF-8 text", path = path.display())]
    NotText {
        /// The file.
        path: PathBuf,
    },
}

impl FileError {
    /// The system's refusal of `action` on `path`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |cause| Self::Io { action, path, cause }
    }

    /// Whether it is simply not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { cause, .. } if cause.kind() == io::ErrorKind::NotFound)
    }
}

/// Makes a folder and its parents, for the owner alone.
///
/// # Errors
/// The system refused.
pub fn make_dir(path: &Path) -> Result<(), FileError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(FileError::io("make the folder", path))
}

/// Puts `bytes` at `path`: a reader sees the old file or the new one, also after a power cut.
///
/// # Errors
/// The system refused; the old file is as it was.
pub fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = dir.join(format!(".{name}.{}.tmp", std::process::id()));
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(|cause| {
        // The write has failed already; a left-over temporary file is harmless and overwritten next time.
        drop(fs::remove_file(&temporary));
        FileError::Io { action: "write", path: path.to_owned(), cause }
    })
}

/// Puts a copy of what the database holds at `path`: a reader sees it whole or not at all. It is not waited
/// for until the disk has it, as the database has it already: of a burst of hundreds, each would take its turn.
///
/// # Errors
/// The system refused; the old file is as it was.
pub fn write_copy(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let temporary = dir.join(format!(".copy.{}.tmp", std::process::id()));
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
        file.write_all(bytes)?;
        fs::rename(&temporary, path)
    };
    write().map_err(FileError::io("write", path))
}

/// Removes a file; one that is not there is fine.
///
/// # Errors
/// The system refused.
pub fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            Err(FileError::Io { action: "remove", path: path.to_owned(), cause })
        }
        _ => Ok(()),
    }
}

/// Reads a text file of at most `max` bytes.
///
/// # Errors
/// Not there, not a plain file, too large, not UTF-8.
pub fn read_text(path: &Path, max: u64) -> Result<String, FileError> {
    String::from_utf8(read_bytes(path, max)?).map_err(|_| FileError::NotText { path: path.to_owned() })
}

/// Reads a file of at most `max` bytes.
///
/// # Errors
/// Not there, not a plain file, too large.
pub fn read_bytes(path: &Path, max: u64) -> Result<Vec<u8>, FileError> {
    let file = File::open(path).map_err(FileError::io("read", path))?;
    let metadata = file.metadata().map_err(FileError::io("read", path))?;
    if !metadata.is_file() {
        return Err(FileError::NotPlain { path: path.to_owned() });
    }
    let too_large = |got| FileError::TooLarge { path: path.to_owned(), got, max };
    if metadata.len() > max {
        return Err(too_large(metadata.len()));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    file.take(max + 1).read_to_end(&mut bytes).map_err(FileError::io("read", path))?;
    let got = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if got > max { Err(too_large(got)) } else { Ok(bytes) }
}

/// Demands that `path` is a plain file of this user with no permission outside of `wanted`.
///
/// # Errors
/// What is wrong, with the command that mends it.
pub fn demand_private(path: &Path, wanted: u32) -> Result<(), FileError> {
    let metadata = fs::symlink_metadata(path).map_err(FileError::io("look at", path))?;
    if !metadata.is_file() {
        return Err(FileError::NotPlain { path: path.to_owned() });
    }
    demand_owner_and_mode(path, &metadata, wanted)
}

/// Demands that `path` is a folder of this user that others cannot write to.
///
/// # Errors
/// What is wrong, with the command that mends it.
pub fn demand_own_dir(path: &Path) -> Result<(), FileError> {
    let metadata = fs::symlink_metadata(path).map_err(FileError::io("look at", path))?;
    if !metadata.is_dir() {
        return Err(FileError::NotPlain { path: path.to_owned() });
    }
    demand_owner_and_mode(path, &metadata, 0o755)
}

fn demand_owner_and_mode(path: &Path, metadata: &fs::Metadata, wanted: u32) -> Result<(), FileError> {
    let expected = rustix::process::geteuid().as_raw();
    if metadata.uid() != expected {
        return Err(FileError::ForeignOwner { path: path.to_owned(), owner: metadata.uid(), expected });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & !wanted & 0o777 != 0 {
        return Err(FileError::LooseMode { path: path.to_owned(), mode, wanted });
    }
    Ok(())
}

/// The names of the plain files in a folder that end in `.suffix`, sorted. A missing folder is empty.
///
/// # Errors
/// The system refused.
pub fn list(dir: &Path, suffix: &str) -> Result<Vec<PathBuf>, FileError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(cause) => return Err(FileError::Io { action: "list", path: dir.to_owned(), cause }),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(FileError::io("list", dir))?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|ext| ext == suffix) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn t30_loose_modes_and_links_are_refused_with_the_command_that_mends_them() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let key = dir.path().join("host.key");
        write_whole(&key, b"secret", 0o600).expect("written");
        demand_private(&key, 0o600).expect("private");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("loosened");
        let refused = demand_private(&key, 0o600).expect_err("loose").to_string();
        assert!(refused.contains("mode 0644: run `chmod 0600"), "{refused}");
        let link = dir.path().join("link.key");
        std::os::unix::fs::symlink(&key, &link).expect("linked");
        assert!(matches!(demand_private(&link, 0o600), Err(FileError::NotPlain { .. })));
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let path = dir.path().join("a");
        write_whole(&path, b"old", 0o600).expect("written");
        let blocked = dir.path().join(format!(".a.{}.tmp", std::process::id()));
        fs::create_dir(&blocked).expect("in the way");
        assert!(write_whole(&path, b"new", 0o600).is_err());
        assert_eq!(read_text(&path, 10).expect("read"), "old");
        assert!(matches!(read_text(&path, 2), Err(FileError::TooLarge { got: 3, .. })));
    }
}
