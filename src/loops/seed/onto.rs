//! A person's wish that a fix be made on the branch that people use, and the way back from there.

use jiff::Timestamp;

use super::person::{PersonError, wanted};
use super::settle::{Go, Wish, foretell, record};
use super::{Area, Parts, SeedError, book};
use crate::domain::fix::{CheckResult, EndedBy, Fix, FixId, FixPlan, FixState, KnownLesson};
use crate::domain::guard::{ActionKind, AskedBy, Proof, RepoFacts, Trial, Verdict, prove, why};
use crate::domain::intervention::{Actor, Event, InterventionId, State};
use crate::domain::ledger::{Entry, Note};
use crate::ports::{Applier, ApplyError, Mended, Recovered};
use crate::store::ledger::Happening;

/// Makes the fix that a person has looked at as a commit on the checked-out branch, or in a file outside git: guarded, proved on a scratch copy,
/// tried by the project's check, then applied. What stops it is in the returned fix.
///
/// # Errors
/// There is no such fix, or it would not be what was shown.
pub fn apply_onto(
    parts: &mut Parts<'_>,
    applier: &dyn Applier,
    area: &Area,
    lessons: &[KnownLesson],
    id: &FixId,
    now: Timestamp,
) -> Result<Fix, PersonError> {
    let (_, plan, drill) = wanted(parts, area, lessons, id, now)?;
    // A file outside git has no branch: it is replaced where it is.
    let kind = match parts.repo.facts(&plan.root, &plan.path).repo {
        RepoFacts::Outside => ActionKind::File,
        RepoFacts::Inside { .. } | RepoFacts::Unusable(_) => ActionKind::Commit,
    };
    let wish = Wish { asked_by: AskedBy::Person, go: Go::Make, drill: &drill, kind };
    let (mut fix, approved) = foretell(parts, area, &plan, wish, now)?;
    let Some(approved) = approved else {
        let end = if fix.state == FixState::Backlog { Event::Block } else { Event::Refuse };
        record(parts, &plan, &fix, &[Event::Ask, end], wish)?;
        parts.db.save_fix(&fix)?;
        return Ok(fix);
    };
    fix.base = Some(approved.head().to_owned());
    let asked = Note { verdicts: fix.verdicts.clone(), ..Note::default() };
    let begun = [
        Happening::new(Event::Ask, Actor::Person, asked),
        Happening::new(Event::Approve, Actor::Person, Note::default()),
    ];
    let id = book::tell(parts, &plan, kind, Actor::Person, &begun)?;
    // Remembered before anything is changed, so that a restart knows what the journal is about.
    parts.db.save_fix(&fix)?;
    let proof = match applier.prove(&id, &approved, &area.trials()) {
        Ok(proof) => proof,
        Err(error) => return ended(parts, &id, fix, Event::Refuse, error.to_string(), now),
    };
    fix.check = match &proof.trial {
        Trial::None => CheckResult::Unchecked,
        Trial::Passed => CheckResult::Passed,
        Trial::Failed(why) => CheckResult::Failed { why: why.clone() },
    };
    let gone = finding_gone(parts, lessons, &plan)?;
    let proved = match prove(approved, &Proof { finding_gone: gone, ..proof }) {
        Ok(proved) => proved,
        Err(verdicts) => {
            let said = why(&verdicts);
            fix.verdicts.extend(verdicts);
            return ended(parts, &id, fix, Event::Refuse, said, now);
        }
    };
    fix.verdicts.extend(proved.verdicts().iter().cloned());
    let verdicts: Vec<Verdict> = proved.verdicts().to_vec();
    happen(parts, &id, Event::Prove, Note { verdicts, ..Note::default() })?;
    match applier.apply(&id, &proved, now) {
        Ok(applied) => {
            let note = Note { commit: applied.commit.clone(), ..Note::why(applied.way_back) };
            happen(parts, &id, Event::Apply, note)?;
            fix.state = FixState::Applied;
            fix.commit = applied.commit;
            fix.reason = None;
            fix.updated_at = now;
            parts.db.save_fix(&fix)?;
            Ok(fix)
        }
        Err(error) => {
            note_broken(parts, &error)?;
            ended(parts, &id, fix, Event::Abandon, error.to_string(), now)
        }
    }
}

