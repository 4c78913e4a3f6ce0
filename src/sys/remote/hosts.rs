//! Refs of single hosts beside the shared branch: listed, and joined with it to the one tree that everybody reads.
//!
//! The joined tree stands in the cache alone, under a commit that is the same wherever the same refs are joined. What a
//! ref holds beyond the directory of its host is nobody's and is not looked at.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use git2::{ObjectType, Oid, Repository, Signature, Time};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::publish::Additions;
use super::push::News;
use super::request::shown;
use crate::domain::branch_path::{self, ATTRIBUTES_FILE, FORMAT_FILE};
use crate::domain::id::HostId;
use crate::ports::RemoteError;
use crate::sys::cache::objects::{self, Found};
use crate::sys::cache::tree::DIRECTORY;

/// The file of the cache that says what was joined last.
const JOINED: &str = "joined";

/// What the remote has that is read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Listing {
    /// The tip of the shared branch.
    pub(super) branch: Option<Oid>,
    /// The commit of each host that has a ref of its own.
    pub(super) hosts: BTreeMap<HostId, Oid>,
}

impl Listing {
    /// Takes from all refs those that are read.
    pub(super) fn of_names<'a>(refs: impl Iterator<Item = (&'a str, Oid)>, branch: &str) -> Self {
        let (shared, single) = (format!("refs/heads/{branch}"), branch_path::host_refs(branch));
        let mut listing = Self::default();
        for (name, oid) in refs {
            if name == shared {
                listing.branch = Some(oid);
            } else if let Some(host) = name.strip_prefix(&single).and_then(|id| id.parse().ok()) {
                listing.hosts.insert(host, oid);
            }
        }
        listing
    }

    /// The commits that are listed.
    pub(super) fn tips(&self) -> impl Iterator<Item = Oid> {
        self.branch.into_iter().chain(self.hosts.values().copied())
    }

    /// A name for what is listed where it was not joined yet: the tip of nothing that a cache holds.
    pub(super) fn name(&self) -> Oid {
        let mut digest = Sha256::new();
        digest.update(self.branch.map(|oid| oid.to_string()).unwrap_or_default());
        for (host, oid) in &self.hosts {
            digest.update(format!(" {host} {oid}"));
        }
        Oid::from_bytes(&digest.finalize()[..20]).expect("20 bytes")
    }
}

/// What was joined last, as it is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    branch: Option<String>,
    hosts: BTreeMap<HostId, String>,
    tip: String,
}

/// What was joined last in this cache, and its tip. Nothing that can be read is as good as nothing.
pub(super) fn joined(cache: &Path) -> Option<(Listing, Oid)> {
    let stored: Stored = serde_json::from_slice(&fs::read(cache.join(JOINED)).ok()?).ok()?;
    let branch = stored.branch.map(|hex| Oid::from_str(&hex)).transpose().ok()?;
    let hosts = stored.hosts.into_iter().map(|(host, hex)| Oid::from_str(&hex).map(|oid| (host, oid)));
    Some((Listing { branch, hosts: hosts.collect::<Result<_, _>>().ok()? }, Oid::from_str(&stored.tip).ok()?))
}

/// Joins what is listed, all of which is in the cache, and remembers it.
pub(super) fn join(cache: &Repository, listing: &Listing) -> Result<Option<Oid>, RemoteError> {
    if listing.hosts.is_empty() {
        return Ok(listing.branch);
    }
    let failed = |why: String| RemoteError::Cache(shown(&format!("{}: {why}", cache.path().display())));
    let tip = join_trees(cache, listing).map_err(|error| failed(error.message().to_owned()))?;
    let hosts = listing.hosts.iter().map(|(host, oid)| (*host, oid.to_string())).collect();
    let stored = Stored { branch: listing.branch.map(|oid| oid.to_string()), hosts, tip: tip.to_string() };
    let text = serde_json::to_vec(&stored).map_err(|error| failed(error.to_string()))?;
    fs::write(cache.path().join(JOINED), text).map_err(|error| failed(error.to_string()))?;
    Ok(Some(tip))
}

fn join_trees(cache: &Repository, listing: &Listing) -> Result<Oid, git2::Error> {
    let odb = cache.odb()?;
    let mut additions = Additions::default();
    if listing.branch.is_none() {
        for (path, text) in [FORMAT_FILE, ATTRIBUTES_FILE] {
            additions.add(path, odb.write(ObjectType::Blob, text.as_bytes())?);
        }
    }
    for (host, &commit) in &listing.hosts {
        // A ref without a directory of its host hides nothing of what the branch shows of it.
        let path = branch_path::host(*host);
        if let Ok(root) = objects::root_of(&odb, commit)
            && let Found::Object(directory) = objects::follow(&odb, root, &path, DIRECTORY)
        {
            additions.add_directory(&path, directory);
        }
    }
    let base = listing.branch.and_then(|tip| objects::root_of(&odb, tip).ok());
    let tree = cache.find_tree(additions.write(&odb, base, &mut Vec::new())?)?;
    let nobody = Signature::new("mesh", "mesh@localhost", &Time::new(0, 0))?;
    cache.commit(None, &nobody, &nobody, "joined", &tree, &[])
}

/// A commit that holds one host's `directory`, as it was, with `files` added, and nothing else. It comes after the one that
/// the ref leads to `before`: over HTTP, who was shown that one is given it as long as the ref leads to it in some way.
pub(super) fn alone(
    repository: &Repository,
    host: HostId,
    before: Option<Oid>,
    directory: Option<Oid>,
    files: &BTreeMap<String, Vec<u8>>,
    message: &str,
) -> Result<News, git2::Error> {
    let odb = repository.odb()?;
    let mut additions = Additions::default();
    if let Some(directory) = directory {
        additions.add_directory(&branch_path::host(host), directory);
    }
    for (path, text) in [FORMAT_FILE, ATTRIBUTES_FILE] {
        additions.add(path, odb.write(ObjectType::Blob, text.as_bytes())?);
    }
    for (path, bytes) in files {
        additions.add(path, odb.write(ObjectType::Blob, bytes)?);
    }
    let mut objects = Vec::new();
    let tree = repository.find_tree(additions.write(&odb, None, &mut objects)?)?;
    let author = Signature::now("mesh", "mesh@localhost")?;
    // What somebody else put there need not be a commit, and need not be here.
    let before = before.and_then(|before| repository.find_commit(before).ok());
    let commit = repository.commit(None, &author, &author, message, &tree, &before.iter().collect::<Vec<_>>())?;
    Ok(News { commit, objects })
}
