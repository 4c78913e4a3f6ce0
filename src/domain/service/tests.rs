//! The life of a service, told as stories, and as anything that may happen in any order.

use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::domain::id::ServiceName;
use crate::domain::running::Running;

/// A service with a clock, and all that was asked for.
struct Story {
    policy: Policy,
    life: Life,
    at: Running,
    pid: u32,
    acts: Vec<Verb>,
    told: Vec<Notice>,
}

fn name() -> ServiceName {
    "web".parse().expect("a name")
}

fn process(pid: u32) -> Process {
    Process { pid, start_ticks: u64::from(pid) * 10 }
}

fn up(pid: u32) -> Observation {
    Observation { process: Some(process(pid)), ..Observation::of(name(), Run::Up) }
}

fn down(pid: u32, cause: EndCause) -> Observation {
    Observation {
        end: Some(End { process: Some(process(pid)), cause, at: None }),
        ..Observation::of(name(), Run::Down)
    }
}

fn dead() -> Event {
    Event::Sign(Sign::Dead("no answer".to_owned()))
}

impl Story {
    fn new(policy: Policy) -> Self {
        let at = Running::from_millis(1_000_000);
        let mut story = Self { policy, life: Life::default(), at, pid: 0, acts: Vec::new(), told: Vec::new() };
        story.tell(Event::Gate { parents: true, held: false });
        story
    }

    fn tell(&mut self, event: Event) {
        let now = Now { at: self.at, jitter: 0.0 };
        let (life, effects) = step(&self.policy, std::mem::take(&mut self.life), event, now);
        self.life = life;
        for effect in effects {
            match effect {
                Effect::Act(verb) => self.acts.push(verb),
                Effect::Tell(notice) => self.told.push(notice),
                Effect::Look => {}
            }
        }
    }

    fn wait(&mut self, seconds: u64) {
        self.at = self.at.after(Duration::from_secs(seconds));
        self.tell(Event::Tick);
    }

    /// Its manager starts it.
    fn comes_up(&mut self) {
        self.pid += 1;
        self.tell(Event::Seen(up(self.pid)));
    }

    fn ends(&mut self, cause: EndCause) {
        self.tell(Event::Seen(down(self.pid, cause)));
    }

    /// Up and running, with nothing asked for that was not answered.
    fn running(policy: Policy) -> Self {
        let mut story = Self::new(policy);
        story.tell(Event::Seen(Observation::of(name(), Run::Down)));
        assert_eq!(story.take(), [Verb::Start]);
        story.comes_up();
        assert_eq!(story.phase(), "up");
        story.wait(60);
        story
    }

    fn take(&mut self) -> Vec<Verb> {
        std::mem::take(&mut self.acts)
    }

    fn phase(&self) -> &'static str {
        self.life.phase().name()
    }

    fn was_told(&self, name: &str) -> usize {
        self.told.iter().filter(|notice| notice.name() == name).count()
    }
}

#[test]
fn a1_a_crash_is_followed_by_a_start_at_once() {
    let mut story = Story::running(Policy::default());
    story.ends(EndCause::Signal(9));
    assert_eq!((story.phase(), story.take()), ("starting", vec![Verb::Start]));
    story.comes_up();
    assert_eq!((story.phase(), story.life.restarts()), ("up", 1));
    assert_eq!(story.life.last_end(), Some(&EndCause::Signal(9)));
}

#[test]
fn an_end_that_does_not_say_when_its_process_started_is_of_the_one_that_has_the_pid() {
    for (pid, start_ticks, phase) in [(1, 0, "starting"), (1, 10, "starting"), (1, 11, "up"), (2, 0, "up")] {
        let mut story = Story::running(Policy::default());
        let end = End { process: Some(Process { pid, start_ticks }), cause: EndCause::Signal(9), at: None };
        story.tell(Event::Seen(Observation { end: Some(end), ..Observation::of(name(), Run::Down) }));
        assert_eq!(story.phase(), phase, "pid {pid} from {start_ticks}");
    }
}

