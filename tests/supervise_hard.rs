//! The agent dies, pids come back, disks fill up, memory runs out: services must neither double nor be lost.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::support::services::{Supervising, is_alive, signal, until};

const SLEEP: &str = "[\"sleep\", \"100000\"]";

fn child(name: &str, argv: &str, more: &str) -> String {
    format!("[[service]]\nname = \"{name}\"\ncommand = {argv}\n{more}\n")
}

fn ten() -> String {
    (0..10).map(|index| child(&format!("s-{index}"), SLEEP, "")).collect()
}

fn pids(services: &Supervising) -> Vec<u32> {
    (0..10).map(|index| services.until_up(&format!("s-{index}"), 0)).collect()
}

#[test]
fn a21_ten_children_outlive_a_killed_agent_and_none_is_doubled() {
    let mut services = Supervising::started(&ten());
    let before = pids(&services);
    services.agent.end();
    assert!(before.iter().all(|pid| is_alive(*pid)), "they outlive the agent");
    signal(before[3], Signal::KILL);
    signal(before[7], Signal::KILL);
    until("both are gone", || (!is_alive(before[3]) && !is_alive(before[7])).then_some(()));
    services.start();
    let after = pids(&services);
    for (index, (before, after)) in before.iter().zip(&after).enumerate() {
        assert_eq!(before == after, !matches!(index, 3 | 7), "{index}");
    }
    assert_eq!(services.leaders().len(), 10, "none twice");
    services.until_told("s-3", "ended while nobody looked");
    services.until_told("s-4", "runs already: taken over as it is");
    // The ones that were taken over are seen to end like the others.
    signal(after[0], Signal::KILL);
    services.until_up("s-0", after[0]);
    assert_eq!(services.leaders().len(), 10);
}

#[test]
fn an_agent_that_is_told_to_stop_leaves_its_children_running() {
    let mut services = Supervising::started(&child("web", SLEEP, ""));
    let web = services.until_up("web", 0);
    services.agent.signal(Signal::TERM);
    assert_eq!(services.agent.wait().code(), Some(0));
    assert!(is_alive(web));
    services.start();
    assert_eq!(services.until_up("web", 0), web);
}

