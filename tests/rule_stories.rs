//! What once went wrong on real hosts, as scenarios: each ends as it should have.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mesh::agent::drill::{Ground, run};
use mesh::domain::heal::action::{Action, Done, WayBack};
use mesh::domain::heal::condition::{EventName, Occurrence, What};
use mesh::domain::heal::drill::{DrillPlan, DrillState, Parts, Script, Stage};
use mesh::domain::heal::rule::Rule;
use mesh::domain::heal::target::{Target, TargetKind};
use mesh::domain::id::HostId;
use mesh::domain::ledger::{Entry, RuleStep};
use mesh::domain::running::Moment;
use mesh::domain::signal::SeriesName;
use mesh::loops::heal::{Healer, Setting};
use mesh::ports::Reading;
use mesh::ports::heal::{Eyes, Hands, Order, Seen, ServiceSeen, Services};
use mesh::store::db::Db;
use mesh::store::rules::{PACK, parse};
use mesh::sys::apply::Changes;
use mesh::sys::clock::SystemClock;
use mesh::sys::exec::SystemExec;
use mesh::sys::heal::SystemHands;

use super::support::agent::Agent;

fn rule(number: u32) -> Rule {
    let all = PACK.iter().map(|(name, text)| parse(Path::new(name), text).expect("sound"));
    all.into_iter().find(|rule| rule.number == number).expect("in the pack")
}

/// The drill of a rule with another script.
fn played(number: u32, change: impl FnOnce(&mut Script)) -> Parts {
    let mut rule = rule(number);
    let DrillPlan::Script(script) = &mut rule.drill else { panic!("it can be drilled") };
    change(script);
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temp dir");
    let ground = Ground {
        folder: dir.path().to_owned(),
        program: PathBuf::from(env!("CARGO_BIN_EXE_mesh")),
        host: HostId::from_bytes([7; 32]),
    };
    run(&rule, &ground).expect("it can be run").expect("it has a drill")
}

/// The drill's own service, with this plan.
fn behaves(plan: &str) -> Stage {
    Stage::Child { name: None, plan: vec![plan.to_owned()], restarts: 0, memory_mb: None, start: true }
}

#[test]
fn an_idle_healthy_process_is_left_alone() {
    let idle = vec![behaves("idle")];
    for number in [3, 19, 48] {
        let parts = played(number, |script| script.near = idle.clone());
        assert!(matches!(parts.spares, Some(Ok(_))), "rule {number}: {:?}", parts.failure());
    }
}

#[test]
fn the_stale_lock_of_a_dead_pid_is_swept() {
    assert_eq!(played(12, |_| {}).failure(), None);
}

#[test]
fn a_split_failure_in_which_reads_succeed_and_writes_fail_trips_the_breaker() {
    let parts = played(46, |_| {});
    assert_eq!(parts.failure(), None);
    let hurt = played(46, |script| script.near = vec![behaves("split ./operations.json ./writes.breaker 30")]);
    assert!(matches!(hurt.spares, Some(Err(_))), "30 % of the writes is no near miss");
}

#[test]
fn a_log_of_2_gb_is_rotated_and_whoever_writes_it_is_told() {
    assert_eq!(played(26, |_| {}).failure(), None);
}

#[test]
fn a_path_clobbered_for_three_services_is_put_back_with_one_of_them_as_canary() {
    assert_eq!(played(9, |_| {}).failure(), None);
}

#[test]
fn the_stale_lock_of_a_reused_pid_is_swept() {
    let parts = played(12, |script| {
        for stages in [&mut script.fail, &mut script.back] {
            stages[0] = Stage::ReusedOwner { path: "work.lock".to_owned() };
        }
    });
    assert_eq!(parts.failure(), None);
}

/// Sees what it is told to see, and does nothing.
#[derive(Default)]
struct Played {
    seen: Vec<Seen>,
    taken: Vec<String>,
}

