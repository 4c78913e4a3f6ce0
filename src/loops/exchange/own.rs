//! This host's own log: caught up, signed, stored, published and read back, in that order.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Exchange, ExchangeError, Stop, SyncReport, draft, forks, roster, rotation};
use crate::domain::attest::Attestation;
use crate::domain::branch_path;
use crate::domain::chain::{self, ChainFault};
use crate::domain::entry::{self, EntryError, Verified};
use crate::domain::envelope::{Envelope, Kind, PublicKey, Signed};
use crate::domain::head::{HEARTBEAT, Head, Seen};
use crate::domain::join::Join;
use crate::domain::limits;
use crate::ports::{Blob, ChangedHosts, Tip};
use crate::store::crash;
use crate::store::db::DbError;
use crate::store::own_log::OwnEntry;

/// Why this host does not sign.
#[derive(Debug, thiserror::Error)]
pub enum SigningRefused {
    /// Copied from another machine.
    #[error(
        "this home was set up on another machine: two hosts with one key fork the chain. On a copy, run `mesh init` in a new home; after a move, run `mesh id --moved`"
    )]
    Cloned,
    /// Its own log on the remote has an entry that it does not know. This stays so.
    #[error(
        "the remote holds another entry {seq} signed with this host's key: the key is used on two machines. Stop one, and enrol a new key with `mesh init` in a new home"
    )]
    Forked {
        /// The seq.
        seq: u64,
    },
    /// This host signed entries that neither it nor the remote has now: a restored home and a server that
    /// hides the newest. To sign on would sign a seq twice.
    #[error(
        "this host signed {signed} entries once, but the remote shows {shown} of them: nothing is signed until the rest is back. Check the remote, or restore a newer copy of the home"
    )]
    Incomplete {
        /// The last seq that this host is known to have signed.
        signed: u64,
        /// The last seq that could be found.
        shown: u64,
    },
    /// A queued document cannot be signed; the others are.
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
/// The seq at which this host's own key was seen to be used twice.
pub const FORKED_FACT: &str = "own.forked";
const HEAD_FACT: &str = "head";
/// The name under which the remote has this host's request to be enrolled.
const JOIN_FACT: &str = "join";
/// Own entries that are compared at a time.
const BATCH: u64 = 256;

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

/// Brings the own log in order and publishes what is new. Returns the tip after a push. `compare_all`: it is
/// not known what of the branch changed.
pub(super) fn tend(
    exchange: &mut Exchange<'_>,
    report: &mut SyncReport,
    tip: Option<Tip>,
    changed: Option<&ChangedHosts>,
    compare_all: bool,
    now: Timestamp,
) -> Result<Option<Tip>, Stop> {
    demand_own_machine(exchange)?;
    demand_own_key(exchange)?;
    let me = exchange.key.host();
    let mut head = load_head(exchange)?;
    match (tip, changed) {
        (Some(tip), Some(changed)) => {
            if compare_all || changed.changed.contains(&me) || changed.gone.contains(&me) {
                compare_with_remote(exchange, report, tip, now)?;
                let join = branch_path::join(me);
                if exchange.branch.file(tip, &join, limits::HEAD_BYTES)? == Blob::Missing {
                    exchange.db.forget_fact(JOIN_FACT)?;
                }
                let shown = published_head(exchange, tip)?.map_or(0, |head| head.n);
                if shown != head.n {
                    head.confirmed_at = None;
                }
                head.n = head.n.max(shown);
            }
        }
        _ => {
            // There is no branch (any more): everything is to be published again.
            let own = exchange.db.own_entries()?;
            lose(exchange, &own.iter().collect::<Vec<_>>())?;
            exchange.db.set_evidence_shown(false)?;
            exchange.db.forget_fact(JOIN_FACT)?;
            head.confirmed_at = None;
        }
    }
    if !rotation::is_left(exchange)? {
        sign_drafts(exchange, report, now)?;
        rotation::announce(exchange, report, now)?;
    }
    publish(exchange, report, tip, head, now)
}

/// A key that signed one seq twice signs nothing more, whatever the remote shows later.
fn demand_own_key(exchange: &Exchange<'_>) -> Result<(), Stop> {
    match exchange.db.fact(FORKED_FACT)?.map(|seq| seq.parse()) {
        None => Ok(()),
        Some(Ok(seq)) => Err(SigningRefused::Forked { seq }.into()),
        Some(Err(_)) => Err(DbError::Impossible { what: "fork" }.into()),
    }
}

