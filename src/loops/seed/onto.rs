//! A person's wish that a fix be made where people use it, and the way back from there.

use jiff::Timestamp;

use super::intervene::{Hand, intervene, take_back};
use super::person::{PersonError, wanted};
use super::settle::{Go, Wish, foretell};
use super::{Area, Parts, kind_in_place};
use crate::domain::fix::{EndedBy, Fix, FixId, KnownLesson};
use crate::domain::guard::{ActionKind, AskedBy};

/// Makes the fix that a person has looked at as a commit on the checked-out branch, or in a file outside git: guarded,
/// proved on a scratch copy, tried by the project's check, then applied. What stops it is in the returned fix.
///
/// # Errors
/// There is no such fix, or it would not be what was shown.
pub fn apply_onto(
    parts: &mut Parts<'_>,
    hand: Hand<'_>,
    area: &Area,
    lessons: &[KnownLesson],
    id: &FixId,
    now: Timestamp,
) -> Result<Fix, PersonError> {
    let (fix, plan, _) = wanted(parts, area, lessons, id, now)?;
    let known = lessons.iter().find(|known| known.lesson.id == plan.lesson);
    let known = known.ok_or_else(|| PersonError::LessonGone(fix.lesson.clone()))?;
    let kind = kind_in_place(parts, &plan);
    Ok(intervene(parts, hand, area, known, &plan, (kind, AskedBy::Person), now)?)
}

/// What [`apply_onto`] would come to, as far as that can be told without making anything. Nothing is remembered of it.
///
/// # Errors
/// As of [`apply_onto`].
pub fn rehearse_onto(
    parts: &mut Parts<'_>,
    area: &Area,
    lessons: &[KnownLesson],
    id: &FixId,
    now: Timestamp,
) -> Result<(Fix, ActionKind), PersonError> {
    let (fix, plan, drill) = wanted(parts, area, lessons, id, now)?;
    let kind = kind_in_place(parts, &plan);
    let wish = Wish { asked_by: AskedBy::Person, kind, go: Go::Later, drill: &drill };
    Ok((foretell(parts, area, &plan, Some(&fix), wish, now)?.0, kind))
}

/// Takes back a fix that was made where people use it. None: this one was not made so, or not by mesh.
///
/// # Errors
/// Somebody has worked there since, or the way back failed.
pub fn rollback_onto(
    parts: &mut Parts<'_>,
    hand: Hand<'_>,
    id: &FixId,
    now: Timestamp,
) -> Result<Option<Fix>, PersonError> {
    let Some(fix) = parts.db.fix(id)? else { return Err(PersonError::Unknown(id.clone())) };
    let made = parts.db.intervention(id)?.filter(|made| made.kind.is_intervention() && !made.outside);
    let Some(made) = made.filter(|made| made.state.stands()) else { return Ok(None) };
    let mut fix = take_back(parts, hand, fix, &made.id, now)?;
    fix.ended_by = Some(EndedBy::Person);
    parts.db.save_fix(&fix)?;
    Ok(Some(fix))
}
