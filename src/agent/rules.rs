//! The rules of a home as they stand: what the pack and the local files say, and what their drills came to here.

use std::collections::BTreeMap;

use super::drill::{self, DrillError, Ground};
use super::parts::Parts;
use crate::domain::heal::drill::{DrillState, DrillVerdict, Parts as DrillParts, standing};
use crate::domain::heal::target::{Target, TargetKind};
use crate::domain::kaizen::calibration;
use crate::domain::service::{Ask, Criticality};
use crate::domain::signal::Subject;
use crate::loops::heal::Setting;
use crate::store::config::Config;
use crate::store::db::DbError;
use crate::store::rules::{self, Held, RuleError, Rules};
use crate::store::signal_config::WatchedKind;
use crate::sys::user::{Refusal, User};

/// The version that drills are believed for.
pub const MESH: &str = env!("CARGO_PKG_VERSION");

/// A rule and where it stands with its drill.
#[derive(Debug)]
pub struct Stands {
    /// The rule.
    pub held: Held,
    /// Where it stands.
    pub state: DrillState,
    /// Why.
    pub why: String,
    /// Its last drill.
    pub verdict: Option<DrillVerdict>,
}

/// Why rules cannot be shown or drilled.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// A rule of the pack, or the folder.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The throw-away place.
    #[error(transparent)]
    Drill(#[from] DrillError),
    /// The system does not give the path of this program.
    #[error("the system does not give the path of this program")]
    Program(#[source] std::io::Error),
}

/// Every rule of this home, and the local files that are not right.
///
/// # Errors
/// The folder or the database cannot be read.
pub fn stand(parts: &Parts) -> Result<(Vec<Stands>, Vec<RuleError>), RulesError> {
    let Rules { held, refused } = rules::load(&parts.home)?;
    let mut verdicts = parts.db.drills()?;
    let now = parts.now().as_second();
    let mut stands = Vec::new();
    for held in held {
        let verdict = verdicts.remove(&held.rule.number);
        let (mut state, mut why) = standing(&held.rule.drill, verdict.as_ref(), &held.digest, MESH, now);
        let envelope = &held.rule.calibrated_for.signals;
        let usual = parts.db.usual(envelope.keys().map(String::as_str), now)?;
        // What its numbers were chosen for is not what is here: it only reports, as before its drill.
        if let Some(stale) = calibration::why(&calibration::drifts(envelope, &usual)) {
            (state, why) = (DrillState::Expired, stale);
        }
        stands.push(Stands { held, state, why, verdict });
    }
    Ok((stands, refused))
}

/// What the loop works with.
///
/// # Errors
/// The folder or the database cannot be read.
pub fn setting(parts: &Parts, dry_run: bool) -> Result<(Setting, Vec<RuleError>), RulesError> {
    let (stands, refused) = stand(parts)?;
    let drills: BTreeMap<u32, (DrillState, String)> =
        stands.iter().map(|one| (one.held.rule.number, (one.state, one.why.clone()))).collect();
    let config = &parts.config.rules;
    let setting = Setting {
        rules: stands.into_iter().map(|one| one.held.rule).collect(),
        targets: targets(parts),
        drills,
        every: config.interval.0,
        per_hour: usize::try_from(config.actions_per_hour).unwrap_or(usize::MAX),
        unseen_after: config.unseen_after.0,
        dry_run,
    };
    Ok((setting, refused))
}

/// The declared targets, and each supervised service that is not among them.
#[must_use]
pub fn targets(parts: &Parts) -> Vec<Target> {
    let mut targets = parts.config.target.clone();
    for service in &parts.config.services {
        let name = Subject::near(service.name.as_str());
        let at = targets.iter().position(|target| target.name == name && target.kind == TargetKind::Service);
        let other = targets.iter().any(|target| target.name == name);
        // What supervision is told of a service is not said twice: a target of that name adds to it.
        let mut target = match at {
            Some(at) => targets.remove(at),
            None if other => continue,
            None => Target::new(name, TargetKind::Service),
        };
        target.critical |= service.policy.criticality == Criticality::Critical;
        target.parent = target.parent.or_else(|| service.depends_on.first().map(|parent| parent.as_str().to_owned()));
        target.tags.extend(service.tags.iter().cloned());
        targets.push(target);
    }
    // What the host is, all on it is.
    for target in &mut targets {
        target.tags.extend(parts.config.tags.iter().cloned());
    }
    targets
}

/// Users of the configuration whose rights no program can be given: those that are not there, and those that this
/// process may not use; a sentence each.
#[must_use]
pub fn users(config: &Config) -> (Vec<String>, Vec<String>) {
    let targets = config
        .target
        .iter()
        .filter_map(|target| Some((format!("target `{}`", target.name.as_str()), target.user.as_deref()?)));
    let roots = config
        .audit_roots
        .iter()
        .filter_map(|root| Some((format!("audit root {}", root.path.display()), root.user.as_deref()?)));
    let signals = config.signal.iter().filter_map(|watched| {
        let WatchedKind::Command { user: Some(user), .. } = &watched.kind else { return None };
        Some((format!("signal `{}`", watched.name.as_str()), user.as_str()))
    });
    let probes = config.services.iter().filter_map(|service| {
        let Ask::Command { user: Some(user), .. } = &service.probe.as_ref()?.ask else { return None };
        Some((format!("probe of service `{}`", service.name), user.as_str()))
    });
    let (mut unknown, mut others) = (Vec::new(), Vec::new());
    for (of, name) in targets.chain(roots).chain(signals).chain(probes) {
        match User::refusal(name) {
            Some(Refusal::Unknown(why)) => unknown.push(format!("{of}: `user`: {why}")),
            Some(Refusal::NotAllowed(why)) => others.push(format!("{of}: `user`: {why}")),
            None => {}
        }
    }
    (unknown, others)
}

/// Drills one rule and remembers what came of it. None: it has no drill that can be run here.
///
/// # Errors
/// The throw-away place could not be made, or the verdict not be kept. The old verdict stays then.
pub fn drill(parts: &mut Parts, held: &Held) -> Result<Option<DrillParts>, RulesError> {
    let ground = Ground {
        folder: parts.home.state().join("drills"),
        program: std::env::current_exe().map_err(RulesError::Program)?,
        host: parts.key.host(),
    };
    let Some(shown) = drill::run(&held.rule, &ground)? else { return Ok(None) };
    let at = parts.now().as_second();
    let verdict = DrillVerdict { digest: held.digest.clone(), mesh: MESH.to_owned(), at, parts: shown.clone() };
    parts.db.keep_drill(held.rule.number, &verdict)?;
    Ok(Some(shown))
}
