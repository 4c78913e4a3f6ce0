//! Documents that are malformed, too many, or of another version.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mesh::domain::branch_path;
use mesh::domain::chain::{PeerState, Position};
use mesh::domain::envelope::{Envelope, HostKey, Kind};
use mesh::domain::id::EntryId;
use mesh::domain::limits;
use mesh::store::peer_log::{EntryRow, InboxState, PeerNews, PeerRow};
use serde_json::Value;

use crate::support::host::{World, bare_chain, bare_payload, chain_files, publish_chain, sign_raw, with_lessons_of_a};

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;
const TO_B: u8 = 1;

/// Payloads that are signed by the right key and still no links.
#[test]
fn t17_t18_signed_payloads_that_two_readers_could_read_differently_end_the_chain_there() {
    let mut world = with_lessons_of_a(3, 1);
    let good = bare_payload(world.id(A), &world.hosts[A].db().own_position().expect("read"), "x", world.now);
    let seq = |number: &str| good.replace("\"seq\": 2", &format!("\"seq\": {number}"));
    let deep = format!("{}1{}", "[".repeat(16), "]".repeat(16));
    let bad = [
        good.replace("\"seq\": 2", "\"seq\": 2, \"seq\": 2"),
        good.replace("\"text\": \"x\"", "\"text\": {\"a\": 1, \"\\u0061\": 2}"),
        good.replace("\"x\"", &deep),
        good.replace("\"x\"", "\"\\ud800\""),
        good.replace("\"x\"", "\"\\u0000\""),
        good.replace("\"x\"", "\"\u{202e}\""),
        format!("\u{feff}{good}"),
        format!("{good} 1"),
        good.replace("\"prev\"", "\"before\""),
        seq("2.0"),
        seq("2e0"),
        seq("-2"),
        seq("9007199254740992"),
        seq("9223372036854775808"),
        seq("18446744073709551615"),
        seq("18446744073709551616"),
        seq("\"2\""),
        seq("null"),
        "[]".to_owned(),
        String::new(),
    ];
    let path = branch_path::entry(world.id(A), 2);
    for payload in bad {
        let file = sign_raw(1, &Kind::Attestation.payload_type(), &payload);
        world.server.lie_to(TO_B, |tree| drop(tree.insert(path.clone(), file.into())));
        world.sync(B);
        assert_eq!((world.state(B, A), world.lessons(B, A).len()), (PeerState::Invalid, 1), "{payload}");
        assert_eq!(world.state(B, C), PeerState::Unseen);
    }
    let good = sign_raw(1, &Kind::Attestation.payload_type(), &good);
    world.server.lie_to(TO_B, |tree| drop(tree.insert(path.clone(), good.into())));
    world.sync(B);
    assert_eq!(world.hosts[B].peer(world.id(A)).position.seq, 2, "the one they were made from is a link");
}

#[test]
fn t17_files_that_are_no_strict_envelopes_end_the_chain_there() {
    let mut world = with_lessons_of_a(2, 2);
    let path = branch_path::entry(world.id(A), 2);
    let good = String::from_utf8(world.server.tree()[&path].to_vec()).expect("ASCII");
    let nested = format!("{}0{}", "[".repeat(17), "]".repeat(17));
    let bad: [Vec<u8>; 9] = [
        good.replacen("\"payload\"", "\"payload\": \"\", \"payload\"", 1).into_bytes(),
        good.replacen("\"sig\"", "\"sig\": \"\", \"sig\"", 1).into_bytes(),
        good.replacen('{', &format!("{{\"x\": {nested},"), 1).into_bytes(),
        format!("{good}{{}}").into_bytes(),
        format!("\u{feff}{good}").into_bytes(),
        good.as_bytes()[..good.len() / 2].to_vec(),
        vec![0xff; 64],
        vec![],
        vec![b' '; limits::ENVELOPE_BYTES + 1],
    ];
    for file in bad {
        world.server.lie_to(TO_B, |tree| drop(tree.insert(path.clone(), file.as_slice().into())));
        world.sync(B);
        assert_eq!((world.state(B, A), world.lessons(B, A).len()), (PeerState::Invalid, 1));
    }
    world.server.be_honest_to(TO_B);
    world.sync(B);
    assert_eq!((world.state(B, A), world.lessons(B, A).len()), (PeerState::Ok, 2));
}

#[test]
fn t25_a_flood_of_10_000_entries_is_taken_256_at_a_time_and_holds_nobody_up() {
    let mut world = World::of(3);
    world.publish(C, &["of-c"]);
    let (files, end) = bare_chain(1, Position::default(), 10_000, world.now);
    publish_chain(&world, 1, &files, end, 1);
    for cycle in 1..=3 {
        let report = world.sync(B);
        assert_eq!(world.hosts[B].peer(world.id(A)).position.seq, cycle * limits::ENTRIES_PER_PEER_PER_CYCLE);
        assert_eq!(world.state(B, A), PeerState::Behind, "{report:?}");
        assert_eq!((world.state(B, C), world.lessons(B, C).len()), (PeerState::Ok, 1));
    }
}

