//! Text that somebody else wrote: what is refused when it arrives, and how the rest is shown.

use std::borrow::Cow;

/// A character that free text may not hold.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("character U+{code:04X} at byte {at} is not allowed in text")]
pub struct ForbiddenChar {
    /// The code point.
    pub code: u32,
    /// Its byte offset.
    pub at: usize,
}

/// Control, direction-changing, invisible and non-characters: they let a text look like another one,
/// or command the terminal that shows it.
fn is_forbidden(c: char) -> bool {
    match c {
        '\n' | '\t' => false,
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' => true,
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2028}' | '\u{2029}' => true,
        '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{fdd0}'..='\u{fdef}' => true,
        '\u{e0000}'..='\u{e007f}' => true,
        _ => (c as u32) & 0xfffe == 0xfffe,
    }
}

/// Refuses text with a forbidden character.
///
/// # Errors
/// The first forbidden character and where it is.
pub fn check(text: &str) -> Result<(), ForbiddenChar> {
    // Nearly all text is plain ASCII, and bytes are looked at faster than characters.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\t')) {
        return Ok(());
    }
    match text.char_indices().find(|&(_, c)| is_forbidden(c)) {
        Some((at, c)) => Err(ForbiddenChar { code: c as u32, at }),
        None => Ok(()),
    }
}

/// Makes any foreign text safe to show on a terminal or in a log: forbidden characters appear as
/// `\u{..}`; line breaks and tabs stay. The one place that does it.
#[must_use]
pub fn display(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_forbidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_forbidden(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// Escapes what may not be shown in a finished JSON document: the document means the same and is safe on a terminal.
#[must_use]
pub fn json_escaped(document: &str) -> Cow<'_, str> {
    if !document.chars().any(is_forbidden) {
        return Cow::Borrowed(document);
    }
    let mut escaped = String::with_capacity(document.len() + 16);
    for c in document.chars() {
        if is_forbidden(c) {
            // Outside ASCII such a character only stands in strings; JSON itself escapes the others.
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// As [`display`], and in one line: line breaks and tabs become single spaces.
#[must_use]
pub fn display_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for word in display(text).split(['\n', '\t']).filter(|w| !w.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}

/// As [`display_line`] for bytes that may not be UTF-8, such as file names and server messages.
#[must_use]
pub fn display_bytes(bytes: &[u8]) -> String {
    display_line(&String::from_utf8_lossy(bytes))
}

/// An error and its causes in one safe line, each layer said once.
#[must_use]
pub fn error_line(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = cause.source();
    }
    display_line(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t16_forbidden_characters_are_refused_and_named() {
        for bad in [
            "\u{0}",
            "a\u{1b}[2J",
            "\r",
            "\u{9b}",
            "\u{202e}",
            "\u{2066}",
            "\u{200b}",
            "\u{feff}",
            "\u{fffe}",
            "\u{1ffff}",
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
        assert_eq!(check("ab\u{202e}"), Err(ForbiddenChar { code: 0x202e, at: 2 }));
        assert!(check("plain\n\ttext, naïve, 日本語, 🙂").is_ok());
    }

    #[test]
    fn t23_escaped_json_means_the_same() {
        let value = serde_json::Value::String("\u{1b}[2J\u{9b}31m\u{202e}\u{e0041}\u{1ffff}ä".to_owned());
        let document = value.to_string();
        let escaped = json_escaped(&document);
        assert_eq!(check(&escaped), Ok(()));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).expect("JSON"), value);
    }

    #[test]
    fn t23_shown_text_has_no_control_byte_but_line_breaks() {
        let hostile = "\u{1b}[2J\u{1b}]52;c;aGk=\u{7}\r\u{9b}31mred\u{202e}";
        let shown = display(hostile);
        assert!(shown.bytes().all(|b| b >= 0x20 || b == b'\n' || b == b'\t'));
        assert!(!shown.contains('\u{9b}'));
        assert!(shown.contains("\\u{1b}[2J"));
        assert_eq!(display_line("a\n\tb"), "a b");
    }
}
