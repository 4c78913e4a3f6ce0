//! What the index holds for one path, read from its file as it is: to have libgit2 read all entries of a large
//! repository for one of them costs more than everything else that is asked of it.
//!
//! As git does, the sum at the end of the file is not looked at: the file is replaced whole or not at all. What git
//! keeps in another way (a split or sparse index) is left to libgit2.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use git2::{Index, IndexEntry, IndexTime, Oid, Repository};

/// Bits of an entry that say that the work tree is not looked at: `assume-unchanged`, then, extended, `skip-worktree`
/// and `intent-to-add`.
const VALID: u16 = 0x8000;
const HIDDEN: u16 = (1 << 14) | (1 << 13);
/// Whether more bits follow, and how often the path is in a merge.
const EXTENDED: u16 = 0x4000;
const STAGE: u16 = 0x3000;
/// Length of the sum at the end.
pub(super) const SUM: usize = 20;
/// The length of the path; all of these bits where it is longer.
const LENGTH: u16 = 0x0fff;

/// The entry of a path that is in no merge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::sys) struct Entry {
    /// The file's bytes.
    pub(in crate::sys) id: Oid,
    /// Kind of file and permission bits, as git keeps them.
    pub(in crate::sys) mode: u32,
    /// Git does not look whether the file differs.
    pub(in crate::sys) hidden: bool,
}

/// What the index holds for a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::sys) struct Staged {
    /// The entry, where there is one.
    pub(in crate::sys) entry: Option<Entry>,
    /// Whether the path has entries of a merge that is not finished.
    pub(in crate::sys) conflicted: bool,
}

impl Staged {
    /// The entry, if it is plain: no conflict, and nothing that hides its file from git.
    pub(in crate::sys) fn plain(self) -> Result<Entry, &'static str> {
        if self.conflicted {
            return Err("it has a merge conflict");
        }
        match self.entry {
            None => Err("it is not tracked"),
            Some(Entry { hidden: true, .. }) => {
                Err("the index marks it as assume-unchanged, skip-worktree or intent-to-add")
            }
            Some(entry) => Ok(entry),
        }
    }
}

/// The index of a repository, kept as long as its file is the same.
#[derive(Default)]
pub(in crate::sys) struct IndexFile {
    known: Option<(Stamp, Vec<u8>)>,
}

/// What tells one index file from the next. Git writes a new file each time.
type Stamp = (u64, u64, (i64, i64), (i64, i64));

fn stamp(of: &Metadata) -> Stamp {
    (of.ino(), of.size(), (of.mtime(), of.mtime_nsec()), (of.ctime(), of.ctime_nsec()))
}

impl IndexFile {
    /// What it holds for `path`, relative to the files of `repo`, which is always the same.
    ///
    /// From then on `repo` has the attributes files of the index in mind, and no more of it.
    pub(in crate::sys) fn at(&mut self, repo: &Repository, path: &Path) -> Result<Staged, git2::Error> {
        let name = path.as_os_str().as_bytes();
        let found = self.bytes(repo)?.and_then(|bytes| find(bytes, name));
        found.map_or_else(|| by_libgit2(repo, path), Ok)
    }

    /// The file; none where it is not of a form that is read here.
    fn bytes(&mut self, repo: &Repository) -> Result<Option<&[u8]>, git2::Error> {
        let path = repo.path().join("index");
        let now = fs::metadata(&path).as_ref().map(stamp).ok();
        if self.known.is_none() || self.known.as_ref().map(|(known, _)| *known) != now {
            self.known = read(&path).ok();
            let attributes = self.known.as_ref().and_then(|(_, bytes)| attributes_files(bytes));
            let Some(mut attributes) = attributes else {
                self.known = None;
                repo.set_index(&mut Index::open(&path)?)?;
                return Ok(None);
            };
            repo.set_index(&mut attributes)?;
        }
        Ok(self.known.as_ref().map(|(_, bytes)| bytes.as_slice()))
    }
}

fn read(path: &Path) -> io::Result<(Stamp, Vec<u8>)> {
    let mut file = File::open(path)?;
    // Of the file that is read: another may take its place meanwhile.
    let stamp = stamp(&file.metadata()?);
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok((stamp, bytes))
}

