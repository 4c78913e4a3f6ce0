//! Lessons that hang, exhaust or end the process that is not prepared for them.

use mesh::domain::lesson::Lesson;
use serde_json::{Value, json};

use super::lessons::{lesson_with_rules, lesson_with_syntax};

/// Which layer stops a hostile lesson.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum StoppedBy {
    /// The static limits.
    Shape,
    /// Our own compilation, with its size limits.
    Compiler,
    /// The stress files, in this process.
    Stress,
    /// Only the limits of the worker process: one node keeps the matcher busy for too long.
    Process,
}

/// A hostile lesson.
pub(crate) struct Hostile {
    pub(crate) name: &'static str,
    pub(crate) lesson: Lesson,
    pub(crate) stopped_by: StoppedBy,
}

fn python(rule: Value) -> Lesson {
    lesson_with_syntax("hostile", "python", &rule)
}

fn with_utils(rule: Value, utils: Value) -> Lesson {
    let rules =
        json!([{"id": "rule", "mode": "ast", "language": "python", "rule": rule, "utils": utils, "message": "m"}]);
    lesson_with_rules("hostile", &rules)
}

fn regex(pattern: &str) -> Lesson {
    lesson_with_rules("hostile", &json!([{"id": "rule", "mode": "regex", "pattern": pattern, "message": "m"}]))
}

/// `inside … end` and `has … end`, this many times, one in the other.
fn ladder(levels: usize) -> Value {
    (0..levels).fold(json!({"regex": "^never$"}), |inner, level| {
        let key = if level % 2 == 0 { "has" } else { "inside" };
        json!({"kind": "identifier", key: {"stopBy": "end", "all": [inner]}})
    })
}

/// The table of adversarial rules that were measured against the bare matcher.
pub(crate) fn all() -> Vec<Hostile> {
    use StoppedBy::{Compiler, Process, Shape, Stress};
    let cases = [
        (
            "recursive utility rule through has",
            Shape,
            with_utils(
                json!({"kind": "call", "matches": "a"}),
                json!({"a": {"has": {"any": [{"matches": "a"}, {"kind": "x"}]}}}),
            ),
        ),
        (
            "utility cycle through follows and precedes",
            Shape,
            with_utils(
                json!({"kind": "call", "matches": "a"}),
                json!({"a": {"follows": {"matches": "b"}}, "b": {"precedes": {"matches": "a"}}}),
            ),
        ),
        (
            "utility cycle through nthChild",
            Shape,
            with_utils(
                json!({"kind": "call", "matches": "a"}),
                json!({"a": {"nthChild": {"position": 1, "ofRule": {"matches": "a"}}}}),
            ),
        ),
        ("inside end in has end, four deep", Shape, python(ladder(4))),
        (
            "pattern of 40 KB of nested parentheses",
            Shape,
            python(json!({"pattern": "(".repeat(20_000) + &")".repeat(20_000)})),
        ),
        ("pattern of 33 brackets", Shape, python(json!({"pattern": "(".repeat(33) + "1" + &")".repeat(33)}))),
        (
            "a selector with descendants as kind",
            Shape,
            python(json!({"kind": "module call call call call identifier"})),
        ),
        ("a selector with :has as kind", Shape, python(json!({"kind": "module:has(call:has(call))"}))),
        ("nthChild", Shape, python(json!({"kind": "call", "nthChild": "999999999999n+1"}))),
        ("range", Shape, python(json!({"kind": "call", "range": {"start": {"line": 0, "column": 0}}}))),
        ("a hundred alternatives of a repeated class", Shape, regex(&vec![r"(\w{30}){4}x"; 100].join("|"))),
        ("counted repetition of counted repetition", Compiler, regex("(a{1000}){1000}")),
        ("counted repetition of a Unicode class", Compiler, regex(r"(\w{100}){100}")),
        ("regex nested deeper than its limit", Compiler, regex(&("(".repeat(40) + "a" + &")".repeat(40)))),
        ("a syntax rule with a large regex", Compiler, python(json!({"kind": "call", "regex": r"(\w{100}){100}"}))),
        ("a regex without a kind", Compiler, python(json!({"regex": "x"}))),
        (
            "precedes end on two thousand statements",
            Stress,
            python(
                // Several times, so that it is too slow on a quick machine as well.
                json!({"kind": "expression_statement", "any": (0..6).map(|number| json!(
                    {"precedes": {"stopBy": "end", "kind": "expression_statement", "regex": format!("^never{number}$")}})).collect::<Vec<_>>()}),
            ),
        ),
        (
            "precedes end in precedes end on two thousand statements",
            Process,
            python(
                json!({"kind": "expression_statement", "precedes": {"stopBy": "end", "kind": "expression_statement",
                "precedes": {"stopBy": "end", "kind": "expression_statement", "regex": "^never$"}}}),
            ),
        ),
        (
            "identifier inside end with has end",
            Process,
            python(json!({"kind": "identifier", "inside": {"stopBy": "end", "kind": "module",
                "has": {"stopBy": "end", "kind": "identifier", "inside": {"stopBy": "end", "regex": "^never$"}}}})),
        ),
    ];
    cases.into_iter().map(|(name, stopped_by, lesson)| Hostile { name, lesson, stopped_by }).collect()
}
