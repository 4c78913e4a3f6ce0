//! `mesh config`: checked with file and line, shown merged.

use super::{CliError, Context, ExitKind, Outcome, out};
use crate::store::config::Config;

/// What to do.
#[derive(clap::Subcommand, Debug)]
pub(super) enum Action {
    /// Check every file; the first mistake is named with its line
    Check,
    /// Show what results from all files
    Show,
}

pub(super) fn run(context: &Context, action: &Action) -> Outcome {
    let home = context.home()?;
    let config = Config::load(&home).map_err(|error| CliError::of(ExitKind::Usage, &error))?;
    match action {
        Action::Check if context.json => {
            let warnings = config.pace().weaknesses();
            out::json(&serde_json::json!({ "ok": true, "home": home.root(), "warnings": warnings }));
        }
        Action::Check => {
            let warnings = config.pace().weaknesses();
            warnings.iter().for_each(|warning| out::line(format!("warning: {warning}")));
            let but = if warnings.is_empty() { "fine" } else { "in order, with warnings" };
            out::line(format!("{} is {but}.", home.config_file().display()));
        }
        Action::Show if context.json => out::json(&config),
        Action::Show => {
            let text = toml::to_string(&config)
                .map_err(|error| CliError::new(ExitKind::Error, format!("config cannot be shown: {error}")))?;
            out::line(text.trim_end());
        }
    }
    Ok(ExitKind::Ok)
}
