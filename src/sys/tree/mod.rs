//! The tree below an audited root as plain data: every name with its kind and what `lstat` says of it.
//!
//! No file is opened here. Which names there are is `walk`'s part, what changed since the last audit is
//! `refresh`'s, and how it is remembered is `snapshot`'s. `confined` opens files for the worker.

pub mod confined;
mod refresh;
pub mod snapshot;
mod walk;

use std::ffi::CStr;
use std::path::Path;

use rustix::fs::{AtFlags, statat};
use rustix::io;

pub use refresh::{News, refresh};
pub use walk::walk;

/// As in git: a file that changed this shortly before it was looked at may change again without a trace,
/// where the file system's clock is coarse.
const RACY_NANOS: i64 = 2_000_000_000;

/// What a name stands for. The numbers are part of the snapshot format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// A directory that was listed.
    Dir = 0,
    /// A plain file that may be read.
    File = 1,
    /// A key or secret by its name: never opened; a lesson sees its mode alone ([`secret_text`]).
    Secret = 2,
    /// A symbolic link: never followed.
    Link = 3,
    /// A pipe, socket or device: never opened.
    Special = 4,
    /// A name that is not UTF-8, which no finding could name.
    Unnamed = 5,
    /// A directory that could not be listed.
    Sealed = 6,
    /// `.git` and its like: a boundary for ignore files, never entered.
    Boundary = 7,
    /// An ignore file above the root, by absolute path.
    Above = 8,
}

impl Kind {
    const fn from_u8(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Dir,
            1 => Self::File,
            2 => Self::Secret,
            3 => Self::Link,
            4 => Self::Special,
            5 => Self::Unnamed,
            6 => Self::Sealed,
            7 => Self::Boundary,
            8 => Self::Above,
            _ => return None,
        })
    }

    /// Whether a change behind the name shows only in its own `lstat`. A name that came, went or became
    /// something else shows in its directory.
    const fn is_watched(self) -> bool {
        matches!(self, Self::Dir | Self::File | Self::Secret | Self::Sealed | Self::Above)
    }

    const fn is_dir(self) -> bool {
        matches!(self, Self::Dir | Self::Sealed)
    }
}

/// What tells one state of a file from another. All zero when there is no such file or it does not matter.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stat {
    /// Bytes.
    pub size: u64,
    /// Last change of the content, in nanoseconds since 1970.
    pub mtime: i64,
    /// Last change of content, name, owner or mode, in nanoseconds since 1970.
    pub ctime: i64,
    /// The inode.
    pub ino: u64,
}

impl Stat {
    /// Whether the file may have changed after `seen_at` (nanoseconds since 1970) without a trace.
    #[must_use]
    pub fn is_racy(&self, seen_at: i64) -> bool {
        self.mtime.max(self.ctime) >= seen_at.saturating_sub(RACY_NANOS)
    }

    /// `lstat` of `path` below the open directory `root`; an empty path is the root itself.
    fn of(root: impl std::os::fd::AsFd, path: &CStr) -> io::Result<Self> {
        let flags = if path.is_empty() { AtFlags::EMPTY_PATH } else { AtFlags::SYMLINK_NOFOLLOW };
        let stat = statat(root, path, flags)?;
        let nanos = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        Ok(Self {
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: nanos(stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(0)),
            ctime: nanos(stat.st_ctime, i64::try_from(stat.st_ctime_nsec).unwrap_or(0)),
            ino: stat.st_ino,
        })
    }
}

/// One name of the tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    name: u32,
    /// What it stands for.
    pub kind: Kind,
    /// What `lstat` said.
    pub stat: Stat,
}

/// All names below one root, sorted by path; paths are relative, `/` between parts, the root is empty.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tree {
    entries: Vec<Entry>,
    /// Paths, each ended by a NUL so that it can be handed to the kernel as it is.
    names: Vec<u8>,
}

impl Tree {
    /// The tree of these entries, which must be sorted by path and hold no NUL.
    fn from_sorted<'a>(items: impl IntoIterator<Item = (&'a [u8], Kind, Stat)>) -> Self {
        let mut tree = Self::default();
        for (path, kind, stat) in items {
            let name = u32::try_from(tree.names.len()).expect("4 GiB of names do not fit in memory");
            tree.names.extend_from_slice(path);
            tree.names.push(0);
            tree.entries.push(Entry { name, kind, stat });
        }
        tree
    }

    fn c_path(&self, entry: &Entry) -> &CStr {
        CStr::from_bytes_until_nul(&self.names[entry.name as usize..]).unwrap_or_default()
    }

    /// The path of `entry`, relative to the root.
    #[must_use]
    pub fn path(&self, entry: &Entry) -> &[u8] {
        self.c_path(entry).to_bytes()
    }

    /// All entries, by path.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry at `path`.
    #[must_use]
    pub fn get(&self, path: &[u8]) -> Option<&Entry> {
        self.entries.binary_search_by(|entry| self.path(entry).cmp(path)).ok().map(|at| &self.entries[at])
    }

    fn is_ignore_file(&self, entry: &Entry) -> bool {
        walk::IGNORE_FILES.contains(&file_name(self.path(entry)))
    }
}

/// The last part of a path.
fn file_name(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or_default()
}

/// Whether a file of this name holds a key or secret by common habit, so that its content is never read.
/// Public halves (`*.pub`) and samples (`.env.example`) are read.
#[must_use]
pub fn is_secret(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 9] = [
        b".env",
        b".netrc",
        b".pgpass",
        b".htpasswd",
        b".git-credentials",
        b".pypirc",
        b".vault_pass",
        b"shadow",
        b"gshadow",
    ];
    const STARTS: [&[u8]; 6] = [b"id_rsa", b"id_dsa", b"id_ecdsa", b"id_ed25519", b"ssh_host_", b".env."];
    const ENDS: [&[u8]; 10] =
        [b".key", b".pem", b".p12", b".pfx", b".jks", b".ppk", b".kdbx", b".keystore", b".keytab", b".gpg"];
    const OPEN: [&[u8]; 6] = [b".pub", b".example", b".sample", b".template", b".dist", b".md"];
    let name = name.to_ascii_lowercase();
    let is = |open: &[u8]| name.ends_with(open);
    if OPEN.into_iter().any(is) {
        return false;
    }
    NAMES.contains(&name.as_slice())
        || STARTS.into_iter().any(|start| name.starts_with(start))
        || ENDS.into_iter().any(is)
}

/// What a lesson sees of a secret file: one line with its permission bits, such as `mode 0644`.
/// So a lesson can find one that everybody may read, and its own examples are written the same way.
#[must_use]
pub fn secret_text(mode: u32) -> String {
    format!("mode {:04o}\n", mode & 0o7777)
}

/// Opens the root itself, which must be a directory.
///
/// # Errors
/// It is not there, not a directory, or not readable.
pub fn open_root(root: &Path) -> io::Result<std::os::fd::OwnedFd> {
    use rustix::fs::{Mode, OFlags, open};
    open(root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t20_secrets_are_told_by_name() {
        for secret in ["host.key", "tls.PEM", "id_rsa", "id_ed25519.bak", ".env", ".env.production", "ssh_host_rsa_key"]
        {
            assert!(is_secret(secret.as_bytes()), "{secret}");
        }
        for open in ["id_rsa.pub", ".env.example", "keys.py", "monkey", "environment.py", "key"] {
            assert!(!is_secret(open.as_bytes()), "{open}");
        }
        assert_eq!(secret_text(0o100_644), "mode 0644\n");
    }
}
