//! What holds whatever happens in whatever order: hosts and a server that lies, and bytes of anybody.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use mesh::domain::branch_path;
use mesh::domain::chain::{PeerState, Position};
use mesh::domain::entry;
use mesh::domain::envelope::{Envelope, HostKey, Kind, PublicKey};
use mesh::domain::head::Head;
use mesh::domain::id::{EntryId, HostId};
use mesh::domain::strict_json;
use mesh::domain::trust::{PeerLine, Revoked};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::support::host::{World, mesh_name, sign_raw};
use crate::support::memory_branch::Push;
use crate::support::sample;

const HOSTS: u8 = 3;

/// Cases from a seed that a failing test prints, and that `PROPERTY_SEED` sets.
#[expect(clippy::print_stdout, reason = "a failing test shows how to run it again")]
pub(crate) fn config(cases: u32) -> ProptestConfig {
    let given = std::env::var("PROPERTY_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| getrandom::u64().expect("the system has random bytes"));
    println!("again with PROPERTY_SEED={seed}");
    ProptestConfig { cases, failure_persistence: None, rng_seed: RngSeed::Fixed(seed), ..ProptestConfig::default() }
}

/// One thing that happens.
#[derive(Clone, Debug)]
enum Event {
    Publish(u8),
    Sync(u8),
    ServeOld(u8, prop::sample::Index),
    HideEntry(u8, u8, prop::sample::Index),
    SwapEntries(u8, u8),
    DropTail(u8, u8),
    BeHonest(u8),
    RefusePush(u8),
    LoseAnswer(u8),
    Race(u8, u8),
    Wipe,
    RestoreCopy(u8),
    BackUp(u8),
    DropCache(u8),
    Down(u8, bool),
    Restart(u8),
}

fn event() -> impl Strategy<Value = Event> {
    let host = 0..HOSTS;
    prop_oneof![
        4 => host.clone().prop_map(Event::Publish),
        8 => host.clone().prop_map(Event::Sync),
        1 => (host.clone(), any::<prop::sample::Index>()).prop_map(|(to, at)| Event::ServeOld(to, at)),
        1 => (host.clone(), host.clone(), any::<prop::sample::Index>()).prop_map(|(to, of, at)| Event::HideEntry(to, of, at)),
        1 => (host.clone(), host.clone()).prop_map(|(to, of)| Event::SwapEntries(to, of)),
        1 => (host.clone(), host.clone()).prop_map(|(to, of)| Event::DropTail(to, of)),
        2 => host.clone().prop_map(Event::BeHonest),
        1 => host.clone().prop_map(Event::RefusePush),
        1 => host.clone().prop_map(Event::LoseAnswer),
        1 => (host.clone(), host.clone()).prop_map(|(one, other)| Event::Race(one, other)),
        1 => Just(Event::Wipe),
        1 => host.clone().prop_map(Event::RestoreCopy),
        1 => host.clone().prop_map(Event::BackUp),
        1 => host.clone().prop_map(Event::DropCache),
        1 => (host.clone(), any::<bool>()).prop_map(|(host, down)| Event::Down(host, down)),
        1 => host.prop_map(Event::Restart),
    ]
}

/// The world, and what was ever seen in it.
struct Watched {
    world: World,
    lessons: u32,
    copies: BTreeMap<u8, std::path::PathBuf>,
    tips: Vec<mesh::ports::Tip>,
    /// Every entry that a host ever signed.
    signed: BTreeMap<(HostId, u64), EntryId>,
    /// How far each reader ever was with each peer.
    verified: BTreeMap<(usize, HostId), u64>,
}

impl Watched {
    fn new() -> Self {
        let world = World::of(HOSTS);
        Self {
            world,
            lessons: 0,
            copies: BTreeMap::new(),
            tips: Vec::new(),
            signed: BTreeMap::new(),
            verified: BTreeMap::new(),
        }
    }

    fn happen(&mut self, event: &Event) -> Result<(), TestCaseError> {
        let id = |world: &World, of: u8| world.id(usize::from(of));
        match *event {
            Event::Publish(host) => {
                self.lessons += 1;
                let now = self.world.now;
                self.world.hosts[usize::from(host)].publish_lesson(&format!("lesson-{}", self.lessons), now);
            }
            Event::Sync(host) => self.sync(host)?,
            Event::ServeOld(to, at) => {
                if !self.tips.is_empty() {
                    self.world.server.serve_old(to, *at.get(&self.tips));
                }
            }
            Event::HideEntry(to, of, at) => {
                let of = id(&self.world, of);
                self.world.server.lie_to(to, |tree| {
                    let log: Vec<String> =
                        tree.keys().filter(|path| path.starts_with(&branch_path::log(of))).cloned().collect();
                    if !log.is_empty() {
                        tree.remove(at.get(&log));
                    }
                });
            }
            Event::SwapEntries(to, of) => {
                let of = id(&self.world, of);
                let (one, other) = (branch_path::entry(of, 1), branch_path::entry(of, 2));
                self.world.server.lie_to(to, |tree| {
                    if let (Some(first), Some(second)) = (tree.get(&one).cloned(), tree.get(&other).cloned()) {
                        tree.insert(one, second);
                        tree.insert(other, first);
                    }
                });
            }
            Event::DropTail(to, of) => {
                let prefix = branch_path::log(id(&self.world, of));
                self.world.server.lie_to(to, |tree| {
                    if let Some(last) = tree.keys().rfind(|path| path.starts_with(&prefix)).cloned() {
                        tree.remove(&last);
                    }
                });
            }
            Event::BeHonest(to) => self.world.server.be_honest_to(to),
            Event::RefusePush(host) => self.world.server.next_push(host, Push::Refuse),
            Event::LoseAnswer(host) => self.world.server.next_push(host, Push::LoseAnswer),
            Event::Race(one, other) if one != other => {
                self.world.server.next_push(other, Push::Capture);
                self.sync(other)?;
                // Where there was nothing to push, the order to keep it back stands for later: that is fine too.
                if let Some(files) = self.world.server.try_captured(other) {
                    self.world.server.next_push(one, Push::Race(files));
                    self.sync(one)?;
                }
            }
            Event::Race(..) => {}
            Event::Wipe => self.world.server.wipe(),
            Event::BackUp(host) => {
                let copy = self.world.hosts[usize::from(host)].back_up();
                self.copies.insert(host, copy);
            }
            Event::RestoreCopy(host) => self.restore(host)?,
            Event::DropCache(host) => self.world.server.drop_cache(host),
            Event::Down(host, down) => self.world.server.set_down(host, down),
            Event::Restart(host) => self.world.hosts[usize::from(host)].reopen(),
        }
        self.tips.extend(self.world.server.tip().filter(|tip| !self.tips.contains(tip)));
        Ok(())
    }

    /// An older copy of a home can know what it signed only from the remote: it is put back while all of
    /// that is there to be read. (Where it is not, nobody could know.)
    fn restore(&mut self, host: u8) -> Result<(), TestCaseError> {
        let Some(copy) = self.copies.get(&host).cloned() else { return Ok(()) };
        let number = usize::from(host);
        let (id, tree) = (self.world.id(number), self.world.server.tree());
        let signed = u64::try_from(self.world.hosts[number].signed().len()).expect("few");
        if !(1..=signed).all(|seq| tree.contains_key(&branch_path::entry(id, seq))) {
            return Ok(());
        }
        self.world.hosts[number].restore(&copy);
        for reader in self.verified.iter_mut().filter(|((reader, _), _)| *reader == number) {
            *reader.1 = 0;
        }
        self.world.server.be_honest_to(host);
        self.world.server.set_down(host, false);
        self.sync(host)
    }

    fn sync(&mut self, host: u8) -> Result<(), TestCaseError> {
        let number = usize::from(host);
        self.world.sync(number);
        let me = self.world.id(number);
        for (seq, entry) in (1..).zip(self.world.hosts[number].signed()) {
            let before = *self.signed.entry((me, seq)).or_insert(entry);
            prop_assert_eq!(before, entry, "host {} signed entry {} twice", number, seq);
        }
        for row in self.world.hosts[number].db().peers().expect("read") {
            let before = self.verified.entry((number, row.host)).or_default();
            prop_assert!(row.position.seq >= *before, "host {} forgot what it verified", number);
            *before = row.position.seq;
            prop_assert_ne!(row.state, PeerState::Quarantined);
        }
        Ok(())
    }

    /// Everybody honest and up, for as long as news may take.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        for host in 0..HOSTS {
            self.world.server.be_honest_to(host);
            self.world.server.set_down(host, false);
            self.world.server.forget_pushes(host);
        }
        for _ in 0..3 {
            self.world.wait(SignedDuration::from_hours(7));
            (0..HOSTS).try_for_each(|host| self.sync(host))?;
        }
        for reader in 0..usize::from(HOSTS) {
            for host in (0..usize::from(HOSTS)).filter(|host| *host != reader) {
                let (signed, verified) =
                    (self.world.hosts[host].signed(), self.world.hosts[reader].entries_of(self.world.id(host)));
                prop_assert_eq!(signed, verified, "{} of {}", reader, host);
                prop_assert_eq!(self.world.state(reader, host), PeerState::Ok, "{} of {}", reader, host);
            }
            prop_assert!(self.world.hosts[reader].db().unconfirmed_entries().expect("read").is_empty());
            prop_assert!(self.world.hosts[reader].db().drafts().expect("read").is_empty());
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(config(48))]

    #[test]
    fn honest_hosts_agree_in_the_end_whatever_the_server_did(events in prop::collection::vec(event(), 1..40)) {
        let mut watched = Watched::new();
        for event in &events {
            watched.happen(event)?;
        }
        watched.settle()?;
    }
}