#[test]
fn a5_a_hung_service_is_restarted_after_as_many_failures_as_it_says() {
    let mut story = Story::running(Policy::default());
    story.tell(dead());
    assert_eq!((story.phase(), story.life.liveness()), ("unhealthy", Some(false)));
    story.tell(Event::Sign(Sign::Alive));
    assert_eq!(story.phase(), "up");
    for _ in 0..3 {
        assert_eq!(story.take(), []);
        story.tell(dead());
    }
    assert_eq!((story.phase(), story.take()), ("stopping", vec![Verb::Stop]));
    story.ends(EndCause::Signal(15));
    assert_eq!((story.take(), story.life.liveness_kills()), (vec![Verb::Start], 1));
}

#[test]
fn a_watchdog_that_ran_out_is_enough() {
    let mut story = Story::running(Policy::default());
    story.tell(Event::Sign(Sign::Lost("no WATCHDOG=1 for 30 s".to_owned())));
    assert_eq!(story.take(), [Verb::Stop]);
}

#[test]
fn a6_a_service_that_ignores_term_is_killed_after_its_grace_and_the_wait_is_told() {
    let mut story = Story::running(Policy::default());
    story.tell(Event::Operator { stop: true });
    assert_eq!(story.take(), [Verb::Stop]);
    story.wait(59);
    assert_eq!(story.take(), []);
    assert_eq!(story.life.due(&story.policy), Some(story.at.after(Duration::from_secs(1))));
    story.wait(1);
    assert_eq!(story.take(), [Verb::Kill]);
    assert!(story.told.contains(&Notice::Killing { waited: Duration::from_secs(60) }));
    story.ends(EndCause::Signal(9));
    let cause = Some(EndCause::Signal(9));
    assert!(story.told.contains(&Notice::Stopped { took: Duration::from_secs(60), cause }));
    assert_eq!(story.phase(), "stopped");
}

#[test]
fn a20_what_cannot_be_observed_leads_to_nothing() {
    let mut story = Story::running(Policy::default());
    for _ in 0..50 {
        story.tell(Event::Sign(Sign::Unknown("no file handles left".to_owned())));
        story.tell(Event::Seen(Observation::unknown(name(), "the bus is gone".to_owned())));
        story.wait(600);
    }
    assert_eq!((story.take(), story.phase(), story.life.liveness()), (vec![], "up", None));
    assert!(story.life.remark().contains("the bus is gone"));
    // Two failures before, and a third one only after it could not be seen: still asked for again.
    story.tell(dead());
    story.tell(dead());
    story.tell(Event::Sign(Sign::Unknown("timeout of the check itself".to_owned())));
    assert_eq!(story.take(), []);
}

#[test]
fn a4_productivity_is_shown_and_never_acted_on() {
    let mut story = Story::running(Policy::default());
    story.tell(Event::Productive(Some(false)));
    story.wait(100_000);
    assert_eq!((story.take(), story.phase()), (vec![], "up"));
    assert_eq!((story.life.productive(), story.life.liveness()), (Some(false), None));
}

#[test]
fn a10_a12_a_crash_loop_is_given_up_once_and_tried_again_later() {
    let mut story = Story::running(Policy::default());
    let mut starts = 0;
    while story.phase() != "given_up" {
        story.ends(EndCause::Exit(1));
        while story.phase() == "backoff" {
            story.wait(1);
        }
        if story.take() == [Verb::Start] {
            starts += 1;
            story.comes_up();
        }
    }
    assert_eq!((starts, story.was_told("given_up")), (5, 1));
    assert_eq!(story.life.liveness(), Some(false));
    story.wait(1_799);
    assert_eq!(story.take(), []);
    story.wait(1);
    assert_eq!(story.take(), [Verb::Start], "half open");
    story.comes_up();
    story.ends(EndCause::Exit(1));
    assert_eq!((story.phase(), story.take(), story.was_told("given_up")), ("given_up", vec![], 1), "told once");
    story.wait(1_800);
    story.comes_up();
    story.wait(10);
    assert_eq!((story.phase(), story.was_told("recovered")), ("up", 1));
    assert_eq!(story.take(), [Verb::Start]);
    story.ends(EndCause::Exit(1));
    assert_eq!(story.take(), [Verb::Start], "a new account");
}

#[test]
fn a13_a_child_waits_for_its_parent_and_resumes_with_it() {
    let mut story = Story::running(Policy::default());
    story.tell(Event::Gate { parents: false, held: false });
    for _ in 0..10 {
        story.tell(dead());
    }
    assert_eq!(story.take(), [], "it fails for want of its parent");
    story.ends(EndCause::Exit(1));
    story.wait(10_000);
    assert_eq!((story.take(), story.phase()), (vec![], "down"));
    story.tell(Event::Gate { parents: true, held: false });
    assert_eq!(story.take(), [Verb::Start], "at once, and not after a wait");
}

