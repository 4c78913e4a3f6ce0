use proptest::prelude::*;

use super::*;
use crate::domain::heal::rule::RuleText;
use crate::domain::series::{History, Point, Series};

const RULE: &str = r#"
number = 1
version = 1
name = "unit-failed"
risk = "low"
target = "service"
because = "it is wanted"
resource = "service:{service}"
cooldown = "60s"
[calibrated_for]
env = { os = "linux" }
note = "a test"
[budget]
tries = 3
within = "30m"
[trigger]
when = 'last("unit.failed/{target}") == 1'
[[diagnose]]
say = "somebody wants it"
when = { when = 'last("unit.wanted/{target}") == 1' }
[[action]]
steps = [{ do = "start" }]
[validate]
when = { when = 'last("unit.failed/{target}") == 0', for = "60s" }
within = "3m"
[escalate]
say = "look at it"
[drill]
impossible = "a test"
"#;

fn rule(change: &[(&str, &str)]) -> Rule {
    let text = change.iter().fold(RULE.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    });
    toml::from_str::<RuleText>(&text).expect("sound").check().expect("sound")
}

/// A host of services, and the engine.
struct Host {
    engine: Engine,
    rules: Vec<Rule>,
    targets: Vec<Target>,
    drills: BTreeMap<u32, (DrillState, String)>,
    facts: BTreeMap<(&'static str, String), f64>,
    suspended: BTreeMap<String, i64>,
    paused: Option<&'static str>,
    held: BTreeMap<String, String>,
    occurrences: Vec<Occurrence>,
    now: i64,
    /// Whether the actions work.
    works: bool,
    /// Whether no action is begun any more.
    put_off: bool,
    acted: Vec<(i64, Key)>,
    notices: Vec<NoticeKind>,
    taken_back: usize,
    said: Vec<Explained>,
}

impl Host {
    fn new(rules: Vec<Rule>, names: &[&str]) -> Self {
        let target = |name: &&str| Target::new(name.parse().expect("a name"), TargetKind::Service);
        let drills = rules.iter().map(|rule| (rule.number, (DrillState::Passed, String::new()))).collect();
        let mut host = Self {
            engine: Engine::default(),
            rules,
            targets: names.iter().map(target).collect(),
            drills,
            facts: BTreeMap::new(),
            suspended: BTreeMap::new(),
            paused: None,
            held: BTreeMap::new(),
            occurrences: Vec::new(),
            now: 1_000_000,
            works: true,
            put_off: false,
            acted: Vec::new(),
            notices: Vec::new(),
            taken_back: 0,
            said: Vec::new(),
        };
        for name in names {
            host.set("unit.failed", name, 0.0);
            host.set("unit.wanted", name, 1.0);
        }
        host
    }

    fn set(&mut self, signal: &'static str, name: &str, value: f64) {
        self.facts.insert((signal, name.to_owned()), value);
    }

    fn step(&mut self, seconds: i64) {
        self.now += seconds;
        let mut history = History::new();
        for ((signal, name), value) in &self.facts {
            let points = vec![Point::reading(self.now, Some(*value))];
            let every = Duration::from_secs(60);
            history.put(signal, Series { subject: name.clone(), every, points });
        }
        let world = World {
            rules: &self.rules,
            targets: &self.targets,
            drills: &self.drills,
            history: &history,
            occurrences: &std::mem::take(&mut self.occurrences),
            wall: self.now,
            now: self.now,
            paused: self.paused,
            held: &self.held,
            suspended: &self.suspended,
            per_hour: 100,
            unseen_after: Duration::from_secs(7_200),
        };
        let mut said = Vec::new();
        let effects = self.engine.look(&world, &mut |one| {
            said.push(one.explain(world.rules, world.targets, world.history, world.wall));
        });
        self.said = said;
        self.perform(effects);
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Perform { key, .. } if self.put_off => self.engine.put_off(&key, self.now, self.now),
                Effect::Perform { key, steps } => {
                    self.acted.push((self.now, key.clone()));
                    if self.works {
                        self.facts.insert(("unit.failed", key.1.clone()), 0.0);
                    }
                    let way = WayBack::AllowRetries { service: key.1.clone() };
                    let done: Vec<_> =
                        steps.into_iter().map(|step| (step, Done::well("done").back_by(way.clone()))).collect();
                    let rule = self.rules.iter().find(|rule| rule.number == key.0).expect("known").clone();
                    let more = self.engine.performed(&key, &rule, &done, self.now, self.now);
                    self.perform(more);
                }
                Effect::TakeBack { ways, .. } => self.taken_back += ways.len(),
                Effect::Note { .. } => {}
                Effect::Notice(notice) => self.notices.push(notice.kind),
            }
        }
    }

    fn incident(&self) -> &Incident {
        self.engine.incidents.values().next().expect("one")
    }

    fn record(&self) -> &Record {
        self.engine.records.values().next().expect("one")
    }
}

