//! What one conversation has received, and what first went wrong in it.
//!
//! libgit2 passes only a text from a transport to its caller. The kind of the failure goes beside it, through here.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};

use git2::{ErrorClass, ErrorCode};

use super::packets::Unheard;
use super::request::shown;
use crate::ports::RemoteError;

/// The transport's half: it counts, and tells what went wrong.
#[derive(Clone, Debug)]
pub(super) struct Traffic {
    received: Arc<AtomicU64>,
    cap: u64,
    failures: Sender<RemoteError>,
}

/// The half of the code that asked libgit2 to use the transport: it hears what went wrong.
#[derive(Debug)]
pub(super) struct Failures {
    receiver: Receiver<RemoteError>,
}

/// The two halves of a conversation that may receive `cap` bytes.
pub(super) fn traffic(cap: u64) -> (Traffic, Failures) {
    let (failures, receiver) = mpsc::channel();
    (Traffic { received: Arc::default(), cap, failures }, Failures { receiver })
}

impl Traffic {
    /// Counts `bytes` as received.
    fn count(&self, bytes: usize) -> io::Result<()> {
        let bytes = bytes as u64;
        let before = self.received.fetch_add(bytes, Ordering::Relaxed);
        let cap = self.cap;
        if before.saturating_add(bytes) > cap {
            return Err(self.fail(RemoteError::Limit(format!("it sent more than {cap} bytes"))));
        }
        Ok(())
    }

    /// Tells why the conversation failed. The error is for libgit2, which drops its kind.
    pub(super) fn fail(&self, error: RemoteError) -> io::Error {
        // NUL would make a C string of the text impossible.
        let text = error.to_string().replace('\0', " ");
        let _nobody_may_ask = self.failures.send(error);
        io::Error::other(text)
    }

    /// As [`Self::fail`], for the functions that libgit2 expects a git error from.
    pub(super) fn fail_git(&self, error: RemoteError) -> git2::Error {
        git2::Error::from_str(&self.fail(error).to_string())
    }
}

impl Failures {
    /// Forgets failures of steps that are over, such as a farewell that nobody waited for.
    pub(super) fn forget(&self) {
        while self.receiver.try_recv().is_ok() {}
    }

    /// The failure that `error` of libgit2 stands for: the first that the transport told of, if it did.
    pub(super) fn explain(&self, error: &git2::Error) -> RemoteError {
        if let Ok(first) = self.receiver.try_recv() {
            return first;
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

    /// The failure behind `error` of a transport's stream.
    pub(super) fn explain_stream(&self, error: &io::Error) -> RemoteError {
        self.receiver.try_recv().unwrap_or_else(|_| match error.kind() {
            io::ErrorKind::UnexpectedEof => RemoteError::Protocol("it broke off in the middle".to_owned()),
            _ => broken(error),
        })
    }

    /// What is wrong where something else was heard than a git server says.
    pub(super) fn explain_unheard(&self, error: Unheard) -> RemoteError {
        match error {
            Unheard::Stream(error) => self.explain_stream(&error),
            Unheard::Said(what) => RemoteError::Protocol(what),
            Unheard::Many(what) => RemoteError::Limit(what),
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
