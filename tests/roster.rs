//! The admins' list of hosts on a branch that lies: walked version by version, never back.

use jiff::SignedDuration;
use mesh::domain::branch_path;
use mesh::domain::chain::PeerState;
use mesh::domain::envelope::{Envelope, HostKey, Kind};
use mesh::domain::id::HostId;
use mesh::domain::join::Join;
use mesh::domain::roster::{self, Admins, Member, Removed, Roster};
use mesh::domain::trust::Grant;
use mesh::store::keyring::{self, RosterStanding};
use mesh::store::rosters::RosterRow;

use crate::support::host::{Host, World, mesh_name};
use crate::support::memory_branch::MemoryBranch;

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;
const TO_B: u8 = 1;
const TO_C: u8 = 2;

fn admin(seed: u8) -> HostKey {
    HostKey::from_seed(&[seed; 32])
}

/// Hosts that know nobody and have pinned the admin made from seed 200.
fn pinned(count: u8) -> World {
    let server = MemoryBranch::default();
    let mut hosts: Vec<Host> = (0..count)
        .map(|number| Host::new(&char::from(b'a' + number).to_string(), number + 1, server.client(number)))
        .collect();
    for host in &mut hosts {
        keyring::pin_admin(&host.home, admin(200).host()).expect("pinned");
        host.reopen();
    }
    let now = "2026-11-22T10:00:00Z".parse().expect("a time");
    World { server, hosts, now }
}

fn listed(world: &World, hosts: &[usize]) -> Vec<Member> {
    let member = |host: &usize| Member {
        name: world.hosts[*host].name.clone(),
        key: world.id(*host),
        grant: Grant::Propose,
        scope: vec![],
        not_after: None,
    };
    hosts.iter().map(member).collect()
}

fn list(world: &World, version: u64, hosts: &[usize]) -> Roster {
    Roster {
        mesh: mesh_name(),
        version,
        issued_at: world.now,
        expires_at: world.now + roster::VALID,
        threshold: 1,
        admins: vec![admin(200).host()],
        hosts: listed(world, hosts),
        revoked: vec![],
    }
}

fn file(list: &Roster, signers: &[u8]) -> Vec<u8> {
    let mut envelope = Envelope::unsigned(Kind::Roster, list.payload());
    signers.iter().for_each(|seed| envelope.add_signature(&admin(*seed)));
    envelope.to_file()
}

fn put(world: &World, version: u64, file: Vec<u8>) {
    world.server.rewrite(|tree| drop(tree.insert(branch_path::roster(version), file.into())));
}

/// Publishes a list as one host's `mesh admin publish` does.
fn publish(world: &mut World, host: usize, list: &Roster) {
    let bytes = file(list, &[200]);
    let known = world.hosts[host].db().roster().expect("read");
    let (before, last) = match known {
        Some(row) => (row.roster.admins(), row.roster.version),
        None => (Admins::pinned([admin(200).host()]), 0),
    };
    let (roster, id) = roster::accept(&mesh_name(), &bytes, &before, last).expect("follows");
    let now = world.now;
    world.hosts[host].db_mut().record_roster(&RosterRow { id, roster, envelope: bytes }, now).expect("recorded");
    world.sync(host);
}

fn version(world: &World, host: usize) -> Option<u64> {
    world.hosts[host].db().roster().expect("read").map(|row| row.roster.version)
}

fn names(world: &World, host: usize) -> Vec<String> {
    world.hosts[host].keyring.peers().iter().map(|peer| peer.name.to_string()).collect()
}

fn standing(world: &World, host: usize) -> &'static str {
    world.hosts[host].keyring.roster().name()
}

#[test]
fn one_list_enrols_every_host_on_every_host() {
    let mut world = pinned(4);
    for host in 0..4 {
        world.sync(host);
    }
    let everybody = list(&world, 1, &[A, B, C, 3]);
    publish(&mut world, A, &everybody);
    world.publish(B, &["of-b"]);
    for host in [A, C, 3] {
        world.sync(host);
        assert_eq!((names(&world, host).len(), standing(&world, host)), (3, "ok"));
        assert_eq!((world.state(host, B), world.lessons(host, B)), (PeerState::Ok, vec!["of-b".to_owned()]));
    }
    world.hosts[C].reopen();
    assert_eq!(names(&world, C), ["a", "b", "d"], "also after a restart");
}

#[test]
fn a_host_asks_to_be_enrolled_and_asks_again_when_the_branch_was_wiped() {
    let mut world = pinned(1);
    world.sync(A);
    let path = branch_path::join(world.id(A));
    let request = |world: &World| Join::read(&mesh_name(), world.id(A), &world.server.tree()[&path]).expect("signed");
    assert_eq!(request(&world).name.as_str(), "a");
    world.server.wipe();
    world.sync(A);
    assert_eq!(request(&world).host, world.id(A));
    world.server.rewrite(|tree| drop(tree.remove(&path)));
    world.sync(A);
    assert_eq!(request(&world).host, world.id(A));
    let before = world.server.tip();
    world.sync(A);
    assert_eq!(world.server.tip(), before, "asked once");
}

