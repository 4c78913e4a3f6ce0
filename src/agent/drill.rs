//! Drills: the failure of a rule is made for real in a throw-away place, and the very loop that runs on the host has to
//! see it, leave alone what only looks like it, mend it, and find its way back.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::domain::foreign_text::error_line;
use crate::domain::heal::condition::Memory;
use crate::domain::heal::drill::{DrillPlan, DrillState, Parts, Script, Stage};
use crate::domain::heal::incident::{Ending, State};
use crate::domain::heal::rule::{Risk, Rule};
use crate::domain::heal::target::Target;
use crate::domain::id::HostId;
use crate::domain::running::Moment;
use crate::loops::heal::{Healer, Looked, Setting};
use crate::ports::Clock as _;
use crate::store::db::{Db, DbError};
use crate::sys::apply::Changes;
use crate::sys::clock::SystemClock;
use crate::sys::exec::SystemExec;
use crate::sys::heal::throwaway::{Manager, Place};
use crate::sys::heal::{SystemEyes, SystemHands};

/// The throw-away target's name, and its service's.
const NAME: &str = "drill";
/// Looks before the failure, at which the rule must stay still.
const QUIET: usize = 2;
/// Looks beyond those that `for` and throttles need.
const MORE: usize = 14;
/// Most looks of one part.
const MOST: usize = 400;
/// Time in truth between two looks, for processes to do something.
const PAUSE: Duration = Duration::from_millis(40);

/// Why a drill could not be run. It says nothing of the rule.
#[derive(Debug, thiserror::Error)]
pub enum DrillError {
    /// The throw-away place.
    #[error("cannot make the throw-away place {path}", path = path.display())]
    Place {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The throw-away database.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The drill's own target is not one.
    #[error("rule {rule}: its drill declares no target: {why}")]
    Target {
        /// The rule.
        rule: u32,
        /// Why.
        why: String,
    },
}

/// Where drills are run.
#[derive(Clone, Debug)]
pub struct Ground {
    /// Throw-away folders are made in here, and removed.
    pub folder: PathBuf,
    /// Mesh itself, which plays the services.
    pub program: PathBuf,
    /// Whom commits would be by; drills make none.
    pub host: HostId,
}

/// Runs the drill of one rule. None: it has none that can be run.
///
/// # Errors
/// The throw-away place could not be made.
pub fn run(rule: &Rule, ground: &Ground) -> Result<Option<Parts>, DrillError> {
    let DrillPlan::Script(script) = &rule.drill else { return Ok(None) };
    let mut parts = Parts::default();
    fires_and_fixes(rule, script, ground, &mut parts)?;
    if parts.fires.as_ref().is_some_and(Result::is_ok) {
        parts.spares = Some(spares(rule, script, ground)?);
    }
    if parts.fixes.as_ref().is_some_and(Result::is_ok) {
        parts.restores = Some(restores(rule, script, ground)?);
    }
    Ok(Some(parts))
}

/// One throw-away place with a loop in it.
struct Scene<'a> {
    rule: &'a Rule,
    script: &'a Script,
    place: &'a Place,
    ground: &'a Ground,
    healer: Healer<SystemEyes<Manager<'a>, SystemExec>, SystemHands<Manager<'a>, SystemExec>>,
    db: Db,
    now: Timestamp,
    uptime: Duration,
}

/// A folder that goes with the drill.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is swept at the next drill.
        drop(fs::remove_dir_all(&self.0));
    }
}

