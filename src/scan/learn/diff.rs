//! Which nodes of one tree became which nodes of the other.

use super::kinds;
use super::tree::{Id, Tree};

/// Most pairs of siblings that are compared one by one.
const PAIRS: usize = 1_000_000;

/// Neighbours that were replaced by other neighbours; one side may be empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Hunk {
    /// The node above, before and after.
    pub(super) parents: (Id, Id),
    /// What went.
    pub(super) before: Vec<Id>,
    /// What came.
    pub(super) after: Vec<Id>,
}

/// The smallest hunks, in the order of the text.
pub(super) fn hunks(before: &Tree, after: &Tree) -> Vec<Hunk> {
    let mut found = Vec::new();
    let mut open = vec![(0, 0)];
    while let Some((b, a)) = open.pop() {
        if before.node(b).shape == after.node(a).shape {
            continue;
        }
        for (old, new) in gaps(before, after, before.children(b), after.children(a)) {
            if let Some(split) = by_definition(before, after, &old, &new) {
                let (pairs, rest) = split;
                open.extend(pairs);
                found.extend(rest.into_iter().map(|(old, new)| Hunk { parents: (b, a), before: old, after: new }));
                continue;
            }
            let alike = old.len() == new.len()
                && old.iter().zip(&new).all(|(one, other)| {
                    before.node(*one).shape == after.node(*other).shape
                        || (before.kind(*one) == after.kind(*other)
                            && !before.is_leaf(*one)
                            && !after.is_leaf(*other)
                            && !kinds::is_string(before.kind(*one)))
                });
            if alike {
                open.extend(old.into_iter().zip(new));
            } else {
                found.push(Hunk { parents: (b, a), before: old, after: new });
            }
        }
    }
    let start = |hunk: &Hunk| {
        hunk.before.first().map_or(before.node(hunk.parents.0).range.start, |first| before.node(*first).range.start)
    };
    found.sort_by_key(start);
    found
}

/// Nodes that are the same thing on both sides.
type Pairs = Vec<(Id, Id)>;
/// Neighbours, before and after.
type Gap = (Vec<Id>, Vec<Id>);

/// Definitions of the same name stay the same thing, whatever changed in them. Returns their pairs and what is left
/// between them; `None` when there is no such pair.
fn by_definition(before: &Tree, after: &Tree, old: &[Id], new: &[Id]) -> Option<(Pairs, Vec<Gap>)> {
    let (mut pairs, mut rest) = (Vec::new(), Vec::new());
    let (mut from_old, mut from_new) = (0, 0);
    for (at, one) in old.iter().enumerate() {
        let Some(name) = definition(before, *one) else { continue };
        let same = |other: &Id| before.kind(*one) == after.kind(*other) && definition(after, *other) == Some(name);
        let Some(to) = new[from_new..].iter().position(same).map(|offset| from_new + offset) else { continue };
        pairs.push((*one, new[to]));
        rest.push((old[from_old..at].to_vec(), new[from_new..to].to_vec()));
        (from_old, from_new) = (at + 1, to + 1);
    }
    rest.push((old[from_old..].to_vec(), new[from_new..].to_vec()));
    rest.retain(|(old, new)| !(old.is_empty() && new.is_empty()));
    (!pairs.is_empty()).then_some((pairs, rest))
}

/// What a definition defines.
fn definition(tree: &Tree, id: Id) -> Option<&str> {
    let kind = tree.kind(id);
    if kind == "impl_item" {
        return tree.text_of(id).split('{').next();
    }
    if kinds::is_function(kind) || kinds::is_type_body(kind) {
        return tree.child(id, "name").map(|name| tree.text_of(name));
    }
    let inner = matches!(kind, "decorated_definition" | "export_statement");
    tree.named_children(id).filter(|_| inner).find_map(|child| definition(tree, child))
}

/// What is left of two lists of siblings without those that both have, in order.
fn gaps(before: &Tree, after: &Tree, old: &[Id], new: &[Id]) -> Vec<Gap> {
    let same = |one: Id, other: Id| before.node(one).shape == after.node(other).shape;
    let head = old.iter().zip(new).take_while(|(one, other)| same(**one, **other)).count();
    let (old, new) = (&old[head..], &new[head..]);
    let tail = old.iter().rev().zip(new.iter().rev()).take_while(|(one, other)| same(**one, **other)).count();
    let (old, new) = (&old[..old.len() - tail], &new[..new.len() - tail]);
    if old.is_empty() && new.is_empty() {
        return Vec::new();
    }
    if old.is_empty() || new.is_empty() || old.len() * new.len() > PAIRS {
        return vec![(old.to_vec(), new.to_vec())];
    }
    // Longest common subsequence; only what carries meaning may anchor it, a comma is everywhere.
    let anchors = |one: Id, other: Id| same(one, other) && before.node(one).named;
    let width = new.len() + 1;
    let mut best = vec![0_u32; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            best[i * width + j] = if anchors(old[i], new[j]) {
                best[(i + 1) * width + j + 1] + 1
            } else {
                best[(i + 1) * width + j].max(best[i * width + j + 1])
            };
        }
    }
    let mut gaps = Vec::new();
    let (mut i, mut j) = (0, 0);
    let mut gap = Gap::default();
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && anchors(old[i], new[j]) {
            gaps.push(std::mem::take(&mut gap));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && best[(i + 1) * width + j] >= best[i * width + j + 1]) {
            gap.0.push(old[i]);
            i += 1;
        } else {
            gap.1.push(new[j]);
            j += 1;
        }
    }
    gaps.push(gap);
    gaps.retain(|(old, new)| !(old.is_empty() && new.is_empty()));
    gaps
}
