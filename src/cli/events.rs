//! `mesh events`: what happened to services and by rules, asked by name, rule and time.

use std::time::Duration;

use serde_json::json;

use super::table::{Table, age};
use super::{Context, ExitKind, Outcome, out};
use crate::domain::lesson::parse_span;
use crate::store::events::Asked;

/// What is asked for.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Only of this service or target
    #[arg(long, visible_alias = "service", value_name = "NAME")]
    target: Option<String>,
    /// Only of this rule
    #[arg(long, value_name = "N")]
    rule: Option<u32>,
    /// Only of the last span, such as 6h
    #[arg(long, value_name = "SPAN", value_parser = span)]
    since: Option<Duration>,
    /// Only what is older than this span
    #[arg(long, value_name = "SPAN", value_parser = span)]
    until: Option<Duration>,
    /// The newest of them, at most this many
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    most: u32,
}

fn span(text: &str) -> Result<Duration, String> {
    parse_span(text).ok_or_else(|| "must be a span such as 30m, 2h or 1d".to_owned())
}

pub(super) fn run(context: &Context, args: &Args) -> Outcome {
    let parts = context.open()?;
    let now = parts.now().as_millisecond();
    let before = |span: Duration| now.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX));
    let asked = Asked {
        name: args.target.clone(),
        rule: args.rule,
        since: args.since.map(before),
        until: args.until.map(before),
        most: args.most,
    };
    let found = parts.db.events(&asked)?;
    if context.json {
        out::json(&json!({ "events": found }));
        return Ok(ExitKind::Ok);
    }
    if found.is_empty() {
        out::line("Nothing of that happened here.");
        return Ok(ExitKind::Ok);
    }
    let mut table = Table::new(&["AGO", "NAME~", "RULE", "EVENT", "WHAT~"]);
    for one in found {
        let rule = one.rule.map(|rule| rule.to_string()).unwrap_or_default();
        table.row([age((now - one.at) / 1_000), one.name, rule, one.event, one.what]);
    }
    table.lines().iter().for_each(out::line);
    Ok(ExitKind::Ok)
}
