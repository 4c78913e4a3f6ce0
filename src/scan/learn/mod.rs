//! Proposes patterns from one fix: what was there before, what came after, and what of it is chance.
//!
//! Nothing is matched here: a proposal is only built from two syntax trees. Whoever asks tries it out where
//! patterns may run.

mod diff;
mod example;
mod holes;
mod kinds;
mod names;
mod pattern;
mod region;
mod rule;
mod template;
mod tree;

use crate::domain::detect::{AstRule, LanguageName};

use super::error::FileRefusal;
use holes::Level;
use names::Names;
use region::Region;
use tree::Tree;

pub use example::Examples;

/// Most places of one change that are compared.
const REGIONS: usize = 64;

/// Why a change teaches nothing.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LearnRefusal {
    /// No grammar, or one for configuration.
    #[error("fixes in {language:?} files cannot be learned")]
    Language {
        /// The language.
        language: LanguageName,
    },
    /// One side cannot be read.
    #[error("the file {side} the fix cannot be read")]
    File {
        /// `before` or `after`.
        side: &'static str,
        /// Why.
        #[source]
        cause: FileRefusal,
    },
    /// One side has syntax errors.
    #[error("the file {side} the fix has syntax errors")]
    Syntax {
        /// `before` or `after`.
        side: &'static str,
    },
    /// Both sides mean the same.
    #[error("nothing but comments, imports and spaces changed")]
    NothingChanged,
    /// Nothing was replaced.
    #[error("the change adds only new code: there is no mistake to look for")]
    OnlyAdds,
    /// Neighbouring statements became others.
    #[error("several statements from line {line} on were replaced at once, and no single one of them is the mistake")]
    SeveralStatements {
        /// The first line, from 1.
        line: u32,
    },
    /// Different fixes in one commit.
    #[error("the change fixes different things at lines {}", lines.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    SeveralFixes {
        /// The first line of each, from 1.
        lines: Vec<u32>,
    },
    /// What was replaced has nothing that tells it from any other code.
    #[error("what was replaced at line {line} is too common to look for")]
    TooCommon {
        /// The line, from 1.
        line: u32,
    },
    /// What was replaced is too large for a pattern.
    #[error("what was replaced at line {line} is too large or too unusual for a pattern")]
    NoPattern {
        /// The line, from 1.
        line: u32,
    },
}

/// One way to look for the mistake.
#[derive(Clone, PartialEq, Debug)]
pub struct Proposal {
    /// The syntax rule.
    pub rule: AstRule,
    /// The pattern, for people.
    pub pattern: String,
    /// What takes the place of a match.
    pub template: Option<String>,
    /// Why there is no template, or what keeps it from being made without asking.
    pub doubt: Option<String>,
    /// Import lines that the template relies on.
    pub imports: Vec<String>,
    /// Whether every token of a match is accounted for.
    pub exact: bool,
}

/// What a change in one file teaches.
#[derive(Clone, PartialEq, Debug)]
pub struct Learned {
    /// The language.
    pub language: LanguageName,
    /// From the closest to the example to the most general; none has been tried.
    pub proposals: Vec<Proposal>,
    /// First and last line of each place, from 1: before, and after.
    pub places: Vec<((u32, u32), (u32, u32))>,
    /// Texts to try them on.
    pub examples: Examples,
}

/// Proposes patterns from a file before and after a fix, without running any.
///
/// # Errors
/// Nothing can be learned from this change, and why.
pub fn propose(language: LanguageName, before: &str, after: &str) -> Result<Learned, LearnRefusal> {
    if !kinds::is_learnable(language) {
        return Err(LearnRefusal::Language { language });
    }
    let read = |side, text| match Tree::of(language, text) {
        Ok(tree) if tree.errors > 0 => Err(LearnRefusal::Syntax { side }),
        Ok(tree) => Ok(tree),
        Err(cause) => Err(LearnRefusal::File { side, cause }),
    };
    let (before, after) = (read("before", before)?, read("after", after)?);
    let hunks = diff::hunks(&before, &after);
    let sides = Sides {
        language,
        names: Names::of(language, &before),
        after_names: Names::of(language, &after),
        before: &before,
        after: &after,
    };
    let mut regions = region::regions(&before, &after, &hunks)?;
    regions.truncate(REGIONS);
    let lifted = regions.into_iter().map(|region| sides.grown(region)).collect::<Result<Vec<_>, _>>()?;
    let regions = region::outermost(&before, lifted);
    let first = regions.first().ok_or(LearnRefusal::NothingChanged)?;
    let line = |region: &Region| before.lines(&before.node(region.before).range);
    let pattern = |region: &Region| sides.narrow(region, Level::Shaped, false).map(|proposal| proposal.pattern);
    let one = pattern(first);
    if regions.iter().any(|region| pattern(region) != one) {
        return Err(LearnRefusal::SeveralFixes { lines: regions.iter().map(|region| line(region).0).collect() });
    }
    let mut proposals: Vec<Proposal> = Vec::new();
    let levels = [Level::Exact, Level::Shaped, Level::Loose];
    let narrow =
        levels.iter().flat_map(|level| [true, false].map(|guarded| sides.narrow(first, *level, guarded))).flatten();
    for proposal in narrow.chain(levels[1..].iter().filter_map(|level| sides.wide(first, *level))) {
        if !proposals
            .iter()
            .any(|known| known.rule.rule == proposal.rule.rule && known.rule.constraints == proposal.rule.constraints)
        {
            proposals.push(proposal);
        }
    }
    if proposals.is_empty() {
        return Err(LearnRefusal::NoPattern { line: line(first).0 });
    }
    let needs = sides.needs(first);
    Ok(Learned {
        language,
        places: regions.iter().map(|region| (line(region), after.lines(&region.after_range(&after)))).collect(),
        examples: example::examples(language, &before, &after, &sides.names, first, &needs),
        proposals,
    })
}

/// Both sides of a change.
struct Sides<'t> {
    language: LanguageName,
    before: &'t Tree,
    after: &'t Tree,
    names: Names,
    after_names: Names,
}
