//! Attestations: what became of one intervention, said by the host that made it, and what many of them come to.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::foreign_text::{self, ForbiddenChar};
use super::id::{EntryId, HostId, Slug};
use super::lesson::parse_span;
use super::limits;

/// What became of an intervention.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// What was predicted came true.
    Validated,
    /// It stands, and nothing shows that it helped.
    NoEffect,
    /// Taken back.
    Reverted,
    /// Given up half-way.
    Aborted,
    /// It stands, and the signals that would tell are missing.
    Unknown,
}

impl Outcome {
    const ALL: [Self; 5] = [Self::Validated, Self::NoEffect, Self::Reverted, Self::Aborted, Self::Unknown];

    /// The word for it in files and listings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Validated => "validated",
            Self::NoEffect => "no_effect",
            Self::Reverted => "reverted",
            Self::Aborted => "aborted",
            Self::Unknown => "unknown",
        }
    }

    /// The outcome with this word.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.name() == name)
    }

    /// Whether it says anything about the lesson: an attempt that was given up or could not be measured does not.
    #[must_use]
    pub const fn tells(self) -> bool {
        match self {
            Self::Validated | Self::NoEffect | Self::Reverted => true,
            Self::Aborted | Self::Unknown => false,
        }
    }
}

/// What was seen of one part of a prediction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Holds {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Nobody can tell: it was not looked at, or the signals are missing.
    Unknown,
}

/// What was predicted before the change was made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Predicted {
    /// The lesson's claim over signals, in CEL. Kept for people, never evaluated.
    pub expr: String,
    /// The window in which it was to hold, such as `7d`: the one that was used.
    pub within: String,
}

/// What was observed when the intervention ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observed {
    /// Whether the project's own check passes.
    pub check: Holds,
    /// Whether the finding is gone.
    pub finding: Holds,
    /// Whether the predicted claim holds.
    pub signal: Holds,
}

/// The class of host: no version, no name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Such as `linux`.
    pub os: String,
    /// Such as `x86_64`.
    pub arch: String,
    /// Such as `debian`, where the system has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distro: Option<String>,
}

impl Environment {
    /// The class of a host with these facts (`os`, `arch`, `distro`). What is missing or no plain word is `unknown`, or
    /// left out in the case of `distro`: the system's own files may say anything.
    #[must_use]
    pub fn of(facts: &BTreeMap<String, String>) -> Self {
        let word = |name| facts.get(name).filter(|word| is_word(word, b"-_.")).cloned();
        let known = |name| word(name).unwrap_or_else(|| "unknown".to_owned());
        Self { os: known("os"), arch: known("arch"), distro: word("distro") }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.os, self.arch)?;
        self.distro.as_ref().map_or(Ok(()), |distro| write!(f, " {distro}"))
    }
}

/// The signed outcome of one intervention.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attestation {
    /// The lesson that was followed.
    pub lesson: Slug,
    /// The entry that carries it: the attestation is of these bytes and no other revision.
    pub entry: EntryId,
    /// The intervention's name on the attesting host, the same in every word about it.
    pub intervention: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Whether the window was made shorter than mesh would have it.
    pub short_window: bool,
    /// What was predicted.
    pub predicted: Predicted,
    /// What was observed.
    pub observed: Observed,
    /// Where.
    pub environment: Environment,
    /// How many places were mended.
    pub n: u32,
}

/// Why an attestation is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AttestationError {
    /// A text is not of its form.
    #[error("`{field}` must be {expected}")]
    Form {
        /// Which field.
        field: &'static str,
        /// Its form.
        expected: &'static str,
    },
    /// A text holds a character that may not be shown.
    #[error("`{field}` holds a forbidden character")]
    Text {
        /// Which field.
        field: &'static str,
        /// Which character.
        #[source]
        cause: ForbiddenChar,
    },
    /// Said to be validated while what it observed does not show it.
    #[error("`validated` needs a finding that is gone, a claim that holds and no failing check")]
    Unfounded,
}

