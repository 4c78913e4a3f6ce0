//! A lesson as the TOML that a person edits: sections in the order of reading, one rule to a line.

use toml::{Table, Value};

/// Keys in the order of reading; others follow by name.
const ORDER: [&str; 42] = [
    "id",
    "rev",
    "title",
    "scope",
    "severity",
    "risk",
    "when",
    "prefer",
    "because",
    "evidence",
    "derived_from",
    "falsifiable",
    "retired_when",
    "calibrated_for",
    "detect",
    "fix",
    "tests",
    "positive",
    "negative",
    "engine",
    "include",
    "exclude",
    "languages",
    "rules",
    "when_repo",
    "limits",
    "mode",
    "language",
    "confidence",
    "message",
    "rule",
    "constraints",
    "class",
    "ensure_import",
    "max_files",
    "max_lines",
    "for",
    "path",
    "code",
    "count",
    "at",
    "fixed",
];

fn ordered(table: &Table) -> Vec<(&String, &Value)> {
    let mut pairs: Vec<_> = table.iter().collect();
    pairs.sort_by_key(|(key, _)| ORDER.iter().position(|known| *known == key.as_str()).unwrap_or(ORDER.len()));
    pairs
}

/// Writes the table of a lesson. What it does not know it writes as it comes.
pub(super) fn write(lesson: &Table) -> String {
    let mut out = String::new();
    let mut tables = Vec::new();
    for (key, value) in ordered(lesson) {
        match value {
            Value::Table(table) => tables.push((key, table)),
            Value::Array(list) if list.is_empty() => {}
            _ => line(&mut out, key, value),
        }
    }
    for (key, table) in tables {
        section(&mut out, key, table);
    }
    out
}

fn section(out: &mut String, path: &str, table: &Table) {
    let is_list = |value: &Value| value.as_array().is_some_and(|list| list.iter().any(Value::is_table));
    let nested = |key: &str, value: &Value| {
        is_list(value) && key != "all" || (path == "detect" && value.is_table() && !matches!(key, "limits"))
    };
    let plain: Vec<_> = ordered(table)
        .into_iter()
        .filter(|(key, value)| !nested(key, value) && value.as_array().is_none_or(|list| !list.is_empty()))
        .filter(|(_, value)| value.as_table().is_none_or(|table| !table.is_empty()))
        .collect();
    if !plain.is_empty() {
        out.push_str(&format!("\n[{path}]\n"));
        plain.into_iter().for_each(|(key, value)| line(out, key, value));
    }
    for (key, value) in ordered(table).into_iter().filter(|(key, value)| nested(key, value)) {
        match value {
            Value::Table(inner) => section(out, &format!("{path}.{key}"), inner),
            Value::Array(list) => list.iter().filter_map(Value::as_table).for_each(|item| {
                out.push_str(&format!("\n[[{path}.{key}]]\n"));
                ordered(item).into_iter().for_each(|(key, value)| line(out, key, value));
            }),
            _ => {}
        }
    }
}

fn line(out: &mut String, key: &str, value: &Value) {
    out.push_str(&format!("{} = {}\n", quoted_key(key), shown(value, true)));
}

fn quoted_key(key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if bare { key.to_owned() } else { Value::String(key.to_owned()).to_string() }
}

/// A value; below a line of its own, texts of several lines stay in one.
fn shown(value: &Value, own_line: bool) -> String {
    match value {
        Value::String(text) if own_line && text.contains('\n') => several_lines(text),
        Value::String(text) if !text.contains(['\'', '\n', '\r']) && text.contains(['"', '\\']) && is_plain(text) => {
            format!("'{text}'")
        }
        Value::String(text) => one_line(text),
        Value::Array(list) => {
            let tables = own_line && list.iter().any(Value::is_table);
            let parts: Vec<String> = list.iter().map(|part| shown(part, false)).collect();
            if tables { format!("[\n  {},\n]", parts.join(",\n  ")) } else { format!("[{}]", parts.join(", ")) }
        }
        Value::Table(table) => {
            // The conditions of a rule that has nothing else: one to a line.
            if let (1, Some(all)) = (table.len(), table.get("all").filter(|all| own_line && all.is_array())) {
                return format!("{{ all = {} }}", shown(all, true));
            }
            let parts: Vec<String> =
                table.iter().map(|(key, value)| format!("{} = {}", quoted_key(key), shown(value, false))).collect();
            format!("{{ {} }}", parts.join(", "))
        }
        other => other.to_string(),
    }
}

fn is_plain(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() && c != '\t')
}

/// Code reads best as it is; what a literal text cannot hold is escaped.
fn several_lines(text: &str) -> String {
    let body = text.replace('\n', "");
    if is_plain(&body) && !text.contains("'''") && !text.ends_with('\'') {
        format!("'''\n{text}'''")
    } else {
        one_line(text)
    }
}

fn one_line(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
