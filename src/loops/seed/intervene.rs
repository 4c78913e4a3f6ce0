//! A change of what people use, from the guard to its verdict. What touches the place is the [`Applier`]; here is the
//! order of things, and that each of them is in the ledger: what was decided before it is done, what was done after.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::person::PersonError;
use super::settle::{self, Go, Wish};
use super::{Area, Parts, SeedError, book, drill};
use crate::domain::attest::{self, Attestation, Environment};
use crate::domain::finding::Fingerprint;
use crate::domain::fix::{CheckResult, Fix, FixPlan, FixState, KnownLesson};
use crate::domain::guard::{self, ActionKind, Answer, AskedBy, RepoFacts, Trial};
use crate::domain::intervention::{Actor, Event, InterventionId, State};
use crate::domain::ledger::{Entry, Note, Planned};
use crate::domain::lesson::Lesson;
use crate::domain::outcome::{Elapsed, Judgement, Mark, Observation, Observed, Prediction, attested, judge};
use crate::ports::{Applier, ApplyError, AuditorError, Mended, Recovered};
use crate::store::crash;
use crate::store::db::{Db, DbError};
use crate::store::home::ChangeLock;
use crate::store::ledger::Happening;

/// What changes things, and what measures them.
#[derive(Clone, Copy)]
pub struct Hand<'a> {
    /// Makes changes and takes them back.
    pub applier: &'a dyn Applier,
    /// What a claim in CEL comes to by this host's samples now.
    pub measure: &'a dyn Fn(&Db, &str) -> Result<Observed, DbError>,
    /// Held, so that nobody else spends the same budget meanwhile.
    pub lock: &'a ChangeLock,
}

/// An intervention that ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finished {
    /// Which one.
    pub id: InterventionId,
    /// How it ended.
    pub state: State,
    /// What limits the worth of that.
    pub marks: Vec<Mark>,
    /// What was planned.
    pub planned: Planned,
    /// What was predicted.
    pub predicted: Prediction,
    /// What was observed.
    pub observed: Observation,
}

impl Finished {
    /// What peers are told. None for a lesson that nobody signed, and where it has not ended.
    #[must_use]
    pub fn attestation(&self, environment: Environment) -> Option<Attestation> {
        Some(Attestation {
            lesson: self.planned.lesson.clone(),
            entry: self.planned.entry?,
            intervention: self.id.to_string(),
            outcome: attested(self.state, &self.marks)?,
            short_window: self.marks.contains(&Mark::ShortWindow),
            predicted: attest::Predicted {
                expr: self.predicted.claim.clone(),
                within: format!("{}s", self.predicted.window_s),
            },
            observed: attest::Observed {
                check: self.observed.check.into(),
                finding: self.observed.finding_gone.into(),
                signal: self.observed.claim.into(),
            },
            environment,
            n: u32::try_from(self.planned.mends).unwrap_or(u32::MAX),
        })
    }
}

fn tell(parts: &mut Parts<'_>, id: &InterventionId, happenings: &[Happening]) -> Result<State, SeedError> {
    let (moment, pace) = (parts.moment.clone(), parts.house.pace.clone());
    Ok(parts.db.happen(&moment, id, happenings, &pace)?)
}

/// A change that is left half-way ends all changes until a person has looked.
fn stop_everything(parts: &mut Parts<'_>, id: &InterventionId, error: &ApplyError) -> Result<(), SeedError> {
    let moment = parts.moment.clone();
    Ok(parts.db.note_host(&moment, &Entry::ReadOnly { why: format!("intervention {id}: {error}") })?)
}

