//! What changes what people use, and takes it back.

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::canary::Kind;
use crate::domain::fix::FixPlan;
use crate::domain::guard::{Approved, Proof, Proved};
use crate::domain::intervention::InterventionId;

/// Why a change could not be proved, made or taken back.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The place is not what was approved: somebody worked there meanwhile. Nothing was changed.
    #[error("{what} has changed since it was approved: it stays as it is")]
    Moved {
        /// The branch or file.
        what: String,
    },
    /// It failed before anything that people use was changed.
    #[error("nothing was changed: {why}")]
    Untouched {
        /// Why.
        why: String,
    },
    /// It failed half-way, and what was begun is undone.
    #[error("what was begun is undone: {why}")]
    Undone {
        /// Why.
        why: String,
    },
    /// It failed, and the way back failed too: nothing more may be changed until a person has looked.
    #[error("{what} is neither as it was nor as it should be: {why}")]
    Broken {
        /// The branch or file.
        what: String,
        /// Why the way back failed.
        why: String,
    },
}

/// What tries a change before it is made, in this order: commands, the shadow, the checker.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Trials {
    /// The project's check and the canary: each a program and its arguments, run in a copy; empty ones are left out.
    /// `{file}` in an argument stands for the changed file in the copy.
    pub commands: Vec<Vec<String>>,
    /// An instance of the service that is started from the copy and asked.
    pub shadow: Option<Shadow>,
    /// The checker of this kind of file.
    pub checker: Option<&'static Kind>,
    /// After this, each command is stopped and has failed.
    pub timeout: Duration,
    /// Most memory of each process, in bytes.
    pub memory: Option<u64>,
    /// Whose rights the commands and the shadow have; those of mesh where nobody is named.
    pub user: Option<String>,
}

impl Trials {
    /// Whether there is nothing to run.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.commands.iter().all(Vec::is_empty) && self.shadow.is_none() && self.checker.is_none()
    }

    /// What is run, a line each.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let commands = self.commands.iter().filter(|argv| !argv.is_empty()).map(|argv| argv.join(" "));
        let shadow =
            self.shadow.iter().map(|shadow| format!("{} beside {}", shadow.probe.join(" "), shadow.start.join(" ")));
        let checker = self.checker.iter().map(|kind| kind.argv.join(" "));
        commands.chain(shadow).chain(checker).collect()
    }
}

/// An instance of a service that nobody uses: started from the changed copy, and asked whether it works.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shadow {
    /// Starts it and stays; it is killed with its whole group.
    pub start: Vec<String>,
    /// Ends with 0 once it works. Asked every second.
    pub probe: Vec<String>,
    /// Time within which it must work.
    pub within: Duration,
}

/// A change that is in place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AppliedAs {
    /// The commit on the target branch, in hexadecimal; none for a file outside git.
    pub commit: Option<String>,
    /// What leads back, in words for people, such as `git revert c0ffee`.
    pub way_back: String,
}

/// What became of a change that a killed process had begun.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Recovered {
    /// It was whole, and it stands.
    Finished(AppliedAs),
    /// It was not whole, or had not begun, and nothing of it is left.
    Undone,
    /// It had been taken back before, whole.
    RolledBack,
}

/// Changes what people use, and takes it back: a commit on the target branch, or a file outside git
/// ([`Approved::kind`] says which). The way back is on disk before anything is changed.
pub trait Applier {
    /// Makes the change and takes it back in a scratch copy, by the means that [`Applier::apply`] and
    /// [`Applier::rollback`] use, and runs `trials` on the changed copy. Nothing that people use is touched. Whether the
    /// finding is gone is for the caller to fill in.
    ///
    /// # Errors
    /// [`ApplyError::Untouched`]: the scratch copy could not be made. A failed trial is in the proof, not an error.
    fn prove(&self, id: &InterventionId, plan: &Approved<FixPlan>, trials: &Trials) -> Result<Proof, ApplyError>;

    /// Writes the way back to disk, then makes the change on top of what was approved, by compare-and-swap. The user's
    /// uncommitted work is never touched.
    ///
    /// # Errors
    /// Nothing was changed, or it is undone, or it is broken; the variant says which.
    fn apply(&self, id: &InterventionId, plan: &Proved<FixPlan>, now: Timestamp) -> Result<AppliedAs, ApplyError>;

    /// Takes the change back by what was written before it was made: a revert of that commit, or the captured copy.
    /// Called twice, the second call changes nothing and succeeds.
    ///
    /// # Errors
    /// [`ApplyError::Moved`] when somebody has worked on the same lines since; [`ApplyError::Broken`] when it is left
    /// half-way.
    fn rollback(&self, id: &InterventionId, now: Timestamp) -> Result<(), ApplyError>;

    /// The changes whose way back is still on disk: begun and not settled, or in place and not yet judged.
    ///
    /// # Errors
    /// The undo journal cannot be read; nothing may be changed then.
    fn pending(&self) -> Result<Vec<InterventionId>, ApplyError>;

    /// Finishes or undoes what a killed process had begun; never both, never neither. Called before any loop runs, for
    /// each of [`Applier::pending`] that the ledger does not say is in place.
    ///
    /// # Errors
    /// [`ApplyError::Broken`]: the agent is read-only from here on.
    fn recover(&self, id: &InterventionId, now: Timestamp) -> Result<Recovered, ApplyError>;

    /// Notes that the change is judged for good. Its way back stays for [`Applier::rollback`] until it is forgotten.
    ///
    /// # Errors
    /// The undo journal cannot be written.
    fn settle(&self, id: &InterventionId) -> Result<(), ApplyError>;

    /// The changes that are over and whose way back is still on disk.
    ///
    /// # Errors
    /// The undo journal cannot be read.
    fn settled(&self) -> Result<Vec<InterventionId>, ApplyError>;

    /// Removes the way back of a change that is over, for good.
    ///
    /// # Errors
    /// It is not over, or the undo journal cannot be written.
    fn forget(&self, id: &InterventionId) -> Result<(), ApplyError>;
}
