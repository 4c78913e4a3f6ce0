//! Every state that a power cut may leave a change and its way back in. Until the disk was waited for, it may have kept
//! each of the things that were written since the wait before, or not, in any order; recovery has to finish or undo.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use mesh::domain::id::HostId;
use mesh::domain::undo::{Change, Target};
use mesh::ports::Recovered;
use mesh::sys::apply::Changes;

use crate::support::host::temp_dir;
use crate::support::project::Project;

const ID: &str = "1a2b3c4d.1";
const FILE: &str = "project/src/a.py";
const TEMPORARY: &str = "project/src/.mesh-1a2b3c4d.1.tmp";
const STATE: &str = "state/undo/1a2b3c4d.1/journal.json";
/// The undo journal; objects of commits; what is changed: the file with what lies beside it, the branch, the index; and
/// the lock on that.
const JOURNAL: &[&str] = &["state/undo"];
const OBJECTS: &[&str] = &["project/.git/objects"];
const FILES: &[&str] = &[FILE, TEMPORARY];
const BRANCH: &[&str] = &["project/.git/refs/heads/main"];
const INDEX: &[&str] = &["project/.git/index"];
const LOCK: &[&str] = &["project/.git/index.lock"];
const BESIDE: &str = "project/.git/index.lock.mesh";

const BAD: &str = "BAD\nand a line\n";
const GOOD: &str = "GOOD\nand a line\n";

type Act = Box<dyn FnMut(&str)>;

thread_local! {
    static AT_POINT: RefCell<Option<Act>> = const { RefCell::new(None) };
}

fn point(name: &str) {
    AT_POINT.with_borrow_mut(|act| {
        if let Some(act) = act {
            act(name);
        }
    });
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("a time")
}

/// Every file below a folder, with its mode.
#[derive(Clone, Default)]
struct Disk(BTreeMap<PathBuf, (u32, Vec<u8>)>);

impl Disk {
    fn of(dir: &Path) -> Self {
        let mut found = BTreeMap::new();
        let mut folders = vec![dir.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("readable") {
                let path = entry.expect("readable").path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let mode = path.metadata().expect("there").mode();
                let name = path.strip_prefix(dir).expect("below").to_owned();
                found.insert(name, (mode, fs::read(&path).expect("readable")));
            }
        }
        Self(found)
    }

    /// The same, with all that is at or below these paths as it is in the other.
    fn with(&self, paths: &[&str], other: &Self) -> Self {
        let below = |path: &Path| paths.iter().any(|part| path.starts_with(part));
        let kept = self.0.iter().filter(|(path, _)| !below(path));
        let taken = other.0.iter().filter(|(path, _)| below(path));
        Self(kept.chain(taken).map(|(path, held)| (path.clone(), held.clone())).collect())
    }

    fn without(&self, paths: &[&str]) -> Self {
        self.with(paths, &Self::default())
    }

    fn text(&self, path: &str) -> Option<&[u8]> {
        self.0.get(Path::new(path)).map(|(_, text)| text.as_slice())
    }

    fn put(&mut self, path: &str, text: Vec<u8>) {
        self.0.insert(path.into(), (0o100_644, text));
    }

    /// Lets the disk hold this and nothing else.
    fn write(&self, dir: &Path) {
        for part in ["project", "state"] {
            drop(fs::remove_dir_all(dir.join(part)));
        }
        fs::create_dir_all(dir.join("project/.git/refs/tags")).expect("made");
        for (path, (mode, text)) in &self.0 {
            let path = dir.join(path);
            fs::create_dir_all(path.parent().expect("below")).expect("made");
            fs::write(&path, text).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode & 0o7777)).expect("mode");
        }
    }
}

/// What a wait may have kept of a file that was `old` and is `new`: the one, the other, and parts.
fn cuts(old: Option<&[u8]>, new: &[u8]) -> Vec<Option<Vec<u8>>> {
    let from = old.map_or(0, |old| old.iter().zip(new).take_while(|(old, new)| old == new).count());
    if from == new.len() {
        return vec![Some(new.to_vec())];
    }
    let end = new.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let middle = from + (end - from) / 3;
    let mut nul_behind = new.to_vec();
    nul_behind[middle..].fill(0);
    let mut nul_before = new.to_vec();
    nul_before[from..middle].fill(0);
    vec![old.map(<[u8]>::to_vec), Some(new.to_vec()), Some(new[..middle].to_vec()), Some(nul_behind), Some(nul_before)]
}