/// Makes the change of `plan` (a [`ActionKind::Commit`] or [`ActionKind::File`]), as far as guard and proof allow.
///
/// # Errors
/// The audit worker or the database failed; a refusal is in the returned fix.
pub fn intervene(
    parts: &mut Parts<'_>,
    hand: Hand<'_>,
    area: &Area,
    known: &KnownLesson,
    plan: &FixPlan,
    (kind, asked_by): (ActionKind, AskedBy),
    now: Timestamp,
) -> Result<Fix, SeedError> {
    let drill = drill(parts, &known.lesson, now)?;
    let mut fix = parts.db.fix(&plan.id)?.filter(|fix| fix.same_content(plan)).unwrap_or(Fix::proposed(plan, now));
    let actor = if asked_by == AskedBy::Person { Actor::Person } else { Actor::Agent };
    let judged = settle::judge(parts, area, plan, Wish { asked_by, kind, go: Go::Make, drill: &drill }, now)?;
    let verdicts = match &judged {
        Ok(approved) => approved.verdicts().to_vec(),
        Err(refusal) => refusal.verdicts.clone(),
    };
    let before = (hand.measure)(parts.db, &plan.claim)?;
    let asked = Note {
        verdicts: verdicts.clone(),
        planned: Some(book::planned(plan, kind)),
        predicted: Some(plan.prediction(before, parts.house.pace.validate_window)),
        ..Note::default()
    };
    fix.verdicts = verdicts;
    let mut events = vec![Happening::new(Event::Ask, actor, asked)];
    let approved = match judged {
        Ok(approved) => {
            events.push(Happening::new(Event::Approve, actor, Note::default()));
            approved
        }
        Err(refusal) => {
            let event = match refusal.hardest() {
                Answer::Pass | Answer::Ask => None,
                Answer::Block => Some(Event::Block),
                Answer::Refuse => Some(Event::Refuse),
            };
            events.extend(event.map(|event| Happening::new(event, actor, Note::why(refusal.why()))));
            let id = book::tell(parts, plan, kind, actor, &events)?;
            return keep(parts, fix, &id, refusal.why(), now);
        }
    };
    let id = book::tell(parts, plan, kind, actor, &events)?;
    crash::point("apply.approved");
    let refuse = |parts: &mut Parts<'_>, fix: Fix, note: Note| {
        let why = note.why.clone();
        tell(parts, &id, &[Happening::new(Event::Refuse, actor, note)])?;
        keep(parts, fix, &id, why, now)
    };
    let mut proof = match hand.applier.prove(&id, &approved, &area.trials()) {
        Ok(proof) => proof,
        Err(error) => return refuse(parts, fix, Note::why(error.to_string())),
    };
    proof.finding_gone = found_in(parts, &known.lesson, &plan.path, &plan.mends, &plan.after)? == Observed::False;
    fix.check = match &proof.trial {
        Trial::None => CheckResult::Unchecked,
        Trial::Passed => CheckResult::Passed,
        Trial::Failed(why) => CheckResult::Failed { why: why.clone() },
    };
    let proved = match guard::prove(approved, &proof) {
        Ok(proved) => proved,
        Err(verdicts) => {
            let why = guard::why(&verdicts);
            return refuse(parts, fix, Note { verdicts, ..Note::why(why) });
        }
    };
    let note = Note { verdicts: proved.verdicts().to_vec(), ..Note::default() };
    tell(parts, &id, &[Happening::new(Event::Prove, actor, note)])?;
    crash::point("apply.proved");
    match hand.applier.apply(&id, &proved, now) {
        Ok(applied) => {
            crash::point("apply.applied");
            fix.commit = applied.commit.clone();
            let note = Note { commit: applied.commit, ..Note::why(applied.way_back) };
            in_place(parts, &id, actor, note)?;
            keep(parts, fix, &id, String::new(), now)
        }
        Err(error @ (ApplyError::Moved { .. } | ApplyError::Untouched { .. })) => {
            refuse(parts, fix, Note::why(error.to_string()))
        }
        Err(error @ ApplyError::Undone { .. }) => {
            tell(parts, &id, &[Happening::new(Event::Abandon, actor, Note::why(error.to_string()))])?;
            keep(parts, fix, &id, error.to_string(), now)
        }
        Err(error @ ApplyError::Broken { .. }) => {
            stop_everything(parts, &id, &error)?;
            keep(parts, fix, &id, error.to_string(), now)
        }
    }
}

fn in_place(parts: &mut Parts<'_>, id: &InterventionId, actor: Actor, note: Note) -> Result<(), SeedError> {
    let watched = Happening::new(Event::Watch, Actor::Agent, Note::default());
    tell(parts, id, &[Happening::new(Event::Apply, actor, note), watched]).map(drop)
}

/// Brings the fix in line with where its intervention stands.
fn keep(
    parts: &mut Parts<'_>,
    mut fix: Fix,
    id: &InterventionId,
    why: String,
    now: Timestamp,
) -> Result<Fix, SeedError> {
    if let Some(stands) = parts.db.intervention(&id.fix)? {
        fix.state = FixState::of(stands.state);
    }
    fix.reason = Some(why).filter(|why| !why.is_empty());
    fix.updated_at = now;
    parts.db.save_fix(&fix)?;
    Ok(fix)
}

/// Whether any of the findings is in the text.
fn found_in(
    parts: &mut Parts<'_>,
    lesson: &Lesson,
    path: &str,
    findings: &[Fingerprint],
    text: &str,
) -> Result<Observed, AuditorError> {
    let mut unclear = false;
    for fingerprint in findings {
        match parts.auditor.mend(lesson, path, text, Some(*fingerprint))? {
            Mended::Nothing => {}
            Mended::Text(_) => return Ok(Observed::True),
            Mended::Refused(_) => unclear = true,
        }
    }
    Ok(if unclear { Observed::Unknown } else { Observed::False })
}

