//! `mesh pause` and `mesh resume`: nothing is changed by mesh until a person says so, or a time comes. Audits and
//! alarms go on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::SignedDuration;
use serde_json::json;

use super::{CliError, Context, ExitKind, Outcome, out};
use crate::agent::undo;
use crate::domain::ledger::Entry;
use crate::domain::lesson::parse_span;

/// How long.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// End by itself after this long, such as 2h
    #[arg(long = "for", value_name = "SPAN", value_parser = span)]
    span: Option<Duration>,
    /// Only for this folder and what is in it; needs --for
    #[arg(long, value_name = "PATH", requires = "span")]
    area: Option<PathBuf>,
    /// Why, for whoever finds mesh paused
    #[arg(long, default_value = "")]
    reason: String,
}

/// Why it ends.
#[derive(clap::Args, Debug)]
pub(super) struct ResumeArgs {
    /// End the pause of this folder, as `mesh status` shows it
    #[arg(long, value_name = "PATH")]
    area: Option<PathBuf>,
    /// Why, for the ledger
    #[arg(long, default_value = "")]
    reason: String,
}

fn span(text: &str) -> Result<Duration, String> {
    parse_span(text).filter(|span| !span.is_zero()).ok_or_else(|| "must be a span such as 30m, 2h or 1d".to_owned())
}

/// The folder or file with every link resolved, as areas are kept.
fn known_folder(path: &Path) -> Result<PathBuf, CliError> {
    let gone = |error| CliError::new(ExitKind::Usage, format!("--area {}: {error}", path.display()));
    path.canonicalize().map_err(gone)
}

pub(super) fn run(context: &Context, args: &Args) -> Outcome {
    let mut parts = context.open()?;
    let moment = parts.clock.moment();
    let until = match args.span {
        Some(span) => {
            let until = SignedDuration::try_from(span).ok().and_then(|span| moment.wall.checked_add(span).ok());
            Some(until.ok_or_else(|| CliError::new(ExitKind::Usage, "the pause would end beyond all time"))?)
        }
        None => None,
    };
    let entry = Entry::Pause { until: until.map(|until| until.as_millisecond()), why: args.reason.clone() };
    let area = args.area.as_deref().map(known_folder).transpose()?;
    match &area {
        Some(area) => parts.db.note_area(&moment, area, &entry)?,
        None => parts.db.note_host(&moment, &entry)?,
    }
    let until = until.map(|until| format!("{until:.0}"));
    if let Some(area) = area {
        let until = until.unwrap_or_default();
        if context.json {
            out::json(
                &json!({ "paused": true, "area": area.to_string_lossy(), "until": until, "reason": args.reason }),
            );
        } else {
            let area = area.display();
            out::line(format!("Paused {area} until {until}: nothing is changed there; audits and alarms go on."));
        }
        return Ok(ExitKind::Ok);
    }
    if context.json {
        out::json(&json!({ "paused": true, "until": until, "reason": args.reason }));
    } else {
        let until = until.map_or_else(|| "until `mesh resume`".to_owned(), |until| format!("until {until}"));
        out::line(format!("Paused {until}: nothing is changed; sync, audits and alarms go on."));
    }
    Ok(ExitKind::Ok)
}

pub(super) fn resume(context: &Context, args: &ResumeArgs) -> Outcome {
    let mut parts = context.open()?;
    let moment = parts.clock.moment();
    if let Some(area) = &args.area {
        // The folder may be gone by now; then its name is enough.
        let area = area.canonicalize().unwrap_or_else(|_| area.clone());
        let was_paused = parts.db.paused_areas(&moment)?.iter().any(|paused| paused.area == area);
        if was_paused {
            parts.db.note_area(&moment, &area, &Entry::Resume { why: args.reason.clone() })?;
        }
        if context.json {
            out::json(&json!({ "paused": false, "area": area.to_string_lossy(), "was_paused": was_paused }));
        } else {
            let said = if was_paused { "resumed" } else { "was not paused by this name; see `mesh status`" };
            out::line(format!("{} {said}.", area.display()));
        }
        return Ok(ExitKind::Ok);
    }
    let was_paused = parts.db.paused(&moment)?.is_some();
    if was_paused {
        parts.db.note_host(&moment, &Entry::Resume { why: args.reason.clone() })?;
    }
    // A rollback that failed is a pause of its own kind: only a person who has looked ends it, and says so.
    let read_only = undo::stopped(&parts)?;
    let looked = !args.reason.trim().is_empty();
    if read_only.is_some() && looked {
        parts.db.note_host(&moment, &Entry::Writable { why: args.reason.clone() })?;
        undo::open_door(&parts)?;
    }
    if let Some(why) = read_only.filter(|_| !looked) {
        let error = CliError::new(ExitKind::Stale, format!("mesh changes nothing any more: {why}"));
        return Err(error.hint("look at it, mend it by hand, then `mesh resume --reason \"what you did\"`"));
    }
    if context.json {
        out::json(&json!({ "paused": false, "was_paused": was_paused }));
    } else {
        out::line(if was_paused { "Resumed." } else { "Mesh was not paused." });
    }
    Ok(ExitKind::Ok)
}
