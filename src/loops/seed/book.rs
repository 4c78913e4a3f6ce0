//! What the ledger is told of a fix.

use super::{Parts, SeedError};
use crate::domain::fix::{Fix, FixPlan};
use crate::domain::guard::{ActionKind, Verdict};
use crate::domain::intervention::{Actor, Event, InterventionId, State};
use crate::domain::ledger::{Note, Planned};
use crate::domain::outcome::{Mark, Measured};
use crate::store::ledger::{Happening, Proposal};

/// Tells what was decided of a plan, beginning with what was planned. A plan that nothing is asked of is only proposed.
pub(super) fn tell(
    parts: &mut Parts<'_>,
    plan: &FixPlan,
    kind: ActionKind,
    actor: Actor,
    happenings: &[Happening],
) -> Result<InterventionId, SeedError> {
    let (moment, pace) = (parts.moment.clone(), parts.house.pace.clone());
    close_what_is_back(parts, plan)?;
    let note = Note {
        why: trigger(plan),
        planned: Some(planned(plan, kind)),
        predicted: Some(plan.prediction(Measured::nothing(), pace.validate_window)),
        ..Note::default()
    };
    let proposal = Proposal { fix: &plan.id, area: &plan.root, kind, action: plan.action() };
    let id = parts.db.propose(&moment, &proposal, actor, &note)?;
    parts.db.happen(&moment, &id, happenings, &pace)?;
    Ok(id)
}

/// What set it off, in one sentence.
fn trigger(plan: &FixPlan) -> String {
    let count = plan.mends.len();
    let places = if count == 1 { "place" } else { "places" };
    format!("lesson {} matches {count} {places} in {}", plan.lesson, plan.path)
}

/// The plan as the ledger keeps it.
pub(super) fn planned(plan: &FixPlan, kind: ActionKind) -> Planned {
    Planned {
        kind,
        lesson: plan.lesson.clone(),
        rev: plan.rev,
        entry: plan.entry,
        path: plan.path.clone(),
        mends: plan.mends.len(),
        because: plan.because.clone(),
        diff: plan.diff(),
    }
}

/// A fix that was merged and whose finding is back has not helped: that attempt ends, and a new one may begin.
fn close_what_is_back(parts: &mut Parts<'_>, plan: &FixPlan) -> Result<(), SeedError> {
    let Some(last) = parts.db.intervention(&plan.id)?.filter(|last| last.state.is_under_way() && last.outside) else {
        return Ok(());
    };
    let (moment, pace) = (parts.moment.clone(), parts.house.pace.clone());
    let back = Note { marks: vec![Mark::Unknown], ..Note::why("its finding is back") };
    let watch = Happening::new(Event::Watch, Actor::Agent, Note::default());
    let mut ended: Vec<_> = (last.state == State::Applied).then_some(watch).into_iter().collect();
    ended.push(Happening::new(Event::FindNoEffect, Actor::Agent, back));
    parts.db.happen(&moment, &last.id, &ended, &pace)?;
    Ok(())
}

/// Tells what became of the branch of a fix. A fix from before there was a ledger is taken up where it stands.
pub(super) fn follow(parts: &mut Parts<'_>, fix: &Fix, happenings: &[Happening]) -> Result<State, SeedError> {
    let (moment, pace) = (parts.moment.clone(), parts.house.pace.clone());
    let known = parts.db.intervention(&fix.id)?.filter(|known| !known.state.is_end());
    let mut happenings = happenings;
    let id = match known {
        Some(known) => known.id,
        None => {
            // What it predicted is not known, so there is nothing to watch.
            happenings = &happenings[..happenings.len().min(1)];
            let action = crate::domain::fix::ActionHash(*blake3::hash(fix.diff.as_bytes()).as_bytes());
            let proposal = Proposal { fix: &fix.id, area: &fix.root, kind: ActionKind::Branch, action };
            let note = Note::why("its branch was made before there was a ledger");
            let id = parts.db.propose(&moment, &proposal, Actor::Agent, &note)?;
            let made = [Event::Ask, Event::Approve, Event::Prove]
                .map(|event| Happening::new(event, Actor::Agent, Note::default()));
            parts.db.happen(&moment, &id, &made, &pace)?;
            id
        }
    };
    Ok(parts.db.happen(&moment, &id, happenings, &pace)?)
}

/// Whether two rounds of verdicts say the same, but for numbers in their words.
pub(super) fn same_answers(one: &[Verdict], other: &[Verdict]) -> bool {
    one.len() == other.len()
        && one.iter().zip(other).all(|(one, other)| (one.check, one.answer) == (other.check, other.answer))
}
