//! A text with holes as a pattern that parses to the node it stands for.

use serde_json::{Value, json};

use crate::domain::detect::LanguageName;
use crate::domain::limits;

use ast_grep_core::Language as _;

use super::super::lang::Lang;
use super::tree::Tree;

/// What may have to stand around a piece of source so that it parses as what it is.
const fn surroundings(language: LanguageName) -> &'static [(&'static str, &'static str)] {
    match language {
        LanguageName::Python => &[
            ("", ""),
            ("try:\n    pass\n", "\n"),
            ("f(", ")"),
            ("def f(", "):\n    pass\n"),
            ("def f():\n    ", "\n"),
            ("while f():\n    ", "\n"),
        ],
        LanguageName::Go => &[("package p\n\nfunc f() {\n", "\n}\n"), ("package p\n\n", "\n")],
        LanguageName::Rust => &[("fn f() {\n", "\n}\n"), ("", ""), ("fn f() {\nmatch x {\n", "\n}\n}\n")],
        LanguageName::JavaScript | LanguageName::TypeScript | LanguageName::Tsx => {
            &[("", ""), ("async function f() {\n", "\n}\n"), ("try {\n} ", "\n")]
        }
        _ => &[("", "")],
    }
}

/// The pattern for `text` as a node of `kind`; `None` when it does not parse as one.
pub(super) fn pattern(language: LanguageName, kind: &str, text: &str, strictness: &str) -> Option<Value> {
    let lang = Lang::from(language);
    surroundings(language).iter().find_map(|(start, end)| {
        let context = format!("{start}{text}{end}");
        if context.len() > limits::PATTERN_BYTES {
            return None;
        }
        let tree = Tree::of(language, &lang.pre_process_pattern(&context)).ok()?;
        let found = tree.below(0).find(|id| tree.kind(*id) == kind)?;
        let whole = tree.text_of(found).trim() == lang.pre_process_pattern(text).trim();
        if tree.errors > 0 || !whole {
            return None;
        }
        let mut top = 0;
        while let [only] = tree.children(top) {
            top = *only;
        }
        let context = context.trim_end();
        Some(if start.is_empty() && top == found {
            json!({ "context": context, "strictness": strictness })
        } else {
            json!({ "context": context, "selector": kind, "strictness": strictness })
        })
    })
}
