//! What an import line may look like: one import, no expression, nothing that runs.

use super::super::detect::LanguageName;

/// Whether a line is one plain import of a language.
pub(super) fn is_import(language: LanguageName, line: &str) -> bool {
    if line.trim() != line || !line.is_ascii() {
        return false;
    }
    match language {
        LanguageName::Python => is_python(line),
        LanguageName::Rust => is_rust(line),
        LanguageName::JavaScript | LanguageName::Tsx | LanguageName::TypeScript => is_script(line),
        LanguageName::Go => line.strip_prefix("import ").is_some_and(is_quoted),
        LanguageName::Bash | LanguageName::Json | LanguageName::Toml | LanguageName::Yaml => false,
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// `name` or `name as other`.
fn is_named(text: &str, name: impl Fn(&str) -> bool) -> bool {
    match text.split_once(" as ") {
        Some((original, other)) => name(original.trim()) && is_name(other.trim()),
        None => name(text.trim()),
    }
}

fn is_python(line: &str) -> bool {
    let dotted = |text: &str| text.split('.').all(is_name);
    if let Some(module) = line.strip_prefix("import ") {
        return is_named(module, dotted);
    }
    let Some((module, names)) = line.strip_prefix("from ").and_then(|rest| rest.split_once(" import ")) else {
        return false;
    };
    let module = module.trim();
    let bare = module.trim_start_matches('.');
    let relative = bare.is_empty() && !module.is_empty();
    (relative || dotted(bare)) && bare != "__future__" && names.split(',').all(|name| is_named(name.trim(), is_name))
}

fn is_rust(line: &str) -> bool {
    let path = |text: &str| text.split("::").all(is_name);
    line.strip_prefix("use ").and_then(|rest| rest.strip_suffix(';')).is_some_and(|text| is_named(text, path))
}

fn is_quoted(text: &str) -> bool {
    let inner = ['"', '\''].into_iter().find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote));
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '@' | ':');
    inner.is_some_and(|inner| !inner.is_empty() && inner.chars().all(allowed))
}

/// `import x from 'm'`, `import { a, b as c } from 'm'`, `import * as x from 'm'` or `import 'm'`.
fn is_script(line: &str) -> bool {
    let Some(rest) = line.strip_prefix("import ") else { return false };
    let rest = rest.strip_suffix(';').unwrap_or(rest).trim_end();
    let Some((clause, module)) = rest.rsplit_once(" from ") else {
        return is_quoted(rest);
    };
    let clause = clause.trim();
    let braces = clause.strip_prefix('{').and_then(|inner| inner.strip_suffix('}'));
    let names = match (braces, clause.strip_prefix("* as ")) {
        (Some(inner), _) => inner.split(',').all(|name| is_named(name.trim(), is_name)),
        (None, Some(name)) => is_name(name.trim()),
        (None, None) => is_name(clause),
    };
    names && is_quoted(module.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t21_an_import_line_is_one_import_and_nothing_else() {
        use LanguageName::{Bash, Go, JavaScript, Python, Rust};
        let cases = [
            (Python, "import os", true),
            (Python, "import os.path as p", true),
            (Python, "from a.b import c, d as e", true),
            (Python, "from . import c", true),
            (Python, "from a import *", false),
            (Python, "import os; os.system('x')", false),
            (Python, "import os, sys", false),
            (Python, "from __future__ import annotations", false),
            (Python, "import os # x", false),
            (Python, " import os", false),
            (Rust, "use std::fs;", true),
            (Rust, "use std::fs as f;", true),
            (Rust, "use std::{fs, io};", false),
            (Rust, "use std::fs; fn main() {}", false),
            (JavaScript, "import fs from 'node:fs';", true),
            (JavaScript, "import { a, b as c } from \"./m.js\"", true),
            (JavaScript, "import * as x from 'm'", true),
            (JavaScript, "import 'm';", true),
            (JavaScript, "import fs from 'a'; x(); import b from 'b'", false),
            (JavaScript, "import(x)", false),
            (Go, "import \"os\"", true),
            (Go, "import (\"os\")", false),
            (Bash, "import os", false),
        ];
        for (language, line, expected) in cases {
            assert_eq!(is_import(language, line), expected, "{line}");
        }
    }
}
