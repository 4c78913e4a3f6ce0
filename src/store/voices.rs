//! Whose voice counts here, of all that hosts attested.

use jiff::Timestamp;

use super::db::{Db, DbError};
use super::keyring::Keyring;
use crate::domain::attest::{self, Voice};
use crate::domain::id::{EntryId, HostId};
use crate::domain::trust::{Grant, GrantBounds, effective_grant};

/// Who listens, and to whom.
#[derive(Clone, Copy)]
pub struct Listener<'a> {
    /// What was said.
    pub db: &'a Db,
    /// Who is trusted here.
    pub keyring: &'a Keyring,
    /// This host, which hears itself.
    pub me: HostId,
    /// The most that any peer may do here.
    pub max_grant: Grant,
}

impl Listener<'_> {
    /// The voices that count on a lesson entry of `scope`, one for each host: this host's own, and those of peers that
    /// may speak of that scope with a grant of `audit` or more, are not revoked and did not fork.
    ///
    /// # Errors
    /// The database failed.
    pub fn voices(&self, entry: EntryId, scope: &str, now: Timestamp) -> Result<Vec<Voice>, DbError> {
        let mut voices = attest::voices(self.db.words_on(entry)?);
        let mut heard = Vec::with_capacity(voices.len());
        for voice in voices.drain(..) {
            if self.hears(voice.last.host, scope, now)? {
                heard.push(voice);
            }
        }
        Ok(heard)
    }

    fn hears(&self, host: HostId, scope: &str, now: Timestamp) -> Result<bool, DbError> {
        if host == self.me {
            return Ok(true);
        }
        // A voice counts for what its owner is today: a key that was revoked has none, whatever is believed of its past.
        if self.keyring.revoked(host).is_some() || self.db.fork(host)?.is_some() {
            return Ok(false);
        }
        let bounds = GrantBounds { max: self.max_grant, fresh: true, lineage: None };
        let grant = self.keyring.by_host(host).and_then(|peer| effective_grant(&peer.line, scope, bounds, now));
        Ok(grant >= Some(Grant::Audit))
    }
}
