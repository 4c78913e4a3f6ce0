//! Which identifiers a text may hold, in a few bytes: enough to say, without reading it again, that a lesson has nothing to
//! look for there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Bytes of text for each byte of the map: about one identifier in fifty then seems to be there and is not.
const TEXT_PER_BYTE: usize = 16;
/// Least and most bytes of a map; both are powers of two.
const BYTES: (usize, usize) = (8, 8 * 1024);
/// Longer identifiers are in no map, and seem to be in every text: in a run where one may start at any byte, the work would
/// grow with the square of its length.
const LONGEST: usize = 64;
/// Bytes that are looked at together.
const BLOCK: usize = 64;

/// A Bloom filter over the identifiers of one text. It may say yes to one that is not there, and never no to one that is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Words(Vec<u8>);

/// What a rule demands of the identifiers of a text: of each group one alternative, of that every word. Empty demands
/// nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct WordDemand(pub Vec<Vec<Vec<String>>>);

/// Whether a byte can be part of an ASCII identifier.
#[must_use]
pub const fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Whether a lexer may take the first bytes of a run of such bytes for a token of its own, and so start an identifier
/// anywhere in it: it starts with a digit, or stands behind a byte beyond ASCII, which may be a letter or not, or behind
/// the start of an escape, of a conversion in a format string, or of a regular expression's flags. A parser that gave up
/// a text looks for all tokens everywhere.
#[must_use]
pub fn may_be_split(before: Option<u8>, first: u8) -> bool {
    first.is_ascii_digit() || before.is_some_and(|before| !before.is_ascii() || matches!(before, b'\\' | b'!' | b'/'))
}

/// An identifier as a map knows it.
#[derive(Clone, Copy, Debug)]
struct Hash(u64);

