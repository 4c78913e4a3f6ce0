//! Claims against what is stored: lessons are retired and shown by it.

use std::fs;
use std::time::Duration;

use mesh::domain::expr::Truth;
use mesh::domain::signal::SeriesName;
use mesh::loops::library::claim_says;
use mesh::ports::Clock as _;
use mesh::store::db::Db;
use mesh::store::samples::Sample;
use mesh::sys::clock::SystemClock;

use crate::documents::example;
use crate::support::agent::Agent;

const RETIRES: &str = r#"count("log.records", "24h") > 0 && max("log.records", "24h") == 0.0"#;

/// Readings every ten minutes over `hours`, up to now.
fn record(db: &mut Db, name: &str, hours: i64, value: f64) {
    let now = SystemClock.now().as_second();
    let name: SeriesName = name.parse().expect("a name");
    let sample =
        |n| Sample { name: name.clone(), every: Duration::from_secs(600), at: now - n * 600, value: Some(value) };
    db.record(&(0..hours * 6).map(sample).collect::<Vec<_>>(), &[]).expect("stored");
}

#[test]
fn d22_a_lesson_retires_when_its_condition_was_measured_and_not_before() {
    let agent = Agent::new("");
    let lesson = example("docs/lessons.md", "lesson");
    let line = lesson.lines().filter(|line| line.starts_with("expr = ")).nth(1).expect("retired_when");
    let path = agent.home().join("config/lessons/no-timeout.toml");
    fs::write(&path, lesson.replace(line, &format!("expr = '{RETIRES}'"))).expect("written");
    let id = lesson.lines().find_map(|line| line.strip_prefix("id = ")).expect("an id").trim_matches('"').to_owned();
    let held = |agent: &Agent| {
        let listed = agent.json(&["lesson", "list", "--json"]);
        let named = |list: &str, key: &str| {
            let rows = listed[list].as_array().expect("a list").clone();
            rows.into_iter().find(|row| row[key] == id.as_str())
        };
        (named("lessons", "id").is_some(), named("left_out", "lesson"))
    };
    assert_eq!(held(&agent), (true, None), "nothing was measured");

    let mut db = Db::open(&agent.home().join("state/mesh.db")).expect("opened");
    record(&mut db, "log.records", 2, 0.0);
    assert_eq!(held(&agent), (true, None), "two hours are no day");
    record(&mut db, "log.records/app", 24, 1.0);
    assert_eq!(held(&agent), (true, None), "one of them contradicts");
    drop(db);

    let agent = Agent::new("");
    fs::write(agent.home().join("config/lessons/no-timeout.toml"), fs::read(&path).expect("read")).expect("written");
    let mut db = Db::open(&agent.home().join("state/mesh.db")).expect("opened");
    record(&mut db, "log.records", 24, 0.0);
    let (is_held, left_out) = held(&agent);
    assert!(!is_held && left_out.expect("named")["why"].as_str().is_some_and(|why| why.starts_with("retired on ")));
    record(&mut db, "log.records/app", 1, 1.0);
    assert!(!held(&agent).0, "once retired, it stays so");
}

#[test]
fn what_is_measured_is_said_beside_the_claim() {
    let agent = Agent::new("");
    let shown = || agent.json(&["lesson", "show", "world-readable-secret", "--json"])["here"]["falsifiable"].clone();
    assert_eq!(shown(), "untested");
    let mut db = Db::open(&agent.home().join("state/mesh.db")).expect("opened");
    record(&mut db, "secret.exposed_files", 1, 0.0);
    assert_eq!(shown(), "holds");
    record(&mut db, "secret.exposed_files/app", 1, 2.0);
    assert_eq!(shown(), "refuted");
    assert_eq!(claim_says(&db, "not a claim", SystemClock.now()).expect("read"), Truth::Unknown);
}
