//! An invariant: something that is always to be so, of the user's state or of mesh's own. It is looked at now and then,
//! and told of while it is not so; nothing is ever done about it.

use std::path::PathBuf;

use serde::Deserialize;

use crate::domain::expr::Claim;
use crate::domain::foreign_text;

/// What is looked at.
#[derive(Clone, PartialEq, Debug)]
pub enum Asserts {
    /// A claim over what was measured.
    Claim(Box<Claim>),
    /// A program that ends with 0 while it is so.
    Command(Vec<String>),
}

/// One assertion.
#[derive(Clone, PartialEq, Debug)]
pub struct Invariant {
    /// Its name.
    pub name: String,
    /// Why it must be so.
    pub because: String,
    /// What is looked at.
    pub asserts: Asserts,
    /// Where a command runs.
    pub dir: PathBuf,
}

/// An assertion as it is written: `when` or `command`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InvariantText {
    name: String,
    because: String,
    when: Option<String>,
    command: Option<Vec<String>>,
    #[serde(default)]
    dir: Option<PathBuf>,
}

impl InvariantText {
    /// Checks it.
    ///
    /// # Errors
    /// The key with the mistake, and the mistake in one sentence.
    pub fn check(self) -> Result<Invariant, (&'static str, String)> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if self.name.is_empty() || self.name.len() > 40 || !self.name.bytes().all(plain) {
            return Err(("name", "must be 1 to 40 of a-z, 0-9 and -".to_owned()));
        }
        if self.because.trim().is_empty() || foreign_text::check(&self.because).is_err() {
            return Err(("because", "must say why, in plain text".to_owned()));
        }
        let asserts = match (self.when, self.command) {
            (Some(text), None) => {
                Asserts::Claim(Box::new(Claim::compile(&text).map_err(|error| ("when", error.to_string()))?))
            }
            (None, Some(argv)) if argv.first().is_some_and(|program| !program.is_empty()) => Asserts::Command(argv),
            _ => return Err(("when", "an invariant has either `when` or a `command` with a program".to_owned())),
        };
        let dir = self.dir.unwrap_or_else(|| PathBuf::from("/"));
        Ok(Invariant { name: self.name, because: self.because, asserts, dir })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<Invariant, String> {
        let text: InvariantText = toml::from_str(text).map_err(|error| error.to_string())?;
        text.check().map_err(|(key, why)| format!("{key}: {why}"))
    }

    #[test]
    fn an_invariant_is_a_claim_or_a_command() {
        let sound = "name = \"a\"\nbecause = \"b\"\nwhen = 'last(\"host.disk.used_percent\") < 99'";
        assert!(matches!(checked(sound).expect("sound").asserts, Asserts::Claim(_)));
        assert!(matches!(
            checked("name = \"a\"\nbecause = \"b\"\ncommand = [\"true\"]").expect("sound").asserts,
            Asserts::Command(_)
        ));
        for (text, expected) in [
            ("name = \"a\"\nbecause = \"b\"", "either `when` or"),
            ("name = \"a\"\nbecause = \"b\"\ncommand = []", "either `when` or"),
            ("name = \"a\"\nbecause = \"b\"\nwhen = '1 < 2'", "constant"),
            ("name = \"A\"\nbecause = \"b\"\ncommand = [\"true\"]", "name: must be"),
            ("name = \"a\"\nbecause = \" \"\ncommand = [\"true\"]", "because: must say why"),
            ("name = \"a\"\ncommand = [\"true\"]", "missing field `because`"),
        ] {
            let refused = checked(text).expect_err(text);
            assert!(refused.contains(expected), "{text}: {refused}");
        }
    }
}
