//! Every drill of the pack, run in truth; and what is left of it when one part of a rule is broken.

use std::path::{Path, PathBuf};

use mesh::agent::drill::{Ground, run};
use mesh::domain::heal::action::{Action, StopSignal};
use mesh::domain::heal::condition::Condition;
use mesh::domain::heal::drill::DrillPlan;
use mesh::domain::heal::rule::Rule;
use mesh::domain::id::HostId;
use mesh::store::rules::{PACK, parse};

fn ground(dir: &Path) -> Ground {
    Ground {
        folder: dir.to_owned(),
        program: PathBuf::from(env!("CARGO_BIN_EXE_mesh")),
        host: HostId::from_bytes([7; 32]),
    }
}

fn rules() -> Vec<Rule> {
    let only: Option<u32> = std::env::var("MESH_TEST_RULE").ok().and_then(|number| number.parse().ok());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/rules");
    // From the source: what is built in is the same, and a rule can be tried without building.
    let all = PACK.iter().map(|(name, _)| {
        let text = std::fs::read_to_string(folder.join(name)).expect("in the source");
        parse(Path::new(name), &text).unwrap_or_else(|error| panic!("{error}"))
    });
    let drilled = all.filter(|rule| matches!(rule.drill, DrillPlan::Script(_)));
    drilled.filter(|rule| only.is_none_or(|only| rule.number == only)).collect()
}

/// Runs `look` for every rule, on as many threads as help while processes are waited for.
fn each(look: impl Fn(&Rule, &Ground) -> Result<(), String> + Sync) -> Vec<String> {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temp dir");
    let ground = ground(dir.path());
    let rules = rules();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let work = || {
            let mut wrong = Vec::new();
            while let Some(rule) = rules.get(next.fetch_add(1, std::sync::atomic::Ordering::SeqCst)) {
                if let Err(why) = look(rule, &ground) {
                    wrong.push(format!("rule {} {}: {why}", rule.number, rule.name));
                }
            }
            wrong
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    wrong
}

#[test]
fn c11_every_drill_of_the_pack_passes() {
    let wrong = each(|rule, ground| {
        let parts = run(rule, ground).map_err(|error| format!("{error:?}"))?.expect("it has a drill");
        parts.failure().map_or(Ok(()), Err)
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// One way of breaking a rule.
type Breaking = (&'static str, fn(&mut Rule));

const BREAKINGS: [Breaking; 5] = [
    ("a trigger that never holds", |rule| rule.trigger = Condition::constant(false)),
    ("a trigger that always holds", |rule| {
        rule.trigger = Condition::constant(true);
        rule.diagnose.iter_mut().for_each(|question| question.when = Condition::constant(true));
    }),
    ("a validation that is never content", |rule| rule.validate.when = Condition::constant(false)),
    ("a validation that is always content", |rule| rule.validate.when = Condition::constant(true)),
    ("an action that does nothing", |rule| {
        rule.action.iter_mut().for_each(|rung| rung.steps = vec![Action::Signal { signal: StopSignal::Cont }]);
    }),
];

#[test]
fn c11_breaking_any_part_of_a_rule_makes_its_drill_fail() {
    let wrong = each(|rule, ground| {
        for (index, (what, breaking)) in BREAKINGS.iter().enumerate() {
            // A rule that only reports does nothing, and validates nothing.
            if rule.action.is_empty() && index > 1 {
                continue;
            }
            let mut broken = rule.clone();
            breaking(&mut broken);
            let parts = run(&broken, ground).map_err(|error| format!("{error:?}"))?.expect("it has a drill");
            if parts.all_shown() {
                return Err(format!("passes with {what}"));
            }
        }
        Ok(())
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
