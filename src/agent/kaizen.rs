//! Level 3 on this host: a thread of its own that puts troubles together every minute and proposes every hour, whatever
//! a round does. What it asks of a model delays nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use toml::Table;

use super::authoring::private;
use super::notifying;
use super::parts::Parts;
use super::rules::{self, RulesError};
use super::workshop::{Workshop, configured_areas, mesh_areas};
use crate::domain::expr::Function;
use crate::domain::foreign_text::{display_line, error_line};
use crate::domain::guard::{ActionKind, AskedBy, Canary, Policy};
use crate::domain::heal::target::{Target, TargetKind};
use crate::domain::kaizen::budget::Budget;
use crate::domain::kaizen::correlation::{Case, Scene};
use crate::domain::kaizen::proposal::Act;
use crate::domain::kaizen::question::Question;
use crate::domain::notice::{Notice, Severity, Standing};
use crate::domain::redact::Private;
use crate::domain::running::{Moment, Running};
use crate::domain::service::Criticality;
use crate::domain::signal;
use crate::loops::consult::Consultant;
use crate::loops::diagnose::{self, Asking, Declared, Ground};
use crate::loops::library::{Library, Origin};
use crate::loops::propose::{self, Bench, EVERY, Held, ProposeError, Written};
use crate::ports::model::Model;
use crate::store::config::Config;
use crate::store::db::{Db, DbError};
use crate::store::model_config::ModelConfig;
use crate::store::notify_config::HomeSecrets;
use crate::store::proposals::Proposed;
use crate::sys::changes::Places;
use crate::sys::clock::SystemClock;
use crate::sys::model::{Endpoint, HttpModel};
use crate::sys::repo::GitRepo;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(60);
/// How long the end of the thread is waited for.
const LEAVE: Duration = Duration::from_secs(2);
/// From news to the next look.
const SOON: Duration = Duration::from_secs(1);
/// Changes are looked for this far back, in seconds: those of cases that began within a day.
const BACK: i64 = 25 * 3_600;
/// The fact that holds when proposals were last made, in time that surely passed.
const PROPOSED: &str = "kaizen_proposed";
/// A place counts as full from this share on.
const FULL_PERCENT: f64 = 99.0;

/// What the thread is told.
enum Word {
    Given(Box<Given>),
    Stop,
}

/// What the thread works with.
pub struct Given {
    ground: Ground,
    rules: Vec<Written>,
    lessons: Vec<Held>,
    policy: Policy,
    /// Audited roots, mesh's own among them.
    roots: Vec<PathBuf>,
    repo: GitRepo,
    places: Places,
    model: Option<ModelConfig>,
    secrets: HomeSecrets,
    /// Whether lessons are known: before the first round nothing is proposed.
    complete: bool,
}

/// Where the thread writes: a line for each thing that a person may want to know.
pub type Log = fn(&str);

/// The running thread.
pub struct Kaizen {
    words: Sender<Word>,
    thread: JoinHandle<()>,
    /// What is not in order, a sentence each.
    pub notes: Vec<String>,
}

/// Where the configured model is.
pub(super) fn endpoint(config: &ModelConfig) -> Endpoint {
    Endpoint {
        api: config.api,
        url: config.url.clone(),
        name: config.name.clone(),
        token: config.token.clone(),
        timeout: config.timeout.0,
    }
}

/// What a model is called in listings.
fn identity(config: &ModelConfig) -> String {
    format!("{} {} at {}", config.api.name(), config.name, config.url)
}

fn ground(config: &Config, targets: Vec<Target>) -> Ground {
    let services = config.services.iter().map(|service| {
        let declared = Declared {
            unit: service.unit.clone(),
            critical: service.policy.criticality == Criticality::Critical,
            parents: service.depends_on.iter().map(|parent| parent.as_str().to_owned()).collect(),
        };
        (service.name.as_str().to_owned(), declared)
    });
    Ground { services: services.collect(), targets }
}