#[test]
fn c3_healed_is_said_only_after_validation() {
    let mut host = Host::new(vec![rule(&[])], &["web"]);
    host.step(60);
    assert!(host.engine.incidents.is_empty());
    host.set("unit.failed", "web", 1.0);
    host.step(60);
    assert_eq!((host.acted.len(), host.incident().state), (1, State::Validating));
    host.step(30);
    host.step(59);
    assert_eq!(host.incident().state, State::Validating);
    assert!(!host.notices.contains(&NoticeKind::Healed));
    host.step(1);
    assert_eq!(host.engine.ended[0].ending, Some(Ending::Healed));
    assert_eq!(host.notices, [NoticeKind::Opened, NoticeKind::Acted, NoticeKind::Healed]);
    assert_eq!(host.record().stats.healed, 1);
}

#[test]
fn of_a_rule_that_never_held_nothing_is_remembered() {
    let lasting =
        [("number = 1", "number = 2"), ("failed/{target}\") == 1'", "failed/{target}\") == 1'\nfor = \"5m\"")];
    let mut host = Host::new(vec![rule(&[]), rule(&lasting)], &["web", "db"]);
    host.step(60);
    assert_eq!((host.engine.records.len(), host.said.len()), (0, 4));
    host.set("unit.failed", "web", 1.0);
    host.works = false;
    host.step(60);
    let keys: Vec<_> = host.engine.records.keys().cloned().collect();
    assert_eq!(keys, [(1, "web".to_owned()), (2, "web".to_owned())]);
    // What earlier versions wrote down for nothing is not taken up again.
    let empty: Record = serde_json::from_str(
        r#"{"memory":{"0":{}},"acts":[],"opened":[],"holding":false,"stats":{"fired":0,"confirmed":0,"refuted":0,"acted":0,
            "healed":0,"failed":0,"self_cleared":0,"debounced":0,"escalated":0,"heal_seconds":0}}"#,
    )
    .expect("as it was written");
    let (engine, _) = Engine::resume(BTreeMap::from([((1, "db".to_owned()), empty)]), Vec::new(), 0, 0);
    assert!(engine.records.is_empty());
}

#[test]
fn c9_c4_it_acts_again_up_to_the_budget_and_then_a_person_is_called() {
    let mut host = Host::new(vec![rule(&[])], &["web"]);
    host.works = false;
    host.set("unit.failed", "web", 1.0);
    for _ in 0..60 {
        host.step(20);
    }
    assert_eq!(host.acted.len(), 3);
    assert_eq!(host.incident().state, State::Escalated);
    assert_eq!(host.taken_back, 3, "what did not help is taken back");
    assert_eq!(host.notices.last(), Some(&NoticeKind::Escalated));
    // The budget is there again later, and the rule still holds.
    for _ in 0..60 {
        host.step(20);
    }
    assert!(host.acted.len() > 3, "level-triggered");
    assert!(host.acted.windows(2).all(|two| two[1].0 - two[0].0 >= 60), "{:?}", host.acted);
}

#[test]
fn c2_a_refuted_diagnosis_is_counted_once_and_nothing_is_done() {
    let mut host = Host::new(vec![rule(&[])], &["web"]);
    host.set("unit.failed", "web", 1.0);
    host.set("unit.wanted", "web", 0.0);
    host.step(60);
    host.step(60);
    assert_eq!((host.acted.len(), host.record().stats.refuted), (0, 1));
    assert!(host.said[0].decision.contains("refuted: it is not so that somebody wants it"));
    host.facts.remove(&("unit.wanted", "web".to_owned()));
    host.step(60);
    assert_eq!(host.acted.len(), 0, "what is not known confirms nothing");
    assert!(host.notices.is_empty(), "nobody is told of what is not confirmed");
}

