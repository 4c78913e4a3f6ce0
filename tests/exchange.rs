//! Reading what others published, from a server that lies.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::SignedDuration;
use mesh::domain::branch_path;
use mesh::domain::chain::{PeerState, Position};
use mesh::domain::envelope::{Envelope, HostKey, Kind};
use mesh::domain::head::Head;
use mesh::domain::id::HostId;
use mesh::domain::trust::{Grant, GrantBounds, effective_grant};
use mesh::store::peer_log::InboxState;
use serde_json::Value;

use crate::support::host::{
    World, bare_chain, bare_payload, chain_files, head_file, mesh_name, publish_chain, sign_raw, with_lessons_of_a,
};
use crate::support::memory_branch::{Push, Tree};

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;
/// The number by which the server knows host B.
const TO_B: u8 = 1;
const TO_C: u8 = 2;

fn swap(tree: &mut Tree, one: &str, other: &str) {
    let (first, second) = (Arc::clone(&tree[one]), Arc::clone(&tree[other]));
    tree.insert(one.to_owned(), second);
    tree.insert(other.to_owned(), first);
}

fn edit(file: &[u8], change: impl FnOnce(&mut Value)) -> Arc<[u8]> {
    let mut value: Value = serde_json::from_slice(file).expect("JSON");
    change(&mut value);
    value.to_string().into_bytes().into()
}

fn key_of_a() -> HostKey {
    HostKey::from_seed(&[1; 32])
}

fn position_of_a(world: &World) -> Position {
    world.hosts[A].db().own_position().expect("read")
}

#[test]
fn k3_entries_are_packed_when_there_is_time_and_come_back_byte_for_byte() {
    let kept = |world: &World, reader: usize| {
        let database = rusqlite::Connection::open(world.hosts[reader].home.database()).expect("opened");
        let mut rows = database.prepare("SELECT envelope FROM entries ORDER BY seq").expect("prepared");
        let rows = rows.query_map([], |row| row.get::<_, Vec<u8>>(0)).expect("read");
        rows.map(|row| row.expect("a blob")).collect::<Vec<_>>()
    };
    let mut world = with_lessons_of_a(3, 5);
    let signed = world.hosts[A].signed();
    let size = |kept: &[Vec<u8>]| kept.iter().map(Vec::len).sum::<usize>();
    let raw: usize = world.hosts[A].db().own_entries().expect("read").iter().map(|entry| entry.envelope.len()).sum();
    assert_eq!(world.sync(B).received, 5);
    let packed = kept(&world, B);
    assert!(packed.iter().all(|entry| entry[0] == 1) && size(&packed) * 2 < raw, "{} of {raw}", size(&packed));
    assert_eq!(world.hosts[B].entries_of(world.id(A)), signed);
    // A host that catches up packs none; then so many at a time, and around again.
    let (files, end) = chain_files(&key_of_a(), Position::default(), 70, world.now);
    let mut other = World::of(2);
    publish_chain(&other, 1, &files, end, 1);
    assert_eq!(other.sync(B).received, 70);
    assert!(kept(&other, B).iter().all(|entry| entry[0] == b'{'));
    let turns = [(); 5].map(|()| other.hosts[B].db_mut().pack_entries(32).expect("packed"));
    assert_eq!(turns, [32, 32, 6, 0, 0]);
    let whole: Vec<_> = files.into_iter().map(|(_, file)| file).collect();
    let back = other.hosts[B].db().peer_entries(key_of_a().host(), 1, 99).expect("read");
    assert_eq!(back.into_iter().map(|entry| entry.envelope).collect::<Vec<_>>(), whole);
}

#[test]
fn a_lesson_of_one_host_reaches_every_other() {
    let mut world = with_lessons_of_a(3, 2);
    for reader in [B, C] {
        let report = world.sync(reader);
        assert_eq!((report.received, report.refused.len()), (2, 0), "{report:?}");
        assert_eq!(world.lessons(reader, A), ["lesson-1", "lesson-2"]);
        assert_eq!(world.state(reader, A), PeerState::Ok);
        assert_eq!(world.hosts[reader].entries_of(world.id(A)), world.hosts[A].signed());
    }
    let shown = std::fs::read_dir(world.hosts[B].home.inbox()).expect("listed").count();
    assert_eq!(shown, 3, "two copies for people, and the folder of what was refused");
    assert_eq!(world.sync(B).received, 0);
}