fn scene<T>(
    rule: &Rule,
    script: &Script,
    ground: &Ground,
    part: &str,
    play: impl FnOnce(&mut Scene<'_>) -> Result<T, DrillError>,
) -> Result<T, DrillError> {
    let path = ground.folder.join(format!("{}-{part}-{}", rule.number, std::process::id()));
    let failed = |cause| DrillError::Place { path: path.clone(), cause };
    drop(fs::remove_dir_all(&path));
    fs::create_dir_all(&path).map_err(failed)?;
    let path = path.canonicalize().map_err(failed)?;
    let folder = Folder(path.clone());
    let place = Place::new(&path, &ground.program, NAME);
    let target = target(rule, script, &path, &ground.program)?;
    let good = path.join("state-of-mesh/good");
    let changes = Changes::new(&path.join("state-of-mesh"), ground.host, |_| {});
    let eyes = SystemEyes::new(Manager(&place), SystemExec, good.clone());
    let hands = SystemHands::new(Manager(&place), SystemExec, changes, good, Vec::new(), || SystemClock.now());
    let db = Db::in_memory()?;
    let setting = Setting {
        // In a throw-away place it acts, or its drill would show nothing.
        rules: vec![Rule { dry_run: false, ..rule.clone() }],
        targets: vec![target],
        drills: [(rule.number, (DrillState::Passed, String::new()))].into(),
        every: script.step,
        per_hour: usize::MAX,
        unseen_after: Duration::MAX,
        dry_run: false,
    };
    // A person's word for a risky action is what the drill itself is.
    let setting = Setting {
        targets: setting.targets.into_iter().map(|target| Target { approved: true, ..target }).collect(),
        ..setting
    };
    let now = SystemClock.now();
    let mut healer = Healer::resume(&db, setting, eyes, hands, now.as_second(), |_| {})?;
    healer.explains = true;
    let mut scene = Scene { rule, script, place: &place, ground, healer, db, now, uptime: Duration::from_secs(1_000) };
    let played = play(&mut scene);
    drop(scene);
    drop(place);
    drop(folder);
    played
}

/// The throw-away target: what the drill declares of it, with `./` for its folder and `mesh` for the program.
fn target(rule: &Rule, script: &Script, folder: &Path, program: &Path) -> Result<Target, DrillError> {
    let place = format!("{}/", folder.display());
    let mut fields = serde_json::Map::new();
    fields.insert("name".to_owned(), NAME.into());
    fields.insert("kind".to_owned(), rule.target.name().into());
    fields.insert("tags".to_owned(), rule.tags.clone().into());
    for (key, value) in &script.target {
        fields.insert(key.clone(), placed(value, &place, &program.display().to_string()));
    }
    let target: Result<Target, _> = serde_json::from_value(fields.into());
    let wrong = |why: String| DrillError::Target { rule: rule.number, why };
    let target = target.map_err(|error| wrong(error.to_string()))?;
    target.check().map_err(wrong)?;
    Ok(target)
}

fn placed(value: &serde_json::Value, place: &str, program: &str) -> serde_json::Value {
    match value {
        serde_json::Value::String(text) if text == "mesh" => program.into(),
        serde_json::Value::String(text) if text.starts_with("./") => text.replacen("./", place, 1).into(),
        serde_json::Value::Array(list) => list.iter().map(|one| placed(one, place, program)).collect(),
        other => other.clone(),
    }
}

impl Scene<'_> {
    fn stages(&mut self, stages: &[Stage]) -> Result<(), DrillError> {
        for stage in stages {
            match stage {
                Stage::Acted { rule, times } => {
                    let now = self.db.count_on(&self.moment())?.as_millis() / 1_000;
                    self.healer.play_acts(*rule, NAME, *times, i64::try_from(now).unwrap_or(i64::MAX));
                }
                Stage::Uptime { span } => {
                    let real = crate::sys::heal::uptime_s().unwrap_or(0.0);
                    self.healer.eyes().older_by = span.as_secs_f64() - real;
                }
                Stage::Pass { span } => {
                    let steps = span.as_secs().div_ceil(self.script.step.as_secs().max(1));
                    for _ in 0..steps {
                        self.look()?;
                    }
                }
                stage => self
                    .place
                    .stage(stage)
                    .map_err(|cause| DrillError::Place { path: PathBuf::from(format!("{stage:?}")), cause })?,
            }
        }
        Ok(())
    }

    fn moment(&self) -> Moment {
        Moment { wall: self.now, boot: "drill".to_owned(), uptime: self.uptime }
    }

    /// One look of the loop, a step later. The clock is the drill's; processes and files are real, so they are waited for.
    fn look(&mut self) -> Result<Looked, DrillError> {
        let settled = self.place.settle();
        settled.map_err(|cause| DrillError::Place { path: PathBuf::from("a throw-away service"), cause })?;
        thread::sleep(PAUSE.max(self.script.pause));
        self.uptime += self.script.step;
        let step = SignedDuration::try_from(self.script.step).unwrap_or_default();
        self.now = self.now.checked_add(step).unwrap_or(self.now);
        let moment = self.moment();
        Ok(self.healer.look(&mut self.db, &moment)?)
    }

    /// How many looks a span needs, and some.
    fn looks(&self, span: Duration) -> usize {
        let steps = span.as_secs().div_ceil(self.script.step.as_secs().max(1));
        usize::try_from(steps).unwrap_or(MOST).saturating_add(MORE).min(MOST)
    }

    /// Looks until the diagnosis of an incident is confirmed. The looks that it took.
    fn until_fires(&mut self) -> Result<Option<usize>, DrillError> {
        let most = self.looks(self.rule.trigger.longest());
        for count in 1..=most {
            let looked = self.look()?;
            if self.has_fired(&looked) {
                return Ok(Some(count));
            }
        }
        Ok(None)
    }

    fn has_fired(&self, looked: &Looked) -> bool {
        let confirmed = self
            .healer
            .engine()
            .records
            .iter()
            .any(|((rule, _), record)| *rule == self.rule.number && record.stats.confirmed > 0);
        confirmed || !looked.acted.is_empty()
    }

    fn why(&self, looked: &Looked) -> String {
        let found = looked.explained.first();
        let clause = |clause: &crate::domain::heal::condition::Clause| format!("{} ({})", clause.text, clause.detail);
        found.map_or_else(String::new, |found| {
            let trigger = found.trigger.iter().map(clause).collect::<Vec<_>>().join("; ");
            format!("{}: {trigger}", found.decision)
        })
    }
}

