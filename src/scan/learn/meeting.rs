//! What a changed comparison decides: the place further on where the compared things meet again.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Sides;
use super::holes::Holes;
use super::kinds;
use super::names::{is_called, is_label};
use super::pattern::pattern;
use super::region::Region;
use super::rule::in_function;
use super::tree::{Id, Tree};

/// An expression after a comparison that uses what is compared.
pub(super) struct Meeting {
    node: Id,
    /// Names that must stay apart in the pattern of the comparison, so that the two can be held together.
    pub(super) names: BTreeSet<String>,
}

impl Sides<'_> {
    fn variables<'t>(&'t self, tree: &'t Tree, id: Id) -> impl Iterator<Item = (Id, &'t str)> {
        tree.below(id)
            .filter(|part| kinds::is_identifier(tree.kind(*part)) && !is_label(tree, *part))
            .map(|part| (part, tree.text_of(part)))
            .filter(|(part, name)| self.names.is_local(name) && !self.names.is_kept(name, is_called(tree, *part)))
    }

    /// Where the sides of a changed comparison, or what the fix compares besides, are used together. A bound that is
    /// one too far is a mistake only where something is looked up with it.
    pub(super) fn meeting(&self, region: &Region) -> Option<Meeting> {
        let compares = |id: &Id| kinds::is_comparison(self.before.kind(*id));
        let comparison = std::iter::once(region.origin).chain(self.before.parent(region.origin)).find(compares)?;
        let compared: BTreeSet<&str> = self.variables(self.before, comparison).map(|(_, name)| name).collect();
        let known: BTreeSet<&str> = region.old_nodes(self.before).map(|id| self.before.text_of(id)).collect();
        let brought = region.after.iter().flat_map(|id| self.variables(self.after, *id)).map(|(_, name)| name);
        let brought: BTreeSet<&str> = brought.filter(|name| !known.contains(name)).collect();
        let function = self.before.above(comparison).find(|id| kinds::is_function(self.before.kind(*id)))?;
        let end = self.before.node(comparison).range.end;
        let meets = |id: &Id| {
            let names: BTreeSet<&str> = self.variables(self.before, *id).map(|(_, name)| name).collect();
            let of_both = names.iter().filter(|name| compared.contains(*name) || brought.contains(*name)).count();
            of_both >= 2 && names.iter().any(|name| compared.contains(name))
        };
        let node = self
            .before
            .below(function)
            .filter(|id| self.before.node(*id).range.start >= end && kinds::is_value(self.before.kind(*id)))
            .filter(meets)
            .min_by_key(|id| self.before.node(*id).range.len())?;
        let names = compared.into_iter().map(str::to_owned).collect();
        Some(Meeting { node, names })
    }

    /// The rule that the place is there.
    pub(super) fn met(&self, meeting: &Meeting, holes: &Holes) -> Option<Value> {
        let mut replaced = Vec::new();
        let mut others: Vec<&str> = Vec::new();
        for (id, name) in self.variables(self.before, meeting.node) {
            let hole = holes.by_shape.get(&self.before.node(id).shape).cloned().unwrap_or_else(|| {
                let at = others.iter().position(|other| *other == name).unwrap_or_else(|| {
                    others.push(name);
                    others.len() - 1
                });
                format!("$MET{at}")
            });
            replaced.push((self.before.node(id).range.clone(), hole));
        }
        replaced.sort_by_key(|(range, _)| range.start);
        let text = self.before.dedented(&self.before.node(meeting.node).range, &replaced);
        let pattern = pattern(self.language, self.before.kind(meeting.node), &text, "cst")?;
        Some(in_function(self.language, &json!({ "stopBy": "end", "pattern": pattern })))
    }
}
