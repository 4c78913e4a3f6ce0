//! The engine: looks at every rule and target, and says what is to be done. A pure step: what was measured and what
//! happened in, effects out. Whoever performs an effect tells what came of it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hash::{Hash as _, Hasher as _};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::action::{Action, Done, On, WayBack};
use super::condition::{Clause, EventName, Found, Look, Memory, Occurrence, What};
use super::drill::DrillState;
use super::incident::{Ending, Event, Incident, Notice, NoticeKind, State};
use super::rule::{Risk, Rule, Then};
use super::target::{Target, TargetKind};
use crate::domain::expr::Truth;
use crate::domain::lesson::span_words;
use crate::domain::series::History;

/// A rule and a target, by number and name.
pub type Key = (u32, String);
/// Times that are remembered of a rule and target.
const TIMES: usize = 256;

/// What is remembered of a rule and target beside an open incident.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Record {
    /// What the trigger remembers.
    pub memory: Memory,
    /// When it acted, by the engine's clock in seconds.
    pub acts: Vec<i64>,
    /// When incidents were opened.
    pub opened: Vec<i64>,
    /// Whether the trigger was on its way to hold.
    pub holding: bool,
    /// Counts since the rule is known here.
    pub stats: Stats,
}

/// What came of a rule here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Stats {
    /// The trigger held.
    pub fired: u64,
    /// The diagnosis was confirmed.
    pub confirmed: u64,
    /// The diagnosis was refuted.
    pub refuted: u64,
    /// Attempts.
    pub acted: u64,
    /// Times it would have acted, were it not in dry run.
    #[serde(default)]
    pub would_act: u64,
    /// Incidents that were healed.
    pub healed: u64,
    /// Attempts that did not help.
    pub failed: u64,
    /// Incidents that went away without any action: the base rate.
    pub self_cleared: u64,
    /// Times the trigger went away before it had held for long enough.
    pub debounced: u64,
    /// Incidents for which a person was called.
    pub escalated: u64,
    /// Seconds from opening to healed, summed.
    pub heal_seconds: u64,
}

impl Stats {
    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            fired: self.fired + other.fired,
            confirmed: self.confirmed + other.confirmed,
            refuted: self.refuted + other.refuted,
            acted: self.acted + other.acted,
            would_act: self.would_act + other.would_act,
            healed: self.healed + other.healed,
            failed: self.failed + other.failed,
            self_cleared: self.self_cleared + other.self_cleared,
            debounced: self.debounced + other.debounced,
            escalated: self.escalated + other.escalated,
            heal_seconds: self.heal_seconds + other.heal_seconds,
        }
    }
}

/// What a look is made with.
pub struct World<'a> {
    /// The rules.
    pub rules: &'a [Rule],
    /// The targets.
    pub targets: &'a [Target],
    /// Where each rule stands with its drill.
    pub drills: &'a BTreeMap<u32, (DrillState, String)>,
    /// What was measured.
    pub history: &'a History,
    /// What happened since the last look.
    pub occurrences: &'a [Occurrence],
    /// The wall clock in seconds.
    pub wall: i64,
    /// Seconds that have surely passed.
    pub now: i64,
    /// Why nothing is done on this host for now.
    pub paused: Option<&'a str>,
    /// Why nothing is done to a target for now, by its name.
    pub held: &'a BTreeMap<String, String>,
    /// Until when no rule may interrupt a target, by the engine's clock.
    pub suspended: &'a BTreeMap<String, i64>,
    /// Most actions of all rules within an hour.
    pub per_hour: usize,
    /// After this a person who was called and has not answered is called again, more loudly.
    pub unseen_after: Duration,
}

/// What is to be done.
#[derive(Clone, PartialEq, Debug)]
pub enum Effect {
    /// Take these actions, in order, and tell [`Engine::performed`].
    Perform {
        /// For which incident.
        key: Key,
        /// What.
        steps: Vec<Action>,
    },
    /// Go back, the last way first.
    TakeBack {
        /// For which incident.
        key: Key,
        /// The ways, in the order of doing.
        ways: Vec<WayBack>,
    },
    /// Write that an incident went from one state to another.
    Note {
        /// The incident as it is now.
        incident: Box<Incident>,
        /// What happened, in words.
        what: String,
    },
    /// Tell a person.
    Notice(Notice),
}