fn forked(exchange: &mut Exchange<'_>, seq: u64) -> Stop {
    match exchange.db.set_fact(FORKED_FACT, &seq.to_string()) {
        Ok(()) => SigningRefused::Forked { seq }.into(),
        Err(error) => error.into(),
    }
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
    let head = parsed.map_err(|_| DbError::Impossible { what: "head" })?;
    Ok(head.unwrap_or(HeadOffer { n: 0, issued_at: 0, confirmed_at: None }))
}

fn store_head(exchange: &mut Exchange<'_>, head: &HeadOffer) -> Result<(), Stop> {
    let text = serde_json::to_string(head).expect("numbers serialise");
    Ok(exchange.db.set_fact(HEAD_FACT, &text)?)
}

fn own_public_key(exchange: &Exchange<'_>) -> Result<PublicKey, DbError> {
    PublicKey::of(exchange.key.host()).map_err(|_| DbError::Impossible { what: "own key" })
}

/// The head that the remote shows of this host: after a restore it is ahead of ours.
fn published_head(exchange: &Exchange<'_>, tip: Tip) -> Result<Option<Head>, Stop> {
    let path = branch_path::head(exchange.key.host());
    let Blob::Found(bytes) = exchange.branch.file(tip, &path, limits::ENVELOPE_BYTES)? else { return Ok(None) };
    let signed = verified(&own_public_key(exchange)?, &bytes);
    Ok(signed.and_then(|signed| Head::read(exchange.mesh, &signed).ok()))
}

fn verified(key: &PublicKey, bytes: &[u8]) -> Option<Signed> {
    Envelope::parse(bytes).ok().and_then(|envelope| envelope.verify(key).ok())
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
    let key = own_public_key(exchange)?;
    let own = exchange.db.own_entries()?;
    let (mut lost, mut seen) = (Vec::new(), Vec::new());
    let mut rest = own.as_slice();
    while let Some(first) = rest.first() {
        let slice = exchange.branch.log(tip, me, first.seq, BATCH)?;
        // What lies between the end of the slice and the next file that exists is missing.
        let read = slice.blobs.len().min(rest.len());
        let resume = slice.beyond_gap.unwrap_or(u64::MAX);
        let full = u64::try_from(read).is_ok_and(|read| read == BATCH);
        let missing = rest[read..].iter().take_while(|entry| !full && entry.seq < resume).count();
        let missing = if read == 0 { missing.max(1) } else { missing };
        for (entry, blob) in rest.iter().zip(&slice.blobs) {
            match compare(exchange, &key, entry, blob) {
                Shown::Same if forks::is_complete(exchange, tip, entry) => seen.push(entry),
                Shown::Other => return Err(forked(exchange, entry.seq)),
                Shown::Same | Shown::No => lost.push(entry),
            }
        }
        lost.extend(&rest[read..read + missing]);
        rest = &rest[read + missing..];
    }
    lose(exchange, &lost)?;
    confirm(exchange, report, &seen, now)?;
    catch_up(exchange, report, &key, tip, now)
}

enum Shown {
    Same,
    Other,
    No,
}

fn compare(exchange: &Exchange<'_>, key: &PublicKey, entry: &OwnEntry, blob: &Blob) -> Shown {
    let Blob::Found(bytes) = blob else { return Shown::No };
    if *bytes == entry.envelope {
        return Shown::Same;
    }
    match verified(key, bytes) {
        Some(signed) if signed.entry() == entry.id => Shown::Same,
        Some(signed) if chain::read_header(exchange.mesh, &signed).is_ok_and(|header| header.seq == entry.seq) => {
            Shown::Other
        }
        _ => Shown::No,
    }
}

