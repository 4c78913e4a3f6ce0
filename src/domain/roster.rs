//! The admins' list of hosts, and the rules by which one version follows another.
//!
//! Source of the rules: The Update Framework, section 5.3 (root rotation). Each version is signed by a threshold of the
//! admins of the version before and by a threshold of its own; versions are walked one by one; only the last one must
//! not have expired.

use std::collections::BTreeSet;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::envelope::{Envelope, EnvelopeError, KeyError, Kind, PublicKey};
use super::id::{EntryId, HostId, MeshName, PeerName};
use super::limits;
use super::strict_json::{self, JsonError};
use super::trust::{Grant, PeerLine};

/// How far clocks may differ before a roster is called expired.
const SLACK: SignedDuration = SignedDuration::from_mins(10);
/// How long a version is valid unless its admins say otherwise.
pub const VALID: SignedDuration = SignedDuration::from_hours(24 * 180);

/// A host on the list.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its label, which each host may replace by one of its own.
    pub name: PeerName,
    /// Its key.
    pub key: HostId,
    /// What its lessons may do at most.
    pub grant: Grant,
    /// The lesson scopes it may speak of; every scope when empty.
    pub scope: Vec<String>,
    /// The last day of the trust, such as `2027-05-20`.
    #[serde(with = "day")]
    pub not_after: Option<Date>,
}

impl Member {
    /// The same as a line of the trust directory.
    #[must_use]
    pub fn line(&self) -> PeerLine {
        let (grant, scope, not_after) = (self.grant, self.scope.clone(), self.not_after);
        PeerLine { host: self.key, grant, scope, not_after, comment: self.name.to_string() }
    }
}

/// A day, or none, as text.
mod day {
    use jiff::civil::Date;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(day: &Option<Date>, out: S) -> Result<S::Ok, S::Error> {
        day.map(|day| day.to_string()).serialize(out)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Date>, D::Error> {
        let text = Option::<String>::deserialize(input)?;
        let parsed = text.map(|text| if text.len() == 10 { text.parse() } else { "".parse() });
        parsed.transpose().map_err(|_| D::Error::custom("not a day such as 2027-05-20"))
    }
}

/// A key that no longer signs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Removed {
    /// The key.
    pub key: HostId,
    /// The last seq of its entries that is still believed.
    pub trust_through: u64,
}

/// The payload of a roster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roster {
    /// The mesh.
    pub mesh: MeshName,
    /// 1, 2, 3, ... without a hole.
    pub version: u64,
    /// When it was signed.
    #[serde(with = "super::utc_time")]
    pub issued_at: Timestamp,
    /// When it stops to be fresh.
    #[serde(with = "super::utc_time")]
    pub expires_at: Timestamp,
    /// How many of its admins must sign it and its successor.
    pub threshold: u32,
    /// The admins' keys.
    pub admins: Vec<HostId>,
    /// The hosts.
    pub hosts: Vec<Member>,
    /// Keys that no longer sign.
    pub revoked: Vec<Removed>,
}

/// Who may say what the next version is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Admins {
    /// Their keys.
    pub keys: BTreeSet<HostId>,
    /// How many of them must sign.
    pub threshold: u32,
}

impl Admins {
    /// Keys that a person pinned: all of them must sign the first version that is seen.
    #[must_use]
    pub fn pinned(keys: impl IntoIterator<Item = HostId>) -> Self {
        let keys: BTreeSet<HostId> = keys.into_iter().collect();
        let threshold = u32::try_from(keys.len()).unwrap_or(u32::MAX).max(1);
        Self { keys, threshold }
    }

    /// How many of these admins signed.
    fn signed(&self, envelope: &Envelope) -> u32 {
        let keys: Vec<PublicKey> = self.keys.iter().filter_map(|key| PublicKey::of(*key).ok()).collect();
        u32::try_from(envelope.signers(&keys).len()).unwrap_or(u32::MAX)
    }

    fn demand(&self, envelope: &Envelope, whose: &'static str) -> Result<(), RosterFault> {
        let got = self.signed(envelope);
        if got < self.threshold { Err(RosterFault::Threshold { whose, needed: self.threshold, got }) } else { Ok(()) }
    }
}

