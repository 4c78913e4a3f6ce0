//! Services kept alive by the real agent: real processes that crash, hang, loop, wait for each other and are stopped.

use std::fs;
use std::net::TcpListener;

use rustix::process::Signal;

use crate::support::services::{Supervising, is_alive, signal, until};

fn child(name: &str, argv: &str, more: &str) -> String {
    format!("[[service]]\nname = \"{name}\"\ncommand = {argv}\n{more}\n")
}

fn shell(script: &str) -> String {
    format!("[\"sh\", \"-c\", '''{script}''']")
}

const SLEEP: &str = "[\"sleep\", \"100000\"]";

/// Counts in the file `beat` of the home for as long as it runs.
const BEATS: &str = "i=0; while :; do i=$((i+1)); echo $i > beat.new; mv beat.new beat; sleep 0.1; done";

#[test]
fn a1_a_crash_is_followed_by_a_restart_and_named() {
    let services = Supervising::started(&child("web", SLEEP, ""));
    let first = services.until_up("web", 0);
    signal(first, Signal::KILL);
    let second = services.until_up("web", first);
    assert!(is_alive(second) && !is_alive(first));
    let told = services.until_told("web", "ended by signal 9");
    assert!(told.contains("started: it ended"), "{told}");
    let listed = services.agent.json(&["service", "list", "--json"]);
    assert_eq!(listed["services"][0]["name"], "web");
    assert!(services.ok(&["status"]).contains("services 1 up"));
    assert_eq!(services.leaders(), [second], "in a session of its own, and one of it");
}

#[test]
fn b5_what_a_service_uses_is_measured_anew_for_each_process_and_shown() {
    let services = Supervising::started(&child("web", &shell("sleep 100000 & wait"), ""));
    let weighs = |service: &serde_json::Value| service["rss_mb"].as_f64().is_some_and(|mb| mb > 0.1);
    let first = services.until_up("web", 0);
    assert!(services.until("web", weighs).get("last_end").is_none(), "it never ended");
    let health = services.health();
    for signal in ["processes", "threads", "fds", "restarts"] {
        let view = &health["signals"][format!("service.{signal}/web")];
        assert!(view["value"].is_number(), "{signal}: {view:#}");
    }
    signal(first, Signal::KILL);
    services.until_up("web", first);
    assert_eq!(services.until("web", weighs)["last_end"], "ended by signal 9");
    services.ok(&["service", "stop", "web"]);
    services.until("web", |service| service["state"] == "stopped" && service["rss_mb"].is_null());
    let state = |name: &str| services.health()["signals"][name]["state"].clone();
    until("absent", || {
        (state("service.rss_mb/web") == "absent" && state("service.threads/web") == "absent").then_some(())
    });
}

#[test]
fn a_manager_that_is_not_here_makes_its_services_unknown_and_delays_no_other() {
    let far = "[[service]]\nname = \"far\"\nmanager = \"launchd\"\n";
    let services = Supervising::started(&format!("{far}{}", child("web", SLEEP, "")));
    let far = services.until("far", |service| service["why"].as_str().is_some_and(|why| why.contains("launchctl")));
    assert_eq!((&far["state"], far["liveness"].is_null()), (&"unknown".into(), true), "{far:#}");
    services.until_up("web", 0);
    let reasons = services.health()["reasons"].to_string();
    assert!(!reasons.contains("service far is"), "{reasons}");
    let told = services.told("far");
    assert!(!told.contains("started") && !told.contains("refused"), "nothing was done: {told}");
}

#[test]
fn a3_a5_a_halted_service_is_found_by_its_heartbeat_and_restarted() {
    let heartbeat = "heartbeat = { file = \"beat\", within = \"2s\" }\nsteady = \"1s\"";
    let services = Supervising::started(&child("web", &shell(BEATS), heartbeat));
    let first = services.until_up("web", 0);
    services.until("web", |service| service["liveness"] == true);
    signal(first, Signal::STOP);
    let second = services.until_up("web", first);
    let told = services.until_told("web", "it hangs: its heartbeat has not changed");
    assert!(!is_alive(first) && is_alive(second), "{told}");
    services.until("web", |service| service["liveness_kills"] == 1 && service["liveness"] == true);
    services.until("web", |_| {
        let signals = services.health()["signals"].clone();
        let beats = signals["service.heartbeat_age_s/web"]["value"].as_f64().is_some_and(|age| age < 120.0);
        beats && signals["service.liveness_kills/web"]["value"] == 1.0
    });
}

