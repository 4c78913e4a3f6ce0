//! Invariants: those that people declare in `config/invariants/`, and those of mesh's own state.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::domain::expr::Truth;
use crate::domain::foreign_text::error_line;
use crate::domain::heal::invariant::{Asserts, Invariant};
use crate::domain::pace::DAY;
use crate::ports::{Exec as _, Exit, Program};
use crate::store::db::{Db, DbError};
use crate::store::home::Home;
use crate::store::rules::{self, RuleError};
use crate::sys::exec::SystemExec;

/// How long a command may take.
const COMMAND: Duration = Duration::from_secs(30);
/// Output of a command that is shown, in bytes.
const OUTPUT: usize = 1_024;
/// Age at which a scratch copy or a throw-away place has been forgotten.
const FORGOTTEN: Duration = DAY;

/// One thing that is asserted.
#[derive(Clone, Debug)]
pub enum Assertion {
    /// By a person.
    Declared(Invariant),
    /// Of mesh's own state.
    Own(Own),
}

/// What mesh asserts of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Own {
    /// Every row of the ledger follows the one before.
    LedgerChain,
    /// SQLite finds nothing wrong.
    Database,
    /// No more attempts within a day than all budgets allow.
    Budgets,
    /// No scratch copy that nobody uses.
    OrphanWorktrees,
    /// No throw-away place of a drill that was killed.
    LeftoverDrills,
    /// No lock in the cache of the shared branch that a killed process left.
    OldLocks,
}

impl Own {
    const ALL: [Self; 6] =
        [Self::LedgerChain, Self::Database, Self::Budgets, Self::OrphanWorktrees, Self::LeftoverDrills, Self::OldLocks];

    const fn name(self) -> &'static str {
        match self {
            Self::LedgerChain => "mesh-ledger-chain",
            Self::Database => "mesh-database",
            Self::Budgets => "mesh-budgets",
            Self::OrphanWorktrees => "mesh-orphan-worktrees",
            Self::LeftoverDrills => "mesh-leftover-drills",
            Self::OldLocks => "mesh-old-locks",
        }
    }
}

/// `config/invariants/`.
#[must_use]
pub fn folder(home: &Home) -> PathBuf {
    home.config().join("invariants")
}

/// Every assertion of a home, and what is wrong with files that hold none.
#[must_use]
pub fn load(home: &Home) -> (Vec<Assertion>, Vec<String>) {
    let mut all: Vec<Assertion> = Own::ALL.into_iter().map(Assertion::Own).collect();
    let mut wrong = Vec::new();
    match rules::invariants(&folder(home)) {
        Ok(read) => {
            for one in read {
                match one {
                    Ok(invariant) => all.push(Assertion::Declared(invariant)),
                    Err(error) => wrong.push(error_line(&error)),
                }
            }
        }
        Err(error) => wrong.push(error_line(&RuleError::File(error))),
    }
    (all, wrong)
}

/// Looks at each: its name, whether it holds where that is known, and the numbers or words behind it.
#[must_use]
pub fn look(home: &Home, db: &Db, assertions: &[Assertion], now: i64) -> Vec<(String, Option<bool>, String)> {
    let one = |assertion: &Assertion| match assertion {
        Assertion::Declared(invariant) => {
            let (holds, detail) = declared(db, invariant, now);
            (invariant.name.clone(), holds, detail)
        }
        Assertion::Own(own) => {
            let (holds, detail) = match own_holds(home, db, *own, now) {
                Ok(faults) if faults.is_empty() => (Some(true), String::new()),
                Ok(faults) => (Some(false), faults.join("; ")),
                Err(error) => (None, error_line(&error)),
            };
            (own.name().to_owned(), holds, detail)
        }
    };
    assertions.iter().map(one).collect()
}

fn declared(db: &Db, invariant: &Invariant, now: i64) -> (Option<bool>, String) {
    match &invariant.asserts {
        Asserts::Claim(claim) => match db.claim_history(claim, now) {
            Ok(history) => {
                let holds = match claim.evaluate(&history, now) {
                    Truth::True => Some(true),
                    Truth::False => Some(false),
                    Truth::Unknown => None,
                };
                (holds, claim.reading(&history, now))
            }
            Err(error) => (None, error_line(&error)),
        },
        Asserts::Command(argv) => {
            let dir = invariant.dir.clone();
            let ran = SystemExec.run(&Program {
                argv: argv.clone(),
                dir,
                timeout: COMMAND,
                output_cap: OUTPUT,
                memory: None,
            });
            let said = crate::domain::foreign_text::display_bytes(&ran.stdout);
            match ran.exit {
                Exit::Code(0) => (Some(true), said),
                Exit::Code(code) => (Some(false), format!("ended with {code}: {said}")),
                // No answer is no answer.
                Exit::Signal(signal) => (None, format!("ended by signal {signal}")),
                Exit::TimedOut => (None, format!("no answer within {} s", COMMAND.as_secs())),
                Exit::NotStarted(why) => (None, why),
            }
        }
    }
}

