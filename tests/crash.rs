//! The agent killed by SIGKILL at each named point between sign, push and confirm.

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
