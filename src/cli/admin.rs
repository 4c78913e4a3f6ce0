//! `mesh admin`: the list of hosts that an admin signs, so that N hosts take 2N steps.

use std::path::PathBuf;

use clap::Subcommand;
use jiff::SignedDuration;
use jiff::civil::Date;
use serde_json::json;

use super::enroll::{key_of, request_with};
use super::table::Table;
use super::{CliError, Context, ExitKind, Outcome, out};
use crate::agent::admin::{self, AdminError, SignedList};
use crate::agent::parts::Parts;
use crate::domain::id::{HostId, PeerName};
use crate::domain::lesson::parse_span;
use crate::domain::openssh;
use crate::domain::roster::{Member, Roster, RosterFault};
use crate::domain::trust::Grant;

/// What to do.
#[derive(Subcommand, Debug)]
pub(super) enum Action {
    /// Make the admin's key of this home, and begin the list with this host and its peers
    Init,
    /// Show the list as it would be signed
    Show,
    /// Put a host on the list, or change it; or an admin, or the threshold
    Add(Add),
    /// Take a host, or an admin, off the list
    Remove(Remove),
    /// Sign the list with the admin's key of this home
    Sign {
        /// A list that another admin signed [default: the draft]
        file: Option<PathBuf>,
        /// How long it is valid
        #[arg(long, value_name = "SPAN", default_value = "180d")]
        valid: String,
    },
    /// Make a list that enough admins signed the one that holds
    Publish {
        /// The signed list [default: the one that `sign` wrote]
        file: Option<PathBuf>,
    },
}

/// Whom to put on the list.
#[derive(clap::Args, Debug)]
pub(super) struct Add {
    /// The host's name
    #[arg(required_unless_present_any = ["admin", "threshold"])]
    name: Option<PeerName>,
    /// Its key: a file, a line "ssh-ed25519 AAAA...", or - for standard input [default: its request]
    key: Option<String>,
    /// Take the key with this fingerprint, of a host that asks or is enrolled here, and refuse another
    #[arg(long, value_name = "FP")]
    fingerprint: Option<String>,
    /// What its lessons may do at most: observe, audit, propose or apply
    #[arg(long, default_value = "propose")]
    grant: Grant,
    /// Lesson scopes it may speak of, such as "python/*"; may be given again
    #[arg(long, value_name = "GLOB")]
    scope: Vec<String>,
    /// The last day of the trust
    #[arg(long, value_name = "YYYY-MM-DD")]
    not_after: Option<Date>,
    /// An admin's key instead of a host
    #[arg(long, value_name = "KEY", conflicts_with = "name")]
    admin: Option<String>,
    /// How many admins must sign from the next version on
    #[arg(long, value_name = "M")]
    threshold: Option<u32>,
}

/// Whom to take off the list.
#[derive(clap::Args, Debug)]
pub(super) struct Remove {
    /// The host's name
    #[arg(required_unless_present = "admin")]
    name: Option<PeerName>,
    /// Its key was stolen: believe none of its entries
    #[arg(long, conflicts_with = "trust_through")]
    compromised: bool,
    /// The last entry that is still believed [default: the last one verified here so far]
    #[arg(long, value_name = "SEQ")]
    trust_through: Option<u64>,
    /// An admin's key instead of a host
    #[arg(long, value_name = "KEY", conflicts_with = "name")]
    admin: Option<String>,
}

fn failure(error: AdminError) -> CliError {
    let kind = match &error {
        AdminError::Roster(RosterFault::Threshold { .. } | RosterFault::Version { .. } | RosterFault::OtherMesh(_)) => {
            ExitKind::Verification
        }
        AdminError::Db(_) | AdminError::File(_) => ExitKind::Error,
        _ => ExitKind::Usage,
    };
    let hint = match &error {
        AdminError::Roster(RosterFault::Threshold { .. }) => "have more admins run `mesh admin sign FILE` on that file",
        AdminError::Roster(RosterFault::Version { .. }) => "run `mesh sync --once`, then `mesh admin sign` again",
        _ => return CliError::of(kind, &error),
    };
    CliError::of(kind, &error).hint(hint)
}

