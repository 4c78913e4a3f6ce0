//! What children print: one file for each stream, rotated without a process between.
//!
//! A pipe would end with the agent and take the child with it. So a child has the file itself, opened to append, and
//! what is old is copied and then taken off its front: in one step where the file system can, else by cutting it,
//! when what is printed in between is lost.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};

use crate::domain::id::ServiceName;

/// The two files of a child.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::sys::managers) struct Logs {
    /// Standard output.
    pub out: PathBuf,
    /// Standard error.
    pub err: PathBuf,
}

impl Logs {
    pub(in crate::sys::managers) fn of(dir: &Path, name: &ServiceName) -> Self {
        Self { out: dir.join(format!("{name}.out")), err: dir.join(format!("{name}.err")) }
    }

    /// Opens one to append to.
    pub(in crate::sys::managers) fn open(path: &Path) -> io::Result<File> {
        let flags = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).map_err(io::Error::other)?;
        OpenOptions::new().create(true).append(true).mode(0o600).custom_flags(flags).open(path)
    }

    /// The larger of the two, in bytes.
    pub(in crate::sys::managers) fn size(&self) -> u64 {
        [&self.out, &self.err]
            .into_iter()
            .filter_map(|path| fs::metadata(path).ok())
            .map(|meta| meta.len())
            .max()
            .unwrap_or(0)
    }

    /// Rotates those that are larger than `most`.
    pub(in crate::sys::managers) fn rotate(&self, most: u64, keep: u32) -> io::Result<()> {
        for path in [&self.out, &self.err] {
            if fs::metadata(path).is_ok_and(|meta| meta.len() >= most) {
                rotate(path, keep)?;
            }
        }
        Ok(())
    }
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// Moves what the file holds now to `path.1`, and what was there to `path.2`, and so on.
fn rotate(path: &Path, keep: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let meta = file.metadata()?;
    let block = meta.blksize().max(4096);
    // Taking blocks off the front must leave at least a byte.
    let whole = meta.len().saturating_sub(1) / block * block;
    if keep > 0 {
        for number in (1..keep).rev() {
            match fs::rename(numbered(path, number), numbered(path, number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        let mut copy =
            OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(numbered(path, 1))?;
        io::copy(&mut (&file).take(whole), &mut copy)?;
        if whole > 0 && fallocate(&file, FallocateFlags::COLLAPSE_RANGE, 0, whole).is_ok() {
            return Ok(());
        }
        file.seek(SeekFrom::Start(whole))?;
        io::copy(&mut file, &mut copy)?;
    }
    file.set_len(0)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn nothing_is_lost_and_no_more_is_kept_than_asked_for() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let logs = Logs::of(dir.path(), &"web".parse().expect("a name"));
        let mut child = Logs::open(&logs.out).expect("made");
        for round in 0..5_u8 {
            child.write_all(&vec![b'a' + round; 10_000]).expect("written");
            logs.rotate(9_000, 2).expect("rotated");
        }
        let read = |path: &Path| fs::read(path).expect("there");
        let mut all = read(&numbered(&logs.out, 2));
        all.extend(read(&numbered(&logs.out, 1)));
        all.extend(read(&logs.out));
        assert!(all.is_sorted() && all.ends_with(&[b'e'; 10_000]), "in order, the newest whole");
        assert!(all.len() > 20_000 && read(&logs.out).len() < 9_000, "{}", all.len());
        assert!(!numbered(&logs.out, 3).exists());
        child.write_all(b"z").expect("the writer goes on at the end");
        assert!(read(&logs.out).ends_with(b"z"));
        assert_eq!(read(&logs.out).iter().filter(|byte| **byte == 0).count(), 0);
    }
}
