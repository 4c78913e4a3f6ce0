//! The change made and taken back in a scratch copy that holds the one file and nothing else, by the code that works
//! on the real one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use git2::{IndexEntry, IndexTime, Repository};
use jiff::Timestamp;

use super::Changes;
use super::branch::{Ground, own_state, untouched};
use super::spot::Spot;
use crate::domain::undo::{Attributes, Change, Target};
use crate::ports::ApplyError;
use crate::sys::repo::scratch::{borrow, remove_all};

/// Hashes of all that a change can touch in the scratch copy: names, bytes, mode, owner, extended attributes, and for
/// git the branch's name, its tree and the index entry; for a file outside git its date, too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shown {
    /// Before.
    pub before: [u8; 32],
    /// With the change made.
    pub applied: [u8; 32],
    /// With the change taken back.
    pub restored: [u8; 32],
}

impl Changes {
    /// Makes the change and takes it back in a scratch copy. Nothing that people use is touched; what it costs does not
    /// depend on how large the repository is.
    ///
    /// # Errors
    /// It cannot be made here, or the scratch copy could not be.
    pub fn prove(&self, change: &Change) -> Result<Shown, ApplyError> {
        let ready = self.ready(change)?;
        let holder = self.state.join("worktrees").join(format!("prove-{}", change.id));
        remove_all(&holder).map_err(own_state)?;
        let shown = self.show(change, &ready.journal.attributes, ready.ground.as_ref(), &holder);
        // The proof is the message; what is left of a scratch copy is removed by the next one.
        drop(remove_all(&holder));
        shown
    }

    fn show(
        &self,
        change: &Change,
        attributes: &Option<Attributes>,
        ground: Option<&Ground>,
        holder: &Path,
    ) -> Result<Shown, ApplyError> {
        let files = holder.join("files");
        fs::create_dir_all(&files).map_err(own_state)?;
        let path = match ground {
            Some(ground) => ground.inside.to_str().ok_or_else(|| untouched("its path is not UTF-8"))?.to_owned(),
            None => change.path.clone(),
        };
        let mut copy = Change { root: files.clone(), path: path.clone(), ..change.clone() };
        if let Some(folder) = Path::new(&path).parent() {
            fs::create_dir_all(files.join(folder)).map_err(own_state)?;
        }
        let mut like = attributes.clone();
        if like.is_none() {
            // On a branch that is not checked out, any plain file shows the way back.
            fs::write(files.join(&path), &change.before).map_err(own_state)?;
            let spot = Spot::open(&files, &path, false).map_err(untouched)?;
            like = spot.read().map_err(untouched)?.map(|seen| seen.attributes);
        }
        let mut like = like.ok_or_else(|| untouched("the scratch copy is gone"))?;
        if let (None, Some(ground), Target::Branch { base, .. }) = (attributes, ground, &change.target) {
            let (_, mode, _) = ground.held(super::branch::oid(base)?)?;
            like.mode = if mode == 0o100_755 { 0o755 } else { 0o644 };
        }
        Spot::open(&files, &path, false).and_then(|spot| spot.place(&change.before, &like)).map_err(untouched)?;
        if let (Some(ground), Target::Branch { base, branch, .. }) = (ground, &mut copy.target) {
            seat(ground, base, &files, &path)?;
            *branch = None;
        }
        let nested = Self::with(&holder.join("state"), self.host, |_| {}, false);
        let state = || state_of(&files, &path, ground.is_some()).map_err(untouched);
        let before = state()?;
        nested.apply(&copy, Timestamp::UNIX_EPOCH)?;
        let applied = state()?;
        nested.rollback(&copy.id, Timestamp::UNIX_EPOCH)?;
        Ok(Shown { before, applied, restored: state()? })
    }
}

/// Makes the scratch files a repository that borrows the user's objects, on the same branch at the same commit, with
/// one entry in its index.
fn seat(ground: &Ground, base: &str, files: &Path, path: &str) -> Result<(), ApplyError> {
    let git = |error: git2::Error| untouched(error.message());
    let copy = borrow(&ground.repo, files).map_err(untouched)?;
    let base = super::branch::oid(base)?;
    copy.reference(&ground.reference, base, true, "mesh: scratch").map_err(git)?;
    copy.set_head(&ground.reference).map_err(git)?;
    let (blob, mode, _) = ground.held(base)?;
    let mut index = copy.index().map_err(git)?;
    let mode = u32::try_from(mode).map_err(untouched)?;
    let (none, path) = (IndexTime::new(0, 0), path.as_bytes().to_vec());
    index
        .add(&IndexEntry {
            ctime: none,
            mtime: none,
            dev: 0,
            ino: 0,
            mode,
            uid: 0,
            gid: 0,
            file_size: 0,
            id: blob,
            flags: 0,
            flags_extended: 0,
            path,
        })
        .map_err(git)?;
    index.write().map_err(git)
}

fn state_of(files: &Path, path: &str, in_git: bool) -> io::Result<[u8; 32]> {
    let mut hash = blake3::Hasher::new();
    let mut note = |what: &str, value: &[u8]| {
        hash.update(&(what.len() as u64).to_le_bytes()).update(what.as_bytes());
        hash.update(&(value.len() as u64).to_le_bytes()).update(value);
    };
    let mut folders = vec![PathBuf::new()];
    let mut names = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(files.join(&folder))? {
            let entry = entry?;
            let name = folder.join(entry.file_name());
            if entry.file_type()?.is_dir() && name != Path::new(".git") {
                folders.push(name.clone());
            }
            names.push(name);
        }
    }
    names.sort();
    for name in &names {
        note("name", name.as_os_str().as_encoded_bytes());
    }
    let seen = Spot::open(files, path, false)?.read()?.ok_or_else(|| io::Error::other("the file is gone"))?;
    let mut attributes = seen.attributes;
    if in_git {
        attributes.modified = (0, 0);
    }
    note("bytes", &seen.bytes);
    note("attributes", &serde_json::to_vec(&attributes).map_err(io::Error::other)?);
    if in_git {
        let git = |error: git2::Error| io::Error::other(error.message().to_owned());
        let repo = Repository::open(files).map_err(git)?;
        let head = repo.head().map_err(git)?;
        note("branch", head.name_bytes());
        note("tree", head.peel_to_tree().map_err(git)?.id().as_bytes());
        let index = repo.index().map_err(git)?;
        for entry in index.iter() {
            note("entry", &entry.path);
            note("blob", entry.id.as_bytes());
            note("mode", &entry.mode.to_le_bytes());
        }
        for reference in repo.references().map_err(git)? {
            note("ref", reference.map_err(git)?.name_bytes());
        }
    }
    Ok(*hash.finalize().as_bytes())
}
