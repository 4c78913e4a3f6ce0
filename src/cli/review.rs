//! `mesh review`: what was predicted, what came of it, and what nobody saw.

use super::{CliError, Context, ExitKind, Outcome, out};
use crate::agent::hindsight;
use crate::agent::parts::Parts;

/// The last review of what was predicted and observed
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Review the time up to now instead of showing the last one
    #[arg(long)]
    now: bool,
}

fn failed(error: &hindsight::HindsightError) -> CliError {
    CliError::of(ExitKind::Error, error)
}

pub(super) fn run(context: &Context, args: &Args) -> Outcome {
    let mut parts = context.open()?;
    if args.now {
        make(&mut parts)?;
    }
    match hindsight::last_review(&parts, context.json).map_err(|error| failed(&error))? {
        Some((_, text)) if context.json => out::json(&serde_json::from_str::<serde_json::Value>(&text)?),
        Some((path, text)) => {
            text.lines().for_each(out::line);
            out::note(format!("from {}", path.display()));
        }
        None if context.json => out::json(&serde_json::json!({ "review": null })),
        None => {
            out::line("No review was made yet: the agent makes one each week, and `mesh review --now` makes one now.");
        }
    }
    Ok(ExitKind::Ok)
}

fn make(parts: &mut Parts) -> Result<(), CliError> {
    let library = parts.library().map_err(|error| CliError::of(ExitKind::Error, &error))?;
    hindsight::make_review(parts, &library.held).map(drop).map_err(|error| failed(&error))
}
