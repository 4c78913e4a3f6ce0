//! What the grammars call things, as far as learning needs to know.

use crate::domain::detect::LanguageName;

pub(super) fn is_identifier(kind: &str) -> bool {
    matches!(kind, "identifier" | "variable_name" | "shorthand_property_identifier" | "self" | "this")
}

pub(super) fn is_chain(kind: &str) -> bool {
    matches!(
        kind,
        "attribute"
            | "member_expression"
            | "selector_expression"
            | "field_expression"
            | "subscript"
            | "subscript_expression"
            | "index_expression"
    )
}

pub(super) fn is_call(kind: &str) -> bool {
    matches!(kind, "call" | "call_expression" | "macro_invocation" | "new_expression")
}

/// The fields under which a call names what it calls.
pub(super) fn is_callee_field(field: Option<&str>) -> bool {
    matches!(field, Some("function" | "macro" | "constructor"))
}

pub(super) fn is_arguments(kind: &str) -> bool {
    matches!(kind, "argument_list" | "arguments")
}

pub(super) fn is_string(kind: &str) -> bool {
    matches!(
        kind,
        "string"
            | "string_literal"
            | "interpreted_string_literal"
            | "raw_string_literal"
            | "raw_string"
            | "template_string"
            | "char_literal"
            | "rune_literal"
    )
}

pub(super) fn is_number(kind: &str) -> bool {
    matches!(kind, "integer" | "float" | "int_literal" | "float_literal" | "integer_literal" | "number")
}

pub(super) fn is_constant(kind: &str) -> bool {
    matches!(kind, "true" | "false" | "none" | "null" | "nil" | "boolean_literal" | "undefined")
}

/// Something with a value that may stand for any other of its like.
pub(super) fn is_value(kind: &str) -> bool {
    is_identifier(kind)
        || is_chain(kind)
        || is_call(kind)
        || is_string(kind)
        || is_number(kind)
        || is_constant(kind)
        || matches!(
            kind,
            "binary_operator"
                | "unary_operator"
                | "boolean_operator"
                | "comparison_operator"
                | "not_operator"
                | "list"
                | "dictionary"
                | "tuple"
                | "set"
                | "list_comprehension"
                | "dictionary_comprehension"
                | "generator_expression"
                | "conditional_expression"
                | "parenthesized_expression"
                | "lambda"
                | "concatenated_string"
                | "await"
                | "binary_expression"
                | "unary_expression"
                | "composite_literal"
                | "func_literal"
                | "slice_expression"
                | "type_assertion_expression"
                | "reference_expression"
                | "tuple_expression"
                | "array_expression"
                | "closure_expression"
                | "try_expression"
                | "await_expression"
                | "struct_expression"
                | "object"
                | "array"
                | "arrow_function"
                | "function_expression"
                | "ternary_expression"
                | "regex"
                | "type_cast_expression"
        )
}

/// A list of statements.
pub(super) fn is_block(kind: &str) -> bool {
    matches!(
        kind,
        "block"
            | "statement_block"
            | "statement_list"
            | "module"
            | "program"
            | "source_file"
            | "class_body"
            | "declaration_list"
            | "do_group"
            | "compound_statement"
    )
}

pub(super) fn is_root(kind: &str) -> bool {
    matches!(kind, "module" | "program" | "source_file")
}

pub(super) fn is_function(kind: &str) -> bool {
    matches!(
        kind,
        "function_definition" | "function_declaration" | "method_declaration" | "method_definition" | "function_item"
    )
}

/// What has a body of its own in a language: a function or a method.
pub(super) const fn functions(language: LanguageName) -> &'static [&'static str] {
    match language {
        LanguageName::Go => &["function_declaration", "method_declaration"],
        LanguageName::JavaScript | LanguageName::TypeScript | LanguageName::Tsx => {
            &["function_declaration", "method_definition"]
        }
        LanguageName::Rust => &["function_item"],
        _ => &["function_definition"],
    }
}

pub(super) fn is_type_body(kind: &str) -> bool {
    matches!(kind, "class_definition" | "class_declaration" | "impl_item" | "trait_item" | "mod_item")
}

/// What handles an error.
pub(super) fn is_handler(kind: &str) -> bool {
    matches!(kind, "except_clause" | "catch_clause")
}

/// What leaves the loop or the function.
pub(super) fn is_jump(kind: &str) -> bool {
    matches!(
        kind,
        "return_statement"
            | "continue_statement"
            | "break_statement"
            | "raise_statement"
            | "throw_statement"
            | "return_expression"
            | "continue_expression"
            | "break_expression"
    )
}

/// What compares, or joins what is compared.
pub(super) fn is_comparison(kind: &str) -> bool {
    matches!(kind, "binary_expression" | "comparison_operator" | "boolean_operator")
}

/// A collection that is written out.
pub(super) fn is_collection(kind: &str) -> bool {
    matches!(kind, "list" | "dictionary" | "set" | "array" | "object" | "array_expression")
}

/// What may stand around an expression without being a call, and changes what becomes of it.
pub(super) fn is_wrapper(kind: &str) -> bool {
    (is_value(kind) && !is_call(kind)) || matches!(kind, "defer_statement" | "go_statement")
}

/// What a part of a type stands in.
pub(super) fn is_type_of_parts(kind: &str) -> bool {
    matches!(kind, "channel_type" | "slice_type" | "map_type" | "pointer_type")
}

/// A node that can be the whole of a pattern.
pub(super) fn can_be_root(kind: &str) -> bool {
    !is_block(kind)
        && !is_arguments(kind)
        && !kind.ends_with("_list")
        && !kind.ends_with("parameters")
        && !kind.ends_with("_content")
        && !kind.ends_with("_start")
        && !kind.ends_with("_end")
        && !matches!(
            kind,
            "token_tree"
                | "keyword_argument"
                | "with_item"
                | "with_clause"
                | "as_pattern"
                | "as_pattern_target"
                | "pair"
                | "else_clause"
                | "elif_clause"
                | "finally_clause"
                | "match_arm"
                | "interpolation"
                | "range_clause"
                | "for_clause"
                | "import_spec"
        )
}

