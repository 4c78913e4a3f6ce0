//! A host that moves to a new key, and peers that follow; keys that are revoked, replaced, cloned, lost.

use jiff::SignedDuration;
use mesh::domain::branch_path;
use mesh::domain::chain::{PeerState, Position};
use mesh::domain::entry;
use mesh::domain::envelope::{Envelope, HostKey, Kind};
use mesh::domain::head::Head;
use mesh::domain::id::HostId;
use mesh::domain::rotate::{Leave, Rotate};
use mesh::store::peer_log::InboxState;

use crate::support::host::{World, chain_files, head_file, mesh_name, publish_chain, with_lessons_of_a};

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;
const TO_B: u8 = 1;

fn new_key() -> HostKey {
    HostKey::from_seed(&[77; 32])
}

/// A has published a lesson, everybody has read it, and A moves.
fn moving(hosts: u8) -> (World, HostId) {
    let mut world = with_lessons_of_a(hosts, 1);
    for reader in 1..usize::from(hosts) {
        world.sync(reader);
    }
    let old = world.id(A);
    world.hosts[A].next = Some(new_key());
    world.sync(A);
    assert_eq!(world.id(A), new_key().host(), "moved");
    world.sync(A);
    (world, old)
}

fn key_of(world: &World, reader: usize, name: &str) -> HostId {
    world.hosts[reader].keyring.by_name(&name.parse().expect("a name")).expect("enrolled").line.host
}

#[test]
fn peers_follow_a_host_to_its_new_key_and_keep_its_name_grant_and_lessons() {
    let (mut world, old) = moving(3);
    for reader in [B, C] {
        let report = world.sync(reader);
        assert_eq!(report.moved, [("a".parse().expect("a name"), new_key().host())]);
        let line = world.hosts[reader].keyring.by_host(new_key().host()).expect("followed").line.clone();
        assert_eq!((key_of(&world, reader, "a"), line.grant), (new_key().host(), mesh::domain::trust::Grant::Apply));
        world.hosts[reader].reopen();
        assert_eq!(key_of(&world, reader, "a"), new_key().host(), "also after a restart");
    }
    world.publish(A, &["after"]);
    for reader in [B, C] {
        world.sync(reader);
        assert_eq!((world.state(reader, A), world.lessons(reader, A)), (PeerState::Ok, vec!["after".to_owned()]));
        let before = world.hosts[reader].lessons_of(old);
        assert_eq!((before.len(), before[0].state), (1, InboxState::New), "what the old key said stays believed");
        assert_eq!(world.hosts[reader].state_of(old), PeerState::Revoked);
    }
}

#[test]
fn a_lesson_of_the_old_key_is_taken_back_with_the_new_one() {
    let (mut world, old) = moving(2);
    world.sync(B);
    let lesson = world.hosts[B].lessons_of(old)[0].entry;
    let now = world.now;
    world.hosts[A].queue_retraction(lesson, "lesson-1", now);
    world.sync(A);
    world.sync(B);
    assert_eq!(world.hosts[B].lessons_of(old)[0].state, InboxState::Retired);
}

#[test]
fn what_the_old_key_signs_after_its_last_word_is_not_read() {
    let (mut world, old) = moving(2);
    world.sync(B);
    let last = world.hosts[B].peer(old).position;
    let (files, end) = chain_files(&HostKey::from_seed(&[1; 32]), last, 2, world.now);
    publish_chain(&world, 1, &files, end, 50);
    world.sync(B);
    assert_eq!((world.hosts[B].peer(old).position, world.hosts[B].lessons_of(old).len()), (last, 1));
}

#[test]
fn nobody_is_moved_to_a_key_that_does_not_take_it_up() {
    let mut world = with_lessons_of_a(3, 1);
    world.sync(B);
    // A's key (stolen) names the key of host C, which never asked for it.
    let old = HostKey::from_seed(&[1; 32]);
    let position = Position { seq: 1, tip: Some(world.hosts[A].signed()[0]) };
    let header = position.next_header(&mesh_name(), old.host(), world.now);
    let leave = Rotate::Leave(Leave { to: world.id(C) });
    let envelope = Envelope::seal(&old, Kind::Rotate, entry::payload(&header, &leave).expect("small"));
    let files = [(branch_path::entry(old.host(), 2), envelope.to_file())];
    publish_chain(&world, 1, &files, position.after(envelope.entry_id()), 50);
    world.publish(C, &["of-c"]);
    world.sync(B);
    let report = world.sync(B);
    assert_eq!((report.moved, key_of(&world, B, "a"), key_of(&world, B, "c")), (vec![], old.host(), world.id(C)));
}

#[test]
fn a_key_that_forked_or_was_revoked_moves_nobody() {
    let (mut world, old) = moving(3);
    // B learns of the move and of a fork of the old key: whoever forked it may have moved it as well.
    let other = chain_files(&HostKey::from_seed(&[1; 32]), Position::default(), 1, world.now).0.remove(0);
    world.server.lie_to(TO_B, |tree| drop(tree.insert(other.0, other.1.into())));
    world.sync(B);
    assert_eq!(world.hosts[B].state_of(old), PeerState::Quarantined);
    world.hosts[B].reopen();
    assert_eq!(key_of(&world, B, "a"), old, "the new key is not trusted for the old one's word");
    // C revoked the old key through entry 0 before it read of the move.
    let (home, name) = (world.hosts[C].home.clone(), "a".parse().expect("a name"));
    world.hosts[C].keyring.revoke(&home, &name, 0).expect("revoked");
    world.hosts[C].reopen();
    world.sync(C);
    world.sync(C);
    assert!(world.hosts[C].keyring.by_host(new_key().host()).is_none());
}

