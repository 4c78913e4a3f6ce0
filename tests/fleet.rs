//! The whole mesh as any host shows it from the shared branch alone, and every state of a peer as programs are told it.

use jiff::{SignedDuration, Timestamp};
use mesh::domain::branch_path;
use mesh::domain::chain::{PeerState, Position};
use mesh::domain::envelope::{Envelope, HostKey, Kind};
use mesh::domain::head::{Head, Seen};
use mesh::domain::id::HostId;
use mesh::domain::{entry, limits, openssh};
use mesh::ports::Clock as _;
use mesh::store::db::Db;
use mesh::store::peer_log::{EntryRow, PeerNews, PeerRow};
use mesh::sys::clock::SystemClock;
use serde_json::{Value, json};

use crate::support::homes::Host;
use crate::support::host::{bare_chain, chain_files, head_file, mesh_name};
use crate::support::project::git;
use crate::support::sample;

/// A remote of bare files, and one host that reads it.
struct Branch {
    dir: tempfile::TempDir,
    reader: Host,
    now: Timestamp,
}

type Files = Vec<(String, Vec<u8>)>;

impl Branch {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temp dir");
        git(dir.path(), &["init", "-q", "--bare", "remote.git"]);
        git(dir.path(), &["init", "-q", "-b", "mesh", "work"]);
        let remote = dir.path().join("remote.git");
        let reader = Host::new(dir.path(), "reader", remote.to_str().expect("UTF-8"));
        let now = SystemClock.now();
        Self { dir, reader, now }
    }

    /// Puts these files on the branch, and takes away what is empty.
    fn put(&self, files: &Files) {
        let work = self.dir.path().join("work");
        let remote = self.dir.path().join("remote.git");
        let remote = remote.to_str().expect("UTF-8");
        if !git(&work, &["ls-remote", remote, "mesh"]).is_empty() {
            git(&work, &["pull", "-q", "--ff-only", remote, "mesh"]);
        }
        for (path, bytes) in files {
            let path = work.join(path);
            std::fs::create_dir_all(path.parent().expect("below the root")).expect("made");
            if bytes.is_empty() { std::fs::remove_file(&path) } else { std::fs::write(&path, bytes) }.expect("changed");
        }
        git(&work, &["add", "-A"]);
        git(&work, &["-c", "user.name=x", "-c", "user.email=x", "commit", "-q", "-m", "x"]);
        git(&work, &["push", "-q", remote, "HEAD:mesh"]);
    }

    /// A peer, enrolled under the name of the state that it is to have.
    fn enroll(&self, state: PeerState) -> HostKey {
        let key = HostKey::from_seed(&[seed(state); 32]);
        self.reader.ok(&["enroll", state.name(), &openssh::public_line(key.host(), "x")]);
        key
    }

    fn head(&self, key: &HostKey, n: u64, end: &Position) -> (String, Vec<u8>) {
        let head = Head::next(&mesh_name(), key.host(), n, end, vec![], self.now);
        (branch_path::head(key.host()), head_file(key, &head))
    }

    /// Notes that this entry, and so all before it, was verified.
    fn has_read(&self, host: HostId, seq: u64, file: &[u8]) {
        let mut db = Db::open(&self.reader.home.join("state/mesh.db")).expect("opened");
        let envelope = Envelope::parse(file).expect("well-formed");
        let id = envelope.entry_id();
        let row = PeerRow { position: Position { seq, tip: Some(id) }, ..PeerRow::unseen(host, self.now) };
        let mut news = PeerNews::of(row);
        let (payload_type, envelope) = (envelope.payload_type().to_owned(), file.to_vec());
        news.entries.push(EntryRow { seq, id, payload_type, envelope });
        db.record_peer(&news, self.now).expect("recorded");
    }

    fn status(&self) -> (Option<i32>, Value) {
        let output = self.reader.run(&["--json", "status"]);
        (output.status.code(), serde_json::from_slice(&output.stdout).expect("JSON"))
    }
}

