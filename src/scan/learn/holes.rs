//! Which parts of the replaced text may be anything, and which are what the mistake is made of.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;

use serde_json::{Value, json};

use super::kinds;
use super::names::{Names, is_called, is_label};
use super::region::Region;
use super::tree::{Id, Tree};

/// How much of the example is taken for chance.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Level {
    /// Only names.
    Exact,
    /// Also values, and arguments that the fix does not touch.
    Shaped,
    /// Also calls and statements that the fix does not touch, and what it drops.
    Loose,
}

/// Arguments at the end of a call that the fix does not touch.
pub(super) struct Rest {
    pub(super) callee: u64,
    pub(super) shapes: Vec<u64>,
    pub(super) name: String,
}

/// A call that must have a literal among the arguments that a [`Rest`] stands for.
pub(super) struct Demand {
    pub(super) call: Id,
    pub(super) arguments: String,
}

/// The replaced text with holes.
#[derive(Default)]
pub(super) struct Holes {
    /// Ranges of the text before, in order, and what stands for each.
    pub(super) before: Vec<(Range<usize>, String)>,
    pub(super) by_shape: HashMap<u64, String>,
    pub(super) constraints: BTreeMap<String, Value>,
    pub(super) rests: Vec<Rest>,
    /// Statements that the fix does not touch.
    pub(super) bodies: Vec<(Vec<u64>, String)>,
    pub(super) demands: Vec<Demand>,
    /// Variable parts that the fix drops.
    pub(super) lost: Vec<String>,
    /// Strings that the fix drops and that the pattern names.
    pub(super) literals: Vec<Range<usize>>,
    /// The replaced text has comments, which no pattern can name.
    pub(super) comments: bool,
    /// A statement whose body may be anything that leaves by a node of this kind.
    pub(super) way_out: Option<(Id, String)>,
    count: usize,
    rest_count: usize,
}

/// Finds the holes of a region.
///
/// `apart` are names that must have a hole of their own.
pub(super) fn find(
    before: &Tree,
    after: &Tree,
    names: &Names,
    region: &Region,
    level: Level,
    apart: &BTreeSet<String>,
) -> Holes {
    let nodes = || region.after.iter().flat_map(|id| after.below(*id));
    let shapes = nodes().map(|id| after.node(id).shape).collect();
    let identifiers = nodes()
        .filter(|id| kinds::is_identifier(after.kind(*id)) && !is_label(after, *id))
        .map(|id| after.text_of(id))
        .collect();
    let whole = before.node(region.before).shape;
    let wrapped =
        region.run.is_empty() && nodes().any(|id| !region.after.contains(&id) && after.node(id).shape == whole);
    let mut walk =
        Walk { before, after, names, region, level, apart, wrapped, shapes, identifiers, holes: Holes::default() };
    for statement in region.statements() {
        if !(region.leaves && level == Level::Loose && statement == region.before && walk.left_open(statement)) {
            walk.visit(statement);
        }
    }
    let mut holes = walk.holes;
    holes.before.sort_by_key(|(range, _)| range.start);
    holes
}

struct Walk<'t> {
    before: &'t Tree,
    after: &'t Tree,
    names: &'t Names,
    region: &'t Region,
    level: Level,
    apart: &'t BTreeSet<String>,
    /// The replaced text stands in the new one as it was.
    wrapped: bool,
    shapes: HashSet<u64>,
    identifiers: HashSet<&'t str>,
    holes: Holes,
}

