//! An agent that keeps services alive, and the services themselves, which would outlive both it and the test.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::agent::Agent;

/// Longest wait for anything.
const LIMIT: Duration = Duration::from_secs(120);

/// An agent with services. All of them end with it.
pub(crate) struct Supervising {
    pub(crate) agent: Agent,
    address: String,
}

impl Supervising {
    /// A home with this configuration; the agent does not run yet.
    pub(crate) fn new(services: &str) -> Self {
        let agent = Agent::new("");
        let supervising = Self { agent, address: String::new() };
        supervising.configure(services);
        supervising
    }

    /// The same, with the agent running.
    pub(crate) fn started(services: &str) -> Self {
        let mut supervising = Self::new(services);
        supervising.start();
        supervising
    }

    pub(crate) fn configure(&self, services: &str) {
        self.agent.configure(&format!("[http]\nlisten = \"127.0.0.1:0\"\n[sync]\ninterval = \"24h\"\n{services}"));
    }

    pub(crate) fn start(&mut self) {
        self.start_with(&["run"]);
    }

    pub(crate) fn start_with(&mut self, arguments: &[&str]) {
        self.agent.start_with(arguments);
        let line = self.agent.wait_for("serving http://");
        self.address = line.trim().trim_start_matches("serving http://").trim_end_matches("/health").to_owned();
    }

    /// What `/health` says now.
    pub(crate) fn health(&self) -> Value {
        let mut stream = TcpStream::connect(&self.address).expect("connected");
        let request = format!("GET /health HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address);
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        serde_json::from_str(answer.split_once("\r\n\r\n").expect("an answer").1).expect("JSON")
    }

    /// Waits until a service is as `done` says.
    pub(crate) fn until(&self, name: &str, done: impl Fn(&Value) -> bool) -> Value {
        let limit = Instant::now() + LIMIT;
        loop {
            let health = self.health();
            let service = &health["services"][name];
            if done(service) {
                return service.clone();
            }
            assert!(Instant::now() < limit, "{name} is not so within two minutes: {service:#}\n{}", self.told(name));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until it runs, as another process than `before`. Returns its pid.
    pub(crate) fn until_up(&self, name: &str, before: u32) -> u32 {
        let service = self.until(name, |service| service["state"] == "up" && service["pid"] != before);
        u32::try_from(service["pid"].as_u64().expect("a pid")).expect("a pid")
    }

    /// All that happened to a service, the newest first.
    pub(crate) fn told(&self, name: &str) -> String {
        let output = self.agent.command(&["service", "show", name]).output().expect("runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Waits until something was told of a service.
    pub(crate) fn until_told(&self, name: &str, text: &str) -> String {
        until(text, || Some(self.told(name)).filter(|told| told.contains(text)))
    }

    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.agent.command(arguments).output().expect("runs");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.agent.home().join("state")
    }

    /// Processes that carry the mark of this home and lead a session: what the agent started and nobody ended.
    pub(crate) fn leaders(&self) -> Vec<u32> {
        self.marked().into_iter().filter(|pid| session(*pid) == Some(*pid)).collect()
    }

    fn marked(&self) -> Vec<u32> {
        let state = fs::canonicalize(self.state()).unwrap_or_else(|_| self.state());
        let mark = format!("MESH_SERVICE_HOME={}", state.display());
        let pids = fs::read_dir("/proc").expect("proc").flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|pid| {
            let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environ.split(|byte| *byte == 0).any(|one| one == mark.as_bytes()) && is_alive(*pid)
        })
        .collect()
    }
}

impl Drop for Supervising {
    fn drop(&mut self) {
        self.agent.end();
        for pid in self.marked() {
            let pid = Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid");
            // It may have gone with another one.
            let (_group, _alone) = (kill_process_group(pid, Signal::KILL), kill_process(pid, Signal::KILL));
        }
        until("all of them are gone", || self.marked().is_empty().then_some(()));
        // A killed agent takes neither its cgroups nor its socket away.
        let state = fs::canonicalize(self.state()).unwrap_or_else(|_| self.state());
        let digest = Sha256::digest(state.to_string_lossy().as_bytes());
        let tag: String = digest[..4].iter().map(|byte| format!("{byte:02x}")).collect();
        drop(fs::remove_dir_all(format!("/run/mesh-{tag}")));
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        for mount in
            mounts.lines().filter(|line| line.contains(" - cgroup2 ")).filter_map(|line| line.split(' ').nth(4))
        {
            let dir = Path::new(mount).join(format!("mesh-{tag}"));
            for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
                drop(fs::remove_dir(entry.path()));
            }
            drop(fs::remove_dir(&dir));
        }
    }
}

/// Waits until there is a value.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let limit = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < limit, "not within two minutes: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(')')?.1.split_ascii_whitespace().map(str::to_owned).collect())
}

/// Whether a process is there and no zombie.
pub(crate) fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|stat| !matches!(stat[0].as_str(), "Z" | "X"))
}

fn session(pid: u32) -> Option<u32> {
    stat(pid)?.get(3)?.parse().ok()
}

pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid");
    kill_process(pid, signal).expect("it is there");
}
