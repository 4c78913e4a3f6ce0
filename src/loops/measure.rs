//! Measuring: each check that is due is asked in a thread that has nothing else to do, within its own deadline, and what
//! it says is stored and shown. One that hangs delays no other, and is not asked again until it returns.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SendError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::domain::expr::Function;
use crate::domain::foreign_text::{display_line, error_line};
use crate::domain::series::{ETA_MOST, SLOPE_WINDOW};
use crate::domain::signal::{self, SeriesName, Signal, Subject};
use crate::domain::snapshot::{ServiceView, SignalState, SignalView};
use crate::domain::window::Times;
use crate::ports::{Clock, Probe, Reading};
use crate::store::db::{Db, DbError};
use crate::store::samples::Sample;

/// Between the first readings of two checks, so that they do not all start at once.
const STAGGER: Duration = Duration::from_millis(5);
/// Least time between two publications.
const GATHER: Duration = Duration::from_millis(100);
/// Longest time without a look at what else is to be shown.
const SWEEP: Duration = Duration::from_secs(60);
/// Between two joinings of readings into hours.
const TIDY: Duration = Duration::from_secs(3_600);
/// From the start of a process to the first look at what it uses.
const SETTLED: Duration = Duration::from_secs(2);
/// Stack of a thread that asks.
const STACK: usize = 512 * 1024;
/// Time without a question after which no thread waits for one.
const QUIET: Duration = Duration::from_secs(1);
/// Questions that are open at once while they are young: most are answered in less than the time that it takes to make a
/// thread. One that is older hangs, or works, and keeps nobody waiting.
const CROWD: usize = 4;
/// So long a question is young.
const AT_ONCE: Duration = Duration::from_millis(20);
/// Longest reason that is shown, in characters.
const WHY_CHARS: usize = 200;
/// The signal that `host.disk.eta_hours` is worked out from.
const DISK: &str = "host.disk.used_percent";

/// The last good value of a series, and whether to be beyond it is critical.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Bounds {
    /// The last value that is still good.
    pub threshold: Option<f64>,
    /// Whether a value beyond it is critical.
    pub critical: bool,
}

/// One thing to measure.
pub struct Check {
    /// Its name: where its probe stopped is kept under it.
    pub label: String,
    /// The time between two readings.
    pub every: Duration,
    /// How long one may take.
    pub deadline: Duration,
    /// The series that are not known when it does not answer.
    pub names: Vec<SeriesName>,
    /// Bounds that are other than those of the catalogue, by signal.
    pub bounds: BTreeMap<&'static str, Bounds>,
    /// The supervised service that it measures: it is asked anew when that has another process.
    pub service: Option<String>,
    /// When it is asked at all.
    pub times: Times,
    /// What asks.
    pub probe: Box<dyn Probe>,
}

/// What the loop is told.
pub enum Event {
    /// A probe came back.
    Answer(Answer),
    /// Measure these from now on.
    Checks(Vec<Check>),
    /// Readings that another loop made, and the time between two of them.
    Told(Duration, Vec<Reading>),
    /// The services as they are now.
    Services(BTreeMap<String, ServiceView>),
    /// Something else that is shown has changed.
    Refresh,
    /// End.
    Stop,
}

/// What a probe said.
pub struct Answer {
    round: u64,
    index: usize,
    probe: Box<dyn Probe>,
    readings: Vec<Reading>,
    remarks: Vec<(SeriesName, String)>,
    mark: Option<String>,
    asker: Sender<Question>,
}

/// A check that is asked.
struct Question {
    round: u64,
    index: usize,
    probe: Box<dyn Probe>,
    /// The way to the thread that is asked. It comes back with the answer, and that thread ends when nobody has it any more.
    asker: Sender<Question>,
}

/// What is shown after each step.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Signals by name.
    pub signals: BTreeMap<String, SignalView>,
    /// Services by name.
    pub services: BTreeMap<String, ServiceView>,
    /// What is wrong with the measuring itself, a sentence each.
    pub problems: Vec<String>,
}

/// A check and where it stands.
struct Standing {
    label: String,
    every: Duration,
    deadline: Duration,
    names: Vec<SeriesName>,
    bounds: BTreeMap<&'static str, Bounds>,
    service: Option<String>,
    times: Times,
    /// `None` while it is asked.
    probe: Option<Box<dyn Probe>>,
    asked: Option<Instant>,
    due: Instant,
    /// Whether the question that is open was given up already.
    given_up: bool,
}