#[test]
fn every_state_of_a_peer_is_told_to_programs_by_its_name_with_a_reason_and_an_exit_code() {
    let branch = Branch::new();
    let mut keys = std::collections::BTreeMap::new();
    for state in PeerState::ALL {
        keys.insert(state.name(), branch.enroll(state));
    }
    let key = |state: PeerState| &keys[state.name()];
    let chain = |state: PeerState, count| chain_files(key(state), Position::default(), count, branch.now);
    let mut files = Files::new();

    // What stands on the branch at first.
    for state in PeerState::ALL {
        let count = match state {
            PeerState::Unseen | PeerState::Behind | PeerState::Flooded => continue,
            PeerState::Gap | PeerState::Reorder | PeerState::Replay => 3,
            _ => 2,
        };
        let (mut log, end) = chain(state, count);
        let mut head = branch.head(key(state), 2, &end);
        let id = key(state).host();
        match state {
            PeerState::Withheld => drop(log.pop()),
            PeerState::Gap => drop(log.remove(1)),
            // The third entry in the place of the second; the first in that of the third.
            PeerState::Reorder => log[1].1 = log[2].1.clone(),
            PeerState::Replay => log[2].1 = log[0].1.clone(),
            PeerState::Graft => log[1].1 = chain(PeerState::Ok, 2).0[1].1.clone(),
            PeerState::Invalid => log[1].1 = b"{}".to_vec(),
            PeerState::Stale => {
                let old = branch.now - SignedDuration::from_hours(72);
                head.1 = head_file(key(state), &Head::next(&mesh_name(), id, 2, &end, vec![], old));
            }
            _ => {}
        }
        files.extend(log);
        files.push(head);
    }
    let (log, end) = bare_chain(seed(PeerState::Behind), Position::default(), 600, branch.now);
    files.extend(log);
    files.push(branch.head(key(PeerState::Behind), 1, &end));
    // 20,000 entries take minutes to be signed and read: the database is told of all but the last.
    let before = Position { seq: limits::ENTRIES_PER_PEER - 1, tip: chain(PeerState::Ok, 1).1.tip };
    let (log, end) = bare_chain(seed(PeerState::Flooded), before, 2, branch.now);
    branch.has_read(key(PeerState::Flooded).host(), limits::ENTRIES_PER_PEER, &log[0].1);
    files.extend(log);
    files.push(branch.head(key(PeerState::Flooded), 1, &end));
    branch.put(&files);
    branch.reader.run(&["sync", "--once"]);

    // What the server and others do afterwards.
    let (_, end) = chain(PeerState::Rollback, 1);
    let old = branch.head(key(PeerState::Rollback), 1, &end);
    let forked = key(PeerState::Quarantined);
    let lesson = sample::lesson("another");
    let other = |key: &HostKey, from: &Position| {
        let header = from.next_header(&mesh_name(), key.host(), branch.now);
        Envelope::seal(key, Kind::Lesson, entry::payload(&header, &lesson).expect("small"))
    };
    let second = other(forked, &chain(PeerState::Quarantined, 1).1);
    let split = key(PeerState::Split);
    let seen = Seen { host: split.host(), seq: 1, tip: other(split, &Position::default()).entry_id() };
    let (_, end) = chain(PeerState::Ok, 2);
    let witness = Head::next(&mesh_name(), key(PeerState::Ok).host(), 3, &end, vec![seen], branch.now);
    branch.put(&vec![
        old,
        (branch_path::entry(key(PeerState::Rollback).host(), 2), Vec::new()),
        (branch_path::entry(forked.host(), 2), second.to_file()),
        (branch_path::head(key(PeerState::Ok).host()), head_file(key(PeerState::Ok), &witness)),
    ]);
    branch.reader.ok(&["revoke", "revoked"]);
    branch.reader.run(&["sync", "--once"]);

    let (code, status) = branch.status();
    let told = |state: PeerState| {
        let peers = status["peers"].as_array().expect("a list");
        peers.iter().find(|peer| peer["name"] == state.name()).unwrap_or_else(|| panic!("{}: {status:#}", state.name()))
    };
    let wrong: Vec<_> = PeerState::ALL
        .into_iter()
        .filter(|state| told(*state)["state"] != state.name())
        .map(|state| told(state).clone())
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    for state in PeerState::ALL.into_iter().filter(|state| state.is_alarm()) {
        assert!(told(state)["why"].as_str().is_some_and(|why| !why.is_empty()), "{:#}", told(state));
    }
    assert_eq!(code, Some(4), "the worst of them is quarantined");
    for (state, code) in [(PeerState::Ok, 0), (PeerState::Stale, 5), (PeerState::Gap, 3), (PeerState::Quarantined, 4)] {
        assert_eq!(branch.reader.run(&["peers", "show", state.name()]).status.code(), Some(code), "{}", state.name());
    }
}

/// The seed of the key that is to have this state.
fn seed(state: PeerState) -> u8 {
    let place = PeerState::ALL.iter().position(|one| *one == state).expect("one of all");
    u8::try_from(place + 1).expect("few")
}

#[test]
fn k5_any_host_shows_the_whole_mesh_from_the_branch_alone() {
    let dir = tempfile::tempdir().expect("a temp dir");
    git(dir.path(), &["init", "-q", "--bare", "remote.git"]);
    let remote = dir.path().join("remote.git");
    let hosts = ["a", "b", "c"].map(|name| Host::new(dir.path(), name, remote.to_str().expect("UTF-8")));
    let [a, b, c] = &hosts;
    let early = a.run(&["fleet"]);
    assert_eq!(early.status.code(), Some(2), "the branch was not read yet");
    a.enroll("bee", b);
    b.enroll("a", a);
    a.author("first");
    a.ok(&["outbox", "publish", "first"]);
    for host in [c, b, a] {
        host.ok(&["sync", "--once"]);
    }
    let fleet = a.json(&["fleet"]);
    let hosts = fleet["hosts"].as_array().expect("a list");
    let told: Vec<_> =
        hosts.iter().map(|host| json!([host["name"], host["state"], host["seq"], host["sees_us"]])).collect();
    assert_eq!(
        told,
        [json!(["a", "here", 1, null]), json!(["bee", "ok", 0, 1]), json!(["c", "not enrolled", 0, null])]
    );
    assert!(hosts.iter().all(|host| host["agent"] == concat!("mesh/", env!("CARGO_PKG_VERSION"))), "{fleet:#}");
    let said = a.ok(&["fleet"]);
    assert!(said.lines().any(|line| line.starts_with("bee ") && line.contains("1 of 1")), "{said}");

    // A head that its host did not sign says nothing; a peer without a place is named.
    let work = dir.path().join("work");
    git(dir.path(), &["clone", "-q", "-b", "mesh", remote.to_str().expect("UTF-8"), "work"]);
    let key: HostId = c.ok(&["id", "--hex"]).trim().parse().expect("an id");
    std::fs::write(work.join(branch_path::head(key)), "{}").expect("written");
    git(&work, &["-c", "user.name=x", "-c", "user.email=x", "commit", "-q", "-a", "-m", "x"]);
    git(&work, &["push", "-q"]);
    let stranger = HostKey::from_seed(&[9; 32]).host();
    a.ok(&["enroll", "absent", &openssh::public_line(stranger, "x")]);
    a.ok(&["sync", "--once"]);
    let fleet = a.json(&["fleet"]);
    assert_eq!((&fleet["hosts"][2]["seq"], &fleet["not_on_branch"]), (&Value::Null, &json!(["absent"])));
}
