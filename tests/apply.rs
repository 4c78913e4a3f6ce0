//! Changes made and taken back, on real repositories and real files.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, FileTimes, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use mesh::domain::id::HostId;
use mesh::domain::undo::{Change, Target};
use mesh::ports::{ApplyError, Recovered};
use mesh::sys::apply::{Changes, read_only};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::host::temp_dir;
use crate::support::project::{Project, git};

/// A named point, and what the test does there.
type Ambush = (&'static str, Box<dyn FnOnce()>);

thread_local! {
    /// What the test does when the applier passes a named point.
    static AT: RefCell<Option<Ambush>> = const { RefCell::new(None) };
}

fn point(name: &str) {
    let due = AT.with_borrow_mut(|at| at.take_if(|(wanted, _)| *wanted == name));
    if let Some((_, act)) = due {
        act();
    }
}

fn at(name: &'static str, act: impl FnOnce() + 'static) {
    AT.set(Some((name, Box::new(act))));
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("a time")
}

struct Bench {
    dir: tempfile::TempDir,
    applier: Changes,
}

impl Bench {
    fn new() -> Self {
        let dir = temp_dir();
        let applier = Changes::new(&dir.path().join("state"), HostId::from_bytes([0xab; 32]), point);
        Self { dir, applier }
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }
}

fn on_branch(project: &Project, path: &str, before: &str, after: &str) -> Change {
    let base = project.git(&["rev-parse", "main"]);
    let message = "Say GOOD\n\nMesh-Lesson: no-bad rev 1\nMesh-Intervention: 1a2b3c4d.1\n".to_owned();
    change(&project.root, path, before, after, Target::Branch { branch: None, base, message })
}

fn change(root: &Path, path: &str, before: &str, after: &str, target: Target) -> Change {
    let (before, after) = (before.as_bytes().to_vec(), after.as_bytes().to_vec());
    Change { id: "1a2b3c4d.1".to_owned(), root: root.to_owned(), path: path.to_owned(), before, after, target }
}

/// Every name below `root` but `.git`: kind, mode, owner, extended attributes, date, bytes.
fn files(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("readable") {
            let path = entry.expect("readable").path();
            let name = path.strip_prefix(root).expect("below").to_string_lossy().into_owned();
            if name == ".git" {
                continue;
            }
            let metadata = path.symlink_metadata().expect("there");
            let rights = format!("{:o} {} {}", metadata.mode(), metadata.uid(), metadata.gid());
            let what = if metadata.is_dir() {
                folders.push(path);
                String::new()
            } else if metadata.is_symlink() {
                format!("-> {}", fs::read_link(&path).expect("a link").display())
            } else {
                let mut value = [0; 64];
                let size = rustix::fs::getxattr(&path, "user.note", &mut value).unwrap_or(0);
                let date = (metadata.mtime(), metadata.mtime_nsec());
                format!("{:?} {date:?} {:?}", &value[..size], fs::read(&path).expect("readable"))
            };
            found.insert(name, format!("{rights} {what}"));
        }
    }
    found
}

/// The same without the date of `path`, which git does not keep.
fn files_undated(root: &Path, path: &str) -> BTreeMap<String, String> {
    let metadata = root.join(path).metadata().expect("there");
    let date = format!("{:?}", (metadata.mtime(), metadata.mtime_nsec()));
    let mut found = files(root);
    found.entry(path.to_owned()).and_modify(|what| *what = what.replace(&date, ""));
    found
}

/// What git says of a project: names of refs, all but `main` with where they lead; tree of `main`; index; status.
fn git_state(project: &Project) -> [String; 5] {
    [
        project.git(&[
            "for-each-ref",
            "--format=%(refname) %(if:equals=refs/heads/main)%(refname)%(then)%(else)%(objectname)%(end)",
        ]),
        project.git(&["rev-parse", "main^{tree}"]),
        project.git(&["ls-files", "-s", "-t", "-v"]),
        project.git(&["symbolic-ref", "HEAD"]),
        project.git(&["status", "--porcelain"]),
    ]
}

fn leftovers(project: &Project) {
    for name in ["index.lock", "index.lock.mesh", "refs/heads/main.lock"] {
        assert!(!project.root.join(".git").join(name).exists(), "{name} is left");
    }
    assert!(!files(&project.root).keys().any(|name| name.contains(".mesh-")), "a temporary file is left");
}

