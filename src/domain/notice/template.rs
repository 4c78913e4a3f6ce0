//! The body of a webhook as a person writes it: text with fields of the letter in braces.

use serde::{Deserialize, Serialize};

use super::Letter;

/// The fields of a letter that a template can name.
pub const FIELDS: [&str; 7] = ["host", "title", "text", "severity", "thread", "area", "at"];

/// A template that names no field that there is not.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template(String);

impl TryFrom<String> for Template {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if let Some(unknown) = named(&text).find(|name| !FIELDS.contains(name)) {
            let likeness = |field: &str| strsim::normalized_damerau_levenshtein(field, unknown);
            let near = FIELDS.into_iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
            let hint = match near.filter(|near| likeness(near) > 0.6) {
                Some(near) => format!("did you mean `{{{near}}}`?"),
                None => format!("there are {}", FIELDS.map(|field| format!("`{{{field}}}`")).join(", ")),
            };
            return Err(format!("`template` names `{{{unknown}}}`, which is no field of a letter: {hint}"));
        }
        Ok(Self(text))
    }
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        template.0
    }
}

/// What stands in braces like a field: words of JSON are in quotes, so that no object of it looks like this.
fn named(text: &str) -> impl Iterator<Item = &str> {
    let inside = text.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name);
    inside.filter(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))
}

impl Template {
    /// The template with every field of `letter` filled in through `escape`. What stands in another pair of braces stays.
    #[must_use]
    pub fn fill(&self, letter: &Letter, escape: impl Fn(&str) -> String) -> String {
        let mut out = String::new();
        let mut rest = self.0.as_str();
        while let Some(start) = rest.find('{') {
            let (before, from) = rest.split_at(start);
            out.push_str(before);
            let value = from.find('}').and_then(|end| Some((end, field(letter, &from[1..end])?)));
            match value {
                Some((end, value)) => {
                    out.push_str(&escape(&value));
                    rest = &from[end + 1..];
                }
                None => {
                    out.push('{');
                    rest = &from[1..];
                }
            }
        }
        out + rest
    }
}

fn field(letter: &Letter, name: &str) -> Option<String> {
    let last = letter.notices.last();
    Some(match name {
        "host" => letter.host.clone(),
        "title" => letter.title.clone(),
        "text" => letter.text.clone(),
        "severity" => letter.severity.to_string(),
        "thread" => last.map(|notice| notice.thread.clone()).unwrap_or_default(),
        "area" => last.map(|notice| notice.area.clone()).unwrap_or_default(),
        "at" => last.map(|notice| notice.at.to_string()).unwrap_or_default(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::super::{Notice, Severity, Standing};
    use super::*;

    fn letter(title: &str) -> Letter {
        let notice = Notice {
            at: Timestamp::UNIX_EPOCH,
            thread: "incident/7".into(),
            standing: Standing::Once,
            severity: Severity::Warning,
            area: "web".into(),
            title: title.into(),
            text: "more".into(),
        };
        Letter::of("a", vec![notice], 0, false).expect("a letter")
    }

    fn template(text: &str) -> Template {
        Template::try_from(text.to_owned()).expect("sound")
    }

    #[test]
    fn i3_every_field_is_filled() {
        let filled = FIELDS.map(|field| template(&format!("<{{{field}}}>")).fill(&letter("down"), str::to_owned));
        assert_eq!(
            filled,
            ["<a>", "<[a] down>", "<more>", "<warning>", "<incident/7>", "<web>", "<1970-01-01T00:00:00Z>"]
        );
    }

    #[test]
    fn a_template_is_filled_once_and_values_are_not_read_as_templates() {
        let template = template("{\"t\": \"{title}\", \"s\": \"{severity}\", {X} {");
        let json = template.fill(&letter("{host} \"q\""), |text| text.replace('"', "\\\""));
        assert_eq!(json, "{\"t\": \"[a] {host} \\\"q\\\"\", \"s\": \"warning\", {X} {");
    }

    #[test]
    fn i3_a_field_that_there_is_not_is_named_with_the_nearest() {
        let refused = |text: &str| Template::try_from(text.to_owned()).expect_err(text);
        assert!(refused("{\"t\":\"{titel}\"}").ends_with("did you mean `{title}`?"));
        assert!(
            refused("{\"t\":\"{title} {x}\"}")
                .contains("names `{x}`, which is no field of a letter: there are `{host}`")
        );
        for sound in ["{}", "{\"a\":{\"b\":{}}}", "{\"a\": 1}", "{ a }", "{host}{at}", "}{"] {
            assert!(Template::try_from(sound.to_owned()).is_ok(), "{sound}");
        }
    }
}
