//! The literal filter loses nothing: with it and without it, a scan finds the same.

use std::sync::LazyLock;
use std::time::Duration;

use mesh::domain::lesson::Lesson;
use mesh::domain::words::Words;
use mesh::founding;
use mesh::scan::{Deadline, Engine, FileReport};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::lessons::{lesson_with_rules, samples};

const LONG: Duration = Duration::from_secs(20);

/// The reports with and without the filter. A file whose identifiers meet no demand is not even filtered.
fn both(engine: &Engine, path: &str, text: &str) -> (FileReport, FileReport) {
    let Some(interest) = engine.interest(path) else { return Default::default() };
    let scan = |candidates| engine.scan(path, text, &candidates, Deadline::after(LONG)).expect("scanned");
    let words = Words::of(text.as_bytes());
    let read = engine.word_demands().iter().any(|demand| demand.may_be_met(&words));
    let narrowed = engine.narrow(interest.clone(), &words).filter(|_| read);
    let with = narrowed.and_then(|interest| engine.candidates(&interest, text.as_bytes()));
    let with = with.map(scan).unwrap_or_default();
    (with, scan(engine.all_candidates(&interest)))
}

#[test]
fn the_examples_of_all_lessons_are_found_alike() {
    let founding =
        founding::ALL.iter().map(|(name, text)| toml::from_str(text).unwrap_or_else(|e| panic!("{name}: {e}")));
    let lessons: Vec<Lesson> = founding.chain(samples()).collect();
    let (engine, refused) = Engine::compile(&lessons);
    assert!(refused.is_empty(), "{refused:?}");
    let mut found = 0;
    for lesson in &lessons {
        let positive = lesson.tests.positive.iter().map(|test| (&test.path, &test.code));
        for (path, code) in positive.chain(lesson.tests.negative.iter().map(|test| (&test.path, &test.code))) {
            let (with, without) = both(&engine, path, code);
            assert_eq!(with.findings, without.findings, "{}: {path}\n{code}", lesson.id);
            found += without.findings.len();
        }
    }
    assert!(found > 30, "only {found} findings: the comparison says little");
}

fn one_of(words: &'static [&'static str]) -> impl Strategy<Value = String> + Clone {
    proptest::sample::select(words).prop_map(ToOwned::to_owned)
}

/// Names that are parts of each other or differ in case, so that a wrong word boundary or case shows.
const NAMES: &[&str] = &["os", "path", "Path", "open", "opener", "re", "replace", "x1", "_x", "é", "oső"];
const PATTERNS: &[&str] = &[
    "open($A)",
    "os.replace($$$A)",
    "os.path.open($A)",
    "$A.open($B)",
    "os.$A(path)",
    "Path",
    "re.open",
    "path(os.re)",
    "$A = open",
    "$A == $A",
    "'path'",
    "open($A).re",
    "x1",
    "_x.replace",
    "open(1, $$$R)",
    "os.path",
    "é.open",
];
const REGEXES: &[&str] = &[
    "open",
    "(?i)PATH",
    "os|re",
    "^os\\.",
    "x?1",
    "[oO]s",
    "(re){1,2}place",
    "op(en|ener)",
    "\\bpath\\b",
    "o.*h",
    "(?i)os",
    "a|b",
    "^$",
];

