//! Reading what peers published: verify, link, store. One peer's bad data never stops the others.

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::{Exchange, ExchangeError, PeerChange, Stop, SyncReport};
use crate::domain::branch_path;
use crate::domain::chain::{self, PeerState};
use crate::domain::entry;
use crate::domain::envelope::{Envelope, Kind, PublicKey, Signed};
use crate::domain::foreign_text::display_line;
use crate::domain::head::Head;
use crate::domain::id::HostId;
use crate::domain::limits;
use crate::domain::trust::Peer;
use crate::ports::{Blob, ChangedHosts, Tip};
use crate::store::peer_log::{EntryRow, InboxRow, InboxState, PeerNews, PeerRow};

/// Looks at every peer that changed, that was never looked at, or that was not in order before.
pub(super) fn ingest(
    exchange: &mut Exchange<'_>,
    report: &mut SyncReport,
    tip: Tip,
    changed: &ChangedHosts,
    now: Timestamp,
) -> Result<(), Stop> {
    for peer in exchange.keyring.peers().to_vec() {
        let host = peer.line.host;
        if host == exchange.key.host() {
            continue;
        }
        let known = exchange.db.peer(host)?;
        let in_order = known.as_ref().is_some_and(|row| matches!(row.state, PeerState::Ok | PeerState::Stale));
        let differs = changed.changed.contains(&host) || changed.gone.contains(&host);
        if in_order && !differs {
            continue;
        }
        let row = known.unwrap_or_else(|| PeerRow::unseen(host, now));
        look_at_peer(exchange, report, tip, &peer, row, now)?;
    }
    Ok(())
}

/// Peers whose head expired while nothing new came are stale, whether or not the remote was reached.
pub(super) fn refresh_freshness(
    exchange: &mut Exchange<'_>,
    report: &mut SyncReport,
    now: Timestamp,
) -> Result<(), ExchangeError> {
    for peer in exchange.keyring.peers() {
        let Some(mut row) = exchange.db.peer(peer.line.host)? else { continue };
        let expired = row.expires_at.is_some_and(|at| now > at + jiff::SignedDuration::from_mins(10));
        if row.state == PeerState::Ok && expired {
            row.state = PeerState::Stale;
            row.detail = "its head has expired: it is silent, or the server hides what it says".to_owned();
            note_change(report, peer, PeerState::Ok, &row);
            exchange.db.record_peer(&only_row(row), now)?;
        }
    }
    Ok(())
}

fn only_row(row: PeerRow) -> PeerNews {
    PeerNews { row, entries: vec![], lessons: vec![], retracted: vec![], head: None }
}