/// A document, and what is done to it.
fn mutated(document: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..6);
    edits.prop_map(move |edits| {
        let mut bytes = document.clone();
        for (at, byte, how) in edits {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => drop(bytes.remove(at)),
                _ => bytes.truncate(at),
            }
        }
        bytes
    })
}

fn payload() -> Vec<u8> {
    let key = HostKey::from_seed(&[1; 32]);
    let header = Position::default().next_header(&mesh_name(), key.host(), jiff::Timestamp::UNIX_EPOCH);
    entry::payload(&header, &sample::lesson("a-lesson")).expect("small")
}

fn line() -> Vec<u8> {
    let key = mesh::domain::openssh::public_line(HostKey::from_seed(&[1; 32]).host(), "web-07");
    format!("grant=\"audit\",scope=\"python/* systemd/**\",not-after=\"2027-05-20\" {key}\n").into_bytes()
}

fn read_envelope(bytes: &[u8]) {
    let key = PublicKey::of(HostKey::from_seed(&[1; 32]).host()).expect("full order");
    if let Ok(envelope) = Envelope::parse(bytes) {
        let again = Envelope::parse(&envelope.to_file()).expect("what was read can be written and read");
        assert_eq!(again.entry_id(), envelope.entry_id());
        drop(envelope.verify(&key));
    }
}