#[test]
fn t01_a_changed_byte_stops_the_chain_there_and_nothing_else() {
    let mut world = with_lessons_of_a(3, 3);
    world.publish(C, &["of-c"]);
    let path = branch_path::entry(world.id(A), 2);
    let flip = |field: &'static str, at: usize| {
        move |value: &mut Value| {
            let slot = if field == "sig" { &mut value["signatures"][0]["sig"] } else { &mut value[field] };
            let mut bytes = STANDARD.decode(slot.as_str().expect("text")).expect("base64");
            let at = at.min(bytes.len() - 1);
            bytes[at] ^= 1;
            *slot = STANDARD.encode(bytes).into();
        }
    };
    type Change = Box<dyn FnOnce(&mut Value)>;
    let mut changes: Vec<Change> = Vec::new();
    // The mesh, the host, the seq, the link, the time, the lesson, the last line break.
    for at in [0, 14, 40, 115, 130, 180, 240, 900, usize::MAX] {
        changes.push(Box::new(flip("payload", at)));
    }
    for at in [0, 31, 32, 63] {
        changes.push(Box::new(flip("sig", at)));
    }
    let retract = Kind::Retract.payload_type();
    changes.push(Box::new(move |value| value["payloadType"] = retract.into()));
    changes.push(Box::new(|value| value["payloadType"] = "application/vnd.mesh.lesson.v2+json".into()));
    changes.push(Box::new(|value| value["signatures"] = Value::Array(vec![])));
    changes.push(Box::new(|value| value["signatures"] = vec![value["signatures"][0].clone(); 2].into()));
    for change in changes {
        world.server.lie_to(TO_B, |tree| {
            let changed = edit(&tree[&path], change);
            tree.insert(path.clone(), changed);
        });
        let report = world.sync(B);
        assert_eq!(world.state(B, A), PeerState::Invalid);
        assert_eq!(world.lessons(B, A), ["lesson-1"]);
        assert_eq!(report.refused.len(), 1, "{report:?}");
        assert_eq!(world.sync(B).refused.len(), 0, "said once");
        assert_eq!((world.state(B, C), world.lessons(B, C)), (PeerState::Ok, vec!["of-c".to_owned()]));
    }
    world.server.be_honest_to(TO_B);
    world.sync(B);
    assert_eq!((world.state(B, A), world.lessons(B, A).len()), (PeerState::Ok, 3));
}

#[test]
fn t01_the_claimed_key_is_a_hint_and_never_believed() {
    let mut world = with_lessons_of_a(3, 1);
    let (path, of_c) = (branch_path::entry(world.id(A), 1), world.id(C).to_string());
    world.server.lie_to(TO_B, |tree| {
        let changed = edit(&tree[&path], |value| value["signatures"][0]["keyid"] = of_c.into());
        tree.insert(path.clone(), changed);
    });
    world.sync(B);
    assert_eq!(world.hosts[B].entries_of(world.id(A)), world.hosts[A].signed());
    assert_eq!(world.state(B, A), PeerState::Ok);
}

#[test]
fn t04_an_older_tree_is_a_rollback_and_takes_nothing_away() {
    let mut world = with_lessons_of_a(2, 5);
    let old = world.server.tip().expect("a branch");
    world.publish(A, &["later"]);
    world.sync(B);
    world.server.serve_old(TO_B, old);
    let report = world.sync(B);
    assert_eq!(world.state(B, A), PeerState::Rollback);
    assert_eq!(report.changes.len(), 1, "{report:?}");
    assert_eq!(world.lessons(B, A).len(), 6);
    assert_eq!(world.sync(B).changes.len(), 0, "said once");
    world.server.be_honest_to(TO_B);
    world.sync(B);
    assert_eq!((world.state(B, A), world.lessons(B, A).len()), (PeerState::Ok, 6));
}

