//! Fixes of public packages, made anew from what they are known to change: what a lesson learned from each of them is
//! worth. The files are in `tests/fixtures/fixes`; they were written before learning was tried on them.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs;
use std::path::{Path, PathBuf};

use crate::learn::Bench;
use mesh::domain::foreign_text::error_line;

/// Fixes whose lesson finds the mistake, spares the repaired file and the near misses, and finds the sibling.
const LEARNED: &[&str] = &[
    "cog-2064",
    "flask-cve-2023-30861",
    "hyper-cve-2021-32714",
    "kombu-1040",
    "kubernetes-5316",
    "moby-7559",
    "opentelemetry-collector-contrib-44921",
    "pip-9827",
    "podman-12079",
    "prometheus-tsdb-365",
    "pubnub-99",
    "ripgrep-cve-2021-3013",
    "rustcrypto-utils-11",
    "rv-572",
    "urllib3-1800",
];

/// The same of the fixes that were written down after learning had been made better by the first ones, and that
/// nothing was changed for.
const LEARNED_LATER: &[&str] = &["aiohttp-cve-2024-23334", "filelock-136", "prost-rustsec-2021-0073"];

/// What became of one fix.
struct Tried {
    name: String,
    /// What a lesson of it does wrong, or why there is none; empty when it is as it should be.
    wrong: Vec<String>,
}

fn fixes(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder);
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
    let texts = [&before, &after, &planted, &near];
    let files: Vec<(String, &String)> =
        (0..).zip(texts).map(|(at, text)| (path("src", &format!("f{at}")), text)).collect();
    let found = bench.hits_in(&draft.lesson, &files);
    let hits = |at: usize| found.iter().filter(|(path, _)| *path == files[at].0).count();
    let mut wrong = Vec::new();
    let mut expect = |what: &str, good: bool| {
        if !good {
            wrong.push(format!("{what}: {}", draft.pattern));
        }
    };
    expect("misses the mistake", hits(0) > 0);
    expect("hits the repaired file", hits(1) == 0);
    expect("misses the sibling", hits(2) == 1);
    expect("does not offer the sibling", draft.also.iter().any(|(path, _)| *path == sibling));
    expect("hits a near miss", hits(3) == 0);
    Tried { name, wrong }
}

/// Learns from every fix of a folder, two at a time, and returns the names of those that came out as they should.
#[expect(clippy::print_stderr, reason = "which came out wrong, and why, is what a person wants to know")]
fn learned(folder: &str) -> (usize, Vec<String>) {
    let fixes = fixes(folder);
    let half = fixes.len().div_ceil(2).max(1);
    let tried: Vec<Tried> = std::thread::scope(|scope| {
        let halves: Vec<_> = fixes
            .chunks(half)
            .map(|some| scope.spawn(move || some.iter().map(|fix| try_one(fix)).collect::<Vec<_>>()))
            .collect();
        halves.into_iter().flat_map(|half| half.join().unwrap()).collect()
    });
    for one in &tried {
        eprintln!("{}: {}", one.name, if one.wrong.is_empty() { "learned".to_owned() } else { one.wrong.join("; ") });
    }
    let count = tried.len();
    (count, tried.into_iter().filter(|one| one.wrong.is_empty()).map(|one| one.name).collect())
}

#[test]
fn what_is_learned_from_fixes_of_public_packages() {
    let (count, learned) = learned("fixes");
    assert_eq!(count, 15);
    assert_eq!(learned, LEARNED);
}

#[test]
fn what_is_learned_from_fixes_that_learning_was_not_made_for() {
    let (count, learned) = learned("fixes-later");
    assert_eq!(count, 6);
    assert_eq!(learned, LEARNED_LATER);
}
