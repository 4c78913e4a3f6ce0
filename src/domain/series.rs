//! What was measured over time, and what can be said of it. What was not measured is not made up: a
//! function over a window with holes answers with the range that the truth is in.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::expr::Function;
use super::signal::{Direction, SeriesName, Signal, Subject};

/// Readings later than this many intervals after the one before leave a hole between them.
const REACH: i64 = 3;
/// Part of a window that must be measured for an answer that is no range.
const WHOLE: f64 = 0.8;
/// Part of a window that must be measured to say what is usual, or where it goes.
const HALF: f64 = 0.5;
/// The longest time that is told until a limit is met, in hours: ten years.
pub const ETA_MOST: f64 = 87_600.0;
/// The window of `baseline` where none is given.
pub const BASELINE_WINDOW: Duration = Duration::from_secs(7 * 86_400);
/// The window of `slope` and `eta` where none is given.
pub const SLOPE_WINDOW: Duration = Duration::from_secs(6 * 3_600);

/// One reading, or the readings of an hour. Times are seconds since 1970.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Point {
    /// The first reading.
    pub from: i64,
    /// The last reading.
    pub until: i64,
    /// Seconds between both that were not measured.
    pub missed: i64,
    /// How many readings have a value; with none of them this is a gap, and the numbers mean nothing.
    pub n: u32,
    /// Their sum.
    pub sum: f64,
    /// The least of them.
    pub min: f64,
    /// The most of them.
    pub max: f64,
    /// The first of them.
    pub first: f64,
    /// The last of them.
    pub last: f64,
    /// By how much it grew at least, from one reading to the next. A decrease starts anew.
    pub grown: f64,
    /// By how much it grew at most: after a decrease it may have grown from nothing.
    pub grown_most: f64,
}

impl Point {
    /// One reading; a value that is no number is a gap.
    #[must_use]
    pub fn reading(at: i64, value: Option<f64>) -> Self {
        let value = value.filter(|value| value.is_finite());
        let number = value.unwrap_or(0.0);
        Self {
            from: at,
            until: at,
            missed: 0,
            n: u32::from(value.is_some()),
            sum: number,
            min: number,
            max: number,
            first: number,
            last: number,
            grown: 0.0,
            grown_most: 0.0,
        }
    }

    /// Whether it has no value.
    #[must_use]
    pub const fn is_gap(&self) -> bool {
        self.n == 0
    }

    /// Joins points that follow each other into one. `None` without any.
    #[must_use]
    pub fn join(points: &[Self], every: Duration) -> Option<Self> {
        let mut joined = *points.first()?;
        for point in &points[1..] {
            joined = joined.then(point, every);
        }
        Some(joined)
    }

    fn then(&self, next: &Self, every: Duration) -> Self {
        let hole = if self.is_gap() || next.is_gap() || next.from - self.until > reach(every) {
            next.from - self.until
        } else {
            0
        };
        let (until, missed) = (next.until, self.missed + hole + next.missed);
        match (self.is_gap(), next.is_gap()) {
            (true, _) => Self { from: self.from, until, missed, ..*next },
            (false, true) => Self { until, missed, ..*self },
            (false, false) => {
                let (least, most) = growth(self.last, next.first);
                Self {
                    from: self.from,
                    until,
                    missed,
                    n: self.n.saturating_add(next.n),
                    sum: self.sum + next.sum,
                    min: self.min.min(next.min),
                    max: self.max.max(next.max),
                    first: self.first,
                    last: next.last,
                    grown: self.grown + least + next.grown,
                    grown_most: self.grown_most + most + next.grown_most,
                }
            }
        }
    }
}

/// By how much a counter grew from one reading to the next, at least and at most. One that is less than
/// before was reset in between.
fn growth(before: f64, after: f64) -> (f64, f64) {
    if after >= before { (after - before, after - before) } else { (0.0, after.max(0.0)) }
}

fn reach(every: Duration) -> i64 {
    seconds(every).saturating_mul(REACH)
}

fn seconds(span: Duration) -> i64 {
    i64::try_from(span.as_secs()).unwrap_or(i64::MAX)
}

