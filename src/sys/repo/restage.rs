//! One entry of an index file given other values in the bytes of the file: to have libgit2 read and write all entries of
//! a large repository for one of them costs more than the change itself.
//!
//! What results is what libgit2 would write. What git keeps in another way (a split or sparse index), and a file that is
//! damaged, is left to libgit2.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use git2::{Index, IndexTime, Oid};
use sha1::{Digest as _, Sha1};

use super::staged::{Bytes, SUM, each};

/// Dates, device and inode of an entry, before its mode; owner and size, after it.
const BEFORE_MODE: usize = 24;
const AFTER_MODE: usize = BEFORE_MODE + 4;
const ID: usize = AFTER_MODE + 12;
const ID_END: usize = ID + 20;
/// How deep a cache of trees may be nested.
const DEEPEST: usize = 4096;

/// What the index keeps of a file besides its path and mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::sys) struct Seal {
    /// The file's bytes.
    pub(in crate::sys) id: Oid,
    /// Last change of the inode and of the bytes: seconds since 1970 and nanoseconds.
    pub(in crate::sys) ctime: (i32, u32),
    pub(in crate::sys) mtime: (i32, u32),
    pub(in crate::sys) dev: u32,
    pub(in crate::sys) ino: u32,
    pub(in crate::sys) uid: u32,
    pub(in crate::sys) gid: u32,
    pub(in crate::sys) size: u32,
}

impl Seal {
    /// Of a file that holds the bytes of `id`.
    pub(in crate::sys) fn of(id: Oid, file: &Metadata) -> Self {
        Self {
            id,
            ctime: (low(file.ctime().cast_unsigned()).cast_signed(), nanos(file.ctime_nsec())),
            mtime: (low(file.mtime().cast_unsigned()).cast_signed(), nanos(file.mtime_nsec())),
            dev: low(file.dev()),
            ino: low(file.ino()),
            uid: file.uid(),
            gid: file.gid(),
            size: low(file.size()),
        }
    }
}

/// The index keeps the low 32 bits of what is longer.
fn low(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).expect("32 bits were kept")
}

