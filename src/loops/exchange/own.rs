//! This host's own log: caught up, signed, stored, published and read back, in that order.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Exchange, ExchangeError, Stop, SyncReport};
use crate::domain::branch_path;
use crate::domain::chain::{self, Position};
use crate::domain::entry::{self, EntryError, Retraction};
use crate::domain::envelope::{Envelope, Kind, PublicKey};
use crate::domain::head::{HEARTBEAT, Head, Seen};
use crate::domain::id::EntryId;
use crate::domain::lesson::Lesson;
use crate::domain::limits;
use crate::ports::{Blob, ChangedHosts, Tip};
use crate::store::crash;
use crate::store::own_log::{Draft, OwnEntry};

/// Why this host does not sign.
#[derive(Debug, thiserror::Error)]
pub enum SigningRefused {
    /// Copied from another machine.
    #[error(
        "this home was set up on another machine: two hosts with one key fork the chain. On a copy, run `mesh init` in a new home; after a move, run `mesh id --moved`"
    )]
    Cloned,
    /// Its own log on the remote has an entry that it does not know.
    #[error(
        "the remote holds another entry {seq} signed with this host's key: the key is used on two machines. Stop one, and enrol a new key with `mesh init` in a new home"
    )]
    Forked {
        /// The seq.
        seq: u64,
    },
    /// A queued document cannot be signed.
    #[error("queued {kind} `{slug}` cannot be signed: run `mesh lesson check`, then publish it again")]
    Draft {
        /// Its kind.
        kind: String,
        /// Its lesson.
        slug: String,
        /// Why.
        #[source]
        cause: EntryError,
    },
}

/// What tells the machine that this home was set up on.
pub const MACHINE_FACT: &str = "machine";
const HEAD_FACT: &str = "head";

/// The newest head that this host signed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HeadOffer {
    /// Its number.
    pub n: u64,
    /// When it was signed, in seconds.
    pub issued_at: i64,
    /// When it was read back from the remote, in seconds.
    pub confirmed_at: Option<i64>,
}

/// Brings the own log in order and publishes what is new. Returns the tip after a push.
pub(super) fn tend(
    exchange: &mut Exchange<'_>,
    report: &mut SyncReport,
    tip: Option<Tip>,
    changed: Option<&ChangedHosts>,
    now: Timestamp,
) -> Result<Option<Tip>, Stop> {
    demand_own_machine(exchange)?;
    let me = exchange.key.host();
    let mut head = load_head(exchange)?;
    match (tip, changed) {
        (Some(tip), Some(changed)) => {
            if changed.changed.contains(&me) || changed.gone.contains(&me) {
                compare_with_remote(exchange, report, tip, now)?;
                head.n = head.n.max(published_head(exchange, tip)?);
                if changed.gone.contains(&me) {
                    head.confirmed_at = None;
                }
            }
        }
        _ => {
            // There is no branch (any more): everything is to be published again.
            let seqs: Vec<u64> = exchange.db.own_entries()?.iter().map(|entry| entry.seq).collect();
            exchange.db.unconfirm_own(&seqs)?;
            head.confirmed_at = None;
        }
    }
    sign_drafts(exchange, report, now)?;
    publish(exchange, report, head, now)
}

fn demand_own_machine(exchange: &mut Exchange<'_>) -> Result<(), Stop> {
    let Some(here) = exchange.machine.clone() else { return Ok(()) };
    match exchange.db.fact(MACHINE_FACT)? {
        None => Ok(exchange.db.set_fact(MACHINE_FACT, &here)?),
        Some(home) if home == here => Ok(()),
        Some(_) => Err(SigningRefused::Cloned.into()),
    }
}

fn load_head(exchange: &Exchange<'_>) -> Result<HeadOffer, Stop> {
    let stored = exchange.db.fact(HEAD_FACT)?;
    let parsed = stored.map(|text| serde_json::from_str(&text)).transpose();
    let head = parsed.map_err(|_| crate::store::db::DbError::Impossible { what: "head" })?;
    Ok(head.unwrap_or(HeadOffer { n: 0, issued_at: 0, confirmed_at: None }))
}