#[test]
fn a14_what_a_person_stopped_stays_down_until_a_person_starts_it() {
    let mut story = Story::running(Policy::default());
    story.tell(Event::Seen(Observation { stopped_by_operator: true, ..down(1, EndCause::Signal(15)) }));
    story.wait(100_000);
    assert_eq!((story.phase(), story.take(), story.life.liveness()), ("stopped", vec![], None));
    story.pid = 7;
    story.comes_up();
    assert_eq!((story.phase(), story.was_told("started_elsewhere")), ("up", 1));
    story.tell(Event::Operator { stop: true });
    story.ends(EndCause::Exit(0));
    story.wait(100_000);
    assert_eq!((story.phase(), story.take()), ("stopped", vec![Verb::Stop]));
    story.tell(Event::Operator { stop: false });
    assert_eq!(story.take(), [Verb::Start]);
    assert!(story.told.contains(&Notice::Starting(Why::Operator)));
}

#[test]
fn a14_a_start_by_mesh_starts_also_what_was_stopped_by_other_means_before_or_after_it_was_seen() {
    let stopped = || Event::Seen(Observation { stopped_by_operator: true, ..down(1, EndCause::Signal(15)) });
    let mut story = Story::running(Policy::default());
    story.tell(stopped());
    story.tell(Event::Operator { stop: false });
    assert_eq!((story.take(), story.phase()), (vec![Verb::Start], "starting"));
    // No agent ran when it was said.
    let mut story = Story::new(Policy::default());
    story.tell(Event::Operator { stop: false });
    story.tell(stopped());
    story.tell(Event::Gate { parents: true, held: false });
    assert_eq!(story.take(), [Verb::Start]);
    // That word is spent: a later stop by other means holds.
    story.pid = 7;
    story.comes_up();
    story.tell(Event::Seen(Observation { stopped_by_operator: true, ..down(story.pid, EndCause::Signal(15)) }));
    story.wait(100_000);
    assert_eq!((story.phase(), story.take()), ("stopped", vec![]));
}

#[test]
fn a3_the_age_of_a_heartbeat_is_counted_from_its_last_change_and_dies_with_its_process() {
    let mut story = Story::running(Policy::default());
    assert_eq!(story.life.counts(story.at).heartbeat_age, None);
    story.tell(Event::Beat(Duration::from_secs(7)));
    story.wait(3);
    assert_eq!(story.life.counts(story.at).heartbeat_age, Some(Duration::from_secs(10)));
    story.ends(EndCause::Exit(1));
    assert_eq!(story.life.counts(story.at).heartbeat_age, None);
}

#[test]
fn a15_one_that_runs_is_neither_started_nor_restarted_whoever_asks_for_a_start() {
    let mut story = Story::running(Policy::default());
    for _ in 0..100 {
        story.tell(Event::Operator { stop: false });
        story.tell(Event::Seen(up(story.pid)));
        story.tell(Event::Sign(Sign::Alive));
        story.wait(600);
    }
    assert_eq!((story.take(), story.phase(), story.life.restarts()), (vec![], "up", 0));
    // Adopted: it ran before mesh came.
    let mut story = Story::new(Policy::default());
    story.tell(Event::Seen(up(9)));
    story.tell(Event::Operator { stop: false });
    story.wait(600);
    assert_eq!((story.take(), story.phase()), (vec![], "up"));
}

#[test]
fn a7_stale_code_is_restarted_when_it_has_been_quiet_for_long_enough() {
    let mut story = Story::running(Policy::default());
    let changed = |second| Event::Source(Timestamp::from_second(second).ok());
    story.tell(changed(100));
    story.wait(299);
    story.tell(changed(200));
    story.wait(299);
    assert_eq!(story.take(), [], "the count starts again with each change");
    story.wait(1);
    assert_eq!(story.take(), [Verb::Stop]);
    story.ends(EndCause::Signal(15));
    assert_eq!(story.take(), [Verb::Start]);
    assert!(story.told.contains(&Notice::Starting(Why::Stale)));
    story.comes_up();
    story.wait(10_000);
    assert_eq!(story.take(), []);
}

