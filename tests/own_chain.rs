//! This host's own log: nothing signed twice, nothing lost, nothing called published that is not.

use jiff::SignedDuration;
use mesh::domain::branch_path;
use mesh::domain::chain::{PeerState, Position};
use mesh::domain::envelope::{Envelope, HostKey, PublicKey};
use mesh::domain::head::Head;
use mesh::loops::exchange::{SigningRefused, SyncReport};
use mesh::ports::RemoteError;

use crate::support::host::{Host, World, chain_files, mesh_name};
use crate::support::memory_branch::Push;

const A: usize = 0;
const B: usize = 1;
const TO_A: u8 = 0;

fn outbox(host: &Host) -> usize {
    std::fs::read_dir(host.home.outbox()).expect("listed").count()
}

fn queue(world: &mut World, host: usize, lesson: &str) {
    let now = world.now;
    world.hosts[host].publish_lesson(lesson, now);
}

/// The head in these files or this tree.
fn head_in<'a>(host: &Host, mut file: impl FnMut(&str) -> Option<&'a [u8]>) -> Head {
    let bytes = file(&branch_path::head(host.id())).expect("a head");
    let key = PublicKey::of(host.id()).expect("full order");
    let signed = Envelope::parse(bytes).and_then(|envelope| envelope.verify(&key)).expect("signed by it");
    Head::read(&mesh_name(), &signed).expect("a head")
}

fn published_head(world: &World, host: usize) -> Head {
    let tree = world.server.tree();
    head_in(&world.hosts[host], |path| tree.get(path).map(AsRef::as_ref))
}

fn refusal(report: &SyncReport) -> &SigningRefused {
    match report.signing.as_slice() {
        [refused] => refused,
        other => panic!("one reason expected: {other:?}"),
    }
}

#[test]
fn nothing_is_signed_before_the_remote_was_reached() {
    let mut world = World::of(1);
    queue(&mut world, A, "first");
    world.server.set_down(TO_A, true);
    let report = world.sync(A);
    assert!(matches!(report.remote, Some(RemoteError::Unreachable(_))));
    assert!(report.signed.is_empty() && world.hosts[A].signed().is_empty());
    world.server.set_down(TO_A, false);
    let report = world.sync(A);
    assert_eq!((report.signed.len(), report.published.as_slice()), (1, [1].as_slice()));
}

#[test]
fn a_sync_with_nothing_new_asks_once() {
    let mut world = World::of(1);
    world.publish(A, &["first"]);
    world.server.calls(TO_A);
    world.sync(A);
    assert_eq!(world.server.calls(TO_A), ["fetch"]);
    world.wait(SignedDuration::from_hours(6));
    world.sync(A);
    assert_eq!(world.server.calls(TO_A), ["fetch", "publish head"], "the heartbeat");
}

#[test]
fn t10_a_wiped_branch_is_filled_again_and_what_was_verified_stays() {
    let garbage = |world: &World| {
        world.server.rewrite(|tree| {
            tree.clear();
            tree.insert("README".to_owned(), b"mine now".as_slice().into());
        });
    };
    let wipes: [fn(&World); 2] = [|world| world.server.wipe(), garbage];
    for wipe in wipes {
        let mut world = World::of(2);
        world.publish(A, &["one", "two"]);
        world.publish(B, &["three"]);
        world.sync(A);
        wipe(&world);
        let report = world.sync(B);
        assert_eq!(report.published, [1], "its own log is back");
        assert_eq!((world.state(B, A), world.lessons(B, A).len()), (PeerState::Rollback, 2));
        world.sync(A);
        world.sync(B);
        world.sync(A);
        assert_eq!((world.state(B, A), world.state(A, B)), (PeerState::Ok, PeerState::Ok));
        assert_eq!(world.hosts[B].entries_of(world.id(A)), world.hosts[A].signed());
        assert_eq!(world.hosts[A].signed().len(), 2, "nothing was signed again");
    }
}

