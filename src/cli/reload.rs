//! `mesh reload`: the running agent reads its configuration again, and says what it made of it.

use std::time::Duration;

use serde_json::json;

use super::{CliError, Context, ExitKind, Outcome, exit_kind, out};
use crate::agent::reload::{self, Reloaded};
use crate::domain::lesson::parse_span;

/// How long to wait.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// How long to wait for the agent, which finishes a round first
    #[arg(long, default_value = "30s", value_name = "SPAN")]
    wait: String,
}

pub(super) fn run(context: &Context, args: &Args) -> Outcome {
    let wait: Duration = parse_span(&args.wait)
        .ok_or_else(|| CliError::new(ExitKind::Usage, format!("`{}` is not a span", args.wait)).hint("such as 30s"))?;
    // A mistake is told here, with its line; the agent need not be asked to find it too.
    let parts = match context.open() {
        Err(error) if error.kind == ExitKind::Usage => {
            return Err(error.hint("nothing was asked of the agent: it goes on with the configuration that it has"));
        }
        opened => opened?,
    };
    let reloaded = reload::ask(&parts, wait).map_err(|error| match &error {
        reload::ReloadError::Parts(cause) => CliError::of(exit_kind(cause), &error),
        reload::ReloadError::Signal { .. } => CliError::of(ExitKind::Error, &error),
    })?;
    match reloaded {
        Reloaded::Taken if context.json => out::json(&json!({ "reloaded": true })),
        Reloaded::Taken => out::line("The agent has taken the new configuration."),
        Reloaded::Kept(why) => {
            return Err(CliError::new(ExitKind::Usage, format!("the agent keeps the configuration before: {why}")));
        }
        Reloaded::Asked => {
            let error =
                CliError::new(ExitKind::Error, format!("the agent was told, and has not answered in {}", args.wait));
            return Err(error.hint("it finishes its round first; `mesh reload --wait 10m` waits for longer"));
        }
        Reloaded::NoAgent => {
            let error = CliError::new(ExitKind::Error, "no agent runs in this home");
            return Err(error.hint("`mesh run` starts one, with the configuration as it is now"));
        }
    }
    Ok(ExitKind::Ok)
}
