//! What is learned afterwards, with real programs: drafts, calibration, retirement, reviews, and mesh's own files.

use std::fs;
use std::time::Duration;

use mesh::domain::signal::SeriesName;
use mesh::ports::Clock as _;
use mesh::store::db::Db;
use mesh::store::samples::Sample;
use mesh::sys::clock::{AHEAD, SystemClock};
use serde_json::Value;

use crate::documents::example;
use crate::granted::{LESSON, Two};
use crate::support::agent::Agent;
use crate::support::homes::Host;
use crate::support::project::git;

const DAY: u32 = 86_400;

/// Readings every ten minutes over a day and more, up to now.
fn record(db: &mut Db, name: &str, value: f64) {
    let now = SystemClock.now().as_second();
    let name: SeriesName = name.parse().expect("a name");
    let sample =
        |n| Sample { name: name.clone(), every: Duration::from_secs(600), at: now - n * 600, value: Some(value) };
    db.record(&(0..150_i64).map(sample).collect::<Vec<_>>(), &[]).expect("stored");
}

fn row<'v>(listed: &'v Value, list: &str, key: &str, wanted: &str) -> Vec<&'v Value> {
    listed[list].as_array().expect("a list").iter().filter(|row| row[key] == *wanted).collect()
}

#[test]
fn e6_e12_what_a_peers_lesson_came_to_becomes_a_draft_with_its_lineage_and_a_line_of_the_review() {
    let two = Two::new("apply", "", |text| text);
    two.measure(9.0);
    two.round();
    two.wait();
    two.measure(1.0);
    two.round();
    assert_eq!(two.heard(), ["validated"], "and its author hears of it");
    assert_eq!(row(&two.pupil.json(&["lesson", "list"]), "lessons", "state", "draft").len(), 0, "not before a day");
    two.ahead.set(two.ahead.get() + DAY);
    two.round();

    let listed = two.pupil.json(&["lesson", "list"]);
    let drafts = row(&listed, "lessons", "state", "draft");
    assert_eq!(drafts.len(), 1, "{listed:#}");
    assert_eq!((&drafts[0]["id"], &drafts[0]["rev"]), (&LESSON.into(), &2.into()));
    assert_eq!(drafts[0]["lacks"]["needs"], "person", "its examples hold: {listed:#}");
    let shown = two.pupil.json(&["lesson", "show", LESSON, "--draft"]);
    let inbox = two.pupil.json(&["inbox", "list"]);
    assert_eq!(shown["derived_from"], serde_json::json!([inbox["entries"][0]["entry"]]));
    assert!(shown["because"].as_str().expect("text").contains("1 validated"), "{shown:#}");
    assert!(shown["evidence"].to_string().contains("is validated in 1 place"), "{shown:#}");
    let unshared = two.pupil.run(&["outbox", "preview", LESSON]);
    assert_ne!(unshared.status.code(), Some(0), "nothing of a draft can be sent");

    // A person's word makes it a lesson of this host, and only then it can be shared.
    two.pupil.ok(&["lesson", "confirm", LESSON]);
    let listed = two.pupil.json(&["lesson", "list"]);
    assert_eq!(row(&listed, "lessons", "state", "draft").len(), 0);
    let here = row(&listed, "lessons", "id", LESSON);
    assert_eq!((&here[0]["from"], &here[0]["rev"]), (&"local".into(), &2.into()), "{listed:#}");
    assert!(two.pupil.ok(&["outbox", "preview", LESSON]).contains("derived_from"));
    assert_eq!(two.pupil.run(&["lesson", "confirm", LESSON]).status.code(), Some(2), "there is no draft any more");
    two.ahead.set(two.ahead.get() + DAY);
    two.round();
    let listed = two.pupil.json(&["lesson", "list"]);
    assert_eq!(row(&listed, "lessons", "state", "draft").len(), 0, "the same outcome teaches nothing twice");

    let output = two.pupil.command(&["--json", "review", "--now"]).env(AHEAD, two.ahead.get().to_string()).output();
    let review: Value = serde_json::from_slice(&output.expect("runs").stdout).expect("JSON");
    assert_eq!((&review["calibration"]["judged"], &review["calibration"]["held"]), (&1.into(), &1.into()));
    assert_eq!(review["finished"][0]["lesson"], LESSON);
    let told = two.pupil.ok(&["review"]);
    assert!(told.contains("# Review of pupil") && told.contains("| predictions that held | 1 of 1 |"), "{told}");
}

