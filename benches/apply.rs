//! What a change of one file costs in a repository of 10,000 files, against a git work tree of that one file, and what
//! a scratch copy for the check command costs the first time and from then on, against a full checkout.
//!
//! Run by `scripts/bench/apply.sh`. Prints times and ratios, the middle one of five runs.

#![expect(clippy::print_stdout, reason = "what a benchmark is for")]
#![expect(dead_code, reason = "the support of the tests has more than is needed here")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mesh::domain::guard::Trial;
use mesh::domain::id::HostId;
use mesh::domain::undo::{Change, Target};
use mesh::ports::{CommittedFile, Repo as _, Trials};
use mesh::sys::apply::Changes;
use mesh::sys::repo::GitRepo;
use support::project::{Project, git};

const FILES: usize = 10_000;
const RUNS: u32 = 5;
const PATH: &str = "d42/f17.txt";

fn timed(act: impl FnOnce()) -> Duration {
    let start = Instant::now();
    act();
    start.elapsed()
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn repository(above: &Path) -> Project {
    let project = Project::new_in(above, &[]);
    for number in 0..FILES {
        let text = format!("file {number}\n{}", "some line of text that takes room\n".repeat(60));
        project.write(&format!("d{}/f{}.txt", number / 100, number % 100), &text);
    }
    project.commit_all("ten thousand");
    project
}

fn main() {
    let dir = tempfile::tempdir().expect("a temp dir");
    let project = repository(dir.path());
    let state = dir.path().join("state");
    let host = HostId::from_bytes([1; 32]);
    let applier = Changes::new(&state, host, |_| {});
    let repo = GitRepo::new(host, state.join("worktrees"));
    let now = Timestamp::from_second(1_800_000_000).expect("a time");
    let before = fs::read(project.root.join(PATH)).expect("there");
    let after = [&before[..], b"one more line\n"].concat();

    let (mut one, mut full, mut prove, mut apply, mut back) = (vec![], vec![], vec![], vec![], vec![]);
    let mut saved = vec![];
    let (mut first, mut next) = (vec![], vec![]);
    for run in 0..RUNS {
        one.push(timed(|| {
            project.git(&["worktree", "add", "-q", "--no-checkout", "--detach", "../one", "main"]);
            git(&dir.path().join("one"), &["restore", "--source", "main", "--", PATH]);
            project.git(&["worktree", "remove", "--force", "../one"]);
        }));
        // Git waits for the disk nowhere unless it is told to, and then not for files of a work tree.
        saved.push(timed(|| {
            let waits = ["-c", "core.fsync=all"];
            let add = ["worktree", "add", "-q", "--no-checkout", "--detach", "../one", "main"];
            project.git(&[&waits[..], &add].concat());
            git(&dir.path().join("one"), &[&waits[..], &["restore", "--source", "main", "--", PATH]].concat());
            project.git(&["worktree", "remove", "--force", "../one"]);
        }));
        let base = project.git(&["rev-parse", "main"]);
        let target = Target::Branch { branch: None, base, message: "more\n".to_owned() };
        let (root, path) = (project.root.clone(), PATH.to_owned());
        let change =
            Change { id: format!("run-{run}"), root, path, before: before.clone(), after: after.clone(), target };
        prove.push(timed(|| {
            applier.prove(&change).expect("proved");
        }));
        apply.push(timed(|| drop(applier.apply(&change, now).expect("applied"))));
        back.push(timed(|| applier.rollback(&change.id, now).expect("rolled back")));
    }
    // Only now: deleting ten thousand files slows every new file down for a while.
    for _ in 0..RUNS {
        full.push(timed(|| drop(project.git(&["worktree", "add", "-q", "--detach", "../full", "main"]))));
        project.git(&["worktree", "remove", "--force", "../full"]);

        let commit = project.git(&["rev-parse", "main"]);
        fs::remove_dir_all(state.join("worktrees")).expect("removed");
        let tried = |commit: &str, check: &[&str]| {
            let commands = vec![check.iter().map(|word| (*word).to_owned()).collect()];
            let trials = Trials { commands, timeout: Duration::from_secs(60), ..Trials::default() };
            let file = CommittedFile { root: &project.root, commit, path: PATH };
            assert_eq!(repo.trial(file, None, &trials), Trial::Passed);
        };
        let scratch = || tried(&commit, &["test", "-f", PATH]);
        first.push(timed(scratch));
        // The copy goes to another commit, is written to, and comes back.
        let main = project.git(&["rev-parse", "main^"]);
        tried(&main, &["touch", "left"]);
        next.push(timed(scratch));
    }
    let [one, saved, full, prove, apply, back, first, next] =
        [one, saved, full, prove, apply, back, first, next].map(middle);
    let say = |name: &str, time: Duration, than: Duration, what: &str| {
        println!(
            "{name:34} {:8.1} ms  {:6.2} x {what}",
            time.as_secs_f64() * 1e3,
            time.as_secs_f64() / than.as_secs_f64()
        );
    };
    println!("{FILES} files, one touched; middle of {RUNS} runs");
    say("git work tree of the touched file", one, one, "itself");
    say("the same with core.fsync=all", saved, one, "that");
    say("git work tree of all files", full, one, "that");
    say("prove", prove, one, "that");
    say("apply", apply, one, "that");
    say("rollback", back, one, "that");
    say("prove, apply and rollback", prove + apply + back, one, "that");
    say("scratch copy and a check, first", first, full, "a work tree of all files");
    say("scratch copy and a check, next", next, full, "a work tree of all files");
}
