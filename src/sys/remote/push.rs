//! The push: what is new is offered to the server in git's own protocol.
//!
//! libgit2 would find out by itself what is new, for which it reads every directory that the server has: then a push costs the
//! more the longer the history is. Whoever makes a commit here knows what is new in it.

use std::io::Write;

use git2::transport::{Service, SmartSubtransport};
use git2::{Oid, Repository};

use super::packets::{END, ground, report, wrapped};
use super::traffic::Failures;
use crate::ports::RemoteError;

/// What became of a push.
#[derive(Debug)]
pub(super) enum Pushed {
    Accepted,
    Raced,
    Refused(String),
}

/// A commit, and the objects that the server does not have before it has that commit.
#[derive(Debug)]
pub(super) struct News {
    pub(super) commit: Oid,
    pub(super) objects: Vec<Oid>,
}

/// Where a commit is to stand.
pub(super) struct Place<'a> {
    /// The ref's whole name.
    pub(super) name: &'a str,
    /// Where it must lead until then; none where there must be none.
    pub(super) from: Option<Oid>,
}

/// The way to a server.
pub(super) struct Way {
    pub(super) transport: Box<dyn SmartSubtransport>,
    /// Whether each step is a request of its own, as in HTTP.
    pub(super) stateless: bool,
}

impl Way {
    /// Ends a conversation in which only the list of refs was wanted.
    pub(super) fn part(&self, stream: &mut impl Write) {
        if !self.stateless {
            let _farewell = stream.write_all(END).and_then(|()| stream.flush());
        }
    }

    /// Offers what is new in `repository`. The server lists at most `refs` refs.
    pub(super) fn push(
        &self,
        repository: &Repository,
        news: &News,
        place: &Place<'_>,
        refs: u64,
        failures: &Failures,
    ) -> Result<Pushed, RemoteError> {
        failures.forget();
        let explain = |error: git2::Error| failures.explain(&error);
        let unheard = |error| failures.explain_unheard(error);
        let broken = |error: std::io::Error| failures.explain_stream(&error);
        let mut stream = self.transport.action("", Service::ReceivePackLs).map_err(explain)?;
        let before = ground(&mut stream, place.name, refs).map_err(unheard)?;
        if place.from != before.tip {
            self.part(&mut stream);
            return Ok(Pushed::Raced);
        }
        if self.stateless {
            stream = self.transport.action("", Service::ReceivePack).map_err(explain)?;
        }
        let pack = pack(repository, news).map_err(explain)?;
        let from = before.tip.unwrap_or(Oid::ZERO_SHA1);
        let wish = if before.reports { " report-status" } else { "" };
        stream.write_all(&wrapped(&format!("{from} {} {}\0{wish}", news.commit, place.name))).map_err(broken)?;
        stream.write_all(END).map_err(broken)?;
        stream.write_all(&pack).map_err(broken)?;
        stream.flush().map_err(broken)?;
        // Whoever cannot say is believed: what counts is what is read back.
        let refusal = if before.reports { report(&mut stream, place.name).map_err(unheard)? } else { None };
        Ok(refusal.map_or(Pushed::Accepted, Pushed::Refused))
    }
}

/// The objects as git sends them.
fn pack(repository: &Repository, news: &News) -> Result<Vec<u8>, git2::Error> {
    let mut builder = repository.packbuilder()?;
    builder.set_threads(1);
    builder.insert_object(news.commit, None)?;
    for object in &news.objects {
        builder.insert_object(*object, None)?;
    }
    let mut pack = git2::Buf::new();
    builder.write_buf(&mut pack)?;
    Ok(pack.to_vec())
}
