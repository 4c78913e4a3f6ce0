//! What was observed on this host, as far as proposals are made of it.

use std::time::Duration;

use super::{Bench, Written};
use crate::domain::expr::Function;
use crate::domain::heal::target::Target;
use crate::domain::kaizen::calibration::{Calibrated, Recalibration, covers};
use crate::domain::kaizen::heuristics::{self, Firing, Waiting, threshold};
use crate::domain::kaizen::proposal::{Minded, Proposal};
use crate::domain::lesson::parse_span;
use crate::domain::signal::SeriesName;
use crate::store::db::{Db, DbError};

pub(super) const DAY: i64 = 86_400;
const WEEK: i64 = 7 * DAY;
/// Memory that rule 15 allows where a target does not say.
const MEMORY_MB: f64 = 2_048.0;
/// Least share of the usual work at which it goes on.
const WORKS: f64 = 0.8;

/// What rules did within a week, as far as their numbers matter.
pub(super) fn firings(db: &Db, bench: &Bench<'_>, clock: i64, now: i64) -> Result<Vec<Firing>, DbError> {
    let (records, _, _) = db.rule_state()?;
    let mut firings = Vec::new();
    for ((number, name), record) in records {
        let rule = bench.rules.iter().find(|written| written.rule.number == number);
        let target = bench.ground.targets.iter().find(|target| target.name.as_str() == name);
        let (Some(written), Some(target)) = (rule, target) else { continue };
        let acted: Vec<i64> = record.acts.iter().copied().filter(|at| clock - at < WEEK).collect();
        if acted.is_empty() {
            continue;
        }
        let service = target.service().map(|service| {
            let unit = bench.ground.services.get(service).map(|declared| declared.unit.clone());
            (service.to_owned(), unit.filter(|unit| !unit.is_empty()).unwrap_or_else(|| service.to_owned()))
        });
        let of_service = |signal: &str, function| {
            let subject = service.as_ref().map_or(name.as_str(), |(service, _)| service.as_str());
            read(db, &format!("{signal}/{subject}"), function, DAY, now)
        };
        let memory_mb = of_service("service.rss_mb", Function::Max)?;
        firings.push(Firing {
            rule: number,
            name: written.rule.name.clone(),
            version: written.rule.version,
            trigger: written.trigger.clone(),
            peak: peak(db, written, target, memory_mb, now)?,
            works: works(db, &name, service.as_ref().map(|(service, _)| service.as_str()), now)?,
            restarts: of_service("service.restarts", Function::Rate)?,
            memory_mb,
            target: name,
            service,
            acted,
        });
    }
    Ok(firings)
}

/// What a function says of a series over the last `span` seconds, as far as that is surely known.
pub(super) fn read(db: &Db, series: &str, function: Function, span: i64, now: i64) -> Result<Option<f64>, DbError> {
    let Ok(name) = series.parse::<SeriesName>() else { return Ok(None) };
    let back = Duration::from_secs(span.unsigned_abs());
    let all = db.series(name.signal, back, now)?;
    let one = all.iter().find(|series| series.subject == name.subject.as_str());
    Ok(one.and_then(|series| series.read(function, Some(back), name.signal, now)).and_then(|range| range.at_least()))
}

/// The highest value of the signal that a trigger reads. What is measured for rules alone is not stored, but memory is.
fn peak(db: &Db, written: &Written, target: &Target, memory_mb: Option<f64>, now: i64) -> Result<Option<f64>, DbError> {
    let Some(found) = threshold(&written.trigger) else { return Ok(None) };
    if found.signal == "unit.memory_percent" {
        // Fewer than 2^53 MB.
        let most = target.max_mb.map_or(MEMORY_MB, |most| most as f64);
        return Ok(memory_mb.map(|memory| memory * 100.0 / most));
    }
    read(db, &format!("{}/{}", found.signal, target.name.as_str()), Function::Max, DAY, now)
}

/// Whether the work of the last day is that of the week before.
fn works(db: &Db, target: &str, service: Option<&str>, now: i64) -> Result<Option<bool>, DbError> {
    for subject in [Some(target), service].into_iter().flatten() {
        let series = format!("service.throughput/{subject}");
        let (day, week) =
            (read(db, &series, Function::Avg, DAY, now)?, read(db, &series, Function::Avg, WEEK, now - DAY)?);
        if let (Some(day), Some(week)) = (day, week) {
            return Ok(Some(day >= week * WORKS));
        }
    }
    Ok(None)
}

/// Rules that the last round found out of their calibration, and that nobody has changed since.
pub(super) fn stale(db: &Db, bench: &Bench<'_>, lessons: &[Minded], now: i64) -> Result<Vec<Proposal>, DbError> {
    let mut proposals = Vec::new();
    for found in db.recalibrations()? {
        let Calibrated::Rule { number, .. } = found.of else { continue };
        let Some(written) = bench.rules.iter().find(|written| written.rule.number == number) else { continue };
        if covers(&written.rule.calibrated_for.signals, &found.fits) {
            continue;
        }
        let peak = of_drift(db, bench, written, &found, now)?;
        proposals.extend(heuristics::refit(&found, written.rule.version, &written.trigger, peak, lessons));
    }
    Ok(proposals)
}

/// The highest value that the trigger reads of what drifted.
fn of_drift(
    db: &Db,
    bench: &Bench<'_>,
    written: &Written,
    found: &Recalibration,
    now: i64,
) -> Result<Option<f64>, DbError> {
    let series = found.drifts.first().map(|drift| drift.series.as_str()).unwrap_or_default();
    let Some((_, subject)) = series.split_once('/') else { return Ok(None) };
    let is_of = |target: &&Target| target.name.as_str() == subject || target.service() == Some(subject);
    let Some(target) = bench.ground.targets.iter().find(is_of) else { return Ok(None) };
    let memory_mb = read(db, &format!("service.rss_mb/{subject}"), Function::Max, DAY, now)?;
    peak(db, written, target, memory_mb, now)
}

/// Fixes that wait here for lessons of peers.
pub(super) fn waiting(db: &Db, bench: &Bench<'_>) -> Result<Vec<Waiting>, DbError> {
    let mut waiting = Vec::new();
    for fix in db.fixes()? {
        let held = bench.lessons.iter().find(|held| held.lesson.id == fix.lesson);
        let Some((held, origin)) = held.and_then(|held| Some((held, held.of_peer.clone()?))) else { continue };
        let lesson = &held.lesson;
        waiting.push(Waiting {
            fix: fix.id.clone(),
            lesson: lesson.id.clone(),
            rev: lesson.rev,
            entry: fix.entry,
            origin,
            root: fix.root.clone(),
            path: fix.path.clone(),
            places: fix.mends.len(),
            risk: lesson.risk,
            because: lesson.because.clone(),
            claim: lesson.falsifiable.expr.clone(),
            window_s: parse_span(&lesson.falsifiable.within).unwrap_or_default().as_secs(),
            lineage: lesson.derived_from.iter().map(ToString::to_string).collect(),
        });
    }
    Ok(waiting)
}