/// Reads a payload as if the right key had signed it.
fn read_signed(payload_type: &str, payload: &[u8]) {
    let Ok(payload) = std::str::from_utf8(payload) else { return };
    let key = PublicKey::of(HostKey::from_seed(&[1; 32]).host()).expect("full order");
    let envelope = Envelope::parse(&sign_raw(1, payload_type, payload));
    let Ok(signed) = envelope.and_then(|envelope| envelope.verify(&key)) else { return };
    drop(entry::read_lesson(&signed));
    drop(entry::read_retraction(&signed));
    drop(Head::read(&mesh_name(), &signed));
    drop(mesh::domain::chain::link(&mesh_name(), &Position::default(), 1, &signed));
}

fn read_lines(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(line) = PeerLine::parse(&text) {
        assert_eq!(PeerLine::parse(&line.to_string()).expect("what was read can be written and read").host, line.host);
    }
    drop(Revoked::parse(&text));
}

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn t17_no_bytes_of_anybody_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        read_envelope(&bytes);
        read_signed(&Kind::Lesson.payload_type(), &bytes);
        read_signed(&Kind::Head.payload_type(), &bytes);
        read_lines(&bytes);
        drop(strict_json::read::<serde_json::Value>(&bytes, strict_json::PAYLOAD));
    }

    #[test]
    fn t17_no_change_of_a_good_document_makes_a_reader_panic(
        envelope in mutated(sign_raw(1, "application/vnd.mesh.lesson.v1+json", "{}")),
        payload in mutated(payload()),
        line in mutated(line()),
    ) {
        read_envelope(&envelope);
        read_signed(&Kind::Lesson.payload_type(), &payload);
        read_lines(&line);
        drop(strict_json::read::<serde_json::Value>(&payload, strict_json::PAYLOAD));
    }

    #[test]
    fn t17_what_the_strict_reader_takes_has_one_reading(text in r#"[\[\]{}:,"a0-9 .eE\-\\u]{0,24}"#) {
        // serde_json's own reading agrees where ours accepts.
        if let Ok(value) = strict_json::read::<serde_json::Value>(text.as_bytes(), strict_json::PAYLOAD) {
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&text).expect("JSON"), value);
        }
    }
}
