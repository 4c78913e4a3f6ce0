//! The agent as others see it: `mesh run`, asked by a real client.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use mesh::domain::fix::{ActionHash, FixId};
use mesh::domain::guard::ActionKind;
use mesh::domain::intervention::{Actor, Event};
use mesh::domain::ledger::{Entry, Note};
use mesh::domain::pace::Pace;
use mesh::store::db::Db;
use mesh::store::ledger::{Happening, Proposal};
use mesh::sys::clock::SystemClock;
use serde_json::Value;

use crate::support::agent::Agent;

/// Sends a request and reads the whole answer.
fn ask(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    answer
}

fn get(address: &str, path: &str, more: &str) -> (String, String) {
    let answer = ask(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{more}\r\n"));
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    (head.to_owned(), body.to_owned())
}

/// Asks `/health` until `done` says so of it.
fn health_until(address: &str, done: impl Fn(&Value) -> bool) -> (String, Value) {
    let limit = Instant::now() + Duration::from_secs(120);
    loop {
        let (head, body) = get(address, "/health", "");
        let health: Value = serde_json::from_str(&body).expect("JSON");
        if done(&health) {
            return (head, health);
        }
        assert!(Instant::now() < limit, "not so within two minutes: {health:#}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

const ANY: &str = "[http]\nlisten = \"127.0.0.1:0\"\n";

#[test]
fn h1_health_has_every_field_and_hides_the_server() {
    let mut agent = Agent::new(ANY);
    let address = agent.start();
    let (head, health) = health_until(&address, |health| health["signals"]["host.memory.used_percent"].is_object());
    for field in [
        "status",
        "services",
        "signals",
        "self_heal_recoveries_24h",
        "self_heal_failures_24h",
        "rules_fired_24h",
        "worker_sync_lag_s",
        "invariant_violations_open",
        "frozen_areas",
        "interventions",
        "inbox",
        "peers",
        "paused",
        "version",
        "uptime_s",
    ] {
        assert!(health.get(field).is_some(), "no `{field}` in {health:#}");
    }
    assert!(!head.to_lowercase().contains("\r\nserver:"), "{head}");
    let memory = &health["signals"]["host.memory.used_percent"];
    assert!(
        memory["value"].as_f64().is_some_and(|value| (0.0..=100.0).contains(&value)) && memory["unit"] == "percent"
    );

    let (head, metrics) = get(&address, "/metrics", "");
    assert!(
        head.contains("text/plain") && metrics.contains("\nmesh_signal{signal=\"service.rss_mb\",subject=\"mesh\"} "),
        "{metrics}"
    );
    assert!(get(&address, "/", "").1.contains("<h1>mesh"));
    assert!(get(&address, "/etc/passwd", "").0.starts_with("HTTP/1.1 404"));
    let posted = ask(&address, &format!("POST /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"));
    assert!(posted.starts_with("HTTP/1.1 405"), "{posted}");
    let rebound = ask(&address, "GET /health HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
    assert!(rebound.starts_with("HTTP/1.1 403"), "{rebound}");

    agent.signal(rustix::process::Signal::TERM);
    agent.wait_for("stopping");
    let listed = agent.command(&["signal", "list", "--json"]).output().expect("runs");
    let listed: Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    assert!(
        listed["signals"]
            .as_array()
            .is_some_and(|signals| signals.iter().any(|one| one["name"] == "host.memory.used_percent"))
    );
    let shown = agent.command(&["signal", "show", "host.memory.used_percent"]).output().expect("runs");
    assert!(String::from_utf8_lossy(&shown.stdout).contains("host.memory.used_percent  now "));
    let wrong = agent.command(&["signal", "show", "host.memory.used"]).output().expect("runs");
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("did you mean `host.memory.used_percent`?"));
}

#[test]
fn a_critical_signal_answers_503_and_hung_checks_are_unknown() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("bound");
    let hung = silent.local_addr().expect("bound");
    let mut agent = Agent::new(&format!(
        "{ANY}[[signal]]\nname = \"bad\"\ncommand = [\"sh\", \"-c\", \"exit 2\"]\ncritical = true\n\
         [[signal]]\nname = \"slow\"\nhttp = \"http://{hung}/\"\ntimeout = \"1s\"\n"
    ));
    let address = agent.start();
    let (head, health) = health_until(&address, |health| health["signals"]["http.status/slow"].is_object());
    assert_eq!(health["signals"]["http.status/slow"]["state"], "unknown");
    assert_eq!(health["signals"]["check.status/bad"]["value"], 2.0, "the hung one delayed nobody");
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
    assert_eq!(health["status"], "critical");
    let listed = agent.json(&["signal", "list", "--json"]);
    let bad = listed["signals"].as_array().expect("a list").iter().find(|one| one["name"] == "check.status/bad");
    assert_eq!(bad.expect("listed")["state"], "beyond");
}

#[test]
fn h9_with_a_token_nothing_is_shown_without_it() {
    let mut agent = Agent::new(&format!("{ANY}token_file = \"keys/http.token\"\n"));
    let path = agent.home().join("keys/http.token");
    fs::write(&path, "0123456789abcdef-token\n").expect("written");
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("set");
    let address = agent.start();
    for more in ["", "Authorization: Bearer wrong\r\n", "Authorization: Basic 0123456789abcdef-token\r\n"] {
        let (head, body) = get(&address, "/health", more);
        assert!(head.starts_with("HTTP/1.1 401") && !body.contains("status"), "{head}");
    }
    let (head, _) = get(&address, "/health", "Authorization: Bearer 0123456789abcdef-token\r\n");
    assert!(head.starts_with("HTTP/1.1 200") || head.starts_with("HTTP/1.1 503"), "{head}");
}

/// One request of any method, as a whole answer.
fn any(address: &str, method: &str, path: &str, more: &str) -> String {
    ask(address, &format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{more}\r\n"))
}

#[test]
fn h9_whoever_may_ask_reads_and_no_method_and_no_token_changes_anything() {
    let mut agent = Agent::new(&format!("{ANY}token_file = \"keys/http.token\"\n"));
    let path = agent.home().join("keys/http.token");
    fs::write(&path, "0123456789abcdef-token\n").expect("written");
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("set");
    let address = agent.start();
    let token = "Authorization: Bearer 0123456789abcdef-token\r\n";
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO"] {
        for path in ["/health", "/metrics", "/", "/pause", "/reload", "/services/web/restart"] {
            let (without, with) = (any(&address, method, path, ""), any(&address, method, path, token));
            assert!(without.starts_with("HTTP/1.1 401"), "{method} {path}: {without}");
            assert!(with.starts_with("HTTP/1.1 405") && with.contains("only GET"), "{method} {path}: {with}");
        }
    }
    for path in ["/pause", "/reload", "/admin", "/health/"] {
        assert!(any(&address, "GET", path, token).starts_with("HTTP/1.1 404"), "{path}");
    }
    assert_eq!(agent.json(&["status", "--json"])["paused"], Value::Null);
}

#[test]
fn h9_the_version_is_told_by_health_alone_and_with_a_token_to_nobody_without_it() {
    let version = env!("CARGO_PKG_VERSION");
    let mut open = Agent::new(ANY);
    let address = open.start();
    assert_eq!(health_until(&address, |_| true).1["version"], version);
    let rebound = ask(&address, "GET /health HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
    let posted = any(&address, "POST", "/health", "");
    let malformed = ask(&address, "nonsense\r\n\r\n");
    let others = ["/metrics", "/", "/gone"].map(|path| any(&address, "GET", path, ""));
    for answer in others.iter().chain([&rebound, &posted, &malformed]) {
        let head = answer.split("\r\n\r\n").next().unwrap_or_default().to_lowercase();
        assert!(!head.contains("\r\nserver:") && !answer.contains(version), "{answer}");
    }
    let mut closed = Agent::new(&format!("{ANY}token_file = \"keys/http.token\"\n"));
    let path = closed.home().join("keys/http.token");
    fs::write(&path, "0123456789abcdef-token\n").expect("written");
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("set");
    let address = closed.start();
    for path in ["/health", "/metrics", "/", "/gone"] {
        let answer = any(&address, "GET", path, "");
        assert!(answer.starts_with("HTTP/1.1 401") && !answer.contains(version), "{answer}");
    }
}

#[test]
fn clients_that_hold_their_connections_keep_others_waiting_for_nothing() {
    let mut agent = Agent::new(ANY);
    let address = agent.start();
    let held: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut stream = TcpStream::connect(&address).expect("connected");
            stream.write_all(b"GET /health HT").expect("sent");
            stream
        })
        .collect();
    assert!(get(&address, "/health", "").0.starts_with("HTTP/1.1"));
    drop(held);
}

#[test]
fn a_port_in_use_is_said_and_the_agent_runs() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = taken.local_addr().expect("bound");
    let mut agent = Agent::new(&format!("[http]\nlisten = \"{address}\"\n"));
    agent.start_quietly();
    let said = agent.wait_for("is not served on");
    assert!(said.contains(&address.to_string()), "{said}");
    agent.signal(rustix::process::Signal::TERM);
    agent.wait_for("stopping");
}

#[test]
fn j2_a_bad_new_config_keeps_the_old_one() {
    let mut agent = Agent::new(ANY);
    let address = agent.start();
    agent.configure("[[signal]]\nname = \"new\"\ncomand = [\"true\"]\n");
    agent.signal(rustix::process::Signal::HUP);
    let said = agent.wait_for("config not read again");
    assert!(said.contains("test.toml:3: unknown field `comand`"), "{said}");
    health_until(&address, |health| health["signals"]["host.memory.used_percent"].is_object());
    agent.configure(&format!("{ANY}[[signal]]\nname = \"new\"\ncommand = [\"true\"]\n"));
    agent.signal(rustix::process::Signal::HUP);
    agent.wait_for("config read again");
    health_until(&address, |health| health["signals"]["check.status/new"]["value"] == 0.0);
}

#[test]
fn b20_what_fails_upstream_is_a_signal_of_its_own_that_is_stored() {
    let above = tempfile::tempdir().expect("a temp dir");
    let path = above.path().join("operations.json");
    let count = |written: u64, failed: u64| {
        let text = format!(
            "{{\"read\":{{\"ok\":{},\"failed\":0}},\"write\":{{\"ok\":{written},\"failed\":{failed}}},\
             \"quota\":{{\"used\":19,\"limit\":20}}}}",
            written * 100
        );
        fs::write(&path, text).expect("written");
    };
    count(0, 0);
    let shown = path.display();
    let mut agent = Agent::new(&format!("{ANY}[[signal]]\nname = \"api\"\nupstream = \"{shown}\"\nevery = \"10s\"\n"));
    let address = agent.start();
    let value = |health: &Value, signal: &str| health["signals"][format!("{signal}/api")]["value"].as_f64();
    let writes = "upstream.write_error_percent";
    health_until(&address, |health| value(health, writes) == Some(0.0));
    count(40, 60);
    let (_, health) = health_until(&address, |health| value(health, writes) == Some(60.0));
    assert_eq!(value(&health, "upstream.read_error_percent"), Some(0.0), "reads are fine");
    assert_eq!(value(&health, "upstream.quota_used_percent"), Some(95.0));
    assert!(health["reasons"].to_string().contains("upstream.write_error_percent/api"), "{health:#}");
    let listed = agent.json(&["signal", "list", "--json"]);
    assert!(listed.to_string().contains("upstream.write_error_percent"), "{listed:#}");
}

#[test]
fn j2_reload_asks_the_agent_and_says_what_it_made_of_it() {
    let mut agent = Agent::new(ANY);
    let reload = |agent: &Agent| agent.command(&["reload", "--wait", "5m"]).output().expect("runs");
    let said = |output: &std::process::Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let none = reload(&agent);
    assert_eq!(none.status.code(), Some(1), "{}", said(&none));
    assert!(said(&none).contains("no agent runs"), "{}", said(&none));
    let address = agent.start();
    agent.configure(&format!("{ANY}[[signal]]\nname = \"new\"\ncommand = [\"true\"]\n"));
    let taken = reload(&agent);
    assert_eq!(taken.status.code(), Some(0), "{}", said(&taken));
    health_until(&address, |health| health["signals"]["check.status/new"]["value"] == 0.0);
    // A mistake is told with its line; the agent is not even asked.
    agent.configure("[[signal]]\nname = \"new\"\ncomand = [\"true\"]\n");
    fs::write(agent.home().join("config/conf.d/other.toml"), "nome = \"x\"\n").expect("written");
    let refused = reload(&agent);
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("goes on with the configuration that it has"), "{}", said(&refused));
    let checked = agent.command(&["config", "check"]).output().expect("runs");
    assert_eq!(checked.status.code(), Some(2));
    for mistake in [
        "other.toml:1: unknown field `nome`, did you mean `name`?",
        "test.toml:3: unknown field `comand`, did you mean `command`?",
    ] {
        assert!(said(&checked).contains(mistake), "the first of each file: {}", said(&checked));
    }
    health_until(&address, |health| health["signals"]["check.status/new"]["value"] == 0.0);
}

