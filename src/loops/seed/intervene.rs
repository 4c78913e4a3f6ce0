//! A change of what people use, from the guard to its verdict. What touches the place is the [`Applier`]; here is the
//! order of things, and that each of them is in the ledger: what was decided before it is done, what was done after.

use jiff::Timestamp;

use super::person::PersonError;
use super::settle::{self, Go, Wish};
use super::{Area, Parts, SeedError, book, drill};
use crate::domain::finding::Fingerprint;
use crate::domain::fix::{CheckResult, EndedBy, Fix, FixPlan, FixState, KnownLesson};
use crate::domain::guard::{self, ActionKind, Answer, AskedBy};
use crate::domain::intervention::{Actor, Event, InterventionId, State};
use crate::domain::ledger::{Entry, Note};
use crate::domain::lesson::Lesson;
use crate::domain::outcome::{Measured, Observed};
use crate::ports::{Applier, ApplyError, AuditorError, Mended};
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
    pub measure: &'a dyn Fn(&Db, &str) -> Result<Measured, DbError>,
    /// Held, so that nobody else spends the same budget meanwhile.
    pub lock: &'a ChangeLock,
}

pub(super) fn tell(parts: &mut Parts<'_>, id: &InterventionId, happenings: &[Happening]) -> Result<State, SeedError> {
    let (moment, pace) = (parts.moment.clone(), parts.house.pace.clone());
    Ok(parts.db.happen(&moment, id, happenings, &pace)?)
}

/// A change that is left half-way ends all changes until a person has looked.
pub(super) fn stop_everything(parts: &mut Parts<'_>, id: &InterventionId, error: &ApplyError) -> Result<(), SeedError> {
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
    let mut fix =
        parts.db.fix(&plan.id)?.filter(|fix| fix.same_content(plan)).unwrap_or_else(|| Fix::proposed(plan, None, now));
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
    fix.base = Some(approved.head().to_owned());
    let refuse = |parts: &mut Parts<'_>, fix: Fix, note: Note| {
        let why = note.why.clone();
        tell(parts, &id, &[Happening::new(Event::Refuse, actor, note)])?;
        keep(parts, fix, &id, why, now)
    };
    let trials = area.trials(&plan.path, parts.exec).0;
    let mut proof = match hand.applier.prove(&id, &approved, &trials) {
        Ok(proof) => proof,
        Err(error) => return refuse(parts, fix, Note::why(error.to_string())),
    };
    proof.finding_gone = found_in(parts, &known.lesson, &plan.path, &plan.mends, &plan.after)? == Observed::False;
    fix.check = CheckResult::of(&proof.trial);
    let proved = match guard::prove(approved, &proof, plan.demands_trial()) {
        Ok(proved) => proved,
        Err(verdicts) => {
            let why = guard::why(&verdicts);
            let note = Note { verdicts, ..Note::why(&why) };
            if guard::hardest(&note.verdicts) == Answer::Block {
                let asked = Happening::new(Event::Ask, actor, Note::default());
                tell(parts, &id, &[asked, Happening::new(Event::Block, actor, note)])?;
                return keep(parts, fix, &id, why, now);
            }
            // The same text would fail in the same way: it is tried again once something has changed below it.
            fix.ended_by = Some(EndedBy::Attempt);
            return refuse(parts, fix, note);
        }
    };
    let note = Note { verdicts: proved.verdicts().to_vec(), ..Note::default() };
    tell(parts, &id, &[Happening::new(Event::Prove, actor, note)])?;
    crash::point("apply.proved");
    match hand.applier.apply(&id, &proved, now) {
        Ok(applied) => {
            crash::point("apply.applied");
            (fix.commit, fix.ended_by) = (applied.commit.clone(), None);
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

pub(super) fn in_place(parts: &mut Parts<'_>, id: &InterventionId, actor: Actor, note: Note) -> Result<(), SeedError> {
    let watched = Happening::new(Event::Watch, Actor::Agent, Note::default());
    tell(parts, id, &[Happening::new(Event::Apply, actor, note), watched]).map(drop)
}

/// Brings the fix in line with where its intervention stands.
pub(super) fn keep(
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
pub(super) fn found_in(
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