#[test]
fn t10_a_wiped_branch_is_filled_again_by_a_host_that_lost_its_cache_as_well() {
    let mut world = World::of(2);
    world.publish(B, &["one"]);
    world.server.wipe();
    world.server.drop_cache(1);
    world.sync(A);
    assert_eq!(world.sync(B).published, [1]);
    world.sync(A);
    assert_eq!((world.state(A, B), world.lessons(A, B).len()), (PeerState::Ok, 1));
}

#[test]
fn t10_what_is_lost_between_the_look_and_the_push_is_pushed_again() {
    let mut world = World::of(1);
    world.publish(A, &["first"]);
    let old = world.server.tip().expect("a branch");
    world.publish(A, &["second", "third"]);
    let on_the_branch = |world: &World| {
        let tree = world.server.tree();
        let host = world.hosts[A].id();
        (1..=4).filter(|seq| tree.contains_key(&branch_path::entry(host, *seq))).collect::<Vec<_>>()
    };
    assert_eq!(on_the_branch(&world), [1, 2, 3]);
    queue(&mut world, A, "fourth");
    world.server.next_push(TO_A, Push::SetBack(old));
    let report = world.sync(A);
    assert_eq!(report.published, [4]);
    assert_eq!(on_the_branch(&world), [1, 4]);
    assert_eq!(outbox(&world.hosts[A]), 2, "they wait again");
    assert_eq!(world.sync(A).published, [2, 3]);
    assert_eq!(on_the_branch(&world), [1, 2, 3, 4]);
    // The same with a heartbeat alone.
    world.wait(SignedDuration::from_hours(6));
    world.server.next_push(TO_A, Push::SetBack(old));
    world.sync(A);
    world.sync(A);
    assert_eq!(on_the_branch(&world), [1, 2, 3, 4]);
}

#[test]
fn a_removed_or_altered_own_entry_is_pushed_again() {
    let mut world = World::of(2);
    world.publish(A, &["one", "two", "three", "four"]);
    world.sync(B);
    let host = world.id(A);
    world.server.rewrite(|tree| {
        tree.remove(&branch_path::entry(host, 2));
        tree.insert(branch_path::entry(host, 3), b"rubbish".as_slice().into());
        tree.insert(branch_path::entry(host, 4), tree[&branch_path::entry(host, 1)].clone());
    });
    let report = world.sync(A);
    assert_eq!((report.published.as_slice(), report.signing.len()), ([2, 3, 4].as_slice(), 0), "{report:?}");
    assert_eq!(outbox(&world.hosts[A]), 0);
    world.sync(B);
    assert_eq!((world.state(B, A), world.lessons(B, A).len()), (PeerState::Ok, 4));
}

#[test]
fn t11_a_refused_push_is_not_published_and_not_signed_again() {
    let mut world = World::of(2);
    queue(&mut world, A, "first");
    world.server.next_push(TO_A, Push::Refuse);
    world.server.next_push(TO_A, Push::Refuse);
    for signed in [1, 0] {
        let report = world.sync(A);
        assert!(matches!(report.remote, Some(RemoteError::Refused(_))));
        assert_eq!((report.signed.len(), report.published.len()), (signed, 0));
        assert_eq!(outbox(&world.hosts[A]), 1);
    }
    let report = world.sync(A);
    assert_eq!((report.signed.len(), report.published.as_slice(), outbox(&world.hosts[A])), (0, [1].as_slice(), 0));
    world.sync(B);
    assert_eq!(world.lessons(B, A), ["first"]);
}

#[test]
fn t11_a_push_whose_answer_was_lost_is_confirmed_by_read_back() {
    let mut world = World::of(2);
    queue(&mut world, A, "first");
    world.server.next_push(TO_A, Push::LoseAnswer);
    let report = world.sync(A);
    assert!(report.remote.is_some() && report.published.is_empty());
    assert_eq!(world.hosts[A].db().unconfirmed_entries().expect("read").len(), 1);
    let report = world.sync(A);
    assert_eq!((report.published.as_slice(), report.signed.len()), ([1].as_slice(), 0));
    assert_eq!(world.hosts[A].signed().len(), 1);
}

