//! The outbox and inbox folders: copies for people and tools. The database is the truth.

use std::path::{Path, PathBuf};

use super::files::{self, FileError};
use super::home::Home;
use crate::domain::id::EntryId;

/// The outbox and inbox folders of a home.
#[derive(Clone, Debug)]
pub struct Spool {
    outbox: PathBuf,
    inbox: PathBuf,
}

impl Spool {
    /// The folders of `home`.
    #[must_use]
    pub fn of(home: &Home) -> Self {
        Self { outbox: home.outbox(), inbox: home.inbox() }
    }

    fn outbox_file(&self, seq: u64, id: EntryId) -> PathBuf {
        self.outbox.join(format!("{seq:010}-{}.json", id.short()))
    }

    /// Shows a signed envelope in the outbox until it was seen on the remote.
    ///
    /// # Errors
    /// The system refused.
    pub fn show_outgoing(&self, seq: u64, id: EntryId, envelope: &[u8]) -> Result<(), FileError> {
        files::write_whole(&self.outbox_file(seq, id), envelope, 0o600)
    }

    /// Takes an envelope out of the outbox: it was read back from the remote.
    ///
    /// # Errors
    /// The system refused.
    pub fn remove_outgoing(&self, seq: u64, id: EntryId) -> Result<(), FileError> {
        files::remove(&self.outbox_file(seq, id))
    }

    /// Shows a verified envelope of a peer in the inbox.
    ///
    /// # Errors
    /// The system refused.
    pub fn show_incoming(&self, peer: &str, seq: u64, slug: &str, envelope: &[u8]) -> Result<(), FileError> {
        files::write_copy(&self.inbox.join(format!("{peer}-{seq:010}-{slug}.json")), envelope, 0o600)
    }

    /// Keeps a refused document with the reason beside it.
    ///
    /// # Errors
    /// The system refused.
    pub fn show_rejected(&self, digest: &[u8; 32], document: &[u8], reason: &str) -> Result<PathBuf, FileError> {
        let path = self.rejected_file(digest, "json");
        files::write_copy(&path, document, 0o600)?;
        files::write_copy(&self.rejected_file(digest, "reason"), format!("{reason}\n").as_bytes(), 0o600)?;
        Ok(path)
    }

    /// Removes a refused document and its reason: newer ones took its place.
    ///
    /// # Errors
    /// The system refused.
    pub fn remove_rejected(&self, digest: &[u8; 32]) -> Result<(), FileError> {
        ["json", "reason"].into_iter().try_for_each(|suffix| files::remove(&self.rejected_file(digest, suffix)))
    }

    fn rejected_file(&self, digest: &[u8; 32], suffix: &str) -> PathBuf {
        self.rejected().join(format!("{}.{suffix}", EntryId::from_bytes(*digest)))
    }

    fn rejected(&self) -> PathBuf {
        self.inbox.join("rejected")
    }

    /// The outbox folder.
    #[must_use]
    pub fn outbox(&self) -> &Path {
        &self.outbox
    }
}
