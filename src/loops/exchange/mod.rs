//! One sync: read what peers published, sign what waits here, publish it, read it back.
//!
//! The order is the safety: fetch, then catch up with the own log, then sign and store, then push. So
//! nothing is signed twice, and nothing is signed by a host that does not know its own last entry.

mod draft;
mod forks;
mod gossip;
mod ingest;
mod own;
mod read;
mod roster;
mod rotation;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::domain::chain::PeerState;
use crate::domain::envelope::HostKey;
use crate::domain::id::{EntryId, HostId, MeshName, PeerName};
use crate::ports::{Branch, Remote, RemoteError, Tip};
use crate::store::db::{Db, DbError};
use crate::store::files::FileError;
use crate::store::keyring::{Keyring, KeyringError};
use crate::store::spool::Spool;

pub use rotation::switch;

pub use own::{FORKED_FACT, HeadOffer, MACHINE_FACT, SigningRefused};

/// Why a sync could not be carried out on this host. What the remote did is in the report instead.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The outbox or inbox cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The keys cannot be read.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
}

/// What a sync works with.
pub struct Exchange<'a> {
    /// The mesh.
    pub mesh: &'a MeshName,
    /// What this host calls itself.
    pub name: &'a PeerName,
    /// This host's key.
    pub key: &'a HostKey,
    /// The key that this host is to move to, if it is.
    pub next: Option<HostId>,
    /// Who is trusted here.
    pub keyring: &'a mut Keyring,
    /// The truth.
    pub db: &'a mut Db,
    /// The folders for people.
    pub spool: &'a Spool,
    /// The way to the shared branch.
    pub remote: &'a mut dyn Remote,
    /// The local cache of the shared branch.
    pub branch: &'a dyn Branch,
    /// What tells this machine from a copy of it, where the system has it.
    pub machine: Option<String>,
}

/// A peer whose state changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerChange {
    /// Its local name.
    pub name: PeerName,
    /// Its key.
    pub host: HostId,
    /// Its state before.
    pub before: PeerState,
    /// Its state now.
    pub now: PeerState,
    /// What is wrong, for people.
    pub detail: String,
}

/// What one sync did.
#[derive(Debug, Default)]
pub struct SyncReport {
    /// Why the remote was not reached or did not take what was pushed. Nothing is lost.
    pub remote: Option<RemoteError>,
    /// Why something that waits here was not signed, or nothing at all. Reading goes on.
    pub signing: Vec<SigningRefused>,
    /// Entries signed in this sync.
    pub signed: Vec<(u64, String)>,
    /// Entries read back from the remote in this sync.
    pub published: Vec<u64>,
    /// Own entries that a restored host took over from its log on the remote.
    pub caught_up: u64,
    /// Entries verified in this sync.
    pub received: u64,
    /// Lessons among them.
    pub lessons: Vec<EntryId>,
    /// Documents refused for the first time: where, and why.
    pub refused: Vec<(String, String)>,
    /// Peers whose state changed.
    pub changes: Vec<PeerChange>,
    /// Names on the branch that no mesh makes.
    pub ignored: u64,
    /// Peers that moved to a new key, and to which.
    pub moved: Vec<(PeerName, HostId)>,
    /// Roster versions that were verified in this sync.
    pub rosters: Vec<u64>,
    /// What is newly wrong with the rosters on the remote.
    pub roster_fault: Option<String>,
    /// A peer that has seen more entries of this host than it knows itself, and how many.
    pub ahead_of_us: Option<(PeerName, u64)>,
}

const TIP_FACT: &str = "remote.tip";
/// When the remote was last read and, where there was something to publish, written.
pub const SYNCED_FACT: &str = "remote.synced_at";

/// The peers that were enrolled when the branch was last read, as a digest.
const ENROLLED_FACT: &str = "remote.enrolled";

/// News of a sync that leaves time to pack entries: a host that catches up packs none.
const FEW: u64 = 64;
/// Entries that a sync looks at to pack them.
const PACKED_AT_ONCE: u32 = 256;

/// Runs one sync. A remote that is down, slow, rewound or hostile is in the report, and so is a host that
/// may not sign; everything that was verified before stays.
///
/// # Errors
/// This host's own state failed. What was verified and signed before that stays.
pub fn sync(exchange: &mut Exchange<'_>, now: Timestamp) -> Result<SyncReport, ExchangeError> {
    let mut report = SyncReport::default();
    ingest::apply_revocations(exchange, &mut report, now)?;
    match reach(exchange, &mut report, now) {
        Ok(()) => {}
        Err(Stop::Remote(error)) => report.remote = Some(error),
        Err(Stop::Signing(refused)) => report.signing.push(refused),
        Err(Stop::Here(error)) => return Err(error),
    }
    ingest::refresh_freshness(exchange, &mut report, now)?;
    if report.received <= FEW {
        exchange.db.pack_entries(PACKED_AT_ONCE)?;
    }
    Ok(report)
}

