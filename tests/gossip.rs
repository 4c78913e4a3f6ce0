//! What hosts tell each other of third ones: proofs of a fork, and what a server shows to one and not to another.

use jiff::SignedDuration;
use mesh::domain::branch_path;
use mesh::domain::chain::{PeerState, Position};
use mesh::domain::envelope::{HostKey, Kind};
use mesh::domain::fork::ForkProof;
use mesh::domain::head::{Head, Seen};
use mesh::domain::id::EntryId;
use mesh::loops::exchange::SigningRefused;
use mesh::store::peer_log::InboxState;

use crate::support::host::{
    Host, World, bare_chain, chain_files, head_file, mesh_name, publish_chain, sign_raw, with_lessons_of_a,
};
use crate::support::memory_branch::Tree;

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;
const D: usize = 3;
const TO_B: u8 = 1;
const TO_C: u8 = 2;
const TO_D: u8 = 3;

fn key_of_a() -> HostKey {
    HostKey::from_seed(&[1; 32])
}

/// The other first entry that A's key signed.
fn put_other(world: &World) -> impl Fn(&mut Tree) + use<> {
    let other = chain_files(&key_of_a(), Position::default(), 1, world.now).0.remove(0);
    move |tree: &mut Tree| drop(tree.insert(other.0.clone(), other.1.as_slice().into()))
}

/// B has seen two first entries of A, and has said so to everybody.
fn forked(hosts: u8) -> World {
    let mut world = with_lessons_of_a(hosts, 1);
    world.sync(B);
    world.server.lie_to(TO_B, put_other(&world));
    world.sync(B);
    assert_eq!(world.state(B, A), PeerState::Quarantined);
    world.server.be_honest_to(TO_B);
    world.sync(B);
    world
}

#[test]
fn t06_a_fork_proof_is_published_verified_by_every_peer_and_survives_restarts() {
    let mut world = forked(4);
    // C knew A before it hears of the fork, D hears of both at once: either order of arrival.
    world.server.serve_old(TO_C, world.server.tip().expect("a branch"));
    for reader in [C, D] {
        let report = world.sync(reader);
        assert_eq!(world.state(reader, A), PeerState::Quarantined, "{report:?}");
        assert!(world.hosts[reader].peer(world.id(A)).detail.contains("two different entries 1"));
        let lessons = world.hosts[reader].lessons_of(world.id(A));
        assert!(lessons.iter().all(|row| row.state == InboxState::Quarantined), "{lessons:?}");
        world.hosts[reader].reopen();
        world.sync(reader);
        assert_eq!(world.state(reader, A), PeerState::Quarantined, "after a restart");
        assert_eq!(world.hosts[reader].signed().len(), 0, "what another proved is not told again");
    }
    assert_eq!(world.hosts[B].signed().len(), 1, "told once");
    world.sync(B);
    assert_eq!(world.hosts[B].signed().len(), 1, "told once");
}

#[test]
fn t06_a_peer_that_knew_only_the_other_entry_is_convinced_as_well() {
    let mut world = with_lessons_of_a(3, 1);
    world.server.lie_to(TO_C, put_other(&world));
    world.sync(C);
    assert_eq!((world.state(C, A), world.lessons(C, A)), (PeerState::Invalid, vec!["flood-1".to_owned()]));
    world.sync(B);
    world.server.lie_to(TO_B, put_other(&world));
    world.sync(B);
    world.server.be_honest_to(TO_C);
    // C is still shown the other entry: only the proof can tell it.
    let lie = put_other(&world);
    world.server.lie_to(TO_C, lie);
    world.sync(C);
    assert_eq!(world.state(C, A), PeerState::Quarantined);
}

#[test]
fn t06_the_host_whose_key_it_is_stops_signing_when_others_prove_it() {
    let mut world = forked(2);
    let report = world.sync(A);
    let report = if report.signing.is_empty() { world.sync(A) } else { report };
    assert!(matches!(report.signing.as_slice(), [SigningRefused::Forked { seq: 1 }]), "{report:?}");
    let now = world.now;
    world.hosts[A].publish_lesson("after", now);
    world.hosts[A].reopen();
    assert!(matches!(world.sync(A).signing.as_slice(), [SigningRefused::Forked { seq: 1 }]));
    assert_eq!(world.hosts[A].signed().len(), 1);
}