#[derive(Clone, Debug)]
struct Scene {
    in_git: bool,
    checked_out: bool,
    path: &'static str,
    before: String,
    after: String,
    mode: u32,
    owner: u32,
    note: Option<Vec<u8>>,
    packed: bool,
    dirty: bool,
}

fn text() -> impl Strategy<Value = String> {
    let line = select(vec!["BAD", "x = 1", "", "\u{e9}\u{1f980}", "\ttab ", "é\u{301}", "a\u{0}b"]);
    let ending = select(vec!["\n", "\r\n", "\n\n"]);
    (prop::collection::vec((line, ending), 0..6), select(vec!["", "end", "\r"])).prop_map(|(lines, end)| {
        lines.into_iter().map(|(line, ending)| format!("{line}{ending}")).collect::<String>() + end
    })
}

fn scenes() -> impl Strategy<Value = Scene> {
    let root = rustix::process::geteuid().is_root();
    let owners = if root { vec![0, 0, 12_345] } else { vec![rustix::process::geteuid().as_raw()] };
    let paths = select(vec!["a.py", "deep/er/b.txt", "ü/name with space.conf", ".hidden"]);
    let note = prop::option::of(prop::collection::vec(any::<u8>(), 0..40));
    let modes = select(vec![0o644, 0o755, 0o600, 0o640, 0o444, 0o4755]);
    let bits = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (bits, paths, text(), text(), modes, select(owners), note).prop_filter_map(
        "a change changes something",
        |((in_git, checked_out, packed, dirty), path, before, after, mode, owner, note)| {
            (before != after).then_some(Scene {
                in_git,
                checked_out,
                path,
                before,
                after,
                mode,
                owner,
                note,
                packed,
                dirty,
            })
        },
    )
}

fn set_up(project: &Project, scene: &Scene) {
    project.write("other/kept.txt", "kept\n");
    project.write(scene.path, &scene.before);
    symlink("kept.txt", project.root.join("other/link")).expect("linked");
    symlink("other", project.root.join("folder-link")).expect("linked");
    let file = project.root.join(scene.path);
    if let Some(note) = &scene.note {
        rustix::fs::setxattr(&file, "user.note", note, rustix::fs::XattrFlags::empty()).expect("attributes");
    }
    std::os::unix::fs::chown(&file, Some(scene.owner), Some(scene.owner)).expect("owned");
    fs::set_permissions(&file, Permissions::from_mode(scene.mode)).expect("mode");
    let date = SystemTime::UNIX_EPOCH + Duration::new(1_500_000_000, 123_456_789);
    let opened = fs::File::open(&file).expect("opened");
    opened.set_times(FileTimes::new().set_modified(date)).expect("dated");
    project.commit_all("scene");
    if scene.packed {
        project.git(&["pack-refs", "--all"]);
        project.git(&["repack", "-q", "-a", "-d"]);
    }
    if scene.dirty {
        project.write("other/kept.txt", "work in progress\n");
        project.write("untracked", "mine\n");
        project.write("staged", "mine\n");
        project.git(&["add", "staged"]);
    }
}