#[test]
fn t28_what_does_not_follow_from_the_version_before_changes_nothing_and_is_named() {
    let mut world = pinned(3);
    let one = list(&world, 1, &[A, B]);
    put(&world, 1, file(&one, &[200]));
    world.sync(B);
    assert_eq!((version(&world, B), names(&world, B)), (Some(1), vec!["a".to_owned()]));
    let two = list(&world, 2, &[A, B, C]);
    let to_me = Roster { admins: vec![admin(201).host()], ..two.clone() };
    for (what, bytes, says) in [
        ("signed by a stranger", file(&two, &[201]), "0 of the admins of the version before signed, 1 must"),
        ("a new admin alone", file(&to_me, &[201]), "0 of the admins of the version before signed, 1 must"),
        ("without the new admin", file(&to_me, &[200]), "0 of the admins of its own version signed, 1 must"),
        ("version 1 again", file(&one, &[200]), "version 1, wanted is 2"),
        ("version 3 in its place", file(&Roster { version: 3, ..two.clone() }, &[200]), "version 3, wanted is 2"),
        ("unsigned", file(&two, &[]), "0 of the admins"),
        ("rubbish", b"{}".to_vec(), "not a signed roster"),
    ] {
        put(&world, 2, bytes);
        world.sync(B);
        let RosterStanding::Stale { why, .. } = world.hosts[B].keyring.roster() else { panic!("{what} is not named") };
        assert!(why.contains(says), "{what}: {why}");
        assert_eq!(
            (version(&world, B), names(&world, B), standing(&world, B)),
            (Some(1), vec!["a".to_owned()], "stale")
        );
    }
    put(&world, 2, file(&two, &[200]));
    world.sync(B);
    assert_eq!((version(&world, B), names(&world, B).len(), standing(&world, B)), (Some(2), 2, "ok"));
}

#[test]
fn t28_a_version_that_is_left_out_is_waited_for() {
    let mut world = pinned(2);
    put(&world, 1, file(&list(&world, 1, &[A, B]), &[200]));
    put(&world, 3, file(&list(&world, 3, &[B]), &[200]));
    world.sync(B);
    assert_eq!(version(&world, B), Some(1));
    put(&world, 2, file(&list(&world, 2, &[A, B]), &[200]));
    world.sync(B);
    assert_eq!((version(&world, B), names(&world, B)), (Some(3), vec![]));
}

#[test]
fn t28_two_lists_of_one_version_are_an_alarm_and_neither_is_overwritten() {
    let mut world = pinned(2);
    put(&world, 1, file(&list(&world, 1, &[A, B]), &[200]));
    world.sync(B);
    let other = file(&list(&world, 1, &[B]), &[200]);
    put(&world, 1, other.clone());
    let report = world.sync(B);
    assert!(report.roster_fault.expect("named").contains("two lists of version 1"));
    assert_eq!((names(&world, B), standing(&world, B)), (vec!["a".to_owned()], "stale"));
    assert_eq!(world.server.tree()[&branch_path::roster(1)].to_vec(), other);
    put(&world, 2, file(&list(&world, 2, &[A, B]), &[200]));
    world.sync(B);
    assert_eq!(standing(&world, B), "ok", "the next version ends it");
}

#[test]
fn t27_who_was_taken_off_the_list_stays_off_when_an_older_list_is_served() {
    let mut world = pinned(3);
    let one = list(&world, 1, &[A, B, C]);
    publish(&mut world, A, &one);
    world.publish(C, &["before"]);
    world.sync(B);
    let old = world.server.tip().expect("a branch");
    let removed = vec![Removed { key: world.id(C), trust_through: 1 }];
    let two = Roster { revoked: removed, ..list(&world, 2, &[A, B]) };
    publish(&mut world, A, &two);
    world.publish(C, &["after"]);
    world.sync(B);
    assert_eq!((version(&world, B), world.lessons(B, C)), (Some(2), vec!["before".to_owned()]));
    assert_eq!(world.hosts[B].keyring.trusted_through(world.id(C)), 1);
    world.server.serve_old(TO_B, old);
    world.sync(B);
    assert_eq!((version(&world, B), names(&world, B)), (Some(2), vec!["a".to_owned()]));
    world.hosts[B].reopen();
    world.sync(B);
    assert_eq!(world.hosts[B].keyring.trusted_through(world.id(C)), 1, "also after a restart");
}

