//! What is in order with a home and its machine, and what a person should attend to.

use std::path::Path;

use jiff::SignedDuration;
use serde::Serialize;

use super::canaries;
use super::parts::Parts;
use crate::domain::foreign_text::error_line;
use crate::domain::lesson::Lesson;
use crate::founding;
use crate::ports::{Auditor as _, Remote as _};
use crate::store::authored;
use crate::store::db::DbError;
use crate::store::home::{Home, HomeError};
use crate::store::keyring::RosterStanding;
use crate::sys::host;
use crate::sys::remote::Address;

/// Free space below which a person should make room, in bytes.
const LEAST_FREE: u64 = 256 * 1024 * 1024;
/// Free space below which a person should make room, in percent.
const LEAST_FREE_PERCENT: u64 = 2;
/// How long before trust ends a person is told.
const SOON: SignedDuration = SignedDuration::from_hours(24 * 14);
/// A clock before this, in seconds since 1970, was never set.
const NEVER_SET: i64 = 1_700_000_000;

/// How a thing is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// In order.
    Good,
    /// Worth knowing; nothing to do.
    Note,
    /// A person should look.
    Attend,
}

impl Health {
    /// The word for it in listings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Note => "note",
            Self::Attend => "attend",
        }
    }
}

/// What was looked at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Examined {
    /// What, in one word.
    pub subject: &'static str,
    /// How it is.
    pub health: Health,
    /// What was found.
    pub says: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

pub(super) fn good(subject: &'static str, says: impl Into<String>) -> Examined {
    Examined { subject, health: Health::Good, says: says.into(), hint: None }
}

fn note(subject: &'static str, says: impl Into<String>) -> Examined {
    Examined { subject, health: Health::Note, says: says.into(), hint: None }
}

pub(super) fn attend(subject: &'static str, says: impl Into<String>, hint: impl Into<String>) -> Examined {
    let hint = Some(hint.into()).filter(|hint| !hint.is_empty());
    Examined { subject, health: Health::Attend, says: says.into(), hint }
}

/// Looks at everything that needs no home that opens, and then at the rest.
#[must_use]
pub fn examine(home: Home) -> Vec<Examined> {
    let state = home.state();
    let mut examined = vec![disk(&state)];
    match Parts::open(home) {
        Ok(parts) => examined.extend(opened(parts)),
        Err(error) => examined.push(attend("home", error_line(&error), "mend that first; the rest was not looked at")),
    }
    examined
}

fn opened(mut parts: Parts) -> Vec<Examined> {
    let mut examined = vec![good("home", format!("{}, keys and modes in order", parts.home.root().display()))];
    examined.extend(config(&parts));
    examined.push(database(&parts));
    examined.push(clock(&parts));
    examined.extend(parts.config.audit_roots.iter().flat_map(canaries::examine));
    if parts.config.audit_roots.is_empty() {
        let hint = "add an [[audit.root]] to config/mesh.toml";
        examined.push(attend("root", "no folder is configured, so only mesh's own files are audited", hint));
    }
    examined.extend(remote(&parts));
    examined.push(worker(&parts));
    examined.push(agent(&parts));
    examined.extend(trust(&parts));
    match standing(&mut parts) {
        Ok(found) => examined.extend(found),
        Err(error) => examined.push(attend("ledger", error_line(&error), "run `mesh fsck`")),
    }
    examined
}

fn disk(state: &Path) -> Examined {
    match host::space(state) {
        Ok((free, total)) => {
            let mib = free / (1024 * 1024);
            if free < LEAST_FREE || free < total / 100 * LEAST_FREE_PERCENT {
                return attend("disk", format!("{mib} MiB are free under {}", state.display()), "make room");
            }
            good("disk", format!("{mib} MiB are free under {}", state.display()))
        }
        Err(error) => attend("disk", format!("{}: {error}", state.display()), "run `mesh init` or `mesh up`"),
    }
}

fn config(parts: &Parts) -> Vec<Examined> {
    let weak: Vec<Examined> = parts.config.weaknesses().into_iter().map(|weak| attend("config", weak, "")).collect();
    if weak.is_empty() { vec![good("config", "no limit is set in the unsafe direction")] } else { weak }
}

fn database(parts: &Parts) -> Examined {
    match parts.db.check() {
        Ok(()) => good("database", "sound; `mesh fsck` checks every signature and the ledger"),
        Err(error) => attend("database", error_line(&error), "restore the last copy of state/mesh.db"),
    }
}

fn clock(parts: &Parts) -> Examined {
    let now = parts.now();
    if now.as_second() < NEVER_SET {
        return attend(
            "clock",
            format!("it says {now:.0}, so it was never set"),
            "set the clock, then start mesh again",
        );
    }
    let newest = parts.db.newest_ledger_time().ok().flatten();
    match newest {
        Some(newest) if now.as_millisecond() < newest - 60_000 => {
            let behind = (newest - now.as_millisecond()) / 60_000;
            attend("clock", format!("it is {behind} min behind what it was before"), "is it synchronised?")
        }
        _ => good("clock", format!("{now:.0}")),
    }
}