/// Takes back, by a person's wish, what is in place.
pub(super) fn take_back(
    parts: &mut Parts<'_>,
    hand: Hand<'_>,
    fix: Fix,
    id: &InterventionId,
    now: Timestamp,
) -> Result<Fix, PersonError> {
    if let Err(cause) = hand.applier.rollback(id, now) {
        if matches!(cause, ApplyError::Broken { .. }) {
            stop_everything(parts, id, &cause)?;
        }
        return Err(PersonError::Apply { id: id.fix.clone(), cause });
    }
    let why = "taken back by a person; it is not made again for this text".to_owned();
    tell(parts, id, &[Happening::new(Event::RollBack, Actor::Person, Note::why(&why))])?;
    Ok(keep(parts, fix, id, why, now)?)
}

/// What became of one change that a killed process had begun.
pub type Found = (InterventionId, Result<Recovered, ApplyError>);

/// Settles what a killed process had begun, and says what it did. Called before anything else is changed.
///
/// # Errors
/// The database failed. What cannot be settled stops all changes and is in the ledger.
pub fn recover(parts: &mut Parts<'_>, hand: Hand<'_>, now: Timestamp) -> Result<Vec<Found>, SeedError> {
    let applier = hand.applier;
    let pending = match applier.pending() {
        Ok(pending) => pending,
        Err(error) => {
            let moment = parts.moment.clone();
            let why = format!("the undo journal cannot be read: {error}");
            parts.db.note_host(&moment, &Entry::ReadOnly { why })?;
            return Ok(Vec::new());
        }
    };
    let mut found = Vec::new();
    for id in pending {
        let stands = parts.db.intervention(&id.fix)?.filter(|known| known.id == id).map(|known| known.state);
        let in_place_already = stands.is_some_and(State::is_under_way);
        let settled = applier.recover(&id, now);
        match (&settled, stands) {
            // In place: its verdict is still to come.
            (Ok(Recovered::Finished(_)), Some(_)) if in_place_already => continue,
            (Ok(Recovered::Finished(applied)), Some(State::Proved)) => {
                let note = Note { commit: applied.commit.clone(), ..Note::why("it was whole when mesh started again") };
                in_place(parts, &id, Actor::Agent, note)?;
            }
            // Ended, and killed before the way back was forgotten.
            (Ok(Recovered::Finished(_)), Some(_)) => {
                if let Err(error) = applier.settle(&id) {
                    stop_everything(parts, &id, &error)?;
                }
                continue;
            }
            (Ok(Recovered::RolledBack | Recovered::Undone), Some(_)) if in_place_already => {
                let note = Note::why("its way back was gone to the end when mesh started again");
                tell(parts, &id, &[Happening::new(Event::RollBack, Actor::Agent, note)])?;
            }
            (Ok(Recovered::RolledBack | Recovered::Undone), Some(State::Proved)) => {
                let note = Note::why("it was undone when mesh started again");
                tell(parts, &id, &[Happening::new(Event::Abandon, Actor::Agent, note)])?;
            }
            (Ok(_), _) => {}
            (Err(error), _) => stop_everything(parts, &id, error)?,
        }
        if let Some(mut fix) = parts.db.fix(&id.fix)? {
            if let Ok(Recovered::Finished(applied)) = &settled {
                fix.commit.clone_from(&applied.commit);
            }
            keep(parts, fix, &id, "settled when mesh started again".to_owned(), now)?;
        }
        found.push((id, settled));
    }
    Ok(found)
}

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

/// Judges what is in place: harm at once, the rest when its window has passed. Returns what ended.
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
    let lessons: BTreeMap<_, _> = lessons.iter().map(|known| (&known.lesson.id, &known.lesson)).collect();
    let mut ended = Vec::new();
    for known in parts.db.interventions_in(&[State::Validating])? {
        let id = known.id;
        let (Some(fix), Some(watched)) = (parts.db.fix(&id.fix)?, watched(parts, &id)?) else { continue };
        let area = areas.iter().find(|area| area.root == fix.root);
        let lesson = lessons.get(&fix.lesson).copied();
        let claim = (hand.measure)(parts.db, &watched.predicted.claim)?;
        let due = watched.elapsed.least() >= Duration::from_secs(watched.predicted.window_s);
        let check = if due { check_now(parts, area, &fix) } else { Observed::Unknown };
        let finding_gone = gone_now(parts, lesson, &fix)?;
        let observed = Observation { claim, finding_gone, check };
        let (event, why, marks) = match judge(&watched.predicted, &observed, watched.elapsed) {
            Judgement::Wait(_) => continue,
            Judgement::Keep { event, why, marks } => (event, why.to_owned(), marks),
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
    match settle::check(parts, area, &head, &fix.id).0 {
        CheckResult::Passed => Observed::True,
        CheckResult::Failed { .. } => Observed::False,
        CheckResult::Unchecked | CheckResult::Pending => Observed::Unknown,
    }
}
