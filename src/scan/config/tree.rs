//! Reads TOML, YAML and JSON through their grammars, so that values and lines come from one reading.

use crate::domain::detect::LanguageName;
use crate::scan::parse::{Node, Parsed};

use super::{Entry, join};

/// The keys and tables in order; `None` when the file has a syntax error.
pub(super) fn read(language: LanguageName, parsed: &Parsed) -> Option<Vec<Entry>> {
    let root = parsed.root();
    if root.get_inner_node().has_error() {
        return None;
    }
    let mut entries = Vec::new();
    match language {
        LanguageName::Toml => toml(&root, &mut entries),
        _ => root.children().for_each(|child| value("", &child, &mut entries)),
    }
    Some(entries)
}

/// Walks YAML and JSON: a node under `path`.
fn value(path: &str, node: &Node<'_>, entries: &mut Vec<Entry>) {
    for child in node.children().filter(Node::is_named) {
        let kind = child.kind();
        if !matches!(kind.as_ref(), "pair" | "block_mapping_pair" | "flow_pair") {
            value(path, &child, entries);
            continue;
        }
        let Some(key) = child.field("key") else { continue };
        let path = join(path, &scalar(&key.text()));
        let held = child.field("value");
        let plain = held.as_ref().filter(|held| !is_container(held));
        let written = held.as_ref().map_or(child.range().end..child.range().end, Node::range);
        let nothing = held.is_none().then(String::new);
        entries.push(Entry {
            path: path.clone(),
            value: plain.map(|held| scalar(&held.text())).or(nothing),
            range: child.range().start..if plain.is_some() { written.end } else { key.range().end },
            written,
            end: child.range().end,
        });
        if let Some(held) = held {
            if is_container(&held) {
                items(&path, &held, entries);
            }
            value(&path, &held, entries);
        }
    }
}

/// The plain elements of a list, each as a value of the list's own path.
fn items(path: &str, list: &Node<'_>, entries: &mut Vec<Entry>) {
    let is_list = |kind: &str| matches!(kind, "array" | "block_sequence" | "flow_sequence");
    let lists = list.children().filter(|child| is_list(&child.kind())).collect::<Vec<_>>();
    let lists = if is_list(&list.kind()) { vec![list.clone()] } else { lists };
    for item in lists.iter().flat_map(|list| list.children().filter(Node::is_named).collect::<Vec<_>>()) {
        let held = if item.kind() == "block_sequence_item" { item.children().find(Node::is_named) } else { Some(item) };
        if let Some(held) = held.filter(|held| !is_container(held) && !held.kind().ends_with("comment")) {
            entries.push(Entry {
                path: path.to_owned(),
                value: Some(scalar(&held.text())),
                range: held.range(),
                written: held.range(),
                end: held.range().end,
            });
        }
    }
}

fn is_container(node: &Node<'_>) -> bool {
    let holds = |kind: &str| {
        matches!(
            kind,
            "object" | "array" | "inline_table" | "block_mapping" | "block_sequence" | "flow_mapping" | "flow_sequence"
        )
    };
    holds(&node.kind()) || node.children().any(|child| holds(&child.kind()))
}

fn toml(root: &Node<'_>, entries: &mut Vec<Entry>) {
    for child in root.children().filter(Node::is_named) {
        match child.kind().as_ref() {
            "pair" => toml_pair("", &child, entries),
            "table" | "table_array_element" => {
                let mut named = child.children().filter(Node::is_named);
                let Some(key) = named.next() else { continue };
                let path = toml_key(&key);
                let header = child.children().find(|part| matches!(part.kind().as_ref(), "]" | "]]"));
                let header_end = header.map_or_else(|| key.range().end, |part| part.range().end);
                let pairs = child.children().filter(|part| part.kind() == "pair").collect::<Vec<_>>();
                entries.push(Entry {
                    path: path.clone(),
                    value: None,
                    range: child.range().start..header_end,
                    written: header_end..header_end,
                    end: pairs.last().map_or(header_end, |pair| pair.range().end),
                });
                pairs.iter().for_each(|pair| toml_pair(&path, pair, entries));
            }
            _ => {}
        }
    }
}