/// What was found of one rule and target in one look, in words.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Explained {
    /// The rule.
    pub rule: u32,
    /// The target.
    pub target: String,
    /// The wall clock, in seconds.
    pub at: i64,
    /// Whether the trigger held.
    pub fired: Truth,
    /// Its parts.
    pub trigger: Vec<Clause>,
    /// The questions, each with its parts; only when the trigger held.
    pub diagnose: Vec<(String, Truth, Vec<Clause>)>,
    /// What was decided, in words.
    pub decision: String,
}

/// The same in numbers. Words are made of those that somebody reads ([`Outcome::explain`]).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// The place of the rule in the world's list.
    pub rule: usize,
    /// The place of the target in the world's list.
    pub target: usize,
    fired: Found,
    /// Of each question, in order; none where the trigger did not hold.
    diagnose: Vec<Found>,
    decision: Cow<'static, str>,
}

impl Outcome {
    /// In words. All that is given is as it was at the look.
    ///
    /// # Panics
    /// It was found with other rules and targets.
    #[must_use]
    pub fn explain(&self, rules: &[Rule], targets: &[Target], history: &History, wall: i64) -> Explained {
        let (rule, target) = (&rules[self.rule], targets[self.target].name.as_str());
        // What happened is counted already.
        let look = Look { target, history, occurrences: &[], wall, now: wall };
        let diagnose = rule.diagnose.iter().zip(&self.diagnose).map(|(asked, found)| {
            let clauses = asked.when.clauses(found, &look);
            (asked.say.clone(), found.truth, clauses)
        });
        Explained {
            rule: rule.number,
            target: target.to_owned(),
            at: wall,
            fired: self.fired.truth,
            trigger: rule.trigger.clauses(&self.fired, &look),
            diagnose: diagnose.collect(),
            decision: self.decision.clone().into_owned(),
        }
    }

    /// What it came to without the numbers behind it, as one number: equal where nothing but numbers and time differ.
    #[must_use]
    pub fn came_to(&self) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        let mut add = |found: &Found| {
            found.truth.hash(&mut hasher);
            found.truths().for_each(|truth| truth.hash(&mut hasher));
        };
        add(&self.fired);
        self.diagnose.iter().for_each(add);
        self.decision.hash(&mut hasher);
        hasher.finish()
    }
}

/// The engine's state.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Engine {
    /// What is remembered of each rule and target.
    pub records: BTreeMap<Key, Record>,
    /// Incidents that are not over.
    pub incidents: BTreeMap<Key, Incident>,
    /// Incidents that ended since they were taken away.
    pub ended: Vec<Incident>,
    /// The number of the next incident.
    pub next: u64,
}

impl Engine {
    /// An engine that goes on with what was stored. Actions that a killed process was at are taken back first.
    #[must_use]
    pub fn resume(
        records: BTreeMap<Key, Record>,
        incidents: Vec<Incident>,
        next: u64,
        wall: i64,
    ) -> (Self, Vec<Effect>) {
        let mut effects = Vec::new();
        let mut engine = Self { records, incidents: BTreeMap::new(), ended: Vec::new(), next };
        engine.records.retain(|_, record| {
            record.memory.forget_nothing();
            *record != Record::default()
        });
        for mut incident in incidents {
            let key = (incident.rule, incident.target.clone());
            if incident.take(Event::Failed) {
                incident.tell(wall, "mesh ended while it acted: what was begun is taken back");
                incident.attempts += 1;
                effects.push(Effect::TakeBack { key: key.clone(), ways: std::mem::take(&mut incident.ways) });
                effects.push(note(&incident, "interrupted"));
            }
            engine.incidents.insert(key, incident);
        }
        (engine, effects)
    }

