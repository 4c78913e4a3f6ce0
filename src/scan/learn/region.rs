//! From hunks to what a fix replaced: a node, or a few statements about the same thing.

use std::ops::Range;

use super::LearnRefusal;
use super::diff::Hunk;
use super::kinds;
use super::tree::{Id, Tree};

/// A node before, with the statements after it that changed as well, and the neighbours that took their place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Region {
    pub(super) before: Id,
    /// Further statements of the same list, later in the text.
    pub(super) run: Vec<Id>,
    pub(super) after: Vec<Id>,
    /// The node above, before and after, where both sides have one.
    pub(super) above: Option<(Id, Id)>,
    /// The smallest node that changed.
    pub(super) origin: Id,
    /// Nothing but the order changed: the first statement leaves the place before the last one is reached.
    pub(super) leaves: bool,
}

impl Region {
    pub(super) const fn new(before: Id, after: Vec<Id>, above: Option<(Id, Id)>) -> Self {
        Self { before, run: Vec::new(), after, above, origin: before, leaves: false }
    }

    /// The region around this one.
    pub(super) fn lifted(&self, before: &Tree, after: &Tree) -> Option<Self> {
        let (b, a) = self.above?;
        if is_scope(before, b) || !before.node(b).named || !self.run.is_empty() {
            return None;
        }
        Some(Self { before: b, after: vec![a], above: before.parent(b).zip(after.parent(a)), ..self.clone() })
    }

    /// Everything that the fix replaced, in the order of the text.
    pub(super) fn statements(&self) -> impl DoubleEndedIterator<Item = Id> + '_ {
        std::iter::once(self.before).chain(self.run.iter().copied())
    }

    /// All nodes of what was replaced.
    pub(super) fn old_nodes<'t>(&'t self, before: &'t Tree) -> impl Iterator<Item = Id> + 't {
        self.statements().flat_map(|id| before.below(id))
    }

    /// Where it stood.
    pub(super) fn before_range(&self, before: &Tree) -> Range<usize> {
        let last = self.run.last().copied().unwrap_or(self.before);
        before.node(self.before).range.start..before.node(last).range.end
    }

    /// What the fix has in its place.
    pub(super) fn after_range(&self, after: &Tree) -> Range<usize> {
        match (self.after.first(), self.after.last()) {
            (Some(first), Some(last)) => after.node(*first).range.start..after.node(*last).range.end,
            _ => 0..0,
        }
    }
}

/// A list of statements that a function, a type or the file consists of: nothing in it is one thing.
fn is_scope(tree: &Tree, id: Id) -> bool {
    let kind = tree.kind(id);
    let owner = tree.above(id).find(|above| !kinds::is_block(tree.kind(*above)));
    kinds::is_root(kind)
        || kinds::is_function(kind)
        || kinds::is_type_body(kind)
        || (kinds::is_block(kind)
            && owner.is_none_or(|owner| {
                let kind = tree.kind(owner);
                kinds::is_function(kind)
                    || kinds::is_type_body(kind)
                    || matches!(kind, "arrow_function" | "function_expression" | "func_literal" | "closure_expression")
            }))
}

/// What of a hunk is neither an import nor a comment.
pub(super) fn told(before: &Tree, after: &Tree, hunk: &Hunk) -> Option<(Vec<Id>, Vec<Id>)> {
    let import = |tree: &Tree, id: &Id| {
        kinds::is_import(tree.kind(*id)) || tree.above(*id).any(|above| kinds::is_import(tree.kind(above)))
    };
    let old: Vec<Id> = hunk.before.iter().copied().filter(|id| !import(before, id)).collect();
    let new: Vec<Id> = hunk.after.iter().copied().filter(|id| !import(after, id)).collect();
    let silent =
        |tree: &Tree, ids: &[Id]| ids.iter().all(|id| tree.is_comment(*id) || tree.text_of(*id).trim().is_empty());
    let nothing = (silent(before, &old) && silent(after, &new)) || import(before, &hunk.parents.0);
    (!nothing).then_some((old, new))
}

/// What single nodes became others.
pub(super) struct Replaced {
    pub(super) regions: Vec<Region>,
    /// The first line of statements that became others all at once.
    pub(super) several: Option<u32>,
    /// Something was added where nothing was.
    pub(super) added: bool,
}

/// The regions of a change, imports left out. Additions alone are none.
pub(super) fn regions(before: &Tree, after: &Tree, hunks: &[Hunk]) -> Replaced {
    let mut replaced = Replaced { regions: Vec::new(), several: None, added: false };
    for hunk in hunks {
        let Some((old, new)) = told(before, after, hunk) else { continue };
        let scope = is_scope(before, hunk.parents.0);
        // A word such as `async` in front of a definition is no mistake to look for.
        if scope && old.iter().all(|id| !before.node(*id).named) {
            replaced.added = true;
            continue;
        }
        let old: Vec<Id> = old.into_iter().filter(|id| before.node(*id).named || hunk.before.len() == 1).collect();
        let above = Some(hunk.parents);
        let region = match old[..] {
            [one] if !before.is_comment(one) && !new.is_empty() => Region::new(one, new, above),
            [one] if scope => Region::new(one, new, above),
            [..] if scope => {
                replaced.several = replaced.several.or(Some(before.lines(&before.node(old[0]).range).0));
                continue;
            }
            _ => {
                let (b, a) = hunk.parents;
                Region::new(b, vec![a], before.parent(b).zip(after.parent(a)))
            }
        };
        replaced.regions.push(region);
    }
    replaced
}

impl Replaced {
    /// The regions, if they are all there is.
    pub(super) fn alone(self) -> Result<Vec<Region>, LearnRefusal> {
        match self {
            Self { several: Some(line), .. } => Err(LearnRefusal::SeveralStatements { line }),
            Self { regions, added, .. } if regions.is_empty() => {
                Err(if added { LearnRefusal::OnlyAdds } else { LearnRefusal::NothingChanged })
            }
            Self { regions, .. } => Ok(regions),
        }
    }
}

/// Leaves out what lies within another region.
pub(super) fn outermost(before: &Tree, regions: Vec<Region>) -> Vec<Region> {
    let mut kept: Vec<Region> = Vec::new();
    for region in regions {
        let range = region.before_range(before);
        let within = |other: &Region| {
            let outer = other.before_range(before);
            outer.start <= range.start && range.end <= outer.end
        };
        if kept.iter().any(within) {
            continue;
        }
        kept.retain(|other| {
            let inner = other.before_range(before);
            !(range.start <= inner.start && inner.end <= range.end)
        });
        kept.push(region);
    }
    kept
}
