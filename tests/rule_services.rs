//! Rules beside the running supervision: real services that the agent keeps alive, and what rules do where supervision
//! has no answer. The spans of some rules are shortened by local edits, and each edited rule is drilled before it acts.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mesh::domain::heal::engine::{Key, Record};
use mesh::domain::ledger::RuleStep;
use mesh::store::db::Db;
use mesh::sys::clock::SystemClock;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::services::{Supervising, signal, until};

const QUICK: &str = "[rules]\ninterval = \"1s\"\n";

fn child(name: &str, script: &str, more: &str) -> String {
    format!("[[service]]\nname = \"{name}\"\ncommand = [\"sh\", \"-c\", '''{script}''']\n{more}\n")
}

fn python(name: &str, script: &str, more: &str) -> String {
    format!("[[service]]\nname = \"{name}\"\ncommand = [\"python3\", \"-c\", '''{script}''']\n{more}\n")
}

/// A script that ends with `code` for its first `times` starts, and then runs.
fn ends_at_first(times: u32, code: u8) -> String {
    format!("n=$(cat starts || echo 0); echo $((n+1)) > starts; [ $n -ge {times} ] || exit {code}; exec sleep 100000")
}

/// Lays these edits over rules, and drills them.
fn drilled(services: &Supervising, edits: &[(u32, &str)]) {
    for (number, edit) in edits {
        if !edit.is_empty() {
            let path = services.agent.home().join(format!("config/rules/{number}.toml"));
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, format!("number = {number}\n{edit}")).expect("written");
        }
        let shown = services.agent.json(&["--json", "rule", "drill", &number.to_string()]);
        assert_eq!(shown["drills"][0]["state"], "passed", "{shown:#}");
    }
}

fn db(services: &Supervising) -> Db {
    Db::open(&services.state().join("mesh.db")).expect("opened")
}

/// Lines of the log and rows of the ledger say the same of what rules did.
fn agrees(services: &Supervising, actions: usize) {
    let lines = services.agent.said().lines().filter(|line| line.contains("self_heal Rule ")).count();
    let rows = db(services).count_rule_steps(RuleStep::Acts, 0).expect("read");
    assert_eq!((lines, rows), (actions, actions as u64), "{}", services.agent.said());
}

/// The newest incident of a rule.
fn incident(services: &Supervising, rule: u32) -> Option<Value> {
    let all = services.agent.json(&["--json", "incident", "list", "--all", "--rule", &rule.to_string()]);
    all["incidents"].as_array()?.iter().max_by_key(|one| one["id"].as_u64()).cloned()
}

/// Waits until rules have looked twice from now on.
fn two_looks(services: &Supervising, rule: u32) {
    let last = || services.agent.json(&["--json", "why", &rule.to_string()])["looked"].as_i64();
    let first = until("a look", last);
    until("two more looks", || last().filter(|at| *at >= first + 2));
}

#[test]
fn rule_5_starts_what_supervision_gave_up_on_and_a_person_stops_it_for_good() {
    let mut services = Supervising::new(&format!("{QUICK}{}", child("web", &ends_at_first(2, 3), "restarts = 1")));
    drilled(&services, &[(5, "[validate.when]\nfor = \"2s\"\n")]);
    services.start();
    services.agent.wait_for("self_heal Rule 5: reset-failed");
    services.agent.wait_for("self_heal Rule 5: start");
    services.agent.wait_for("healed: rule 5");
    let pid = services.until_up("web", 0);
    let told = services.told("web");
    assert!(told.contains("given up") && told.contains("started: a rule asked for it"), "{told}");
    agrees(&services, 2);
    // Given up on once more by its own doing, and stopped by a person: no rule starts it.
    fs::write(services.agent.home().join("starts"), "0\n").expect("written");
    services.ok(&["service", "stop", "web"]);
    services.until("web", |service| service["state"] == "stopped");
    two_looks(&services, 5);
    services.until("web", |service| service["state"] == "stopped" && service["pid"].is_null());
    assert!(!crate::support::services::is_alive(pid));
    agrees(&services, 2);
}

