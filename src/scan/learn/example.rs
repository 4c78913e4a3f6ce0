//! Examples made from the change itself: the function it is in, the same with other names, and near misses.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::domain::detect::LanguageName;
use crate::domain::limits;

use super::holes::is_option;
use super::kinds;
use super::names::{Names, is_called, is_label};
use super::region::Region;
use super::tree::{Id, Tree};

/// Texts to try a lesson on. None of them has been tried yet.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Examples {
    /// The place before the fix.
    pub before: String,
    /// The same place after it.
    pub after: String,
    /// The place before the fix with other names, quotes and neighbours.
    pub respelled: String,
    /// The place before the fix with a comment or a further statement inside, where there is room for one.
    pub crowded: Vec<String>,
    /// The place before the fix with one detail that makes it right, likeliest first.
    pub near_misses: Vec<String>,
}

const OTHER_NAMES: [&str; 10] =
    ["target", "payload", "handle", "entry", "other", "amount", "source", "outcome", "extra", "further"];

/// The function around a region, or the statement at the top of the file; its text starts in column 1.
fn frame(tree: &Tree, region: &Region) -> Id {
    let above: Vec<Id> = tree.above(region.before).collect();
    let fits = |id: &Id| tree.node(*id).range.len() <= limits::TEST_BYTES * 3 / 4;
    if let Some(function) = above.iter().copied().find(|id| kinds::is_function(tree.kind(*id))).filter(fits) {
        return function;
    }
    let statement = above.iter().copied().take_while(|id| !kinds::is_block(tree.kind(*id))).filter(fits).last();
    let top = above.iter().copied().rev().nth(1).filter(fits);
    top.or(statement).unwrap_or(region.before)
}

/// Makes the examples for the first of `regions`; what the fix also replaced in the same place is mended with it.
pub(super) fn examples(
    language: LanguageName,
    before: &Tree,
    after: &Tree,
    names: &Names,
    regions: &[Region],
    needs: &[String],
) -> Examples {
    let Some(region) = regions.first() else { return Examples::default() };
    let frame = frame(before, region);
    let frame_range = before.node(frame).range.clone();
    let header = header(language, before, names, frame, needs);
    let put = |edits: &mut Vec<(Range<usize>, String)>| {
        edits.sort_by_key(|(range, _)| range.start);
        format!("{header}{}\n", before.dedented(&frame_range, edits))
    };
    let mended = |region: &Region| {
        let at = region.before_range(before);
        let indent = indent_of(&before.text, at.start);
        (at, indented(&after.dedented(&region.after_range(after), &[]), &indent))
    };
    let inside = |at: &Range<usize>| frame_range.start <= at.start && at.end <= frame_range.end;
    let mut mended: Vec<_> = regions.iter().map(mended).filter(|(at, _)| inside(at)).collect();
    let mut examples = Examples { before: put(&mut Vec::new()), after: put(&mut mended), ..Examples::default() };
    examples.respelled = format!("{}{}", put(&mut renamed(language, before, names, frame)), respelled_end(language));
    examples.crowded = crowds(language, before, region).into_iter().map(|edit| put(&mut vec![edit])).collect();
    examples.near_misses = misses(before, region).into_iter().map(|edit| put(&mut vec![edit])).collect();
    examples
}

fn respelled_end(language: LanguageName) -> &'static str {
    match language {
        LanguageName::Python | LanguageName::Bash => "\n\n# elsewhere\n",
        _ => "\n\n// elsewhere\n",
    }
}

/// What the file must have for the fix to hold, besides the function itself.
fn header(language: LanguageName, tree: &Tree, names: &Names, frame: Id, needs: &[String]) -> String {
    let mut header = String::new();
    if language == LanguageName::Go {
        header.push_str("package p\n\n");
    }
    let mut imports: Vec<&str> = tree
        .below(frame)
        .filter(|id| kinds::is_identifier(tree.kind(*id)) && !is_label(tree, *id))
        .filter_map(|id| names.import(tree.text_of(id)))
        .collect();
    imports.sort_unstable();
    imports.dedup();
    for line in imports {
        header.push_str(line);
        header.push('\n');
    }
    for id in tree.children(0).iter().copied().filter(|id| *id != frame && tree.node(*id).range.len() < 400) {
        let binds = |need: &String| {
            tree.below(id).any(|part| tree.text_of(part) == need && super::names::is_binding(tree, part))
                || tree.child(id, "name").is_some_and(|name| tree.text_of(name) == need)
        };
        if needs.iter().any(binds) {
            header.push_str(tree.text_of(id));
            header.push('\n');
        }
    }
    if !header.is_empty() && !header.ends_with("\n\n") {
        header.push('\n');
    }
    header
}

fn indent_of(text: &str, at: usize) -> String {
    let start = text[..at].rfind('\n').map_or(0, |at| at + 1);
    let line = &text[start..];
    line[..line.len() - line.trim_start_matches([' ', '\t']).len()].to_owned()
}

/// Every line but the first with this indentation.
fn indented(text: &str, indent: &str) -> String {
    let mut lines = text.split('\n');
    let mut out = lines.next().unwrap_or_default().to_owned();
    for line in lines {
        out.push('\n');
        if !line.trim().is_empty() {
            out.push_str(indent);
        }
        out.push_str(line);
    }
    out
}

