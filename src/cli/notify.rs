//! `mesh notify test`: whether people are reached.

use serde_json::json;

use super::{CliError, Context, ExitKind, Outcome, out};
use crate::agent::notifying;

/// What to do.
#[derive(clap::Subcommand, Debug)]
pub(super) enum Action {
    /// Send a test letter by every channel, or by one
    Test {
        /// The channel's name
        channel: Option<String>,
    },
}

pub(super) fn run(context: &Context, action: &Action) -> Outcome {
    let Action::Test { channel } = action;
    let parts = context.open()?;
    let asked = |name: &str| channel.as_deref().is_none_or(|channel| channel == name);
    let wanted: Vec<_> = parts.config.notify.iter().filter(|known| asked(known.name.as_str())).collect();
    if let (Some(channel), true) = (channel, wanted.is_empty()) {
        let error = CliError::new(ExitKind::Usage, format!("no channel is named {channel}"));
        return Err(error.hint("see `mesh config show`"));
    }
    let (mut rows, mut failed) = (Vec::new(), false);
    for known in wanted {
        let sent = notifying::test(&parts, known, parts.now());
        failed |= sent.is_err();
        let (name, way) = (&known.name, known.way.name());
        let trouble = sent.err().map(|error| error.to_string());
        if !context.json {
            match &trouble {
                None => out::line(format!("{name} ({way}): delivered")),
                Some(why) => out::line(format!("{name} ({way}): not delivered: {why}")),
            }
        }
        rows.push(json!({ "name": name, "way": way, "delivered": trouble.is_none(), "why": trouble }));
    }
    if context.json {
        out::json(&json!({ "channels": rows }));
    } else if rows.is_empty() {
        out::line("No channel is configured: add [[notify]] to the config, as docs/operations.md shows.");
    }
    Ok(if failed { ExitKind::Error } else { ExitKind::Ok })
}
