//! Real processes, started and stopped.

use std::time::{Duration, Instant};

use mesh::ports::{Exec, Exit, Program, Ran};
use mesh::sys::exec::SystemExec;

fn run(script: &str, timeout: Duration, output_cap: usize) -> Ran {
    let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
    SystemExec.run(&Program { argv, dir: std::env::temp_dir(), timeout, output_cap, memory: None })
}

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(200);

/// Waits for a killed process to be gone; a signal takes a moment to arrive.
fn assert_dies(pid: &[u8]) {
    let pid = String::from_utf8_lossy(pid);
    let pid = pid.trim();
    assert!(!pid.is_empty(), "the script printed a pid");
    let limit = Instant::now() + Duration::from_secs(10);
    // A zombie that nobody reaped yet is dead.
    while std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(Instant::now() < limit, "process {pid} lives");
        std::thread::yield_now();
    }
}

#[test]
fn output_and_code_are_told_apart() {
    let ran = run("echo out; echo err >&2; exit 3", LONG, 100);
    assert_eq!((ran.exit, ran.stdout, ran.stderr), (Exit::Code(3), b"out\n".to_vec(), b"err\n".to_vec()));
    assert_eq!(run("kill -9 $$", LONG, 100).exit, Exit::Signal(9));
}

#[test]
fn a_child_that_ignores_term_is_killed() {
    let ran = run("trap '' TERM; echo $$; while :; do sleep 1; done", SHORT, 100);
    assert_eq!(ran.exit, Exit::TimedOut);
    assert_dies(&ran.stdout);
}

#[test]
fn a_child_that_heeds_term_may_clean_up() {
    let ran = run("trap 'echo cleaned; exit 0' TERM; echo ready; while :; do sleep 0.05; done", SHORT, 100);
    assert_eq!((ran.exit, ran.stdout), (Exit::TimedOut, b"ready\ncleaned\n".to_vec()));
}

#[test]
fn a_grandchild_left_behind_goes_with_its_group() {
    let ran = run("sleep 1000 & echo $!", LONG, 100);
    assert_eq!(ran.exit, Exit::Code(0));
    assert_dies(&ran.stdout);
}

#[test]
fn a_process_that_left_the_group_and_holds_the_pipe_does_not_hold_us() {
    let ran = run("setsid sh -c 'echo $$; exec sleep 20' & sleep 0.2", LONG, 100);
    assert_eq!(ran.exit, Exit::Code(0));
    assert!(ran.took < Duration::from_secs(20), "it waited for the pipe: {:?}", ran.took);
    let pid: i32 = String::from_utf8_lossy(&ran.stdout).trim().parse().expect("a pid");
    let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it had left the group");
}

#[test]
fn a_flood_is_drained_and_capped() {
    let ran = run("head -c 50000000 /dev/zero; echo done >&2", LONG, 1_000);
    assert_eq!((ran.exit, ran.stdout.len(), ran.stderr), (Exit::Code(0), 1_000, b"done\n".to_vec()));
}

#[test]
fn an_endless_flood_ends_at_the_timeout() {
    let ran = run("yes", SHORT, 10);
    assert_eq!((ran.exit, ran.stdout), (Exit::TimedOut, b"y\ny\ny\ny\ny\n".to_vec()));
}

#[test]
fn what_cannot_start_says_so() {
    let start = |argv: &[&str], dir: &str| {
        let argv = argv.iter().map(|word| (*word).to_owned()).collect();
        SystemExec.run(&Program { argv, dir: dir.into(), timeout: LONG, output_cap: 10, memory: None }).exit
    };
    let no_program = Exit::NotStarted("no program mesh-no-such-program on PATH".to_owned());
    assert_eq!(start(&["mesh-no-such-program"], "/"), no_program);
    assert_eq!(start(&["sh"], "/no/such/dir"), Exit::NotStarted("no directory /no/such/dir".to_owned()));
    assert_eq!(start(&[], "/"), Exit::NotStarted("no program named".to_owned()));
}

#[test]
fn the_environment_is_clean_and_stdin_is_empty() {
    let ran = run("cat; env | cut -d= -f1 | sort | tr '\\n' ' '", LONG, 1_000);
    let names = String::from_utf8(ran.stdout).expect("text");
    // `sh` itself adds PWD, and some add OLDPWD, SHLVL and _.
    let of_sh = ["PWD", "OLDPWD", "SHLVL", "_"];
    let names: Vec<&str> = names.split_whitespace().filter(|name| !of_sh.contains(name)).collect();
    assert_eq!(names, ["HOME", "LANG", "MESH", "PATH"]);
}
