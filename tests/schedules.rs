//! Hosts of which some are stolen, restored, revoked or moved, in any order, over a server that drops, doubles and
//! reorders: what holds for those that did nothing wrong.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use mesh::domain::branch_path;
use mesh::domain::chain::{PeerState, Position};
use mesh::domain::envelope::{Envelope, HostKey};
use mesh::domain::head::Head;
use mesh::domain::id::{EntryId, HostId};
use proptest::prelude::*;

use crate::properties::config;
use crate::support::host::{World, chain_files, head_file, mesh_name};

const HOSTS: u8 = 4;

#[derive(Clone, Debug)]
enum Event {
    Publish(u8),
    Sync(u8),
    /// The server takes an entry of one host out of what it shows another.
    Drop(u8, u8, prop::sample::Index),
    /// The server shows an entry a second time, at another place.
    Double(u8, u8, prop::sample::Index, u8),
    /// The server exchanges two entries.
    Reorder(u8, u8, prop::sample::Index, prop::sample::Index),
    BeHonest(u8),
    /// A thief signs on from some place of the log, with the host's key.
    Fork(u8, prop::sample::Index),
    BackUp(u8),
    Restore(u8),
    Revoke(u8, u8),
    Restart(u8),
    DropCache(u8),
}

fn event() -> impl Strategy<Value = Event> {
    let host = 0..HOSTS;
    let at = any::<prop::sample::Index>();
    prop_oneof![
        5 => host.clone().prop_map(Event::Publish),
        10 => host.clone().prop_map(Event::Sync),
        1 => (host.clone(), host.clone(), at.clone()).prop_map(|(to, of, at)| Event::Drop(to, of, at)),
        1 => (host.clone(), host.clone(), at.clone(), 1..6_u8).prop_map(|(to, of, at, n)| Event::Double(to, of, at, n)),
        1 => (host.clone(), host.clone(), at.clone(), at.clone()).prop_map(|(to, of, a, b)| Event::Reorder(to, of, a, b)),
        2 => host.clone().prop_map(Event::BeHonest),
        1 => (host.clone(), at).prop_map(|(host, at)| Event::Fork(host, at)),
        1 => host.clone().prop_map(Event::BackUp),
        1 => host.clone().prop_map(Event::Restore),
        1 => (host.clone(), host.clone()).prop_map(|(reader, of)| Event::Revoke(reader, of)),
        1 => host.clone().prop_map(Event::Restart),
        1 => host.prop_map(Event::DropCache),
    ]
}

struct Watched {
    world: World,
    lessons: u32,
    copies: BTreeMap<usize, std::path::PathBuf>,
    /// Whose key signed two entries with one seq.
    stolen: BTreeSet<HostId>,
    /// Who revoked whom.
    revoked: BTreeSet<(usize, HostId)>,
    /// What each reader ever had at each place, until its home was restored.
    had: BTreeMap<(usize, HostId, u64), EntryId>,
}

impl Watched {
    fn new() -> Self {
        let (stolen, revoked, had) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
        Self { world: World::of(HOSTS), lessons: 0, copies: BTreeMap::new(), stolen, revoked, had }
    }

    fn log(&self, of: HostId) -> Vec<String> {
        let prefix = format!("{}/", branch_path::log(of));
        self.world.server.tree().keys().filter(|path| path.starts_with(&prefix)).cloned().collect()
    }

    fn happen(&mut self, event: &Event) -> Result<(), TestCaseError> {
        match event {
            Event::Publish(host) => {
                self.lessons += 1;
                let now = self.world.now;
                self.world.hosts[usize::from(*host)].publish_lesson(&format!("lesson-{}", self.lessons), now);
            }
            Event::Sync(host) => self.sync(usize::from(*host))?,
            Event::Drop(to, of, at) => {
                let log = self.log(self.world.id(usize::from(*of)));
                if !log.is_empty() {
                    self.world.server.lie_to(*to, |tree| drop(tree.remove(at.get(&log))));
                }
            }
            Event::Double(to, of, at, further) => {
                let of = self.world.id(usize::from(*of));
                let log = self.log(of);
                if !log.is_empty() {
                    let place = u64::try_from(log.len()).expect("few") + u64::from(*further);
                    let again = branch_path::entry(of, place);
                    self.world.server.lie_to(*to, |tree| {
                        let file = tree[at.get(&log)].clone();
                        tree.insert(again, file);
                    });
                }
            }
            Event::Reorder(to, of, one, other) => {
                let log = self.log(self.world.id(usize::from(*of)));
                if !log.is_empty() {
                    self.world.server.lie_to(*to, |tree| {
                        let (one, other) = (one.get(&log), other.get(&log));
                        let (first, second) = (tree[one].clone(), tree[other].clone());
                        tree.insert(one.clone(), second);
                        tree.insert(other.clone(), first);
                    });
                }
            }
            Event::BeHonest(to) => self.world.server.be_honest_to(*to),
            Event::Fork(host, at) => self.fork(usize::from(*host), at),
            Event::BackUp(host) => {
                let copy = self.world.hosts[usize::from(*host)].back_up();
                self.copies.insert(usize::from(*host), copy);
            }
            Event::Restore(host) => self.restore(usize::from(*host))?,
            Event::Revoke(reader, of) if reader != of => {
                let (reader, of) = (usize::from(*reader), usize::from(*of));
                let (home, name) = (self.world.hosts[reader].home.clone(), self.world.hosts[of].name.clone());
                let through = self.world.hosts[reader].peer(self.world.id(of)).position.seq;
                self.world.hosts[reader].keyring.revoke(&home, &name, through).expect("revoked");
                self.world.hosts[reader].reopen();
                self.revoked.insert((reader, self.world.id(of)));
            }
            Event::Revoke(..) => {}
            Event::Restart(host) => self.world.hosts[usize::from(*host)].reopen(),
            Event::DropCache(host) => self.world.server.drop_cache(*host),
        }
        Ok(())
    }

