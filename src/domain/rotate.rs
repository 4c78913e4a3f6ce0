//! A host's move to a new key: the old key names the new one in its last entry, the new one names that entry in its first.

use serde::{Deserialize, Serialize};

use super::chain;
use super::entry;
use super::envelope::{Envelope, PublicKey};
use super::id::{EntryId, HostId, MeshName};

/// What an entry of the kind `rotate` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Rotate {
    /// The last entry of the old key.
    Leave(Leave),
    /// The first entry of the new key.
    Take(Take),
}

/// The last entry of a key that is left.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leave {
    /// The new key.
    pub to: HostId,
}

/// The first entry of the key that follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Take {
    /// The old key.
    pub from: HostId,
    /// The old key's last entry.
    pub entry: EntryId,
}

/// A move that the old key announced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rotation {
    /// The old key.
    pub old: HostId,
    /// The new one.
    pub new: HostId,
    /// The seq of the old key's last entry.
    pub seq: u64,
    /// That entry.
    pub entry: EntryId,
}

impl Rotation {
    /// Whether `file` is the new key's first entry and takes this move up: without it somebody could be moved to a key
    /// that nobody has, or to somebody else's.
    #[must_use]
    pub fn is_taken_by(&self, mesh: &MeshName, file: &[u8]) -> bool {
        let Ok(key) = PublicKey::of(self.new) else { return false };
        let signed = Envelope::parse(file).ok().and_then(|envelope| envelope.verify(&key).ok());
        let Some(signed) = signed else { return false };
        let first = chain::link(mesh, &chain::Position::default(), 1, &signed).is_ok();
        let said = entry::read_rotate(&signed).map(|said| *said.body());
        first && matches!(said, Ok(Rotate::Take(take)) if take == Take { from: self.old, entry: self.entry })
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::super::chain::Position;
    use super::super::envelope::{HostKey, Kind};
    use super::*;

    fn mesh() -> MeshName {
        "home".parse().expect("a name")
    }

    fn first_entry(key: &HostKey, from: Position, rotate: &Rotate) -> Vec<u8> {
        let header = from.next_header(&mesh(), key.host(), Timestamp::UNIX_EPOCH);
        Envelope::seal(key, Kind::Rotate, entry::payload(&header, rotate).expect("small")).to_file()
    }

    #[test]
    fn a_move_counts_when_the_new_key_takes_it_up_in_its_first_entry() {
        let (old, new, other) =
            (HostKey::from_seed(&[1; 32]), HostKey::from_seed(&[2; 32]), HostKey::from_seed(&[3; 32]));
        let entry = EntryId::from_bytes([7; 32]);
        let rotation = Rotation { old: old.host(), new: new.host(), seq: 4, entry };
        let take = Take { from: old.host(), entry };
        let taken = |file: &[u8]| rotation.is_taken_by(&mesh(), file);
        assert!(taken(&first_entry(&new, Position::default(), &Rotate::Take(take))));
        assert!(!taken(&first_entry(&other, Position::default(), &Rotate::Take(take))), "by another key");
        let later = Position { seq: 1, tip: Some(entry) };
        assert!(!taken(&first_entry(&new, later, &Rotate::Take(take))), "not its first entry");
        let of_other = Take { from: other.host(), entry };
        assert!(!taken(&first_entry(&new, Position::default(), &Rotate::Take(of_other))), "of another host");
        let another = Take { from: old.host(), entry: EntryId::from_bytes([8; 32]) };
        assert!(!taken(&first_entry(&new, Position::default(), &Rotate::Take(another))), "another entry");
        let leave = Rotate::Leave(Leave { to: old.host() });
        assert!(!taken(&first_entry(&new, Position::default(), &leave)), "a move back");
        assert!(!rotation.is_taken_by(
            &"work".parse().expect("a name"),
            &first_entry(&new, Position::default(), &Rotate::Take(take))
        ));
    }
}
