//! What people see of rules, and what they say to them: stats, acknowledgements, maintenance, invariants, history.

use std::fs;
use std::path::{Path, PathBuf};

use mesh::domain::heal::engine::{Key, Record, Stats};
use mesh::domain::heal::invariant::InvariantText;
use mesh::domain::heal::replay::SeriesText;
use mesh::domain::ledger::RuleStep;
use mesh::domain::notice::Standing;
use mesh::store::config::Config;
use mesh::store::db::Db;
use mesh::store::home::Home;
use mesh::store::rules::parse;
use serde_json::Value;

use super::support::agent::Agent;
use super::support::services::{Supervising, until};

/// An agent whose rules look every second at a folder that is to be there.
fn with_spool(more: &str) -> (Agent, tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temp dir");
    let spool = folder.path().join("spool");
    let agent = Agent::new(&format!(
        "[rules]\ninterval = \"1s\"\n{more}\n[[target]]\nname = \"spool\"\nkind = \"path\"\npath = {spool:?}\ndirectory = true\nmode = \"0750\"\ntags = [\"rack-7\"]\n"
    ));
    (agent, folder, spool)
}

fn db(agent: &Agent) -> Db {
    Db::open(&agent.home().join("state/mesh.db")).expect("opened")
}

/// Waits until rules have looked twice from now on. What was found then.
fn two_looks(agent: &Agent, rule: u32) -> Value {
    let look = || {
        let shown = agent.json(&["--json", "why", &rule.to_string()]);
        Some((shown["looked"].as_i64()?, shown["looks"].as_array()?.first()?.clone()))
    };
    let (first, _) = until("a look", look);
    until("two more looks", || look().filter(|(at, _)| *at >= first + 2)).1
}