#[test]
fn t06_a_key_that_nobody_enrolled_here_is_quarantined_before_it_can_be() {
    let mut world = forked(2);
    let mut late = Host::new("late", 77, world.server.client(9));
    late.enroll(&"b".parse().expect("a name"), world.id(B));
    late.sync(world.now).expect("works");
    late.enroll(&"a".parse().expect("a name"), world.id(A));
    world.wait(SignedDuration::from_mins(1));
    late.sync(world.now).expect("works");
    assert_eq!(late.state_of(world.id(A)), PeerState::Quarantined);
    assert!(late.lessons_of(world.id(A)).is_empty());
}

/// A chain entry by C that claims a fork of A.
fn claim_by_c(world: &World, proof: &ForkProof) -> (String, Vec<u8>, EntryId) {
    let header = Position::default().next_header(&mesh_name(), world.id(C), world.now);
    let payload = mesh::domain::entry::payload(&header, proof).expect("small");
    let file = sign_raw(3, &Kind::ForkProof.payload_type(), std::str::from_utf8(&payload).expect("UTF-8"));
    let id = mesh::domain::envelope::Envelope::parse(&file).expect("well-formed").entry_id();
    (branch_path::entry(world.id(C), 1), file, id)
}

#[test]
fn t06_a_claim_without_its_two_entries_quarantines_nobody_until_they_are_there() {
    let mut world = with_lessons_of_a(3, 1);
    let real = world.hosts[A].signed()[0];
    let (files, end) = chain_files(&key_of_a(), Position::default(), 1, world.now);
    let other = end.tip.expect("an entry");
    let proof = ForkProof { key: world.id(A), at: 1, one: real.min(other), other: real.max(other) };
    let (path, file, id) = claim_by_c(&world, &proof);
    publish_chain(&world, 3, &[(path, file)], Position::default().after(id), 1);
    // Beside the claim: nothing, rubbish, the same entry under both names, an entry of another key.
    let stranger = chain_files(&HostKey::from_seed(&[9; 32]), Position::default(), 1, world.now).0.remove(0).1;
    let real_file = world.server.tree()[&branch_path::entry(world.id(A), 1)].to_vec();
    for lie in [vec![], b"rubbish".to_vec(), real_file, stranger] {
        let at = branch_path::proof(world.id(C), other);
        world.server.rewrite(|tree| drop(tree.insert(at, lie.into())));
        world.sync(B);
        assert_eq!((world.state(B, A), world.state(B, C)), (PeerState::Ok, PeerState::Ok));
    }
    let at = branch_path::proof(world.id(C), other);
    world.server.rewrite(|tree| drop(tree.insert(at, files[0].1.clone().into())));
    world.sync(B);
    assert_eq!(world.state(B, A), PeerState::Quarantined);
}

#[test]
fn t07_a_reformatted_envelope_is_never_a_fork_wherever_it_stands() {
    let mut world = with_lessons_of_a(3, 1);
    world.sync(B);
    let path = branch_path::entry(world.id(A), 1);
    let value: serde_json::Value = serde_json::from_slice(&world.server.tree()[&path]).expect("JSON");
    let respelled = value.to_string().into_bytes();
    // C says that the two spellings are a fork.
    let real = world.hosts[A].signed()[0];
    let proof = ForkProof { key: world.id(A), at: 1, one: real, other: EntryId::from_bytes([0xff; 32]) };
    let (claim, file, id) = claim_by_c(&world, &proof);
    publish_chain(&world, 3, &[(claim, file)], Position::default().after(id), 1);
    world.server.rewrite(|tree| {
        tree.insert(branch_path::proof(HostKey::from_seed(&[3; 32]).host(), real), respelled.clone().into());
        tree.insert(branch_path::proof(HostKey::from_seed(&[3; 32]).host(), proof.other), respelled.clone().into());
        tree.insert(path, respelled.into());
    });
    world.sync(B);
    assert_eq!((world.state(B, A), world.state(B, C)), (PeerState::Ok, PeerState::Ok));
}

#[test]
fn t10_the_entries_of_a_proof_are_pushed_again_when_they_are_gone() {
    let mut world = forked(3);
    let proofs = |world: &World| world.server.tree().keys().filter(|path| path.contains("/proof/")).count();
    assert_eq!(proofs(&world), 2);
    world.server.rewrite(|tree| tree.retain(|path, _| !path.contains("/proof/")));
    world.sync(B);
    assert_eq!(proofs(&world), 2);
    world.server.wipe();
    world.sync(B);
    assert_eq!(proofs(&world), 2);
    world.sync(C);
    assert_eq!(world.state(C, A), PeerState::Quarantined);
}

