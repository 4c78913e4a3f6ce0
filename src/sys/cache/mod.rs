//! The local cache of the shared branch: a bare repository that is never checked out and may be deleted at any time.
//!
//! It is read by constructed path only. Every directory on the way must be a plain one, every name must stand
//! exactly once, and a file must have mode 100644 and a fitting size before it is loaded.

pub(in crate::sys) mod objects;
pub(in crate::sys) mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use git2::{Odb, Oid};

use crate::domain::branch_path;
use crate::domain::foreign_text::display_line;
use crate::domain::id::HostId;
use crate::domain::limits;
use crate::ports::{Blob, Branch, ChangedHosts, LogSlice, RemoteError, Tip};
use objects::{Found, Unread};
use tree::{DIRECTORY, Lookup, Tree};

/// The cache at a path, usually `state/cache.git`. It is opened anew by each call, so that it may be re-made between.
#[derive(Clone, Debug)]
pub struct BranchCache {
    path: PathBuf,
}

impl BranchCache {
    /// The cache at `path`, which need not exist before the first fetch.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }
}

pub(in crate::sys) fn oid(tip: Tip) -> Oid {
    Oid::from_bytes(&tip.0).expect("a tip has the 20 bytes of an object id")
}

fn root(odb: &Odb<'_>, tip: Tip) -> Result<Oid, RemoteError> {
    objects::root_of(odb, oid(tip)).map_err(|unread| match unread {
        Unread::Absent => RemoteError::Cache(format!("commit {} is not in it: fetch first", oid(tip))),
        Unread::Unfit(why) => RemoteError::Cache(format!("commit {} is not usable: {}", oid(tip), display_line(&why))),
    })
}

/// The directories below a directory whose names mesh makes and that stand there once; the rest is counted.
fn directories(tree: &Tree, is_name: impl Fn(&[u8]) -> bool, ignored: &mut u64) -> BTreeMap<Vec<u8>, Oid> {
    let mut found = BTreeMap::new();
    let mut twice = BTreeSet::new();
    for entry in tree.entries() {
        if entry.mode != DIRECTORY || !is_name(&entry.name) {
            *ignored += 1;
        } else if found.insert(entry.name.clone(), entry.id).is_some() {
            twice.insert(entry.name.clone());
        }
    }
    *ignored += twice.len() as u64;
    found.retain(|name, _| !twice.contains(name));
    found
}

fn is_prefix(name: &[u8]) -> bool {
    name.len() == 2 && name.iter().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b))
}

fn host_of(name: &[u8]) -> Option<HostId> {
    std::str::from_utf8(name).ok()?.parse().ok()
}

/// The directory below `hosts/`, by prefix. Nothing readable there counts as no host at all, and as one ignored name.
fn prefixes(odb: &Odb<'_>, root: Oid, ignored: &mut u64) -> BTreeMap<Vec<u8>, Oid> {
    let hosts = match objects::follow(odb, root, branch_path::HOSTS, DIRECTORY) {
        Found::Missing => return BTreeMap::new(),
        Found::Object(id) => objects::tree(odb, id).ok(),
        Found::Refused(_) => None,
    };
    match hosts {
        Some(hosts) => directories(&hosts, is_prefix, ignored),
        None => {
            *ignored += 1;
            BTreeMap::new()
        }
    }
}

fn hosts_below(odb: &Odb<'_>, prefix: &[u8], id: Option<&Oid>, ignored: &mut u64) -> BTreeMap<Vec<u8>, Oid> {
    let Some(&id) = id else { return BTreeMap::new() };
    match objects::tree(odb, id) {
        Ok(tree) => directories(&tree, |name| name.starts_with(prefix) && host_of(name).is_some(), ignored),
        Err(_) => {
            *ignored += 1;
            BTreeMap::new()
        }
    }
}