fn fires_and_fixes(rule: &Rule, script: &Script, ground: &Ground, parts: &mut Parts) -> Result<(), DrillError> {
    scene(rule, script, ground, "fail", |scene| {
        scene.stages(&script.base)?;
        for _ in 0..QUIET {
            let looked = scene.look()?;
            if scene.has_fired(&looked) {
                parts.fires = Some(Err(format!("it fires before the failure is made: {}", scene.why(&looked))));
                return Ok(());
            }
        }
        scene.stages(&script.fail)?;
        let Some(count) = scene.until_fires()? else {
            let looked = scene.look()?;
            parts.fires = Some(Err(format!("it does not fire: {}", scene.why(&looked))));
            return Ok(());
        };
        parts.fires = Some(Ok(format!("after {count} looks")));
        parts.fixes = Some(fixes(rule, scene)?);
        Ok(())
    })
}

fn fixes(rule: &Rule, scene: &mut Scene<'_>) -> Result<Result<String, String>, DrillError> {
    if rule.risk == Risk::Report {
        let told = scene.healer.engine().incidents.values().any(|one| one.state == State::Escalated);
        let told =
            if told { Ok("it reports, and does nothing".to_owned()) } else { Err("it does not report".to_owned()) };
        return Ok(told);
    }
    let span = rule.validate.within + rule.action.iter().map(|rung| rung.wait * 2).sum::<Duration>();
    let most = scene.looks(span * u32::try_from(rule.action.len()).unwrap_or(1));
    let mut last = Looked::default();
    for _ in 0..most {
        let looked = scene.look()?;
        if let Some(ended) = looked.ended.first() {
            let said = ended.thread.last().map(|line| line.what.clone()).unwrap_or_default();
            if ended.ending != Some(Ending::Healed) {
                return Ok(Err(format!("it ended as {:?}: {said}", ended.ending)));
            }
            if ended.attempts > rule.action.len() {
                return Ok(Err(format!("it took {} attempts", ended.attempts)));
            }
            return still_validates(rule, scene, said);
        }
        let first = scene.healer.engine().incidents.values().next();
        if let Some(escalated) = first.filter(|one| one.state == State::Escalated) {
            let thread = escalated.thread.iter().map(|line| line.what.clone()).collect::<Vec<_>>().join("; ");
            return Ok(Err(format!("it does not mend: {thread}")));
        }
        last = looked;
    }
    let thread = scene.healer.engine().incidents.values().next();
    let thread = thread.map(|one| one.thread.iter().map(|line| line.what.clone()).collect::<Vec<_>>().join("; "));
    Ok(Err(format!("it is not seen to mend: {}; {}", scene.why(&last), thread.unwrap_or_default())))
}