fn own_holds(home: &Home, db: &Db, own: Own, now: i64) -> Result<Vec<String>, DbError> {
    Ok(match own {
        Own::LedgerChain => db.audit_ledger()?.faults,
        Own::Database => db.check().err().map(|error| error_line(&error)).into_iter().collect(),
        Own::Budgets => {
            let (records, ..) = db.rule_state()?;
            let Ok(rules) = rules::load(home) else { return Ok(vec!["the rules cannot be read".to_owned()]) };
            let over = records.iter().filter_map(|((number, target), record)| {
                let rule = &rules.held.iter().find(|held| held.rule.number == *number)?.rule;
                let span = i64::try_from(rule.budget.within.as_secs()).unwrap_or(i64::MAX);
                let most = record
                    .acts
                    .iter()
                    .map(|start| record.acts.iter().filter(|at| **at >= *start && **at - start < span).count());
                let most = most.max().unwrap_or(0);
                (most > rule.budget.tries).then(|| format!("rule {number} acted {most} times on {target}"))
            });
            over.collect()
        }
        Own::OrphanWorktrees => old(&home.state().join("worktrees"), now, "scratch copy", ""),
        Own::LeftoverDrills => old(&home.state().join("drills"), now, "throw-away place of a drill", ""),
        Own::OldLocks => {
            let cache = home.state().join("cache.git");
            let mut folders = vec![cache.clone()];
            below(&cache.join("refs"), &mut folders);
            folders.iter().flat_map(|folder| old(folder, now, "lock", ".lock")).collect()
        }
    })
}

/// A folder and all below it.
fn below(folder: &Path, found: &mut Vec<PathBuf>) {
    found.push(folder.to_owned());
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        // No link is followed.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            below(&entry.path(), found);
        }
    }
}

/// What lies in a folder of mesh's own by a name with this end, and was not touched for a day.
fn old(folder: &Path, now: i64, what: &str, end: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let age = |entry: &std::fs::DirEntry| {
        let changed = entry.metadata().ok()?.modified().ok()?;
        let at = jiff::Timestamp::try_from(changed).ok()?.as_second();
        u64::try_from(now - at).ok().filter(|age| *age > FORGOTTEN.as_secs())
    };
    let named = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().ends_with(end);
    let found = entries.flatten().filter(named).filter_map(|entry| {
        let age = age(&entry)?;
        Some(format!("{what} {} was left {} h ago", entry.file_name().to_string_lossy(), age / 3_600))
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;
    use crate::ports::Clock as _;
    use crate::sys::clock::SystemClock;

    #[test]
    fn b26_a_lock_that_a_killed_process_left_anywhere_in_the_cache_is_found() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let home = Home::at(dir.path());
        home.create().expect("made");
        let db = Db::in_memory().expect("made");
        let refs = home.state().join("cache.git/refs/mesh/host");
        fs::create_dir_all(&refs).expect("made");
        let now = SystemClock.now().as_second();
        let found = |now| {
            let mut found = look(&home, &db, &[Assertion::Own(Own::OldLocks)], now);
            let (name, holds, detail) = found.remove(0);
            assert_eq!(name, "mesh-old-locks");
            (holds, detail)
        };
        assert_eq!(found(now), (Some(true), String::new()));
        for path in ["../../../packed-refs.lock", "../remote.lock", "one.lock", "one"] {
            File::create(refs.join(path)).expect("made");
        }
        assert_eq!(found(now + 86_000).0, Some(true), "somebody may be at work");
        let (holds, detail) = found(now + 90_000);
        assert_eq!((holds, detail.matches("was left").count()), (Some(false), 3), "{detail}");
        for name in ["packed-refs.lock", "remote.lock", "one.lock was left 25 h ago"] {
            assert!(detail.contains(name), "{detail}");
        }
    }
}