/// Why a roster is refused.
#[derive(Debug, thiserror::Error)]
pub enum RosterFault {
    /// Not an envelope.
    #[error("not a signed roster")]
    Envelope(#[from] EnvelopeError),
    /// Of another kind.
    #[error("not a roster but {0}")]
    Kind(String),
    /// Not of its shape.
    #[error("roster is not of its shape")]
    Shape(#[source] JsonError),
    /// Of another mesh.
    #[error("roster belongs to mesh `{0}`")]
    OtherMesh(MeshName),
    /// Not the version after the last one.
    #[error("roster is of version {found}, wanted is {wanted}: none is left out and none comes twice")]
    Version {
        /// Its version.
        found: u64,
        /// The one that follows.
        wanted: u64,
    },
    /// Too few of the right admins signed.
    #[error("{got} of the admins of {whose} signed, {needed} must")]
    Threshold {
        /// Whose admins.
        whose: &'static str,
        /// How many must sign.
        needed: u32,
        /// How many did.
        got: u32,
    },
    /// Its own fields do not agree.
    #[error("roster is inconsistent: {0}")]
    Inconsistent(&'static str),
    /// A key that cannot be trusted to sign.
    #[error("roster names an unusable key")]
    Key(#[from] KeyError),
}

impl Roster {
    /// The admins that it names.
    #[must_use]
    pub fn admins(&self) -> Admins {
        Admins { keys: self.admins.iter().copied().collect(), threshold: self.threshold }
    }

    /// Whether it has expired at `now`; a clock that is ahead by a little is forgiven.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        now > self.expires_at.saturating_add(SLACK).unwrap_or(Timestamp::MAX)
    }

    /// The payload bytes: pretty-printed, ending in a line break, written once.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a roster is a plain table of text");
        bytes.push(b'\n');
        bytes
    }

    /// Checks what the shape does not hold.
    ///
    /// # Errors
    /// The first field that does not agree with another, or a weak key.
    pub fn check(&self) -> Result<(), RosterFault> {
        let demand = |holds: bool, why| if holds { Ok(()) } else { Err(RosterFault::Inconsistent(why)) };
        demand(self.version > 0, "`version` starts at 1")?;
        demand(self.expires_at > self.issued_at, "it expires before it is issued")?;
        let admins: BTreeSet<HostId> = self.admins.iter().copied().collect();
        demand(admins.len() == self.admins.len(), "an admin stands there twice")?;
        demand(admins.len() <= limits::ROSTER_ADMINS, "it names more admins than are read")?;
        let threshold = usize::try_from(self.threshold).unwrap_or(usize::MAX);
        demand((1..=admins.len()).contains(&threshold), "`threshold` must be 1 to the number of admins")?;
        demand(self.hosts.len() <= limits::ROSTER_HOSTS, "it names more hosts than are read")?;
        let keys: BTreeSet<HostId> = self.hosts.iter().map(|host| host.key).collect();
        let names: BTreeSet<&PeerName> = self.hosts.iter().map(|host| &host.name).collect();
        demand(keys.len() == self.hosts.len(), "a host's key stands there twice")?;
        demand(names.len() == self.hosts.len(), "a host's name stands there twice")?;
        demand(keys.is_disjoint(&admins), "a key is a host's and an admin's: an agent signs without a person")?;
        let removed: BTreeSet<HostId> = self.revoked.iter().map(|removed| removed.key).collect();
        demand(keys.is_disjoint(&removed), "a key is listed and revoked")?;
        for host in &self.hosts {
            demand(host.scope.len() <= limits::SCOPE_GLOBS, "a host has more scopes than are read")?;
            let plain = |glob: &String| {
                !glob.is_empty()
                    && glob.len() <= limits::GLOB_BYTES
                    && glob.bytes().all(|b| b.is_ascii_graphic() && b != b'"')
            };
            demand(host.scope.iter().all(plain), "a scope is not plain text without spaces and quotes")?;
        }
        for key in admins.iter().chain(&keys) {
            PublicKey::of(*key)?;
        }
        Ok(())
    }
}

/// Reads the roster file that is to follow version `last` (0 before the first), which `before` may say.
///
/// # Errors
/// Any rule that it breaks.
pub fn accept(mesh: &MeshName, file: &[u8], before: &Admins, last: u64) -> Result<(Roster, EntryId), RosterFault> {
    let (roster, envelope) = read(file)?;
    if roster.mesh != *mesh {
        return Err(RosterFault::OtherMesh(roster.mesh));
    }
    if Some(roster.version) != last.checked_add(1) {
        return Err(RosterFault::Version { found: roster.version, wanted: last.saturating_add(1) });
    }
    before.demand(&envelope, "the version before")?;
    roster.check()?;
    roster.admins().demand(&envelope, "its own version")?;
    Ok((roster, envelope.entry_id()))
}

/// Reads a roster file; nothing of it is believed.
///
/// # Errors
/// Not a roster's shape.
pub fn read(file: &[u8]) -> Result<(Roster, Envelope), RosterFault> {
    let envelope = Envelope::parse_roster(file)?;
    if Kind::of_payload_type(envelope.payload_type()) != Some(Kind::Roster) {
        return Err(RosterFault::Kind(envelope.payload_type().to_owned()));
    }
    let roster = strict_json::read(envelope.unverified_payload(), strict_json::ROSTER).map_err(RosterFault::Shape)?;
    Ok((roster, envelope))
}

/// How many signatures a file has and needs, by the admins before and by its own.
#[must_use]
pub fn signed_by(roster: &Roster, envelope: &Envelope, before: &Admins) -> [(u32, u32); 2] {
    let own = roster.admins();
    [(before.signed(envelope), before.threshold), (own.signed(envelope), own.threshold)]
}

#[cfg(test)]
mod tests {
    use super::super::envelope::HostKey;
    use super::*;

    fn key(seed: u8) -> HostKey {
        HostKey::from_seed(&[seed; 32])
    }

    fn mesh() -> MeshName {
        "home".parse().expect("a name")
    }

    fn roster(version: u64, admins: &[u8], threshold: u32) -> Roster {
        Roster {
            mesh: mesh(),
            version,
            issued_at: Timestamp::UNIX_EPOCH,
            expires_at: Timestamp::UNIX_EPOCH + VALID,
            threshold,
            admins: admins.iter().map(|seed| key(*seed).host()).collect(),
            hosts: vec![Member {
                name: "web".parse().expect("a name"),
                key: key(100).host(),
                grant: Grant::Propose,
                scope: vec![],
                not_after: None,
            }],
            revoked: vec![],
        }
    }

    fn file(roster: &Roster, signers: &[u8]) -> Vec<u8> {
        let mut envelope = Envelope::unsigned(Kind::Roster, roster.payload());
        signers.iter().for_each(|seed| envelope.add_signature(&key(*seed)));
        envelope.to_file()
    }

    fn pinned(seeds: &[u8]) -> Admins {
        Admins::pinned(seeds.iter().map(|seed| key(*seed).host()))
    }

    fn judge(file: &[u8], before: &Admins, last: u64) -> Result<u64, String> {
        accept(&mesh(), file, before, last).map(|(roster, _)| roster.version).map_err(|fault| fault.to_string())
    }

    #[test]
    fn versions_follow_each_other_by_both_thresholds() {
        let one = roster(1, &[1], 1);
        assert_eq!(judge(&file(&one, &[1]), &pinned(&[1]), 0), Ok(1));
        // From 1-of-1 to 2-of-3: the old admin and two of the new ones.
        let two = roster(2, &[1, 2, 3], 2);
        assert_eq!(judge(&file(&two, &[1, 2]), &one.admins(), 1), Ok(2));
        assert_eq!(judge(&file(&two, &[1, 2, 3]), &one.admins(), 1), Ok(2));
        // The old admin goes: two of the old ones and two of the new ones.
        let three = roster(3, &[2, 3, 4], 2);
        assert_eq!(judge(&file(&three, &[2, 3]), &two.admins(), 2), Ok(3));
    }

    #[test]
    fn t28_versions_that_are_left_out_or_come_again_are_refused() {
        let before = pinned(&[1]);
        for (last, version) in [(0, 2), (2, 2), (3, 2), (0, 0), (1, 3)] {
            let said = judge(&file(&roster(version, &[1], 1), &[1]), &before, last).expect_err("refused");
            assert!(said.contains("version"), "{last} {version}: {said}");
        }
        let end = judge(&file(&roster(limits::INTEGER_MAX, &[1], 1), &[1]), &before, u64::MAX);
        assert!(end.is_err(), "no number follows the last one");
    }

    #[test]
    fn t28_one_key_that_signs_twice_is_one_admin() {
        let two = roster(1, &[1, 2], 2);
        let mut envelope = Envelope::unsigned(Kind::Roster, two.payload());
        envelope.add_signature(&key(1));
        let mut value: serde_json::Value = serde_json::from_slice(&envelope.to_file()).expect("JSON");
        let one = value["signatures"][0].clone();
        let mut other = one.clone();
        other["keyid"] = key(2).host().to_string().into();
        value["signatures"] = serde_json::json!([one, other]);
        let said = judge(value.to_string().as_bytes(), &pinned(&[1]), 0).expect_err("refused");
        assert_eq!(said, "1 of the admins of its own version signed, 2 must");
    }

    #[test]
    fn t28_new_admins_alone_and_old_admins_alone_change_nothing() {
        let before = roster(1, &[1, 2], 2).admins();
        // The threshold lowered by those who would gain by it.
        let lowered = roster(2, &[3], 1);
        assert!(judge(&file(&lowered, &[3]), &before, 1).is_err());
        assert!(judge(&file(&lowered, &[3, 1]), &before, 1).is_err(), "one of two old ones");
        assert!(judge(&file(&lowered, &[1, 2]), &before, 1).is_err(), "none of the new ones");
        assert_eq!(judge(&file(&lowered, &[1, 2, 3]), &before, 1), Ok(2));
    }

    #[test]
    fn t28_a_first_version_without_every_pinned_key_is_refused() {
        let one = roster(1, &[1, 2], 1);
        assert!(judge(&file(&one, &[2]), &pinned(&[1]), 0).is_err());
        assert!(judge(&file(&one, &[1]), &pinned(&[1, 2]), 0).is_err());
        assert_eq!(judge(&file(&one, &[1, 2]), &pinned(&[1, 2]), 0), Ok(1));
        let of_nobody = Admins { keys: BTreeSet::new(), threshold: 1 };
        assert!(judge(&file(&one, &[1]), &of_nobody, 0).is_err());
    }

    #[test]
    fn t28_only_the_last_version_must_not_have_expired_and_ten_minutes_are_forgiven() {
        let one = roster(1, &[1], 1);
        assert_eq!(judge(&file(&one, &[1]), &pinned(&[1]), 0), Ok(1), "whatever the time is");
        assert!(!one.is_expired(one.expires_at + SLACK));
        assert!(one.is_expired(one.expires_at + SLACK + SignedDuration::from_secs(1)));
        let for_ever = Roster { expires_at: Timestamp::MAX, ..one };
        assert!(!for_ever.is_expired(Timestamp::MAX));
    }

    #[test]
    fn t28_a_roster_that_contradicts_itself_is_refused() {
        let sound = roster(1, &[1, 2], 1);
        assert!(sound.check().is_ok());
        let host = sound.hosts[0].clone();
        let admin_host = Member { key: key(1).host(), ..host.clone() };
        let renamed = Member { name: "db".parse().expect("a name"), ..host.clone() };
        let rekeyed = Member { key: key(101).host(), ..host.clone() };
        let removed = Removed { key: host.key, trust_through: 3 };
        for bad in [
            Roster { threshold: 0, ..sound.clone() },
            Roster { threshold: 3, ..sound.clone() },
            Roster { admins: vec![key(1).host(); 2], ..sound.clone() },
            Roster { admins: vec![], threshold: 1, ..sound.clone() },
            Roster { hosts: vec![admin_host], ..sound.clone() },
            Roster { hosts: vec![host.clone(), renamed], ..sound.clone() },
            Roster { hosts: vec![host.clone(), rekeyed], ..sound.clone() },
            Roster { hosts: vec![Member { scope: vec!["a\" b".to_owned()], ..host }], ..sound.clone() },
            Roster { revoked: vec![removed], ..sound.clone() },
            Roster { expires_at: Timestamp::UNIX_EPOCH, ..sound.clone() },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn t02_a_weak_key_in_a_roster_is_refused() {
        let mut identity = [0; 32];
        identity[0] = 1;
        let weak = HostId::from_bytes(identity);
        let sound = roster(1, &[1], 1);
        let admin = Roster { admins: vec![key(1).host(), weak], ..sound.clone() };
        let host = Roster { hosts: vec![Member { key: weak, ..sound.hosts[0].clone() }], ..sound };
        assert!(matches!(admin.check(), Err(RosterFault::Key(_))));
        assert!(matches!(host.check(), Err(RosterFault::Key(_))));
    }

    #[test]
    fn t05_a_roster_of_another_mesh_or_another_kind_is_refused() {
        let other = Roster { mesh: "work".parse().expect("a name"), ..roster(1, &[1], 1) };
        assert!(judge(&file(&other, &[1]), &pinned(&[1]), 0).is_err());
        let mut head = Envelope::unsigned(Kind::Head, roster(1, &[1], 1).payload());
        head.add_signature(&key(1));
        assert!(judge(&head.to_file(), &pinned(&[1]), 0).is_err());
    }

    #[test]
    fn t18_admins_and_hosts_are_read_up_to_their_limits_and_not_past_them() {
        let many = |count: usize, hosts: usize| {
            let admins: Vec<u8> = (1..=u8::try_from(count).expect("few")).collect();
            let mut roster = roster(1, &admins, 1);
            roster.hosts = (0..hosts)
                .map(|n| {
                    let mut seed = [200; 32];
                    seed[..8].copy_from_slice(&n.to_be_bytes());
                    let name = format!("host-{n}").parse().expect("a name");
                    let key = HostKey::from_seed(&seed).host();
                    Member { name, key, grant: Grant::Audit, scope: vec![], not_after: None }
                })
                .collect();
            roster
        };
        assert!(many(limits::ROSTER_ADMINS, 1).check().is_ok());
        assert!(many(limits::ROSTER_ADMINS + 1, 1).check().is_err());
        let full = many(1, limits::ROSTER_HOSTS);
        assert_eq!(judge(&file(&full, &[1]), &pinned(&[1]), 0), Ok(1), "the limits fit into a file of ROSTER_BYTES");
        assert!(judge(&file(&many(1, limits::ROSTER_HOSTS + 1), &[1]), &pinned(&[1]), 0).is_err());
    }
}