#[test]
fn c17_what_clears_by_itself_is_counted_and_not_called_healed() {
    let mut host = Host::new(
        vec![rule(&[(
            "'last(\"unit.failed/{target}\") == 1'\n[[",
            "'last(\"unit.failed/{target}\") == 1'\nfor = \"2m\"\n[[",
        )])],
        &["web"],
    );
    host.set("unit.failed", "web", 1.0);
    host.step(60);
    host.set("unit.failed", "web", 0.0);
    host.step(60);
    assert_eq!((host.record().stats.debounced, host.record().stats.fired), (1, 0));
    host.paused = Some("a person works on it");
    host.set("unit.failed", "web", 1.0);
    (0..3).for_each(|_| host.step(60));
    host.set("unit.failed", "web", 0.0);
    host.step(60);
    assert_eq!(host.engine.ended[0].ending, Some(Ending::ClearedByItself));
    assert_eq!((host.record().stats.self_cleared, host.record().stats.healed, host.acted.len()), (1, 0, 0));
}

#[test]
fn c11_an_undrilled_rule_reports_and_does_nothing() {
    for state in [DrillState::Never, DrillState::Failed, DrillState::Expired, DrillState::Impossible] {
        let mut host = Host::new(vec![rule(&[])], &["web"]);
        host.drills.insert(1, (state, "because".to_owned()));
        host.set("unit.failed", "web", 1.0);
        host.step(60);
        assert_eq!((host.acted.len(), host.incident().state), (0, State::Escalated), "{state:?}");
        assert_eq!(host.notices, [NoticeKind::Opened, NoticeKind::Escalated]);
        host.drills.insert(1, (DrillState::Passed, String::new()));
        host.step(60);
        host.step(60);
        assert_eq!(host.acted.len(), 1, "drilled meanwhile");
    }
}

#[test]
fn d16_what_holds_one_target_holds_no_other() {
    let mut host = Host::new(vec![rule(&[])], &["web", "mail"]);
    host.held.insert("web".to_owned(), "/srv/web is paused".to_owned());
    host.set("unit.failed", "web", 1.0);
    host.set("unit.failed", "mail", 1.0);
    (0..3).for_each(|_| host.step(60));
    assert!(!host.acted.is_empty() && host.acted.iter().all(|(_, key)| key.1 == "mail"), "{:?}", host.acted);
    host.held.clear();
    (0..3).for_each(|_| host.step(60));
    assert!(host.acted.iter().any(|(_, key)| key.1 == "web"), "{:?}", host.acted);
}

#[test]
fn d15_a_pause_stops_actions_and_not_alarms() {
    let mut host = Host::new(vec![rule(&[])], &["web"]);
    host.paused = Some("a person works on it");
    host.set("unit.failed", "web", 1.0);
    (0..5).for_each(|_| host.step(60));
    assert_eq!((host.acted.len(), host.notices.as_slice()), (0, [NoticeKind::Opened].as_slice()));
    host.paused = None;
    host.step(60);
    assert_eq!(host.acted.len(), 1);
}

#[test]
fn a_medium_rule_without_canary_waits_for_a_person() {
    let mut host = Host::new(vec![rule(&[("\"low\"", "\"medium\"")])], &["web"]);
    host.set("unit.failed", "web", 1.0);
    (0..5).for_each(|_| host.step(60));
    assert_eq!(
        (host.acted.len(), host.notices.as_slice()),
        (0, [NoticeKind::Opened, NoticeKind::NeedsApproval].as_slice())
    );
    host.engine.incidents.values_mut().for_each(|incident| incident.approved = true);
    host.step(60);
    assert_eq!(host.acted.len(), 1);
}

#[test]
fn what_mesh_does_itself_feeds_no_trigger() {
    let change = [
        (
            "when = 'last(\"unit.failed/{target}\") == 1'\n[[",
            "event = \"restarted\"\naccumulate_within = { count = 2, span = \"1h\" }\n[[",
        ),
        ("number = 1", "number = 2"),
    ];
    let mut host = Host::new(vec![rule(&[]), rule(&change)], &["web"]);
    let restarted = |at| Occurrence { at, target: "web".to_owned(), what: What::Event(EventName::Restarted) };
    host.set("unit.failed", "web", 1.0);
    host.step(60);
    for _ in 0..3 {
        host.occurrences.push(restarted(host.now));
        host.step(5);
    }
    assert!(!host.engine.incidents.contains_key(&(2, "web".to_owned())));
    (0..10).for_each(|_| host.step(60));
    for _ in 0..2 {
        host.occurrences.push(restarted(host.now));
        host.step(5);
    }
    assert!(host.engine.incidents.contains_key(&(2, "web".to_owned())), "what others do does");
}