/// What is known of a number: where it is at least and at most. Never NaN, and `least <= most`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Range {
    least: f64,
    most: f64,
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |value: f64| {
            let text = format!("{value:.3}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        };
        match (self.least.is_finite(), self.most.is_finite()) {
            (true, true) if self.least >= self.most => f.write_str(&plain(self.least)),
            (true, true) => write!(f, "{} to {}", plain(self.least), plain(self.most)),
            (true, false) => write!(f, "at least {}", plain(self.least)),
            (false, true) => write!(f, "at most {}", plain(self.most)),
            (false, false) => f.write_str("unknown"),
        }
    }
}

impl Range {
    /// The number that it is surely not below, where one is known.
    #[must_use]
    pub fn at_least(&self) -> Option<f64> {
        self.least.is_finite().then_some(self.least)
    }

    /// Nothing is known.
    pub const UNKNOWN: Self = Self { least: f64::NEG_INFINITY, most: f64::INFINITY };

    /// A number that is known.
    #[must_use]
    pub fn exactly(value: f64) -> Self {
        Self::between(value, value)
    }

    /// A number between two; where one of them is no number, nothing is known.
    #[must_use]
    pub fn between(least: f64, most: f64) -> Self {
        if least <= most && least < f64::INFINITY && most > f64::NEG_INFINITY {
            Self { least, most }
        } else {
            Self::UNKNOWN
        }
    }

    /// The least that it can be.
    #[must_use]
    pub const fn least(&self) -> f64 {
        self.least
    }

    /// The most that it can be.
    #[must_use]
    pub const fn most(&self) -> f64 {
        self.most
    }

    /// The number, where it is known.
    #[must_use]
    pub fn exact(&self) -> Option<f64> {
        (self.least.is_finite() && self.least >= self.most).then_some(self.least)
    }

    /// The sum.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self::between(self.least + other.least, self.most + other.most)
    }

    /// The same below zero.
    #[must_use]
    pub fn negated(self) -> Self {
        Self::between(-self.most, -self.least)
    }

    /// The product; known where one of both is.
    #[must_use]
    pub fn times(self, other: Self) -> Self {
        match (self.exact(), other.exact()) {
            (Some(factor), _) => other.each(|value| value * factor),
            (None, Some(factor)) => self.each(|value| value * factor),
            (None, None) => Self::UNKNOWN,
        }
    }

    /// The quotient; known where the divisor is.
    #[must_use]
    pub fn over(self, divisor: Self) -> Self {
        divisor.exact().map_or(Self::UNKNOWN, |divisor| self.each(|value| value / divisor))
    }

    /// Both ends put through a function that keeps or turns their order.
    fn each(self, change: impl Fn(f64) -> f64) -> Self {
        let (one, other) = (change(self.least), change(self.most));
        if one <= other { Self::between(one, other) } else { Self::between(other, one) }
    }
}

/// What was measured: by the name of the signal, and of each signal by what it is measured of.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct History {
    series: BTreeMap<&'static str, BTreeMap<String, Series>>,
    readings: BTreeMap<&'static str, BTreeMap<Subject, Readings>>,
}

impl History {
    /// Nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { series: BTreeMap::new(), readings: BTreeMap::new() }
    }

    /// Takes a series in, in the place of one of the same signal and subject.
    pub fn put(&mut self, signal: &'static str, series: Series) {
        self.series.entry(signal).or_default().insert(series.subject.clone(), series);
    }

    /// Lets go of all that was [`History::put`].
    pub fn drop_series(&mut self) {
        self.series.clear();
    }

    /// The readings of a signal and subject that are noted one by one.
    #[must_use]
    pub fn readings(&self, signal: &str, subject: &str) -> Option<&Readings> {
        self.readings.get(signal)?.get(subject)
    }

    /// The same, to be added to; of a series that was put in there must be none.
    pub fn readings_mut(&mut self, name: &SeriesName) -> &mut Readings {
        self.readings.entry(name.signal.name).or_default().entry(name.subject.clone()).or_default()
    }

    /// What `function` says of a signal of this subject; over all its subjects where that is empty.
    #[must_use]
    pub fn read(
        &self,
        signal: &Signal,
        subject: &str,
        function: Function,
        window: Option<Duration>,
        now: i64,
    ) -> Range {
        let (series, readings) = (self.series.get(signal.name), self.readings.get(signal.name));
        if !subject.is_empty() {
            let noted = readings.and_then(|known| known.get(subject)?.read(function, window, signal, now));
            let put = || series.and_then(|known| known.get(subject)?.read(function, window, signal, now));
            return noted.or_else(put).unwrap_or(Range::UNKNOWN);
        }
        let series = series.into_iter().flat_map(BTreeMap::values);
        let readings = readings.into_iter().flat_map(BTreeMap::values);
        let all = series.map(|one| one.read(function, window, signal, now));
        worst(all.chain(readings.map(|one| one.read(function, window, signal, now))).flatten(), function, signal)
    }
}

