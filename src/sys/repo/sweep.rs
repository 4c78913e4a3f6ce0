//! What is not as it was written is taken away from a scratch copy, before it is used again.

use std::collections::HashMap;
use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use git2::{Index, IndexEntry};

use super::scratch::remove_all;

/// Leaves in `files` only what `index` says was written there and nothing has touched since: the same inode, size,
/// mode and dates, and none of the dates as young as `marker`, which was made right after. A program can set the date
/// of the bytes back, but not that of the inode.
pub(super) fn sweep(files: &Path, index: &Path, marker: &Path) -> io::Result<()> {
    let index = Index::open(index).map_err(|error| io::Error::other(error.message().to_owned()))?;
    let written: HashMap<Vec<u8>, IndexEntry> = index.iter().map(|entry| (entry.path.clone(), entry)).collect();
    let marker = fs::symlink_metadata(marker)?;
    let marker = (marker.ctime(), marker.ctime_nsec());
    let mut folders = vec![PathBuf::new()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        let path = files.join(&folder);
        let mode = fs::symlink_metadata(&path)?.permissions().mode();
        if mode & 0o7777 != 0o755 {
            fs::set_permissions(&path, Permissions::from_mode(0o755))?;
        }
        for entry in fs::read_dir(&path)? {
            let entry = entry?;
            let name = folder.join(entry.file_name());
            let metadata = fs::symlink_metadata(entry.path())?;
            if metadata.is_dir() {
                if name == Path::new(".git") {
                    remove_all(&entry.path())?;
                } else {
                    found.push(name.clone());
                    folders.push(name);
                }
            } else if !written.get(name.as_os_str().as_bytes()).is_some_and(|entry| untouched(entry, &metadata, marker))
            {
                fs::remove_file(entry.path())?;
            }
        }
    }
    // The deepest first; those that still hold something stay.
    for folder in found.iter().rev() {
        match fs::remove_dir(files.join(folder)) {
            Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn untouched(entry: &IndexEntry, metadata: &Metadata, marker: (i64, i64)) -> bool {
    let low = |number: u64| number & u64::from(u32::MAX);
    let same = |date: git2::IndexTime, seconds: i64, nanos: i64| {
        low(seconds.cast_unsigned()) == u64::from(date.seconds().cast_unsigned())
            && i64::from(date.nanoseconds()) == nanos
    };
    let executable = |mode: u32| mode & 0o100 != 0;
    same(entry.ctime, metadata.ctime(), metadata.ctime_nsec())
        && same(entry.mtime, metadata.mtime(), metadata.mtime_nsec())
        && u64::from(entry.ino) == low(metadata.ino())
        && u64::from(entry.file_size) == low(metadata.size())
        && entry.mode & 0o170_000 == metadata.mode() & 0o170_000
        && (metadata.is_symlink() || executable(entry.mode) == executable(metadata.mode()))
        && (metadata.ctime(), metadata.ctime_nsec()) < marker
}
