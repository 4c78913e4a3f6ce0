//! `mesh config`: checked with file and line, shown merged.

use super::{CliError, Context, ExitKind, Outcome, out};
use crate::agent::rules;
use crate::domain::foreign_text::error_line;
use crate::store::config::{Config, ConfigError};
use crate::store::home::Home;

/// What to do.
#[derive(clap::Subcommand, Debug)]
pub(super) enum Action {
    /// Check every file; the first mistake of each is named with its line
    Check,
    /// Show what results from all files
    Show,
}

pub(super) fn run(context: &Context, action: &Action) -> Outcome {
    let home = context.home()?;
    let config = match Config::load(&home) {
        Ok(config) => config,
        Err(error) => return Err(mistakes(&home, &error)),
    };
    let warnings = || {
        let unread = Config::unread(&home);
        let unread = unread.iter().map(|path| format!("{} is not read: its name must end in .toml", path.display()));
        let users = rules::users(&config).1;
        config.weaknesses().into_iter().chain(unread).chain(users).collect::<Vec<String>>()
    };
    let unknown = rules::users(&config).0;
    if matches!(action, Action::Check) && !unknown.is_empty() {
        return Err(CliError::new(ExitKind::Usage, unknown.join("\n  ")));
    }
    match action {
        Action::Check if context.json => {
            let warnings = warnings();
            out::json(&serde_json::json!({ "ok": true, "home": home.root(), "warnings": warnings }));
        }
        Action::Check => {
            let warnings = warnings();
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

/// The first mistake of each file, a line each.
fn mistakes(home: &Home, first: &ConfigError) -> CliError {
    let all = Config::mistakes(home);
    let mut lines: Vec<String> = all.iter().map(|one| error_line(one)).collect();
    if lines.is_empty() {
        // Somebody mended it in between.
        lines.push(error_line(first));
    }
    CliError::new(ExitKind::Usage, lines.join("\n  "))
}
