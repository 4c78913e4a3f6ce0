//! Units of a real systemd (252, of Debian 12), seen and asked over D-Bus. Every test here but the first runs inside a
//! container in which systemd is PID 1, as root, one after the other: `scripts/harness test` starts it and counts what
//! ran.

#![expect(
    clippy::disallowed_methods,
    reason = "these tests use systemctl as a person does, and the clock to compare systemd's with"
)]

use std::fs;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use mesh::domain::service::{EndCause, Run, Verb};
use mesh::ports::manager::{Teller, Told};
use mesh::sys::managers::systemd::Systemd;

use crate::support::following::{Following, cause};
use crate::support::services::Supervising;

/// Longer than anything here takes, and shorter than a person waits.
const LIMIT: Duration = Duration::from_secs(30);

/// Runs a program to its end and gives what it printed.
fn ran(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text.trim().to_owned()
}

fn systemctl(arguments: &[&str]) -> String {
    ran("systemctl", arguments)
}

/// A unit that is there for one test.
struct Unit(&'static str);

impl Unit {
    fn new(name: &'static str, section: &str) -> Self {
        let unit = Self(name);
        unit.write(section);
        systemctl(&["daemon-reload"]);
        unit
    }

    fn file(&self) -> String {
        format!("/etc/systemd/system/{}", self.0)
    }

    fn write(&self, section: &str) {
        let text = format!("[Service]\n{section}\n[Install]\nWantedBy=multi-user.target\n");
        fs::write(self.file(), text).expect("we are root");
    }

    fn property(&self, name: &str) -> String {
        systemctl(&["show", "--value", "-p", name, self.0])
    }

    fn pid(&self) -> u32 {
        self.property("MainPID").parse().expect("a number")
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        // What is left of it must not be in the way of the next test, whatever state it is in.
        for arguments in [["unmask", self.0], ["stop", self.0], ["disable", self.0], ["reset-failed", self.0]] {
            let _output = Command::new("systemctl").args(arguments).output();
        }
        let _gone = fs::remove_file(self.file());
        let _output = Command::new("systemctl").arg("daemon-reload").output();
    }
}

fn follow(unit: &str) -> Following<Systemd> {
    let (sender, told) = channel();
    by(Systemd::start(Teller::from(sender)).expect("a thread"), told, unit)
}

fn by(manager: Systemd, told: Receiver<Told>, unit: &str) -> Following<Systemd> {
    Following::by(manager, told, unit, LIMIT)
}

/// The one test here that needs no systemd.
#[test]
fn a_bus_that_is_not_there_is_unknown_and_every_order_refused() {
    let folder = tempfile::tempdir().expect("a temp dir");
    let (sender, told) = channel();
    let address = format!("unix:path={}/bus", folder.path().display());
    let manager = Systemd::at(&address, Teller::from(sender)).expect("a thread");
    let mut following = by(manager, told, "web.service");
    let seen = following.see("unknown", |seen| matches!(seen.run, Run::Unknown(_)));
    assert!(matches!(&seen.run, Run::Unknown(why) if why.contains("bus is not reached")), "{seen:?}");
    for verb in [Verb::Start, Verb::Stop, Verb::Kill, Verb::Reload] {
        following.act(verb);
        assert!(following.refused().contains("bus is not reached"), "{verb}");
    }
    following.look();
    following.see("unknown again", |seen| matches!(seen.run, Run::Unknown(_)));
}

#[test]
#[ignore = "needs systemd as PID 1: run by scripts/harness test"]
fn a_killed_service_is_told_with_its_process_cause_and_time() {
    let unit = Unit::new("mesh-t-killed.service", "ExecStart=/bin/sleep 1000");
    let mut following = follow(unit.0);
    let down = following.see_run(&Run::Down);
    assert!(down.end.is_none() && !down.stopped_by_operator, "never started is neither an end nor a stop: {down:?}");
    following.act(Verb::Start);
    let up = following.see_run(&Run::Up);
    let process = up.process.expect("a process");
    assert_eq!(process.pid, unit.pid());
    assert!(process.start_ticks > 0 && up.since.is_some());
    let before = jiff::Timestamp::now();
    ran("kill", &["-KILL", &process.pid.to_string()]);
    let down = following.see_run(&Run::Down);
    let end = down.end.clone().expect("an end");
    assert_eq!((end.cause, end.process.map(|p| p.pid)), (EndCause::Signal(9), Some(process.pid)));
    assert!(end.at.expect("a time").duration_since(before).abs() < jiff::SignedDuration::from_secs(10));
    assert!(down.process.is_none() && !down.stopped_by_operator, "{down:?}");
    // A unit that failed is started all the same, and starting one that runs changes nothing.
    following.act(Verb::Start);
    let up = following.see_run(&Run::Up);
    following.act(Verb::Start);
    assert_eq!(following.see_run(&Run::Up).process, up.process, "told also when nothing comes of it");
}

#[test]
#[ignore = "needs systemd as PID 1: run by scripts/harness test"]
fn a_program_that_is_not_there_was_never_started() {
    let unit = Unit::new("mesh-t-noexec.service", "ExecStart=/nowhere/program");
    let mut following = follow(unit.0);
    following.start();
    let down = following.see("an end", |seen| seen.end.is_some() && seen.run == Run::Down);
    assert!(matches!(cause(&down), EndCause::NotStarted(why) if why.contains("203/EXEC")), "{down:?}");
}

#[test]
#[ignore = "needs systemd as PID 1: run by scripts/harness test"]
fn each_end_of_a_crash_loop_is_told_and_systemd_gives_up() {
    let unit = Unit::new(
        "mesh-t-loop.service",
        "ExecStart=/bin/sh -c 'exit 3'\nRestart=always\nRestartSec=0\n[Unit]\nStartLimitBurst=5\nStartLimitIntervalSec=60",
    );
    let mut following = follow(unit.0);
    following.start();
    let down = following.see("that systemd gave up", |seen| seen.run == Run::Down && seen.restarts == Some(5));
    assert_eq!(cause(&down), EndCause::Exit(3));
    let mut pids: Vec<_> = following
        .heard
        .iter()
        .filter_map(|told| match told {
            Told::Seen(seen) => Some(seen.end.clone()?.process?.pid),
            _ => None,
        })
        .collect();
    pids.dedup();
    assert_eq!(pids.len(), 5, "each of the five programs that systemd started was seen to end: {pids:?}");
    // By hand it would be refused now: "start request repeated too quickly".
    assert!(!Command::new("systemctl").args(["start", unit.0]).status().expect("it runs").success());
    following.heard.clear();
    following.act(Verb::Start);
    following.see("the count from 0 again, raw", |seen| seen.restarts < Some(5));
    following.see("another loop", |seen| seen.run == Run::Down && seen.restarts == Some(5));
}

#[test]
#[ignore = "needs systemd as PID 1: run by scripts/harness test"]
fn a_stop_by_a_person_is_told_from_every_other_end() {
    let stubborn = "ExecStart=/bin/sh -c 'trap \"exit 1\" TERM; while :; do sleep 0.1; done'";
    for section in ["ExecStart=/bin/sleep 1000", stubborn] {
        let unit = Unit::new("mesh-t-stop.service", section);
        systemctl(&["enable", "--now", unit.0]);
        let mut following = follow(unit.0);
        following.see_run(&Run::Up);
        systemctl(&["stop", unit.0]);
        let down = following.see_run(&Run::Down);
        assert!(down.stopped_by_operator, "{section}: {down:?}");
        // Also when nobody looked while it was stopped.
        let down = follow(unit.0).see_run(&Run::Down);
        assert!(down.stopped_by_operator, "{section}, afterwards: {down:?}");
        systemctl(&["start", unit.0]);
        following.see_run(&Run::Up);
        following.act(Verb::Stop);
        let down = following.see_run(&Run::Down);
        assert!(!down.stopped_by_operator, "{section}: it was us: {down:?}");
    }
    let unit = Unit::new("mesh-t-quit.service", "ExecStart=/bin/sleep 0.3");
    systemctl(&["enable", "--now", unit.0]);
    let mut following = follow(unit.0);
    let down = following.see("an end", |seen| seen.end.is_some() && seen.run == Run::Down);
    assert_eq!(cause(&down), EndCause::Exit(0));
    assert!(!down.stopped_by_operator, "it ended by itself: {down:?}");
    systemctl(&["disable", unit.0]);
    fs::remove_file(unit.file()).expect("it was there");
    systemctl(&["mask", unit.0]);
    let masked = following.see("masked", |seen| seen.stopped_by_operator);
    assert_eq!(masked.run, Run::Down);
    following.act(Verb::Start);
    assert!(following.refused().contains("masked"));
}

#[test]
#[ignore = "needs systemd as PID 1: run by scripts/harness test"]
fn a_stop_by_mesh_is_no_persons_for_the_agent_that_comes_after() {
    let unit = Unit::new("mesh-t-own.service", "ExecStart=/bin/sleep 1000");
    systemctl(&["enable", "--now", unit.0]);
    let folder = tempfile::tempdir().expect("a temp dir");
    let remembering = || {
        let (sender, told) = channel();
        by(Systemd::remembering(folder.path(), Teller::from(sender)).expect("a thread"), told, unit.0)
    };
    let mut following = remembering();
    following.see_run(&Run::Up);
    following.act(Verb::Stop);
    following.see_run(&Run::Down);
    drop(following);
    assert!(!remembering().see_run(&Run::Down).stopped_by_operator);
    assert!(follow(unit.0).see_run(&Run::Down).stopped_by_operator, "who wrote nothing down cannot know");
    systemctl(&["start", unit.0]);
    systemctl(&["stop", unit.0]);
    assert!(remembering().see_run(&Run::Down).stopped_by_operator, "that was another run of it");
}

#[test]
#[ignore = "needs systemd as PID 1: run by scripts/harness test"]
fn the_agent_starts_a_killed_unit_again_names_the_cause_and_leaves_one_that_a_person_stopped() {
    let unit = Unit::new("mesh-t-agent.service", "ExecStart=/bin/sleep 1000");
    let services = Supervising::started("[[service]]\nname = \"web\"\nunit = \"mesh-t-agent.service\"\n");
    let first = services.until_up("web", 0);
    assert_eq!(first, unit.pid());
    ran("kill", &["-KILL", &first.to_string()]);
    let second = services.until_up("web", first);
    assert_eq!(second, unit.pid());
    let web = services.until("web", |web| web["rss_mb"].is_number());
    assert_eq!((&web["last_end"], &web["manager"]), (&"ended by signal 9".into(), &"systemd".into()), "{web:#}");
    let told = services.until_told("web", "ended by signal 9");
    assert!(told.contains("started: it ended"), "{told}");
    systemctl(&["stop", unit.0]);
    services.until("web", |web| web["state"] == "stopped" && web["rss_mb"].is_null());
    assert_eq!(unit.pid(), 0);
    // A person who asks mesh gets it, whoever stopped it; and that word is spent then.
    assert!(services.ok(&["service", "start", "web"]).contains("is being started"));
    let third = services.until_up("web", second);
    assert_eq!(third, unit.pid());
    systemctl(&["stop", unit.0]);
    services.until("web", |web| web["state"] == "stopped");
    systemctl(&["start", unit.0]);
    services.until_up("web", third);
}

#[test]
#[ignore = "needs systemd as PID 1: run by scripts/harness test"]
fn kill_and_stop_of_one_that_is_down_are_no_errors() {
    let unit = Unit::new("mesh-t-kill.service", "ExecStart=/bin/sh -c 'trap \"\" TERM; while :; do sleep 1; done'");
    let mut following = follow(unit.0);
    following.see_run(&Run::Down);
    following.act(Verb::Stop);
    following.act(Verb::Kill);
    following.act(Verb::Start);
    following.see_run(&Run::Up);
    following.act(Verb::Kill);
    let down = following.see_run(&Run::Down);
    assert_eq!(cause(&down), EndCause::Signal(9));
    assert!(!following.heard.iter().any(|told| matches!(told, Told::Refused { .. })), "{:?}", following.heard);
}

#[test]
#[ignore = "needs systemd as PID 1: run by scripts/harness test"]
fn an_edited_unit_needs_a_daemon_reload_and_is_left_alone_by_one() {
    let unit = Unit::new("mesh-t-edited.service", "ExecStart=/bin/sleep 1000");
    let mut following = follow(unit.0);
    following.start();
    let up = following.see_run(&Run::Up);
    assert!(!up.needs_reload);
    unit.write("ExecStart=/bin/sleep 2000");
    following.look();
    following.see("the need", |seen| seen.needs_reload);
    systemctl(&["daemon-reload"]);
    let after = following.see("the need gone", |seen| !seen.needs_reload);
    assert_eq!((after.run, after.process), (Run::Up, up.process), "the service was left alone");
}

#[test]
#[ignore = "needs systemd as PID 1: run by scripts/harness test"]
fn c5_a_unit_reads_its_configuration_again_as_its_own_definition_says() {
    let folder = tempfile::tempdir().expect("a temp dir");
    let read = folder.path().join("read");
    let start = "ExecStart=/bin/sleep 1000";
    let unit = Unit::new("mesh-t-reload.service", &format!("{start}\nExecReload=/bin/touch {}", read.display()));
    let mut following = follow(unit.0);
    following.start();
    let up = following.see_run(&Run::Up);
    following.act(Verb::Reload);
    following.hear("that it is done", |told| matches!(told, Told::Reloaded(_)));
    assert!(read.exists(), "done, and not only asked for");
    assert_eq!(unit.pid(), up.process.expect("a process").pid, "it goes on");
    // One that fails, and one that cannot.
    unit.write(&format!("{start}\nExecReload=/bin/false"));
    systemctl(&["daemon-reload"]);
    following.act(Verb::Reload);
    assert!(following.refused().contains("its reload ended as `failed`"));
    unit.write(start);
    systemctl(&["daemon-reload"]);
    following.act(Verb::Reload);
    assert!(following.refused().contains("not applicable"));
    assert_eq!(unit.pid(), up.process.expect("a process").pid);
}

#[test]
#[ignore = "needs systemd as PID 1: run by scripts/harness test"]
fn an_order_that_ends_while_all_units_are_looked_at_is_answered() {
    let unit = Unit::new("mesh-t-busy.service", "ExecStart=/bin/sleep 1000\nExecReload=/bin/false");
    let mut following = follow(unit.0);
    following.start();
    following.see_run(&Run::Up);
    for _ in 0..20 {
        // When systemd has read its files everything is looked at anew, and the job ends meanwhile.
        systemctl(&["daemon-reload"]);
        following.act(Verb::Reload);
        assert!(following.refused().contains("its reload ended as `failed`"));
    }
}

#[test]
#[ignore = "needs systemd as PID 1: run by scripts/harness test"]
fn a_unit_that_does_not_exist_is_named_and_found_once_it_does() {
    let mut following = follow("mesh-t-nowhere.service");
    let down = following.see_run(&Run::Down);
    assert!(
        matches!(cause(&down), EndCause::NotStarted(why) if why.contains("mesh-t-nowhere.service")),
        "named: {down:?}"
    );
    let _unit = Unit::new("mesh-t-nowhere.service", "ExecStart=/bin/sleep 1000");
    let found = following.see("the unit", |seen| seen.end.is_none());
    assert_eq!(found.run, Run::Down);
    following.act(Verb::Start);
    following.see_run(&Run::Up);
}

#[test]
#[ignore = "needs systemd as PID 1: run by scripts/harness test"]
fn a_broken_unit_file_says_what_is_wrong() {
    let unit = Unit::new("mesh-t-broken.service", "Type=nonsense");
    let mut following = follow(unit.0);
    let down = following.see_run(&Run::Down);
    assert!(matches!(cause(&down), EndCause::NotStarted(why) if why.contains("not in order")), "{down:?}");
}

#[test]
#[ignore = "needs systemd as PID 1: run by scripts/harness test"]
fn a_kill_for_want_of_memory_is_named() {
    let greedy =
        "ExecStart=/usr/bin/python3 -c 'import time; time.sleep(0.5); x = []\\nwhile True: x.append(b\"1\" * 1000000)'";
    let greedy = greedy.replace("\\n", "\\x0a");
    let unit = Unit::new("mesh-t-memory.service", &format!("{greedy}\nMemoryMax=40M\nMemorySwapMax=0"));
    let mut following = follow(unit.0);
    following.start();
    let down = following.see("an end", |seen| seen.end.is_some() && seen.run == Run::Down);
    assert_eq!(cause(&down), EndCause::OutOfMemory, "{down:?}");
    // The same unit killed by somebody is not the same thing, though the log still holds the first one.
    following.act(Verb::Start);
    let up = following.see_run(&Run::Up);
    ran("kill", &["-KILL", &up.process.expect("a process").pid.to_string()]);
    let down = following.see("another end", |seen| seen.run == Run::Down && seen.end != down.end);
    assert_eq!(cause(&down), EndCause::Signal(9), "{down:?}");
}

#[test]
#[ignore = "needs systemd as PID 1: run by scripts/harness test"]
fn a_hang_by_the_watchdog_and_a_start_that_takes_too_long_are_named() {
    let unit = Unit::new(
        "mesh-t-hung.service",
        "Type=notify\nNotifyAccess=all\nWatchdogSec=1\nExecStart=/bin/sh -c 'systemd-notify --ready; exec sleep 1000'",
    );
    let mut following = follow(unit.0);
    following.start();
    following.see_run(&Run::Up);
    let down = following.see_run(&Run::Down);
    assert_eq!(cause(&down), EndCause::Watchdog);
    assert!(!down.stopped_by_operator);
    let unit = Unit::new("mesh-t-slow.service", "Type=notify\nTimeoutStartSec=1\nExecStart=/bin/sleep 1000");
    let mut following = follow(unit.0);
    following.start();
    following.see_run(&Run::Starting);
    let down = following.see("an end", |seen| seen.end.is_some() && seen.run == Run::Down);
    assert_eq!(cause(&down), EndCause::TimedOut);
    assert!(!down.stopped_by_operator);
}

#[test]
#[ignore = "needs systemd as PID 1: run by scripts/harness test"]
fn a_bus_that_is_killed_leaves_services_unknown_and_then_seen_again() {
    let unit = Unit::new("mesh-t-bus.service", "ExecStart=/bin/sleep 1000");
    let mut following = follow(unit.0);
    following.start();
    let up = following.see_run(&Run::Up);
    ran("systemctl", &["kill", "-s", "KILL", "dbus.service"]);
    let lost = following.see("unknown", |seen| matches!(seen.run, Run::Unknown(_)));
    assert!(matches!(&lost.run, Run::Unknown(why) if why.contains("bus")), "{lost:?}");
    let back = following.see_run(&Run::Up);
    assert_eq!(back.process, up.process);
    assert!(
        !following
            .heard
            .iter()
            .skip_while(|told| !matches!(told, Told::Seen(seen) if seen.run == Run::Up))
            .any(|told| matches!(told, Told::Seen(seen) if seen.run == Run::Down)),
        "not seeing is not down: {:?}",
        following.heard
    );
    // And it is followed again, not only looked at once.
    ran("kill", &["-KILL", &up.process.expect("a process").pid.to_string()]);
    assert_eq!(cause(&following.see_run(&Run::Down)), EndCause::Signal(9));
}

#[test]
#[ignore = "needs systemd as PID 1: run by scripts/harness test"]
fn a_bus_that_hangs_is_unknown_and_an_order_meanwhile_is_refused() {
    let unit = Unit::new("mesh-t-hang.service", "ExecStart=/bin/sleep 1000");
    let mut following = follow(unit.0);
    following.see_run(&Run::Down);
    let daemon = systemctl(&["show", "--value", "-p", "MainPID", "dbus.service"]);
    ran("kill", &["-STOP", &daemon]);
    following.look();
    following.act(Verb::Start);
    let lost =
        following.hear("unknown", |told| matches!(told, Told::Seen(seen) if matches!(seen.run, Run::Unknown(_))));
    let refused = following.refused();
    ran("kill", &["-CONT", &daemon]);
    assert!(format!("{lost:?}").contains("did not answer"), "{lost:?}");
    assert!(refused.contains("did not answer"), "{refused}");
    following.see_run(&Run::Down);
}

/// The same test runs itself again as another user, since a manager has no other way to be somebody else.
#[test]
#[ignore = "needs systemd as PID 1: run by scripts/harness test"]
fn another_user_sees_everything_and_is_told_how_to_be_let_do_it() {
    const NAME: &str = "systemd_units::another_user_sees_everything_and_is_told_how_to_be_let_do_it";
    if rustix::process::getuid().is_root() {
        let unit = Unit::new("mesh-t-user.service", "ExecStart=/bin/sleep 1000\nExecReload=/bin/true");
        systemctl(&["enable", "--now", unit.0]);
        let program = std::env::current_exe().expect("we run");
        let program = program.to_str().expect("UTF-8");
        let told = ran("runuser", &["-u", "nobody", "--", program, "--ignored", "--exact", NAME]);
        assert!(told.contains("1 passed"), "{told}");
        assert_ne!(unit.pid(), 0, "it still runs");
        return;
    }
    let mut following = follow("mesh-t-user.service");
    following.see_run(&Run::Up);
    for verb in [Verb::Stop, Verb::Kill, Verb::Reload] {
        following.act(verb);
        let why = following.refused();
        assert!(why.contains("polkit") && why.contains("root"), "{verb}: {why}");
    }
    following.look();
    following.see_run(&Run::Up);
}
