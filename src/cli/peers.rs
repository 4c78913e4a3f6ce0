//! `mesh peers`, `grant` and `revoke`: who is trusted here, and with what.

use serde_json::json;

use super::table::{Table, age};
use super::{CliError, Context, ExitKind, Outcome, out};
use crate::agent::parts::Parts;
use crate::domain::chain::PeerState;
use crate::domain::id::PeerName;
use crate::domain::openssh;
use crate::domain::trust::{Grant, Peer, PeerLine};
use crate::store::keyring::{KeyringError, RosterStanding};
use crate::store::peer_log::PeerRow;

/// What to show.
#[derive(clap::Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
}

/// What to show.
#[derive(clap::Subcommand, Debug)]
pub(super) enum Action {
    /// List all peers
    List,
    /// Show one peer
    Show {
        /// Its name
        name: PeerName,
    },
}

/// Which grant for whom.
#[derive(clap::Args, Debug)]
pub(super) struct GrantArgs {
    /// The peer
    name: PeerName,
    /// observe, audit, propose or apply
    grant: Grant,
}

/// Whose key, and from where on.
#[derive(clap::Args, Debug)]
pub(super) struct RevokeArgs {
    /// The peer
    name: PeerName,
    /// The key was stolen: believe none of its entries
    #[arg(long)]
    compromised: bool,
    /// The last entry that is still believed [default: the last one verified so far]
    #[arg(long, value_name = "SEQ")]
    trust_through: Option<u64>,
}

fn unknown(error: &KeyringError) -> CliError {
    let kind = match error {
        KeyringError::File(_) => ExitKind::Error,
        _ => ExitKind::Usage,
    };
    CliError::of(kind, error)
}

fn row(parts: &Parts, peer: &Peer) -> Result<PeerRow, CliError> {
    let host = peer.line.host;
    let mut row = parts.db.peer(host)?.unwrap_or_else(|| PeerRow::unseen(host, parts.now()));
    if parts.keyring.revoked(host).is_some() && row.state != PeerState::Quarantined {
        row.state = PeerState::Revoked;
    }
    if let Some(day) = peer.line.not_after
        && peer.line.has_ended(parts.now())
    {
        row.detail = format!("trust ended on {day}: enrol the same key with a later --not-after, or revoke it");
    }
    Ok(row)
}

fn as_json(peer: &Peer, row: &PeerRow) -> serde_json::Value {
    json!({
        "name": peer.name, "host": row.host, "fingerprint": openssh::fingerprint(row.host),
        "state": row.state, "detail": row.detail, "grant": peer.line.grant, "scope": peer.line.scope,
        "not_after": peer.line.not_after.map(|day| day.to_string()),
        "seq": row.position.seq, "tip": row.position.tip, "head": row.head_n,
        "expires_at": row.expires_at.map(|at| at.to_string()), "seen_at": row.seen_at.to_string(),
    })
}

/// The exit code that the worst state of a peer deserves.
pub(super) fn worst(states: impl Iterator<Item = PeerState>) -> ExitKind {
    let rank = |kind: ExitKind| match kind {
        ExitKind::Quarantine => 3,
        ExitKind::Verification => 2,
        ExitKind::Stale => 1,
        ExitKind::Ok | ExitKind::Error | ExitKind::Usage => 0,
    };
    states.map(deserves).max_by_key(|kind| rank(*kind)).unwrap_or(ExitKind::Ok)
}

/// The exit code of one state.
const fn deserves(state: PeerState) -> ExitKind {
    match state {
        PeerState::Unseen | PeerState::Ok | PeerState::Behind | PeerState::Revoked => ExitKind::Ok,
        PeerState::Stale | PeerState::Withheld | PeerState::Split | PeerState::Flooded => ExitKind::Stale,
        PeerState::Gap
        | PeerState::Rollback
        | PeerState::Replay
        | PeerState::Reorder
        | PeerState::Graft
        | PeerState::Invalid => ExitKind::Verification,
        PeerState::Quarantined => ExitKind::Quarantine,
    }
}

pub(super) fn run(context: &Context, args: Args) -> Outcome {
    let parts = context.open()?;
    if let Some(Action::Show { name }) = args.action {
        let peer = parts.keyring.by_name(&name).map_err(|error| unknown(&error))?;
        let row = row(&parts, peer)?;
        if context.json {
            out::json(&as_json(peer, &row));
        } else {
            show(&parts, peer, &row);
        }
        return Ok(worst(std::iter::once(row.state)));
    }
    let rows = parts
        .keyring
        .peers()
        .iter()
        .map(|peer| Ok((peer, row(&parts, peer)?)))
        .collect::<Result<Vec<_>, CliError>>()?;
    let code = with_roster(&parts, worst(rows.iter().map(|(_, row)| row.state)));
    if context.json {
        let peers: Vec<_> = rows.iter().map(|(peer, row)| as_json(peer, row)).collect();
        out::json(&json!({ "peers": peers, "roster": roster_json(&parts) }));
        return Ok(code);
    }
    say_roster(&parts);
    if rows.is_empty() {
        out::line("Nobody is enrolled. Run `mesh id` on another host, and `mesh enroll NAME \"LINE\"` here.");
        return Ok(code);
    }
    let mut table = Table::new(&["NAME~", "HOST", "STATE", "GRANT", "SEQ", "SEEN", "WHY~"]);
    for (peer, row) in &rows {
        let seen = match row.state {
            PeerState::Unseen => "-".to_owned(),
            _ => age(parts.now().as_second() - row.seen_at.as_second()),
        };
        table.row([
            peer.name.to_string(),
            row.host.short(),
            row.state.name().to_owned(),
            peer.line.grant.name().to_owned(),
            row.position.seq.to_string(),
            seen,
            row.detail.clone(),
        ]);
    }
    table.lines().iter().for_each(out::line);
    Ok(code)
}

