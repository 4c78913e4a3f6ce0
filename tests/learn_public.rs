//! Fixes of public packages, made anew from what they are known to change: what a lesson learned from each of them is
//! worth. The files are in `tests/fixtures/fixes`; they were written before learning was tried on them.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs;
use std::path::{Path, PathBuf};

use crate::learn::Bench;
use mesh::domain::foreign_text::error_line;

/// Fixes whose lesson finds the mistake, spares the repaired file and the near misses, and finds the sibling.
const LEARNED: &[&str] = &["pip-9827", "prometheus-tsdb-365", "ripgrep-cve-2021-3013", "rv-572"];

/// What became of one fix.
struct Tried {
    name: String,
    /// What a lesson of it does wrong, or why there is none; empty when it is as it should be.
    wrong: Vec<String>,
}

fn fixes() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/fixes");
    let mut fixes: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    fixes.sort();
    fixes
}

/// The file of this stem, with its extension.
fn text(fix: &Path, stem: &str) -> (String, String) {
    let path = fs::read_dir(fix).unwrap().map(|entry| entry.unwrap().path());
    let path = path.into_iter().find(|path| path.file_stem().is_some_and(|name| name == stem)).unwrap();
    let extension = path.extension().unwrap().to_str().unwrap().to_owned();
    (fs::read_to_string(path).unwrap(), extension)
}

fn try_one(fix: &Path) -> Tried {
    let name = fix.file_name().unwrap().to_str().unwrap().to_owned();
    let (before, extension) = text(fix, "before");
    let (after, _) = text(fix, "after");
    let path = |folder: &str, stem: &str| format!("{folder}/{stem}.{extension}");
    let (fixed, sibling) = (path("src", "fixed"), path("elsewhere", "sibling"));
    let (planted, _) = text(fix, "sibling");
    let (near, _) = text(fix, "near");
    let bench = Bench::new();
    bench.commit(&[(&fixed, &before), (&sibling, &planted)], "Start");
    bench.commit(&[(&fixed, &after)], "Mend what was reported");
    let draft = match bench.learn("HEAD") {
        Ok(draft) => draft,
        Err(error) => return Tried { name, wrong: vec![error_line(&error)] },
    };
    let hits = |text: &str| bench.hits(&draft.lesson, &fixed, text).len();
    let mut wrong = Vec::new();
    let mut expect = |what: &str, good: bool| {
        if !good {
            wrong.push(format!("{what}: {}", draft.pattern));
        }
    };
    expect("misses the mistake", hits(&before) > 0);
    expect("hits the repaired file", hits(&after) == 0);
    expect("misses the sibling", hits(&planted) == 1);
    expect("does not offer the sibling", draft.also.iter().any(|(path, _)| *path == sibling));
    expect("hits a near miss", hits(&near) == 0);
    Tried { name, wrong }
}

#[test]
fn what_is_learned_from_fixes_of_public_packages() {
    let tried: Vec<Tried> = fixes().iter().map(|fix| try_one(fix)).collect();
    assert_eq!(tried.len(), 15);
    for one in &tried {
        eprintln!("{}: {}", one.name, if one.wrong.is_empty() { "learned".to_owned() } else { one.wrong.join("; ") });
    }
    let learned: Vec<&str> = tried.iter().filter(|one| one.wrong.is_empty()).map(|one| one.name.as_str()).collect();
    assert_eq!(learned, LEARNED);
}