#[test]
fn t11_a_raced_push_loses_nothing_of_either() {
    let mut world = World::of(3);
    queue(&mut world, B, "of-b");
    world.server.next_push(1, Push::Capture);
    world.sync(B);
    queue(&mut world, A, "of-a");
    world.server.next_push(TO_A, Push::Race(world.server.captured(1)));
    world.sync(A);
    let report = world.sync(B);
    assert_eq!(report.published, [1], "seen in the tree that the other push was put on");
    world.sync(2);
    assert_eq!((world.lessons(2, A), world.lessons(2, B)), (vec!["of-a".to_owned()], vec!["of-b".to_owned()]));
}

#[test]
fn heads_are_numbered_upwards_whatever_fails() {
    let mut world = World::of(1);
    let mut last = 0;
    for round in 0..4 {
        queue(&mut world, A, &format!("lesson-{round}"));
        world.server.next_push(TO_A, Push::Capture);
        world.sync(A);
        let captured = world.server.captured(TO_A);
        let kept_back = head_in(&world.hosts[A], |path| captured.get(path).map(AsRef::as_ref));
        assert!(kept_back.n > last);
        world.hosts[A].reopen();
        world.server.next_push(TO_A, Push::LoseAnswer);
        world.sync(A);
        assert!(published_head(&world, A).n > kept_back.n);
        world.hosts[A].reopen();
        world.sync(A);
        last = published_head(&world, A).n;
    }
}

#[test]
fn t31_a_copy_of_a_home_on_another_machine_signs_nothing_and_still_reads() {
    let mut world = World::of(2);
    world.hosts[A].machine = Some("one".to_owned());
    world.publish(A, &["first"]);
    world.publish(B, &["of-b"]);
    world.hosts[A].machine = Some("two".to_owned());
    queue(&mut world, A, "second");
    let before = world.server.tree();
    let report = world.sync(A);
    assert!(matches!(refusal(&report), SigningRefused::Cloned));
    assert_eq!((report.signed.len(), report.received, world.hosts[A].signed().len()), (0, 1, 1));
    assert!(world.server.tree() == before, "nothing was pushed");
}

#[test]
fn t31_a_restored_older_database_catches_up_and_signs_on_at_the_right_seq() {
    let mut world = World::of(2);
    world.publish(A, &["one", "two"]);
    queue(&mut world, A, "three");
    let copy = world.hosts[A].back_up();
    world.sync(A);
    world.publish(A, &["four"]);
    let signed = world.hosts[A].signed();
    let n = published_head(&world, A).n;
    world.sync(B);
    world.hosts[A].restore(&copy);
    assert_eq!(world.hosts[A].signed().len(), 2);
    queue(&mut world, A, "five");
    let report = world.sync(A);
    assert_eq!((report.caught_up, report.signed.as_slice()), (2, [(5, "five".to_owned())].as_slice()), "{report:?}");
    assert_eq!(world.hosts[A].signed()[..4], signed);
    assert!(published_head(&world, A).n > n);
    world.sync(B);
    assert_eq!((world.state(B, A), world.lessons(B, A).len()), (PeerState::Ok, 5));
}

