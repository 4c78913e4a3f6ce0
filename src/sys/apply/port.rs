//! The port that the loops call: approved plans become changes, and trials run on a copy that has the change.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::Changes;
use crate::domain::fix::FixPlan;
use crate::domain::guard::{ActionKind, Approved, Proof, Proved, StateHash, Trial};
use crate::domain::id::HostId;
use crate::domain::intervention::InterventionId;
use crate::domain::undo::{Change, Target};
use crate::ports::{AppliedAs, Applier, ApplyError, CommittedFile, Recovered, Repo as _, Trials};
use crate::sys::exec::SystemExec;
use crate::sys::repo::GitRepo;
use crate::sys::repo::scratch::remove_all;
use crate::sys::trial;

/// Changes on this machine, and programs that try them.
pub struct SystemApplier {
    changes: Changes,
    repo: GitRepo,
    worktrees: PathBuf,
}

impl SystemApplier {
    /// Journals and scratch copies are below `state`, commits are by `host`. `point` is told each of [`super::POINTS`].
    #[must_use]
    pub fn new(state: &Path, host: HostId, point: fn(&str)) -> Self {
        let worktrees = state.join("worktrees");
        let repo = GitRepo::new(host, worktrees.clone());
        Self { changes: Changes::new(state, host, point), repo, worktrees }
    }

    /// Runs the trials on a copy of the files with the change made.
    fn trial(&self, id: &InterventionId, plan: &Approved<FixPlan>, trials: &Trials) -> Result<Trial, ApplyError> {
        if trials.is_empty() {
            return Ok(Trial::None);
        }
        let untouched = |why: String| ApplyError::Untouched { why };
        if plan.kind() == ActionKind::File {
            let holder = self.worktrees.join(format!("trial-{id}"));
            let (copy, bench) = (holder.join("files"), holder.join("bench"));
            let file = copy.join(&plan.path);
            let made = remove_all(&holder)
                .and_then(|()| fs::DirBuilder::new().recursive(true).mode(0o700).create(&holder))
                .and_then(|()| file.parent().map_or(Ok(()), fs::create_dir_all))
                .and_then(|()| fs::write(&file, &*plan.after));
            made.map_err(|error| untouched(error.to_string()))?;
            let place = trial::Place {
                copy: &copy,
                around: &plan.root,
                path: &plan.path,
                before: Some(&plan.before),
                after: &plan.after,
                bench: &bench,
            };
            let tried = trial::run(&SystemExec, place, trials);
            remove_all(&holder).map_err(|error| untouched(error.to_string()))?;
            return Ok(tried);
        }
        let made = self.repo.commit(plan, Timestamp::UNIX_EPOCH).map_err(|error| untouched(error.to_string()))?;
        let place = CommittedFile { root: &plan.root, commit: &made.commit, path: &plan.path };
        Ok(self.repo.trial(place, Some(&plan.before), trials))
    }
}

fn change(id: &InterventionId, plan: &Approved<FixPlan>) -> Result<Change, ApplyError> {
    let target = match plan.kind() {
        ActionKind::Commit => Target::Branch { branch: None, base: plan.head().to_owned(), message: plan.message() },
        ActionKind::File => Target::File,
        ActionKind::Branch => {
            let why = "it was approved for a branch of its own, which nobody uses yet".to_owned();
            return Err(ApplyError::Untouched { why });
        }
    };
    Ok(Change {
        id: id.to_string(),
        root: plan.root.clone(),
        path: plan.path.clone(),
        before: plan.before.as_bytes().to_vec(),
        after: plan.after.as_bytes().to_vec(),
        target,
    })
}

impl Applier for SystemApplier {
    fn prove(&self, id: &InterventionId, plan: &Approved<FixPlan>, trials: &Trials) -> Result<Proof, ApplyError> {
        let shown = self.changes.prove(&change(id, plan)?)?;
        Ok(Proof {
            before: StateHash(shown.before),
            applied: StateHash(shown.applied),
            restored: StateHash(shown.restored),
            trial: self.trial(id, plan, trials)?,
            finding_gone: false,
        })
    }

    fn apply(&self, id: &InterventionId, plan: &Proved<FixPlan>, now: Timestamp) -> Result<AppliedAs, ApplyError> {
        self.changes.apply(&change(id, plan.approved())?, now)
    }

    fn rollback(&self, id: &InterventionId, now: Timestamp) -> Result<(), ApplyError> {
        self.changes.rollback(&id.to_string(), now)
    }

    fn pending(&self) -> Result<Vec<InterventionId>, ApplyError> {
        let foreign = |name: &str| ApplyError::Untouched {
            why: format!("the undo journal holds `{name}`, which is no intervention"),
        };
        self.changes.pending()?.iter().map(|name| name.parse().map_err(|_| foreign(name))).collect()
    }

    fn recover(&self, id: &InterventionId, now: Timestamp) -> Result<Recovered, ApplyError> {
        self.changes.recover(&id.to_string(), now)
    }

    fn settle(&self, id: &InterventionId) -> Result<(), ApplyError> {
        self.changes.settle(&id.to_string())
    }

    fn settled(&self) -> Result<Vec<InterventionId>, ApplyError> {
        // A folder of another name is nobody's way back, and is left alone.
        Ok(self.changes.settled()?.iter().filter_map(|name| name.parse().ok()).collect())
    }

    fn forget(&self, id: &InterventionId) -> Result<(), ApplyError> {
        self.changes.forget(&id.to_string())
    }
}
