//! Rules at work: looks at the targets, asks the engine, takes the actions that it asks for, and writes down each before
//! it is taken. The same loop runs on the host and in a drill.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::domain::expr::Truth;
use crate::domain::foreign_text::display_line;
use crate::domain::heal::action::{Action, Done, WayBack};
use crate::domain::heal::condition::{Condition, EventName, Look, Memory, Occurrence, What};
use crate::domain::heal::drill::DrillState;
use crate::domain::heal::engine::{Effect, Engine, Explained, Key, Outcome, Record, World};
use crate::domain::heal::incident::{Incident, Notice};
use crate::domain::heal::rule::Rule;
use crate::domain::heal::target::Target;
use crate::domain::ledger::{Entry, RuleStep};
use crate::domain::running::Moment;
use crate::domain::series::{History, Series};
use crate::domain::signal::{self, SeriesName, Subject};
use crate::ports::heal::{Eyes, Hands};
use crate::store::db::{Db, DbError};

/// Most readings of one fact that are kept in memory.
const POINTS: usize = 1_500;
/// Of a fact of which only the newest reading is asked, so many are kept: a newest one may be three intervals old.
const NEWEST: u32 = 4;
/// A stored signal of which only the newest reading is asked is read this far back: its interval is not known here.
const STORED: Duration = Duration::from_secs(3_600);
/// What was found of a rule is written down when it came to something else, and this often where it did not, in seconds.
const RETOLD: i64 = 600;
/// A day, in seconds.
const DAY: i64 = 86_400;
/// The fact under which suspended targets are kept.
const SUSPENDED: &str = "rules:suspended";
/// The fact under which the time of the last look is kept, in seconds.
pub const LOOKED: &str = "rules:looked";

/// What rules work with.
#[derive(Clone, Debug, Default)]
pub struct Setting {
    /// The rules.
    pub rules: Vec<Rule>,
    /// The targets.
    pub targets: Vec<Target>,
    /// Where each rule stands with its drill.
    pub drills: BTreeMap<u32, (DrillState, String)>,
    /// Time between two looks.
    pub every: Duration,
    /// Most actions of all rules within an hour.
    pub per_hour: usize,
    /// After this a person who was called and has not answered is called again.
    pub unseen_after: Duration,
    /// Whether everything is done but the actions.
    pub dry_run: bool,
}

/// What one look came to.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Looked {
    /// What a person is to be told.
    pub notices: Vec<Notice>,
    /// What was found of each rule and target, where [`Healer::explains`].
    pub explained: Vec<Explained>,
    /// Actions that were taken, as they stand in the log.
    pub acted: Vec<String>,
    /// Incidents that ended.
    pub ended: Vec<Incident>,
    /// The facts, for whoever shows them.
    pub facts: usize,
}

/// Rules at work.
pub struct Healer<E, H> {
    /// What they work with.
    pub setting: Setting,
    engine: Engine,
    pending: Vec<Effect>,
    eyes: E,
    hands: H,
    /// What was seen, and during a look what is stored.
    facts: History,
    /// What the database holds of each rule and target.
    written: Written,
    suspended: BTreeMap<String, i64>,
    /// Targets on which rules acted since the last look.
    acted: Vec<String>,
    /// Targets that could not be seen to: said once.
    untended: BTreeSet<String>,
    /// Where stored signals are read, when what is found is remembered elsewhere.
    pub signals: Option<Db>,
    /// Whether each look is put in words for whoever called it, and not only what of it is written down.
    pub explains: bool,
    /// Whether nothing more is to be begun, because the agent ends.
    pub ending: Arc<AtomicBool>,
    log: fn(&str),
}

/// How far back each signal is read.
type Windows = BTreeMap<&'static str, Duration>;

/// What the database holds.
#[derive(Default)]
struct Written {
    records: BTreeMap<Key, Record>,
    /// By rule and target, what the last explanation came to ([`Outcome::came_to`]), and when.
    explained: BTreeMap<u32, HashMap<String, (u64, i64)>>,
}

impl Written {
    /// Whether what was found now is to be written down.
    fn differs(&self, rule: u32, target: &str, came_to: u64, wall: i64) -> bool {
        let last = self.explained.get(&rule).and_then(|targets| targets.get(target));
        last.is_none_or(|(found, at)| *found != came_to || !(*at..*at + RETOLD).contains(&wall))
    }
}