#[test]
fn rule_15_restarts_what_grew_beyond_its_limit_and_that_is_no_restart_of_its_own() {
    let script = "import os, time\nfirst = not os.path.exists('grown')\nopen('grown', 'w').close()\n\
                  kept = b'a' * 80000000 if first else b''\ntime.sleep(100000)\n";
    let config = format!(
        "{QUICK}{}[[target]]\nname = \"fat\"\nkind = \"service\"\nmax_mb = 50\n",
        python("fat", script, "memory_mb = 500\ncriticality = \"optional\"")
    );
    let mut services = Supervising::new(&config);
    drilled(&services, &[(15, "[trigger]\nfor = \"2s\"\n[validate.when]\nfor = \"2s\"\n")]);
    services.start();
    let before = services.until_up("fat", 0);
    services.agent.wait_for("self_heal Rule 15: restart");
    services.agent.wait_for("healed: rule 15");
    services.until_up("fat", before);
    let told = services.told("fat");
    assert!(told.contains("asked to end: a rule asked for it") && !told.contains("restarts within"), "{told}");
    assert_eq!(services.until("fat", |_| true)["restarts"], 0, "{told}");
    let incident = incident(&services, 15).expect("one");
    assert!(incident["proposal"].as_str().expect("a proposal").contains("leaks"), "{incident:#}");
    agrees(&services, 1);
}

#[test]
fn a21_an_agent_that_is_told_to_stop_while_a_service_takes_its_time_stops_and_the_next_one_settles_it() {
    let script = "import os, signal, time\nsignal.signal(signal.SIGTERM, lambda *_: open('asked', 'w').close())\n\
                  first = not os.path.exists('grown')\nopen('grown', 'w').close()\n\
                  kept = b'a' * 80000000 if first else b''\nwhile True:\n    time.sleep(100000)\n";
    let config = format!(
        "{QUICK}{}[[target]]\nname = \"fat\"\nkind = \"service\"\nmax_mb = 50\n",
        python("fat", script, "memory_mb = 500")
    );
    let mut services = Supervising::new(&config);
    drilled(&services, &[(15, "[trigger]\nfor = \"2s\"\n[validate.when]\nfor = \"2s\"\n")]);
    services.start();
    let pid = services.until_up("fat", 0);
    services.agent.wait_for("self_heal Rule 15: restart");
    let asked = services.agent.home().join("asked");
    until("it was asked to end, and takes its time", || asked.exists().then_some(()));
    let began = Instant::now();
    services.agent.signal(Signal::TERM);
    assert!(services.agent.wait().success());
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}: the grace of the service is 60 s", began.elapsed());
    let left = incident(&services, 15).expect("one");
    assert_eq!((&left["state"], &left["attempts"]), (&"acting".into(), &0.into()), "{left:#}");
    // What it was asked for comes true while nobody looks.
    signal(pid, Signal::KILL);
    services.start();
    services.until_up("fat", pid);
    let over = until("the incident is over", || incident(&services, 15).filter(|one| one["state"] == "resolved"));
    assert_eq!(over["attempts"], 1, "{over:#}");
    let thread = over["thread"].to_string();
    assert!(thread.contains("mesh ended while it acted"), "{thread}");
    assert_eq!(thread.matches("attempt ").count(), 1, "not repeated: {thread}");
    let db = db(&services);
    let rows = |step| db.count_rule_steps(step, 0).expect("read");
    assert_eq!((rows(RuleStep::Acts), rows(RuleStep::Failed)), (1, 1), "not forgotten");
}

