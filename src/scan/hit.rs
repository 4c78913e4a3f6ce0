//! One match of one rule, before it is a finding.

use std::ops::Range;

use crate::domain::limits;

/// A match.
pub(super) struct Hit {
    /// The rule, by its place in the engine.
    pub(super) rule: usize,
    /// The bytes that are reported.
    pub(super) range: Range<usize>,
    /// What is said of it.
    pub(super) message: String,
    /// How it is mended, where that was asked for.
    pub(super) edit: HitEdit,
}

/// How a match is mended.
pub(super) enum HitEdit {
    /// Not at all.
    None,
    /// By new text.
    Splice(Splice),
    /// It should be, but cannot.
    Refused {
        /// The key that cannot be set.
        path: String,
        /// Why not.
        why: &'static str,
    },
    /// It would grow the text by this many bytes or more.
    TooLarge(usize),
}

impl HitEdit {
    /// New text for a range, unless it is far too long.
    pub(super) fn splice(range: Range<usize>, text: String) -> Self {
        let growth = text.len().saturating_sub(range.len());
        if growth > limits::FIX_OUTPUT_BYTES { Self::TooLarge(growth) } else { Self::Splice(Splice { range, text }) }
    }
}

/// New text in the place of old.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Splice {
    /// The bytes that go.
    pub(super) range: Range<usize>,
    /// The text that comes.
    pub(super) text: String,
}