pub(super) fn run(context: &Context, action: Action) -> Outcome {
    let mut parts = context.open()?;
    match action {
        Action::Init => init(context, &mut parts),
        Action::Show => show(context, &admin::draft(&parts).map_err(failure)?),
        Action::Add(add) => {
            let list = put(&parts, &add)?;
            changed(context, &list)
        }
        Action::Remove(remove) => {
            let list = take(&parts, &remove)?;
            changed(context, &list)
        }
        Action::Sign { file, valid } => {
            let span = parse_span(&valid).and_then(|span| SignedDuration::try_from(span).ok());
            let span = span.filter(|span| !span.is_zero()).ok_or_else(|| {
                CliError::new(ExitKind::Usage, format!("`{valid}` is not a span")).hint("such as 30d or 180d")
            })?;
            let signed = admin::sign(&parts, file.as_deref(), span).map_err(failure)?;
            say_signed(context, &signed)
        }
        Action::Publish { file } => publish(context, &mut parts, file),
    }
}

fn init(context: &Context, parts: &mut Parts) -> Outcome {
    let (admin, begun) = admin::init(parts).map_err(failure)?;
    let line = openssh::public_line(admin, "admin");
    if context.json {
        out::json(&json!({ "admin": admin, "fingerprint": openssh::fingerprint(admin), "line": line, "begun": begun }));
        return Ok(ExitKind::Ok);
    }
    out::line(format!("The admin's key is {} in {}.", openssh::fingerprint(admin), parts.home.keys().display()));
    if begun {
        out::line("It is pinned here, and a list was begun with this host and whoever is enrolled here.");
        out::line("Next: `mesh admin sign`, `mesh admin publish`. Every other host is set up with");
        out::line(format!(
            "  mesh init --name NAME --mesh {} --remote {} --admin \"{line}\"",
            parts.config.mesh, parts.config.remote.url
        ));
        out::line("and shows up in `mesh requests` once it has synced; put it on the list with");
        out::line("  mesh admin add NAME --fingerprint FP");
    } else {
        out::line("Another admin puts it on the list with");
        out::line(format!("  mesh admin add --admin \"{line}\""));
    }
    out::line("Keep a copy of keys/admin.key off this machine: without it the list cannot be changed.");
    Ok(ExitKind::Ok)
}

fn put(parts: &Parts, add: &Add) -> Result<Roster, CliError> {
    let mut list = None;
    if let Some(key) = &add.admin {
        list = Some(admin::add_admin(parts, key_of(key)?.host).map_err(failure)?);
    }
    if let Some(name) = &add.name {
        let key = match (&add.key, &add.fingerprint) {
            (Some(key), fingerprint) => {
                let host = key_of(key)?.host;
                super::enroll::demand_fingerprint(host, fingerprint.as_deref())?;
                host
            }
            (None, Some(fingerprint)) => match enrolled_with(parts, fingerprint) {
                Some(host) => host,
                None => request_with(parts, fingerprint)?.host,
            },
            (None, None) => {
                return Err(CliError::new(ExitKind::Usage, "no key was given")
                    .hint("give its line, or --fingerprint of a host in `mesh requests`"));
            }
        };
        let (name, grant, scope, not_after) = (name.clone(), add.grant, add.scope.clone(), add.not_after);
        let member = Member { name, key, grant, scope, not_after };
        list = Some(admin::add_host(parts, member).map_err(failure)?);
    }
    if let Some(threshold) = add.threshold {
        list = Some(admin::set_threshold(parts, threshold).map_err(failure)?);
    }
    list.ok_or_else(|| CliError::new(ExitKind::Usage, "nothing to add"))
}

/// A host that a person has enrolled here already no longer asks.
fn enrolled_with(parts: &Parts, fingerprint: &str) -> Option<HostId> {
    let is_it = |host: &HostId| super::enroll::demand_fingerprint(*host, Some(fingerprint)).is_ok();
    parts.keyring.peers().iter().map(|peer| peer.line.host).find(is_it)
}

