//! The ledger on disk: rows are added, never changed, and what follows from them is kept beside.

use std::path::Path;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row as SqlRow, Transaction, params};

use super::db::{Db, DbError};
use super::fixes::{from_word, json, path_bytes, word};
use crate::domain::fix::{ActionHash, FixId};
use crate::domain::guard::ActionKind;
use crate::domain::intervention::{Actor, Event, Illegal, InterventionId, State, step};
use crate::domain::ledger::{Audit, Entry, Intervention, Note, Row, RowHash, freezes};
use crate::domain::pace::Pace;
use crate::domain::running::{Counted, Moment, Running, count};

/// Why nothing was added to the ledger.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The transition is not one of the table.
    #[error("intervention {id} cannot go on")]
    Illegal {
        /// The intervention.
        id: InterventionId,
        /// Which pair.
        #[source]
        cause: Illegal,
    },
    /// No such intervention.
    #[error("no intervention {0} is in the ledger")]
    Unknown(InterventionId),
}

/// A new attempt at a fix.
#[derive(Clone, Debug)]
pub struct Proposal<'a> {
    /// The fix.
    pub fix: &'a FixId,
    /// The area.
    pub area: &'a Path,
    /// What it would do.
    pub kind: ActionKind,
    /// The same action has the same one.
    pub action: ActionHash,
}

/// Something that happens to an intervention.
#[derive(Clone, Debug)]
pub struct Happening {
    /// What.
    pub event: Event,
    /// Who makes it happen.
    pub actor: Actor,
    /// What is kept of it.
    pub note: Note,
}

impl Happening {
    /// `event` by `actor`.
    #[must_use]
    pub const fn new(event: Event, actor: Actor, note: Note) -> Self {
        Self { event, actor, note }
    }
}

pub(super) const ROW: &str = "seq, at, clock, word, subject, area, body, prev, hash";

fn number(row: &SqlRow<'_>, column: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|error| bad(column, error))
}

fn bad(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}

pub(super) fn row_of(row: &SqlRow<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        seq: number(row, 0)?,
        at: row.get(1)?,
        clock: Running::from_millis(number(row, 2)?),
        word: row.get(3)?,
        subject: row.get(4)?,
        area: row.get(5)?,
        body: row.get(6)?,
        prev: RowHash(row.get(7)?),
        hash: RowHash(row.get(8)?),
    })
}

pub(super) fn said(row: &Row) -> rusqlite::Result<Entry> {
    row.entry().map_err(|error| bad(6, error))
}

const INTERVENTION: &str = "fix, attempt, state, area, action_kind, action, outside";

fn intervention_of(row: &SqlRow<'_>) -> rusqlite::Result<Intervention> {
    Ok(Intervention {
        id: InterventionId { fix: from_word(row, 0)?, attempt: row.get(1)? },
        state: from_word(row, 2)?,
        area: row.get(3)?,
        kind: from_word(row, 4)?,
        action: ActionHash(row.get(5)?),
        outside: row.get(6)?,
    })
}

pub(super) fn signed(clock: Running) -> i64 {
    i64::try_from(clock.as_millis()).unwrap_or(i64::MAX)
}

/// Where the clock stands.
fn counted_at(connection: &Connection, moment: &Moment) -> rusqlite::Result<Counted> {
    let last = connection
        .prepare_cached("SELECT boot, uptime, running FROM running_clock")?
        .query_row([], |row| {
            Ok(Counted { boot: row.get(0)?, uptime: number(row, 1)?, running: Running::from_millis(number(row, 2)?) })
        })
        .optional()?;
    let newest = connection
        .prepare_cached("SELECT clock FROM ledger ORDER BY seq DESC LIMIT 1")?
        .query_row([], |row| number(row, 0))
        .optional()?;
    let mut counted = count(last.as_ref(), moment);
    // Whatever became of the row beside it, the ledger's own clock never runs back.
    counted.running = counted.running.max(Running::from_millis(newest.unwrap_or_default()));
    Ok(counted)
}