#[test]
fn t04_swapped_removed_and_copied_files_each_are_a_state_of_their_own() {
    let host = key_of_a().host();
    let path = move |seq| branch_path::entry(host, seq);
    type Lie = Box<dyn Fn(&mut Tree)>;
    let cases: [(Lie, PeerState, usize); 5] = [
        (Box::new(move |tree| swap(tree, &path(3), &path(4))), PeerState::Reorder, 2),
        (Box::new(move |tree| drop(tree.remove(&path(5)))), PeerState::Gap, 4),
        (Box::new(move |tree| drop(tree.insert(path(9), Arc::clone(&tree[&path(5)].clone())))), PeerState::Replay, 8),
        (Box::new(move |tree| (7..=9).for_each(|seq| drop(tree.remove(&path(seq))))), PeerState::Withheld, 6),
        (Box::new(move |tree| drop(tree.remove(&branch_path::head(host)))), PeerState::Rollback, 9),
    ];
    for (lie, state, kept) in cases {
        let mut world = with_lessons_of_a(2, 9);
        world.server.lie_to(TO_B, |tree| lie(tree));
        world.sync(B);
        assert_eq!((world.state(B, A), world.lessons(B, A).len()), (state, kept));
        world.sync(B);
        assert_eq!((world.state(B, A), world.lessons(B, A).len()), (state, kept), "again");
        world.server.be_honest_to(TO_B);
        world.sync(B);
        assert_eq!((world.state(B, A), world.lessons(B, A).len()), (PeerState::Ok, 9), "after {state:?}");
    }
}

#[test]
fn t04_an_older_head_is_a_rollback() {
    let mut world = with_lessons_of_a(2, 1);
    let head = branch_path::head(world.id(A));
    let old = Arc::clone(&world.server.tree()[&head]);
    world.publish(A, &["later"]);
    world.sync(B);
    world.server.lie_to(TO_B, |tree| drop(tree.insert(head, old)));
    world.sync(B);
    assert_eq!((world.state(B, A), world.lessons(B, A).len()), (PeerState::Rollback, 2));
}

#[test]
fn t05_a_file_of_another_host_is_a_graft_whether_that_host_is_enrolled_or_not() {
    for stranger in [3, 99] {
        let mut world = with_lessons_of_a(3, 2);
        let (files, _) = chain_files(&HostKey::from_seed(&[stranger; 32]), Position::default(), 1, world.now);
        let path = branch_path::entry(world.id(A), 2);
        world.server.lie_to(TO_B, |tree| drop(tree.insert(path, files[0].1.as_slice().into())));
        world.sync(B);
        assert_eq!((world.state(B, A), world.lessons(B, A).len()), (PeerState::Graft, 1), "{stranger}");
    }
}

#[test]
fn t05_an_entry_of_the_same_key_in_another_mesh_is_a_graft() {
    let mut world = with_lessons_of_a(2, 1);
    let payload = bare_payload(world.id(A), &position_of_a(&world), "x", world.now).replace("\"home\"", "\"work\"");
    let file = sign_raw(1, "application/vnd.mesh.attestation.v1+json", &payload);
    let path = branch_path::entry(world.id(A), 2);
    world.server.lie_to(TO_B, |tree| drop(tree.insert(path, file.into())));
    world.sync(B);
    assert_eq!((world.state(B, A), world.lessons(B, A).len()), (PeerState::Graft, 1));
}

#[test]
fn t06_a_key_that_signed_one_seq_twice_is_quarantined_in_both_orders_and_for_good() {
    let mut world = with_lessons_of_a(3, 1);
    let other = chain_files(&key_of_a(), Position::default(), 1, world.now).0.remove(0);
    let put_other = |tree: &mut Tree| drop(tree.insert(other.0.clone(), other.1.as_slice().into()));
    world.sync(B);
    world.server.lie_to(TO_C, put_other);
    world.sync(C);
    assert_eq!(world.lessons(C, A), ["flood-1"]);
    world.server.lie_to(TO_B, put_other);
    world.server.be_honest_to(TO_C);
    for reader in [B, C] {
        let report = world.sync(reader);
        assert_eq!(world.state(reader, A), PeerState::Quarantined);
        assert_eq!(report.changes.iter().filter(|change| change.host == world.id(A)).count(), 1);
        assert_eq!(world.hosts[reader].lessons_of(world.id(A))[0].state, InboxState::Quarantined);
        world.hosts[reader].reopen();
    }
    world.server.be_honest_to(TO_B);
    // What the two found is told: the host itself stops as well, and what a thief signs on with is not read.
    let (now, one) = (world.now, Position { seq: 1, tip: Some(world.hosts[A].signed()[0]) });
    world.hosts[A].publish_lesson("after", now);
    assert!(world.sync(A).signed.is_empty());
    let (files, end) = chain_files(&key_of_a(), one, 1, now);
    publish_chain(&world, 1, &files, end, 9);
    for reader in [B, C] {
        world.sync(reader);
        assert_eq!((world.state(reader, A), world.lessons(reader, A).len()), (PeerState::Quarantined, 1));
    }
}

