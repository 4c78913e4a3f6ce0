//! The life of a service: what is seen of it goes in, what is to be done about it comes out.
//!
//! Only liveness ends a running service, and what could not be observed is no sign of anything.

mod ordered;

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::notice::{Notice, Why};
use super::order::Order;
use super::policy::{Policy, ReadyBy};
use super::seen::{End, EndCause, Observation, Process, Run, Verb};
use crate::domain::running::Running;

/// Where a service is in its life.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "phase")]
pub enum Phase {
    /// It does not run, and is started as soon as nothing holds it back.
    Down,
    /// It was asked to start and is not ready yet.
    Starting {
        /// When it was asked.
        since: Running,
        /// Whether its manager was asked what became of it.
        looked: bool,
    },
    /// It runs.
    Up,
    /// It runs, and its last probe failed.
    Unhealthy,
    /// It was asked to end.
    Stopping {
        /// When it was asked.
        since: Running,
        /// When it was killed, because it did not.
        killed: Option<Running>,
        /// What comes after.
        then: Then,
    },
    /// It ended, and is started again after a wait.
    Backoff {
        /// The end of the wait.
        until: Running,
    },
    /// It ended too often.
    GivenUp {
        /// When it is tried again.
        until: Running,
    },
    /// A rule keeps it down for a while.
    Resting,
    /// A person stopped it.
    Stopped,
}

/// The word for a service that its manager does not show: it may run, and nothing is done about it.
pub const UNKNOWN: &str = "unknown";

/// What comes after an end that was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Then {
    /// It starts again at once.
    Start,
    /// The same, because a rule asked for it.
    Fresh,
    /// A rule keeps it down.
    Rest,
    /// It failed: it starts again as often as one that ended by itself.
    Retry,
    /// It stays down.
    Stay,
}

impl Phase {
    /// The word for it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Starting { .. } => "starting",
            Self::Up => "up",
            Self::Unhealthy => "unhealthy",
            Self::Stopping { .. } => "stopping",
            Self::Backoff { .. } => "backoff",
            Self::GivenUp { .. } => "given_up",
            Self::Resting => "resting",
            Self::Stopped => "stopped",
        }
    }

    const fn is_running(&self) -> bool {
        matches!(self, Self::Starting { .. } | Self::Up | Self::Unhealthy)
    }
}

/// What a probe, a heartbeat or a watchdog says of liveness.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Sign {
    /// It lives.
    Alive,
    /// It was asked, and does not show that it lives. Once is not enough.
    Dead(String),
    /// The time within which it was to show by itself that it lives is over.
    Lost(String),
    /// It could not be asked.
    Unknown(String),
}

/// What happened.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// Its manager tells what it sees.
    Seen(Observation),
    /// Its manager could not do what it was asked.
    Refused(Verb, String),
    /// Something was said of its liveness.
    Sign(Sign),
    /// The age of its newest heartbeat.
    Beat(Duration),
    /// It says itself that it is ready.
    Ready,
    /// Whether it gets work done; `None` when that is not known. It is shown, and never acted on.
    Productive(Option<bool>),
    /// The newest change of its source files that came after its start, if there is one.
    Source(Option<Timestamp>),
    /// Whether the program that it runs is gone from disk.
    Replaced(bool),
    /// It has more memory than it may have, and nothing else limits it.
    OverMemory,
    /// What else stands against acting.
    Gate {
        /// Whether all that it depends on is healthy.
        parents: bool,
        /// Whether nothing at all may be changed now.
        held: bool,
    },
    /// Whether people work on it: then it is not ended, whatever it shows.
    Maintained(bool),
    /// A person wants it to be stopped, or no longer.
    Operator {
        /// Whether it is to be down.
        stop: bool,
    },
    /// A rule asks for something.
    Rule(Order),
    /// Its manager has had it read its configuration again.
    Reloaded,
    /// Time has passed.
    Tick,
}