#[test]
fn d5_a_freeze_a_pause_and_a_closed_door_are_in_health_and_outlive_the_agent() {
    let mut agent = Agent::new(ANY);
    let mut db = Db::open(&agent.home().join("state/mesh.db")).expect("opened");
    let moment = SystemClock.moment();
    for number in 1..=3 {
        let fix: FixId = format!("0000000{number}").parse().expect("an id");
        let (area, action) = (Path::new("/srv/app"), ActionHash([1; 32]));
        let proposal = Proposal { fix: &fix, area, kind: ActionKind::Commit, action };
        let id = db.propose(&moment, &proposal, Actor::Agent, &Note::default()).expect("proposed");
        let events = [Event::Ask, Event::Approve, Event::Prove, Event::Apply, Event::RollBack];
        let happenings = events.map(|event| Happening::new(event, Actor::Agent, Note::default()));
        db.happen(&moment, &id, &happenings, &Pace::default()).expect("taken back");
    }
    db.note_host(&moment, &Entry::Pause { until: None, why: String::new() }).expect("noted");
    db.note_host(&moment, &Entry::ReadOnly { why: "a revert failed".to_owned() }).expect("noted");
    drop(db);
    let address = agent.start();
    let (_, health) = health_until(&address, |health| health["paused"] == true);
    assert_eq!((&health["frozen_areas"], &health["status"]), (&serde_json::json!(["/srv/app"]), &"degraded".into()));
    let reasons = health["reasons"].to_string();
    assert!(reasons.contains("/srv/app is frozen for") && reasons.contains("3 reverts in a row"), "{reasons}");
    assert!(reasons.contains("nothing is changed any more: a revert failed"), "{reasons}");
    let lifted = agent.command(&["freeze", "lift", "/srv/app", "--reason", "the test was wrong"]).status();
    assert!(lifted.expect("runs").success());
    health_until(&address, |health| health["frozen_areas"] == serde_json::json!([]));
}