#[test]
fn c6_the_cooldown_of_a_rule_and_target_survives_a_restart() {
    let mut host = Host::new(vec![rule(&[])], &["web"]);
    host.set("unit.failed", "web", 1.0);
    host.step(60);
    host.step(10);
    host.step(1);
    let written = serde_json::to_string(&host.engine.records.values().collect::<Vec<_>>()).expect("plain");
    let read: Vec<Record> = serde_json::from_str(&written).expect("plain");
    let records = host.engine.records.keys().cloned().zip(read).collect();
    (host.engine, _) = Engine::resume(records, Vec::new(), 1, host.now);
    host.works = false;
    host.set("unit.failed", "web", 1.0);
    host.step(1);
    assert_eq!(host.acted.len(), 1);
    assert!(host.incident().waits.contains("cools down for 48 s"), "{}", host.incident().waits);
    host.step(47);
    assert_eq!(host.acted.len(), 1);
    host.step(1);
    assert_eq!(host.acted.len(), 2);
}

#[test]
fn c8_two_rules_never_work_on_one_resource_at_once() {
    let mut host = Host::new(vec![rule(&[]), rule(&[("number = 1", "number = 2")])], &["web"]);
    host.works = false;
    host.set("unit.failed", "web", 1.0);
    host.step(60);
    assert_eq!(host.acted, [(host.now, (1, "web".to_owned()))]);
    assert!(host.engine.incidents[&(2, "web".to_owned())].waits.contains("rule 1 is at work on service:web"));
    // Once the first is done with it, the second may.
    host.step(180);
    assert!(host.acted.iter().any(|(_, key)| key.0 == 2) || host.acted.len() == 2, "{:?}", host.acted);
}

#[test]
fn a_kill_for_memory_is_never_what_a_rule_did_itself() {
    let change = [
        (
            "when = 'last(\"unit.failed/{target}\") == 1'\n[[",
            "event = \"oom-kill\"\naccumulate_within = { count = 2, span = \"1h\" }\n[[",
        ),
        ("number = 1", "number = 2"),
    ];
    let mut host = Host::new(vec![rule(&[]), rule(&change)], &["web"]);
    host.set("unit.failed", "web", 1.0);
    host.step(60);
    assert_eq!(host.incident().state, State::Validating);
    for _ in 0..2 {
        let what = What::Event(EventName::OomKill);
        host.occurrences.push(Occurrence { at: host.now, target: "web".to_owned(), what });
        host.step(5);
    }
    assert!(host.engine.incidents.contains_key(&(2, "web".to_owned())));
}

#[test]
fn a_rule_that_starts_what_a_target_needs_waits_for_whoever_is_at_work_on_that() {
    let parents = [("number = 1", "number = 2"), ("{ do = \"start\" }", "{ do = \"start\", on = \"parent\" }")];
    let mut host = Host::new(vec![rule(&[]), rule(&parents)], &["db", "web"]);
    host.targets[1].parent = Some("db".to_owned());
    host.rules[0].trigger = toml::from_str::<crate::domain::heal::condition::ConditionText>(
        "when = 'last(\"unit.failed/{target}\") == 1 && last(\"unit.active/{target}\") == 0'",
    )
    .expect("sound")
    .check()
    .expect("sound");
    host.set("unit.active", "db", 0.0);
    host.set("unit.active", "web", 1.0);
    host.works = false;
    host.set("unit.failed", "db", 1.0);
    host.set("unit.failed", "web", 1.0);
    host.step(60);
    let acted: Vec<Key> = host.acted.iter().map(|(_, key)| key.clone()).collect();
    assert!(acted.contains(&(1, "db".to_owned())), "{acted:?}");
    assert!(!acted.contains(&(2, "web".to_owned())), "{acted:?}");
    assert!(host.engine.incidents[&(2, "web".to_owned())].waits.contains("service:db"));
}

