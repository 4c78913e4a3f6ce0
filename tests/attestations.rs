//! Outcomes of interventions, from the host that saw them to what others make of them.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::SignedDuration;
use mesh::domain::attest::{Attestation, Environment, Holds, Observed, Outcome, Predicted, Support, Voice};
use mesh::domain::chain::PeerState;
use mesh::domain::entry::{self, EntryError};
use mesh::domain::envelope::{Envelope, HostKey, Kind, PublicKey};
use mesh::domain::finding::Fingerprint;
use mesh::domain::id::EntryId;
use mesh::domain::lesson::Lesson;
use mesh::domain::trust::{Grant, PeerLine};
use mesh::domain::wave::Turn;
use mesh::loops::attest::{self, AttestError};
use mesh::loops::library::{self, Origin, Sources};
use mesh::ports::{Admission, Auditor, AuditorError, Mended, ScanProgress, ScanReport};
use mesh::store::db::Db;
use mesh::store::forks::Fork;
use mesh::store::home::Home;
use mesh::store::voices::Listener;

use crate::support::homes;
use crate::support::host::{World, bare_payload, mesh_name, publish_chain, sign_raw};
use crate::support::project::git;
use crate::support::sample;

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

fn attestation(entry: EntryId, intervention: &str, outcome: Outcome) -> Attestation {
    let holds = if outcome == Outcome::Validated { Holds::True } else { Holds::Unknown };
    Attestation {
        lesson: "a-lesson".parse().expect("a slug"),
        entry,
        intervention: intervention.to_owned(),
        outcome,
        short_window: false,
        predicted: Predicted { expr: "last(\"host.load1\") < 4".to_owned(), within: "7d".to_owned() },
        observed: Observed { check: Holds::Unknown, finding: Holds::True, signal: holds },
        environment: Environment { os: "linux".to_owned(), arch: "x86_64".to_owned(), distro: None },
        n: 1,
    }
}

fn queue(world: &mut World, host: usize, entry: EntryId, intervention: &str, outcome: Outcome) {
    let now = world.now;
    attest::queue(world.hosts[host].db_mut(), &attestation(entry, intervention, outcome), now).expect("queued");
}

/// Host A's lesson, which all other hosts have read, and its entry.
fn world_with_a_lesson(hosts: u8) -> (World, EntryId) {
    let mut world = World::of(hosts);
    world.publish(A, &["a-lesson"]);
    (1..usize::from(hosts)).for_each(|reader| drop(world.sync(reader)));
    let entry = world.hosts[A].signed()[0];
    (world, entry)
}

/// Twice, so that every host has read what every other one published.
fn sync_all(world: &mut World) {
    for _ in 0..2 {
        (0..world.hosts.len()).for_each(|host| drop(world.sync(host)));
    }
}

fn voices(world: &World, listener: usize, entry: EntryId) -> Vec<Voice> {
    let host = &world.hosts[listener];
    let listener =
        Listener { db: host.db(), keyring: &host.keyring, me: host.id(), max_grant: Grant::Apply, turn: Turn::Ordered };
    listener.voices(entry, "python/io", world.now).expect("read")
}

/// Validated, of, hosts.
fn counts(world: &World, listener: usize, entry: EntryId) -> (u32, u32, u32) {
    let support = Support::of(&voices(world, listener, entry));
    support.map_or((0, 0, 0), |support| (support.validated, support.of, support.hosts))
}

fn trust(world: &mut World, reader: usize, host: usize, options: &str) {
    let (name, key) = (world.hosts[host].name.clone(), world.hosts[host].id());
    let line = mesh::domain::openssh::public_line(key, "x");
    let line = PeerLine::parse(&format!("{options} {line}")).expect("a line");
    let host = &mut world.hosts[reader];
    host.keyring.enroll(&host.home, &name, line, false).expect("enrolled");
}

#[test]
fn outcomes_are_counted_on_every_host_with_its_own() {
    let (mut world, entry) = world_with_a_lesson(4);
    queue(&mut world, A, entry, "1a2b3c4d.1", Outcome::Validated);
    queue(&mut world, B, entry, "1a2b3c4d.1", Outcome::Validated);
    queue(&mut world, C, entry, "1a2b3c4d.1", Outcome::Reverted);
    sync_all(&mut world);
    for listener in [A, B, C, 3] {
        assert_eq!(counts(&world, listener, entry), (2, 3, 3), "{listener}");
    }
    assert_eq!((world.state(A, B), world.hosts[B].signed().len()), (PeerState::Ok, 1));
}