fn store_head(exchange: &mut Exchange<'_>, head: &HeadOffer) -> Result<(), Stop> {
    let text = serde_json::to_string(head).expect("numbers serialise");
    Ok(exchange.db.set_fact(HEAD_FACT, &text)?)
}

/// The number of the head that the remote shows of this host: after a restore it is ahead of ours.
fn published_head(exchange: &Exchange<'_>, tip: Tip) -> Result<u64, Stop> {
    let me = exchange.key.host();
    let Blob::Found(bytes) = exchange.branch.file(tip, &branch_path::head(me), limits::ENVELOPE_BYTES)? else {
        return Ok(0);
    };
    let key = PublicKey::of(me).map_err(|_| crate::store::db::DbError::Impossible { what: "own key" })?;
    let head = Envelope::parse(&bytes).ok().and_then(|envelope| envelope.verify(&key).ok());
    Ok(head.and_then(|signed| Head::read(exchange.mesh, &signed).ok()).map_or(0, |head| head.n))
}

/// Compares the own log with what the remote shows of it: what is missing there is pushed again, what is
/// missing here (after a restore) is taken over, and what differs means that the key is used twice.
fn compare_with_remote(
    exchange: &mut Exchange<'_>,
    report: &mut SyncReport,
    tip: Tip,
    now: Timestamp,
) -> Result<(), Stop> {
    let me = exchange.key.host();
    let key = PublicKey::of(me).map_err(|_| crate::store::db::DbError::Impossible { what: "own key" })?;
    let own = exchange.db.own_entries()?;
    let (mut lost, mut seen) = (Vec::new(), Vec::new());
    for entry in &own {
        let shown = exchange.branch.log(tip, me, entry.seq, 1)?.blobs.into_iter().next();
        let shown = match shown {
            Some(Blob::Found(bytes)) => Envelope::parse(&bytes).ok().and_then(|envelope| envelope.verify(&key).ok()),
            _ => None,
        };
        match shown {
            Some(signed) if signed.entry() == entry.id => seen.push(entry.seq),
            Some(signed) if chain::read_header(exchange.mesh, &signed).is_ok_and(|header| header.seq == entry.seq) => {
                return Err(SigningRefused::Forked { seq: entry.seq }.into());
            }
            _ => lost.push(entry.seq),
        }
    }
    exchange.db.unconfirm_own(&lost)?;
    confirm(exchange, &seen, now)?;
    let mut position = exchange.db.own_position()?;
    loop {
        let Some(Blob::Found(bytes)) = exchange.branch.log(tip, me, position.next_seq(), 1)?.blobs.into_iter().next()
        else {
            return Ok(());
        };
        let signed = Envelope::parse(&bytes).ok().and_then(|envelope| envelope.verify(&key).ok());
        let Some(signed) = signed else { return Ok(()) };
        if chain::link(exchange.mesh, &position, position.next_seq(), &signed).is_err() {
            return Err(SigningRefused::Forked { seq: position.next_seq() }.into());
        }
        let entry = OwnEntry {
            seq: position.next_seq(),
            id: signed.entry(),
            payload_type: signed.payload_type().to_owned(),
            envelope: bytes,
            signed_at: now,
            confirmed_at: Some(now),
        };
        exchange.db.append_own(&entry, None)?;
        position = position.after(entry.id);
        report.caught_up += 1;
    }
}

fn sign_drafts(exchange: &mut Exchange<'_>, report: &mut SyncReport, now: Timestamp) -> Result<(), Stop> {
    for draft in exchange.db.drafts()? {
        let position = exchange.db.own_position()?;
        let (kind, payload) = draft_payload(exchange, &draft, &position, now)
            .map_err(|cause| SigningRefused::Draft { kind: draft.kind.clone(), slug: draft.slug.clone(), cause })?;
        let envelope = Envelope::seal(exchange.key, kind, payload);
        let entry = OwnEntry {
            seq: position.next_seq(),
            id: envelope.entry_id(),
            payload_type: kind.payload_type(),
            envelope: envelope.to_file(),
            signed_at: chain::whole_seconds(now),
            confirmed_at: None,
        };
        crash::point("sign.before-persist");
        exchange.db.append_own(&entry, Some(draft.number))?;
        crash::point("sign.persisted");
        exchange.spool.show_outgoing(entry.seq, entry.id, &entry.envelope)?;
        report.signed.push((entry.seq, draft.slug));
    }
    Ok(())
}

