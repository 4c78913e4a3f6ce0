//! The scan engine on whole lessons.

use std::time::Duration;

use mesh::domain::finding::Suppression;
use mesh::domain::lesson::Lesson;
use mesh::founding;
use mesh::scan::{CompileError, Deadline, Engine, FileRefusal, FileReport, MendRefusal, ProofError, mend, prove};
use serde_json::{Value, json};

use crate::support::hostile::{self, StoppedBy};
use crate::support::lessons::{self, lesson_of, lesson_with_rules, lesson_with_syntax};

const LONG: Duration = Duration::from_secs(20);

fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn engine(lessons: &[Lesson]) -> Engine {
    let (engine, refused) = Engine::compile(lessons);
    assert!(refused.is_empty(), "{refused:?}");
    engine
}

fn scan(engine: &Engine, path: &str, text: &str) -> FileReport {
    let interest = engine.interest(path).expect("in scope");
    engine.scan(path, text, &engine.all_candidates(&interest), Deadline::after(LONG)).expect("scanned")
}

fn refusal(lesson: &Lesson) -> CompileError {
    Engine::compile(std::slice::from_ref(lesson)).1.pop().expect("refused").1
}

#[test]
fn every_founding_lesson_proves_itself() {
    let mut wrong = Vec::new();
    for (name, text) in founding::ALL {
        let lesson: Lesson = toml::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        if let Err(error) = prove(&lesson) {
            wrong.push(format!("{name}: {}", chain(&error)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_sample_lessons_prove_themselves() {
    for lesson in lessons::samples() {
        prove(&lesson).unwrap_or_else(|error| panic!("{}: {}", lesson.id, chain(&error)));
    }
}

#[test]
fn a_lesson_whose_examples_do_not_hold_is_not_proved() {
    let change = |edit: &dyn Fn(&mut Lesson)| {
        let mut lesson = lessons::state_write();
        edit(&mut lesson);
        prove(&lesson).expect_err("not proved")
    };
    let error = change(&|lesson| lesson.tests.positive[0].at = vec![3]);
    assert!(matches!(&error, ProofError::Lines { got, .. } if *got == [4]), "{error}");
    let error = change(&|lesson| lesson.tests.positive[0].count = 2);
    assert!(matches!(error, ProofError::Count { expected: 2, got: 1, .. }), "{error}");
    let error = change(&|lesson| lesson.tests.negative[0].code = lesson.tests.positive[1].code.clone());
    assert!(matches!(error, ProofError::Count { expected: 0, got: 1, .. }), "{error}");
    let error = change(&|lesson| lesson.tests.positive[1].fixed = Some("import os\nx\n".into()));
    assert!(matches!(error, ProofError::Fixed { line: 2, .. }), "{error}");
    let error = change(&|lesson| lesson.detect.requires_text = vec![vec!["absent".into()]]);
    assert!(matches!(error, ProofError::Filter { with: 0, without: 1, .. }), "{error}");
    let error = change(&|lesson| lesson.tests.negative[0].path = "a.rs".into());
    assert!(matches!(error, ProofError::OutOfScope { .. }), "{error}");
    let error = change(&|lesson| {
        lesson.tests.positive[1].fixed = None;
        lesson.tests.positive[1].fix_refused = true;
    });
    assert!(matches!(error, ProofError::NotRefused { .. }), "{error}");
}

#[test]
fn t19_hostile_lessons_are_stopped_by_their_layer() {
    for hostile in hostile::all() {
        let name = hostile.name;
        let stopped = match hostile.stopped_by {
            StoppedBy::Shape => matches!(refusal(&hostile.lesson), CompileError::Static(_)),
            StoppedBy::Compiler => matches!(
                refusal(&hostile.lesson),
                CompileError::Regex { .. } | CompileError::NoKind { .. } | CompileError::Syntax { .. }
            ),
            StoppedBy::Stress => matches!(prove(&hostile.lesson), Err(ProofError::Stress { .. })),
            // It compiles; running it is for the test of the process that limits it.
            StoppedBy::Process => Engine::compile(std::slice::from_ref(&hostile.lesson)).1.is_empty(),
        };
        assert!(
            stopped,
            "{name} is not stopped by {:?}: {:?}",
            hostile.stopped_by,
            Engine::compile(&[hostile.lesson]).1
        );
    }
}

#[test]
fn a_lesson_that_does_not_compile_is_left_out_and_named() {
    let broken = lesson_with_syntax("broken", "python", &json!({"kind": "no_such_kind"}));
    let (engine, refused) = Engine::compile(&[broken, lessons::verify_off()]);
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].0.as_str(), "broken");
    assert_eq!(scan(&engine, "a.py", "get(u, verify=False)").findings.len(), 1);
}

#[test]
fn a_template_variable_that_the_rule_does_not_bind_is_refused() {
    let mut lesson = lessons::state_write();
    lesson.fix.edits[0].template = Some("$GONE".into());
    assert!(matches!(refusal(&lesson), CompileError::UnboundVariable { name, .. } if name == "$GONE"));
    let mut lesson = lessons::verify_off();
    lesson.fix.edits[0].template = Some("$3".into());
    assert!(matches!(refusal(&lesson), CompileError::UnboundVariable { name, .. } if name == "$3"));
}

#[test]
fn interest_follows_scope_and_language() {
    let engine = engine(&lessons::samples());
    let cases = [
        ("a.py", true),
        ("pkg/tests/a.py", true), // the regex lesson has no such exclude
        ("a.rs", false),
        ("x/a.service", true),
        ("README.md", false),
        ("", false),
    ];
    for (path, expected) in cases {
        assert_eq!(engine.interest(path).is_some(), expected, "{path}");
    }
    let interest = engine.interest("a.py").expect("in scope");
    assert!(engine.candidates(&interest, b"print('nothing of interest')").is_none());
    assert!(engine.candidates(&interest, b"# mesh-ignore: state-write -- why").is_some());
}

#[test]
fn a_finding_says_where_and_what_and_keeps_its_identity_when_lines_move() {
    let engine = engine(&[lessons::verify_off()]);
    let report = scan(&engine, "a.py", "é = get(u, verify=False)\nget(v, verify=False)\n");
    assert!(!report.parsed, "a regular expression needs no tree");
    let [first, second] = report.findings.as_slice() else { panic!("{report:?}") };
    assert_eq!((first.line, first.column, first.end_line), (1, 12, 1));
    assert_eq!(first.message, "`verify=False` accepts every certificate");
    assert_eq!(first.severity.name(), "error");
    assert_ne!(first.fingerprint, second.fingerprint, "the second of the same text");
    let moved = scan(&engine, "a.py", "\n\nget(u, verify=False)\n");
    assert_eq!(moved.findings[0].fingerprint, first.fingerprint);
    assert_eq!(moved.findings[0].line, 3);
    let control = "#\u{1b}[2J\nget(u, verify\t=\tFalse)";
    assert!(scan(&engine, "a.py", control).findings[0].message.bytes().all(|byte| byte >= b' '));
}

#[test]
fn equal_ranges_of_one_lesson_are_one_finding_of_the_first_rule() {
    let rule =
        |id: &str, rule: Value| json!({"id": id, "mode": "ast", "language": "python", "rule": rule, "message": id});
    let rules = json!([rule("pattern", json!({"pattern": "foo($A)"})), rule("kind", json!({"kind": "call"}))]);
    let engine =
        engine(&[lesson_with_rules("both", &rules), lesson_with_syntax("other", "python", &json!({"kind": "call"}))]);
    let report = scan(&engine, "a.py", "foo(1)\nbar(2)\n");
    let found: Vec<_> = report.findings.iter().map(|f| (f.lesson.as_str(), f.rule.as_str(), f.line)).collect();
    assert_eq!(found, [("both", "pattern", 1), ("other", "rule", 1), ("both", "kind", 2), ("other", "rule", 2)]);
    assert_eq!(report.matched.len(), 3, "{:?}", report.matched);
}

#[test]
fn rules_that_when_repo_names_are_conditions() {
    let rule = |id: &str, pattern: &str| json!({"id": id, "mode": "ast", "language": "python", "rule": {"pattern": pattern}, "message": id});
    let detect = json!({"engine": "ast-grep/0.51", "rules": [rule("call", "foo($A)"), rule("guard", "lock()")],
        "when_repo": {"no_file": ["guard"]}});
    let tests = json!({
        "positive": [{"path": "a.py", "code": "foo(1)\n"}, {"path": "b.py", "code": "foo(2)\n"}],
        "negative": [{"path": "a.py", "code": "foo(1)\nlock()\n"}, {"path": "b.py", "code": "lock()\n"}],
    });
    let lesson = lesson_of("unlocked", &detect, &json!({"class": "none"}), &tests);
    prove(&lesson).unwrap_or_else(|error| panic!("{}", chain(&error)));
    let report = scan(&engine(&[lesson]), "a.py", "foo(1)\nlock()\n");
    assert_eq!(report.findings.len(), 1, "a condition reports nothing itself");
    assert_eq!(report.matched.len(), 2);
}

#[test]
fn suppression_needs_a_comment_a_lesson_and_a_reason() {
    let engine = engine(&[lessons::verify_off()]);
    let suppressed = |text: &str| {
        let report = scan(&engine, "a.py", text);
        assert_eq!(report.findings.len(), 1, "suppressed findings stay in the report: {text}");
        (report.findings[0].suppressed.clone(), report.idle_suppressions)
    };
    let because = |reason: &str| Some(Suppression::InSource { reason: reason.into() });
    for text in [
        "# mesh-ignore: verify-off -- test host\nget(u, verify=False)\n",
        "get(u, verify=False)  # mesh-ignore: verify-off -- test host\n",
        "get(u, verify=False)  # ast-grep-ignore: verify-off -- test host\n",
    ] {
        assert_eq!(suppressed(text), (because("test host"), Vec::new()), "{text}");
    }
    for (text, why) in [
        ("# mesh-ignore\nget(u, verify=False)\n", "names no lesson"),
        ("# mesh-ignore: verify-off\nget(u, verify=False)\n", "gives no reason"),
        ("# mesh-ignore: verify-off -- far\n\nget(u, verify=False)\n", "no finding of lesson"),
        ("x = 1  # mesh-ignore: verify-off -- other line\nget(u, verify=False)\n", "no finding of lesson"),
    ] {
        let (by, idle) = suppressed(text);
        assert_eq!(by, None, "{text}");
        assert!(idle.len() == 1 && idle[0].0 == 1 && idle[0].1.starts_with(why), "{text}: {idle:?}");
    }
    let in_string = "x = '''\n# mesh-ignore: verify-off -- in a string\n'''; get(u, verify=False)\n";
    assert_eq!(suppressed(in_string), (None, Vec::new()));
    let other = "# mesh-ignore: other-lesson -- why\nget(u, verify=False)\n";
    assert_eq!(suppressed(other), (None, Vec::new()), "a lesson that is not here may be elsewhere");
}

#[test]
fn suppression_in_a_unit_stands_on_the_line_above() {
    let engine = engine(&[lessons::watchdog()]);
    let report = scan(&engine, "a.service", "[Service]\n; mesh-ignore: watchdog -- oneshot-like\nRestart=always\n");
    assert_eq!(report.findings[0].line, 3);
    assert!(report.findings[0].suppressed.is_some());
}

#[test]
fn a_fix_of_one_finding_leaves_the_others() {
    let lesson = lessons::verify_off();
    let text = "get(u, verify=False)\nget(v, verify=False)\n";
    let report = scan(&engine(std::slice::from_ref(&lesson)), "a.py", text);
    let mended = mend(&lesson, "a.py", text, Some(report.findings[1].fingerprint)).expect("mended");
    assert_eq!(mended.as_deref(), Some("get(u, verify=False)\nget(v, verify=True)\n"));
    let all = mend(&lesson, "a.py", text, None).expect("mended");
    assert_eq!(all.as_deref(), Some("get(u, verify=True)\nget(v, verify=True)\n"));
    let suppressed = "get(u, verify=False)  # mesh-ignore: verify-off -- why\n";
    assert_eq!(mend(&lesson, "a.py", suppressed, None).expect("nothing to do"), None);
}

#[test]
fn t21_line_ends_of_the_file_are_kept() {
    let text = lessons::state_write().tests.positive[0].code.replace('\n', "\r\n");
    let mended = mend(&lessons::state_write(), "a.py", &text, None).expect("mended").expect("changed");
    assert_eq!(mended.matches('\n').count(), mended.matches("\r\n").count(), "{mended:?}");
}

/// A lesson that mends `foo($A, $B)`, found with this strictness, by this template.
fn mending(pattern: &Value, template: &str) -> Lesson {
    let rule = json!([{"id": "rule", "mode": "ast", "language": "python", "rule": pattern, "message": "m"}]);
    let mut lesson = lesson_with_rules("mending", &rule);
    lesson.fix = serde_json::from_value(json!({"class": "review", "edits": [{"for": "rule", "template": template}]}))
        .expect("a fix");
    lesson
}

#[test]
fn t21_the_guards_refuse_what_a_template_breaks_or_loses() {
    let refused = |pattern: Value, template: &str, text: &str| {
        mend(&mending(&pattern, template), "a.py", text, None).expect_err(text)
    };
    let call = json!({"pattern": "foo($$$A)"});
    let error = refused(call.clone(), "bar(, force=True)", "foo()\n");
    assert!(matches!(error, MendRefusal::Parse { before: 0, .. }), "{error}");
    let error = refused(json!({"pattern": "foo($A, $B)"}), "bar($A)", "foo(1, precious)\n");
    assert!(matches!(&error, MendRefusal::Conserve { lost } if *lost == ["precious"]), "{error}");
    let body = json!({"pattern": "with open($P) as $F:\n    $F.read()"});
    let error = refused(body.clone(), "read($P, $F)", "with open(p) as f:\n    f.read()\n    f.write('x')\n");
    assert!(matches!(&error, MendRefusal::Conserve { lost } if lost.contains(&"write".to_owned())), "{error}");
    let error = refused(body, "read($P, $F)", "with open(p) as f:\n    f.read()\n    # keep me\n    f.x()\n");
    assert!(matches!(&error, MendRefusal::Conserve { lost } if lost.contains(&"# keep me".to_owned())), "{error}");
    let awaited = json!({"kind": "await", "has": {"pattern": "foo($A)"}});
    let error = refused(awaited, "foo($A)", "async def f():\n    await foo(1)\n");
    assert!(matches!(&error, MendRefusal::Conserve { lost } if *lost == ["await"]), "a keyword: {error}");
    let error = refused(call.clone(), "foo($$$A, 1)", "foo(2)\n");
    assert!(matches!(error, MendRefusal::Idempotent { line: 1, .. }), "{error}");
    let error = refused(call.clone(), "foo_($$$A)  # noqa", "foo(2)\n");
    assert!(matches!(error, MendRefusal::Suppresses { marker: "noqa" }), "{error}");
    let error = refused(call, &"bar($$$A)\n".repeat(70), "foo(2)\n");
    assert!(matches!(error, MendRefusal::TooManyLines { max: 60, .. }), "{error}");
}

#[test]
fn t21_a_template_that_multiplies_its_variable_is_refused_before_it_is_built() {
    let big = format!("foo({})\n", "1, ".repeat(20_000));
    let error = mend(&mending(&json!({"pattern": "foo($$$A)"}), &"$$$A;".repeat(800)), "a.py", &big, None);
    assert!(matches!(error, Err(MendRefusal::TooLarge { .. })), "{error:?}");
    let mut lesson = lessons::verify_off();
    lesson.detect.rules =
        serde_json::from_value(json!([{"id": "verify-false", "mode": "regex", "pattern": "(a+)", "message": "m"}]))
            .expect("rules");
    lesson.fix.edits[0].template = Some("$1".repeat(2_000));
    let error = mend(&lesson, "a.py", &"a".repeat(60_000), None);
    assert!(matches!(error, Err(MendRefusal::TooLarge { .. })), "{error:?}");
}

#[test]
fn t21_values_are_not_read_as_templates() {
    let lesson = mending(&json!({"pattern": "foo($A)"}), "bar($A)");
    let text = "foo('$A {{x}} $(rm) ../')\n";
    let mended = mend(&lesson, "a.py", text, None).expect("mended");
    assert_eq!(mended.as_deref(), Some("bar('$A {{x}} $(rm) ../')\n"));
}

#[test]
fn overlapping_edits_wait_for_the_next_run() {
    let lesson = mending(&json!({"pattern": "foo($A)"}), "bar($A)");
    let once = mend(&lesson, "a.py", "foo(foo(1))\n", None).expect("mended").expect("changed");
    assert_eq!(once, "bar(foo(1))\n");
    let twice = mend(&lesson, "a.py", &once, None).expect("mended");
    assert_eq!(twice.as_deref(), Some("bar(bar(1))\n"));
}

#[test]
fn keys_are_set_where_they_belong() {
    let set = |format: &str, path: &str, text: &str| {
        let rules = json!([{"id": "rule", "mode": "config", "format": format, "report": "s", "message": "m",
            "all": [{"path": "s.b", "regex": "^[^3]*$"}]}, {"id": "gone", "mode": "config", "format": format,
            "report": "s", "message": "m", "all": [{"path": "s.a"}, {"path": "s.b", "absent": true}]}]);
        let mut lesson = lesson_with_rules("set", &rules);
        lesson.detect.scope.include = vec!["*".into()];
        lesson.fix = serde_json::from_value(json!({"class": "review", "edits": [
            {"for": "rule", "set": {"path": "s.b", "value": "3"}}, {"for": "gone", "set": {"path": "s.b", "value": "3"}}]}))
        .expect("a fix");
        mend(&lesson, path, text, None)
    };
    let done = |format, path, text| set(format, path, text).expect("mended").expect("changed");
    assert_eq!(done("ini", "a.ini", "[s]\na = 1 ; c\nb = 2\n[t]\nb = 9\n"), "[s]\na = 1 ; c\nb = 3\n[t]\nb = 9\n");
    assert_eq!(done("ini", "a.ini", "[s]\na = 1\n\n[t]\n"), "[s]\na = 1\nb = 3\n\n[t]\n");
    assert_eq!(done("toml", "a.toml", "[s]\na = 1 # c\n\n[t]\n"), "[s]\na = 1 # c\nb = 3\n\n[t]\n");
    assert_eq!(done("toml", "a.toml", "[s]\nb = \"two words\" # c\n"), "[s]\nb = 3 # c\n");
    let error = set("yaml", "a.yaml", "s:\n  a: 1\n").expect_err("refused");
    assert!(matches!(error, MendRefusal::CannotSet { .. }), "{error}");
}

#[test]
fn t19_a_scan_ends_at_its_deadline_and_names_the_lesson() {
    let engine = engine(&[lesson_with_syntax("any-name", "python", &json!({"kind": "identifier"}))]);
    let text = "name\n".repeat(20_000);
    let interest = engine.interest("a.py").expect("in scope");
    let candidates = engine.all_candidates(&interest);
    let ended = engine.scan("a.py", &text, &candidates, Deadline::after(Duration::ZERO));
    assert!(matches!(ended, Err(FileRefusal::Overrun { .. })), "{ended:?}");
    let all = engine.scan("a.py", &text, &candidates, Deadline::after(LONG)).expect("scanned");
    assert_eq!(all.findings.len(), 201, "one more than is ever reported");
    let binary = engine.scan("a.py", "a\0b", &candidates, Deadline::after(LONG));
    assert_eq!(binary, Err(FileRefusal::NotText));
}

#[test]
fn an_engine_is_shared_between_threads() {
    fn shared<T: Sync + Send>(_: &T) {}
    shared(&engine(&lessons::samples()));
}
