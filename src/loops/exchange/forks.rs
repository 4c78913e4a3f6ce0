//! Forks: told to the others with the two entries that prove them, and taken over from others once proved here.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::ingest::{note_change, quarantined_detail};
use super::own::FORKED_FACT;
use super::{Exchange, ExchangeError, Stop, SyncReport};
use crate::domain::branch_path;
use crate::domain::chain::PeerState;
use crate::domain::entry;
use crate::domain::envelope::{Envelope, Kind, PublicKey, Signed};
use crate::domain::fork::ForkProof;
use crate::domain::id::{EntryId, HostId};
use crate::domain::limits;
use crate::ports::{Blob, Tip};
use crate::store::db::DbError;
use crate::store::forks::Fork;
use crate::store::own_log::OwnEntry;
use crate::store::peer_log::PeerNews;

/// Looks at every fork that somebody says it can prove. What holds quarantines the key here as well, whoever said it
/// and whether or not the key is enrolled; what cannot be read waits.
pub(super) fn settle_claims(
    exchange: &mut Exchange<'_>,
    report: &mut SyncReport,
    tip: Tip,
    now: Timestamp,
) -> Result<(), ExchangeError> {
    for (publisher, claim) in exchange.db.fork_claims()? {
        let one = candidate(exchange, tip, publisher, &claim, claim.one)?;
        let other = candidate(exchange, tip, publisher, &claim, claim.other)?;
        let (Some(one), Some(other)) = (one, other) else { continue };
        if !claim.proves(exchange.mesh, &one, &other) {
            continue;
        }
        let fork = Fork { host: claim.key, seq: claim.at, one, other };
        exchange.db.record_fork(&fork, Some(publisher), now)?;
        quarantine(exchange, report, claim.key, claim.at, now)?;
    }
    Ok(())
}

/// Shows at once what follows from a fork that is on record.
pub(super) fn quarantine(
    exchange: &mut Exchange<'_>,
    report: &mut SyncReport,
    host: HostId,
    seq: u64,
    now: Timestamp,
) -> Result<(), ExchangeError> {
    if host == exchange.key.host() {
        // Somebody holds two entries that only this host's key can have signed.
        return Ok(exchange.db.set_fact(FORKED_FACT, &seq.to_string())?);
    }
    let Some(mut row) = exchange.db.peer(host)? else { return Ok(()) };
    let before = row.state;
    row.state = PeerState::Quarantined;
    row.detail = quarantined_detail(seq);
    if let Some(peer) = exchange.keyring.by_host(host).cloned() {
        note_change(report, &peer, before, &row);
    }
    Ok(exchange.db.record_peer(&PeerNews::of(row), now)?)
}

/// The entry with this id: from here, from the publisher's directory, or from the log that it stands in.
fn candidate(
    exchange: &Exchange<'_>,
    tip: Tip,
    publisher: HostId,
    claim: &ForkProof,
    id: EntryId,
) -> Result<Option<Vec<u8>>, ExchangeError> {
    if let Some(known) = exchange.db.any_entry(id)? {
        return Ok(Some(known));
    }
    let shown = [branch_path::proof(publisher, id), branch_path::entry(claim.key, claim.at)];
    Ok(shown.iter().find_map(|path| read_entry(exchange, tip, path, id)))
}

/// The file at `path`, if it carries the entry with this id. A cache that cannot be read shows nothing.
pub(super) fn read_entry(exchange: &Exchange<'_>, tip: Tip, path: &str, id: EntryId) -> Option<Vec<u8>> {
    let Ok(Blob::Found(bytes)) = exchange.branch.file(tip, path, limits::ENVELOPE_BYTES) else { return None };
    let carried = Envelope::parse(&bytes).ok()?.entry_id();
    (carried == id).then_some(bytes)
}

