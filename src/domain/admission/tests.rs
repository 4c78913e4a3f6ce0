//! Every limit at its edge and one past it, and every shape that is refused.

use serde_json::{Value, json};

use super::{DetectError, Limit, check};
use crate::domain::detect::{Detect, Fix, Tests};
use crate::domain::limits;

fn base() -> Value {
    json!({
        "detect": {
            "engine": "ast-grep/0.51",
            "rules": [
                {"id": "one", "mode": "ast", "language": "python", "message": "m",
                 "rule": {"pattern": {"context": "foo($A)", "strictness": "cst"}}},
                {"id": "two", "mode": "config", "format": "systemd", "message": "m", "report": "Service",
                 "all": [{"path": "Service.Restart"}]},
                {"id": "three", "mode": "regex", "pattern": "x", "message": "m"},
            ],
        },
        "fix": {"class": "safe", "edits": [{"for": "one", "template": "bar($A)"}], "ensure_import": ["import os"]},
        "tests": {
            "positive": [{"path": "a.py", "code": "foo(1)", "fixed": "bar(1)"}, {"path": "b.py", "code": "foo(2)", "fix_refused": true}],
            "negative": [{"path": "a.py", "code": "bar(1)"}, {"path": "b.py", "code": "food(1)"}],
        },
    })
}

fn verdict(lesson: &Value) -> Result<(), DetectError> {
    let part = |name: &str| lesson[name].clone();
    let detect: Detect = serde_json::from_value(part("detect")).expect("detect");
    let fix: Fix = serde_json::from_value(part("fix")).expect("fix");
    let tests: Tests = serde_json::from_value(part("tests")).expect("tests");
    check(&detect, &fix, &tests)
}

/// The base with one place set, where a missing key is added to its object.
fn with(pointer: &str, value: Value) -> Value {
    let mut lesson = base();
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    match lesson.pointer_mut(parent).expect("a place") {
        Value::Object(fields) => {
            fields.insert(key.to_owned(), value);
        }
        Value::Array(items) => items[key.parse::<usize>().expect("an index")] = value,
        other => panic!("{other} holds nothing"),
    }
    lesson
}

const RULE: &str = "/detect/rules/0/rule";

fn rule(rule: Value) -> Value {
    with(RULE, json!({"kind": "call", "all": [rule]}))
}

fn edge(limit: Limit, max: usize, lesson: impl Fn(usize) -> Value) {
    assert_eq!(verdict(&lesson(max)), Ok(()), "{limit:?} at its edge");
    match verdict(&lesson(max + 1)) {
        Err(DetectError::Limit { limit: broken, got, max: allowed, .. }) => {
            assert_eq!((broken, got, allowed), (limit, max + 1, max));
        }
        other => panic!("{limit:?} one past its edge: {other:?}"),
    }
}

#[test]
fn t18_every_limit_holds_at_its_edge_and_one_past_it() {
    assert_eq!(verdict(&base()), Ok(()));
    let text = |n: usize| "a".repeat(n);
    let list = |n: usize, item: Value| Value::from(vec![item; n]);
    edge(Limit::Globs, limits::SCOPE_GLOBS, |n| with("/detect/scope", json!({"include": list(n, json!("*.py"))})));
    edge(Limit::GlobBytes, limits::GLOB_BYTES, |n| with("/detect/scope", json!({"exclude": [text(n)]})));
    edge(Limit::RequiredTexts, 8, |n| with("/detect/requires_text", list(n, json!(["ab"]))));
    edge(Limit::TextBytes, 128, |n| with("/detect/requires_text", json!([[text(n)]])));
    edge(Limit::MessageBytes, 512, |n| with("/detect/rules/0/message", json!(text(n))));
    edge(Limit::PatternBytes, limits::PATTERN_BYTES, |n| rule(json!({"pattern": text(n)})));
    edge(Limit::PatternBrackets, limits::PATTERN_BRACKETS, |n| {
        rule(json!({"pattern": format!("){}1{}", "(".repeat(n), ")".repeat(n))}))
    });
    edge(Limit::RegexBytes, limits::REGEX_BYTES, |n| rule(json!({"regex": text(n)})));
    edge(Limit::RegexBytes, limits::PATTERN_BYTES, |n| with("/detect/rules/2/pattern", json!(text(n))));
    // The base has one regular expression.
    edge(Limit::Regexes, limits::RULE_REGEXES, |n| rule(json!({"all": list(n - 1, json!({"regex": "x"}))})));
    edge(Limit::RuleNodes, limits::RULE_NODES, |n| rule(json!({"all": list(n - 2, json!({"kind": "call"}))})));
    edge(Limit::RuleDepth, limits::RULE_DEPTH, |n| {
        rule((0..n - 2).fold(json!({"kind": "call"}), |inner, _| json!({"not": inner})))
    });
    edge(Limit::UnboundedRelations, limits::RULE_UNBOUNDED_RELATIONS, |n| {
        rule((0..n).fold(json!({"kind": "call"}), |inner, _| json!({"has": {"stopBy": "end", "all": [inner]}})))
    });
    edge(Limit::Utils, limits::RULE_UTILS, |n| {
        let utils: serde_json::Map<_, _> = (0..n).map(|at| (format!("u{at}"), json!({"kind": "call"}))).collect();
        with("/detect/rules/0/utils", Value::Object(utils))
    });
    edge(Limit::Conditions, 16, |n| with("/detect/rules/1/all", list(n, json!({"path": "a.b"}))));
    edge(Limit::Rules, limits::DETECT_RULES, |n| {
        let mut lesson = base();
        let rules = lesson["detect"]["rules"].as_array_mut().expect("rules");
        for at in rules.len()..n {
            rules.push(json!({"id": format!("r{at}"), "mode": "regex", "pattern": "x", "message": "m"}));
        }
        lesson
    });
    let findings = usize::try_from(limits::FINDINGS_PER_LESSON).expect("small");
    edge(Limit::Findings, findings, |n| with("/detect/limits", json!({"max_findings_per_repo": n})));
    edge(Limit::TemplateBytes, limits::FIX_TEMPLATE_BYTES, |n| with("/fix/edits/0/template", json!(text(n))));
    edge(Limit::Imports, 8, |n| with("/fix/ensure_import", list(n, json!("import os"))));
    edge(Limit::FixFiles, 50, |n| with("/fix/max_files", json!(n)));
    edge(Limit::FixLines, 600, |n| with("/fix/max_lines", json!(n)));
    edge(Limit::Tests, limits::TESTS, |n| with("/tests/negative", list(n - 2, json!({"path": "a.py", "code": ""}))));
    edge(Limit::TestBytes, limits::TEST_BYTES, |n| with("/tests/negative/0/code", json!(text(n))));
}