/// Readings of one subject that are noted one by one, oldest first: of each no more than when and what.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Readings {
    every: Duration,
    /// Not a number: a gap.
    points: Vec<(i64, f64)>,
}

impl Readings {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.points.len()
    }

    /// Adds one and lets go of those that are older than `oldest`, and of the older ones where there are more than `most`.
    /// `every` is the time between two.
    pub fn add(&mut self, every: Duration, at: i64, value: Option<f64>, oldest: i64, most: usize) {
        self.every = every;
        let gone = self.points.partition_point(|point| point.0 < oldest);
        self.points.drain(..gone);
        // A clock that was set back leaves readings that lie ahead: they are of no use.
        while self.points.last().is_some_and(|last| last.0 >= at) {
            self.points.pop();
        }
        if self.points.len() >= most {
            self.points.drain(..most / 4);
        }
        self.points.push((at, value.filter(|value| value.is_finite()).unwrap_or(f64::NAN)));
    }

    fn read(&self, function: Function, window: Option<Duration>, signal: &Signal, now: i64) -> Option<Range> {
        if function == Function::Last {
            let seen = self.points.partition_point(|point| point.0 <= now);
            let (at, value) = *self.points[..seen].last()?;
            if now - at > reach(self.every) {
                return None;
            }
            return Some(if value.is_nan() { Range::UNKNOWN } else { Range::exactly(value) });
        }
        let points = self.points.iter().map(|(at, value)| Point::reading(*at, Some(*value)));
        let series = Series { subject: String::new(), every: self.every, points: points.collect() };
        series.read(function, window, signal, now)
    }
}

impl FromIterator<(&'static str, Vec<Series>)> for History {
    fn from_iter<I: IntoIterator<Item = (&'static str, Vec<Series>)>>(signals: I) -> Self {
        let mut history = Self::new();
        for (signal, series) in signals {
            series.into_iter().for_each(|one| history.put(signal, one));
        }
        history
    }
}

/// The readings of one signal of one subject, oldest first.
#[derive(Clone, PartialEq, Debug)]
pub struct Series {
    /// What it is measured of.
    pub subject: String,
    /// The time between two readings.
    pub every: Duration,
    /// The readings.
    pub points: Vec<Point>,
}

impl Series {
    /// What `function` says of this series alone. `None`: it is no longer measured, or was not in the window.
    #[must_use]
    pub fn read(&self, function: Function, window: Option<Duration>, signal: &Signal, now: i64) -> Option<Range> {
        let span = window.unwrap_or(match function {
            Function::Baseline => BASELINE_WINDOW,
            _ => SLOPE_WINDOW,
        });
        let start = now.saturating_sub(seconds(span));
        let seen = self.points.partition_point(|point| point.from <= now);
        let first = self.points[..seen].partition_point(|point| point.until <= start);
        let points = &self.points[first..seen];
        let measured = self.measured(points, start, now) / span.as_secs_f64();
        match function {
            Function::Last => {
                let newest = self.points[..seen].last()?;
                if now - newest.until > reach(self.every) {
                    return None;
                }
                Some(if newest.is_gap() { Range::UNKNOWN } else { Range::exactly(newest.last) })
            }
            Function::Count => Some(Range::exactly(points.iter().map(|point| f64::from(point.n)).sum())),
            _ if points.is_empty() => None,
            Function::Baseline => Some(if measured < HALF { Range::UNKNOWN } else { median(points) }),
            Function::Slope => Some(if measured < HALF { Range::UNKNOWN } else { slope(points) }),
            Function::Eta => Some(if measured < HALF { Range::UNKNOWN } else { eta(points, signal) }),
            Function::Avg | Function::Min | Function::Max | Function::Rate => {
                let Some(all) = Point::join(points, self.every).filter(|all| !all.is_gap()) else {
                    return Some(Range::UNKNOWN);
                };
                let whole = measured >= WHOLE;
                Some(match function {
                    Function::Avg if whole => Range::exactly(all.sum / f64::from(all.n)),
                    Function::Min => Range::between(if whole { all.min } else { f64::NEG_INFINITY }, all.min),
                    Function::Max => Range::between(all.max, if whole { all.max } else { f64::INFINITY }),
                    Function::Rate => Range::between(all.grown, if whole { all.grown_most } else { f64::INFINITY }),
                    _ => Range::UNKNOWN,
                })
            }
        }
    }

