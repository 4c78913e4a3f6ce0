//! Objects of the cache, each looked at before it is loaded.

use std::path::Path;

use git2::{ObjectType, Odb, Oid};

use super::tree::{DIRECTORY, FILE, Lookup, Tree};
use crate::domain::foreign_text::display_line;
use crate::domain::limits;
use crate::ports::{Blob, RemoteError};

/// Why an object was not loaded.
#[derive(PartialEq, Eq, Debug)]
pub(in crate::sys) enum Unread {
    Absent,
    Unfit(String),
}

impl Unread {
    pub(in crate::sys) fn why(self) -> String {
        match self {
            Self::Absent => "its content is not in the cache".to_owned(),
            Self::Unfit(why) => why,
        }
    }
}

/// Opens the objects of the repository at `path`; none of its configuration is read.
pub(in crate::sys) fn open(path: &Path) -> Result<Odb<'static>, RemoteError> {
    let objects = path.join("objects");
    let failed =
        |why: &str| RemoteError::Cache(format!("cannot open {}: {why}", display_line(&path.display().to_string())));
    if !objects.is_dir() {
        return Err(failed("it is not a git repository"));
    }
    let objects = objects.to_str().ok_or_else(|| failed("its path is not UTF-8"))?;
    let odb = Odb::new().map_err(|error| failed(error.message()))?;
    odb.add_disk_alternate(objects).map_err(|error| failed(error.message()))?;
    Ok(odb)
}

/// The bytes of an object of `kind` with at most `max` bytes; a larger one is refused by its header alone.
pub(in crate::sys) fn read(odb: &Odb<'_>, id: Oid, kind: ObjectType, max: usize) -> Result<Vec<u8>, Unread> {
    let (size, found) = odb.read_header(id).map_err(|_| Unread::Absent)?;
    if found != kind {
        return Err(Unread::Unfit(format!("it is a {} where a {} belongs", found.str(), kind.str())));
    }
    if size > max {
        return Err(Unread::Unfit(format!("it has {size} bytes, and at most {max} are read")));
    }
    let object = odb.read(id).map_err(|error| Unread::Unfit(display_line(error.message())))?;
    Ok(object.data().to_vec())
}

/// The directory object `id`.
pub(in crate::sys) fn tree(odb: &Odb<'_>, id: Oid) -> Result<Tree, Unread> {
    let bytes = read(odb, id, ObjectType::Tree, limits::TREE_BYTES)?;
    Tree::parse(&bytes).ok_or_else(|| Unread::Unfit("its directory is malformed".to_owned()))
}

/// The root directory of commit `tip`.
pub(in crate::sys) fn root_of(odb: &Odb<'_>, tip: Oid) -> Result<Oid, Unread> {
    let commit = read(odb, tip, ObjectType::Commit, limits::COMMIT_BYTES)?;
    let id = commit.strip_prefix(b"tree ").and_then(|rest| rest.get(..40));
    id.and_then(|hex| Oid::from_str(std::str::from_utf8(hex).ok()?).ok())
        .ok_or_else(|| Unread::Unfit("its commit is malformed".to_owned()))
}

/// What a path leads to.
pub(in crate::sys) enum Found {
    Missing,
    /// A directory, when one was asked for; else a plain file.
    Object(Oid),
    Refused(String),
}

/// Follows `path` from directory `root`: plain directories all the way, and at its end `last_mode` exactly.
pub(in crate::sys) fn follow(odb: &Odb<'_>, root: Oid, path: &str, last_mode: &[u8]) -> Found {
    let mut id = root;
    let mut names = path.split('/').peekable();
    while let Some(name) = names.next() {
        let mode = if names.peek().is_some() { DIRECTORY } else { last_mode };
        let directory = match tree(odb, id) {
            Ok(directory) => directory,
            Err(unread) => return Found::Refused(unread.why()),
        };
        match directory.get(name.as_bytes()) {
            Lookup::Missing => return Found::Missing,
            Lookup::Several => return Found::Refused("its name stands there more than once".to_owned()),
            Lookup::One(entry) if entry.mode != mode => return Found::Refused(mode_refusal(&entry.mode)),
            Lookup::One(entry) => id = entry.id,
        }
    }
    Found::Object(id)
}

/// The plain file that `entry_mode` and `id` of a directory entry stand for.
pub(in crate::sys) fn file(odb: &Odb<'_>, entry_mode: &[u8], id: Oid, max: usize) -> Blob {
    if entry_mode != FILE {
        return Blob::Refused(mode_refusal(entry_mode));
    }
    match read(odb, id, ObjectType::Blob, max) {
        Ok(bytes) => Blob::Found(bytes),
        Err(unread) => Blob::Refused(unread.why()),
    }
}

fn mode_refusal(mode: &[u8]) -> String {
    match mode {
        b"120000" => "it is a symbolic link".to_owned(),
        b"160000" => "it is a link to another repository".to_owned(),
        b"40000" => "it is a directory".to_owned(),
        b"100644" => "it is a file where a directory belongs".to_owned(),
        b"100755" => "it is marked as a program".to_owned(),
        other => format!("it has the mode {}", display_line(&String::from_utf8_lossy(&other[..other.len().min(16)]))),
    }
}
