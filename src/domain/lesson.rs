//! A lesson: what was learned from a fix, in a form that a stranger's machine can check and apply.
//!
//! People write it as TOML; it is signed as JSON with the chain header in front. Shape and bounds:
//! `docs/lessons.md`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::admission::{self, DetectError};
use super::detect::{Detect, Fix, Tests};
use super::foreign_text::{self, ForbiddenChar};
use super::id::{EntryId, Slug};

/// How bad it is when the lesson is not followed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Hint,
    /// Worth changing when passing by.
    Info,
    /// Will hurt one day.
    Warning,
    /// Loses data or service.
    Error,
}

impl Severity {
    /// The word for it in files and listings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hint => "hint",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// How much the fix could break.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Risk {
    /// May apply by itself where the grant allows it.
    Low,
    /// Needs a canary.
    Medium,
    /// Needs a canary and a person.
    High,
}

impl Risk {
    /// The word for it in files and listings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// A claim that can be proved wrong by this host's signals.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Falsifiable {
    /// The claim, in words.
    pub claim: String,
    /// The claim in CEL over the signal catalogue; true when it holds.
    pub expr: String,
    /// The window in which it must hold after the fix, such as `7d`.
    pub within: String,
}

/// When the lesson ends.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetiredWhen {
    /// The condition, in words.
    pub claim: String,
    /// The condition in CEL over the signal catalogue.
    pub expr: String,
    /// The date after which the lesson is retired in any case, RFC 3339 UTC.
    pub after: String,
}

/// Where the lesson was seen to hold.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibratedFor {
    /// Values of signals at the time, as decimal text by signal name.
    #[serde(default)]
    pub signals: BTreeMap<String, String>,
    /// What the host must be: `os`, `arch`, `distro`. An empty table fits every host.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

/// What was learned from a fix.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lesson {
    /// The stable name across revisions.
    pub id: Slug,
    /// The revision, from 1.
    pub rev: u32,
    /// One line.
    pub title: String,
    /// What it is about, such as `python/io`.
    pub scope: String,
    /// How bad it is when the lesson is not followed.
    pub severity: Severity,
    /// How much the fix could break.
    pub risk: Risk,
    /// The situation it applies to.
    pub when: String,
    /// What to do instead.
    pub prefer: String,
    /// Why, and what the detection cannot see.
    pub because: String,
    /// A claim that can be proved wrong.
    pub falsifiable: Falsifiable,
    /// When it ends.
    pub retired_when: RetiredWhen,
    /// Where it was seen to hold.
    #[serde(default)]
    pub calibrated_for: CalibratedFor,
    /// What the mistake looks like.
    pub detect: Detect,
    /// How the mistake is mended.
    pub fix: Fix,
    /// The examples that prove both.
    pub tests: Tests,
    /// Where it comes from: commits, incidents, entry ids.
    #[serde(default)]
    pub evidence: Vec<String>,
    /// Entries it was derived from; its grant is never above theirs.
    #[serde(default)]
    pub derived_from: Vec<EntryId>,
    /// A self-heal rule template; kept, not run, until rules are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<serde_json::Value>,
}

