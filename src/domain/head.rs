//! A host's newest position: freshness, a dead-man switch, and what it has seen of others.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::chain::{PeerState, Position, whole_seconds};
use super::envelope::{Kind, Signed};
use super::id::{EntryId, HostId, MeshName};
use super::limits;
use super::strict_json::{self, Bounds, JsonError};

/// How often a host re-issues its head when there is no news.
pub const HEARTBEAT: SignedDuration = SignedDuration::from_hours(6);
/// How long a head is valid.
pub const VALID: SignedDuration = SignedDuration::from_hours(48);

const BOUNDS: Bounds =
    Bounds { bytes: limits::HEAD_BYTES, string: limits::JSON_STRING_BYTES, array: limits::JSON_ARRAY_LEN };

/// The last entry seen of a peer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// The peer.
    pub host: HostId,
    /// Its seq.
    pub seq: u64,
    /// Its tip.
    pub tip: EntryId,
}

/// The payload of `head.json`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The mesh it belongs to.
    pub mesh: MeshName,
    /// The host that signed it.
    pub host: HostId,
    /// Strictly growing, one for each head this host ever signed.
    pub n: u64,
    /// The seq of its last entry; 0 before the first.
    pub seq: u64,
    /// Its last entry.
    pub tip: Option<EntryId>,
    /// When it was signed.
    #[serde(with = "super::utc_time")]
    pub issued_at: Timestamp,
    /// When it stops to be fresh.
    #[serde(with = "super::utc_time")]
    pub expires_at: Timestamp,
    /// The roster version it goes by, where there is a roster.
    pub roster: Option<u64>,
    /// The program that signed it, such as `mesh/0.1.0`.
    pub agent: String,
    /// What it has verified of others; the longest ago checked first to go when there are too many.
    #[serde(default)]
    pub seen: Vec<Seen>,
}

/// Why a head is refused.
#[derive(Debug, thiserror::Error)]
pub enum HeadFault {
    /// Of another kind.
    #[error("not a head")]
    Kind,
    /// Not of its shape.
    #[error("head is not of its shape")]
    Shape(#[source] JsonError),
    /// Of another mesh or host.
    #[error("head belongs to another {0}")]
    Graft(&'static str),
    /// Its own fields do not agree.
    #[error("head is inconsistent: {0}")]
    Inconsistent(&'static str),
}

impl Head {
    /// The next head of this host.
    #[must_use]
    pub fn next(mesh: &MeshName, host: HostId, n: u64, position: &Position, seen: Vec<Seen>, now: Timestamp) -> Self {
        let issued_at = whole_seconds(now);
        Self {
            mesh: mesh.clone(),
            host,
            n,
            seq: position.seq,
            tip: position.tip,
            issued_at,
            expires_at: issued_at.saturating_add(VALID).unwrap_or(Timestamp::MAX),
            roster: None,
            agent: concat!("mesh/", env!("CARGO_PKG_VERSION")).to_owned(),
            seen: seen.into_iter().take(limits::JSON_ARRAY_LEN).collect(),
        }
    }

    /// Reads the head that `signed` carries.
    ///
    /// # Errors
    /// Not a head, of another mesh or host, or inconsistent.
    pub fn read(mesh: &MeshName, signed: &Signed) -> Result<Self, HeadFault> {
        if signed.kind() != Some(Kind::Head) {
            return Err(HeadFault::Kind);
        }
        let head: Self = strict_json::read(signed.payload(), BOUNDS).map_err(HeadFault::Shape)?;
        if head.mesh != *mesh {
            return Err(HeadFault::Graft("mesh"));
        }
        if head.host != signed.host() {
            return Err(HeadFault::Graft("host"));
        }
        if head.n == 0 {
            return Err(HeadFault::Inconsistent("`n` starts at 1"));
        }
        if (head.seq == 0) != head.tip.is_none() {
            return Err(HeadFault::Inconsistent("`tip` is null exactly while `seq` is 0"));
        }
        if head.expires_at <= head.issued_at {
            return Err(HeadFault::Inconsistent("it expires before it is issued"));
        }
        Ok(head)
    }

    /// Whether it is fresh at `now`. A clock that is ahead here by up to ten minutes is forgiven.
    #[must_use]
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        now <= self.expires_at.saturating_add(SignedDuration::from_mins(10)).unwrap_or(Timestamp::MAX)
    }

    /// The state of a peer with this head, of whom entries up to `position` are verified and whose head
    /// before was number `last_n`.
    #[must_use]
    pub fn judge(&self, position: &Position, last_n: u64, now: Timestamp) -> PeerState {
        if self.n < last_n || self.seq < position.seq {
            return PeerState::Rollback;
        }
        if self.seq > position.seq {
            return PeerState::Withheld;
        }
        if self.tip != position.tip {
            return PeerState::Invalid;
        }
        if self.is_fresh(now) { PeerState::Ok } else { PeerState::Stale }
    }
}

#[cfg(test)]
mod tests {
    use super::super::envelope::{Envelope, HostKey, PublicKey};
    use super::*;

    fn head(n: u64, seq: u64) -> Head {
        let tip = (seq > 0).then(|| EntryId::from_bytes([1; 32]));
        Head::next(
            &"home".parse().expect("a name"),
            key().host(),
            n,
            &Position { seq, tip },
            vec![],
            Timestamp::UNIX_EPOCH,
        )
    }

    fn key() -> HostKey {
        HostKey::from_seed(&[5; 32])
    }

    fn read(head: &Head) -> Result<Head, HeadFault> {
        let envelope = Envelope::seal(&key(), Kind::Head, serde_json::to_vec(head).expect("serialises"));
        let signed = envelope.verify(&PublicKey::of(key().host()).expect("full order")).expect("own signature");
        Head::read(&"home".parse().expect("a name"), &signed)
    }

    #[test]
    fn a_head_round_trips_and_refuses_to_contradict_itself() {
        assert_eq!(read(&head(1, 0)).expect("sound"), head(1, 0));
        assert!(read(&Head { n: 0, ..head(1, 0) }).is_err());
        assert!(read(&Head { tip: None, ..head(1, 2) }).is_err());
        assert!(read(&Head { expires_at: Timestamp::UNIX_EPOCH, ..head(1, 0) }).is_err());
        assert!(read(&Head { mesh: "work".parse().expect("a name"), ..head(1, 0) }).is_err());
    }

    #[test]
    fn t09_a_head_ahead_of_the_log_is_withheld_and_an_older_one_a_rollback() {
        let position = Position { seq: 7, tip: Some(EntryId::from_bytes([1; 32])) };
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(head(4, 10).judge(&position, 3, now), PeerState::Withheld);
        assert_eq!(head(4, 7).judge(&position, 3, now), PeerState::Ok);
        assert_eq!(head(4, 6).judge(&position, 3, now), PeerState::Rollback);
        assert_eq!(head(4, 7).judge(&position, 5, now), PeerState::Rollback);
    }

    #[test]
    fn a_head_goes_stale_after_48_hours_and_ten_minutes() {
        let position = Position { seq: 7, tip: Some(EntryId::from_bytes([1; 32])) };
        let at = |hours: i64, minutes: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_mins(hours * 60 + minutes);
        assert_eq!(head(1, 7).judge(&position, 1, at(48, 10)), PeerState::Ok);
        assert_eq!(head(1, 7).judge(&position, 1, at(48, 11)), PeerState::Stale);
    }
}