#[test]
fn t18_a_detection_above_its_bytes_is_refused() {
    let many =
        |n: usize| with("/detect/rules/1/all", Value::from(vec![json!({"path": "a.b", "equals": "e".repeat(n)}); 16]));
    let mut big = many(512);
    for at in 3..8 {
        let long =
            json!({"id": format!("r{at}"), "mode": "regex", "pattern": "x".repeat(1_024), "message": "m".repeat(500)});
        big["detect"]["rules"].as_array_mut().expect("rules").push(long);
    }
    assert!(matches!(verdict(&big), Err(DetectError::Limit { limit: Limit::DetectBytes, .. })));
    assert_eq!(verdict(&many(400)), Ok(()));
}

#[test]
fn t19_far_relations_are_counted_through_utility_rules() {
    let mut lesson = rule(json!({"has": {"stopBy": "end", "matches": "a"}}));
    lesson["detect"]["rules"][0]["utils"] = json!({
        "a": {"has": {"stopBy": "end", "any": [{"matches": "b"}, {"kind": "call"}]}},
        "b": {"inside": {"stopBy": {"kind": "module"}, "has": {"stopBy": "end", "kind": "call"}}},
    });
    assert!(matches!(verdict(&lesson), Err(DetectError::Limit { limit: Limit::UnboundedRelations, got: 4, .. })));
}

#[test]
fn t19_utility_rules_may_not_lead_back_through_any_edge() {
    let edges = [
        json!({"matches": "a"}),
        json!({"has": {"matches": "a"}}),
        json!({"inside": {"kind": "call", "stopBy": {"matches": "a"}}}),
        json!({"follows": {"not": {"matches": "a"}}}),
        json!({"precedes": {"any": [{"kind": "call"}, {"all": [{"matches": "a"}]}]}}),
    ];
    for edge in edges {
        let mut lesson = base();
        lesson["detect"]["rules"][0]["utils"] = json!({"a": {"matches": "b"}, "b": edge});
        let refused = verdict(&lesson);
        assert!(matches!(refused, Err(DetectError::UtilCycle { .. })), "{edge}: {refused:?}");
    }
}

