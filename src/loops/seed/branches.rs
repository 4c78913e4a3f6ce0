//! What people did with the branches that wait: merged, taken over by hand, deleted, worked on.

use std::path::Path;

use jiff::Timestamp;

use super::{Parts, SeedError, book};
use crate::domain::fix::{EndedBy, Fix, FixState};
use crate::domain::guard::RepoFacts;
use crate::domain::intervention::{Actor, Event};
use crate::domain::ledger::Note;
use crate::ports::BranchIs;
use crate::store::ledger::Happening;

/// Looks what people did with the branches that wait in the root, and tells the ledger. What was merged is watched from
/// here on.
///
/// # Errors
/// The database failed. A repository that cannot be read changes nothing.
pub(super) fn follow_branches(parts: &mut Parts<'_>, root: &Path, now: Timestamp) -> Result<(), SeedError> {
    for mut fix in parts.db.fixes_of(root)?.into_iter().filter(Fix::is_open) {
        let (Some(branch), Some(commit)) = (&fix.branch, &fix.commit) else { continue };
        let is = match parts.repo.branch(root, branch, commit) {
            Ok(BranchIs::Ours | BranchIs::Gone) if is_at_head(parts, &fix) => BranchIs::Merged,
            Ok(is) => is,
            Err(_) => continue,
        };
        let deleted = "its branch was deleted, so it is not made again";
        let worked_on = "somebody works on its branch";
        let (happenings, ended_by, reason) = match is {
            BranchIs::Ours => continue,
            BranchIs::Moved if fix.reason.as_deref() == Some(worked_on) => continue,
            BranchIs::Merged => {
                let note = Note { commit: fix.commit.clone(), ..Note::why("its branch was merged") };
                let watch = Happening::new(Event::Watch, Actor::Agent, Note::default());
                (vec![Happening::new(Event::Apply, Actor::Outside, note), watch], None, None)
            }
            BranchIs::Gone => {
                let refuse = Happening::new(Event::Refuse, Actor::Outside, Note::why(deleted));
                (vec![refuse], Some(EndedBy::Person), Some(deleted))
            }
            BranchIs::Moved => (Vec::new(), None, Some(worked_on)),
        };
        if !happenings.is_empty() {
            fix.state = FixState::of(book::follow(parts, &fix, &happenings)?);
        }
        fix.ended_by = ended_by;
        fix.reason = reason.map(str::to_owned);
        fix.updated_at = now;
        parts.db.save_fix(&fix)?;
    }
    Ok(())
}

/// Whether HEAD holds the mended text already: merged as another commit, or taken over by hand.
fn is_at_head(parts: &Parts<'_>, fix: &Fix) -> bool {
    let repo = parts.repo.facts(&fix.root, &fix.path).repo;
    matches!(repo, RepoFacts::Inside { at_head: Some(held), .. } if held == fix.after)
}
