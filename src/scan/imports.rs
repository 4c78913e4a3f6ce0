//! Adds the import lines that a template relies on, unless they are there.

use std::collections::HashSet;

use crate::domain::detect::{LanguageName, Rule};
use crate::domain::lesson::Lesson;

use super::error::MendRefusal;
use super::mend::Draft;
use super::parse::{Node, Parsed, is_comment, parse};

/// Adds each missing import of the lesson after the last import at the top that stands before the first
/// edit; where there is none, after what must stay first (docstring, `from __future__`, inner attributes).
pub(super) fn ensure(lesson: &Lesson, path: &str, draft: &mut Draft) -> Result<(), MendRefusal> {
    let mended = || {
        draft.rules.keys().find_map(|rule| match &lesson.detect.rules[*rule] {
            Rule::Ast(rule) => Some(rule.language),
            Rule::Regex(_) | Rule::Config(_) => None,
        })
    };
    let language = LanguageName::of_path(path).or_else(mended);
    for line in &lesson.fix.ensure_import {
        use LanguageName::{Go, JavaScript, Python, Rust, Tsx, TypeScript};
        let Some(known @ (Go | JavaScript | Python | Rust | Tsx | TypeScript)) = language else {
            return Err(MendRefusal::CannotImport { language });
        };
        add(known, line, draft)?;
    }
    Ok(())
}

fn add(language: LanguageName, line: &str, draft: &mut Draft) -> Result<(), MendRefusal> {
    let parsed = parse(language, &draft.text)?;
    let wanted = names(language, &parse(language, line)?);
    let present = names(language, &parsed);
    if wanted.is_subset(&present) {
        return Ok(());
    }
    // The same name twice from one module is an error in these languages.
    if language != LanguageName::Python && !wanted.is_disjoint(&present) {
        return Err(MendRefusal::CannotImport { language: Some(language) });
    }
    let at = position(language, &parsed, &draft.text, draft.first);
    let line_break = if draft.text.contains("\r\n") { "\r\n" } else { "\n" };
    let before = if at == 0 || draft.text[..at].ends_with('\n') { "" } else { line_break };
    let text = format!("{before}{}{line_break}", line.trim());
    draft.text.insert_str(at, &text);
    if at <= draft.first {
        draft.first += text.len();
    }
    Ok(())
}

const fn import_kind(language: LanguageName) -> &'static [&'static str] {
    match language {
        LanguageName::Python => &["import_statement", "import_from_statement", "future_import_statement"],
        LanguageName::Rust => &["use_declaration"],
        LanguageName::Go => &["import_declaration"],
        _ => &["import_statement"],
    }
}

/// What the imports at the top of a file bring in, each as one comparable text.
fn names(language: LanguageName, parsed: &Parsed) -> HashSet<String> {
    let mut names = HashSet::new();
    for node in parsed.root().children().filter(|node| import_kind(language).contains(&node.kind().as_ref())) {
        match language {
            LanguageName::Rust => {
                let squeezed: String = node.text().split_whitespace().collect::<Vec<_>>().join(" ");
                let tree = squeezed.split_once("use ").map_or("", |(_, tree)| tree).trim_end_matches(';');
                rust_paths("", tree, &mut names);
            }
            LanguageName::Python => {
                let module = node.field("module_name").map(|module| module.text().into_owned()).unwrap_or_default();
                let mut cursor = node.get_inner_node().walk();
                let imported = node
                    .get_inner_node()
                    .children_by_field_name("name", &mut cursor)
                    .map(|name| name.byte_range())
                    .collect::<Vec<_>>();
                for range in imported {
                    names.insert(format!("{module} {}", &parsed.source()[range]));
                }
            }
            LanguageName::Go => {
                let specs = node.dfs().filter(|part| part.kind() == "import_spec").collect::<Vec<_>>();
                names.extend(specs.iter().map(|spec| spec.text().into_owned()));
            }
            _ => script_names(&node, &mut names),
        }
    }
    names
}

fn script_names(statement: &Node<'_>, names: &mut HashSet<String>) {
    let module =
        statement.field("source").map(|source| source.text().trim_matches(['"', '\'']).to_owned()).unwrap_or_default();
    let before = names.len();
    for part in statement.dfs() {
        let kind = part.kind();
        let default = kind == "identifier" && part.parent().is_some_and(|parent| parent.kind() == "import_clause");
        if default || matches!(kind.as_ref(), "import_specifier" | "namespace_import") {
            names.insert(format!("{module} {}", part.text()));
        }
    }
    if names.len() == before {
        names.insert(format!("{module} "));
    }
}

/// `a::{b, c::d}` as `a::b` and `a::c::d`.
fn rust_paths(prefix: &str, tree: &str, paths: &mut HashSet<String>) {
    let tree = tree.trim();
    let Some((head, rest)) = tree.split_once('{') else {
        if !tree.is_empty() {
            paths.insert(format!("{prefix}{tree}"));
        }
        return;
    };
    let prefix = format!("{prefix}{}", head.trim());
    let inner = rest.strip_suffix('}').unwrap_or(rest);
    let (mut depth, mut from) = (0_usize, 0);
    for (at, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                rust_paths(&prefix, &inner[from..at], paths);
                from = at + 1;
            }
            _ => {}
        }
    }
    rust_paths(&prefix, &inner[from..], paths);
}

