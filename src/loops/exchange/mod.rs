//! One sync: read what peers published, sign what waits here, publish it, read it back.
//!
//! The order is the safety: fetch, then catch up with the own log, then sign and store, then push. So
//! nothing is signed twice, and nothing is signed by a host that does not know its own last entry.

mod ingest;
mod own;

use jiff::Timestamp;

use crate::domain::chain::PeerState;
use crate::domain::envelope::HostKey;
use crate::domain::id::{EntryId, HostId, MeshName, PeerName};
use crate::ports::{Branch, Remote, RemoteError, Tip};
use crate::store::db::{Db, DbError};
use crate::store::files::FileError;
use crate::store::keyring::Keyring;
use crate::store::spool::Spool;

pub use own::{HeadOffer, MACHINE_FACT};

/// Why a sync could not be carried out on this host. What the remote did is in the report instead.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The outbox or inbox cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// This host may not sign.
    #[error(transparent)]
    Signing(#[from] own::SigningRefused),
}

/// What a sync works with.
pub struct Exchange<'a> {
    /// The mesh.
    pub mesh: &'a MeshName,
    /// This host's key.
    pub key: &'a HostKey,
    /// Who is trusted here.
    pub keyring: &'a Keyring,
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
}

const TIP_FACT: &str = "remote.tip";
/// When the remote was last read and, where there was something to publish, written.
pub const SYNCED_FACT: &str = "remote.synced_at";

/// Runs one sync. A remote that is down, slow, rewound or hostile is in the report; everything that was
/// verified before stays.
///
/// # Errors
/// This host's own state failed; then nothing was signed.
pub fn sync(exchange: &mut Exchange<'_>, now: Timestamp) -> Result<SyncReport, ExchangeError> {
    let mut report = SyncReport::default();
    match reach(exchange, &mut report, now) {
        Ok(()) => {}
        Err(Stop::Remote(error)) => report.remote = Some(error),
        Err(Stop::Here(error)) => return Err(error),
    }
    ingest::refresh_freshness(exchange, &mut report, now)?;
    Ok(report)
}

enum Stop {
    Remote(RemoteError),
    Here(ExchangeError),
}

impl From<RemoteError> for Stop {
    fn from(error: RemoteError) -> Self {
        Self::Remote(error)
    }
}

impl<E: Into<ExchangeError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Here(error.into())
    }
}

fn reach(exchange: &mut Exchange<'_>, report: &mut SyncReport, now: Timestamp) -> Result<(), Stop> {
    let last = exchange.db.fact(TIP_FACT)?.as_deref().and_then(parse_tip);
    let tip = match exchange.remote.tip()? {
        Some(tip) if Some(tip) == last && cached(exchange, tip) => Some(tip),
        Some(_) => exchange.remote.fetch()?,
        None => None,
    };
    let changed = match tip {
        Some(tip) => {
            // A tip that the cache does not have any more is as good as none: everything is compared.
            let last = last.filter(|last| cached(exchange, *last));
            let changed = exchange.branch.changed_hosts(last, tip)?;
            report.ignored = changed.ignored;
            ingest::ingest(exchange, report, tip, &changed, now)?;
            Some(changed)
        }
        None => None,
    };
    let mut read = tip;
    if let Some(published) = own::tend(exchange, report, tip, changed.as_ref(), now)? {
        // Others may have pushed between the fetch and our own push: their news is in the tip that was read back.
        let changed = exchange.branch.changed_hosts(tip, published)?;
        ingest::ingest(exchange, report, published, &changed, now)?;
        read = Some(published);
    }
    if let Some(tip) = read {
        exchange.db.set_fact(TIP_FACT, &EntryTip(tip).to_string())?;
    }
    exchange.db.set_fact(SYNCED_FACT, &now.to_string())?;
    Ok(())
}

fn cached(exchange: &Exchange<'_>, tip: Tip) -> bool {
    exchange.branch.file(tip, "mesh-format", 64).is_ok()
}

struct EntryTip(Tip);

impl std::fmt::Display for EntryTip {
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