#[test]
fn a_hung_page_restarts_its_service_and_delays_no_other() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("bound");
    let page = silent.local_addr().expect("bound");
    let probe = |timeout: u32| {
        format!(
            "probe = {{ http = \"http://{page}/\", every = \"1s\", timeout = \"{timeout}s\", failures = 1 }}\nstart_within = \"2s\""
        )
    };
    let mut config = child("hung", SLEEP, &probe(1));
    for index in 0..10 {
        config.push_str(&child(&format!("slow-{index}"), SLEEP, &probe(50)));
    }
    config.push_str(&child("quick", SLEEP, ""));
    let services = Supervising::started(&config);
    let quick = services.until_up("quick", 0);
    let hung = services.until("hung", |service| service["pid"].is_u64())["pid"].as_u64().expect("a pid");
    signal(quick, Signal::KILL);
    services.until_up("quick", quick);
    services.until("hung", |service| service["pid"].as_u64().is_some_and(|pid| pid != hung));
    services.until_told("hung", "it did not become ready in time");
    let health = services.health();
    assert!((0..10).all(|index| health["services"][format!("slow-{index}")]["restarts"] == 0), "{health:#}");
}

#[test]
fn a10_a12_a_crash_loop_is_given_up_told_once_and_tried_again() {
    let more = "restarts = 2\nbackoff = \"1s\"\nretry_after = \"2s\"\n";
    let services = Supervising::started(&child("loop", "[\"false\"]", more));
    let service = services.until("loop", |service| service["state"] == "given_up");
    assert_eq!((service["liveness"].as_bool(), service["critical"].as_bool()), (Some(false), Some(true)));
    assert_eq!(services.health()["status"], "critical");
    services.until_told("loop", "a new try after it was given up");
    services.until("loop", |service| service["state"] == "given_up");
    let told = services.until_told("loop", "given up: 2 restarts");
    assert_eq!(told.matches("given up: ").count(), 1, "{told}");
    assert!(told.contains("exited with 1"), "{told}");
}

#[test]
fn b27_an_optional_service_makes_nothing_critical() {
    let services = Supervising::started(&child("nice", "[\"false\"]", "criticality = \"optional\"\nrestarts = 1\n"));
    services.until("nice", |service| service["state"] == "given_up");
    assert_eq!(services.health()["status"], "degraded");
}

#[test]
fn a13_a_child_waits_for_its_parent_and_resumes_when_it_is_back() {
    let parent = child("db", "[\"./db.sh\"]", "backoff_most = \"1s\"\nrestarts = 1000");
    let services = Supervising::started(&format!("{parent}{}", child("web", SLEEP, "depends_on = [\"db\"]")));
    services.until("web", |service| service["why"] == "waits for what it depends on");
    let program = services.agent.home().join("db.sh");
    services.until_told("db", "start refused: no program ./db.sh");
    fs::write(&program, "#!/bin/sh\nexec sleep 100000\n").expect("written");
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("set");
    let (db, web) = (services.until_up("db", 0), services.until_up("web", 0));
    fs::remove_file(&program).expect("removed");
    signal(db, Signal::KILL);
    services.until("db", |service| service["state"] != "up");
    signal(web, Signal::KILL);
    services.until("web", |service| service["why"] == "waits for what it depends on");
    fs::write(&program, "#!/bin/sh\nexec sleep 100000\n").expect("written");
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("set");
    services.until_up("db", db);
    services.until_up("web", web);
}

