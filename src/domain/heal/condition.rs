//! When a rule holds: claims over signals, lines of a log, and events, joined and throttled. What it remembers from one
//! look to the next is a value of its own, so that it survives a restart.

use std::collections::BTreeMap;
use std::time::Duration;

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::rule::span;
use crate::domain::expr::{Claim, Truth};
use crate::domain::foreign_text::display_line;
use crate::domain::series::History;

/// What stands for the target's name in a claim.
const TARGET: &str = "{target}";
/// What stands for it in a claim that was compiled.
const STAND_IN: &str = "the-target-of-this-rule";
/// Most conditions in one tree.
const NODES: usize = 32;
/// Times that are remembered of one condition.
const TIMES: usize = 1_024;
/// Longest regular expression, in bytes.
const PATTERN_BYTES: usize = 512;

/// Something that happened to a target.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventName {
    /// The service's process ended by itself.
    Exited,
    /// The service was started again by its manager.
    Restarted,
    /// The manager gave up on the service.
    GivenUp,
    /// The kernel killed a process of the service for lack of memory.
    OomKill,
    /// A rule acted on the target.
    RuleActed,
}

/// What happened, and what a log said, since the last look.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Occurrence {
    /// When, on the clock of the engine, in seconds.
    pub at: i64,
    /// The target.
    pub target: String,
    /// What.
    pub what: What,
}

/// An event, or a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum What {
    /// It happened.
    Event(EventName),
    /// A line of the target's log. Foreign text.
    Line(String),
}

/// How often a condition that happens may count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Throttle {
    /// True when it happened this often within the span.
    AccumulateWithin(usize, Duration),
    /// True at once, and then not again within the span.
    OnceWithin(Duration),
    /// True once, when the span since it first happened is over.
    OnceAfter(Duration),
}

/// A condition as it is written. Exactly one of the first six is there.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConditionText {
    when: Option<String>,
    log: Option<String>,
    event: Option<EventName>,
    all: Option<Vec<ConditionText>>,
    any: Option<Vec<ConditionText>>,
    at_least: Option<AtLeast>,
    #[serde(default, rename = "for", with = "span::optional")]
    lasts: Option<Duration>,
    #[serde(default, with = "span::optional")]
    once_within: Option<Duration>,
    #[serde(default, with = "span::optional")]
    once_after: Option<Duration>,
    accumulate_within: Option<Accumulate>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AtLeast {
    count: usize,
    of: Vec<ConditionText>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Accumulate {
    count: usize,
    #[serde(with = "span")]
    span: Duration,
}

/// A condition that was checked.
#[derive(Clone, Debug)]
pub struct Condition {
    kind: Kind,
    lasts: Duration,
    throttle: Option<Throttle>,
}

#[derive(Clone, Debug)]
enum Kind {
    /// As it was written, and compiled with [`STAND_IN`] for its target.
    Claim(String, Box<Claim>),
    Log(Regex),
    Event(EventName),
    AtLeast(usize, Vec<Condition>),
}

/// What a condition remembers: by the place of each part in the tree.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Memory(BTreeMap<usize, Cell>);

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
struct Cell {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    times: Vec<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    told: Option<i64>,
}

impl Memory {
    /// Lets a part change what it remembers. Nothing is held for one that remembers nothing.
    fn with<T>(&mut self, place: usize, change: impl FnOnce(&mut Cell) -> T) -> T {
        let mut cell = self.0.remove(&place).unwrap_or_default();
        let result = change(&mut cell);
        if cell != Cell::default() {
            self.0.insert(place, cell);
        }
        result
    }

    /// Lets go of parts that remember nothing, which earlier versions wrote down.
    pub fn forget_nothing(&mut self) {
        self.0.retain(|_, cell| *cell != Cell::default());
    }

    /// Whether a part of it is on its way to hold for long enough.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        self.0.values().any(|cell| cell.since.is_some())
    }
}

/// What one look is made at.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// The target's name.
    pub target: &'a str,
    /// What was measured.
    pub history: &'a History,
    /// What happened to the target since the last look.
    pub occurrences: &'a [Occurrence],
    /// The wall clock in seconds, which readings are dated by.
    pub wall: i64,
    /// The engine's own clock in seconds, which does not jump.
    pub now: i64,
}