    /// Seconds from `start` to `now` that were measured. A reading stands until the next one, but not for long.
    fn measured(&self, points: &[Point], start: i64, now: i64) -> f64 {
        let mut measured = 0;
        for (index, point) in points.iter().enumerate() {
            if point.is_gap() {
                continue;
            }
            let next = points.get(index + 1).map_or(now, |next| next.from);
            let end = next.min(point.until.saturating_add(reach(self.every)));
            measured += (end - point.from.max(start) - point.missed).max(0);
        }
        // Fewer than 2^53 seconds.
        measured as f64
    }
}

fn averages(points: &[Point]) -> impl Iterator<Item = (f64, f64)> + '_ {
    let first = points.first().map_or(0, |point| point.from);
    points.iter().filter(|point| !point.is_gap()).map(move |point| {
        let middle = (point.from - first + point.until - first) as f64 / 2.0;
        (middle / 3_600.0, point.sum / f64::from(point.n))
    })
}

fn median(points: &[Point]) -> Range {
    let mut values: Vec<f64> = averages(points).map(|(_, value)| value).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).map_or(Range::UNKNOWN, |value| Range::exactly(*value))
}

/// Change per hour, by least squares.
fn slope(points: &[Point]) -> Range {
    let count = averages(points).count();
    if count < 3 {
        return Range::UNKNOWN;
    }
    let n = count as f64;
    let (hours, values) = averages(points).fold((0.0, 0.0), |sum, (hour, value)| (sum.0 + hour, sum.1 + value));
    let (hours, values) = (hours / n, values / n);
    let (mut along, mut across) = (0.0, 0.0);
    for (hour, value) in averages(points) {
        along += (hour - hours) * (hour - hours);
        across += (hour - hours) * (value - values);
    }
    Range::exactly(across / along)
}

/// Hours until the limit is met; [`ETA_MOST`] where it goes the other way.
fn eta(points: &[Point], signal: &Signal) -> Range {
    let (Some(limit), Some(slope)) = (signal.limit(), slope(points).exact()) else { return Range::UNKNOWN };
    let Some(newest) = points.last().filter(|point| !point.is_gap()) else { return Range::UNKNOWN };
    if signal.is_beyond(newest.last, limit) || newest.last == limit {
        return Range::exactly(0.0);
    }
    let hours = (limit - newest.last) / slope;
    Range::exactly(if (0.0..ETA_MOST).contains(&hours) { hours } else { ETA_MOST })
}

/// What `function` says of a signal over all its subjects: the worst of them; of `count` the sum.
#[must_use]
pub fn read(series: &[&Series], function: Function, window: Option<Duration>, signal: &Signal, now: i64) -> Range {
    worst(series.iter().filter_map(|series| series.read(function, window, signal, now)), function, signal)
}

fn worst(answers: impl Iterator<Item = Range>, function: Function, signal: &Signal) -> Range {
    let worst = match (function, signal.direction) {
        (Function::Count, _) => |one: Range, other: Range| one.plus(other),
        (Function::Eta, _) | (_, Direction::Up) => lower,
        (_, Direction::Down) => higher,
    };
    answers.reduce(worst).unwrap_or(Range::UNKNOWN)
}

fn lower(one: Range, other: Range) -> Range {
    Range::between(one.least.min(other.least), one.most.min(other.most))
}

fn higher(one: Range, other: Range) -> Range {
    Range::between(one.least.max(other.least), one.most.max(other.most))
}

#[cfg(test)]
#[path = "series_tests.rs"]
mod tests;