fn form(field: &'static str, expected: &'static str, holds: bool) -> Result<(), AttestationError> {
    if holds { Ok(()) } else { Err(AttestationError::Form { field, expected }) }
}

/// 1 to 64 of `a-z`, `0-9` and `more`.
fn is_word(text: &str, more: &[u8]) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || more.contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(plain)
}

impl Attestation {
    /// Checks what the shape does not hold.
    ///
    /// # Errors
    /// The first text out of bounds, or a `validated` that its own observations deny.
    pub fn check(&self) -> Result<(), AttestationError> {
        form("intervention", "1 to 64 of a-z, 0-9, '-' and '.'", is_word(&self.intervention, b"-."))?;
        let environment = [
            ("environment.os", Some(&self.environment.os)),
            ("environment.arch", Some(&self.environment.arch)),
            ("environment.distro", self.environment.distro.as_ref()),
        ];
        for (field, word) in environment {
            let expected = "1 to 64 of a-z, 0-9, '-', '_' and '.'";
            form(field, expected, word.is_none_or(|word| is_word(word, b"-_.")))?;
        }
        let expr = &self.predicted.expr;
        let fits = !expr.trim().is_empty() && expr.len() <= limits::EXPR_BYTES;
        form("predicted.expr", "a claim of at most 512 bytes", fits)?;
        foreign_text::check(expr).map_err(|cause| AttestationError::Text { field: "predicted.expr", cause })?;
        let span = parse_span(&self.predicted.within).is_some_and(|span| !span.is_zero());
        form("predicted.within", "a span such as 90m, 24h or 7d", span && self.predicted.within.len() <= 16)?;
        let Observed { check, finding, signal } = self.observed;
        let shown = finding == Holds::True && signal == Holds::True && check != Holds::False;
        if self.outcome == Outcome::Validated && !shown {
            return Err(AttestationError::Unfounded);
        }
        Ok(())
    }
}

/// One host's word on one intervention, as it is remembered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Word {
    /// Who said it.
    pub host: HostId,
    /// Its place in that host's chain.
    pub seq: u64,
    /// What was said.
    pub outcome: Outcome,
    /// Whether it was judged after a short window.
    pub short_window: bool,
    /// Where.
    pub environment: Environment,
    /// When it arrived, or was signed here.
    pub at: Timestamp,
}

/// What one host says of one lesson entry. However often it speaks, it has one voice, and that says what it said last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Voice {
    /// Its last word.
    pub last: Word,
    /// Interventions it spoke of.
    pub interventions: u32,
    /// Those of them that it says were validated.
    pub validated: u32,
}

/// The voices in `words`, which are all about one lesson entry, by host.
#[must_use]
pub fn voices(words: impl IntoIterator<Item = Word>) -> Vec<Voice> {
    let mut by_host: BTreeMap<HostId, Voice> = BTreeMap::new();
    for word in words {
        let validated = u32::from(word.outcome == Outcome::Validated);
        match by_host.get_mut(&word.host) {
            None => {
                by_host.insert(word.host, Voice { last: word, interventions: 1, validated });
            }
            Some(voice) => {
                voice.interventions += 1;
                voice.validated += validated;
                if word.seq > voice.last.seq {
                    voice.last = word;
                }
            }
        }
    }
    by_host.into_values().collect()
}

/// What the voices on one lesson entry come to: counts and an interval, and nothing that could be mistaken for a
/// measure of trust.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Support {
    /// Hosts that attested it.
    pub hosts: u32,
    /// Hosts whose last word is that it was validated.
    pub validated: u32,
    /// Hosts whose last word says anything about the lesson.
    pub of: u32,
    /// The lower end of the 95 % interval of `validated` in `of`, in percent, rounded down.
    pub low: u32,
    /// The upper end, rounded up.
    pub high: u32,
}