#[test]
fn t27_a_list_that_is_hidden_from_one_host_is_seen_by_what_others_go_by() {
    let mut world = pinned(3);
    let one = list(&world, 1, &[A, B, C]);
    publish(&mut world, A, &one);
    for host in [B, C] {
        world.sync(host);
    }
    let two = list(&world, 2, &[A, B]);
    publish(&mut world, A, &two);
    world.server.lie_to(TO_B, |tree| drop(tree.remove(&branch_path::roster(2))));
    let report = world.sync(B);
    assert_eq!(report.roster_fault.expect("named"), "a goes by version 2, the server shows 1 here");
    assert!(matches!(world.hosts[B].keyring.roster(), RosterStanding::Stale { version: 1, .. }));
    assert!(!world.hosts[B].keyring.roster().is_fresh());
    world.server.be_honest_to(TO_B);
    world.sync(B);
    assert_eq!((version(&world, B), standing(&world, B)), (Some(2), "ok"));
}

#[test]
fn t08_a_list_that_ran_out_bounds_every_grant_and_a_new_one_ends_that() {
    let mut world = pinned(2);
    let one = list(&world, 1, &[A, B]);
    publish(&mut world, A, &one);
    world.sync(B);
    assert_eq!(standing(&world, B), "ok");
    world.wait(roster::VALID + SignedDuration::from_mins(11));
    world.sync(B);
    assert_eq!((standing(&world, B), names(&world, B).len()), ("stale", 1));
    let two = list(&world, 2, &[A, B]);
    publish(&mut world, A, &two);
    world.sync(B);
    assert_eq!(standing(&world, B), "ok");
}

#[test]
fn t10_a_list_that_the_branch_lost_is_pushed_again_by_whoever_knows_it() {
    let mut world = pinned(3);
    let one = list(&world, 1, &[A, B, C]);
    publish(&mut world, A, &one);
    let two = list(&world, 2, &[A, B, C]);
    publish(&mut world, A, &two);
    world.sync(B);
    world.server.wipe();
    world.sync(B);
    world.sync(C);
    assert_eq!((version(&world, C), names(&world, C).len()), (Some(2), 2));
}

#[test]
fn t26_a_local_line_lowers_what_the_list_allows_and_never_raises_it() {
    let mut world = pinned(3);
    let mut one = list(&world, 1, &[A, B, C]);
    one.hosts[2].grant = Grant::Apply;
    publish(&mut world, A, &one);
    let (name_a, a, name_c, c) = (world.hosts[A].name.clone(), world.id(A), world.hosts[C].name.clone(), world.id(C));
    // B's own folder says `apply` of A (listed with `propose`) and `audit` of C (listed with `apply`).
    world.hosts[B].enroll(&name_a, a);
    world.hosts[B].enroll(&name_c, c);
    let line = std::fs::read_to_string(world.hosts[B].home.keys().join("peers/c.pub")).expect("written");
    std::fs::write(world.hosts[B].home.keys().join("peers/c.pub"), line.replace("apply", "audit")).expect("lowered");
    world.hosts[B].reopen();
    world.sync(B);
    let grant = |host: HostId| world.hosts[B].keyring.by_host(host).expect("listed").line.grant;
    assert_eq!((grant(a), grant(c)), (Grant::Propose, Grant::Audit));
}

#[test]
fn t26_a_host_that_is_enrolled_here_and_not_on_the_list_is_not_trusted() {
    let mut world = pinned(3);
    let stranger = (world.hosts[C].name.clone(), world.id(C));
    world.hosts[B].enroll(&stranger.0, stranger.1);
    world.publish(C, &["of-c"]);
    world.sync(B);
    assert_eq!(world.lessons(B, C), ["of-c"], "no list was read yet: what a person enrolled here counts");
    let one = list(&world, 1, &[A, B]);
    publish(&mut world, A, &one);
    world.publish(C, &["more"]);
    world.sync(B);
    assert_eq!(
        (names(&world, B), world.hosts[B].keyring.unlisted().to_vec()),
        (vec!["a".to_owned()], vec![stranger.0])
    );
    assert_eq!(world.lessons(B, C), ["of-c"], "nothing more is read of it");
}

#[test]
fn t28_two_of_three_admins_suffice_and_one_does_not() {
    let mut world = pinned(2);
    put(&world, 1, file(&list(&world, 1, &[A, B]), &[200]));
    let admins = vec![admin(200).host(), admin(201).host(), admin(202).host()];
    let two = Roster { admins, threshold: 2, ..list(&world, 2, &[A, B]) };
    put(&world, 2, file(&two, &[200, 201]));
    world.sync(B);
    assert_eq!(version(&world, B), Some(2));
    let three = Roster { version: 3, hosts: listed(&world, &[B]), ..two };
    put(&world, 3, file(&three, &[200]));
    world.sync(B);
    assert_eq!((version(&world, B), names(&world, B).len()), (Some(2), 1));
    put(&world, 3, file(&three, &[201, 202]));
    world.sync(B);
    assert_eq!((version(&world, B), names(&world, B).len()), (Some(3), 0));
}

#[test]
fn t29_without_a_pin_no_list_is_read() {
    let mut world = World::of(2);
    put(&world, 1, file(&list(&world, 1, &[B]), &[200]));
    world.sync(B);
    assert_eq!((version(&world, B), names(&world, B)), (None, vec!["a".to_owned()]));
    world.server.be_honest_to(TO_C);
}