#[test]
fn h6_whoever_was_called_and_says_nothing_is_called_again() {
    let change =
        [("risk = \"low\"", "risk = \"report\"\naction = []"), ("[[action]]\nsteps = [{ do = \"start\" }]\n", "")];
    let mut host = Host::new(vec![rule(&change)], &["web"]);
    host.set("unit.failed", "web", 1.0);
    host.step(60);
    assert_eq!(host.incident().state, State::Escalated);
    let unseen = |host: &Host| host.notices.iter().filter(|kind| **kind == NoticeKind::Unseen).count();
    host.step(7_199);
    assert_eq!(unseen(&host), 0);
    host.step(1);
    assert_eq!(unseen(&host), 1);
    host.step(7_200);
    assert_eq!(unseen(&host), 2, "again and again");
    let until = host.now + 10_000;
    let change = |host: &mut Host, change: fn(&mut Incident, i64), value| {
        host.engine.incidents.values_mut().for_each(|one| change(one, value));
    };
    change(&mut host, |one, until| one.snoozed_until = Some(until), until);
    host.step(9_999);
    assert_eq!(unseen(&host), 2);
    host.step(1);
    assert_eq!(unseen(&host), 3, "the snooze is over, and it still goes on");
    change(&mut host, |one, _| one.acked = true, 0);
    host.step(100_000);
    assert_eq!(unseen(&host), 3);
}

#[test]
fn a_child_waits_while_what_it_needs_is_healed() {
    let mut host = Host::new(vec![rule(&[])], &["db", "web"]);
    host.targets[1].parent = Some("db".to_owned());
    host.works = false;
    host.set("unit.failed", "db", 1.0);
    host.set("unit.failed", "web", 1.0);
    (0..4).for_each(|_| host.step(60));
    assert!(host.acted.iter().all(|(_, key)| key.1 == "db"));
    host.works = true;
    host.set("unit.failed", "db", 0.0);
    (0..8).for_each(|_| host.step(60));
    assert_eq!(host.acted.last().map(|(_, key)| key.1.as_str()), Some("web"));
}

#[test]
fn an_action_that_a_kill_broke_off_is_taken_back_and_counted() {
    let mut host = Host::new(vec![rule(&[])], &["web"]);
    host.set("unit.failed", "web", 1.0);
    host.step(60);
    let mut incident = host.incident().clone();
    incident.state = State::Acting;
    incident.ways = vec![WayBack::AllowRetries { service: "web".to_owned() }];
    let (engine, effects) = Engine::resume(host.engine.records.clone(), vec![incident], 1, 5);
    assert!(matches!(&effects[0], Effect::TakeBack { ways, .. } if ways.len() == 1));
    assert_eq!(engine.incidents.values().next().expect("one").state, State::Open);
    host.engine = engine;
    host.works = false;
    host.set("unit.failed", "web", 1.0);
    (0..200).for_each(|_| host.step(5));
    assert_eq!(host.acted.len(), 3, "the broken one counts against the budget");
}

#[test]
fn c13_a_rule_in_dry_run_says_what_it_would_do_once_and_acts_when_that_is_over() {
    let mut host = Host::new(vec![rule(&[("risk = \"low\"", "risk = \"low\"\ndry_run = true")])], &["web"]);
    host.set("unit.failed", "web", 1.0);
    (0..60).for_each(|_| host.step(60));
    assert_eq!((host.acted.len(), host.incident().state), (0, State::Escalated));
    assert_eq!((host.record().stats.would_act, host.record().stats.acted, host.record().acts.len()), (1, 0, 0));
    assert!(host.said[0].decision.contains("dry run: would start"), "{}", host.said[0].decision);
    let thread: Vec<&str> = host.incident().thread.iter().map(|line| line.what.as_str()).collect();
    assert!(
        thread.contains(&"dry run: would start") && !thread.iter().any(|line| line.contains("attempt")),
        "{thread:?}"
    );
    assert_eq!(host.notices, [NoticeKind::Opened, NoticeKind::Escalated]);
    // What holds an action back holds this back too: it would not have acted then.
    let mut paused = Host::new(vec![rule(&[("risk = \"low\"", "risk = \"low\"\ndry_run = true")])], &["web"]);
    paused.paused = Some("by a person");
    paused.set("unit.failed", "web", 1.0);
    paused.step(60);
    assert_eq!((paused.record().stats.would_act, paused.incident().state), (0, State::Open));
    host.rules[0].dry_run = false;
    (0..2).for_each(|_| host.step(60));
    assert_eq!(host.acted.len(), 1);
}

