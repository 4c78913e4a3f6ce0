//! Plain processes kept alive by the real agent: found by pid file or command line, never by guess.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use rustix::process::Signal;

use crate::support::services::{Supervising, is_alive, signal, until};

/// Starts what nobody looks after, writes its pid where it is asked to, and counts how often it was started.
const START: &str = "echo started >> starts; setsid sh \"$PWD/app.sh\" > /dev/null 2>&1 &";
/// The process itself: it writes its pid file first.
const APP: &str = "echo $$ > app.pid.new; mv app.pid.new app.pid; while :; do sleep 0.2; done";

/// A process that somebody else runs. It ends with the test.
struct Elsewhere(Child);

impl Elsewhere {
    fn new(argv: &[&str], dir: &Path) -> Self {
        #[expect(clippy::disallowed_methods, reason = "a process that mesh did not start")]
        let child = Command::new(argv[0]).args(&argv[1..]).current_dir(dir).spawn().expect("started");
        Self(child)
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let (_killed, _fetched) = (self.0.kill(), self.0.wait());
    }
}

/// The service `app`, by these keys, in a home that has its program.
fn home(keys: impl Fn(&Path) -> String) -> (Supervising, PathBuf) {
    let services = Supervising::new("");
    let dir = fs::canonicalize(services.agent.home()).expect("there");
    fs::write(dir.join("app.sh"), APP).expect("written");
    services
        .configure(&format!("[[service]]\nname = \"app\"\nstart = [\"sh\", \"-c\", '''{START}''']\n{}\n", keys(&dir)));
    (services, dir)
}

fn by_words(dir: &Path) -> String {
    format!("matching = '^sh {}/app\\.sh$'\n", regex::escape(&dir.display().to_string()))
}

fn starts(dir: &Path) -> usize {
    fs::read_to_string(dir.join("starts")).unwrap_or_default().lines().count()
}

fn pid_in(path: &Path) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[test]
fn a2_a_process_found_by_its_pid_file_is_taken_over_and_started_again_when_it_ends() {
    let (mut services, dir) = home(|_| "pidfile = \"app.pid\"\n".to_owned());
    let elsewhere = Elsewhere::new(&["sleep", "86211"], &dir);
    fs::write(dir.join("app.pid"), elsewhere.pid().to_string()).expect("written");
    services.start();
    assert_eq!(services.until_up("app", 0), elsewhere.pid());
    assert!(services.until_told("app", "taken over").contains("runs already: taken over as it is"));
    assert_eq!(starts(&dir), 0, "what runs is not started");
    signal(elsewhere.pid(), Signal::KILL);
    let second = services.until_up("app", elsewhere.pid());
    assert_eq!((pid_in(&dir.join("app.pid")), starts(&dir)), (Some(second), 1));
    let told = services.until_told("app", "ended; only its parent is told how");
    assert!(told.contains("started: it ended"), "{told}");
    // The agent goes and comes back: the process stays the same one.
    services.agent.end();
    services.start();
    assert_eq!((services.until_up("app", 0), starts(&dir)), (second, 1));
    let listed = services.agent.json(&["service", "list", "--json"]);
    assert_eq!(listed["services"][0]["manager"], "process");
}

#[test]
fn a2_a_stale_pid_file_names_nobody_who_is_touched() {
    for matching in ["", "matching = 'app\\.sh$'\n"] {
        let (mut services, dir) = home(|_| format!("pidfile = \"app.pid\"\n{matching}"));
        let other = Elsewhere::new(&["sleep", "86212"], &dir);
        let path = dir.join("app.pid");
        fs::write(&path, other.pid().to_string()).expect("written");
        if matching.is_empty() {
            // Its number was another one's when the file was written.
            let file = fs::File::options().append(true).open(&path).expect("opened");
            let was = file.metadata().and_then(|seen| seen.modified()).expect("a date");
            file.set_modified(was - Duration::from_secs(3_600)).expect("set back");
        }
        services.start();
        let pid = services.until_up("app", other.pid());
        assert_eq!((pid_in(&path), starts(&dir)), (Some(pid), 1), "{matching}");
        services.ok(&["service", "stop", "app"]);
        services.until("app", |service| service["state"] == "stopped");
        assert!(is_alive(other.pid()) && !is_alive(pid), "{matching}");
    }
}