/// Why a lesson is refused before any of it is run.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LessonError {
    /// A text is empty or too long.
    #[error("`{field}` must have 1 to {max} bytes, has {got}")]
    Length {
        /// Which field.
        field: &'static str,
        /// Bytes found.
        got: usize,
        /// Bytes allowed.
        max: usize,
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
    /// A text is not of its form.
    #[error("`{field}` must be {expected}")]
    Form {
        /// Which field.
        field: &'static str,
        /// Its form.
        expected: &'static str,
    },
    /// Too many of something.
    #[error("`{field}` has {got} elements, at most {max}")]
    Count {
        /// Which field.
        field: &'static str,
        /// Elements found.
        got: usize,
        /// Elements allowed.
        max: usize,
    },
    /// The detection, fix or examples break a static limit.
    #[error(transparent)]
    Detect(#[from] DetectError),
}

fn text(field: &'static str, value: &str, max: usize) -> Result<(), LessonError> {
    if value.trim().is_empty() || value.len() > max {
        return Err(LessonError::Length { field, got: value.len(), max });
    }
    foreign_text::check(value).map_err(|cause| LessonError::Text { field, cause })
}

/// Reads a span such as `90m`, `24h` or `7d`.
#[must_use]
pub fn parse_span(span: &str) -> Option<std::time::Duration> {
    let (digits, unit) = span.split_at_checked(span.len().checked_sub(1)?)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u32>().ok().map(|n| std::time::Duration::from_secs(u64::from(n) * unit))
}

/// The span in the largest unit that holds it in whole numbers: `24h` is `1d`.
#[must_use]
pub fn span_text(span: std::time::Duration) -> String {
    let seconds = span.as_secs();
    let unit = [("d", 86_400), ("h", 3_600), ("m", 60)]
        .into_iter()
        .find(|(_, unit)| seconds > 0 && seconds.is_multiple_of(*unit));
    unit.map_or_else(|| format!("{seconds}s"), |(name, unit)| format!("{}{name}", seconds / unit))
}

/// The span for people, never shorter than it is: `2 s`, `14 min 37 s`, `15 min`, `2 h 5 min`.
#[must_use]
pub fn span_words(span: std::time::Duration) -> String {
    let seconds = span.as_secs() + u64::from(span.subsec_nanos() > 0);
    let minutes = if seconds < 3_600 { seconds / 60 } else { seconds.div_ceil(60) };
    match (minutes / 60, minutes % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, 0) => format!("{minutes} min"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, 0, _) => format!("{hours} h"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

impl Lesson {
    /// What the audit worker is asked about once: SHA-256 of the whole lesson.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let json = serde_json::to_vec(self).expect("a lesson is a plain table of text");
        Sha256::digest(&json).into()
    }

    /// Checks everything that can be checked without running a pattern.
    ///
    /// # Errors
    /// The first bound that is broken. The expressions are compiled by [`super::expr`], the patterns by
    /// the audit worker.
    pub fn check(&self) -> Result<(), LessonError> {
        text("title", &self.title, 120)?;
        text("when", &self.when, 1_024)?;
        text("prefer", &self.prefer, 1_024)?;
        text("because", &self.because, 2_048)?;
        text("falsifiable.claim", &self.falsifiable.claim, 512)?;
        text("falsifiable.expr", &self.falsifiable.expr, super::limits::EXPR_BYTES)?;
        text("retired_when.claim", &self.retired_when.claim, 512)?;
        text("retired_when.expr", &self.retired_when.expr, super::limits::EXPR_BYTES)?;
        if self.rev == 0 {
            return Err(LessonError::Form { field: "rev", expected: "1 or more" });
        }
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '/' | '_');
        if self.scope.is_empty() || self.scope.len() > 64 || !self.scope.chars().all(plain) {
            let expected = "1 to 64 of a-z, 0-9, '-', '_' and '/', such as python/io";
            return Err(LessonError::Form { field: "scope", expected });
        }
        if parse_span(&self.falsifiable.within).is_none_or(|span| span.is_zero()) {
            return Err(LessonError::Form { field: "falsifiable.within", expected: "a span such as 90m, 24h or 7d" });
        }
        if super::utc_time::parse(&self.retired_when.after).is_none() {
            let expected = "an RFC 3339 UTC time such as 2028-01-01T00:00:00Z";
            return Err(LessonError::Form { field: "retired_when.after", expected });
        }
        let counts = [
            ("evidence", self.evidence.len(), 32),
            ("derived_from", self.derived_from.len(), 32),
            ("calibrated_for.signals", self.calibrated_for.signals.len(), 32),
            ("calibrated_for.env", self.calibrated_for.env.len(), 8),
        ];
        for (field, got, max) in counts {
            if got > max {
                return Err(LessonError::Count { field, got, max });
            }
        }
        for evidence in &self.evidence {
            text("evidence", evidence, 512)?;
        }
        for (name, value) in &self.calibrated_for.signals {
            text("calibrated_for.signals", name, 128)?;
            text("calibrated_for.signals", value, 64)?;
        }
        for (name, value) in &self.calibrated_for.env {
            if !matches!(name.as_str(), "os" | "arch" | "distro") {
                return Err(LessonError::Form { field: "calibrated_for.env", expected: "a table of os, arch, distro" });
            }
            text("calibrated_for.env", value, 64)?;
        }
        admission::check(&self.detect, &self.fix, &self.tests)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_span_in_words_is_true_to_the_second_and_never_short() {
        let words = |seconds| span_words(Duration::from_secs(seconds));
        assert_eq!([0, 2, 60, 877, 900].map(words), ["0 s", "2 s", "1 min", "14 min 37 s", "15 min"]);
        assert_eq!([3_599, 3_600, 7_201, 86_400].map(words), ["59 min 59 s", "1 h", "2 h 1 min", "24 h"]);
        assert_eq!(span_words(Duration::from_millis(1_001)), "2 s");
    }
}
