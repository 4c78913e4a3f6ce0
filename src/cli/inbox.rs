//! `mesh inbox`: what peers published, and what became of it here.

use serde_json::json;

use super::table::{Table, age};
use super::{CliError, Context, ExitKind, Outcome, lesson, out};
use crate::agent::authoring;
use crate::agent::parts::Parts;
use crate::domain::attest::{Support, Voice};
use crate::domain::chain::PeerState;
use crate::domain::entry;
use crate::domain::envelope::{Envelope, PublicKey};
use crate::domain::id::HostId;
use crate::domain::lesson::Lesson;
use crate::domain::trust::{Grant, GrantBounds, effective_grant};
use crate::store::peer_log::{InboxRow, InboxState};

/// What to do.
#[derive(clap::Subcommand, Debug)]
pub(super) enum Action {
    /// List the lessons of peers
    List,
    /// Show one
    Show {
        /// Its name, or the start of its entry id
        lesson: String,
    },
    /// Use a lesson that was rejected
    Accept {
        /// Its name, or the start of its entry id
        lesson: String,
    },
    /// Do not use a lesson
    Reject {
        /// Its name, or the start of its entry id
        lesson: String,
        /// Why
        #[arg(long, default_value = "rejected by a person")]
        reason: String,
    },
    /// Explain why a lesson is in its state
    Why {
        /// Its name, or the start of its entry id
        lesson: String,
    },
}

pub(super) fn run(context: &Context, action: Action) -> Outcome {
    let mut parts = context.open()?;
    match action {
        Action::List => list(context, &mut parts),
        Action::Show { lesson } => show(context, &parts, &lesson),
        Action::Accept { lesson } => decide(context, &mut parts, &lesson, InboxState::New, ""),
        Action::Reject { lesson, reason } => decide(context, &mut parts, &lesson, InboxState::Rejected, &reason),
        Action::Why { lesson } => why(context, &parts, &lesson),
    }
}

fn list(context: &Context, parts: &mut Parts) -> Outcome {
    let rows = parts.db.inbox()?;
    let now = parts.now().as_second();
    let rows: Vec<(InboxRow, String, Option<Grant>, Option<Support>)> = rows
        .into_iter()
        .map(|row| {
            let name = name_of(parts, row.host);
            let grant = grant(parts, &row);
            let support = Support::of(&voices(parts, &row)?);
            Ok((row, name, grant, support))
        })
        .collect::<Result<_, CliError>>()?;
    if context.json {
        let entries: Vec<_> = rows
            .iter()
            .map(|(row, name, grant, support)| {
                json!({
                    "host": name, "key": row.host, "seq": row.seq, "entry": row.entry, "lesson": row.slug, "rev": row.rev,
                    "severity": row.severity, "scope": row.scope, "state": row.state.name(), "reason": row.reason,
                    "findings": row.findings, "grant": grant, "attestations": support,
                    "age": now - row.at.as_second(), "received_at": row.at.to_string(),
                })
            })
            .collect();
        out::json(&json!({ "entries": entries }));
        return Ok(ExitKind::Ok);
    }
    if rows.is_empty() {
        out::line("The inbox is empty. Peers are enrolled with `mesh enroll`, entries fetched with `mesh sync`.");
        return Ok(ExitKind::Ok);
    }
    let mut table = Table::new(&["HOST~", "SEQ", "LESSON~", "SEV~", "SCOPE~", "STATE~", "FIND", "GRANT", "ATT", "AGE"]);
    for (row, name, grant, support) in &rows {
        table.row([
            name.clone(),
            row.seq.to_string(),
            row.slug.clone(),
            row.severity.clone(),
            row.scope.clone(),
            row.state.name().to_owned(),
            row.findings.map_or("-".to_owned(), |count| count.to_string()),
            grant.map_or("-", Grant::name).to_owned(),
            column(*support),
            age(now - row.at.as_second()),
        ]);
    }
    table.lines().iter().for_each(out::line);
    Ok(ExitKind::Ok)
}

fn name_of(parts: &Parts, host: HostId) -> String {
    if host == parts.key.host() {
        return "this host".to_owned();
    }
    parts.keyring.by_host(host).map_or_else(|| host.short(), |peer| peer.name.to_string())
}

/// What hosts attested of the lesson. It supports nothing once the lesson is taken back or its author is not believed.
fn voices(parts: &Parts, row: &InboxRow) -> Result<Vec<Voice>, CliError> {
    if is_in_force(row) { Ok(authoring::voices(parts, row.entry, &row.scope)?) } else { Ok(Vec::new()) }
}

