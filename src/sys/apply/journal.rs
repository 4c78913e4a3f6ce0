//! The undo journal on disk: a folder per change with its state and the bytes before and after.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::domain::fix::TextHash;
use crate::domain::undo::{Journal, Stage, VERSION, is_id};
use crate::sys::disk::Unsaved;

const STATE: &str = "journal.json";
const BEFORE: &str = "before";
const AFTER: &str = "after";

/// The folder `state/undo`.
#[derive(Clone, Debug)]
pub(super) struct Book {
    dir: PathBuf,
    /// False in a scratch copy, which nothing has to outlive.
    durable: bool,
}

impl Book {
    pub(super) const fn new(dir: PathBuf, durable: bool) -> Self {
        Self { dir, durable }
    }

    /// The folder of one change.
    pub(super) fn folder(&self, id: &str) -> PathBuf {
        self.dir.join(id)
    }

    /// Puts the way back on disk, and reads it back: a copy that cannot be read is none. Returned is what is yet to be
    /// saved: that it has a name.
    pub(super) fn begin(&self, journal: &Journal, before: &[u8], after: &[u8]) -> io::Result<Unsaved> {
        let folder = self.folder(&journal.id);
        self.forget(&journal.id)?;
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let mut unsaved = Unsaved::new(self.durable);
        unsaved.add(written(&folder.join(BEFORE), before)?);
        unsaved.add(written(&folder.join(AFTER), after)?);
        if self.before(journal)? != before || self.after(journal)? != after {
            return Err(io::Error::other("the captured copy does not read back as it was written"));
        }
        // With its state the entry is begun, so the copies are on disk before it has one.
        self.write(journal, unsaved)?;
        let mut unsaved = Unsaved::new(self.durable);
        unsaved.add_at(&folder)?;
        unsaved.add_at(&self.dir)?;
        Ok(unsaved)
    }

    /// Writes the state, once what is `unsaved` is on disk. Its folder is yet to be saved.
    fn write(&self, journal: &Journal, mut unsaved: Unsaved) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(journal).map_err(io::Error::other)?;
        let path = self.folder(&journal.id).join(STATE);
        let beside = path.with_extension("tmp");
        unsaved.add(written(&beside, &text)?);
        unsaved.save()?;
        fs::rename(&beside, &path)
    }

    /// Notes how far the change is.
    pub(super) fn note(&self, journal: &mut Journal, stage: Stage) -> io::Result<()> {
        self.note_after(journal, stage, Unsaved::new(self.durable))
    }

    /// Notes how far the change is, once what is `unsaved` is on disk.
    pub(super) fn note_after(&self, journal: &mut Journal, stage: Stage, unsaved: Unsaved) -> io::Result<()> {
        journal.stage = stage;
        self.write(journal, unsaved)?;
        let mut folder = Unsaved::new(self.durable);
        folder.add_at(&self.folder(&journal.id))?;
        folder.save()
    }

    /// The entry of `id`. None: there is none, or it was never finished, so that nothing was begun.
    pub(super) fn read(&self, id: &str) -> io::Result<Option<Journal>> {
        if !is_id(id) {
            return Err(io::Error::other("not the name of a change"));
        }
        let path = self.folder(id).join(STATE);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let journal: Journal = serde_json::from_slice(&text).map_err(io::Error::other)?;
        if journal.version != VERSION || journal.id != id {
            return Err(io::Error::other("written by another version of mesh"));
        }
        Ok(Some(journal))
    }

    /// The captured bytes.
    pub(super) fn before(&self, journal: &Journal) -> io::Result<Vec<u8>> {
        self.bytes(journal, BEFORE, journal.before)
    }

    /// The bytes that the change ends in.
    pub(super) fn after(&self, journal: &Journal) -> io::Result<Vec<u8>> {
        self.bytes(journal, AFTER, journal.after)
    }

    fn bytes(&self, journal: &Journal, name: &str, hash: TextHash) -> io::Result<Vec<u8>> {
        let bytes = fs::read(self.folder(&journal.id).join(name))?;
        if TextHash::of(&bytes) == hash { Ok(bytes) } else { Err(io::Error::other("the captured copy is damaged")) }
    }

    /// Every entry that is not closed, by name. An entry without a state was never begun and is removed.
    pub(super) fn open_entries(&self) -> io::Result<Vec<String>> {
        let mut open = Vec::new();
        for id in self.ids()? {
            match self.read(&id)? {
                Some(journal) if matches!(journal.stage, Stage::Closed(_)) => {}
                Some(_) => open.push(id),
                None => self.forget(&id)?,
            }
        }
        Ok(open)
    }

    /// Every entry that is closed, by name.
    pub(super) fn closed_entries(&self) -> io::Result<Vec<String>> {
        let mut closed = Vec::new();
        for id in self.ids()? {
            if self.read(&id)?.is_some_and(|journal| matches!(journal.stage, Stage::Closed(_))) {
                closed.push(id);
            }
        }
        Ok(closed)
    }

    fn ids(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut ids = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            ids.extend(name.to_str().filter(|id| is_id(id)).map(str::to_owned));
        }
        ids.sort();
        Ok(ids)
    }

    /// Removes an entry.
    pub(super) fn forget(&self, id: &str) -> io::Result<()> {
        let folder = self.folder(id);
        // Without its state an entry counts as never begun, so this goes first.
        match fs::remove_file(folder.join(STATE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn written(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    Ok(file)
}

/// Puts `bytes` at `path`, whole or not at all, also through a power cut.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let dir = path.parent().ok_or_else(|| io::Error::other("no folder"))?;
    written(&temporary, bytes)?.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(dir)?.sync_all()
}
