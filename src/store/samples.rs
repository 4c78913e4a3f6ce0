//! What was measured: readings for a week, hours for a year, and where each probe stopped reading.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use super::db::{Db, DbError};
use crate::domain::expr::Claim;
use crate::domain::series::{History, Point, Series};
use crate::domain::signal::{self, SeriesName, Signal};

/// How long single readings are kept, in seconds.
const READINGS_KEPT: i64 = 7 * 86_400;
/// How long hours are kept, in seconds.
const HOURS_KEPT: i64 = 365 * 86_400;
/// Most readings of one series that are kept, however often it is measured.
const READINGS_PER_SERIES: i64 = 20_000;
/// Most series. A new one beyond them is refused.
pub const SERIES: i64 = 2_000;

const HOUR: i64 = 3_600;
/// Every fact about where a probe stopped starts with this.
const MARK: &str = "probe:";

/// One reading of one series.
#[derive(Clone, PartialEq, Debug)]
pub struct Sample {
    /// What was measured.
    pub name: SeriesName,
    /// The time between two readings of it.
    pub every: Duration,
    /// When, in seconds since 1970.
    pub at: i64,
    /// What it was; `None` when there was no answer.
    pub value: Option<f64>,
}

/// What became of a batch of readings.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Recorded {
    /// Readings of new series for which there was no room.
    pub refused: usize,
}

impl Db {
    /// Stores readings, and where the probes stopped, in one transaction.
    ///
    /// # Errors
    /// SQLite refused; none of it is stored.
    pub fn record(&mut self, samples: &[Sample], marks: &[(String, String)]) -> Result<Recorded, DbError> {
        self.write(|transaction| {
            let mut recorded = Recorded::default();
            for sample in samples {
                let value = sample.value.filter(|value| value.is_finite());
                let (signal, subject) = (sample.name.signal.name, sample.name.subject.as_str());
                let known = transaction
                    .prepare_cached(
                        "INSERT OR REPLACE INTO samples (series, at, value) SELECT id, ?4, ?5 FROM series \
                         WHERE signal = ?1 AND subject = ?2 AND every_s = ?3",
                    )?
                    .execute(params![signal, subject, seconds_of(sample.every), sample.at, value])?;
                if known == 1 {
                    continue;
                }
                let Some(series) = series_id(transaction, sample)? else {
                    recorded.refused += 1;
                    continue;
                };
                transaction
                    .prepare_cached("INSERT OR REPLACE INTO samples (series, at, value) VALUES (?1, ?2, ?3)")?
                    .execute(params![series, sample.at, value])?;
            }
            for (label, mark) in marks {
                transaction
                    .prepare_cached("INSERT OR REPLACE INTO facts (name, value) VALUES (?1, ?2)")?
                    .execute([&format!("{MARK}{label}"), mark])?;
            }
            Ok(recorded)
        })
    }

    /// Where the probe `label` stopped.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn probe_mark(&self, label: &str) -> Result<Option<String>, DbError> {
        self.fact(&format!("{MARK}{label}"))
    }

    /// Joins the readings of each full hour and drops what is too old. Run it about once an hour.
    ///
    /// # Errors
    /// SQLite refused; nothing was changed.
    pub fn tidy_samples(&mut self, now: i64) -> Result<(), DbError> {
        self.write(|transaction| {
            let all: Vec<(i64, i64)> = transaction
                .prepare("SELECT id, every_s FROM series")?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<Result<_, _>>()?;
            for (series, every) in all {
                join_hours(transaction, series, every_of(every), now)?;
                transaction
                    .prepare_cached(
                        "DELETE FROM samples WHERE series = ?1 AND at < max(?2, coalesce((SELECT at FROM samples \
                         WHERE series = ?1 ORDER BY at DESC LIMIT 1 OFFSET ?3), 0))",
                    )?
                    .execute(params![series, now - READINGS_KEPT, READINGS_PER_SERIES - 1])?;
            }
            transaction.execute("DELETE FROM sample_hours WHERE hour < ?1", [now - HOURS_KEPT])?;
            transaction
                .execute(
                    "DELETE FROM series WHERE NOT EXISTS (SELECT 1 FROM samples WHERE series = series.id) \
                     AND NOT EXISTS (SELECT 1 FROM sample_hours WHERE series = series.id)",
                    [],
                )
                .map(drop)
        })
    }

    /// All series of a signal since `now` minus `back`; single readings where they are kept, hours before.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn series(&self, signal: &Signal, back: Duration, now: i64) -> Result<Vec<Series>, DbError> {
        self.series_where(signal, back, now, |_| true)
    }

    /// The same of those subjects that are wanted.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn series_where(
        &self,
        signal: &Signal,
        back: Duration,
        now: i64,
        wants: impl Fn(&str) -> bool,
    ) -> Result<Vec<Series>, DbError> {
        let start = now.saturating_sub(i64::try_from(back.as_secs()).unwrap_or(i64::MAX));
        self.read(|connection| {
            let all: Vec<(i64, String, i64)> = connection
                .prepare_cached("SELECT id, subject, every_s FROM series WHERE signal = ?1 ORDER BY subject")?
                .query_map([signal.name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
                .collect::<Result<_, _>>()?;
            all.into_iter()
                .filter(|(_, subject, _)| wants(subject))
                .map(|(id, subject, every)| {
                    Ok(Series { subject, every: every_of(every), points: points(connection, id, start, now)? })
                })
                .collect()
        })
    }

    /// All that a claim reads.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn claim_history(&self, claim: &Claim, now: i64) -> Result<History, DbError> {
        let back = claim.looks_back();
        let signals = claim.signals().into_iter().filter_map(signal::find);
        signals.map(|signal| Ok((signal.name, self.series(signal, back, now)?))).collect()
    }

    /// The names of all signals that have a series, with the subjects of each.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn measured(&self) -> Result<Vec<(String, String)>, DbError> {
        self.read(|connection| {
            connection
                .prepare("SELECT signal, subject FROM series ORDER BY signal, subject")?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })
    }
}