/// A validation that is content while the failure is there says "healed" of anything. So the failure is made once more,
/// and nothing is done about it.
fn still_validates(rule: &Rule, healed: &Scene<'_>, said: String) -> Result<Result<String, String>, DrillError> {
    let script = healed.script;
    let content = scene(rule, script, healed.ground, "idle", |scene| {
        scene.healer.setting.dry_run = true;
        scene.stages(&script.base)?;
        for _ in 0..QUIET {
            scene.look()?;
        }
        scene.stages(&script.fail)?;
        if scene.until_fires()?.is_none() {
            return Ok(None);
        }
        let mut memory = Memory::default();
        for _ in 0..scene.looks(rule.validate.when.longest()) {
            scene.look()?;
            if scene.healer.would_validate(&scene.db, rule, NAME, &mut memory, scene.now.as_second())? {
                return Ok(Some(true));
            }
        }
        Ok(Some(false))
    })?;
    Ok(match content {
        Some(false) => Ok(said),
        Some(true) => Err("its validation is content while the failure is there".to_owned()),
        None => Err("it does not fire a second time".to_owned()),
    })
}

fn spares(rule: &Rule, script: &Script, ground: &Ground) -> Result<Result<String, String>, DrillError> {
    scene(rule, script, ground, "near", |scene| {
        scene.stages(&script.base)?;
        for _ in 0..QUIET {
            scene.look()?;
        }
        scene.stages(&script.near)?;
        for _ in 0..scene.looks(rule.trigger.longest()) {
            let looked = scene.look()?;
            if scene.has_fired(&looked) {
                return Ok(Err(format!("it fires at {}: {}", script.near_says, scene.why(&looked))));
            }
        }
        Ok(Ok(script.near_says.clone()))
    })
}

fn restores(rule: &Rule, script: &Script, ground: &Ground) -> Result<Result<String, String>, DrillError> {
    if rule.risk == Risk::Report {
        return Ok(Ok("nothing was done".to_owned()));
    }
    scene(rule, script, ground, "back", |scene| {
        scene.stages(&script.base)?;
        for _ in 0..QUIET {
            scene.look()?;
        }
        scene.stages(&script.back)?;
        let mut before = scene.place.shape();
        for _ in 0..scene.looks(rule.trigger.longest()) + MORE {
            let shape = scene.place.shape();
            let looked = scene.look()?;
            if looked.acted.is_empty() {
                before = shape;
                continue;
            }
            return Ok(match scene.healer.take_back_now() {
                Err(why) => Err(format!("the way back failed: {why}")),
                Ok(0) => Ok("nothing to take back".to_owned()),
                Ok(count) if only_services(rule) => Ok(format!("{count} steps back")),
                Ok(count) => {
                    let after = scene.place.shape();
                    let differs =
                        before.iter().find(|(path, was)| after.get(*path) != Some(*was)).map(|(path, _)| path);
                    let extra = after.keys().find(|path| !before.contains_key(*path));
                    match differs.or(extra) {
                        Some(path) => Err(format!("{path} is not as it was")),
                        None => Ok(format!("{count} steps back, and every file is as it was")),
                    }
                }
            });
        }
        Ok(Err("it did nothing that could be taken back".to_owned()))
    })
}

/// Whether what a rule does leaves no file behind that could be compared.
fn only_services(rule: &Rule) -> bool {
    use crate::domain::heal::action::Action;
    let steps = rule.action.iter().flat_map(|rung| &rung.steps);
    steps.into_iter().all(|step| {
        matches!(
            step,
            Action::Start { .. }
                | Action::Restart { .. }
                | Action::ResetFailed { .. }
                | Action::StopRetrying { .. }
                | Action::SuspendRules { .. }
        )
    })
}

/// What went wrong with a drill, for a listing.
#[must_use]
pub fn failure(error: &DrillError) -> String {
    error_line(error)
}