#[test]
fn t25_no_more_than_20_000_entries_are_kept_of_one_peer() {
    let mut world = World::of(3);
    let before = Position { seq: limits::ENTRIES_PER_PEER - 101, tip: Some(EntryId::from_bytes([9; 32])) };
    let (files, end) = bare_chain(1, before, 300, world.now);
    let first = &files[0];
    let id = Envelope::parse(&first.1).expect("well-formed").entry_id();
    // As if the nearly 20,000 entries before had been read.
    let entry =
        EntryRow { seq: before.seq + 1, id, payload_type: Kind::Attestation.payload_type(), envelope: first.1.clone() };
    let row = PeerRow { position: before.after(id), state: PeerState::Ok, ..PeerRow::unseen(world.id(A), world.now) };
    let news = PeerNews { entries: vec![entry], ..PeerNews::of(row) };
    let now = world.now;
    world.hosts[B].db_mut().record_peer(&news, now).expect("stored");
    publish_chain(&world, 1, &files, end, 1);
    world.publish(C, &["of-c"]);
    for _ in 0..3 {
        world.sync(B);
        assert_eq!(world.hosts[B].peer(world.id(A)).position.seq, limits::ENTRIES_PER_PEER);
        assert_eq!(world.state(B, C), PeerState::Ok);
    }
    assert_eq!(world.state(B, A), PeerState::Flooded);
}

#[test]
fn t25_a_peer_with_exactly_as_many_entries_as_are_kept_is_in_order() {
    let mut world = World::of(2);
    let before = Position { seq: limits::ENTRIES_PER_PEER - 2, tip: Some(EntryId::from_bytes([9; 32])) };
    let (files, end) = bare_chain(1, before, 2, world.now);
    let id = Envelope::parse(&files[0].1).expect("well-formed").entry_id();
    let entry = EntryRow {
        seq: before.seq + 1,
        id,
        payload_type: Kind::Attestation.payload_type(),
        envelope: files[0].1.clone(),
    };
    let row = PeerRow { position: before.after(id), state: PeerState::Ok, ..PeerRow::unseen(world.id(A), world.now) };
    let news = PeerNews { entries: vec![entry], ..PeerNews::of(row) };
    let now = world.now;
    world.hosts[B].db_mut().record_peer(&news, now).expect("stored");
    publish_chain(&world, 1, &files, end, 1);
    world.sync(B);
    world.server.drop_cache(TO_B);
    world.sync(B);
    assert_eq!(
        (world.state(B, A), world.hosts[B].peer(world.id(A)).position.seq),
        (PeerState::Ok, limits::ENTRIES_PER_PEER)
    );
}

#[test]
fn refused_documents_fill_no_disk() {
    let mut world = with_lessons_of_a(2, 1);
    let path = branch_path::entry(world.id(A), 1);
    for n in 0..limits::REFUSALS_KEPT + 20 {
        world.server.lie_to(TO_B, |tree| drop(tree.insert(path.clone(), format!("rubbish {n}").into_bytes().into())));
        assert_eq!(world.sync(B).refused.len(), 1);
    }
    let kept = std::fs::read_dir(world.hosts[B].home.inbox().join("rejected")).expect("listed").count();
    assert_eq!(kept, 2 * usize::try_from(limits::REFUSALS_KEPT).expect("small"));
}

#[test]
fn t34_a_type_of_the_future_is_listed_as_unsupported_and_the_chain_goes_on() {
    let mut world = with_lessons_of_a(2, 1);
    let mut position = world.hosts[A].db().own_position().expect("read");
    let mut files = Vec::new();
    for payload_type in ["application/vnd.mesh.lesson.v2+json", "application/vnd.mesh.poem.v1+json", "text/plain"] {
        let file = sign_raw(1, payload_type, &bare_payload(world.id(A), &position, "of the future", world.now));
        files.push((branch_path::entry(world.id(A), position.next_seq()), file.clone()));
        position = position.after(Envelope::parse(&file).expect("well-formed").entry_id());
    }
    let (more, end) = chain_files(&HostKey::from_seed(&[1; 32]), position, 1, world.now);
    files.extend(more);
    publish_chain(&world, 1, &files, end, 9);
    world.sync(B);
    let states: Vec<InboxState> = world.hosts[B].lessons_of(world.id(A)).iter().map(|row| row.state).collect();
    use InboxState::{New, Unsupported};
    assert_eq!(states, [New, Unsupported, Unsupported, Unsupported, New]);
    assert_eq!(world.state(B, A), PeerState::Ok);
}

#[test]
fn t34_nothing_unsigned_is_read_whatever_the_format_file_says() {
    let mut world = with_lessons_of_a(2, 1);
    let path = branch_path::entry(world.id(A), 1);
    world.server.lie_to(TO_B, |tree| {
        let payload = STANDARD
            .decode(serde_json::from_slice::<Value>(&tree[&path]).expect("JSON")["payload"].as_str().expect("text"));
        tree.insert(path.clone(), payload.expect("base64").into());
        tree.insert("mesh-format".to_owned(), b"mesh-branch/0 unsigned\n".as_slice().into());
    });
    world.sync(B);
    assert_eq!((world.state(B, A), world.lessons(B, A).len()), (PeerState::Invalid, 0));
}
