//! The second gate: what a scratch copy has shown of an approved change.

use super::{Approved, Check, Verdict, block, refuse, verdict};

/// Everything that a change can touch, as one hash: names, bytes, modes and refs of the scratch copy.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StateHash(pub [u8; 32]);

/// What happened when the change was made and taken back in a scratch copy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proof {
    /// The scratch copy before.
    pub before: StateHash,
    /// With the change made.
    pub applied: StateHash,
    /// With the change taken back by the very means that will be used outside.
    pub restored: StateHash,
    /// What the project's check and the canary said of the change, where there are any.
    pub trial: Trial,
    /// Whether the finding is gone from the changed text.
    pub finding_gone: bool,
}

/// What the project's check and the canary said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trial {
    /// There is none; the guard has allowed that.
    None,
    /// All of them ended with 0.
    Passed,
    /// One of them did not, and how it ended.
    Failed(String),
    /// What would have tried it cannot tell, and why.
    Cannot(String),
}

/// A change that was approved and then proved. Nothing but [`prove`] can make one.
#[derive(Clone, PartialEq, Debug)]
pub struct Proved<T> {
    approved: Approved<T>,
    verdicts: Vec<Verdict>,
}

impl<T> Proved<T> {
    /// The change, with what the guard said.
    #[must_use]
    pub fn approved(&self) -> &Approved<T> {
        &self.approved
    }

    /// What each part of the proof said.
    #[must_use]
    pub fn verdicts(&self) -> &[Verdict] {
        &self.verdicts
    }
}

/// Holds the proof against what it must show. A trial that could not tell is as good as none: `demands_trial` says
/// whether the change must not be made then.
///
/// # Errors
/// What each part of it said; at least one did not pass.
pub fn prove<T>(approved: Approved<T>, proof: &Proof, demands_trial: bool) -> Result<Proved<T>, Vec<Verdict>> {
    let rolls_back = if proof.before == proof.applied {
        refuse("the change changed nothing in the scratch copy, so its rollback is not shown")
    } else if proof.before != proof.restored {
        refuse("after change and rollback the scratch copy is not what it was before")
    } else {
        Ok(())
    };
    let trial = match &proof.trial {
        Trial::Cannot(why) if demands_trial => block(format!("blocked on missing canary: {why}")),
        Trial::None | Trial::Passed | Trial::Cannot(_) => Ok(()),
        Trial::Failed(why) => refuse(format!("the project's check fails with it: {why}")),
    };
    let gone = if proof.finding_gone { Ok(()) } else { refuse("the finding is still there after the change") };
    let verdicts = vec![
        verdict(Check::RollbackProved, rolls_back),
        verdict(Check::TrialPassed, trial),
        verdict(Check::FindingGone, gone),
    ];
    if verdicts.iter().all(Verdict::passes) { Ok(Proved { approved, verdicts }) } else { Err(verdicts) }
}