fn rule(kinds: &'static [&'static str]) -> impl Strategy<Value = Value> {
    let strictness = one_of(&["cst", "smart", "ast", "relaxed", "signature"]);
    let leaf = prop_oneof![
        4 => one_of(PATTERNS).prop_map(|pattern| json!({"pattern": pattern})),
        3 => (one_of(PATTERNS), strictness).prop_map(|(pattern, strictness)| json!({"pattern": {"context": pattern, "strictness": strictness}})),
        2 => one_of(REGEXES).prop_map(|regex| json!({"regex": regex})),
        1 => one_of(kinds).prop_map(|kind| json!({"kind": kind})),
    ];
    leaf.prop_recursive(3, 10, 3, |inner| {
        let relation = (one_of(&["has", "inside", "precedes", "follows"]), inner.clone(), any::<bool>());
        prop_oneof![
            proptest::collection::vec(inner.clone(), 1..3).prop_map(|parts| json!({"all": parts})),
            proptest::collection::vec(inner.clone(), 1..3).prop_map(|parts| json!({"any": parts})),
            (inner.clone(), inner.clone()).prop_map(|(rule, not)| json!({"all": [rule], "not": not})),
            (inner, relation).prop_map(|(rule, (relation, other, far))| {
                let mut other = other;
                other["stopBy"] = json!(if far { "end" } else { "neighbor" });
                json!({"all": [rule], relation: other})
            }),
        ]
    })
}

