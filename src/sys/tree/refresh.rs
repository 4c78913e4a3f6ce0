//! What changed since a tree was last looked at: one `lstat` for each known file and directory, and a new
//! listing of those directories alone that differ.

use std::num::NonZero;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use super::walk::{Found, Walker, above, walk};
use super::{Entry, Kind, Stat, Tree};

/// What a refresh found.
#[derive(Debug)]
pub enum News {
    /// Every known name is as it was.
    Nothing,
    /// The tree as it is now. Files whose entry is the same in the old one, and not racy there, are unchanged.
    Tree(Tree),
}

/// Looks at `root` again, knowing that it was `old` at `seen_at` (nanoseconds since 1970).
///
/// # Errors
/// The root cannot be opened or listed.
pub fn refresh(root: &Path, old: &Tree, seen_at: i64) -> std::io::Result<News> {
    let fd = super::open_root(root)?;
    let fd = fd.as_fd();
    let now_above = above(root, fd);
    let old_above = old.entries.iter().filter(|entry| entry.kind == Kind::Above);
    if !old_above
        .map(|entry| (old.path(entry), (entry.kind, entry.stat)))
        .eq(now_above.iter().map(|(p, s)| (p.as_slice(), *s)))
    {
        return walk(root).map(News::Tree);
    }
    let dirty = dirty(fd, old, seen_at);
    if dirty.is_empty() {
        return Ok(News::Nothing);
    }
    if dirty.iter().any(|&at| old.is_ignore_file(&old.entries[at])) {
        return walk(root).map(News::Tree);
    }
    let mut found: Found =
        old.entries.iter().map(|entry| (old.path(entry).to_owned(), (entry.kind, entry.stat))).collect();
    for &at in &dirty {
        let entry = &old.entries[at];
        let path = old.path(entry);
        // A directory above it may have taken it out already, or found something else there.
        if found.get(path).is_none_or(|(kind, _)| *kind != entry.kind && !(kind.is_dir() && entry.kind.is_dir())) {
            continue;
        }
        if entry.kind.is_dir() {
            if !relist(root, fd, &mut found, path) {
                return walk(root).map(News::Tree);
            }
        } else if let Ok(stat) = Stat::of(fd, old.c_path(entry)) {
            found.insert(path.to_owned(), (entry.kind, stat));
        } else {
            found.remove(path);
        }
    }
    Ok(News::Tree(Tree::from_sorted(found.iter().map(|(path, &(kind, stat))| (path.as_slice(), kind, stat)))))
}

/// Indices of entries that differ from what they were, or may.
fn dirty(fd: BorrowedFd<'_>, tree: &Tree, seen_at: i64) -> Vec<usize> {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(4);
    let share = tree.entries.len().div_ceil(threads).max(1_024);
    let differs = |entry: &Entry| {
        entry.kind.is_watched()
            && (entry.stat.is_racy(seen_at) || Stat::of(fd, tree.c_path(entry)).unwrap_or_default() != entry.stat)
    };
    let look = |start: usize, entries: &[Entry]| -> Vec<usize> {
        entries.iter().enumerate().filter(|(_, entry)| differs(entry)).map(|(at, _)| start + at).collect()
    };
    std::thread::scope(|scope| {
        let mut shares = tree.entries.chunks(share).enumerate().map(|(n, entries)| (n * share, entries));
        let first = shares.next();
        let others: Vec<_> = shares.map(|(start, entries)| scope.spawn(move || look(start, entries))).collect();
        let mut dirty = first.map(|(start, entries)| look(start, entries)).unwrap_or_default();
        for other in others {
            dirty.extend(other.join().expect("a look does not panic"));
        }
        dirty
    })
}

