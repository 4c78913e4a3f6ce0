//! What the admins' list and the moves of hosts to new keys make of the folders.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{Keyring, KeyringError};
use crate::domain::id::{HostId, PeerName};
use crate::domain::roster::Roster;
use crate::domain::trust::{Peer, PeerLine, Revoked};
use crate::store::db::Db;
use crate::store::home::Home;
use crate::store::rosters::{ROSTER_FACT, RosterRow};

/// How far the admins' list is to be relied on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RosterStanding {
    /// No admin is pinned here: trust is what the folders say.
    #[default]
    None,
    /// Admins are pinned, and no list of theirs was verified yet.
    Awaited,
    /// It is the newest one that there is, as far as can be seen.
    Fresh {
        /// Its version.
        version: u64,
    },
    /// It has expired, or a newer one is hidden: lessons are audited at most.
    Stale {
        /// Its version.
        version: u64,
        /// Why.
        why: String,
    },
}

impl RosterStanding {
    /// Whether it bounds nothing: there is no list, or it is the newest.
    #[must_use]
    pub const fn is_fresh(&self) -> bool {
        !matches!(self, Self::Stale { .. })
    }

    /// The word for it in listings.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Awaited => "awaited",
            Self::Fresh { .. } => "ok",
            Self::Stale { .. } => "stale",
        }
    }
}

impl Keyring {
    /// Reads the folders and holds them against the newest roster that was verified here, if admins are pinned.
    ///
    /// # Errors
    /// As [`Keyring::load`], or the database failed.
    pub fn load_with_roster(home: &Home, db: &Db, now: Timestamp) -> Result<Self, KeyringError> {
        let mut keyring = Self::load(home)?;
        keyring.join_again(db, now)?;
        Ok(keyring)
    }

    /// Holds what the folders say against the newest verified roster.
    ///
    /// # Errors
    /// The database failed.
    fn join_roster(&mut self, db: &Db, now: Timestamp) -> Result<(), KeyringError> {
        if self.admins.is_empty() {
            return Ok(());
        }
        let Some(RosterRow { roster, .. }) = db.roster()? else {
            self.roster = RosterStanding::Awaited;
            return Ok(());
        };
        let (version, fault) = (roster.version, db.fact(ROSTER_FACT)?);
        self.roster = match fault {
            Some(why) => RosterStanding::Stale { version, why },
            None if roster.is_expired(now) => {
                RosterStanding::Stale { version, why: "the roster has expired: its admins sign a new one".to_owned() }
            }
            None => RosterStanding::Fresh { version },
        };
        self.take_roster(&roster);
        Ok(())
    }

    /// Holds the folders, as they were read, against a roster that was verified since.
    ///
    /// # Errors
    /// The database failed.
    pub fn join_again(&mut self, db: &Db, now: Timestamp) -> Result<(), KeyringError> {
        let folders = self.folders.get_or_insert_with(|| (self.peers.clone(), self.revoked.clone()));
        (self.peers, self.revoked) = folders.clone();
        self.join_roster(db, now)?;
        self.follow(db)
    }

    /// Puts the new key of a host that moved in the place of the old one, whose entries are believed up to its last.
    fn follow(&mut self, db: &Db) -> Result<(), KeyringError> {
        self.moved.clear();
        let mut open: Vec<_> = db.rotations()?.into_iter().filter(|(_, taken)| *taken).collect();
        // A host may have moved more than once; each round follows one move of each.
        while !open.is_empty() {
            let mut later = Vec::new();
            let before = open.len();
            for (rotation, taken) in open {
                let Some(at) = self.peers.iter().position(|peer| peer.line.host == rotation.old) else {
                    later.push((rotation, taken));
                    continue;
                };
                let known = self.by_host(rotation.new).is_some() || self.revoked(rotation.new).is_some();
                let cut_before = self.trusted_through(rotation.old) < rotation.seq;
                if known || cut_before || db.fork(rotation.old)?.is_some() || db.fork(rotation.new)?.is_some() {
                    continue;
                }
                let Peer { name, line } = self.peers[at].clone();
                self.peers[at].name = labelled(&name, rotation.old);
                self.peers.push(Peer { name, line: PeerLine { host: rotation.new, ..line } });
                let left = Revoked { host: rotation.old, trust_through: rotation.seq, comment: "moved".to_owned() };
                self.revoked.push((self.peers[at].name.clone(), left));
                self.moved.push((rotation.old, rotation.new));
            }
            if later.len() == before {
                break;
            }
            open = later;
        }
        self.peers.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(())
    }

    /// The key that a host moved to from this one.
    #[must_use]
    pub fn successor(&self, host: HostId) -> Option<HostId> {
        self.moved.iter().find(|(old, _)| *old == host).map(|(_, new)| *new)
    }

    /// A listed host is trusted with what both the list and, where there is one, its local line allow; one that is not
    /// listed is not trusted.
    fn take_roster(&mut self, roster: &Roster) {
        let local = std::mem::take(&mut self.peers);
        let mut names: BTreeSet<PeerName> = local.iter().map(|peer| peer.name.clone()).collect();
        for member in roster.hosts.iter().filter(|member| Some(member.key) != self.me) {
            let listed = member.line();
            if let Some(known) = local.iter().find(|peer| peer.line.host == member.key) {
                self.peers.push(Peer { name: known.name.clone(), line: known.line.meet(&listed) });
                continue;
            }
            let mut name = member.name.clone();
            if !names.insert(name.clone()) {
                name = labelled(&name, member.key);
                names.insert(name.clone());
            }
            self.peers.push(Peer { name, line: listed });
        }
        self.unlisted = local
            .into_iter()
            .filter(|peer| !roster.hosts.iter().any(|member| member.key == peer.line.host))
            .map(|peer| peer.name)
            .collect();
        self.peers.sort_by(|one, other| one.name.cmp(&other.name));
        for removed in &roster.revoked {
            let line =
                Revoked { host: removed.key, trust_through: removed.trust_through, comment: "roster".to_owned() };
            let label: PeerName = "roster".parse().expect("a plain word");
            self.revoked.push((labelled(&label, removed.key), line));
        }
    }
}

/// A name with some digits of the key behind it, where one name stands for more than one key.
pub(super) fn labelled(name: &PeerName, host: HostId) -> PeerName {
    let short: String = name.as_str().chars().take(55).collect();
    format!("{short}-{}", host.short()).parse().expect("a peer name and hexadecimal digits")
}
