//! `mesh demo`: three hosts and a remote on this machine.

use std::path::PathBuf;
use std::time::Instant;

use serde_json::json;

use super::table::Table;
use super::{CliError, Context, ExitKind, Outcome, out};
use crate::agent::demo::{self, Row, Stage, Step};

/// Where.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Run in this new folder and leave everything there to look at
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

pub(super) fn run(context: &Context, args: &Args) -> Outcome {
    let started = Instant::now();
    let stage = Stage::make(args.keep.as_deref())
        .map_err(|error| CliError::of(ExitKind::Usage, &error).hint("name a new folder with --keep"))?;
    let result = demo::run(stage.folder(), &mut |step| {
        if !context.json {
            tell(&step);
        }
    });
    let rows = result.map_err(|error| {
        CliError::of(ExitKind::Error, &error)
            .hint("the demo needs `git` and `python3`; run it with --keep DIR to look at what it did")
    })?;
    let took = started.elapsed().as_secs_f64();
    if context.json {
        let rows: Vec<_> = rows
            .iter()
            .map(|row| {
                json!({
                    "host": row.host, "project": row.project, "place": row.place, "branch": row.branch,
                    "check_before": row.check.0, "check_now": row.check.1,
                })
            })
            .collect();
        out::json(&json!({ "hosts": rows, "seconds": took }));
        return Ok(ExitKind::Ok);
    }
    out::line("");
    let mut table = Table::new(&["HOST", "PROJECT", "MISTAKE~", "BEFORE", "NOW", "FIX"]);
    for Row { host, project, place, fix, check, .. } in rows {
        let fix = fix.map_or("by a person, on main".to_owned(), |fix| format!("{fix}, on a branch"));
        table.row([host.to_owned(), project.to_owned(), place, check.0.to_owned(), check.1.to_owned(), fix]);
    }
    table.lines().iter().for_each(out::line);
    out::line("");
    out::line(format!(
        "One fix became three in {took:.1} s. Nobody pushed to anybody's branch: each fix waits on its own."
    ));
    if let Some(folder) = &args.keep {
        out::line(format!("Everything is in {}: try `mesh --home {0}/hosts/bravo fix list`.", folder.display()));
    }
    Ok(ExitKind::Ok)
}

fn tell(step: &Step<'_>) {
    match step {
        Step::Hosts { folder } => out::line(format!(
            "Three hosts, a remote and three projects in {}; bravo and charlie trust alpha's key.",
            folder.display()
        )),
        Step::LossShown { host, project, said } => {
            out::line(format!("{host}: {project} saves its state in place. A failed save: \"{said}\"."));
        }
        Step::FixCommitted { commit } => out::line(format!("alpha: a person mends it and commits {commit}.")),
        Step::Learned { lesson, pattern } => {
            out::line(format!("alpha: the commit becomes lesson {lesson}; it looks for {pattern}"));
        }
        Step::Published { seq, entry } => {
            out::line(format!("alpha: signed as entry {seq} ({entry}), pushed, read back."));
        }
        Step::Audited { host, place } => {
            out::line(format!("{host}: pulled, verified, found at {place}; fixed on a branch, its own check passes."));
        }
    }
}
