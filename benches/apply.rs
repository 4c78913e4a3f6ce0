//! What a change of one file costs in a repository of 10,000 files, against a git work tree of that one file, and what
//! a scratch copy for the check command costs the first time and from then on, against a full checkout.
//!
//! Run by `scripts/bench/apply.sh`. Prints the time that passed, the processor time of this process and all that it
//! started, and ratios: the middle one of all runs.

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
/// Runs of what touches one file, and of what touches them all.
const RUNS: u32 = 15;
const FULL_RUNS: u32 = 5;
const PATH: &str = "d42/f17.txt";

/// What something took: time that passed, and time of processors.
#[derive(Clone, Copy)]
struct Cost {
    wall: Duration,
    cpu: Duration,
}

fn timed(act: impl FnOnce()) -> Cost {
    let (start, cpu) = (Instant::now(), cpu());
    act();
    Cost { wall: start.elapsed(), cpu: self::cpu() - cpu }
}

/// What this process and its children that ended have had of the processors.
#[expect(unsafe_code, reason = "there is no safe way to ask for the time of children")]
fn cpu() -> Duration {
    let of = |who| {
        let mut usage = std::mem::MaybeUninit::<libc::rusage>::uninit();
        // SAFETY: the struct is as large as the call expects, and is read only if the call says that it was filled.
        let usage = unsafe {
            assert_eq!(libc::getrusage(who, usage.as_mut_ptr()), 0);
            usage.assume_init()
        };
        let time = |at: libc::timeval| {
            let micros = u64::try_from(at.tv_sec * 1_000_000 + at.tv_usec).expect("not negative");
            Duration::from_micros(micros)
        };
        time(usage.ru_utime) + time(usage.ru_stime)
    };
    of(libc::RUSAGE_SELF) + of(libc::RUSAGE_CHILDREN)
}

fn middle(costs: &[Cost]) -> Cost {
    let middle = |time: fn(&Cost) -> Duration| {
        let mut times: Vec<_> = costs.iter().map(time).collect();
        times.sort();
        times[times.len() / 2]
    };
    Cost { wall: middle(|cost| cost.wall), cpu: middle(|cost| cost.cpu) }
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
    for _ in 0..FULL_RUNS {
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
        [one, saved, full, prove, apply, back, first, next].map(|costs| middle(&costs));
    let say = |name: &str, cost: Cost, than: Cost, what: &str| {
        let (ms, times) =
            (|time: Duration| time.as_secs_f64() * 1e3, |a: Duration, b: Duration| a.as_secs_f64() / b.as_secs_f64());
        println!(
            "{name:34} {:8.1} ms {:6.2} x  {:8.1} CPU ms {:6.2} x {what}",
            ms(cost.wall),
            times(cost.wall, than.wall),
            ms(cost.cpu),
            times(cost.cpu, than.cpu)
        );
    };
    let all = Cost { wall: prove.wall + apply.wall + back.wall, cpu: prove.cpu + apply.cpu + back.cpu };
    println!("{FILES} files, one touched; middle of {RUNS} runs, of {FULL_RUNS} where all are written");
    say("git work tree of the touched file", one, one, "itself");
    say("the same with core.fsync=all", saved, one, "that");
    say("git work tree of all files", full, one, "that");
    say("prove", prove, one, "that");
    say("apply", apply, one, "that");
    say("rollback", back, one, "that");
    say("prove, apply and rollback", all, one, "that");
    say("scratch copy and a check, first", first, full, "a work tree of all files");
    say("scratch copy and a check, next", next, full, "a work tree of all files");
}
