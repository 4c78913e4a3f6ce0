//! Interventions that are over, as the ledger tells them, and what peers are told.

use super::{Parts, SeedError};
use crate::domain::attest::{self, Attestation, Environment};
use crate::domain::intervention::{InterventionId, State};
use crate::domain::ledger::{Entry, Planned};
use crate::domain::outcome::{Mark, Observation, Observed, Prediction, Readings, attested};

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

/// The interventions that are over and that peers were not told of as they stand now. One that says nothing to anybody,
/// because nobody signed its lesson, is not among them.
///
/// # Errors
/// The database failed.
pub fn untold(parts: &mut Parts<'_>) -> Result<Vec<Finished>, SeedError> {
    let mut finished = Vec::new();
    for over in parts.db.untold_interventions()? {
        match told_by_ledger(parts, &over.id, over.state)? {
            Some(one) if one.planned.entry.is_some() => finished.push(one),
            Some(_) | None => parts.db.note_told(&over.id, over.state)?,
        }
    }
    Ok(finished)
}

fn told_by_ledger(parts: &Parts<'_>, id: &InterventionId, state: State) -> Result<Option<Finished>, SeedError> {
    let (mut planned, mut predicted, mut observed, mut marks) = (None, None, None, Vec::new());
    for (_, entry) in parts.db.history(&id.fix)? {
        let Entry::Step { id: of, note, .. } = entry else { continue };
        if of != *id {
            continue;
        }
        planned = note.planned.or(planned);
        predicted = note.predicted.or(predicted);
        observed = note.observed.or(observed);
        marks = note.marks;
    }
    let nothing = Observation {
        claim: Observed::Unknown,
        finding_gone: Observed::Unknown,
        check: Observed::Unknown,
        readings: Readings::new(),
    };
    let observed = observed.unwrap_or(nothing);
    Ok(planned.zip(predicted).map(|(planned, predicted)| Finished {
        id: id.clone(),
        state,
        marks,
        planned,
        predicted,
        observed,
    }))
}
