//! The packs that fetches leave in the cache.
//!
//! A small file may be stored as a change to a huge one, and whoever reads it then unpacks the huge one. The worker
//! is limited and the agent is not, so a pack with anything larger than what is ever read is not left to the agent:
//! the worker takes the tip out of it, file by file, and throws the rest away.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;

use git2::{Odb, Oid, Repository};

use super::copy::Copy;
use super::hosts::Listing;
use super::request::shown;
use crate::domain::limits::TREE_BYTES;
use crate::ports::RemoteError;
use crate::sys::cache::objects;

/// Removes what a killed worker left behind, and returns the names of the packs.
pub(super) fn tidy(cache: &Path) -> BTreeSet<OsString> {
    let Ok(entries) = fs::read_dir(cache.join("objects/pack")) else { return BTreeSet::new() };
    let mut packs = BTreeSet::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        match path.extension().and_then(|ext| ext.to_str()) {
            Some("pack") => packs.extend(path.file_stem().map(OsString::from)),
            Some("idx" | "keep" | "rev") => {}
            _ => {
                let _tried_again_next_time = fs::remove_file(&path);
            }
        }
    }
    packs
}

/// About how many objects stand in files of their own. Their names begin with what a hash begins with, so that one folder of 256
/// tells of all, as git itself counts before it tidies.
pub(super) fn loose(cache: &Path) -> usize {
    fs::read_dir(cache.join("objects/17")).map_or(0, |entries| entries.count() * 256)
}

/// A file in the cache while packs in it may be larger than the agent can bear.
const UNVETTED: &str = "unvetted";

/// Says that packs come in which nobody has looked at.
pub(super) fn expect_new(cache: &Path) -> Result<(), RemoteError> {
    fs::write(cache.join(UNVETTED), "").map_err(|error| failed(cache, &error.to_string()))
}

/// Says that all packs were looked at.
pub(super) fn all_vetted(cache: &Path) -> Result<(), RemoteError> {
    fs::remove_file(cache.join(UNVETTED)).map_err(|error| failed(cache, &error.to_string()))
}

/// Whether a worker was stopped before it had looked at what came in.
pub(super) fn are_unvetted(cache: &Path) -> bool {
    cache.join(UNVETTED).exists()
}

/// Whether packs that are not among `known` hold an object larger than anything that is read.
pub(super) fn hold_oversized(cache: &Path, known: &BTreeSet<OsString>) -> Result<bool, RemoteError> {
    let new: Vec<_> = tidy(cache).into_iter().filter(|name| !known.contains(name)).collect();
    if new.is_empty() {
        return Ok(false);
    }
    let apart = cache.with_extension("apart");
    let result = link_apart(cache, &apart, &new).map_err(|error| failed(cache, &error.to_string()));
    let oversized = result.and_then(|()| any_oversized(&objects::open(&apart)?));
    let _removed_before_the_next_use = fs::remove_dir_all(&apart);
    oversized
}

pub(super) fn failed(cache: &Path, why: &str) -> RemoteError {
    RemoteError::Cache(shown(&format!("{}: {why}", cache.display())))
}

/// Makes a second object store of the new packs alone.
fn link_apart(cache: &Path, apart: &Path, packs: &[OsString]) -> io::Result<()> {
    remove_if_there(apart)?;
    let folder = apart.join("objects/pack");
    fs::create_dir_all(&folder)?;
    for name in packs {
        for extension in ["pack", "idx"] {
            let file = Path::new(name).with_extension(extension);
            fs::hard_link(cache.join("objects/pack").join(&file), folder.join(&file))?;
        }
    }
    Ok(())
}

fn any_oversized(odb: &Odb<'_>) -> Result<bool, RemoteError> {
    let mut oversized = false;
    let walked = odb.foreach(|id| {
        oversized |= odb.read_header(*id).is_ok_and(|(size, _)| size > TREE_BYTES);
        !oversized
    });
    match walked {
        Err(error) if !oversized => Err(RemoteError::Cache(shown(error.message()))),
        _ => Ok(oversized),
    }
}

/// Replaces the cache by one with the readable part of `tips` alone, of which the shared branch's goes under `mirror`.
pub(super) fn replace_by_tips(cache: &Path, mirror: &str, tips: &Listing) -> Result<(), RemoteError> {
    let fresh_path = cache.with_extension("new");
    remove_if_there(&fresh_path).map_err(|error| failed(cache, &error.to_string()))?;
    let fresh = init(&fresh_path)?;
    let git_failed = |error: git2::Error| failed(cache, error.message());
    let (from, to) = (objects::open(cache)?, fresh.odb().map_err(git_failed)?);
    let mut copy = Copy { from: &from, to: &to, objects: u64::MAX, bytes: u64::MAX };
    tips.tips().try_for_each(|tip| copy.tip(tip))?;
    if let Some(tip) = tips.branch {
        fresh.reference(mirror, tip, true, "mesh").map_err(git_failed)?;
    }
    cut_off(&fresh_path, tips.tips())
        .and_then(|()| remove_if_there(cache))
        .and_then(|()| fs::rename(&fresh_path, cache))
        .map_err(|error| failed(cache, &error.to_string()))
}

/// Tells git that nothing of what comes before these commits is here. It notes each commit that it fetches without its history, and
/// tells the server of all of them for ever.
pub(super) fn cut_off(cache: &Path, tips: impl Iterator<Item = Oid>) -> io::Result<()> {
    let lines: BTreeSet<String> = tips.map(|tip| format!("{tip}\n")).collect();
    fs::write(cache.join("shallow.new"), lines.into_iter().collect::<String>())?;
    fs::rename(cache.join("shallow.new"), cache.join("shallow"))
}

/// An empty cache in place of whatever is at `path`.
pub(super) fn make_anew(path: &Path) -> Result<Repository, RemoteError> {
    remove_if_there(path).map_err(|error| failed(path, &error.to_string()))?;
    init(path)
}

fn init(path: &Path) -> Result<Repository, RemoteError> {
    let mut options = git2::RepositoryInitOptions::new();
    options.bare(true).external_template(false).mkpath(true);
    Repository::init_opts(path, &options).map_err(|error| failed(path, error.message()))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
