//! Reads one file below an open root: never through a link, never out of the root, never a pipe or device,
//! never more than the limit.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2, statat};
use rustix::io::Errno;

use super::{is_secret, open_root, secret_text};
use crate::domain::limits;

/// Why a file is not read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Unread {
    /// It is gone, a link, or behind one.
    #[error("not there, or a symbolic link")]
    Gone,
    /// A directory, pipe, socket or device.
    #[error("not a plain file")]
    NotPlain,
    /// Above [`limits::AUDIT_FILE_BYTES`].
    #[error("larger than {} KiB", limits::AUDIT_FILE_BYTES / 1024)]
    TooLarge,
    /// A NUL byte or not UTF-8.
    #[error("not a UTF-8 text")]
    NotText,
    /// The system refused.
    #[error("cannot be read: {0}")]
    Refused(String),
}

impl From<Errno> for Unread {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV => Self::Gone,
            Errno::NXIO | Errno::ISDIR => Self::NotPlain,
            other => Self::Refused(std::io::Error::from(other).to_string()),
        }
    }
}

const FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// An open root.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
}

impl Root {
    /// Opens `root`, which must be a directory and not a link.
    ///
    /// # Errors
    /// It is not, or cannot be opened.
    pub fn open(root: &Path) -> rustix::io::Result<Self> {
        open_root(root).map(|fd| Self { fd })
    }

    /// The text of the file at `path`; of a secret, its mode alone ([`secret_text`]).
    ///
    /// # Errors
    /// Why it is not read.
    pub fn text<'a>(&self, path: &str, buffer: &'a mut Vec<u8>) -> Result<&'a str, Unread> {
        buffer.clear();
        if is_secret(super::file_name(path.as_bytes())) {
            let stat = statat(&self.fd, path, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                return Err(Unread::NotPlain);
            }
            buffer.extend_from_slice(secret_text(stat.st_mode).as_bytes());
        } else {
            let fd = self.open_below(path)?;
            let stat = fstat(&fd)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                return Err(Unread::NotPlain);
            }
            let limit = limits::AUDIT_FILE_BYTES;
            let size = u64::try_from(stat.st_size).unwrap_or(0);
            if size > limit {
                return Err(Unread::TooLarge);
            }
            read_bounded(File::from(fd), size, limit, buffer)?;
        }
        // A file that holds a NUL is data, whatever its name says.
        if buffer.contains(&0) {
            return Err(Unread::NotText);
        }
        std::str::from_utf8(buffer).map_err(|_| Unread::NotText)
    }

    /// The folder at `path` below the root, held open; the root itself for an empty path.
    ///
    /// # Errors
    /// It is gone, behind a link, or no folder.
    pub fn folder(&self, path: &str) -> Result<OwnedFd, Unread> {
        if path.is_empty() {
            return Ok(openat(&self.fd, ".", FLAGS | OFlags::DIRECTORY, Mode::empty())?);
        }
        let fd = self.open_below(path)?;
        let stat = fstat(&fd)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory { Ok(fd) } else { Err(Unread::Gone) }
    }

    fn open_below(&self, path: &str) -> Result<OwnedFd, Unread> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match openat2(&self.fd, path, FLAGS, Mode::empty(), resolve) {
            // Kernels before 5.6, and containers that filter the call.
            Err(Errno::NOSYS | Errno::PERM) => self.open_by_parts(path),
            other => Ok(other?),
        }
    }

    fn open_by_parts(&self, path: &str) -> Result<OwnedFd, Unread> {
        let mut parts: Vec<&str> = path.split('/').collect();
        let last = parts.pop().filter(|part| !matches!(*part, "" | "." | "..")).ok_or(Unread::Gone)?;
        let mut dir: Option<OwnedFd> = None;
        for part in parts {
            if matches!(part, "" | "." | "..") {
                return Err(Unread::Gone);
            }
            let at = dir.as_ref().map_or(self.fd.as_fd(), AsFd::as_fd);
            dir = Some(openat(at, part, FLAGS | OFlags::DIRECTORY, Mode::empty())?);
        }
        let at = dir.as_ref().map_or(self.fd.as_fd(), AsFd::as_fd);
        Ok(openat(at, last, FLAGS, Mode::empty())?)
    }
}

/// Reads to the end; one byte of room beyond `size` tells without another call whether that was all.
fn read_bounded(mut file: File, size: u64, limit: u64, buffer: &mut Vec<u8>) -> Result<(), Unread> {
    let room = usize::try_from(size).unwrap_or(0) + 1;
    buffer.resize(room, 0);
    let mut filled = 0;
    loop {
        let got = match file.read(&mut buffer[filled..]) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            other => other.map_err(|error| Unread::Refused(error.to_string()))?,
        };
        filled += got;
        if filled < buffer.len() {
            break;
        }
        if filled as u64 > limit {
            return Err(Unread::TooLarge);
        }
        // It grew since it was looked at.
        buffer.resize(filled * 2, 0);
    }
    buffer.truncate(filled);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn t20_nothing_is_read_through_a_link_or_out_of_the_root() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("root");
        std::fs::create_dir_all(root.join("sub")).unwrap();
        std::fs::write(temp.path().join("outside"), "secret").unwrap();
        std::fs::write(root.join("sub/inside"), "plain").unwrap();
        symlink("../outside", root.join("link")).unwrap();
        symlink("..", root.join("up")).unwrap();
        symlink("sub", root.join("same")).unwrap();
        let open = Root::open(&root).unwrap();
        let mut buffer = Vec::new();
        assert_eq!(open.text("sub/inside", &mut buffer), Ok("plain"));
        for path in ["link", "up/outside", "../outside", "same/inside", "sub/../../outside", "gone"] {
            assert_eq!(open.text(path, &mut buffer), Err(Unread::Gone), "{path}");
            assert_eq!(open.open_by_parts(path).err(), Some(Unread::Gone), "{path}");
        }
        assert!(open.open_by_parts("sub/inside").is_ok());
        let absolute = temp.path().join("outside");
        assert!(open.text(&absolute.to_string_lossy(), &mut buffer).is_err());
        assert!(Root::open(&root.join("up")).is_err());
    }

    #[test]
    fn t20_of_a_secret_only_the_mode_is_seen() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("host.key");
        std::fs::write(&path, "do not read me").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let root = Root::open(temp.path()).unwrap();
        assert_eq!(root.text("host.key", &mut Vec::new()), Ok("mode 0640\n"));
    }

    #[test]
    fn data_pipes_and_large_files_are_refused() {
        let temp = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| std::fs::write(temp.path().join(name), bytes).unwrap();
        write("nul", b"a\0b");
        write("latin", b"\xe9");
        write("full", &vec![b'x'; usize::try_from(limits::AUDIT_FILE_BYTES).unwrap()]);
        write("over", &vec![b'x'; usize::try_from(limits::AUDIT_FILE_BYTES).unwrap() + 1]);
        let pipe = temp.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let root = Root::open(temp.path()).unwrap();
        let mut buffer = Vec::new();
        assert_eq!(root.text("nul", &mut buffer), Err(Unread::NotText));
        assert_eq!(root.text("latin", &mut buffer), Err(Unread::NotText));
        assert_eq!(root.text("over", &mut buffer), Err(Unread::TooLarge));
        assert_eq!(root.text("pipe", &mut buffer), Err(Unread::NotPlain));
        assert_eq!(root.text("full", &mut buffer).map(str::len), Ok(1 << 20));
    }
}
