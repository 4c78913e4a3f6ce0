//! What rules at work hold in memory and write down, look after look.

use super::*;
use crate::ports::Reading;
use crate::ports::heal::Seen;
use crate::store::rules::{PACK, parse};

/// Sees an active service with so much memory, and does nothing.
struct Steady(f64);

impl Eyes for Steady {
    fn look(&mut self, targets: &[Target], _wall: i64, _now: i64) -> Seen {
        let fact = |name, value| Reading { name: SeriesName::of(name, targets[0].name.clone()), value: Ok(value) };
        let readings = vec![fact("unit.active", 1.0), fact("unit.probe_failed", 0.0), fact("service.rss_mb", self.0)];
        Seen { readings, occurrences: Vec::new() }
    }
}

impl Hands for Steady {
    fn prepare(&mut self, _: &Action, _: &Target, _: &str) -> Result<Vec<WayBack>, String> {
        Ok(Vec::new())
    }

    fn take(&mut self, _: &Action, _: &Target, _: &str, _: &[WayBack]) -> Done {
        Done::well("done")
    }

    fn take_back(&mut self, _: &WayBack) -> Result<String, String> {
        Ok(String::new())
    }
}

fn healer(db: &Db) -> Healer<Steady, Steady> {
    let rules = PACK.iter().map(|(name, text)| parse(std::path::Path::new(name), text).expect("sound")).collect();
    let target = Target::new("web".parse().expect("a name"), crate::domain::heal::target::TargetKind::Service);
    let setting = Setting { rules, targets: vec![target], every: Duration::from_secs(60), ..Setting::default() };
    Healer::resume(db, setting, Steady(10.0), Steady(0.0), 0, |_| {}).expect("made")
}

fn look(healer: &mut Healer<Steady, Steady>, db: &mut Db, minute: i64) -> Looked {
    let wall = jiff::Timestamp::from_second(1_800_000_000 + 60 * minute).expect("a time");
    let uptime = Duration::from_secs(u64::try_from(60 * minute).expect("later"));
    healer.look(db, &Moment { wall, boot: "one".to_owned(), uptime }).expect("looked")
}

#[test]
fn no_more_readings_are_held_than_rules_read() {
    let mut db = Db::in_memory().expect("made");
    let mut healer = healer(&db);
    let held = |healer: &Healer<Steady, Steady>, signal| healer.facts.readings(signal, "web").expect("seen").count();
    for minute in 0..3_000 {
        look(&mut healer, &mut db, minute);
    }
    assert_eq!(held(&healer, "unit.active"), 5, "the newest one counts");
    // Rule 2 reads `avg("unit.probe_failed/{target}", "5m")`.
    assert_eq!(held(&healer, "unit.probe_failed"), 10);
}

#[test]
fn what_was_found_is_written_down_when_it_comes_to_something_else_and_every_10_minutes() {
    let mut db = Db::in_memory().expect("made");
    let mut healer = healer(&db);
    healer.explains = true;
    let written = |db: &Db| -> BTreeSet<i64> {
        let all = (1..=51).flat_map(|rule| db.explained(rule).expect("read"));
        all.map(|one| (one["at"].as_i64().expect("a time") - 1_800_000_000) / 60).collect()
    };
    for minute in 0..10 {
        assert!(!look(&mut healer, &mut db, minute).explained.is_empty(), "it is found at each look");
    }
    let first = written(&db);
    assert!(first.contains(&0) && !first.contains(&9), "{first:?}");
    look(&mut healer, &mut db, 10);
    assert!(written(&db).contains(&10));
    // A clock that was set back hides nothing.
    look(&mut healer, &mut db, 5);
    assert!(written(&db).contains(&5));
}
