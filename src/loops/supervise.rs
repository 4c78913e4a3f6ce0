//! Supervising: what managers, services and people say is put before the life of each service, and what that asks for
//! is done at once. It waits for events and for what is due, and for nothing else.

mod rules;

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::domain::foreign_text::display_line;
use crate::domain::heal::condition::EventName;
use crate::domain::id::ServiceName;
use crate::domain::running::Running;
use crate::domain::service::{
    self, Counts, Criticality, Effect, Life, ManagerKind, Notice, Now, Observation, Policy, Process, Sign,
};
use crate::domain::snapshot::ServiceView;
use crate::ports::manager::{Asked, Manager, Question, Target, Told, Word};

pub use rules::{Answer as Ordered, Ask, Seen};

/// Between two looks at everything, for what no event told of.
const SWEEP: Duration = Duration::from_secs(60);
/// Of so many looks at everything, one is for whether a program that runs has been replaced.
const REPLACED_EVERY: u32 = 5;
/// Between two looks at whether a person has ended a pause or a maintenance window, while there is something to do.
const HELD: Duration = Duration::from_secs(2);
/// This late, nothing that was to be heard meanwhile is held against anybody: it was us who did not listen.
const LATE: Duration = Duration::from_secs(5);
/// Stack of a thread that asks.
const STACK: usize = 256 * 1024;
/// Longest remark that is shown, in characters.
const REMARK_CHARS: usize = 200;

/// One question, and how often it is asked.
pub struct Regular {
    /// The time between two answers.
    pub every: Duration,
    /// How long one may take.
    pub deadline: Duration,
    /// What asks.
    pub question: Box<dyn Question>,
}

/// A service to supervise.
pub struct Supervised {
    /// Its name.
    pub name: ServiceName,
    /// Who runs it.
    pub manager: ManagerKind,
    /// What that one calls it.
    pub unit: String,
    /// How it is treated.
    pub policy: Policy,
    /// What must be healthy before it starts.
    pub depends_on: Vec<ServiceName>,
    /// The longest time between two `WATCHDOG=1`.
    pub watchdog: Option<Duration>,
    /// What it is asked while it runs.
    pub regular: Vec<Regular>,
}

/// What the loop is told.
pub enum Event {
    /// By a manager.
    Told(Told),
    /// By a question that came back.
    Answer(Answer),
    /// These services from now on, and managers that were not there before.
    Services(Vec<Supervised>, Vec<(ManagerKind, Box<dyn Manager>)>),
    /// A person wants one to be down, or no longer.
    Wish {
        /// The service.
        service: ServiceName,
        /// Whether it is to be down.
        stop: bool,
    },
    /// Rules ask something.
    Asked(Ask),
    /// End. Every service stays as it is.
    Stop,
}

impl From<Told> for Event {
    fn from(told: Told) -> Self {
        Self::Told(told)
    }
}

/// What a question brought back.
pub struct Answer {
    round: u64,
    service: ServiceName,
    index: usize,
    question: Box<dyn Question>,
    process: Option<Process>,
    said: Vec<service::Event>,
}

/// Something that happened, to be remembered and told.
#[derive(Clone, PartialEq, Debug)]
pub struct Happened {
    /// The service; `None` when it is of the supervision itself.
    pub service: Option<ServiceName>,
    /// Whether it is optional: then nobody is woken.
    pub optional: bool,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, PartialEq, Debug)]
pub enum What {
    /// Something of a service's life.
    Notice(Notice),
    /// A part of the supervision does not work, in one sentence.
    Trouble(String),
}

/// All services at one moment.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Shown {
    /// By name.
    pub services: BTreeMap<String, ServiceView>,
}

/// What the loop needs of the world.
pub trait World {
    /// Whether nothing may be changed now. It is asked before each action.
    fn is_held(&mut self) -> bool;
    /// Whether people work on a service now. It is asked before one that runs is ended for what it shows.
    fn is_maintained(&mut self, service: &ServiceName) -> bool;
    /// A random number from 0 to 1.
    fn jitter(&mut self) -> f64;
    /// Whether the program that a process runs is gone from disk; `None` when that cannot be seen.
    fn is_replaced(&mut self, process: Process) -> Option<bool>;
    /// Remembers what happened. It must not wait.
    fn happened(&mut self, happened: Happened);
    /// Shows how all are now. It must not wait.
    fn show(&mut self, shown: &Shown);
    /// Tells what is counted of each. It must not wait.
    fn counted(&mut self, counts: &BTreeMap<String, Counts>);
}