/// Takes back a fix that [`apply_onto`] made. None: this one was not made so.
///
/// # Errors
/// Somebody has worked there since, or the way back failed.
pub fn rollback_onto(
    parts: &mut Parts<'_>,
    applier: &dyn Applier,
    id: &FixId,
    now: Timestamp,
) -> Result<Option<Fix>, PersonError> {
    let Some(mut fix) = parts.db.fix(id)? else { return Err(PersonError::Unknown(id.clone())) };
    let made = parts.db.intervention(id)?.filter(|made| made.kind.is_intervention() && !made.outside);
    let Some(made) = made.filter(|_| fix.state.stands()) else { return Ok(None) };
    if let Err(cause) = applier.rollback(&made.id, now) {
        note_broken(parts, &cause)?;
        return Err(PersonError::Apply { id: id.clone(), cause });
    }
    if made.state.is_under_way() {
        happen(parts, &made.id, Event::RollBack, Note::why("rolled back by a person"))?;
    }
    fix.state = FixState::Reverted;
    fix.ended_by = Some(EndedBy::Person);
    fix.reason = Some("rolled back: its commit is reverted, and it is not made again for this text".to_owned());
    fix.updated_at = now;
    parts.db.save_fix(&fix)?;
    Ok(Some(fix))
}

/// What became of one change that a killed process had begun.
pub type Found = (InterventionId, Result<Recovered, ApplyError>);

/// Finishes or undoes what a killed process had begun, and tells the ledger. Called before anything else is done.
///
/// # Errors
/// The ledger or the undo journal cannot be read.
pub fn recover(parts: &mut Parts<'_>, applier: &dyn Applier, now: Timestamp) -> Result<Vec<Found>, SeedError> {
    let mut found = Vec::new();
    for id in applier.pending().map_err(SeedError::Undo)? {
        let known = parts.db.intervention(&id.fix)?.filter(|known| known.id == id).map(|known| known.state);
        let said = applier.recover(&id, now);
        let standing = matches!(known, Some(State::Applied | State::Validating));
        if standing && matches!(said, Ok(Recovered::Finished(_))) {
            // In place, and known to be: it waits for its judgement.
            continue;
        }
        let why = "a process was killed while it worked on this; after the restart";
        let (event, note, state) = match &said {
            Ok(Recovered::Finished(applied)) => {
                let note = Note { commit: applied.commit.clone(), ..Note::why(format!("{why} it was whole")) };
                (Event::Apply, note, FixState::Applied)
            }
            Ok(Recovered::RolledBack) if standing => {
                (Event::RollBack, Note::why(format!("{why} it was taken back")), FixState::Reverted)
            }
            Ok(Recovered::Undone | Recovered::RolledBack) => {
                (Event::Abandon, Note::why(format!("{why} it was undone")), FixState::Aborted)
            }
            Err(error) => {
                note_broken(parts, error)?;
                found.push((id, said));
                continue;
            }
        };
        if known.is_some_and(|state| !state.is_end()) {
            happen(parts, &id, event, note.clone())?;
        }
        if let Some(mut fix) = parts.db.fix(&id.fix)? {
            fix.state = state;
            fix.commit = note.commit.or(fix.commit);
            fix.reason = Some(note.why);
            fix.updated_at = now;
            parts.db.save_fix(&fix)?;
        }
        found.push((id, said));
    }
    Ok(found)
}

/// Whether the lesson finds nothing more to mend where the plan has mended.
fn finding_gone(parts: &mut Parts<'_>, lessons: &[KnownLesson], plan: &FixPlan) -> Result<bool, SeedError> {
    let Some(known) = lessons.iter().find(|known| known.lesson.id == plan.lesson) else { return Ok(false) };
    for fingerprint in &plan.mends {
        let left = parts.auditor.mend(&known.lesson, &plan.path, &plan.after, Some(*fingerprint))?;
        if left != Mended::Nothing {
            return Ok(false);
        }
    }
    Ok(true)
}

fn happen(parts: &mut Parts<'_>, id: &InterventionId, event: Event, note: Note) -> Result<(), SeedError> {
    let (moment, pace) = (parts.moment.clone(), parts.house.pace.clone());
    let actor = Actor::Agent;
    parts.db.happen(&moment, id, &[Happening::new(event, actor, note)], &pace)?;
    Ok(())
}

fn ended(
    parts: &mut Parts<'_>,
    id: &InterventionId,
    mut fix: Fix,
    event: Event,
    why: String,
    now: Timestamp,
) -> Result<Fix, PersonError> {
    happen(parts, id, event, Note::why(why.clone()))?;
    fix.state = if event == Event::Refuse { FixState::Refused } else { FixState::Aborted };
    fix.ended_by = Some(EndedBy::Attempt);
    fix.reason = Some(why);
    fix.updated_at = now;
    parts.db.save_fix(&fix)?;
    Ok(fix)
}

/// A way back that failed is told to the ledger, too: the guard asks it.
fn note_broken(parts: &mut Parts<'_>, error: &ApplyError) -> Result<(), SeedError> {
    if matches!(error, ApplyError::Broken { .. }) && parts.db.read_only()?.is_none() {
        let moment = parts.moment.clone();
        parts.db.note_host(&moment, &Entry::ReadOnly { why: error.to_string() })?;
    }
    Ok(())
}
