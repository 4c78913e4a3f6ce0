//! What the remote has, listed and received in git's own protocol.
//!
//! libgit2 tells a server of at most twenty commits that are here before it asks what of them is there, in a request of its own,
//! and of 256 in all. What is here of hosts with refs of their own is more than that, and what is not told of is sent again.

use std::io::{Read as _, Write as _};

use git2::transport::{Service, SmartSubtransportStream};
use git2::{Oid, Repository};

use super::packets::{END, Listed, before_pack, listed, wrapped};
use super::push::Way;
use super::traffic::Failures;
use crate::ports::RemoteError;

/// The first bytes of a pack: a word, its version, and how many objects it has.
const PACK_HEAD: usize = 12;
/// Bytes that are read at a time.
const PART: usize = 64 * 1024;

/// A server that has listed what it has.
pub(super) struct Conversation<'a> {
    way: &'a Way,
    failures: &'a Failures,
    stream: Box<dyn SmartSubtransportStream>,
    pub(super) listed: Listed,
}

impl Way {
    /// Has the server list its refs, of which it may have at most `refs`.
    pub(super) fn converse<'a>(&'a self, refs: u64, failures: &'a Failures) -> Result<Conversation<'a>, RemoteError> {
        failures.forget();
        let opened = self.transport.action("", Service::UploadPackLs);
        let mut stream = opened.map_err(|error| failures.explain(&error))?;
        let listed = listed(&mut stream, refs).map_err(|error| failures.explain_unheard(error))?;
        Ok(Conversation { way: self, failures, stream, listed })
    }
}

impl Conversation<'_> {
    /// Ends it with nothing received.
    pub(super) fn end(mut self) {
        self.way.part(&mut self.stream);
    }

    /// Receives the commits `wanted` without what comes before them, as one pack of at most `most` objects. Of the commits `held`
    /// all is in `cache`, but not what comes before them either.
    pub(super) fn receive(
        mut self,
        cache: &Repository,
        wanted: &[Oid],
        held: &[Oid],
        most: u64,
    ) -> Result<(), RemoteError> {
        let failures = self.failures;
        let explain = |error: git2::Error| failures.explain(&error);
        let broken = |error: std::io::Error| failures.explain_stream(&error);
        if self.way.stateless {
            self.stream = self.way.transport.action("", Service::UploadPack).map_err(explain)?;
        }
        let is_cut_off = self.listed.has("shallow");
        self.stream.write_all(&self.wish(wanted, held, is_cut_off)).map_err(broken)?;
        self.stream.flush().map_err(broken)?;
        before_pack(&mut self.stream, is_cut_off).map_err(|error| failures.explain_unheard(error))?;

        let mut head = [0; PACK_HEAD];
        self.stream.read_exact(&mut head).map_err(broken)?;
        let objects = u64::from(u32::from_be_bytes([head[8], head[9], head[10], head[11]]));
        if objects > most {
            let text = format!("it sends {objects} objects, and at most {most} are taken");
            return Err(RemoteError::Limit(text));
        }
        if objects == 0 {
            return Ok(());
        }
        let odb = cache.odb().map_err(explain)?;
        let mut pack = odb.packwriter().map_err(explain)?;
        let mut write =
            |bytes: &[u8]| pack.write_all(bytes).map_err(|_| failures.explain(&git2::Error::last_error(-1)));
        write(&head)?;
        let mut part = vec![0; PART];
        loop {
            match self.stream.read(&mut part).map_err(broken)? {
                0 => break,
                read => write(&part[..read])?,
            }
        }
        pack.commit().map(drop).map_err(explain)
    }

    /// What is wanted, where what is here ends, and what is here.
    fn wish(&self, wanted: &[Oid], held: &[Oid], is_cut_off: bool) -> Vec<u8> {
        let mut wish = Vec::new();
        // Where the history is cut off, a server leaves out what is here only of a pack that may refer to it.
        let abilities: String = ["ofs-delta", "thin-pack"]
            .into_iter()
            .filter(|ability| self.listed.has(ability))
            .map(|ability| format!(" {ability}"))
            .collect();
        for (at, oid) in wanted.iter().enumerate() {
            wish.extend(wrapped(&format!("want {oid}{}\n", if at == 0 { &abilities } else { "" })));
        }
        if is_cut_off {
            held.iter().for_each(|oid| wish.extend(wrapped(&format!("shallow {oid}\n"))));
            wish.extend(wrapped("deepen 1\n"));
        }
        wish.extend(END);
        held.iter().for_each(|oid| wish.extend(wrapped(&format!("have {oid}\n"))));
        wish.extend(wrapped("done\n"));
        wish
    }
}