impl Walk<'_> {
    fn visit(&mut self, id: Id) {
        let kind = self.before.kind(id);
        if self.before.is_comment(id) {
            self.holes.comments = true;
        } else if kinds::is_call(kind) {
            self.call(id);
        } else if kinds::is_value(kind) {
            self.value(id);
        } else if kinds::is_arguments(kind) && self.level > Level::Exact {
            self.arguments(id);
        } else if kinds::is_block(kind) && self.level == Level::Loose {
            self.block(id);
        } else if kind == "type_identifier" && self.level > Level::Exact && self.is_part_of_type(id) && self.stays(id) {
            self.hole(id, Some(r"^[A-Za-z_][A-Za-z0-9_.]*$".to_owned()));
        } else {
            self.inside(id);
        }
    }

    fn is_part_of_type(&self, id: Id) -> bool {
        self.before.parent(id).is_some_and(|parent| kinds::is_type_of_parts(self.before.kind(parent)))
    }

    /// Leaves the body of a statement open but for its way out. False where it has not one body.
    fn left_open(&mut self, id: Id) -> bool {
        let out = self.before.below(id).find(|part| kinds::is_jump(self.before.kind(*part)));
        let bodies: Vec<Id> =
            self.before.named_children(id).filter(|child| kinds::is_block(self.before.kind(*child))).collect();
        let (Some(out), [body]) = (out, &bodies[..]) else { return false };
        let inner: Vec<Id> = self.before.named_children(*body).collect();
        let (Some(first), Some(last)) = (inner.first(), inner.last()) else { return false };
        let range = self.before.node(*first).range.start..self.before.node(*last).range.end;
        for child in self.before.children(id).to_vec().into_iter().filter(|child| child != body) {
            self.visit(child);
        }
        self.holes.before.push((range, "$$$BODY".to_owned()));
        self.holes.way_out = Some((id, self.before.kind(out).to_owned()));
        true
    }

    fn inside(&mut self, id: Id) {
        for child in self.before.children(id).to_vec() {
            self.visit(child);
        }
    }

    fn stays(&self, id: Id) -> bool {
        self.shapes.contains(&self.before.node(id).shape)
    }

    fn fill(&mut self, id: Id, name: String) {
        self.holes.before.push((self.before.node(id).range.clone(), name));
    }

    fn variable(&mut self) -> String {
        let letter = char::from(b'A' + u8::try_from(self.holes.count % 26).unwrap_or(0));
        let round = self.holes.count / 26;
        self.holes.count += 1;
        if round == 0 { letter.to_string() } else { format!("{letter}{round}") }
    }

    /// Makes a hole; the same text has the same one everywhere.
    fn hole(&mut self, id: Id, constraint: Option<String>) {
        let shape = self.before.node(id).shape;
        let name = match self.holes.by_shape.get(&shape) {
            Some(name) => name.clone(),
            None => {
                let name = self.variable();
                self.holes.by_shape.insert(shape, format!("${name}"));
                if let Some(regex) = constraint {
                    self.holes.constraints.insert(name.clone(), json!({ "regex": regex }));
                }
                if !self.stays(id) {
                    self.holes.lost.push(self.before.text_of(id).to_owned());
                }
                format!("${name}")
            }
        };
        self.fill(id, name);
    }

    fn call(&mut self, id: Id) {
        let argument = self.before.parent(id).is_some_and(|parent| kinds::is_arguments(self.before.kind(parent)));
        // Of a few statements together it is what they do with a value that counts, not where it comes from.
        let value = !self.region.run.is_empty() && matches!(self.before.node(id).field(), Some("right" | "value"));
        if self.level == Level::Loose && (argument || value) && self.stays(id) {
            return self.hole(id, None);
        }
        self.inside(id);
    }

    fn value(&mut self, id: Id) {
        let kind = self.before.kind(id);
        let text = self.before.text_of(id);
        if kinds::is_constant(kind) {
        } else if kinds::is_string(kind) {
            self.string(id);
        } else if kinds::is_number(kind) {
            match (self.stays(id), self.level) {
                (true, Level::Exact) => self.hole(id, Some(format!("^{}$", regex_syntax::escape(text)))),
                (true, _) => self.hole(id, None),
                (false, Level::Loose) => self.hole(id, Some(r"^[0-9][0-9._]*$".to_owned())),
                (false, _) => {}
            }
        } else if kinds::is_identifier(kind) {
            if !is_label(self.before, id) && !self.names.is_kept(text, is_called(self.before, id)) {
                self.hole(id, None);
            }
        } else if kinds::is_chain(kind) {
            self.chain(id);
        } else {
            let calls = self.before.below(id).any(|id| kinds::is_call(self.before.kind(id)));
            if self.level > Level::Exact && self.stays(id) && (!calls || self.level == Level::Loose) {
                self.hole(id, None);
            } else {
                self.inside(id);
            }
        }
    }

    fn chain(&mut self, id: Id) {
        let mut head = id;
        while let Some(first) = self.before.children(head).first() {
            head = *first;
        }
        let called = self.before.parent(id).is_some_and(|parent| kinds::is_call(self.before.kind(parent)))
            && kinds::is_callee_field(self.before.node(id).field());
        let global =
            kinds::is_identifier(self.before.kind(head)) && self.names.is_kept(self.before.text_of(head), false);
        let calls = self.before.below(id).any(|id| kinds::is_call(self.before.kind(id)));
        let used = || {
            self.before.below(id).any(|part| {
                kinds::is_identifier(self.before.kind(part))
                    && !is_label(self.before, part)
                    && self.identifiers.contains(self.before.text_of(part))
            })
        };
        // Where the fix only puts something around a call, nothing else tells which calls are meant.
        let callee =
            self.wrapped && self.before.parent(id).is_some_and(|above| kinds::is_chain(self.before.kind(above)));
        if called || global || calls || callee {
            self.inside(id);
        } else if self.stays(id) || !used() {
            self.hole(id, None);
        } else {
            self.inside(id);
        }
    }

    fn string(&mut self, id: Id) {
        let text = self.before.text_of(id);
        let inner = text.trim_start_matches(|c: char| c.is_ascii_alphabetic()).trim_matches(['"', '\'', '`']);
        let option = is_option(inner) && self.is_argument(id);
        let either = || format!("^[a-zA-Z]*['\"`]{}['\"`]$", regex_syntax::escape(inner));
        let computed = self
            .before
            .below(id)
            .any(|part| matches!(self.before.kind(part), "interpolation" | "template_substitution"));
        match (self.stays(id), self.level) {
            (true, _) if option => self.hole(id, Some(either())),
            (true, Level::Exact) if text.len() <= 60 && !computed => self.hole(id, Some(either())),
            (true, _) => self.hole(id, None),
            (false, _) if computed => self.inside(id),
            (false, Level::Loose) => self.hole(id, option.then(either)),
            (false, _) => self.holes.literals.push(self.before.node(id).range.clone()),
        }
    }

    fn is_argument(&self, id: Id) -> bool {
        self.before.parent(id).is_some_and(|parent| kinds::is_arguments(self.before.kind(parent)))
    }

    fn arguments(&mut self, id: Id) {
        let all: Vec<Id> = self.before.named_children(id).collect();
        let comments = all.iter().any(|child| self.before.is_comment(*child));
        let apart = all
            .iter()
            .flat_map(|argument| self.before.below(*argument))
            .any(|part| kinds::is_identifier(self.before.kind(part)) && self.apart.contains(self.before.text_of(part)));
        let tail = self.only_named_added(id, &all).or_else(|| self.untouched_tail(id, &all));
        let Some((tail, callee)) = tail.filter(|(tail, _)| *tail > 0 && !comments && !apart) else {
            return self.inside(id);
        };
        let kept = all.len() - tail;
        all[..kept].iter().for_each(|argument| self.visit(*argument));
        self.holes.rest_count += 1;
        let name = match self.holes.rest_count {
            1 => "$$$REST".to_owned(),
            more => format!("$$$REST{more}"),
        };
        self.demand(id, &all, kept);
        let (first, last) = (self.before.node(all[kept]).range.start, self.before.node(all[all.len() - 1]).range.end);
        self.holes.before.push((first..last, name.clone()));
        let shapes = all[kept..].iter().map(|argument| self.before.node(*argument).shape).collect();
        self.holes.rests.push(Rest { callee, shapes, name });
    }

    /// All arguments, where the fix is the same call with more of them by name.
    fn only_named_added(&self, id: Id, all: &[Id]) -> Option<(usize, u64)> {
        let callee = callee_shape(self.before, id)?;
        let [call] = self.region.after[..] else { return None };
        let list =
            self.after.children(call).iter().copied().find(|child| kinds::is_arguments(self.after.kind(*child)))?;
        if callee_shape(self.after, list) != Some(callee) {
            return None;
        }
        let others: Vec<Id> = self.after.named_children(list).collect();
        let same = |(one, other): (&Id, &Id)| self.before.node(*one).shape == self.after.node(*other).shape;
        let named = others.len() > all.len()
            && others[all.len()..].iter().all(|argument| self.after.kind(*argument) == "keyword_argument");
        (named && all.iter().zip(&others).all(same)).then_some((all.len(), callee))
    }

    /// How many arguments at the end the fix passes on as they are, and needs nowhere else.
    ///
    /// Returns also what is called with them after the fix.
    fn untouched_tail(&self, id: Id, all: &[Id]) -> Option<(usize, u64)> {
        let callee = callee_shape(self.before, id)?;
        let lists: Vec<Id> = self
            .region
            .after
            .iter()
            .flat_map(|top| self.after.below(*top))
            .filter(|other| kinds::is_arguments(self.after.kind(*other)))
            .collect();
        let last = |other: &Id| {
            let last = self.after.named_children(*other).last().map(|last| self.after.node(last).shape);
            last.is_some() && last == all.last().map(|last| self.before.node(*last).shape)
        };
        // The same call, or another one that takes over its arguments.
        let other = lists
            .iter()
            .find(|other| callee_shape(self.after, **other) == Some(callee))
            .or_else(|| lists.iter().find(|other| last(other)))
            .copied()?;
        let new_callee = callee_shape(self.after, other)?;
        let others: Vec<Id> = self.after.named_children(other).collect();
        let same = |(one, other): &(&Id, &Id)| self.before.node(**one).shape == self.after.node(**other).shape;
        let tail = all.iter().rev().zip(others.iter().rev()).take_while(same).count();
        let list = self.before.node(id).range.clone();
        let other_list = self.after.node(other).range.clone();
        let free = |argument: &Id| {
            self.before.below(*argument).filter(|part| kinds::is_identifier(self.before.kind(*part))).all(|part| {
                let name = self.before.text_of(part);
                let bound_elsewhere = self.region.old_nodes(self.before).any(|id| {
                    let range = &self.before.node(id).range;
                    self.before.is_leaf(id)
                        && self.before.text_of(id) == name
                        && (range.end <= list.start || range.start >= list.end)
                });
                let used_elsewhere = self.region.after.iter().flat_map(|top| self.after.below(*top)).any(|id| {
                    let range = &self.after.node(id).range;
                    self.after.is_leaf(id)
                        && self.after.text_of(id) == name
                        && (range.end <= other_list.start || range.start >= other_list.end)
                });
                bound_elsewhere || !used_elsewhere
            })
        };
        Some((all.iter().rev().take(tail).take_while(|argument| free(argument)).count(), new_callee))
    }

    /// An option such as a mode stays demanded when the rest of the list is left open.
    fn demand(&mut self, id: Id, all: &[Id], kept: usize) {
        let is_mode = |argument: &Id| {
            let text = self.before.text_of(*argument);
            let inner = text.trim_start_matches(|c: char| c.is_ascii_alphabetic()).trim_matches(['"', '\'', '`']);
            kinds::is_string(self.before.kind(*argument)) && is_option(inner)
        };
        let Some(mode) = all[kept..].iter().position(is_mode) else { return };
        let mut arguments = vec!["$_".to_owned(); kept + mode];
        let text = self.before.text_of(all[kept + mode]);
        let inner = text.trim_start_matches(|c: char| c.is_ascii_alphabetic()).trim_matches(['"', '\'', '`']);
        let name = self.variable();
        let regex = format!("^[a-zA-Z]*['\"`]{}['\"`]$", regex_syntax::escape(inner));
        self.holes.constraints.insert(name.clone(), json!({ "regex": regex }));
        arguments.push(format!("${name}"));
        arguments.push("$$$".to_owned());
        if let Some(call) = self.before.parent(id) {
            self.holes.demands.push(Demand { call, arguments: arguments.join(", ") });
        }
    }

    fn block(&mut self, id: Id) {
        let children = self.before.children(id).to_vec();
        // What the replaced statement itself consists of is what it is about.
        if self.before.parent(id).is_some_and(|above| self.region.statements().any(|one| one == above))
            && self.before.named_children(id).all(|child| self.stays(child))
        {
            return self.inside(id);
        }
        let mut run: Vec<Id> = Vec::new();
        for child in children {
            let whole = self.before.node(child).named && !self.before.is_comment(child) && self.stays(child);
            if whole {
                run.push(child);
                continue;
            }
            if self.before.node(child).named {
                self.body(&mut run);
            }
            self.visit(child);
        }
        self.body(&mut run);
    }

    fn body(&mut self, run: &mut Vec<Id>) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { return };
        let range = self.before.node(*first).range.start..self.before.node(*last).range.end;
        let shapes = run.iter().map(|id| self.before.node(*id).shape).collect();
        let name = match self.holes.bodies.len() {
            0 => "$$$BODY".to_owned(),
            more => format!("$$$BODY{}", more + 1),
        };
        self.holes.before.push((range, name.clone()));
        self.holes.bodies.push((shapes, name));
        run.clear();
    }
}

/// A short word that steers a call, such as a mode.
pub(super) fn is_option(inner: &str) -> bool {
    (1..=5).contains(&inner.len()) && inner.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-'))
}

/// What the call of an argument list calls.
pub(super) fn callee_shape(tree: &Tree, arguments: Id) -> Option<u64> {
    let call = tree.parent(arguments).filter(|call| kinds::is_call(tree.kind(*call)))?;
    let callee = tree.children(call).iter().find(|child| kinds::is_callee_field(tree.node(**child).field()))?;
    Some(tree.node(*callee).shape)
}