    /// One look at everything. Each rule and target is shown to `told`, with what was found.
    pub fn look(&mut self, world: &World<'_>, told: &mut dyn FnMut(Outcome)) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (place, rule) in world.rules.iter().enumerate() {
            let targets = world.targets.iter().enumerate().filter(|(_, target)| rule.concerns(target));
            for (target_place, target) in targets {
                let mut outcome = Outcome {
                    rule: place,
                    target: target_place,
                    fired: Found::none(),
                    diagnose: Vec::new(),
                    decision: Cow::Borrowed(""),
                };
                self.look_at(rule, target, world, &mut effects, &mut outcome);
                told(outcome);
            }
        }
        self.end_orphans(world, &mut effects);
        self.call_again(world, &mut effects);
        effects
    }

    /// Calls a person again who was called and has said nothing.
    fn call_again(&mut self, world: &World<'_>, effects: &mut Vec<Effect>) {
        for incident in self.incidents.values_mut().filter(|incident| incident.waits_for_person(world.wall)) {
            let called = incident.called.unwrap_or(world.wall);
            if world.wall - called < seconds(world.unseen_after).max(1) {
                continue;
            }
            incident.called = Some(world.wall);
            let hours = (world.wall - incident.opened).max(0) as f64 / 3_600.0;
            let text =
                format!("nobody has said in {hours:.1} h that he has seen it: `mesh incident ack {}`", incident.id);
            incident.tell(world.wall, &text);
            effects.push(notice(incident, NoticeKind::Unseen, world.wall, &text));
        }
    }

    /// An incident whose rule or target is no longer there ends: nobody can see any more whether it holds.
    fn end_orphans(&mut self, world: &World<'_>, effects: &mut Vec<Effect>) {
        let known = |key: &Key| {
            world.rules.iter().any(|rule| rule.number == key.0)
                && world.targets.iter().any(|target| target.name.as_str() == key.1)
        };
        let orphans: Vec<Key> = self
            .incidents
            .iter()
            .filter(|(key, incident)| !known(key) && matches!(incident.state, State::Open | State::Escalated))
            .map(|(key, _)| key.clone())
            .collect();
        for key in orphans {
            self.clear(&key, world, "the rule or the target is no longer there", effects);
        }
    }

    fn look_at(
        &mut self,
        rule: &Rule,
        target: &Target,
        world: &World<'_>,
        effects: &mut Vec<Effect>,
        outcome: &mut Outcome,
    ) {
        let name = target.name.as_str();
        let key: Key = (rule.number, name.to_owned());
        let occurrences: Vec<Occurrence> = world
            .occurrences
            .iter()
            .filter(|one| one.target == name && !self.is_own(one, target, world.now))
            .cloned()
            .collect();
        let look =
            Look { target: name, history: world.history, occurrences: &occurrences, wall: world.wall, now: world.now };
        let state = self.incidents.get(&key).map(|incident| incident.state);
        let known = self.records.get_mut(&key);
        let mut fresh = known.is_none().then(Record::default);
        if let Some(record) = known.or(fresh.as_mut()) {
            outcome.fired = rule.trigger.look(&mut record.memory, &look);
            let holding = record.memory.is_holding();
            if record.holding && !holding && state.is_none() {
                record.stats.debounced += 1;
            }
            record.holding = holding;
        }
        // Of a rule that never held there is nothing to remember.
        if let Some(record) = fresh.filter(|fresh| state.is_some() || *fresh != Record::default()) {
            self.records.insert(key.clone(), record);
        }
        outcome.decision = match (state, outcome.fired.truth) {
            (None, Truth::True) => {
                self.open(rule, target, world);
                self.consider(&key, rule, target, &look, world, effects, &mut outcome.diagnose).into()
            }
            (None, Truth::False) => "does not hold".into(),
            (None, Truth::Unknown) => "what was measured does not decide it".into(),
            (Some(State::Open), Truth::True) => {
                self.consider(&key, rule, target, &look, world, effects, &mut outcome.diagnose).into()
            }
            (Some(State::Open | State::Escalated), Truth::False) => {
                self.clear(&key, world, "no longer holds", effects);
                "no longer holds".into()
            }
            (Some(State::Open | State::Escalated), Truth::Unknown) => {
                "open; what was measured does not decide whether it still holds".into()
            }
            (Some(State::Escalated), Truth::True) => self.maybe_retry(&key, rule, world, effects).into(),
            (Some(State::Validating), _) => self.validate(&key, rule, &look, world, effects).into(),
            (Some(State::Acting | State::Resolved), _) => "acting".into(),
        };
    }

    /// Whether something happened because mesh works on the same thing.
    fn is_own(&self, one: &Occurrence, target: &Target, now: i64) -> bool {
        let What::Event(event) = one.what else { return false };
        // What the kernel kills for want of memory is nothing that a rule did.
        if matches!(event, EventName::RuleActed | EventName::OomKill) {
            return false;
        }
        let service = target.service();
        self.incidents.values().any(|incident| {
            let same = incident.target == target.name.as_str()
                || service.is_some_and(|service| incident.resource == format!("service:{service}"));
            let busy = matches!(incident.state, State::Acting | State::Validating);
            let just = incident.acted_at.is_some_and(|at| now - at <= 2);
            same && (busy || just)
        })
    }

    fn open(&mut self, rule: &Rule, target: &Target, world: &World<'_>) {
        let key: Key = (rule.number, target.name.as_str().to_owned());
        let record = self.records.entry(key.clone()).or_default();
        record.stats.fired += 1;
        push(&mut record.opened, world.now);
        self.next += 1;
        let mut incident = Incident {
            id: self.next,
            rule: rule.number,
            version: rule.version,
            name: rule.name.clone(),
            target: key.1.clone(),
            kind: target.kind,
            resource: resource(rule, target),
            state: State::Open,
            opened: world.wall,
            closed: None,
            ending: None,
            attempts: 0,
            next_at: world.now,
            acted_at: None,
            deadline: None,
            memory: Memory::default(),
            ways: Vec::new(),
            confirmed: false,
            refuted: None,
            waits: String::new(),
            proposal: None,
            reports: false,
            approved: false,
            acked: false,
            snoozed_until: None,
            called: None,
            thread: Vec::new(),
        };
        incident.next_at = world.now + wait(rule, &incident);
        incident.tell(world.wall, "opened: the rule holds");
        self.incidents.insert(key, incident);
    }

    /// What to do about an open incident of a rule that holds.
    #[expect(clippy::too_many_arguments, reason = "one look at one rule and target, taken apart for reading")]
    fn consider(
        &mut self,
        key: &Key,
        rule: &Rule,
        target: &Target,
        look: &Look<'_>,
        world: &World<'_>,
        effects: &mut Vec<Effect>,
        answers: &mut Vec<Found>,
    ) -> String {
        let (truth, refuted) = diagnose(rule, look, answers);
        let standing = match truth {
            Truth::True => self.standing(key, rule, target, world),
            Truth::False => {
                Standing::Wait(format!("refuted: it is not so that {}", refuted.clone().unwrap_or_default()))
            }
            Truth::Unknown => Standing::Wait("the diagnosis is not decided by what was measured".to_owned()),
        };
        let (Some(incident), Some(record)) = (self.incidents.get_mut(key), self.records.get_mut(key)) else {
            return String::new();
        };
        if let Some(refuted) = refuted.filter(|_| truth == Truth::False) {
            if incident.refuted.as_ref() != Some(&refuted) {
                record.stats.refuted += 1;
                incident.tell(world.wall, format!("diagnosis refuted: it is not so that {refuted}"));
                effects.push(note(incident, "refuted"));
            }
            incident.refuted = Some(refuted);
        }
        if truth == Truth::True && !incident.confirmed {
            incident.confirmed = true;
            record.stats.confirmed += 1;
            incident.tell(world.wall, "diagnosis confirmed");
            effects.push(notice(incident, NoticeKind::Opened, world.wall, &rule.because));
        }
        match standing {
            Standing::Wait(why) => {
                incident.waits.clone_from(&why);
                incident.tell(world.wall, format!("waits: {why}"));
                why
            }
            Standing::Ask => {
                let why = "a person must allow it: `mesh incident ack ID --approve`".to_owned();
                if incident.waits != why {
                    incident.tell(world.wall, &why);
                    incident.called = Some(world.wall);
                    effects.push(notice(incident, NoticeKind::NeedsApproval, world.wall, &why));
                }
                incident.waits.clone_from(&why);
                why
            }
            Standing::WouldAct(words) => {
                record.stats.would_act += 1;
                let would = format!("dry run: would {words}");
                incident.tell(world.wall, &would);
                effects.push(note(incident, "would-act"));
                // Nobody acts, and the trouble is there: that is a person's.
                incident.reports = true;
                escalate(incident, record, rule, &would, world.wall, effects)
            }
            Standing::GiveUp { why, reports } => {
                incident.reports = reports;
                escalate(incident, record, rule, &why, world.wall, effects)
            }
            Standing::Act => {
                incident.take(Event::Act);
                incident.acted_at = Some(world.now);
                incident.waits.clear();
                push(&mut record.acts, world.now);
                record.stats.acted += 1;
                let steps = rule.rung(incident.attempts).map(|rung| rung.steps.clone()).unwrap_or_default();
                let words = words(&steps);
                incident.tell(world.wall, format!("attempt {}: {words}", incident.attempts + 1));
                effects.push(Effect::Perform { key: key.clone(), steps });
                format!("acts: {words}")
            }
        }
    }

    /// Whether a confirmed incident may be acted on now.
    fn standing(&self, key: &Key, rule: &Rule, target: &Target, world: &World<'_>) -> Standing {
        let wait = |why: String| Standing::Wait(why);
        let report = |why: String| Standing::GiveUp { why, reports: true };
        let give_up = |why: String| Standing::GiveUp { why, reports: false };
        let (Some(incident), Some(record)) = (self.incidents.get(key), self.records.get(key)) else {
            return wait("it is not open".to_owned());
        };
        let Some(rung) = rule.rung(incident.attempts).filter(|_| rule.risk != Risk::Report) else {
            return report("the rule only reports".to_owned());
        };
        match world.drills.get(&rule.number) {
            Some((DrillState::Passed, _)) => {}
            Some((state, why)) => return report(format!("reports only, its drill is {}: {why}", state.name())),
            None => return report("reports only, it was never drilled here".to_owned()),
        }
        if rule.risk == Risk::Medium && !rule.has_canary() && !target.approved && !incident.approved {
            return Standing::Ask;
        }
        if let (Some(after), Some(within)) = (rule.escalate.after, rule.escalate.within) {
            let again = count_since(&record.opened, world.now, within);
            if again >= after && incident.attempts == 0 {
                return give_up(format!("{again} times within {}", span_words(within)));
            }
        }
        let spent = count_since(&record.acts, world.now, rule.budget.within);
        if spent >= rule.budget.tries {
            return give_up(format!("{spent} attempts within {} did not help", span_words(rule.budget.within)));
        }
        if let Some(why) = world.paused {
            return wait(format!("paused: {why}"));
        }
        if let Some(why) = world.held.get(&key.1) {
            return wait(why.clone());
        }
        let interrupts = rung.steps.iter().any(Action::interrupts);
        if interrupts && world.suspended.get(&key.1).is_some_and(|until| *until > world.now) {
            return wait("restarts of it are suspended: it is slow, not dead".to_owned());
        }
        let heals_parent = rule.action.iter().flat_map(|rung| &rung.steps).any(is_for_parent);
        if let Some(parent) = target.parent.as_ref().filter(|_| !heals_parent) {
            let busy = self.incidents.iter().any(|(other, incident)| {
                (other.1 == *parent && incident.kind == TargetKind::Service && other != key)
                    || (incident.resource == format!("service:{parent}") && other != key)
            });
            if busy {
                return wait(format!("{parent}, which it needs, has an incident of its own"));
            }
        }
        // A rule that starts what the target needs works on that as well.
        let parent = target.parent.as_ref().filter(|_| heals_parent).map(|parent| format!("service:{parent}"));
        let holder = self.incidents.iter().find(|(other, incident)| {
            *other != key
                && (incident.resource == self.incidents[key].resource || parent.as_ref() == Some(&incident.resource))
                && matches!(incident.state, State::Acting | State::Validating)
        });
        if let Some((other, incident)) = holder {
            return wait(format!("rule {} is at work on {}", other.0, incident.resource));
        }
        let last = record.acts.last().copied();
        let cooldown = seconds(rule.cooldown);
        if let Some(left) = last.map(|last| last + cooldown - world.now).filter(|left| *left > 0) {
            return wait(format!("cools down for {left} s"));
        }
        if incident.next_at > world.now {
            return wait(format!("the next attempt is in {} s", incident.next_at - world.now));
        }
        let hour = Duration::from_secs(3_600);
        let all: usize = self.records.values().map(|record| count_since(&record.acts, world.now, hour)).sum();
        if all >= world.per_hour {
            return wait(format!("{all} actions of all rules within the hour are the most that is allowed"));
        }
        if rule.dry_run { Standing::WouldAct(words(&rung.steps)) } else { Standing::Act }
    }

    /// Tells that the actions were not begun: nothing was done, and the next look decides anew.
    pub fn put_off(&mut self, key: &Key, wall: i64, now: i64) {
        let (Some(incident), Some(record)) = (self.incidents.get_mut(key), self.records.get_mut(key)) else { return };
        if incident.acted_at == Some(now) && incident.take(Event::Failed) {
            record.acts.pop();
            record.stats.acted -= 1;
            incident.acted_at = None;
            incident.tell(wall, "not begun: mesh is being stopped");
        }
    }

    /// Tells what came of the actions. `ways` is what leads back from all that was done.
    pub fn performed(&mut self, key: &Key, rule: &Rule, done: &[(Action, Done)], wall: i64, now: i64) -> Vec<Effect> {
        let Some(incident) = self.incidents.get_mut(key) else { return Vec::new() };
        let mut effects = Vec::new();
        incident.ways = done.iter().flat_map(|(_, done)| done.way_back.clone()).collect();
        for (action, done) in done {
            let (Ok(what) | Err(what)) = &done.result;
            let how = if done.result.is_ok() { "done" } else { "failed" };
            incident.tell(wall, format!("{action}: {how}: {what}"));
        }
        let failed = done.iter().any(|(_, done)| done.result.is_err());
        let then = rule.rung(incident.attempts).map(|rung| rung.then).unwrap_or_default();
        incident.attempts += 1;
        if failed {
            incident.take(Event::Failed);
            let ways = std::mem::take(&mut incident.ways);
            self.records.entry(key.clone()).or_default().stats.failed += 1;
            effects.push(note(incident, "failed"));
            if !ways.is_empty() {
                effects.push(Effect::TakeBack { key: key.clone(), ways });
            }
        } else if then == Then::Next {
            incident.take(Event::Failed);
            effects.push(note(incident, "next"));
        } else {
            incident.take(Event::Performed);
            incident.deadline = Some(now.saturating_add(seconds(rule.validate.within)));
            incident.memory = Memory::default();
            effects.push(note(incident, "performed"));
            let mut text = "it is watched whether it helps".to_owned();
            if let Some(proposal) = rule.escalate.propose.as_ref().filter(|_| incident.proposal.is_none()) {
                incident.proposal = Some(proposal.clone());
                incident.tell(wall, format!("proposal: {proposal}"));
                text = format!("{text}; proposal: {proposal}");
            }
            effects.push(notice(incident, NoticeKind::Acted, wall, &text));
        }
        incident.next_at = now.saturating_add(wait(rule, incident));
        effects
    }

    fn validate(
        &mut self,
        key: &Key,
        rule: &Rule,
        look: &Look<'_>,
        world: &World<'_>,
        effects: &mut Vec<Effect>,
    ) -> String {
        let (Some(incident), Some(record)) = (self.incidents.get_mut(key), self.records.get_mut(key)) else {
            return String::new();
        };
        // What was measured before the action says nothing of it.
        if incident.acted_at.is_some_and(|at| world.now <= at) {
            return "validating: nothing was measured since the action".to_owned();
        }
        let found = rule.validate.when.look(&mut incident.memory, look);
        let clauses = rule.validate.when.clauses(&found, look);
        let detail = clauses.into_iter().map(|clause| clause.detail).find(|detail| !detail.is_empty());
        if found.truth == Truth::True {
            incident.take(Event::Healed);
            record.stats.healed += 1;
            record.stats.heal_seconds += u64::try_from(world.wall - incident.opened).unwrap_or(0);
            (incident.closed, incident.ending) = (Some(world.wall), Some(Ending::Healed));
            let text = format!("healed, and seen to be: {}", detail.unwrap_or_default());
            incident.tell(world.wall, &text);
            effects.push(note(incident, "healed"));
            effects.push(notice(incident, NoticeKind::Healed, world.wall, &text));
            self.end(key);
            return text;
        }
        let deadline = incident.deadline.unwrap_or(world.now);
        if world.now < deadline {
            return format!("validating for {} s more: {}", deadline - world.now, detail.unwrap_or_default());
        }
        incident.take(Event::Missed);
        record.stats.failed += 1;
        incident.tell(world.wall, format!("did not help in time: {}", detail.unwrap_or_default()));
        effects.push(note(incident, "missed"));
        let ways = std::mem::take(&mut incident.ways);
        if !ways.is_empty() {
            incident.tell(world.wall, "what was done is taken back");
            effects.push(Effect::TakeBack { key: key.clone(), ways });
        }
        "did not help in time".to_owned()
    }

    /// A person was called because the budget was spent. Once it is there again, it is tried again.
    fn maybe_retry(&mut self, key: &Key, rule: &Rule, world: &World<'_>, effects: &mut Vec<Effect>) -> String {
        let (Some(incident), Some(record)) = (self.incidents.get_mut(key), self.records.get_mut(key)) else {
            return String::new();
        };
        let drilled = matches!(world.drills.get(&rule.number), Some((DrillState::Passed, _)));
        let again = if incident.reports {
            rule.risk != Risk::Report && drilled && !rule.dry_run
        } else {
            let opened = rule.escalate.within.is_none_or(|within| {
                count_since(&record.opened, world.now, within) < rule.escalate.after.unwrap_or(usize::MAX)
            });
            incident.attempts > 0 && count_since(&record.acts, world.now, rule.budget.within) < rule.budget.tries
                || opened && incident.attempts == 0
        };
        if !again {
            return format!("escalated: {}", incident.waits);
        }
        incident.take(Event::Retry);
        (incident.reports, incident.called) = (false, None);
        incident.tell(world.wall, "may be tried again");
        effects.push(note(incident, "retry"));
        "escalated; may be tried again".to_owned()
    }

    fn clear(&mut self, key: &Key, world: &World<'_>, why: &str, effects: &mut Vec<Effect>) {
        let Some(incident) = self.incidents.get_mut(key) else { return };
        let escalated = incident.state == State::Escalated;
        if !incident.take(Event::Cleared) {
            return;
        }
        let alone = incident.attempts == 0;
        let ending = if alone && !escalated { Ending::ClearedByItself } else { Ending::Cleared };
        if alone {
            self.records.entry(key.clone()).or_default().stats.self_cleared += 1;
        }
        (incident.closed, incident.ending) = (Some(world.wall), Some(ending));
        incident.tell(world.wall, format!("cleared: {why}"));
        effects.push(note(incident, "cleared"));
        if incident.confirmed {
            effects.push(notice(incident, NoticeKind::Cleared, world.wall, why));
        }
        self.end(key);
    }

    fn end(&mut self, key: &Key) {
        if let Some(incident) = self.incidents.remove(key) {
            self.ended.push(incident);
        }
    }
}

