//! `mesh enroll`: trust a peer's key.

use std::io::Read as _;
use std::path::Path;

use jiff::civil::Date;
use serde_json::json;

use super::{CliError, Context, ExitKind, Outcome, out};
use crate::domain::id::PeerName;
use crate::domain::openssh;
use crate::domain::trust::{Grant, PeerLine};
use crate::store::files;
use crate::store::keyring::KeyringError;

/// Whom to trust with what.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// The name the peer gets here
    name: PeerName,
    /// Its key: a file, a line "ssh-ed25519 AAAA...", or - for standard input
    key: String,
    /// What its lessons may do here: observe, audit, propose or apply [default: propose]
    #[arg(long)]
    grant: Option<Grant>,
    /// Lesson scopes it may speak of, such as "python/*"; may be given again
    #[arg(long, value_name = "GLOB")]
    scope: Vec<String>,
    /// The last day of the trust
    #[arg(long, value_name = "YYYY-MM-DD")]
    not_after: Option<Date>,
    /// Refuse unless the key has this fingerprint
    #[arg(long, value_name = "FP")]
    fingerprint: Option<String>,
    /// Replace the key that this name has
    #[arg(long)]
    replace: bool,
}

pub(super) fn run(context: &Context, args: Args) -> Outcome {
    let mut parts = context.open()?;
    let text = key_text(&args.key)?;
    let mut line = PeerLine::parse(&text).map_err(|error| {
        CliError::of(ExitKind::Usage, &error).hint("run `mesh id` on the peer and give the line it prints")
    })?;
    if let Some(wanted) = &args.fingerprint {
        let found = openssh::fingerprint(line.host);
        if found.trim_start_matches("SHA256:") != wanted.trim_start_matches("SHA256:") {
            let message = format!("the key has fingerprint {found}, not {wanted}: nothing was enrolled");
            return Err(CliError::new(ExitKind::Verification, message)
                .hint("compare with `mesh id --fingerprint` on the peer itself"));
        }
    }
    if line.host == parts.key.host() {
        return Err(CliError::new(ExitKind::Usage, "this is this host's own key")
            .hint("give the line that `mesh id` prints on the other host"));
    }
    line.grant = args.grant.unwrap_or(line.grant);
    if !args.scope.is_empty() {
        line.scope = args.scope;
    }
    line.not_after = args.not_after.or(line.not_after);
    let home = parts.home.clone();
    parts.keyring.enroll(&home, &args.name, line.clone(), args.replace).map_err(|error| match error {
        KeyringError::File(_) => CliError::of(ExitKind::Error, &error),
        _ => CliError::of(ExitKind::Usage, &error),
    })?;
    if context.json {
        let fingerprint = openssh::fingerprint(line.host);
        out::json(&json!({ "name": args.name, "host": line.host, "fingerprint": fingerprint, "grant": line.grant }));
        return Ok(ExitKind::Ok);
    }
    out::line(format!("Enrolled {} with grant {}.", args.name, line.grant.name()));
    out::line(format!("Key {}: compare it with `mesh id --fingerprint` there.", openssh::fingerprint(line.host)));
    Ok(ExitKind::Ok)
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