impl Eyes for Played {
    fn look(&mut self, _targets: &[Target], _wall: i64, _now: i64) -> Seen {
        if self.seen.is_empty() { Seen::default() } else { self.seen.remove(0) }
    }
}

impl Hands for Played {
    fn prepare(&mut self, _: &Action, _: &Target, _: &str) -> Result<Vec<WayBack>, String> {
        Ok(Vec::new())
    }

    fn take(&mut self, action: &Action, _: &Target, _: &str, _: &[WayBack]) -> Done {
        self.taken.push(action.to_string());
        Done::well("done")
    }

    fn take_back(&mut self, _: &WayBack) -> Result<String, String> {
        Ok(String::new())
    }
}

/// What is taken when the kernel kills at these hours, one look each.
fn oom_kills_at(hours: &[i64]) -> Vec<String> {
    let mut db = Db::in_memory().expect("made");
    let target = Target::new("web".parse().expect("a name"), TargetKind::Service);
    let setting = Setting {
        rules: vec![rule(37)],
        targets: vec![target],
        drills: BTreeMap::from([(37, (DrillState::Passed, String::new()))]),
        every: Duration::from_secs(60),
        per_hour: 10,
        unseen_after: Duration::from_secs(7_200),
        dry_run: false,
    };
    let fact = |name: &'static str, value| Reading {
        name: SeriesName::of(name, "web".parse().expect("a name")),
        value: Ok(value),
    };
    let seen = |hour: &i64| Seen {
        readings: vec![fact("unit.wanted", 1.0), fact("unit.active", 1.0)],
        occurrences: vec![Occurrence {
            at: hour * 3_600,
            target: "web".to_owned(),
            what: What::Event(EventName::OomKill),
        }],
    };
    let eyes = Played { seen: hours.iter().map(seen).collect(), ..Played::default() };
    let mut healer = Healer::resume(&db, setting, eyes, Played::default(), 0, |_| {}).expect("made");
    let mut taken = Vec::new();
    let start = jiff::Timestamp::from_second(1_800_000_000).expect("a time");
    for hour in hours {
        let uptime = Duration::from_secs(u64::try_from(hour * 3_600).expect("later"));
        let wall = start.checked_add(jiff::SignedDuration::from_hours(*hour)).expect("a time");
        let moment = Moment { wall, boot: "one".to_owned(), uptime };
        taken.extend(healer.look(&mut db, &moment).expect("looked").acted);
    }
    assert_eq!(db.count_rule_steps(RuleStep::Acts, 0).expect("read"), taken.len() as u64);
    taken
}

#[test]
fn three_oom_kills_in_six_hours_are_answered_and_three_in_seven_are_not() {
    assert_eq!(oom_kills_at(&[0, 2, 5]), ["self_heal Rule 37: reset-failed", "self_heal Rule 37: restart"]);
    assert_eq!(oom_kills_at(&[0, 4, 7]), Vec::<String>::new());
    assert_eq!(oom_kills_at(&[0, 2]), Vec::<String>::new());
}

/// Services that nobody runs.
struct Nobody;

impl Services for Nobody {
    fn seen(&mut self, _: &str) -> Option<ServiceSeen> {
        None
    }

    fn order(&mut self, _: &str, _: Order) -> Result<String, String> {
        Err("nobody runs it".to_owned())
    }

    fn happened(&mut self) -> Vec<(String, EventName)> {
        Vec::new()
    }
}