fn is_in_force(row: &InboxRow) -> bool {
    match row.state {
        InboxState::Retired | InboxState::Unsupported | InboxState::Quarantined => false,
        InboxState::New
        | InboxState::Applicable
        | InboxState::NotApplicable
        | InboxState::Applied
        | InboxState::Rejected => true,
    }
}

/// What the attestations come to, in words.
fn attested(row: &InboxRow, voices: &[Voice]) -> String {
    if is_in_force(row) { counted(voices) } else { format!("nothing counts: the lesson is {}", row.state.name()) }
}

/// What voices come to, in words.
pub(super) fn counted(voices: &[Voice]) -> String {
    Support::of(voices).map_or("by nobody who is heard here".to_owned(), |support| support.to_string())
}

/// The same in a column.
pub(super) fn column(support: Option<Support>) -> String {
    support.map_or("-".to_owned(), |support| support.column())
}

/// One host's voice in words.
pub(super) fn voice_line(parts: &Parts, voice: &Voice) -> String {
    let last = &voice.last;
    let short = if last.short_window { ", after a short window" } else { "" };
    let counted = match voice.interventions {
        1 => String::new(),
        many => format!(" ({} of its {many} interventions validated)", voice.validated),
    };
    let name = name_of(parts, last.host);
    format!("{name}: {}{short} on {}{counted}", last.outcome.name(), last.environment)
}

pub(super) fn voice_json(parts: &Parts, voice: &Voice) -> serde_json::Value {
    let last = &voice.last;
    json!({
        "host": name_of(parts, last.host), "key": last.host, "seq": last.seq, "outcome": last.outcome,
        "short_window": last.short_window, "environment": last.environment, "interventions": voice.interventions,
        "validated": voice.validated, "at": last.at.to_string(),
    })
}

/// What the lesson may do here now, as far as its row tells: its lineage is looked at when it is used.
fn grant(parts: &Parts, row: &InboxRow) -> Option<Grant> {
    let peer = parts.keyring.by_host(row.host)?;
    if row.seq > parts.keyring.trusted_through(row.host) || row.state == InboxState::Quarantined {
        return None;
    }
    let state = parts.db.peer(row.host).ok().flatten().map(|row| row.state);
    let bounds = GrantBounds {
        max: parts.config.max_grant,
        fresh: state.is_some_and(|state| state.is_fresh() || state == PeerState::Revoked)
            && parts.keyring.roster().is_fresh(),
        lineage: None,
    };
    let grant = effective_grant(&peer.line, &row.scope, bounds, parts.now())?;
    held_back(parts, row, grant).ok().map(|(grant, _)| grant)
}

/// The grant as far as the waves let it go here, and why it is less.
fn held_back(parts: &Parts, row: &InboxRow, grant: Grant) -> Result<(Grant, Option<String>), CliError> {
    let listener = parts.listener();
    let standing = listener.standing(row.entry, row.host, &row.scope, parts.now())?;
    Ok(listener.bounded(grant, row.entry, &standing)?)
}

fn find(parts: &Parts, wanted: &str) -> Result<InboxRow, CliError> {
    let mut rows: Vec<InboxRow> = parts
        .db
        .inbox()?
        .into_iter()
        .filter(|row| row.slug == wanted || (wanted.len() >= 6 && row.entry.to_string().starts_with(wanted)))
        .collect();
    match rows.len() {
        0 => {
            Err(CliError::new(ExitKind::Usage, format!("no lesson `{wanted}` in the inbox"))
                .hint("see `mesh inbox list`"))
        }
        1 => Ok(rows.remove(0)),
        several => {
            let ids: Vec<String> = rows.iter().map(|row| row.entry.short()).collect();
            let message = format!("{several} entries fit `{wanted}`: {}", ids.join(", "));
            Err(CliError::new(ExitKind::Usage, message).hint("name one by the start of its entry id"))
        }
    }
}

