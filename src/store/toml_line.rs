//! Where a mistake in a TOML file is, for a person with an editor.

/// The line (from 1) of a mistake in `text`, and what is wrong, in one line.
pub(super) fn mistake(text: &str, error: &toml::de::Error) -> (usize, String) {
    let at = error.span().map_or(0, |span| span.start).min(text.len());
    let line = text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
    (line, with_hint(&error.message().replace('\n', " ")))
}

/// "unknown field `comand`, expected one of ..." is of more use with the nearest name than with all of them.
fn with_hint(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let (Some(wrong), true) = (quoted.next(), message.starts_with("unknown ")) else { return message.to_owned() };
    let likeness = |known: &str| strsim::normalized_damerau_levenshtein(known, wrong);
    let near = quoted.map(|known| (likeness(known), known)).max_by(|one, other| one.0.total_cmp(&other.0));
    match near.filter(|(likeness, _)| *likeness > 0.6) {
        Some((_, near)) => {
            let what = message.split_once(", expected").map_or(message, |(what, _)| what);
            format!("{what}, did you mean `{near}`?")
        }
        None => message.to_owned(),
    }
}
