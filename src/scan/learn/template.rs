//! The text that takes the place of a match, and what it relies on.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::domain::detect::LanguageName;

use super::holes::{Holes, callee_shape};
use super::kinds;
use super::names::{Names, is_binding, is_called, is_label};
use super::region::Region;
use super::tree::{Id, Tree};

/// What replaces a match.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Template {
    pub(super) text: String,
    /// Lines that import what it uses.
    pub(super) imports: Vec<String>,
    /// Variables that it makes.
    pub(super) fresh: Vec<String>,
    /// Names that the file itself must bind.
    pub(super) needs: Vec<String>,
}

/// Writes the template of a region.
///
/// # Errors
/// Why there is none, in words.
pub(super) fn template(
    language: LanguageName,
    (before, after): (&Tree, &Tree),
    before_names: &Names,
    names: &Names,
    region: &Region,
    holes: &Holes,
) -> Result<Template, String> {
    if region.after.is_empty() {
        return Err("it takes something away and puts nothing in its place".to_owned());
    }
    if let Some(lost) = holes.lost.first() {
        return Err(format!("it drops `{}`, which may be anything elsewhere", first_line(lost)));
    }
    if !region.run.is_empty() {
        return Err("several statements change together, and a match is only the first of them".to_owned());
    }
    // What the pattern names is there already.
    let named = before.below(region.before).map(|id| before.text_of(id)).collect();
    let mut walk = Walk { after, holes, named, replaced: Vec::new(), left: Vec::new() };
    region.after.iter().for_each(|id| walk.visit(*id));
    walk.replaced.sort_by_key(|(range, _)| range.start);
    let mut template = Template::default();
    let mut imports = BTreeSet::new();
    let bound: BTreeSet<&str> =
        walk.left.iter().filter(|id| is_binding(after, **id)).map(|id| after.text_of(*id)).collect();
    for id in &walk.left {
        let name = after.text_of(*id);
        if bound.contains(name) {
            if !template.fresh.iter().any(|fresh| fresh == name) {
                template.fresh.push(name.to_owned());
            }
        } else if let Some(line) = names.import(name) {
            if line.starts_with("from .") || line.starts_with("use crate") || line.starts_with("use super") {
                return Err(format!("it uses `{name}`, which only this project has"));
            }
            if !walk.named.contains(name) {
                imports.insert(line.to_owned());
            }
        } else if kinds::is_builtin(language, name) && !names.is_local(name) {
        } else if names.is_top(name) && before_names.is_top(name) {
            if !template.needs.iter().any(|need| need == name) {
                template.needs.push(name.to_owned());
            }
        } else if is_called(after, *id)
            && !names.is_local(name)
            && !names.is_top(name)
            && language == LanguageName::Bash
        {
        } else {
            return Err(format!("it uses `{name}`, which is bound outside of the replaced text"));
        }
    }
    template.imports = imports.into_iter().collect();
    template.text = after.dedented(&region.after_range(after), &walk.replaced);
    Ok(template)
}

pub(super) fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(60).collect()
}

struct Walk<'t> {
    after: &'t Tree,
    holes: &'t Holes,
    named: BTreeSet<&'t str>,
    replaced: Vec<(Range<usize>, String)>,
    /// Identifiers that stay as they are.
    left: Vec<Id>,
}

impl Walk<'_> {
    fn visit(&mut self, id: Id) {
        let node = self.after.node(id);
        let label = kinds::is_identifier(&node.kind) && is_label(self.after, id);
        if let Some(name) = self.holes.by_shape.get(&node.shape).filter(|_| !label && !self.is_callee(id)) {
            self.replaced.push((node.range.clone(), name.clone()));
            return;
        }
        if kinds::is_identifier(&node.kind) || (*node.kind == *"type_identifier" && !label) {
            // Of a path only the first part is looked up.
            let head = self.after.parent(id).is_none_or(|parent| {
                !self.after.kind(parent).starts_with("scoped_") || self.after.children(parent).first() == Some(&id)
            });
            let path = self.after.parent(id).is_some_and(|parent| self.after.kind(parent).starts_with("scoped_"));
            if (path && head) || (!path && !label) {
                self.left.push(id);
            }
            return;
        }
        if kinds::is_arguments(&node.kind) && self.rest(id) {
            return;
        }
        if kinds::is_block(&node.kind) && self.bodies(id) {
            return;
        }
        for child in self.after.children(id).to_vec() {
            self.visit(child);
        }
    }

    /// A called name stays unless it was made a hole where it was called before.
    fn is_callee(&self, id: Id) -> bool {
        kinds::is_chain(self.after.kind(id)) && kinds::is_callee_field(self.after.node(id).field())
    }

    fn rest(&mut self, id: Id) -> bool {
        let Some(callee) = callee_shape(self.after, id) else { return false };
        let all: Vec<Id> = self.after.named_children(id).collect();
        let fits = self.holes.rests.iter().filter(|rest| rest.callee == callee).find_map(|rest| {
            let fits = |from: &usize| {
                let part = &all[*from..*from + rest.shapes.len()];
                part.iter().map(|id| self.after.node(*id).shape).eq(rest.shapes.iter().copied())
            };
            let last = all.len().checked_sub(rest.shapes.len())?;
            Some((rest, (0..=last).rev().find(fits)?))
        });
        let Some((rest, from)) = fits else { return false };
        let to = from + rest.shapes.len();
        let range = self.after.node(all[from]).range.start..self.after.node(all[to - 1]).range.end;
        self.replaced.push((range, rest.name.clone()));
        all[..from].iter().chain(&all[to..]).for_each(|argument| self.visit(*argument));
        true
    }

    fn bodies(&mut self, id: Id) -> bool {
        if self.holes.bodies.is_empty() {
            return false;
        }
        let children: Vec<Id> = self.after.named_children(id).collect();
        let mut at = 0;
        while at < children.len() {
            let shape_at = |offset: usize| children.get(at + offset).map(|id| self.after.node(*id).shape);
            let fits =
                self.holes.bodies.iter().find(|(shapes, _)| {
                    shapes.iter().enumerate().all(|(offset, shape)| shape_at(offset) == Some(*shape))
                });
            if let Some((shapes, name)) = fits {
                let last = children[at + shapes.len() - 1];
                let range = self.after.node(children[at]).range.start..self.after.node(last).range.end;
                self.replaced.push((range, name.clone()));
                at += shapes.len();
            } else {
                self.visit(children[at]);
                at += 1;
            }
        }
        true
    }
}