#[test]
fn t31_a_restored_host_signs_nothing_while_the_server_hides_its_newest_entries() {
    let mut world = World::of(2);
    world.publish(A, &["one"]);
    let copy = world.hosts[A].back_up();
    world.publish(A, &["two", "three"]);
    let (host, signed) = (world.id(A), world.hosts[A].signed());
    for hidden in [vec![2, 3], vec![3], vec![2]] {
        world.hosts[A].restore(&copy);
        queue(&mut world, A, "four");
        world
            .server
            .lie_to(TO_A, |tree| hidden.iter().for_each(|seq| drop(tree.remove(&branch_path::entry(host, *seq)))));
        for _ in 0..2 {
            let report = world.sync(A);
            assert!(matches!(refusal(&report), SigningRefused::Incomplete { signed: 3, .. }), "{report:?}");
            assert!(report.signed.is_empty());
        }
        world.server.be_honest_to(TO_A);
    }
    let report = world.sync(A);
    assert_eq!(report.signed, [(4, "four".to_owned())]);
    assert_eq!(world.hosts[A].signed()[..3], signed);
}

#[test]
fn t31_two_agents_with_one_key_are_told_to_stop_and_do_so_for_good() {
    let mut world = World::of(2);
    // The same seed: one key in two homes.
    let mut twin = Host::new("a", 1, world.server.client(7));
    queue(&mut world, A, "mine");
    world.server.next_push(TO_A, Push::Refuse);
    world.sync(A);
    let now = world.now;
    twin.publish_lesson("its", now);
    assert_eq!(twin.sync(now).expect("works").published, [1]);
    let report = world.sync(A);
    assert!(matches!(refusal(&report), SigningRefused::Forked { seq: 1 }));
    world.hosts[A].reopen();
    world.server.wipe();
    queue(&mut world, A, "more");
    let report = world.sync(A);
    assert!(matches!(refusal(&report), SigningRefused::Forked { seq: 1 }), "also when the proof is gone");
    assert_eq!(world.hosts[A].signed().len(), 1);
}

#[test]
fn t31_entries_of_a_twin_that_landed_in_between_are_seen_at_once() {
    let mut world = World::of(1);
    world.publish(A, &["one"]);
    let position = world.hosts[A].db().own_position().expect("read");
    let (twins, _) = chain_files(&HostKey::from_seed(&[1; 32]), position, 2, world.now);
    queue(&mut world, A, "two");
    world.server.next_push(TO_A, Push::Race(twins.into_iter().collect()));
    let report = world.sync(A);
    assert!(matches!(refusal(&report), SigningRefused::Forked { seq: 3 }), "{report:?}");
}

#[test]
fn a_server_cannot_stop_a_host_with_copies_of_its_own_files() {
    let mut world = World::of(2);
    world.publish(A, &["one", "two"]);
    let host = world.id(A);
    let (of_b, _) = chain_files(&HostKey::from_seed(&[2; 32]), Position::default(), 1, world.now);
    for rubbish in [None, Some(of_b[0].1.clone()), Some(b"rubbish".to_vec())] {
        let place = world.hosts[A].db().own_position().expect("read").next_seq();
        world.server.rewrite(|tree| {
            let file = rubbish.map_or_else(|| tree[&branch_path::entry(host, 1)].clone(), |bytes| bytes.into());
            tree.insert(branch_path::entry(host, place), file);
        });
        queue(&mut world, A, &format!("lesson-{place}"));
        let report = world.sync(A);
        assert_eq!((report.signing.len(), report.published.as_slice()), (0, [place].as_slice()), "{report:?}");
    }
    world.sync(B);
    assert_eq!((world.state(B, A), world.lessons(B, A).len()), (PeerState::Ok, 5));
}

#[test]
fn a_draft_that_cannot_be_signed_holds_up_nothing() {
    let mut world = World::of(2);
    let now = world.now;
    world.hosts[A].db_mut().queue_draft("lesson", "broken", "{\"id\": 1}", now).expect("queued");
    queue(&mut world, A, "sound");
    let report = world.sync(A);
    assert!(matches!(refusal(&report), SigningRefused::Draft { slug, .. } if slug == "broken"));
    assert_eq!(report.published, [1]);
    world.sync(B);
    assert_eq!((world.lessons(B, A), world.state(B, A)), (vec!["sound".to_owned()], PeerState::Ok));
}