#[test]
fn a8_a_replaced_program_is_told_once_and_left_running() {
    let mut story = Story::running(Policy::default());
    story.tell(Event::Replaced(true));
    story.tell(Event::Replaced(true));
    story.wait(100_000);
    assert_eq!((story.take(), story.was_told("replaced")), (vec![], 1));
}

#[test]
fn a9_want_of_memory_is_named() {
    let mut story = Story::running(Policy::default());
    story.ends(EndCause::OutOfMemory);
    assert!(story.told.contains(&Notice::Ended(EndCause::OutOfMemory)));
    let mut story = Story::running(Policy::default());
    story.tell(Event::OverMemory);
    assert_eq!(story.take(), [Verb::Kill]);
    story.ends(EndCause::OutOfMemory);
    assert_eq!((story.take(), story.life.last_end()), (vec![Verb::Start], Some(&EndCause::OutOfMemory)));
}

#[test]
fn a10_a_counter_of_restarts_that_falls_is_new_ground() {
    let mut story = Story::running(Policy::default());
    let counted = |restarts| Event::Seen(Observation { restarts: Some(restarts), ..up(1) });
    for (counter, restarts) in [(40, 0), (42, 2), (0, 2), (1, 3), (1, 3)] {
        story.tell(counted(counter));
        assert_eq!(story.life.restarts(), restarts, "{counter}");
    }
    story.tell(counted(9));
    assert_eq!((story.was_told("flapping"), story.take()), (1, vec![]), "told, and left to its manager");
}

#[test]
fn while_mesh_is_paused_nothing_is_done() {
    let mut story = Story::running(Policy::default());
    story.tell(Event::Gate { parents: true, held: true });
    (0..9).for_each(|_| story.tell(dead()));
    story.tell(Event::OverMemory);
    story.ends(EndCause::Signal(9));
    story.wait(100_000);
    assert_eq!((story.take(), story.life.due(&story.policy)), (vec![], None));
    story.tell(Event::Gate { parents: true, held: false });
    assert_eq!(story.take(), [Verb::Start]);
}

#[test]
fn what_ran_before_mesh_came_is_taken_over_as_it_is() {
    let mut story = Story::new(Policy { ready_by: ReadyBy::Word, ..Policy::default() });
    story.comes_up();
    assert_eq!((story.phase(), story.take(), story.was_told("adopted")), ("up", vec![], 1));
    let mut story = Story::new(Policy::default());
    story.ends(EndCause::Unseen);
    assert_eq!((story.take(), story.was_told("ended")), (vec![Verb::Start], 1), "a death in between is noticed");
}

#[test]
fn a_service_that_does_not_become_ready_is_hung_and_one_that_cannot_be_asked_is_not() {
    let word = Policy { ready_by: ReadyBy::Word, ..Policy::default() };
    let mut story = Story::new(word);
    story.tell(Event::Seen(Observation::of(name(), Run::Down)));
    story.comes_up();
    assert_eq!(story.phase(), "starting");
    story.wait(90);
    assert_eq!(story.take(), [Verb::Start, Verb::Stop]);
    let sign = Policy { ready_by: ReadyBy::Sign, ..Policy::default() };
    let mut story = Story::new(sign);
    story.tell(Event::Seen(Observation::of(name(), Run::Down)));
    story.comes_up();
    story.tell(Event::Sign(Sign::Unknown("no route".to_owned())));
    story.wait(90);
    assert_eq!((story.take(), story.phase()), (vec![Verb::Start], "up"));
}

#[test]
fn a_start_that_nothing_is_heard_of_is_not_repeated_on_no_grounds() {
    let mut story = Story::new(Policy::default());
    let nothing = || Event::Seen(Observation::of(name(), Run::Down));
    story.tell(nothing());
    story.tell(nothing());
    assert_eq!((story.take(), story.phase()), (vec![Verb::Start], "starting"), "seen before it was asked");
    story.wait(90);
    assert_eq!(story.take(), [], "its manager is asked");
    story.tell(nothing());
    assert_eq!(story.take(), [Verb::Start], "and says that it does not run");
    story.tell(Event::Refused(Verb::Start, "no such unit".to_owned()));
    assert_eq!((story.phase(), story.was_told("refused")), ("backoff", 1));
}