#[test]
fn the_same_host_attesting_five_times_counts_once() {
    let (mut world, entry) = world_with_a_lesson(3);
    for _ in 0..5 {
        queue(&mut world, B, entry, "1a2b3c4d.1", Outcome::Validated);
        world.sync(B);
    }
    world.sync(C);
    assert_eq!((world.hosts[B].signed().len(), counts(&world, C, entry)), (5, (1, 1, 1)));
    for attempt in 2..=5 {
        queue(&mut world, B, entry, &format!("1a2b3c4d.{attempt}"), Outcome::Validated);
    }
    world.sync(B);
    world.sync(C);
    assert_eq!((world.hosts[B].signed().len(), counts(&world, C, entry)), (9, (1, 1, 1)));
    assert_eq!(voices(&world, C, entry)[0].interventions, 5);
    assert_eq!(counts(&world, B, entry), (1, 1, 1), "nor here");
}

#[test]
fn the_last_word_of_a_host_is_heard() {
    let (mut world, entry) = world_with_a_lesson(3);
    for (outcome, wanted) in
        [(Outcome::Validated, (1, 1, 1)), (Outcome::Reverted, (0, 1, 1)), (Outcome::Unknown, (0, 0, 1))]
    {
        queue(&mut world, B, entry, "1a2b3c4d.1", outcome);
        world.sync(B);
        world.sync(C);
        assert_eq!((counts(&world, B, entry), counts(&world, C, entry)), (wanted, wanted));
    }
    // Of two that wait about one intervention only the later is signed.
    queue(&mut world, B, entry, "1a2b3c4d.1", Outcome::NoEffect);
    queue(&mut world, B, entry, "1a2b3c4d.1", Outcome::Validated);
    assert_eq!(world.sync(B).signed.len(), 1);
    world.sync(C);
    assert_eq!(counts(&world, C, entry), (1, 1, 1));
}

#[test]
fn another_revision_starts_at_nothing() {
    let (mut world, entry) = world_with_a_lesson(3);
    queue(&mut world, B, entry, "1a2b3c4d.1", Outcome::Validated);
    let now = world.now;
    world.hosts[A].queue(&Lesson { rev: 2, ..sample::lesson("a-lesson") }, now);
    sync_all(&mut world);
    let second = world.hosts[A].signed()[1];
    assert_eq!((counts(&world, C, entry), counts(&world, C, second)), ((1, 1, 1), (0, 0, 0)));
}

#[test]
fn only_enrolled_peers_that_may_audit_are_heard() {
    let (mut world, entry) = world_with_a_lesson(3);
    queue(&mut world, B, entry, "1a2b3c4d.1", Outcome::Validated);
    sync_all(&mut world);
    for (options, heard) in [
        ("grant=\"observe\"", 0),
        ("grant=\"audit\"", 1),
        ("grant=\"propose\",scope=\"systemd/*\"", 0),
        ("grant=\"propose\",scope=\"python/*\"", 1),
        ("grant=\"apply\",not-after=\"2026-11-21\"", 0),
        ("", 1),
    ] {
        trust(&mut world, C, B, options);
        assert_eq!(counts(&world, C, entry).2, heard, "{options}");
    }
    let host = &world.hosts[C];
    let deaf = Listener {
        db: host.db(),
        keyring: &host.keyring,
        me: host.id(),
        max_grant: Grant::Observe,
        turn: Turn::Ordered,
    };
    assert_eq!(deaf.voices(entry, "python/io", world.now).expect("read"), []);
    std::fs::remove_file(world.hosts[C].home.keys().join("peers/b.pub")).expect("removed");
    world.hosts[C].reopen();
    assert_eq!(counts(&world, C, entry), (0, 0, 0), "not enrolled any more");
}

#[test]
fn revoked_and_quarantined_hosts_have_no_voice() {
    let (mut world, entry) = world_with_a_lesson(4);
    for host in [A, B, C] {
        queue(&mut world, host, entry, "1a2b3c4d.1", Outcome::Validated);
    }
    sync_all(&mut world);
    assert_eq!(counts(&world, 3, entry), (3, 3, 3));
    let (name, now) = (world.hosts[B].name.clone(), world.now);
    let reader = &mut world.hosts[3];
    reader.keyring.revoke(&reader.home, &name, u64::MAX).expect("revoked");
    assert_eq!(counts(&world, 3, entry), (2, 2, 2));
    let forked = world.id(C);
    let fork = Fork { host: forked, seq: 1, one: b"one".to_vec(), other: b"other".to_vec() };
    world.hosts[3].db_mut().record_fork(&fork, None, now).expect("noted");
    assert_eq!(counts(&world, 3, entry), (1, 1, 1));
}

