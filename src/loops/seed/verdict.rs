//! What is in place is judged: harm at once, the rest when its window has passed. What is over keeps its way back for a
//! while longer.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::finished::Finished;
use super::intervene::{Hand, found_in, keep, stop_everything, tell};
use super::{Area, Parts, SeedError};
use crate::domain::fix::{Fix, KnownLesson};
use crate::domain::guard::{RepoFacts, Trial};
use crate::domain::intervention::{Actor, Event, InterventionId, State};
use crate::domain::ledger::{Entry, Intervention, Note, Planned};
use crate::domain::lesson::Lesson;
use crate::domain::outcome::{Elapsed, Judgement, Mark, Observation, Observed, Prediction, judge};
use crate::ports::{ApplyError, CommittedFile};
use crate::store::crash;
use crate::store::ledger::Happening;

/// What the ledger knows of an intervention that is in place.
struct Watched {
    planned: Planned,
    predicted: Prediction,
    elapsed: Elapsed,
}

fn watched(parts: &mut Parts<'_>, id: &InterventionId) -> Result<Option<Watched>, SeedError> {
    let moment = parts.moment.clone();
    let clock = parts.db.count_on(&moment)?;
    let (mut planned, mut predicted, mut applied) = (None, None, None);
    for (row, entry) in parts.db.history(&id.fix)? {
        let Entry::Step { id: of, state, note, .. } = entry else { continue };
        if of != *id {
            continue;
        }
        planned = note.planned.or(planned);
        predicted = note.predicted.or(predicted);
        if state == State::Applied {
            applied = Some((row.at, row.clock));
        }
    }
    let (Some(planned), Some(predicted), Some((at, since))) = (planned, predicted, applied) else { return Ok(None) };
    let wall = Timestamp::from_millisecond(at).ok().map(|at| moment.wall.duration_since(at));
    let wall = wall.filter(|wall| *wall >= SignedDuration::ZERO).map(|wall| wall.unsigned_abs());
    let running: Duration = clock.since(since);
    Ok(Some(Watched { planned, predicted, elapsed: Elapsed { wall, running } }))
}

/// What is in place, with what is to be done with it now.
struct Judged {
    known: Intervention,
    fix: Fix,
    watched: Watched,
    observed: Observation,
    judgement: Judgement,
}

fn judged(
    parts: &mut Parts<'_>,
    hand: Hand<'_>,
    areas: &[Area],
    lessons: &[KnownLesson],
) -> Result<Vec<Judged>, SeedError> {
    let lessons: BTreeMap<_, _> = lessons.iter().map(|known| (&known.lesson.id, &known.lesson)).collect();
    let mut all = Vec::new();
    for known in parts.db.interventions_in(&[State::Validating])? {
        let (Some(fix), Some(watched)) = (parts.db.fix(&known.id.fix)?, watched(parts, &known.id)?) else { continue };
        let area = areas.iter().find(|area| area.root == fix.root);
        let lesson = lessons.get(&fix.lesson).copied();
        let measured = (hand.measure)(parts.db, &watched.predicted.claim)?;
        let due = watched.elapsed.least() >= Duration::from_secs(watched.predicted.window_s);
        let check = if due { check_now(parts, area, &fix) } else { Observed::Unknown };
        let finding_gone = gone_now(parts, lesson, &fix)?;
        let observed = Observation { claim: measured.says, finding_gone, check, readings: measured.readings };
        let judgement = judge(&watched.predicted, &observed, watched.elapsed);
        all.push(Judged { known, fix, watched, observed, judgement });
    }
    Ok(all)
}

/// What [`validate`] would do now, a sentence each. Nothing is changed or remembered.
///
/// # Errors
/// As of [`validate`].
pub fn foresee(
    parts: &mut Parts<'_>,
    hand: Hand<'_>,
    areas: &[Area],
    lessons: &[KnownLesson],
) -> Result<Vec<String>, SeedError> {
    let all = judged(parts, hand, areas, lessons)?;
    Ok(all.iter().map(|one| format!("intervention {}: {}", one.known.id, one.judgement.words())).collect())
}