/// Counts the clock on, and returns where it stands.
pub(super) fn tick(transaction: &Transaction<'_>, moment: &Moment) -> rusqlite::Result<Running> {
    let counted = counted_at(transaction, moment)?;
    let uptime = i64::try_from(counted.uptime).unwrap_or(i64::MAX);
    transaction
        .prepare_cached("INSERT OR REPLACE INTO running_clock (id, boot, uptime, running) VALUES (1, ?1, ?2, ?3)")?
        .execute(params![counted.boot, uptime, signed(counted.running)])?;
    Ok(counted.running)
}

/// Where a row belongs.
struct Place<'a> {
    subject: &'a str,
    area: &'a [u8],
    kind: Option<ActionKind>,
}

const HOST: Place<'_> = Place { subject: "", area: &[], kind: None };

fn append(
    transaction: &Transaction<'_>,
    moment: &Moment,
    clock: Running,
    place: &Place<'_>,
    entry: &Entry,
) -> rusqlite::Result<()> {
    let tip: Option<(i64, [u8; 32])> = transaction
        .query_row("SELECT seq, hash FROM ledger ORDER BY seq DESC LIMIT 1", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (seq, prev) = tip.unwrap_or_default();
    let mut row = Row {
        seq: (seq + 1).cast_unsigned(),
        at: moment.wall.as_millisecond(),
        clock,
        word: entry.word(place.kind).to_owned(),
        subject: place.subject.to_owned(),
        area: place.area.to_vec(),
        body: json(entry),
        prev: RowHash(prev),
        hash: RowHash::default(),
    };
    row.hash = row.computed();
    transaction.execute(
        &format!("INSERT INTO ledger ({ROW}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"),
        params![seq + 1, row.at, signed(row.clock), row.word, row.subject, row.area, row.body, row.prev.0, row.hash.0],
    )?;
    transaction.execute(
        "INSERT OR REPLACE INTO ledger_tip (id, seq, hash) VALUES (1, ?1, ?2)",
        params![seq + 1, row.hash.0],
    )?;
    Ok(())
}

impl Db {
    /// Counts the clock on, so that time which passes without a row in the ledger is not lost at a reboot.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn count_on(&mut self, moment: &Moment) -> Result<Running, DbError> {
        self.write(|transaction| tick(transaction, moment))
    }

    /// The same, and remembers a small named fact in the same step: each is a turn of the disk.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn count_on_with(&mut self, moment: &Moment, name: &str, value: &str) -> Result<Running, DbError> {
        self.write(|transaction| {
            transaction.prepare_cached(super::db::SET_FACT)?.execute([name, value])?;
            tick(transaction, moment)
        })
    }

    /// Where the clock stands at `moment`. Nothing is written.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn clock_at(&self, moment: &Moment) -> Result<Running, DbError> {
        self.read(|connection| Ok(counted_at(connection, moment)?.running))
    }

    /// The newest attempt at a fix.
    ///
    /// # Errors
    /// SQLite refused, or the row is not one of ours.
    pub fn intervention(&self, fix: &FixId) -> Result<Option<Intervention>, DbError> {
        self.read(|connection| {
            let sql = format!("SELECT {INTERVENTION} FROM interventions WHERE fix = ?1 ORDER BY attempt DESC LIMIT 1");
            connection.query_row(&sql, [fix.as_str()], intervention_of).optional()
        })
    }

    /// Every attempt in one of `states`, oldest first.
    ///
    /// # Errors
    /// SQLite refused, or a row is not one of ours.
    pub fn interventions_in(&self, states: &[State]) -> Result<Vec<Intervention>, DbError> {
        let all = self.read(|connection| {
            let sql = format!("SELECT {INTERVENTION} FROM interventions ORDER BY fix, attempt");
            connection.prepare(&sql)?.query_map([], intervention_of)?.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        Ok(all.into_iter().filter(|intervention| states.contains(&intervention.state)).collect())
    }

    /// Every attempt that is over and that [`Db::note_told`] does not know as it stands now, oldest first.
    ///
    /// # Errors
    /// SQLite refused, or a row is not one of ours.
    pub fn untold_interventions(&self) -> Result<Vec<Intervention>, DbError> {
        self.read(|connection| {
            let sql = format!(
                "SELECT {INTERVENTION} FROM interventions WHERE told IS NOT state \
                 AND state IN ('validated', 'no_effect', 'reverted', 'aborted') ORDER BY fix, attempt"
            );
            connection.prepare(&sql)?.query_map([], intervention_of)?.collect()
        })
    }

    /// Notes that peers were told of an attempt that stands at `state`, or that there is nothing to tell them.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn note_told(&mut self, id: &InterventionId, state: State) -> Result<(), DbError> {
        self.write(|transaction| {
            let sql = "UPDATE interventions SET told = ?3 WHERE fix = ?1 AND attempt = ?2";
            transaction.execute(sql, params![id.fix.as_str(), id.attempt, word(&state)]).map(drop)
        })
    }

    /// Begins a new attempt at a fix. One that has not ended goes on instead, with what is proposed now.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn propose(
        &mut self,
        moment: &Moment,
        proposal: &Proposal<'_>,
        actor: Actor,
        note: &Note,
    ) -> Result<InterventionId, DbError> {
        let last = self.intervention(proposal.fix)?;
        let area = path_bytes(proposal.area);
        if let Some(open) = last.as_ref().filter(|last| !last.state.is_end()) {
            let id = open.id.clone();
            self.write(|transaction| {
                transaction.execute(
                    "UPDATE interventions SET action_kind = ?3, action = ?4 WHERE fix = ?1 AND attempt = ?2",
                    params![id.fix.as_str(), id.attempt, word(&proposal.kind), proposal.action.0],
                )
            })?;
            return Ok(id);
        }
        let attempt = last.map_or(1, |last| last.id.attempt.saturating_add(1));
        let id = InterventionId { fix: proposal.fix.clone(), attempt };
        let entry =
            Entry::Step { id: id.clone(), event: None, state: State::Proposed, actor, note: Box::new(note.clone()) };
        self.write(|transaction| {
            let clock = tick(transaction, moment)?;
            let subject = id.to_string();
            append(transaction, moment, clock, &Place { subject: &subject, area, kind: Some(proposal.kind) }, &entry)?;
            transaction.execute(
                &format!(
                    "INSERT INTO interventions ({INTERVENTION}, tried_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, NULL)"
                ),
                params![
                    id.fix.as_str(),
                    id.attempt,
                    word(&State::Proposed),
                    area,
                    word(&proposal.kind),
                    proposal.action.0
                ],
            )
        })?;
        Ok(id)
    }

    /// Takes the intervention through `happenings` in one transaction, and freezes its area when one revert too many is
    /// among them. Returns where it stands.
    ///
    /// # Errors
    /// SQLite refused, there is no such intervention, or a transition is illegal: nothing is added then.
    pub fn happen(
        &mut self,
        moment: &Moment,
        id: &InterventionId,
        happenings: &[Happening],
        pace: &Pace,
    ) -> Result<State, LedgerError> {
        let sql = format!("SELECT {INTERVENTION} FROM interventions WHERE fix = ?1 AND attempt = ?2");
        let known = self.read(|connection| {
            connection.query_row(&sql, params![id.fix.as_str(), id.attempt], intervention_of).optional()
        })?;
        let Some(known) = known else { return Err(LedgerError::Unknown(id.clone())) };
        let mut states = Vec::new();
        let mut state = known.state;
        for happening in happenings {
            state = step(state, happening.event).map_err(|cause| LedgerError::Illegal { id: id.clone(), cause })?;
            states.push(state);
        }
        self.write(|transaction| {
            let clock = tick(transaction, moment)?;
            let subject = id.to_string();
            let place = Place { subject: &subject, area: &known.area, kind: Some(known.kind) };
            for (happening, state) in happenings.iter().zip(&states) {
                let Happening { event, actor, note } = happening.clone();
                let entry =
                    Entry::Step { id: id.clone(), event: Some(event), state: *state, actor, note: Box::new(note) };
                append(transaction, moment, clock, &place, &entry)?;
                if *state == State::Reverted {
                    freeze_if_due(transaction, moment, clock, &known.area, pace)?;
                }
            }
            let outside = happenings.iter().any(|happening| happening.actor == Actor::Outside);
            let tried = states.iter().any(|state| state.is_under_way() || state.is_end())
                || (known.kind.is_intervention() && states.contains(&State::Approved));
            transaction.execute(
                "UPDATE interventions SET state = ?3, outside = outside OR ?4, \
                 tried_at = CASE WHEN ?5 THEN ?6 ELSE tried_at END WHERE fix = ?1 AND attempt = ?2",
                params![id.fix.as_str(), id.attempt, word(&state), outside, tried, signed(clock)],
            )
        })?;
        Ok(state)
    }

    /// The wall clock of the newest row, in milliseconds since 1970.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn newest_ledger_time(&self) -> Result<Option<i64>, DbError> {
        self.read(|connection| {
            connection.query_row("SELECT at FROM ledger ORDER BY seq DESC LIMIT 1", [], |row| row.get(0)).optional()
        })
    }

    /// Adds what concerns the whole host: a pause, its end, read-only and its end.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn note_host(&mut self, moment: &Moment, entry: &Entry) -> Result<(), DbError> {
        self.write(|transaction| {
            let clock = tick(transaction, moment)?;
            append(transaction, moment, clock, &HOST, entry)
        })
    }

    /// Adds what concerns one area: a pause, and its end.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn note_area(&mut self, moment: &Moment, area: &Path, entry: &Entry) -> Result<(), DbError> {
        self.write(|transaction| {
            let clock = tick(transaction, moment)?;
            append(transaction, moment, clock, &Place { area: path_bytes(area), ..HOST }, entry)
        })
    }

    /// Ends the freeze of an area.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn thaw(&mut self, moment: &Moment, area: &Path, why: &str) -> Result<(), DbError> {
        self.note_area(moment, area, &Entry::Thaw { why: why.to_owned() })
    }

    /// The rows of every attempt at a fix, oldest first.
    ///
    /// # Errors
    /// SQLite refused, or a row is not one of ours.
    pub fn history(&self, fix: &FixId) -> Result<Vec<(Row, Entry)>, DbError> {
        self.read(|connection| {
            let sql = format!("SELECT {ROW} FROM ledger WHERE subject LIKE ?1 ORDER BY seq");
            let rows = connection
                .prepare(&sql)?
                .query_map([format!("{fix}.%")], row_of)?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            rows.into_iter().map(|row| said(&row).map(|entry| (row, entry))).collect()
        })
    }

    /// Follows the whole ledger and names what is wrong with it.
    ///
    /// # Errors
    /// SQLite refused, or what is beside the ledger is not ours.
    pub fn audit_ledger(&self) -> Result<Audit, DbError> {
        self.read(|connection| {
            let mut audit = Audit::default();
            let mut statement = connection.prepare(&format!("SELECT {ROW} FROM ledger ORDER BY seq"))?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                match row_of(row) {
                    Ok(row) => audit.take(&row),
                    Err(_) => audit.faults.push(format!(
                        "ledger: row {} cannot be read: it was changed after it was written",
                        row.get::<_, i64>(0)?
                    )),
                }
            }
            let tip = connection
                .query_row("SELECT seq, hash FROM ledger_tip", [], |row| Ok((number(row, 0)?, RowHash(row.get(1)?))))
                .optional()?;
            let states = connection
                .prepare(&format!("SELECT {INTERVENTION} FROM interventions"))?
                .query_map([], intervention_of)?
                .map(|known| known.map(|known| (known.id, known.state)))
                .collect::<rusqlite::Result<Vec<_>>>()?;
            audit.finish(tip, &states);
            Ok(audit)
        })
    }
}

/// Freezes the area when its newest outcomes are reverts, one after the other.
fn freeze_if_due(
    transaction: &Transaction<'_>,
    moment: &Moment,
    clock: Running,
    area: &[u8],
    pace: &Pace,
) -> rusqlite::Result<()> {
    let words: Vec<String> = transaction
        .prepare(
            "SELECT word FROM ledger WHERE area = ?1 \
             AND word IN ('validated', 'no_effect', 'reverted', 'freeze', 'thaw') ORDER BY seq DESC LIMIT ?2",
        )?
        .query_map(params![area, pace.freeze_after.max(1)], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    if !freezes(&words, pace.freeze_after) {
        return Ok(());
    }
    let why = format!("{} reverts in a row", pace.freeze_after.max(1));
    let entry = Entry::Freeze { until: clock.after(pace.freeze_for), why };
    append(transaction, moment, clock, &Place { area, ..HOST }, &entry)
}
