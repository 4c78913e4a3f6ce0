//! `mesh sync`: exchange entries with the remote.

use serde_json::json;

use super::{CliError, Context, ExitKind, Outcome, exit_kind, out, peers};
use crate::agent::parts::{Parts, SyncError};
use crate::domain::chain::PeerState;
use crate::domain::foreign_text::error_line;
use crate::loops::exchange::SyncReport;

/// How often.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Sync once and end; without it, go on at the configured interval
    #[arg(long)]
    once: bool,
}

pub(super) fn run(context: &Context, args: &Args) -> Outcome {
    let mut parts = context.open()?;
    let _lock = parts.lock().map_err(|error| CliError::of(exit_kind(&error), &error))?;
    loop {
        let report = sync(&mut parts)?;
        if context.json {
            out::json(&as_json(&report));
        } else {
            say(&report);
        }
        if args.once {
            return outcome(&parts, &report);
        }
        let wait = crate::agent::timing::next_wait(parts.config.interval());
        out::note(format!("next sync in {}s", wait.as_secs()));
        std::thread::sleep(wait);
    }
}

/// Runs one sync, with its errors in words.
pub(super) fn sync(parts: &mut Parts) -> Result<SyncReport, CliError> {
    parts.sync().map_err(|error| match &error {
        SyncError::Parts(cause) => CliError::of(exit_kind(cause), &error),
        SyncError::Exchange(_) => CliError::of(ExitKind::Error, &error),
    })
}

/// The exit code of a sync: the worst of what it met.
pub(super) fn outcome(parts: &Parts, report: &SyncReport) -> Result<ExitKind, CliError> {
    if report.remote.is_some() || !report.signing.is_empty() {
        return Ok(ExitKind::Error);
    }
    let states = parts.db.peers()?;
    Ok(peers::with_roster(
        parts,
        peers::worst(states.iter().filter(|row| parts.keyring.by_host(row.host).is_some()).map(|row| row.state)),
    ))
}

pub(super) fn as_json(report: &SyncReport) -> serde_json::Value {
    json!({
        "remote": report.remote.as_ref().map(|error| error_line(error)),
        "signed": report.signed.iter().map(|(seq, lesson)| json!({ "seq": seq, "lesson": lesson })).collect::<Vec<_>>(),
        "not_signed": report.signing.iter().map(|error| error_line(error)).collect::<Vec<_>>(),
        "published": report.published, "received": report.received, "lessons": report.lessons,
        "caught_up": report.caught_up, "ignored": report.ignored,
        "moved": report.moved.iter().map(|(name, new)| json!({ "name": name, "to": new })).collect::<Vec<_>>(),
        "rosters": report.rosters, "roster_fault": report.roster_fault,
        "ahead_of_us": report.ahead_of_us.as_ref().map(|(name, seq)| json!({ "name": name, "seq": seq })),
        "refused": report.refused.iter().map(|(path, why)| json!({ "path": path, "why": why })).collect::<Vec<_>>(),
        "changes": report.changes.iter().map(|change| json!({
            "name": change.name, "host": change.host, "before": change.before, "now": change.now, "why": change.detail,
        })).collect::<Vec<_>>(),
    })
}

/// Says what a sync did; nothing new is said in one line.
pub(super) fn say(report: &SyncReport) {
    for change in &report.changes {
        let (name, now) = (&change.name, change.now.name());
        match change.now {
            PeerState::Ok if change.before == PeerState::Unseen => out::line(format!("{name}: first seen")),
            PeerState::Ok => out::line(format!("{name}: in order again")),
            _ => out::line(format!("{name}: {now}: {}", change.detail)),
        }
    }
    for (name, new) in &report.moved {
        out::line(format!("{name}: moved to key {}", new.short()));
    }
    for version in &report.rosters {
        out::line(format!("the admins' list of hosts is now version {version}"));
    }
    if let Some(why) = &report.roster_fault {
        out::line(format!("the admins' list of hosts: {why}"));
    }
    for (path, why) in &report.refused {
        out::line(format!("refused {path}: {why}"));
    }
    if report.caught_up > 0 {
        out::line(format!("took over {} own entries from the remote", report.caught_up));
    }
    for (seq, lesson) in &report.signed {
        out::line(format!("signed {lesson} as entry {seq}"));
    }
    for refusal in &report.signing {
        out::line(format!("not signed: {}", error_line(refusal)));
    }
    if let Some((name, seq)) = &report.ahead_of_us {
        out::line(format!(
            "{name} says that it has seen entry {seq} of this host, which does not know it: was this home restored, or is its key in use elsewhere?"
        ));
    }
    match &report.remote {
        Some(error) => {
            out::line(format!("not synced: {}", error_line(error)));
            out::line("Nothing is lost: what waits is sent at the next sync.");
        }
        None if report.received == 0 && report.published.is_empty() && report.changes.is_empty() => {
            out::line("Synced; nothing new.");
        }
        None => out::line(format!(
            "Synced: {} entries received, {} of them lessons; {} published.",
            report.received,
            report.lessons.len(),
            report.published.len()
        )),
    }
}