pub(super) fn is_import(kind: &str) -> bool {
    matches!(
        kind,
        "import_statement"
            | "import_from_statement"
            | "future_import_statement"
            | "use_declaration"
            | "import_declaration"
    )
}

/// Languages whose fixes can be learned.
pub(super) fn is_learnable(language: LanguageName) -> bool {
    use LanguageName::{Bash, Go, JavaScript, Python, Rust, Tsx, TypeScript};
    matches!(language, Bash | Go | JavaScript | Python | Rust | Tsx | TypeScript)
}

/// Whether an import brings in what comes with the language.
pub(super) fn is_standard(language: LanguageName, line: &str) -> bool {
    match language {
        LanguageName::Python => {
            let module = line.split_whitespace().nth(1).unwrap_or_default();
            PYTHON_MODULES.contains(&module.split('.').next().unwrap_or_default())
        }
        LanguageName::Rust => ["use std::", "use core::", "use alloc::"].iter().any(|start| line.starts_with(start)),
        LanguageName::Go => !line.contains('.'),
        LanguageName::JavaScript | LanguageName::TypeScript | LanguageName::Tsx => {
            let module = line.trim_end_matches(';').rsplit(' ').next().unwrap_or_default().trim_matches(['"', '\'']);
            module.starts_with("node:") || NODE_MODULES.contains(&module)
        }
        _ => false,
    }
}

const PYTHON_MODULES: &[&str] = &[
    "abc",
    "argparse",
    "asyncio",
    "atexit",
    "base64",
    "collections",
    "concurrent",
    "contextlib",
    "copy",
    "csv",
    "datetime",
    "enum",
    "errno",
    "fcntl",
    "functools",
    "glob",
    "hashlib",
    "hmac",
    "http",
    "io",
    "itertools",
    "json",
    "logging",
    "math",
    "multiprocessing",
    "operator",
    "os",
    "pathlib",
    "pickle",
    "queue",
    "random",
    "re",
    "secrets",
    "select",
    "shlex",
    "shutil",
    "signal",
    "socket",
    "sqlite3",
    "ssl",
    "stat",
    "string",
    "struct",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
    "time",
    "traceback",
    "types",
    "typing",
    "urllib",
    "uuid",
    "warnings",
    "weakref",
];

const NODE_MODULES: &[&str] = &[
    "assert",
    "buffer",
    "child_process",
    "crypto",
    "events",
    "fs",
    "fs/promises",
    "http",
    "https",
    "net",
    "os",
    "path",
    "process",
    "stream",
    "timers",
    "timers/promises",
    "url",
    "util",
    "worker_threads",
    "zlib",
];

/// Whether a name is there without being bound by anybody.
pub(super) fn is_builtin(language: LanguageName, name: &str) -> bool {
    let known: &[&str] = match language {
        LanguageName::Python => &[
            "abs",
            "all",
            "any",
            "bool",
            "bytearray",
            "bytes",
            "callable",
            "dict",
            "dir",
            "enumerate",
            "filter",
            "float",
            "format",
            "frozenset",
            "getattr",
            "hasattr",
            "hash",
            "id",
            "input",
            "int",
            "isinstance",
            "iter",
            "len",
            "list",
            "map",
            "max",
            "min",
            "next",
            "object",
            "open",
            "ord",
            "print",
            "property",
            "range",
            "repr",
            "reversed",
            "round",
            "set",
            "setattr",
            "sorted",
            "staticmethod",
            "str",
            "sum",
            "super",
            "tuple",
            "type",
            "vars",
            "zip",
            "__file__",
            "__name__",
            "NotImplemented",
        ],
        LanguageName::Go => &[
            "append", "bool", "byte", "cap", "clear", "close", "copy", "delete", "error", "false", "float64", "int",
            "int64", "len", "make", "max", "min", "new", "nil", "panic", "print", "println", "recover", "rune",
            "string", "true", "uint", "uint64", "_",
        ],
        LanguageName::Rust => &[
            "Box",
            "Err",
            "None",
            "Ok",
            "Option",
            "Result",
            "Some",
            "String",
            "Vec",
            "alloc",
            "assert",
            "core",
            "debug_assert",
            "drop",
            "eprintln",
            "format",
            "matches",
            "panic",
            "println",
            "std",
            "str",
            "u8",
            "u16",
            "u32",
            "u64",
            "usize",
            "i32",
            "i64",
            "vec",
            "write",
            "writeln",
            "_",
        ],
        LanguageName::JavaScript | LanguageName::TypeScript | LanguageName::Tsx => &[
            "AbortController",
            "AbortSignal",
            "Array",
            "Boolean",
            "Buffer",
            "Date",
            "Error",
            "JSON",
            "Map",
            "Math",
            "Number",
            "Object",
            "Promise",
            "RegExp",
            "Set",
            "String",
            "Symbol",
            "TypeError",
            "URL",
            "clearInterval",
            "clearTimeout",
            "console",
            "fetch",
            "globalThis",
            "isFinite",
            "isNaN",
            "parseFloat",
            "parseInt",
            "process",
            "queueMicrotask",
            "require",
            "setImmediate",
            "setInterval",
            "setTimeout",
            "structuredClone",
            "undefined",
        ],
        _ => &[],
    };
    let error = language == LanguageName::Python
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && (name.ends_with("Error") || name.ends_with("Exception") || name.ends_with("Interrupt"));
    error || known.contains(&name)
}