#[test]
fn an_attestation_out_of_bounds_is_a_link_and_no_voice() {
    let (mut world, entry) = world_with_a_lesson(3);
    let sound = attestation(entry, "1a2b3c4d.1", Outcome::Validated);
    let mut position = world.hosts[B].db().own_position().expect("read");
    let mut files = Vec::new();
    let spoils: [&dyn Fn(&mut serde_json::Value); 5] = [
        &|value| value["command"] = "sh".into(),
        &|value| value["observed"]["signal"] = "unknown".into(),
        &|value| value["outcome"] = "perfect".into(),
        &|value| value["environment"]["kernel"] = "6.1".into(),
        &|value| value["intervention"] = "A/B".into(),
    ];
    for spoil in spoils {
        let mut value: serde_json::Value =
            serde_json::from_str(&bare_payload(world.id(B), &position, "x", world.now)).expect("JSON");
        let body = serde_json::to_value(&sound).expect("serialises");
        let fields = value.as_object_mut().expect("a table");
        fields.remove("text");
        fields.extend(body.as_object().expect("a table").clone());
        spoil(&mut value);
        let file = sign_raw(2, &Kind::Attestation.payload_type(), &format!("{value:#}\n"));
        files.push((mesh::domain::branch_path::entry(world.id(B), position.next_seq()), file.clone()));
        position = position.after(Envelope::parse(&file).expect("well-formed").entry_id());
    }
    let header = position.next_header(&mesh_name(), world.id(B), world.now);
    let good = Envelope::seal(
        &HostKey::from_seed(&[2; 32]),
        Kind::Attestation,
        entry::payload(&header, &sound).expect("small"),
    );
    publish_chain(&world, 2, &files, position, 5);
    world.sync(C);
    assert_eq!((world.state(C, B), counts(&world, C, entry)), (PeerState::Ok, (0, 0, 0)));
    files.push((mesh::domain::branch_path::entry(world.id(B), position.next_seq()), good.to_file()));
    publish_chain(&world, 2, &files, position.after(good.entry_id()), 6);
    world.sync(C);
    assert_eq!((world.state(C, B), counts(&world, C, entry)), (PeerState::Ok, (1, 1, 1)));
}

#[test]
fn an_attestation_out_of_bounds_is_not_queued() {
    let (mut world, entry) = world_with_a_lesson(1);
    let mut unfounded = attestation(entry, "1a2b3c4d.1", Outcome::Validated);
    unfounded.observed.finding = Holds::False;
    let now = world.now;
    let refused = attest::queue(world.hosts[A].db_mut(), &unfounded, now);
    assert!(matches!(refused, Err(AttestError::Unacceptable(_))), "{refused:?}");
    assert!(world.hosts[A].db().drafts().expect("read").is_empty());
}

#[test]
fn t31_a_restored_home_knows_its_own_words_again_and_signs_none_twice() {
    let (mut world, entry) = world_with_a_lesson(3);
    queue(&mut world, B, entry, "1a2b3c4d.1", Outcome::Validated);
    let copy = world.hosts[B].back_up();
    world.sync(B);
    let signed = world.hosts[B].signed();
    world.hosts[B].restore(&copy);
    assert_eq!(counts(&world, B, entry), (0, 0, 0));
    world.sync(B);
    assert_eq!((world.hosts[B].signed(), counts(&world, B, entry)), (signed.clone(), (1, 1, 1)));
    let own = world.hosts[B].db().own_entries().expect("read").remove(0);
    let key = PublicKey::of(world.id(B)).expect("full order");
    let signed = Envelope::parse(&own.envelope).and_then(|envelope| envelope.verify(&key)).expect("signed");
    let said = entry::read_attestation(&signed).expect("an attestation");
    assert_eq!(*said.body(), attestation(entry, "1a2b3c4d.1", Outcome::Validated));
    assert!(matches!(entry::read_lesson(&signed), Err(EntryError::OtherKind(Kind::Lesson))));
}

#[test]
fn a_host_can_take_its_own_word_back_and_no_other() {
    let (mut world, entry) = world_with_a_lesson(4);
    queue(&mut world, B, entry, "1a2b3c4d.1", Outcome::Validated);
    sync_all(&mut world);
    let (said, now) = (world.hosts[B].signed()[0], world.now);
    world.hosts[C].queue_retraction(said, "a-lesson", now);
    sync_all(&mut world);
    assert_eq!(counts(&world, 3, entry), (1, 1, 1));
    world.hosts[B].queue_retraction(said, "a-lesson", now);
    sync_all(&mut world);
    assert_eq!(counts(&world, 3, entry), (0, 0, 0));
}