fn remote(parts: &Parts) -> Vec<Examined> {
    let url = &parts.config.remote.url;
    let mut examined = Vec::new();
    let address = match url.parse::<Address>() {
        Ok(address) => address,
        Err(error) => return vec![attend("remote", error_line(&error), "correct `remote.url` in config/mesh.toml")],
    };
    if matches!(address, Address::Ssh { .. }) {
        examined.push(if host::can_run("ssh", Path::new("/")) {
            good("tools", "ssh is there")
        } else {
            attend("tools", "the remote needs ssh, which is not there", "apt-get install openssh-client")
        });
    }
    let tip = parts.remote().map_err(|error| error_line(&error));
    examined.push(match tip.and_then(|mut remote| remote.tip().map_err(|error| error_line(&error))) {
        Ok(Some(_)) => good("remote", format!("{url} answers, and has the branch {}", parts.config.remote.branch)),
        Ok(None) => note("remote", format!("{url} answers; the first sync makes the branch")),
        Err(why) => attend("remote", why, "compare `remote` in config/mesh.toml with what `git ls-remote` says"),
    });
    examined
}

/// One empty text through the audit worker, with a lesson that ships.
fn worker(parts: &Parts) -> Examined {
    let lesson = |(name, text): &(&str, &str)| authored::parse(Path::new(name), text).ok();
    let Some(lesson): Option<Lesson> = founding::ALL.iter().find_map(lesson) else {
        return attend("worker", "no founding lesson can be read", "install mesh again");
    };
    match parts.auditor().mend(&lesson, "empty.py", "\n", None) {
        Ok(_) => good("worker", "the audit worker starts and answers"),
        Err(error) => attend("worker", error_line(&error), "is the program still where it was started from?"),
    }
}

fn agent(parts: &Parts) -> Examined {
    match parts.home.lock() {
        Ok(_) => note("agent", "none runs: `mesh run` starts it"),
        Err(HomeError::Locked { .. }) => good("agent", "it runs"),
        Err(error) => attend("agent", error_line(&error), "mend the modes of the home"),
    }
}

/// Trust that has ended or ends soon, and a list of hosts that cannot be relied on.
fn trust(parts: &Parts) -> Vec<Examined> {
    let now = parts.now();
    let soon = now.saturating_add(SOON).unwrap_or(now);
    let mut examined = Vec::new();
    match parts.keyring.roster() {
        RosterStanding::None => {}
        RosterStanding::Awaited => examined.push(note("list", "an admin is pinned, and no list of hosts was read yet")),
        RosterStanding::Stale { version, why } => {
            examined.push(attend("list", format!("version {version}: {why}"), "see `mesh peers`"));
        }
        RosterStanding::Fresh { version } => match parts.db.roster() {
            Ok(Some(row)) if row.roster.is_expired(soon) => {
                let says = format!("version {version} expires on {:.0}", row.roster.expires_at);
                examined.push(attend("list", says, "let an admin run `mesh admin sign` and `mesh admin publish`"));
            }
            _ => examined.push(good("list", format!("version {version} of the admins' list of hosts"))),
        },
    }
    for peer in parts.keyring.peers().iter().filter(|peer| parts.keyring.revoked(peer.line.host).is_none()) {
        if let Some(day) = peer.line.not_after.filter(|_| peer.line.has_ended(soon)) {
            let says = format!("trust in {} ends with {day}", peer.name);
            examined.push(attend("peer", says, "enrol the same key with a later --not-after, or revoke it"));
        }
    }
    examined
}

fn standing(parts: &mut Parts) -> Result<Vec<Examined>, DbError> {
    let moment = parts.clock.moment();
    let mut examined = Vec::new();
    if let Some(why) = parts.db.read_only()? {
        examined.push(attend("changes", why, "look at it, then `mesh resume --reason \"what you did\"`"));
    }
    if let Some(paused) = parts.db.paused(&moment)? {
        examined.push(attend("changes", format!("paused {}", paused.words()), "`mesh resume` ends that"));
    }
    for paused in parts.db.paused_areas(&moment)? {
        examined.push(attend("changes", paused.words(), "`mesh resume --area PATH` ends that"));
    }
    for frozen in parts.db.frozen(&moment)? {
        let says = format!("{} is frozen: {}", frozen.area.display(), frozen.why);
        examined.push(attend("changes", says, "see `mesh freeze list`"));
    }
    if examined.is_empty() {
        examined.push(good("changes", "not paused, nothing frozen"));
    }
    Ok(examined)
}
