//! Reading what one peer published: still there, linked, verified, and as fresh as its head says.

use jiff::Timestamp;

use super::ingest::{Fault, STALE, quarantined_detail, revoked_detail};
use super::{Exchange, ExchangeError, Stop};
use crate::domain::branch_path;
use crate::domain::chain::{self, PeerState};
use crate::domain::entry;
use crate::domain::envelope::{Envelope, Kind, PublicKey, Signed};
use crate::domain::foreign_text::{display_line, error_line};
use crate::domain::head::Head;
use crate::domain::id::HostId;
use crate::domain::limits;
use crate::domain::rotate::{Leave, Rotate, Rotation};
use crate::domain::trust::Peer;
use crate::ports::{Blob, Tip};
use crate::store::forks::Fork;
use crate::store::peer_log::{EntryRow, InboxRow, InboxState, PeerNews, Retracted};

/// Reads entries and head. `None`: all in order, and the state is set from the head.
pub(super) fn read_news(
    exchange: &mut Exchange<'_>,
    tip: Tip,
    peer: &Peer,
    news: &mut PeerNews,
    taken: &mut u64,
    now: Timestamp,
) -> Result<Option<Fault>, Stop> {
    let host = news.row.host;
    let key = match PublicKey::of(host) {
        Ok(key) => key,
        Err(error) => return Ok(Some(Fault::of(PeerState::Invalid, &error))),
    };
    if let Some(fault) = still_shown(exchange, tip, &key, news, now)? {
        return Ok(Some(fault));
    }
    let more = match read_entries(exchange, tip, peer, &key, news, taken, now)? {
        Err(fault) => return Ok(Some(fault)),
        Ok(more) => more,
    };
    if let Some(revoked) = exchange.keyring.revoked(host) {
        let detail = revoked_detail(exchange.keyring, host, revoked.trust_through);
        return Ok(Some(Fault::new(PeerState::Revoked, detail)));
    }
    read_head(exchange, tip, &key, news, more, now)
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
    let (host, last) = (news.row.host, news.row.position.seq);
    if last == 0 || is_shown(exchange, tip, host, last)? {
        return Ok(None);
    }
    // Entries follow from each other, so a log that was rewritten differs from some seq on; what stands
    // there tells whether the server took entries away or the peer signed others in their place.
    let (mut same, mut other) = (0, last);
    while other - same > 1 {
        let middle = same + (other - same) / 2;
        if is_shown(exchange, tip, host, middle)? { same = middle } else { other = middle }
    }
    for seq in [other, last] {
        if let Some(fork) = proof_of_fork(exchange, tip, key, seq)? {
            exchange.db.record_fork(&fork, None, now)?;
            return Ok(Some(Fault::new(PeerState::Quarantined, quarantined_detail(seq))));
        }
    }
    let detail = format!("the server no longer shows entries {other} to {last}, which were verified before");
    Ok(Some(Fault::new(PeerState::Rollback, detail)))
}

fn shown(exchange: &Exchange<'_>, tip: Tip, host: HostId, seq: u64) -> Result<Option<(Envelope, Vec<u8>)>, Stop> {
    let blob = exchange.branch.log(tip, host, seq, 1)?.blobs.into_iter().next();
    let Some(Blob::Found(bytes)) = blob else { return Ok(None) };
    Ok(Envelope::parse(&bytes).ok().map(|envelope| (envelope, bytes)))
}

fn verified_before(exchange: &Exchange<'_>, host: HostId, seq: u64) -> Result<Option<EntryRow>, ExchangeError> {
    Ok(exchange.db.peer_entries(host, seq, 1)?.into_iter().find(|entry| entry.seq == seq))
}

/// Whether the branch shows entry `seq` as it was verified before, in whatever spelling.
fn is_shown(exchange: &Exchange<'_>, tip: Tip, host: HostId, seq: u64) -> Result<bool, Stop> {
    let known = verified_before(exchange, host, seq)?.map(|entry| entry.id);
    let shown = shown(exchange, tip, host, seq)?.map(|(envelope, _)| envelope.entry_id());
    Ok(known.is_some() && known == shown)
}