fn by_libgit2(repo: &Repository, path: &Path) -> Result<Staged, git2::Error> {
    let index = repo.index()?;
    let entry = index.get_path(path, 0).map(|entry| Entry {
        id: entry.id,
        mode: entry.mode,
        hidden: entry.flags & VALID != 0 || entry.flags_extended & HIDDEN != 0,
    });
    let conflicted = (1..=3).any(|stage| index.get_path(path, stage).is_some());
    Ok(Staged { entry, conflicted })
}

/// An index of the attributes files alone: libgit2 looks for them there, too.
fn attributes_files(bytes: &[u8]) -> Option<Index> {
    let none = IndexTime::new(0, 0);
    let mut index = Index::new().ok()?;
    let mut added = Ok(());
    each(bytes, |entry| {
        let name = entry.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        if name == b".gitattributes" && entry.is_settled() && added.is_ok() {
            added = Oid::from_bytes(entry.id).and_then(|id| {
                index.add(&IndexEntry {
                    ctime: none,
                    mtime: none,
                    dev: 0,
                    ino: 0,
                    mode: entry.mode,
                    uid: 0,
                    gid: 0,
                    file_size: 0,
                    id,
                    flags: 0,
                    flags_extended: 0,
                    path: entry.path.to_vec(),
                })
            });
        }
    })?;
    added.ok().map(|()| index)
}

/// What these bytes hold for `wanted`; none when they are not of a form that is read here.
fn find(bytes: &[u8], wanted: &[u8]) -> Option<Staged> {
    let mut staged = Staged::default();
    each(bytes, |entry| {
        let here = entry.path == wanted;
        if here && entry.is_settled() {
            let hidden = entry.flags & VALID != 0 || entry.more & HIDDEN != 0;
            staged.entry = Oid::from_bytes(entry.id).ok().map(|id| Entry { id, mode: entry.mode, hidden });
        }
        staged.conflicted |= here && !entry.is_settled();
    })?;
    Some(staged)
}

/// One entry as it is in the file.
pub(super) struct Raw<'a> {
    /// Where it begins in the file.
    pub(super) at: usize,
    pub(super) path: &'a [u8],
    pub(super) mode: u32,
    pub(super) id: &'a [u8],
    pub(super) flags: u16,
    more: u16,
}

impl Raw<'_> {
    /// Whether the path is in no merge.
    pub(super) const fn is_settled(&self) -> bool {
        self.flags & STAGE == 0
    }
}

