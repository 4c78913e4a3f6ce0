//! Containers of a real Docker engine, seen and asked over its socket. Tests that need the engine are run by
//! `scripts/harness test`, which makes the image and counts what ran; the others need none.

#![expect(clippy::disallowed_methods, reason = "these tests use the docker program as a person does")]

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::Duration;

use mesh::domain::service::{EndCause, Health, Observation, Process, Run, Verb};
use mesh::ports::manager::{Teller, Told};
use mesh::sys::managers::docker::{Docker, SOCKET};

use crate::support::following::{Following, cause};

/// Longer than anything here takes, and shorter than a person waits.
const LIMIT: Duration = Duration::from_secs(60);

fn docker(arguments: &[&str]) -> String {
    let output =
        Command::new("docker").args(arguments).output().expect("docker is here: sudo apt-get install docker.io");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "docker {arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text.trim().to_owned()
}

/// A container that is there for one test.
struct Container(String);

impl Container {
    fn new(name: &str, options: &[&str], command: &[&str]) -> Self {
        let image = std::env::var("HARNESS_IMAGE").expect("run by scripts/harness test, which names the image");
        let name = format!("mesh-t-{name}-{}", std::process::id());
        // No shell is the first process of a container: that one does not die by signals it does not handle.
        let run = ["run", "-d", "--init", "--stop-timeout", "2", "--name", &name].map(str::to_owned);
        let all = run.iter().map(String::as_str).chain(options.iter().copied()).chain([image.as_str()]);
        let all: Vec<_> = all.chain(command.iter().copied()).collect();
        docker(&all);
        Self(name)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _output = Command::new("docker").args(["rm", "-f", &self.0]).output();
    }
}

fn at(socket: &Path, unit: &str) -> Following<Docker> {
    let (sender, told) = channel();
    Following::by(Docker::at(socket, Teller::from(sender)).expect("a thread"), told, unit, LIMIT)
}

fn follow(unit: &str) -> Following<Docker> {
    at(Path::new(SOCKET), unit)
}

fn kill(seen: &Observation) {
    let pid = seen.process.expect("a process").pid;
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("not 0");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it lives and we are root");
}

#[test]
fn an_engine_that_is_not_there_is_unknown_and_every_order_refused() {
    let folder = tempfile::tempdir().expect("a temp dir");
    let mut following = at(&folder.path().join("docker.sock"), "web");
    let seen = following.see("unknown", |seen| matches!(seen.run, Run::Unknown(_)));
    assert!(
        matches!(&seen.run, Run::Unknown(why) if why.contains("docker.sock") && why.contains("not reached")),
        "{seen:?}"
    );
    following.act(Verb::Start);
    following.hear("a refusal", |told| matches!(told, Told::Refused { verb: Verb::Start, .. }));
}

#[test]
fn an_engine_that_hangs_is_unknown() {
    let folder = tempfile::tempdir().expect("a temp dir");
    let socket = folder.path().join("docker.sock");
    let _never_accepts = UnixListener::bind(&socket).expect("a socket");
    let mut following = at(&socket, "web");
    let seen = following.see("unknown", |seen| matches!(seen.run, Run::Unknown(_)));
    assert!(matches!(&seen.run, Run::Unknown(why) if why.contains("did not answer")), "{seen:?}");
}

#[test]
#[ignore = "needs a Docker engine: run by scripts/harness test"]
fn a_killed_container_is_told_with_its_cause_and_can_be_started() {
    let container = Container::new("killed", &[], &["sleep", "1000"]);
    let mut following = follow(&container.0);
    let up = following.see_run(&Run::Up);
    assert!(up.since.is_some() && up.health.is_none());
    kill(&up);
    let down = following.see_run(&Run::Down);
    assert_eq!(cause(&down), EndCause::Signal(9));
    assert!(!down.stopped_by_operator && down.process.is_none(), "{down:?}");
    following.act(Verb::Start);
    let up = following.see_run(&Run::Up);
    assert_eq!(up.end, down.end, "the last end is kept");
    following.act(Verb::Start);
    assert_eq!(following.see_run(&Run::Up).process, up.process, "told also when nothing comes of it");
    following.act(Verb::Reload);
    following.hear("a refusal of the reload alone", |told| matches!(told, Told::Refused { verb: Verb::Reload, .. }));
}