/// The loop's state.
struct Measuring<'a, C> {
    clock: &'a C,
    db: &'a mut Db,
    answers: Sender<Event>,
    /// Threads that wait for a question. They end when they are let go of.
    askers: Vec<Sender<Question>>,
    checks: Vec<Standing>,
    /// Answers of earlier sets of checks are not taken.
    round: u64,
    shown: Measured,
    samples: Vec<Sample>,
    marks: Vec<(String, String)>,
    tidied: Option<Instant>,
}

/// Measures until it is told to stop. `answers` is the sender that belongs to `events`.
pub fn run<C: Clock>(
    clock: &C,
    db: &mut Db,
    answers: Sender<Event>,
    events: &Receiver<Event>,
    publish: &mut dyn FnMut(&Measured),
) {
    let shown = Measured::default();
    let (askers, checks, samples, marks) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut measuring = Measuring { clock, db, answers, askers, checks, round: 0, shown, samples, marks, tidied: None };
    let mut next = Instant::now();
    let mut published: Option<Instant> = None;
    loop {
        let mut event = events.recv_timeout(next.saturating_duration_since(Instant::now()));
        // All that came in by now is one batch: one transaction, one publication.
        loop {
            match event {
                Ok(Event::Answer(answer)) => measuring.take(answer),
                Ok(Event::Checks(checks)) => measuring.replace(checks),
                Ok(Event::Told(every, readings)) => {
                    let usual = BTreeMap::new();
                    readings.into_iter().for_each(|reading| measuring.note(every, &usual, reading));
                }
                Ok(Event::Services(services)) => measuring.renew(services),
                Ok(Event::Refresh) | Err(RecvTimeoutError::Timeout) => {}
                Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => return measuring.store(),
            }
            match events.try_recv() {
                Ok(more) => event = Ok(more),
                Err(_) => break,
            }
        }
        next = measuring.ask();
        if next.saturating_duration_since(Instant::now()) > QUIET {
            measuring.askers.clear();
        }
        // Many answers one by one are stored and published together: both cost as much for one as for all.
        match published.map(|at| at + GATHER).filter(|end| Instant::now() < *end) {
            Some(end) => next = next.min(end),
            None => {
                measuring.store();
                measuring.weigh();
                publish(&measuring.shown);
                published = Some(Instant::now());
            }
        }
    }
}