    /// Somebody with the key of a host that published something signs another entry in the place of one, and pushes it.
    fn fork(&mut self, host: usize, at: &prop::sample::Index) {
        let id = self.world.id(host);
        let signed = self.world.hosts[host].signed();
        let shown = self.log(id).len();
        if signed.is_empty() || shown != signed.len() || self.stolen.contains(&id) {
            return;
        }
        let seq = at.index(signed.len());
        let from = Position { seq: u64::try_from(seq).expect("few"), tip: seq.checked_sub(1).map(|at| signed[at]) };
        let key = HostKey::from_seed(&[u8::try_from(host).expect("few") + 1; 32]);
        let (files, end) = chain_files(&key, from, 1, self.world.now);
        let head = head_file(&key, &Head::next(&mesh_name(), id, 10_000, &end, vec![], self.world.now));
        let other = Envelope::parse(&files[0].1).expect("an envelope").entry_id();
        if signed.contains(&other) {
            return;
        }
        self.stolen.insert(id);
        self.world.server.rewrite(|tree| {
            let gone: Vec<String> = tree
                .keys()
                .filter(|path| path.starts_with(&format!("{}/", branch_path::log(id))) && **path >= files[0].0)
                .cloned()
                .collect();
            gone.iter().for_each(|path| drop(tree.remove(path)));
            tree.extend(files.iter().map(|(path, bytes)| (path.clone(), bytes.as_slice().into())));
            tree.insert(branch_path::head(id), head.into());
        });
    }

    /// An older copy of a home is put back while the branch has all that it signed.
    fn restore(&mut self, host: usize) -> Result<(), TestCaseError> {
        let Some(copy) = self.copies.get(&host).cloned() else { return Ok(()) };
        let id = self.world.id(host);
        if self.log(id).len() != self.world.hosts[host].signed().len() || self.stolen.contains(&id) {
            return Ok(());
        }
        self.world.hosts[host].restore(&copy);
        self.had.retain(|(reader, _, _), _| *reader != host);
        self.world.server.be_honest_to(u8::try_from(host).expect("few"));
        self.sync(host)
    }

    fn sync(&mut self, host: usize) -> Result<(), TestCaseError> {
        self.world.sync(host);
        for row in self.world.hosts[host].db().peers().expect("read") {
            let entries = self.world.hosts[host].entries_of(row.host);
            prop_assert_eq!(u64::try_from(entries.len()).expect("few"), row.position.seq, "stored is counted");
            prop_assert_eq!(entries.last().copied(), row.position.tip);
            for (seq, entry) in (1..).zip(entries) {
                let before = *self.had.entry((host, row.host, seq)).or_insert(entry);
                prop_assert_eq!(before, entry, "two ids for entry {} of one host", seq);
            }
            let most = self.had.range((host, row.host, 0)..=(host, row.host, u64::MAX)).count();
            prop_assert_eq!(u64::try_from(most).expect("few"), row.position.seq, "what was stored stays stored");
            let quarantined = row.state == PeerState::Quarantined;
            prop_assert!(!quarantined || self.stolen.contains(&row.host), "an honest host is quarantined");
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<(), TestCaseError> {
        (0..HOSTS).for_each(|host| self.world.server.be_honest_to(host));
        for _ in 0..4 {
            self.world.wait(SignedDuration::from_hours(7));
            (0..usize::from(HOSTS)).try_for_each(|host| self.sync(host))?;
        }
        let all = 0..usize::from(HOSTS);
        for host in all.clone() {
            let id = self.world.id(host);
            for reader in all.clone().filter(|reader| *reader != host) {
                if self.revoked.contains(&(reader, id)) {
                    continue;
                }
                let state = self.world.state(reader, host);
                if self.stolen.contains(&id) {
                    // Who was quarantined anywhere is so wherever the proof's publisher is heard.
                    let finder = all.clone().find(|finder| {
                        let told = self.world.hosts[*finder].db().forks_found_here().expect("read");
                        told.iter().any(|fork| fork.host == id) && *finder != reader
                    });
                    let heard = finder.filter(|finder| {
                        let finder = self.world.id(*finder);
                        !self.revoked.contains(&(reader, finder)) && !self.stolen.contains(&finder)
                    });
                    prop_assert!(heard.is_none() || state == PeerState::Quarantined, "{reader} of {host}: {state:?}");
                    continue;
                }
                let (signed, verified) = (self.world.hosts[host].signed(), self.world.hosts[reader].entries_of(id));
                prop_assert_eq!(signed, verified, "{} of {}", reader, host);
                prop_assert_eq!(state, PeerState::Ok, "{} of {}", reader, host);
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(config(32))]

    #[test]
    fn t06_t31_whatever_is_stolen_restored_or_revoked_the_honest_hosts_agree(
        events in prop::collection::vec(event(), 1..48),
    ) {
        let mut watched = Watched::new();
        for event in &events {
            watched.happen(event)?;
        }
        watched.settle()?;
    }
}
