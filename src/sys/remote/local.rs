//! A repository on this machine: what the cache lacks is copied, and the branch is moved by compare-and-swap.
//!
//! libgit2's own transport for paths copies the whole history, and its push loses pushes of others while it reports
//! success.

use std::fs::File;
use std::path::Path;

use git2::{ErrorCode, Oid, Repository};
use rustix::fs::{FlockOperation, flock};

use super::copy::Copy;
use super::hosts::Listing;
use super::push::{News, Pushed};
use super::request::{Limits, shown};
use crate::domain::branch_path;
use crate::ports::RemoteError;

/// What of the repository at `path` is read.
pub(super) fn list(path: &Path, branch: &str) -> Result<Listing, RemoteError> {
    let repository = open(path)?;
    let unread = |error: git2::Error| RemoteError::Protocol(shown(error.message()));
    let refs = repository.references_glob(&format!("{}*", branch_path::host_refs(branch))).map_err(unread)?;
    let named = refs.flatten().filter_map(|found| Some((found.name().ok()?.to_owned(), found.target()?)));
    let named: Vec<_> = named.collect();
    let mut listing = Listing::of_names(named.iter().map(|(name, oid)| (name.as_str(), *oid)), branch);
    listing.branch = branch_tip(&repository, &format!("refs/heads/{branch}")).map_err(unread)?;
    Ok(listing)
}

fn open(path: &Path) -> Result<Repository, RemoteError> {
    let unreachable = |why: &str| RemoteError::Unreachable(shown(&format!("{}: {why}", path.display())));
    Repository::open(path).map_err(|error| unreachable(error.message()))
}

fn branch_tip(repository: &Repository, branch_ref: &str) -> Result<Option<Oid>, git2::Error> {
    match repository.refname_to_id(branch_ref) {
        Ok(tip) => Ok(Some(tip)),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Copies commit `tip` and whatever of its directories and files `cache` lacks, without any history.
pub(super) fn copy(path: &Path, cache: &Repository, tip: Oid, limits: &Limits) -> Result<(), RemoteError> {
    let remote = open(path)?;
    let read_failed = |error: git2::Error| RemoteError::Cache(shown(error.message()));
    let (from, to) = (remote.odb().map_err(read_failed)?, cache.odb().map_err(read_failed)?);
    Copy { from: &from, to: &to, objects: limits.objects, bytes: limits.bytes }.tip(tip)
}

/// Lets `name` lead to what `commit` makes of where it leads now: it is one host's own.
pub(super) fn replace(
    path: &Path,
    name: &str,
    commit: impl FnOnce(&Repository, Option<Oid>) -> Result<News, git2::Error>,
) -> Result<Pushed, RemoteError> {
    let remote = open(path)?;
    let before = remote.refname_to_id(name).ok();
    let moved =
        commit(&remote, before).and_then(|new| remote.reference(name, new.commit, true, "mesh: publish").map(drop));
    Ok(match moved {
        Ok(()) => Pushed::Accepted,
        Err(error) if error.code() == ErrorCode::Locked => Pushed::Raced,
        Err(error) => Pushed::Refused(shown(error.message())),
    })
}

/// Moves the branch to what `commit` makes of its tip. Other publishers of this machine wait their turn, so that none
/// loses every race; against git itself the comparison holds, under the lock that git takes as well.
pub(super) fn push(
    path: &Path,
    branch_ref: &str,
    commit: impl FnOnce(&Repository, Option<Oid>) -> Result<News, git2::Error>,
) -> Result<Pushed, RemoteError> {
    let unreachable = |why: String| RemoteError::Unreachable(shown(&format!("{}: {why}", path.display())));
    let directory = File::open(path).map_err(|error| unreachable(error.to_string()))?;
    flock(&directory, FlockOperation::LockExclusive).map_err(|error| unreachable(error.to_string()))?;
    let remote = open(path)?;
    let moved = branch_tip(&remote, branch_ref).and_then(|tip| {
        let commit = commit(&remote, tip)?.commit;
        let expected = tip.unwrap_or(Oid::ZERO_SHA1);
        remote.reference_matching(branch_ref, commit, true, expected, "mesh: publish").map(drop)
    });
    Ok(match moved {
        Ok(()) => Pushed::Accepted,
        Err(error) if matches!(error.code(), ErrorCode::Modified | ErrorCode::Locked) => Pushed::Raced,
        Err(error) => Pushed::Refused(shown(error.message())),
    })
}
