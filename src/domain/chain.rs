//! One key, one chain: how entries of one host follow each other, and every way in which they can fail to.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use super::envelope::{Kind, Signed};
use super::id::{EntryId, HostId, MeshName};
use super::limits;
use super::strict_json::JsonError;

/// The header inside the signed bytes of every chain entry.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ChainHeader {
    /// The mesh it belongs to.
    pub mesh: MeshName,
    /// The host that signed it.
    pub host: HostId,
    /// Its place in the chain, from 1.
    pub seq: u64,
    /// The entry at seq - 1; `null` only where seq is 1, and never left out.
    #[serde(deserialize_with = "present")]
    pub prev: Option<EntryId>,
    /// When it was signed by that host's clock. Advisory: the chain never depends on it.
    #[serde(with = "super::utc_time")]
    pub issued_at: Timestamp,
}

/// Reads a field that may be `null` but not be left out: two readings of one document are one too many.
fn present<'de, D: Deserializer<'de>>(input: D) -> Result<Option<EntryId>, D::Error> {
    Option::deserialize(input)
}

/// How far a chain is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Position {
    /// The seq of the last entry; 0 before the first.
    pub seq: u64,
    /// The last entry.
    pub tip: Option<EntryId>,
}

impl Position {
    /// The place of the next entry.
    #[must_use]
    pub const fn next_seq(&self) -> u64 {
        self.seq + 1
    }

    /// The position after `entry`.
    #[must_use]
    pub const fn after(&self, entry: EntryId) -> Self {
        Self { seq: self.seq + 1, tip: Some(entry) }
    }

    /// The header of the next own entry.
    #[must_use]
    pub fn next_header(&self, mesh: &MeshName, host: HostId, now: Timestamp) -> ChainHeader {
        ChainHeader { mesh: mesh.clone(), host, seq: self.next_seq(), prev: self.tip, issued_at: whole_seconds(now) }
    }
}

/// `now` without its fraction: signed times are whole seconds.
#[must_use]
pub fn whole_seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// Why a validly signed document is not the next link.
#[derive(Debug, thiserror::Error)]
pub enum ChainFault {
    /// It is of a kind that stands outside the chain.
    #[error("a {} document stands outside the chain", .0.name())]
    OutsideChain(Kind),
    /// It has no readable chain header.
    #[error("no chain header in the signed bytes")]
    Header(#[source] JsonError),
    /// Signed for another mesh.
    #[error("grafted: it was signed for mesh `{found}`, this is `{here}`")]
    OtherMesh {
        /// The mesh that it names.
        found: MeshName,
        /// The mesh here.
        here: MeshName,
    },
    /// Signed by this key in the name of another host.
    #[error("grafted: it names host {found}, the log is of {here}")]
    OtherHost {
        /// The host that it names.
        found: HostId,
        /// The host whose log it is in.
        here: HostId,
    },
    /// An older entry of the same chain stands at a later place.
    #[error("replayed: entry {found} stands at place {place}")]
    Replay {
        /// Its own seq.
        found: u64,
        /// Where it stands.
        place: u64,
    },
    /// A later entry of the same chain stands at an earlier place.
    #[error("reordered: entry {found} stands at place {place}")]
    Reorder {
        /// Its own seq.
        found: u64,
        /// Where it stands.
        place: u64,
    },
    /// Its `prev` is not the entry before it as it is known here.
    #[error("its `prev` is not entry {} as it is known here", place - 1)]
    BrokenLink {
        /// Where it stands.
        place: u64,
    },
    /// Above the largest seq.
    #[error("seq {0} is above {max}", max = limits::INTEGER_MAX)]
    SeqTooLarge(u64),
}

/// Checks that `signed`, found at `place` in the log of its key's host, follows `position`.
///
/// The kind is not looked into: an entry of a future type is a link like any other.
///
/// # Errors
/// The first way in which it does not.
pub fn link(mesh: &MeshName, position: &Position, place: u64, signed: &Signed) -> Result<ChainHeader, ChainFault> {
    let header = read_header(mesh, signed)?;
    if header.seq < place {
        return Err(ChainFault::Replay { found: header.seq, place });
    }
    if header.seq > place {
        return Err(ChainFault::Reorder { found: header.seq, place });
    }
    if place != position.next_seq() || header.prev != position.tip {
        return Err(ChainFault::BrokenLink { place });
    }
    Ok(header)
}

/// Reads the chain header of `signed` and checks whose it is, not where it stands.
///
/// # Errors
/// Not a chain entry, no header, or of another mesh or host.
pub fn read_header(mesh: &MeshName, signed: &Signed) -> Result<ChainHeader, ChainFault> {
    if let Some(kind) = signed.kind().filter(|kind| !kind.in_chain()) {
        return Err(ChainFault::OutsideChain(kind));
    }
    let header: ChainHeader = signed.read().map_err(ChainFault::Header)?;
    if header.mesh != *mesh {
        return Err(ChainFault::OtherMesh { found: header.mesh, here: mesh.clone() });
    }
    if header.host != signed.host() {
        return Err(ChainFault::OtherHost { found: header.host, here: signed.host() });
    }
    if header.seq > limits::INTEGER_MAX {
        return Err(ChainFault::SeqTooLarge(header.seq));
    }
    Ok(header)
}

/// Whether two documents prove that their host signed two entries with one seq. Another spelling of one
/// entry has the same id, and is none.
#[must_use]
pub fn is_fork(mesh: &MeshName, one: &Signed, other: &Signed) -> bool {
    one.host() == other.host()
        && one.entry() != other.entry()
        && matches!(
            (read_header(mesh, one), read_header(mesh, other)),
            (Ok(one), Ok(other)) if one.seq == other.seq
        )
}

/// Where a peer's chain stands, in a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeerState {
    /// Enrolled, and nothing of it was seen yet.
    Unseen,
    /// In order and fresh.
    Ok,
    /// Its head has expired: silent, or hidden by the server.
    Stale,
    /// In order as far as it was read: a sync takes so many entries of one peer, the next takes more.
    Behind,
    /// Its head names entries that the server does not show.
    Withheld,
    /// A log file is missing while a later one exists.
    Gap,
    /// The server shows less, or an older head, than was verified before.
    Rollback,
    /// An older entry stands at a later place.
    Replay,
    /// A later entry stands at an earlier place.
    Reorder,
    /// A document of another host or mesh stands in its log.
    Graft,
    /// A document that is not acceptable: unsigned, altered, malformed.
    Invalid,
    /// Another peer has verified another entry of it at the same place: the server shows two histories, or
    /// one of the two hosts does not tell the truth.
    Split,
    /// More entries than are kept of one peer.
    Flooded,
    /// It signed two entries with one seq. Only a new key ends this.
    Quarantined,
    /// Its key was revoked here.
    Revoked,
}

