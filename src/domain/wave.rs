//! Which host may let an imported fix apply by itself, and when: one first, then a few, then all, by what hosts attest.
//!
//! And when none may any more: once too many took it back, the lesson is paused until a person lifts that. Every host
//! comes to this from the same signed words, so nobody has to tell the others.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::attest::{Outcome, Voice};
use super::id::{EntryId, HostId};

/// Hosts of the first wave.
const FIRST: usize = 1;
/// One in so many hosts is in the second wave.
const SECOND_ONE_IN: usize = 10;
/// Hosts that took the fix back, at which it is paused everywhere.
const REVERTED_HOSTS: usize = 2;

/// What holds for a lesson on one host now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It may apply as far as its grant goes.
    Open,
    /// The waves before this host's have not shown that it works.
    Waiting {
        /// This host's wave, 2 or 3.
        wave: u8,
        /// Hosts that validated it.
        validated: usize,
        /// Hosts that must have.
        needed: usize,
    },
    /// Too many hosts took it back.
    Tripped {
        /// How many.
        reverted: usize,
        /// Of so many that said how it went.
        of: usize,
    },
}

/// What a host's own configuration says of its turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Turn {
    /// Before the waves: it tries what nobody has tried yet.
    First,
    /// Where the order of hosts puts it, for every lesson anew.
    #[default]
    Ordered,
    /// In the last wave, always.
    Last,
}

/// The place of `host` in the order in which hosts try this lesson: its own for every lesson, and the same everywhere.
#[must_use]
pub fn place(lesson: EntryId, host: HostId) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(lesson.as_bytes());
    digest.update(host.as_bytes());
    digest.finalize().into()
}

/// Hosts in the first two waves, of `hosts` in all.
fn second_wave(hosts: usize) -> usize {
    hosts.div_ceil(SECOND_ONE_IN).max(FIRST + 1)
}

/// What holds on host `me`, whose turn is `turn`, for the lesson in entry `lesson` by `author`. `others` are the other
/// hosts of the mesh as they are enrolled here; `voices` those that are heard on this entry. The author's own word opens
/// nothing.
#[must_use]
pub fn standing(
    lesson: EntryId,
    author: HostId,
    (me, turn): (HostId, Turn),
    others: &[HostId],
    voices: &[Voice],
) -> Standing {
    let said = |outcome: Outcome| voices.iter().filter(|voice| voice.last.outcome == outcome).count();
    let (reverted, of) = (said(Outcome::Reverted), voices.iter().filter(|voice| voice.last.outcome.tells()).count());
    // One host that took it back, with nobody to say otherwise, opens no wave and so needs no breaker.
    if reverted >= REVERTED_HOSTS || (of > 1 && 2 * reverted >= of) {
        return Standing::Tripped { reverted, of };
    }
    let mine = place(lesson, me);
    let hosts: Vec<[u8; 32]> =
        others.iter().filter(|host| **host != author && **host != me).map(|host| place(lesson, *host)).collect();
    let before = hosts.iter().filter(|other| **other < mine).count();
    let second = second_wave(hosts.len() + 1);
    let (wave, needed) = match turn {
        Turn::First => return Standing::Open,
        Turn::Ordered if before < FIRST => return Standing::Open,
        Turn::Ordered if before < second => (2, 1),
        Turn::Ordered | Turn::Last => (3, second.div_ceil(2).max(2).min(hosts.len())),
    };
    let validated = voices
        .iter()
        .filter(|voice| voice.last.host != author && voice.last.host != me && voice.last.outcome == Outcome::Validated)
        .count();
    if validated >= needed { Standing::Open } else { Standing::Waiting { wave, validated, needed } }
}

