//! Once a day: what finished interventions teach becomes lesson drafts.

use jiff::Timestamp;

use super::library::{Held, Origin};
use crate::domain::expr::Claim;
use crate::domain::id::Slug;
use crate::domain::kaizen::distill::distill;
use crate::store::authored::AuthoredError;
use crate::store::db::{Db, DbError};
use crate::store::drafts;
use crate::store::home::Home;

/// What one run came to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Distilled {
    /// Drafts that are new or have a new revision.
    pub drafts: Vec<(Slug, u32)>,
    /// Lessons that were followed and do not hold here any more: nothing is made of what came of them.
    pub without_lesson: Vec<Slug>,
}

/// Why nothing was distilled.
#[derive(Debug, thiserror::Error)]
pub enum DistillError {
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
    /// A draft cannot be read or written.
    #[error("a lesson draft cannot be kept")]
    Draft(#[from] AuthoredError),
}

/// Makes and updates drafts of all interventions that have ended.
///
/// # Errors
/// The database or a draft failed; drafts that were written before stay.
pub fn run(home: &Home, db: &Db, lessons: &[Held], now: Timestamp) -> Result<Distilled, DistillError> {
    let finished = db.finished_interventions()?;
    let mut followed: Vec<&Slug> = finished.iter().map(|one| &one.lesson).collect();
    followed.sort_unstable();
    followed.dedup();
    let mut distilled = Distilled::default();
    for slug in followed {
        let Some(held) = lessons.iter().find(|held| held.lesson.id == *slug) else {
            distilled.without_lesson.push(slug.clone());
            continue;
        };
        let entry = match held.origin {
            Origin::Peer { entry, .. } => Some(entry),
            Origin::Founding | Origin::Local => None,
        };
        let claim = Claim::compile(&held.lesson.falsifiable.expr);
        let signals = claim.as_ref().map(Claim::signals).unwrap_or_default();
        let usual = db.usual(signals, now.as_second())?;
        let before = drafts::find(home, slug)?;
        if let Some(draft) = distill(&held.lesson, entry, before.as_ref(), &finished, &usual) {
            drafts::keep(home, &draft)?;
            distilled.drafts.push((slug.clone(), draft.rev));
        }
    }
    Ok(distilled)
}