/// The entry that was verified at `seq` and the one that is shown there, if the peer signed both.
fn proof_of_fork(exchange: &Exchange<'_>, tip: Tip, key: &PublicKey, seq: u64) -> Result<Option<Fork>, Stop> {
    let (Some(ours), Some((theirs, their_bytes))) =
        (verified_before(exchange, key.host(), seq)?, shown(exchange, tip, key.host(), seq)?)
    else {
        return Ok(None);
    };
    let known = Envelope::parse(&ours.envelope).ok().and_then(|known| known.verify(key).ok());
    let (Some(known), Ok(theirs)) = (known, theirs.verify(key)) else { return Ok(None) };
    let forked = chain::is_fork(exchange.mesh, &known, &theirs);
    Ok(forked.then_some(Fork { host: key.host(), seq, one: ours.envelope, other: their_bytes }))
}

/// Reads on from where the chain is known to. Returns whether this sync has taken as many as it may.
fn read_entries(
    exchange: &mut Exchange<'_>,
    tip: Tip,
    peer: &Peer,
    key: &PublicKey,
    news: &mut PeerNews,
    taken: &mut u64,
    now: Timestamp,
) -> Result<Result<bool, Fault>, Stop> {
    let host = news.row.host;
    let first = news.row.position.next_seq();
    let last = exchange.keyring.trusted_through(host).min(exchange.db.left_at(host)?.unwrap_or(u64::MAX));
    let believed = last.saturating_add(1).saturating_sub(first);
    let kept = (limits::ENTRIES_PER_PEER + 1).saturating_sub(first);
    let allowed = limits::ENTRIES_PER_PEER_PER_CYCLE.saturating_sub(*taken);
    if believed == 0 {
        return Ok(Ok(false));
    }
    if kept == 0 {
        let more = exchange.branch.log(tip, host, first, 1)?;
        if more.blobs.first().is_none_or(|blob| *blob == Blob::Missing) && more.beyond_gap.is_none() {
            return Ok(Ok(false));
        }
        let detail = format!("it published more than the {} entries that are kept of a peer", limits::ENTRIES_PER_PEER);
        return Ok(Err(Fault::new(PeerState::Flooded, detail)));
    }
    let count = believed.min(kept).min(allowed);
    if count == 0 {
        return Ok(Ok(true));
    }
    let slice = exchange.branch.log(tip, host, first, count)?;
    for (place, blob) in (first..).zip(&slice.blobs) {
        match blob {
            Blob::Missing => break,
            Blob::Refused(why) => {
                let detail = format!("entry {place} is not read: {}", display_line(why));
                return Ok(Err(Fault::new(PeerState::Invalid, detail)));
            }
            Blob::Found(bytes) => match accept(exchange, key, news, place, bytes) {
                Ok(signed) => {
                    file_entry(peer, news, place, bytes, &signed, now);
                    *taken += 1;
                    if news.rotation.is_some() {
                        // That was the key's last word.
                        return Ok(Ok(false));
                    }
                }
                Err((state, why)) => {
                    let detail = format!("entry {place} is refused: {why}");
                    let document = Some((branch_path::entry(host, place), bytes.clone()));
                    return Ok(Err(Fault { state, detail, document }));
                }
            },
        }
    }
    if let Some(later) = slice.beyond_gap {
        let missing = news.row.position.next_seq();
        let detail = format!("entry {missing} is missing while entry {later} is there");
        return Ok(Err(Fault::new(PeerState::Gap, detail)));
    }
    Ok(Ok(*taken >= limits::ENTRIES_PER_PEER_PER_CYCLE))
}

