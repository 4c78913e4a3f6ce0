//! The proof that a host signed two entries with one seq: named in an entry, carried in two files beside the log.
//!
//! An Ed25519 signature can only be checked with the whole message, and two envelopes do not fit into one payload.
//! So the entry names the two ids, and the envelopes stand in the publisher's directory as they were found. Whoever
//! can read those needs to trust nobody's word.

use serde::{Deserialize, Serialize};

use super::chain::{self, ChainHeader};
use super::envelope::{Envelope, PublicKey, Signed};
use super::id::{EntryId, HostId, MeshName};
use super::limits;

/// What an entry of the kind `forkproof` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForkProof {
    /// The key that signed both.
    pub key: HostId,
    /// The seq of both.
    pub at: u64,
    /// The smaller id of the two.
    pub one: EntryId,
    /// The larger id of the two.
    pub other: EntryId,
}

/// Why a fork proof is refused before its entries are looked at.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ForkProofError {
    /// Not two ids in order.
    #[error("`one` must be the smaller of two different entry ids")]
    Order,
    /// No place in a chain.
    #[error("`at` must be 1 to 2^53-1")]
    Place,
}

impl ForkProof {
    /// The proof that these two entries of one key and seq are. `None` unless [`chain::is_fork`] holds.
    #[must_use]
    pub fn of(mesh: &MeshName, first: &Signed, second: &Signed) -> Option<Self> {
        if !chain::is_fork(mesh, first, second) {
            return None;
        }
        let header: ChainHeader = chain::read_header(mesh, first).ok()?;
        let (one, other) = (first.entry().min(second.entry()), first.entry().max(second.entry()));
        Some(Self { key: first.host(), at: header.seq, one, other })
    }

    /// Checks what the shape does not hold.
    ///
    /// # Errors
    /// The ids are not two in order, or the seq is none.
    pub fn check(&self) -> Result<(), ForkProofError> {
        if self.one >= self.other {
            return Err(ForkProofError::Order);
        }
        if self.at == 0 || self.at > limits::INTEGER_MAX {
            return Err(ForkProofError::Place);
        }
        Ok(())
    }

    /// Whether these two envelope files show what is claimed, whoever claims it.
    #[must_use]
    pub fn proves(&self, mesh: &MeshName, one: &[u8], other: &[u8]) -> bool {
        let Ok(key) = PublicKey::of(self.key) else { return false };
        let verified = |bytes: &[u8]| Envelope::parse(bytes).ok().and_then(|envelope| envelope.verify(&key).ok());
        let (Some(one), Some(other)) = (verified(one), verified(other)) else { return false };
        Self::of(mesh, &one, &other) == Some(*self)
    }
}

#[cfg(test)]
mod tests {
    use super::super::chain::Position;
    use super::super::envelope::{HostKey, Kind};
    use super::*;
    use jiff::Timestamp;

    fn mesh() -> MeshName {
        "home".parse().expect("a name")
    }

    fn entry(seed: u8, kind: Kind, from: &Position) -> Envelope {
        let key = HostKey::from_seed(&[seed; 32]);
        let header = from.next_header(&mesh(), key.host(), Timestamp::UNIX_EPOCH);
        Envelope::seal(&key, kind, serde_json::to_vec(&header).expect("serialises"))
    }

    fn signed(envelope: Envelope, seed: u8) -> Signed {
        let key = PublicKey::of(HostKey::from_seed(&[seed; 32]).host()).expect("full order");
        envelope.verify(&key).expect("own signature")
    }

    #[test]
    fn t06_a_proof_holds_with_its_two_entries_in_any_order_and_with_nothing_else() {
        let (one, other) =
            (entry(1, Kind::Lesson, &Position::default()), entry(1, Kind::Retract, &Position::default()));
        let proof = ForkProof::of(&mesh(), &signed(one.clone(), 1), &signed(other.clone(), 1)).expect("a fork");
        assert_eq!(proof.check(), Ok(()));
        let (one, other) = (one.to_file(), other.to_file());
        assert!(proof.proves(&mesh(), &one, &other) && proof.proves(&mesh(), &other, &one));
        assert!(!proof.proves(&mesh(), &one, &one), "one entry twice");
        assert!(!proof.proves(&"work".parse().expect("a name"), &one, &other), "another mesh");
        let elsewhere = ForkProof { at: 2, ..proof };
        assert!(!elsewhere.proves(&mesh(), &one, &other), "another place");
        let stranger = ForkProof { key: HostKey::from_seed(&[2; 32]).host(), ..proof };
        assert!(!stranger.proves(&mesh(), &one, &other), "another key");
        let after = Position::default().after(proof.one);
        let second = entry(1, Kind::Retract, &after).to_file();
        assert!(!proof.proves(&mesh(), &one, &second), "another seq");
    }

    #[test]
    fn t07_two_spellings_of_one_entry_prove_nothing() {
        let one = entry(1, Kind::Lesson, &Position::default());
        let file = one.to_file();
        let value: serde_json::Value = serde_json::from_slice(&file).expect("JSON");
        let respelled = value.to_string().into_bytes();
        assert_ne!(file, respelled);
        let again = Envelope::parse(&respelled).expect("an envelope");
        assert_eq!(ForkProof::of(&mesh(), &signed(one, 1), &signed(again, 1)), None);
    }

    #[test]
    fn ids_out_of_order_and_places_out_of_range_are_refused() {
        let (low, high) = (EntryId::from_bytes([1; 32]), EntryId::from_bytes([2; 32]));
        let proof = ForkProof { key: HostKey::from_seed(&[1; 32]).host(), at: 1, one: low, other: high };
        assert_eq!(proof.check(), Ok(()));
        assert_eq!(ForkProof { one: high, other: low, ..proof }.check(), Err(ForkProofError::Order));
        assert_eq!(ForkProof { other: low, ..proof }.check(), Err(ForkProofError::Order));
        assert_eq!(ForkProof { at: 0, ..proof }.check(), Err(ForkProofError::Place));
        assert_eq!(ForkProof { at: limits::INTEGER_MAX, ..proof }.check(), Ok(()));
        assert_eq!(ForkProof { at: limits::INTEGER_MAX + 1, ..proof }.check(), Err(ForkProofError::Place));
    }
}