struct Standing {
    every: Duration,
    deadline: Duration,
    /// `None` while it is asked.
    question: Option<Box<dyn Question>>,
    asked: Option<Instant>,
    given_up: bool,
    due: Instant,
}

struct Kept {
    manager: ManagerKind,
    policy: Policy,
    depends_on: Vec<ServiceName>,
    watchdog: Option<Duration>,
    /// When it last said that it lives.
    heard: Option<Instant>,
    life: Life,
    since: Option<Timestamp>,
    regular: Vec<Standing>,
}

struct Supervising<'a, W> {
    world: &'a mut W,
    answers: Sender<Event>,
    managers: BTreeMap<ManagerKind, Box<dyn Manager>>,
    services: BTreeMap<ServiceName, Kept>,
    /// Services that depend on the one named.
    dependents: BTreeMap<ServiceName, Vec<ServiceName>>,
    round: u64,
    began: Instant,
    held: bool,
    swept: Instant,
    /// How often it looked at everything.
    sweeps: u32,
    shown: Shown,
    wishes: BTreeMap<ServiceName, bool>,
    /// Who hears what happens to services, beside the world.
    hearer: Option<Sender<(String, EventName)>>,
    /// What rules asked for and is under way.
    pending: Vec<rules::Pending>,
}

/// Supervises until it is told to stop. `answers` is the sender that belongs to `events`.
pub fn run<W: World>(world: &mut W, answers: Sender<Event>, events: &Receiver<Event>) {
    let now = Instant::now();
    let mut supervising = Supervising {
        world,
        answers,
        managers: BTreeMap::new(),
        services: BTreeMap::new(),
        dependents: BTreeMap::new(),
        round: 0,
        began: now,
        held: false,
        swept: now,
        sweeps: 0,
        shown: Shown::default(),
        wishes: BTreeMap::new(),
        hearer: None,
        pending: Vec::new(),
    };
    loop {
        let next = supervising.next();
        let event = match next {
            Some(next) => events.recv_timeout(next.saturating_duration_since(Instant::now())),
            None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        if next.is_some_and(|next| next.elapsed() > LATE) {
            supervising.forgive();
        }
        let mut event = match event {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        // What was heard by now counts before what is due.
        while let Some(one) = event {
            if matches!(one, Event::Stop) {
                return;
            }
            supervising.take(one);
            event = events.try_recv().ok();
        }
        supervising.tick();
        supervising.answer_orders();
        supervising.show();
    }
}

impl<W: World> Supervising<'_, W> {
    fn take(&mut self, event: Event) {
        match event {
            Event::Told(told) => self.told(told),
            Event::Answer(answer) => self.answered(answer),
            Event::Services(services, managers) => self.replace(services, managers),
            Event::Wish { service, stop } => {
                // A stop holds until it is taken back; a start of what is not known yet waits until it is.
                if stop || !self.services.contains_key(&service) {
                    self.wishes.insert(service.clone(), stop);
                } else {
                    self.wishes.remove(&service);
                }
                self.step(&service, service::Event::Operator { stop });
            }
            Event::Asked(ask) => self.asked(ask),
            Event::Stop => {}
        }
    }

    fn told(&mut self, told: Told) {
        match told {
            Told::Seen(seen) => {
                let name = seen.service.clone();
                let Some(kept) = self.services.get_mut(&name) else { return };
                let before = kept.life.process();
                if seen.process.is_some() && seen.process != before {
                    kept.begun(&seen);
                }
                self.step(&name, service::Event::Seen(seen));
            }
            Told::Refused { service, verb, why } => self.step(&service, service::Event::Refused(verb, why)),
            Told::Reloaded(service) => self.step(&service, service::Event::Reloaded),
            Told::Heard { service, word } => {
                let Some(kept) = self.services.get_mut(&service) else { return };
                kept.heard = Some(Instant::now());
                let event = match word {
                    Word::Ready => service::Event::Ready,
                    Word::Alive => {
                        self.step(&service, service::Event::Beat(Duration::ZERO));
                        service::Event::Sign(Sign::Alive)
                    }
                    Word::OverMemory => service::Event::OverMemory,
                };
                self.step(&service, event);
            }
            Told::Trouble(what) => {
                let what = What::Trouble(display_line(&what));
                self.world.happened(Happened { service: None, optional: false, what });
            }
        }
    }

    fn answered(&mut self, answer: Answer) {
        if answer.round != self.round {
            return;
        }
        let Some(kept) = self.services.get_mut(&answer.service) else { return };
        let process = kept.life.process();
        let standing = &mut kept.regular[answer.index];
        standing.question = Some(answer.question);
        standing.asked = None;
        standing.due = standing.due.max(Instant::now());
        // What comes after its time, or of a process that is gone, says nothing of the one that is there.
        if std::mem::take(&mut standing.given_up) || process != answer.process {
            return;
        }
        for event in answer.said {
            self.step(&answer.service, event);
        }
    }

    fn replace(&mut self, services: Vec<Supervised>, managers: Vec<(ManagerKind, Box<dyn Manager>)>) {
        self.round += 1;
        self.managers.extend(managers);
        let mut before = std::mem::take(&mut self.services);
        self.dependents.clear();
        let now = Instant::now();
        let mut targets: BTreeMap<ManagerKind, Vec<Target>> =
            self.managers.keys().map(|kind| (*kind, Vec::new())).collect();
        for wanted in services {
            let Supervised { name, manager, unit, policy, depends_on, watchdog, regular } = wanted;
            for parent in &depends_on {
                self.dependents.entry(parent.clone()).or_default().push(name.clone());
            }
            targets.entry(manager).or_default().push(Target { service: name.clone(), unit });
            let regular = regular.into_iter().zip(1_u32..).map(|(regular, place)| Standing {
                // Not all at once, and not before a service that was just started had its time.
                due: now + (regular.every / 10).min(Duration::from_millis(50) * place),
                every: regular.every,
                deadline: regular.deadline,
                question: Some(regular.question),
                asked: None,
                given_up: false,
            });
            let regular = regular.collect();
            let known = before.remove(&name).filter(|known| known.manager == manager);
            let (life, since, heard) =
                known.map_or_else(|| (Life::default(), None, None), |known| (known.life, known.since, known.heard));
            let kept = Kept { manager, policy, depends_on, watchdog, heard, life, since, regular };
            self.services.insert(name, kept);
        }
        for name in self.services.keys().cloned().collect::<Vec<_>>() {
            self.gate(&name);
            if let Some(stop) = self.wishes.get(&name).copied() {
                self.wishes.retain(|known, stop| *stop || *known != name);
                self.step(&name, service::Event::Operator { stop });
            }
        }
        for (kind, targets) in targets {
            match self.managers.get_mut(&kind) {
                Some(manager) => manager.watch(&targets),
                None => {
                    for target in targets {
                        let why = format!("{} is not here", kind.name());
                        self.told(Told::Seen(Observation::unknown(target.service, why)));
                    }
                }
            }
        }
    }

    fn now(&mut self) -> Now {
        let passed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Now { at: Running::from_millis(passed), jitter: self.world.jitter() }
    }

    fn gate(&mut self, name: &ServiceName) {
        let Some(kept) = self.services.get(name) else { return };
        let healthy = |parent| self.services.get(parent).is_some_and(|parent| parent.life.is_healthy());
        let parents = kept.depends_on.iter().all(healthy);
        self.step(name, service::Event::Gate { parents, held: self.held });
    }

    /// One step of a service's life, and all that follows from it.
    fn step(&mut self, name: &ServiceName, event: service::Event) {
        let now = self.now();
        let Some(kept) = self.services.get_mut(name) else { return };
        let was_healthy = kept.life.is_healthy();
        let asks = |effects: &[Effect]| effects.iter().any(|effect| matches!(effect, Effect::Act(_)));
        let (mut life, mut effects) = service::step(&kept.policy, kept.life.clone(), event.clone(), now);
        if ends_it(&effects) && self.world.is_maintained(name) {
            self.step(name, service::Event::Maintained(true));
            let Some(kept) = self.services.get_mut(name) else { return };
            (life, effects) = service::step(&kept.policy, kept.life.clone(), event.clone(), now);
        }
        if asks(&effects) && self.world.is_held() {
            // As if it had been known before.
            self.hold(true);
            let Some(kept) = self.services.get_mut(name) else { return };
            (life, effects) = service::step(&kept.policy, kept.life.clone(), event, now);
        }
        let Some(kept) = self.services.get_mut(name) else { return };
        kept.life = life;
        let (manager, is_healthy) = (kept.manager, kept.life.is_healthy());
        let optional = kept.policy.criticality == Criticality::Optional;
        // First what is to be done, then what is to be told of it.
        for effect in &effects {
            let Some(manager) = self.managers.get_mut(&manager) else { continue };
            match effect {
                Effect::Act(verb) => manager.act(name, *verb),
                Effect::Look => manager.look(name),
                Effect::Tell(_) => {}
            }
        }
        for effect in effects {
            if let Effect::Tell(notice) = effect {
                self.let_hear(name, &notice);
                let what = What::Notice(notice);
                self.world.happened(Happened { service: Some(name.clone()), optional, what });
            }
        }
        if was_healthy != is_healthy {
            for child in self.dependents.get(name).cloned().unwrap_or_default() {
                self.gate(&child);
            }
        }
    }

    fn hold(&mut self, held: bool) {
        if std::mem::replace(&mut self.held, held) == held {
            return;
        }
        for name in self.services.keys().cloned().collect::<Vec<_>>() {
            self.gate(&name);
        }
    }

    /// When to look again though nothing happens.
    fn next(&mut self) -> Option<Instant> {
        if self.services.is_empty() {
            return None;
        }
        let mut next = self.swept + SWEEP;
        if self.held || self.services.values().any(|kept| kept.life.is_maintained()) {
            next = next.min(Instant::now() + HELD);
        }
        for kept in self.services.values() {
            if let Some(due) = kept.life.due(&kept.policy) {
                // A millisecond more: what is counted in whole ones is then past.
                next = next.min(self.began + Duration::from_millis(due.as_millis() + 1));
            }
            if kept.life.process().is_none() {
                continue;
            }
            next = kept.watchdog.zip(kept.heard).map_or(next, |(watchdog, heard)| next.min(heard + watchdog));
            for standing in &kept.regular {
                next = next.min(match standing.asked {
                    Some(asked) if !standing.given_up => asked + standing.deadline,
                    _ => standing.due,
                });
            }
        }
        Some(next)
    }

    /// Does what is due.
    fn tick(&mut self) {
        if self.held && !self.world.is_held() {
            self.hold(false);
        }
        let now = Instant::now();
        let at = Running::from_millis(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX));
        let sweep = self.swept + SWEEP <= now;
        for name in self.services.keys().cloned().collect::<Vec<_>>() {
            let Some(kept) = self.services.get_mut(&name) else { continue };
            if kept.life.is_maintained() && !self.world.is_maintained(&name) {
                self.step(&name, service::Event::Maintained(false));
            }
            let Some(kept) = self.services.get_mut(&name) else { continue };
            if kept.life.due(&kept.policy).is_some_and(|due| due <= at) {
                self.step(&name, service::Event::Tick);
            }
            self.watchdog(&name, now);
            self.ask(&name, now);
            if sweep {
                self.sweep(&name);
            }
        }
        if sweep {
            self.swept = now;
            self.sweeps = self.sweeps.wrapping_add(1);
            self.count();
        }
    }

    fn count(&mut self) {
        let at = Running::from_millis(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX));
        let counts = self.services.iter().map(|(name, kept)| (name.to_string(), kept.life.counts(at))).collect();
        self.world.counted(&counts);
    }

    fn watchdog(&mut self, name: &ServiceName, now: Instant) {
        let Some(kept) = self.services.get_mut(name) else { return };
        let Some((watchdog, heard)) = kept.watchdog.zip(kept.heard) else { return };
        if kept.life.process().is_some() && heard + watchdog <= now {
            // Said once for each time that it was not heard.
            kept.heard = Some(now);
            let why = format!("no WATCHDOG=1 within {} s", watchdog.as_secs());
            self.step(name, service::Event::Sign(Sign::Lost(why)));
        }
    }

    /// Asks what is due and gives up what is late.
    fn ask(&mut self, name: &ServiceName, now: Instant) {
        let Some(kept) = self.services.get_mut(name) else { return };
        let Some(process) = kept.life.process() else { return };
        let asked = Asked { process: Some(process), since: kept.since };
        let mut said = Vec::new();
        for (index, standing) in kept.regular.iter_mut().enumerate() {
            match standing.asked {
                Some(asked) if !standing.given_up && asked + standing.deadline <= now => {
                    standing.given_up = true;
                    standing.due = now + standing.every;
                    said.push("its check hangs");
                }
                Some(_) if standing.given_up && standing.due <= now => {
                    standing.due = now + standing.every;
                    said.push("its check still hangs");
                }
                None if standing.due <= now => {
                    standing.due = now + standing.every;
                    let Some(question) = standing.question.take() else { continue };
                    standing.asked = Some(now);
                    let answer = Answer {
                        round: self.round,
                        service: name.clone(),
                        index,
                        question,
                        process: Some(process),
                        said: Vec::new(),
                    };
                    if start(answer, asked, self.answers.clone()).is_err() {
                        // The question went with the thread that could not be made.
                        said.push("no thread to ask in");
                    }
                }
                Some(_) | None => {}
            }
        }
        for why in said {
            self.step(name, service::Event::Sign(Sign::Unknown(why.to_owned())));
        }
    }

    fn sweep(&mut self, name: &ServiceName) {
        let Some(kept) = self.services.get(name) else { return };
        let (kind, process) = (kept.manager, kept.life.process());
        if let Some(manager) = self.managers.get_mut(&kind) {
            manager.look(name);
        }
        if !self.sweeps.is_multiple_of(REPLACED_EVERY) {
            return;
        }
        if let Some(replaced) = process.and_then(|process| self.world.is_replaced(process)) {
            self.step(name, service::Event::Replaced(replaced));
        }
    }

    /// We were not running when we should have looked: every time begins anew.
    fn forgive(&mut self) {
        let now = Instant::now();
        for kept in self.services.values_mut() {
            kept.heard = kept.heard.map(|_| now);
            for standing in &mut kept.regular {
                standing.asked = standing.asked.map(|_| now);
                if let Some(question) = &mut standing.question {
                    question.renew();
                }
            }
        }
    }

    fn show(&mut self) {
        let services = self.services.iter().map(|(name, kept)| (name.to_string(), kept.view())).collect();
        let shown = Shown { services };
        if shown != self.shown {
            self.world.show(&shown);
            self.shown = shown;
            self.count();
        }
    }
}