#[test]
fn d16_d23_a_paused_area_and_a_short_host_are_among_the_reasons() {
    let mut agent = Agent::new(&format!("{ANY}[reserve]\nfree_mib = 4294967295\n"));
    agent.command(&["pause", "--area", "/tmp", "--for", "2h", "--reason", "a release"]).output().expect("runs");
    let address = agent.start();
    let (_, health) = health_until(&address, |health| health["reasons"].to_string().contains("left out"));
    let reasons = health["reasons"].to_string();
    assert!(reasons.contains("/tmp is paused until") && reasons.contains("a release"), "{reasons}");
    assert!(reasons.contains("scans and seeding are left out"), "{reasons}");
    assert_eq!((&health["paused"], &health["status"]), (&false.into(), &"degraded".into()));
}

/// The most memory that a process has had so far, in MB.
fn peak_mb(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("linux");
    line.trim().strip_suffix(" kB").expect("kB").trim().parse::<f64>().expect("a number") / 1024.0
}

#[test]
fn a_log_of_2_gb_is_followed_by_the_agent_in_little_memory() {
    let dir = tempfile::tempdir().expect("a temp dir");
    let log = dir.path().join("app.log");
    fs::write(&log, "").expect("written");
    let mut agent =
        Agent::new(&format!("{ANY}[[signal]]\nname = \"app\"\nlog = \"{}\"\nevery = \"10s\"\n", log.display()));
    let address = agent.start();
    let size = |health: &Value| health["signals"]["log.size_mb/app"]["value"].as_f64();
    health_until(&address, |health| size(health) == Some(0.0));
    let before = peak_mb(agent.pid());
    let file = fs::File::options().write(true).open(&log).expect("opened");
    file.set_len(2 << 30).expect("a sparse file");
    std::os::unix::fs::FileExt::write_all_at(&file, b"an error at the end\n", 2 << 30).expect("written");
    let (_, health) = health_until(&address, |health| size(health).is_some_and(|size| size > 2_147.0));
    let grown = peak_mb(agent.pid()) - before;
    assert!(grown < 64.0, "{grown} MB more for a log of 2 GB");
    assert!(health["signals"]["log.skipped_mb/app"]["value"].as_f64().is_some_and(|left_out| left_out > 2_100.0));
    let growth = &health["signals"]["log.growth_mb_per_h/app"];
    let named = growth["why"].as_str().is_some_and(|why| why.contains(&format!("pid {}", std::process::id())));
    assert!(named, "the writer is this process: {growth}");
}
