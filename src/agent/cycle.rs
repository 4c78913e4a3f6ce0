//! One round of the agent: sync, then audit every root with what holds here, then seed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::parts::{Parts, SyncError};
use super::undo::{self, UndoError};
use super::workshop::{Workshop, configured_areas, mesh_areas};
use crate::domain::detect::LanguageName;
use crate::domain::fix::{Fix, KnownLesson};
use crate::domain::foreign_text::error_line;
use crate::domain::strain::{Strain, strain};
use crate::loops::audit::{RootAudit, audit};
use crate::loops::exchange::SyncReport;
use crate::loops::library::{Library, LibraryError, Origin};
use crate::loops::seed::{Area, Finished, Mode, SeedError};
use crate::ports::ScanProgress;
use crate::store::config::ConfigError;
use crate::store::db::DbError;
use crate::store::peer_log::InboxState;
use crate::store::standing::Frozen;
use crate::sys::exec::SystemExec;
use crate::sys::strain::reading;

/// The fact that says what the last round left out, and why; empty when it left out nothing.
pub const STRAIN_FACT: &str = "strain";

/// Why a round was broken off. What was done until then is remembered.
#[derive(Debug, thiserror::Error)]
pub enum CycleError {
    /// The sync.
    #[error(transparent)]
    Sync(#[from] SyncError),
    /// The lessons.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// The verdict on what is in place.
    #[error(transparent)]
    Undo(#[from] UndoError),
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// What one round did.
#[derive(Debug)]
pub struct Round {
    /// The exchange.
    pub sync: SyncReport,
    /// The lessons that were used.
    pub library: Library,
    /// Each root.
    pub roots: Vec<RootAudit>,
    /// What the roots are, with their checks.
    pub areas: Vec<Area>,
    /// Roots that could not be audited, and why.
    pub failed: Vec<(PathBuf, String)>,
    /// Fixes that this round made where people use them, without a person.
    pub made: Vec<Fix>,
    /// Interventions that were judged in this round.
    pub ended: Vec<Finished>,
    /// Areas that were frozen in this round.
    pub frozen: Vec<Frozen>,
    /// What would be settled and judged, a sentence each, where nothing is to be done.
    pub foreseen: Vec<String>,
    /// What was left out because the host is short of space or time.
    pub strain: Option<Strain>,
    /// What is wrong with the configuration as it is now; the one that was read before is used.
    pub bad_config: Option<ConfigError>,
}

impl Round {
    /// What tries a change of a file, a line each.
    #[must_use]
    pub fn trials_of(&self, root: &Path, path: &str) -> Vec<String> {
        let area = self.areas.iter().find(|area| area.root == root);
        area.map(|area| area.trials(path, &SystemExec).0.words()).unwrap_or_default()
    }
}

/// Runs one round. `more` are roots besides the configured ones. Hold the lock.
///
/// # Errors
/// This host's own state failed.
pub fn round(
    parts: &mut Parts,
    more: &[Area],
    mode: Mode,
    progress: &mut dyn FnMut(ScanProgress),
) -> Result<Round, CycleError> {
    let bad_config = parts.refresh().map_err(SyncError::from)?;
    let strain = strain(&reading(&parts.home.state()), &parts.config.reserve.reserve());
    if mode != Mode::Tell {
        note_strain(parts, strain.as_ref());
    }
    let sync = if strain.as_ref().is_none_or(|strain| strain.syncs) { parts.sync()? } else { SyncReport::default() };
    let library = parts.library()?;
    let (mut areas, missing) = configured_areas(parts);
    let extra = more.iter().filter(|area| !areas.iter().any(|known| known.root == area.root));
    areas.splice(0..0, extra.cloned().collect::<Vec<_>>());
    let own = mesh_areas(parts).into_iter();
    let own: Vec<Area> = own.filter(|own| !areas.iter().any(|area| own.root.starts_with(&area.root))).collect();
    areas.extend(own);
    let lessons: Vec<KnownLesson> = library.held.iter().map(crate::loops::library::Held::known).collect();
    let mut workshop = Workshop::of(parts);
    let now = parts.now();
    let frozen_before = parts.db.frozen(&parts.clock.moment())?;
    if mode != Mode::Tell {
        parts.db.count_on(&parts.clock.moment())?;
    }
    let mut roots = Vec::new();
    let mut failed: Vec<(PathBuf, String)> =
        missing.into_iter().map(|path| (path, "it is not there: mend or remove it in the config".to_owned())).collect();
    for area in areas.iter().filter(|_| strain.is_none()) {
        match audit(&mut workshop.with(&mut parts.db), area, &lessons, mode, now, progress) {
            Ok(audited) => roots.push(audited),
            Err(SeedError::Db(error)) => return Err(error.into()),
            // The other roots are looked at all the same.
            Err(error) => failed.push((area.root.clone(), error_line(&error))),
        }
    }
    let mut round = Round {
        sync,
        library,
        roots,
        areas,
        failed,
        made: Vec::new(),
        ended: Vec::new(),
        frozen: Vec::new(),
        foreseen: Vec::new(),
        strain,
        bad_config,
    };
    if mode == Mode::Tell {
        round.foreseen = undo::foresee(parts, &round.areas, &lessons)?;
        return Ok(round);
    }
    if mode == Mode::Seed && round.strain.is_none() {
        round.made = undo::make_ready(parts, &round.areas, &lessons, &mut round.roots)?;
    }
    round.ended = undo::validate(parts, &round.areas, &lessons)?;
    let frozen = parts.db.frozen(&parts.clock.moment())?;
    let is_new = |one: &Frozen| !frozen_before.iter().any(|before| (&before.area, before.at) == (&one.area, one.at));
    round.frozen = frozen.into_iter().filter(is_new).collect();
    for frozen in &round.frozen {
        tracing::warn!("{} is frozen: {}", frozen.area.display(), frozen.why);
    }
    // Where nothing was scanned, nothing is known of what lessons find.
    if round.strain.is_none() {
        note_inbox(parts, &round.library, &round.roots)?;
    }
    Ok(round)
}

/// Remembers what this round leaves out. On a disk that is full this fails, and the log has it.
fn note_strain(parts: &mut Parts, strain: Option<&Strain>) {
    let words = strain.map(Strain::words).unwrap_or_default();
    if strain.is_some() {
        tracing::warn!("{words}");
    }
    let known = parts.db.fact(STRAIN_FACT).ok().flatten().unwrap_or_default();
    if known != words
        && let Err(error) = parts.db.set_fact(STRAIN_FACT, &words)
    {
        tracing::warn!("not remembered: {}", error_line(&error));
    }
}

/// Notes in the inbox what the lessons of peers found and led to here.
fn note_inbox(parts: &mut Parts, library: &Library, roots: &[RootAudit]) -> Result<(), DbError> {
    let here: BTreeSet<LanguageName> = roots.iter().flat_map(|root| root.report.languages.iter().copied()).collect();
    let fixes = parts.db.fixes()?;
    for held in &library.held {
        let Origin::Peer { entry, .. } = held.origin else { continue };
        let slug = &held.lesson.id;
        let found = roots.iter().flat_map(|root| &root.report.findings);
        let count = found.filter(|finding| finding.lesson == *slug && finding.suppressed.is_none()).count();
        parts.db.set_inbox_findings(entry, u32::try_from(count).unwrap_or(u32::MAX))?;
        let mut outcomes = roots.iter().flat_map(|root| &root.seeding.outcomes);
        let wanted = &held.lesson.detect.scope.languages;
        let (state, reason) = if fixes.iter().any(|fix| fix.entry == Some(entry) && fix.state.stands()) {
            (InboxState::Applied, "its fix is in use here")
        } else if outcomes.any(|outcome| outcome.plan.lesson == *slug && outcome.fix.branch.is_some()) {
            (InboxState::Applied, "its fix is on a branch here")
        } else if !wanted.is_empty() && !wanted.iter().any(|language| here.contains(language)) {
            (InboxState::NotApplicable, "no file of its languages in any audited root")
        } else {
            (InboxState::Applicable, "")
        };
        parts.db.set_inbox_state(entry, state, reason)?;
    }
    Ok(())
}