#[test]
fn a14_what_a_person_stopped_stays_down_over_a_restart_of_the_agent() {
    let mut services = Supervising::started(&child("web", SLEEP, ""));
    let first = services.until_up("web", 0);
    let said = services.ok(&["service", "stop", "web", "--reason", "backup"]);
    assert!(said.contains("is being stopped"), "{said}");
    services.until("web", |service| service["state"] == "stopped");
    assert!(!is_alive(first));
    services.agent.end();
    services.start();
    services.until("web", |service| service["state"] == "stopped");
    assert!(services.leaders().is_empty());
    services.ok(&["service", "start", "web"]);
    services.until_up("web", first);
    let wrong = services.agent.command(&["service", "stop", "wbe"]).output().expect("runs");
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn a6_term_that_is_ignored_is_followed_by_the_end_of_the_whole_group() {
    let script = "trap \"\" TERM; sleep 100000 & echo $! > below; while :; do sleep 1; done";
    let services = Supervising::started(&child("deaf", &shell(script), "grace = \"1s\""));
    let leader = services.until_up("deaf", 0);
    let below = services.agent.home().join("below");
    let below = until("it started another one", || fs::read_to_string(&below).ok()?.trim().parse::<u32>().ok());
    services.ok(&["service", "stop", "deaf"]);
    services.until("deaf", |service| service["state"] == "stopped");
    until("all of it is gone", || (!is_alive(leader) && !is_alive(below)).then_some(()));
    services.until_told("deaf", "killed with its group: it did not end in 1 s");
}

#[test]
fn what_a_crashed_service_left_behind_goes_before_it_is_started_again() {
    let script = "sleep 100000 & echo $! > below; wait";
    let services = Supervising::started(&child("web", &shell(script), ""));
    let leader = services.until_up("web", 0);
    let path = services.agent.home().join("below");
    let below = until("it started another one", || fs::read_to_string(&path).ok()?.trim().parse::<u32>().ok());
    signal(leader, Signal::KILL);
    services.until_up("web", leader);
    until("what it left is gone", || (!is_alive(below)).then_some(()));
}

#[test]
fn b19_what_a_service_starts_at_once_is_where_its_service_is() {
    // One below it, and one that has left its session.
    let script = "setsid sleep 100000 & echo $! > below; setsid -f sh -c 'echo $$ > away; exec sleep 100000'; wait";
    let services = Supervising::started(&child("web", &shell(script), ""));
    let leader = services.until_up("web", 0);
    let cgroup = |pid: u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it runs");
        text.lines().find(|line| line.starts_with("0::")).map(str::to_owned)
    };
    for name in ["below", "away"] {
        let path = services.agent.home().join(name);
        let pid = until("it started another one", || fs::read_to_string(&path).ok()?.trim().parse::<u32>().ok());
        assert_eq!(cgroup(pid), cgroup(leader), "{name}");
        signal(pid, Signal::KILL);
    }
}

#[test]
fn an_end_that_was_seen_wakes_nobody_again() {
    let services = Supervising::started(&child("web", SLEEP, ""));
    services.until_up("web", 0);
    services.ok(&["service", "stop", "web"]);
    services.until("web", |service| service["state"] == "stopped");
    let tasks = fs::read_dir(format!("/proc/{}/task", services.agent.pid())).expect("it runs");
    let watcher = tasks.map(|task| task.expect("readable").path());
    let watcher = watcher
        .filter(|task| fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "children"))
        .collect::<Vec<_>>();
    let [watcher] = watcher.as_slice() else { panic!("one thread watches children: {watcher:?}") };
    let nanoseconds = || {
        let text = fs::read_to_string(watcher.join("schedstat")).expect("readable");
        text.split(' ').next().and_then(|used| used.parse::<u64>().ok()).expect("a number")
    };
    let before = nanoseconds();
    // Long enough for one that spins to be told from one that sleeps, on a busy machine too.
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert!(nanoseconds() - before < 50_000_000, "{} ns in a second at rest", nanoseconds() - before);
}

#[test]
fn a_pause_stops_restarts_and_its_end_resumes_them() {
    let services = Supervising::started(&child("web", SLEEP, ""));
    let first = services.until_up("web", 0);
    services.ok(&["pause", "--for", "2h"]);
    signal(first, Signal::KILL);
    services.until("web", |service| service["why"] == "mesh is paused and starts nothing");
    assert!(services.leaders().is_empty());
    services.ok(&["resume"]);
    services.until_up("web", first);
}