#[test]
fn c5_a_rule_has_a_service_read_its_configuration_again_and_it_goes_on() {
    let script = "import os, signal, time\nheld = open(os.environ['BIG'], 'wb')\nheld.write(b'x' * 24000000)\nheld.flush()\n\
                  os.unlink(os.environ['BIG'])\nsignal.signal(signal.SIGHUP, lambda *_: held.close())\n\
                  while True:\n    time.sleep(100000)\n";
    let target = |name: &str| format!("[[target]]\nname = \"{name}\"\nkind = \"service\"\nmax_mb = 20\n");
    let one = |name: &str, more: &str| {
        let more = format!("env = {{ BIG = \"{name}.big\" }}\ncriticality = \"optional\"\n{more}");
        format!("{}{}", python(name, script, &more), target(name))
    };
    let config = format!("{QUICK}{}{}", one("app", "reload = \"HUP\""), one("deaf", ""));
    let mut services = Supervising::new(&config);
    let edit = "[trigger]\nfor = \"2s\"\n[validate.when]\nfor = \"2s\"\n[[action]]\nsteps = [{ do = \"reload\" }]\n";
    drilled(&services, &[(25, edit)]);
    services.start();
    let (app, deaf) = (services.until_up("app", 0), services.until_up("deaf", 0));
    let line = services.agent.wait_for("healed: rule 25");
    assert!(line.contains("on app"), "{line}");
    assert_eq!((services.until_up("app", 0), services.until_up("deaf", 0)), (app, deaf), "nobody was restarted");
    services.until_told("app", "asked to read its configuration again: a rule asked for it");
    let why = until("the other cannot", || {
        let all = services.agent.json(&["--json", "incident", "list", "--all", "--rule", "25", "--target", "deaf"]);
        let thread = all["incidents"][0]["thread"].to_string();
        thread.contains("reload: failed").then_some(thread)
    });
    assert!(why.contains("nobody says how it reads its configuration again: add `reload"), "{why}");
    let shown = services.ok(&["rule", "show", "25"]);
    assert!(shown.contains("# reload: not undone: the configuration that was read is the one on disk"), "{shown}");
}

#[test]
fn three_oom_kills_in_six_hours_are_answered_by_rule_37_with_a_proposal() {
    let script = "import os, time\nn = int(open('starts').read()) if os.path.exists('starts') else 0\n\
                  open('starts', 'w').write(str(n + 1))\nkept = []\n\
                  while n < 3:\n    kept.append(b'a' * 5000000)\n    time.sleep(0.02)\ntime.sleep(100000)\n";
    let mut services = Supervising::new(&format!("{QUICK}{}", python("fat", script, "memory_mb = 60")));
    drilled(&services, &[(37, "[validate.when]\nfor = \"2s\"\n")]);
    services.start();
    services.agent.wait_for("self_heal Rule 37: reset-failed");
    services.agent.wait_for("self_heal Rule 37: restart");
    services.agent.wait_for("healed: rule 37");
    let found = incident(&services, 37).expect("one");
    assert!(found["proposal"].as_str().expect("a proposal").contains("memory limit"), "{found:#}");
    let shown = services.ok(&["incident", "show", &found["id"].to_string()]);
    assert!(shown.contains("Proposal: Find what grows"), "{shown}");
    let starts = fs::read_to_string(services.agent.home().join("starts")).expect("read");
    assert!(["4", "5"].contains(&starts.as_str()), "the rule came before supervision's own start or after: {starts}");
    agrees(&services, 2);
}

#[test]
fn rule_22_stops_the_restarts_of_a_service_that_is_slow_and_not_dead() {
    let home = "[[target]]\nname = \"slow\"\nkind = \"service\"\nprogress = \"HOME/progress\"\ncheck = [\"test\", \"!\", \"-e\", \"HOME/slow\"]\n";
    let script = "i=0; while :; do i=$((i+1)); echo $i > progress.new; mv progress.new progress; sleep 0.1; done";
    let mut services = Supervising::new("");
    let place = services.agent.home().display().to_string();
    services.configure(&format!("{QUICK}{}{}", child("slow", script, ""), home.replace("HOME", &place)));
    drilled(
        &services,
        &[
            (22, "[validate.when]\nfor = \"2s\"\n"),
            (4, "[trigger]\nwhen = 'last(\"unit.probe_failed/{target}\") == 1'\n"),
        ],
    );
    // What a day would bring: rule 4 has restarted it six times since two hours before.
    let mut db = db(&services);
    let now = i64::try_from(db.count_on(&SystemClock.moment()).expect("counted").as_millis() / 1_000).expect("a time");
    let record = Record { acts: (0..6).map(|n| now - 7_200 - 60 * n).collect(), ..Record::default() };
    let key: Key = (4, "slow".to_owned());
    db.keep_rule_state(std::iter::once((&key, &record)), std::iter::empty(), []).expect("kept");
    drop(db);
    services.start();
    let pid = services.until_up("slow", 0);
    services.agent.wait_for("self_heal Rule 22: suspend-rules");
    fs::write(services.agent.home().join("slow"), "").expect("written");
    let waits = until("rule 4 waits", || {
        let waits = incident(&services, 4)?["waits"].as_str()?.to_owned();
        (!waits.is_empty()).then_some(waits)
    });
    assert!(waits.contains("restarts of it are suspended"), "{waits}");
    services.agent.wait_for("healed: rule 22");
    assert_eq!(services.until_up("slow", 0), pid, "nobody restarted it");
    agrees(&services, 1);
}