#[test]
fn t31_a_restored_home_that_told_of_a_fork_knows_it_again() {
    let mut world = with_lessons_of_a(2, 1);
    world.sync(B);
    let copy = world.hosts[B].back_up();
    world.server.lie_to(TO_B, put_other(&world));
    world.sync(B);
    world.server.be_honest_to(TO_B);
    world.sync(B);
    world.hosts[B].restore(&copy);
    world.sync(B);
    world.sync(B);
    assert_eq!((world.state(B, A), world.hosts[B].signed().len()), (PeerState::Quarantined, 1));
}

#[test]
fn t09_what_another_peer_has_seen_and_the_server_does_not_show_is_withheld() {
    let mut world = with_lessons_of_a(3, 5);
    world.sync(C);
    // The server hides A's last two entries from B, and shows an own, older head of A to hide that it does.
    let host = world.id(A);
    let three = world.hosts[A].signed()[2];
    let head = Head::next(&mesh_name(), host, 1, &Position { seq: 3, tip: Some(three) }, vec![], world.now);
    let head = head_file(&key_of_a(), &head);
    world.server.lie_to(TO_B, |tree| {
        (4..=5).for_each(|seq| drop(tree.remove(&branch_path::entry(host, seq))));
        tree.insert(branch_path::head(host), head.into());
    });
    let report = world.sync(B);
    assert_eq!((world.state(B, A), world.lessons(B, A).len()), (PeerState::Withheld, 3));
    let detail = world.hosts[B].peer(host).detail;
    assert_eq!(detail, "c has seen entry 5 of it, the server shows 3 here");
    assert!(!report.changes.is_empty());
    assert!(world.sync(B).changes.is_empty(), "said once");
    world.server.be_honest_to(TO_B);
    world.sync(B);
    assert_eq!((world.state(B, A), world.lessons(B, A).len()), (PeerState::Ok, 5));
}

#[test]
fn t09_a_host_that_is_hidden_from_the_first_day_on_is_withheld() {
    let mut world = with_lessons_of_a(3, 2);
    world.sync(C);
    let host = world.id(A).to_string();
    world.server.lie_to(TO_B, |tree| tree.retain(|path, _| !path.contains(&host)));
    world.sync(B);
    assert_eq!(world.state(B, A), PeerState::Withheld);
}

#[test]
fn t09_what_a_peer_says_of_another_is_an_alarm_that_names_it_and_no_quarantine() {
    let mut world = with_lessons_of_a(3, 2);
    let lie = |seq, tip| vec![Seen { host: key_of_a().host(), seq, tip: EntryId::from_bytes([tip; 32]) }];
    let (files, end) = bare_chain(3, Position::default(), 1, world.now);
    for (n, seen, state) in
        [(1, lie(9, 9), PeerState::Withheld), (2, lie(1, 7), PeerState::Split), (3, vec![], PeerState::Ok)]
    {
        let head = Head::next(&mesh_name(), world.id(C), n, &end, seen, world.now);
        let head = head_file(&HostKey::from_seed(&[3; 32]), &head);
        let path = branch_path::head(world.id(C));
        world.server.rewrite(|tree| {
            tree.extend(files.iter().map(|(path, bytes)| (path.clone(), bytes.as_slice().into())));
            tree.insert(path, head.into());
        });
        world.sync(B);
        let row = world.hosts[B].peer(world.id(A));
        assert_eq!((row.state, row.detail.is_empty()), (state, state == PeerState::Ok), "{}", row.detail);
        assert!(row.detail.is_empty() || row.detail.starts_with("c has seen"), "{}", row.detail);
        assert!(world.hosts[B].lessons_of(world.id(A)).iter().all(|row| row.state != InboxState::Quarantined));
    }
}