/// Takes over what a restored home has lost and the remote still has. Where the remote does not show all
/// that this host is known to have signed, nothing more is signed.
fn catch_up(
    exchange: &mut Exchange<'_>,
    report: &mut SyncReport,
    key: &PublicKey,
    tip: Tip,
    now: Timestamp,
) -> Result<(), Stop> {
    let me = exchange.key.host();
    let mut position = exchange.db.own_position()?;
    let mut signed_once = published_head(exchange, tip)?.map_or(0, |head| head.seq);
    loop {
        let slice = exchange.branch.log(tip, me, position.next_seq(), BATCH)?;
        let mut entries = Vec::new();
        for blob in &slice.blobs {
            let Blob::Found(bytes) = blob else { break };
            // A file that is not ours, or not of this place, is the server's doing and proves nothing.
            let Some(signed) = verified(key, bytes) else { break };
            match chain::link(exchange.mesh, &position, position.next_seq(), &signed) {
                Ok(_) => {}
                Err(ChainFault::BrokenLink { place }) => return Err(forked(exchange, place)),
                Err(ChainFault::Reorder { found, .. }) => {
                    signed_once = signed_once.max(found);
                    break;
                }
                Err(_) => break,
            }
            position = position.after(signed.entry());
            entries.push((signed, bytes.clone()));
        }
        if let Some(later) = slice.beyond_gap
            && let Some(Blob::Found(bytes)) = exchange.branch.log(tip, me, later, 1)?.blobs.first()
            && let Some(signed) = verified(key, bytes)
            && let Ok(header) = chain::read_header(exchange.mesh, &signed)
        {
            signed_once = signed_once.max(header.seq);
        }
        let done = u64::try_from(entries.len()).is_ok_and(|n| n < BATCH);
        adopt(exchange, report, &entries, now)?;
        forks::adopt_claims(exchange, &entries)?;
        if done {
            break;
        }
    }
    if signed_once > position.seq {
        return Err(SigningRefused::Incomplete { signed: signed_once, shown: position.seq }.into());
    }
    Ok(())
}

/// Takes over own entries from the remote. A draft that is among them was signed before the home was
/// restored, and is not signed again.
fn adopt(
    exchange: &mut Exchange<'_>,
    report: &mut SyncReport,
    entries: &[(Signed, Vec<u8>)],
    now: Timestamp,
) -> Result<(), Stop> {
    if entries.is_empty() {
        return Ok(());
    }
    let drafts = exchange.db.drafts()?;
    let signed_already = drafts.iter().filter(|draft| entries.iter().any(|(signed, _)| draft::carries(signed, draft)));
    let signed_already: Vec<i64> = signed_already.map(|draft| draft.number).collect();
    let mut own = Vec::new();
    let first = exchange.db.own_position()?.next_seq();
    for (seq, (signed, envelope)) in (first..).zip(entries) {
        own.push(OwnEntry {
            seq,
            id: signed.entry(),
            payload_type: signed.payload_type().to_owned(),
            envelope: envelope.clone(),
            signed_at: now,
            confirmed_at: Some(now),
        });
    }
    let attested: Vec<Verified<Attestation>> =
        entries.iter().filter_map(|(signed, _)| entry::read_attestation(signed).ok()).collect();
    exchange.db.adopt_own(&own, &signed_already, &attested)?;
    report.caught_up += u64::try_from(own.len()).unwrap_or(u64::MAX);
    Ok(())
}

fn sign_drafts(exchange: &mut Exchange<'_>, report: &mut SyncReport, now: Timestamp) -> Result<(), Stop> {
    let key = own_public_key(exchange)?;
    for draft in exchange.db.drafts()? {
        let position = exchange.db.own_position()?;
        let header = position.next_header(exchange.mesh, exchange.key.host(), now);
        let (kind, payload) = match draft::payload(&header, &draft) {
            Ok(signable) => signable,
            Err(cause) => {
                // One that cannot be signed does not hold up the others.
                report.signing.push(SigningRefused::Draft { kind: draft.kind, slug: draft.slug, cause });
                continue;
            }
        };
        let envelope = Envelope::seal(exchange.key, kind, payload);
        let entry = OwnEntry {
            seq: position.next_seq(),
            id: envelope.entry_id(),
            payload_type: kind.payload_type(),
            envelope: envelope.to_file(),
            signed_at: chain::whole_seconds(now),
            confirmed_at: None,
        };
        let signed = envelope.verify(&key).ok().filter(|_| kind == Kind::Attestation);
        let attested = signed.and_then(|signed| entry::read_attestation(&signed).ok());
        crash::point("sign.before-persist");
        exchange.db.append_own(&entry, Some(draft.number), attested.as_slice())?;
        crash::point("sign.persisted");
        exchange.spool.show_outgoing(entry.seq, entry.id, &entry.envelope)?;
        report.signed.push((entry.seq, draft.slug));
    }
    Ok(())
}

