//! What is told to people: notices, in threads, and the letters that carry them.

mod channel;
mod quiet;
mod template;

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use channel::{Act, Policy, State};
pub use quiet::{QuietHours, QuietHoursError};
pub use template::{FIELDS, Template};

/// How much it matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Info,
    /// To be looked at.
    Warning,
    /// To be looked at now.
    Critical,
}

impl Severity {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// How its thread stands after a notice.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Something is wrong and goes on: it may be told again.
    Open,
    /// It is over.
    Over,
    /// It stands for itself.
    Once,
}

/// Something that people are to know.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Notice {
    /// When it happened.
    pub at: Timestamp,
    /// What it is about: notices of one incident have one thread.
    pub thread: String,
    /// How the thread stands after it.
    pub standing: Standing,
    /// How much it matters.
    pub severity: Severity,
    /// The part of the host: a service, a folder, a rule. It is what channels choose by.
    pub area: String,
    /// One line. Foreign text in it was made fit to be shown.
    pub title: String,
    /// More of it; may be empty.
    pub text: String,
}

/// A notice with its place in the queue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Queued {
    /// Its number, growing.
    pub id: u64,
    /// What it says.
    pub notice: Notice,
}

/// What is sent at once: one notice or several.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Letter {
    /// The host that speaks.
    pub host: String,
    /// One line for all of it.
    pub title: String,
    /// The lines below it.
    pub text: String,
    /// The highest of its notices.
    pub severity: Severity,
    /// The notices.
    pub notices: Vec<Notice>,
}

/// Most notices that a letter spells out.
const SPELLED: usize = 20;

impl Letter {
    /// A letter of `notices`, in order; `lost` were dropped from a full queue before them. `None` when there is nothing
    /// to say.
    #[must_use]
    pub fn of(host: &str, notices: Vec<Notice>, lost: u64, again: bool) -> Option<Self> {
        let severity = notices.iter().map(|notice| notice.severity).max()?;
        let again = if again { "still: " } else { "" };
        let (title, mut lines) = match notices.as_slice() {
            [one] => {
                (format!("[{host}] {again}{}", one.title), one.text.lines().map(ToOwned::to_owned).collect::<Vec<_>>())
            }
            many => {
                let line = |notice: &Notice| format!("{}: {}", notice.severity, notice.title);
                let mut lines: Vec<String> = many.iter().take(SPELLED).map(line).collect();
                if many.len() > SPELLED {
                    lines.push(format!("and {} more: `mesh incident list`", many.len() - SPELLED));
                }
                (format!("[{host}] {again}{} notices, the worst is {severity}", many.len()), lines)
            }
        };
        if lost > 0 {
            lines.push(format!("{lost} earlier notices were dropped: the queue was full"));
        }
        Some(Self { host: host.to_owned(), title, text: lines.join("\n"), severity, notices })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(title: &str, severity: Severity) -> Notice {
        Notice {
            at: Timestamp::UNIX_EPOCH,
            thread: "t".into(),
            standing: Standing::Once,
            severity,
            area: "web".into(),
            title: title.into(),
            text: "more".into(),
        }
    }

    #[test]
    fn one_notice_speaks_for_itself_and_many_are_a_list_with_the_worst_first_in_the_title() {
        let one = Letter::of("a", vec![notice("down", Severity::Warning)], 0, false).expect("a letter");
        assert_eq!((one.title.as_str(), one.text.as_str()), ("[a] down", "more"));
        let notices = vec![notice("down", Severity::Info), notice("full", Severity::Critical)];
        let two = Letter::of("a", notices, 3, true).expect("a letter");
        assert_eq!(two.title, "[a] still: 2 notices, the worst is critical");
        assert_eq!(two.text, "info: down\ncritical: full\n3 earlier notices were dropped: the queue was full");
        assert_eq!(Letter::of("a", vec![], 0, false), None);
        let many = Letter::of("a", vec![notice("x", Severity::Info); SPELLED + 2], 0, false).expect("a letter");
        assert!(many.text.ends_with("and 2 more: `mesh incident list`"), "{}", many.text);
    }
}