/// How far it is with reading its configuration again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reload {
    /// Its manager was asked.
    Asked,
    /// It is done.
    Done,
    /// It came to nothing, and why.
    Failed(String),
}

/// What is to be done.
#[derive(Clone, PartialEq, Debug)]
pub enum Effect {
    /// Ask its manager.
    Act(Verb),
    /// Have its manager tell again what it sees.
    Look,
    /// Tell people.
    Tell(Notice),
}

/// What is counted of a service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counts {
    /// Restarts since mesh looks after it.
    pub restarts: u64,
    /// How often it was stopped because it did not show that it lives.
    pub liveness_kills: u64,
    /// The age of its newest heartbeat, where it has one.
    pub heartbeat_age: Option<Duration>,
}

/// The time of an event, and a random number for it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Now {
    /// The time.
    pub at: Running,
    /// From 0 to 1.
    pub jitter: f64,
}

/// All that is known of one service.
#[derive(Clone, PartialEq, Debug)]
pub struct Life {
    phase: Phase,
    /// Whether its manager has told anything of it yet.
    seen: bool,
    hidden: Option<String>,
    running: bool,
    process: Option<Process>,
    up_since: Option<Running>,
    liveness: Option<bool>,
    productive: Option<bool>,
    sign: Option<Sign>,
    /// When its heart last beat.
    beat: Option<Running>,
    ready: bool,
    /// Failed probes since it last showed that it lives.
    failures: u32,
    /// Ends in a row.
    attempts: u32,
    /// Restarts within the window.
    recent: Vec<Running>,
    restarts: u64,
    liveness_kills: u64,
    /// Whether people were told that it ends too often.
    alarmed: bool,
    last_end: Option<End>,
    counter: Option<u64>,
    stale: Option<(Timestamp, Running)>,
    replaced: bool,
    needs_reload: bool,
    reload: Option<Reload>,
    parents: bool,
    held: bool,
    maintained: bool,
    stop_wanted: bool,
    /// A person said that it is to run before it was seen: a stop that is found then is older than that word.
    start_wanted: bool,
    /// Why it is started next.
    reason: Why,
}

impl Default for Life {
    fn default() -> Self {
        Self {
            phase: Phase::Down,
            seen: false,
            hidden: None,
            running: false,
            process: None,
            up_since: None,
            liveness: None,
            productive: None,
            sign: None,
            beat: None,
            ready: false,
            failures: 0,
            attempts: 0,
            recent: Vec::new(),
            restarts: 0,
            liveness_kills: 0,
            alarmed: false,
            last_end: None,
            counter: None,
            stale: None,
            replaced: false,
            needs_reload: false,
            reload: None,
            // Until somebody says that nothing stands against it, nothing is done.
            parents: false,
            held: true,
            maintained: false,
            stop_wanted: false,
            start_wanted: false,
            reason: Why::Wanted,
        }
    }
}

impl Life {
    /// Where it is.
    #[must_use]
    pub const fn phase(&self) -> &Phase {
        &self.phase
    }