fn nanos(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

/// The index file `old` with other values for `path`. None: it is not of a form that is read here, or damaged, or does
/// not hold the path outside a merge.
pub(in crate::sys) fn with(old: &[u8], path: &[u8], seal: &Seal) -> Option<Vec<u8>> {
    let (held, sum) = old.split_at_checked(old.len().checked_sub(SUM)?)?;
    // Git can be told to leave the sum out. A file that is damaged must not get one that says it is whole.
    if sum != [0; SUM] && sum != Sha1::digest(held).as_slice() {
        return None;
    }
    let mut at = None;
    let extensions = each(old, |entry| {
        if entry.path == path && entry.is_settled() {
            at = Some(entry.at);
        }
    })?;
    let mut new = Vec::with_capacity(old.len());
    new.extend_from_slice(&old[..extensions]);
    seal.write(new.get_mut(at?..)?)?;
    // Others describe the entries or the work tree as they were: whoever wants them makes them anew.
    let named = |wanted: &[u8]| {
        let mut rest = Bytes(&held[extensions..]);
        std::iter::from_fn(move || rest.extension()).find(|(name, _)| *name == wanted).map(|(_, held)| held)
    };
    if let Some(tree) = named(b"TREE") {
        extension(&mut new, b"TREE", &without_trees_of(tree, path)?)?;
    }
    for name in [b"NAME", b"REUC"] {
        if let Some(held) = named(name).filter(|held| !held.is_empty()) {
            extension(&mut new, name, held)?;
        }
    }
    let sum = Sha1::digest(&new);
    new.extend_from_slice(&sum);
    Some(new)
}

/// The same of the file `index`, whatever its form. `work` is a folder of ours.
pub(in crate::sys) fn by_libgit2(index: &Path, work: &Path, path: &Path, seal: &Seal) -> io::Result<Vec<u8>> {
    let git = |error: git2::Error| io::Error::other(error.message().to_owned());
    let copy = work.join("index");
    fs::copy(index, &copy)?;
    let mut index = Index::open(&copy).map_err(git)?;
    let mut entry =
        index.get_path(path, 0).ok_or_else(|| io::Error::other("the index does not hold the file any more"))?;
    entry.id = seal.id;
    entry.ctime = IndexTime::new(seal.ctime.0, seal.ctime.1);
    entry.mtime = IndexTime::new(seal.mtime.0, seal.mtime.1);
    (entry.dev, entry.ino) = (seal.dev, seal.ino);
    (entry.uid, entry.gid) = (seal.uid, seal.gid);
    entry.file_size = seal.size;
    index.add(&entry).map_err(git)?;
    index.write().map_err(git)?;
    let bytes = fs::read(&copy)?;
    fs::remove_file(&copy)?;
    Ok(bytes)
}

impl Seal {
    /// Writes it into the bytes of an entry; none where those end too early.
    fn write(&self, entry: &mut [u8]) -> Option<()> {
        let (ctime, mtime) = (self.ctime, self.mtime);
        let before = [ctime.0.cast_unsigned(), ctime.1, mtime.0.cast_unsigned(), mtime.1, self.dev, self.ino];
        let after = [self.uid, self.gid, self.size];
        entry.get_mut(..BEFORE_MODE)?.copy_from_slice(before.map(u32::to_be_bytes).as_flattened());
        entry.get_mut(AFTER_MODE..ID)?.copy_from_slice(after.map(u32::to_be_bytes).as_flattened());
        entry.get_mut(ID..ID_END)?.copy_from_slice(self.id.as_bytes());
        Some(())
    }
}

fn extension(file: &mut Vec<u8>, name: &[u8], held: &[u8]) -> Option<()> {
    file.extend_from_slice(name);
    file.extend_from_slice(&u32::try_from(held.len()).ok()?.to_be_bytes());
    file.extend_from_slice(held);
    Some(())
}

/// The cache of trees, where those on the way to `path` are said to be unknown; none when it cannot be read.
fn without_trees_of(cache: &[u8], path: &[u8]) -> Option<Vec<u8>> {
    let mut new = Vec::with_capacity(cache.len());
    let mut rest = Bytes(cache);
    let mut way: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    way.pop();
    // How many trees are yet to come in each that is open, and how many of those that are open are on the way.
    let mut open = vec![];
    let mut on_way = 0;
    loop {
        let name = rest.field(0)?;
        let entries = rest.field(b' ')?;
        let children = rest.field(b'\n')?;
        let known = number(entries)? >= 0;
        let id = if known { rest.take(20)? } else { &[] };
        let depth = open.len();
        // The first has no name. One below is on the way if all those above are.
        let here = depth == 0 || (on_way == depth && way.get(depth - 1) == Some(&name));
        new.extend_from_slice(name);
        new.push(0);
        new.extend_from_slice(if here { b"-1" } else { entries });
        new.push(b' ');
        new.extend_from_slice(children);
        new.push(b'\n');
        if here {
            on_way = depth + 1;
        } else {
            new.extend_from_slice(id);
        }
        open.push(u64::try_from(number(children)?).ok()?);
        while open.last() == Some(&0) {
            open.pop();
        }
        on_way = on_way.min(open.len());
        if open.len() > DEEPEST {
            return None;
        }
        match open.last_mut() {
            Some(left) => *left -= 1,
            None => break,
        }
    }
    rest.0.is_empty().then_some(new)
}

/// A number as git writes it: digits, and a minus where it says that a tree is unknown.
fn number(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok().filter(|text| !text.starts_with('+'))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::{Index as Pick, select};
    use proptest::test_runner::{Config, TestRunner};

    use super::*;

    /// Runs git in `dir` with the index `index`, and returns what it printed.
    #[expect(clippy::disallowed_methods, reason = "the index is as the real git writes and reads it")]
    fn git(dir: &Path, index: &str, arguments: &[&str]) -> String {
        let mut git = std::process::Command::new("git");
        git.args(["-c", "user.name=user", "-c", "user.email=user@example.org", "-c", "init.defaultBranch=main"])
            .args(arguments)
            .current_dir(dir)
            .env("GIT_INDEX_FILE", dir.join(".git").join(index))
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1");
        let output = git.output().expect("git is installed (apt-get install git)");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("git prints UTF-8")
    }

    fn write(dir: &Path, path: &str, text: &str) {
        let file = dir.join(path);
        fs::create_dir_all(file.parent().expect("below")).expect("made");
        fs::write(file, text).expect("written");
    }

    /// How much of the trees the index knows.
    #[derive(Clone, Copy, Debug)]
    enum Cache {
        None,
        Whole,
        Part,
    }

    #[derive(Clone, Debug)]
    struct Scene {
        paths: Vec<String>,
        changed: Pick,
        staged: Pick,
        version: &'static str,
        cache: Cache,
        hidden: bool,
    }

    fn scenes() -> impl Strategy<Value = Scene> {
        let long = "long".repeat(60);
        let name =
            select(vec!["a".to_owned(), "b".to_owned(), "ab".to_owned(), "ü".to_owned(), "c.d".to_owned(), long]);
        let folders = prop::collection::vec(name, 0..18);
        // No file has the name of a folder.
        let path = (folders, "[x-z]{1,9}").prop_map(|(folders, file)| [folders, vec![file]].concat().join("/"));
        let paths = prop::collection::vec(path, 1..12);
        let caches = select(vec![Cache::None, Cache::Whole, Cache::Part]);
        (paths, any::<Pick>(), any::<Pick>(), select(vec!["2", "4"]), caches, any::<bool>()).prop_map(
            |(paths, changed, staged, version, cache, hidden)| Scene { paths, changed, staged, version, cache, hidden },
        )
    }

    #[test]
    fn one_entry_is_put_as_libgit2_puts_it_and_as_git_reads_it() {
        let mut runner = TestRunner::new(Config { cases: 60, failure_persistence: None, ..Config::default() });
        let run = |scene: Scene| {
            let [above, work] = [(); 2].map(|()| tempfile::tempdir().expect("a temp dir"));
            let dir = above.path();
            git(dir, "index", &["init", "-q"]);
            for path in &scene.paths {
                write(dir, path, "text\n");
            }
            git(dir, "index", &["add", "-A"]);
            git(dir, "index", &["update-index", "--index-version", scene.version]);
            if scene.hidden {
                // What makes version 3 of version 2.
                write(dir, "hidden/file", "");
                git(dir, "index", &["add", "--intent-to-add", "hidden/file"]);
            }
            if !matches!(scene.cache, Cache::None) {
                git(dir, "index", &["commit", "-q", "-m", "all"]);
            }
            if matches!(scene.cache, Cache::Part) {
                let staged: &String = scene.staged.get(&scene.paths);
                write(dir, staged, "staged\n");
                git(dir, "index", &["add", "--", staged]);
            }
            let path: &String = scene.changed.get(&scene.paths);
            write(dir, path, "changed\n");
            let index = dir.join(".git/index");
            let old = fs::read(&index).expect("there");
            let version = if scene.hidden && scene.version == "2" { 3 } else { scene.version.parse().expect("one") };
            prop_assert_eq!(old[7], version);

            let id = git(dir, "index", &["hash-object", "-w", "--", path]);
            let file = dir.join(path).symlink_metadata().expect("there");
            let seal = Seal::of(Oid::from_str(id.trim()).expect("an id"), &file);
            let new = with(&old, path.as_bytes(), &seal).expect("of a form that is read");
            let libgit2s = by_libgit2(&index, work.path(), Path::new(path), &seal).expect("written");
            prop_assert!(new == libgit2s, "not as libgit2 writes it");

            fs::write(dir.join(".git/ours"), &new).expect("written");
            fs::write(dir.join(".git/gits"), &old).expect("written");
            git(dir, "gits", &["add", "--", path]);
            for look in [vec!["ls-files", "--stage", "-t", "-v", "--debug"], vec!["diff-files"], vec!["write-tree"]] {
                prop_assert_eq!(git(dir, "ours", &look), git(dir, "gits", &look), "{:?}", look);
            }
            git(dir, "ours", &["fsck", "--strict"]);
            Ok(())
        };
        runner.run(&scenes(), run).expect("every index");
    }

    fn project() -> (tempfile::TempDir, Vec<u8>, Seal) {
        let above = tempfile::tempdir().expect("a temp dir");
        for path in ["a/b/c", "a/d", "e"] {
            write(above.path(), path, "text\n");
        }
        git(above.path(), "index", &["init", "-q"]);
        git(above.path(), "index", &["add", "-A"]);
        git(above.path(), "index", &["commit", "-q", "-m", "all"]);
        let index = fs::read(above.path().join(".git/index")).expect("there");
        let file = above.path().join("a/d").metadata().expect("there");
        let seal = Seal::of(Oid::from_bytes(&[7; 20]).expect("an id"), &file);
        (above, index, seal)
    }

    fn summed(mut held: Vec<u8>) -> Vec<u8> {
        let sum = Sha1::digest(&held);
        held.extend_from_slice(&sum);
        held
    }

    #[test]
    fn a_damaged_file_gets_no_sum_that_says_it_is_whole() {
        let (_above, index, seal) = project();
        let new = with(&index, b"a/d", &seal).expect("whole");
        for at in 0..index.len() {
            let mut damaged = index.clone();
            damaged[at] ^= 1;
            assert_eq!(with(&damaged, b"a/d", &seal), None, "{at}");
            assert_eq!(with(&index[..at], b"a/d", &seal), None, "{at}");
        }
        // Git was told to leave the sum out.
        let held = &index[..index.len() - SUM];
        assert_eq!(with(&[held, &[0; SUM]].concat(), b"a/d", &seal), Some(new));
        for absent in ["a", "a/b", "a/dd", "b", ""] {
            assert_eq!(with(&index, absent.as_bytes(), &seal), None, "{absent}");
        }
    }

    #[test]
    fn only_what_still_holds_is_kept_of_the_extensions() {
        let (_above, index, seal) = project();
        let extensions = each(&index, |_| {}).expect("read");
        let with_these = |extras: &[(&[u8; 4], &[u8])]| {
            let mut held = index[..extensions].to_vec();
            for (name, text) in extras {
                extension(&mut held, *name, text).expect("short");
            }
            with(&summed(held), b"a/b/c", &seal)
        };
        let kept = |extras: &[(&[u8; 4], &[u8])]| {
            let new = with_these(extras).expect("read");
            let at = each(&new, |_| {}).expect("read");
            String::from_utf8_lossy(&new[at..new.len() - SUM]).into_owned()
        };
        assert_eq!(kept(&[]), "");
        assert_eq!(kept(&[(b"UNTR", b"u"), (b"REUC", b"r"), (b"FSMN", b"f"), (b"EOIE", b"e")]), "REUC\0\0\0\u{1}r");
        let id = [b'i'; 20];
        let known = |name: &str, entries: &str, children: u8| {
            [format!("{name}\0{entries} {children}\n").as_bytes(), &id].concat()
        };
        let cache = [
            known("", "5", 2),
            known("a", "3", 2),
            known("a", "1", 0),
            known("b", "1", 1),
            known("b", "1", 0),
            known("b", "1", 0),
        ]
        .concat();
        let i = "i".repeat(20);
        let tree = kept(&[(b"TREE", &cache)]);
        let expected = format!("\0-1 2\na\0-1 2\na\x001 0\n{i}b\0-1 1\nb\x001 0\n{i}b\x001 0\n{i}");
        assert_eq!(tree[8..], expected);
        for bad in [
            &cache[..cache.len() - 1],
            &[&cache[..], b"x"].concat(),
            b"",
            b"\0-1 1\n",
            b"\0-1 \n",
            b"\0x 0\n",
            b"\0-1 -1\n",
            b"\0-1 1\n".repeat(DEEPEST + 1).as_slice(),
        ] {
            assert_eq!(with_these(&[(b"TREE", bad)]), None);
        }
        // One that has to be understood.
        assert_eq!(with_these(&[(b"link", &[0; 20])]), None);
    }
}