impl PeerState {
    /// All states.
    pub const ALL: [Self; 15] = [
        Self::Unseen,
        Self::Ok,
        Self::Stale,
        Self::Behind,
        Self::Withheld,
        Self::Gap,
        Self::Rollback,
        Self::Replay,
        Self::Reorder,
        Self::Graft,
        Self::Invalid,
        Self::Split,
        Self::Flooded,
        Self::Quarantined,
        Self::Revoked,
    ];

    /// The word for it in listings and in the database.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unseen => "unseen",
            Self::Ok => "ok",
            Self::Stale => "stale",
            Self::Behind => "behind",
            Self::Withheld => "withheld",
            Self::Gap => "gap",
            Self::Rollback => "rollback",
            Self::Replay => "replay",
            Self::Reorder => "reorder",
            Self::Graft => "graft",
            Self::Invalid => "invalid",
            Self::Split => "split",
            Self::Flooded => "flooded",
            Self::Quarantined => "quarantined",
            Self::Revoked => "revoked",
        }
    }

    /// Whether all that the peer says is known now. Only then may its lessons do more here than be audited:
    /// a retraction may be among what is not.
    #[must_use]
    pub const fn is_fresh(self) -> bool {
        matches!(self, Self::Ok)
    }

    /// Whether a person should know: it is silent, hidden, or not to be believed.
    #[must_use]
    pub const fn is_alarm(self) -> bool {
        match self {
            Self::Unseen | Self::Ok | Self::Behind | Self::Revoked => false,
            Self::Stale
            | Self::Withheld
            | Self::Gap
            | Self::Rollback
            | Self::Replay
            | Self::Reorder
            | Self::Graft
            | Self::Invalid
            | Self::Split
            | Self::Flooded
            | Self::Quarantined => true,
        }
    }

    /// The state with this word.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