/// Verifies one log file and links it to what is known.
fn accept(
    exchange: &Exchange<'_>,
    key: &PublicKey,
    news: &PeerNews,
    place: u64,
    bytes: &[u8],
) -> Result<Signed, (PeerState, String)> {
    let invalid = |error: &(dyn std::error::Error + 'static)| (PeerState::Invalid, error_line(error));
    let envelope = Envelope::parse(bytes).map_err(|error| invalid(&error))?;
    let claimed = envelope.claimed_key();
    let signed = envelope.verify(key).map_err(|error| {
        // Signed by the other key that it names: somebody moved a file of that host here.
        let stranger = claimed.filter(|claimed| *claimed != key.host()).and_then(|host| PublicKey::of(host).ok());
        let moved =
            stranger.is_some_and(|other| Envelope::parse(bytes).and_then(|envelope| envelope.verify(&other)).is_ok());
        (if moved { PeerState::Graft } else { PeerState::Invalid }, error_line(&error))
    })?;
    match chain::link(exchange.mesh, &news.row.position, place, &signed) {
        Ok(_) => Ok(signed),
        Err(fault) => Err((fault.state(), error_line(&fault))),
    }
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
            Err(error) => listed(format!("entry-{place}"), InboxState::Rejected, error_line(&error)),
        }),
        Some(Kind::Retract) => {
            if let Ok(retraction) = entry::read_retraction(signed) {
                let retraction = retraction.body();
                // The lesson may have come in the same look.
                for lesson in news.lessons.iter_mut().filter(|lesson| lesson.entry == retraction.entry) {
                    lesson.state = InboxState::Retired;
                    lesson.reason.clone_from(&retraction.reason);
                }
                let (entry, reason) = (retraction.entry, retraction.reason.clone());
                news.retracted.push(Retracted { entry, seq: place, reason });
            }
        }
        // Who may be heard is decided when voices are counted: a grant can change.
        Some(Kind::Attestation) => news.attestations.extend(entry::read_attestation(signed)),
        Some(Kind::ForkProof) => {
            news.fork_proofs.extend(entry::read_fork_proof(signed).map(|said| *said.body()));
        }
        Some(Kind::Rotate) => {
            if let Ok(said) = entry::read_rotate(signed)
                && let Rotate::Leave(Leave { to }) = *said.body()
            {
                news.rotation = Some(Rotation { old: signed.host(), new: to, seq: place, entry: signed.entry() });
            }
        }
        Some(Kind::Head | Kind::Join | Kind::Roster) => {}
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
    more: bool,
    now: Timestamp,
) -> Result<Option<Fault>, Stop> {
    let path = branch_path::head(key.host());
    let bytes = match exchange.branch.file(tip, &path, limits::ENVELOPE_BYTES)? {
        Blob::Found(bytes) => bytes,
        Blob::Missing if news.row.position.seq == 0 && news.row.head_n == 0 => {
            news.row.state = PeerState::Unseen;
            return Ok(None);
        }
        Blob::Missing => return Ok(Some(Fault::new(PeerState::Rollback, "the server does not show its head"))),
        Blob::Refused(why) => {
            let detail = format!("its head is not read: {}", display_line(&why));
            return Ok(Some(Fault::new(PeerState::Invalid, detail)));
        }
    };
    let refused = |why: String, bytes: Vec<u8>| Fault {
        state: PeerState::Invalid,
        detail: format!("its head is refused: {why}"),
        document: Some((path.clone(), bytes)),
    };
    let signed = match Envelope::parse(&bytes).and_then(|envelope| envelope.verify(key)) {
        Ok(signed) => signed,
        Err(error) => return Ok(Some(refused(error_line(&error), bytes))),
    };
    let head = match Head::read(exchange.mesh, &signed) {
        Ok(head) => head,
        Err(error) => return Ok(Some(refused(error_line(&error), bytes))),
    };
    let position = news.row.position;
    let until = match news.row.expires_at {
        // The same head again does not last longer for it.
        Some(until) if head.n == news.row.head_n => until.min(head.expires_at),
        _ => head.believed_until(now),
    };
    let state = match head.judge(&position, news.row.head_n, until, now) {
        PeerState::Withheld if more => PeerState::Behind,
        state => state,
    };
    let detail = match state {
        PeerState::Behind => format!("{} more entries come with the next syncs", head.seq - position.seq),
        PeerState::Withheld => format!("its head names entry {}, the server shows {}", head.seq, position.seq),
        PeerState::Rollback if head.n < news.row.head_n => {
            format!("the server shows head {} after head {}", head.n, news.row.head_n)
        }
        PeerState::Rollback => format!("its head names entry {} after entry {} was verified", head.seq, position.seq),
        PeerState::Invalid => format!("its head names another entry {} than its log", head.seq),
        PeerState::Stale => STALE.to_owned(),
        _ => String::new(),
    };
    if state != PeerState::Rollback {
        news.row.head_n = head.n;
        news.row.expires_at = Some(until);
        news.head = Some((bytes, head.seen.clone()));
        news.roster = head.roster;
    }
    if state == PeerState::Ok {
        news.row.state = PeerState::Ok;
        return Ok(None);
    }
    Ok(Some(Fault::new(state, detail)))
}
