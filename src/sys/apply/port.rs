//! The port that the loops call: approved plans become changes, and trials run on a copy that has the change.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::Changes;
use crate::domain::fix::FixPlan;
use crate::domain::foreign_text::display_line;
use crate::domain::guard::{ActionKind, Approved, Proof, Proved, StateHash, Trial};
use crate::domain::id::HostId;
use crate::domain::intervention::InterventionId;
use crate::domain::undo::{Change, Target};
use crate::ports::{AppliedAs, Applier, ApplyError, Exec as _, Exit, Program, Recovered, Repo as _, Trials};
use crate::sys::exec::SystemExec;
use crate::sys::repo::GitRepo;
use crate::sys::repo::scratch::remove_all;

/// Bytes kept of each stream of a trial.
const OUTPUT: usize = 64 * 1024;
/// Characters of a failed trial that are told.
const TAIL: usize = 500;

/// Changes on this machine, and programs that try them.
pub struct SystemApplier {
    changes: Changes,
    repo: GitRepo,
    exec: SystemExec,
    worktrees: PathBuf,
}

impl SystemApplier {
    /// Journals and scratch copies are below `state`, commits are by `host`. `point` is told each of [`super::POINTS`].
    #[must_use]
    pub fn new(state: &Path, host: HostId, point: fn(&str)) -> Self {
        let worktrees = state.join("worktrees");
        let repo = GitRepo::new(host, worktrees.clone());
        Self { changes: Changes::new(state, host, point), repo, exec: SystemExec, worktrees }
    }

    /// Runs the trials on a copy of the files with the change made.
    fn trial(&self, id: &InterventionId, plan: &Approved<FixPlan>, trials: &Trials) -> Result<Trial, ApplyError> {
        if trials.commands.iter().all(Vec::is_empty) {
            return Ok(Trial::None);
        }
        let untouched = |why: String| ApplyError::Untouched { why };
        if plan.kind() == ActionKind::File {
            let dir = self.worktrees.join(format!("trial-{id}"));
            let file = dir.join(&plan.path);
            let made = remove_all(&dir)
                .and_then(|()| file.parent().map_or(Ok(()), fs::create_dir_all))
                .and_then(|()| fs::write(&file, &plan.after));
            made.map_err(|error| untouched(error.to_string()))?;
            let trial = self.run(&dir, trials);
            remove_all(&dir).map_err(|error| untouched(error.to_string()))?;
            return Ok(trial);
        }
        let made = self.repo.commit(plan, Timestamp::UNIX_EPOCH).map_err(|error| untouched(error.to_string()))?;
        let scratch = self.repo.scratch(&plan.root, &made.commit, &plan.id);
        let scratch = scratch.map_err(|error| untouched(error.to_string()))?;
        let trial = self.run(scratch.dir(), trials);
        scratch.remove().map_err(|error| untouched(error.to_string()))?;
        Ok(trial)
    }

    fn run(&self, dir: &Path, trials: &Trials) -> Trial {
        for argv in trials.commands.iter().filter(|argv| !argv.is_empty()) {
            let (dir, argv) = (dir.to_owned(), argv.clone());
            let name = argv.join(" ");
            let ran = self.exec.run(&Program { argv, dir, timeout: trials.timeout, output_cap: OUTPUT });
            let ended = match ran.exit {
                Exit::Code(0) => continue,
                Exit::Code(code) => format!("ended with {code}"),
                Exit::Signal(signal) => format!("was ended by signal {signal}"),
                Exit::TimedOut => format!("was stopped after {} s", ran.took.as_secs()),
                Exit::NotStarted(why) => format!("was not started: {why}"),
            };
            let said = [ran.stdout, ran.stderr].concat();
            let said = display_line(&String::from_utf8_lossy(&said)).to_string();
            let cut = said.chars().count().saturating_sub(TAIL);
            let said: String = said.chars().skip(cut).collect();
            return Trial::Failed(format!("`{name}` {ended}: {said}"));
        }
        Trial::Passed
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
        before: plan.before.clone().into_bytes(),
        after: plan.after.clone().into_bytes(),
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
}