impl<C: Clock> Measuring<'_, C> {
    fn replace(&mut self, checks: Vec<Check>) {
        self.round += 1;
        self.shown.signals.clear();
        let now = Instant::now();
        let places = (0_u32..).map(|place| now + STAGGER * place);
        let standing = checks.into_iter().zip(places).map(|(check, due)| Standing {
            label: check.label,
            every: check.every,
            deadline: check.deadline,
            names: check.names,
            bounds: check.bounds,
            service: check.service,
            times: check.times,
            probe: Some(check.probe),
            asked: None,
            due,
            given_up: false,
        });
        self.checks = standing.collect();
    }

    /// Takes over how services are. What was measured of a process says nothing of the next one.
    fn renew(&mut self, services: BTreeMap<String, ServiceView>) {
        let now = Instant::now();
        for check in &mut self.checks {
            let Some(name) = &check.service else { continue };
            let which = |of: &BTreeMap<String, ServiceView>| of.get(name).map(|view| (view.pid, view.is_seen()));
            let next = which(&services);
            if next == which(&self.shown.services) {
                continue;
            }
            let settles = if next.is_some_and(|(pid, _)| pid.is_some()) { SETTLED } else { Duration::ZERO };
            check.due = now + settles;
            self.shown.signals.remove(&memory_of(name));
        }
        self.shown.services = services;
    }

    /// Shows with each service what it weighs.
    fn weigh(&mut self) {
        for (name, view) in &mut self.shown.services {
            let known = view.pid.and_then(|_| self.shown.signals.get(&memory_of(name)));
            view.rss_mb = known.and_then(|known| known.value);
        }
    }

    /// Asks what is due and gives up what is late. Returns when to look again.
    fn ask(&mut self) -> Instant {
        let now = Instant::now();
        let mut next = now + SWEEP;
        let is_fresh = |check: &Standing| check.asked.is_some_and(|asked| asked + AT_ONCE > now);
        let mut crowd = self.checks.iter().filter(|check| is_fresh(check)).count();
        let (mut late, mut left_out) = (Vec::new(), Vec::new());
        for (index, check) in self.checks.iter_mut().enumerate() {
            if let Some(asked) = check.asked {
                let end = asked + check.deadline;
                if !check.given_up && end <= now {
                    check.given_up = true;
                    late.push((index, "no answer in time"));
                } else if check.given_up && check.due <= now {
                    late.push((index, "an earlier question is still open"));
                } else {
                    next = next.min(if check.given_up { check.due } else { end });
                    continue;
                }
                check.due = check.due.max(now) + check.every;
                next = next.min(check.due);
            } else if check.due <= now && crowd >= CROWD && self.askers.is_empty() {
                // An answer comes any moment, and its thread is free then; if not, there is room for one more.
                next = next.min(now + AT_ONCE);
            } else if check.due <= now {
                check.due = now + check.every;
                if !check.times.hold(self.clock.now()) {
                    next = next.min(check.due);
                    left_out.push(index);
                    continue;
                }
                next = next.min(now + check.deadline);
                let Some(probe) = check.probe.take() else { continue };
                (check.asked, check.given_up) = (Some(now), false);
                crowd += 1;
                if let Err(why) = put(probe, (self.round, index), &mut self.askers, &self.answers) {
                    // The probe went with the thread that could not be made: it comes back with the next checks.
                    self.shown.problems = vec![format!("{} cannot be measured: {why}", check.label)];
                }
            } else {
                next = next.min(check.due);
            }
        }
        for (index, why) in late {
            let readings =
                self.checks[index].names.iter().map(|name| Reading { name: name.clone(), value: Err(why.to_owned()) });
            let readings = readings.collect();
            self.note_all(index, readings);
        }
        for index in left_out {
            let check = &self.checks[index];
            let names = check.names.clone();
            // What it gives only sometimes would stand there as it was.
            for (signal, name) in check.bounds.keys().flat_map(|signal| names.first().map(|name| (signal, name))) {
                self.shown.signals.remove(&SeriesName::of(signal, name.subject.clone()).to_string());
            }
            names.iter().for_each(|name| self.note_absent(index, name, "not asked at this time of the week"));
        }
        next
    }

    fn take(&mut self, answer: Answer) {
        self.askers.push(answer.asker);
        if answer.round != self.round {
            return;
        }
        let check = &mut self.checks[answer.index];
        check.probe = Some(answer.probe);
        check.asked = None;
        // What comes after the deadline was told as not known already; the next answer counts.
        if std::mem::take(&mut check.given_up) {
            return;
        }
        if let Some(mark) = answer.mark {
            self.marks.push((check.label.clone(), mark));
        }
        let told = |name: &SeriesName| answer.readings.iter().any(|reading| reading.name == *name);
        let (beside, absent): (Vec<_>, Vec<_>) = answer.remarks.into_iter().partition(|(name, _)| told(name));
        self.note_all(answer.index, answer.readings);
        for (name, text) in beside {
            if let Some(view) = self.shown.signals.get_mut(&name.to_string()) {
                view.why = fit(&text);
            }
        }
        for (name, text) in absent {
            self.note_absent(answer.index, &name, &text);
        }
    }

    /// Shows that a series is not to be had here. Nothing is stored: there is no gap in what never was.
    fn note_absent(&mut self, index: usize, name: &SeriesName, text: &str) {
        let bound = self.checks[index].bounds.get(name.signal.name).copied().unwrap_or_else(|| usual(name.signal));
        let view = SignalView {
            value: None,
            unit: name.signal.unit,
            state: SignalState::Absent,
            threshold: bound.threshold,
            critical: bound.critical,
            at: self.clock.now(),
            why: fit(text),
        };
        self.shown.signals.insert(name.to_string(), view);
    }

    fn note_all(&mut self, index: usize, readings: Vec<Reading>) {
        let check = &self.checks[index];
        let (every, bounds) = (check.every, check.bounds.clone());
        readings.into_iter().for_each(|reading| self.note(every, &bounds, reading));
    }

    /// Notes one reading to be stored and shown.
    fn note(&mut self, every: Duration, bounds: &BTreeMap<&'static str, Bounds>, reading: Reading) {
        let now = self.clock.now();
        let signal = reading.name.signal;
        let bound = bounds.get(signal.name).copied().unwrap_or_else(|| usual(signal));
        let (value, why) = match reading.value {
            Ok(value) if value.is_finite() => (Some(value), String::new()),
            Ok(_) => (None, "no number".to_owned()),
            Err(why) => (None, fit(&why)),
        };
        let beyond = value.zip(bound.threshold).is_some_and(|(value, threshold)| signal.is_beyond(value, threshold));
        let state = match value {
            None => SignalState::Unknown,
            Some(_) if beyond => SignalState::Beyond,
            Some(_) => SignalState::Ok,
        };
        let view = SignalView {
            value,
            unit: signal.unit,
            state,
            threshold: bound.threshold,
            critical: bound.critical,
            at: now,
            why,
        };
        let grows = (signal.name == DISK && value.is_some()).then(|| reading.name.subject.clone());
        self.shown.signals.insert(reading.name.to_string(), view);
        self.samples.push(Sample { name: reading.name, every, at: now.as_second(), value });
        if let Some(subject) = grows {
            self.note_eta(every, bounds, subject, now);
        }
    }

    /// Works out when a file system is full. It is noted where it is known, and where it fills up at all.
    fn note_eta(&mut self, every: Duration, bounds: &BTreeMap<&'static str, Bounds>, subject: Subject, now: Timestamp) {
        let disk = signal::find(DISK).expect("a name of the catalogue");
        let stored = self.db.series(disk, SLOPE_WINDOW, now.as_second()).unwrap_or_default();
        let Some(series) = stored.iter().find(|series| series.subject == subject.as_str()) else { return };
        let hours = series.read(Function::Eta, None, disk, now.as_second()).and_then(|hours| hours.exact());
        if let Some(hours) = hours.filter(|hours| *hours < ETA_MOST) {
            let name = SeriesName::of("host.disk.eta_hours", subject);
            self.note(every, bounds, Reading { name, value: Ok(hours) });
        } else {
            self.shown.signals.remove(&SeriesName::of("host.disk.eta_hours", subject).to_string());
        }
    }

    /// Stores what was noted. What cannot be stored is shown all the same, and the reason with it.
    fn store(&mut self) {
        if self.samples.is_empty() && self.marks.is_empty() {
            return;
        }
        let (samples, marks) = (std::mem::take(&mut self.samples), std::mem::take(&mut self.marks));
        self.shown.problems = match self.try_store(&samples, &marks) {
            Ok(0) => Vec::new(),
            Ok(refused) => vec![format!("{refused} readings are of more series than are kept")],
            Err(error) => vec![format!("readings are not stored: {}", error_line(&error))],
        };
    }

    fn try_store(&mut self, samples: &[Sample], marks: &[(String, String)]) -> Result<usize, DbError> {
        let recorded = self.db.record(samples, marks)?;
        if self.tidied.is_none_or(|at| at.elapsed() >= TIDY) {
            self.db.tidy_samples(self.clock.now().as_second())?;
            self.tidied = Some(Instant::now());
        }
        Ok(recorded.refused)
    }
}