fn take(parts: &Parts, remove: &Remove) -> Result<Roster, CliError> {
    if let Some(key) = &remove.admin {
        return admin::remove_admin(parts, key_of(key)?.host).map_err(failure);
    }
    let Some(name) = &remove.name else { return Err(CliError::new(ExitKind::Usage, "nothing to remove")) };
    let through = if remove.compromised { Some(0) } else { remove.trust_through };
    admin::remove_host(parts, name, through).map_err(failure)
}

fn as_json(list: &Roster) -> serde_json::Value {
    serde_json::to_value(list).expect("a roster is a plain table of text")
}

fn changed(context: &Context, list: &Roster) -> Outcome {
    if context.json {
        out::json(&as_json(list));
        return Ok(ExitKind::Ok);
    }
    out::line(format!(
        "The draft of version {} lists {} hosts and {} admins, of whom {} must sign.",
        list.version,
        list.hosts.len(),
        list.admins.len(),
        list.threshold
    ));
    out::line("Nothing changes for anybody until `mesh admin sign` and `mesh admin publish`.");
    Ok(ExitKind::Ok)
}

fn show(context: &Context, list: &Roster) -> Outcome {
    if context.json {
        out::json(&as_json(list));
        return Ok(ExitKind::Ok);
    }
    let mut table = Table::new(&["NAME~", "HOST", "GRANT", "SCOPE~", "NOT AFTER"]);
    for host in &list.hosts {
        table.row([
            host.name.to_string(),
            host.key.short(),
            host.grant.name().to_owned(),
            if host.scope.is_empty() { "every".to_owned() } else { host.scope.join(" ") },
            host.not_after.map_or("-".to_owned(), |day| day.to_string()),
        ]);
    }
    table.lines().iter().for_each(out::line);
    for admin in &list.admins {
        out::line(format!("admin   {}", openssh::fingerprint(*admin)));
    }
    for removed in &list.revoked {
        out::line(format!("revoked {}, entries through {} are believed", removed.key.short(), removed.trust_through));
    }
    out::line(format!("version {}, {} of {} admins must sign", list.version, list.threshold, list.admins.len()));
    Ok(ExitKind::Ok)
}

fn say_signed(context: &Context, signed: &SignedList) -> Outcome {
    let [before, own] = signed.signatures;
    if context.json {
        out::json(&json!({
            "file": signed.path, "version": signed.roster.version, "complete": signed.is_complete(),
            "signed": own.0, "needed": own.1, "signed_before": before.0, "needed_before": before.1,
        }));
        return Ok(ExitKind::Ok);
    }
    show(context, &signed.roster)?;
    out::line(format!("Signed in {}.", signed.path.display()));
    if signed.is_complete() {
        out::line("Enough admins signed. Next: `mesh admin publish`.");
    } else {
        out::line(format!(
            "{} of {} admins of the version before and {} of {} of this one signed.",
            before.0, before.1, own.0, own.1
        ));
        out::line("Next: copy the file to another admin, who runs `mesh admin sign FILE`.");
    }
    Ok(ExitKind::Ok)
}

fn publish(context: &Context, parts: &mut Parts, file: Option<PathBuf>) -> Outcome {
    // With the newest list known, this one cannot come beside another of the same version. A running agent syncs itself.
    let lock = parts.lock().ok();
    if lock.is_some() {
        parts.sync()?;
    }
    let list = admin::publish(parts, file.as_deref()).map_err(failure)?;
    let sent = lock.is_some() && parts.sync()?.remote.is_none();
    if context.json {
        out::json(&json!({ "version": list.version, "sent": sent, "list": as_json(&list) }));
        return Ok(ExitKind::Ok);
    }
    out::line(format!("Version {} holds here until {:.0}.", list.version, list.expires_at));
    out::line(if sent {
        "It is on the remote; every host takes it over at its next sync."
    } else {
        "The next sync that reaches the remote sends it."
    });
    if list.revoked.iter().any(|removed| removed.trust_through > 0) {
        out::line("Entries of removed hosts that were verified before stay believed; `--compromised` believes none.");
    }
    Ok(ExitKind::Ok)
}