#[test]
fn what_is_applied_and_rolled_back_is_exactly_as_before() {
    let mut runner = TestRunner::new(Config { cases: 200, failure_persistence: None, ..Config::default() });
    let run = |scene: Scene| {
        let bench = Bench::new();
        let project = Project::new_in(bench.dir.path(), &[]);
        set_up(&project, &scene);
        let mut change = on_branch(&project, scene.path, &scene.before, &scene.after);
        let file = project.root.join(scene.path);
        if !scene.in_git {
            fs::remove_dir_all(project.root.join(".git")).expect("removed");
            change.target = Target::File;
            let before = files(&project.root);
            let shown = bench.applier.prove(&change).expect("proved");
            prop_assert!(shown.before == shown.restored && shown.before != shown.applied);
            prop_assert_eq!(files(&project.root), before.clone());
            let applied = bench.applier.apply(&change, now()).expect("applied");
            prop_assert!(applied.commit.is_none());
            prop_assert_eq!(fs::read(&file).expect("there"), scene.after.as_bytes());
            bench.applier.rollback(&change.id, now()).expect("rolled back");
            bench.applier.rollback(&change.id, now()).expect("a second time changes nothing");
            prop_assert_eq!(files(&project.root), before);
            return Ok(());
        }
        if let Target::Branch { branch, .. } = &mut change.target
            && !scene.checked_out
        {
            project.git(&["checkout", "-q", "-b", "elsewhere"]);
            *branch = Some("main".to_owned());
        }
        let (before, state) = (files_undated(&project.root, scene.path), git_state(&project));
        let base = project.git(&["rev-parse", "main"]);
        let shown = bench.applier.prove(&change).expect("proved");
        prop_assert!(shown.before == shown.restored && shown.before != shown.applied);
        prop_assert_eq!(project.git(&["rev-parse", "main"]), base.clone());
        let applied = bench.applier.apply(&change, now()).expect("applied");
        let commit = applied.commit.expect("a commit");
        prop_assert_eq!(project.git(&["rev-parse", "main"]), commit.clone());
        prop_assert_eq!(project.git(&["rev-parse", "main^"]), base);
        prop_assert_eq!(project.git(&["status", "--porcelain"]), state[4].clone());
        if scene.checked_out {
            prop_assert_eq!(fs::read(&file).expect("there"), scene.after.as_bytes());
            // Also a git that does not look at contents sees no difference.
            let seen = project.git(&["diff-files", "--name-only", "--", scene.path]);
            prop_assert_eq!(seen, "");
        }
        bench.applier.rollback(&change.id, now()).expect("rolled back");
        bench.applier.rollback(&change.id, now()).expect("a second time changes nothing");
        prop_assert_eq!(git_state(&project), state);
        prop_assert_eq!(files_undated(&project.root, scene.path), before);
        prop_assert_eq!(project.git(&["rev-parse", "main^"]), commit);
        leftovers(&project);
        project.git(&["fsck", "--strict"]);
        Ok(())
    };
    runner.run(&scenes(), run).expect("every plan rolls back");
}

#[test]
fn work_in_progress_is_refused_and_stays() {
    type Spoil = fn(&Project);
    let cases: [(&str, &str, Spoil); 13] = [
        ("an edit", "not committed", |p| p.write("a.py", "BAD\nmine\n")),
        ("a staged edit", "staged", |p| {
            p.write("a.py", "BAD\nmine\n");
            p.git(&["add", "a.py"]);
            p.write("a.py", "BAD\n");
        }),
        ("another mode", "mode", |p| {
            fs::set_permissions(p.root.join("a.py"), Permissions::from_mode(0o755)).expect("mode");
        }),
        ("a hidden file", "assume-unchanged", |p| drop(p.git(&["update-index", "--assume-unchanged", "a.py"]))),
        ("a skipped file", "assume-unchanged", |p| drop(p.git(&["update-index", "--skip-worktree", "a.py"]))),
        ("not in the index", "not tracked", |p| drop(p.git(&["rm", "-q", "--cached", "a.py"]))),
        ("a merge", "merge is under way", |p| {
            let head = p.git(&["rev-parse", "HEAD"]);
            fs::write(p.root.join(".git/MERGE_HEAD"), head + "\n").expect("written");
        }),
        ("a rebase", "rebase is under way", |p| {
            fs::create_dir(p.root.join(".git/rebase-merge")).expect("made");
        }),
        ("a detached HEAD", "detached", |p| drop(p.git(&["checkout", "-q", "--detach"]))),
        ("a commit since", "has changed since", |p| p.commit_all("mine")),
        ("a hard link", "hard link", |p| {
            fs::hard_link(p.root.join("a.py"), p.root.join("twin")).expect("linked");
        }),
        ("a filter", "`filter`", |p| p.write(".gitattributes", "a.py filter=lfs\n")),
        ("a link on the way", "", |p| {
            fs::remove_file(p.root.join("a.py")).expect("removed");
            p.write("real.py", "BAD\n");
            symlink("real.py", p.root.join("a.py")).expect("linked");
        }),
    ];
    for (name, said, spoil) in cases {
        let bench = Bench::new();
        let project = Project::new_in(bench.dir.path(), &[("a.py", "BAD\n")]);
        let change = on_branch(&project, "a.py", "BAD\n", "GOOD\n");
        spoil(&project);
        let index = fs::read(project.root.join(".git/index")).expect("there");
        let (before, refs) = (files(&project.root), project.git(&["for-each-ref"]));
        let refused = bench.applier.apply(&change, now()).expect_err(name).to_string();
        assert!(refused.contains(said), "{name}: {refused}");
        assert_eq!((files(&project.root), project.git(&["for-each-ref"])), (before, refs), "{name}");
        assert_eq!(fs::read(project.root.join(".git/index")).expect("there"), index, "{name}");
        assert!(bench.applier.pending().expect("read").is_empty(), "{name}");
        assert!(bench.applier.read_only().is_none(), "{name}");
        leftovers(&project);
    }
}

