//! What identifiers the files of a root may hold, so that a new lesson is not shown files it has nothing to look for in.
//!
//! ```text
//! magic 16 | blake3 of all that follows 32 | blake3 of what it belongs to 32
//! for each file: path length u32, path, map length u32, map
//! ```
//! All numbers little endian. It is a cache, and belongs to one snapshot of one program: with another one, or damaged, nothing
//! is known and every file is shown.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::domain::words::{WordDemand, Words};
use crate::sys::tree::snapshot::write_whole;

const MAGIC: &[u8; 16] = b"mesh-words-1\n\n\n\n";

/// The identifiers of the files whose text is known.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct FileWords(BTreeMap<String, Words>);

/// What tells the words of one snapshot, by the program that `build` names, from all others.
fn tag(build: &str, seen_at: i64) -> [u8; 32] {
    *blake3::Hasher::new().update(&seen_at.to_le_bytes()).update(build.as_bytes()).finalize().as_bytes()
}

fn piece<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, after) = rest.split_first_chunk()?;
    let (piece, after) = after.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?)?;
    *rest = after;
    Some(piece)
}

fn decode(bytes: &[u8], tag: &[u8; 32]) -> Option<BTreeMap<String, Words>> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (sum, rest) = rest.split_first_chunk::<32>()?;
    if blake3::hash(rest) != *sum {
        return None;
    }
    let mut rest = rest.strip_prefix(tag)?;
    let mut files = BTreeMap::new();
    while !rest.is_empty() {
        let path = std::str::from_utf8(piece(&mut rest)?).ok()?.to_owned();
        files.insert(path, Words::from_bytes(piece(&mut rest)?.to_vec())?);
    }
    Some(files)
}

impl FileWords {
    /// The words that were kept with the snapshot of `seen_at`; nothing where there is no such snapshot.
    pub(super) fn load(file: &Path, build: &str, seen_at: Option<i64>) -> Self {
        let kept = || decode(&std::fs::read(file).ok()?, &tag(build, seen_at?));
        Self(kept().unwrap_or_default())
    }

    /// Keeps them beside the snapshot of `seen_at`.
    pub(super) fn store(&self, file: &Path, build: &str, seen_at: i64) -> std::io::Result<()> {
        let mut body = tag(build, seen_at).to_vec();
        for (path, words) in &self.0 {
            for piece in [path.as_bytes(), words.as_bytes()] {
                let len = u32::try_from(piece.len()).map_err(std::io::Error::other)?;
                body.extend_from_slice(&len.to_le_bytes());
                body.extend_from_slice(piece);
            }
        }
        write_whole(file, &[MAGIC, blake3::hash(&body).as_bytes(), &body])
    }

    pub(super) fn forget(&mut self, path: &str) {
        self.0.remove(path);
    }

    /// Learns what the worker saw; what is no such thing is not believed.
    pub(super) fn learn(&mut self, path: &str, encoded: &str) {
        if let Some(words) = STANDARD.decode(encoded).ok().and_then(Words::from_bytes) {
            self.0.insert(path.to_owned(), words);
        }
    }

    /// False: the file meets none of the demands, and holds nothing else that a scan would see.
    pub(super) fn may_meet(&self, path: &str, demands: &[WordDemand]) -> bool {
        self.0.get(path).is_none_or(|words| demands.iter().any(|demand| demand.may_be_met(words)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_belong_to_one_snapshot_of_one_program_and_damage_is_nothing() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let file = dir.path().join("a.words");
        let mut words = FileWords::default();
        words.learn("a.py", &STANDARD.encode(Words::of(b"import os").as_bytes()));
        words.learn("b.py", "not base64!");
        words.store(&file, "build", 7).expect("stored");
        let known = FileWords::load(&file, "build", Some(7));
        let demand = [WordDemand(vec![vec![vec!["shutil".to_owned()]]])];
        assert!(!known.may_meet("a.py", &demand), "it was read and holds no such word");
        assert!(known.may_meet("b.py", &demand), "nothing is known of it");
        assert!(known.may_meet("a.py", &[WordDemand::default()]), "nothing is demanded");
        for other in [("another", Some(7)), ("build", Some(8)), ("build", None)] {
            assert_eq!(FileWords::load(&file, other.0, other.1), FileWords::default(), "{other:?}");
        }
        let mut bytes = std::fs::read(&file).expect("read");
        *bytes.last_mut().expect("not empty") ^= 1;
        std::fs::write(&file, bytes).expect("written");
        assert_eq!(FileWords::load(&file, "build", Some(7)), FileWords::default());
    }
}