/// One part of a condition, and what was found of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Clause {
    /// How deep it stands in the tree.
    pub depth: usize,
    /// The condition in words.
    pub text: String,
    /// What it came to.
    pub truth: Truth,
    /// The numbers behind it.
    pub detail: String,
}

/// One part of a condition in numbers: what [`Condition::clauses`] puts in words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Part {
    /// What it came to.
    truth: Truth,
    /// Lines, events, or parts that hold.
    counted: usize,
    /// Times in its memory.
    remembered: usize,
    /// For how many seconds it has held, where it has to hold for a time and does.
    held: Option<i64>,
}

/// What a condition came to, and of each part, in the order of reading, the numbers behind it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Whether it holds.
    pub truth: Truth,
    parts: Vec<Part>,
}

impl Found {
    /// Nothing was looked at.
    #[must_use]
    pub const fn none() -> Self {
        Self { truth: Truth::Unknown, parts: Vec::new() }
    }

    /// What each part came to, in the order of reading.
    pub fn truths(&self) -> impl Iterator<Item = Truth> {
        self.parts.iter().map(|part| part.truth)
    }
}

impl ConditionText {
    /// Checks it, with every part of it.
    ///
    /// # Errors
    /// The first mistake, in one sentence.
    pub fn check(self) -> Result<Condition, String> {
        let condition = self.checked(0)?;
        if condition.count() > NODES {
            return Err(format!("a condition has at most {NODES} parts"));
        }
        Ok(condition)
    }

    fn checked(self, depth: usize) -> Result<Condition, String> {
        if depth > 4 {
            return Err("conditions nest at most four deep".to_owned());
        }
        let several = |list: Vec<Self>| {
            if list.is_empty() {
                return Err("`all`, `any` and `at_least` need at least one condition".to_owned());
            }
            list.into_iter().map(|part| part.checked(depth + 1)).collect::<Result<Vec<_>, _>>()
        };
        let kind = match (self.when, self.log, self.event, self.all, self.any, self.at_least) {
            (Some(text), None, None, None, None, None) => {
                let claim = Claim::compile(&text.replace(TARGET, STAND_IN));
                let claim = claim.map_err(|error| format!("`{text}`: {error}"))?;
                Kind::Claim(text, Box::new(claim))
            }
            (None, Some(pattern), None, None, None, None) => Kind::Log(compile(&pattern)?),
            (None, None, Some(event), None, None, None) => Kind::Event(event),
            (None, None, None, Some(all), None, None) => {
                let all = several(all)?;
                Kind::AtLeast(all.len(), all)
            }
            (None, None, None, None, Some(any), None) => Kind::AtLeast(1, several(any)?),
            (None, None, None, None, None, Some(AtLeast { count, of })) => {
                if count == 0 || count > of.len() {
                    return Err(format!("`at_least.count` must be 1 to {}", of.len()));
                }
                Kind::AtLeast(count, several(of)?)
            }
            _ => {
                return Err(
                    "a condition has exactly one of `when`, `log`, `event`, `all`, `any`, `at_least`".to_owned()
                );
            }
        };
        let throttle = match (self.accumulate_within, self.once_within, self.once_after) {
            (None, None, None) => None,
            (Some(Accumulate { count, span }), None, None) => {
                if count == 0 || count > TIMES {
                    return Err(format!("`accumulate_within.count` must be 1 to {TIMES}"));
                }
                Some(Throttle::AccumulateWithin(count, span))
            }
            (None, Some(span), None) => Some(Throttle::OnceWithin(span)),
            (None, None, Some(span)) => Some(Throttle::OnceAfter(span)),
            _ => return Err("a condition has one of `once_within`, `once_after`, `accumulate_within`".to_owned()),
        };
        Ok(Condition { kind, lasts: self.lasts.unwrap_or_default(), throttle })
    }
}