/// The start of the line at which a new import is inserted.
fn position(language: LanguageName, parsed: &Parsed, text: &str, first: usize) -> usize {
    // Some comment nodes hold their line break.
    let line_after = |end: usize| match text[end..].find('\n') {
        _ if text[..end].ends_with('\n') => end,
        Some(offset) => end + offset + 1,
        None => text.len(),
    };
    let mut at = 0;
    let mut header = true;
    for node in parsed.root().children().filter(|node| node.range().start < first.max(1)) {
        let kind = node.kind();
        let end = node.range().end;
        if import_kind(language).contains(&kind.as_ref()) {
            at = line_after(end);
            header = false;
        } else if header && stays_first(language, &node) {
            at = line_after(end);
        } else if header && is_comment(&node) {
            // A comment at the top is a header when a blank line follows, else it belongs to what it precedes.
            let next = line_after(end);
            let blank = text[next..].lines().next().is_none_or(|line| line.trim().is_empty());
            let script = node.range().start == 0 && node.text().starts_with("#!");
            let coding = language == LanguageName::Python && node.text().contains("coding");
            if blank || script || coding {
                at = next;
            }
        } else {
            header = false;
        }
    }
    at
}

/// What must stand before any import.
fn stays_first(language: LanguageName, node: &Node<'_>) -> bool {
    let is_text = || {
        node.kind() == "expression_statement" && node.children().next().is_some_and(|child| child.kind() == "string")
    };
    match language {
        LanguageName::Rust => {
            let text = node.text();
            matches!(node.kind().as_ref(), "inner_attribute_item" | "shebang")
                || (is_comment(node) && (text.starts_with("//!") || text.starts_with("/*!")))
        }
        LanguageName::Go => node.kind() == "package_clause",
        LanguageName::Python => is_text(),
        _ => node.kind() == "hash_bang_line" || is_text(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn added(language: LanguageName, line: &str, text: &str) -> Option<String> {
        let mut draft = Draft::of(text, BTreeMap::new());
        add(language, line, &mut draft).ok().map(|()| draft.text)
    }

    #[test]
    fn python_imports_go_after_docstring_future_and_the_last_import() {
        let python = |text| added(LanguageName::Python, "import os", text).expect("python can");
        assert_eq!(python("x = 1\n"), "import os\nx = 1\n");
        assert_eq!(
            python("#!/usr/bin/python\n\"\"\"Doc.\n\"\"\"\nx = 1\n"),
            "#!/usr/bin/python\n\"\"\"Doc.\n\"\"\"\nimport os\nx = 1\n"
        );
        assert_eq!(
            python("from __future__ import annotations\nx = 1\n"),
            "from __future__ import annotations\nimport os\nx = 1\n"
        );
        assert_eq!(python("import json  # c\n\nx = 1\r\n"), "import json  # c\nimport os\r\n\nx = 1\r\n");
        assert_eq!(python("# what f does\ndef f(): pass\n"), "import os\n# what f does\ndef f(): pass\n");
        assert_eq!(python("import json, os\n"), "import json, os\n");
        assert_eq!(python("import os as o\nx"), "import os as o\nimport os\nx");
    }

    #[test]
    fn an_import_that_is_there_in_another_form_is_not_added() {
        let from = added(LanguageName::Python, "from a.b import c", "from a.b import (d, c)\n");
        assert_eq!(from.as_deref(), Some("from a.b import (d, c)\n"));
        let rust = added(LanguageName::Rust, "use std::fs::File;", "use std::{io, fs::{self, File}};\n");
        assert_eq!(rust.as_deref(), Some("use std::{io, fs::{self, File}};\n"));
        let script = added(LanguageName::JavaScript, "import { a } from 'm';", "import { b, a } from \"m\"\n");
        assert_eq!(script.as_deref(), Some("import { b, a } from \"m\"\n"));
        let half = added(LanguageName::JavaScript, "import { a, c } from 'm';", "import { b, a } from \"m\"\n");
        assert_eq!(half, None);
        let go = added(LanguageName::Go, "import \"os\"", "package a\n\nimport (\n\t\"fmt\"\n)\n");
        assert_eq!(go.as_deref(), Some("package a\n\nimport (\n\t\"fmt\"\n)\nimport \"os\"\n"));
    }

    #[test]
    fn rust_imports_go_after_inner_attributes() {
        let rust = added(LanguageName::Rust, "use std::fs;", "//! Doc.\n#![deny(warnings)]\n\n/// F.\nfn f() {}\n");
        assert_eq!(rust.as_deref(), Some("//! Doc.\n#![deny(warnings)]\nuse std::fs;\n\n/// F.\nfn f() {}\n"));
    }
}