/// The tip of the branch that was read last, if one was.
///
/// # Errors
/// The database failed.
pub fn last_tip(db: &Db) -> Result<Option<Tip>, DbError> {
    Ok(db.fact(TIP_FACT)?.as_deref().and_then(parse_tip))
}

enum Stop {
    Remote(RemoteError),
    Signing(SigningRefused),
    Here(ExchangeError),
}

impl From<RemoteError> for Stop {
    fn from(error: RemoteError) -> Self {
        Self::Remote(error)
    }
}

impl From<SigningRefused> for Stop {
    fn from(refused: SigningRefused) -> Self {
        Self::Signing(refused)
    }
}

impl<E: Into<ExchangeError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Here(error.into())
    }
}

fn reach(exchange: &mut Exchange<'_>, report: &mut SyncReport, now: Timestamp) -> Result<(), Stop> {
    let last = exchange.db.fact(TIP_FACT)?.as_deref().and_then(parse_tip);
    let tip = exchange.remote.fetch()?;
    // A tip that the cache does not have any more is as good as none: everything is compared.
    let last = last.filter(|last| cached(exchange, *last));
    // Who belongs to the mesh is settled before anybody is looked at.
    roster::walk(exchange, report, tip, now)?;
    let enrolled = enrolled(exchange);
    let newly_enrolled = exchange.db.fact(ENROLLED_FACT)?.as_ref() != Some(&enrolled);
    let mut taken = ingest::Taken::new();
    let changed = match tip {
        Some(tip) => {
            let changed = exchange.branch.changed_hosts(last, tip)?;
            report.ignored = changed.ignored;
            let look = ingest::Look { changed: &changed, everyone: last.is_none() || newly_enrolled, unsettled: true };
            ingest::ingest(exchange, report, tip, look, &mut taken, now)?;
            forks::settle_claims(exchange, report, tip, now)?;
            rotation::follow(exchange, report, tip, now)?;
            Some(changed)
        }
        None => None,
    };
    forks::queue_proofs(exchange, now)?;
    report.ahead_of_us = gossip::of_myself(exchange)?;
    // Heads may have named a newer roster.
    roster::walk(exchange, report, tip, now)?;
    let mut read = tip;
    if let Some(published) = own::tend(exchange, report, tip, changed.as_ref(), last.is_none(), now)? {
        // Others may have pushed between the fetch and our own push, or the branch was wiped and is new:
        // their news is in the tip that was read back.
        let before = tip.or(last);
        let changed = exchange.branch.changed_hosts(before, published)?;
        let look = ingest::Look { changed: &changed, everyone: before.is_none(), unsettled: false };
        ingest::ingest(exchange, report, published, look, &mut taken, now)?;
        forks::settle_claims(exchange, report, published, now)?;
        rotation::follow(exchange, report, published, now)?;
        read = Some(published);
    }
    let (tip, now) = (read.map(|tip| TipText(tip).to_string()), now.to_string());
    let read = tip.iter().flat_map(|tip| [(TIP_FACT, tip.as_str()), (ENROLLED_FACT, enrolled.as_str())]);
    exchange.db.set_facts(read.chain([(SYNCED_FACT, now.as_str())]))?;
    Ok(())
}

/// Tells one set of enrolled peers from another: who comes (back) may have missed changes.
fn enrolled(exchange: &Exchange<'_>) -> String {
    let mut hosts: Vec<HostId> = exchange.keyring.peers().iter().map(|peer| peer.line.host).collect();
    hosts.sort_unstable();
    let mut digest = Sha256::new();
    hosts.iter().for_each(|host| digest.update(host.as_bytes()));
    EntryId::from_bytes(digest.finalize().into()).to_string()
}

fn cached(exchange: &Exchange<'_>, tip: Tip) -> bool {
    exchange.branch.file(tip, "mesh-format", 64).is_ok()
}

struct TipText(Tip);

impl std::fmt::Display for TipText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn parse_tip(text: &str) -> Option<Tip> {
    let mut bytes = [0; 20];
    if text.len() != 40 || !text.is_ascii() {
        return None;
    }
    for (slot, at) in bytes.iter_mut().zip((0..40).step_by(2)) {
        *slot = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(Tip(bytes))
}
