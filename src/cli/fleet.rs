//! `mesh fleet`: every host of the mesh, from what was last read of the shared branch.

use serde_json::json;

use super::table::{Table, age};
use super::{Context, Outcome, out, peers, requests};
use crate::agent::fleet::{self, FleetHost, Standing};
use crate::domain::chain::PeerState;

fn as_json(host: &FleetHost) -> serde_json::Value {
    let head = host.head.as_ref();
    json!({
        "name": host.name, "host": host.host, "state": host.standing.name(),
        "enrolled": host.standing != Standing::Stranger,
        "seq": head.map(|head| head.seq), "issued_at": head.map(|head| head.issued_at.to_string()),
        "expires_at": head.map(|head| head.expires_at.to_string()), "roster": head.and_then(|head| head.roster),
        "agent": head.map(|head| &head.agent), "sees_us": head.and_then(|head| head.sees_us),
    })
}

pub(super) fn run(context: &Context) -> Outcome {
    let parts = context.open()?;
    let hosts = fleet::list(&parts).map_err(|error| requests::failure(&error))?;
    let states = hosts.iter().filter_map(|host| match host.standing {
        Standing::Peer(state) => Some(state),
        Standing::Own | Standing::Stranger => None,
    });
    // A peer that has no place on the branch at all is not among them.
    let on_branch = |key| hosts.iter().any(|host| host.host == key);
    let hidden: Vec<_> = parts.keyring.peers().iter().filter(|peer| !on_branch(peer.line.host)).collect();
    let code = peers::with_roster(&parts, peers::worst(states));
    if context.json {
        let missing: Vec<_> = hidden.iter().map(|peer| &peer.name).collect();
        out::json(&json!({ "hosts": hosts.iter().map(as_json).collect::<Vec<_>>(), "not_on_branch": missing }));
        return Ok(code);
    }
    let own = parts.db.own_position()?.seq;
    let mut table = Table::new(&["NAME~", "HOST", "STATE", "SEQ", "HEAD", "HAS OURS", "PROGRAM~"]);
    for host in &hosts {
        let said = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        let head = host.head.as_ref();
        let ours = match (host.standing, head.and_then(|head| head.sees_us)) {
            (Standing::Own, _) => None,
            (_, Some(seq)) => Some(format!("{seq} of {own}")),
            (_, None) => None,
        };
        table.row([
            host.name.clone(),
            host.host.short(),
            host.standing.name().to_owned(),
            said(head.map(|head| head.seq.to_string())),
            said(head.map(|head| age(parts.now().as_second() - head.issued_at.as_second()))),
            said(ours),
            said(head.map(|head| head.agent.clone())),
        ]);
    }
    table.lines().iter().for_each(out::line);
    for peer in hidden {
        out::line(format!("{} is enrolled and has no place on the branch.", peer.name));
    }
    let silent = hosts.iter().filter(|host| matches!(host.standing, Standing::Peer(PeerState::Stale))).count();
    if silent > 0 {
        out::line(format!("{silent} of them silent or hidden: `mesh peers` says why."));
    }
    Ok(code)
}