fn compile(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > PATTERN_BYTES {
        return Err(format!("`log` is longer than {PATTERN_BYTES} bytes"));
    }
    let built = regex::RegexBuilder::new(pattern).size_limit(256 * 1024).build();
    built.map_err(|error| format!("`log` is not a regular expression: {}", display_line(&error.to_string())))
}

impl Condition {
    /// A condition that always, or never, holds: for drills of the drill itself.
    #[must_use]
    pub const fn constant(holds: bool) -> Self {
        let kind = Kind::AtLeast(if holds { 0 } else { 1 }, Vec::new());
        Self { kind, lasts: Duration::ZERO, throttle: None }
    }

    fn count(&self) -> usize {
        1 + match &self.kind {
            Kind::AtLeast(_, parts) => parts.iter().map(Self::count).sum(),
            Kind::Claim(..) | Kind::Log(_) | Kind::Event(_) => 0,
        }
    }

    /// Whether it looks at lines of a log.
    #[must_use]
    pub fn reads_lines(&self) -> bool {
        match &self.kind {
            Kind::Log(_) => true,
            Kind::AtLeast(_, parts) => parts.iter().any(Self::reads_lines),
            Kind::Claim(..) | Kind::Event(_) => false,
        }
    }

    /// Whether any of its patterns matches the line.
    #[must_use]
    pub fn matches_line(&self, line: &str) -> bool {
        match &self.kind {
            Kind::Log(pattern) => pattern.is_match(line),
            Kind::AtLeast(_, parts) => parts.iter().any(|part| part.matches_line(line)),
            Kind::Claim(..) | Kind::Event(_) => false,
        }
    }

    /// The signals that its claims read, and how far back each ([`Claim::windows`]).
    pub fn windows(&self) -> Vec<(&'static str, Duration)> {
        match &self.kind {
            Kind::Claim(_, claim) => claim.windows().collect(),
            Kind::AtLeast(_, parts) => parts.iter().flat_map(Self::windows).collect(),
            Kind::Log(_) | Kind::Event(_) => Vec::new(),
        }
    }

    /// The claims in it, for one target.
    ///
    /// # Errors
    /// The target's name does not fit into one.
    pub fn claims(&self, target: &str) -> Result<Vec<Claim>, String> {
        match &self.kind {
            Kind::Claim(_, claim) => Ok(vec![bind(claim, target)?]),
            Kind::AtLeast(_, parts) => {
                let lists = parts.iter().map(|part| part.claims(target)).collect::<Result<Vec<_>, _>>()?;
                Ok(lists.into_iter().flatten().collect())
            }
            Kind::Log(_) | Kind::Event(_) => Ok(Vec::new()),
        }
    }

    /// The longest time that it needs to become true by `for`, or to end by a throttle.
    #[must_use]
    pub fn longest(&self) -> Duration {
        let own = match self.throttle {
            Some(Throttle::OnceAfter(span)) => span,
            Some(Throttle::AccumulateWithin(..) | Throttle::OnceWithin(_)) | None => Duration::ZERO,
        };
        let parts = match &self.kind {
            Kind::AtLeast(_, parts) => parts.iter().map(Self::longest).max().unwrap_or_default(),
            Kind::Claim(..) | Kind::Log(_) | Kind::Event(_) => Duration::ZERO,
        };
        self.lasts.max(own) + parts
    }

    /// Looks, and remembers what the next look needs. It gives numbers only: most looks are never read by anybody.
    pub fn look(&self, memory: &mut Memory, look: &Look<'_>) -> Found {
        let mut parts = Vec::with_capacity(self.count());
        let truth = self.look_at(memory, look, &mut parts);
        Found { truth, parts }
    }