#[test]
fn a_branch_that_another_work_tree_stands_on_is_left_alone() {
    let bench = Bench::new();
    let project = Project::new_in(bench.dir.path(), &[("a.py", "BAD\n")]);
    let mut change = on_branch(&project, "a.py", "BAD\n", "GOOD\n");
    project.git(&["checkout", "-q", "-b", "here"]);
    project.git(&["worktree", "add", "-q", "../there", "main"]);
    if let Target::Branch { branch, .. } = &mut change.target {
        *branch = Some("main".to_owned());
    }
    let refused = bench.applier.apply(&change, now()).expect_err("refused").to_string();
    assert!(refused.contains("another work tree"), "{refused}");
    // From there it is the checked-out one.
    change.root = project.root.parent().expect("above").join("there");
    bench.applier.apply(&change, now()).expect("applied");
    assert_eq!(fs::read_to_string(change.root.join("a.py")).expect("there"), "GOOD\n");
    assert_eq!(git(&change.root, &["status", "--porcelain"]), "");
}

#[test]
fn whoever_comes_in_between_wins() {
    let bench = Bench::new();
    let project = Project::new_in(bench.dir.path(), &[("a.py", "BAD\n"), ("b.py", "b\n")]);
    let change = on_branch(&project, "a.py", "BAD\n", "GOOD\n");
    let tree = project.git(&["rev-parse", "main^{tree}"]);
    let mine = project.git(&["commit-tree", &tree, "-p", "main", "-m", "mine"]);
    let before = (files_undated(&project.root, "b.py"), project.git(&["ls-files", "-s"]));

    // A commit by a program that takes no lock, at the last moment.
    let root = project.root.clone();
    let commit = mine.clone();
    at("apply.file-replaced", move || drop(git(&root, &["update-ref", "refs/heads/main", &commit])));
    let refused = bench.applier.apply(&change, now()).expect_err("moved");
    assert!(matches!(refused, ApplyError::Moved { .. }), "{refused}");
    assert_eq!(project.git(&["rev-parse", "main"]), mine);
    assert_eq!((files_undated(&project.root, "b.py"), project.git(&["ls-files", "-s"])), before);
    assert_eq!(project.git(&["status", "--porcelain"]), "");
    leftovers(&project);

    // An editor that saves between the look and the change.
    let again = on_branch(&project, "a.py", "BAD\n", "GOOD\n");
    let path = project.root.join("a.py");
    at("apply.object-written", move || fs::write(path, "BAD\nmine\n").expect("written"));
    bench.applier.apply(&again, now()).expect_err("refused");
    assert_eq!(fs::read_to_string(project.root.join("a.py")).expect("there"), "BAD\nmine\n");
    assert_eq!(project.git(&["rev-parse", "main"]), mine);

    // A git that works there.
    project.git(&["checkout", "-q", "a.py"]);
    let root = project.root.clone();
    let (seen, see) = std::sync::mpsc::channel();
    at("apply.ref-moved", move || {
        fs::write(root.join("b.py"), "mine\n").expect("written");
        let lock = root.join(".git/index.lock");
        seen.send(lock.exists()).expect("the test waits");
    });
    bench.applier.apply(&again, now()).expect("applied");
    assert_eq!(see.recv(), Ok(true), "the lock keeps other gits out while the branch moves");
    assert_eq!(project.git(&["diff", "--name-only"]), "b.py");
    assert_eq!(fs::read_to_string(project.root.join("b.py")).expect("there"), "mine\n");
}

#[test]
fn a_change_of_the_same_moment_is_still_seen_by_git() {
    // An entry that is as young as the index is looked at again by its bytes; an index that was written later would
    // hide a change of equal length.
    let bench = Bench::new();
    let project = Project::new_in(bench.dir.path(), &[("a.py", "BAD\n"), ("b.py", "one\n")]);
    let change = on_branch(&project, "a.py", "BAD\n", "GOOD\n");
    let index = project.root.join(".git/index");
    project.git(&["update-index", "--refresh"]);
    let date = project.root.join("b.py").metadata().expect("there").modified().expect("dated");
    let times = FileTimes::new().set_modified(date);
    fs::File::options().write(true).open(&index).expect("opened").set_times(times).expect("dated");
    let dated = index.metadata().expect("there").modified().expect("dated");
    bench.applier.apply(&change, now()).expect("applied");
    assert_eq!(index.metadata().expect("there").modified().expect("dated"), dated);
}

