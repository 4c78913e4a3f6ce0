//! The undo journal on disk: a folder per change with its state and the bytes before and after.
//!
//! The state is a log: each note is a line of JSON, and the last one counts. Behind the lines are NULs, room for more: a
//! note that takes their place costs the disk the least there is, since it changes nothing but bytes. What a power cut
//! left of a line lacks its end or has NULs in it, and was never noted.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::domain::fix::TextHash;
use crate::domain::undo::{Journal, Stage, VERSION, is_id};
use crate::sys::disk::Unsaved;

const STATE: &str = "journal.json";
const BEFORE: &str = "before";
const AFTER: &str = "after";
/// Bytes of the state with the room behind it, and for how many lines there is room at least.
const ROOM: usize = 8 * 1024;
const NOTES: usize = 8;

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

    /// Writes the way back, and reads it back: a copy that cannot be read is none. Returned is what is to be saved
    /// before anything is changed or laid down elsewhere.
    pub(super) fn begin(&self, journal: &Journal, before: &[u8], after: &[u8]) -> io::Result<Unsaved> {
        let folder = self.folder(&journal.id);
        self.forget(&journal.id)?;
        let first = !self.dir.exists();
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let mut unsaved = Unsaved::new(self.durable);
        unsaved.add(written(&folder.join(BEFORE), before)?);
        unsaved.add(written(&folder.join(AFTER), after)?);
        if self.before(journal)? != before || self.after(journal)? != after {
            return Err(io::Error::other("the captured copy does not read back as it was written"));
        }
        unsaved.add(written(&folder.join(STATE), &with_room(line(journal)?))?);
        unsaved.add_at(&folder)?;
        unsaved.add_at(&self.dir)?;
        if let Some(above) = self.dir.parent().filter(|_| first) {
            unsaved.add_at(above)?;
        }
        Ok(unsaved)
    }

    /// Notes how far the change is.
    pub(super) fn note(&self, journal: &mut Journal, stage: Stage) -> io::Result<()> {
        self.note_beside(journal, stage, Unsaved::new(self.durable))
    }

    /// Notes how far the change is, once what is `unsaved` is on disk.
    pub(super) fn note_after(&self, journal: &mut Journal, stage: Stage, unsaved: Unsaved) -> io::Result<()> {
        unsaved.save()?;
        self.note(journal, stage)
    }

    /// Notes how far the change is, and returns once the disk has that and what is `unsaved`, whichever comes first.
    pub(super) fn note_beside(&self, journal: &mut Journal, stage: Stage, mut unsaved: Unsaved) -> io::Result<()> {
        self.write(journal, stage, &mut unsaved)?;
        unsaved.save()
    }

    /// Notes how far the change is; the note is yet to be saved.
    pub(super) fn write(&self, journal: &mut Journal, stage: Stage, unsaved: &mut Unsaved) -> io::Result<()> {
        journal.stage = stage;
        let line = line(journal)?;
        let path = self.folder(&journal.id).join(STATE);
        let text = fs::read(&path)?;
        let (_, end) = last_line(&text)?;
        let room = text.get(end..).unwrap_or_default();
        if is_document(&text) || room.len() < line.len() || room.iter().any(|byte| *byte != 0) {
            // Full, or the end of it is half a line, or it was written by an earlier mesh.
            return write_whole(&path, &with_room(line));
        }
        let state = OpenOptions::new().write(true).open(path)?;
        let end = u64::try_from(end).map_err(io::Error::other)?;
        state.write_all_at(&line, end)?;
        unsaved.add_bytes(state);
        Ok(())
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
        let noted = if is_document(&text) { Some(text.as_slice()) } else { last_line(&text)?.0 };
        let Some(noted) = noted else { return Ok(None) };
        let journal: Journal = serde_json::from_slice(noted).map_err(io::Error::other)?;
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

/// A note as it is in the state.
fn line(journal: &Journal) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(journal).map_err(io::Error::other)?;
    line.push(b'\n');
    Ok(line)
}

/// A state that begins with `line`.
fn with_room(mut line: Vec<u8>) -> Vec<u8> {
    let room = (line.len() * NOTES).next_multiple_of(ROOM);
    line.resize(room, 0);
    line
}

/// The last line that was written whole, and where it ends. Behind it may be what a power cut left of another one, and
/// nothing else.
fn last_line(text: &[u8]) -> io::Result<(Option<&[u8]>, usize)> {
    let mut end = 0;
    let mut last = None;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        if line.last() != Some(&b'\n') || line.contains(&0) {
            let behind = &text[end + line.len()..];
            let cut_off = behind.iter().all(|byte| *byte == 0);
            return if cut_off { Ok((last, end)) } else { Err(io::Error::other("it is damaged")) };
        }
        last = Some(line);
        end += line.len();
    }
    Ok((last, end))
}

