//! What audits and seeds on this host, and what neither may ever touch.

use std::path::{Path, PathBuf};

use super::parts::Parts;
use crate::domain::running::Moment;
use crate::loops::audit::own_areas;
use crate::loops::seed::{Area, House, Parts as SeedParts};
use crate::ports::Shadow;
use crate::store::config::AuditRoot;
use crate::store::db::Db;
use crate::sys::auditor::WorkerAuditor;
use crate::sys::clock::SystemClock;
use crate::sys::exec::SystemExec;
use crate::sys::repo::GitRepo;
use crate::sys::repo::facts;

/// Most lines that one fix may change on this host, whatever its lesson says.
const MAX_LINES: u32 = 120;
/// Most branches of one lesson that may wait for a person in one root.
const MAX_OPEN: u32 = 10;
/// Unit files of mesh itself.
const UNITS: [&str; 2] = ["/etc/systemd/system/mesh.service", "/lib/systemd/system/mesh.service"];

/// The real parts of audit and seeding.
pub struct Workshop {
    auditor: WorkerAuditor<SystemClock>,
    repo: GitRepo,
    exec: SystemExec,
    house: House,
    moment: Moment,
}

impl Workshop {
    /// The workshop of a home.
    #[must_use]
    pub fn of(parts: &Parts) -> Self {
        let home = &parts.home;
        let own = ["config", "keys", "outbox", "inbox", "state"].map(|name| home.root().join(name));
        let units = UNITS.map(PathBuf::from);
        let program = std::env::current_exe().ok();
        let named: Vec<PathBuf> = own.into_iter().chain(units).chain(program).collect();
        let real: Vec<PathBuf> = named.iter().filter_map(|path| path.canonicalize().ok()).collect();
        let house = House {
            blocked_ids: facts::identities(&real),
            blocked: named.into_iter().chain(real).collect(),
            max_lines: MAX_LINES,
            max_open: MAX_OPEN,
            blocked_kinds: parts.config.limits.blocked_kinds.clone(),
            approvals: parts.config.approve,
            pace: parts.config.pace(),
        };
        Self {
            auditor: parts.auditor(),
            repo: GitRepo::new(parts.key.host(), home.state().join("worktrees")),
            exec: SystemExec,
            house,
            moment: parts.clock.moment(),
        }
    }

    /// What this host allows.
    #[must_use]
    pub const fn house(&self) -> &House {
        &self.house
    }

    /// Begins to look at `root`, which is audited soon.
    pub fn look_ahead(&mut self, root: &Path) {
        self.auditor.look_ahead(root);
    }

    /// The parts, with what remembers.
    pub fn with<'a>(&'a mut self, db: &'a mut Db) -> SeedParts<'a> {
        let moment = self.moment.clone();
        SeedParts { auditor: &mut self.auditor, repo: &self.repo, exec: &self.exec, db, house: &self.house, moment }
    }
}

/// The roots of the configuration, links resolved, and those that are not there.
#[must_use]
pub fn configured_areas(parts: &Parts) -> (Vec<Area>, Vec<PathBuf>) {
    let (mut areas, mut missing) = (Vec::new(), Vec::new());
    for root in &parts.config.audit_roots {
        match root.path.canonicalize() {
            Ok(real) => areas.push(area_of(root, real)),
            Err(_) => missing.push(root.path.clone()),
        }
    }
    (areas, missing)
}

fn area_of(root: &AuditRoot, real: PathBuf) -> Area {
    Area {
        root: real,
        check: root.check.clone(),
        check_timeout: root.check_timeout.0,
        canary: root.canary.clone(),
        shadow: root.shadow.as_ref().map(|shadow| Shadow {
            start: shadow.start.clone(),
            probe: shadow.probe.clone(),
            within: shadow.within.0,
        }),
        check_memory: Some(u64::from(root.check_memory_mib) * 1024 * 1024),
        user: root.user.clone(),
        limit_per_day: root.limit_per_day,
    }
}

/// Mesh's own files as roots: audited like any other, changed by nobody.
#[must_use]
pub fn mesh_areas(parts: &Parts) -> Vec<Area> {
    let real = |path: PathBuf| path.canonicalize().unwrap_or(path);
    own_areas(real(parts.home.config()), real(parts.home.state()))
}