fn note_change(report: &mut SyncReport, peer: &Peer, before: PeerState, row: &PeerRow) {
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
struct Fault {
    state: PeerState,
    detail: String,
    /// The document at fault, to be kept for people.
    document: Option<(String, Vec<u8>)>,
}

fn look_at_peer(
    exchange: &mut Exchange<'_>,
    report: &mut SyncReport,
    tip: Tip,
    peer: &Peer,
    row: PeerRow,
    now: Timestamp,
) -> Result<(), Stop> {
    let host = row.host;
    let before = row.state;
    let mut news = only_row(row);
    let fault = match exchange.db.fork(host)? {
        Some(seq) => Some(Fault {
            state: PeerState::Quarantined,
            detail: format!("it signed two different entries {seq}: only a new key ends this"),
            document: None,
        }),
        None => read_news(exchange, tip, peer, &mut news, now)?,
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
    if !news.entries.is_empty() || news.head.is_some() {
        news.row.seen_at = now;
    }
    note_change(report, peer, before, &news.row);
    for entry in &news.entries {
        let Some(lesson) = news.lessons.iter().find(|lesson| lesson.entry == entry.id) else { continue };
        exchange.spool.show_incoming(peer.name.as_str(), entry.seq, &lesson.slug, &entry.envelope)?;
    }
    exchange.db.record_peer(&news, now)?;
    report.received += u64::try_from(news.entries.len()).unwrap_or(u64::MAX);
    report.lessons.extend(news.lessons.iter().map(|lesson| lesson.entry));
    Ok(())
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
    }
    Ok(())
}

/// Reads entries and head. `None`: all in order, and the state is set from the head.
fn read_news(
    exchange: &mut Exchange<'_>,
    tip: Tip,
    peer: &Peer,
    news: &mut PeerNews,
    now: Timestamp,
) -> Result<Option<Fault>, Stop> {
    let host = news.row.host;
    let key = match PublicKey::of(host) {
        Ok(key) => key,
        Err(error) => return Ok(Some(plain_fault(PeerState::Invalid, &error))),
    };
    if let Some(fault) = still_shown(exchange, tip, &key, news, now)? {
        return Ok(Some(fault));
    }
    if let Some(fault) = read_entries(exchange, tip, peer, &key, news, now)? {
        return Ok(Some(fault));
    }
    if let Some(revoked) = exchange.keyring.revoked(host) {
        let detail = format!("its key was revoked here; entries through {} are believed", revoked.trust_through);
        return Ok(Some(Fault { state: PeerState::Revoked, detail, document: None }));
    }
    read_head(exchange, tip, &key, news, now)
}

fn plain_fault(state: PeerState, error: &dyn std::error::Error) -> Fault {
    Fault { state, detail: display_line(&error.to_string()), document: None }
}

/// The last entry that was verified must still stand where it stood: else the server rewound the log, or
/// the peer signed another entry with the same seq.
fn still_shown(
    exchange: &mut Exchange<'_>,
    tip: Tip,
    key: &PublicKey,
    news: &PeerNews,
    now: Timestamp,
) -> Result<Option<Fault>, Stop> {
    let position = news.row.position;
    let Some(known) = position.tip else { return Ok(None) };
    let slice = exchange.branch.log(tip, news.row.host, position.seq, 1)?;
    match slice.blobs.first() {
        Some(Blob::Found(bytes)) => match Envelope::parse(bytes) {
            Ok(envelope) if envelope.entry_id() == known => Ok(None),
            Ok(envelope) => judge_other_entry(exchange, key, envelope, bytes, position.seq, now),
            Err(_) => Ok(Some(rollback(position.seq))),
        },
        Some(Blob::Missing | Blob::Refused(_)) | None => Ok(Some(rollback(position.seq))),
    }
}

fn rollback(seq: u64) -> Fault {
    let detail = format!("the server no longer shows entry {seq}, which was verified before");
    Fault { state: PeerState::Rollback, detail, document: None }
}

/// Another document than the known one stands at `seq`: a fork if the peer signed both.
fn judge_other_entry(
    exchange: &mut Exchange<'_>,
    key: &PublicKey,
    other: Envelope,
    other_bytes: &[u8],
    seq: u64,
    now: Timestamp,
) -> Result<Option<Fault>, Stop> {
    let host = key.host();
    let ours = exchange.db.peer_entries(host, seq, 1)?.into_iter().next().filter(|entry| entry.seq == seq);
    let Some(ours) = ours else { return Ok(Some(rollback(seq))) };
    let known = Envelope::parse(&ours.envelope).ok().and_then(|known| known.verify(key).ok());
    let other = other.verify(key).ok();
    if let (Some(known), Some(other)) = (known, other)
        && chain::is_fork(exchange.mesh, &known, &other)
    {
        exchange.db.record_fork(host, seq, (&ours.envelope, other_bytes), now)?;
        let detail = format!("it signed two different entries {seq}: only a new key ends this");
        return Ok(Some(Fault { state: PeerState::Quarantined, detail, document: None }));
    }
    Ok(Some(rollback(seq)))
}

fn read_entries(
    exchange: &mut Exchange<'_>,
    tip: Tip,
    peer: &Peer,
    key: &PublicKey,
    news: &mut PeerNews,
    now: Timestamp,
) -> Result<Option<Fault>, Stop> {
    let host = news.row.host;
    let through = exchange.keyring.trusted_through(host);
    let first = news.row.position.next_seq();
    if first > limits::ENTRIES_PER_PEER {
        let detail = format!("it published more than the {} entries that are kept of a peer", limits::ENTRIES_PER_PEER);
        return Ok(Some(Fault { state: PeerState::Flooded, detail, document: None }));
    }
    if first > through {
        return Ok(None);
    }
    let count = limits::ENTRIES_PER_PEER_PER_CYCLE.min(through - first + 1);
    let slice = exchange.branch.log(tip, host, first, count)?;
    for (place, blob) in (first..).zip(&slice.blobs) {
        let path = branch_path::entry(host, place);
        match blob {
            Blob::Missing => break,
            Blob::Refused(why) => {
                let detail = format!("entry {place} is not read: {why}");
                return Ok(Some(Fault { state: PeerState::Invalid, detail, document: None }));
            }
            Blob::Found(bytes) => match accept(exchange, key, news, place, bytes) {
                Ok(signed) => file_entry(peer, news, place, bytes, &signed, now),
                Err((state, why)) => {
                    let detail = format!("entry {place} is refused: {why}");
                    let document = Some((path, bytes.clone()));
                    return Ok(Some(Fault { state, detail, document }));
                }
            },
        }
    }
    if let Some(later) = slice.beyond_gap {
        let missing = news.row.position.next_seq();
        let detail = format!("entry {missing} is missing while entry {later} is there");
        return Ok(Some(Fault { state: PeerState::Gap, detail, document: None }));
    }
    Ok(None)
}

/// Verifies one log file and links it to what is known.
fn accept(
    exchange: &Exchange<'_>,
    key: &PublicKey,
    news: &PeerNews,
    place: u64,
    bytes: &[u8],
) -> Result<Signed, (PeerState, String)> {
    let invalid = |error: &dyn std::error::Error| (PeerState::Invalid, one_line(error));
    let envelope = Envelope::parse(bytes).map_err(|error| invalid(&error))?;
    // Signed by another known key: somebody moved a file of that host here.
    let stranger = envelope.claimed_key().filter(|claimed| *claimed != key.host());
    let signed = match envelope.clone().verify(key) {
        Ok(signed) => signed,
        Err(error) => {
            let moved = stranger
                .filter(|host| exchange.keyring.by_host(*host).is_some() || *host == exchange.key.host())
                .and_then(|host| PublicKey::of(host).ok())
                .is_some_and(|other| envelope.verify(&other).is_ok());
            let state = if moved { PeerState::Graft } else { PeerState::Invalid };
            return Err((state, one_line(&error)));
        }
    };
    match chain::link(exchange.mesh, &news.row.position, place, &signed) {
        Ok(_) => Ok(signed),
        Err(fault) => Err((fault.state(), one_line(&fault))),
    }
}

fn one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    display_line(&text)
}