    /// The word for where it is; [`UNKNOWN`] while that cannot be seen.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        if self.hidden.is_some() || !self.seen { UNKNOWN } else { self.phase.name() }
    }

    /// Its main process.
    #[must_use]
    pub const fn process(&self) -> Option<Process> {
        self.process
    }

    /// Whether it lives; `None` when that is not known.
    #[must_use]
    pub fn liveness(&self) -> Option<bool> {
        match self.phase {
            _ if self.hidden.is_some() || !self.seen => None,
            Phase::Up | Phase::Unhealthy => self.liveness,
            // It is down because a person wants it so, or about to show: neither is a sign of illness.
            Phase::Stopped | Phase::Starting { .. } | Phase::Stopping { .. } => None,
            Phase::Down | Phase::Backoff { .. } | Phase::GivenUp { .. } | Phase::Resting => Some(false),
        }
    }

    /// Why it cannot be seen now; `None` when it can.
    #[must_use]
    pub fn unseen(&self) -> Option<&str> {
        self.hidden.as_deref().or((!self.seen).then_some("nothing was told of it yet"))
    }

    /// Whether a person wants it to be down.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stop_wanted || self.phase == Phase::Stopped
    }

    /// Whether nothing may be changed now.
    #[must_use]
    pub const fn is_held(&self) -> bool {
        self.held
    }

    /// Whether people work on it, as far as that was asked for.
    #[must_use]
    pub const fn is_maintained(&self) -> bool {
        self.maintained
    }

    /// Whether all that it depends on is healthy.
    #[must_use]
    pub const fn has_parents(&self) -> bool {
        self.parents
    }

    /// Whether people were told that it ends too often, and it does not run steadily yet.
    #[must_use]
    pub const fn is_alarmed(&self) -> bool {
        self.alarmed
    }

    /// Whether its definition changed on disk.
    #[must_use]
    pub const fn needs_reload(&self) -> bool {
        self.needs_reload
    }

    /// How far it is with what a rule asked last: to read its configuration again.
    #[must_use]
    pub const fn reload(&self) -> Option<&Reload> {
        self.reload.as_ref()
    }

    /// Whether it gets work done; `None` when that is not known.
    #[must_use]
    pub const fn productive(&self) -> Option<bool> {
        self.productive
    }

    /// Whether what depends on it may start.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.phase == Phase::Up && self.liveness != Some(false)
    }

    /// Restarts since mesh looks after it.
    #[must_use]
    pub const fn restarts(&self) -> u64 {
        self.restarts
    }

    /// How often it was stopped because it did not show that it lives.
    #[must_use]
    pub const fn liveness_kills(&self) -> u64 {
        self.liveness_kills
    }

    /// What is counted of it.
    #[must_use]
    pub fn counts(&self, now: Running) -> Counts {
        let heartbeat_age = self.beat.filter(|_| self.running).map(|beat| now.since(beat));
        Counts { restarts: self.restarts, liveness_kills: self.liveness_kills, heartbeat_age }
    }

    /// How it last ended.
    #[must_use]
    pub fn last_end(&self) -> Option<&EndCause> {
        self.last_end.as_ref().map(|end| &end.cause)
    }

    /// What a person should know of it now, in a few words; empty when there is nothing.
    #[must_use]
    pub fn remark(&self) -> String {
        if let Some(why) = &self.hidden {
            return format!("cannot be seen: {why}");
        }
        match (&self.phase, &self.sign) {
            (Phase::Unhealthy | Phase::Starting { .. }, Some(Sign::Dead(why) | Sign::Lost(why))) if self.maintained => {
                format!("{why}; it is left running: people work on it")
            }
            (Phase::Unhealthy | Phase::Starting { .. }, Some(Sign::Dead(why) | Sign::Lost(why))) => why.clone(),
            (Phase::Up, Some(Sign::Unknown(why))) => format!("liveness is not known: {why}"),
            (Phase::Down | Phase::Backoff { .. }, _) if self.held => "mesh is paused and starts nothing".to_owned(),
            (Phase::Down | Phase::Backoff { .. }, _) if !self.parents => "waits for what it depends on".to_owned(),
            (Phase::Up, _) if self.replaced => "its program was replaced on disk".to_owned(),
            (Phase::Up, _) if self.needs_reload => "its definition changed on disk".to_owned(),
            (Phase::Resting, _) => "a rule lets it rest".to_owned(),
            (Phase::Up | Phase::Stopped, _) => String::new(),
            _ => self.last_end.as_ref().map(|end| end.cause.to_string()).unwrap_or_default(),
        }
    }

    /// When something is to be done though nothing happens.
    #[must_use]
    pub fn due(&self, policy: &Policy) -> Option<Running> {
        if self.held || !self.seen || self.hidden.is_some() {
            return None;
        }
        match &self.phase {
            Phase::Starting { since, .. } => Some(since.after(policy.start_within)),
            Phase::Stopping { since, killed: None, .. } => Some(since.after(policy.grace)),
            // What was killed and still is there hangs in the kernel: it is looked at again.
            Phase::Stopping { killed: Some(killed), .. } => Some(killed.after(policy.grace)),
            Phase::Backoff { until } | Phase::GivenUp { until } => self.parents.then_some(*until),
            Phase::Up => {
                let stale = self
                    .stale
                    .filter(|_| self.parents && !self.maintained)
                    .map(|(_, since)| since.after(policy.stale_after));
                let troubled = self.attempts > 0 || self.alarmed;
                let steady = self.up_since.filter(|_| troubled).map(|since| since.after(policy.steady));
                // While it flaps, nothing is new before the oldest restart too many is out of the window.
                let many = self.recent.iter().rev().nth(policy.restarts as usize).map(|at| at.after(policy.window));
                stale.into_iter().chain(steady.map(|steady| many.map_or(steady, |many| many.max(steady)))).min()
            }
            Phase::Down | Phase::Unhealthy | Phase::Resting | Phase::Stopped => None,
        }
    }
}