/// Judges what is in place: harm at once, the rest when its window has passed. Returns what ended. What somebody merged
/// past mesh is judged like the rest, and never taken back from them.
///
/// # Errors
/// The audit worker or the database failed. What cannot be taken back stops all changes and is in the ledger.
pub fn validate(
    parts: &mut Parts<'_>,
    hand: Hand<'_>,
    areas: &[Area],
    lessons: &[KnownLesson],
    now: Timestamp,
) -> Result<Vec<Finished>, SeedError> {
    let mut ended = Vec::new();
    for Judged { known, fix, watched, observed, judgement } in judged(parts, hand, areas, lessons)? {
        let id = known.id;
        let (event, why, marks) = match judgement {
            Judgement::Wait(_) => continue,
            Judgement::Keep { event, why, marks } => (event, why.to_owned(), marks),
            Judgement::RollBack { why } if known.outside => {
                // Somebody who merged it may also have taken it back: that says nothing of the lesson.
                let gone = observed.finding_gone == Observed::False;
                let marks = if gone { vec![Mark::Unknown] } else { Vec::new() };
                (Event::FindNoEffect, format!("{why}; it was merged by a person, so it is not taken back"), marks)
            }
            Judgement::RollBack { why } => match hand.applier.rollback(&id, now) {
                Ok(()) => (Event::RollBack, why.to_owned(), Vec::new()),
                Err(error @ ApplyError::Moved { .. }) => {
                    (Event::FindNoEffect, format!("{why}, and it stays: {error}"), vec![Mark::Unknown])
                }
                Err(error) => {
                    stop_everything(parts, &id, &error)?;
                    continue;
                }
            },
        };
        crash::point("validate.judged");
        let note = Note {
            predicted: Some(watched.predicted.clone()),
            observed: Some(observed.clone()),
            marks: marks.clone(),
            ..Note::why(&why)
        };
        let state = tell(parts, &id, &[Happening::new(event, Actor::Agent, note)])?;
        keep(parts, fix, &id, why, now)?;
        if let Err(error) = hand.applier.settle(&id) {
            stop_everything(parts, &id, &error)?;
        }
        let Watched { planned, predicted, .. } = watched;
        ended.push(Finished { id, state, marks, planned, predicted, observed });
    }
    Ok(ended)
}

/// Removes the ways back of changes that were over for long enough; never one that is still to be judged, and none that
/// the ledger does not know. What they were stays in the ledger. Returns whose.
///
/// # Errors
/// The database or the undo journal failed.
pub fn prune(parts: &mut Parts<'_>, hand: Hand<'_>) -> Result<Vec<InterventionId>, SeedError> {
    let moment = parts.moment.clone();
    let clock = parts.db.count_on(&moment)?;
    let mut pruned = Vec::new();
    for id in hand.applier.settled().map_err(SeedError::Undo)? {
        let mut last = None;
        for (row, entry) in parts.db.history(&id.fix)? {
            if let Entry::Step { id: of, state, .. } = entry
                && of == id
            {
                last = Some((state, row.clock));
            }
        }
        let over = last.filter(|(state, _)| !state.is_under_way()).map(|(_, since)| clock.since(since));
        if over.is_some_and(|over| over >= parts.house.pace.keep_undo) {
            hand.applier.forget(&id).map_err(SeedError::Undo)?;
            pruned.push(id);
        }
    }
    Ok(pruned)
}

/// Whether the findings are gone from the file as it is now; unknown where it cannot be looked at.
fn gone_now(parts: &mut Parts<'_>, lesson: Option<&Lesson>, fix: &Fix) -> Result<Observed, SeedError> {
    let (Some(lesson), Ok(text)) = (lesson, parts.repo.read(&fix.root, &fix.path)) else {
        return Ok(Observed::Unknown);
    };
    let found = found_in(parts, lesson, &fix.path, &fix.mends, &text)?;
    Ok(match found {
        Observed::True => Observed::False,
        Observed::False => Observed::True,
        Observed::Unknown => Observed::Unknown,
    })
}

/// What the project's check says of HEAD, in a scratch copy; unknown where there is none. The change itself was tried
/// before it was made, so once at the end of the window is enough.
fn check_now(parts: &Parts<'_>, area: Option<&Area>, fix: &Fix) -> Observed {
    let RepoFacts::Inside { head: Some(head), .. } = parts.repo.facts(&fix.root, &fix.path).repo else {
        return Observed::Unknown;
    };
    let Some(area) = area else { return Observed::Unknown };
    let place = CommittedFile { root: &area.root, commit: &head, path: &fix.path };
    match parts.repo.trial(place, None, &area.trials(&fix.path, parts.exec).0) {
        Trial::Passed => Observed::True,
        Trial::Failed(_) => Observed::False,
        Trial::None | Trial::Cannot(_) => Observed::Unknown,
    }
}