fn refused(agent: &Agent, arguments: &[&str]) -> (Option<i32>, String) {
    let output = agent.command(arguments).output().expect("runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn b26_an_invariant_that_does_not_hold_is_in_health_until_it_does() {
    let mut services = Supervising::new("[rules]\ninterval = \"1s\"\ninvariants_every = 1\n");
    let home = services.agent.home();
    let flag = home.join("flag");
    fs::create_dir_all(home.join("config/invariants")).expect("made");
    let text = format!("name = \"one-flag\"\nbecause = \"It says so.\"\ncommand = [\"test\", \"-e\", {flag:?}]\n");
    fs::write(home.join("config/invariants/flag.toml"), text).expect("written");
    fs::write(&flag, "").expect("written");
    services.start();
    let open =
        |count: u64| until("the count", || (services.health()["invariant_violations_open"] == count).then_some(()));
    open(0);
    fs::remove_file(&flag).expect("removed");
    open(1);
    let reasons = services.health()["reasons"].to_string();
    assert!(reasons.contains("invariant one-flag does not hold"), "{reasons}");
    fs::write(&flag, "").expect("written");
    open(0);
}

#[test]
fn c16_c17_stats_say_what_came_of_each_rule() {
    let agent = Agent::new("");
    let stats = Stats {
        fired: 5,
        confirmed: 4,
        refuted: 1,
        acted: 3,
        would_act: 0,
        healed: 2,
        failed: 1,
        self_cleared: 1,
        debounced: 7,
        escalated: 1,
        heal_seconds: 90,
    };
    let (one, other): (Key, Key) = ((12, "a".to_owned()), (12, "b".to_owned()));
    let record = Record { stats, ..Record::default() };
    let records = [(&one, &record), (&other, &record)];
    db(&agent).keep_rule_state(records.into_iter(), std::iter::empty(), []).expect("kept");
    let shown = agent.json(&["--json", "rule", "stats"]);
    let of = |number: u64| shown["stats"].as_array().expect("a list").iter().find(|one| one["number"] == number);
    let twelve = of(12).expect("there");
    for (key, value) in
        [("fired", 10), ("refuted", 2), ("healed", 4), ("failed", 2), ("debounced", 14), ("mean_heal_s", 45)]
    {
        assert_eq!(twelve[key], value, "{key}");
    }
    assert_eq!(of(15).expect("there")["fired"], 0);
    let output = agent.command(&["rule", "stats"]).output().expect("runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text.lines().count(), 2, "only what fired is listed: {text}");
}

#[test]
fn h6_what_nobody_acknowledges_is_told_again_until_a_person_has_seen_it() {
    let (mut agent, _folder, _spool) = with_spool("unseen_after = \"2s\"");
    agent.start_quietly();
    agent.wait_for("escalated: rule 30");
    agent.wait_for("unseen: rule 30");
    agent.wait_for("unseen: rule 30");
    let list = agent.json(&["--json", "incident", "list"]);
    let id = list["incidents"][0]["id"].to_string();
    let snoozed = agent.json(&["--json", "incident", "ack", &id, "--snooze", "1h"]);
    assert_eq!((snoozed["acked"].as_bool(), snoozed["snoozed_until"].is_i64()), (Some(false), true), "{snoozed}");
    two_looks(&agent, 30);
    let acked = agent.json(&["--json", "incident", "ack", &id]);
    assert_eq!(acked["acked"], true);
    let last = db(&agent).notices_after(0, 100).expect("read").pop().expect("one").notice;
    assert_eq!(last.standing, Standing::Over, "reminders end");
    assert!(last.title.contains("was seen by a person"), "{}", last.title);
    two_looks(&agent, 30);
    two_looks(&agent, 30);
    let after = db(&agent).notices_after(0, 100).expect("read").pop().expect("one").notice;
    assert_eq!(after, last, "nothing more is told");
    let shown = agent.command(&["incident", "show", &id]).output().expect("runs");
    assert!(String::from_utf8_lossy(&shown.stdout).contains("a person has seen it"));
    assert_eq!(refused(&agent, &["incident", "ack", "99"]).0, Some(2));
}

#[test]
fn d16_in_a_maintenance_window_rules_do_nothing_and_its_end_is_their_beginning() {
    let (mut agent, _folder, spool) = with_spool("");
    let drilled = agent.json(&["--json", "rule", "drill", "30"]);
    assert_eq!(drilled["drills"][0]["state"], "passed", "{drilled}");
    for (arguments, says) in [
        (&["maintenance", "start", "move", "--all"][..], "--for"),
        (&["maintenance", "start", "move", "--for", "1h"], "it must be about"),
        (&["maintenance", "start", "move", "--for", "1h", "--target", "spol"], "no target or service `spol`"),
        (&["maintenance", "start", "move", "--for", "1h", "--tag", "rack-8"], "the tag `rack-8`"),
    ] {
        let (code, said) = refused(&agent, arguments);
        assert!(code == Some(2) && said.contains(says), "{arguments:?}: {said}");
    }
    agent.json(&["--json", "maintenance", "start", "move", "--for", "1h", "--tag", "rack-7", "--reason", "new disks"]);
    let status = agent.json(&["--json", "status"]);
    let window = status["maintenance"][0].as_str().expect("shown");
    assert!(window.contains("maintenance move of all with tag rack-7") && window.contains("new disks"), "{window}");
    agent.start_quietly();
    let look = two_looks(&agent, 30);
    assert!(look["decision"].as_str().is_some_and(|why| why.contains("maintenance move")), "{look}");
    let clause = &look["trigger"][0];
    assert_eq!(
        (clause["text"].as_str(), clause["truth"].as_str()),
        (Some("last(\"path.present/spool\") == 0 || last(\"path.mode_ok/spool\") == 0"), Some("true"))
    );
    assert!(clause["detail"].as_str().is_some_and(|detail| detail.contains("= 0")), "c15: {clause}");
    assert!(!spool.exists());
    assert_eq!(db(&agent).notices_after(0, 10).expect("read"), [], "nobody is told");
    agent.json(&["--json", "maintenance", "end", "move"]);
    agent.wait_for("self_heal Rule 30: make-path");
    agent.wait_for("healed: rule 30");
    assert!(spool.is_dir());
}

#[test]
fn h5_the_history_of_rules_is_asked_for_as_json() {
    let (mut agent, _folder, _spool) = with_spool("");
    agent.json(&["--json", "rule", "drill", "30"]);
    agent.start_quietly();
    agent.wait_for("healed: rule 30");
    let events = |more: &[&str]| {
        let shown = agent.json(&[&["--json", "events"], more].concat());
        shown["events"].as_array().expect("a list").iter().map(|one| one["event"].clone()).collect::<Vec<_>>()
    };
    let all = events(&["--target", "spool", "--rule", "30", "--since", "1h"]);
    assert_eq!(all, ["rule-acts", "rule-healed"]);
    assert_eq!(
        events(&["--rule", "31"]).len() + events(&["--target", "other"]).len() + events(&["--until", "1h"]).len(),
        0
    );
}

#[test]
fn c10_c12_recorded_lines_and_series_are_replayed_and_the_coverage_is_said() {
    let agent = Agent::new("");
    let shown = agent.json(&["--json", "rule", "test"]);
    let (covered, tested) = (&shown["coverage"], shown["tested"].as_array().expect("a list"));
    assert_eq!((covered["rules"].as_u64(), covered["neither"].as_u64()), (Some(51), Some(0)), "{covered}");
    assert!(tested.iter().all(|one| one["wrong"].as_array().is_some_and(Vec::is_empty)), "{shown:#}");
    assert_eq!(covered["right"], tested.len());
    let list = agent.json(&["--json", "rule", "list"]);
    assert!(list["coverage"]["can_be_drilled"].as_u64().is_some_and(|count| count >= 26), "{}", list["coverage"]);
    // A rule that is edited so that it no longer fits what was recorded says so.
    let edit = "number = 15\n[trigger]\nfor = \"1h\"\n";
    fs::create_dir_all(agent.home().join("config/rules")).expect("made");
    fs::write(agent.home().join("config/rules/15.toml"), edit).expect("written");
    let output = agent.command(&["rule", "test", "15"]).output().expect("runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("it stays beyond its limit for ten minutes"), "{text}");
}

#[test]
fn c13_a_dry_run_sees_what_a_rule_would_do_and_does_nothing() {
    let (mut agent, _folder, spool) = with_spool("");
    agent.json(&["--json", "rule", "drill", "30"]);
    agent.start_with(&["run", "--dry-run"]);
    agent.wait_for("opened: rule 30");
    agent.end();
    assert!(!spool.exists() && !agent.said().contains("self_heal"), "{}", agent.said());
}

#[test]
fn c13_one_rule_in_dry_run_says_what_it_would_do_and_the_others_act() {
    let (mut agent, folder, spool) = with_spool("");
    let rules = agent.home().join("config/rules");
    fs::create_dir_all(&rules).expect("made");
    agent.json(&["--json", "rule", "drill", "30"]);
    // Held back after its drill: that one still counts.
    fs::write(rules.join("30.toml"), "number = 30\ndry_run = true\n").expect("written");
    agent.start_quietly();
    let line = agent.wait_for("dry run: would make-path");
    assert!(line.starts_with("rule 30 missing-path on spool: "), "{line}");
    let look = two_looks(&agent, 30);
    assert!(look["decision"].as_str().is_some_and(|why| why.contains("dry run: would make-path")), "{look}");
    assert!(!spool.exists() && !agent.said().contains("self_heal"), "{}", agent.said());
    let listed = agent.json(&["--json", "rule", "list"]);
    let listed = listed["rules"].as_array().expect("a list").iter().find(|one| one["number"] == 30).expect("there");
    assert_eq!((&listed["dry_run"], &listed["would_act"]), (&true.into(), &1.into()), "{listed:#}");
    assert_eq!(listed["drill"]["state"], "passed");
    let text = |arguments: &[&str]| {
        String::from_utf8_lossy(&agent.command(arguments).output().expect("runs").stdout).into_owned()
    };
    let list = text(&["rule", "list"]);
    assert!(list.contains("Rule 30 is in dry run: it would have acted in 1 incidents."), "{list}");
    assert!(text(&["why", "30"]).contains("It is in dry run"), "{}", text(&["why", "30"]));
    let id = agent.json(&["--json", "incident", "list"])["incidents"][0]["id"].to_string();
    let shown = text(&["incident", "show", &id]);
    assert!(shown.contains("dry run: would make-path") && !shown.contains("attempt 1"), "{shown}");
    let steps = |step| db(&agent).count_rule_steps(step, 0).expect("read");
    assert_eq!((steps(RuleStep::WouldAct), steps(RuleStep::Acts)), (1, 0));
    fs::remove_file(rules.join("30.toml")).expect("removed");
    agent.signal(rustix::process::Signal::HUP);
    agent.wait_for("self_heal Rule 30: make-path");
    agent.wait_for("healed: rule 30");
    assert!(spool.is_dir());
    drop(folder);
}

#[test]
fn every_example_of_the_rules_page_loads() {
    #[derive(serde::Deserialize)]
    struct Recorded {
        series: Vec<SeriesText>,
    }
    let page = super::documents::read("docs/rules.md");
    let blocks: Vec<&str> = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let dir = tempfile::tempdir().expect("a temp dir");
    let home = Home::at(dir.path());
    home.create().expect("made");
    let start = "name = \"a\"\nmesh = \"m\"\n[remote]\nurl = \"/srv/mesh.git\"\n";
    let mut seen = [0; 4];
    for block in blocks {
        if block.contains("[[series]]") {
            let recorded: Recorded = toml::from_str(block).unwrap_or_else(|error| panic!("{block}: {error}"));
            recorded.series.into_iter().for_each(|series| drop(series.check().expect(block)));
            seen[0] += 1;
        } else if block.starts_with("number") {
            parse(Path::new("docs/rules.md"), block).unwrap_or_else(|error| panic!("{error}"));
            seen[1] += 1;
        } else if block.starts_with("name") {
            toml::from_str::<InvariantText>(block).expect(block).check().expect(block);
            seen[2] += 1;
        } else {
            fs::write(home.config_file(), format!("{start}{block}")).expect("written");
            Config::load(&home).unwrap_or_else(|error| panic!("{block}: {error}"));
            seen[3] += 1;
        }
    }
    assert_eq!(seen, [1, 1, 1, 2]);
}

#[test]
fn k4_what_a_host_is_holds_for_all_on_it_and_a_rule_can_be_about_some_only() {
    let own = |folder: &Path, tags: &str| {
        let rule = fs::read_to_string("config/rules/30-missing-path.toml").expect("readable");
        let rule = rule.replace("number = 30\n", &format!("number = 1930\ntags = {tags}\n"));
        fs::write(folder.join("1930-mine.toml"), rule.replace("name = \"", "name = \"own-")).expect("written");
    };
    for (host, rule, decided) in [("rack-9", "[\"rack-9\"]", true), ("rack-8", "[\"rack-9\"]", false)] {
        let (mut agent, _folder, _spool) = with_spool("");
        let home = agent.home();
        let config = fs::read_to_string(home.join("config/mesh.toml")).expect("readable");
        fs::write(home.join("config/mesh.toml"), format!("tags = [{host:?}]\n{config}")).expect("written");
        fs::create_dir_all(home.join("config/rules")).expect("made");
        own(&home.join("config/rules"), rule);
        let drilled = agent.json(&["--json", "rule", "drill", "30"]);
        assert_eq!(drilled["drills"][0]["state"], "passed", "{drilled}");
        agent.json(&["--json", "maintenance", "start", "move", "--for", "1h", "--tag", host, "--reason", "new disks"]);
        agent.start_quietly();
        let look = two_looks(&agent, 30);
        assert!(look["decision"].as_str().is_some_and(|why| why.contains("maintenance move")), "{look}");
        let shown = agent.json(&["--json", "why", "1930"]);
        assert_eq!(shown["looks"].as_array().is_some_and(|looks| !looks.is_empty()), decided, "{shown}");
    }
}