fn publish(
    exchange: &mut Exchange<'_>,
    report: &mut SyncReport,
    tip: Option<Tip>,
    mut head: HeadOffer,
    now: Timestamp,
) -> Result<Option<Tip>, Stop> {
    let unconfirmed = exchange.db.unconfirmed_entries()?;
    let age = SignedDuration::from_secs(now.as_second().saturating_sub(head.issued_at));
    let due = head.confirmed_at.is_none() || age >= HEARTBEAT || age.is_negative();
    let mut more = forks::proof_files(exchange, &unconfirmed)?;
    more.extend(roster::missing(exchange, tip)?);
    let join = exchange.db.fact(JOIN_FACT)?.as_deref() != Some(exchange.name.as_str());
    if join {
        more.insert(
            branch_path::join(exchange.key.host()),
            Join::file(exchange.mesh, exchange.key, exchange.name, now),
        );
    }
    if unconfirmed.is_empty() && more.is_empty() && !due {
        return Ok(None);
    }
    let me = exchange.key.host();
    let position = exchange.db.own_position()?;
    head = HeadOffer { n: head.n + 1, issued_at: now.as_second(), confirmed_at: None };
    // Its number is on disk before anybody sees it, so that no two heads have one number.
    store_head(exchange, &head)?;
    let roster = exchange.db.roster()?.map(|row| row.roster.version);
    let body = Head { roster, ..Head::next(exchange.mesh, me, head.n, &position, seen(exchange)?, now) };
    let mut payload = serde_json::to_vec_pretty(&body).expect("heads are plain tables of text");
    payload.push(b'\n');
    let mut files: BTreeMap<String, Vec<u8>> =
        unconfirmed.iter().map(|entry| (branch_path::entry(me, entry.seq), entry.envelope.clone())).collect();
    files.extend(more);
    files.insert(branch_path::head(me), Envelope::seal(exchange.key, Kind::Head, payload).to_file());
    crash::point("publish.before-push");
    let tip = exchange.remote.publish(&files, &message(&unconfirmed))?;
    crash::point("publish.pushed");
    confirm(exchange, report, &unconfirmed.iter().collect::<Vec<_>>(), now)?;
    exchange.db.set_evidence_shown(true)?;
    exchange.db.set_fact(JOIN_FACT, exchange.name.as_str())?;
    store_head(exchange, &HeadOffer { confirmed_at: Some(now.as_second()), ..head })?;
    crash::point("publish.confirmed");
    // The remote may have been set back between the look at it and the push: then what it showed a moment ago is gone
    // from under what was added, and nothing will change there any more that would have it looked at.
    let before = unconfirmed.first().map_or(position.seq, |first| first.seq.saturating_sub(1));
    if before > 0 && !matches!(exchange.branch.log(tip, me, before, 1)?.blobs.first(), Some(Blob::Found(_))) {
        compare_with_remote(exchange, report, tip, now)?;
    }
    // Another machine with this key may have pushed in between: what it signed stands after ours.
    let beyond = exchange.branch.log(tip, me, position.next_seq(), 1)?.blobs.into_iter().next();
    let key = own_public_key(exchange)?;
    if let Some(Blob::Found(bytes)) = beyond
        && let Some(signed) = verified(&key, &bytes)
        && chain::read_header(exchange.mesh, &signed).is_ok_and(|header| header.seq == position.next_seq())
    {
        return Err(forked(exchange, position.next_seq()));
    }
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
fn confirm(
    exchange: &mut Exchange<'_>,
    report: &mut SyncReport,
    seen: &[&OwnEntry],
    now: Timestamp,
) -> Result<(), ExchangeError> {
    let fresh: Vec<&OwnEntry> = seen.iter().copied().filter(|entry| entry.confirmed_at.is_none()).collect();
    let seqs: Vec<u64> = fresh.iter().map(|entry| entry.seq).collect();
    exchange.db.confirm_own(&seqs, now)?;
    for entry in fresh {
        exchange.spool.remove_outgoing(entry.seq, entry.id)?;
    }
    report.published.extend(seqs);
    Ok(())
}

/// Notes what the remote does not show any more, and puts it back into the outbox.
fn lose(exchange: &mut Exchange<'_>, lost: &[&OwnEntry]) -> Result<(), ExchangeError> {
    let published: Vec<&OwnEntry> = lost.iter().copied().filter(|entry| entry.confirmed_at.is_some()).collect();
    let seqs: Vec<u64> = published.iter().map(|entry| entry.seq).collect();
    exchange.db.unconfirm_own(&seqs)?;
    for entry in published {
        exchange.spool.show_outgoing(entry.seq, entry.id, &entry.envelope)?;
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