/// The lesson of a row, verified again from the stored envelope.
fn read(parts: &Parts, row: &InboxRow) -> Result<Option<Lesson>, CliError> {
    let Some(bytes) = parts.db.entry(row.entry)? else { return Ok(None) };
    let verification = |error: &(dyn std::error::Error + 'static)| CliError::of(ExitKind::Verification, error);
    let key = PublicKey::of(row.host).map_err(|error| verification(&error))?;
    let signed =
        Envelope::parse(&bytes).and_then(|envelope| envelope.verify(&key)).map_err(|error| verification(&error))?;
    Ok(entry::read_lesson(&signed).ok().map(|lesson| lesson.body().clone()))
}

fn show(context: &Context, parts: &Parts, wanted: &str) -> Outcome {
    let row = find(parts, wanted)?;
    let read = read(parts, &row)?;
    let voices = voices(parts, &row)?;
    if context.json {
        let heard: Vec<_> = voices.iter().map(|voice| voice_json(parts, voice)).collect();
        out::json(&json!({
            "entry": row.entry, "key": row.host, "seq": row.seq, "state": row.state.name(), "reason": row.reason,
            "findings": row.findings, "attestations": Support::of(&voices), "voices": heard, "lesson": read,
        }));
        return Ok(ExitKind::Ok);
    }
    match &read {
        Some(found) => lesson::describe(found),
        None => out::line(format!("{}: {}", row.slug, row.reason)),
    }
    out::line(format!("entry        {} (number {} of {})", row.entry, row.seq, row.host.short()));
    out::line(format!("state        {}", row.state.name()));
    out::line(format!("attested     {}", attested(&row, &voices)));
    voices.iter().for_each(|voice| out::line(format!("{:12} {}", "", voice_line(parts, voice))));
    Ok(ExitKind::Ok)
}

fn decide(context: &Context, parts: &mut Parts, wanted: &str, state: InboxState, reason: &str) -> Outcome {
    let row = find(parts, wanted)?;
    let decided = match row.state {
        InboxState::Retired | InboxState::Unsupported | InboxState::Quarantined => {
            let message = format!("`{}` is {}: {}", row.slug, row.state.name(), row.reason);
            return Err(CliError::new(ExitKind::Usage, message).hint("this cannot be decided here"));
        }
        InboxState::New
        | InboxState::Applicable
        | InboxState::NotApplicable
        | InboxState::Applied
        | InboxState::Rejected => state,
    };
    parts.db.set_inbox_state(row.entry, decided, reason)?;
    if context.json {
        out::json(&json!({ "entry": row.entry, "lesson": row.slug, "state": decided.name() }));
    } else if decided == InboxState::Rejected {
        out::line(format!("{} is not used here.", row.slug));
    } else {
        out::line(format!("{} is looked at again in the next audit; every check still holds.", row.slug));
    }
    Ok(ExitKind::Ok)
}

fn why(context: &Context, parts: &Parts, wanted: &str) -> Outcome {
    let row = find(parts, wanted)?;
    let verified = read(parts, &row);
    let peer = parts.keyring.by_host(row.host);
    let mut steps: Vec<(&str, String)> = vec![(
        "signature",
        match &verified {
            Ok(_) => format!("good, by {}", peer.map_or_else(|| row.host.short(), |peer| peer.name.to_string())),
            Err(error) => format!("bad: {}", error.message),
        },
    )];
    steps.push(("chain", format!("entry {} of its host, linked to all before it", row.seq)));
    steps.push(match peer {
        Some(peer) => ("trust", format!("grant {} in keys/peers/{}.pub", peer.line.grant.name(), peer.name)),
        None => ("trust", "its host is no longer enrolled".to_owned()),
    });
    steps.push(("grant", grant(parts, &row).map_or("none now".to_owned(), |grant| format!("{} now", grant.name()))));
    if let Some(peer) = peer
        && let (_, Some(why)) = held_back(parts, &row, peer.line.grant)?
    {
        steps.push(("held back", why));
    }
    let reason = if row.reason.is_empty() { String::new() } else { format!(": {}", row.reason) };
    steps.push(("state", format!("{}{reason}", row.state.name())));
    let findings = row.findings.map_or("not audited yet".to_owned(), |count| format!("{count} in the last audit"));
    steps.push(("findings", findings));
    let said = attested(&row, &voices(parts, &row)?);
    steps.push(("attested", format!("{said}; counts never raise a grant")));
    if context.json {
        let steps: Vec<_> = steps.iter().map(|(step, said)| json!({ "step": step, "said": said })).collect();
        out::json(&json!({ "entry": row.entry, "lesson": row.slug, "why": steps }));
    } else {
        steps.iter().for_each(|(step, said)| out::line(format!("{step:10} {said}")));
    }
    Ok(ExitKind::Ok)
}