/// Lists one known directory again. False: an ignore file or a boundary changed, and only a walk will do.
fn relist(root: &Path, fd: BorrowedFd<'_>, found: &mut Found, dir: &[u8]) -> bool {
    let mut walker = Walker::new(root, fd);
    walker.list(dir, false);
    let mut listed = std::mem::take(&mut walker.found);
    let children: Vec<Vec<u8>> =
        below(found, dir).filter(|path| !path[prefix_len(dir)..].contains(&b'/')).cloned().collect();
    for child in children {
        let old = found[&child];
        let new = listed.get(&child).copied();
        let steers = super::walk::IGNORE_FILES.contains(&super::file_name(&child)) || old.0 == Kind::Boundary;
        if steers && new != Some(old) {
            return false;
        }
        let still_dir = old.0.is_dir() && new.is_some_and(|(kind, _)| kind.is_dir());
        if still_dir {
            // Its own entry says whether it changed.
            listed.remove(&child);
        } else {
            if old.0.is_dir() {
                let gone: Vec<_> = below(found, &child).cloned().collect();
                for path in gone {
                    found.remove(&path);
                }
            }
            found.remove(&child);
        }
    }
    if listed.remove(dir).map(|state| found.insert(dir.to_owned(), state)).is_none() {
        found.remove(dir);
        return true;
    }
    for (path, (kind, stat)) in listed {
        let is_new = !found.contains_key(&path);
        if is_new && (kind == Kind::Boundary || super::walk::IGNORE_FILES.contains(&super::file_name(&path))) {
            return false;
        }
        if kind.is_dir() {
            walker.list(&path, true);
        } else {
            found.insert(path, (kind, stat));
        }
    }
    found.append(&mut walker.found);
    true
}

fn prefix_len(dir: &[u8]) -> usize {
    if dir.is_empty() { 0 } else { dir.len() + 1 }
}