fn each_cut(before: &Disk, after: &Disk, path: &str) -> Vec<Disk> {
    let Some(new) = after.text(path) else { return vec![before.clone()] };
    let cuts = cuts(before.text(path), new).into_iter();
    cuts.map(|text| {
        let mut disk = before.without(&[path]);
        if let Some(text) = text {
            disk.put(path, text);
        }
        disk
    })
    .collect()
}

/// A project with one file that is changed, and what the disk holds at each named point.
struct Bench {
    dir: tempfile::TempDir,
    project: Project,
    applier: Changes,
    change: Change,
    at: BTreeMap<String, Disk>,
}

impl Bench {
    fn new(in_git: bool) -> Self {
        let dir = temp_dir();
        let project = Project::new_in(dir.path(), &[("src/a.py", BAD), ("src/b.py", "b\n"), ("c.py", "c\n")]);
        let target = if in_git {
            let base = project.git(&["rev-parse", "main"]);
            Target::Branch { branch: None, base, message: "Say GOOD\n".to_owned() }
        } else {
            fs::remove_dir_all(project.root.join(".git")).expect("removed");
            Target::File
        };
        let change = Change {
            id: ID.to_owned(),
            root: project.root.clone(),
            path: "src/a.py".to_owned(),
            before: BAD.into(),
            after: GOOD.into(),
            target,
        };
        let applier = Changes::new(&dir.path().join("state"), HostId::from_bytes([0xab; 32]), point);
        Self { dir, project, applier, change, at: BTreeMap::new() }
    }

    /// Does something, and remembers what the disk holds before it, at each point, and after it.
    fn watch(&mut self, act: impl FnOnce(&Self)) {
        let dir = self.dir.path().to_owned();
        let seen = std::rc::Rc::new(RefCell::new(BTreeMap::from([("start".to_owned(), Disk::of(&dir))])));
        let note = seen.clone();
        let there = dir.clone();
        AT_POINT.set(Some(Box::new(move |name| {
            note.borrow_mut().insert(name.to_owned(), Disk::of(&there));
        })));
        act(self);
        AT_POINT.set(None);
        self.at = seen.take();
        self.at.insert("end".to_owned(), Disk::of(&dir));
    }

    fn at(&self, point: &str) -> &Disk {
        self.at.get(point).unwrap_or_else(|| panic!("{point} is passed"))
    }

    /// All combinations of what was kept of the pieces that changed from `before` to `after`.
    fn mixed(before: &Disk, after: &Disk, pieces: &[&[&str]]) -> Vec<Disk> {
        let mut mixed = vec![before.clone()];
        for piece in pieces {
            let with: Vec<_> = mixed.iter().map(|disk| disk.with(piece, after)).collect();
            mixed.extend(with);
        }
        mixed
    }

    fn recovers(&self, disk: &Disk, what: &str) -> Recovered {
        disk.write(self.dir.path());
        let was = disk.text(FILE).map(String::from_utf8_lossy);
        for id in self.applier.pending().expect("read") {
            assert_eq!(id, ID, "{what}");
        }
        let recovered = self.applier.recover(ID, now()).unwrap_or_else(|error| panic!("{what}, {was:?}: {error}"));
        assert_eq!(self.applier.recover(ID, now()).expect("again"), recovered, "{what}");
        let text = fs::read_to_string(self.dir.path().join(FILE)).expect("there");
        let expected = if matches!(recovered, Recovered::Finished(_)) { GOOD } else { BAD };
        assert_eq!(text, expected, "{what}, {was:?}: {recovered:?}");
        assert!(self.applier.read_only().is_none(), "{what}");
        let left: Vec<_> = Disk::of(self.dir.path()).0.into_keys().collect();
        let left: Vec<_> = left
            .iter()
            .filter(|path| {
                let name = path.file_name().expect("a file").to_string_lossy();
                // What a git that was cut off leaves of this name is in nobody's way, where nothing is known of it.
                name.starts_with(".mesh-") || name == "index.lock"
            })
            .collect();
        assert!(left.is_empty(), "{what}: {left:?}");
        if matches!(self.change.target, Target::Branch { .. }) {
            assert_eq!(self.project.git(&["status", "--porcelain"]), "", "{what}, {was:?}: {recovered:?}");
            self.project.git(&["fsck", "--strict"]);
        }
        recovered
    }

    /// How many commits the branch has.
    fn commits(&self) -> usize {
        self.project.git(&["rev-list", "--count", "main"]).parse().expect("a number")
    }
}