/// Other names for variables, other quotes for plain strings.
fn renamed(language: LanguageName, tree: &Tree, names: &Names, frame: Id) -> Vec<(Range<usize>, String)> {
    let mut map: BTreeMap<String, String> = BTreeMap::new();
    let taken: Vec<&str> = tree.below(frame).filter(|id| tree.is_leaf(*id)).map(|id| tree.text_of(id)).collect();
    let mut free = OTHER_NAMES.iter().filter(|name| !taken.contains(name));
    let mut edits = Vec::new();
    let mut inside = 0;
    for id in tree.below(frame) {
        let range = tree.node(id).range.clone();
        if range.start < inside {
            continue;
        }
        let kind = tree.kind(id);
        let text = tree.text_of(id);
        if kind == "identifier" {
            let variable = names.is_local(text) && !names.is_kept(text, is_called(tree, id));
            if variable && !is_label(tree, id) && !matches!(text, "self" | "cls" | "this" | "_") {
                let new = match map.get(text) {
                    Some(new) => new.clone(),
                    None => match free.next() {
                        Some(new) => map.entry(text.to_owned()).or_insert((*new).to_owned()).clone(),
                        None => continue,
                    },
                };
                edits.push((range, new));
            }
        } else if kinds::is_string(kind)
            && matches!(
                language,
                LanguageName::Python | LanguageName::JavaScript | LanguageName::TypeScript | LanguageName::Tsx
            )
        {
            inside = range.end;
            let inner = text.get(1..text.len().saturating_sub(1)).unwrap_or_default();
            let plain = !inner.contains(['"', '\'', '\\', '{', '\n', '`']);
            let statement = tree.parent(id).is_some_and(|parent| tree.kind(parent) == "expression_statement");
            if plain && !statement && text.starts_with('"') {
                edits.push((range, format!("'{inner}'")));
            } else if plain && !statement && text.starts_with('\'') {
                edits.push((range, format!("\"{inner}\"")));
            }
        }
    }
    edits
}

/// A comment at the first statement inside the region, or in its first list of arguments.
fn crowds(language: LanguageName, tree: &Tree, region: &Region) -> Vec<(Range<usize>, String)> {
    let mark = match language {
        LanguageName::Python | LanguageName::Bash => "# keep this",
        _ => "// keep this",
    };
    let mut edits = Vec::new();
    let statement = tree
        .below(region.before)
        .filter(|id| *id != region.before && kinds::is_block(tree.kind(*id)))
        .filter_map(|block| tree.named_children(block).find(|id| !kinds::is_block(tree.kind(*id))))
        .last();
    if let Some(statement) = statement {
        let range = tree.node(statement).range.clone();
        let indent = indent_of(&tree.text, range.start);
        let own_line = tree.text[..range.start].trim_end_matches([' ', '\t']).ends_with('\n');
        if own_line {
            edits.push((range.start..range.start, format!("{mark}\n{indent}")));
            let further = match language {
                LanguageName::Python => Some("print()"),
                LanguageName::Go => Some("println()"),
                LanguageName::Rust => Some("drop(());"),
                LanguageName::JavaScript | LanguageName::TypeScript | LanguageName::Tsx => Some("console.log();"),
                _ => None,
            };
            if let Some(further) = further {
                edits.push((range.end..range.end, format!("\n{indent}{further}")));
            }
        }
    }
    if let Some(list) = tree.below(region.before).find(|id| kinds::is_arguments(tree.kind(*id)))
        && tree.text_of(list).starts_with('(')
        && language != LanguageName::Go
    {
        let at = tree.node(list).range.start + 1;
        let indent = indent_of(&tree.text, at);
        edits.push((at..at, format!("  {mark}\n{indent}    ")));
    }
    edits
}

/// Another option, or another function.
fn misses(tree: &Tree, region: &Region) -> Vec<(Range<usize>, String)> {
    let mut edits = Vec::new();
    for id in tree.below(region.before).filter(|id| kinds::is_string(tree.kind(*id))) {
        let range = tree.node(id).range.clone();
        let text = tree.text_of(id);
        let inner = text.trim_matches(['"', '\'', '`']);
        let argument = tree.parent(id).is_some_and(|parent| kinds::is_arguments(tree.kind(parent)));
        if argument && is_option(inner) && text.len() == inner.len() + 2 {
            let other = if inner == "r" { "a" } else { "r" };
            edits.push((range.start + 1..range.end - 1, other.to_owned()));
        }
    }
    let called = tree.below(region.before).filter(|id| kinds::is_call(tree.kind(*id))).filter_map(|call| {
        let callee = tree.children(call).iter().copied().find(|id| kinds::is_callee_field(tree.node(*id).field()))?;
        tree.below(callee).filter(|id| tree.is_leaf(*id) && tree.node(*id).named).last()
    });
    for name in called.collect::<Vec<_>>() {
        let end = tree.node(name).range.end;
        edits.push((end..end, "_checked".to_owned()));
    }
    // What handles an error: another kind of error.
    for id in tree.below(region.before).filter(|id| kinds::is_handler(tree.kind(*id))) {
        if let Some(name) = tree.named_children(id).find(|id| tree.kind(*id) == "identifier") {
            edits.push((tree.node(name).range.clone(), "StopIteration".to_owned()));
        }
    }
    for id in tree.below(region.before).filter(|id| tree.is_leaf(*id) && kinds::is_number(tree.kind(*id))) {
        edits.push((tree.node(id).range.clone(), "unknown".to_owned()));
    }
    edits
}