/// Shows each entry of an index file, and returns where the extensions begin; none when it is not of a form that is read
/// here.
pub(super) fn each(file: &[u8], mut show: impl FnMut(&Raw<'_>)) -> Option<usize> {
    let mut bytes = Bytes(file);
    if bytes.take(4)? != b"DIRC" {
        return None;
    }
    let version = bytes.u32()?;
    if !(2..=4).contains(&version) {
        return None;
    }
    // Of version 4, where an entry names only what differs from the path before.
    let mut last = Vec::new();
    for _ in 0..bytes.u32()? {
        let start = bytes;
        // Dates, device and inode; then, behind the mode, owner and size.
        bytes.take(24)?;
        let mode = bytes.u32()?;
        bytes.take(12)?;
        let id = bytes.take(20)?;
        let flags = bytes.u16()?;
        let more = if version > 2 && flags & EXTENDED != 0 { bytes.u16()? } else { 0 };
        let path: &[u8] = if version == 4 {
            let gone = bytes.varint()?;
            last.truncate(last.len().checked_sub(gone)?);
            last.extend_from_slice(bytes.until_nul()?);
            bytes.take(1)?;
            &last
        } else {
            let path = match flags & LENGTH {
                LENGTH => bytes.until_nul()?,
                length => bytes.take(usize::from(length))?,
            };
            // The end is filled up with NULs, one to eight of them, to a multiple of eight.
            let length = (start.0.len() - bytes.0.len()) / 8 * 8 + 8;
            bytes = start;
            bytes.take(length)?;
            path
        };
        show(&Raw { at: file.len() - start.0.len(), path, mode, id, flags, more });
    }
    let extensions = file.len() - bytes.0.len();
    // Extensions, then the sum of all. One that begins with a small letter has to be understood.
    while bytes.0.len() > SUM {
        if !bytes.extension()?.0.first()?.is_ascii_uppercase() {
            return None;
        }
    }
    (bytes.0.len() == SUM).then_some(extensions)
}

/// A part of an index file that is yet to be read.
#[derive(Clone, Copy)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    /// The name of an extension, and what it holds.
    pub(super) fn extension(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        let name = self.take(4)?;
        let length = usize::try_from(self.u32()?).ok()?;
        Some((name, self.take(length)?))
    }

    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    /// The bytes up to the next `end`, which is taken as well.
    pub(super) fn field(&mut self, end: u8) -> Option<&'a [u8]> {
        let length = memchr::memchr(end, self.0)?;
        Some(&self.take(length + 1)?[..length])
    }

    /// The bytes up to the next NUL.
    fn until_nul(&mut self) -> Option<&'a [u8]> {
        let length = memchr::memchr(0, self.0)?;
        self.take(length)
    }

    /// Seven bits a byte, the highest first; each that follows adds one.
    fn varint(&mut self) -> Option<usize> {
        let mut byte = self.take(1)?[0];
        let mut value = usize::from(byte & 0x7f);
        while byte & 0x80 != 0 {
            byte = self.take(1)?[0];
            value = value.checked_add(1)?.checked_mul(128)?.checked_add(usize::from(byte & 0x7f))?;
        }
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use git2::{AttrCheckFlags, AttrValue};
    use tempfile::TempDir;

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "the index is as the real git writes it")]
    fn git(dir: &Path, arguments: &[&str]) -> bool {
        let mut git = std::process::Command::new("git");
        git.args(["-c", "user.name=user", "-c", "user.email=user@example.org", "-c", "init.defaultBranch=main"])
            .args(arguments)
            .current_dir(dir)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1");
        git.output().expect("git is installed (apt-get install git)").status.success()
    }

    /// Files whose paths have every length from 1 to 20, for the NULs that follow them, and one that is long.
    fn project() -> (TempDir, Vec<String>) {
        let dir = tempfile::tempdir().expect("a temp dir");
        assert!(git(dir.path(), &["init", "-q"]));
        let mut paths: Vec<String> = (1..=20).map(|length| "x".repeat(length)).collect();
        paths.push(format!("{}/deep", ["y".repeat(250).as_str(); 12].join("/")));
        for path in &paths {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().expect("below")).expect("made");
            std::fs::write(&path, "text\n").expect("written");
        }
        assert!(git(dir.path(), &["add", "-A"]) && git(dir.path(), &["commit", "-q", "-m", "all"]));
        (dir, paths)
    }

    /// What libgit2 reads, in a repository that was not asked before.
    fn expected(dir: &Path, path: &str) -> Staged {
        by_libgit2(&Repository::open(dir).expect("a repository"), Path::new(path)).expect("readable")
    }

    fn is_read_as_libgit2_reads_it(dir: &Path, paths: &[String]) {
        let bytes = std::fs::read(dir.join(".git/index")).expect("an index");
        for path in paths.iter().map(String::as_str).chain(["y", "absent", "zz"]) {
            assert_eq!(find(&bytes, path.as_bytes()), Some(expected(dir, path)), "{path:.30}");
        }
    }

    #[test]
    fn every_version_of_the_file_is_read_as_libgit2_reads_it() {
        let (dir, paths) = project();
        let dir = dir.path();
        for version in ["2", "4"] {
            assert!(git(dir, &["update-index", "--index-version", version]));
            is_read_as_libgit2_reads_it(dir, &paths);
        }
        // Version 3 comes with the bits that need it.
        assert!(git(dir, &["update-index", "--index-version", "2", "--skip-worktree", "xxxx"]));
        assert!(git(dir, &["update-index", "--assume-unchanged", "xxx"]));
        std::fs::write(dir.join("later"), "").expect("written");
        assert!(git(dir, &["add", "--intent-to-add", "later"]));
        assert_eq!(std::fs::read(dir.join(".git/index")).expect("an index")[7], 3);
        is_read_as_libgit2_reads_it(dir, &paths);
        for hidden in ["xxxx", "xxx", "later"] {
            assert!(expected(dir, hidden).plain().is_err(), "{hidden}");
        }
        assert!(expected(dir, "x").plain().is_ok());
    }

    #[test]
    fn a_conflict_and_its_end_are_seen() {
        let (dir, _) = project();
        let repo = Repository::open(dir.path()).expect("a repository");
        let mut index = IndexFile::default();
        let change = |text: &str| {
            std::fs::write(dir.path().join("x"), text).expect("written");
            assert!(git(dir.path(), &["commit", "-q", "-a", "-m", text]));
        };
        assert!(git(dir.path(), &["branch", "other"]));
        change("ours\n");
        assert!(index.at(&repo, Path::new("x")).expect("read").plain().is_ok());
        assert!(git(dir.path(), &["checkout", "-q", "other"]));
        change("theirs\n");
        assert!(!git(dir.path(), &["merge", "-q", "main"]), "they conflict");
        let staged = index.at(&repo, Path::new("x")).expect("read");
        assert_eq!(staged, Staged { entry: None, conflicted: true });
        assert_eq!(staged, expected(dir.path(), "x"));
        assert!(git(dir.path(), &["add", "x"]));
        let staged = index.at(&repo, Path::new("x")).expect("read");
        assert!(staged.plain().is_ok());
        assert_eq!(staged, expected(dir.path(), "x"));
    }

    #[test]
    fn what_is_staged_since_is_seen_and_so_is_an_index_that_comes_and_goes() {
        let dir = tempfile::tempdir().expect("a temp dir");
        assert!(git(dir.path(), &["init", "-q"]));
        let repo = Repository::open(dir.path()).expect("a repository");
        let mut index = IndexFile::default();
        let mut at = |path: &str| index.at(&repo, Path::new(path)).expect("read").entry.map(|entry| entry.id);
        assert_eq!(at("x"), None);
        for text in ["one", "two", "six"] {
            std::fs::write(dir.path().join("x"), text).expect("written");
            assert!(git(dir.path(), &["add", "x"]));
            assert_eq!(at("x"), Oid::hash_object(git2::ObjectType::Blob, text.as_bytes()).ok());
        }
        std::fs::remove_file(dir.path().join(".git/index")).expect("removed");
        assert_eq!(at("x"), None);
    }

    #[test]
    fn an_index_of_another_form_is_left_to_libgit2() {
        let (dir, _) = project();
        assert!(git(dir.path(), &["update-index", "--split-index"]));
        let bytes = std::fs::read(dir.path().join(".git/index")).expect("an index");
        assert_eq!(find(&bytes, b"x"), None);
        let repo = Repository::open(dir.path()).expect("a repository");
        let read = IndexFile::default().at(&repo, Path::new("x"));
        let libgit2 = by_libgit2(&Repository::open(dir.path()).expect("a repository"), Path::new("x"));
        assert_eq!(read.is_ok(), libgit2.is_ok());

        assert!(git(dir.path(), &["update-index", "--no-split-index"]));
        let bytes = std::fs::read(dir.path().join(".git/index")).expect("an index");
        assert!(find(&bytes, b"x").is_some());
        for cut in [0, 3, 11, 12, 70, bytes.len() / 2, bytes.len() - 21, bytes.len() - 1] {
            assert_eq!(find(&bytes[..cut], b"x"), None, "cut at {cut}");
        }
    }

    #[test]
    fn attributes_are_those_of_the_files_and_of_the_index() {
        let (dir, _) = project();
        let generated = |repo: &Repository| {
            let value = repo.get_attr(Path::new("x"), "linguist-generated", AttrCheckFlags::FILE_THEN_INDEX);
            matches!(AttrValue::from_string(value.expect("readable")), AttrValue::True)
        };
        let seen = || {
            let (narrow, whole) = [(); 2].map(|()| Repository::open(dir.path()).expect("a repository")).into();
            IndexFile::default().at(&narrow, Path::new("x")).expect("read");
            assert_eq!(generated(&narrow), generated(&whole));
            generated(&narrow)
        };
        assert!(!seen());
        std::fs::write(dir.path().join(".gitattributes"), "x linguist-generated\n").expect("written");
        assert!(seen());
        assert!(git(dir.path(), &["add", ".gitattributes"]));
        std::fs::remove_file(dir.path().join(".gitattributes")).expect("removed");
        assert!(seen(), "it is in the index");
    }
}