fn every_of(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(1).max(1))
}

fn seconds_of(every: Duration) -> i64 {
    i64::try_from(every.as_secs()).unwrap_or(i64::MAX).max(1)
}

/// The series of a sample, with the time between two readings as it is now; a new one where there is none yet.
fn series_id(transaction: &Transaction<'_>, sample: &Sample) -> rusqlite::Result<Option<i64>> {
    let every = seconds_of(sample.every);
    let (signal, subject) = (sample.name.signal.name, sample.name.subject.as_str());
    let known: Option<(i64, i64)> = transaction
        .prepare_cached("SELECT id, every_s FROM series WHERE signal = ?1 AND subject = ?2")?
        .query_row([signal, subject], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    match known {
        Some((id, before)) if before == every => Ok(Some(id)),
        Some((id, _)) => {
            transaction.execute("UPDATE series SET every_s = ?2 WHERE id = ?1", [id, every])?;
            Ok(Some(id))
        }
        None => {
            let made = transaction.execute(
                "INSERT INTO series (signal, subject, every_s) SELECT ?1, ?2, ?3 \
                 WHERE (SELECT count(*) FROM series) < ?4",
                params![signal, subject, every, SERIES],
            )?;
            Ok((made == 1).then(|| transaction.last_insert_rowid()))
        }
    }
}

fn join_hours(transaction: &Transaction<'_>, series: i64, every: Duration, now: i64) -> rusqlite::Result<()> {
    let joined: Option<i64> = transaction
        .prepare_cached("SELECT max(hour) FROM sample_hours WHERE series = ?1")?
        .query_row([series], |row| row.get(0))?;
    let from = joined.map_or(i64::MIN, |hour| hour + HOUR);
    let readings: Vec<Point> = transaction
        .prepare_cached("SELECT at, value FROM samples WHERE series = ?1 AND at >= ?2 AND at < ?3 ORDER BY at")?
        .query_map(params![series, from, hour_of(now)], reading)?
        .collect::<Result<_, _>>()?;
    for hour in readings.chunk_by(|one, next| hour_of(one.from) == hour_of(next.from)) {
        let Some(point) = Point::join(hour, every) else { continue };
        transaction
            .prepare_cached("INSERT INTO sample_hours VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)")?
            .execute(params![
                series,
                hour_of(point.from),
                point.from,
                point.until,
                point.missed,
                point.n,
                point.sum.clamp(f64::MIN, f64::MAX),
                point.min,
                point.max,
                point.first,
                point.last,
                point.grown.min(f64::MAX),
                point.grown_most.min(f64::MAX),
            ])?;
    }
    Ok(())
}

fn hour_of(at: i64) -> i64 {
    at - at.rem_euclid(HOUR)
}

fn points(connection: &Connection, series: i64, start: i64, now: i64) -> rusqlite::Result<Vec<Point>> {
    // The last reading before the start says that all since then are still there.
    let mut readings: Vec<Point> = connection
        .prepare_cached(
            "SELECT at, value FROM samples WHERE series = ?1 AND at <= ?3 AND at >= \
             coalesce((SELECT max(at) FROM samples WHERE series = ?1 AND at < ?2), ?2) ORDER BY at",
        )?
        .query_map([series, start, now], reading)?
        .collect::<Result<_, _>>()?;
    if readings.first().is_some_and(|first| first.from < start) {
        readings.remove(0);
        return Ok(readings);
    }
    // Hours up to the first reading; from there on, readings.
    let oldest = readings.first().map_or(now + 1, |first| first.from);
    let mut found: Vec<Point> = connection
        .prepare_cached(
            "SELECT from_at, until_at, missed, n, sum, min, max, first, last, grown, grown_most FROM sample_hours \
             WHERE series = ?1 AND until_at >= ?2 AND from_at < ?3 ORDER BY hour",
        )?
        .query_map([series, start, oldest], hour)?
        .collect::<Result<_, _>>()?;
    // The hour that the retention cuts through is there whole; its readings are not told twice.
    let from = found.last().map_or(start, |hour| hour.until + 1);
    found.extend(readings.into_iter().filter(|reading| reading.from >= from));
    Ok(found)
}

fn reading(row: &Row<'_>) -> rusqlite::Result<Point> {
    Ok(Point::reading(row.get(0)?, row.get(1)?))
}

fn hour(row: &Row<'_>) -> rusqlite::Result<Point> {
    Ok(Point {
        from: row.get(0)?,
        until: row.get(1)?,
        missed: row.get(2)?,
        n: row.get(3)?,
        sum: row.get(4)?,
        min: row.get(5)?,
        max: row.get(6)?,
        first: row.get(7)?,
        last: row.get(8)?,
        grown: row.get(9)?,
        grown_most: row.get(10)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::signal::find;

    fn sample(name: &str, at: i64, value: Option<f64>) -> Sample {
        Sample { name: name.parse().expect(name), every: Duration::from_secs(300), at, value }
    }

    fn read(db: &Db, back_hours: u64, now: i64) -> Vec<Series> {
        db.series(find("service.rss_mb").expect("known"), Duration::from_secs(back_hours * 3_600), now).expect("read")
    }

    #[test]
    fn b2_gaps_are_stored_as_gaps() {
        let mut db = Db::in_memory().expect("made");
        let samples = [
            sample("service.rss_mb/web", 300, Some(1.5)),
            sample("service.rss_mb/web", 600, None),
            sample("service.rss_mb/web", 900, Some(f64::NAN)),
            sample("service.rss_mb/db", 900, Some(2.0)),
        ];
        assert_eq!(db.record(&samples, &[]).expect("stored").refused, 0);
        let series = read(&db, 1, 1_000);
        assert_eq!(series.iter().map(|series| series.subject.as_str()).collect::<Vec<_>>(), ["db", "web"]);
        let values: Vec<_> = series[1].points.iter().map(|point| (point.from, point.is_gap())).collect();
        assert_eq!(values, [(300, false), (600, true), (900, true)]);
    }

    #[test]
    fn b2_readings_become_hours_and_both_end() {
        let mut db = Db::in_memory().expect("made");
        let day = 86_400;
        let samples: Vec<_> = (0..10 * 288)
            .map(|n| sample("service.rss_mb", n * 300, Some(f64::from(i32::try_from(n).expect("few")))))
            .collect();
        db.record(&samples, &[]).expect("stored");
        let now = 10 * day;
        db.tidy_samples(now).expect("tidied");
        let series = read(&db, 24 * 365, now).remove(0);
        let (hours, readings): (Vec<Point>, Vec<Point>) = series.points.iter().partition(|point| point.n > 1);
        assert_eq!((hours.len(), readings.len()), (3 * 24, 7 * 288));
        let told: u32 = series.points.iter().map(|point| point.n).sum();
        assert_eq!(told, 10 * 288, "each reading is told once");
        assert_eq!(read(&db, 24, now)[0].points.len(), 288);
        // Again, and much later.
        db.tidy_samples(now + 100).expect("tidied");
        let told: u32 = read(&db, 24 * 365, now)[0].points.iter().map(|point| point.n).sum();
        assert_eq!(told, 10 * 288, "the hour that the retention cuts through is told once");
        db.tidy_samples(now + 300 * day).expect("tidied");
        assert_eq!(read(&db, 24 * 400, now + 300 * day)[0].points.len(), 10 * 24);
        db.tidy_samples(now + 400 * day).expect("tidied");
        assert_eq!(db.measured().expect("read"), []);
    }

    #[test]
    fn the_number_of_series_is_bounded() {
        let mut db = Db::in_memory().expect("made");
        let samples: Vec<_> = (0..SERIES + 5).map(|n| sample(&format!("service.rss_mb/s{n}"), 0, Some(1.0))).collect();
        assert_eq!(db.record(&samples, &[]).expect("stored").refused, 5);
        assert_eq!(db.record(&samples[..3], &[]).expect("stored").refused, 0, "known ones go on");
    }

    #[test]
    fn where_a_probe_stopped_is_kept_with_its_readings() {
        let mut db = Db::in_memory().expect("made");
        db.record(&[], &[("log:app".to_owned(), "12:34".to_owned())]).expect("stored");
        assert_eq!(db.probe_mark("log:app").expect("read").as_deref(), Some("12:34"));
        assert_eq!(db.probe_mark("log:other").expect("read"), None);
    }
}