#[test]
fn a_child_that_was_started_and_not_recorded_is_found_by_its_mark() {
    let mut services = Supervising::started(&child("web", SLEEP, ""));
    let web = services.until_up("web", 0);
    services.agent.end();
    fs::remove_file(services.state().join("services/web.json")).expect("recorded");
    services.start();
    assert_eq!(services.until_up("web", 0), web);
    assert_eq!(services.leaders(), [web]);
    assert!(services.state().join("services/web.json").exists(), "and recorded now");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a process that is none of mesh's")]
fn a_pid_that_went_to_another_process_is_neither_adopted_nor_killed() {
    let mut services = Supervising::started(&child("web", SLEEP, ""));
    let web = services.until_up("web", 0);
    services.agent.end();
    signal(web, Signal::KILL);
    until("it is gone", || (!is_alive(web)).then_some(()));
    let mut stranger = Command::new("sleep").arg("100000").stdin(Stdio::null()).spawn().expect("sleep runs");
    let record = services.state().join("services/web.json");
    let mut known: serde_json::Value = serde_json::from_slice(&fs::read(&record).expect("there")).expect("JSON");
    known["process"]["pid"] = stranger.id().into();
    fs::write(&record, known.to_string()).expect("written");
    services.start();
    let new = services.until_up("web", 0);
    assert_ne!(new, stranger.id());
    services.ok(&["service", "stop", "web"]);
    services.until("web", |service| service["state"] == "stopped");
    assert!(is_alive(stranger.id()), "the stranger was left alone");
    stranger.kill().expect("it is ours");
    stranger.wait().expect("waited for");
}

#[test]
fn a_record_that_cannot_be_read_starts_nothing_and_says_what_to_do() {
    let mut services = Supervising::started(&child("web", SLEEP, ""));
    let web = services.until_up("web", 0);
    services.agent.end();
    fs::write(services.state().join("services/web.json"), "{").expect("damaged");
    services.start();
    let service = services.until("web", |service| service["why"].as_str().is_some_and(|why| !why.is_empty()));
    assert!(service["why"].as_str().is_some_and(|why| why.contains("cannot be read")), "{service:#}");
    assert_eq!((service["liveness"].is_null(), services.leaders()), (true, vec![web]));
}

/// A service in Python that speaks the protocol of sd_notify until the file `silent` is there.
const SPEAKS: &str = r#"import os, socket, time
where = os.environ["NOTIFY_SOCKET"]
voice = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
voice.connect(where)
open("where", "w").write(where)
assert int(os.environ["WATCHDOG_USEC"]) == 2000000
voice.send(b"READY=1")
while True:
    if not os.path.exists("silent"):
        voice.send(b"WATCHDOG=1")
    time.sleep(0.2)
"#;

#[test]
fn a3_the_watchdog_hears_its_service_and_nobody_else() {
    let more = "notify = true\nwatchdog = \"2s\"\n";
    let services = Supervising::new(&child("web", "[\"python3\", \"speaks.py\"]", more));
    fs::write(services.agent.home().join("speaks.py"), SPEAKS).expect("written");
    let mut services = services;
    services.start();
    let first = services.until_up("web", 0);
    services.until("web", |service| service["liveness"] == true);
    let heard = until("a restart of the agent is no silence", || {
        services.until("web", |service| service["liveness"] == true);
        Some(services.until_up("web", 0))
    });
    assert_eq!(heard, first);
    let socket = fs::read_to_string(services.agent.home().join("where")).expect("written");
    fs::write(services.agent.home().join("silent"), "").expect("written");
    let liar = UnixDatagram::unbound().expect("made");
    services.until("web", |service| {
        // Somebody else says that it lives.
        liar.send_to(b"WATCHDOG=1", &socket).expect("sent");
        service["pid"].as_u64() != Some(u64::from(first))
    });
    let told = services.until_told("web", "no WATCHDOG=1 within 2 s");
    assert!(told.contains("asked to end: it hangs"), "{told}");
}

#[test]
fn a9_growth_past_the_memory_limit_ends_the_service_and_is_named() {
    let services = Supervising::new(&child("fat", "[\"python3\", \"fat.py\"]", "memory_mb = 50"));
    let script = "import time\nkept = []\nwhile True:\n    kept.append(b'a' * 1000000)\n    time.sleep(0.05)\n";
    fs::write(services.agent.home().join("fat.py"), script).expect("written");
    let mut services = services;
    services.start();
    services.until_up("fat", 0);
    let told = services.until_told("fat", "killed for want of memory");
    assert!(told.contains("asked to end: it passed its memory limit"), "{told}");
    services.until("fat", |service| service["restarts"].as_u64().is_some_and(|restarts| restarts > 0));
}

fn run(argv: &[&str]) -> bool {
    #[expect(clippy::disallowed_methods, reason = "mount and umount")]
    let status = Command::new(argv[0]).args(&argv[1..]).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// A small file system in the place of the state directory; it goes when this does.
struct SmallDisk(String);

impl SmallDisk {
    fn in_place_of_state(services: &Supervising) -> Self {
        let state = services.state();
        let text = state.to_string_lossy().into_owned();
        let aside = services.agent.home().join("state.before");
        fs::rename(&state, &aside).expect("moved");
        fs::create_dir(&state).expect("made");
        let mounted = run(&["mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs", &text]);
        assert!(mounted, "a full disk needs a disk of its own: run this test as root, who may mount a tmpfs");
        assert!(run(&["cp", "-a", &format!("{}/.", aside.display()), &text]), "copied");
        Self(text)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run(&["umount", "-l", &self.0]);
    }
}

#[test]
fn a_full_disk_under_the_state_directory_stops_no_restart_and_doubles_nothing() {
    let mut services = Supervising::new(&child("web", SLEEP, ""));
    let disk = SmallDisk::in_place_of_state(&services);
    services.start();
    let first = services.until_up("web", 0);
    let filler = services.state().join("filler");
    assert!(!run(&["dd", "if=/dev/zero", &format!("of={}", filler.display()), "bs=4k"]), "the disk is full");
    signal(first, Signal::KILL);
    let second = services.until_up("web", first);
    services.agent.wait_for("cannot be written down");
    services.agent.end();
    fs::remove_file(&filler).expect("removed");
    services.start();
    assert_eq!(services.until_up("web", 0), second, "found by its mark");
    assert_eq!(services.leaders(), [second]);
    drop(services);
    drop(disk);
}