impl ChainFault {
    /// The state of a peer whose log has this fault.
    #[must_use]
    pub const fn state(&self) -> PeerState {
        match self {
            Self::OtherMesh { .. } | Self::OtherHost { .. } => PeerState::Graft,
            Self::Replay { .. } => PeerState::Replay,
            Self::Reorder { .. } => PeerState::Reorder,
            Self::BrokenLink { .. } | Self::OutsideChain(_) | Self::Header(_) | Self::SeqTooLarge(_) => {
                PeerState::Invalid
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::envelope::{Envelope, HostKey, PublicKey};
    use super::*;

    fn mesh() -> MeshName {
        "home".parse().expect("a name")
    }

    fn key() -> HostKey {
        HostKey::from_seed(&[3; 32])
    }

    fn signed(header: &ChainHeader, key: &HostKey, kind: Kind) -> Signed {
        let payload = serde_json::to_vec(header).expect("serialises");
        let public = PublicKey::of(key.host()).expect("full order");
        Envelope::seal(key, kind, payload).verify(&public).expect("own signature")
    }

    fn first() -> ChainHeader {
        Position::default().next_header(&mesh(), key().host(), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_chain_grows_link_by_link() {
        let mut position = Position::default();
        for _ in 0..3 {
            let header = position.next_header(&mesh(), key().host(), Timestamp::UNIX_EPOCH);
            let entry = signed(&header, &key(), Kind::Lesson);
            assert_eq!(link(&mesh(), &position, position.next_seq(), &entry).expect("next link"), header);
            position = position.after(entry.entry());
        }
        assert_eq!(position.seq, 3);
    }

    #[test]
    fn t04_replay_reorder_and_broken_links_are_told_apart() {
        let one = signed(&first(), &key(), Kind::Lesson);
        let after_one = Position::default().after(one.entry());
        let fault = link(&mesh(), &after_one, 2, &one).expect_err("an old entry");
        assert_eq!(fault.state(), PeerState::Replay);
        let later = ChainHeader { seq: 3, prev: Some(one.entry()), ..first() };
        let fault = link(&mesh(), &after_one, 2, &signed(&later, &key(), Kind::Lesson)).expect_err("swapped");
        assert_eq!(fault.state(), PeerState::Reorder);
        let unlinked = ChainHeader { seq: 2, prev: None, ..first() };
        let fault = link(&mesh(), &after_one, 2, &signed(&unlinked, &key(), Kind::Lesson)).expect_err("no prev");
        assert!(matches!(fault, ChainFault::BrokenLink { place: 2 }));
        let with_prev = ChainHeader { prev: Some(one.entry()), ..first() };
        assert!(link(&mesh(), &Position::default(), 1, &signed(&with_prev, &key(), Kind::Lesson)).is_err());
    }

    #[test]
    fn t05_documents_of_another_mesh_or_host_are_grafts() {
        let other_mesh = ChainHeader { mesh: "work".parse().expect("a name"), ..first() };
        let fault = link(&mesh(), &Position::default(), 1, &signed(&other_mesh, &key(), Kind::Lesson));
        assert_eq!(fault.expect_err("grafted").state(), PeerState::Graft);
        let other_host = ChainHeader { host: HostId::from_bytes([9; 32]), ..first() };
        let fault = link(&mesh(), &Position::default(), 1, &signed(&other_host, &key(), Kind::Lesson));
        assert_eq!(fault.expect_err("grafted").state(), PeerState::Graft);
    }

    #[test]
    fn t06_two_entries_with_one_seq_are_a_fork_and_two_spellings_of_one_are_not() {
        let one = signed(&first(), &key(), Kind::Lesson);
        let other = signed(&first(), &key(), Kind::Retract);
        assert!(is_fork(&mesh(), &one, &other) && is_fork(&mesh(), &other, &one));
        assert!(!is_fork(&mesh(), &one, &signed(&first(), &key(), Kind::Lesson)));
        let second = ChainHeader { seq: 2, prev: Some(one.entry()), ..first() };
        assert!(!is_fork(&mesh(), &one, &signed(&second, &key(), Kind::Lesson)));
        let stranger = HostKey::from_seed(&[4; 32]);
        let theirs = ChainHeader { host: stranger.host(), ..first() };
        assert!(!is_fork(&mesh(), &one, &signed(&theirs, &stranger, Kind::Retract)));
    }

    #[test]
    fn a_header_without_prev_is_no_header() {
        let text = serde_json::to_string(&first()).expect("serialises");
        let without = text.replace("\"prev\":null,", "");
        assert_ne!(text, without);
        assert!(serde_json::from_str::<ChainHeader>(&text).is_ok());
        assert!(serde_json::from_str::<ChainHeader>(&without).is_err());
    }

    #[test]
    fn heads_have_no_place_in_the_chain() {
        let head = signed(&first(), &key(), Kind::Head);
        assert!(matches!(link(&mesh(), &Position::default(), 1, &head), Err(ChainFault::OutsideChain(Kind::Head))));
    }
}
