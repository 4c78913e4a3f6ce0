//! What may be said of a series, and what may not.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::domain::expr::{Claim, History, Truth};

const MINUTES_5: Duration = Duration::from_secs(300);
const HOUR: Duration = Duration::from_secs(3_600);

/// Readings five minutes apart, the last one at `now`.
fn series(values: &[Option<f64>], now: i64) -> Series {
    let first = now - 300 * (i64::try_from(values.len()).expect("short") - 1);
    let points = values.iter().zip(0..).map(|(value, n)| Point::reading(first + 300 * n, *value)).collect();
    Series { subject: String::new(), every: MINUTES_5, points }
}

fn history(signal: &'static str, values: &[Option<f64>]) -> History {
    BTreeMap::from([(signal, vec![series(values, 1_000_000)])])
}

fn truth(text: &str, history: &History) -> Truth {
    Claim::compile(text).expect(text).evaluate(history, 1_000_000)
}

fn all(values: &[f64]) -> Vec<Option<f64>> {
    values.iter().copied().map(Some).collect()
}

#[test]
fn windows_are_answered_when_they_were_measured() {
    let history = history("log.records", &all(&[1.0; 12].map(|one: f64| one * 2.0)));
    for text in [
        r#"last("log.records") == 2.0"#,
        r#"avg("log.records", "1h") == 2"#,
        r#"max("log.records", "1h") - min("log.records", "1h") == 0.0"#,
        r#"count("log.records", "1h") == 12"#,
        r#"slope("log.records", "1h") == 0.0"#,
        r#"baseline("log.records", "1h") == 2.0"#,
        r#"rate("log.records", "1h") == 0.0 && !(last("log.records") > 3)"#,
    ] {
        assert_eq!(truth(text, &history), Truth::True, "{text}");
    }
}

#[test]
fn what_was_not_measured_never_supports_a_claim() {
    let nothing = History::new();
    for text in [r#"last("log.records") > 0"#, r#"!(last("log.records") > 0)"#, r#"count("log.records", "1h") == 0"#] {
        assert_eq!(truth(text, &nothing), Truth::Unknown, "{text}");
    }
    // One reading is no half year without a failure.
    let one = history("state.parse_failures", &all(&[0.0]));
    let retire = r#"count("state.parse_failures", "180d") > 0 && max("state.parse_failures", "180d") == 0.0"#;
    assert_eq!(truth(retire, &one), Truth::Unknown);
}

