//! Where a mistake in a TOML file is, for a person with an editor.

/// The line (from 1) of a mistake in `text`, and what is wrong, in one line.
pub(super) fn mistake(text: &str, error: &toml::de::Error) -> (usize, String) {
    let at = error.span().map_or(0, |span| span.start).min(text.len());
    let line = text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
    let said = error.message().replace('\n', " ");
    (line, guess(&said).unwrap_or(said))
}

/// Of a name that is not known and the list of those that are, the likeliest one instead of the list.
fn guess(said: &str) -> Option<String> {
    let (before, known) = said.split_once(", expected ")?;
    let wrong = before.strip_prefix("unknown field `").or_else(|| before.strip_prefix("unknown variant `"))?;
    let wrong = wrong.strip_suffix('`')?;
    let likeness = |name: &str| strsim::normalized_damerau_levenshtein(name, wrong);
    let names = known.split('`').skip(1).step_by(2);
    let nearest =
        names.filter(|name| likeness(name) > 0.6).max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
    nearest.map(|name| format!("{before}, did you mean `{name}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_nearly_known_is_answered_with_that_one() {
        let said = "unknown field `comand`, expected one of `http`, `command`, `comment`";
        assert_eq!(guess(said).as_deref(), Some("unknown field `comand`, did you mean `command`?"));
        assert_eq!(
            guess("unknown variant `aply`, expected `apply` or `observe`").as_deref(),
            Some("unknown variant `aply`, did you mean `apply`?")
        );
        for other in [
            "unknown field `tea`, expected one of `http`, `log`",
            "missing field `name`",
            "unknown field `x`, there are no fields",
            "",
        ] {
            assert_eq!(guess(other), None, "{other}");
        }
    }
}
