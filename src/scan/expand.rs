//! Variables in messages and templates, replaced in one pass: what is put in is never read again.

use crate::domain::foreign_text;

/// Longest message, in bytes.
const MESSAGE_BYTES: usize = 512;

/// A variable in a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Variable<'v> {
    /// `$NAME` or `${name}`.
    Name(&'v str),
    /// `$$$NAME`.
    Many(&'v str),
    /// `$0` to `$9`.
    Group(u8),
}

enum Part<'v> {
    Text(&'v str),
    Variable(Variable<'v>, &'v str),
}

fn parts(text: &str) -> impl Iterator<Item = Part<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (part, used) = match rest.find('$') {
            Some(0) => variable(rest),
            Some(at) => (Part::Text(&rest[..at]), at),
            None => (Part::Text(rest), rest.len()),
        };
        rest = &rest[used..];
        Some(part)
    })
}

/// Reads what starts with `$`.
fn variable(text: &str) -> (Part<'_>, usize) {
    let upper = |text: &str| {
        let valid = |c: char| c.is_ascii_uppercase() || c == '_' || c.is_ascii_digit();
        let len = text.len() - text.trim_start_matches(valid).len();
        if text.starts_with(|c: char| c.is_ascii_digit()) { 0 } else { len }
    };
    let found = |variable, used| (Part::Variable(variable, &text[..used]), used);
    if let Some(rest) = text.strip_prefix("$$$") {
        let len = upper(rest);
        if len > 0 {
            return found(Variable::Many(&rest[..len]), 3 + len);
        }
    }
    if text.starts_with("$$") {
        return (Part::Text("$"), 2);
    }
    let rest = &text[1..];
    if let Some((name, _)) = rest.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
        let group = name.parse::<u8>().ok().filter(|_| name.len() == 1);
        return found(group.map_or(Variable::Name(name), Variable::Group), name.len() + 3);
    }
    if let Some(digit) = rest.bytes().next().filter(u8::is_ascii_digit) {
        return found(Variable::Group(digit - b'0'), 2);
    }
    match upper(rest) {
        0 => (Part::Text("$"), 1),
        len => found(Variable::Name(&rest[..len]), 1 + len),
    }
}

/// The variables of a text.
pub(super) fn variables(text: &str) -> impl Iterator<Item = Variable<'_>> {
    parts(text).filter_map(|part| match part {
        Part::Variable(variable, _) => Some(variable),
        Part::Text(_) => None,
    })
}

/// Puts values in; a variable without one stays as it is written. Stops soon after `max` bytes: a short
/// text can name a long value many times.
pub(super) fn fill(text: &str, max: usize, value: impl Fn(Variable<'_>) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    for part in parts(text) {
        if out.len() > max {
            break;
        }
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Variable(variable, written) => match value(variable) {
                Some(value) => out.push_str(&value),
                None => out.push_str(written),
            },
        }
    }
    out
}

/// A message in one short line that is safe to show.
pub(super) fn message(text: &str, value: impl Fn(Variable<'_>) -> Option<String>) -> String {
    let mut filled = fill(text, MESSAGE_BYTES, value);
    filled.truncate(filled.floor_char_boundary(MESSAGE_BYTES));
    let mut shown = foreign_text::display_line(&filled);
    shown.truncate(shown.floor_char_boundary(MESSAGE_BYTES));
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t21_values_are_put_in_once_and_not_read_again() {
        let value = |variable: Variable<'_>| match variable {
            Variable::Name("A") => Some("$B".to_owned()),
            Variable::Name("name") => Some("n".to_owned()),
            Variable::Many("LIST") => Some("1, 2".to_owned()),
            Variable::Group(1) => Some("one".to_owned()),
            _ => None,
        };
        assert_eq!(
            fill("$A ${name} $$$LIST $1${1}0 $2 $$ $x $B5 cost $", 99, value),
            "$B n 1, 2 oneone0 $2 $ $x $B5 cost $"
        );
        assert_eq!(message("a\n$A", |_| Some("\u{1b}[2J".into())), "a \\u{1b}[2J");
        assert_eq!(message("$A", |_| Some("ä".repeat(600))).len(), 512);
        assert_eq!(fill("$A$A$A$A", 3, |_| Some("xx".into())), "xxxx");
    }
}
