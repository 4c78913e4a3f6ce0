//! What the ledger comes to now: budgets spent, freezes and pauses that hold.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, params};

use super::db::{Db, DbError};
use super::fixes::{path_bytes, path_of};
use super::ledger::{ROW, row_of, said, signed};
use crate::domain::fix::ActionHash;
use crate::domain::guard::Standing;
use crate::domain::ledger::{Entry, Row};
use crate::domain::pace::DAY;
use crate::domain::running::{Moment, Running};

/// A freeze that holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frozen {
    /// The area.
    pub area: PathBuf,
    /// When it was frozen, by the wall clock, in milliseconds since 1970.
    pub at: i64,
    /// How much longer, in time that surely passes.
    pub left: Duration,
    /// Why.
    pub why: String,
}

/// A pause that holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Paused {
    /// Its end by the wall clock; none when a person must end it.
    pub until: Option<Timestamp>,
    /// Why.
    pub why: String,
}

impl Paused {
    /// Until when and why, in one phrase.
    #[must_use]
    pub fn words(&self) -> String {
        let until = self.until.map(|until| format!("until {until:.0}")).unwrap_or_else(|| "until resumed".to_owned());
        if self.why.is_empty() { until } else { format!("{until} ({})", self.why) }
    }
}

fn holding(entry: Entry, moment: &Moment) -> Option<Paused> {
    let Entry::Pause { until, why } = entry else { return None };
    let until = until.and_then(|until| Timestamp::from_millisecond(until).ok());
    until.is_none_or(|until| moment.wall < until).then_some(Paused { until, why })
}

/// A pause of one area that holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PausedArea {
    /// The area.
    pub area: PathBuf,
    /// Until when and why.
    pub paused: Paused,
}

impl PausedArea {
    /// What is paused, until when and why, in one phrase.
    #[must_use]
    pub fn words(&self) -> String {
        format!("{} is paused {}", self.area.display(), self.paused.words())
    }

    /// Whether it holds for `place`: a folder in the area, or one that the area is a part of.
    #[must_use]
    pub fn covers(&self, place: &Path) -> bool {
        place.starts_with(&self.area) || self.area.starts_with(place)
    }
}