#[test]
fn t06_a_fork_below_the_newest_entry_is_found_as_well() {
    let mut world = with_lessons_of_a(2, 9);
    world.sync(B);
    let at_two = Position { seq: 2, tip: Some(world.hosts[A].signed()[1]) };
    let (other, _) = chain_files(&key_of_a(), at_two, 1, world.now);
    let host = world.id(A);
    world.server.lie_to(TO_B, |tree| {
        (3..=9).for_each(|seq| drop(tree.remove(&branch_path::entry(host, seq))));
        tree.insert(other[0].0.clone(), other[0].1.as_slice().into());
    });
    world.sync(B);
    assert_eq!(world.state(B, A), PeerState::Quarantined);
    assert!(world.hosts[B].peer(host).detail.contains("two different entries 3"));
}

#[test]
fn t06_what_one_peer_says_of_another_quarantines_nobody() {
    let mut world = with_lessons_of_a(3, 1);
    world.sync(C);
    let payload = bare_payload(world.id(C), &Position::default(), "host a forked", world.now);
    let file = sign_raw(3, &Kind::ForkProof.payload_type(), &payload);
    let id = Envelope::parse(&file).expect("well-formed").entry_id();
    let position = Position::default().after(id);
    let head = Head::next(&mesh_name(), world.id(C), 9, &position, vec![], world.now);
    let (entry_path, head_path) = (branch_path::entry(world.id(C), 1), branch_path::head(world.id(C)));
    let head = head_file(&HostKey::from_seed(&[3; 32]), &head);
    world.server.rewrite(|tree| {
        tree.insert(entry_path, file.into());
        tree.insert(head_path, head.into());
    });
    world.sync(B);
    assert_eq!((world.state(B, A), world.state(B, C)), (PeerState::Ok, PeerState::Ok));
    assert_eq!(world.hosts[B].entries_of(world.id(C)), [id]);
}

#[test]
fn t07_another_spelling_of_an_envelope_is_the_same_entry_before_and_after_it_was_read() {
    let mut world = with_lessons_of_a(3, 2);
    world.sync(B);
    let host = world.id(A);
    for to in [TO_B, TO_C] {
        world.server.lie_to(to, |tree| {
            for path in [branch_path::entry(host, 1), branch_path::entry(host, 2), branch_path::head(host)] {
                let value: Value = serde_json::from_slice(&tree[&path]).expect("JSON");
                let other = |text: &Value| URL_SAFE_NO_PAD.encode(STANDARD.decode(text.as_str().expect("text")).expect("base64"));
                let text = format!(
                    "\t{{\"extra\":{{\"a\":[1]}},\"signatures\":[{{\"sig\":\"{}\",\"x\":0,\"keyid\":\"somebody\"}}],\r\n\"payloadType\":{},\"payload\":\"{}\"}}\n\n",
                    other(&value["signatures"][0]["sig"]), value["payloadType"], other(&value["payload"]),
                );
                tree.insert(path, text.into_bytes().into());
            }
        });
    }
    for reader in [B, C] {
        let report = world.sync(reader);
        assert_eq!((world.state(reader, A), report.refused), (PeerState::Ok, vec![]));
        assert_eq!(world.hosts[reader].entries_of(host), world.hosts[A].signed());
    }
}

fn grant_of_a(world: &World) -> Option<Grant> {
    let peer = world.hosts[B].keyring.by_host(world.id(A)).expect("enrolled");
    let fresh = world.state(B, A).is_fresh();
    effective_grant(&peer.line, "python/io", GrantBounds { max: Grant::Apply, fresh, lineage: None }, world.now)
}

