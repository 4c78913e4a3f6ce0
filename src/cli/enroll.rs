//! `mesh enroll`: trust a peer's key.

use std::io::Read as _;
use std::path::Path;

use jiff::civil::Date;
use serde_json::json;

use super::{CliError, Context, ExitKind, Outcome, out};
use crate::agent::parts::Parts;
use crate::agent::requests::{self, Request};
use crate::domain::id::{HostId, PeerName};
use crate::domain::openssh;
use crate::domain::trust::{Grant, PeerLine};
use crate::store::files;
use crate::store::keyring::KeyringError;

/// Whom to trust with what.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// The name the peer gets here
    name: PeerName,
    /// Its key: a file, a line "ssh-ed25519 AAAA...", or - for standard input [default: its request]
    #[arg(required_unless_present = "fingerprint")]
    key: Option<String>,
    /// What its lessons may do here: observe, audit, propose or apply [default: propose]
    #[arg(long)]
    grant: Option<Grant>,
    /// Lesson scopes it may speak of, such as "python/*"; may be given again
    #[arg(long, value_name = "GLOB")]
    scope: Vec<String>,
    /// The last day of the trust
    #[arg(long, value_name = "YYYY-MM-DD")]
    not_after: Option<Date>,
    /// Refuse unless the key has this fingerprint; without a key, take it from `mesh requests`
    #[arg(long, value_name = "FP")]
    fingerprint: Option<String>,
    /// Replace the key that this name has; the old one is revoked here
    #[arg(long)]
    replace: bool,
}

pub(super) fn run(context: &Context, args: Args) -> Outcome {
    let mut parts = context.open()?;
    let mut line = match (&args.key, &args.fingerprint) {
        (Some(key), fingerprint) => {
            let line = key_of(key)?;
            demand_fingerprint(line.host, fingerprint.as_deref())?;
            line
        }
        (None, fingerprint) => {
            let request = request_with(&parts, fingerprint.as_deref().unwrap_or_default())?;
            let (host, comment) = (request.host, request.name.to_string());
            PeerLine { host, grant: Grant::default(), scope: vec![], not_after: None, comment }
        }
    };
    if line.host == parts.key.host() {
        return Err(CliError::new(ExitKind::Usage, "this is this host's own key")
            .hint("give the line that `mesh id` prints on the other host"));
    }
    line.grant = args.grant.unwrap_or(line.grant);
    if !args.scope.is_empty() {
        line.scope = args.scope;
    }
    line.not_after = args.not_after.or(line.not_after);
    if let Some(seq) = parts.db.fork(line.host)? {
        let message =
            format!("this key signed two different entries {seq}: it is proved, and the key stays out of use");
        return Err(CliError::new(ExitKind::Quarantine, message)
            .hint("run `mesh init` in a new home on that host, and enrol the new key"));
    }
    let home = parts.home.clone();
    let refused = |error: KeyringError| match error {
        KeyringError::File(_) | KeyringError::Db(_) => CliError::of(ExitKind::Error, &error),
        _ => CliError::of(ExitKind::Usage, &error),
    };
    let old = parts.keyring.by_name(&args.name).ok().map(|peer| peer.line.host);
    let replaced = old.filter(|old| args.replace && *old != line.host);
    if let Some(old) = replaced {
        // Before the name gets a new key, so that no moment trusts both.
        let through = parts.db.peer(old)?.map_or(0, |row| row.position.seq);
        parts.keyring.revoke(&home, &args.name, through).map_err(refused)?;
    }
    parts.keyring.enroll(&home, &args.name, line.clone(), args.replace).map_err(refused)?;
    if context.json {
        let fingerprint = openssh::fingerprint(line.host);
        out::json(&json!({ "name": args.name, "host": line.host, "fingerprint": fingerprint, "grant": line.grant }));
        return Ok(ExitKind::Ok);
    }
    out::line(format!("Enrolled {} with grant {}.", args.name, line.grant.name()));
    if let Some(old) = replaced {
        out::line(format!("Its old key {} is revoked here; what was verified of it stays believed.", old.short()));
        out::line(format!(
            "If that key was stolen, edit its line in {}: trust-through=\"0\".",
            home.keys().join("revoked").display()
        ));
    }
    if !parts.keyring.admins().is_empty() {
        out::line("Admins are pinned here: a host counts once it is on their list, with the lesser of both grants.");
    }
    out::line(format!("Key {}: compare it with `mesh id --fingerprint` there.", openssh::fingerprint(line.host)));
    Ok(ExitKind::Ok)
}

/// The line that a key argument stands for.
pub(super) fn key_of(key: &str) -> Result<PeerLine, CliError> {
    PeerLine::parse(&key_text(key)?).map_err(|error| {
        CliError::of(ExitKind::Usage, &error).hint("run `mesh id` on the peer and give the line it prints")
    })
}

/// Refuses a key that has not the fingerprint that was asked for.
pub(super) fn demand_fingerprint(host: HostId, wanted: Option<&str>) -> Result<(), CliError> {
    let found = openssh::fingerprint(host);
    match wanted {
        Some(wanted) if found.trim_start_matches("SHA256:") != wanted.trim_start_matches("SHA256:") => {
            let message = format!("the key has fingerprint {found}, not {wanted}: nothing was enrolled");
            Err(CliError::new(ExitKind::Verification, message)
                .hint("compare with `mesh id --fingerprint` on the peer itself"))
        }
        _ => Ok(()),
    }
}

/// The host that asks to be enrolled with this fingerprint.
pub(super) fn request_with(parts: &Parts, fingerprint: &str) -> Result<Request, CliError> {
    let found = requests::with_fingerprint(parts, fingerprint).map_err(|error| super::requests::failure(&error))?;
    found.ok_or_else(|| {
        CliError::new(ExitKind::Verification, format!("nobody with fingerprint {fingerprint} asks to be enrolled"))
            .hint("sync there and here, then see `mesh requests`")
    })
}

fn key_text(key: &str) -> Result<String, CliError> {
    if key == "-" {
        let mut text = String::new();
        std::io::stdin().take(4_096).read_to_string(&mut text)?;
        return Ok(text);
    }
    if key.contains("ssh-") && key.contains(' ') {
        return Ok(key.to_owned());
    }
    files::read_text(Path::new(key), 4_096).map_err(|error| CliError::of(ExitKind::Usage, &error))
}