/// What was kept while the disk was waited for before the file, the branch and the index are touched.
fn made_ready(bench: &Bench, way: &str, first: &str) -> Vec<Disk> {
    let at = |point: &str| bench.at(&format!("{way}.{point}"));
    let (start, staged, noted) = (bench.at("start"), at("staged"), at("object-written"));
    // The first wait: for the way back and the commit.
    let mut disks = Bench::mixed(start, at(first), &[JOURNAL]);
    disks.extend(each_cut(&start.with(JOURNAL, at(first)).with(&[STATE], start), at(first), STATE));
    disks.extend(Bench::mixed(start, &staged.with(JOURNAL, at(first)), &[JOURNAL, OBJECTS]));
    // The second: for what lies ready, and that it begins.
    let saved = start.with(JOURNAL, at(first)).with(OBJECTS, staged);
    for disk in Bench::mixed(&saved, noted, &[JOURNAL, FILES, LOCK]) {
        disks.push(disk);
    }
    for disk in Bench::mixed(&saved, noted, &[FILES, LOCK]) {
        disks.extend(each_cut(&disk, noted, STATE));
    }
    for disk in Bench::mixed(&saved, noted, &[JOURNAL, LOCK]) {
        disks.extend(each_cut(&disk, noted, TEMPORARY));
    }
    disks
}

#[test]
fn a_commit_that_power_was_cut_in_is_whole_or_gone() {
    let mut bench = Bench::new(true);
    bench.watch(|bench| drop(bench.applier.apply(&bench.change, now()).expect("applied")));
    let at = |point: &str| bench.at(&format!("apply.{point}"));
    for (number, disk) in made_ready(&bench, "apply", "journaled").iter().enumerate() {
        assert_eq!(bench.recovers(disk, &format!("made ready, {number}")), Recovered::Undone);
        assert_eq!(bench.commits(), 1);
    }

    // The third wait: for the file, the branch and the new index.
    let (noted, moved, whole, end) = (at("object-written"), at("ref-moved"), at("changed"), bench.at("end"));
    for files in [noted, moved] {
        for branch in [noted, moved] {
            for new_index in each_cut(
                &noted.without(&[BESIDE]),
                &{
                    let mut disk = whole.clone();
                    disk.put(BESIDE, whole.text(INDEX[0]).expect("there").to_vec());
                    disk
                },
                BESIDE,
            ) {
                let disk = new_index.with(FILES, files).with(BRANCH, branch);
                let is_moved = branch.text(BRANCH[0]) == moved.text(BRANCH[0]);
                let recovered = bench.recovers(&disk, &format!("the branch moved: {is_moved}"));
                assert_eq!(matches!(recovered, Recovered::Finished(_)), is_moved, "{recovered:?}");
                assert_eq!(bench.commits(), 1 + usize::from(is_moved));
            }
        }
    }
    // The fourth: for the names. The index is in place before its lock is gone.
    for base in [moved.clone(), moved.with(INDEX, whole), moved.with(INDEX, whole).without(LOCK)] {
        for disk in Bench::mixed(&base, whole, &[FILES]) {
            // The last: for the word that it is whole.
            let cut = each_cut(&disk, end, STATE);
            let cuts = if base.text(LOCK[0]).is_none() && disk.text(TEMPORARY).is_none() { cut } else { vec![disk] };
            for disk in cuts {
                assert!(matches!(bench.recovers(&disk, "named"), Recovered::Finished(_)));
                assert_eq!(bench.commits(), 2);
            }
        }
    }
}

#[test]
fn a_commit_that_power_was_cut_in_on_its_way_back_is_taken_back_once_or_stands() {
    let mut bench = Bench::new(true);
    bench.applier.apply(&bench.change, now()).expect("applied");
    bench.watch(|bench| bench.applier.rollback(ID, now()).expect("rolled back"));
    let at = |point: &str| bench.at(&format!("rollback.{point}"));
    let start = bench.at("start");
    for (number, disk) in made_ready(&bench, "rollback", "begun").iter().enumerate() {
        let recovered = bench.recovers(disk, &format!("made ready, {number}"));
        let stands = matches!(recovered, Recovered::Finished(_));
        if disk.text(STATE) == start.text(STATE) {
            assert!(stands);
        }
        assert_eq!(bench.commits(), if stands { 2 } else { 3 });
    }
    let (noted, moved, whole) = (at("object-written"), at("ref-moved"), at("done"));
    for files in [noted, moved] {
        for branch in [noted, moved] {
            let disk = noted.with(FILES, files).with(BRANCH, branch);
            assert_eq!(bench.recovers(&disk, "moved"), Recovered::RolledBack);
            assert_eq!(bench.commits(), 3);
        }
    }
    for base in [moved.clone(), moved.with(INDEX, whole), moved.with(INDEX, whole).without(LOCK)] {
        for disk in Bench::mixed(&base, whole, &[FILES]) {
            let cut = each_cut(&disk, whole, STATE);
            let cuts = if base.text(LOCK[0]).is_none() && disk.text(TEMPORARY).is_none() { cut } else { vec![disk] };
            for disk in cuts {
                assert_eq!(bench.recovers(&disk, "named"), Recovered::RolledBack);
                assert_eq!(bench.commits(), 3);
            }
        }
    }
}