/// Paths strictly below `dir`.
fn below<'a>(found: &'a Found, dir: &[u8]) -> impl Iterator<Item = &'a Vec<u8>> {
    let mut start = dir.to_owned();
    if !dir.is_empty() {
        start.push(b'/');
    }
    let prefix = start.clone();
    found
        .range(start..)
        .map(|(path, _)| path)
        .take_while(move |path| path.starts_with(&prefix))
        .filter(|path| !path.is_empty() && path[0] != b'/')
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::super::RACY_NANOS;
    use super::*;

    const DIRS: [&str; 6] = [".", "a", "b", "a/c", "a/c/d", "b/c"];
    const NAMES: [&str; 8] = ["x.py", "y.py", "z.txt", "h.key", ".gitignore", ".ignore", ".git", "sub"];
    const IGNORES: [&str; 6] = ["*.py\n", "/c\n", "sub/\n!x.py\n", "c/*\n!c/y.py\n", "", "**/d\n[\n"];

    /// One random change; whether it can be made does not matter.
    fn change(root: &Path, (what, dir, name, other): (u8, usize, usize, usize)) {
        let path = |dir: usize, name: usize| root.join(DIRS[dir % 6]).join(NAMES[name % 8]);
        let at = path(dir, name);
        let _may_fail = match what % 12 {
            0 | 1 => fs::create_dir_all(at.parent().unwrap()).and_then(|()| {
                let ignore = matches!(NAMES[name % 8], ".gitignore" | ".ignore");
                fs::write(&at, if ignore { IGNORES[other % 6] } else { NAMES[other % 8] })
            }),
            2 => fs::remove_file(&at),
            3 => fs::rename(&at, path(other, dir)),
            4 => fs::rename(root.join(DIRS[1 + dir % 5]), root.join(DIRS[1 + other % 5])),
            5 => fs::set_permissions(&at, fs::Permissions::from_mode(if other % 2 == 0 { 0o644 } else { 0o600 })),
            6 => fs::remove_dir_all(root.join(DIRS[1 + dir % 5])),
            // In place where there is one: then its directory does not tell.
            8..=10 => fs::write(root.join(DIRS[dir % 3]).join(NAMES[4 + name % 2]), IGNORES[other % 6]),
            7 => symlink("../a", &at),
            _ => fs::create_dir_all(at),
        };
    }

    /// Waits until the file system's clock has moved on, so that a later change cannot look like an earlier one.
    fn until_the_clock_ticks(temp: &Path) {
        let probe = temp.join("probe");
        let stamp = || {
            fs::write(&probe, "x").unwrap();
            fs::metadata(&probe).unwrap().modified().unwrap()
        };
        let first = stamp();
        while stamp() == first {}
    }

    fn root_in(temp: &Path) -> PathBuf {
        let root = temp.canonicalize().unwrap().join("root");
        fs::create_dir(&root).unwrap();
        root
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn a_refreshed_tree_is_the_tree_that_a_walk_finds(
            rounds in prop::collection::vec(prop::collection::vec(any::<(u8, usize, usize, usize)>(), 0..12), 1..6),
        ) {
            let temp = tempfile::tempdir().unwrap();
            let root = root_in(temp.path());
            let mut known = walk(&root).unwrap();
            for changes in rounds {
                until_the_clock_ticks(temp.path());
                changes.into_iter().for_each(|one| change(&root, one));
                if let News::Tree(tree) = refresh(&root, &known, i64::MAX).unwrap() {
                    known = tree;
                }
                prop_assert_eq!(&describe(&known), &describe(&walk(&root).unwrap()));
            }
        }
    }

    fn describe(tree: &Tree) -> Vec<(String, Kind, Stat)> {
        tree.entries().iter().map(|e| (String::from_utf8_lossy(tree.path(e)).into_owned(), e.kind, e.stat)).collect()
    }

    #[test]
    fn an_unchanged_tree_is_no_news_and_a_racy_one_is() {
        let temp = tempfile::tempdir().unwrap();
        let root = root_in(temp.path());
        fs::write(root.join("x.py"), "x").unwrap();
        let tree = walk(&root).unwrap();
        assert!(matches!(refresh(&root, &tree, i64::MAX).unwrap(), News::Nothing));
        let changed_at = tree.get(b"x.py").unwrap().stat.ctime;
        assert!(matches!(refresh(&root, &tree, changed_at + RACY_NANOS).unwrap(), News::Tree(_)));
    }

    #[test]
    fn ignore_files_above_the_root_count_up_to_the_top_of_the_repository() {
        let temp = tempfile::tempdir().unwrap();
        let root = root_in(temp.path());
        fs::create_dir_all(root.join("repo/.git")).unwrap();
        fs::create_dir_all(root.join("repo/src")).unwrap();
        fs::write(root.join(".gitignore"), "*\n").unwrap();
        for name in ["x.py", "y.py"] {
            fs::write(root.join("repo/src").join(name), "").unwrap();
        }
        let src = root.join("repo/src");
        let tree = walk(&src).unwrap();
        assert!(tree.get(b"x.py").is_some() && tree.get(b"y.py").is_some());
        fs::write(root.join("repo/.gitignore"), "x.py\n").unwrap();
        let News::Tree(tree) = refresh(&src, &tree, i64::MAX).unwrap() else { panic!("the change is not seen") };
        assert!(tree.get(b"x.py").is_none() && tree.get(b"y.py").is_some());
    }

    #[test]
    fn t20_a_link_is_listed_and_never_entered() {
        let temp = tempfile::tempdir().unwrap();
        let root = root_in(temp.path());
        fs::write(temp.path().join("outside.py"), "").unwrap();
        symlink("..", root.join("up")).unwrap();
        symlink("../outside.py", root.join("x.py")).unwrap();
        let tree = walk(&root).unwrap();
        assert_eq!(tree.get(b"up").unwrap().kind, Kind::Link);
        assert_eq!(tree.get(b"x.py").unwrap().kind, Kind::Link);
        assert_eq!(tree.entries().len(), 3);
        assert!(walk(&root.join("up")).is_err());
    }
}
