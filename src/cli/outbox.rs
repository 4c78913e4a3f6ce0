//! `mesh outbox`: what this host publishes.

use serde_json::json;

use super::inbox::column;
use super::lesson::failure;
use super::table::{Table, age};
use super::{CliError, Context, ExitKind, Outcome, out, sync};
use crate::agent::authoring;
use crate::agent::parts::Parts;
use crate::domain::attest::Support;
use crate::domain::envelope::Kind;
use crate::domain::id::Slug;

/// What to do.
#[derive(clap::Subcommand, Debug)]
pub(super) enum Action {
    /// List what waits and what was published
    List,
    /// Show the very bytes that would be signed
    Preview {
        /// The lesson
        lesson: Slug,
    },
    /// Publish lessons of this home
    Publish {
        /// The lessons
        #[arg(required = true)]
        lessons: Vec<Slug>,
        /// Only queue; the next sync signs and sends
        #[arg(long)]
        no_sync: bool,
    },
    /// Take a published lesson back
    Retract {
        /// The lesson
        lesson: Slug,
        /// Why
        #[arg(long)]
        reason: String,
    },
}

pub(super) fn run(context: &Context, action: Action) -> Outcome {
    let mut parts = context.open()?;
    match action {
        Action::List => list(context, &parts),
        Action::Preview { lesson } => preview(&parts, &lesson),
        Action::Publish { lessons, no_sync } => publish(context, &mut parts, &lessons, no_sync),
        Action::Retract { lesson, reason } => {
            authoring::queue_retraction(&mut parts, &lesson, &reason).map_err(|error| failure(&error))?;
            send(context, &mut parts, false)
        }
    }
}

fn list(context: &Context, parts: &Parts) -> Outcome {
    let drafts = parts.db.drafts()?;
    let entries = parts.db.own_entries()?;
    let slugs = authoring::named(parts).map_err(|error| failure(&error))?;
    let shared = authoring::shared(parts).map_err(|error| failure(&error))?;
    let support = |id| shared.iter().find(|shared| shared.entry == id).and_then(|shared| Support::of(&shared.voices));
    let slug_of = |id| slugs.get(&id).map(ToString::to_string);
    let kind_of = |payload_type: &str| Kind::of_payload_type(payload_type).map_or("unsupported", Kind::name);
    if context.json {
        let entries: Vec<_> = entries
            .iter()
            .map(|entry| {
                json!({
                    "seq": entry.seq, "entry": entry.id, "kind": kind_of(&entry.payload_type), "lesson": slug_of(entry.id),
                    "state": if entry.confirmed_at.is_some() { "published" } else { "signed" },
                    "signed_at": entry.signed_at.to_string(), "attestations": support(entry.id),
                })
            })
            .collect();
        let drafts: Vec<_> =
            drafts.iter().map(|draft| json!({ "kind": draft.kind, "lesson": draft.slug, "state": "queued" })).collect();
        out::json(&json!({ "entries": entries, "drafts": drafts }));
        return Ok(ExitKind::Ok);
    }
    if drafts.is_empty() && entries.is_empty() {
        out::line("Nothing was published yet. Write a lesson with `mesh lesson new`.");
        return Ok(ExitKind::Ok);
    }
    let mut table = Table::new(&["SEQ", "KIND", "LESSON~", "STATE", "ATT", "AGE", "ENTRY"]);
    for draft in drafts {
        let none = || "-".to_owned();
        table.row([none(), draft.kind, draft.slug, "queued".to_owned(), none(), none(), none()]);
    }
    for entry in entries.iter().rev() {
        let state = if entry.confirmed_at.is_some() { "published" } else { "signed" };
        table.row([
            entry.seq.to_string(),
            kind_of(&entry.payload_type).to_owned(),
            slug_of(entry.id).unwrap_or_default(),
            state.to_owned(),
            column(support(entry.id)),
            age(parts.now().as_second() - entry.signed_at.as_second()),
            entry.id.short(),
        ]);
    }
    table.lines().iter().for_each(out::line);
    Ok(ExitKind::Ok)
}

fn preview(parts: &Parts, lesson: &Slug) -> Outcome {
    let outgoing = authoring::outgoing(parts, lesson).map_err(|error| failure(&error))?;
    let bytes = authoring::preview(parts, &outgoing.lesson).map_err(|error| failure(&error))?;
    out::line(String::from_utf8_lossy(&bytes).trim_end_matches('\n'));
    if !outgoing.redacted.is_empty() {
        out::note(format!("taken out for privacy in: {}", outgoing.redacted.join(", ")));
    }
    Ok(ExitKind::Ok)
}

fn publish(context: &Context, parts: &mut Parts, lessons: &[Slug], no_sync: bool) -> Outcome {
    let outgoing = lessons
        .iter()
        .map(|lesson| authoring::outgoing(parts, lesson).map_err(|error| failure(&error)))
        .collect::<Result<Vec<_>, CliError>>()?;
    for outgoing in &outgoing {
        authoring::queue(parts, outgoing).map_err(|error| failure(&error))?;
        if !outgoing.redacted.is_empty() {
            out::note(format!("{}: taken out for privacy in: {}", outgoing.lesson.id, outgoing.redacted.join(", ")));
        }
    }
    send(context, parts, no_sync)
}

/// Signs and sends what is queued, if nobody else is at it.
pub(super) fn send(context: &Context, parts: &mut Parts, no_sync: bool) -> Outcome {
    if no_sync {
        out::note("queued: the next sync signs and sends it");
        return Ok(ExitKind::Ok);
    }
    let Ok(_lock) = parts.lock() else {
        out::note("queued: the agent that runs here signs and sends it at its next sync");
        return Ok(ExitKind::Ok);
    };
    let report = sync::sync(parts)?;
    if context.json {
        out::json(&sync::as_json(&report));
    } else {
        sync::say(&report);
    }
    sync::outcome(parts, &report)
}