/// Where changes of what runs here are looked for.
fn places(config: &Config, ground: &Ground) -> Places {
    let mut places = Places::of_system();
    let below =
        |path: &Path| config.audit_roots.iter().find(|root| path.starts_with(&root.path)).map(|root| root.path.clone());
    for service in &config.services {
        let name = service.name.as_str().to_owned();
        if let Some(unit) = service.unit.strip_suffix(".service") {
            places.names.insert(unit.to_owned(), name.clone());
        }
        for source in &service.watch {
            let root = below(source).unwrap_or_else(|| source.clone());
            places.projects.entry(root).or_default().insert(name.clone());
        }
    }
    for target in &ground.targets {
        let services: BTreeSet<String> =
            target.services.iter().cloned().chain(target.service().map(str::to_owned)).collect();
        if let (TargetKind::Environment, Some(path)) = (target.kind, &target.path) {
            places.environments.entry(path.clone()).or_default().extend(services.clone());
        }
        for source in &target.sources {
            let root: PathBuf = below(source).unwrap_or_else(|| source.clone());
            places.projects.entry(root).or_default().extend(services.clone());
        }
    }
    places
}

/// What to work with, from what was read. `library` is that of the last round; none: no lesson is minded.
///
/// # Errors
/// The rules cannot be read.
pub fn given(parts: &Parts, library: Option<&Library>) -> Result<Given, RulesError> {
    let ground = ground(&parts.config, rules::targets(parts));
    let written = crate::store::rules::load(&parts.home)?.held.into_iter().filter_map(|held| {
        let table: Table = held.text.parse().ok()?;
        let trigger = table.get("trigger")?.get("when")?.as_str()?.to_owned();
        Some(Written { rule: held.rule, trigger })
    });
    let lessons = library.into_iter().flat_map(|library| &library.held).map(|held| Held {
        lesson: held.lesson.clone(),
        of_peer: match &held.origin {
            Origin::Peer { name, host, .. } => Some(format!("peer {name} ({})", host.short())),
            Origin::Founding | Origin::Local => None,
        },
    });
    let house = Workshop::of(parts).house().clone();
    let policy = Policy {
        asked_by: AskedBy::Audit,
        blocked: house.blocked,
        blocked_ids: house.blocked_ids,
        max_lines: house.max_lines,
        kind: ActionKind::File,
        blocked_kinds: house.blocked_kinds,
        canary: Canary::None,
        approvals: house.approvals,
        pace: house.pace,
        now: parts.now(),
    };
    let places = places(&parts.config, &ground);
    let areas = configured_areas(parts).0.into_iter().chain(mesh_areas(parts));
    Ok(Given {
        roots: areas.map(|area| area.root).collect(),
        repo: GitRepo::new(parts.key.host(), parts.home.state().join("worktrees")),
        rules: written.collect(),
        lessons: lessons.collect(),
        policy,
        places,
        model: parts.config.model.clone(),
        secrets: HomeSecrets::of(&parts.home),
        complete: library.is_some(),
        ground,
    })
}

/// Level 3, a step at a time.
pub struct Work {
    given: Given,
    model: Option<(String, Option<Private>, Box<dyn Model>)>,
    log: Log,
}

impl Work {
    /// What works with `given`.
    #[must_use]
    pub fn new(given: Given, log: Log) -> Self {
        let mut work = Self { model: None, log, given };
        work.connect();
        work
    }

    fn connect(&mut self) {
        self.model = None;
        let Some(config) = &self.given.model else { return };
        match HttpModel::new(endpoint(config), Arc::new(self.given.secrets.clone())) {
            Ok(model) => {
                self.model = Some((identity(config), config.remote.then(private), Box::new(model)));
            }
            Err(why) => (self.log)(&format!("the model is not asked: {why}")),
        }
    }

    /// Works with `given` from now on.
    pub fn give(&mut self, given: Given) {
        let same = given.model == self.given.model;
        self.given = given;
        if !same {
            self.connect();
        }
    }

