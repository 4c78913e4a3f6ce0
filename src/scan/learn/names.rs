//! Who binds which name: what may be renamed, what must stay, and what a fix relies on.

use std::collections::{BTreeMap, HashSet};

use crate::domain::detect::LanguageName;

use super::kinds;
use super::tree::{Id, Tree};

/// The names of one file.
pub(super) struct Names {
    language: LanguageName,
    /// Variables and parameters.
    local: HashSet<String>,
    /// Functions and types defined here.
    defined: HashSet<String>,
    /// Bound at the top of the file, other than by an import.
    top: HashSet<String>,
    /// Imported names and a line that imports each.
    imported: BTreeMap<String, String>,
}

impl Names {
    pub(super) fn of(language: LanguageName, tree: &Tree) -> Self {
        let mut names = Self {
            language,
            local: HashSet::new(),
            defined: HashSet::new(),
            top: HashSet::new(),
            imported: BTreeMap::new(),
        };
        for id in tree.below(0) {
            let kind = tree.kind(id);
            if kinds::is_import(kind) {
                import_lines(language, tree, id, &mut names.imported);
            } else if (kinds::is_function(kind) || kinds::is_type_body(kind))
                && let Some(name) = tree.child(id, "name")
            {
                names.defined.insert(tree.text_of(name).to_owned());
                if is_at_top(tree, id) {
                    names.top.insert(tree.text_of(name).to_owned());
                }
            } else if kinds::is_identifier(kind) && is_binding(tree, id) {
                let name = tree.text_of(id).to_owned();
                if is_required(tree, id) {
                    names.defined.insert(name.clone());
                } else {
                    names.local.insert(name.clone());
                }
                if is_at_top(tree, id) {
                    names.top.insert(name);
                }
            }
        }
        names
    }

    /// Whether the name means the same in other files, so that a pattern keeps it.
    pub(super) fn is_kept(&self, name: &str, called: bool) -> bool {
        if matches!(name, "self" | "cls" | "this") {
            return false;
        }
        self.imported.contains_key(name)
            || self.defined.contains(name)
            || (!self.local.contains(name) && (called || kinds::is_builtin(self.language, name)))
    }

    pub(super) fn is_local(&self, name: &str) -> bool {
        self.local.contains(name)
    }

    pub(super) fn import(&self, name: &str) -> Option<&str> {
        self.imported.get(name).map(String::as_str)
    }

    pub(super) fn is_top(&self, name: &str) -> bool {
        self.top.contains(name)
    }
}

fn is_at_top(tree: &Tree, id: Id) -> bool {
    !tree.above(id).any(|above| {
        let kind = tree.kind(above);
        kinds::is_function(kind)
            || kinds::is_type_body(kind)
            || matches!(
                kind,
                "arrow_function" | "function_expression" | "lambda" | "closure_expression" | "func_literal"
            )
    })
}

/// `const fs = require("fs")` is an import in all but form.
fn is_required(tree: &Tree, id: Id) -> bool {
    tree.above(id).take(4).any(|above| {
        tree.kind(above) == "variable_declarator"
            && tree.child(above, "value").is_some_and(|value| tree.text_of(value).starts_with("require("))
    })
}

/// Whether an identifier is the name of a field, a keyword argument or a definition, and stands for itself.
pub(super) fn is_label(tree: &Tree, id: Id) -> bool {
    let Some(parent) = tree.parent(id) else { return false };
    let kind = tree.kind(parent);
    match tree.node(id).field() {
        Some("attribute") => kind == "attribute",
        Some("name") => {
            matches!(kind, "keyword_argument" | "scoped_identifier" | "class_definition")
                || kinds::is_function(kind)
                || kinds::is_type_body(kind)
        }
        Some("label") => true,
        _ => matches!(kind, "dotted_name" | "scoped_identifier" | "scoped_type_identifier"),
    }
}

/// Whether an identifier is bound by where it stands.
pub(super) fn is_binding(tree: &Tree, id: Id) -> bool {
    let mut at = id;
    loop {
        let Some(parent) = tree.parent(at) else { return false };
        let field = tree.node(at).field();
        match tree.kind(parent) {
            "pattern_list"
            | "tuple_pattern"
            | "list_pattern"
            | "expression_list"
            | "mut_pattern"
            | "ref_pattern"
            | "reference_pattern"
            | "array_pattern"
            | "object_pattern"
            | "list_splat_pattern"
            | "dictionary_splat_pattern"
            | "captured_pattern"
            | "tuple"
            | "rest_pattern" => at = parent,
            "tuple_struct_pattern" => {
                if field == Some("type") {
                    return false;
                }
                at = parent;
            }
            "assignment"
            | "for_statement"
            | "for_in_clause"
            | "short_var_declaration"
            | "range_clause"
            | "for_in_statement"
            | "assignment_expression" => return matches!(field, Some("left" | "variable")),
            "as_pattern_target" | "parameters" | "lambda_parameters" | "formal_parameters" | "closure_parameters"
            | "typed_parameter" => return true,
            "default_parameter"
            | "typed_default_parameter"
            | "named_expression"
            | "var_spec"
            | "const_spec"
            | "variable_declarator"
            | "variable_assignment"
            | "static_item"
            | "const_item"
            | "parameter_declaration" => return field == Some("name"),
            "let_declaration" | "parameter" | "for_expression" | "match_pattern" | "let_condition"
            | "required_parameter" | "optional_parameter" => {
                return matches!(field, Some("pattern" | "name")) || tree.kind(parent) == "match_pattern";
            }
            "arrow_function" | "catch_clause" => return field == Some("parameter"),
            _ => return false,
        }
    }
}

