//! `mesh maintenance`: for a while rules leave alone what people work on, and nobody is told of it.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::json;

use super::table::Table;
use super::{CliError, Context, ExitKind, Outcome, out};
use crate::agent::maintenance;
use crate::domain::lesson::parse_span;
use crate::domain::maintenance::Window;
use crate::store::maintenance::check;

/// What to do.
#[derive(clap::Subcommand, Debug)]
pub(super) enum Action {
    /// List the windows that are open or still to come
    List,
    /// Begin a window; it ends by itself
    Start {
        /// Its name
        name: String,
        /// How long it lasts, such as 2h
        #[arg(long = "for", value_name = "SPAN", value_parser = span)]
        span: Duration,
        /// A target or service that it is about
        #[arg(long = "target", value_name = "NAME")]
        targets: Vec<String>,
        /// All that have this tag
        #[arg(long = "tag", value_name = "TAG")]
        tags: Vec<String>,
        /// Every target and service
        #[arg(long, conflicts_with_all = ["targets", "tags"])]
        all: bool,
        /// Why, for whoever wonders at the silence
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// End a window that was begun by this command
    End {
        /// Its name
        name: String,
    },
}

fn span(text: &str) -> Result<Duration, String> {
    parse_span(text).filter(|span| !span.is_zero()).ok_or_else(|| "must be a span such as 30m, 2h or 1d".to_owned())
}

pub(super) fn run(context: &Context, action: &Action) -> Outcome {
    match action {
        Action::List => list(context),
        Action::Start { name, span, targets, tags, all, reason } => {
            let window = Window {
                name: name.clone(),
                from: None,
                until: jiff::Timestamp::MAX,
                all: *all,
                targets: targets.clone(),
                tags: tags.clone(),
                why: reason.clone(),
            };
            start(context, window, *span)
        }
        Action::End { name } => end(context, name),
    }
}

fn start(context: &Context, mut window: Window, span: Duration) -> Outcome {
    let mut parts = context.open()?;
    let now = parts.now();
    let usage = |why: String| CliError::new(ExitKind::Usage, why);
    let until = SignedDuration::try_from(span).ok().and_then(|span| now.checked_add(span).ok());
    window.until = until.ok_or_else(|| usage("the window would end beyond all time".to_owned()))?;
    check(&window).map_err(usage)?;
    let known = maintenance::known(&parts);
    if let Some(name) = window.targets.iter().find(|name| !known.contains_key(*name)) {
        let names = known.keys().cloned().collect::<Vec<_>>().join(", ");
        return Err(usage(format!("no target or service `{name}` in the configuration"))
            .hint(format!("there are: {}", if names.is_empty() { "none" } else { &names })));
    }
    let has = |tag: &&String| known.values().any(|known| known.tags.contains(tag)) || parts.config.tags.contains(tag);
    if let Some(tag) = window.tags.iter().find(|tag| !has(tag)) {
        return Err(usage(format!("no target or service has the tag `{tag}`"))
            .hint("add `tags` to `[[service]]`, `[[target]]`, or to the top of the configuration"));
    }
    // What the agent took over may be older than the configuration.
    maintenance::configure(&mut parts)?;
    parts.db.begin_maintenance(window.clone(), now)?;
    if context.json {
        out::json(&json!({ "window": window }));
    } else {
        out::line(format!("Begun: {}. Rules leave it alone, and nobody is told of it before the end.", window.words()));
    }
    Ok(ExitKind::Ok)
}

fn list(context: &Context) -> Outcome {
    let parts = context.open()?;
    let now = parts.now();
    let mut windows = parts.db.maintenance()?.windows;
    windows.retain(|window| window.until > now);
    if context.json {
        let rows: Vec<_> =
            windows.iter().map(|window| json!({ "open": window.is_open(now), "window": window })).collect();
        out::json(&json!({ "windows": rows }));
        return Ok(ExitKind::Ok);
    }
    if windows.is_empty() {
        out::line("No maintenance window is open or planned.");
        return Ok(ExitKind::Ok);
    }
    let mut table = Table::new(&["NAME", "OPEN", "UNTIL", "WHAT~"]);
    for window in &windows {
        let open = if window.is_open(now) { "yes" } else { "not yet" };
        table.row([window.name.clone(), open.to_owned(), format!("{:.0}", window.until), window.words()]);
    }
    table.lines().iter().for_each(out::line);
    Ok(ExitKind::Ok)
}

fn end(context: &Context, name: &str) -> Outcome {
    let mut parts = context.open()?;
    let ended = parts.db.end_maintenance(name)?;
    if !ended && parts.config.maintenance.iter().any(|window| window.name == name) {
        let error = CliError::new(ExitKind::Usage, format!("window `{name}` is one of the configuration"));
        return Err(error.hint("take `[[maintenance]]` out, then `mesh reload`"));
    }
    if context.json {
        out::json(&json!({ "name": name, "ended": ended }));
    } else {
        out::line(if ended { format!("{name} is over.") } else { format!("There was no window `{name}`.") });
    }
    Ok(ExitKind::Ok)
}
