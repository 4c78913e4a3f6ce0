//! A tree and what is known of it in one file, read and checked in a few milliseconds.
//!
//! ```text
//! magic 16 | blake3 of all that follows 32 | seen at i64 | entries u32 | name bytes u32 | root length u32
//! entries, 40 bytes each: name offset u32, kind u32, size u64, mtime i64, ctime i64, ino u64
//! names, each ended by NUL | root path | what is known, as JSON
//! ```
//! All numbers little endian. It is a cache: whatever is wrong with it, the answer is `None` and a full audit.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{Entry, Kind, Stat, Tree};

const MAGIC: &[u8; 16] = b"mesh-snapshot-1\n";
const ENTRY_BYTES: usize = 40;
/// A larger file is not one of ours.
const MAX_BYTES: u64 = 1 << 30;

/// A remembered tree.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// When the look at it began, in nanoseconds since 1970.
    pub seen_at: i64,
    /// The tree.
    pub tree: Tree,
    /// What is known of its files, as JSON.
    pub known: Vec<u8>,
}

/// Where the snapshot of `root` is kept below `state`.
#[must_use]
pub fn path_of(state: &Path, root: &Path) -> PathBuf {
    let name = blake3::hash(root.as_os_str().as_bytes()).to_hex();
    state.join(format!("{}.snapshot", &name[..32]))
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn number(&mut self) -> Option<usize> {
        usize::try_from(u32::from_le_bytes(self.array()?)).ok()
    }
}

/// Reads the snapshot of `root`; `None` when there is none, or none that this program can use.
#[must_use]
pub fn load(file: &Path, root: &Path) -> Option<Snapshot> {
    if std::fs::metadata(file).ok()?.len() > MAX_BYTES {
        return None;
    }
    decode(&std::fs::read(file).ok()?, root)
}

fn decode(bytes: &[u8], root: &Path) -> Option<Snapshot> {
    let mut reader = Reader(bytes);
    if reader.take(MAGIC.len())? != MAGIC {
        return None;
    }
    let sum: [u8; 32] = reader.array()?;
    if blake3::hash(reader.0) != sum {
        return None;
    }
    let seen_at = i64::from_le_bytes(reader.array()?);
    let (count, name_bytes, root_bytes) = (reader.number()?, reader.number()?, reader.number()?);
    let records = reader.take(count.checked_mul(ENTRY_BYTES)?)?;
    let names = reader.take(name_bytes)?.to_vec();
    if reader.take(root_bytes)? != root.as_os_str().as_bytes() || names.last().is_some_and(|&last| last != 0) {
        return None;
    }
    let mut entries = Vec::with_capacity(count);
    for record in records.chunks_exact(ENTRY_BYTES) {
        let mut record = Reader(record);
        let name = u32::from_le_bytes(record.array()?);
        let kind = Kind::from_u8(u8::try_from(record.number()?).ok()?)?;
        if usize::try_from(name).ok()? >= names.len() {
            return None;
        }
        let stat = Stat {
            size: u64::from_le_bytes(record.array()?),
            mtime: i64::from_le_bytes(record.array()?),
            ctime: i64::from_le_bytes(record.array()?),
            ino: u64::from_le_bytes(record.array()?),
        };
        entries.push(Entry { name, kind, stat });
    }
    Some(Snapshot { seen_at, tree: Tree { entries, names }, known: reader.0.to_vec() })
}

fn encode(snapshot: &Snapshot, root: &Path) -> Option<Vec<u8>> {
    let tree = &snapshot.tree;
    let root = root.as_os_str().as_bytes();
    let mut body = Vec::with_capacity(tree.entries.len() * ENTRY_BYTES + tree.names.len() + snapshot.known.len() + 64);
    body.extend_from_slice(&snapshot.seen_at.to_le_bytes());
    for count in [tree.entries.len(), tree.names.len(), root.len()] {
        body.extend_from_slice(&u32::try_from(count).ok()?.to_le_bytes());
    }
    for entry in &tree.entries {
        body.extend_from_slice(&entry.name.to_le_bytes());
        body.extend_from_slice(&u32::from(entry.kind as u8).to_le_bytes());
        body.extend_from_slice(&entry.stat.size.to_le_bytes());
        body.extend_from_slice(&entry.stat.mtime.to_le_bytes());
        body.extend_from_slice(&entry.stat.ctime.to_le_bytes());
        body.extend_from_slice(&entry.stat.ino.to_le_bytes());
    }
    body.extend_from_slice(&tree.names);
    body.extend_from_slice(root);
    body.extend_from_slice(&snapshot.known);
    let mut bytes = Vec::with_capacity(body.len() + 48);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(blake3::hash(&body).as_bytes());
    bytes.extend_from_slice(&body);
    Some(bytes)
}

/// Writes the snapshot of `root` to `file`, whole or not at all.
///
/// # Errors
/// The folder cannot be made or written.
pub fn store(file: &Path, root: &Path, snapshot: &Snapshot) -> std::io::Result<()> {
    let Some(bytes) = encode(snapshot, root) else {
        return Err(std::io::Error::other("tree is too large for a snapshot"));
    };
    write_whole(file, &[&bytes])
}

/// Writes these parts, one behind the other, to `file`, whole or not at all.
///
/// # Errors
/// The folder cannot be made or written.
pub fn write_whole(file: &Path, parts: &[&[u8]]) -> std::io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let temporary = file.with_extension(format!("{}.tmp", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    let mut out = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    parts.iter().try_for_each(|part| out.write_all(part))?;
    out.sync_all()?;
    drop(out);
    std::fs::rename(&temporary, file)?;
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Snapshot {
        let stat = Stat { size: 1, mtime: -2, ctime: 3, ino: 4 };
        let items: [(&[u8], Kind, Stat); 3] =
            [(b"", Kind::Dir, stat), (b"a", Kind::File, stat), (b"\xff", Kind::Unnamed, Stat::default())];
        Snapshot { seen_at: 7, tree: Tree::from_sorted(items), known: b"{}".to_vec() }
    }

    #[test]
    fn a_snapshot_reads_back_as_written() {
        let bytes = encode(&sample(), Path::new("/r")).unwrap();
        assert_eq!(decode(&bytes, Path::new("/r")), Some(sample()));
        assert_eq!(decode(&bytes, Path::new("/other")), None);
    }

    #[test]
    fn a_damaged_snapshot_is_no_snapshot() {
        let bytes = encode(&sample(), Path::new("/r")).unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(decode(&damaged, Path::new("/r")), None, "byte {at}");
            assert_eq!(decode(&bytes[..at], Path::new("/r")), None, "cut at {at}");
        }
    }

    #[test]
    fn a_sum_that_fits_does_not_make_nonsense_a_tree() {
        let body = [0xff; 200];
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(blake3::hash(&body).as_bytes());
        bytes.extend_from_slice(&body);
        assert_eq!(decode(&bytes, Path::new("/r")), None);
    }
}