/// A list that cannot be relied on is as bad as a stale peer.
pub(super) fn with_roster(parts: &Parts, code: ExitKind) -> ExitKind {
    if code == ExitKind::Ok && !parts.keyring.roster().is_fresh() { ExitKind::Stale } else { code }
}

pub(super) fn roster_json(parts: &Parts) -> serde_json::Value {
    let roster = parts.keyring.roster();
    let (version, why) = match roster {
        RosterStanding::None | RosterStanding::Awaited => (None, None),
        RosterStanding::Fresh { version } => (Some(version), None),
        RosterStanding::Stale { version, why } => (Some(version), Some(why)),
    };
    json!({ "state": roster.name(), "version": version, "why": why, "unlisted": parts.keyring.unlisted() })
}

fn say_roster(parts: &Parts) {
    match parts.keyring.roster() {
        RosterStanding::None => {}
        RosterStanding::Awaited => {
            out::line("An admin is pinned; no list of hosts was read yet: what is enrolled here counts.");
        }
        RosterStanding::Fresh { version } => out::line(format!("The admins' list of hosts is version {version}.")),
        RosterStanding::Stale { version, why } => {
            out::line(format!("The admins' list of hosts, version {version}, is not to be relied on: {why}."));
            out::line("Until then lessons are audited at most.");
        }
    }
    for name in parts.keyring.unlisted() {
        out::line(format!("{name} is enrolled here and not on the list: not trusted."));
    }
}

fn show(parts: &Parts, peer: &Peer, row: &PeerRow) {
    let line = |name: &str, value: String| out::line(format!("{name:12} {value}"));
    line("name", peer.name.to_string());
    line("host", row.host.to_string());
    line("fingerprint", openssh::fingerprint(row.host));
    line("state", row.state.name().to_owned());
    if !row.detail.is_empty() {
        line("why", row.detail.clone());
    }
    line("grant", peer.line.grant.name().to_owned());
    if !peer.line.scope.is_empty() {
        line("scope", peer.line.scope.join(" "));
    }
    if let Some(day) = peer.line.not_after {
        line("not after", day.to_string());
    }
    if let Some(revoked) = parts.keyring.revoked(row.host) {
        line("revoked", format!("entries through {} are believed", revoked.trust_through));
    }
    line("entries", row.position.seq.to_string());
    if let Some(tip) = row.position.tip {
        line("last entry", tip.to_string());
    }
    if let Some(at) = row.expires_at {
        line("fresh until", at.to_string());
    }
}

pub(super) fn grant(context: &Context, args: &GrantArgs) -> Outcome {
    let mut parts = context.open()?;
    let peer = parts.keyring.by_name(&args.name).map_err(|error| unknown(&error))?;
    let before = peer.line.grant;
    let line = PeerLine { grant: args.grant, ..peer.line.clone() };
    let home = parts.home.clone();
    parts.keyring.enroll(&home, &args.name, line, false).map_err(|error| unknown(&error))?;
    if context.json {
        out::json(&json!({ "name": args.name, "grant": args.grant }));
    } else {
        out::line(format!("Lessons of {} may now {} here.", args.name, args.grant.name()));
        if args.grant < before {
            out::line("What they led to before is not undone: see `mesh fix list`.");
        }
        if !parts.keyring.admins().is_empty() {
            out::line("The admins' list may allow less; the lesser of both counts.");
        }
    }
    Ok(ExitKind::Ok)
}

pub(super) fn revoke(context: &Context, args: &RevokeArgs) -> Outcome {
    let mut parts = context.open()?;
    let host = parts.keyring.by_name(&args.name).map_err(|error| unknown(&error))?.line.host;
    let verified = parts.db.peer(host)?.map_or(0, |row| row.position.seq);
    let through = args.trust_through.unwrap_or(if args.compromised { 0 } else { verified });
    let home = parts.home.clone();
    parts.keyring.revoke(&home, &args.name, through).map_err(|error| unknown(&error))?;
    if context.json {
        out::json(&json!({ "name": args.name, "host": host, "trust_through": through }));
        return Ok(ExitKind::Ok);
    }
    out::line(format!("Revoked the key of {}; its entries through {through} are still believed.", args.name));
    if parts.keyring.admins().is_empty() {
        out::line("This holds on this host alone: run it on every host that enrolled the key.");
    } else {
        out::line(format!(
            "This holds on this host alone. For all hosts: `mesh admin remove {}`, sign, publish.",
            args.name
        ));
    }
    if args.compromised {
        out::line(
            "Its lessons are out of use here. What they led to is not undone: see `mesh fix list`, `mesh fix rollback`.",
        );
    }
    out::line(format!(
        "To come back that host needs a new key: `mesh init` there, `mesh enroll {} ... --replace` here.",
        args.name
    ));
    Ok(ExitKind::Ok)
}