#[test]
fn t06_a_server_that_shows_two_histories_is_seen_and_the_two_readers_prove_the_fork() {
    let mut world = with_lessons_of_a(4, 1);
    let other = chain_files(&key_of_a(), Position::default(), 1, world.now).0.remove(0);
    let (files, end) = chain_files(&key_of_a(), Position::default(), 1, world.now);
    let head = head_file(&key_of_a(), &Head::next(&mesh_name(), world.id(A), 1, &end, vec![], world.now));
    let head_path = branch_path::head(world.id(A));
    // C gets a whole other history of A, with a head that fits; all else it is shown is true.
    let split = |world: &World| {
        let (other, head_path, head, files) = (other.clone(), head_path.clone(), head.clone(), files.clone());
        world.server.lie_to(TO_C, move |tree| {
            tree.insert(other.0, other.1.into());
            tree.extend(files.iter().map(|(path, bytes)| (path.clone(), bytes.as_slice().into())));
            tree.insert(head_path, head.into());
        });
    };
    split(&world);
    world.sync(C);
    assert_eq!((world.state(C, A), world.lessons(C, A)), (PeerState::Ok, vec!["flood-1".to_owned()]));
    world.sync(B);
    assert_eq!(world.state(B, A), PeerState::Split);
    assert!(world.hosts[B].peer(world.id(A)).detail.contains("c has seen another entry 1"));
    split(&world);
    world.sync(C);
    // Each has shown its own entry by now: who looks next can prove it.
    for _ in 0..2 {
        world.sync(B);
        split(&world);
        world.sync(C);
    }
    assert_eq!((world.state(B, A), world.state(C, A)), (PeerState::Quarantined, PeerState::Quarantined));
    world.server.be_honest_to(TO_D);
    world.sync(D);
    assert_eq!(world.state(D, A), PeerState::Quarantined, "by the proof that was published");
}

#[test]
fn t08_a_silent_host_alarms_its_peers_at_the_first_sync_after_its_head_ran_out() {
    let mut world = with_lessons_of_a(3, 1);
    for reader in [B, C] {
        world.sync(reader);
    }
    // 48 hours are what a head is believed, ten minutes what clocks may differ.
    world.wait(SignedDuration::from_hours(48));
    world.sync(B);
    assert_eq!(world.state(B, A), PeerState::Ok);
    world.wait(SignedDuration::from_mins(11));
    for reader in [B, C] {
        let report = world.sync(reader);
        assert!(report.changes.iter().any(|change| change.host == world.id(A) && change.now == PeerState::Stale));
        assert!(PeerState::Stale.is_alarm());
    }
}

#[test]
fn t08_a_host_that_was_enrolled_and_never_came_is_silent_as_well() {
    let mut world = World::of(2);
    world.sync(A);
    assert_eq!(world.state(A, B), PeerState::Unseen);
    world.wait(SignedDuration::from_hours(49));
    world.sync(A);
    assert_eq!(world.state(A, B), PeerState::Stale);
    world.sync(B);
    world.sync(A);
    assert_eq!(world.state(A, B), PeerState::Ok);
}

#[test]
fn t31_a_peer_that_has_seen_more_of_this_host_than_it_knows_is_named() {
    let mut world = with_lessons_of_a(2, 2);
    world.sync(B);
    assert_eq!(world.sync(A).ahead_of_us, None);
    let seen = vec![Seen { host: world.id(A), seq: 9, tip: EntryId::from_bytes([9; 32]) }];
    let (files, end) = bare_chain(2, Position::default(), 1, world.now);
    let head =
        head_file(&HostKey::from_seed(&[2; 32]), &Head::next(&mesh_name(), world.id(B), 9, &end, seen, world.now));
    let path = branch_path::head(world.id(B));
    world.server.rewrite(|tree| {
        tree.extend(files.iter().map(|(path, bytes)| (path.clone(), bytes.as_slice().into())));
        tree.insert(path, head.into());
    });
    let report = world.sync(A);
    assert_eq!(report.ahead_of_us, Some(("b".parse().expect("a name"), 9)));
    assert!(report.signing.is_empty(), "what one peer says stops nobody: {report:?}");
}

#[test]
fn t27_a_retraction_reaches_every_peer_and_what_was_taken_back_does_not_come_again() {
    let mut world = with_lessons_of_a(3, 1);
    world.sync(B);
    let (now, entry) = (world.now, world.hosts[A].signed()[0]);
    world.hosts[A].queue_retraction(entry, "lesson-1", now);
    world.sync(A);
    // The same lesson signed anew by the same key: a replay in the one form that links.
    world.publish(A, &["lesson-1"]);
    for reader in [B, C] {
        world.sync(reader);
        let states: Vec<_> =
            world.hosts[reader].lessons_of(world.id(A)).into_iter().map(|row| (row.seq, row.state)).collect();
        assert_eq!(states, [(1, InboxState::Retired), (3, InboxState::Rejected)]);
    }
    let mut next = crate::support::sample::lesson("lesson-1");
    next.rev += 1;
    let now = world.now;
    world.hosts[A].queue(&next, now);
    world.sync(A);
    for reader in [B, C] {
        world.sync(reader);
        let last = world.hosts[reader].lessons_of(world.id(A)).pop().expect("listed");
        assert_eq!((last.seq, last.state), (4, InboxState::New), "a higher revision is another one");
    }
}
