//! The admins' list through the real program: hosts that ask, are listed, and work together without having enrolled each
//! other; two of three admins who sign the same file on two machines; a host taken off; a list that ran out.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use mesh::sys::clock::AHEAD;
use serde_json::{Value, json};

use crate::support::homes::Host;
use crate::support::project::git;

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;
const HALF_A_YEAR: &str = "16000000";

/// Three homes and a remote. The admin's key is in the first home; the others have pinned it.
struct Mesh {
    dir: tempfile::TempDir,
    hosts: Vec<Host>,
}

impl Mesh {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temp dir");
        git(dir.path(), &["init", "-q", "--bare", "remote.git"]);
        let remote = dir.path().join("remote.git");
        let remote = remote.to_str().expect("UTF-8");
        let a = Host::new(dir.path(), "a", remote);
        let made = a.json(&["admin", "init"]);
        assert_eq!(made["begun"], true);
        let line = made["line"].as_str().expect("a line").to_owned();
        let mut hosts = vec![a];
        for name in ["b", "c"] {
            let host = Host { home: dir.path().join(name) };
            let set_up = ["init", "--name", name, "--mesh", "home", "--remote", remote, "--admin", &line];
            let said = host.json(&set_up);
            assert_eq!(said["admins"], json!([made["admin"]]));
            host.ok(&["sync", "--once"]);
            hosts.push(host);
        }
        Self { dir, hosts }
    }

    fn fingerprint(&self, host: usize) -> String {
        self.hosts[host].ok(&["id", "--fingerprint"]).trim().to_owned()
    }

    /// Lists B and C, and publishes version 1.
    fn listed() -> Self {
        let mesh = Self::new();
        let a = &mesh.hosts[A];
        a.ok(&["sync", "--once"]);
        for (host, name) in [(B, "b"), (C, "c")] {
            a.json(&["admin", "add", name, "--fingerprint", &mesh.fingerprint(host)]);
        }
        assert_eq!(a.json(&["admin", "sign"])["complete"], true);
        assert_eq!(a.json(&["admin", "publish"])["sent"], true);
        mesh.sync();
        mesh
    }

    /// One sync of each host.
    fn sync(&self) {
        self.hosts.iter().for_each(|host| drop(host.ok(&["sync", "--once"])));
    }

    fn roster(&self, host: usize) -> Value {
        self.hosts[host].json(&["peers"])["roster"].clone()
    }

    /// Publishes a lesson; then whether every other host has it.
    fn lesson(&self, of: usize, id: &str) -> Vec<bool> {
        self.hosts[of].author(id);
        self.hosts[of].ok(&["outbox", "publish", id]);
        let others = self.hosts.iter().enumerate().filter(|(host, _)| *host != of);
        let has = |host: &Host| {
            host.ok(&["sync", "--once"]);
            let inbox = host.json(&["inbox", "list"]);
            let entries = inbox["entries"].as_array().expect("a list").clone();
            entries.iter().any(|entry| entry["lesson"] == id)
        };
        others.map(|(_, host)| has(host)).collect()
    }
}

/// Runs a command that fails; its exit code, and the error as JSON.
fn refused(host: &Host, arguments: &[&str]) -> (i32, Value) {
    let output = host.run(&[&["--json"], arguments].concat());
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    let error =
        serde_json::from_str::<Value>(&stderr).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {stderr}"));
    (output.status.code().expect("it ends by itself"), error["error"].clone())
}

/// The file as it arrives on another machine.
fn copied(from: &Path, to: &Host) -> PathBuf {
    let copy = to.home.join("state").join("from-another-admin.json");
    std::fs::copy(from, &copy).expect("copied");
    copy
}