/// A pid that was somebody's and is nobody's.
fn dead_pid() -> u32 {
    #[expect(clippy::disallowed_methods, reason = "a process that has ended")]
    let mut child = std::process::Command::new("true").spawn().expect("started");
    child.wait().expect("ended");
    child.id()
}

fn set_back(path: &Path, span: Duration) {
    let file = fs::File::options().append(true).open(path).expect("opened");
    let was = file.metadata().and_then(|seen| seen.modified()).expect("a date");
    file.set_modified(was - span).expect("set back");
}

/// The folder above the home: no rule touches what is below it.
fn beside(services: &Supervising) -> PathBuf {
    services.agent.home().parent().expect("a folder").to_owned()
}

#[test]
fn rule_12_sweeps_the_lock_of_a_dead_process_and_the_service_that_waits_goes_on() {
    let script = "set -C; until echo $$ > work.lock; do sleep 0.1; done; set +C; \
                  i=0; while :; do i=$((i+1)); echo $i > progress.new; mv progress.new progress; sleep 0.1; done";
    let mut services = Supervising::new("");
    let dir = beside(&services);
    let (lock, progress) = (dir.join("work.lock"), dir.join("progress"));
    services.configure(&format!(
        "{QUICK}{}[[target]]\nname = \"work-lock\"\nkind = \"lock\"\npath = {lock:?}\nlifetime = \"10m\"\nservice = \"worker\"\nprogress = {progress:?}\n",
        child("worker", script, &format!("dir = {dir:?}"))
    ));
    fs::write(&lock, format!("{}\n", dead_pid())).expect("written");
    set_back(&lock, Duration::from_secs(3_600));
    fs::write(&progress, "0\n").expect("written");
    drilled(&services, &[(12, "[validate.when]\nfor = \"2s\"\n")]);
    services.start();
    let pid = services.until_up("worker", 0);
    services.agent.wait_for("self_heal Rule 12: quarantine");
    services.agent.wait_for("healed: rule 12");
    assert_eq!(fs::read_to_string(&lock).expect("its own now").trim(), pid.to_string());
    assert_eq!(services.until_up("worker", 0), pid, "it was not restarted");
    agrees(&services, 1);
}

#[test]
fn rule_13_takes_a_stale_pid_file_out_of_the_way_of_its_service() {
    let mut services = Supervising::new("");
    let dir = beside(&services);
    let pidfile = dir.join("app.pid");
    let more = format!("restarts = 1\ndir = {dir:?}");
    services.configure(&format!(
        "{QUICK}{}[[target]]\nname = \"app-pid\"\nkind = \"pidfile\"\npath = {pidfile:?}\nservice = \"app\"\n",
        child("app", "[ ! -e app.pid ] || exit 1; exec sleep 100000", &more)
    ));
    fs::write(&pidfile, format!("{}\n", dead_pid())).expect("written");
    drilled(&services, &[(13, "[validate.when]\nfor = \"2s\"\n")]);
    services.start();
    services.agent.wait_for("self_heal Rule 13: quarantine");
    services.agent.wait_for("healed: rule 13");
    services.until_up("app", 0);
    assert!(!pidfile.exists());
    agrees(&services, 3);
}

