//! What peers have seen of each other, held against what the server shows here.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::forks;
use super::ingest::{Fault, Looked, note_change, quarantined_detail};
use super::{Exchange, ExchangeError, SyncReport};
use crate::domain::branch_path;
use crate::domain::chain::PeerState;
use crate::domain::envelope::{Envelope, PublicKey, Signed};
use crate::domain::fork::ForkProof;
use crate::domain::gossip::{self, Doubt};
use crate::domain::head::Seen;
use crate::domain::id::{HostId, PeerName};
use crate::ports::Tip;
use crate::store::forks::Fork;
use crate::store::peer_log::{PeerNews, PeerRow};

/// Why what the server shows of a host is not all, if another peer has seen more or something else.
pub(super) fn doubt(
    exchange: &mut Exchange<'_>,
    tip: Tip,
    row: &PeerRow,
    now: Timestamp,
) -> Result<Option<Fault>, ExchangeError> {
    let host = row.host;
    for (by, seen) in exchange.db.gossip_about(host)? {
        let Some(name) = believed(exchange, by)? else { continue };
        let known = exchange.db.peer_entries(host, seen.seq, 1)?.into_iter().find(|entry| entry.seq == seen.seq);
        match gossip::compare(&seen, &row.position, known.map(|entry| entry.id)) {
            None => {}
            Some(Doubt::Withheld { seen }) => {
                let detail = format!("{name} has seen entry {seen} of it, the server shows {} here", row.position.seq);
                return Ok(Some(Fault::new(PeerState::Withheld, detail)));
            }
            Some(Doubt::Split { at }) => {
                if prove(exchange, tip, by, &seen, now)? {
                    return Ok(Some(Fault::new(PeerState::Quarantined, quarantined_detail(at))));
                }
                let detail = format!(
                    "{name} has seen another entry {at} of it than this host: the server shows two histories, or {name} does not tell the truth"
                );
                return Ok(Some(Fault::new(PeerState::Split, detail)));
            }
        }
    }
    Ok(None)
}

/// The name of a peer whose word is heard at all.
fn believed(exchange: &Exchange<'_>, by: HostId) -> Result<Option<PeerName>, ExchangeError> {
    let Some(peer) = exchange.keyring.by_host(by) else { return Ok(None) };
    let out = exchange.keyring.revoked(by).is_some() || exchange.db.fork(by)?.is_some();
    Ok((!out).then(|| peer.name.clone()))
}

/// Shows the peer the entry that is known here, and looks for the one that it says it has: together they prove a fork.
fn prove(
    exchange: &mut Exchange<'_>,
    tip: Tip,
    by: HostId,
    seen: &Seen,
    now: Timestamp,
) -> Result<bool, ExchangeError> {
    let Some(ours) = exchange.db.peer_entries(seen.host, seen.seq, 1)?.into_iter().find(|entry| entry.seq == seen.seq)
    else {
        return Ok(false);
    };
    exchange.db.show_evidence(ours.id, by)?;
    let Some(theirs) = forks::read_entry(exchange, tip, &branch_path::proof(by, seen.tip), seen.tip) else {
        return Ok(false);
    };
    let (Some(one), Some(other)) = (verified(seen.host, &ours.envelope), verified(seen.host, &theirs)) else {
        return Ok(false);
    };
    if ForkProof::of(exchange.mesh, &one, &other).is_none() {
        return Ok(false);
    }
    let fork = Fork { host: seen.host, seq: seen.seq, one: ours.envelope, other: theirs };
    exchange.db.record_fork(&fork, None, now)?;
    Ok(true)
}

fn verified(host: HostId, bytes: &[u8]) -> Option<Signed> {
    let key = PublicKey::of(host).ok()?;
    Envelope::parse(bytes).ok()?.verify(&key).ok()
}

/// Holds what is said now against every peer that is in order by itself: the news of one can throw doubt on another,
/// and take it away. Then says what changed.
pub(super) fn compare_all(
    exchange: &mut Exchange<'_>,
    report: &mut SyncReport,
    tip: Tip,
    looked: &BTreeMap<HostId, Looked>,
    now: Timestamp,
) -> Result<(), ExchangeError> {
    for peer in exchange.keyring.peers().to_vec() {
        let Some(mut row) = exchange.db.peer(peer.line.host)? else { continue };
        let look = looked.get(&row.host);
        let before = look.map_or(row.state, |look| look.before);
        let own = look.map_or_else(|| (row.state, row.detail.clone()), |look| (look.state, look.detail.clone()));
        if can_be_doubted(own.0) && exchange.keyring.revoked(row.host).is_none() {
            let doubt = doubt(exchange, tip, &row, now)?;
            let verdict = doubt.map_or(own, |fault| (fault.state, fault.detail));
            if (row.state, &row.detail) != (verdict.0, &verdict.1) {
                (row.state, row.detail) = verdict;
                exchange.db.record_peer(&PeerNews::of(row.clone()), now)?;
            }
        }
        note_change(report, &peer, before, &row);
    }
    Ok(())
}

/// States in which a host's own log says nothing worse than another could.
pub(super) const fn can_be_doubted(state: PeerState) -> bool {
    matches!(state, PeerState::Unseen | PeerState::Ok | PeerState::Stale)
}

/// What peers have seen of this host itself beyond what it knows: it was restored, or its key is used elsewhere.
pub(super) fn of_myself(exchange: &Exchange<'_>) -> Result<Option<(PeerName, u64)>, ExchangeError> {
    let known = exchange.db.own_position()?.seq;
    for (by, seen) in exchange.db.gossip_about(exchange.key.host())? {
        if seen.seq > known
            && let Some(name) = believed(exchange, by)?
        {
            return Ok(Some((name, seen.seq)));
        }
    }
    Ok(None)
}