fn draft_payload(
    exchange: &Exchange<'_>,
    draft: &Draft,
    position: &Position,
    now: Timestamp,
) -> Result<(Kind, Vec<u8>), EntryError> {
    let header = position.next_header(exchange.mesh, exchange.key.host(), now);
    if draft.kind == Kind::Retract.name() {
        let body: Retraction =
            serde_json::from_str(&draft.body).map_err(|cause| EntryError::Shape { kind: Kind::Retract, cause })?;
        return Ok((Kind::Retract, entry::payload(&header, &body)?));
    }
    let body: Lesson =
        serde_json::from_str(&draft.body).map_err(|cause| EntryError::Shape { kind: Kind::Lesson, cause })?;
    body.check().map_err(EntryError::Lesson)?;
    Ok((Kind::Lesson, entry::payload(&header, &body)?))
}

fn publish(
    exchange: &mut Exchange<'_>,
    report: &mut SyncReport,
    mut head: HeadOffer,
    now: Timestamp,
) -> Result<Option<Tip>, Stop> {
    let unconfirmed = exchange.db.unconfirmed_entries()?;
    let age = SignedDuration::from_secs(now.as_second().saturating_sub(head.issued_at));
    let due = head.confirmed_at.is_none() || age >= HEARTBEAT || age.is_negative();
    if unconfirmed.is_empty() && !due {
        return Ok(None);
    }
    let me = exchange.key.host();
    let position = exchange.db.own_position()?;
    head = HeadOffer { n: head.n + 1, issued_at: now.as_second(), confirmed_at: None };
    // Its number is on disk before anybody sees it, so that no two heads have one number.
    store_head(exchange, &head)?;
    let body = Head::next(exchange.mesh, me, head.n, &position, seen(exchange)?, now);
    let mut payload = serde_json::to_vec_pretty(&body).expect("heads are plain tables of text");
    payload.push(b'\n');
    let mut files: BTreeMap<String, Vec<u8>> =
        unconfirmed.iter().map(|entry| (branch_path::entry(me, entry.seq), entry.envelope.clone())).collect();
    files.insert(branch_path::head(me), Envelope::seal(exchange.key, Kind::Head, payload).to_file());
    crash::point("publish.before-push");
    let tip = exchange.remote.publish(&files, &message(&unconfirmed))?;
    crash::point("publish.pushed");
    let seqs: Vec<u64> = unconfirmed.iter().map(|entry| entry.seq).collect();
    confirm(exchange, &seqs, now)?;
    store_head(exchange, &HeadOffer { confirmed_at: Some(now.as_second()), ..head })?;
    crash::point("publish.confirmed");
    report.published.extend(seqs);
    Ok(Some(tip))
}

fn message(entries: &[OwnEntry]) -> String {
    match entries {
        [] => "head".to_owned(),
        [one] => format!("entry {}", one.seq),
        [first, .., last] => format!("entries {} to {}", first.seq, last.seq),
    }
}

/// Notes what was read back, and takes it out of the outbox.
fn confirm(exchange: &mut Exchange<'_>, seqs: &[u64], now: Timestamp) -> Result<(), ExchangeError> {
    let fresh: Vec<(u64, EntryId)> = exchange
        .db
        .unconfirmed_entries()?
        .into_iter()
        .filter(|entry| seqs.contains(&entry.seq))
        .map(|entry| (entry.seq, entry.id))
        .collect();
    exchange.db.confirm_own(seqs, now)?;
    for (seq, id) in fresh {
        exchange.spool.remove_outgoing(seq, id)?;
    }
    Ok(())
}

/// What was verified of others, the most recently seen first.
fn seen(exchange: &Exchange<'_>) -> Result<Vec<Seen>, Stop> {
    let mut rows = exchange.db.peers()?;
    rows.sort_by_key(|row| std::cmp::Reverse((row.seen_at, row.host)));
    let known = rows
        .into_iter()
        .filter_map(|row| row.position.tip.map(|tip| Seen { host: row.host, seq: row.position.seq, tip }));
    Ok(known.take(limits::JSON_ARRAY_LEN).collect())
}