#[test]
fn a_path_clobbered_for_three_services_at_once_is_put_back_by_rule_9() {
    let mut services = Supervising::new("");
    let dir = beside(&services);
    let (environment, tools) = (dir.join("env"), dir.join("tools"));
    fs::create_dir(&tools).expect("made");
    fs::copy("/bin/sleep", tools.join("tool")).expect("copied");
    fs::write(&environment, format!("PATH={}:/usr/bin:/bin\n", tools.display())).expect("written");
    let script = ". ./env; command -v tool > /dev/null || exit 127; exec tool 100000";
    let all = ["one", "two", "three"];
    let more = format!("restarts = 1\ndir = {dir:?}");
    let each: String = all.iter().map(|name| child(name, script, &more)).collect();
    services.configure(&format!(
        "{QUICK}{each}[[target]]\nname = \"shared\"\nkind = \"environment\"\npath = {environment:?}\nservices = {all:?}\n"
    ));
    drilled(&services, &[(9, "[validate.when]\nfor = \"2s\"\n")]);
    services.start();
    let pids = all.map(|name| services.until_up(name, 0));
    until("the last good one is kept", || services.state().join("good/shared").exists().then_some(()));
    fs::write(&environment, "PATH=/nowhere:/usr/bin:/bin\n").expect("clobbered");
    // So that the rule looks once all three are down.
    services.ok(&["maintenance", "start", "staging", "--for", "1h", "--all"]);
    pids.iter().for_each(|pid| signal(*pid, Signal::KILL));
    all.iter().for_each(|name| drop(services.until(name, |service| service["state"] == "given_up")));
    services.ok(&["maintenance", "end", "staging"]);
    services.agent.wait_for("self_heal Rule 9: restore-good");
    services.agent.wait_for("healed: rule 9");
    for (name, pid) in all.iter().zip(pids) {
        services.until_up(name, pid);
    }
    assert!(fs::read_to_string(&environment).expect("read").contains(&tools.display().to_string()));
    agrees(&services, 5);
}

#[test]
fn d19_a_declared_program_runs_as_the_user_that_is_named_and_in_no_group_but_his() {
    let folder = tempfile::tempdir().expect("a temp dir");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(folder.path(), mode).expect("open to all");
    let (stamp, said) = (folder.path().join("stamp"), folder.path().join("said"));
    let config = |user: &str| {
        format!(
            "{QUICK}[[target]]\nname = \"nightly\"\nkind = \"job\"\npath = {stamp:?}\nperiod = \"1h\"\nuser = \"{user}\"\n\
             run = [\"sh\", \"-c\", \"id -u; id -g; id -G; cat /proc/self/status > '{}'; date > '{}'\"]\n",
            said.display(),
            stamp.display()
        )
    };
    fs::write(&stamp, "long ago\n").expect("written");
    fs::set_permissions(&stamp, std::os::unix::fs::PermissionsExt::from_mode(0o666)).expect("open to all");
    set_back(&stamp, Duration::from_secs(86_400));
    assert!(rustix::process::geteuid().is_root(), "this test runs as root, as in CI: sudo -E cargo test");
    let mut services = Supervising::new(&config("nobody"));
    drilled(&services, &[(41, "")]);
    services.start();
    services.agent.wait_for("self_heal Rule 41: run-declared");
    services.agent.wait_for("healed: rule 41");
    let status = fs::read_to_string(&said).expect("written by it");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("there");
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let passwd = fs::read_to_string("/etc/passwd").expect("read");
    let nobody: Vec<&str> =
        passwd.lines().find(|line| line.starts_with("nobody:")).expect("there").split(':').collect();
    assert_eq!(field("Uid:"), vec![nobody[2]; 4]);
    assert_eq!(field("Gid:"), vec![nobody[3]; 4]);
    assert_eq!(field("Groups:"), Vec::<String>::new(), "no group of root's is left");
    assert_eq!(fs::metadata(&said).expect("there").uid().to_string(), nobody[2]);
    agrees(&services, 1);
    // A user that is not there is said at once, and nothing is run as somebody else.
    services.agent.end();
    services.configure(&config("nobody-here"));
    let refused = services.agent.command(&["config", "check"]).output().expect("runs");
    let words = String::from_utf8_lossy(&refused.stderr).into_owned() + &String::from_utf8_lossy(&refused.stdout);
    assert!(words.contains("no user nobody-here in /etc/passwd"), "{words}");
}
