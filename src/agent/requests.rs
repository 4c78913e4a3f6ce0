//! Hosts that ask to be enrolled, as the local cache of the shared branch shows them.

use jiff::Timestamp;

use super::parts::Parts;
use crate::domain::branch_path;
use crate::domain::id::{HostId, PeerName};
use crate::domain::join::Join;
use crate::domain::limits;
use crate::domain::openssh;
use crate::loops::exchange;
use crate::ports::{Blob, Branch as _, RemoteError};
use crate::store::db::DbError;

/// A host that asks to be enrolled. That it has the key is shown; whose key it is, only its owner can say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// Its key.
    pub host: HostId,
    /// The fingerprint to compare with `mesh id --fingerprint` there.
    pub fingerprint: String,
    /// What it calls itself.
    pub name: PeerName,
    /// When it asked, by its own clock.
    pub issued_at: Timestamp,
}

/// Why the requests cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum RequestsError {
    /// The branch was never read.
    #[error("the shared branch was not read yet: run `mesh sync --once`")]
    NeverSynced,
    /// The cache cannot be read.
    #[error(transparent)]
    Branch(#[from] RemoteError),
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Requests of hosts that are neither enrolled nor revoked nor known to have forked, by name.
///
/// # Errors
/// The branch was never read, or the cache is damaged.
pub fn list(parts: &Parts) -> Result<Vec<Request>, RequestsError> {
    let tip = exchange::last_tip(&parts.db)?.ok_or(RequestsError::NeverSynced)?;
    let branch = parts.branch();
    let mut found = Vec::new();
    for host in branch.changed_hosts(None, tip)?.changed {
        let keyring = &parts.keyring;
        let known = host == parts.key.host() || keyring.by_host(host).is_some() || keyring.revoked(host).is_some();
        if known || parts.db.fork(host)?.is_some() {
            continue;
        }
        if let Blob::Found(bytes) = branch.file(tip, &branch_path::join(host), limits::HEAD_BYTES)?
            && let Some(join) = Join::read(&parts.config.mesh, host, &bytes)
        {
            let fingerprint = openssh::fingerprint(host);
            found.push(Request { host, fingerprint, name: join.name, issued_at: join.issued_at });
        }
        if found.len() >= limits::REQUESTS {
            break;
        }
    }
    found.sort_by(|one, other| (&one.name, one.host).cmp(&(&other.name, other.host)));
    Ok(found)
}

/// The request with this fingerprint, with or without `SHA256:`.
///
/// # Errors
/// As [`list`].
pub fn with_fingerprint(parts: &Parts, fingerprint: &str) -> Result<Option<Request>, RequestsError> {
    let wanted = fingerprint.trim_start_matches("SHA256:");
    let same = |request: &Request| request.fingerprint.trim_start_matches("SHA256:") == wanted;
    Ok(list(parts)?.into_iter().find(same))
}