impl Branch for BranchCache {
    /// An `old` tip that the cache no longer has counts as `None`: everything is new.
    fn changed_hosts(&self, old: Option<Tip>, new: Tip) -> Result<ChangedHosts, RemoteError> {
        let odb = objects::open(&self.path)?;
        let mut result = ChangedHosts::default();
        let new_root = root(&odb, new)?;
        let old_root = old.and_then(|old| objects::root_of(&odb, oid(old)).ok());
        if old_root == Some(new_root) {
            return Ok(result);
        }
        let mut uncounted = 0;
        let before = old_root.map(|root| prefixes(&odb, root, &mut uncounted)).unwrap_or_default();
        let after = prefixes(&odb, new_root, &mut result.ignored);
        let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
        for prefix in names {
            if before.get(prefix) == after.get(prefix) {
                continue;
            }
            let old_hosts = hosts_below(&odb, prefix, before.get(prefix), &mut uncounted);
            let new_hosts = hosts_below(&odb, prefix, after.get(prefix), &mut result.ignored);
            let changed = new_hosts.iter().filter(|(name, id)| old_hosts.get(*name) != Some(id));
            result.changed.extend(changed.filter_map(|(name, _)| host_of(name)));
            let gone = old_hosts.keys().filter(|name| !new_hosts.contains_key(*name));
            result.gone.extend(gone.filter_map(|name| host_of(name)));
        }
        Ok(result)
    }

    fn file(&self, tip: Tip, path: &str, max: usize) -> Result<Blob, RemoteError> {
        let odb = objects::open(&self.path)?;
        Ok(match objects::follow(&odb, root(&odb, tip)?, path, tree::FILE) {
            Found::Missing => Blob::Missing,
            Found::Refused(why) => Blob::Refused(why),
            Found::Object(id) => objects::file(&odb, tree::FILE, id, max),
        })
    }

    fn log(&self, tip: Tip, host: HostId, from: u64, count: u64) -> Result<LogSlice, RemoteError> {
        let odb = objects::open(&self.path)?;
        let mut slice = LogSlice { blobs: Vec::new(), beyond_gap: None };
        let log = match objects::follow(&odb, root(&odb, tip)?, &branch_path::log(host), DIRECTORY) {
            Found::Object(id) => objects::tree(&odb, id).unwrap_or_default(),
            Found::Missing | Found::Refused(_) => Tree::default(),
        };
        let from = from.max(1);
        let mut chunk = (String::new(), Tree::default());
        for seq in from..from.saturating_add(count) {
            let name = branch_path::chunk_name(seq);
            if chunk.0 != name {
                chunk = (name, open_chunk(&odb, &log, &branch_path::chunk_name(seq)));
            }
            match chunk.1.get(branch_path::entry_name(seq).as_bytes()) {
                Lookup::One(entry) => {
                    slice.blobs.push(objects::file(&odb, &entry.mode, entry.id, limits::ENVELOPE_BYTES));
                }
                Lookup::Several => {
                    slice.blobs.push(Blob::Refused("its name stands there more than once".to_owned()));
                }
                Lookup::Missing => {
                    slice.beyond_gap = beyond(&odb, &log, seq);
                    break;
                }
            }
        }
        Ok(slice)
    }
}

fn open_chunk(odb: &Odb<'_>, log: &Tree, name: &str) -> Tree {
    match log.get(name.as_bytes()) {
        Lookup::One(entry) if entry.mode == DIRECTORY => objects::tree(odb, entry.id).unwrap_or_default(),
        Lookup::One(_) | Lookup::Several | Lookup::Missing => Tree::default(),
    }
}

/// The lowest seq after `missing` that has a file, in a bounded number of chunks.
fn beyond(odb: &Odb<'_>, log: &Tree, missing: u64) -> Option<u64> {
    let first = branch_path::chunk_of_name(branch_path::chunk_name(missing).as_bytes())?;
    let mut chunks: Vec<u64> = log.entries().iter().filter_map(|e| branch_path::chunk_of_name(&e.name)).collect();
    chunks.retain(|&chunk| chunk >= first);
    chunks.sort_unstable();
    chunks.dedup();
    chunks.into_iter().take(limits::LOG_CHUNKS_SEARCHED).find_map(|chunk| {
        let tree = open_chunk(odb, log, &format!("{chunk:08}"));
        let seqs = tree.entries().iter().filter_map(|entry| branch_path::seq_of_entry_name(&entry.name));
        seqs.filter(|&seq| seq > missing && branch_path::chunk_name(seq) == format!("{chunk:08}")).min()
    })
}
