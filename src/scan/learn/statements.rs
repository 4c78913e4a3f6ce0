//! Changes of whole statements: some put in beside others, a few changed together, one moved past another.

use std::collections::HashSet;

use super::diff::Hunk;
use super::kinds;
use super::names::{Names, is_called, is_label};
use super::region::{Region, told};
use super::tree::{Id, Tree};

/// Most statements that are looked for together; a pattern may reach past its neighbours only so often.
const RUN: usize = 3;

/// Both sides, and the names of the side before.
pub(super) struct Statements<'t> {
    pub(super) before: &'t Tree,
    pub(super) after: &'t Tree,
    pub(super) names: &'t Names,
}

/// A list of statements on both sides, and what of it changed.
struct List {
    blocks: (Id, Id),
    /// Places of the changed statements among the children, before and after.
    old: Vec<usize>,
    new: Vec<usize>,
}

impl Statements<'_> {
    /// Statements that were put in, each set together with the neighbour that speaks of the same names. None unless
    /// every addition has such a neighbour.
    pub(super) fn insertions(&self, hunks: &[Hunk]) -> Option<Vec<Region>> {
        let mut regions = Vec::new();
        for hunk in hunks {
            let Some((old, new)) = told(self.before, self.after, hunk) else { continue };
            if !old.is_empty() || !self.is_inner(hunk.parents.0) {
                return None;
            }
            regions.push(self.insertion(hunk.parents, &new)?);
        }
        (!regions.is_empty()).then_some(regions)
    }

    fn insertion(&self, parents: (Id, Id), new: &[Id]) -> Option<Region> {
        let (before, after) = (*new.first()?, *new.last()?);
        let around: Vec<Id> = self.after.named_children(parents.1).filter(|id| !self.after.is_comment(*id)).collect();
        let first = around.iter().position(|id| *id == before)?;
        let last = around.iter().position(|id| *id == after)?;
        let added: HashSet<&str> = new.iter().flat_map(|id| self.variables(self.after, *id)).collect();
        let shared = |id: &Id| self.variables(self.after, *id).filter(|name| added.contains(name)).count();
        let previous = first.checked_sub(1).map(|at| around[at]);
        let next = around.get(last + 1).copied();
        // Of two that speak of it, the one that comes after: it is what the fix prepares for.
        let best = [next, previous].into_iter().flatten().filter(|id| shared(id) > 0);
        let anchor = best.max_by_key(|id| (shared(id), Some(*id) == next))?;
        let old = self.counterpart(parents, anchor)?;
        let after = match Some(anchor) == next {
            true => new.iter().copied().chain([anchor]).collect(),
            false => [anchor].into_iter().chain(new.iter().copied()).collect(),
        };
        Some(Region::new(old, after, Some(parents)))
    }

    /// The same statement before the fix.
    fn counterpart(&self, parents: (Id, Id), anchor: Id) -> Option<Id> {
        let shape = self.after.node(anchor).shape;
        let place = self
            .after
            .named_children(parents.1)
            .take_while(|id| *id != anchor)
            .filter(|id| self.after.node(*id).shape == shape)
            .count();
        self.before.named_children(parents.0).filter(|id| self.before.node(*id).shape == shape).nth(place)
    }

    /// A few statements of one list that changed together and share a name.
    pub(super) fn run(&self, hunks: &[Hunk]) -> Option<Region> {
        let list = self.list(hunks)?;
        let (old, new): (Vec<Id>, Vec<Id>) = (
            list.old.iter().map(|at| self.before.children(list.blocks.0)[*at]).collect(),
            self.after.children(list.blocks.1)[*list.new.first()?..=*list.new.last()?].to_vec(),
        );
        let old: Vec<Id> = old.into_iter().filter(|id| self.before.node(*id).named).collect();
        if !(2..=RUN).contains(&old.len()) || old.iter().any(|id| self.before.is_comment(*id)) {
            return None;
        }
        let names = |id: Id| self.variables(self.before, id).collect::<HashSet<_>>();
        if old.windows(2).any(|pair| names(pair[0]).is_disjoint(&names(pair[1]))) {
            return None;
        }
        let mut region = Region::new(old[0], new, Some(list.blocks));
        region.run = old[1..].to_vec();
        Some(region)
    }

    /// The one statement in which everything changed.
    pub(super) fn around(&self, hunks: &[Hunk]) -> Option<Region> {
        let list = self.list(hunks)?;
        let ([old], [new]) = (&list.old[..], &list.new[..]) else { return None };
        let (old, new) = (self.before.children(list.blocks.0)[*old], self.after.children(list.blocks.1)[*new]);
        Some(Region::new(old, vec![new], Some(list.blocks)))
    }

    /// One statement that was moved to the front of another one.
    pub(super) fn moved(&self, hunks: &[Hunk]) -> Option<Region> {
        let changes: Vec<_> = hunks
            .iter()
            .filter_map(|hunk| told(self.before, self.after, hunk).map(|(old, new)| (old, new, hunk.parents)))
            .collect();
        let [(one_old, one_new, parents), (other_old, other_new, others)] = &changes[..] else { return None };
        let (gone, come) = match (&one_old[..], &one_new[..], &other_old[..], &other_new[..]) {
            ([gone], [], [], [come]) | ([], [come], [gone], []) => (*gone, *come),
            _ => return None,
        };
        let same = parents == others && self.is_inner(parents.0);
        if !same || self.before.node(gone).shape != self.after.node(come).shape {
            return None;
        }
        let old: Vec<Id> = self.before.named_children(parents.0).collect();
        let new: Vec<Id> = self.after.named_children(parents.1).collect();
        let from = old.iter().position(|id| *id == gone)?;
        let to = new.iter().position(|id| *id == come)?;
        // Past which one it went: of several, the farthest, which it was put in front of or behind.
        let (first, last) = if to < from { (old[to], old[from]) } else { (old[from], old[to]) };
        let (start, end) = if to < from { (to, from) } else { (from, to) };
        let mut region = Region::new(first, new[start..=end].to_vec(), Some(*parents));
        region.run = vec![last];
        region.leaves = self.jump_in(first).is_some() && self.jump_in(last).is_none();
        Some(region)
    }

    /// The first node within that leaves the function or the loop.
    pub(super) fn jump_in(&self, id: Id) -> Option<Id> {
        self.before.below(id).find(|part| kinds::is_jump(self.before.kind(*part)))
    }

    /// Whether a node is a list of statements within a function.
    fn is_inner(&self, id: Id) -> bool {
        kinds::is_block(self.before.kind(id))
            && self
                .before
                .above(id)
                .find(|above| !kinds::is_block(self.before.kind(*above)))
                .is_some_and(|owner| !kinds::is_type_body(self.before.kind(owner)))
    }

    /// The innermost list of statements that holds the whole change.
    fn list(&self, hunks: &[Hunk]) -> Option<List> {
        let told: Vec<(&Hunk, Vec<Id>, Vec<Id>)> = hunks
            .iter()
            .filter_map(|hunk| told(self.before, self.after, hunk).map(|(old, new)| (hunk, old, new)))
            .collect();
        // Both sides were descended together, so that their nodes above match one by one.
        let ways: Vec<Vec<(Id, Id)>> = told
            .iter()
            .map(|(hunk, ..)| {
                let (b, a) = hunk.parents;
                std::iter::once((b, a)).chain(self.before.above(b).zip(self.after.above(a))).collect()
            })
            .collect();
        let (first, rest) = ways.split_first()?;
        let blocks = first.iter().copied().find(|pair| {
            self.is_inner(pair.0)
                && kinds::is_block(self.after.kind(pair.1))
                && rest.iter().all(|way| way.contains(pair))
        })?;
        let mut list = List { blocks, old: Vec::new(), new: Vec::new() };
        for ((hunk, old, new), way) in told.iter().zip(&ways) {
            if hunk.parents == blocks {
                list.old.extend(old.iter().filter_map(|id| position(self.before, blocks.0, *id)));
                list.new.extend(new.iter().filter_map(|id| position(self.after, blocks.1, *id)));
            } else {
                let depth = way.iter().position(|pair| *pair == blocks)?;
                let (b, a) = way[depth - 1];
                list.old.extend(position(self.before, blocks.0, b));
                list.new.extend(position(self.after, blocks.1, a));
            }
        }
        for places in [&mut list.old, &mut list.new] {
            places.sort_unstable();
            places.dedup();
        }
        Some(list)
    }

    fn variables<'n>(&'n self, tree: &'n Tree, id: Id) -> impl Iterator<Item = &'n str> {
        tree.below(id)
            .filter(|part| kinds::is_identifier(tree.kind(*part)) && !is_label(tree, *part))
            .filter(|part| !self.names.is_kept(tree.text_of(*part), is_called(tree, *part)))
            .map(|part| tree.text_of(part))
            .filter(|name| !matches!(*name, "self" | "cls" | "this" | "_" | "err"))
    }
}

fn position(tree: &Tree, list: Id, id: Id) -> Option<usize> {
    tree.children(list).iter().position(|child| *child == id)
}
