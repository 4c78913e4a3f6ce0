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
/// How far clocks may differ before a head is called stale.
const SLACK: SignedDuration = SignedDuration::from_mins(10);
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

    /// Until when it is believed by a host that saw it first at `first_seen`: never longer than a head is
    /// valid, whatever its own clock says, so that no head silences the alarm about a silent host.
    #[must_use]
    pub fn believed_until(&self, first_seen: Timestamp) -> Timestamp {
        self.expires_at.min(first_seen.saturating_add(VALID).unwrap_or(Timestamp::MAX))
    }

    /// The state of a peer with this head, of whom entries up to `position` are verified, whose head before
    /// was number `last_n`, and whose head is believed `until` then.
    #[must_use]
    pub fn judge(&self, position: &Position, last_n: u64, until: Timestamp, now: Timestamp) -> PeerState {
        if self.n < last_n || self.seq < position.seq {
            return PeerState::Rollback;
        }
        if self.seq > position.seq {
            return PeerState::Withheld;
        }
        if self.tip != position.tip {
            return PeerState::Invalid;
        }
        if is_fresh(until, now) { PeerState::Ok } else { PeerState::Stale }
    }
}

/// Whether a head that is believed `until` then is fresh at `now`; a clock that is ahead by a little is forgiven.
#[must_use]
pub fn is_fresh(until: Timestamp, now: Timestamp) -> bool {
    now <= until.saturating_add(SLACK).unwrap_or(Timestamp::MAX)
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
        let judge = |head: &Head, last_n| head.judge(&position, last_n, head.expires_at, now);
        assert_eq!(judge(&head(4, 10), 3), PeerState::Withheld);
        assert_eq!(judge(&head(4, 7), 3), PeerState::Ok);
        assert_eq!(judge(&head(4, 6), 3), PeerState::Rollback);
        assert_eq!(judge(&head(4, 7), 5), PeerState::Rollback);
    }

    #[test]
    fn a_head_goes_stale_after_48_hours_and_ten_minutes() {
        let position = Position { seq: 7, tip: Some(EntryId::from_bytes([1; 32])) };
        let at = |hours: i64, minutes: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_mins(hours * 60 + minutes);
        let head = head(1, 7);
        let until = head.believed_until(at(0, 5));
        assert_eq!(until, at(48, 0));
        assert_eq!(head.judge(&position, 1, until, at(48, 10)), PeerState::Ok);
        assert_eq!(head.judge(&position, 1, until, at(48, 11)), PeerState::Stale);
    }

    #[test]
    fn t08_a_head_that_claims_to_last_for_ever_lasts_48_hours() {
        let now = Timestamp::UNIX_EPOCH;
        let for_ever = Head { expires_at: Timestamp::MAX, ..head(1, 0) };
        assert_eq!(for_ever.believed_until(now), now + VALID);
        assert!(is_fresh(Timestamp::MAX, now) && is_fresh(Timestamp::MAX, Timestamp::MAX));
    }

    #[test]
    fn a_head_that_has_seen_as_many_peers_as_it_may_name_can_be_read() {
        let tip = EntryId::from_bytes([9; 32]);
        let seen =
            (0..100).map(|n| Seen { host: HostId::from_bytes([n; 32]), seq: limits::INTEGER_MAX, tip }).collect();
        let head = Head { seen, ..head(1, 0) };
        let position = Position::default();
        let head = Head::next(&head.mesh, head.host, 1, &position, head.seen, Timestamp::UNIX_EPOCH);
        let pretty = serde_json::to_vec_pretty(&head).expect("serialises");
        let envelope = Envelope::seal(&key(), Kind::Head, pretty);
        let signed = envelope.verify(&PublicKey::of(key().host()).expect("full order")).expect("own signature");
        assert_eq!(Head::read(&head.mesh, &signed).expect("within the limits").seen.len(), limits::JSON_ARRAY_LEN);
    }
}
