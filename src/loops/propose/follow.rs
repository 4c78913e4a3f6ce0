//! What became of proposals: what a person made is seen or said, watched for its window and judged.

use std::time::Duration;

use super::{Bench, ProposeError};
use crate::domain::fix::FixId;
use crate::domain::intervention::{Actor, Event, InterventionId, State};
use crate::domain::kaizen::calibration::covers;
use crate::domain::kaizen::heuristics::threshold;
use crate::domain::kaizen::proposal::{Act, Raise};
use crate::domain::ledger::{Entry, Note};
use crate::domain::outcome::{Elapsed, Judgement, Mark, Observation, Observed, Prediction, judge};
use crate::domain::pace::Pace;
use crate::domain::running::Moment;
use crate::store::db::{Db, DbError};
use crate::store::ledger::{Happening, LedgerError};

/// Looks which proposals a person has made, and judges those whose window is over. Nothing of a person's is taken back.
pub(super) fn follow(db: &mut Db, bench: &Bench<'_>, moment: &Moment) -> Result<Vec<(FixId, State)>, ProposeError> {
    let mut moved = Vec::new();
    for mut known in db.proposals()? {
        if matches!(known.proposal.act, Act::Adopt { .. }) {
            continue;
        }
        let Some(stands) = db.intervention(&known.id)? else { continue };
        let pace = &bench.policy.pace;
        let state = match (stands.state, seen(&known.proposal.act, bench)) {
            (State::Guarded | State::Backlog, Seen::Made) => make(db, &stands.id, "a person made it", moment, pace)?,
            (State::Guarded | State::Backlog, Seen::Gone) => {
                let gone = Note::why("the file does not hold any more what was to be edited");
                db.happen(moment, &stands.id, &[Happening::new(Event::Refuse, Actor::Agent, gone)], pace)?
            }
            (State::Validating, _) => {
                let Some((predicted, elapsed)) = watched(db, &stands.id, moment)? else { continue };
                let measured = (bench.measure)(db, &predicted.claim)?;
                let observed = Observation {
                    claim: measured.says,
                    finding_gone: Observed::True,
                    check: Observed::Unknown,
                    readings: measured.readings,
                };
                let (event, why, marks) = match judge(&predicted, &observed, elapsed) {
                    Judgement::Wait(_) => continue,
                    Judgement::Keep { event, why, marks } => (event, why.to_owned(), marks),
                    Judgement::RollBack { why } => {
                        let why = format!(
                            "{why}; a person made it, so it is not taken back: {}",
                            known.proposal.act.way_back()
                        );
                        (Event::FindNoEffect, why, Vec::<Mark>::new())
                    }
                };
                let note = Note { predicted: Some(predicted), observed: Some(observed), marks, ..Note::why(why) };
                db.happen(moment, &stands.id, &[Happening::new(event, Actor::Agent, note)], pace)?
            }
            _ => continue,
        };
        known.updated = moment.wall.as_second();
        db.keep_proposal(&known)?;
        moved.push((known.id, state));
    }
    Ok(moved)
}

/// What can be seen of a change that somebody was to make.
enum Seen {
    /// It is in place, by whomever.
    Made,
    /// What it was about is not there any more.
    Gone,
    /// It is not in place, or nobody here can tell.
    Not,
}

fn seen(act: &Act, bench: &Bench<'_>) -> Seen {
    match act {
        Act::Recalibrate { rule, raise, fits, .. } => {
            let Some(written) = bench.rules.iter().find(|written| written.rule.number == *rule) else {
                return Seen::Gone;
            };
            let number = |text: &str| text.parse::<f64>().ok();
            let now = threshold(&written.trigger).and_then(|found| number(&found.number));
            let raised = |raise: &Raise| now.zip(number(&raise.to)).is_some_and(|(now, to)| now >= to);
            let made = raise.as_ref().is_none_or(raised) && covers(&written.rule.calibrated_for.signals, fits);
            if made { Seen::Made } else { Seen::Not }
        }
        Act::Edit { root, path, before, after, .. } => {
            // A file that cannot be read now may be there again later.
            let Ok(text) = bench.repo.read(root, path) else { return Seen::Not };
            let (old, new) = (text.contains(before.as_str()), text.contains(after.as_str()));
            match (old, new) {
                (_, true) if after.contains(before.as_str()) || !old => Seen::Made,
                (false, _) => Seen::Gone,
                (true, _) => Seen::Not,
            }
        }
        // Nobody here reads the limits of units, or tells one restart from another: a person says so.
        Act::RestartEvery { .. } | Act::Once { .. } | Act::Adopt { .. } => Seen::Not,
    }
}

fn make(db: &mut Db, id: &InterventionId, why: &str, moment: &Moment, pace: &Pace) -> Result<State, LedgerError> {
    let happenings = [Event::Ask, Event::Approve, Event::Prove, Event::Apply, Event::Watch]
        .map(|event| Happening::new(event, Actor::Outside, Note::why(why)));
    db.happen(moment, id, &happenings, pace)
}

/// Why a person's word that a proposal was made is not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotMade {
    /// No such proposal.
    #[error("there is no proposal {0}")]
    Unknown(FixId),
    /// Mesh looks for itself.
    #[error("whether {0} was made is seen by itself, within an hour")]
    Seen(FixId),
    /// It does not wait for anybody.
    #[error("proposal {id} is {state}: it waits for nobody", state = state.name())]
    State {
        /// The proposal.
        id: FixId,
        /// Where it stands.
        state: State,
    },
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The ledger does not take it.
    #[error("that it was made could not be written into the ledger")]
    Ledger(#[from] LedgerError),
}

/// Takes a person's word that a proposal was made which nobody here can see. From now on its prediction is watched.
///
/// # Errors
/// It is not that kind of proposal, or does not wait.
pub fn made(db: &mut Db, id: &FixId, moment: &Moment, pace: &Pace) -> Result<State, NotMade> {
    let mut known = db.proposal(id)?.ok_or_else(|| NotMade::Unknown(id.clone()))?;
    if !matches!(known.proposal.act, Act::RestartEvery { .. } | Act::Once { .. }) {
        return Err(NotMade::Seen(id.clone()));
    }
    let stands = db.intervention(id)?.ok_or_else(|| NotMade::Unknown(id.clone()))?;
    if !matches!(stands.state, State::Guarded | State::Backlog) {
        return Err(NotMade::State { id: id.clone(), state: stands.state });
    }
    let state = make(db, &stands.id, "a person says that it was made", moment, pace)?;
    known.updated = moment.wall.as_second();
    db.keep_proposal(&known)?;
    Ok(state)
}

fn watched(db: &mut Db, id: &InterventionId, moment: &Moment) -> Result<Option<(Prediction, Elapsed)>, DbError> {
    let clock = db.count_on(moment)?;
    let (mut predicted, mut applied) = (None, None);
    for (row, entry) in db.history(&id.fix)? {
        let Entry::Step { id: of, state, note, .. } = entry else { continue };
        if of != *id {
            continue;
        }
        predicted = note.predicted.or(predicted);
        if state == State::Applied {
            applied = Some((row.at, row.clock));
        }
    }
    Ok(predicted.zip(applied).map(|(predicted, (at, since))| {
        let wall = u64::try_from(moment.wall.as_millisecond() - at).ok().map(Duration::from_millis);
        (predicted, Elapsed { wall, running: clock.since(since) })
    }))
}
