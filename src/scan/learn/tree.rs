//! A syntax tree as plain data, so that two of them can be compared node by node.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::ops::Range;

use crate::domain::detect::LanguageName;

use super::super::error::FileRefusal;
use super::super::parse::parse;

/// A node's place in its tree.
pub(super) type Id = usize;

/// One node.
pub(super) struct Node {
    pub(super) kind: Box<str>,
    field: Option<Box<str>>,
    pub(super) named: bool,
    pub(super) range: Range<usize>,
    pub(super) parent: Option<Id>,
    pub(super) children: Vec<Id>,
    /// The same for nodes of the same kind with the same tokens, wherever they stand.
    pub(super) shape: u64,
}

impl Node {
    pub(super) fn field(&self) -> Option<&str> {
        self.field.as_deref()
    }
}

/// A text and its nodes, parents before children; the first one is the root.
pub(super) struct Tree {
    pub(super) text: String,
    pub(super) nodes: Vec<Node>,
    /// How many places the parser could not make sense of.
    pub(super) errors: usize,
}

impl Tree {
    pub(super) fn of(language: LanguageName, text: &str) -> Result<Self, FileRefusal> {
        let parsed = parse(language, text)?;
        let root = parsed.root();
        let mut tree = Self { text: text.to_owned(), nodes: Vec::new(), errors: 0 };
        let mut cursor = root.get_inner_node().walk();
        let mut parent: Option<Id> = None;
        loop {
            let node = cursor.node();
            let id = tree.nodes.len();
            tree.errors += usize::from(node.is_error() || node.is_missing());
            tree.nodes.push(Node {
                kind: node.kind().into(),
                field: cursor.field_name().map(Into::into),
                named: node.is_named(),
                range: node.byte_range(),
                parent,
                children: Vec::new(),
                shape: 0,
            });
            if let Some(parent) = parent {
                tree.nodes[parent].children.push(id);
            }
            if cursor.goto_first_child() {
                parent = Some(id);
                continue;
            }
            let mut at_end = false;
            while !cursor.goto_next_sibling() {
                if !cursor.goto_parent() {
                    at_end = true;
                    break;
                }
                parent = parent.and_then(|parent| tree.nodes[parent].parent);
            }
            if at_end {
                break;
            }
        }
        for id in (0..tree.nodes.len()).rev() {
            let mut hash = DefaultHasher::new();
            let node = &tree.nodes[id];
            node.kind.hash(&mut hash);
            if node.children.is_empty() {
                text[node.range.clone()].trim().hash(&mut hash);
            }
            node.children.iter().for_each(|child| tree.nodes[*child].shape.hash(&mut hash));
            tree.nodes[id].shape = hash.finish();
        }
        Ok(tree)
    }

    pub(super) fn node(&self, id: Id) -> &Node {
        &self.nodes[id]
    }

    pub(super) fn kind(&self, id: Id) -> &str {
        &self.nodes[id].kind
    }

    pub(super) fn text_of(&self, id: Id) -> &str {
        &self.text[self.nodes[id].range.clone()]
    }

    pub(super) fn parent(&self, id: Id) -> Option<Id> {
        self.nodes[id].parent
    }

    pub(super) fn children(&self, id: Id) -> &[Id] {
        &self.nodes[id].children
    }

    pub(super) fn named_children(&self, id: Id) -> impl Iterator<Item = Id> + '_ {
        self.nodes[id].children.iter().copied().filter(|child| self.nodes[*child].named)
    }

    pub(super) fn child(&self, id: Id, field: &str) -> Option<Id> {
        self.nodes[id].children.iter().copied().find(|child| self.nodes[*child].field() == Some(field))
    }

    pub(super) fn is_leaf(&self, id: Id) -> bool {
        self.nodes[id].children.is_empty()
    }

    pub(super) fn is_comment(&self, id: Id) -> bool {
        self.nodes[id].named && self.nodes[id].kind.ends_with("comment")
    }

    /// The node and everything below it, in the order of the text.
    pub(super) fn below(&self, id: Id) -> impl Iterator<Item = Id> + '_ {
        let mut stack = vec![id];
        std::iter::from_fn(move || {
            let next = stack.pop()?;
            stack.extend(self.nodes[next].children.iter().rev());
            Some(next)
        })
    }

    /// The nodes above this one, nearest first.
    pub(super) fn above(&self, id: Id) -> impl Iterator<Item = Id> + '_ {
        std::iter::successors(self.nodes[id].parent, |id| self.nodes[*id].parent)
    }

    /// The first and last line of a range, from 1.
    pub(super) fn lines(&self, range: &Range<usize>) -> (u32, u32) {
        let line = |at: usize| {
            let breaks = self.text.as_bytes()[..at.min(self.text.len())].iter().filter(|byte| **byte == b'\n').count();
            u32::try_from(breaks + 1).unwrap_or(u32::MAX)
        };
        (line(range.start), line(range.end.saturating_sub(1).max(range.start)))
    }

    /// The text of a range with the indentation of its first line taken off the others.
    pub(super) fn dedented(&self, range: &Range<usize>, replaced: &[(Range<usize>, String)]) -> String {
        let start = self.text[..range.start].rfind('\n').map_or(0, |at| at + 1);
        let lead = &self.text[start..range.start];
        let indent = lead.len() - lead.trim_start().len();
        let mut out = String::new();
        let mut from = range.start;
        for (hole, name) in replaced.iter().filter(|(hole, _)| hole.start >= range.start && hole.end <= range.end) {
            dedent_into(&mut out, &self.text[from..hole.start], indent);
            out.push_str(name);
            from = hole.end;
        }
        dedent_into(&mut out, &self.text[from..range.end], indent);
        out.replace("\r\n", "\n")
    }
}

fn dedent_into(out: &mut String, text: &str, indent: usize) {
    for (at, line) in text.split('\n').enumerate() {
        if at == 0 {
            out.push_str(line);
            continue;
        }
        out.push('\n');
        let blank = line.len() - line.trim_start_matches([' ', '\t']).len();
        out.push_str(&line[blank.min(indent)..]);
    }
}
