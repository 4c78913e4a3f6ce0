//! `mesh init`: key, config and remote.

use serde_json::json;

use super::enroll::key_of;
use super::{CliError, Context, ExitKind, Outcome, exit_kind, out};
use crate::agent::parts::{Parts, SetUp};
use crate::domain::id::{MeshName, PeerName};
use crate::domain::openssh;
use crate::store::keyring;

/// What a new home is to be.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// This host's name: a-z, 0-9 and '-'
    #[arg(long)]
    name: PeerName,
    /// The mesh it belongs to; the same on every host
    #[arg(long)]
    mesh: MeshName,
    /// The git remote: https, http, ssh, git, or a path
    #[arg(long)]
    remote: String,
    /// The branch on it
    #[arg(long, default_value = "mesh")]
    branch: String,
    /// The admin who says which hosts belong to the mesh: a key file or line; several must all sign the first list
    #[arg(long, value_name = "KEY")]
    admin: Vec<String>,
}

pub(super) fn run(context: &Context, args: Args) -> Outcome {
    let home = context.home()?;
    if home.config_file().symlink_metadata().is_ok() {
        let message = format!("{} is there already", home.config_file().display());
        return Err(CliError::new(ExitKind::Usage, message)
            .hint("this home is set up: change its config, or name another home with --home"));
    }
    let admins = args.admin.iter().map(|key| Ok(key_of(key)?.host)).collect::<Result<Vec<_>, CliError>>()?;
    let wanted =
        SetUp { name: args.name, mesh: args.mesh, remote: Some(args.remote), branch: args.branch, roots: vec![] };
    let parts = Parts::set_up(home, &wanted).map_err(|error| CliError::of(exit_kind(&error), &error))?;
    for admin in &admins {
        keyring::pin_admin(&parts.home, *admin)?;
    }
    let host = parts.key.host();
    if context.json {
        out::json(&json!({
            "home": parts.home.root(), "name": parts.config.name, "mesh": parts.config.mesh, "host": host,
            "fingerprint": openssh::fingerprint(host), "admins": admins,
        }));
        return Ok(ExitKind::Ok);
    }
    out::line(format!(
        "Set up {} as {} of mesh {}.",
        parts.home.root().display(),
        parts.config.name,
        parts.config.mesh
    ));
    out::line(format!("Key {}", openssh::fingerprint(host)));
    if !admins.is_empty() {
        out::line(
            "Next: `mesh sync --once` asks the admin to be listed. Tell the admin the fingerprint above, who runs",
        );
        out::line(format!("  mesh admin add {} --fingerprint FP", parts.config.name));
        return Ok(ExitKind::Ok);
    }
    out::line("Next: on every other host run");
    out::line(format!(
        "  mesh enroll {} \"{}\"",
        parts.config.name,
        openssh::public_line(host, parts.config.name.as_str())
    ));
    Ok(ExitKind::Ok)
}
