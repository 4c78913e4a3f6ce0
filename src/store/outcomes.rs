//! What became of interventions, gathered from the ledger: what was planned, predicted and observed in one value.

use std::collections::BTreeMap;

use super::db::{Db, DbError};
use super::ledger::{ROW, row_of, said};
use crate::domain::intervention::State;
use crate::domain::kaizen::distill::Finished;
use crate::domain::ledger::{Entry, Note, Planned};
use crate::domain::outcome::{Observation, Prediction};

/// What is known of one attempt so far.
#[derive(Default)]
struct Attempt {
    planned: Option<Planned>,
    predicted: Option<Prediction>,
    observed: Option<Observation>,
    ended: Option<Finished>,
}

impl Db {
    /// Every intervention by a lesson that ended with an outcome, oldest first. One that goes on after its end, as by a
    /// person's rollback, counts as it stands last.
    ///
    /// # Errors
    /// SQLite refused, or a row is not one of ours.
    pub fn finished_interventions(&self) -> Result<Vec<Finished>, DbError> {
        self.read(|connection| {
            let sql = format!(
                "SELECT {ROW} FROM ledger WHERE subject IN (SELECT fix || '.' || attempt FROM interventions \
                 WHERE state IN ('validated', 'no_effect', 'reverted')) ORDER BY seq"
            );
            let mut attempts: BTreeMap<String, Attempt> = BTreeMap::new();
            let mut statement = connection.prepare(&sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let row = row_of(row)?;
                let Entry::Step { id, state, note, .. } = said(&row)? else { continue };
                let Note { why, marks, planned, predicted, observed, .. } = *note;
                let attempt = attempts.entry(row.subject.clone()).or_default();
                attempt.planned = planned.or(attempt.planned.take());
                attempt.predicted = predicted.or(attempt.predicted.take());
                attempt.observed = observed.or(attempt.observed.take());
                let Some(planned) = &attempt.planned else { continue };
                attempt.ended =
                    matches!(state, State::Validated | State::NoEffect | State::Reverted).then(|| Finished {
                        id,
                        lesson: planned.lesson.clone(),
                        rev: planned.rev,
                        path: planned.path.clone(),
                        mends: planned.mends,
                        state,
                        why,
                        marks,
                        predicted: attempt.predicted.clone(),
                        observed: attempt.observed.clone(),
                        at: row.at,
                    });
            }
            let mut finished: Vec<Finished> = attempts.into_values().filter_map(|attempt| attempt.ended).collect();
            finished.sort_by_key(|one| one.at);
            Ok(finished)
        })
    }
}