/// Adds a verified, linked entry to the news; what it says is looked at, but cannot break the chain.
fn file_entry(peer: &Peer, news: &mut PeerNews, place: u64, bytes: &[u8], signed: &Signed, now: Timestamp) {
    news.row.position = news.row.position.after(signed.entry());
    news.entries.push(EntryRow {
        seq: place,
        id: signed.entry(),
        payload_type: signed.payload_type().to_owned(),
        envelope: bytes.to_vec(),
    });
    let listed = |slug: String, state, reason| InboxRow {
        entry: signed.entry(),
        host: signed.host(),
        seq: place,
        slug,
        rev: 0,
        severity: String::new(),
        scope: String::new(),
        state,
        reason,
        findings: None,
        at: now,
    };
    match signed.kind() {
        Some(Kind::Lesson) => news.lessons.push(match entry::read_lesson(signed) {
            Ok(verified) => {
                let lesson = verified.body();
                let covered = peer.line.covers(&lesson.scope, now);
                let (state, reason) = if covered {
                    (InboxState::New, String::new())
                } else {
                    (InboxState::Rejected, format!("scope {} is outside what this peer is trusted for", lesson.scope))
                };
                InboxRow {
                    rev: lesson.rev,
                    severity: lesson.severity.name().to_owned(),
                    scope: lesson.scope.clone(),
                    ..listed(lesson.id.to_string(), state, reason)
                }
            }
            Err(error) => listed(format!("entry-{place}"), InboxState::Rejected, one_line(&error)),
        }),
        Some(Kind::Retract) => {
            if let Ok(retraction) = entry::read_retraction(signed) {
                let retraction = retraction.body();
                // The lesson may have come in the same look.
                for lesson in news.lessons.iter_mut().filter(|lesson| lesson.entry == retraction.entry) {
                    lesson.state = InboxState::Retired;
                    lesson.reason.clone_from(&retraction.reason);
                }
                news.retracted.push((retraction.entry, retraction.reason.clone()));
            }
        }
        Some(Kind::Attestation | Kind::Rotate | Kind::ForkProof | Kind::Head | Kind::Join | Kind::Roster) => {}
        None => {
            let reason = format!("{} is of a newer mesh", display_line(signed.payload_type()));
            news.lessons.push(listed(format!("entry-{place}"), InboxState::Unsupported, reason));
        }
    }
}