    fn look_at(&self, memory: &mut Memory, look: &Look<'_>, parts: &mut Vec<Part>) -> Truth {
        let own = parts.len();
        parts.push(Part { truth: Truth::Unknown, counted: 0, remembered: 0, held: None });
        let mut times: Vec<i64> = Vec::new();
        let (mut truth, counted) = match &self.kind {
            Kind::Claim(_, claim) => {
                (claim.evaluate_of(STAND_IN, look.target, look.history, look.wall).unwrap_or(Truth::Unknown), 0)
            }
            Kind::Log(pattern) => {
                times.extend(look.occurrences.iter().filter_map(|one| match &one.what {
                    What::Line(line) if pattern.is_match(line) => Some(one.at),
                    What::Line(_) | What::Event(_) => None,
                }));
                (Truth::of(!times.is_empty()), times.len())
            }
            Kind::Event(name) => {
                times.extend(look.occurrences.iter().filter(|one| one.what == What::Event(*name)).map(|one| one.at));
                (Truth::of(!times.is_empty()), times.len())
            }
            Kind::AtLeast(count, below) => {
                let (mut holding, mut open) = (0, 0);
                for part in below {
                    match part.look_at(memory, look, parts) {
                        Truth::True => holding += 1,
                        Truth::Unknown => open += 1,
                        Truth::False => {}
                    }
                }
                let truth = match (holding >= *count, holding + open >= *count) {
                    (true, _) => Truth::True,
                    (false, true) => Truth::Unknown,
                    (false, false) => Truth::False,
                };
                (truth, holding)
            }
        };
        let (mut remembered, mut held) = (0, None);
        if let Some(throttle) = self.throttle {
            if times.is_empty() && truth == Truth::True {
                times.push(look.now);
            }
            truth = memory.with(own, |cell| {
                let truth = cell.throttled(throttle, &times, look.now);
                remembered = cell.times.len();
                truth
            });
        }
        if !self.lasts.is_zero() {
            let seconds = memory.with(own, |cell| cell.held(truth, look.now));
            if truth == Truth::True {
                held = Some(seconds);
                truth = Truth::of(u64::try_from(seconds).is_ok_and(|seconds| seconds >= self.lasts.as_secs()));
            }
        }
        parts[own] = Part { truth, counted, remembered, held };
        truth
    }

    /// What was found by [`Condition::look`], in words; `look` is the one that found it.
    #[must_use]
    pub fn clauses(&self, found: &Found, look: &Look<'_>) -> Vec<Clause> {
        let mut clauses = Vec::with_capacity(found.parts.len());
        self.tell(&found.parts, look, 0, &mut clauses);
        clauses
    }

    fn tell(&self, parts: &[Part], look: &Look<'_>, depth: usize, clauses: &mut Vec<Clause>) {
        let Some(part) = parts.get(clauses.len()) else { return };
        let mut detail = match &self.kind {
            Kind::Claim(_, claim) => match claim.about(STAND_IN, look.target) {
                Ok(claim) => claim.reading(look.history, look.wall),
                Err(why) => why.to_string(),
            },
            Kind::Log(_) => format!("{} new lines", part.counted),
            Kind::Event(_) => format!("{} new", part.counted),
            Kind::AtLeast(_, below) => format!("{} of {}", part.counted, below.len()),
        };
        if self.throttle.is_some() {
            detail = format!("{detail}; {} in memory", part.remembered);
        }
        if let Some(held) = part.held {
            detail = format!("{detail}; for {held} of {} s", self.lasts.as_secs());
        }
        clauses.push(Clause { depth, text: self.text(look.target), truth: part.truth, detail });
        if let Kind::AtLeast(_, below) = &self.kind {
            below.iter().for_each(|one| one.tell(parts, look, depth + 1, clauses));
        }
    }

    /// The condition in words.
    fn text(&self, target: &str) -> String {
        let what = match &self.kind {
            Kind::Claim(text, _) => text.replace(TARGET, target),
            Kind::Log(pattern) => format!("log matches {pattern}"),
            Kind::Event(name) => format!("event {}", word(name)),
            Kind::AtLeast(count, parts) if *count == parts.len() => "all of".to_owned(),
            Kind::AtLeast(1, _) => "any of".to_owned(),
            Kind::AtLeast(count, parts) => format!("{count} of {}", parts.len()),
        };
        let throttle = match self.throttle {
            Some(Throttle::AccumulateWithin(count, span)) => format!(", {count} times within {} s", span.as_secs()),
            Some(Throttle::OnceWithin(span)) => format!(", once within {} s", span.as_secs()),
            Some(Throttle::OnceAfter(span)) => format!(", once after {} s", span.as_secs()),
            None => String::new(),
        };
        let lasts = if self.lasts.is_zero() { String::new() } else { format!(", for {} s", self.lasts.as_secs()) };
        format!("{what}{throttle}{lasts}")
    }
}

