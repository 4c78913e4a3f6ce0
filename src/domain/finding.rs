//! A place in local code or config where a lesson's pattern matches.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::detect::Confidence;
use super::id::Slug;
use super::lesson::Severity;

/// What stays the same about a finding while lines around it move: lesson, rule, path, the matched text
/// with white space folded, and which of several equal ones it is. No line number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of the `occurrence`-th (from 0) match of the same text in one file.
    #[must_use]
    pub fn of(lesson: &Slug, rule: &Slug, path: &str, matched: &str, occurrence: u32) -> Self {
        let mut hash = blake3::Hasher::new();
        for part in [lesson.as_str(), rule.as_str(), path] {
            hash.update(part.as_bytes()).update(&[0]);
        }
        for word in matched.split_whitespace() {
            hash.update(word.as_bytes()).update(b" ");
        }
        hash.update(&[0]).update(&occurrence.to_le_bytes());
        Self(*hash.finalize().as_bytes())
    }

    /// The fingerprint with these raw bytes, as they were stored.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The raw bytes, for storing.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first eight hexadecimal digits: the short id in branch names and listings.
    #[must_use]
    pub fn short(&self) -> String {
        self.to_string()[..8].to_owned()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = super::id::IdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<super::id::EntryId>().map(|id| Self(*id.as_bytes()))
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Why a finding is not reported as new.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "by")]
pub enum Suppression {
    /// A comment in the source, with its reason.
    InSource {
        /// The reason given.
        reason: String,
    },
    /// The baseline of this home.
    Baseline,
}

/// A place where a lesson's pattern matches.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// The lesson.
    pub lesson: Slug,
    /// The rule within it.
    pub rule: Slug,
    /// How bad it is.
    pub severity: Severity,
    /// How sure the match is.
    pub confidence: Confidence,
    /// The file, relative to the audited root, with `/` between parts.
    pub path: String,
    /// The first line, from 1.
    pub line: u32,
    /// The first column in characters, from 1.
    pub column: u32,
    /// The last line, from 1.
    pub end_line: u32,
    /// What is said of it.
    pub message: String,
    /// Its stable identity.
    pub fingerprint: Fingerprint,
    /// Why it is not reported as new, where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suppressed: Option<Suppression>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_ignores_white_space_and_tells_occurrences_apart() {
        let slug = |text: &str| text.parse::<Slug>().expect("a slug");
        let of = |text, n| Fingerprint::of(&slug("lesson"), &slug("rule"), "a.py", text, n);
        assert_eq!(of("open(p,  'w')", 0), of("open(p,\n 'w')", 0));
        assert_ne!(of("open(p, 'w')", 0), of("open(p, 'w')", 1));
        assert_ne!(of("open(p, 'w')", 0), of("open(q, 'w')", 0));
        assert_eq!(of("x", 0).to_string().parse(), Ok(of("x", 0)));
    }
}