enum Standing {
    Wait(String),
    Ask,
    GiveUp { why: String, reports: bool },
    WouldAct(String),
    Act,
}

/// Calls a person. What was told.
fn escalate(
    incident: &mut Incident,
    record: &mut Record,
    rule: &Rule,
    why: &str,
    wall: i64,
    effects: &mut Vec<Effect>,
) -> String {
    // Open takes it: the table says so.
    incident.take(Event::GiveUp);
    why.clone_into(&mut incident.waits);
    incident.called = Some(wall);
    record.stats.escalated += 1;
    let to = rule.escalate.to.map(|to| format!("; rule {to} goes on")).unwrap_or_default();
    let text = format!("{why}: {}{to}", rule.escalate.say);
    incident.tell(wall, format!("escalated: {text}"));
    effects.push(note(incident, "escalated"));
    effects.push(notice(incident, NoticeKind::Escalated, wall, &text));
    text
}

fn words(steps: &[Action]) -> String {
    steps.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn diagnose(rule: &Rule, look: &Look<'_>, answers: &mut Vec<Found>) -> (Truth, Option<String>) {
    let mut all = Truth::True;
    let mut refuted = None;
    for question in &rule.diagnose {
        // A question is about now: it remembers nothing.
        let found = question.when.look(&mut Memory::default(), look);
        match found.truth {
            Truth::True => {}
            Truth::False => {
                all = Truth::False;
                refuted.get_or_insert_with(|| question.say.clone());
            }
            Truth::Unknown if all == Truth::True => all = Truth::Unknown,
            Truth::Unknown => {}
        }
        answers.push(found);
    }
    (all, refuted)
}

fn is_for_parent(action: &Action) -> bool {
    matches!(
        action,
        Action::Start { on: On::Parent } | Action::Restart { on: On::Parent } | Action::ResetFailed { on: On::Parent }
    )
}

fn resource(rule: &Rule, target: &Target) -> String {
    let path = target.path.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    rule.resource
        .replace("{target}", target.name.as_str())
        .replace("{service}", target.service().unwrap_or(target.name.as_str()))
        .replace("{path}", &path)
}

/// Seconds before the next attempt, give or take a fifth: by the incident and the attempt, so that incidents that were
/// opened together do not act together.
fn wait(rule: &Rule, incident: &Incident) -> i64 {
    let base = rule.rung(incident.attempts).map_or(0, |rung| seconds(rung.wait));
    let mixed = incident.id.wrapping_mul(0x9E37_79B9).wrapping_add(incident.attempts as u64 * 0x85EB_CA6B);
    let part = i64::try_from(mixed % 401).unwrap_or(200);
    base.saturating_mul(800 + part) / 1_000
}

fn count_since(times: &[i64], now: i64, span: Duration) -> usize {
    let start = now.saturating_sub(seconds(span));
    times.iter().filter(|at| **at > start).count()
}

fn push(times: &mut Vec<i64>, now: i64) {
    if times.len() >= TIMES {
        times.remove(0);
    }
    times.push(now);
}

fn seconds(span: Duration) -> i64 {
    i64::try_from(span.as_secs()).unwrap_or(i64::MAX)
}

fn note(incident: &Incident, what: &str) -> Effect {
    Effect::Note { incident: Box::new(incident.clone()), what: what.to_owned() }
}

fn notice(incident: &Incident, kind: NoticeKind, wall: i64, text: &str) -> Effect {
    Effect::Notice(Notice {
        incident: incident.id,
        rule: incident.rule,
        name: incident.name.clone(),
        target: incident.target.clone(),
        kind,
        at: wall,
        text: text.to_owned(),
        quiet: incident.acked || incident.snoozed_until.is_some_and(|until| until > wall),
    })
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