#[test]
fn one_observation_refutes_a_claim_over_a_window_with_holes() {
    let mut values = vec![None; 10];
    values.extend([Some(0.0), Some(3.0)]);
    let history = history("state.parse_failures", &values);
    assert_eq!(truth(r#"rate("state.parse_failures", "7d") == 0.0"#, &history), Truth::False);
    assert_eq!(truth(r#"max("state.parse_failures", "7d") < 2"#, &history), Truth::False);
    assert_eq!(truth(r#"max("state.parse_failures", "7d") > 2"#, &history), Truth::True);
    assert_eq!(truth(r#"max("state.parse_failures", "7d") < 4"#, &history), Truth::Unknown);
}

#[test]
fn a_counter_that_went_back_starts_anew() {
    let reset = history("service.restarts", &all(&[5.0, 6.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]));
    assert_eq!(truth(r#"rate("service.restarts", "1h") == 2.0"#, &reset), Truth::True);
    let lost = history("service.restarts", &all(&[5.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]));
    assert_eq!(truth(r#"rate("service.restarts", "1h") == 0.0"#, &lost), Truth::Unknown, "it may have been 2");
    assert_eq!(truth(r#"rate("service.restarts", "1h") <= 2.0"#, &lost), Truth::True);
}

#[test]
fn a_name_without_a_subject_is_the_worst_of_all() {
    let named =
        |subject: &str, values: &[Option<f64>]| Series { subject: subject.to_owned(), ..series(values, 1_000_000) };
    let history = History::from([
        ("service.rss_mb", vec![named("web", &all(&[10.0])), named("db", &all(&[90.0])), named("lost", &[None])]),
        ("cert.days_left", vec![named("a", &all(&[3.0])), named("b", &all(&[60.0]))]),
    ]);
    assert_eq!(truth(r#"last("service.rss_mb") > 80"#, &history), Truth::True);
    assert_eq!(truth(r#"last("service.rss_mb") < 100"#, &history), Truth::Unknown, "`lost` is not known");
    assert_eq!(truth(r#"last("service.rss_mb/web") < 80"#, &history), Truth::True);
    assert_eq!(truth(r#"last("service.rss_mb/nobody") < 80"#, &history), Truth::Unknown);
    assert_eq!(truth(r#"last("cert.days_left") == 3"#, &history), Truth::True);
}

#[test]
fn what_is_no_longer_measured_is_not_the_newest() {
    let mut old = series(&all(&[1.0]), 1_000_000);
    old.points[0] = Point::reading(1_000_000 - 1_000, Some(1.0));
    assert_eq!(truth(r#"last("log.records") == 1"#, &History::from([("log.records", vec![old])])), Truth::Unknown);
}

#[test]
fn the_time_until_a_limit_is_told_and_never_endless() {
    let growing: Vec<f64> = (0..73).map(|n| 50.0 + f64::from(n) / 12.0).collect();
    let full = history("host.disk.used_percent", &all(&growing));
    assert_eq!(
        truth(r#"eta("host.disk.used_percent") > 43.9 && eta("host.disk.used_percent") < 44.1"#, &full),
        Truth::True
    );
    let flat = history("host.disk.used_percent", &all(&[50.0; 73]));
    assert_eq!(truth(r#"eta("host.disk.used_percent") < 24"#, &flat), Truth::False);
    let beyond = history("host.disk.used_percent", &all(&[100.0; 73]));
    assert_eq!(truth(r#"eta("host.disk.used_percent") == 0.0"#, &beyond), Truth::True);
}

#[test]
fn an_hour_says_the_same_as_its_readings() {
    let values = all(&[3.0, 4.0, 1.0, 1.0, 6.0, 6.0, 2.0, 2.0, 2.0, 9.0, 9.0, 9.0]);
    let readings = series(&values, 1_000_000);
    let joined = Point::join(&readings.points, MINUTES_5).expect("some");
    let hour = Series { points: vec![joined], ..readings.clone() };
    let signal = crate::domain::signal::find("service.restarts").expect("known");
    for function in [Function::Avg, Function::Min, Function::Max, Function::Rate, Function::Count, Function::Last] {
        let window = (function != Function::Last).then_some(HOUR);
        let read = |series: &Series| series.read(function, window, signal, 1_000_000);
        assert_eq!(read(&hour), read(&readings), "{function:?}");
    }
}

const FUNCTIONS: [Function; 9] = [
    Function::Last,
    Function::Baseline,
    Function::Slope,
    Function::Avg,
    Function::Min,
    Function::Max,
    Function::Rate,
    Function::Count,
    Function::Eta,
];

proptest! {
    #[test]
    fn no_reading_makes_an_answer_that_is_no_number(
        values in prop::collection::vec(prop::option::of(any::<f64>()), 1..40),
        hours in 1_u64..200,
        factor in any::<f64>(),
    ) {
        let series = series(&values, 1_000_000);
        let signal = crate::domain::signal::find("host.disk.used_percent").expect("known");
        for function in FUNCTIONS {
            for series in [&series, &Series { points: Point::join(&series.points, MINUTES_5).into_iter().collect(), ..series.clone() }] {
                let range = read(&[series], function, Some(Duration::from_secs(hours * 900)), signal, 1_000_000);
                for range in [range, range.plus(range), range.times(Range::exactly(factor)), range.over(range), range.negated()] {
                    prop_assert!(range.least() <= range.most(), "{function:?}: {range:?}");
                    prop_assert!(range.least() < f64::INFINITY && range.most() > f64::NEG_INFINITY);
                }
            }
        }
    }

    #[test]
    fn gaps_are_never_filled(values in prop::collection::vec(prop::option::of(-1e6..1e6_f64), 1..40)) {
        let series = series(&values, 1_000_000);
        let signal = crate::domain::signal::find("log.records").expect("known");
        for function in [Function::Last, Function::Min, Function::Max, Function::Baseline] {
            let range = read(&[&series], function, Some(HOUR), signal, 1_000_000);
            for end in [range.least(), range.most()] {
                prop_assert!(!end.is_finite() || values.contains(&Some(end)), "{function:?} made up {end}");
            }
        }
        let measured = values.iter().rev().take(12).flatten().count();
        let count = read(&[&series], Function::Count, Some(HOUR), signal, 1_000_000);
        prop_assert_eq!(count.exact(), Some(measured as f64));
    }

    #[test]
    fn a_counter_never_shrinks(values in prop::collection::vec(prop::option::of(0.0..1e6_f64), 1..40)) {
        let series = series(&values, 1_000_000);
        let signal = crate::domain::signal::find("service.restarts").expect("known");
        let range = read(&[&series], Function::Rate, Some(HOUR), signal, 1_000_000);
        prop_assert!(range.least() >= 0.0 || range == Range::UNKNOWN);
    }
}