/// Reads the head and sets the state from it.
fn read_head(
    exchange: &mut Exchange<'_>,
    tip: Tip,
    key: &PublicKey,
    news: &mut PeerNews,
    now: Timestamp,
) -> Result<Option<Fault>, Stop> {
    let path = branch_path::head(key.host());
    let bytes = match exchange.branch.file(tip, &path, limits::ENVELOPE_BYTES)? {
        Blob::Found(bytes) => bytes,
        Blob::Missing if news.row.position.seq == 0 && news.row.head_n == 0 => {
            news.row.state = PeerState::Unseen;
            return Ok(None);
        }
        Blob::Missing => {
            let detail = "the server does not show its head".to_owned();
            return Ok(Some(Fault { state: PeerState::Rollback, detail, document: None }));
        }
        Blob::Refused(why) => {
            let detail = format!("its head is not read: {why}");
            return Ok(Some(Fault { state: PeerState::Invalid, detail, document: None }));
        }
    };
    let refused = |why: String, bytes: Vec<u8>| Fault {
        state: PeerState::Invalid,
        detail: format!("its head is refused: {why}"),
        document: Some((path.clone(), bytes)),
    };
    let signed = match Envelope::parse(&bytes).and_then(|envelope| envelope.verify(key)) {
        Ok(signed) => signed,
        Err(error) => return Ok(Some(refused(one_line(&error), bytes))),
    };
    let head = match Head::read(exchange.mesh, &signed) {
        Ok(head) => head,
        Err(error) => return Ok(Some(refused(one_line(&error), bytes))),
    };
    let state = head.judge(&news.row.position, news.row.head_n, now);
    let more_to_come = u64::try_from(news.entries.len()).is_ok_and(|n| n >= limits::ENTRIES_PER_PEER_PER_CYCLE);
    let detail = match state {
        PeerState::Withheld if more_to_come => {
            // The rest comes in the next sync: a cycle takes so many entries of one peer and no more.
            format!("{} more entries come with the next syncs", head.seq - news.row.position.seq)
        }
        PeerState::Withheld => format!("its head names entry {}, the server shows {}", head.seq, news.row.position.seq),
        PeerState::Rollback => format!("the server shows head {} after head {}", head.n, news.row.head_n),
        PeerState::Invalid => format!("its head names another entry {} than its log", head.seq),
        PeerState::Stale => "its head has expired: it is silent, or the server hides what it says".to_owned(),
        _ => String::new(),
    };
    if state != PeerState::Rollback {
        news.row.head_n = head.n;
        news.row.expires_at = Some(head.expires_at);
        news.head = Some(bytes);
    }
    if state == PeerState::Ok {
        news.row.state = PeerState::Ok;
        return Ok(None);
    }
    Ok(Some(Fault { state, detail, document: None }))
}
