//! What peers say that they have seen of each other, held against what is known here.
//!
//! A server that hides entries from one host, or shows two hosts two histories, cannot change what the other host has
//! signed in its head. What is learned here is an alarm and never a proof: a peer may lie.

use super::chain::Position;
use super::head::Seen;
use super::id::EntryId;

/// What another host's `seen` says against what is known here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Doubt {
    /// It has verified more than the server shows here.
    Withheld {
        /// The seq that it has verified.
        seen: u64,
    },
    /// It has verified another entry at a place that is known here.
    Split {
        /// The place.
        at: u64,
    },
}

/// Compares what a peer has seen of a host with what is known of that host here; `here` is the entry known at the
/// same seq. `None`: they agree, or the peer has seen less.
#[must_use]
pub fn compare(seen: &Seen, known: &Position, here: Option<EntryId>) -> Option<Doubt> {
    if seen.seq > known.seq {
        return Some(Doubt::Withheld { seen: seen.seq });
    }
    (here.is_some() && here != Some(seen.tip)).then_some(Doubt::Split { at: seen.seq })
}

#[cfg(test)]
mod tests {
    use super::super::id::HostId;
    use super::*;

    #[test]
    fn more_is_withheld_other_is_split_and_less_is_nothing() {
        let id = |n| EntryId::from_bytes([n; 32]);
        let seen = |seq, n| Seen { host: HostId::from_bytes([9; 32]), seq, tip: id(n) };
        let known = Position { seq: 7, tip: Some(id(7)) };
        assert_eq!(compare(&seen(7, 7), &known, Some(id(7))), None);
        assert_eq!(compare(&seen(3, 3), &known, Some(id(3))), None);
        assert_eq!(compare(&seen(8, 8), &known, None), Some(Doubt::Withheld { seen: 8 }));
        assert_eq!(compare(&seen(7, 8), &known, Some(id(7))), Some(Doubt::Split { at: 7 }));
        assert_eq!(compare(&seen(1, 1), &Position::default(), None), Some(Doubt::Withheld { seen: 1 }));
    }
}
