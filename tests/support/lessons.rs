//! Lessons to test with: a whole one from its parts, and three realistic ones.

use mesh::domain::lesson::Lesson;
use serde_json::{Value, json};

/// A lesson with this `detect`, `fix` and `tests`.
pub(crate) fn lesson_of(id: &str, detect: &Value, fix: &Value, tests: &Value) -> Lesson {
    serde_json::from_value(json!({
        "id": id, "rev": 1, "title": "a title", "scope": "python/io", "severity": "warning", "risk": "low",
        "when": "w", "prefer": "p", "because": "b",
        "falsifiable": {"claim": "c", "expr": "true", "within": "7d"},
        "retired_when": {"claim": "c", "expr": "false", "after": "2028-01-01T00:00:00Z"},
        "detect": detect, "fix": fix, "tests": tests,
    }))
    .expect("a lesson")
}

/// A lesson without a fix and with examples that match nothing, around these rules.
pub(crate) fn lesson_with_rules(id: &str, rules: &Value) -> Lesson {
    let examples = json!([{"path": "a.py", "code": "pass\n"}, {"path": "b.py", "code": "pass\n"}]);
    let tests = json!({"positive": examples, "negative": examples});
    lesson_of(id, &json!({"engine": "ast-grep/0.51", "rules": rules}), &json!({"class": "none"}), &tests)
}

/// A lesson with one syntax rule.
pub(crate) fn lesson_with_syntax(id: &str, language: &str, rule: &Value) -> Lesson {
    let rules = json!([{"id": "rule", "mode": "ast", "language": language, "rule": rule, "message": "found $A"}]);
    lesson_with_rules(id, &rules)
}

/// A state file that is written in place; safe fix.
pub(crate) fn state_write() -> Lesson {
    let detect = json!({
        "engine": "ast-grep/0.51",
        "scope": {"include": ["**/*.py"], "exclude": ["**/tests/**"], "languages": ["python"]},
        "requires_text": [["json.dump", "json.dumps"]],
        "rules": [{
            "id": "with-open-dump", "mode": "ast", "language": "python", "confidence": "high",
            "rule": {"pattern": {"context": "with open($P, $M) as $F:\n    json.dump($$$J)", "strictness": "cst"}},
            "constraints": {"M": {"regex": "^['\"]w"}, "P": {"regex": "^[a-z_.]+$"}},
            "message": "`$P` is rewritten in place",
        }],
    });
    let fix = json!({
        "class": "safe", "ensure_import": ["import os"],
        "edits": [{"for": "with-open-dump",
            "template": "with open($P + '.tmp', $M) as $F:\n    json.dump($$$J)\nos.replace($P + '.tmp', $P)"}],
    });
    let tests = json!({
        "positive": [
            {"path": "a.py", "at": [4],
             "code": "import json\n\ndef save(p, s):\n    with open(p, 'w') as f:\n        json.dump(s, f)\n",
             "fixed": "import json\nimport os\n\ndef save(p, s):\n    with open(p + '.tmp', 'w') as f:\n        json.dump(s, f)\n    os.replace(p + '.tmp', p)\n"},
            {"path": "b.py",
             "code": "import os\nwith open(path, \"w\") as out:\n    json.dump(state, out, indent=2)\n",
             "fixed": "import os\nwith open(path + '.tmp', \"w\") as out:\n    json.dump(state, out, indent=2)\nos.replace(path + '.tmp', path)\n"},
        ],
        "negative": [
            {"path": "a.py", "code": "with open(p + '.tmp', 'r') as f:\n    json.dump(s, f)\n"},
            {"path": "b.py", "code": "with open(p, 'w') as f:\n    json.dump(s, f)\n    f.write('x')\n"},
        ],
    });
    lesson_of("state-write", &detect, &fix, &tests)
}

/// A unit that restarts without a watchdog; the fix sets a key.
pub(crate) fn watchdog() -> Lesson {
    let detect = json!({
        "engine": "ast-grep/0.51",
        "scope": {"include": ["*.service"]},
        "rules": [{
            "id": "no-watchdog", "mode": "config", "format": "systemd", "report": "Service.Restart",
            "all": [{"path": "Service.Restart", "regex": "^(always|on-failure)$"},
                    {"path": "Service.WatchdogSec", "absent": true}],
            "message": "restarts on exit only; a hang is not seen",
        }],
    });
    let fix = json!({"class": "safe",
        "edits": [{"for": "no-watchdog", "set": {"path": "Service.WatchdogSec", "value": "30"}}]});
    let tests = json!({
        "positive": [
            {"path": "a.service", "at": [3],
             "code": "[Service]\nExecStart=/bin/a\nRestart=always\n\n[Install]\nWantedBy=x.target\n",
             "fixed": "[Service]\nExecStart=/bin/a\nRestart=always\nWatchdogSec=30\n\n[Install]\nWantedBy=x.target\n"},
            {"path": "etc/b.service", "code": "[Service]\nRestart=on-failure",
             "fixed": "[Service]\nRestart=on-failure\nWatchdogSec=30\n"},
        ],
        "negative": [
            {"path": "a.service", "code": "[Service]\nRestart=always\nWatchdogSec=10\n"},
            {"path": "b.service", "code": "[Service]\nRestart=no\n"},
        ],
    });
    lesson_of("watchdog", &detect, &fix, &tests)
}

/// Certificate checks switched off; a regular expression with a template.
pub(crate) fn verify_off() -> Lesson {
    let detect = json!({
        "engine": "ast-grep/0.51",
        "scope": {"languages": ["python"]},
        "rules": [{
            "id": "verify-false", "mode": "regex", "pattern": r"\b(verify)(\s*=\s*)False\b", "group": 1,
            "severity": "error", "message": "`$0` accepts every certificate",
        }],
    });
    let fix = json!({"class": "review", "edits": [{"for": "verify-false", "template": "$1${2}True"}]});
    let tests = json!({
        "positive": [
            {"path": "a.py", "code": "get(u, verify=False)\n", "fixed": "get(u, verify=True)\n", "at": [1]},
            {"path": "b.py", "code": "a = get(u,\n    verify = False)\n", "fixed": "a = get(u,\n    verify = True)\n", "at": [2]},
        ],
        "negative": [
            {"path": "a.py", "code": "get(u, verify=True)\n"},
            {"path": "b.py", "code": "no_verify=False\n"},
        ],
    });
    lesson_of("verify-off", &detect, &fix, &tests)
}

/// The three above.
pub(crate) fn samples() -> Vec<Lesson> {
    vec![state_write(), watchdog(), verify_off()]
}