fn word(name: &EventName) -> String {
    serde_json::to_string(name).unwrap_or_default().trim_matches('"').to_owned()
}

fn bind(claim: &Claim, target: &str) -> Result<Claim, String> {
    claim.about(STAND_IN, target).map_err(|error| error.to_string())
}

impl Cell {
    fn throttled(&mut self, throttle: Throttle, new: &[i64], now: i64) -> Truth {
        // Times that lie ahead were noted before the clock was made anew: they count as now.
        self.times.iter_mut().for_each(|at| *at = (*at).min(now));
        self.told = self.told.map(|at| at.min(now));
        match throttle {
            Throttle::AccumulateWithin(count, span) => {
                self.times.extend(new);
                let start = now.saturating_sub(seconds(span));
                self.times.retain(|at| *at > start);
                let surplus = self.times.len().saturating_sub(TIMES);
                self.times.drain(..surplus);
                Truth::of(self.times.len() >= count)
            }
            Throttle::OnceWithin(span) => {
                let free = self.told.is_none_or(|told| now - told >= seconds(span));
                if new.is_empty() || !free {
                    return Truth::False;
                }
                self.told = Some(now);
                Truth::True
            }
            Throttle::OnceAfter(span) => {
                if self.told.is_none() && !new.is_empty() {
                    self.told = Some(now);
                }
                let over = self.told.is_some_and(|told| now - told >= seconds(span));
                if over {
                    self.told = None;
                }
                Truth::of(over)
            }
        }
    }

    /// For how many seconds it has been true without a break.
    fn held(&mut self, truth: Truth, now: i64) -> i64 {
        if truth != Truth::True {
            self.since = None;
            return 0;
        }
        let since = self.since.filter(|since| *since <= now).unwrap_or(now);
        self.since = Some(since);
        now - since
    }
}

