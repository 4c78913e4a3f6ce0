//! What audits and seeds, built for one home.

use std::path::PathBuf;

use super::parts::Parts;
use crate::loops::audit::own_areas;
use crate::loops::seed::{self, Area, House};
use crate::store::db::Db;
use crate::sys::auditor::WorkerAuditor;
use crate::sys::clock::SystemClock;
use crate::sys::exec::SystemExec;
use crate::sys::repo::{GitRepo, identities};

/// Most lines one fix may change here, whatever its lesson says.
const MAX_LINES: u32 = 200;
/// Most branches of one lesson that may wait in one root.
const MAX_OPEN: u32 = 5;

/// Unit files of mesh itself.
const UNITS: [&str; 2] = ["/etc/systemd/system/mesh.service", "/lib/systemd/system/mesh.service"];

/// The real parts of an audit.
pub struct Auditing {
    auditor: WorkerAuditor<SystemClock>,
    repo: GitRepo,
    exec: SystemExec,
    house: House,
}

impl Auditing {
    /// The parts for this home. The whole home is closed to fixes, and so are the program and its unit file.
    #[must_use]
    pub fn of(parts: &Parts) -> Self {
        let home = resolved(parts.home.root().to_owned());
        let program = std::env::current_exe().ok().map(resolved);
        let blocked: Vec<PathBuf> = UNITS.map(PathBuf::from).into_iter().chain([home]).chain(program).collect();
        Self {
            auditor: parts.auditor(),
            repo: GitRepo::new(parts.key.host(), parts.home.state().join("worktrees")),
            exec: SystemExec,
            house: House { blocked_ids: identities(&blocked), blocked, max_lines: MAX_LINES, max_open: MAX_OPEN },
        }
    }

    /// The parts as the loops take them.
    pub fn with<'a>(&'a mut self, db: &'a mut Db) -> seed::Parts<'a> {
        seed::Parts { auditor: &mut self.auditor, repo: &self.repo, exec: &self.exec, db, house: &self.house }
    }
}

/// The roots of the configuration with every link resolved, then mesh's own folders where none of those holds them.
#[must_use]
pub fn areas(parts: &Parts) -> Vec<Area> {
    let mut areas: Vec<Area> = parts
        .config
        .audit_roots
        .iter()
        .map(|root| Area {
            root: resolved(root.path.clone()),
            check: root.check.clone(),
            check_timeout: root.check_timeout.0,
        })
        .collect();
    for own in own_areas(resolved(parts.home.config()), resolved(parts.home.state())) {
        if !areas.iter().any(|area| own.root.starts_with(&area.root)) {
            areas.push(own);
        }
    }
    areas
}

/// A path that does not exist stays as it is: the audit says what is wrong with it.
fn resolved(path: PathBuf) -> PathBuf {
    path.canonicalize().unwrap_or(path)
}
