//! The program killed by SIGKILL at each named point between sign, push and confirm, and of a move to a new key.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;

use crate::support::homes::Host;
use crate::support::project::git;

const POINTS: [&str; 5] =
    ["sign.before-persist", "sign.persisted", "publish.before-push", "publish.pushed", "publish.confirmed"];

fn log_files(remote: &Path) -> Vec<String> {
    let listed = git(remote, &["ls-tree", "-r", "--name-only", "mesh"]);
    listed.lines().filter(|path| path.contains("/log/")).map(str::to_owned).collect()
}

#[test]
fn killed_at_any_point_a_lesson_is_neither_lost_nor_doubled() {
    for point in POINTS {
        let dir = tempfile::tempdir().expect("a temp dir");
        let remote = dir.path().join("remote.git");
        git(dir.path(), &["init", "-q", "--bare", "remote.git"]);
        let address = remote.to_str().expect("UTF-8");
        let (author, reader) = (Host::new(dir.path(), "author", address), Host::new(dir.path(), "reader", address));
        reader.enroll("author", &author);
        author.author("first");
        let killed = author.command(&["outbox", "publish", "first"]).env("MESH_CRASH_AT", point).output();
        let status = killed.expect("the binary starts").status;
        assert_eq!(status.signal(), Some(9), "{point}: it was to be killed, and ended with {status}");

        author.ok(&["sync", "--once"]);
        author.ok(&["sync", "--once"]);
        author.author("second");
        author.ok(&["outbox", "publish", "second"]);
        let outbox = author.json(&["outbox", "list"]);
        let states: Vec<_> =
            outbox["entries"].as_array().expect("a list").iter().map(|entry| &entry["state"]).collect();
        assert_eq!(states, ["published", "published"], "{point}");
        assert_eq!(outbox["drafts"], serde_json::json!([]), "{point}");
        assert_eq!(log_files(&remote).len(), 2, "{point}: {:?}", log_files(&remote));
        assert_eq!(std::fs::read_dir(author.home.join("outbox")).expect("there").count(), 0, "{point}");
        author.ok(&["fsck"]);

        reader.ok(&["sync", "--once"]);
        let inbox = reader.json(&["inbox", "list"]);
        let mut lessons: Vec<_> =
            inbox["entries"].as_array().expect("a list").iter().map(|entry| &entry["lesson"]).collect();
        lessons.sort_by_key(|lesson| lesson.to_string());
        assert_eq!(lessons, ["first", "second"], "{point}");
        assert_eq!(reader.json(&["peers"])["peers"][0]["state"], "ok", "{point}");
        reader.ok(&["fsck"]);
    }
}

/// Every point of `mesh rotate`, in the order in which it passes them. Those of `publish` come twice: with the old key's
/// last entry, and, behind the `/`, in the sync after the move with the new key's first.
const MOVE_POINTS: [&str; 13] = [
    "rotate.key-made",
    "rotate.before-persist",
    "rotate.persisted",
    "publish.before-push",
    "publish.pushed",
    "publish.confirmed",
    "rotate.before-switch",
    "rotate.switched",
    "rotate.key-replaced",
    "rotate.public-replaced",
    "rotate.done",
    "rotate.done/publish.before-push",
    "rotate.done/publish.pushed",
];

/// The host that the key files stand for; they must agree with each other.
fn key_files(host: &Host) -> String {
    let line = std::fs::read_to_string(host.home.join("keys/host.pub")).expect("there");
    assert_eq!(host.ok(&["id"]).split_whitespace().nth(1), line.split_whitespace().nth(1), "one key in both files");
    host.json(&["id"])["host"].as_str().expect("an id").to_owned()
}

#[test]
fn killed_at_any_point_a_move_is_finished_by_the_next_sync_and_no_two_keys_are_in_use() {
    let dir = tempfile::tempdir().expect("a temp dir");
    let remote = dir.path().join("remote.git");
    git(dir.path(), &["init", "-q", "--bare", "remote.git"]);
    let address = remote.to_str().expect("UTF-8");
    let (author, reader) = (Host::new(dir.path(), "author", address), Host::new(dir.path(), "reader", address));
    reader.enroll("author", &author);
    author.ok(&["sync", "--once"]);
    for (number, points) in MOVE_POINTS.iter().enumerate() {
        let before = key_files(&author);
        let mut arguments: &[&str] = &["rotate"];
        for point in points.split('/') {
            let killed = author.command(arguments).env("MESH_CRASH_AT", point).output();
            let status = killed.expect("the binary starts").status;
            assert_eq!(status.signal(), Some(9), "{points}: it was to be killed at {point}, and ended with {status}");
            arguments = &["sync", "--once"];
        }
        author.ok(&["sync", "--once"]);
        let after = key_files(&author);
        assert_ne!(before, after, "{points}: the move is finished");
        assert!(!author.home.join("keys/next.key").exists(), "{points}");
        let lesson = format!("lesson-{number}");
        author.author(&lesson);
        author.ok(&["outbox", "publish", &lesson]);
        // The old key's last entry, the new key's first and the lesson, each once.
        assert_eq!(log_files(&remote).len(), 3 * (number + 1), "{points}: {:?}", log_files(&remote));

        reader.ok(&["sync", "--once"]);
        reader.ok(&["sync", "--once"]);
        let peers = reader.json(&["peers"]);
        let peers = peers["peers"].as_array().expect("a list");
        let state_of = |host: &str| peers.iter().find(|peer| peer["host"] == host).map(|peer| &peer["state"]);
        assert_eq!(state_of(&after).expect("followed"), "ok", "{points}: {peers:#?}");
        assert_eq!(state_of(&before).expect("known"), "revoked", "{points}: {peers:#?}");
    }
    let inbox = reader.json(&["inbox", "list"]);
    let entries = inbox["entries"].as_array().expect("a list").iter();
    let mut lessons: Vec<_> = entries.map(|entry| entry["lesson"].as_str().expect("text").to_owned()).collect();
    lessons.sort();
    let mut wanted: Vec<_> = (0..MOVE_POINTS.len()).map(|number| format!("lesson-{number}")).collect();
    wanted.sort();
    assert_eq!(lessons, wanted);
    author.ok(&["fsck"]);
    reader.ok(&["fsck"]);
}