#[test]
fn a_breaker_whose_time_is_over_is_half_open_for_a_while_and_then_removed() {
    let dir = tempfile::tempdir().expect("a temp dir");
    let file = dir.path().join("writes.breaker");
    let mut db = Db::in_memory().expect("made");
    let mut target = Target::new("writes".parse().expect("a name"), TargetKind::Operations);
    target.path = Some(dir.path().join("operations.json"));
    target.breaker = Some(file.clone());
    let setting = Setting { rules: vec![rule(46)], targets: vec![target], ..Setting::default() };
    let changes = Changes::new(&dir.path().join("changes"), HostId::from_bytes([7; 32]), |_| {});
    let hands = SystemHands::new(Nobody, SystemExec, changes, dir.path().join("good"), Vec::new(), || {
        SystemClock.moment().wall
    });
    let mut healer = Healer::resume(&db, setting, Played::default(), hands, 0, |_| {}).expect("made");
    let start = 1_800_000_000;
    let mut look = |db: &mut Db, after: i64| {
        let wall = jiff::Timestamp::from_second(start + after).expect("a time");
        let uptime = Duration::from_secs(after.unsigned_abs());
        healer.look(db, &Moment { wall, boot: "one".to_owned(), uptime }).expect("looked");
        std::fs::read_to_string(&file).ok()
    };
    let open = format!("open until {}\n", start + 100);
    std::fs::write(&file, &open).expect("written");
    assert_eq!(look(&mut db, 99), Some(open.clone()));
    let half = Some(format!("half-open until {}\n", start + 400));
    assert_eq!(look(&mut db, 100), half);
    assert_eq!(look(&mut db, 399), half);
    assert_eq!(look(&mut db, 400), None);
    assert_eq!(db.count_rule_steps(RuleStep::TakenBack, 0).expect("read"), 2, "both are in the ledger");
    // What a person wrote stays, and so does everything while mesh is paused.
    std::fs::write(&file, "no writes this week\n").expect("written");
    assert_eq!(look(&mut db, 500).as_deref(), Some("no writes this week\n"));
    std::fs::write(&file, &open).expect("written");
    let wall = jiff::Timestamp::from_second(start + 600).expect("a time");
    let moment = Moment { wall, boot: "one".to_owned(), uptime: Duration::from_secs(600) };
    db.note_host(&moment, &Entry::Pause { until: None, why: String::new() }).expect("noted");
    assert_eq!(look(&mut db, 700), Some(open));
}

#[test]
fn c5_the_agent_logs_each_action_once_and_the_ledger_says_the_same() {
    let folder = tempfile::tempdir().expect("a temp dir");
    let spool = folder.path().join("spool");
    let mut agent = Agent::new(&format!(
        "[rules]\ninterval = \"1s\"\n[[target]]\nname = \"spool\"\nkind = \"path\"\npath = {spool:?}\ndirectory = true\nmode = \"0750\"\n"
    ));
    let state = |agent: &Agent| {
        let rules = agent.json(&["--json", "rule", "list"]);
        let rules = rules["rules"].as_array().expect("a list").clone();
        rules.iter().find(|rule| rule["number"] == 30).expect("there")["drill"]["state"].clone()
    };
    assert_eq!(state(&agent), "never");
    agent.start_quietly();
    // Not drilled: it reports.
    agent.wait_for("escalated: rule 30");
    assert!(!spool.exists());
    let drilled = agent.json(&["--json", "rule", "drill", "30"]);
    assert_eq!(drilled["drills"][0]["state"], "passed", "{drilled}");
    assert_eq!(state(&agent), "passed");
    agent.wait_for("self_heal Rule 30: make-path");
    agent.wait_for("healed: rule 30");
    assert!(spool.is_dir());
    std::fs::remove_dir(&spool).expect("removed");
    // The cooldown and the budget are in the way of nothing but of a second action within the minute.
    agent.wait_for("opened: rule 30");
    let lines = agent.said().lines().filter(|line| line.contains("self_heal Rule ")).count();
    let db = Db::open(&agent.home().join("state/mesh.db")).expect("opened");
    assert_eq!(db.count_rule_steps(RuleStep::Acts, 0).expect("read"), lines as u64);
    assert_eq!(lines, 1);
    let incidents = agent.json(&["--json", "incident", "list", "--all"]);
    let first = &incidents["incidents"]
        .as_array()
        .expect("a list")
        .iter()
        .min_by_key(|one| one["id"].as_u64())
        .expect("one")["ending"];
    assert_eq!(first, "healed");
}