#[test]
fn a_rollback_keeps_what_was_committed_since() {
    let bench = Bench::new();
    let lines = "BAD\n2\n3\n4\n5\n6\n7\n8\n";
    let project = Project::new_in(bench.dir.path(), &[("a.py", lines)]);
    let change = on_branch(&project, "a.py", lines, &lines.replace("BAD", "GOOD"));
    bench.applier.apply(&change, now()).expect("applied");
    project.write("a.py", &lines.replace("BAD", "GOOD").replace('8', "eight"));
    project.write("b.py", "mine\n");
    project.commit_all("mine");
    project.write("b.py", "more\n");
    bench.applier.rollback(&change.id, now()).expect("rolled back");
    assert_eq!(fs::read_to_string(project.root.join("a.py")).expect("there"), lines.replace('8', "eight"));
    assert_eq!(project.git(&["status", "--porcelain"]), " M b.py");
    let message = project.git(&["log", "-1", "--format=%B"]);
    assert!(message.starts_with("Revert \"Say GOOD\"\n\nThis reverts commit "), "{message}");
    assert!(message.contains("\nMesh-Lesson: no-bad rev 1\nMesh-Intervention: 1a2b3c4d.1"), "{message}");
}

#[test]
fn a_rollback_over_somebodys_work_is_refused_and_the_way_back_stays() {
    let bench = Bench::new();
    let project = Project::new_in(bench.dir.path(), &[("a.py", "BAD\n")]);
    let change = on_branch(&project, "a.py", "BAD\n", "GOOD\n");
    bench.applier.apply(&change, now()).expect("applied");
    project.write("a.py", "BETTER\n");
    bench.applier.rollback(&change.id, now()).expect_err("not committed");
    project.commit_all("mine");
    let refused = bench.applier.rollback(&change.id, now()).expect_err("the same line");
    assert!(matches!(refused, ApplyError::Moved { .. }), "{refused}");
    assert_eq!(fs::read_to_string(project.root.join("a.py")).expect("there"), "BETTER\n");
    assert_eq!(bench.applier.pending().expect("read"), ["1a2b3c4d.1"]);
    assert!(bench.applier.read_only().is_none());
    project.git(&["revert", "--no-edit", "HEAD"]);
    bench.applier.rollback(&change.id, now()).expect("rolled back");
    assert_eq!(fs::read_to_string(project.root.join("a.py")).expect("there"), "BAD\n");
}

#[test]
fn a_way_back_that_fails_closes_the_door_until_a_person_opens_it() {
    let bench = Bench::new();
    let root = bench.dir.path().join("etc");
    fs::create_dir(&root).expect("made");
    fs::write(root.join("app.conf"), "BAD\n").expect("written");
    let change = change(&root, "app.conf", "BAD\n", "GOOD\n", Target::File);
    bench.applier.apply(&change, now()).expect("applied");
    // The captured copy rots.
    fs::write(bench.state().join("undo/1a2b3c4d.1/before"), "B@D\n").expect("written");
    let broken = bench.applier.rollback(&change.id, now()).expect_err("no way back");
    assert!(matches!(broken, ApplyError::Broken { .. }), "{broken}");
    let why = bench.applier.read_only().expect("closed");
    assert!(why.contains("the captured copy is damaged"), "{why}");
    let other = Change { id: "other".to_owned(), before: b"GOOD\n".to_vec(), after: b"x\n".to_vec(), ..change };
    let refused = bench.applier.apply(&other, now()).expect_err("closed").to_string();
    assert!(refused.contains("mesh resume"), "{refused}");
    assert_eq!(fs::read_to_string(root.join("app.conf")).expect("there"), "GOOD\n");
    assert_eq!(read_only::open(&bench.state()).expect("opened"), Some(why));
    bench.applier.apply(&other, now()).expect("open again");
}