fn toml_pair(section: &str, pair: &Node<'_>, entries: &mut Vec<Entry>) {
    let mut named = pair.children().filter(|part| part.is_named() && part.kind() != "comment");
    let (Some(key), Some(held)) = (named.next(), named.next()) else { return };
    let path = join(section, &toml_key(&key));
    let container = is_container(&held);
    entries.push(Entry {
        path: path.clone(),
        value: (!container).then(|| scalar(&held.text())),
        range: pair.range().start..if container { key.range().end } else { held.range().end },
        written: held.range(),
        end: pair.range().end,
    });
    if held.kind() == "array" {
        items(&path, &held, entries);
    }
    toml_pairs_below(&path, &held, entries);
}

fn toml_pairs_below(path: &str, node: &Node<'_>, entries: &mut Vec<Entry>) {
    for child in node.children().filter(Node::is_named) {
        if child.kind() == "pair" { toml_pair(path, &child, entries) } else { toml_pairs_below(path, &child, entries) }
    }
}

fn toml_key(key: &Node<'_>) -> String {
    if key.kind() != "dotted_key" {
        return scalar(&key.text());
    }
    let parts = key.children().filter(Node::is_named).map(|part| toml_key(&part));
    parts.collect::<Vec<_>>().join(".")
}

/// A value without its quotes. Escapes are read where JSON's reading fits, else kept as written.
fn scalar(text: &str) -> String {
    let text = text.trim();
    for quotes in ["\"\"\"", "'''", "\"", "'"] {
        let inner = text.strip_prefix(quotes).and_then(|rest| rest.strip_suffix(quotes));
        if let Some(inner) = inner {
            return if quotes == "\"" {
                serde_json::from_str(text).unwrap_or_else(|_| inner.to_owned())
            } else {
                inner.to_owned()
            };
        }
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::parse::parse;

    fn values(language: LanguageName, text: &str) -> Vec<(String, Option<String>)> {
        let parsed = parse(language, text).expect("small");
        let entries = read(language, &parsed).expect("no syntax error");
        entries.into_iter().map(|entry| (entry.path, entry.value)).collect()
    }

    fn some(path: &str, value: &str) -> (String, Option<String>) {
        (path.to_owned(), Some(value.to_owned()))
    }

    fn none(path: &str) -> (String, Option<String>) {
        (path.to_owned(), None)
    }

    #[test]
    fn toml_tables_dotted_keys_and_lists_are_paths() {
        let text = "a = 1\n[t.u] # c\nb = \"x\\ty\"\nc.d = 'z'\ne = [\"p\", 2]\nf = { g = true }\n[[l]]\nm = 1\n";
        assert_eq!(
            values(LanguageName::Toml, text),
            [
                some("a", "1"),
                none("t.u"),
                some("t.u.b", "x\ty"),
                some("t.u.c.d", "z"),
                none("t.u.e"),
                some("t.u.e", "p"),
                some("t.u.e", "2"),
                none("t.u.f"),
                some("t.u.f.g", "true"),
                none("l"),
                some("l.m", "1"),
            ]
        );
    }

    #[test]
    fn yaml_and_json_are_read_alike() {
        let expected = [
            none("s"),
            none("s.web"),
            some("s.web.restart", "always"),
            none("s.web.ports"),
            some("s.web.ports", "80"),
            some("s.web.ports", "81"),
            none("s.web.list"),
            some("s.web.list.x", "1"),
        ];
        let yaml =
            "s:\n  web:\n    restart: \"always\" # c\n    ports:\n      - 80\n      - 81\n    list:\n      - x: 1\n";
        assert_eq!(values(LanguageName::Yaml, yaml), expected);
        let json = r#"{"s": {"web": {"restart": "always", "ports": [80, 81], "list": [{"x": 1}]}}}"#;
        assert_eq!(values(LanguageName::Json, json), expected);
    }

    #[test]
    fn a_file_with_a_syntax_error_has_no_keys_and_lacks_none() {
        let parsed = parse(LanguageName::Toml, "a = = 1\n").expect("small");
        assert_eq!(read(LanguageName::Toml, &parsed), None);
    }
}