#[test]
fn j2_a_bad_config_keeps_the_services_and_a_good_one_is_taken_over() {
    let mut services = Supervising::started(&child("web", SLEEP, ""));
    let web = services.until_up("web", 0);
    services.configure(&child("web", SLEEP, "depends_on = [\"bd\"]"));
    services.agent.signal(Signal::HUP);
    let said = services.agent.wait_for("config not read again");
    assert!(said.contains("depends on unknown `bd`"), "{said}");
    services.configure(&format!("{}{}", child("web", "[\"sleep\", \"200000\"]", ""), child("db", SLEEP, "")));
    services.agent.signal(Signal::HUP);
    services.until_up("db", 0);
    let service = services.until("web", |service| service["why"] == "its definition changed on disk");
    assert_eq!(service["pid"], web, "it runs on as it was started");
    services.configure(&child("db", SLEEP, ""));
    services.agent.signal(Signal::HUP);
    let said = services.agent.wait_for("no longer in the configuration");
    assert!(said.contains(&web.to_string()) && is_alive(web), "{said}");
}

#[test]
fn d16_in_a_maintenance_window_what_ended_is_started_and_what_hangs_is_left_running() {
    let heartbeat = "heartbeat = { file = \"beat\", within = \"2s\" }\nsteady = \"1s\"";
    let services = Supervising::started(&child("web", &shell(BEATS), heartbeat));
    let first = services.until_up("web", 0);
    services.ok(&["maintenance", "start", "disks", "--for", "1h", "--target", "web"]);
    signal(first, Signal::KILL);
    let second = services.until_up("web", first);
    services.until("web", |service| service["liveness"] == true);
    signal(second, Signal::STOP);
    let left =
        services.until("web", |service| service["why"].as_str().is_some_and(|why| why.contains("people work on it")));
    assert_eq!((&left["state"], &left["pid"]), (&"unhealthy".into(), &second.into()), "{left:#}");
    services.ok(&["maintenance", "end", "disks"]);
    services.until_up("web", second);
    assert!(!is_alive(second));
    let told = services.until_told("web", "it hangs");
    assert_eq!(told.matches("it hangs").count(), 1, "once the window was over: {told}");
}

#[test]
fn d19_what_is_asked_of_services_and_signals_is_asked_as_the_user_that_is_named() {
    assert!(rustix::process::geteuid().is_root(), "this test runs as root, as in CI: sudo -E cargo test");
    let folder = tempfile::tempdir().expect("a temp dir");
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("open to all");
    let said = folder.path().join("said");
    let config = |user: &str| {
        let ask = format!("command = [\"sh\", \"-c\", \"id -u > {}\"], user = \"{user}\"", said.display());
        let service = child("web", SLEEP, &format!("probe = {{ {ask}, every = \"1s\" }}"));
        let signal =
            "[[signal]]\nname = \"who\"\ncommand = [\"id\", \"-u\"]\nsignal = \"check.value\"\nevery = \"10s\"\n";
        format!("{service}{signal}user = \"{user}\"\n")
    };
    let passwd = fs::read_to_string("/etc/passwd").expect("read");
    let nobody = passwd.lines().find(|line| line.starts_with("nobody:")).expect("there").split(':').nth(2);
    let nobody = nobody.expect("a number");
    let mut services = Supervising::started(&config("nobody"));
    services.until_up("web", 0);
    assert_eq!(fs::read_to_string(&said).expect("written by the probe").trim(), nobody);
    until("the signal is measured", || {
        let value = services.health()["signals"]["check.value/who"]["value"].as_f64()?;
        (value.to_string() == nobody).then_some(())
    });
    services.agent.end();
    services.configure(&config("nobody-here"));
    let refused = services.agent.command(&["config", "check"]).output().expect("runs");
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    for of in ["signal `who`", "probe of service `web`"] {
        assert!(words.contains(&format!("{of}: `user`: no user nobody-here in /etc/passwd")), "{words}");
    }
}

#[test]
fn a_dry_run_looks_and_starts_nothing() {
    let mut services = Supervising::new(&child("web", SLEEP, ""));
    services.start_with(&["run", "--dry-run"]);
    let service = services.until("web", |service| service["why"] == "mesh is paused and starts nothing");
    assert_eq!((service["state"].as_str(), services.leaders()), (Some("down"), Vec::new()));
}
