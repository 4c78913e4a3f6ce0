//! Whose voice counts here, of all that hosts attested.

use jiff::Timestamp;

use super::db::{Db, DbError};
use super::keyring::Keyring;
use crate::domain::attest::{self, Voice};
use crate::domain::id::{EntryId, HostId};
use crate::domain::trust::{Grant, GrantBounds, effective_grant};
use crate::domain::wave::{self, Standing, Turn};

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
    /// When this host's turn comes.
    pub turn: Turn,
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

    /// What holds for the lesson in `entry` by `author` on this host, by its place in the order of hosts and by what the
    /// others say.
    ///
    /// # Errors
    /// The database failed.
    pub fn standing(&self, entry: EntryId, author: HostId, scope: &str, now: Timestamp) -> Result<Standing, DbError> {
        let enrolled = self.keyring.peers().iter().map(|peer| peer.line.host);
        let others: Vec<HostId> = enrolled.filter(|host| self.keyring.revoked(*host).is_none()).collect();
        Ok(wave::standing(entry, author, (self.me, self.turn), &others, &self.voices(entry, scope, now)?))
    }

    /// `grant` as far as it may go on this host now: by itself only where its wave has come, and nothing beyond a report
    /// while it is stopped. With why, where it is less.
    ///
    /// # Errors
    /// The database failed.
    pub fn bounded(
        &self,
        grant: Grant,
        entry: EntryId,
        standing: &Standing,
    ) -> Result<(Grant, Option<String>), DbError> {
        if grant <= Grant::Audit {
            return Ok((grant, None));
        }
        if let Some(why) = self.db.stopped_lesson(entry)? {
            return Ok((Grant::Audit, Some(why)));
        }
        match standing {
            Standing::Waiting { .. } if grant > Grant::Propose => Ok((Grant::Propose, standing.why())),
            _ => Ok((grant, None)),
        }
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