/// The signal that says what a service weighs.
fn memory_of(service: &str) -> String {
    SeriesName::of("service.rss_mb", Subject::near(service)).to_string()
}

fn usual(signal: &Signal) -> Bounds {
    Bounds { threshold: signal.threshold, critical: signal.critical }
}

/// Foreign text as it is shown.
fn fit(text: &str) -> String {
    display_line(text).chars().take(WHY_CHARS).collect()
}

/// Puts a question to a thread that waits for one, or to a new one.
fn put(
    mut probe: Box<dyn Probe>,
    (round, index): (u64, usize),
    askers: &mut Vec<Sender<Question>>,
    answers: &Sender<Event>,
) -> std::io::Result<()> {
    while let Some(asker) = askers.pop() {
        match asker.send(Question { round, index, probe, asker: asker.clone() }) {
            Ok(()) => return Ok(()),
            // It broke at an earlier question.
            Err(SendError(question)) => probe = question.probe,
        }
    }
    let (asker, questions) = channel();
    drop(asker.send(Question { round, index, probe, asker: asker.clone() }));
    let answers = answers.clone();
    let ask = move || {
        while let Ok(Question { round, index, mut probe, asker }) = questions.recv() {
            let readings = probe.read();
            let (remarks, mark) = (probe.remarks(), probe.mark());
            // An answer that nobody waits for any more is dropped, and the thread ends.
            drop(answers.send(Event::Answer(Answer { round, index, probe, readings, remarks, mark, asker })));
        }
    };
    thread::Builder::new().name("probe".to_owned()).stack_size(STACK).spawn(ask).map(drop)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Answers with the next of these, or hangs until it is let go.
    enum Fake {
        Says(f64),
        Hangs(Receiver<()>),
        Panics,
        Counts(Arc<AtomicUsize>),
        /// Tells in which thread it is asked.
        Tells(Sender<thread::ThreadId>),
    }

    impl Probe for Fake {
        fn read(&mut self) -> Vec<Reading> {
            let name: SeriesName = "check.value/a".parse().expect("a name");
            match self {
                Self::Says(value) => vec![Reading { name, value: Ok(*value) }],
                Self::Hangs(gate) => {
                    assert!(gate.recv().is_err(), "the gate is never opened");
                    vec![Reading { name, value: Ok(1.0) }]
                }
                Self::Panics => panic!("told to"),
                Self::Tells(to) => {
                    to.send(thread::current().id()).expect("open");
                    Vec::new()
                }
                Self::Counts(asked) => {
                    let before = asked.fetch_add(1, Ordering::SeqCst);
                    vec![Reading { name, value: Ok(f64::from(u8::try_from(before.min(200)).expect("small"))) }]
                }
            }
        }

        fn mark(&self) -> Option<String> {
            Some("here".to_owned())
        }
    }

    const MINUTE: Duration = Duration::from_secs(60);

    struct Noon;

    impl Clock for Noon {
        fn now(&self) -> Timestamp {
            Timestamp::from_second(1_800_000_000).expect("a time")
        }
    }

    fn check(label: &str, deadline_ms: u64, probe: Fake) -> Check {
        Check {
            label: label.to_owned(),
            every: Duration::from_millis(40),
            deadline: Duration::from_millis(deadline_ms),
            names: vec![format!("check.value/{label}").parse().expect("a name")],
            bounds: BTreeMap::from([("check.value", Bounds { threshold: Some(5.0), critical: true })]),
            service: None,
            times: Times::default(),
            probe: Box::new(probe),
        }
    }

    /// Runs until `done` says so of what is shown.
    fn until(checks: Vec<Check>, db: &mut Db, done: impl Fn(&Measured) -> bool) -> Measured {
        let (send, receive) = channel();
        send.send(Event::Checks(checks)).expect("open");
        let mut last = Measured::default();
        let stop = send.clone();
        run(&Noon, db, send, &receive, &mut |shown| {
            last = shown.clone();
            if done(shown) {
                drop(stop.send(Event::Stop));
            }
        });
        last
    }

    #[test]
    fn readings_are_shown_and_stored_with_where_the_probe_stopped() {
        let mut db = Db::in_memory().expect("made");
        let shown = until(vec![check("a", 10_000, Fake::Says(7.0))], &mut db, |shown| !shown.signals.is_empty());
        let view = &shown.signals["check.value/a"];
        assert_eq!((view.value, view.state, view.critical), (Some(7.0), SignalState::Beyond, true));
        assert_eq!(db.measured().expect("read"), [("check.value".to_owned(), "a".to_owned())]);
        assert_eq!(db.probe_mark("a").expect("read").as_deref(), Some("here"));
    }

    #[test]
    fn a19_a_check_that_hangs_delays_no_other_and_is_unknown() {
        let mut db = Db::in_memory().expect("made");
        let (_gate, hung) = channel();
        let hung = Check { every: MINUTE, ..check("hung", 1, Fake::Hangs(hung)) };
        let checks = vec![hung, check("a", 10_000, Fake::Says(1.0))];
        let shown = until(checks, &mut db, |shown| shown.signals.len() == 2);
        let hung = &shown.signals["check.value/hung"];
        assert_eq!((hung.state, hung.why.as_str()), (SignalState::Unknown, "no answer in time"));
        assert_eq!(shown.signals["check.value/a"].state, SignalState::Ok);
    }

    #[test]
    fn a19_ten_checks_that_hang_from_the_first_moment_on_change_nothing_for_others() {
        let mut db = Db::in_memory().expect("made");
        let gates: Vec<_> = (0..10).map(|_| channel::<()>()).collect();
        let (_gates, hung): (Vec<_>, Vec<_>) = gates.into_iter().unzip();
        let asked: Vec<Arc<AtomicUsize>> = (0..5).map(|_| Arc::default()).collect();
        // The hung ones have a deadline that does not come: the others must not even need it.
        let mut checks: Vec<Check> =
            hung.into_iter().zip(0..).map(|(gate, n)| check(&format!("h{n}"), 3_600_000, Fake::Hangs(gate))).collect();
        checks.extend(
            asked.iter().zip(0..).map(|(asked, n)| check(&format!("c{n}"), 10_000, Fake::Counts(Arc::clone(asked)))),
        );
        let often = || asked.iter().all(|asked| asked.load(Ordering::SeqCst) >= 5);
        let shown = until(checks, &mut db, |_| often());
        assert!(
            shown.signals.keys().all(|name| !name.contains("/h")),
            "no hung one has said anything: {:?}",
            shown.signals
        );
    }

    #[test]
    fn a_thread_that_has_answered_is_asked_again_and_ends_when_it_is_let_go() {
        let (answers, heard) = channel();
        let (tell, told) = channel();
        let mut askers = Vec::new();
        let answer = |heard: &Receiver<Event>| match heard.recv().expect("answered") {
            Event::Answer(answer) => answer,
            _ => panic!("no answer"),
        };
        let ask = |askers: &mut Vec<Sender<Question>>| {
            put(Box::new(Fake::Tells(tell.clone())), (0, 0), askers, &answers).expect("asked");
        };
        ask(&mut askers);
        askers.push(answer(&heard).asker);
        ask(&mut askers);
        // While that one is asked, another question needs a thread of its own.
        ask(&mut askers);
        let threads: Vec<_> = told.iter().take(3).collect();
        assert!(threads[0] == threads[1] && threads[1] != threads[2], "{threads:?}");
        askers.extend([answer(&heard).asker, answer(&heard).asker]);
        askers.clear();
        drop(answers);
        assert!(heard.recv().is_err(), "both have ended");
    }

    #[test]
    fn a_few_are_asked_at_once_and_those_that_hang_keep_the_others_waiting_for_a_moment_only() {
        let mut db = Db::in_memory().expect("made");
        let (answers, heard) = channel();
        let clock = Noon;
        let mut measuring = Measuring {
            clock: &clock,
            db: &mut db,
            answers,
            askers: Vec::new(),
            checks: Vec::new(),
            round: 0,
            shown: Measured::default(),
            samples: Vec::new(),
            marks: Vec::new(),
            tidied: None,
        };
        let (gates, hung): (Vec<_>, Vec<_>) = (0..2 * CROWD).map(|_| channel::<()>()).unzip();
        measuring.replace(hung.into_iter().map(|gate| check("hung", 60_000, Fake::Hangs(gate))).collect());
        measuring.checks.iter_mut().for_each(|check| check.due = Instant::now());
        let asked =
            |measuring: &Measuring<'_, Noon>| measuring.checks.iter().filter(|check| check.asked.is_some()).count();
        let again = measuring.ask();
        assert_eq!(asked(&measuring), CROWD);
        thread::sleep(again.saturating_duration_since(Instant::now()));
        measuring.ask();
        assert_eq!(asked(&measuring), 2 * CROWD);
        drop(gates);
        for _ in 0..2 * CROWD {
            assert!(matches!(heard.recv(), Ok(Event::Answer(_))));
        }
    }

    #[test]
    fn b25_what_is_not_to_be_asked_now_is_absent_and_nothing_of_it_is_stored() {
        let mut db = Db::in_memory().expect("made");
        let windows = |text: &str| vec![text.parse().expect("a time")];
        // The clock stands on a Friday, at 8 in the morning.
        let asked = Arc::new(AtomicUsize::new(0));
        let closed = check("b", 10_000, Fake::Counts(Arc::clone(&asked)));
        let closed = Check { times: Times { only: vec![], except: windows("Fri 07:00-09:00") }, ..closed };
        let open = Check {
            times: Times { only: windows("Mon-Fri 08:00-18:00"), except: windows("Fri 09:00-10:00") },
            ..check("a", 10_000, Fake::Says(1.0))
        };
        let shown = until(vec![open, closed], &mut db, |shown| shown.signals.len() == 2);
        let (a, b) = (&shown.signals["check.value/a"], &shown.signals["check.value/b"]);
        assert_eq!((b.state, b.why.as_str()), (SignalState::Absent, "not asked at this time of the week"));
        assert_eq!((a.state, asked.load(Ordering::SeqCst)), (SignalState::Ok, 0));
        let value = signal::find("check.value").expect("known");
        let stored = db.series(value, MINUTE, 1_800_000_000).expect("read");
        assert!(stored.iter().all(|series| series.subject == "a"), "nothing of what was not asked");
    }

    #[test]
    fn a_hung_check_is_not_asked_twice_and_stays_unknown() {
        let mut db = Db::in_memory().expect("made");
        let (_gate, hung) = channel();
        let open = |shown: &Measured| {
            shown.signals.get("check.value/hung").is_some_and(|view| view.why.contains("still open"))
        };
        until(vec![check("hung", 1, Fake::Hangs(hung))], &mut db, open);
    }

    #[test]
    fn what_other_loops_tell_is_shown_and_stored() {
        let mut db = Db::in_memory().expect("made");
        let (send, receive) = channel();
        let name: SeriesName = "service.restarts/web".parse().expect("a name");
        send.send(Event::Told(MINUTE, vec![Reading { name, value: Ok(3.0) }])).expect("open");
        let view = ServiceView {
            state: "up".to_owned(),
            liveness: Some(true),
            productive: None,
            rss_mb: None,
            critical: false,
            manager: "child",
            pid: None,
            restarts: 0,
            liveness_kills: 0,
            last_end: None,
            why: String::new(),
        };
        send.send(Event::Services(BTreeMap::from([("web".to_owned(), view)]))).expect("open");
        let mut last = Measured::default();
        let stop = send.clone();
        run(&Noon, &mut db, send, &receive, &mut |shown| {
            last = shown.clone();
            drop(stop.send(Event::Stop));
        });
        assert_eq!(last.signals["service.restarts/web"].value, Some(3.0));
        assert_eq!(last.services["web"].state, "up");
        assert_eq!(db.measured().expect("read"), [("service.restarts".to_owned(), "web".to_owned())]);
    }

    struct Remarks;

    impl Probe for Remarks {
        fn read(&mut self) -> Vec<Reading> {
            vec![Reading { name: "check.value/a".parse().expect("a name"), value: Ok(9.0) }]
        }

        fn remarks(&self) -> Vec<(SeriesName, String)> {
            let name = |text: &str| text.parse().expect("a name");
            vec![
                (name("check.value/a"), "by pid 7".to_owned()),
                (name("host.psi.io_full"), "no such\u{1b} file".to_owned()),
            ]
        }
    }

    #[test]
    fn a_remark_stands_beside_a_value_or_says_why_there_can_be_none() {
        let mut db = Db::in_memory().expect("made");
        let check = Check { probe: Box::new(Remarks), ..check("a", 10_000, Fake::Panics) };
        let shown = until(vec![check], &mut db, |shown| shown.signals.len() == 2);
        let (beside, absent) = (&shown.signals["check.value/a"], &shown.signals["host.psi.io_full"]);
        assert_eq!((beside.state, beside.why.as_str()), (SignalState::Beyond, "by pid 7"));
        assert_eq!((absent.state, absent.value), (SignalState::Absent, None));
        assert!(!absent.why.contains('\u{1b}'), "foreign text is made fit: {}", absent.why);
        assert_eq!(db.measured().expect("read").len(), 1, "what is absent leaves no gap");
    }

    #[test]
    fn a_probe_that_falls_over_is_unknown() {
        let mut db = Db::in_memory().expect("made");
        let shown = until(vec![check("b", 20, Fake::Panics)], &mut db, |shown| !shown.signals.is_empty());
        assert_eq!(shown.signals["check.value/b"].state, SignalState::Unknown);
    }
}