#[test]
fn f04_three_hosts_ask_are_listed_and_share_lessons_though_none_enrolled_another() {
    let mesh = Mesh::new();
    let a = &mesh.hosts[A];
    assert_eq!(refused(a, &["requests"]).0, 2, "the branch was not read yet");
    a.ok(&["sync", "--once"]);
    let asked = a.json(&["requests"]);
    let asked: Vec<_> = asked["requests"].as_array().expect("a list").iter().map(|one| &one["fingerprint"]).collect();
    assert_eq!(asked, [&mesh.fingerprint(B), &mesh.fingerprint(C)]);
    assert!(a.ok(&["requests"]).contains("mesh admin add NAME --fingerprint FP"));

    // Only the fingerprint of somebody who asks will do.
    let stranger = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    assert_eq!(refused(a, &["admin", "add", "b", "--fingerprint", stranger]).0, 3);
    assert_eq!(refused(a, &["enroll", "b", "--fingerprint", stranger]).0, 3);
    assert_eq!(refused(a, &["admin", "add", "b"]).0, 2, "no key");
    assert_eq!(refused(&mesh.hosts[B], &["admin", "sign"]).0, 2, "there is no admin's key in that home");
    assert_eq!(refused(&mesh.hosts[B], &["admin", "show"]).1["code"], "usage");

    // A key for which anybody can sign anything is taken nowhere.
    let mut weak = b"\0\0\0\x0bssh-ed25519\0\0\0\x20\x01".to_vec();
    weak.resize(weak.len() + 31, 0);
    let weak = format!("ssh-ed25519 {} x", base64::engine::general_purpose::STANDARD.encode(weak));
    for arguments in [&["enroll", "x", &weak][..], &["admin", "add", "x", &weak], &["admin", "add", "--admin", &weak]] {
        let (code, error) = refused(a, arguments);
        assert!(
            code == 2 && error["message"].as_str().is_some_and(|why| why.contains("weak")),
            "{arguments:?}: {error}"
        );
    }

    // B is enrolled here as well, with less than the list allows.
    a.ok(&["enroll", "b", "--fingerprint", &mesh.fingerprint(B), "--grant", "audit"]);
    for (host, name) in [(B, "b"), (C, "c")] {
        let draft = a.json(&["admin", "add", name, "--fingerprint", &mesh.fingerprint(host), "--grant", "apply"]);
        assert_eq!((&draft["version"], draft["hosts"].as_array().map(Vec::len)), (&json!(1), Some(host + 1)));
    }
    let (code, error) = refused(a, &["admin", "publish"]);
    assert_eq!((code, error["code"].as_str()), (2, Some("usage")), "nothing was signed: {error}");
    assert_eq!(refused(a, &["admin", "sign", "--valid", "soon"]).0, 2);
    let signed = a.json(&["admin", "sign"]);
    assert_eq!((&signed["complete"], &signed["signed"], &signed["needed"]), (&json!(true), &json!(1), &json!(1)));
    let published = a.json(&["admin", "publish"]);
    assert_eq!((&published["version"], &published["sent"]), (&json!(1), &json!(true)));
    assert_eq!(refused(a, &["admin", "publish", signed["file"].as_str().expect("a path")]).0, 3, "version 1 again");

    mesh.sync();
    mesh.sync();
    for host in 0..3 {
        let peers = mesh.hosts[host].json(&["peers"]);
        let known = peers["peers"].as_array().expect("a list");
        assert_eq!((known.len(), &peers["roster"]["state"]), (2, &json!("ok")), "{peers:#}");
        assert!(known.iter().all(|peer| peer["state"] == "ok"), "{peers:#}");
        mesh.hosts[host].ok(&["status"]);
        mesh.hosts[host].ok(&["fsck"]);
    }
    let grants = a.json(&["peers"]);
    assert_eq!((&grants["peers"][0]["grant"], &grants["peers"][1]["grant"]), (&json!("audit"), &json!("apply")));
    assert_eq!(mesh.lesson(B, "of-b"), [true, true]);
    assert_eq!(mesh.lesson(C, "of-c"), [true, true]);
}

#[test]
fn t28_two_of_three_admins_sign_one_file_on_two_machines_and_one_alone_publishes_nothing() {
    let mesh = Mesh::listed();
    let a = &mesh.hosts[A];
    for host in [B, C] {
        let made = mesh.hosts[host].json(&["admin", "init"]);
        assert_eq!(made["begun"], false, "the list is begun already");
        let line = made["line"].as_str().expect("a line").to_owned();
        a.json(&["admin", "add", "--admin", &line]);
    }
    let draft = a.json(&["admin", "add", "--threshold", "2"]);
    assert_eq!((&draft["threshold"], draft["admins"].as_array().map(Vec::len)), (&json!(2), Some(3)));
    assert!(a.ok(&["admin", "show"]).contains("version 2, 2 of 3 admins must sign"));
    assert_eq!(refused(a, &["admin", "add", "--threshold", "4"]).0, 2);

    let signed = a.json(&["admin", "sign"]);
    assert_eq!((&signed["complete"], &signed["signed"], &signed["needed"]), (&json!(false), &json!(1), &json!(2)));
    let again = a.json(&["admin", "sign", signed["file"].as_str().expect("a path")]);
    assert_eq!(again["signed"], 1, "who signs twice is one admin");
    let (code, error) = refused(a, &["admin", "publish"]);
    assert_eq!((code, error["code"].as_str()), (3, Some("verification")));
    assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("mesh admin sign FILE")), "{error}");
    assert_eq!(mesh.roster(A)["version"], 1);

    let file = copied(Path::new(signed["file"].as_str().expect("a path")), &mesh.hosts[B]);
    let file = file.to_str().expect("UTF-8");
    let second = mesh.hosts[B].json(&["admin", "sign", file]);
    assert_eq!((&second["complete"], &second["signed"]), (&json!(true), &json!(2)));
    assert_eq!(mesh.hosts[B].json(&["admin", "publish", file])["sent"], true);
    mesh.sync();
    for host in 0..3 {
        assert_eq!((&mesh.roster(host)["version"], &mesh.roster(host)["state"]), (&json!(2), &json!("ok")));
    }

    // Two of the three suffice, whichever: A may be lost.
    let (b, c) = (&mesh.hosts[B], &mesh.hosts[C]);
    b.json(&["admin", "add", "b", b.ok(&["id"]).trim(), "--grant", "apply"]);
    let signed = b.json(&["admin", "sign"]);
    let file = copied(Path::new(signed["file"].as_str().expect("a path")), c);
    let file = file.to_str().expect("UTF-8");
    assert_eq!(c.json(&["admin", "sign", file])["complete"], true);
    assert_eq!(c.json(&["admin", "publish", file])["version"], 3);
    mesh.sync();
    assert_eq!(mesh.roster(A)["version"], 3);
    // A's old signature on version 2 is worth nothing more, and its draft would follow version 3.
    assert_eq!(a.json(&["admin", "show"])["version"], 4);
}