#[test]
fn a2_several_unrelated_processes_that_match_are_unknown_and_nothing_is_done() {
    let (mut services, dir) = home(by_words);
    let program = dir.join("app.sh");
    let program = program.to_str().expect("UTF-8");
    let (one, two) = (Elsewhere::new(&["sh", program], &dir), Elsewhere::new(&["sh", program], &dir));
    services.start();
    let seen = services.until("app", |service| service["why"].as_str().is_some_and(|why| why.contains("match")));
    let why = seen["why"].as_str().expect("a reason");
    assert!(seen["state"] == "unknown" && why.contains("2 processes match"), "{seen:#}");
    assert!(why.contains(&one.pid().to_string()) && why.contains(&two.pid().to_string()), "{why}");
    // Also a person's stop leads to nothing before it is known which one is meant.
    services.ok(&["service", "stop", "app"]);
    services.ok(&["service", "start", "app"]);
    drop(two);
    assert_eq!(services.until_up("app", 0), one.pid(), "the one that is left");
    assert!(is_alive(one.pid()));
    assert_eq!(starts(&dir), 0, "{}", services.told("app"));
}

#[test]
fn a2_a14_what_a_person_stopped_stays_down_and_its_own_commands_stop_and_start_it() {
    let stop = "stop = [\"sh\", \"-c\", 'echo asked >> stops; kill $(cat app.pid)']\n";
    let (mut services, dir) = home(|dir| format!("{}{stop}", by_words(dir)));
    services.start();
    let first = services.until_up("app", 0);
    assert_eq!(starts(&dir), 1);
    services.ok(&["service", "stop", "app"]);
    services.until("app", |service| service["state"] == "stopped");
    assert!(!is_alive(first));
    assert_eq!(fs::read_to_string(dir.join("stops")).expect("written"), "asked\n");
    services.agent.end();
    services.start();
    services.until("app", |service| service["state"] == "stopped");
    assert_eq!(starts(&dir), 1);
    services.ok(&["service", "start", "app"]);
    services.until_up("app", first);
    assert_eq!(starts(&dir), 2);
}

#[test]
fn a2_a6_term_that_is_ignored_is_followed_by_the_end_of_the_group_that_it_leads() {
    let (mut services, dir) = home(|dir| format!("{}grace = \"1s\"\n", by_words(dir)));
    let deaf = "trap \"\" TERM; sleep 100000 & echo $! > below; while :; do sleep 0.2; done";
    fs::write(dir.join("app.sh"), deaf).expect("written");
    services.start();
    let leader = services.until_up("app", 0);
    let below = until("it started another one", || pid_in(&dir.join("below")));
    services.ok(&["service", "stop", "app"]);
    services.until("app", |service| service["state"] == "stopped");
    until("all of it is gone", || (!is_alive(leader) && !is_alive(below)).then_some(()));
    services.until_told("app", "it did not end in 1 s");
}

#[test]
fn a2_a_start_command_that_fails_is_told_with_its_code_and_given_up() {
    let (mut services, dir) = home(|dir| format!("{}restarts = 1\n", by_words(dir)));
    let program = dir.join("fails");
    fs::write(&program, "#!/bin/sh\necho no licence >&2\nexit 3\n").expect("written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).expect("set");
    let text = format!("[[service]]\nname = \"app\"\nstart = [\"./fails\"]\nrestarts = 1\n{}", by_words(&dir));
    services.configure(&text);
    services.start();
    services.until("app", |service| service["state"] == "given_up");
    let told = services.until_told("app", "start refused: its start command exited with 3");
    assert!(told.contains("log/app.err"), "{told}");
    let said = fs::read_to_string(services.state().join("services/log/app.err")).expect("there");
    assert!(said.contains("no licence"), "{said}");
}

#[test]
fn a2_a21_a_start_command_that_a_killed_agent_left_is_not_run_twice() {
    let (mut services, dir) = home(by_words);
    let slow = format!(
        "echo started >> starts; until [ -e go ]; do sleep 0.1; done; {}",
        "setsid sh \"$PWD/app.sh\" > /dev/null 2>&1 &"
    );
    services.configure(&format!(
        "[[service]]\nname = \"app\"\nstart = [\"sh\", \"-c\", '''{slow}''']\nstart_within = \"1s\"\nrestarts = 1000\nbackoff = \"1s\"\n{}",
        by_words(&dir)
    ));
    services.start();
    until("it is being started", || (starts(&dir) == 1).then_some(()));
    let record = services.state().join("services/starts/app.json");
    until("which process that is is written down", || {
        let known: serde_json::Value = serde_json::from_slice(&fs::read(&record).ok()?).ok()?;
        (known["process"]["pid"] != 0).then_some(())
    });
    services.agent.end();
    services.start();
    services.until_told("app", "its start command still runs as process");
    fs::write(dir.join("go"), "").expect("written");
    services.until_up("app", 0);
    assert_eq!(starts(&dir), 1, "{}", services.told("app"));
}