    /// One step: cases, and proposals where an hour has passed. `wait` waits between two tries of a question.
    ///
    /// # Errors
    /// The database failed.
    pub fn step(
        &mut self,
        db: &mut Db,
        moment: &dyn Fn() -> Moment,
        wait: &dyn Fn(Duration) -> bool,
    ) -> Result<(), ProposeError> {
        let now = moment();
        let wall = now.wall.as_second();
        let given = &self.given;
        let budget = given.model.as_ref().map_or(Budget { calls: 0, tokens: 0 }, |config| Budget {
            calls: config.calls_per_day.into(),
            tokens: config.tokens_per_day.into(),
        });
        let log = self.log;
        let mut name = String::new();
        let mut kept_private = None;
        let mut ask = self.model.as_mut().map(|(by, private, model)| {
            name.clone_from(by);
            kept_private.clone_from(private);
            let by = by.clone();
            move |db: &mut Db, question: &Question| {
                let mut consultant =
                    Consultant { model: &mut **model, identity: &by, budget, moment, wait, spread: &spread };
                consultant.consult(db, question)
            }
        });
        let around = |db: &Db| {
            Ok(Scene {
                changes: given.places.changes(wall - BACK),
                down: db.services()?.into_iter().filter(|row| row.state != "up").map(|row| row.name).collect(),
                full: full(db, wall)?,
                parents: BTreeMap::new(),
            })
        };
        let asking = ask.as_mut().map(|ask| Asking { by: &name, private: kept_private.as_ref(), ask });
        let looked = diagnose::look(db, &given.ground, &around, asking, wall)?;
        for case in &looked.news {
            log(&words(case));
            if case.cause.is_some() && case.is_critical() && case.troubles.len() > 1 {
                notifying::tell(db, &of_case(case))?;
            }
        }
        looked.unanswered.iter().for_each(|why| log(&display_line(why)));
        let clock = db.clock_at(&now)?;
        let last = db.fact(PROPOSED)?.and_then(|last| last.parse().ok()).map(Running::from_millis);
        if !given.complete || last.is_some_and(|last| clock.since(last) < EVERY) {
            return Ok(());
        }
        db.count_on_with(&now, PROPOSED, &clock.as_millis().to_string())?;
        let measure = super::undo::measured(now.wall);
        let policy = Policy { now: now.wall, ..given.policy.clone() };
        let bench = Bench {
            ground: &given.ground,
            rules: &given.rules,
            lessons: &given.lessons,
            policy: &policy,
            roots: &given.roots,
            repo: &given.repo,
            measure: &measure,
        };
        let asking = ask.as_mut().map(|ask| Asking { by: &name, private: kept_private.as_ref(), ask });
        let round = propose::round(db, &bench, asking, &now)?;
        for proposed in &round.new {
            log(&format!("proposed {}: {}", proposed.id, display_line(&proposed.proposal.act.words())));
            // A fix is listed where all fixes are; who merges them reads that.
            if !matches!(proposed.proposal.act, Act::Adopt { .. }) {
                notifying::tell(db, &of_proposal(proposed, &now))?;
            }
        }
        for (id, state) in &round.moved {
            log(&format!("proposal {id} is {}", state.name()));
        }
        if round.refused > 0 {
            log(&format!("{} offers of the model are refused: see `mesh kaizen list`", round.refused));
        }
        round.unanswered.iter().for_each(|why| log(&display_line(why)));
        Ok(())
    }
}

/// A random number from 0 to 1; the middle where the system has none.
fn spread() -> f64 {
    getrandom::u32().map_or(0.5, |random| f64::from(random) / f64::from(u32::MAX))
}

/// Places that are full or cannot be written, as they were measured last.
fn full(db: &Db, now: i64) -> Result<Vec<String>, DbError> {
    let mut full = BTreeSet::new();
    let signals = [("host.disk.used_percent", FULL_PERCENT), ("host.disk.inodes_used_percent", FULL_PERCENT)];
    for (name, most) in signals {
        let Some(signal) = signal::find(name) else { continue };
        for series in db.series(signal, Duration::from_secs(3_600), now)? {
            let last = series.read(Function::Last, None, signal, now);
            if last.and_then(|range| range.exact()).is_some_and(|value| value >= most) {
                full.insert(series.subject.clone());
            }
        }
    }
    Ok(full.into_iter().collect())
}