/// Whether an identifier is what is called, or what the called thing is looked up in.
pub(super) fn is_called(tree: &Tree, id: Id) -> bool {
    let mut at = id;
    while let Some(parent) = tree.parent(at) {
        if kinds::is_chain(tree.kind(parent)) && tree.children(parent).first() == Some(&at) {
            at = parent;
        } else {
            return kinds::is_call(tree.kind(parent)) && kinds::is_callee_field(tree.node(at).field());
        }
    }
    false
}

/// The names that an import binds, each with a line that would bind it alone.
fn import_lines(language: LanguageName, tree: &Tree, id: Id, lines: &mut BTreeMap<String, String>) {
    let text = tree.text_of(id).split_whitespace().collect::<Vec<_>>().join(" ");
    match language {
        LanguageName::Python => {
            let (start, list) = match text.split_once(" import ") {
                Some((from, list)) => (format!("{from} import "), list.trim_matches(['(', ')', ' ']).to_owned()),
                None => ("import ".to_owned(), text.trim_start_matches("import ").to_owned()),
            };
            for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
                let bound = part.rsplit(" as ").next().unwrap_or(part);
                let bound = if start == "import " { bound.split('.').next().unwrap_or(bound) } else { bound };
                lines.insert(bound.to_owned(), format!("{start}{part}"));
            }
        }
        LanguageName::Rust => {
            let tree = text.split_once("use ").map_or("", |(_, tree)| tree).trim_end_matches(';');
            for path in rust_paths(tree) {
                let bound = path.rsplit([' ', ':']).next().unwrap_or_default().to_owned();
                lines.insert(bound, format!("use {path};"));
            }
        }
        LanguageName::Go => {
            for spec in tree.below(id).filter(|id| tree.kind(*id) == "import_spec") {
                let Some(path) = tree.child(spec, "path").map(|path| tree.text_of(path).to_owned()) else { continue };
                let last = path.trim_matches('"').rsplit('/').next().unwrap_or_default().to_owned();
                let bound = tree.child(spec, "name").map_or(last, |name| tree.text_of(name).to_owned());
                lines.insert(bound, format!("import {path}"));
            }
        }
        _ => {
            for part in tree.below(id).filter(|id| kinds::is_identifier(tree.kind(*id))) {
                lines.insert(tree.text_of(part).to_owned(), text.clone());
            }
        }
    }
}

/// `a::{b, c::d}` as `a::b` and `a::c::d`; `self` in braces is what stands before them.
fn rust_paths(tree: &str) -> Vec<String> {
    let Some((head, rest)) = tree.split_once('{') else {
        let tree = tree.trim();
        return if tree.is_empty() || tree.ends_with('*') { Vec::new() } else { vec![tree.to_owned()] };
    };
    let inner = rest.trim_end().strip_suffix('}').unwrap_or(rest);
    let mut parts = vec![String::new()];
    let mut depth = 0_usize;
    for c in inner.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    let head = head.trim();
    let join = |path: String| match path.as_str() {
        "self" => head.trim_end_matches("::").to_owned(),
        _ => format!("{head}{path}"),
    };
    parts.iter().flat_map(|part| rust_paths(part)).map(join).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rust_groups_are_single_paths() {
        assert_eq!(rust_paths("std::{io, fs::{self, File}}"), ["std::io", "std::fs", "std::fs::File"]);
        assert_eq!(rust_paths("std::io::*"), Vec::<String>::new());
    }

    #[test]
    fn variables_are_local_and_modules_are_kept() {
        let text =
            "import os.path\nfrom a import b as c\nX = 1\ndef f(p, q=1):\n    with open(p) as h:\n        x, y = h\n";
        let tree = Tree::of(LanguageName::Python, text).expect("small");
        let names = Names::of(LanguageName::Python, &tree);
        for local in ["p", "q", "h", "x", "y", "X"] {
            assert!(names.is_local(local) && !names.is_kept(local, true), "{local}");
        }
        assert_eq!(names.import("os"), Some("import os.path"));
        assert_eq!(names.import("c"), Some("from a import b as c"));
        assert!(names.is_kept("open", false) && names.is_kept("f", false) && names.is_top("X") && !names.is_top("x"));
    }
}
