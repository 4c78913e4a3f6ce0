//! `mesh status`: where everything stands on one screen; the exit code tells the worst.

use std::collections::BTreeMap;

use serde_json::json;

use super::table::age;
use super::{Context, ExitKind, Outcome, out, peers};
use crate::agent::cycle::STRAIN_FACT;
use crate::agent::parts::Parts;
use crate::agent::undo;
use crate::domain::chain::PeerState;
use crate::domain::maintenance::Window;
use crate::loops::exchange::SYNCED_FACT;
use crate::store::keyring::RosterStanding;
use crate::store::standing::PausedArea;

pub(super) fn run(context: &Context) -> Outcome {
    let parts = context.open()?;
    let moment = parts.clock.moment();
    let frozen = parts.db.frozen(&moment)?;
    let paused = parts.db.paused(&moment)?;
    let paused_areas: Vec<String> = parts.db.paused_areas(&moment)?.iter().map(PausedArea::words).collect();
    let maintenance = parts.db.maintenance()?;
    let maintenance: Vec<String> = maintenance.open(moment.wall).map(Window::words).collect();
    let strain = parts.db.fact(STRAIN_FACT)?.filter(|why| !why.is_empty());
    let read_only = undo::stopped(&parts)?;
    let mut states: Vec<(String, PeerState, String)> = Vec::new();
    for peer in parts.keyring.peers() {
        let (state, row) = (parts.peer_state(peer.line.host)?, parts.db.peer(peer.line.host)?);
        states.push((peer.name.to_string(), state, row.map(|row| row.detail).unwrap_or_default()));
    }
    let mut inbox: BTreeMap<&str, usize> = BTreeMap::new();
    for row in parts.db.inbox()? {
        *inbox.entry(row.state.name()).or_default() += 1;
    }
    let mut fixes: BTreeMap<&str, usize> = BTreeMap::new();
    for fix in parts.db.fixes()? {
        *fixes.entry(fix.state.name()).or_default() += 1;
    }
    let mut services: BTreeMap<String, usize> = BTreeMap::new();
    let rows = parts.db.services()?;
    for row in &rows {
        *services.entry(row.state.clone()).or_default() += 1;
    }
    let own = parts.db.own_position()?.seq;
    let waiting = parts.db.unconfirmed_entries()?.len() + parts.db.drafts()?.len();
    let synced = parts.db.fact(SYNCED_FACT)?;
    let held_up = !frozen.is_empty() || read_only.is_some();
    let code = match peers::with_roster(&parts, peers::worst(states.iter().map(|(_, state, _)| *state))) {
        ExitKind::Ok if held_up => ExitKind::Stale,
        worst => worst,
    };
    if context.json {
        let listed: Vec<_> =
            states.iter().map(|(name, state, why)| json!({ "name": name, "state": state, "why": why })).collect();
        out::json(&json!({
            "name": parts.config.name, "mesh": parts.config.mesh, "host": parts.key.host(),
            "home": parts.home.root(), "remote": parts.config.remote.url, "synced_at": synced,
            "entries": own, "waiting": waiting, "peers": listed, "roster": peers::roster_json(&parts), "inbox": inbox, "fixes": fixes,
            "services": rows,
            "paused": paused.as_ref().map(|paused| paused.words()), "paused_areas": paused_areas, "maintenance": maintenance, "read_only": read_only, "strain": strain,
            "frozen_areas": frozen.iter().map(|frozen| frozen.area.to_string_lossy()).collect::<Vec<_>>(),
        }));
        return Ok(code);
    }
    let line = |name: &str, value: String| out::line(format!("{name:8} {value}"));
    line("host", format!("{} of mesh {} ({})", parts.config.name, parts.config.mesh, parts.key.host().short()));
    line("home", parts.home.root().display().to_string());
    line("remote", format!("{}, {}", parts.config.remote.url, last_sync(&parts, synced.as_deref())));
    let waiting = if waiting == 0 { "nothing waits".to_owned() } else { format!("{waiting} wait to be published") };
    line("outbox", format!("{own} entries signed, {waiting}"));
    line("inbox", counts(&inbox, "empty"));
    line("fixes", counts(&fixes, "none"));
    if !rows.is_empty() {
        line("services", counts(&services, "none"));
    }
    for row in rows.iter().filter(|row| row.liveness == Some(false)) {
        let why = if row.why.is_empty() { String::new() } else { format!(": {}", row.why) };
        line("", format!("{} is {}{why}", row.name, row.state));
    }
    if let Some(why) = &read_only {
        line("stopped", format!("nothing is changed any more: {why}"));
    }
    if let Some(paused) = &paused {
        line("paused", paused.words());
    }
    for words in &paused_areas {
        line("paused", words.clone());
    }
    for words in &maintenance {
        line("", words.clone());
    }
    if let Some(why) = &strain {
        line("strain", format!("in the last round {why}"));
    }
    for frozen in &frozen {
        let left = age(i64::try_from(frozen.left.as_secs()).unwrap_or(i64::MAX));
        line("frozen", format!("{} for {left} more: {}", frozen.area.display(), frozen.why));
    }
    line("peers", if states.is_empty() { "nobody enrolled".to_owned() } else { states.len().to_string() });
    if let RosterStanding::Stale { version, why } = parts.keyring.roster() {
        line("roster", format!("version {version} is not to be relied on: {why}"));
    }
    for (name, state, why) in states.iter().filter(|(_, state, _)| *state != PeerState::Ok) {
        let why = if why.is_empty() { String::new() } else { format!(": {why}") };
        line("", format!("{name} is {}{why}", state.name()));
    }
    Ok(code)
}

fn last_sync(parts: &Parts, synced: Option<&str>) -> String {
    let at = synced.and_then(|at| at.parse::<jiff::Timestamp>().ok());
    match at {
        Some(at) => format!("synced {} ago", age(parts.now().as_second() - at.as_second())),
        None => "never synced".to_owned(),
    }
}

fn counts<K: std::fmt::Display>(counts: &BTreeMap<K, usize>, none: &str) -> String {
    if counts.is_empty() {
        return none.to_owned();
    }
    counts.iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
}