#[test]
fn a21_an_action_that_was_not_begun_counts_for_nothing_and_is_not_forgotten() {
    let mut host = Host::new(vec![rule(&[])], &["web"]);
    host.set("unit.failed", "web", 1.0);
    host.works = false;
    host.step(60);
    assert_eq!((host.acted.len(), host.incident().state), (1, State::Validating));
    // It did not help; at the next attempt the agent is about to end.
    host.put_off = true;
    (0..60).for_each(|_| host.step(5));
    assert_eq!((host.acted.len(), host.incident().state), (1, State::Open));
    assert_eq!((host.record().acts.len(), host.record().stats.acted, host.incident().attempts), (1, 1, 1));
    host.put_off = false;
    host.step(5);
    assert_eq!((host.acted.len(), host.record().stats.acted), (2, 2));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens in whatever order: budget, cooldown, exclusion and the order of notices hold, also when
    /// the engine is stopped and started again in between.
    #[test]
    fn budgets_cooldowns_and_exclusion_hold_whatever_happens(
        steps in proptest::collection::vec((0_u8..8, 1_i64..200, any::<bool>()), 1..120),
        works in any::<bool>(),
    ) {
        let shared = [("service:{service}", "one-thing")];
        let second = [("number = 1", "number = 2"), ("service:{service}", "one-thing")];
        let mut host = Host::new(vec![rule(&shared), rule(&second)], &["a", "b"]);
        host.works = works;
        for (what, seconds, which) in steps {
            let name = if which { "a" } else { "b" };
            match what {
                0 | 1 => host.set("unit.failed", name, 1.0),
                2 => host.set("unit.failed", name, 0.0),
                3 => host.set("unit.wanted", name, f64::from(u8::from(seconds % 2 == 1))),
                4 => host.paused = (seconds % 2 == 0).then_some("paused"),
                5 => { host.facts.remove(&("unit.failed", name.to_owned())); }
                6 => {
                    let text = serde_json::to_string(&host.engine.records.values().collect::<Vec<_>>()).expect("plain");
                    let records: Vec<Record> = serde_json::from_str(&text).expect("plain");
                    let records = host.engine.records.keys().cloned().zip(records).collect();
                    let incidents = host.engine.incidents.values().cloned().collect();
                    let ended = std::mem::take(&mut host.engine.ended);
                    let (engine, effects) = Engine::resume(records, incidents, host.engine.next, host.now);
                    host.engine = engine;
                    host.engine.ended = ended;
                    host.perform(effects);
                }
                _ => {}
            }
            let before = host.acted.len();
            host.step(seconds);
            prop_assert!(host.paused.is_none() || host.acted.len() == before, "acted while paused");
            let busy = host.engine.incidents.values().filter(|one| matches!(one.state, State::Acting | State::Validating));
            prop_assert!(busy.count() <= 1, "two at work on one thing");
        }
        for key in host.engine.records.keys() {
            let times: Vec<i64> = host.acted.iter().filter(|(_, other)| other == key).map(|(at, _)| *at).collect();
            prop_assert!(times.windows(2).all(|two| two[1] - two[0] >= 60), "cooldown {times:?}");
            for (index, start) in times.iter().enumerate() {
                let within = times[index..].iter().filter(|at| **at - start < 1_800).count();
                prop_assert!(within <= 3, "budget {times:?}");
            }
        }
        let acted: u64 = host.engine.records.values().map(|record| record.stats.acted).sum();
        prop_assert_eq!(acted, host.acted.len() as u64);
        let mut ids: Vec<u64> = host.engine.ended.iter().chain(host.engine.incidents.values()).map(|one| one.id).collect();
        ids.sort_unstable();
        let count = ids.len();
        ids.dedup();
        prop_assert_eq!(ids.len(), count, "one thread for each incident");
        for one in &host.engine.ended {
            prop_assert!(one.ending != Some(Ending::Healed) || one.attempts > 0, "healed without an action");
        }
    }
}