/// Admits every lesson.
struct Admits;

impl Auditor for Admits {
    fn admit(&mut self, _: &Lesson) -> Result<Admission, AuditorError> {
        Ok(Admission::Admitted)
    }

    fn scan(&mut self, _: &Path, _: &[Lesson], _: &mut dyn FnMut(ScanProgress)) -> Result<ScanReport, AuditorError> {
        Ok(ScanReport::default())
    }

    fn mend(&mut self, _: &Lesson, _: &str, _: &str, _: Option<Fingerprint>) -> Result<Mended, AuditorError> {
        Ok(Mended::Nothing)
    }
}

/// What the lessons of peers may do on a host, by name.
fn grants(world: &mut World, reader: usize) -> BTreeMap<String, Grant> {
    grants_in_turn(world, reader, Turn::Ordered)
}

fn grants_in_turn(world: &mut World, reader: usize, turn: Turn) -> BTreeMap<String, Grant> {
    let now = world.now;
    let host = &mut world.hosts[reader];
    let me = host.id();
    let (home, keyring) = (Home::at(host.home.database().ancestors().nth(2).expect("a home")), host.keyring.clone());
    let mut sources = Sources {
        home: &home,
        db: host.db_mut(),
        keyring: &keyring,
        me,
        max_grant: Grant::Apply,
        turn,
        founding: false,
        environment: &BTreeMap::new(),
    };
    let library = library::gather(&mut sources, &mut Admits, now).expect("gathered");
    let held_back = library.held_back.iter().all(|(_, why)| why.contains("wave") || why.contains("took it back"));
    assert!(held_back, "{:?}", library.held_back);
    assert_eq!(library.left_out, []);
    let peers = library.held.iter().filter(|held| matches!(held.origin, Origin::Peer { .. }));
    peers.map(|held| (held.lesson.id.to_string(), held.origin.grant())).collect()
}

#[test]
fn t26_a_lesson_that_is_published_again_by_a_better_trusted_peer_gains_nothing() {
    let (mut world, entry) = world_with_a_lesson(3);
    trust(&mut world, C, A, "grant=\"audit\"");
    trust(&mut world, C, B, "grant=\"apply\"");
    let now = world.now;
    let derived = |id: &str, from: Vec<EntryId>| Lesson { derived_from: from, ..sample::lesson(id) };
    world.hosts[B].queue(&derived("of-b", vec![]), now);
    world.hosts[B].queue(&derived("from-a", vec![entry]), now);
    // A parent that C has never seen lends nothing either, also beside one that it trusts.
    world.hosts[B].queue(&derived("from-nowhere", vec![EntryId::from_bytes([7; 32])]), now);
    sync_all(&mut world);
    let grants = grants(&mut world, C);
    // This host allows `propose` at most, whoever it is.
    let wanted = [
        ("a-lesson", Grant::Audit),
        ("from-a", Grant::Audit),
        ("from-nowhere", Grant::Audit),
        ("of-b", Grant::Propose),
    ];
    assert_eq!(grants, wanted.map(|(id, grant)| (id.to_owned(), grant)).into());
}

#[test]
fn t35_many_hosts_that_say_so_raise_no_grant() {
    const READER: usize = 6;
    let (mut world, entry) = world_with_a_lesson(7);
    for host in A..READER {
        trust(&mut world, READER, host, "grant=\"propose\"");
    }
    assert_eq!(grants(&mut world, READER), BTreeMap::from([("a-lesson".to_owned(), Grant::Propose)]));
    for host in A..READER {
        queue(&mut world, host, entry, "1a2b3c4d.1", Outcome::Validated);
        if host != A {
            let now = world.now;
            let copy = sample::lesson(&format!("copy-{host}"));
            world.hosts[host].queue(&copy, now);
            let derived = Lesson { derived_from: vec![entry], ..sample::lesson(&format!("derived-{host}")) };
            world.hosts[host].queue(&derived, now);
            // The very same lesson once more, signed by another key.
            world.hosts[host].publish_lesson("a-lesson", now);
        }
    }
    sync_all(&mut world);
    world.wait(SignedDuration::from_mins(1));
    assert_eq!(counts(&world, READER, entry), (6, 6, 6));
    let grants = grants(&mut world, READER);
    assert_eq!(grants.len(), 11);
    assert!(grants.values().all(|grant| *grant == Grant::Propose), "{grants:?}");
}

