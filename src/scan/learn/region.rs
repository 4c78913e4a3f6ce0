//! From hunks to the one node that a fix replaced.

use super::LearnRefusal;
use super::diff::Hunk;
use super::kinds;
use super::tree::{Id, Tree};

/// A node before and the neighbours that took its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Region {
    pub(super) before: Id,
    pub(super) after: Vec<Id>,
    /// The node above, before and after, where both sides have one.
    pub(super) above: Option<(Id, Id)>,
}

impl Region {
    /// The region around this one.
    pub(super) fn lifted(&self, before: &Tree, after: &Tree) -> Option<Self> {
        let (b, a) = self.above?;
        if is_scope(before, b) || !before.node(b).named {
            return None;
        }
        Some(Self { before: b, after: vec![a], above: before.parent(b).zip(after.parent(a)) })
    }

    /// What the fix has in the place of the node.
    pub(super) fn after_range(&self, after: &Tree) -> std::ops::Range<usize> {
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

/// The regions of a change, imports left out. Additions alone are none.
pub(super) fn regions(before: &Tree, after: &Tree, hunks: &[Hunk]) -> Result<Vec<Region>, LearnRefusal> {
    let mut found: Vec<Region> = Vec::new();
    let mut several = None;
    let mut added = false;
    for hunk in hunks {
        let import = |tree: &Tree, id: &Id| {
            kinds::is_import(tree.kind(*id)) || tree.above(*id).any(|above| kinds::is_import(tree.kind(above)))
        };
        let old: Vec<Id> = hunk.before.iter().copied().filter(|id| !import(before, id)).collect();
        let new: Vec<Id> = hunk.after.iter().copied().filter(|id| !import(after, id)).collect();
        let silent =
            |tree: &Tree, ids: &[Id]| ids.iter().all(|id| tree.is_comment(*id) || tree.text_of(*id).trim().is_empty());
        if (silent(before, &old) && silent(after, &new)) || import(before, &hunk.parents.0) {
            continue;
        }
        let old: Vec<Id> = old.into_iter().filter(|id| before.node(*id).named || hunk.before.len() == 1).collect();
        let scope = is_scope(before, hunk.parents.0);
        let above = Some(hunk.parents);
        let region = match old[..] {
            [] if scope => {
                added = true;
                continue;
            }
            [one] if !before.is_comment(one) && !new.is_empty() => Region { before: one, after: new, above },
            [one] if scope => Region { before: one, after: new, above },
            [..] if scope => {
                several = several.or(Some(before.lines(&before.node(old[0]).range).0));
                continue;
            }
            _ => {
                let (b, a) = hunk.parents;
                Region { before: b, after: vec![a], above: before.parent(b).zip(after.parent(a)) }
            }
        };
        found.push(region);
    }
    if let Some(line) = several {
        return Err(LearnRefusal::SeveralStatements { line });
    }
    if found.is_empty() {
        return Err(if added { LearnRefusal::OnlyAdds } else { LearnRefusal::NothingChanged });
    }
    Ok(found)
}

/// Leaves out what lies within another region.
pub(super) fn outermost(before: &Tree, regions: Vec<Region>) -> Vec<Region> {
    let mut kept: Vec<Region> = Vec::new();
    for region in regions {
        let range = before.node(region.before).range.clone();
        let within = |other: &Region| {
            let outer = &before.node(other.before).range;
            outer.start <= range.start && range.end <= outer.end
        };
        if kept.iter().any(within) {
            continue;
        }
        kept.retain(|other| {
            let inner = &before.node(other.before).range;
            !(range.start <= inner.start && inner.end <= range.end)
        });
        kept.push(region);
    }
    kept
}
