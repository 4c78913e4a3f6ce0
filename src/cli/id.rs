//! `mesh id`: this host's public key, in the form that other programs want.

use serde_json::json;

use super::{Context, ExitKind, Outcome, out};
use crate::domain::openssh;
use crate::sys::host;

/// In which form.
#[derive(clap::Args, Debug)]
#[group(multiple = false)]
pub(super) struct Args {
    /// The fingerprint, as ssh-keygen prints it
    #[arg(long)]
    fingerprint: bool,
    /// The host id: the raw key in hexadecimal
    #[arg(long)]
    hex: bool,
    /// The public key in PEM, for openssl
    #[arg(long)]
    pem: bool,
    /// Say that this home was moved here from another machine, which no longer runs
    #[arg(long)]
    moved: bool,
}

pub(super) fn run(context: &Context, args: &Args) -> Outcome {
    let mut parts = context.open()?;
    let host = parts.key.host();
    if args.moved {
        let _lock = parts.lock()?;
        let machine = host::machine_id().unwrap_or_default();
        parts.db.set_fact(crate::loops::exchange::MACHINE_FACT, &machine)?;
        out::line("This machine is now the one that this home belongs to. Never run the old one again.");
        return Ok(ExitKind::Ok);
    }
    if context.json {
        out::json(&json!({
            "name": parts.config.name, "host": host, "fingerprint": openssh::fingerprint(host),
            "line": openssh::public_line(host, parts.config.name.as_str()), "pem": openssh::public_pem(host),
        }));
    } else if args.fingerprint {
        out::line(openssh::fingerprint(host));
    } else if args.hex {
        out::line(host.to_string());
    } else if args.pem {
        out::line(openssh::public_pem(host).trim_end());
    } else {
        out::line(openssh::public_line(host, parts.config.name.as_str()));
    }
    Ok(ExitKind::Ok)
}