#[test]
fn t08_a_silent_or_hidden_host_goes_stale_and_its_grant_falls_to_audit() {
    let mut world = with_lessons_of_a(2, 1);
    world.sync(B);
    assert_eq!(grant_of_a(&world), Some(Grant::Apply));
    world.wait(SignedDuration::from_hours(49));
    let report = world.sync(B);
    assert_eq!((world.state(B, A), grant_of_a(&world)), (PeerState::Stale, Some(Grant::Audit)));
    assert_eq!(report.changes.len(), 1);
    world.sync(A);
    world.sync(B);
    assert_eq!((world.state(B, A), grant_of_a(&world)), (PeerState::Ok, Some(Grant::Apply)));
    world.wait(SignedDuration::from_hours(49));
    world.server.set_down(TO_B, true);
    world.sync(B);
    assert_eq!(world.state(B, A), PeerState::Stale, "also while the server is down");
}

#[test]
fn t08_a_head_that_never_expires_neither_silences_the_alarm_nor_breaks_the_reader() {
    let mut world = with_lessons_of_a(2, 1);
    let mut head = Head::next(&mesh_name(), world.id(A), 50, &position_of_a(&world), vec![], world.now);
    head.expires_at = "9999-12-30T22:00:00Z".parse().expect("the last time there is");
    let (path, file) = (branch_path::head(world.id(A)), head_file(&key_of_a(), &head));
    world.server.rewrite(|tree| drop(tree.insert(path, file.into())));
    world.sync(B);
    assert_eq!(world.state(B, A), PeerState::Ok);
    world.server.drop_cache(TO_B);
    world.wait(SignedDuration::from_hours(40));
    world.sync(B);
    world.wait(SignedDuration::from_hours(9));
    world.sync(B);
    assert_eq!(world.state(B, A), PeerState::Stale);
}

#[test]
fn t09_a_withheld_tail_is_an_alarm_and_no_quarantine() {
    let mut world = with_lessons_of_a(2, 10);
    let host = world.id(A);
    world.server.lie_to(TO_B, |tree| (8..=10).for_each(|seq| drop(tree.remove(&branch_path::entry(host, seq)))));
    world.sync(B);
    assert_eq!((world.state(B, A), world.lessons(B, A).len()), (PeerState::Withheld, 7));
    assert!(world.hosts[B].peer(host).detail.contains("names entry 10, the server shows 7"));
    assert_eq!(grant_of_a(&world), Some(Grant::Audit));
    world.server.be_honest_to(TO_B);
    world.sync(B);
    assert_eq!((world.state(B, A), world.lessons(B, A).len()), (PeerState::Ok, 10));
}

#[test]
fn t33_a_clock_that_is_a_day_off_rejects_nothing() {
    for off in [SignedDuration::from_hours(24), SignedDuration::from_hours(-24)] {
        let mut world = World::of(2);
        for n in 0..3 {
            let now = world.now + off;
            world.hosts[A].publish_lesson(&format!("lesson-{n}"), now);
            world.hosts[A].sync(now).expect("signs");
            world.wait(SignedDuration::from_hours(6));
            let report = world.sync(B);
            assert_eq!((world.state(B, A), report.refused.len(), report.received), (PeerState::Ok, 0, 1), "{off}");
        }
    }
}

#[test]
fn t33_a_reader_whose_clock_is_set_right_sees_its_peers_fresh_again() {
    let mut world = with_lessons_of_a(2, 1);
    world.sync(B);
    let right = world.now;
    world.wait(SignedDuration::from_hours(24 * 365));
    world.sync(B);
    assert_eq!(world.state(B, A), PeerState::Stale);
    world.now = right;
    world.sync(B);
    assert_eq!(world.state(B, A), PeerState::Ok);
}

#[test]
fn f04_entries_after_a_revocation_are_not_believed_and_those_before_stay() {
    let mut world = with_lessons_of_a(3, 4);
    world.sync(B);
    let (name, host) = (world.hosts[A].name.clone(), world.id(A));
    for reader in [B, C] {
        let reader = &mut world.hosts[reader];
        let home = reader.home.clone();
        reader.keyring.revoke(&home, &name, 2).expect("revoked");
    }
    world.publish(A, &["after"]);
    world.server.set_down(TO_B, true);
    let report = world.sync(B);
    assert_eq!(report.changes.len(), 1, "no remote is needed to stop believing: {report:?}");
    world.server.set_down(TO_B, false);
    for _ in 0..2 {
        world.sync(B);
        world.sync(C);
    }
    let states: Vec<InboxState> = world.hosts[B].lessons_of(host).iter().map(|row| row.state).collect();
    use InboxState::{New, Rejected};
    assert_eq!(states, [New, New, Rejected, Rejected]);
    assert_eq!(world.lessons(C, A), ["lesson-1", "lesson-2"]);
    assert_eq!((world.state(B, A), world.state(C, A)), (PeerState::Revoked, PeerState::Revoked));
}