#[test]
fn t20_a_file_behind_a_link_or_with_two_names_is_not_changed() {
    let bench = Bench::new();
    let root = bench.dir.path().join("etc");
    fs::create_dir_all(root.join("conf.d")).expect("made");
    fs::write(bench.dir.path().join("outside"), "BAD\n").expect("written");
    fs::write(root.join("conf.d/twin"), "BAD\n").expect("written");
    fs::hard_link(root.join("conf.d/twin"), bench.dir.path().join("twin")).expect("linked");
    symlink("../outside", root.join("link")).expect("linked");
    symlink("..", root.join("up")).expect("linked");
    let before = files(bench.dir.path());
    for path in ["link", "up/outside", "../outside", "conf.d/twin", "conf.d", "gone"] {
        let change = change(&root, path, "BAD\n", "GOOD\n", Target::File);
        bench.applier.apply(&change, now()).expect_err(path);
        let _state = fs::remove_dir_all(bench.state());
        assert_eq!(files(bench.dir.path()), before, "{path}");
    }
}

#[test]
fn recovery_of_what_is_in_place_says_so_each_time() {
    let bench = Bench::new();
    let project = Project::new_in(bench.dir.path(), &[("a.py", "BAD\n")]);
    let change = on_branch(&project, "a.py", "BAD\n", "GOOD\n");
    assert_eq!(bench.applier.recover(&change.id, now()).expect("nothing"), Recovered::Undone);
    let applied = bench.applier.apply(&change, now()).expect("applied");
    for _ in 0..2 {
        let said = bench.applier.recover(&change.id, now()).expect("recovered");
        assert_eq!(said, Recovered::Finished(applied.clone()));
    }
    bench.applier.settle(&change.id).expect("judged");
    assert!(bench.applier.pending().expect("read").is_empty());
    bench.applier.rollback(&change.id, now()).expect("also later");
    assert_eq!(bench.applier.recover(&change.id, now()).expect("recovered"), Recovered::RolledBack);
    assert_eq!(fs::read_to_string(project.root.join("a.py")).expect("there"), "BAD\n");
}

/// Lets no file of this process grow beyond so many bytes.
fn limit_files(bytes: Option<u64>) {
    let hard = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: bytes.or(hard), maximum: hard }).expect("limited");
}

#[test]
#[ignore = "without_room_the_old_file_stays runs it in a process of its own, since it starves all of it"]
fn starved() {
    let large = "x".repeat(8 * 1024);
    let (before, after) = (format!("BAD\n{large}"), format!("GOOD\n{large}"));
    for (in_git, point) in [
        (false, "apply.journaled"),
        (true, "apply.journaled"),
        (true, "apply.object-written"),
        (true, "apply.file-replaced"),
        (true, "apply.ref-moved"),
    ] {
        let bench = Bench::new();
        let project = Project::new_in(bench.dir.path(), &[("a.py", &before)]);
        for number in 0..60 {
            project.write(&format!("file-{number}"), "");
        }
        project.commit_all("an index of some size");
        let mut change = on_branch(&project, "a.py", &before, &after);
        if !in_git {
            fs::remove_dir_all(project.root.join(".git")).expect("removed");
            change.target = Target::File;
        }
        let found = files(&project.root);
        at(point, || limit_files(Some(2 * 1024)));
        let refused = bench.applier.apply(&change, now());
        limit_files(None);
        let refused = refused.expect_err(point);
        assert!(matches!(refused, ApplyError::Untouched { .. } | ApplyError::Undone { .. }), "{point}: {refused}");
        assert_eq!(files(&project.root), found, "{point}");
        if in_git {
            assert_eq!(project.git(&["log", "--format=%s", "main"]), "an index of some size\nstart", "{point}");
            assert_eq!(project.git(&["status", "--porcelain"]), "", "{point}");
            leftovers(&project);
        }
        assert!(bench.applier.read_only().is_none(), "{point}");
        // With room again, it works.
        for id in bench.applier.pending().expect("read") {
            assert_eq!(bench.applier.recover(&id, now()).expect("recovered"), Recovered::Undone, "{point}");
        }
        bench.applier.apply(&change, now()).expect(point);
        assert_eq!(fs::read_to_string(project.root.join("a.py")).expect("there"), after, "{point}");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a shell lets a write beyond the limit fail instead of kill")]
fn without_room_the_old_file_stays() {
    let this = std::env::current_exe().expect("known");
    let output = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"])
        .arg(this)
        .args(["--ignored", "--exact", "apply::starved"])
        .output()
        .expect("sh is there");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}");
}
