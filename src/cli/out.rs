//! The one door to the terminal.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the one door to the terminal")]

use serde::Serialize;

use super::{CliError, Context};
use crate::domain::foreign_text::display;

/// Prints one line of text; control characters of foreign origin are made visible.
pub(super) fn line(text: impl AsRef<str>) {
    println!("{}", display(text.as_ref()));
}

/// Prints `value` as JSON.
pub(super) fn json(value: &impl Serialize) {
    println!("{}", serde_json::to_string_pretty(value).expect("listings hold only text, numbers and lists"));
}

/// Prints a remark on standard error, so that listings stay clean.
pub(super) fn note(text: impl AsRef<str>) {
    eprintln!("{}", display(text.as_ref()));
}

/// Prints why a command failed.
pub(super) fn error(context: &Context, error: &CliError) {
    if context.json {
        let value = serde_json::json!({
            "error": { "code": error.kind.name(), "message": error.message, "hint": error.hint }
        });
        eprintln!("{value}");
        return;
    }
    eprintln!("mesh: {}", display(&error.message));
    if let Some(hint) = &error.hint {
        eprintln!("  {}", display(hint));
    }
}