#[test]
fn t27_a_host_that_is_taken_off_the_list_is_believed_no_further_anywhere() {
    let mesh = Mesh::listed();
    assert_eq!(mesh.lesson(C, "before"), [true, true]);
    let a = &mesh.hosts[A];
    assert_eq!(refused(a, &["admin", "remove", "nobody"]).0, 2);
    let draft = a.json(&["admin", "remove", "c"]);
    assert_eq!((draft["hosts"].as_array().map(Vec::len), &draft["revoked"][0]["trust_through"]), (Some(2), &json!(1)));
    a.json(&["admin", "sign"]);
    assert!(a.ok(&["admin", "publish"]).contains("stay believed"));
    assert_eq!(mesh.lesson(C, "after"), [false, false]);
    for host in [A, B] {
        let inbox = mesh.hosts[host].json(&["inbox", "list"]);
        let lessons: Vec<_> = inbox["entries"].as_array().expect("a list").iter().map(|one| &one["lesson"]).collect();
        assert_eq!(lessons, ["before"]);
        let peers = mesh.hosts[host].json(&["peers"]);
        let names: Vec<_> = peers["peers"].as_array().expect("a list").iter().map(|peer| &peer["name"]).collect();
        assert_eq!(names, [if host == A { "b" } else { "a" }]);
    }
    // A stolen key is believed in nothing, and its name may have a new key.
    a.json(&["admin", "remove", "b", "--compromised"]);
    let draft = a.json(&["admin", "show"]);
    let revoked = draft["revoked"].as_array().expect("a list");
    assert!(
        revoked.iter().any(|one| one["key"] == mesh.hosts[B].ok(&["id", "--hex"]).trim() && one["trust_through"] == 0)
    );
}

#[test]
fn t08_a_list_that_ran_out_is_said_with_exit_5_until_a_new_one_is_signed() {
    let mesh = Mesh::listed();
    mesh.hosts[B].ok(&["status"]);
    let later = |host: &Host, arguments: &[&str]| {
        let output = host.command(arguments).env(AHEAD, HALF_A_YEAR).output().expect("the binary starts");
        (output.status.code(), String::from_utf8(output.stdout).expect("UTF-8"))
    };
    let (code, said) = later(&mesh.hosts[B], &["--json", "status"]);
    assert_eq!(code, Some(5));
    let status: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((&status["roster"]["state"], &status["roster"]["version"]), (&json!("stale"), &json!(1)));
    assert!(status["roster"]["why"].as_str().is_some_and(|why| why.contains("expired")), "{status:#}");
    let (_, said) = later(&mesh.hosts[B], &["peers"]);
    assert!(said.contains("is not to be relied on") && said.contains("audited at most"), "{said}");

    for arguments in [&["admin", "sign", "--valid", "30d"][..], &["admin", "publish"]] {
        assert_eq!(later(&mesh.hosts[A], arguments).0, Some(0), "{arguments:?}");
    }
    // Half a year of silence makes the other hosts stale, and that is said as well.
    assert_eq!(later(&mesh.hosts[B], &["sync", "--once"]).0, Some(5));
    let (_, said) = later(&mesh.hosts[B], &["--json", "peers"]);
    let peers: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((&peers["roster"]["state"], &peers["roster"]["version"]), (&json!("ok"), &json!(2)));
    let remote = mesh.dir.path().join("remote.git");
    let lists = git(&remote, &["ls-tree", "-r", "--name-only", "mesh", "roster/"]);
    assert_eq!(lists.lines().collect::<Vec<_>>(), ["roster/0000000001.json", "roster/0000000002.json"]);
}
