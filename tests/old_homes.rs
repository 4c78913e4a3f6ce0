//! Homes of earlier versions, each made by the program of its time (`scripts/keep-home`): all that was in them is still there.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::homes::Host;

/// What is listed, and what of each row must never change.
const LISTINGS: [(&str, &[&str], &str, &[&str]); 4] = [
    ("outbox.json", &["outbox", "list"], "entries", &["seq", "entry", "kind", "lesson", "state", "signed_at"]),
    ("inbox.json", &["inbox", "list"], "entries", &["host", "seq", "entry", "lesson", "state", "received_at"]),
    ("fix.json", &["fix", "list"], "fixes", &["id", "lesson", "state", "path", "branch", "commit", "created_at"]),
    ("peers.json", &["peers"], "peers", &["name", "host", "grant", "seq", "tip", "head"]),
];

fn rows(listing: &Value, of: &str, names: &[&str]) -> Vec<Vec<Value>> {
    let rows = listing[of].as_array().unwrap_or_else(|| panic!("no {of} in {listing:#}"));
    rows.iter().map(|row| names.iter().map(|name| row[name].clone()).collect()).collect()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the archive is unpacked by tar")]
fn j6_every_home_that_was_kept_loads_with_all_that_was_in_it() {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/homes");
    let archives: Vec<_> = fs::read_dir(&kept).expect("there").map(|entry| entry.expect("read").path()).collect();
    assert_ne!(archives, Vec::<std::path::PathBuf>::new(), "scripts/keep-home keeps one at each release");
    for archive in archives {
        let above = tempfile::tempdir().expect("a temp dir");
        let unpacked = Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(above.path()).status();
        assert!(unpacked.expect("tar is installed (apt-get install tar)").success(), "{}", archive.display());
        let host = Host { home: above.path().join("home") };
        host.ok(&["fsck"]);
        for (file, arguments, of, names) in LISTINGS {
            let then = fs::read_to_string(above.path().join(file)).expect("kept");
            let then = rows(&serde_json::from_str(&then).expect("JSON"), of, names);
            assert_ne!(then, Vec::<Vec<Value>>::new(), "{}: {file} has something to lose", archive.display());
            let output = host.run(&[&["--json"], arguments].concat());
            let now = serde_json::from_slice(&output.stdout).expect("JSON");
            assert_eq!(rows(&now, of, names), then, "{}: {file}", archive.display());
        }
    }
}