/// Whether a service that runs is ended for what it shows, and not because a person or a rule wants it.
fn ends_it(effects: &[Effect]) -> bool {
    let for_that = |effect: &Effect| {
        matches!(
            effect,
            Effect::Tell(Notice::Stopping(service::Why::Hung(_) | service::Why::NotReady | service::Why::Stale))
        )
    };
    effects.iter().any(for_that)
}

impl Kept {
    /// Another process than before.
    fn begun(&mut self, seen: &Observation) {
        let now = Instant::now();
        self.since = seen.since;
        // From its start on it has one interval.
        self.heard = self.watchdog.map(|_| now);
        for standing in &mut self.regular {
            if let Some(question) = &mut standing.question {
                question.renew();
            }
            if standing.asked.is_none() {
                standing.due = now + (standing.every / 10).min(Duration::from_secs(1));
            }
        }
    }

    fn view(&self) -> ServiceView {
        ServiceView {
            state: self.life.word().to_owned(),
            liveness: self.life.liveness(),
            productive: self.life.productive(),
            // Whoever measures knows it.
            rss_mb: None,
            critical: self.policy.criticality == Criticality::Critical,
            manager: self.manager.name(),
            pid: self.life.process().map(|process| process.pid),
            restarts: self.life.restarts(),
            liveness_kills: self.life.liveness_kills(),
            last_end: self.life.last_end().map(|cause| cause.to_string().chars().take(REMARK_CHARS).collect()),
            why: display_line(&self.life.remark()).chars().take(REMARK_CHARS).collect(),
        }
    }
}

/// Asks in a thread of its own. An answer that nobody waits for any more is dropped.
fn start(mut answer: Answer, of: Asked, answers: Sender<Event>) -> std::io::Result<()> {
    let ask = move || {
        answer.said = answer.question.ask(&of);
        drop(answers.send(Event::Answer(answer)));
    };
    thread::Builder::new().name("question".to_owned()).stack_size(STACK).spawn(ask).map(drop)
}