impl Db {
    /// What the ledger says of the host and of `area`, for a plan that does `action`.
    ///
    /// # Errors
    /// SQLite refused, or a row is not one of ours.
    pub fn standing(
        &self,
        moment: &Moment,
        area: &Path,
        action: ActionHash,
        area_limit: Option<u32>,
    ) -> Result<Standing, DbError> {
        let clock = self.clock_at(moment)?;
        let frozen = self.frozen_at(clock)?.into_iter().find(|frozen| frozen.area == area).map(|frozen| frozen.why);
        let paused = self.paused(moment)?.map(|paused| paused.words());
        let area_paused = self.paused_areas(moment)?.into_iter().find(|paused| paused.covers(area));
        let area_paused = area_paused.map(|paused| paused.words());
        let read_only = self.read_only()?;
        let (now, day) = (signed(clock), i64::try_from(DAY.as_millis()).unwrap_or(i64::MAX));
        self.read(|connection| {
            let count = |word: &str| {
                let sql = "SELECT count(*) FROM ledger WHERE word = ?1 AND clock + ?2 > ?3";
                connection.prepare_cached(sql)?.query_row(params![word, day, now], |row| row.get(0))
            };
            let in_area = "SELECT count(*) FROM ledger WHERE word = 'applied' AND clock + ?1 > ?2 AND area = ?3";
            let under_way =
                "SELECT count(*) FROM interventions WHERE state IN ('applied', 'validating') AND outside = 0";
            let tried = "SELECT tried_at, state = 'aborted' FROM interventions WHERE action = ?1 \
                         AND tried_at IS NOT NULL ORDER BY tried_at DESC, attempt DESC LIMIT 1";
            let tried: Option<(i64, bool)> = connection
                .prepare_cached(tried)?
                .query_row([action.0], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let same_action = tried.map(|(tried, _)| clock.since(Running::from_millis(tried.max(0).cast_unsigned())));
            Ok(Standing {
                paused,
                area_paused,
                read_only,
                frozen,
                interventions: count("applied")?,
                area_interventions: connection
                    .prepare_cached(in_area)?
                    .query_row(params![day, now, path_bytes(area)], |row| row.get(0))?,
                area_limit,
                branches: count("seeded")?,
                under_way: connection.prepare_cached(under_way)?.query_row([], |row| row.get(0))?,
                same_action,
                same_undone: tried.is_some_and(|(_, undone)| undone),
            })
        })
    }

    /// The freezes that hold, newest first.
    ///
    /// # Errors
    /// SQLite refused, or a row is not one of ours.
    pub fn frozen(&self, moment: &Moment) -> Result<Vec<Frozen>, DbError> {
        self.frozen_at(self.clock_at(moment)?)
    }

    fn frozen_at(&self, clock: Running) -> Result<Vec<Frozen>, DbError> {
        let rows = self.read(|connection| {
            let sql = format!(
                "SELECT {ROW} FROM ledger WHERE seq IN \
                 (SELECT max(seq) FROM ledger WHERE word IN ('freeze', 'thaw') GROUP BY area) ORDER BY seq DESC"
            );
            connection.prepare_cached(&sql)?.query_map([], row_of)?.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        let holds = |row: Row| match row.entry() {
            Ok(Entry::Freeze { until, why }) if until > clock => {
                Some(Frozen { area: path_of(row.area), at: row.at, left: until.since(clock), why })
            }
            Ok(_) | Err(_) => None,
        };
        Ok(rows.into_iter().filter_map(holds).collect())
    }

    /// The pause, if one holds.
    ///
    /// # Errors
    /// SQLite refused, or the row is not one of ours.
    pub fn paused(&self, moment: &Moment) -> Result<Option<Paused>, DbError> {
        Ok(self.newest("'pause', 'resume'")?.and_then(|entry| holding(entry, moment)))
    }

    /// The areas that a person has paused, newest first.
    ///
    /// # Errors
    /// SQLite refused, or a row is not one of ours.
    pub fn paused_areas(&self, moment: &Moment) -> Result<Vec<PausedArea>, DbError> {
        let rows = self.read(|connection| {
            let sql = format!(
                "SELECT {ROW} FROM ledger WHERE seq IN (SELECT max(seq) FROM ledger \
                 WHERE word IN ('pause', 'resume') AND length(area) > 0 GROUP BY area) ORDER BY seq DESC"
            );
            let rows = connection.prepare_cached(&sql)?.query_map([], row_of)?.collect::<rusqlite::Result<Vec<_>>>()?;
            rows.into_iter().map(|row| said(&row).map(|entry| (row.area, entry))).collect::<rusqlite::Result<Vec<_>>>()
        })?;
        let holds = |(area, entry)| Some(PausedArea { area: path_of(area), paused: holding(entry, moment)? });
        Ok(rows.into_iter().filter_map(holds).collect())
    }

    /// Why nothing may be changed any more, if that is so.
    ///
    /// # Errors
    /// SQLite refused, or the row is not one of ours.
    pub fn read_only(&self) -> Result<Option<String>, DbError> {
        Ok(match self.newest("'read-only', 'writable'")? {
            Some(Entry::ReadOnly { why }) => Some(why),
            _ => None,
        })
    }

    fn newest(&self, words: &str) -> Result<Option<Entry>, DbError> {
        self.read(|connection| {
            let sql = format!(
                "SELECT {ROW} FROM ledger WHERE word IN ({words}) AND length(area) = 0 ORDER BY seq DESC LIMIT 1"
            );
            connection.prepare_cached(&sql)?.query_row([], row_of).optional()?.map(|row| said(&row)).transpose()
        })
    }
}
