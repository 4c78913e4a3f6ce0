//! `mesh run`: the agent in the foreground, as a service manager starts it.

use std::time::Duration;

use serde_json::json;

use super::{CliError, Context, ExitKind, Outcome, exit_kind, out, report, sync};
use crate::agent::cycle::Round;
use crate::agent::parts::Parts;
use crate::agent::service::{self, Note};
use crate::domain::fix::FixState;
use crate::domain::foreign_text::error_line;
use crate::domain::lesson::span_words;
use crate::domain::strain::Strain;
use crate::loops::seed::{Found, Mode};
use crate::loops::supervise::{Happened, What};
use crate::ports::Recovered;

/// How far to go.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Sync, audit and tell what would be done, but change, judge and remember nothing of it
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(context: &Context, args: &Args) -> Outcome {
    let parts = context.open()?;
    serve(context, parts, if args.dry_run { Mode::Tell } else { Mode::Seed })
}

/// Runs the agent until it is told to stop.
pub(super) fn serve(context: &Context, parts: Parts, mode: Mode) -> Outcome {
    let json = context.json;
    let say = if json { say_happened_as_json } else { say_happened };
    service::serve(parts, mode, say, log, &mut |note| match note {
        Note::Recovered(found) => say_recovered(json, found),
        Note::Round(round) => tell(json, round, mode),
        Note::Failed(error) => out::note(format!("round failed: {}", error_line(error))),
        Note::Waiting(wait) => say_wait(json, wait),
        Note::Serving(address) => out::note(format!("serving http://{address}/health")),
        Note::Cannot(what) => out::note(what),
        Note::Reloaded(None) => out::note("config read again"),
        Note::Reloaded(Some(error)) => {
            out::note(format!("config not read again, the one before stays: {}", error_line(error)));
        }
        Note::Stopping => out::note("stopping"),
    })
    .map_err(|error| match &error {
        service::ServiceError::Parts(cause) => CliError::of(exit_kind(cause), &error),
        service::ServiceError::Db(_)
        | service::ServiceError::Rules(_)
        | service::ServiceError::Undo(_)
        | service::ServiceError::System(_)
        | service::ServiceError::Supervision
        | service::ServiceError::Round(_) => CliError::of(ExitKind::Error, &error),
    })?;
    Ok(ExitKind::Ok)
}

fn say_happened(happened: &Happened) {
    let what = match &happened.what {
        What::Notice(notice) => notice.to_string(),
        What::Trouble(what) => what.clone(),
    };
    match &happened.service {
        Some(service) => out::note(format!("service {service} {what}")),
        None => out::note(what),
    }
}

fn say_happened_as_json(happened: &Happened) {
    let (event, what, alarm) = match &happened.what {
        What::Notice(notice) => (notice.name(), notice.to_string(), notice.needs_person() && !happened.optional),
        What::Trouble(what) => ("trouble", what.clone(), false),
    };
    out::json(&serde_json::json!({ "service": happened.service, "event": event, "what": what, "alarm": alarm }));
}

/// One line of a rule at work, as it happens.
fn log(line: &str) {
    out::note(line);
}

fn say_recovered(json: bool, found: &[Found]) {
    for (id, said) in found {
        let what = match said {
            Ok(Recovered::Finished(applied)) => format!("was whole and stands; back by {}", applied.way_back),
            Ok(Recovered::Undone) => "was not whole and is undone".to_owned(),
            Ok(Recovered::RolledBack) => "is taken back".to_owned(),
            Err(error) => format!("is not settled: {}", error_line(error)),
        };
        if json {
            out::json(&serde_json::json!({ "recovered": id, "ok": said.is_ok(), "what": what }));
        } else {
            out::line(format!("A process was killed while it worked on {id}: it {what}."));
        }
    }
}

fn say_wait(json: bool, wait: Duration) {
    if !json {
        out::line(format!("Next round in {}.", span_words(wait)));
    }
}

fn tell(json: bool, round: &Round, mode: Mode) {
    let findings = round.roots.iter().flat_map(|root| &root.report.findings);
    let findings = findings.filter(|finding| finding.suppressed.is_none()).count();
    let outcomes = || round.roots.iter().flat_map(|root| &root.seeding.outcomes);
    let new: Vec<_> = outcomes().filter(|outcome| outcome.new && outcome.fix.state == FixState::Seeded).collect();
    if json {
        out::json(&json!({
            "sync": sync::as_json(&round.sync), "findings": findings,
            "seeded": new.iter().map(|outcome| &outcome.fix.branch).collect::<Vec<_>>(),
            "applied": round.made.iter().map(|fix| &fix.id).collect::<Vec<_>>(),
            "ended": round.ended.iter().map(|ended| json!({ "id": ended.id, "state": ended.state })).collect::<Vec<_>>(),
            "frozen": round.frozen.iter().map(|frozen| frozen.area.to_string_lossy()).collect::<Vec<_>>(),
            "foreseen": round.foreseen, "strain": round.strain.as_ref().map(Strain::words),
        }));
        return;
    }
    if let Some(error) = &round.bad_config {
        out::line(format!("config not read again: {}", error_line(error)));
    }
    sync::say(&round.sync);
    for (path, why) in &round.failed {
        out::line(format!("{} was not audited: {why}", path.display()));
    }
    match &round.strain {
        Some(strain) => out::line(format!("This host is short of space or time: {}.", strain.words())),
        None => out::line(format!("Audited with {} lessons: {findings} findings.", round.library.held.len())),
    }
    if mode == Mode::Tell {
        round.foreseen.iter().for_each(out::line);
        report::foretold(&round.roots, &|root, path| round.trials_of(root, path)).iter().for_each(out::line);
    }
    for fix in &round.made {
        let place = fix.root.join(&fix.path);
        let commit = fix.commit.as_deref().map(|commit| format!(": commit {commit}")).unwrap_or_default();
        out::line(format!(
            "Applied {} in {}{commit}; back by `mesh fix rollback {}`.",
            fix.lesson,
            place.display(),
            fix.id
        ));
    }
    for frozen in &round.frozen {
        out::line(format!("{} is frozen: {}; see `mesh freeze list`.", frozen.area.display(), frozen.why));
    }
    for finished in &round.ended {
        out::line(format!("Intervention {} ended: {}.", finished.id, finished.state.name()));
    }
    for outcome in new {
        let branch = outcome.fix.branch.as_deref().unwrap_or_default();
        out::line(format!(
            "Seeded {} in {}: {branch}",
            outcome.fix.lesson,
            outcome.fix.root.join(&outcome.fix.path).display()
        ));
    }
}
