//! What may be said of a series, and what may not.

use proptest::prelude::*;

use super::*;
use crate::domain::expr::{Claim, Truth};

const MINUTES_5: Duration = Duration::from_secs(300);
const HOUR: Duration = Duration::from_secs(3_600);

/// Readings five minutes apart, the last one at `now`.
fn series(values: &[Option<f64>], now: i64) -> Series {
    let first = now - 300 * (i64::try_from(values.len()).expect("short") - 1);
    let points = values.iter().zip(0..).map(|(value, n)| Point::reading(first + 300 * n, *value)).collect();
    Series { subject: String::new(), every: MINUTES_5, points }
}

fn history(signal: &'static str, values: &[Option<f64>]) -> History {
    History::from_iter([(signal, vec![series(values, 1_000_000)])])
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
    let history = History::from_iter([
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
    assert_eq!(truth(r#"last("log.records") == 1"#, &History::from_iter([("log.records", vec![old])])), Truth::Unknown);
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

/// What the functions mean, worked out second by second from single readings.
struct Plain {
    readings: Vec<(i64, Option<f64>)>,
    start: i64,
    now: i64,
    reach: i64,
}

impl Plain {
    fn of(all: &[(i64, Option<f64>)], every: i64, span: i64, now: i64) -> Self {
        let start = now - span;
        let readings = all.iter().copied().filter(|(at, _)| *at > start && *at <= now).collect();
        Self { readings, start, now, reach: 3 * every }
    }

    fn values(&self) -> Vec<f64> {
        self.readings.iter().filter_map(|(_, value)| *value).collect()
    }

    /// The part of the window in which the newest reading was a value, and not too old.
    fn measured(&self) -> f64 {
        let is_measured = |second: &i64| {
            let newest = self.readings.iter().rev().find(|(at, _)| at <= second);
            newest.is_some_and(|(at, value)| value.is_some() && second - at < self.reach)
        };
        (self.start..self.now).filter(is_measured).count() as f64 / (self.now - self.start) as f64
    }

    fn growth(&self) -> (f64, f64) {
        let values = self.values();
        values.windows(2).fold((0.0, 0.0), |(least, most), pair| {
            let by = pair[1] - pair[0];
            if by >= 0.0 { (least + by, most + by) } else { (least, most + pair[1].max(0.0)) }
        })
    }

    fn slope(&self) -> Option<f64> {
        let points: Vec<(f64, f64)> = self
            .readings
            .iter()
            .filter_map(|(at, value)| Some(((at - self.start) as f64 / 3_600.0, (*value)?)))
            .collect();
        let n = points.len() as f64;
        let sum = |of: &dyn Fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>();
        let (x, y) = (sum(&|point| point.0), sum(&|point| point.1));
        let (xx, xy) = (sum(&|point| point.0 * point.0), sum(&|point| point.0 * point.1));
        (points.len() >= 3).then(|| (n * xy - x * y) / (n * xx - x * x))
    }
}

fn near(found: f64, wanted: f64) -> bool {
    (found - wanted).abs() <= 1e-6 * wanted.abs().max(1.0)
}

/// Readings at times that wander around every minute, some of them left out, some of them gaps.
fn wandering() -> impl Strategy<Value = Vec<(i64, Option<f64>)>> {
    let step = (20_i64..200, prop::option::weighted(0.85, 0.0..1e3_f64));
    prop::collection::vec(step, 1..80).prop_map(|steps| {
        let mut at = 1_000_000;
        let place = |(step, value): (i64, Option<f64>)| {
            at += step;
            (at, value)
        };
        steps.into_iter().map(place).collect()
    })
}

fn placed(all: &[(i64, Option<f64>)]) -> Series {
    let points = all.iter().map(|(at, value)| Point::reading(*at, *value)).collect();
    Series { subject: String::new(), every: Duration::from_secs(60), points }
}

proptest! {
    #[test]
    fn each_function_says_what_the_readings_say(
        all in wandering(),
        later in 0_i64..400,
        minutes in 2_u64..60,
    ) {
        let now = all.last().expect("one").0 + later;
        let (span, series) = (Duration::from_secs(minutes * 60), placed(&all));
        let plain = Plain::of(&all, 60, i64::try_from(span.as_secs()).expect("short"), now);
        let signal = crate::domain::signal::find("host.disk.used_percent").expect("known");
        let say = |function| series.read(function, Some(span), signal, now);
        let (values, measured) = (plain.values(), plain.measured());
        prop_assert_eq!(say(Function::Count), Some(Range::exactly(values.len() as f64)));
        if plain.readings.is_empty() {
            prop_assert_eq!(say(Function::Avg), None, "nothing is said of what was not asked");
            return Ok(());
        }
        let say = |function| say(function).expect("there are readings");
        if values.is_empty() {
            for function in [Function::Avg, Function::Min, Function::Max, Function::Rate, Function::Baseline, Function::Slope] {
                prop_assert_eq!(say(function), Range::UNKNOWN, "{:?}", function);
            }
            return Ok(());
        }
        let is_whole = measured >= 0.8;
        let (least, most) = (values.iter().copied().fold(f64::MAX, f64::min), values.iter().copied().fold(f64::MIN, f64::max));
        let (grown, grown_most) = plain.growth();
        prop_assert!(near(say(Function::Min).most(), least) && near(say(Function::Max).least(), most));
        prop_assert!(near(say(Function::Rate).least(), grown));
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let average = say(Function::Avg);
        if is_whole {
            prop_assert!(average.exact().is_some_and(|average| near(average, mean)), "{:?} of {}", average, mean);
            prop_assert!(near(say(Function::Min).least(), least) && near(say(Function::Max).most(), most));
            prop_assert!(near(say(Function::Rate).most(), grown_most));
        } else {
            prop_assert_eq!(average, Range::UNKNOWN, "measured {}", measured);
            prop_assert!(!say(Function::Min).least().is_finite() && !say(Function::Rate).most().is_finite());
        }
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        let (baseline, slope) = (say(Function::Baseline), say(Function::Slope));
        if measured < 0.5 {
            prop_assert!(baseline == Range::UNKNOWN && slope == Range::UNKNOWN);
            return Ok(());
        }
        prop_assert_eq!(baseline.exact(), Some(sorted[sorted.len() / 2]));
        match plain.slope() {
            None => prop_assert_eq!(slope, Range::UNKNOWN),
            Some(wanted) => prop_assert!(slope.exact().is_some_and(|slope| near(slope, wanted)), "{:?} is not {}", slope, wanted),
        }
        // Full at 100: where it stands now and how fast it goes say when.
        if let (Some((_, Some(newest))), Some(slope)) = (plain.readings.last(), plain.slope()) {
            let eta = say(Function::Eta).exact().expect("a slope is known");
            let hours = (100.0 - newest) / slope;
            let wanted = if *newest >= 100.0 { 0.0 } else if (0.0..ETA_MOST).contains(&hours) { hours } else { ETA_MOST };
            // A slope of nearly nothing is one of rounding, in either direction.
            prop_assert!(slope.abs() < 1e-6 || near(eta, wanted), "{} is not {}", eta, wanted);
        }
    }

    #[test]
    fn what_was_not_seen_lies_within_what_is_said(
        all in prop::collection::vec(0.0..1e3_f64, 12..40),
        hidden in prop::collection::vec(any::<bool>(), 40),
    ) {
        let times = (0_i64..).map(|n| 1_000_000 + n * 60);
        let whole: Vec<(i64, Option<f64>)> = times.zip(all.iter().map(|value| Some(*value))).collect();
        let seen: Vec<_> = whole.iter().zip(&hidden).map(|((at, value), hide)| (*at, value.filter(|_| !hide))).collect();
        let now = whole.last().expect("some").0;
        let span = now - whole[0].0 + 1;
        let signal = crate::domain::signal::find("service.restarts").expect("known");
        let window = Some(Duration::from_secs(u64::try_from(span).expect("positive")));
        let truth = Plain::of(&whole, 60, span, now);
        // With enough of a window seen, the rest is taken to be like it; with less it is left open.
        if Plain::of(&seen, 60, span, now).measured() < 0.8 {
            let say = |function| placed(&seen).read(function, window, signal, now).expect("it was asked");
            let values = truth.values();
            let (least, most) = (values.iter().copied().fold(f64::MAX, f64::min), values.iter().copied().fold(f64::MIN, f64::max));
            let (grown, _) = truth.growth();
            for (function, truth) in [(Function::Min, least), (Function::Max, most), (Function::Rate, grown)] {
                let said = say(function);
                prop_assert!(said.least() <= truth + 1e-6 && truth <= said.most() + 1e-6, "{:?}: {:?} without {}", function, said, truth);
            }
        }
    }

    #[test]
    fn hours_say_the_same_as_their_readings(values in prop::collection::vec(prop::option::weighted(0.9, 0.0..1e3_f64), 24..72)) {
        let readings = series(&values, 1_000_000);
        let hours = readings.points.chunks(12).filter_map(|hour| Point::join(hour, MINUTES_5)).collect();
        let hours = Series { points: hours, ..readings.clone() };
        let signal = crate::domain::signal::find("service.restarts").expect("known");
        let window = Some(Duration::from_secs(300 * 72 + 1));
        for function in [Function::Avg, Function::Min, Function::Max, Function::Rate, Function::Count] {
            let (one, other) = (readings.read(function, window, signal, 1_000_000), hours.read(function, window, signal, 1_000_000));
            let (one, other) = (one.expect("asked"), other.expect("asked"));
            // Where a gap stands at the edge of an hour, it may count for a little less; never is more made of it.
            let same = |one: f64, other: f64| near(one, other) || (one.is_infinite() && other.is_infinite());
            prop_assert!(same(one.least(), other.least()) && same(one.most(), other.most()), "{:?}: {:?} and {:?}", function, one, other);
        }
    }

    /// `for` of a rule: a condition holds for a time when the least of it does.
    #[test]
    fn a_condition_holds_for_a_time_when_its_least_does(values in prop::collection::vec(0.0..100.0_f64, 12..30)) {
        let history = history("host.cpu.used_percent", &all(&values));
        let lasting = values.iter().rev().take(6).all(|value| *value > 50.0);
        let said = truth(r#"min("host.cpu.used_percent", "30m") > 50"#, &history);
        prop_assert_eq!(said, if lasting { Truth::True } else { Truth::False });
    }
}

proptest! {
    #[test]
    fn readings_that_are_noted_one_by_one_say_what_a_series_of_them_says(
        gaps in prop::collection::vec((1_i64..400, prop::option::of(-5.0_f64..5.0)), 1..40),
        back in 0_i64..900,
    ) {
        let name: SeriesName = "service.rss_mb/web".parse().expect("a name");
        let mut noted = History::new();
        let (mut at, mut points) = (1_000_000, Vec::new());
        for (gap, value) in &gaps {
            at += gap;
            points.push(Point::reading(at, *value));
            noted.readings_mut(&name).add(Duration::from_secs(60), at, *value, i64::MIN, usize::MAX);
        }
        let series = Series { subject: "web".to_owned(), every: Duration::from_secs(60), points };
        let put = History::from_iter([("service.rss_mb", vec![series])]);
        for (_, function, window) in crate::domain::expr::FUNCTIONS {
            let window = (window != crate::domain::expr::Window::Never).then_some(Duration::from_secs(1_800));
            for subject in ["web", "", "other"] {
                let say = |history: &History| history.read(name.signal, subject, function, window, at + 300 - back);
                prop_assert_eq!(say(&noted), say(&put), "{:?} of {:?}", function, subject);
            }
        }
    }
}
