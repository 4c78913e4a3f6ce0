//! Looking at peers: whom, how often, and what becomes of what was read. One peer's bad data never stops the others.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::{Exchange, ExchangeError, PeerChange, Stop, SyncReport, gossip, read};
use crate::domain::chain::PeerState;
use crate::domain::foreign_text::error_line;
use crate::domain::head;
use crate::domain::id::HostId;
use crate::domain::limits;
use crate::domain::trust::Peer;
use crate::ports::{ChangedHosts, Tip};
use crate::store::keyring::Keyring;
use crate::store::peer_log::{PeerNews, PeerRow};

/// Which peers to look at.
#[derive(Clone, Copy)]
pub(super) struct Look<'a> {
    /// Those whose part of the branch differs.
    pub(super) changed: &'a ChangedHosts,
    /// All, as it is not known what differs.
    pub(super) everyone: bool,
    /// Those that were not in order before.
    pub(super) unsettled: bool,
}

/// Entries taken of each peer in this sync, to hold the limit over more than one look.
pub(super) type Taken = BTreeMap<HostId, u64>;

/// Looks at every peer that changed, that was never looked at, or that was not in order before.
pub(super) fn ingest(
    exchange: &mut Exchange<'_>,
    report: &mut SyncReport,
    tip: Tip,
    look: Look<'_>,
    taken: &mut Taken,
    now: Timestamp,
) -> Result<(), ExchangeError> {
    let mut looked = BTreeMap::new();
    for peer in exchange.keyring.peers().to_vec() {
        let host = peer.line.host;
        if host == exchange.key.host() {
            continue;
        }
        let known = exchange.db.peer(host)?;
        let settled = known.as_ref().is_some_and(|row| matches!(row.state, PeerState::Ok | PeerState::Stale));
        let differs = look.changed.changed.contains(&host) || look.changed.gone.contains(&host);
        if !(look.everyone || differs || (look.unsettled && !settled)) {
            continue;
        }
        let row = known.unwrap_or_else(|| PeerRow::unseen(host, now));
        let taken = taken.entry(host).or_default();
        let before = row.state;
        let (state, detail) = look_at_peer(exchange, report, tip, &peer, row, taken, now)?;
        looked.insert(host, Looked { before, state, detail });
    }
    // Only a look can change what is known or said of anybody.
    if looked.is_empty() { Ok(()) } else { gossip::compare_all(exchange, report, tip, &looked, now) }
}

/// Takes back what is not believed any more of revoked keys, whether or not the remote is reached.
pub(super) fn apply_revocations(
    exchange: &mut Exchange<'_>,
    report: &mut SyncReport,
    now: Timestamp,
) -> Result<(), ExchangeError> {
    for mut row in exchange.db.peers()? {
        let Some(through) = exchange.keyring.revoked(row.host).map(|revoked| revoked.trust_through) else { continue };
        exchange.db.reject_after(row.host, through)?;
        let before = row.state;
        if !matches!(before, PeerState::Revoked | PeerState::Quarantined) {
            row.state = PeerState::Revoked;
            row.detail = revoked_detail(exchange.keyring, row.host, through);
            if let Some(peer) = exchange.keyring.by_host(row.host) {
                note_change(report, peer, before, &row);
            }
            exchange.db.record_peer(&PeerNews::of(row), now)?;
        }
    }
    Ok(())
}

pub(super) fn revoked_detail(keyring: &Keyring, host: HostId, through: u64) -> String {
    if let Some(new) = keyring.successor(host) {
        return format!("it moved to key {}; entries through {through} are believed", new.short());
    }
    format!("its key was revoked here; entries through {through} are believed")
}

/// Peers whose head expired while nothing new came are stale, whether or not the remote was reached; a
/// clock that was set right makes them fresh again.
pub(super) fn refresh_freshness(
    exchange: &mut Exchange<'_>,
    report: &mut SyncReport,
    now: Timestamp,
) -> Result<(), ExchangeError> {
    for peer in exchange.keyring.peers() {
        let Some(mut row) = exchange.db.peer(peer.line.host)? else { continue };
        // A host that was enrolled and never seen is as silent as one that stopped.
        let until = row.expires_at.unwrap_or_else(|| row.seen_at.saturating_add(head::VALID).unwrap_or(now));
        let fresh = head::is_fresh(until, now);
        let before = row.state;
        match (before, fresh) {
            (PeerState::Ok, false) => {
                row.state = PeerState::Stale;
                STALE.clone_into(&mut row.detail);
            }
            (PeerState::Unseen, false) => {
                row.state = PeerState::Stale;
                NEVER_SEEN.clone_into(&mut row.detail);
            }
            (PeerState::Stale, true) => {
                row.state = if row.expires_at.is_some() { PeerState::Ok } else { PeerState::Unseen };
                row.detail.clear();
            }
            _ => continue,
        }
        note_change(report, peer, before, &row);
        exchange.db.record_peer(&PeerNews::of(row), now)?;
    }
    Ok(())
}