#[test]
fn a_file_that_power_was_cut_in_is_the_new_one_or_the_old_one() {
    let mut bench = Bench::new(false);
    bench.watch(|bench| drop(bench.applier.apply(&bench.change, now()).expect("applied")));
    let at = |point: &str| bench.at(&format!("apply.{point}"));
    let (start, journaled, staged) = (bench.at("start"), at("journaled"), at("staged"));
    let (replaced, whole, end) = (at("file-replaced"), at("changed"), bench.at("end"));
    let mut unmade = each_cut(&journaled.without(&[STATE]), journaled, STATE);
    unmade.push(start.clone());
    for disk in Bench::mixed(&start.with(JOURNAL, journaled), replaced, &[JOURNAL]) {
        unmade.extend(each_cut(&disk, staged, TEMPORARY));
    }
    unmade.extend(each_cut(staged, replaced, STATE));
    for disk in &unmade {
        assert_eq!(bench.recovers(disk, "made ready"), Recovered::Undone);
    }
    let noted = replaced.with(FILES, staged);
    for (files, done) in [(staged, false), (start, false), (replaced, true), (whole, true)] {
        let recovered = bench.recovers(&noted.with(FILES, files), "replaced");
        assert_eq!(matches!(recovered, Recovered::Finished(_)), done, "{recovered:?}");
    }
    for disk in each_cut(whole, end, STATE) {
        assert!(matches!(bench.recovers(&disk, "noted"), Recovered::Finished(_)));
    }

    end.write(bench.dir.path());
    bench.watch(|bench| bench.applier.rollback(ID, now()).expect("rolled back"));
    let at = |point: &str| bench.at(&format!("rollback.{point}"));
    let (start, begun, staged) = (bench.at("start"), at("begun"), at("staged"));
    let (replaced, done) = (at("file-replaced"), at("done"));
    for disk in each_cut(start, begun, STATE) {
        let whole = disk.text(STATE) == begun.text(STATE);
        let recovered = bench.recovers(&disk, "begun");
        assert_eq!(recovered == Recovered::RolledBack, whole, "{recovered:?}");
    }
    for disk in each_cut(begun, staged, TEMPORARY) {
        assert_eq!(bench.recovers(&disk, "made ready"), Recovered::RolledBack);
    }
    for files in [staged, start, replaced, done] {
        assert_eq!(bench.recovers(&begun.with(FILES, files), "replaced"), Recovered::RolledBack);
    }
    for disk in each_cut(&begun.with(FILES, done), done, STATE) {
        assert_eq!(bench.recovers(&disk, "noted"), Recovered::RolledBack);
    }
}

#[test]
fn what_a_person_made_of_the_file_after_the_cut_stays() {
    let mut bench = Bench::new(true);
    bench.watch(|bench| drop(bench.applier.apply(&bench.change, now()).expect("applied")));
    let noted = bench.at("apply.object-written");
    let moved = bench.at("apply.ref-moved");
    // The disk kept the branch and not the file; or both, and somebody took the line back by hand.
    let lost = noted.with(BRANCH, moved);
    let mut by_hand = moved.clone();
    by_hand.put(FILE, BAD.into());
    let mut mine = lost.clone();
    mine.put(FILE, b"mine\n".to_vec());
    for (disk, text) in [(&lost, GOOD), (&by_hand, BAD), (&mine, "mine\n")] {
        disk.write(bench.dir.path());
        bench.applier.recover(ID, now()).expect("recovered");
        assert_eq!(fs::read_to_string(bench.dir.path().join(FILE)).expect("there"), text);
        assert!(!bench.dir.path().join(TEMPORARY).exists());
    }
    // Half-laid, with the word that it begins, and then edited.
    for temporary in [&b""[..], b"GO", b"\0\0\0\0\nand a line\n", GOOD.as_bytes()] {
        let mut disk = noted.clone();
        disk.put(FILE, b"mine\n".to_vec());
        disk.put(TEMPORARY, temporary.to_vec());
        disk.write(bench.dir.path());
        assert_eq!(bench.applier.recover(ID, now()).expect("recovered"), Recovered::Undone);
        assert_eq!(fs::read_to_string(bench.dir.path().join(FILE)).expect("there"), "mine\n");
        assert!(!bench.dir.path().join(TEMPORARY).exists());
    }
}
