//! Where a mistake in a TOML file is, for a person with an editor.

/// The line (from 1) of a mistake in `text`, and what is wrong, in one line.
pub(super) fn mistake(text: &str, error: &toml::de::Error) -> (usize, String) {
    let at = error.span().map_or(0, |span| span.start).min(text.len());
    let line = text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
    (line, error.message().replace('\n', " "))
}