impl<E: Eyes, H: Hands> Healer<E, H> {
    /// Goes on with what the database holds. `log` takes one line for each action.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn resume(db: &Db, setting: Setting, eyes: E, hands: H, wall: i64, log: fn(&str)) -> Result<Self, DbError> {
        let (records, incidents, last) = db.rule_state()?;
        let (engine, pending) = Engine::resume(records, incidents, last, wall);
        let suspended = db.fact(SUSPENDED)?.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        Ok(Self {
            setting,
            engine,
            pending,
            eyes,
            hands,
            facts: History::new(),
            written: Written::default(),
            explains: false,
            suspended,
            acted: Vec::new(),
            untended: BTreeSet::new(),
            signals: None,
            ending: Arc::default(),
            log,
        })
    }

    /// The engine, to be looked at.
    #[must_use]
    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The eyes.
    pub const fn eyes(&mut self) -> &mut E {
        &mut self.eyes
    }

    /// Plays that a rule acted on a target this often: for a drill of the rule that stops rules.
    pub fn play_acts(&mut self, rule: u32, target: &str, times: u32, now: i64) {
        let record = self.engine.records.entry((rule, target.to_owned())).or_default();
        record.acts.extend((0..i64::from(times)).map(|n| now - 60 * (n + 1)));
    }

    /// One look at everything, and what follows from it.
    ///
    /// # Errors
    /// The database refused. Nothing is done then that is not written down.
    pub fn look(&mut self, db: &mut Db, moment: &Moment) -> Result<Looked, DbError> {
        let wall = moment.wall.as_second();
        let now = i64::try_from(db.clock_at(moment)?.as_millis() / 1_000).unwrap_or(i64::MAX);
        let mut looked = Looked::default();
        // Left behind where the last look failed half way.
        self.facts.drop_series();
        self.hear_people(db)?;
        if !self.setting.dry_run {
            let effects = std::mem::take(&mut self.pending);
            self.follow(db, moment, now, effects, &mut looked)?;
        }
        let mut seen = self.eyes.look(&self.setting.targets, wall, now);
        let acted = std::mem::take(&mut self.acted).into_iter();
        seen.occurrences.extend(acted.map(|target| Occurrence {
            at: now,
            target,
            what: What::Event(EventName::RuleActed),
        }));
        seen.occurrences.sort_by_key(|one| one.at);
        looked.facts = seen.readings.len();
        let windows = self.windows();
        for reading in seen.readings {
            self.note(&reading.name, wall, reading.value.ok(), &windows);
        }
        self.note_acts(wall, now, &windows);
        self.borrow_stored(db, wall, &windows)?;
        let paused = match (self.setting.dry_run, db.read_only()?, db.paused(moment)?) {
            (true, ..) => Some("dry run: everything but the action".to_owned()),
            (false, Some(why), _) => Some(format!("mesh changes nothing any more: {why}")),
            (false, None, Some(paused)) => Some(format!("by a person: {}", paused.why)),
            (false, None, None) => None,
        };
        let areas = db.paused_areas(moment)?;
        let held_by = |target: &Target| {
            let path = target.path.as_deref()?;
            let area = areas.iter().find(|paused| path.starts_with(&paused.area))?;
            Some((target.name.as_str().to_owned(), area.words()))
        };
        let mut held: BTreeMap<String, String> = self.setting.targets.iter().filter_map(held_by).collect();
        let maintenance = self.signals.as_ref().unwrap_or(db).maintenance()?;
        held.extend(self.setting.targets.iter().filter_map(|target| {
            let window = maintenance.covering(target.name.as_str(), moment.wall)?;
            Some((target.name.as_str().to_owned(), window.words()))
        }));
        self.suspended.retain(|_, until| *until > now);
        if paused.is_none() {
            self.tend(db, moment, &held)?;
        }
        let world = World {
            rules: &self.setting.rules,
            targets: &self.setting.targets,
            drills: &self.setting.drills,
            history: &self.facts,
            occurrences: &seen.occurrences,
            wall,
            now,
            paused: paused.as_deref(),
            held: &held,
            suspended: &self.suspended,
            per_hour: self.setting.per_hour,
            unseen_after: self.setting.unseen_after,
        };
        let mut told: Vec<(Outcome, u64)> = Vec::new();
        let effects = self.engine.look(&world, &mut |one| {
            let (rule, target) = (&world.rules[one.rule], &world.targets[one.target]);
            if self.explains {
                looked.explained.push(one.explain(world.rules, world.targets, world.history, wall));
            }
            let came_to = one.came_to();
            if self.written.differs(rule.number, target.name.as_str(), came_to, wall) {
                told.push((one, came_to));
            }
        });
        self.follow(db, moment, now, effects, &mut looked)?;
        looked.ended = std::mem::take(&mut self.engine.ended);
        let incidents = self.engine.incidents.values().chain(&looked.ended);
        let records = self.engine.records.iter();
        let records = records.filter(|(key, record)| self.written.records.get(*key) != Some(*record));
        let (rules, targets) = (&self.setting.rules, &self.setting.targets);
        let explained = told.iter().map(|(one, _)| one.explain(rules, targets, &self.facts, wall));
        db.keep_look(records, incidents, explained, moment, (LOOKED, &wall.to_string()))?;
        for (one, came_to) in told {
            let targets = self.written.explained.entry(self.setting.rules[one.rule].number).or_default();
            targets.insert(self.setting.targets[one.target].name.as_str().to_owned(), (came_to, wall));
        }
        for (key, record) in &self.engine.records {
            match self.written.records.get_mut(key) {
                Some(written) if written == record => {}
                Some(written) => written.clone_from(record),
                None => drop(self.written.records.insert(key.clone(), record.clone())),
            }
        }
        self.facts.drop_series();
        Ok(looked)
    }

    /// Takes back what the open incidents did last: for a drill of the way back.
    ///
    /// # Errors
    /// What stands in the way.
    pub fn take_back_now(&mut self) -> Result<usize, String> {
        let ways: Vec<WayBack> = self.engine.incidents.values().flat_map(|one| one.ways.clone()).collect();
        for way in ways.iter().rev() {
            self.hands.take_back(way)?;
        }
        Ok(ways.len())
    }

    /// Whether the validation of a rule would be content now: for a drill of the validation.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn would_validate(
        &self,
        db: &Db,
        rule: &Rule,
        target: &str,
        memory: &mut Memory,
        wall: i64,
    ) -> Result<bool, DbError> {
        let mut history = self.facts.clone();
        for (signal, series) in self.stored(db, wall, &self.windows())? {
            history.put(signal, series);
        }
        let look = Look { target, history: &history, occurrences: &[], wall, now: wall };
        Ok(rule.validate.when.look(memory, &look).truth == Truth::True)
    }

    /// Sees to what earlier actions left for a while.
    fn tend(&mut self, db: &mut Db, moment: &Moment, held: &BTreeMap<String, String>) -> Result<(), DbError> {
        for target in self.setting.targets.iter().filter(|target| !held.contains_key(target.name.as_str())) {
            let Some(said) = self.hands.tend(target, moment.wall.as_second()) else { continue };
            let name = target.name.as_str().to_owned();
            match &said {
                Ok(_) => {
                    self.untended.remove(&name);
                }
                Err(_) if !self.untended.insert(name) => continue,
                Err(_) => {}
            }
            let opens = |rule: &&Rule| {
                let mut steps = rule.action.iter().flat_map(|rung| &rung.steps);
                rule.concerns(target) && steps.any(|step| matches!(step, Action::OpenBreaker { .. }))
            };
            let rule = self.setting.rules.iter().find(opens);
            let step = if said.is_ok() { RuleStep::TakenBack } else { RuleStep::Failed };
            let (Ok(what) | Err(what)) = said;
            let entry = Entry::Rule {
                number: rule.map_or(0, |rule| rule.number),
                version: rule.map_or(0, |rule| rule.version),
                target: target.name.as_str().to_owned(),
                incident: 0,
                step,
                what: display_line(&what),
            };
            db.note_host(moment, &entry)?;
            (self.log)(&format!("{}: {}", target.name.as_str(), display_line(&what)));
        }
        Ok(())
    }

    /// What people said of open incidents since the last look.
    fn hear_people(&mut self, db: &Db) -> Result<(), DbError> {
        if self.engine.incidents.is_empty() {
            return Ok(());
        }
        for stored in db.incidents(false, usize::MAX >> 1)? {
            if let Some(known) = self.engine.incidents.get_mut(&(stored.rule, stored.target.clone())) {
                known.hear(&stored);
            }
        }
        Ok(())
    }

    fn is_ending(&self) -> bool {
        self.ending.load(Ordering::SeqCst)
    }

    fn note(&mut self, name: &SeriesName, wall: i64, value: Option<f64>, windows: &Windows) {
        // What no rule reads is not kept.
        let Some(window) = windows.get(name.signal.name) else { return };
        let every = self.setting.every.max(Duration::from_secs(1));
        let window = window.saturating_add(every.saturating_mul(NEWEST));
        let oldest = wall.saturating_sub(i64::try_from(window.as_secs()).unwrap_or(i64::MAX));
        self.facts.readings_mut(name).add(every, wall, value, oldest, POINTS);
    }

    /// How often rules acted on each target within a day, as a fact.
    fn note_acts(&mut self, wall: i64, now: i64, windows: &Windows) {
        // A rule that stops others counts for nothing here.
        let stops = |rule: &&Rule| {
            let mut steps = rule.action.iter().flat_map(|rung| &rung.steps);
            steps.any(|step| matches!(step, Action::SuspendRules { .. }))
        };
        let stops: BTreeSet<u32> = self.setting.rules.iter().filter(stops).map(|rule| rule.number).collect();
        let mut most: BTreeMap<&str, usize> = BTreeMap::new();
        for ((rule, target), record) in &self.engine.records {
            let acts = record.acts.iter().filter(|at| **at > now - DAY).count();
            if acts > 0 && !stops.contains(rule) {
                let known = most.entry(target).or_default();
                *known = (*known).max(acts);
            }
        }
        let counted = self.setting.targets.iter().map(|target| {
            let suspended = self.suspended.get(target.name.as_str()).is_some_and(|until| *until > now);
            (target.name.clone(), suspended, most.get(target.name.as_str()).copied().unwrap_or(0))
        });
        let counted: Vec<(Subject, bool, usize)> = counted.collect();
        for (name, suspended, most) in counted {
            let suspended = Some(f64::from(u8::from(suspended)));
            self.note(&SeriesName::of("rule.suspended", name.clone()), wall, suspended, windows);
            self.note(&SeriesName::of("rule.acted", name), wall, Some(most as f64), windows);
        }
    }

    /// How far back the rules read each signal.
    fn windows(&self) -> Windows {
        let mut windows = Windows::new();
        let targets = &self.setting.targets;
        for rule in self.setting.rules.iter().filter(|rule| targets.iter().any(|target| rule.concerns(target))) {
            let parts = [&rule.trigger, &rule.validate.when];
            let all = parts.into_iter().chain(rule.diagnose.iter().map(|question| &question.when));
            for (signal, window) in all.flat_map(Condition::windows) {
                let known = windows.entry(signal).or_default();
                *known = (*known).max(window);
            }
        }
        windows
    }

    /// What the rules read and was not seen, but is stored.
    fn stored(&self, db: &Db, wall: i64, windows: &Windows) -> Result<Vec<(&'static str, Series)>, DbError> {
        let mut found = Vec::new();
        for (name, back) in windows {
            let Some(signal) = signal::find(name) else { continue };
            let unseen = |subject: &str| self.facts.readings(name, subject).is_none();
            let stored = self.signals.as_ref().unwrap_or(db).series_where(signal, STORED.max(*back), wall, unseen)?;
            found.extend(stored.into_iter().map(|one| (signal.name, one)));
        }
        Ok(found)
    }

    fn borrow_stored(&mut self, db: &Db, wall: i64, windows: &Windows) -> Result<(), DbError> {
        for (signal, series) in self.stored(db, wall, windows)? {
            self.facts.put(signal, series);
        }
        Ok(())
    }

    fn follow(
        &mut self,
        db: &mut Db,
        moment: &Moment,
        now: i64,
        effects: Vec<Effect>,
        looked: &mut Looked,
    ) -> Result<(), DbError> {
        let mut queue = std::collections::VecDeque::from(effects);
        while let Some(effect) = queue.pop_front() {
            match effect {
                Effect::Perform { key, .. } if self.is_ending() => {
                    self.engine.put_off(&key, moment.wall.as_second(), now);
                }
                Effect::Perform { key, steps } => {
                    let more = self.perform(db, moment, now, &key, steps, looked)?;
                    more.into_iter().rev().for_each(|effect| queue.push_front(effect));
                }
                Effect::TakeBack { key, ways } => {
                    for way in ways.iter().rev() {
                        let said = self.hands.take_back(way);
                        if let WayBack::AllowRules { target } = way {
                            self.suspended.remove(target);
                            self.keep_suspended(db)?;
                        }
                        let (Ok(what) | Err(what)) = &said;
                        let what = display_line(what);
                        let step = if said.is_ok() { RuleStep::TakenBack } else { RuleStep::Failed };
                        self.write(db, moment, &key, step, &what)?;
                        if let Some(incident) = self.engine.incidents.get_mut(&key) {
                            let how = if said.is_ok() { "taken back" } else { "cannot be taken back" };
                            incident.tell(moment.wall.as_second(), format!("{how}: {what}"));
                        }
                    }
                }
                Effect::Note { incident, what } => {
                    let step = match what.as_str() {
                        "healed" => RuleStep::Healed,
                        "missed" => RuleStep::Missed,
                        "cleared" => RuleStep::Cleared,
                        "refuted" => RuleStep::Refuted,
                        "escalated" => RuleStep::Escalated,
                        "failed" | "interrupted" => RuleStep::Failed,
                        "would-act" => RuleStep::WouldAct,
                        _ => continue,
                    };
                    let why = incident.thread.last().map(|last| last.what.clone()).unwrap_or_default();
                    if step == RuleStep::WouldAct {
                        (self.log)(&format!("rule {} {} on {}: {why}", incident.rule, incident.name, incident.target));
                    }
                    let entry = Entry::Rule {
                        number: incident.rule,
                        version: incident.version,
                        target: incident.target.clone(),
                        incident: incident.id,
                        step,
                        what: why,
                    };
                    db.note_host(moment, &entry)?;
                }
                Effect::Notice(notice) => looked.notices.push(notice),
            }
        }
        Ok(())
    }

    /// Takes the actions of one attempt. Before each, its way back and its row of the ledger are on disk.
    fn perform(
        &mut self,
        db: &mut Db,
        moment: &Moment,
        now: i64,
        key: &Key,
        steps: Vec<Action>,
        looked: &mut Looked,
    ) -> Result<Vec<Effect>, DbError> {
        let find = |setting: &Setting| {
            let rule = setting.rules.iter().find(|rule| rule.number == key.0)?.clone();
            let target = setting.targets.iter().find(|target| target.name.as_str() == key.1)?.clone();
            Some((rule, target))
        };
        let Some((rule, target)) = find(&self.setting) else { return Ok(Vec::new()) };
        let mut done: Vec<(Action, Done)> = Vec::new();
        for (index, action) in steps.into_iter().enumerate() {
            if index > 0 && self.is_ending() {
                return Ok(Vec::new());
            }
            let Some((id, attempt)) = self.engine.incidents.get(key).map(|one| (one.id, one.attempts)) else { break };
            let name = format!("rule{}-{id}-{attempt}-{index}", key.0);
            let ways = match self.hands.prepare(&action, &target, &name) {
                Ok(ways) => ways,
                Err(why) => {
                    done.push((action, Done::badly(display_line(&why))));
                    break;
                }
            };
            if let Some(incident) = self.engine.incidents.get_mut(key) {
                incident.ways.extend(ways.iter().cloned());
                // With the attempt, which counts also when nothing is heard of its end.
                let record = self.engine.records.get_key_value(key);
                db.keep_rule_state(record.into_iter(), std::iter::once(&*incident), [])?;
            }
            self.write(db, moment, key, RuleStep::Acts, &action.to_string())?;
            let line = format!("self_heal Rule {}: {action}", key.0);
            (self.log)(&line);
            looked.acted.push(line);
            if let Action::SuspendRules { lasts } = &action {
                let until = now.saturating_add(i64::try_from(lasts.as_secs()).unwrap_or(i64::MAX));
                self.suspended.insert(key.1.clone(), until);
                self.keep_suspended(db)?;
            }
            let what = self.hands.take(&action, &target, &name, &ways);
            let failed = what.result.is_err();
            if failed && self.is_ending() {
                // It stays as it is on disk, as if this process had been killed: the next one takes back what was begun.
                return Ok(Vec::new());
            }
            done.push((action, what));
            if failed {
                break;
            }
        }
        if !done.is_empty() {
            self.acted.push(key.1.clone());
        }
        Ok(self.engine.performed(key, &rule, &done, moment.wall.as_second(), now))
    }

    fn write(&self, db: &mut Db, moment: &Moment, key: &Key, step: RuleStep, what: &str) -> Result<(), DbError> {
        let incident = self.engine.incidents.get(key);
        let entry = Entry::Rule {
            number: key.0,
            version: incident.map_or(0, |incident| incident.version),
            target: key.1.clone(),
            incident: incident.map_or(0, |incident| incident.id),
            step,
            what: what.to_owned(),
        };
        db.note_host(moment, &entry)
    }

    fn keep_suspended(&self, db: &mut Db) -> Result<(), DbError> {
        db.set_fact(SUSPENDED, &serde_json::to_string(&self.suspended).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests;