/// Queues the proof of every fork that was found here and that this host has not told yet.
pub(super) fn queue_proofs(exchange: &mut Exchange<'_>, now: Timestamp) -> Result<(), ExchangeError> {
    let found = exchange.db.forks_found_here()?;
    if found.is_empty() {
        return Ok(());
    }
    let told = told(exchange)?;
    let drafts = exchange.db.drafts()?;
    for fork in found {
        let slug = fork.host.to_string();
        let queued = drafts.iter().any(|draft| draft.kind == Kind::ForkProof.name() && draft.slug == slug);
        if queued || told.iter().any(|proof| proof.key == fork.host) {
            continue;
        }
        let Some(proof) = proof_of(exchange, &fork) else { continue };
        let body = serde_json::to_string(&proof).expect("ids and a number serialise");
        exchange.db.queue_draft(Kind::ForkProof.name(), &slug, &body, now)?;
    }
    Ok(())
}

fn proof_of(exchange: &Exchange<'_>, fork: &Fork) -> Option<ForkProof> {
    let key = PublicKey::of(fork.host).ok()?;
    let verified = |bytes: &[u8]| Envelope::parse(bytes).ok().and_then(|envelope| envelope.verify(&key).ok());
    ForkProof::of(exchange.mesh, &verified(&fork.one)?, &verified(&fork.other)?)
}

/// The proofs that this host has signed.
fn told(exchange: &Exchange<'_>) -> Result<Vec<ForkProof>, DbError> {
    let own = exchange.db.own_entries_of(&Kind::ForkProof.payload_type())?;
    Ok(own.iter().filter_map(|entry| claim_of(exchange, &entry.envelope)).collect())
}

fn claim_of(exchange: &Exchange<'_>, envelope: &[u8]) -> Option<ForkProof> {
    let key = PublicKey::of(exchange.key.host()).ok()?;
    let signed: Signed = Envelope::parse(envelope).ok()?.verify(&key).ok()?;
    entry::read_fork_proof(&signed).ok().map(|said| *said.body())
}

/// The files that prove what these own entries claim.
pub(super) fn proof_files(
    exchange: &Exchange<'_>,
    entries: &[OwnEntry],
) -> Result<BTreeMap<String, Vec<u8>>, ExchangeError> {
    let me = exchange.key.host();
    let mut files = BTreeMap::new();
    for claim in entries.iter().filter_map(|entry| proof_in(exchange, entry)) {
        let Some(fork) = exchange.db.fork_proof(claim.key)? else { continue };
        for bytes in [fork.one, fork.other] {
            if let Ok(envelope) = Envelope::parse(&bytes) {
                files.insert(branch_path::proof(me, envelope.entry_id()), bytes);
            }
        }
    }
    for (id, envelope) in exchange.db.evidence_to_show()? {
        files.insert(branch_path::proof(me, id), envelope);
    }
    Ok(files)
}

fn proof_in(exchange: &Exchange<'_>, entry: &OwnEntry) -> Option<ForkProof> {
    (entry.payload_type == Kind::ForkProof.payload_type()).then(|| claim_of(exchange, &entry.envelope)).flatten()
}

/// Whether the branch shows all that an own entry needs to be checked. True for all but fork proofs.
pub(super) fn is_complete(exchange: &Exchange<'_>, tip: Tip, entry: &OwnEntry) -> bool {
    let me = exchange.key.host();
    proof_in(exchange, entry).is_none_or(|claim| {
        [claim.one, claim.other]
            .into_iter()
            .all(|id| read_entry(exchange, tip, &branch_path::proof(me, id), id).is_some())
    })
}

/// Remembers the proofs among own entries that a restored home took over, to be checked like anybody's.
pub(super) fn adopt_claims(exchange: &mut Exchange<'_>, entries: &[(Signed, Vec<u8>)]) -> Result<(), Stop> {
    let claims: Vec<ForkProof> =
        entries.iter().filter_map(|(signed, _)| entry::read_fork_proof(signed).ok()).map(|said| *said.body()).collect();
    Ok(exchange.db.claim_forks(exchange.key.host(), &claims)?)
}
