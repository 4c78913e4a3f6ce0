//! What mending a text by a lesson came to, so that an unchanged finding costs no worker.
//!
//! A cache: same lesson, path, text and program, same answer. What cannot be read is asked again.

use std::fs;
use std::path::{Path, PathBuf};

use super::known::LessonDigest;
use crate::domain::finding::Fingerprint;
use crate::ports::Mended;

/// Answers kept; above this all are forgotten, and those that are still wanted come back one by one.
const KEPT: usize = 2_000;

/// The answers, a file each.
#[derive(Debug)]
pub(super) struct Mends {
    folder: PathBuf,
}

impl Mends {
    /// The answers kept in the folder `state`.
    pub(super) fn of(state: &Path) -> Self {
        Self { folder: state.join("mends") }
    }

    /// Where the answer to this question is kept.
    pub(super) fn place(&self, lesson: &LessonDigest, path: &str, text: &str, only: Option<Fingerprint>) -> PathBuf {
        let mut hash = blake3::Hasher::new();
        for part in [lesson.as_str(), path, text] {
            hash.update(&part.len().to_le_bytes()).update(part.as_bytes());
        }
        if let Some(only) = only {
            hash.update(only.as_bytes());
        }
        self.folder.join(format!("{}.json", &hash.finalize().to_hex()[..40]))
    }

    /// The answer, if it is known.
    pub(super) fn recall(&self, place: &Path) -> Option<Mended> {
        serde_json::from_slice(&fs::read(place).ok()?).ok()
    }

    /// Keeps an answer.
    pub(super) fn keep(&self, place: &Path, mended: &Mended) {
        let write = || {
            fs::create_dir_all(&self.folder)?;
            if fs::read_dir(&self.folder)?.count() > KEPT {
                fs::remove_dir_all(&self.folder)?;
                fs::create_dir_all(&self.folder)?;
            }
            let temporary = place.with_extension(format!("{}.tmp", std::process::id()));
            fs::write(&temporary, serde_json::to_vec(mended)?)?;
            fs::rename(temporary, place)
        };
        if let Err(error) = write() {
            tracing::warn!(%error, "a mended text is not kept; it is asked for again next time");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_kept_by_question_and_damage_is_no_answer() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let mends = Mends::of(dir.path());
        let lesson: LessonDigest = "ab".to_owned();
        let place = mends.place(&lesson, "a.py", "x", None);
        assert_ne!(place, mends.place(&lesson, "a.p", "yx", None));
        assert_ne!(place, mends.place(&lesson, "a.py", "x", Some(Fingerprint::from_bytes([0; 32]))));
        assert_eq!(mends.recall(&place), None);
        mends.keep(&place, &Mended::Text("y".to_owned()));
        assert_eq!(mends.recall(&place), Some(Mended::Text("y".to_owned())));
        fs::write(&place, b"{").expect("damaged");
        assert_eq!(mends.recall(&place), None);
    }
}