impl Hash {
    /// Of the identifier from one place of `text` to another; `None` for one that is too long to be in any map.
    fn of(text: &[u8], from: usize, to: usize) -> Option<Self> {
        let len = to - from;
        if len > LONGEST {
            return None;
        }
        let mut hash = 0xcbf2_9ce4_8422_2325 ^ len as u64;
        for at in (from..to).step_by(8) {
            hash = (hash ^ eight(text, at, to)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            hash ^= hash >> 32;
        }
        Some(Self(hash.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// Three places in a map of so many bits, a power of two.
    fn places(self, bits: usize) -> [usize; 3] {
        [self.0 >> 45, self.0 >> 26, self.0 >> 7].map(|part| usize::try_from(part & 0x7_ffff).unwrap_or(0) & (bits - 1))
    }
}

/// The bytes from `at` on, eight at most and none from `to` on, as a number.
fn eight(text: &[u8], at: usize, to: usize) -> u64 {
    let len = (to - at).min(8);
    match text[at..].first_chunk() {
        Some(bytes) => u64::from_le_bytes(*bytes) & (u64::MAX >> (64 - 8 * len)),
        None => text[at..at + len].iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte)),
    }
}

/// Which of these bytes, at most as many as a mask has bits, can be part of an identifier.
fn word_mask(bytes: &[u8]) -> u64 {
    let mut block = [0; BLOCK];
    block[..bytes.len()].copy_from_slice(bytes);
    // Without a branch, so that the compiler does many bytes at once.
    let flags = block.map(|byte: u8| {
        let letter = (byte | 0x20).wrapping_sub(b'a') < 26;
        u8::from(letter | (byte.wrapping_sub(b'0') < 10) | (byte == b'_'))
    });
    let (eights, _) = flags.as_chunks::<8>();
    let mask = |eight: &[u8; 8]| u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56;
    eights.iter().rev().fold(0, |all, eight| all << 8 | mask(eight))
}

impl Words {
    /// The identifiers of `text`. An identifier ends where no byte of one follows. It starts a run of such bytes, or stands
    /// anywhere in a run that [may be split](may_be_split).
    #[must_use]
    pub fn of(text: &[u8]) -> Self {
        let size = (text.len() / TEXT_PER_BYTE).next_power_of_two().clamp(BYTES.0, BYTES.1);
        let mut words = Self(vec![0; size]);
        // Where the run began that goes on.
        let mut run = None;
        for (bytes, base) in text.chunks(BLOCK).zip((0..).step_by(BLOCK)) {
            let mask = word_mask(bytes);
            let mut edges = mask ^ (mask << 1 | u64::from(run.is_some()));
            while edges != 0 {
                let at = base + edges.trailing_zeros() as usize;
                edges &= edges - 1;
                match run.take() {
                    None => run = Some(at),
                    Some(from) => words.add_run(text, from, at),
                }
            }
        }
        if let Some(from) = run {
            words.add_run(text, from, text.len());
        }
        words
    }

    fn add_run(&mut self, text: &[u8], from: usize, to: usize) {
        let loose = may_be_split(from.checked_sub(1).map(|before| text[before]), text[from]);
        let last = if loose { to } else { from + 1 };
        for start in (from.max(to.saturating_sub(LONGEST))..to).take_while(|start| *start < last) {
            if let Some(hash) = Hash::of(text, start, to) {
                self.add(hash);
            }
        }
    }

    fn add(&mut self, hash: Hash) {
        for place in hash.places(self.0.len() * 8) {
            self.0[place / 8] |= 1 << (place % 8);
        }
    }

    /// False: `word`, of the bytes of an identifier, is surely not one of the text's.
    #[must_use]
    pub fn may_hold(&self, word: &str) -> bool {
        self.has(Hash::of(word.as_bytes(), 0, word.len()))
    }

    fn has(&self, hash: Option<Hash>) -> bool {
        let set = |place: usize| self.0[place / 8] & (1 << (place % 8)) != 0;
        hash.is_none_or(|hash| hash.places(self.0.len() * 8).into_iter().all(set))
    }

    /// The map.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// A map that was kept; `None` when it cannot be one.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        let fits = bytes.len().is_power_of_two() && (BYTES.0..=BYTES.1).contains(&bytes.len());
        fits.then_some(Self(bytes))
    }
}

impl WordDemand {
    /// False: no text with these words meets it.
    #[must_use]
    pub fn may_be_met(&self, words: &Words) -> bool {
        let met = |alternative: &Vec<String>| alternative.iter().all(|word| words.may_hold(word));
        self.0.iter().all(|group| group.iter().any(met))
    }
}

/// The demands of many rules, ready to be held against many texts: each identifier is hashed once, and looked up once in
/// each text.
#[derive(Debug, Default)]
pub struct WordDemands {
    words: Vec<Option<Hash>>,
    /// By demand, as in [`WordDemand`], places in `words`.
    demands: Vec<Vec<Vec<Vec<usize>>>>,
}

impl WordDemands {
    /// These demands, in order.
    #[must_use]
    pub fn of<'d>(demands: &'d [WordDemand]) -> Self {
        let mut all = Self::default();
        let mut known: BTreeMap<&'d String, usize> = BTreeMap::new();
        for WordDemand(groups) in demands {
            let mut place = |word| {
                *known.entry(word).or_insert_with(|| {
                    all.words.push(Hash::of(word.as_bytes(), 0, word.len()));
                    all.words.len() - 1
                })
            };
            let mut alternative = |words: &'d Vec<String>| words.iter().map(&mut place).collect();
            let groups = groups.iter().map(|group| group.iter().map(&mut alternative).collect());
            let groups = groups.collect();
            all.demands.push(groups);
        }
        all
    }

