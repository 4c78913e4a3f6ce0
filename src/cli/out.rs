//! The one door to the terminal.

#![expect(clippy::print_stderr, reason = "the one door to the terminal")]

use std::io::{IsTerminal as _, Write as _};

use serde::Serialize;

use super::{CliError, Context};
use crate::domain::foreign_text::{display, json_escaped};

/// Prints one line of text; control characters of foreign origin are made visible.
pub(super) fn line(text: impl AsRef<str>) {
    put(&display(text.as_ref()));
}

/// Writes one line. Nobody reads it any more when that fails (`mesh audit | head`), which is no reason to fall over.
fn put(text: &str) {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Ok(()) | Err(_) => {}
    }
}

/// Prints `value` as JSON; what may not be shown raw is escaped, so that it means the same.
pub(super) fn json(value: &impl Serialize) {
    let text = serde_json::to_string_pretty(value).expect("listings hold only text, numbers and lists");
    put(&json_escaped(&text));
}

/// Prints a remark on standard error, so that listings stay clean. One that cannot be written, because the disk is full
/// or nobody reads, is no reason for an agent to fall over.
pub(super) fn note(text: impl AsRef<str>) {
    match writeln!(std::io::stderr().lock(), "{}", display(text.as_ref())) {
        Ok(()) | Err(_) => {}
    }
}

/// Whether a person sees standard error as it is written.
pub(super) fn notes_are_seen() -> bool {
    std::io::stderr().is_terminal()
}

/// Shows one line on standard error that the next one takes the place of. An empty one takes it away.
pub(super) fn passing(text: impl AsRef<str>) {
    eprint!("\r\u{1b}[K{}", display(text.as_ref()));
    match std::io::stderr().flush() {
        // A progress line that cannot be shown is no loss.
        Ok(()) | Err(_) => {}
    }
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