/// A case in one line.
fn words(case: &Case) -> String {
    let names: BTreeSet<&str> = case.troubles.iter().map(|trouble| trouble.subject.as_str()).collect();
    let names = names.into_iter().collect::<Vec<_>>().join(", ");
    let cause = case.cause.as_ref().map_or("no shared cause is known".to_owned(), |cause| cause.words());
    display_line(&format!("case {}: {names}: {cause}", case.name()))
}

fn of_case(case: &Case) -> Notice {
    let cause = case.cause.as_ref();
    let next = cause.map(|cause| cause.next()).unwrap_or_default();
    Notice {
        at: jiff::Timestamp::from_second(case.began()).unwrap_or(jiff::Timestamp::UNIX_EPOCH),
        thread: format!("case:{}", case.name()),
        standing: Standing::Once,
        severity: Severity::Warning,
        area: "kaizen".to_owned(),
        title: words(case),
        text: display_line(&next),
    }
}

fn of_proposal(proposed: &Proposed, now: &Moment) -> Notice {
    Notice {
        at: now.wall,
        thread: format!("proposal:{}", proposed.id),
        standing: Standing::Once,
        severity: Severity::Info,
        area: "kaizen".to_owned(),
        title: display_line(&format!("proposed: {}", proposed.proposal.act.words())),
        text: format!("mesh kaizen show {}", proposed.id),
    }
}

impl Kaizen {
    /// Starts the thread; none in a dry run, which remembers nothing.
    ///
    /// # Errors
    /// The rules or the database cannot be read.
    pub fn start(parts: &Parts, log: Log) -> Result<Self, RulesError> {
        let given = given(parts, None)?;
        let mut db = Db::open_small(&parts.home.database())?;
        let (words, received) = channel();
        let thread = thread::Builder::new().name("kaizen".to_owned()).spawn(move || {
            run(&mut Work::new(given, log), &mut db, &received, log);
        });
        Ok(Self { words, thread: thread.map_err(RulesError::Program)?, notes: Vec::new() })
    }

    /// Takes over what was read again, and the lessons of the last round.
    pub fn refresh(&mut self, parts: &Parts, library: &Library) {
        self.notes.clear();
        match given(parts, Some(library)) {
            Ok(given) => {
                if self.words.send(Word::Given(Box::new(given))).is_err() {
                    self.notes.push("nothing is proposed any more: restart mesh".to_owned());
                }
            }
            Err(error) => self.notes.push(format!("proposals go on as before: {}", error_line(&error))),
        }
    }

    /// Ends the thread. A question that is under way is not waited for: what it may cost is written down already.
    pub fn stop(self) {
        // One that has ended already hears nothing.
        drop(self.words.send(Word::Stop));
        let latest = Instant::now() + LEAVE;
        while !self.thread.is_finished() && Instant::now() < latest {
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn run(work: &mut Work, db: &mut Db, words: &Receiver<Word>, log: Log) {
    let (mut due, mut stopped) = (Duration::ZERO, false);
    while !stopped {
        match words.recv_timeout(due) {
            Ok(Word::Given(given)) => {
                work.give(*given);
                due = due.min(SOON);
                continue;
            }
            Ok(Word::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
        }
        due = LOOK;
        // A question is not asked again once the agent is to end.
        let ended = std::cell::Cell::new(false);
        let news = std::cell::RefCell::new(None);
        let wait = |span: Duration| match words.recv_timeout(span) {
            Err(RecvTimeoutError::Timeout) => true,
            Ok(Word::Given(given)) => {
                *news.borrow_mut() = Some(given);
                true
            }
            Ok(Word::Stop) | Err(RecvTimeoutError::Disconnected) => {
                ended.set(true);
                false
            }
        };
        if let Err(error) = work.step(db, &|| SystemClock.moment(), &wait) {
            log(&format!("kaizen: {}", error_line(&error)));
        }
        stopped = ended.get();
        if let Some(given) = news.into_inner() {
            work.give(*given);
        }
    }
}
