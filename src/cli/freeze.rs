//! `mesh freeze`: areas that are left alone because their changes were taken back one after the other.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use jiff::Timestamp;
use serde_json::json;

use super::table::{Table, age};
use super::{CliError, Context, ExitKind, Outcome, out};

/// What to do.
#[derive(Subcommand, Debug)]
pub(super) enum Ask {
    /// The areas that are frozen, why, and for how long
    List,
    /// End the freeze of an area, or let a lesson go on that too many hosts took back
    Lift {
        /// The area or lesson, as `mesh freeze list` shows it
        area: PathBuf,
        /// Why changes may be made there again
        #[arg(long)]
        reason: String,
    },
}

pub(super) fn run(context: &Context, ask: &Ask) -> Outcome {
    match ask {
        Ask::List => list(context),
        Ask::Lift { area, reason } => lift(context, area, reason),
    }
}

fn list(context: &Context) -> Outcome {
    let parts = context.open()?;
    let moment = parts.clock.moment();
    let frozen = parts.db.frozen(&moment)?;
    let stopped = parts.db.stopped_lessons()?;
    if context.json {
        let rows: Vec<_> = frozen
            .iter()
            .map(|frozen| {
                let at = Timestamp::from_millisecond(frozen.at).map(|at| at.to_string()).unwrap_or_default();
                json!({
                    "area": frozen.area.to_string_lossy(), "why": frozen.why, "frozen_at": at,
                    "left_s": frozen.left.as_secs(),
                })
            })
            .collect();
        let stopped: Vec<_> = stopped
            .iter()
            .map(|stopped| {
                json!({
                    "lesson": stopped.slug, "entry": stopped.entry, "why": stopped.why,
                    "stopped_at": stopped.at.to_string(),
                })
            })
            .collect();
        out::json(&json!({ "frozen": rows, "lessons": stopped }));
        return Ok(ExitKind::Ok);
    }
    for stopped in &stopped {
        out::line(format!("lesson {} is stopped: {}", stopped.slug, stopped.why));
    }
    if frozen.is_empty() {
        if stopped.is_empty() {
            out::line("nothing is frozen");
        }
        return Ok(ExitKind::Ok);
    }
    let mut table = Table::new(&["area~", "left", "why~"]);
    for frozen in &frozen {
        let left = age(i64::try_from(frozen.left.as_secs()).unwrap_or(i64::MAX));
        table.row([frozen.area.to_string_lossy().into_owned(), left, frozen.why.clone()]);
    }
    table.lines().iter().for_each(out::line);
    out::line("The time that is left runs while this machine does.");
    Ok(ExitKind::Ok)
}

fn lift(context: &Context, area: &Path, reason: &str) -> Outcome {
    if reason.trim().is_empty() {
        return Err(CliError::new(ExitKind::Usage, "lifting a freeze needs a reason").hint("--reason \"...\""));
    }
    let mut parts = context.open()?;
    let now = parts.now();
    if let Some(slug) = area.to_str()
        && parts.db.lift_lesson(slug, reason, now)?
    {
        if context.json {
            out::json(&json!({ "lesson": slug, "stopped": false, "reason": reason }));
        } else {
            out::line(format!("Lesson {slug} may go on here. It stops again when more hosts take it back."));
        }
        return Ok(ExitKind::Ok);
    }
    let moment = parts.clock.moment();
    let real = area.canonicalize().unwrap_or_else(|_| area.to_owned());
    let frozen = parts.db.frozen(&moment)?.into_iter().find(|frozen| frozen.area == real || frozen.area == area);
    let Some(frozen) = frozen else {
        let error = CliError::new(ExitKind::Usage, format!("{} is not frozen", area.display()));
        return Err(error.hint("see `mesh freeze list`"));
    };
    parts.db.thaw(&moment, &frozen.area, reason)?;
    if context.json {
        out::json(&json!({ "area": frozen.area.to_string_lossy(), "frozen": false, "reason": reason }));
    } else {
        out::line(format!("{} is no longer frozen.", frozen.area.display()));
    }
    Ok(ExitKind::Ok)
}