#[test]
fn a_move_that_was_begun_goes_on_after_every_interruption() {
    let mut world = with_lessons_of_a(2, 1);
    world.sync(B);
    world.hosts[A].next = Some(new_key());
    // The push of the old key's last word is refused: the old key stays, and signs its last word once.
    world.server.next_push(0, crate::support::memory_branch::Push::Refuse);
    world.sync(A);
    assert_eq!((world.hosts[A].signed().len(), world.hosts[A].id()), (2, HostKey::from_seed(&[1; 32]).host()));
    let now = world.now;
    world.hosts[A].publish_lesson("late", now);
    world.server.next_push(0, crate::support::memory_branch::Push::LoseAnswer);
    world.sync(A);
    assert_eq!(world.hosts[A].signed().len(), 2, "nothing is signed after the last word");
    world.sync(A);
    assert_eq!(world.id(A), new_key().host());
    let report = world.sync(A);
    assert_eq!(report.signed.len(), 1, "what waited is signed with the new key: {report:?}");
    world.sync(B);
    world.sync(B);
    assert_eq!((world.state(B, A), world.lessons(B, A)), (PeerState::Ok, vec!["late".to_owned()]));
}

#[test]
fn t31_a_lost_disk_is_a_new_key_that_takes_the_name_and_leaves_the_old_one_revoked() {
    let mut world = with_lessons_of_a(2, 2);
    world.sync(B);
    let old = world.id(A);
    let fresh = crate::support::host::Host::new("a", 78, world.server.client(7));
    let (home, name) = (world.hosts[B].home.clone(), "a".parse().expect("a name"));
    // What `mesh enroll --replace` does.
    world.hosts[B].keyring.revoke(&home, &name, 2).expect("revoked");
    let line =
        mesh::domain::trust::PeerLine::parse(&mesh::domain::openssh::public_line(fresh.id(), "a")).expect("a line");
    world.hosts[B].keyring.enroll(&home, &name, line, true).expect("replaced");
    world.hosts[A] = fresh;
    world.publish(A, &["again"]);
    world.sync(B);
    assert_eq!((world.state(B, A), world.lessons(B, A)), (PeerState::Ok, vec!["again".to_owned()]));
    assert_eq!(world.hosts[B].lessons_of(old).len(), 2);
    // Who holds the lost disk signs on: nothing of it is believed.
    let last = world.hosts[B].peer(old).position;
    let (files, end) = chain_files(&HostKey::from_seed(&[1; 32]), last, 1, world.now);
    publish_chain(&world, 1, &files, end, 50);
    world.sync(B);
    assert_eq!(world.hosts[B].lessons_of(old).len(), 2);
}

#[test]
fn f04_a_key_has_a_last_day_after_which_its_lessons_are_nothing_new() {
    let mut world = with_lessons_of_a(2, 1);
    let (home, name) = (world.hosts[B].home.clone(), "a".parse().expect("a name"));
    let mut line = world.hosts[B].keyring.by_name(&name).expect("enrolled").line.clone();
    line.not_after = Some("2026-11-23".parse().expect("a day"));
    world.hosts[B].keyring.enroll(&home, &name, line, false).expect("changed");
    world.sync(B);
    assert_eq!(world.hosts[B].lessons_of(world.id(A))[0].state, InboxState::New);
    world.wait(SignedDuration::from_hours(48));
    world.publish(A, &["late"]);
    world.sync(B);
    let late = world.hosts[B].lessons_of(world.id(A)).pop().expect("listed");
    assert_eq!(late.state, InboxState::Rejected, "{}", late.reason);
}

#[test]
fn t31_a_twin_of_a_moved_home_cannot_move_it_again() {
    let (mut world, old) = moving(2);
    world.sync(B);
    // A copy of the old home announces another move from the same place: two last words are a fork.
    let last = world.hosts[B].peer(old).position;
    let before = Position { seq: last.seq - 1, tip: Some(world.hosts[B].entries_of(old)[0]) };
    let header = before.next_header(&mesh_name(), old, world.now);
    let leave = Rotate::Leave(Leave { to: HostKey::from_seed(&[79; 32]).host() });
    let twin = HostKey::from_seed(&[1; 32]);
    let envelope = Envelope::seal(&twin, Kind::Rotate, entry::payload(&header, &leave).expect("small"));
    let head = Head::next(&mesh_name(), old, 60, &before.after(envelope.entry_id()), vec![], world.now);
    let (path, head_path, head) = (branch_path::entry(old, last.seq), branch_path::head(old), head_file(&twin, &head));
    world.server.rewrite(|tree| {
        tree.insert(path, envelope.to_file().into());
        tree.insert(head_path, head.into());
    });
    world.sync(B);
    assert_eq!(world.hosts[B].state_of(old), PeerState::Quarantined);
    world.hosts[B].reopen();
    assert!(world.hosts[B].keyring.by_host(HostKey::from_seed(&[79; 32]).host()).is_none());
}