#[test]
fn only_its_author_takes_a_lesson_back() {
    let mut world = with_lessons_of_a(3, 2);
    let (now, signed) = (world.now, world.hosts[A].signed());
    world.hosts[C].queue_retraction(signed[0], "lesson-1", now);
    world.sync(C);
    world.hosts[A].queue_retraction(signed[1], "lesson-2", now);
    world.sync(A);
    world.sync(B);
    let states: Vec<InboxState> = world.hosts[B].lessons_of(world.id(A)).iter().map(|row| row.state).collect();
    assert_eq!(states, [InboxState::New, InboxState::Retired]);
}

#[test]
fn a_peer_that_is_enrolled_later_or_again_gives_its_whole_log() {
    let mut world = World::of(2);
    let (files, end) = bare_chain(9, Position::default(), 300, world.now);
    publish_chain(&world, 9, &files, end, 1);
    world.sync(B);
    let late: HostId = HostKey::from_seed(&[9; 32]).host();
    let name = "late".parse().expect("a name");
    world.hosts[B].enroll(&name, late);
    world.sync(B);
    assert_eq!((world.hosts[B].peer(late).position.seq, world.hosts[B].state_of(late)), (256, PeerState::Behind));
    world.sync(B);
    assert_eq!((world.hosts[B].peer(late).position, world.hosts[B].state_of(late)), (end, PeerState::Ok));
    // Away for a while, in which it published.
    let line = world.hosts[B].home.keys().join("peers/late.pub");
    let aside = world.hosts[B].home.root().join("late.pub");
    std::fs::rename(&line, &aside).expect("moved away");
    world.hosts[B].reopen();
    let (files, end) = bare_chain(9, end, 1, world.now);
    publish_chain(&world, 9, &files, end, 2);
    world.sync(B);
    std::fs::rename(&aside, &line).expect("moved back");
    world.hosts[B].reopen();
    world.sync(B);
    assert_eq!(world.hosts[B].peer(late).position, end);
}

#[test]
fn what_cannot_be_read_of_one_peer_does_not_stop_the_others() {
    let mut world = with_lessons_of_a(3, 1);
    world.publish(C, &["of-c"]);
    world.server.set_unreadable(TO_B, world.id(A), true);
    let now = world.now;
    world.hosts[B].publish_lesson("of-b", now);
    let report = world.sync(B);
    assert_eq!((world.state(B, A), world.state(B, C)), (PeerState::Invalid, PeerState::Ok));
    assert_eq!(report.published, [1]);
    world.server.set_unreadable(TO_B, world.id(A), false);
    world.sync(B);
    assert_eq!((world.state(B, A), world.lessons(B, A).len()), (PeerState::Ok, 1));
}

#[test]
fn t29_directories_of_nobody_are_counted_and_ignored() {
    let mut world = with_lessons_of_a(2, 1);
    world.server.rewrite(|tree| {
        for path in ["hosts/zz/x/log/1", "hosts/../../etc/passwd", "hosts/ab/AB/head.json", "hosts/\u{1b}[2J"] {
            tree.insert(path.to_owned(), b"rubbish".as_slice().into());
        }
    });
    let report = world.sync(B);
    assert_eq!((report.ignored, report.received, world.state(B, A)), (4, 1, PeerState::Ok));
}

#[test]
fn what_others_pushed_in_between_is_read_in_the_same_sync() {
    let mut world = World::of(2);
    world.server.next_push(0, Push::Capture);
    let now = world.now;
    world.hosts[A].publish_lesson("of-a", now);
    world.sync(A);
    world.hosts[B].publish_lesson("of-b", now);
    world.server.next_push(TO_B, Push::Race(world.server.captured(0)));
    let report = world.sync(B);
    assert_eq!((report.published.as_slice(), report.received), ([1].as_slice(), 1));
    assert_eq!(world.lessons(B, A), ["of-a"]);
}