#[test]
fn e6_a_policy_stands_for_a_persons_word_where_the_configuration_says_so() {
    let confirmed = |lessons: &str| {
        let two = Two::new("apply", "", |text| text);
        let path = two.pupil.home.join("config/conf.d/20.toml");
        fs::write(path, format!("[lessons]\n{lessons}\n")).expect("written");
        two.measure(9.0);
        two.round();
        two.wait();
        two.measure(1.0);
        two.round();
        two.ahead.set(two.ahead.get() + DAY);
        two.round();
        let listed = two.pupil.json(&["lesson", "list"]);
        let drafts = row(&listed, "lessons", "state", "draft").len();
        let here = row(&listed, "lessons", "id", LESSON)[0].clone();
        (two, drafts, here["from"].as_str().expect("whose").to_owned())
    };
    // Of one more than there is, or of those written here alone: it waits for a person.
    for lessons in ["confirm = { validated = 2, of = [\"peer\"] }", "confirm = { validated = 1 }"] {
        let (_, drafts, from) = confirmed(lessons);
        assert_eq!((drafts, from.as_str()), (1, "teacher"), "{lessons}");
    }
    let (two, drafts, from) = confirmed("confirm = { validated = 1, of = [\"peer\"] }");
    assert_eq!((drafts, from.as_str()), (0, "local"));
    let shown = two.pupil.json(&["lesson", "show", LESSON]);
    assert!(shown["evidence"].to_string().contains("confirmed: by the policy of this host: 1 validated"), "{shown:#}");
    assert_eq!(shown["derived_from"].as_array().map(Vec::len), Some(1), "and whose it was");
    let sent = two.pupil.json(&["outbox", "list"]);
    let is_lesson = |row: &Value| row["kind"] == "lesson";
    let all = [&sent["entries"], &sent["drafts"]].map(|rows| rows.as_array().expect("rows").iter().any(is_lesson));
    assert_eq!(all, [false, false], "nothing is sent by that: {sent:#}");
    let db = Db::open(&two.pupil.home.join("state/mesh.db")).expect("opened");
    let told = db.notices_after(0, 1_000).expect("read");
    assert!(told.iter().any(|one| one.notice.title.contains("holds here by `lessons.confirm`")), "{told:?}");
    // The same outcomes make no further draft of what is the lesson now.
    two.ahead.set(two.ahead.get() + DAY);
    two.round();
    assert_eq!(row(&two.pupil.json(&["lesson", "list"]), "lessons", "state", "draft").len(), 0);
}

#[test]
fn e12_a_review_is_made_each_week_and_told_once() {
    let above = tempfile::tempdir().expect("a temp dir");
    git(above.path(), &["init", "-q", "--bare", "remote.git"]);
    let host = Host::new(above.path(), "a", &above.path().join("remote.git").to_string_lossy());
    assert!(host.ok(&["review"]).contains("No review was made yet"));
    let reviews = || fs::read_dir(host.home.join("state/reviews")).map_or(0, std::iter::Iterator::count);
    host.one_round(&["run"]);
    host.one_round_ahead(&["run"], 6 * DAY);
    assert_eq!(reviews(), 0, "no week has passed");
    host.one_round_ahead(&["run"], 7 * DAY + 60);
    assert_eq!(reviews(), 2, "one for people, one for programs");
    host.one_round_ahead(&["run"], 8 * DAY);
    assert_eq!(reviews(), 2);
    let db = Db::open(&host.home.join("state/mesh.db")).expect("opened");
    let notices = db.notices_after(0, 1_000).expect("read");
    let told = notices.iter().filter(|one| one.notice.thread == "review").count();
    assert_eq!(told, 1, "{notices:?}");
    let review = host.json(&["review"]);
    assert!(
        review["unproven"].as_array().is_some_and(|rules| !rules.is_empty()),
        "rules that nobody drilled: {review:#}"
    );
}

#[test]
fn rule_22_a_rule_outside_of_its_calibration_only_reports_and_its_numbers_are_questioned() {
    let agent = Agent::new("");
    let pack = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config/rules/15-memory-over-limit.toml"));
    let text = pack.expect("ships").replacen("number = 15", "number = 1022", 1);
    let text =
        text.replacen("[calibrated_for]\n", "[calibrated_for]\nsignals = { \"service.rss_mb\" = [200.0, 800.0] }\n", 1);
    fs::create_dir_all(agent.home().join("config/rules")).expect("made");
    fs::write(agent.home().join("config/rules/1022.toml"), text).expect("written");
    let stands = || {
        let listed = agent.json(&["rule", "list", "--json"]);
        let rule = listed["rules"].as_array().expect("rules").iter().find(|rule| rule["number"] == 1_022).cloned();
        rule.unwrap_or_else(|| panic!("{listed:#}"))["drill"].clone()
    };
    assert_eq!(stands()["state"], "never");
    let mut db = Db::open(&agent.home().join("state/mesh.db")).expect("opened");
    record(&mut db, "service.rss_mb/small", 700.0);
    assert_eq!(stands()["state"], "never", "within twice its envelope");
    record(&mut db, "service.rss_mb/graph", 2_400.0);
    let drill = stands();
    assert_eq!(drill["state"], "expired");
    assert!(drill["why"].as_str().expect("why").contains("service.rss_mb/graph is 2400 here"), "{drill}");
    let review = agent.json(&["review", "--now", "--json"]);
    let proposed = &review["recalibrations"][0];
    assert_eq!(proposed["of"]["rule"]["number"], 1_022, "{review:#}");
    assert_eq!(proposed["fits"]["service.rss_mb"], serde_json::json!([200.0, 2_400.0]));
    assert!(proposed["evidence"][1].as_str().expect("evidence").starts_with("fired 0 times"), "{proposed}");
}