const NEVER_SEEN: &str = "nothing of it was ever seen: it does not run, or the server hides it";
pub(super) const STALE: &str = "its head has expired: it is silent, or the server hides what it says";

pub(super) fn note_change(report: &mut SyncReport, peer: &Peer, before: PeerState, row: &PeerRow) {
    if before != row.state {
        report.changes.push(PeerChange {
            name: peer.name.clone(),
            host: row.host,
            before,
            now: row.state,
            detail: row.detail.clone(),
        });
    }
}

/// A fault in a peer's log: the state it leads to and why.
pub(super) struct Fault {
    pub(super) state: PeerState,
    pub(super) detail: String,
    /// The document at fault, to be kept for people.
    pub(super) document: Option<(String, Vec<u8>)>,
}

impl Fault {
    pub(super) fn new(state: PeerState, detail: impl Into<String>) -> Self {
        Self { state, detail: detail.into(), document: None }
    }

    pub(super) fn of(state: PeerState, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::new(state, error_line(error))
    }
}

/// What a look at a peer's own part of the branch came to, whatever others say of it.
pub(super) struct Looked {
    pub(super) before: PeerState,
    pub(super) state: PeerState,
    pub(super) detail: String,
}

/// Returns the state that the peer's own part of the branch leads to, and why; what is stored heeds the others as well.
fn look_at_peer(
    exchange: &mut Exchange<'_>,
    report: &mut SyncReport,
    tip: Tip,
    peer: &Peer,
    row: PeerRow,
    taken: &mut u64,
    now: Timestamp,
) -> Result<(PeerState, String), ExchangeError> {
    let host = row.host;
    let mut news = PeerNews::of(row);
    let fault = match exchange.db.fork(host)? {
        Some(seq) => Some(Fault::new(PeerState::Quarantined, quarantined_detail(seq))),
        None => match read::read_news(exchange, tip, peer, &mut news, taken, now) {
            Ok(fault) => fault,
            // The part of one peer that cannot be read is no reason to stop reading the others.
            Err(Stop::Remote(error)) => Some(Fault::of(PeerState::Invalid, &error)),
            Err(Stop::Signing(refused)) => Some(Fault::of(PeerState::Invalid, &refused)),
            Err(Stop::Here(error)) => return Err(error),
        },
    };
    match fault {
        Some(fault) => {
            news.row.state = fault.state;
            news.row.detail = fault.detail;
            if let Some((path, document)) = fault.document {
                refuse(exchange, report, &path, &document, Some(host), &news.row.detail, now)?;
            }
        }
        None => news.row.detail.clear(),
    }
    let own = (news.row.state, news.row.detail.clone());
    if gossip::can_be_doubted(news.row.state)
        && let Some(fault) = gossip::doubt(exchange, tip, &news.row, now)?
    {
        news.row.state = fault.state;
        news.row.detail = fault.detail;
    }
    if !news.entries.is_empty() || news.head.is_some() {
        news.row.seen_at = now;
    }
    // Lessons are listed in the order of the entries that carry them, and not every entry carries one.
    let mut entries = news.entries.iter().rev();
    for lesson in news.lessons.iter().rev().take(limits::INBOX_COPIES_PER_CYCLE) {
        let Some(entry) = entries.find(|entry| entry.id == lesson.entry) else { break };
        exchange.spool.show_incoming(peer.name.as_str(), entry.seq, &lesson.slug, &entry.envelope)?;
    }
    exchange.db.record_peer(&news, now)?;
    report.received += u64::try_from(news.entries.len()).unwrap_or(u64::MAX);
    report.lessons.extend(news.lessons.iter().map(|lesson| lesson.entry));
    Ok(own)
}

pub(super) fn quarantined_detail(seq: u64) -> String {
    format!("it signed two different entries {seq}: only a new key ends this")
}

fn refuse(
    exchange: &mut Exchange<'_>,
    report: &mut SyncReport,
    path: &str,
    document: &[u8],
    host: Option<HostId>,
    reason: &str,
    now: Timestamp,
) -> Result<(), ExchangeError> {
    let digest: [u8; 32] = Sha256::digest(document).into();
    if exchange.db.record_refusal(path, &digest, host, reason, now)? {
        exchange.spool.show_rejected(&digest, document, reason)?;
        report.refused.push((path.to_owned(), reason.to_owned()));
        for forgotten in exchange.db.trim_refusals(limits::REFUSALS_KEPT)? {
            exchange.spool.remove_rejected(&forgotten)?;
        }
    }
    Ok(())
}