fn seconds(span: Duration) -> i64 {
    i64::try_from(span.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::series::{Point, Series};

    fn condition(text: &str) -> Result<Condition, String> {
        toml::from_str::<ConditionText>(text).map_err(|error| error.to_string())?.check()
    }

    fn history(value: f64, now: i64) -> History {
        let series = Series {
            subject: "web".to_owned(),
            every: Duration::from_secs(60),
            points: vec![Point::reading(now, Some(value))],
        };
        History::from_iter([("service.rss_mb", vec![series])])
    }

    fn event(at: i64) -> Occurrence {
        Occurrence { at, target: "web".to_owned(), what: What::Event(EventName::OomKill) }
    }

    fn line(text: &str) -> Occurrence {
        Occurrence { at: 0, target: "web".to_owned(), what: What::Line(text.to_owned()) }
    }

    fn look(condition: &Condition, memory: &mut Memory, occurrences: &[Occurrence], now: i64) -> Truth {
        let history = history(3.0, now);
        condition.look(memory, &Look { target: "web", history: &history, occurrences, wall: now, now }).truth
    }

    #[test]
    fn c7_the_three_throttles_count_each_in_its_way() {
        let memory = &mut Memory::default();
        let three = condition("event = \"oom-kill\"\naccumulate_within = { count = 3, span = \"6h\" }").expect("sound");
        assert_eq!(look(&three, memory, &[event(0), event(10)], 10), Truth::False);
        assert_eq!(look(&three, memory, &[event(20_000)], 20_000), Truth::True);
        assert_eq!(look(&three, memory, &[], 21_600), Truth::False, "the first is six hours ago");
        let once = condition("event = \"oom-kill\"\nonce_within = \"1h\"").expect("sound");
        let memory = &mut Memory::default();
        let told: Vec<_> = [0, 10, 3_600].map(|now| look(&once, memory, &[event(now)], now)).into();
        assert_eq!(told, [Truth::True, Truth::False, Truth::True]);
        let after = condition("event = \"oom-kill\"\nonce_after = \"1h\"").expect("sound");
        let memory = &mut Memory::default();
        assert_eq!(look(&after, memory, &[event(0)], 0), Truth::False);
        assert_eq!(look(&after, memory, &[], 3_600), Truth::True);
        assert_eq!(look(&after, memory, &[], 3_601), Truth::False);
    }

    #[test]
    fn what_is_remembered_survives_being_written_and_read() {
        let three = condition("event = \"oom-kill\"\naccumulate_within = { count = 3, span = \"6h\" }").expect("sound");
        let mut memory = Memory::default();
        look(&three, &mut memory, &[event(0), event(1)], 1);
        let text = serde_json::to_string(&memory).expect("plain");
        let mut memory: Memory = serde_json::from_str(&text).expect("plain");
        assert_eq!(look(&three, &mut memory, &[event(2)], 2), Truth::True);
    }

    #[test]
    fn parts_join_and_each_is_told() {
        let text = "[[at_least.of]]\nwhen = 'last(\"service.rss_mb/{target}\") > 2'\n[[at_least.of]]\nlog = 'panic'\n\
                    [[at_least.of]]\nwhen = 'last(\"log.records/{target}\") > 1'\n[at_least]\ncount = 2";
        let two = condition(&text.replace("[at_least]\ncount = 2", "")).expect_err("no count");
        assert!(two.contains("count"), "{two}");
        let text = "at_least = { count = 2, of = [{ when = 'last(\"service.rss_mb/{target}\") > 2' }, { log = 'panic' }, \
                    { when = 'last(\"log.records/{target}\") > 1' }] }";
        let two = condition(text).expect("sound");
        let memory = &mut Memory::default();
        assert_eq!(look(&two, memory, &[], 0), Truth::Unknown, "the third is not measured");
        assert_eq!(look(&two, memory, &[line("a panic!")], 0), Truth::True);
        let history = history(3.0, 0);
        let look = Look { target: "web", history: &history, occurrences: &[], wall: 0, now: 0 };
        let found = two.look(memory, &look);
        let clauses = two.clauses(&found, &look);
        let told: Vec<_> = clauses.iter().map(|one| (one.depth, one.text.as_str(), one.detail.as_str())).collect();
        assert_eq!(
            told,
            [
                (0, "2 of 3", "1 of 3"),
                (1, "last(\"service.rss_mb/web\") > 2", "last(service.rss_mb/web) = 3.0"),
                (1, "log matches panic", "0 new lines"),
                (1, "last(\"log.records/web\") > 1", "last(log.records/web) = not known"),
            ]
        );
        let truths: Vec<_> = clauses.iter().map(|one| one.truth).collect();
        assert_eq!(truths, [Truth::Unknown, Truth::True, Truth::False, Truth::Unknown]);
        assert!(found.truths().eq(truths));
    }

    #[test]
    fn for_needs_an_unbroken_truth() {
        let long = condition("when = 'last(\"service.rss_mb/{target}\") > 2'\nfor = \"5m\"").expect("sound");
        let memory = &mut Memory::default();
        assert_eq!(look(&long, memory, &[], 0), Truth::False);
        assert_eq!(look(&long, memory, &[], 299), Truth::False);
        assert_eq!(look(&long, memory, &[], 300), Truth::True);
        assert_eq!(look(&long, memory, &[], 10), Truth::False, "the clock was made anew");
    }

    #[test]
    fn mistakes_are_named() {
        for (text, expected) in [
            ("", "exactly one of"),
            ("when = 'true'", "constant"),
            ("when = 'last(\"service.rss_mbb/{target}\") > 1'", "did you mean"),
            ("log = '('", "not a regular expression"),
            ("event = \"tea\"", "unknown variant"),
            ("any = []", "at least one"),
            ("event = \"exited\"\nonce_within = \"1h\"\nonce_after = \"1h\"", "has one of"),
            ("event = \"exited\"\naccumulate_within = { count = 0, span = \"1h\" }", "must be 1 to"),
            ("event = \"exited\"\nwhile = 1", "unknown field"),
        ] {
            let refused = condition(text).expect_err(text);
            assert!(refused.contains(expected), "{text}: {refused}");
        }
    }
}