/// Whether the state is one document of several lines, replaced whole for each note, as it was before it was a log.
fn is_document(text: &[u8]) -> bool {
    text.starts_with(b"{\n")
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

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::domain::undo::{End, Way};

    const ID: &str = "1a2b3c4d.1";

    fn begun() -> (TempDir, Book, Journal) {
        let dir = tempfile::tempdir().expect("a temp dir");
        let book = Book::new(dir.path().join("undo"), true);
        let journal = Journal {
            version: VERSION,
            id: ID.to_owned(),
            stage: Stage::Prepared,
            root: "/etc/app".into(),
            path: "app.conf".to_owned(),
            before: TextHash::of(b"BAD\n"),
            after: TextHash::of(b"GOOD\n"),
            attributes: None,
            way: Way::Copy,
        };
        book.begin(&journal, b"BAD\n", b"GOOD\n").expect("begun").save().expect("saved");
        (dir, book, journal)
    }

    fn state(book: &Book) -> PathBuf {
        book.folder(ID).join(STATE)
    }

    fn stage(book: &Book) -> Option<Stage> {
        book.read(ID).expect("readable").map(|journal| journal.stage)
    }

    #[test]
    fn each_note_takes_the_place_of_nuls_until_there_is_no_room() {
        let (_dir, book, mut journal) = begun();
        let mut size = None;
        for turn in 0..40 {
            let wanted = if turn % 2 == 0 { Stage::Changing } else { Stage::Changed };
            book.note(&mut journal, wanted).expect("noted");
            assert_eq!(stage(&book), Some(wanted), "{turn}");
            let now = fs::metadata(state(&book)).expect("there").len();
            assert_eq!(*size.get_or_insert(now), now, "{turn}");
        }
        // One that is longer than all the room.
        journal.path = "long/".repeat(4000);
        book.note(&mut journal, Stage::Reverting).expect("noted");
        assert_eq!(book.read(ID).expect("readable"), Some(journal));
    }

    #[test]
    fn half_a_line_was_never_noted_and_half_a_first_one_never_begun() {
        let (_dir, book, mut journal) = begun();
        let prepared = fs::read(state(&book)).expect("there");
        book.note(&mut journal, Stage::Changing).expect("noted");
        let text = fs::read(state(&book)).expect("there");
        let first = prepared.iter().position(|byte| *byte == b'\n').expect("a line") + 1;
        let second = text.iter().rposition(|byte| *byte == b'\n').expect("a line") + 1;
        for at in 0..second - 1 {
            let whole = (at >= first).then_some(Stage::Prepared);
            let mut nul_behind = text.clone();
            nul_behind[at..].fill(0);
            for cut in [&text[..at], &nul_behind] {
                fs::write(state(&book), cut).expect("written");
                assert_eq!(stage(&book), whole, "{at}");
                if whole.is_some() {
                    book.note(&mut journal, Stage::Closed(End::Undone)).expect("noted");
                    assert_eq!(stage(&book), Some(Stage::Closed(End::Undone)), "{at}");
                }
            }
        }
        let mut nul_before = text;
        nul_before[first..first + 7].fill(0);
        fs::write(state(&book), &nul_before).expect("written");
        assert_eq!(stage(&book), Some(Stage::Prepared));
        book.note(&mut journal, Stage::Changed).expect("noted");
        assert_eq!(stage(&book), Some(Stage::Changed));

        fs::write(state(&book), [0; 64]).expect("written");
        assert!(book.open_entries().expect("readable").is_empty());
        assert!(!book.folder(ID).exists(), "what was never begun is removed");
    }

    #[test]
    fn a_whole_line_that_cannot_be_read_is_damage_and_neither_the_line_before_nor_nothing() {
        let (_dir, book, mut journal) = begun();
        book.note(&mut journal, Stage::Changing).expect("noted");
        book.note(&mut journal, Stage::Changed).expect("noted");
        let text = fs::read(state(&book)).expect("there");
        let lines: Vec<usize> = (0..text.len()).filter(|at| text[*at] == b'\n').collect();
        // In the last line, a byte that is wrong. In one before, one that reads like half a line.
        for (at, byte) in [(lines[1] + 1, b'x'), (lines[2] - 1, b'x'), (lines[0] - 5, 0), (lines[1] - 5, 0)] {
            let mut damaged = text.clone();
            damaged[at] = byte;
            fs::write(state(&book), damaged).expect("written");
            assert!(book.read(ID).is_err(), "{at}");
            assert!(book.open_entries().is_err() && book.folder(ID).exists(), "{at}");
        }
    }

    #[test]
    fn a_state_of_an_earlier_mesh_is_read_and_gone_on_with() {
        let (_dir, book, mut journal) = begun();
        journal.stage = Stage::Changed;
        let document = serde_json::to_vec_pretty(&journal).expect("JSON");
        fs::write(state(&book), &document).expect("written");
        assert_eq!(stage(&book), Some(Stage::Changed));
        book.note(&mut journal, Stage::Reverting).expect("noted");
        book.note(&mut journal, Stage::Closed(End::RolledBack)).expect("noted");
        assert_eq!(book.read(ID).expect("readable"), Some(journal));
        fs::write(state(&book), &document[..document.len() - 9]).expect("written");
        assert!(book.read(ID).is_err(), "it was replaced whole, so half of it is damage");
    }
}
