//! The newcomer's command and the agent, as a person starts and stops them.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::homes::Host;
use crate::support::project::{Project, git};

const SAVE: &str = "import json\n\nSTATE_PATH = \"state.json\"\n\n\ndef save_state(state):\n    with open(STATE_PATH, \"w\") as f:\n        json.dump(state, f)\n";

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("there").permissions().mode() & 0o777
}

#[test]
fn up_once_goes_from_nothing_to_a_seeded_fix() {
    let project = Project::new(&[("app.py", SAVE)]);
    let above = tempfile::tempdir().expect("a temp dir");
    let host = Host { home: above.path().join("home") };
    let run = |arguments: &[&str]| {
        let output = host.command(arguments).current_dir(&project.root).output().expect("the binary starts");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        text
    };
    let before = project.everything();
    let told = run(&["up", "--once"]);
    assert!(told.contains("app.py:7:5") && told.contains("non-atomic-state-write"), "{told}");
    assert!(told.contains("+    os.replace("), "the fix is shown as a diff: {told}");
    assert!(told.contains("Next:") && told.contains("git diff HEAD...mesh/fix/"), "{told}");
    assert_eq!(project.mesh_branches().len(), 1, "{told}");
    assert_eq!(project.everything(), before, "branch, index and files of the person are as they were");
    assert_eq!((mode(&host.home), mode(&host.home.join("keys/host.key"))), (0o700, 0o600));
    let key = std::fs::read(host.home.join("keys/host.key")).expect("there");

    let again = run(&["up", "--once"]);
    assert!(!again.contains("Made the home"), "{again}");
    assert_eq!(std::fs::read(host.home.join("keys/host.key")).expect("there"), key, "the key is kept");
    assert_eq!(project.mesh_branches().len(), 1, "{again}");
}

#[test]
fn a_remote_that_is_not_there_stops_neither_audit_nor_agent() {
    let project = Project::new(&[("app.py", SAVE)]);
    let above = tempfile::tempdir().expect("a temp dir");
    let host = Host::new(above.path(), "lonely", &above.path().join("nowhere.git").to_string_lossy());
    let output = host.command(&["up", "--once"]).current_dir(&project.root).output().expect("the binary starts");
    let told = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success(), "{told}");
    assert!(told.contains("not synced: ") && told.contains("Nothing is lost"), "{told}");
    assert!(told.contains("app.py:7:5"), "{told}");
    host.author("mine");
    let output = host.run(&["outbox", "publish", "mine"]);
    assert_eq!(output.status.code(), Some(1), "nothing was published");
    let outbox = host.json(&["outbox", "list"]);
    assert_eq!(outbox["entries"], serde_json::json!([]), "nothing is signed before a fetch");
    assert_eq!(outbox["drafts"][0]["lesson"], "mine", "and nothing is lost");
}

#[test]
fn the_agent_runs_alone_in_its_home_and_stops_when_told() {
    let above = tempfile::tempdir().expect("a temp dir");
    git(above.path(), &["init", "-q", "--bare", "remote.git"]);
    let host = Host::new(above.path(), "a", &above.path().join("remote.git").to_string_lossy());
    let mut agent = host.command(&["run"]).stdout(Stdio::piped()).spawn().expect("the agent starts");
    let stdout = BufReader::new(agent.stdout.take().expect("piped"));
    let mut lines = stdout.lines().map(|line| line.expect("UTF-8"));
    assert!(lines.any(|line| line.starts_with("Next round in ")), "a round, then a wait");

    let second = host.run(&["run"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another mesh works in"), "{second:?}");
    let sync = host.run(&["sync", "--once"]);
    assert_eq!(sync.status.code(), Some(1), "{sync:?}");

    let pid = Pid::from_child(&agent);
    kill_process(pid, Signal::TERM).expect("it runs");
    let status = agent.wait().expect("it ends");
    assert_eq!((status.code(), status.signal()), (Some(0), None));
    host.ok(&["sync", "--once"]);
}

#[test]
fn the_next_round_comes_when_it_is_said_to() {
    let above = tempfile::tempdir().expect("a temp dir");
    git(above.path(), &["init", "-q", "--bare", "remote.git"]);
    let host = Host::new(above.path(), "a", &above.path().join("remote.git").to_string_lossy());
    std::fs::create_dir_all(host.home.join("config/conf.d")).expect("made");
    std::fs::write(host.home.join("config/conf.d/often.toml"), "[sync]\ninterval = \"2s\"\n").expect("written");
    let mut agent = host.command(&["run"]).stdout(Stdio::piped()).spawn().expect("the agent starts");
    let stdout = BufReader::new(agent.stdout.take().expect("piped"));
    let said = stdout.lines().map(|line| line.expect("UTF-8")).filter(|line| line.starts_with("Next round in "));
    let said: Vec<String> = said.take(2).collect();
    kill_process(Pid::from_child(&agent), Signal::TERM).expect("it runs");
    assert!(agent.wait().expect("it ends").success());
    for line in said {
        let seconds = line.strip_prefix("Next round in ").and_then(|rest| rest.strip_suffix(" s."));
        assert!(seconds.and_then(|text| text.parse().ok()).is_some_and(|seconds: u64| seconds <= 3), "{line}");
    }
}

#[test]
fn a_key_that_others_can_read_is_refused_with_the_command_that_mends_it() {
    let above = tempfile::tempdir().expect("a temp dir");
    let host = Host::new(above.path(), "a", "/nowhere.git");
    let key = host.home.join("keys/host.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("loosened");
    let output = host.run(&["status"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("mode 0644: run `chmod 0600"), "{said}");
    let json = host.run(&["--json", "status"]);
    let error: serde_json::Value = serde_json::from_slice(&json.stderr).expect("one JSON object");
    assert_eq!(error["error"]["code"], "usage");
    assert!(error["error"]["message"].as_str().is_some_and(|text| text.contains("host.key")), "{error}");
}