#[test]
fn t19_keys_and_selectors_beyond_the_allowed_are_refused() {
    for (key, value) in [
        ("nthChild", json!(1)),
        ("range", json!({"start": {"line": 0, "column": 0}, "end": {"line": 1, "column": 1}})),
        ("transform", json!({})),
        ("rewriters", json!([])),
        ("field", json!("body")),
        ("stopBy", json!("end")),
        ("x\u{1b}[2J", json!(1)),
    ] {
        let refused = verdict(&rule(json!({"kind": "call", key: value})));
        assert!(matches!(refused, Err(DetectError::UnknownKey { .. })), "{key}: {refused:?}");
    }
    for part in [
        json!({"kind": "call identifier"}),
        json!({"kind": "call:has(identifier)"}),
        json!({"kind": "a > b"}),
        json!({"pattern": {"context": "x", "strictness": "template"}}),
        json!({"pattern": {"selector": "call"}}),
        json!({"pattern": ["x"]}),
        json!({"any": []}),
        json!({"has": {"kind": "call", "stopBy": "far"}}),
        json!({"not": "x"}),
    ] {
        let refused = verdict(&rule(part.clone()));
        assert!(matches!(refused, Err(DetectError::Form { .. })), "{part}: {refused:?}");
    }
    assert!(matches!(verdict(&rule(json!({"matches": "gone"}))), Err(DetectError::Unknown { .. })));
    let multi = rule(json!({"pattern": "foo($$$A)"}));
    let mut multi = multi;
    multi["detect"]["rules"][0]["constraints"] = json!({"A": {"regex": "x"}});
    assert!(matches!(verdict(&multi), Err(DetectError::Form { .. })), "a constraint that would be ignored");
}

#[test]
fn t20_globs_stay_below_the_root_and_are_plain() {
    for glob in ["../x", "a/../b", "*.{py,js}", "!a.py", "#a", "a\\b", "", " a", "a\nb"] {
        let refused = verdict(&with("/detect/scope", json!({"include": [glob]})));
        assert!(matches!(refused, Err(DetectError::Form { .. })), "{glob:?}: {refused:?}");
    }
    for path in ["/etc/passwd", "../a.py", "a/./b.py", "a//b.py", "a\\b.py"] {
        let refused = verdict(&with("/tests/positive/0/path", json!(path)));
        assert!(matches!(refused, Err(DetectError::Form { .. })), "{path:?}: {refused:?}");
    }
}

#[test]
fn a_fix_names_its_rule_and_a_safe_one_shows_all_it_does() {
    let refused = |lesson: Value| verdict(&lesson).expect_err("refused");
    assert!(matches!(refused(with("/fix/edits/0/for", json!("gone"))), DetectError::Unknown { .. }));
    let set = json!({"path": "a.b", "value": "1"});
    assert!(matches!(refused(with("/fix/edits/0/set", set.clone())), DetectError::Form { .. }), "template and set");
    assert!(matches!(refused(with("/fix/edits/0", json!({"for": "one", "set": set}))), DetectError::Form { .. }));
    assert!(matches!(refused(with("/fix/edits/0", json!({"for": "two", "template": "x"}))), DetectError::Form { .. }));
    let set = json!({"for": "two", "set": {"path": "a.b", "value": "1\nExecStart=/bin/x"}});
    assert!(matches!(refused(with("/fix/edits/0", set)), DetectError::Form { .. }), "a value of two lines");
    for loose in [json!({"pattern": "foo($A)"}), json!({"any": [{"kind": "call"}, {"pattern": "foo($A)"}]})] {
        assert!(matches!(refused(with(RULE, loose)), DetectError::Form { .. }), "a safe fix on a loose pattern");
    }
    assert!(matches!(refused(with("/tests/positive/0/fixed", Value::Null)), DetectError::Form { .. }));
    assert!(matches!(refused(with("/tests/positive/1/fixed", json!("x"))), DetectError::Form { .. }));
    assert!(matches!(refused(with("/fix/class", json!("none"))), DetectError::Form { .. }));
    assert!(matches!(refused(with("/fix/edits", json!([]))), DetectError::Form { .. }));
    assert!(matches!(refused(with("/fix/ensure_import/0", json!("import os; x()"))), DetectError::Form { .. }));
    for side in ["/tests/positive", "/tests/negative"] {
        assert!(matches!(refused(with(side, json!([]))), DetectError::TooFew { got: 0, min: 2, .. }));
    }
}

#[test]
fn rules_have_names_of_their_own_and_conditions_leave_one_to_report() {
    let refused = |lesson: Value| verdict(&lesson).expect_err("refused");
    assert!(matches!(refused(with("/detect/rules/1/id", json!("one"))), DetectError::Repeated { .. }));
    assert!(matches!(refused(with("/detect/rules", json!([]))), DetectError::TooFew { .. }));
    assert!(matches!(refused(with("/detect/when_repo", json!({"no_file": ["gone"]}))), DetectError::Unknown { .. }));
    let all = json!({"any_file": ["one", "two"], "no_file": ["three"]});
    assert!(matches!(refused(with("/detect/when_repo", all)), DetectError::Form { .. }));
    let both = json!([{"path": "a", "absent": true, "equals": "x"}]);
    assert!(matches!(refused(with("/detect/rules/1/all", both)), DetectError::Form { .. }));
    assert_eq!(refused(with("/detect/engine", json!("ast-grep/1.0"))), DetectError::Engine);
}