impl Support {
    /// Counts voices; `None` where there are none.
    #[must_use]
    pub fn of(voices: &[Voice]) -> Option<Self> {
        let count = |counts: fn(Outcome) -> bool| {
            u32::try_from(voices.iter().filter(|voice| counts(voice.last.outcome)).count()).unwrap_or(u32::MAX)
        };
        let (validated, of) = (count(|outcome| outcome == Outcome::Validated), count(Outcome::tells));
        let (low, high) = interval(validated, of);
        let support = Self { hosts: count(|_| true), validated, of, low, high };
        (support.hosts > 0).then_some(support)
    }

    /// The short form for a column, such as `5/6`.
    #[must_use]
    pub fn column(&self) -> String {
        format!("{}/{}", self.validated, self.of)
    }
}

/// Such as `5 of 6 on 7 hosts (95% interval: 43% to 97%)`.
impl fmt::Display for Support {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts = if self.hosts == 1 { "host" } else { "hosts" };
        write!(f, "{} of {} on {} {hosts}", self.validated, self.of, self.hosts)?;
        write!(f, " (95% interval: {}% to {}%)", self.low, self.high)
    }
}

/// The Wilson score interval at 95 % of `k` in `n`, in whole percents, rounded outwards; 0 to 100 where `n` is 0.
///
/// In whole numbers throughout, so that every machine shows the same: all terms are in units of 1/10,000.
fn interval(k: u32, n: u32) -> (u32, u32) {
    const ONE: u64 = 10_000;
    /// 1.96 squared.
    const Z2: u64 = 38_416;
    let (k, n) = (u64::from(k.min(n)), u64::from(n));
    if n == 0 {
        return (0, 100);
    }
    let root = (Z2 * (Z2 + 4 * ONE * k * (n - k) / n)).isqrt();
    let (middle, whole) = (2 * ONE * k + Z2, 2 * (ONE * n + Z2));
    let percent = |part: u64| u32::try_from(part.min(100)).unwrap_or(100);
    (percent(100 * middle.saturating_sub(root) / whole), percent((100 * (middle + root)).div_ceil(whole)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attestation() -> Attestation {
        Attestation {
            lesson: "a-lesson".parse().expect("a slug"),
            entry: EntryId::from_bytes([2; 32]),
            intervention: "1a2b3c4d.2".to_owned(),
            outcome: Outcome::Validated,
            short_window: false,
            predicted: Predicted { expr: "last(\"host.load1\") < 4".to_owned(), within: "7d".to_owned() },
            observed: Observed { check: Holds::Unknown, finding: Holds::True, signal: Holds::True },
            environment: Environment { os: "linux".to_owned(), arch: "x86_64".to_owned(), distro: None },
            n: 3,
        }
    }

    fn word(host: u8, seq: u64, outcome: Outcome) -> Word {
        Word {
            host: HostId::from_bytes([host; 32]),
            seq,
            outcome,
            short_window: false,
            environment: attestation().environment,
            at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn texts_out_of_bounds_are_refused() {
        assert_eq!(attestation().check(), Ok(()));
        let spoils: [fn(&mut Attestation); 9] = [
            |it| it.intervention.clear(),
            |it| it.intervention = "a/../b".to_owned(),
            |it| it.intervention = "a".repeat(65),
            |it| it.environment.os = "Linux 6.1".to_owned(),
            |it| it.environment.distro = Some(String::new()),
            |it| it.predicted.expr = " ".to_owned(),
            |it| it.predicted.expr = "a".repeat(limits::EXPR_BYTES + 1),
            |it| it.predicted.expr = "\u{1b}[2J".to_owned(),
            |it| it.predicted.within = "soon".to_owned(),
        ];
        for (number, spoil) in spoils.into_iter().enumerate() {
            let mut spoilt = attestation();
            spoil(&mut spoilt);
            assert!(spoilt.check().is_err(), "{number}");
        }
    }

    #[test]
    fn a_host_with_odd_facts_can_attest_all_the_same() {
        let facts = [("os", "linux"), ("arch", "x86 64"), ("distro", "Debian\n13")];
        let facts = facts.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let environment = Environment::of(&BTreeMap::from(facts));
        assert_eq!(environment.to_string(), "linux unknown");
        assert_eq!(Attestation { environment, ..attestation() }.check(), Ok(()));
    }

    #[test]
    fn nothing_is_validated_against_its_own_observations() {
        let cases: [fn(&mut Observed); 5] = [
            |it| it.check = Holds::False,
            |it| it.finding = Holds::False,
            |it| it.finding = Holds::Unknown,
            |it| it.signal = Holds::False,
            |it| it.signal = Holds::Unknown,
        ];
        for (number, deny) in cases.into_iter().enumerate() {
            let mut unfounded = attestation();
            deny(&mut unfounded.observed);
            assert_eq!(unfounded.check(), Err(AttestationError::Unfounded), "{number}");
            unfounded.outcome = Outcome::Unknown;
            assert_eq!(unfounded.check(), Ok(()), "{number}");
        }
    }

    #[test]
    fn a_host_has_one_voice_and_its_last_word_is_heard() {
        let mut words: Vec<Word> = (1..=5).map(|seq| word(1, seq, Outcome::Validated)).collect();
        let support = |words: &[Word]| Support::of(&voices(words.to_vec())).expect("somebody spoke");
        assert_eq!((support(&words).validated, support(&words).of, support(&words).hosts), (1, 1, 1));
        words.insert(0, word(1, 9, Outcome::Reverted));
        assert_eq!((support(&words).validated, support(&words).of, support(&words).hosts), (0, 1, 1));
        let voice = voices(words.clone()).remove(0);
        assert_eq!((voice.interventions, voice.validated, voice.last.seq), (6, 5, 9));
        words.push(word(2, 1, Outcome::Unknown));
        words.push(word(3, 1, Outcome::Aborted));
        words.push(word(4, 1, Outcome::NoEffect));
        assert_eq!((support(&words).validated, support(&words).of, support(&words).hosts), (0, 2, 4));
        assert_eq!(Support::of(&[]), None);
    }

    #[test]
    fn counts_are_shown_with_their_interval() {
        let mut words: Vec<Word> = (1..=5).map(|host| word(host, 1, Outcome::Validated)).collect();
        words.push(word(6, 1, Outcome::Reverted));
        words.push(word(7, 1, Outcome::Unknown));
        let support = Support::of(&voices(words)).expect("somebody spoke");
        assert_eq!(support.to_string(), "5 of 6 on 7 hosts (95% interval: 43% to 97%)");
        assert_eq!(support.column(), "5/6");
        let one = Support::of(&voices([word(1, 1, Outcome::Validated)])).expect("somebody spoke");
        assert_eq!(one.to_string(), "1 of 1 on 1 host (95% interval: 20% to 100%)");
    }

    #[test]
    fn intervals_are_those_of_the_tables() {
        for (k, n, wanted) in [
            (0, 0, (0, 100)),
            (0, 1, (0, 80)),
            (1, 2, (9, 91)),
            (0, 10, (0, 28)),
            (8, 10, (49, 95)),
            (50, 100, (40, 60)),
            (300, 300, (98, 100)),
            (u32::MAX, u32::MAX, (99, 100)),
        ] {
            assert_eq!(interval(k, n), wanted, "{k} of {n}");
        }
    }

    proptest! {
        /// The share itself always lies inside, and the ends never leave 0 to 100.
        #[test]
        fn the_interval_holds_the_share(n in 1_u32..5_000, share in 0_u32..=5_000) {
            let k = share.min(n);
            let (low, high) = interval(k, n);
            prop_assert!(low <= high && high <= 100);
            prop_assert!(u64::from(low) * u64::from(n) <= 100 * u64::from(k));
            prop_assert!(u64::from(high) * u64::from(n) >= 100 * u64::from(k));
        }
    }
}
