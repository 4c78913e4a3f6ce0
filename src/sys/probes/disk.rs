//! Room and inodes of mounted file systems. Each is asked by itself: one that hangs holds no other.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{percent, reading, small_file};
use crate::domain::signal::Subject;
use crate::ports::{Probe, Reading};

/// File systems that hold files of somebody and can be full.
pub(super) const WITH_ROOM: [&str; 14] = [
    "ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "vfat", "ntfs3", "nfs", "nfs4", "cifs",
    "overlay",
];

/// One mounted file system.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mount {
    /// Where it is mounted.
    pub path: PathBuf,
}

impl Probe for Mount {
    fn read(&mut self) -> Vec<Reading> {
        let subject = self.subject();
        let stat = match rustix::fs::statvfs(&self.path) {
            Ok(stat) => stat,
            Err(error) => {
                let why = error.to_string();
                let signals = ["host.disk.used_percent", "host.disk.inodes_used_percent"];
                return signals.map(|signal| reading(signal, &subject, Err(why.clone()))).into();
            }
        };
        // As `df` has it: what only root may use counts neither as used nor as free.
        let used = stat.f_blocks.saturating_sub(stat.f_bfree);
        let space = percent(used as f64, used.saturating_add(stat.f_bavail) as f64);
        let mut readings = vec![reading("host.disk.used_percent", &subject, Ok(space))];
        // Some file systems have no fixed number of inodes.
        if stat.f_files > 0 {
            let used = stat.f_files.saturating_sub(stat.f_ffree);
            let inodes = percent(used as f64, stat.f_files as f64);
            readings.push(reading("host.disk.inodes_used_percent", &subject, Ok(inodes)));
        }
        readings
    }
}

impl Mount {
    /// The mount point, as the subject of its readings.
    #[must_use]
    pub fn subject(&self) -> Subject {
        Subject::near(&self.path.to_string_lossy())
    }
}

/// The mounted file systems that can be full, each device once, from the text of `mountinfo` at `file`.
#[must_use]
pub fn mounts(file: &Path) -> Vec<Mount> {
    let text = small_file(file).unwrap_or_default();
    let mut devices = BTreeSet::new();
    let mut found = Vec::new();
    for line in text.lines() {
        // id parent major:minor root mount-point options [tags] - type source options
        let Some((before, after)) = line.split_once(" - ") else { continue };
        let fields: Vec<&str> = before.split(' ').collect();
        let (Some(device), Some(path)) = (fields.get(2), fields.get(4)) else { continue };
        let kind = after.split(' ').next().unwrap_or_default();
        let path = unescaped(path);
        // A file that is mounted on a file shows the room of what it comes from.
        if WITH_ROOM.contains(&kind) && devices.insert((*device).to_owned()) && found.len() < 64 {
            found.push(Mount { path: PathBuf::from(path) });
        }
    }
    found
}

/// The kernel writes blanks and backslashes of names as three octal digits.
pub(super) fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_at_checked(3).and_then(|(digits, rest)| Some((u8::from_str_radix(digits, 8).ok()?, rest))) {
            Some((byte, rest)) if byte.is_ascii() => {
                plain.push(char::from(byte));
                plain.push_str(rest);
            }
            _ => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_that_can_be_full_are_found_once() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let file = dir.path().join("mountinfo");
        let text = "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n22 21 0:5 / /proc rw - proc proc rw\n\
                    23 21 8:1 /var /bind rw shared:1 - ext4 /dev/sda1 rw\n24 21 8:2 / /mnt/a\\040b rw - xfs /dev/sdb rw\nnonsense\n";
        std::fs::write(&file, text).expect("written");
        let paths: Vec<_> = mounts(&file).into_iter().map(|mount| mount.path).collect();
        assert_eq!(paths, [PathBuf::from("/"), PathBuf::from("/mnt/a b")]);
        let mut root = Mount { path: PathBuf::from("/") };
        let readings = root.read();
        assert_eq!(readings[0].name.to_string(), "host.disk.used_percent//");
        assert!(readings.iter().all(|reading| reading.value.as_ref().is_ok_and(|value| (0.0..=100.0).contains(value))));
        let mut gone = Mount { path: PathBuf::from("/gone") };
        assert!(gone.read().iter().all(|reading| reading.value.is_err()));
    }
}
