//! Proposes patterns from one fix: what was there before, what came after, and what of it is chance.
//!
//! Nothing is matched here: a proposal is only built from two syntax trees. Whoever asks tries it out where
//! patterns may run.

mod diff;
mod example;
mod holes;
mod kinds;
mod meeting;
mod names;
mod pattern;
mod region;
mod release;
mod rule;
mod statements;
mod template;
mod tree;

use crate::domain::detect::{AstRule, LanguageName};

use super::error::FileRefusal;
use diff::Hunk;
use holes::Level;
use names::Names;
use region::{Region, Replaced};
use statements::Statements;
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
    let replaced = region::regions(&before, &after, &hunks);
    let sides = Sides {
        language,
        names: Names::of(language, &before),
        after_names: Names::of(language, &after),
        before: &before,
        after: &after,
        also_added: replaced.added && !replaced.regions.is_empty(),
    };
    let line = |region: &Region| before.lines(&region.before_range(&before));
    let regions = sides.regions(replaced, &hunks)?;
    let first = regions.first().ok_or(LearnRefusal::NothingChanged)?;
    let mut proposals: Vec<Proposal> = Vec::new();
    let levels = [Level::Exact, Level::Shaped, Level::Loose];
    let narrow =
        levels.iter().flat_map(|level| [true, false].map(|guarded| sides.narrow(first, *level, guarded))).flatten();
    let wide = levels[1..].iter().filter_map(|level| sides.wide(first, *level));
    for proposal in narrow.chain(wide).chain(sides.released(&hunks)) {
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
        examples: example::examples(language, &before, &after, &sides.names, &regions, &needs),
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
    /// Something was added past what was replaced.
    also_added: bool,
}

impl Sides<'_> {
    /// What the fix replaced, each place as large as it must be to be looked for. Of several ways to see a change the
    /// first that holds: one that was moved, single nodes, a few statements together, statements that were put in.
    fn regions(&self, replaced: Replaced, hunks: &[Hunk]) -> Result<Vec<Region>, LearnRefusal> {
        let statements = Statements { before: self.before, after: self.after, names: &self.names };
        if let Some(moved) = statements.moved(hunks) {
            return Ok(vec![moved]);
        }
        let together = statements.run(hunks);
        let nothing_replaced = replaced.regions.is_empty() && replaced.several.is_none();
        let single = replaced.alone().and_then(|mut regions| {
            regions.truncate(REGIONS);
            let grown = regions.into_iter().map(|region| self.grown(region)).collect::<Result<Vec<_>, _>>()?;
            let regions = region::outermost(self.before, grown);
            let pattern = |region: &Region| self.narrow(region, Level::Shaped, false).map(|proposal| proposal.pattern);
            let one = regions.first().and_then(pattern);
            if regions.iter().any(|region| pattern(region) != one) {
                let line = |region: &Region| self.before.lines(&region.before_range(self.before)).0;
                return Err(LearnRefusal::SeveralFixes { lines: regions.iter().map(line).collect() });
            }
            Ok(regions)
        });
        // A place that had to grow past the statements which changed says less than these do.
        let grown_past = |regions: &[Region], run: &Region| {
            let (run, all) = (run.before_range(self.before), regions.first().map(|one| one.before_range(self.before)));
            all.is_some_and(|all| all.start < run.start || run.end < all.end)
        };
        match (single, together) {
            (Ok(regions), Some(run)) if grown_past(&regions, &run) => Ok(vec![run]),
            (Ok(regions), _) => Ok(regions),
            (Err(_), Some(run)) => Ok(vec![run]),
            (Err(why), None) if nothing_replaced => {
                let put_in = statements
                    .insertions(hunks)
                    .map(|regions| regions.into_iter().map(|region| self.grown(region)).collect::<Result<Vec<_>, _>>());
                match (put_in, self.release_region(hunks)) {
                    (Some(Ok(regions)), _) => Ok(regions),
                    (_, Some(region)) => Ok(vec![region]),
                    _ => Err(why),
                }
            }
            (Err(why), None) => match statements.around(hunks).map(|region| self.grown(region)) {
                Some(Ok(region)) => Ok(vec![region]),
                _ => Err(why),
            },
        }
    }
}