#[test]
#[ignore = "needs a Docker engine: run by scripts/harness test"]
fn a_stop_by_a_person_is_told_from_ours_and_from_a_crash() {
    let container = Container::new("stopped", &[], &["sleep", "1000"]);
    let mut following = follow(&container.0);
    // A look that began before an end may be told after it: only another process is another start.
    let another = |following: &mut Following<Docker>, before: Option<Process>| {
        let is_another = |seen: &Observation| seen.run == Run::Up && seen.process.is_some() && seen.process != before;
        following.see("another process", is_another).process
    };
    let first = following.see_run(&Run::Up).process;
    docker(&["stop", &container.0]);
    let down = following.see_run(&Run::Down);
    assert!(down.stopped_by_operator, "at once, not after a while: {down:?}");
    docker(&["start", &container.0]);
    let second = another(&mut following, first);
    following.act(Verb::Stop);
    let down = following.see_run(&Run::Down);
    assert!(!down.stopped_by_operator, "{down:?}");
    following.act(Verb::Stop);
    following.act(Verb::Kill);
    following.act(Verb::Start);
    another(&mut following, second);
    // A signal that asks for something else is no stop, and neither is the crash after it.
    docker(&["kill", "-s", "WINCH", &container.0]);
    let pid = docker(&["inspect", "-f", "{{.State.Pid}}", &container.0]).parse().expect("a pid");
    let pid = rustix::process::Pid::from_raw(pid).expect("not 0");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it lives and we are root");
    let down = following.see_run(&Run::Down);
    assert!(!down.stopped_by_operator, "{down:?}");
    assert!(!following.heard.iter().any(|told| matches!(told, Told::Refused { .. })), "{:?}", following.heard);
}

#[test]
#[ignore = "needs a Docker engine: run by scripts/harness test"]
fn the_engines_own_health_check_is_passed_on() {
    let check = [
        "--health-cmd",
        "test ! -e /tmp/sick || { echo sick; exit 1; }",
        "--health-interval",
        "1s",
        "--health-retries",
        "2",
    ];
    let container = Container::new("health", &check, &["sleep", "1000"]);
    let mut following = follow(&container.0);
    following.see("healthy", |seen| seen.run == Run::Up && seen.health == Some(Health::Alive));
    docker(&["exec", &container.0, "touch", "/tmp/sick"]);
    let dead = following.see("unhealthy", |seen| matches!(seen.health, Some(Health::Dead(_))));
    assert_eq!(dead.run, Run::Up, "it runs, and is not well");
    assert!(matches!(&dead.health, Some(Health::Dead(why)) if why.contains("sick")), "{dead:?}");
    docker(&["exec", &container.0, "rm", "/tmp/sick"]);
    following.see("healthy again", |seen| seen.health == Some(Health::Alive));
}

#[test]
#[ignore = "needs a Docker engine: run by scripts/harness test"]
fn restarts_of_the_engines_own_are_counted_and_their_causes_seen() {
    let container = Container::new("loop", &["--restart", "on-failure:3"], &["sh", "-c", "sleep 0.3; exit 3"]);
    let mut following = follow(&container.0);
    let down = following.see("that the engine gave up", |seen| seen.run == Run::Down && seen.restarts == Some(3));
    assert_eq!(cause(&down), EndCause::Exit(3));
    assert!(!down.stopped_by_operator);
}

#[test]
#[ignore = "needs a Docker engine: run by scripts/harness test"]
fn a_container_that_was_out_of_memory_says_so() {
    let greedy = "x = []\nwhile True: x.append(b'1' * 1000000)";
    let container = Container::new("memory", &["-m", "40m", "--memory-swap", "40m"], &["python3", "-c", greedy]);
    let mut following = follow(&container.0);
    let down = following.see("an end", |seen| seen.end.is_some() && seen.run == Run::Down);
    assert_eq!(cause(&down), EndCause::OutOfMemory);
}

#[test]
#[ignore = "needs a Docker engine: run by scripts/harness test"]
fn a_container_that_does_not_exist_is_named_and_found_once_it_does() {
    let name = format!("mesh-t-later-{}", std::process::id());
    let mut following = follow(&name);
    let down = following.see_run(&Run::Down);
    assert!(matches!(cause(&down), EndCause::NotStarted(why) if why.contains(&name)), "{down:?}");
    let _container = Container::new("later", &[], &["sleep", "1000"]);
    following.see_run(&Run::Up);
}

#[test]
#[ignore = "needs a Docker engine: run by scripts/harness test"]
fn an_engine_that_comes_is_found() {
    let container = Container::new("back", &[], &["sleep", "1000"]);
    let folder = tempfile::tempdir().expect("a temp dir");
    let socket = folder.path().join("docker.sock");
    let mut following = at(&socket, &container.0);
    following.see("unknown", |seen| matches!(seen.run, Run::Unknown(_)));
    symlink(SOCKET, &socket).expect("a link");
    following.see_run(&Run::Up);
}
