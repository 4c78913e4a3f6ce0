//! What a person asks for: make this one, or take it back.

use jiff::Timestamp;

use super::settle::{Go, Wish, foretell, settle};
use super::{Area, Parts, SeedError, book, drill, follow_branches, kind_by_itself, mend};
use crate::domain::fix::{EndedBy, Fix, FixId, FixPlan, FixState, KnownLesson};
use crate::domain::guard::{ActionKind, AskedBy, Drill};
use crate::domain::id::Slug;
use crate::domain::intervention::{Actor, Event};
use crate::domain::ledger::Note;
use crate::ports::{ApplyError, RepoError};
use crate::store::db::DbError;
use crate::store::ledger::Happening;

/// Why a person's wish is not done.
#[derive(Debug, thiserror::Error)]
pub enum PersonError {
    /// No such fix.
    #[error("no fix {0}: see `mesh fix list`")]
    Unknown(FixId),
    /// The lesson is not in force any more.
    #[error("lesson {0} is not in force here any more")]
    LessonGone(Slug),
    /// What was shown is not what would be made.
    #[error("{path} or the lesson has changed since fix {id} was shown: run `mesh audit` and look at the new diff")]
    Changed {
        /// The fix.
        id: FixId,
        /// The file.
        path: String,
    },
    /// Nothing to do in its state.
    #[error("fix {id} is {state}: {hint}", state = state.name())]
    State {
        /// The fix.
        id: FixId,
        /// Where it stands.
        state: FixState,
        /// What a person can do instead.
        hint: String,
    },
    /// No plan could be made.
    #[error("fix {id} cannot be made: {why}")]
    Unplanned {
        /// The fix.
        id: FixId,
        /// Why.
        why: String,
    },
    /// The repository did not allow it.
    #[error("fix {id} stays as it is")]
    Repo {
        /// The fix.
        id: FixId,
        /// Why.
        #[source]
        cause: RepoError,
    },
    /// The way back is in somebody's way, or failed.
    #[error("fix {id} is not taken back")]
    Apply {
        /// The fix.
        id: FixId,
        /// Why.
        #[source]
        cause: ApplyError,
    },
    /// The worker or the database failed.
    #[error(transparent)]
    Seed(#[from] SeedError),
}

impl From<DbError> for PersonError {
    fn from(error: DbError) -> Self {
        Self::Seed(error.into())
    }
}

/// Makes the fix that a person has looked at, exactly as it was shown. The guard is asked all the same.
///
/// # Errors
/// There is no such fix, or it would not be what was shown. A refusal by guard or check is in the returned fix.
pub fn apply(
    parts: &mut Parts<'_>,
    area: &Area,
    lessons: &[KnownLesson],
    id: &FixId,
    now: Timestamp,
) -> Result<Fix, PersonError> {
    let (fix, plan, drill) = wanted(parts, area, lessons, id, now)?;
    let wish = Wish { asked_by: AskedBy::Person, kind: ActionKind::Branch, go: Go::Make, drill: &drill };
    Ok(settle(parts, area, &plan, Some(fix), wish, now)?)
}

/// What [`apply`] would come to, as far as that can be told without making anything. Nothing is remembered of it.
///
/// # Errors
/// As of [`apply`].
pub fn rehearse(
    parts: &mut Parts<'_>,
    area: &Area,
    lessons: &[KnownLesson],
    id: &FixId,
    now: Timestamp,
) -> Result<Fix, PersonError> {
    let (fix, plan, drill) = wanted(parts, area, lessons, id, now)?;
    let wish = Wish { asked_by: AskedBy::Person, kind: ActionKind::Branch, go: Go::List, drill: &drill };
    Ok(foretell(parts, area, &plan, Some(&fix), wish, now)?.0)
}

/// What the guard says of a fix now where nobody asks for it, and what it would do by itself. Nothing is remembered.
///
/// # Errors
/// As of [`apply`].
pub fn explain(
    parts: &mut Parts<'_>,
    area: &Area,
    lessons: &[KnownLesson],
    id: &FixId,
    now: Timestamp,
) -> Result<(Fix, ActionKind), PersonError> {
    let (fix, plan, drill) = wanted(parts, area, lessons, id, now)?;
    let known = lessons.iter().find(|known| known.lesson.id == plan.lesson);
    let known = known.ok_or_else(|| PersonError::LessonGone(fix.lesson.clone()))?;
    let kind = kind_by_itself(parts, known, &plan, Some(&fix));
    let go = if kind.is_intervention() { Go::Later } else { Go::List };
    let wish = Wish { asked_by: AskedBy::Audit, kind, go, drill: &drill };
    Ok((foretell(parts, area, &plan, Some(&fix), wish, now)?.0, kind))
}

/// The fix that a person names, planned again and the same as it was shown.
pub(super) fn wanted(
    parts: &mut Parts<'_>,
    area: &Area,
    lessons: &[KnownLesson],
    id: &FixId,
    now: Timestamp,
) -> Result<(Fix, FixPlan, Drill), PersonError> {
    follow_branches(parts, &area.root, now)?;
    let fix = parts.db.fix(id)?.ok_or_else(|| PersonError::Unknown(id.clone()))?;
    let nothing_to_do = match fix.state {
        FixState::Seeded => {
            let branch = fix.branch.as_deref().unwrap_or_default();
            Some(format!("look at it with `git diff HEAD...{branch}`, take it with `git merge {branch}`"))
        }
        FixState::Applied | FixState::Validating | FixState::Validated | FixState::NoEffect => {
            Some("it is part of your branch".to_owned())
        }
        FixState::Proposed | FixState::Backlog | FixState::Refused | FixState::Reverted | FixState::Aborted => None,
    };
    if let Some(hint) = nothing_to_do {
        return Err(PersonError::State { id: fix.id, state: fix.state, hint });
    }
    let known = lessons
        .iter()
        .find(|known| known.lesson.id == fix.lesson)
        .ok_or_else(|| PersonError::LessonGone(fix.lesson.clone()))?;
    let planned = mend::plan_again(parts, area, known, &fix.path, &fix.mends, fix.after).map_err(SeedError::from)?;
    let changed = || PersonError::Changed { id: fix.id.clone(), path: fix.path.clone() };
    let plan = match planned {
        mend::Planned::Plan(plan) => *plan,
        mend::Planned::Not(why) => return Err(PersonError::Unplanned { id: fix.id, why }),
        mend::Planned::Nothing => return Err(changed()),
    };
    if !fix.same_content(&plan) || plan.id != fix.id {
        return Err(changed());
    }
    let drill = drill(parts, &known.lesson, now)?;
    Ok((fix, plan, drill))
}

/// Deletes the branch of a seeded fix, if it is still where mesh left it. It is not made again for this content.
///
/// # Errors
/// There is no such fix, it is not seeded, or somebody works on its branch.
pub fn rollback(parts: &mut Parts<'_>, id: &FixId, now: Timestamp) -> Result<Fix, PersonError> {
    let fix = parts.db.fix(id)?.ok_or_else(|| PersonError::Unknown(id.clone()))?;
    let root = fix.root.clone();
    follow_branches(parts, &root, now)?;
    let mut fix = parts.db.fix(id)?.ok_or_else(|| PersonError::Unknown(id.clone()))?;
    let (FixState::Seeded, Some(branch), Some(commit)) = (fix.state, &fix.branch, &fix.commit) else {
        let hint = match (fix.state, &fix.commit) {
            (state, Some(commit)) if state.stands() => {
                format!("it was merged by a person: take it back with `git revert {commit}`")
            }
            _ => "there is nothing to take back".to_owned(),
        };
        return Err(PersonError::State { id: fix.id, state: fix.state, hint });
    };
    parts.repo.delete_branch(&fix.root, branch, commit).map_err(|cause| PersonError::Repo { id: id.clone(), cause })?;
    let taken_back = Note::why("rolled back: its branch is deleted");
    book::follow(parts, &fix, &[Happening::new(Event::Refuse, Actor::Person, taken_back)])?;
    fix.state = FixState::Refused;
    fix.ended_by = Some(EndedBy::Person);
    fix.reason = Some("rolled back: its branch is deleted, and it is not made again for this text".to_owned());
    fix.updated_at = now;
    parts.db.save_fix(&fix)?;
    Ok(fix)
}