#[test]
fn a14_a_sight_of_a_process_that_is_told_after_its_end_starts_nothing() {
    let mut story = Story::running(Policy::default());
    story.tell(Event::Operator { stop: true });
    story.ends(EndCause::Signal(15));
    story.tell(Event::Seen(up(story.pid)));
    assert_eq!((story.phase(), story.life.process()), ("stopped", None));
    assert_eq!(story.was_told("started_elsewhere"), 0);
    story.comes_up();
    assert_eq!(story.phase(), "up", "another process is another start");
}

#[test]
fn d16_while_people_work_on_it_what_ended_is_started_and_what_runs_is_not_ended() {
    let mut story = Story::running(Policy::default());
    story.tell(Event::Maintained(true));
    (0..5).for_each(|_| story.tell(dead()));
    story.tell(Event::Source(Timestamp::from_second(1).ok()));
    story.wait(86_400);
    assert_eq!((story.take(), story.phase()), (vec![], "unhealthy"));
    assert!(story.life.remark().ends_with("it is left running: people work on it"), "{}", story.life.remark());
    story.ends(EndCause::Signal(9));
    assert_eq!((story.take(), story.phase()), (vec![Verb::Start], "starting"), "it is kept alive");
    story.comes_up();
    (0..5).for_each(|_| story.tell(dead()));
    story.tell(Event::Maintained(false));
    assert_eq!(story.take(), [], "what it did not show meanwhile does not count");
    (0..3).for_each(|_| story.tell(dead()));
    assert_eq!((story.take(), story.phase()), (vec![Verb::Stop], "stopping"));
}