#[test]
fn k4_by_its_tags_a_host_tries_first_or_last_what_a_peer_learned() {
    let (mut world, entry) = world_with_a_lesson(6);
    for host in A..5 {
        trust(&mut world, 5, host, "grant=\"apply\"");
    }
    let grant = |world: &mut World, turn| grants_in_turn(world, 5, turn)["a-lesson"];
    assert_eq!((grant(&mut world, Turn::First), grant(&mut world, Turn::Last)), (Grant::Apply, Grant::Propose));
    for host in [B, C] {
        queue(&mut world, host, entry, "1a2b3c4d.1", Outcome::Validated);
    }
    sync_all(&mut world);
    world.wait(SignedDuration::from_mins(1));
    assert_eq!((grant(&mut world, Turn::First), grant(&mut world, Turn::Last)), (Grant::Apply, Grant::Apply));
}

#[test]
fn support_is_listed_shown_and_explained_until_the_lesson_is_taken_back() {
    let dir = tempfile::tempdir().expect("a temp dir");
    git(dir.path(), &["init", "-q", "--bare", "remote.git"]);
    let remote = dir.path().join("remote.git");
    let address = remote.to_str().expect("UTF-8");
    let author = homes::Host::new(dir.path(), "author", address);
    let reader = homes::Host::new(dir.path(), "reader", address);
    reader.enroll("author", &author);
    author.enroll("reader", &reader);
    author.author("first");
    author.ok(&["outbox", "publish", "first"]);
    reader.ok(&["sync", "--once"]);
    let row = || reader.json(&["inbox", "list"])["entries"][0].clone();
    assert_eq!(row()["attestations"], serde_json::Value::Null);

    let entry: EntryId = row()["entry"].as_str().expect("text").parse().expect("an id");
    let attest = |host: &homes::Host, outcome| {
        let mut db = Db::open(&Home::at(&host.home).database()).expect("opened");
        let said =
            Attestation { lesson: "first".parse().expect("a slug"), ..attestation(entry, "1a2b3c4d.1", outcome) };
        attest::queue(&mut db, &said, "2026-11-22T10:00:00Z".parse().expect("a time")).expect("queued");
    };
    attest(&author, Outcome::Validated);
    attest(&reader, Outcome::NoEffect);
    assert_eq!(author.json(&["outbox", "list"])["drafts"][0]["kind"], "attestation");
    author.ok(&["sync", "--once"]);
    reader.ok(&["sync", "--once"]);
    let sent = author.json(&["outbox", "list"])["entries"][1].clone();
    assert_eq!((&sent["kind"], &sent["lesson"]), (&"attestation".into(), &"first".into()));
    let wanted = serde_json::json!({ "hosts": 2, "validated": 1, "of": 2, "low": 9, "high": 91 });
    assert_eq!(row()["attestations"], wanted);
    let list = reader.ok(&["inbox", "list"]);
    assert!(list.lines().nth(1).is_some_and(|line| line.contains(" 1/2 ")), "{list}");
    let shown = reader.ok(&["inbox", "show", "first"]);
    for line in [
        "attested     1 of 2 on 2 hosts (95% interval: 9% to 91%)",
        "author: validated on linux x86_64",
        "this host: no_effect on linux x86_64",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
    let json = reader.json(&["inbox", "show", "first"]);
    assert_eq!((&json["attestations"], json["voices"].as_array().map(Vec::len)), (&wanted, Some(2)));
    assert!(reader.ok(&["inbox", "why", "first"]).contains("1 of 2 on 2 hosts"));
    assert_eq!(row()["grant"], "propose");
    reader.ok(&["fsck"]);

    // Its author sees the same of its own lesson.
    author.ok(&["sync", "--once"]);
    let own = |lessons: &serde_json::Value| {
        lessons["lessons"].as_array().expect("a list").iter().find(|row| row["id"] == "first").cloned().expect("there")
    };
    assert_eq!(own(&author.json(&["lesson", "list"]))["attestations"], wanted);
    let listed = author.ok(&["lesson", "list"]);
    assert!(listed.lines().any(|line| line.starts_with("first") && line.contains(" 1/2 ")), "{listed}");
    let shown = author.ok(&["lesson", "show", "first"]);
    for line in ["attested     1 of 2 on 2 hosts", "this host: validated on", "reader: no_effect on"] {
        assert!(shown.contains(line), "{shown}");
    }
    let here = author.json(&["lesson", "show", "first"])["here"].clone();
    assert_eq!((&here["attestations"], here["voices"].as_array().map(Vec::len)), (&wanted, Some(2)));
    let sent = author.json(&["outbox", "list"])["entries"].clone();
    assert_eq!((&sent[0]["attestations"], &sent[1]["attestations"]), (&wanted, &serde_json::Value::Null));
    assert!(author.ok(&["outbox", "list"]).contains(" 1/2 "));
    // A revision that nobody has yet does not take over what was said of the one before.
    let path = author.home.join("config/lessons/first.toml");
    let text = std::fs::read_to_string(&path).expect("there").replacen("rev = 1", "rev = 2", 1);
    std::fs::write(&path, text).expect("written");
    assert!(author.ok(&["lesson", "show", "first"]).contains("attested     rev 1: 1 of 2 on 2 hosts"));

    author.ok(&["outbox", "retract", "first", "--reason", "it was wrong"]);
    reader.ok(&["sync", "--once"]);
    assert_eq!((&row()["state"], &row()["attestations"]), (&"retired".into(), &serde_json::Value::Null));
    assert!(reader.ok(&["inbox", "show", "first"]).contains("attested     nothing counts: the lesson is retired"));
    assert!(author.ok(&["lesson", "show", "first"]).contains("attested     rev 1: by nobody who is heard here"));
    assert_eq!(author.json(&["outbox", "list"])["entries"][0]["attestations"], serde_json::Value::Null);
    let db = Db::open(&Home::at(&reader.home).database()).expect("opened");
    assert_eq!(db.words_on(entry).expect("read").len(), 2, "kept all the same");
}

/// What the one lesson of A may do on each other host.
fn grants_everywhere(world: &mut World) -> BTreeMap<usize, Grant> {
    (1..world.hosts.len()).map(|reader| (reader, grants(world, reader)["a-lesson"])).collect()
}

fn count_of(grants: &BTreeMap<usize, Grant>, wanted: Grant) -> usize {
    grants.values().filter(|grant| **grant == wanted).count()
}

#[test]
fn d13_a_fix_that_may_apply_begins_on_one_host_and_widens_by_what_hosts_attest() {
    let (mut world, entry) = world_with_a_lesson(5);
    sync_all(&mut world);
    let first = grants_everywhere(&mut world);
    assert_eq!((count_of(&first, Grant::Apply), count_of(&first, Grant::Propose)), (1, 3), "{first:?}");
    let begins = *first.iter().find(|(_, grant)| **grant == Grant::Apply).expect("one host").0;
    queue(&mut world, begins, entry, "1a2b3c4d.1", Outcome::Validated);
    sync_all(&mut world);
    let second = grants_everywhere(&mut world);
    assert_eq!(count_of(&second, Grant::Apply), 2, "{second:?}");
    let next = *second.iter().find(|(host, grant)| **grant == Grant::Apply && **host != begins).expect("another").0;
    queue(&mut world, next, entry, "1a2b3c4d.1", Outcome::Validated);
    sync_all(&mut world);
    assert_eq!(count_of(&grants_everywhere(&mut world), Grant::Apply), 4);
}

#[test]
fn d12_hosts_that_take_a_fix_back_stop_it_everywhere_until_a_person_lifts_that() {
    let (mut world, entry) = world_with_a_lesson(6);
    for host in [1, 2] {
        queue(&mut world, host, entry, "1a2b3c4d.1", Outcome::Reverted);
    }
    sync_all(&mut world);
    assert_eq!(count_of(&grants_everywhere(&mut world), Grant::Audit), 5);
    // What comes later does not start it again by itself, also not after a restart.
    for host in [1, 2, 3] {
        queue(&mut world, host, entry, "1a2b3c4d.1", Outcome::Validated);
    }
    sync_all(&mut world);
    world.hosts[4].reopen();
    assert_eq!(count_of(&grants_everywhere(&mut world), Grant::Audit), 5);
    let now = world.now;
    assert!(!world.hosts[4].db_mut().lift_lesson("another", "looked at", now).expect("written"));
    assert!(world.hosts[4].db_mut().lift_lesson("a-lesson", "looked at", now).expect("written"));
    let lifted = grants_everywhere(&mut world);
    assert_eq!(
        (count_of(&lifted, Grant::Audit), lifted[&4] > Grant::Audit),
        (4, true),
        "on the host of that person alone"
    );
}
