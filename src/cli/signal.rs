//! `mesh signal`: what is measured here, as it is stored.

use serde_json::json;

use super::table::{Table, age};
use super::{CliError, Context, ExitKind, Outcome, out};
use crate::agent::parts::Parts;
use crate::domain::expr::Function;
use crate::domain::lesson::parse_span;
use crate::domain::series::{Range, Series, read};
use crate::domain::signal::{self, CATALOGUE, Direction, SeriesName, Signal};
use crate::domain::sparkline::sparkline;
use crate::store::signal_config::bounds;

/// What to do.
#[derive(clap::Subcommand, Debug)]
pub(super) enum Action {
    /// List the signals that were measured here, the newest value of each
    List {
        /// List those that were never measured here as well
        #[arg(long)]
        all: bool,
    },
    /// Show one signal over time
    Show {
        /// Its name, such as `host.disk.used_percent`, or of one subject: `host.disk.used_percent//var`
        name: String,
        /// How far back
        #[arg(long, default_value = "24h", value_name = "SPAN")]
        back: String,
    },
}

/// Characters of a curve in a listing and alone.
const CURVE: (usize, usize) = (12, 60);
const DAY_S: u64 = 86_400;

pub(super) fn run(context: &Context, action: &Action) -> Outcome {
    match action {
        Action::List { all } => list(context, *all),
        Action::Show { name, back } => show(context, name, back),
    }
}

/// A series and what belongs to it.
struct Shown {
    signal: &'static Signal,
    threshold: Option<f64>,
    series: Series,
    now: i64,
}

impl Shown {
    fn name(&self) -> String {
        if self.series.subject.is_empty() {
            self.signal.name.to_owned()
        } else {
            format!("{}/{}", self.signal.name, self.series.subject)
        }
    }

    /// The newest reading, unless it is too old to be one.
    fn value(&self) -> Option<f64> {
        self.series.read(Function::Last, None, self.signal, self.now).as_ref().and_then(Range::exact)
    }

    fn age(&self) -> Option<i64> {
        self.series.points.last().map(|point| self.now - point.until)
    }

    fn state(&self) -> &'static str {
        match (self.value(), self.threshold) {
            (Some(value), Some(threshold)) if self.signal.is_beyond(value, threshold) => "beyond",
            (Some(_), _) => "ok",
            (None, _) => "unknown",
        }
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "name": self.name(), "signal": self.signal.name, "subject": self.series.subject, "value": self.value(),
            "unit": self.signal.unit, "direction": self.signal.direction, "threshold": self.threshold,
            "area": self.signal.area(), "interval_s": self.series.every.as_secs(), "source": self.signal.source,
            "state": self.state(), "age": self.age(),
        })
    }
}

fn stored(parts: &Parts, signal: &'static Signal, back_s: u64) -> Result<Vec<Shown>, CliError> {
    let now = parts.now().as_second();
    let series = parts.db.series(signal, std::time::Duration::from_secs(back_s), now)?;
    let config = &parts.config;
    let shown = |series: Series| {
        let (threshold, _) = bounds(&config.signals, &config.signal, signal, &series.subject);
        Shown { signal, threshold, series, now }
    };
    Ok(series.into_iter().map(shown).collect())
}

fn list(context: &Context, all: bool) -> Outcome {
    let parts = context.open()?;
    let mut shown = Vec::new();
    for signal in CATALOGUE {
        let mut of_signal = stored(&parts, signal, DAY_S)?;
        if of_signal.is_empty() && all {
            let series = Series { subject: String::new(), every: signal::INTERVAL, points: Vec::new() };
            let (threshold, now) = (signal.threshold, parts.now().as_second());
            of_signal.push(Shown { signal, threshold, series, now });
        }
        shown.append(&mut of_signal);
    }
    if context.json {
        out::json(&json!({ "signals": shown.iter().map(Shown::json).collect::<Vec<_>>() }));
        return Ok(ExitKind::Ok);
    }
    if shown.is_empty() {
        out::line("Nothing was measured here yet: `mesh run` measures; `mesh signal list --all` names what can be.");
        return Ok(ExitKind::Ok);
    }
    let mut table = Table::new(&["SIGNAL~", "VALUE", "UNIT~", "24H", "STATE", "AGE"]);
    let day = i64::try_from(DAY_S).unwrap_or(i64::MAX);
    for one in &shown {
        table.row([
            one.name(),
            one.value().map_or_else(|| "-".to_owned(), number),
            one.signal.unit.to_owned(),
            sparkline(&one.series, day, one.now, CURVE.0),
            one.state().to_owned(),
            one.age().map_or_else(|| "-".to_owned(), age),
        ]);
    }
    table.lines().iter().for_each(out::line);
    Ok(ExitKind::Ok)
}

fn show(context: &Context, name: &str, back: &str) -> Outcome {
    let name: SeriesName = name.parse().map_err(|error| CliError::of(ExitKind::Usage, &error))?;
    let back_s = parse_span(back).map(|span| span.as_secs()).filter(|span| *span > 0).ok_or_else(|| {
        CliError::new(ExitKind::Usage, format!("`{back}` is not a span")).hint("such as 90m, 24h or 7d")
    })?;
    let parts = context.open()?;
    let mut shown = stored(&parts, name.signal, back_s)?;
    shown.retain(|one| name.subject.as_str().is_empty() || one.series.subject == name.subject.as_str());
    if context.json {
        let series: Vec<_> = shown.iter().map(points).collect();
        out::json(&json!({ "signals": series }));
        return Ok(ExitKind::Ok);
    }
    let better = if name.signal.direction == Direction::Up { "more" } else { "less" };
    out::line(format!("{name}: {}, {better} is better", name.signal.unit));
    if shown.is_empty() {
        out::line("It was never measured here.");
    }
    let span = i64::try_from(back_s).unwrap_or(i64::MAX);
    for one in &shown {
        let window = Some(std::time::Duration::from_secs(back_s));
        // What was measured, told as such: the curve shows where it was not.
        let ends = |function| read(&[&one.series], function, window, one.signal, one.now);
        let told = |value: f64| if value.is_finite() { number(value) } else { "-".to_owned() };
        let (least, most) = (ends(Function::Min).most(), ends(Function::Max).least());
        let value = one.value().map_or_else(|| "unknown".to_owned(), number);
        let good = one.threshold.map_or_else(String::new, |threshold| format!("; good to {threshold}"));
        out::line(format!("{}  now {value}, least {}, most {}, in {back}{good}", one.name(), told(least), told(most)));
        out::line(format!("  |{}|", sparkline(&one.series, span, one.now, CURVE.1)));
    }
    Ok(ExitKind::Ok)
}

fn points(one: &Shown) -> serde_json::Value {
    let mut json = one.json();
    let points = one.series.points.iter().map(|point| {
        let known = |value: f64| (!point.is_gap()).then_some(value);
        json!({
            "from": point.from, "until": point.until, "n": point.n, "min": known(point.min), "max": known(point.max),
            "avg": known(point.sum / f64::from(point.n.max(1))), "last": known(point.last),
        })
    });
    json["points"] = points.collect();
    json
}

/// A number in few characters.
fn number(value: f64) -> String {
    if value.abs() >= 1e9 || (value != 0.0 && value.abs() < 1e-3) { format!("{value:.2e}") } else { trimmed(value) }
}

fn trimmed(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