fn events() -> impl Strategy<Value = Event> {
    let cause = || {
        prop_oneof![
            Just(EndCause::Signal(9)),
            Just(EndCause::Exit(0)),
            Just(EndCause::OutOfMemory),
            Just(EndCause::Unseen),
        ]
    };
    let pid = || 1_u32..6;
    prop_oneof![
        4 => pid().prop_map(|pid| Event::Seen(up(pid))),
        4 => (pid(), cause(), proptest::bool::weighted(0.1)).prop_map(|(pid, cause, stopped_by_operator)| {
            Event::Seen(Observation { stopped_by_operator, ..down(pid, cause) })
        }),
        1 => Just(Event::Seen(Observation::of(name(), Run::Down))),
        1 => Just(Event::Seen(Observation::of(name(), Run::Stopping))),
        1 => Just(Event::Seen(Observation::of(name(), Run::Starting))),
        1 => Just(Event::Seen(Observation::unknown(name(), "?".to_owned()))),
        1 => (0..9_u64).prop_map(|n| Event::Seen(Observation { restarts: Some(n), ..up(1) })),
        1 => Just(Event::Refused(Verb::Start, "no".to_owned())),
        3 => Just(Event::Sign(Sign::Alive)),
        4 => Just(dead()),
        1 => Just(Event::Sign(Sign::Lost("late".to_owned()))),
        1 => Just(Event::Sign(Sign::Unknown("?".to_owned()))),
        1 => Just(Event::Ready),
        2 => proptest::option::of(any::<bool>()).prop_map(Event::Productive),
        1 => proptest::option::of(0..4_i64).prop_map(|at| Event::Source(at.and_then(|at| Timestamp::from_second(at).ok()))),
        1 => any::<bool>().prop_map(Event::Replaced),
        1 => Just(Event::OverMemory),
        2 => (proptest::bool::weighted(0.8), proptest::bool::weighted(0.1))
            .prop_map(|(parents, held)| Event::Gate { parents, held }),
        1 => any::<bool>().prop_map(|stop| Event::Operator { stop }),
        1 => Just(Event::Rule(Order::Reload)),
        1 => Just(Event::Reloaded),
        1 => any::<bool>().prop_map(Event::Maintained),
        6 => Just(Event::Tick),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever happens in whatever order:
    /// - between two starts there is an end, a refusal, or a look that found it down;
    /// - nothing is asked for while mesh is held, nor because of productivity or of what is unknown;
    /// - what a person stopped is not started before a person says so or somebody else starts it;
    /// - a kill follows a stop and its whole grace, or the memory limit, or an earlier kill;
    /// - what is due lies ahead once it was seen to, so that nobody waits for nothing;
    /// - giving up ends by itself.
    #[test]
    fn whatever_happens(
        events in proptest::collection::vec((events(), 0..200_000_u64), 1..80),
        jitter in 0.0..1.0_f64,
        ready_by in prop_oneof![Just(ReadyBy::Running), Just(ReadyBy::Sign), Just(ReadyBy::Word)],
    ) {
        let policy = Policy { ready_by, ..Policy::default() };
        let (mut life, mut at) = (Life::default(), Running::from_millis(5_000_000));
        let (mut started, mut stopped_at, mut held, mut killed) = (false, None, true, false);
        let (mut stopped_by_person, mut known) = (false, false);
        for (event, passed) in events {
            at = at.after(Duration::from_millis(passed));
            let silent = matches!(event, Event::Productive(_))
                || matches!(event, Event::Seen(Observation { run: Run::Unknown(_), .. }))
                || matches!(event, Event::Sign(Sign::Unknown(_)));
            match &event {
                Event::Gate { held: now, .. } => held = *now,
                Event::Seen(seen) if seen.run == Run::Down => started = false,
                Event::Seen(seen) if matches!(seen.run, Run::Up | Run::Starting) => {
                    let running = matches!(life.phase().name(), "starting" | "up" | "unhealthy" | "stopping");
                    stopped_by_person &= running || !known;
                }
                Event::Refused(Verb::Start, _) => started = false,
                Event::Operator { stop } => stopped_by_person = *stop,
                _ => {}
            }
            known |= matches!(&event, Event::Seen(seen) if !matches!(seen.run, Run::Unknown(_)));
            // What was due anyway is none of this event's doing.
            let over_memory = matches!(event, Event::OverMemory);
            (life, _) = if silent {
                let (mut life, effects) = step(&policy, life, Event::Tick, Now { at, jitter });
                for effect in effects {
                    check(&effect, at, held, &policy, &mut started, &mut stopped_at, &mut killed, false, stopped_by_person)?;
                }
                let effects;
                (life, effects) = step(&policy, life, event, Now { at, jitter });
                let acts = effects.iter().any(|effect| matches!(effect, Effect::Act(_)));
                prop_assert!(!acts, "{effects:?}");
                (life, ())
            } else {
                let (life, effects) = step(&policy, life, event, Now { at, jitter });
                for effect in effects {
                    check(&effect, at, held, &policy, &mut started, &mut stopped_at, &mut killed, over_memory, stopped_by_person)?;
                }
                (life, ())
            };
            if let Some(due) = life.due(&policy) {
                prop_assert!(due > at, "due {due:?} at {at:?} in {:?}", life.phase());
            }
            if let Phase::GivenUp { until } = life.phase() {
                prop_assert!(until.since(at) <= policy.retry_after);
            }
        }
        // Left to itself with a manager that starts what it is asked to, it does not stay given up.
        if matches!(life.phase(), Phase::GivenUp { .. }) {
            (life, _) = step(&policy, life, Event::Operator { stop: false }, Now { at, jitter });
            (life, _) = step(&policy, life, Event::Seen(Observation::of(name(), Run::Down)), Now { at, jitter });
            (life, _) = step(&policy, life, Event::Gate { parents: true, held: false }, Now { at, jitter });
            at = at.after(policy.retry_after);
            (life, _) = step(&policy, life, Event::Tick, Now { at, jitter });
            prop_assert_eq!(life.phase().name(), "starting");
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "one judge of one effect")]
fn check(
    effect: &Effect,
    at: Running,
    held: bool,
    policy: &Policy,
    started: &mut bool,
    stopped_at: &mut Option<Running>,
    killed: &mut bool,
    over_memory: bool,
    stopped_by_person: bool,
) -> Result<(), TestCaseError> {
    let Effect::Act(verb) = effect else { return Ok(()) };
    prop_assert!(!held, "{verb} while held");
    match verb {
        Verb::Start => {
            prop_assert!(!*started, "started twice without an end between");
            prop_assert!(!stopped_by_person, "started what a person stopped");
            (*started, *stopped_at, *killed) = (true, None, false);
        }
        Verb::Stop => (*stopped_at, *killed) = (Some(at), false),
        Verb::Kill => {
            let waited = stopped_at.is_some_and(|asked| at.since(asked) >= policy.grace);
            prop_assert!(over_memory || *killed || waited, "killed without a grace");
            *killed = true;
        }
        Verb::Reload => prop_assert!(!stopped_by_person, "of what a person stopped"),
    }
    Ok(())
}