#[test]
fn e10_a_lesson_outside_of_its_calibration_is_shown_stale_and_only_audited() {
    let agent = Agent::new("");
    let lesson = example("docs/lessons.md", "lesson");
    let line = lesson.lines().find(|line| line.starts_with("signals = ")).expect("a calibration");
    let text = lesson.replace(line, "signals = { \"log.records\" = \"1000\" }");
    fs::write(agent.home().join("config/lessons/no-timeout.toml"), text).expect("written");
    let id = lesson.lines().find_map(|line| line.strip_prefix("id = ")).expect("an id").trim_matches('"').to_owned();
    let held = || row(&agent.json(&["lesson", "list", "--json"]), "lessons", "id", &id)[0].clone();
    assert_eq!((&held()["state"], &held()["grant"]), (&"holds".into(), &"propose".into()));
    let mut db = Db::open(&agent.home().join("state/mesh.db")).expect("opened");
    record(&mut db, "log.records", 900.0);
    assert_eq!(held()["state"], "holds");
    record(&mut db, "log.records/app", 2_500.0);
    let stale = held();
    assert_eq!((&stale["state"], &stale["grant"]), (&"stale".into(), &"audit".into()), "{stale:#}");
    assert!(stale["stale"].as_str().expect("why").contains("log.records/app is 2500 here"), "{stale:#}");
}

#[test]
fn e9_a_lesson_of_ours_that_is_over_is_taken_back_from_the_peers_once() {
    let above = tempfile::tempdir().expect("a temp dir");
    git(above.path(), &["init", "-q", "--bare", "remote.git"]);
    let host = Host::new(above.path(), "a", &above.path().join("remote.git").to_string_lossy());
    host.author("mine");
    let path = host.home.join("config/lessons/mine.toml");
    let text = fs::read_to_string(&path).expect("read");
    let line = text.lines().filter(|line| line.starts_with("expr = ")).nth(1).expect("retired_when").to_owned();
    let over = r#"expr = 'count("log.records", "24h") > 0 && max("log.records", "24h") == 0.0'"#;
    fs::write(&path, text.replace(&line, over)).expect("written");
    host.ok(&["outbox", "publish", "mine"]);
    let retractions = || row(&host.json(&["outbox", "list"]), "entries", "kind", "retract").len();
    host.one_round(&["run"]);
    assert_eq!(retractions(), 0, "nothing was measured");
    let mut db = Db::open(&host.home.join("state/mesh.db")).expect("opened");
    record(&mut db, "log.records", 0.0);
    drop(db);
    host.one_round(&["run"]);
    host.one_round(&["run"]);
    assert_eq!(retractions(), 1, "{:#}", host.json(&["outbox", "list"]));
    host.one_round(&["run"]);
    assert_eq!(retractions(), 1);
}

#[test]
fn e13_meshs_own_state_handling_is_audited_and_mending_it_stays_with_a_person() {
    let above = tempfile::tempdir().expect("a temp dir");
    git(above.path(), &["init", "-q", "--bare", "remote.git"]);
    let host = Host::new(above.path(), "a", &above.path().join("remote.git").to_string_lossy());
    // What somebody wrote to keep mesh's state, with the mistake of a founding lesson.
    let save = "import json\n\nSTATE_PATH = \"state.json\"\n\n\ndef save_state(state):\n    with open(STATE_PATH, \"w\") as f:\n        json.dump(state, f)\n";
    let script = host.home.join("state/keep.py");
    fs::write(&script, save).expect("written");
    host.one_round(&["run"]);
    let root = host.home.join("state").canonicalize().expect("there");
    let db = Db::open(&host.home.join("state/mesh.db")).expect("opened");
    let found = db.findings_of(&root).expect("read");
    assert!(
        found.iter().any(|finding| finding.path == "keep.py" && finding.lesson.as_str() == "non-atomic-state-write"),
        "{found:?}"
    );
    let fixes = host.json(&["fix", "list"]);
    let made = fixes["fixes"].as_array().expect("fixes").iter().any(|fix| fix["branch"].is_string());
    assert!(!made, "nothing is made of it: {fixes:#}");
    for fix in fixes["fixes"].as_array().expect("fixes") {
        let id = fix["id"].as_str().expect("an id");
        assert_ne!(host.run(&["fix", "apply", id]).status.code(), Some(0), "nor by asking: {fix:#}");
    }
    assert_eq!(fs::read_to_string(&script).expect("there"), save);
}