fn lesson(language: &'static str, kinds: &'static [&'static str]) -> impl Strategy<Value = Lesson> {
    let constraint = prop_oneof![
        one_of(REGEXES).prop_map(|regex| json!({"regex": regex})),
        one_of(PATTERNS).prop_map(|pattern| json!({"pattern": pattern})),
    ];
    let constraint = proptest::collection::btree_map(one_of(&["A", "B"]), constraint, 0..3);
    let syntax =
        (rule(kinds), constraint, one_of(kinds), any::<bool>()).prop_map(move |(rule, constraint, kind, util)| {
            // A kind around the rule lets those compile that name none.
            let inner = if util { json!({"matches": "u"}) } else { rule.clone() };
            let mut ast = json!({"id": "syntax", "mode": "ast", "language": language, "message": "m",
            "rule": {"any": [{"kind": kind, "all": [inner]}]}, "utils": {"u": rule}});
            ast["constraints"] = json!(constraint);
            ast
        });
    let bare = rule(kinds)
        .prop_map(move |rule| json!({"id": "bare", "mode": "ast", "language": language, "message": "m", "rule": rule}));
    let line =
        one_of(REGEXES).prop_map(|regex| json!({"id": "line", "mode": "regex", "pattern": regex, "message": "m"}));
    prop_oneof![syntax, bare, line].prop_map(|rule| lesson_with_rules("generated", &json!([rule])))
}

/// Text of the same names: expressions that are right, and pieces that are not.
fn text() -> impl Strategy<Value = String> {
    let joint = one_of(&[
        ".",
        " . ",
        ".\\\n",
        "\\\n.",
        ".\n",
        "\n.",
        "\r\n ",
        "?.",
        ". ",
        " ",
        "",
        "!.",
        "..",
        " $ .",
        " $. ",
        " 1",
        " 0x",
        "1",
        "!x1",
        "\\x41",
        " = /re/gX",
    ]);
    let name = || one_of(NAMES);
    let dotted = (name(), proptest::collection::vec((joint, name()), 0..3))
        .prop_map(|(first, rest)| rest.into_iter().fold(first, |text, (joint, name)| text + &joint + &name));
    let call = (
        dotted.clone(),
        proptest::collection::vec(dotted.clone(), 0..3),
        one_of(&[")", "", ", )", " # c\n)", "//c\n)", "/*c*/)"]),
    )
        .prop_map(|(function, arguments, close)| format!("{function}({}{close}", arguments.join(", ")));
    let statement = prop_oneof![
        call.clone(),
        (name(), call.clone()).prop_map(|(name, call)| format!("{name} = {call}")),
        (dotted.clone(), dotted.clone()).prop_map(|(a, b)| format!("{a} == {b}")),
        (call.clone(), call).prop_map(|(a, b)| format!("{a}.{b}")),
        dotted.clone().prop_map(|dotted| format!("x = '{dotted}'")),
        dotted.clone().prop_map(|dotted| format!("f({{ {dotted} }})")),
        one_of(&[
            "(",
            ")",
            "if os:\n  open(path)",
            "open(1, os, re)",
            "def open(path): os",
            "# os.replace",
            "'os",
            "@"
        ]),
    ];
    proptest::collection::vec((statement, one_of(&["\n", ";", "\r\n", " "])), 1..6)
        .prop_map(|parts| parts.into_iter().map(|(statement, end)| statement + &end).collect())
}

/// Tokens in any order: what an editor has while somebody types.
fn soup() -> impl Strategy<Value = String> {
    let token = one_of(&[
        "os",
        "open",
        "open",
        "path",
        "re",
        "replace",
        "x1",
        "_x",
        "os.replace",
        "os.path",
        "(",
        "(",
        ")",
        ")",
        ",",
        "=",
        ".",
        ".",
        "1",
        "0x",
        "0xf",
        "$",
        "!",
        "?",
        "\\\n",
        "\\x41",
        "/",
        "gX",
        "# c\n",
        "/*c*/",
        " ",
        " ",
        "\n",
        "'",
        "f'{",
        "}",
        "if ",
        "==",
        "é",
    ]);
    proptest::collection::vec(token, 1..14).prop_map(|tokens| tokens.concat())
}

/// One lesson for each pattern in each strictness, and for each expression with each kind.
fn plain_rules(language: &str, kinds: &[&str]) -> Engine {
    let mut rules = Vec::new();
    for pattern in PATTERNS {
        for strictness in ["cst", "smart", "ast", "relaxed", "signature"] {
            rules.push(json!({"pattern": {"context": pattern, "strictness": strictness}}));
        }
    }
    for regex in REGEXES {
        rules.extend(kinds.iter().map(|kind| json!({"kind": kind, "regex": regex})));
    }
    let lesson = |(at, rule)| {
        let rule = json!({"id": "rule", "mode": "ast", "language": language, "message": "m", "rule": rule});
        lesson_with_rules(&format!("lesson-{at}"), &json!([rule]))
    };
    let lessons: Vec<Lesson> = rules.into_iter().enumerate().map(lesson).collect();
    let (engine, refused) = Engine::compile(&lessons);
    assert!(refused.len() < 10, "{refused:?}");
    engine
}

fn agree(lesson: &Lesson, path: &str, texts: &[String]) -> Result<(), TestCaseError> {
    let (engine, refused) = Engine::compile(std::slice::from_ref(lesson));
    // Some generated rules name no kind or no valid pattern.
    if !refused.is_empty() {
        return Ok(());
    }
    for text in texts {
        let (with, without) = both(&engine, path, text);
        prop_assert_eq!(&with.findings, &without.findings, "{:?}", text);
        prop_assert_eq!(with.matched, without.matched, "{:?}", text);
    }
    Ok(())
}

static PYTHON: LazyLock<Engine> = LazyLock::new(|| plain_rules("python", PYTHON_KINDS));
static SCRIPT: LazyLock<Engine> = LazyLock::new(|| plain_rules("javascript", SCRIPT_KINDS));
const PYTHON_KINDS: &[&str] = &["call", "identifier", "attribute", "expression_statement", "string", "module"];
const SCRIPT_KINDS: &[&str] =
    &["call_expression", "identifier", "member_expression", "expression_statement", "string", "program"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn plain_rules_find_alike_in_any_text(text in prop_oneof![text(), soup(), (soup(), text()).prop_map(|(a, b)| a + &b)]) {
        for (engine, path) in [(&*PYTHON, "a.py"), (&*SCRIPT, "a.js")] {
            let (with, without) = both(engine, path, &text);
            prop_assert_eq!(&with.findings, &without.findings, "{}: {:?}", path, text);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_filter_loses_no_finding_in_python(
        lesson in lesson("python", PYTHON_KINDS),
        texts in proptest::collection::vec(text(), 4),
    ) {
        agree(&lesson, "a.py", &texts)?;
    }

    #[test]
    fn the_filter_loses_no_finding_in_javascript(
        lesson in lesson("javascript", SCRIPT_KINDS),
        texts in proptest::collection::vec(text(), 4),
    ) {
        agree(&lesson, "a.js", &texts)?;
    }
}