/// One step of a service's life.
#[must_use]
pub fn step(policy: &Policy, life: Life, event: Event, now: Now) -> (Life, Vec<Effect>) {
    let mut step = Step { policy, life, now, effects: Vec::new() };
    step.take(event);
    step.settle();
    (step.life, step.effects)
}

struct Step<'a> {
    policy: &'a Policy,
    life: Life,
    now: Now,
    effects: Vec<Effect>,
}

impl Step<'_> {
    fn take(&mut self, event: Event) {
        match event {
            Event::Seen(seen) => self.see(seen),
            Event::Refused(verb, why) => self.refused(verb, why),
            Event::Sign(sign) => self.sign(sign),
            Event::Beat(age) => self.life.beat = Some(self.now.at.before(age)),
            Event::Ready => {
                self.life.ready = true;
                if self.life.sign.is_none() {
                    self.life.liveness = Some(true);
                }
                self.rise();
            }
            Event::Productive(productive) => self.life.productive = productive,
            Event::Source(None) => self.life.stale = None,
            Event::Source(Some(newest)) => {
                if self.life.stale.is_none_or(|(known, _)| known != newest) {
                    self.life.stale = Some((newest, self.now.at));
                }
            }
            Event::Replaced(replaced) => {
                if replaced && !self.life.replaced {
                    self.tell(Notice::Replaced);
                }
                self.life.replaced = replaced;
            }
            Event::OverMemory => self.over_memory(),
            Event::Gate { parents, held } => self.gate(parents, held),
            Event::Maintained(maintained) => {
                if std::mem::replace(&mut self.life.maintained, maintained) && !maintained {
                    // What it did not show while people worked on it is no sign of illness.
                    self.life.failures = 0;
                }
            }
            Event::Operator { stop } => self.operator(stop),
            Event::Rule(order) => self.ordered(order),
            Event::Reloaded => self.life.reload = Some(Reload::Done),
            Event::Tick => {}
        }
    }

    fn see(&mut self, mut seen: Observation) {
        if let Run::Unknown(why) = seen.run {
            self.life.hidden = Some(why);
            return;
        }
        let over = self.life.last_end.as_ref().and_then(|end| end.process).filter(|ended| ended.start_ticks != 0);
        if over.is_some() && seen.process == over && matches!(seen.run, Run::Up | Run::Starting) {
            // Seen before its end, and told after it.
            return;
        }
        let first = !std::mem::replace(&mut self.life.seen, true);
        seen.stopped_by_operator &= !std::mem::take(&mut self.life.start_wanted);
        self.life.hidden = None;
        if seen.needs_reload && !self.life.needs_reload {
            self.tell(Notice::NeedsReload);
        }
        self.life.needs_reload = seen.needs_reload;
        self.count(seen.restarts);
        match seen.run {
            Run::Up | Run::Starting => self.runs(seen, first),
            Run::Down => self.is_down(seen, first),
            // Somebody else stops it. What it was stopped for shows when it is down.
            Run::Stopping | Run::Unknown(_) => {}
        }
    }

    /// A manager's counter of restarts. One that fell was set back, and is the new ground to count from.
    fn count(&mut self, counter: Option<u64>) {
        let Some(counter) = counter else { return };
        let more = self.life.counter.map_or(0, |known| counter.saturating_sub(known));
        self.life.counter = Some(counter);
        self.life.restarts += more;
        for _ in 0..more.min(u64::from(self.policy.restarts) + 1) {
            self.life.recent.push(self.now.at);
        }
        self.forget();
    }

    fn runs(&mut self, seen: Observation, first: bool) {
        let known = seen.process.is_none() || seen.process == self.life.process;
        if !self.life.running || !known {
            let follows = self.life.running && self.life.phase.is_running();
            self.life.running = true;
            if follows && seen.restarts.is_none() {
                self.life.restarts += 1;
                self.life.recent.push(self.now.at);
            }
            self.life.process = seen.process;
            self.life.up_since = Some(self.now.at);
            (self.life.sign, self.life.liveness, self.life.productive) = (None, None, None);
            self.life.beat = None;
            (self.life.ready, self.life.failures) = (false, 0);
            (self.life.stale, self.life.replaced, self.life.reload) = (None, false, None);
            if matches!(self.life.phase, Phase::Stopping { .. }) && !first {
                // The one that was asked to end is gone, and its manager has started another.
                self.life.phase = Phase::Starting { since: self.now.at, looked: false };
            }
        }
        if seen.run == Run::Up && self.policy.ready_by == ReadyBy::Running {
            self.life.ready = true;
        }
        match self.life.phase {
            Phase::Down | Phase::Backoff { .. } | Phase::GivenUp { .. } | Phase::Resting | Phase::Stopped => {
                if first {
                    self.tell(Notice::Adopted);
                    // It ran before mesh came: it was ready once, and need not say so again.
                    self.life.ready |= seen.run == Run::Up;
                } else {
                    self.tell(Notice::StartedElsewhere);
                    // Whoever started it by hand takes back what was said before.
                    self.life.stop_wanted = false;
                }
                self.life.phase = Phase::Starting { since: self.now.at, looked: false };
            }
            Phase::Starting { .. } | Phase::Up | Phase::Unhealthy | Phase::Stopping { .. } => {}
        }
        match seen.health {
            Some(super::Health::Alive) => self.sign(Sign::Alive),
            Some(super::Health::Dead(why)) => self.sign(Sign::Dead(why)),
            None => {}
        }
        self.rise();
    }

    /// From starting to running, once it is ready.
    fn rise(&mut self) {
        if !self.life.ready || !matches!(self.life.phase, Phase::Starting { .. }) || !self.life.running {
            return;
        }
        self.life.phase = if self.life.failures > 0 { Phase::Unhealthy } else { Phase::Up };
        self.tell(Notice::Ready);
    }

    fn is_down(&mut self, seen: Observation, first: bool) {
        let news = seen.end.is_some() && seen.end != self.life.last_end;
        let fresh = seen.end.as_ref().filter(|_| news).map(|end| end.cause.clone());
        let cause = seen.end.as_ref().map_or(EndCause::Unseen, |end| end.cause.clone());
        if let Phase::Starting { looked: false, .. } = self.life.phase
            && !self.life.running
            && !news
        {
            // What was seen before it was asked to start.
            return;
        }
        let ended = seen.end.as_ref().and_then(|end| end.process);
        if news {
            self.life.last_end = seen.end;
        }
        if self.life.running && ended.zip(self.life.process).is_some_and(|(ended, now)| !ended.may_be(now)) {
            // The end of the one before, told late: another one runs by now.
            return;
        }
        (self.life.running, self.life.process) = (false, None);
        (self.life.liveness, self.life.productive, self.life.stale) = (None, None, None);
        match self.life.phase {
            Phase::Starting { .. } | Phase::Up | Phase::Unhealthy if seen.stopped_by_operator => self.rest(),
            Phase::Starting { .. } | Phase::Up | Phase::Unhealthy => {
                self.tell(Notice::Ended(cause));
                self.fail();
            }
            Phase::Stopping { since, then, .. } => {
                self.tell(Notice::Stopped { took: self.now.at.since(since), cause: fresh });
                match then {
                    Then::Start => (self.life.phase, self.life.reason) = (Phase::Down, Why::Stale),
                    Then::Fresh => (self.life.phase, self.life.reason) = (Phase::Down, Why::Rule),
                    Then::Rest => self.life.phase = Phase::Resting,
                    Then::Retry => self.fail(),
                    Then::Stay => self.rest(),
                }
            }
            Phase::Down | Phase::Backoff { .. } | Phase::GivenUp { .. } | Phase::Resting
                if seen.stopped_by_operator =>
            {
                self.rest();
            }
            Phase::Down if first && news => {
                self.life.reason = Why::Ended;
                self.tell(Notice::Ended(cause));
            }
            Phase::Down | Phase::Backoff { .. } | Phase::GivenUp { .. } | Phase::Resting | Phase::Stopped => {}
        }
    }

    /// It is down because a person wants it so.
    fn rest(&mut self) {
        if self.life.phase != Phase::Stopped {
            self.life.phase = Phase::Stopped;
            self.tell(Notice::StoppedByOperator);
        }
        (self.life.attempts, self.life.alarmed) = (0, false);
        self.life.recent.clear();
    }

    /// It ended, and nobody wanted it to.
    fn fail(&mut self) {
        self.life.reason = Why::Ended;
        let ran = self.life.up_since.take().map_or(Duration::ZERO, |since| self.now.at.since(since));
        if ran >= self.policy.steady {
            self.life.attempts = 0;
        }
        if !self.life.parents {
            // It ended because what it needs is not there: that is no fault of its own.
            self.life.phase = Phase::Down;
            return;
        }
        self.life.recent.push(self.now.at);
        self.forget();
        let restarts = u32::try_from(self.life.recent.len()).unwrap_or(u32::MAX);
        if restarts > self.policy.restarts || (self.life.alarmed && ran < self.policy.steady) {
            let retry = self.policy.retry(self.now.jitter);
            self.life.phase = Phase::GivenUp { until: self.now.at.after(retry) };
            if !std::mem::replace(&mut self.life.alarmed, true) {
                self.tell(Notice::GivenUp { restarts: self.policy.restarts, window: self.policy.window, retry });
            }
            return;
        }
        let wait = self.policy.backoff(self.life.attempts, self.now.jitter);
        self.life.attempts = self.life.attempts.saturating_add(1);
        self.life.phase = Phase::Backoff { until: self.now.at.after(wait) };
    }

    /// Forgets restarts that were before the window.
    fn forget(&mut self) {
        let (now, window) = (self.now.at, self.policy.window);
        self.life.recent.retain(|at| now.since(*at) < window);
    }

    fn refused(&mut self, verb: Verb, why: String) {
        let starting = matches!(self.life.phase, Phase::Starting { .. });
        self.tell(Notice::Refused { verb, why: why.clone() });
        if verb == Verb::Reload {
            self.life.reload = Some(Reload::Failed(why));
            return;
        }
        if verb == Verb::Start && starting && !self.life.running {
            self.life.last_end = Some(End { process: None, cause: EndCause::NotStarted(why), at: None });
            self.fail();
        }
    }

    fn sign(&mut self, sign: Sign) {
        if !self.life.running {
            return;
        }
        match &sign {
            Sign::Alive => {
                (self.life.liveness, self.life.failures) = (Some(true), 0);
                if self.life.phase == Phase::Unhealthy {
                    self.life.phase = Phase::Up;
                }
                if self.policy.ready_by == ReadyBy::Sign {
                    self.life.ready = true;
                }
            }
            Sign::Dead(_) | Sign::Lost(_) => {
                let more = if matches!(sign, Sign::Lost(_)) { self.policy.failures } else { 1 };
                // One that is starting has its own time for that.
                if !matches!(self.life.phase, Phase::Starting { .. }) {
                    self.life.failures = self.life.failures.saturating_add(more);
                }
                self.life.liveness = Some(false);
                if self.life.phase == Phase::Up {
                    self.life.phase = Phase::Unhealthy;
                }
            }
            Sign::Unknown(_) => self.life.liveness = None,
        }
        self.life.sign = Some(sign);
        self.rise();
    }

    fn over_memory(&mut self) {
        if self.life.phase.is_running() && self.life.running && self.is_open() {
            // To be asked politely takes time in which it grows.
            self.tell(Notice::Stopping(Why::Memory));
            self.effects.push(Effect::Act(Verb::Kill));
            let now = self.now.at;
            self.life.phase = Phase::Stopping { since: now, killed: Some(now), then: Then::Retry };
        }
    }

    fn gate(&mut self, parents: bool, held: bool) {
        let resumes = parents && !self.life.parents;
        (self.life.parents, self.life.held) = (parents, held);
        if resumes {
            // What failed meanwhile failed for want of them.
            (self.life.attempts, self.life.failures) = (0, 0);
            if matches!(self.life.phase, Phase::Backoff { .. } | Phase::GivenUp { .. }) {
                self.life.phase = Phase::Down;
            }
        }
    }

    fn operator(&mut self, stop: bool) {
        self.life.stop_wanted = stop;
        self.life.start_wanted = !stop && !self.life.seen;
        if !stop && self.life.phase == Phase::Stopped {
            (self.life.phase, self.life.reason) = (Phase::Down, Why::Operator);
        }
        if !stop && let Phase::Stopping { then: then @ Then::Stay, .. } = &mut self.life.phase {
            *then = Then::Start;
        }
        if !stop && matches!(self.life.phase, Phase::Backoff { .. } | Phase::GivenUp { .. } | Phase::Resting) {
            // A person who says "start" has seen to it.
            (self.life.attempts, self.life.alarmed) = (0, false);
            self.life.recent.clear();
            self.life.phase = Phase::Down;
        }
    }

    /// Whether it may be ended for what it shows.
    const fn may_end(&self) -> bool {
        self.life.parents && !self.life.maintained
    }

    fn is_open(&self) -> bool {
        self.life.parents && !self.life.held
    }

    /// Does what is due.
    fn settle(&mut self) {
        let now = self.now.at;
        if self.life.held || !self.life.seen || self.life.hidden.is_some() {
            return;
        }
        if self.life.stop_wanted {
            match &mut self.life.phase {
                Phase::Down | Phase::Backoff { .. } | Phase::GivenUp { .. } | Phase::Resting => self.rest(),
                Phase::Starting { .. } | Phase::Up | Phase::Unhealthy => self.stop(Why::Operator, Then::Stay),
                Phase::Stopping { then, .. } => *then = Then::Stay,
                Phase::Stopped => {}
            }
        }
        match self.life.phase.clone() {
            Phase::Down if self.life.parents => self.start(),
            Phase::Backoff { until } if self.life.parents && until <= now => self.start(),
            Phase::GivenUp { until } if self.life.parents && until <= now => {
                self.life.recent.clear();
                self.life.reason = Why::Retry;
                self.start();
            }
            Phase::Starting { since, looked } if since.after(self.policy.start_within) <= now => self.late(looked),
            Phase::Unhealthy if self.life.failures >= self.policy.failures && self.may_end() => {
                let why = match &self.life.sign {
                    Some(Sign::Dead(why) | Sign::Lost(why)) => why.clone(),
                    Some(Sign::Alive | Sign::Unknown(_)) | None => String::new(),
                };
                // What cannot be observed right now is not ended on older grounds.
                if self.life.liveness == Some(false) {
                    self.life.liveness_kills += 1;
                    self.stop(Why::Hung(why), Then::Retry);
                }
            }
            Phase::Stopping { since, killed, then } => {
                let asked = killed.unwrap_or(since);
                if asked.after(self.policy.grace) <= now {
                    match killed {
                        None => self.tell(Notice::Killing { waited: now.since(since) }),
                        Some(_) => self.effects.push(Effect::Look),
                    }
                    self.effects.push(Effect::Act(Verb::Kill));
                    self.life.phase = Phase::Stopping { since, killed: Some(now), then };
                }
            }
            Phase::Up => self.upkeep(),
            Phase::Down
            | Phase::Backoff { .. }
            | Phase::GivenUp { .. }
            | Phase::Starting { .. }
            | Phase::Unhealthy
            | Phase::Resting
            | Phase::Stopped => {}
        }
    }

    /// It is not ready in time.
    fn late(&mut self, looked: bool) {
        let now = self.now.at;
        if !self.life.running {
            // Nothing was told of it. To start it once more could make two of it.
            self.effects.push(Effect::Look);
            self.life.phase = Phase::Starting { since: now, looked: true };
            return;
        }
        let silent = self.policy.ready_by == ReadyBy::Word && !self.life.ready;
        let dead = matches!(self.life.sign, Some(Sign::Dead(_) | Sign::Lost(_)));
        if (silent || dead) && self.may_end() {
            self.life.liveness_kills += 1;
            self.stop(Why::NotReady, Then::Retry);
        } else if silent || dead {
            self.life.phase = Phase::Starting { since: now, looked };
        } else {
            // It runs, and whether it is well could not be seen.
            self.life.ready = true;
            self.rise();
            if self.life.phase == Phase::Up {
                self.upkeep();
            }
        }
    }

    fn upkeep(&mut self) {
        let now = self.now.at;
        let steady = self.life.up_since.is_some_and(|since| since.after(self.policy.steady) <= now);
        self.forget();
        let restarts = u32::try_from(self.life.recent.len()).unwrap_or(u32::MAX);
        if restarts > self.policy.restarts {
            if !std::mem::replace(&mut self.life.alarmed, true) {
                self.tell(Notice::Flapping { restarts, window: self.policy.window });
            }
        } else if steady {
            self.life.attempts = 0;
            if std::mem::take(&mut self.life.alarmed) {
                self.tell(Notice::Recovered);
            }
        }
        let quiet = self.life.stale.is_some_and(|(_, since)| since.after(self.policy.stale_after) <= now);
        if quiet && self.may_end() {
            self.life.stale = None;
            self.stop(Why::Stale, Then::Start);
        }
    }

    fn start(&mut self) {
        let why = std::mem::replace(&mut self.life.reason, Why::Wanted);
        if !matches!(why, Why::Wanted | Why::Operator | Why::Rule) {
            self.life.restarts += 1;
        }
        self.life.up_since = None;
        self.life.phase = Phase::Starting { since: self.now.at, looked: false };
        self.effects.push(Effect::Act(Verb::Start));
        self.tell(Notice::Starting(why));
    }

    fn stop(&mut self, why: Why, then: Then) {
        self.tell(Notice::Stopping(why));
        self.effects.push(Effect::Act(Verb::Stop));
        self.life.phase = Phase::Stopping { since: self.now.at, killed: None, then };
    }

    fn tell(&mut self, notice: Notice) {
        self.effects.push(Effect::Tell(notice));
    }
}