    /// By demand, whether a text with these words may meet it.
    #[must_use]
    pub fn met_by(&self, words: &Words) -> Vec<bool> {
        let held: Vec<bool> = self.words.iter().map(|hash| words.has(*hash)).collect();
        let met = |alternative: &Vec<usize>| alternative.iter().all(|&word| held[word]);
        self.demands.iter().map(|groups| groups.iter().all(|group| group.iter().any(met))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(text: &str, word: &str) -> bool {
        Words::of(text.as_bytes()).may_hold(word)
    }

    #[test]
    fn every_identifier_is_there_wherever_it_may_start() {
        for text in [
            "open",
            "x = open(p)",
            "os.open",
            "1open",
            "0xopen",
            "äopen",
            "openä",
            "é1open",
            "a\u{301}open",
            "!xopen",
            "\\x41open",
            "/p/gI1open",
        ] {
            assert!(holds(text, "open"), "{text}");
        }
    }

    #[test]
    fn identifiers_are_seen_across_blocks_and_at_both_ends() {
        for before in 0..2 * BLOCK {
            for (word, behind) in [("a", ""), ("name_of_9", ""), ("name_of_9", ")"), ("x234567812345678", " ")] {
                let text = format!("{}{word}{behind}", " ".repeat(before));
                assert!(holds(&text, word), "{before} {word}");
                assert!(!holds(&text, &word[..word.len() - 1]) || word.len() == 1, "{before} {word}");
            }
        }
        let byte = |byte: u8| word_mask(&[b'.', byte]) == 2;
        assert!((0..=u8::MAX).all(|any| byte(any) == is_word_byte(any)));
    }

    #[test]
    fn an_identifier_longer_than_any_in_a_map_is_never_denied() {
        let long = "x".repeat(LONGEST + 1);
        assert!(holds("", &long) && holds(&long, &long));
        assert!(holds(&format!("9{}", &long[1..]), &long[1..]), "behind a digit");
        assert!(!holds(&long, &long[1..]));
    }

    #[test]
    fn parts_and_other_cases_of_identifiers_are_not() {
        for text in ["reopen(p)", "opened", "Open(p)", "open1", "_open", ""] {
            assert!(!holds(text, "open"), "{text}");
        }
    }

    #[test]
    fn few_of_the_words_that_are_not_there_seem_to_be() {
        let text: String = (0..2_000).map(|n| format!("name_{n} = value_{n}\n")).collect();
        let words = Words::of(text.as_bytes());
        assert!((0..2_000).all(|n| words.may_hold(&format!("name_{n}")) && words.may_hold(&format!("value_{n}"))));
        let wrong = (0..10_000).filter(|n| words.may_hold(&format!("absent_{n}"))).count();
        assert!(wrong < 1_000, "{wrong} of 10,000");
    }

    #[test]
    fn a_demand_is_met_by_one_alternative_of_each_group() {
        let words = Words::of(b"import os\nos.replace(a, b)\n");
        let word = |text: &str| vec![text.to_owned()];
        let met = |groups| WordDemand(groups).may_be_met(&words);
        assert!(met(vec![]));
        assert!(met(vec![vec![word("shutil"), word("os")], vec![word("replace")]]));
        assert!(!met(vec![vec![word("os")], vec![word("rename")]]));
        assert!(!met(vec![vec![vec!["os".into(), "rename".into()]]]));
    }

    #[test]
    fn demands_together_are_met_as_each_alone() {
        let word = |text: &str| vec![text.to_owned()];
        let demands = [
            WordDemand(vec![]),
            WordDemand(vec![vec![word("shutil"), word("os")], vec![word("replace")]]),
            WordDemand(vec![vec![word("os")], vec![word("rename")]]),
            WordDemand(vec![vec![vec!["os".into(), "replace".into()]]]),
            WordDemand(vec![vec![]]),
        ];
        let words = Words::of(b"import os\nos.replace(a, b)\n");
        let alone: Vec<bool> = demands.iter().map(|demand| demand.may_be_met(&words)).collect();
        assert_eq!(WordDemands::of(&demands).met_by(&words), alone);
        assert_eq!(alone, [true, true, false, true, false]);
    }

    #[test]
    fn what_was_kept_is_read_again_and_nothing_else() {
        let words = Words::of(b"open");
        assert_eq!(Words::from_bytes(words.as_bytes().to_vec()), Some(words));
        assert_eq!([0, 7, 12, 16 * 1024].map(|len| Words::from_bytes(vec![0; len])), [const { None }; 4]);
    }
}
