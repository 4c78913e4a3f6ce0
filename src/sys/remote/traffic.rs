//! What one conversation has received, and what first went wrong in it.
//!
//! libgit2 passes only a text from a transport to its caller. The kind of the failure goes beside it, through here.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use git2::{ErrorClass, ErrorCode};

use super::request::{Failure, shown};
use crate::ports::RemoteError;

/// Shared by the transport and the code that asked libgit2 to use it.
#[derive(Clone, Debug)]
pub(super) struct Traffic {
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    received: AtomicU64,
    cap: u64,
    failure: OnceLock<RemoteError>,
}

impl Traffic {
    pub(super) fn new(cap: u64) -> Self {
        Self { state: Arc::new(State { received: AtomicU64::new(0), cap, failure: OnceLock::new() }) }
    }

    /// Counts `bytes` as received.
    fn count(&self, bytes: usize) -> io::Result<()> {
        let bytes = bytes as u64;
        let before = self.state.received.fetch_add(bytes, Ordering::Relaxed);
        let cap = self.state.cap;
        if before.saturating_add(bytes) > cap {
            return Err(self.fail(RemoteError::Limit(format!("it sent more than {cap} bytes"))));
        }
        Ok(())
    }

    /// Notes why the conversation failed; the first reason stays. The error is for libgit2, which drops its kind.
    pub(super) fn fail(&self, error: RemoteError) -> io::Error {
        // NUL would make a C string of the text impossible.
        let text = error.to_string().replace('\0', " ");
        let _first_stays = self.state.failure.set(error);
        io::Error::other(text)
    }

    /// As [`Self::fail`], for the functions that libgit2 expects a git error from.
    pub(super) fn fail_git(&self, error: RemoteError) -> git2::Error {
        git2::Error::from_str(&self.fail(error).to_string())
    }

    /// The failure that `error` of libgit2 stands for.
    pub(super) fn explain(&self, error: &git2::Error) -> RemoteError {
        if let Some(first) = self.state.failure.get() {
            return Failure::from(first).into();
        }
        let text = shown(error.message());
        match (error.class(), error.code()) {
            (ErrorClass::NoMemory, _) => RemoteError::Limit("it needs more memory than one fetch may have".to_owned()),
            (_, ErrorCode::Auth | ErrorCode::Certificate) => RemoteError::Credentials(text),
            (ErrorClass::Net | ErrorClass::Http | ErrorClass::Ssh | ErrorClass::Indexer | ErrorClass::Zlib, _) => {
                RemoteError::Protocol(text)
            }
            _ => RemoteError::Cache(text),
        }
    }
}

/// A stream whose received bytes are counted, and whose failures are kept.
pub(super) struct Counted<S> {
    pub(super) inner: S,
    pub(super) traffic: Traffic,
}

impl<S: Read> Read for Counted<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer).map_err(|error| self.traffic.fail(broken(&error)))?;
        self.traffic.count(read)?;
        Ok(read)
    }
}

impl<S: Write> Write for Counted<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write(bytes).map_err(|error| self.traffic.fail(broken(&error)))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush().map_err(|error| self.traffic.fail(broken(&error)))
    }
}

/// What a failed read or write says of the remote.
pub(super) fn broken(error: &io::Error) -> RemoteError {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            RemoteError::Limit("it was silent for too long".to_owned())
        }
        _ => RemoteError::Unreachable(shown(&error.to_string())),
    }
}