impl Standing {
    /// Why it may not apply by itself here, for people; `None` where it may.
    #[must_use]
    pub fn why(&self) -> Option<String> {
        match self {
            Self::Open => None,
            Self::Waiting { wave, validated, needed } => Some(format!(
                "this host is in wave {wave}: {validated} of {needed} other hosts have validated it so far"
            )),
            Self::Tripped { reverted, of } => {
                Some(format!("{reverted} of {of} hosts took it back: it is paused until a person lifts that"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::super::attest::{Environment, Word};
    use super::*;

    fn host(n: u32) -> HostId {
        HostId::from_bytes(*blake3::hash(&n.to_le_bytes()).as_bytes())
    }

    const AUTHOR: u32 = 0;

    fn lesson() -> EntryId {
        EntryId::from_bytes([7; 32])
    }

    fn voice(n: u32, outcome: Outcome) -> Voice {
        let environment = Environment { os: "linux".to_owned(), arch: "x86_64".to_owned(), distro: None };
        let at = Timestamp::UNIX_EPOCH;
        let last = Word { host: host(n), seq: 1, outcome, short_window: false, environment, at };
        Voice { last, interventions: 1, validated: 0 }
    }

    /// Hosts that may apply, of `count` besides the author.
    fn open(count: u32, voices: &[Voice]) -> Vec<u32> {
        let all: Vec<HostId> = (0..=count).map(host).collect();
        let others = |me: u32| all.iter().copied().filter(|other| *other != host(me)).collect::<Vec<_>>();
        (1..=count)
            .filter(|me| {
                standing(lesson(), host(AUTHOR), (host(*me), Turn::Ordered), &others(*me), voices) == Standing::Open
            })
            .collect()
    }

    #[test]
    fn one_host_begins_then_one_in_ten_then_all() {
        let first = open(100, &[]);
        assert_eq!(first.len(), 1);
        assert_eq!(open(100, &[voice(first[0], Outcome::Validated)]).len(), 10);
        let second = open(100, &[voice(first[0], Outcome::Validated)]);
        let voices = |count: usize| second[..count].iter().map(|n| voice(*n, Outcome::Validated)).collect::<Vec<_>>();
        assert_eq!(open(100, &voices(4)).len(), 10);
        assert_eq!(open(100, &voices(5)).len(), 100);
    }

    #[test]
    fn small_meshes_go_one_two_all() {
        assert_eq!((open(1, &[]).len(), open(2, &[]).len(), open(4, &[]).len()), (1, 1, 1));
        let first = open(4, &[])[0];
        assert_eq!(open(4, &[voice(first, Outcome::Validated)]).len(), 2);
        let second = open(4, &[voice(first, Outcome::Validated)]);
        let both: Vec<_> = second.iter().map(|n| voice(*n, Outcome::Validated)).collect();
        assert_eq!(open(4, &both).len(), 4);
    }

    #[test]
    fn t35_the_authors_own_word_and_words_that_tell_nothing_open_no_wave() {
        let said = [voice(AUTHOR, Outcome::Validated), voice(1, Outcome::NoEffect), voice(2, Outcome::Unknown)];
        assert_eq!(open(20, &said).len(), 1);
    }

    #[test]
    fn two_hosts_or_half_of_those_that_tried_pause_it_everywhere() {
        let all: Vec<HostId> = (0..=20).map(host).collect();
        let at = |voices: &[Voice]| standing(lesson(), host(AUTHOR), (host(1), Turn::Ordered), &all, voices);
        let reverted = |n| voice(n, Outcome::Reverted);
        let good = |n| voice(n, Outcome::Validated);
        assert!(!matches!(at(&[reverted(2)]), Standing::Tripped { .. }));
        assert!(!matches!(at(&[good(2), good(3)]), Standing::Tripped { .. }));
        assert_eq!(at(&[reverted(2), good(3)]), Standing::Tripped { reverted: 1, of: 2 });
        assert!(!matches!(at(&[reverted(2), good(3), good(4)]), Standing::Tripped { .. }));
        let many: Vec<Voice> = (3..20).map(good).collect();
        assert!(!matches!(at(&[&many[..], &[reverted(2)]].concat()), Standing::Tripped { .. }));
        assert_eq!(at(&[&many[1..], &[reverted(2), reverted(3)]].concat()), Standing::Tripped { reverted: 2, of: 18 });
        assert!(open(20, &[&many[1..], &[reverted(2), reverted(3)]].concat()).is_empty(), "everywhere");
    }

    #[test]
    fn k4_a_host_that_goes_first_waits_for_nobody_and_one_that_goes_last_for_the_others() {
        let all: Vec<HostId> = (0..=20).map(host).collect();
        let good = |n| voice(n, Outcome::Validated);
        for me in 1..=20 {
            let others: Vec<HostId> = all.iter().copied().filter(|other| *other != host(me)).collect();
            let at = |turn, voices: &[Voice]| standing(lesson(), host(AUTHOR), (host(me), turn), &others, voices);
            assert_eq!(at(Turn::First, &[]), Standing::Open);
            assert_eq!(at(Turn::Last, &[]), Standing::Waiting { wave: 3, validated: 0, needed: 2 });
            let two: Vec<Voice> = (1..=20).filter(|n| *n != me).take(2).map(good).collect();
            assert_eq!(at(Turn::Last, &two), Standing::Open);
            // The breaker holds for everybody.
            let bad: Vec<Voice> = two
                .iter()
                .map(|voice| Voice { last: Word { outcome: Outcome::Reverted, ..voice.last.clone() }, ..voice.clone() })
                .collect();
            assert_eq!(at(Turn::First, &bad), Standing::Tripped { reverted: 2, of: 2 });
        }
        // A mesh of the author and this host has nobody to wait for.
        let alone = standing(lesson(), host(AUTHOR), (host(1), Turn::Last), &[host(AUTHOR)], &[]);
        assert_eq!(alone, Standing::Open);
    }

    proptest! {
        #[test]
        fn some_host_can_always_begin_and_more_support_never_closes_a_host(count in 1..40_u32, good in 0..40_u32) {
            let voices: Vec<Voice> = (1..=good.min(count)).map(|n| voice(n, Outcome::Validated)).collect();
            let some = open(count, &voices);
            prop_assert!(!some.is_empty());
            if let Some((_, fewer)) = voices.split_last() {
                let before = open(count, fewer);
                prop_assert!(before.iter().all(|host| some.contains(host)));
            }
        }
    }
}
