use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::domain::detect::Confidence;
use crate::domain::finding::{Fingerprint, Suppression};
use crate::domain::fix::{CheckResult, Fix, FixPlan, FixState, KnownLesson};
use crate::domain::foreign_text;
use crate::loops::seed::Seeding;
use crate::ports::{IdleSuppression, ScanReport, Skipped};
use crate::store::baseline::Accepted;

fn lesson() -> Lesson {
    serde_json::from_value(json!({
        "id": "no-bad", "rev": 3, "title": "Say GOOD, not BAD", "scope": "text", "severity": "warning", "risk": "low",
        "when": "BAD is written", "prefer": "GOOD",
        "because": "BAD is read as bad by whoever comes by, which takes a while to explain and costs a morning. More.",
        "falsifiable": { "claim": "c", "expr": "true", "within": "7d" },
        "retired_when": { "claim": "c", "expr": "false", "after": "2030-01-01T00:00:00Z" },
        "detect": {
            "engine": "ast-grep/0.51",
            "rules": [{ "mode": "regex", "id": "bad", "pattern": "BAD", "message": "BAD is written" }]
        },
        "fix": { "class": "safe", "edits": [{ "for": "bad", "template": "GOOD" }] },
        "tests": { "positive": [], "negative": [] }
    }))
    .expect("a lesson")
}

fn finding(path: &str, line: u32, message: &str) -> Finding {
    let lesson = lesson();
    let rule = "bad".parse().expect("a slug");
    Finding {
        fingerprint: Fingerprint::of(&lesson.id, &rule, path, "BAD", line),
        lesson: lesson.id,
        rule,
        severity: Severity::Warning,
        confidence: Confidence::High,
        path: path.to_owned(),
        line,
        column: 5,
        end_line: line,
        message: message.to_owned(),
        suppressed: None,
    }
}

/// One root with two findings that one fix mends, one suppressed in each way, and what else there is to say.
fn audited() -> RootAudit {
    let known =
        KnownLesson { lesson: lesson(), entry: None, grant: crate::domain::trust::Grant::Propose, waits: false };
    let root = Path::new("/work place");
    let mut findings = vec![
        finding("a ä.py", 1, "BAD is written"),
        finding("a ä.py", 3, "BAD is written again, at such length that the line has to be wrapped somewhere here"),
        finding("b.py", 1, "x"),
        finding("c.py", 1, "x"),
    ];
    findings[2].suppressed = Some(Suppression::InSource { reason: "because".to_owned() });
    findings[3].suppressed = Some(Suppression::Baseline);
    let mends = vec![findings[0].fingerprint, findings[1].fingerprint];
    let (before, after) = ("BAD\nsame\nBAD".to_owned(), "GOOD\nmore\nsame\nGOOD".to_owned());
    let plan = FixPlan::new(&known, root, "a ä.py", before, after, mends).expect("a plan");
    let mut fix = Fix::proposed(&plan, None, Timestamp::UNIX_EPOCH);
    fix.state = FixState::Seeded;
    fix.check = CheckResult::Passed;
    fix.branch = Some(plan.branch());
    let accepted = Accepted {
        fingerprint: findings[3].fingerprint,
        lesson: lesson().id,
        reason: "known since March".to_owned(),
        expires_at: None,
    };
    RootAudit {
        root: root.to_owned(),
        report: ScanReport {
            findings,
            skipped: vec![Skipped { path: "big.py".to_owned(), reason: "larger than 1024 KiB".to_owned() }],
            idle_suppressions: vec![IdleSuppression { path: "d.py".to_owned(), line: 9, why: "no reason".to_owned() }],
            files: 120,
            ..ScanReport::default()
        },
        accepted: BTreeMap::from([(accepted.fingerprint, accepted)]),
        seeding: Seeding { outcomes: vec![Outcome { fix, plan, new: true, ready: None }], unplanned: Vec::new() },
    }
}

fn view<'a>(lessons: &'a [Lesson], roots: &'a [RootAudit]) -> View<'a> {
    View { lessons, roots, here: "/work place".into(), took: Duration::from_millis(234), diff: true }
}

#[test]
fn an_audit_reads_well_at_80_columns() {
    let (lessons, roots) = ([lesson()], [audited()]);
    let shown = text(&view(&lessons, &roots));
    let id = &roots[0].seeding.outcomes[0].fix.id;
    let expected = format!(
        "a ä.py:1:5 warning no-bad
  BAD is written
  why: BAD is read as bad by whoever comes by, which takes a while to explain
       and costs a morning.

a ä.py:3:5 warning no-bad
  BAD is written again, at such length that the line has to be wrapped somewhere
  here
  fix: seeded on branch mesh/fix/no-bad-{id}; the project's check passes
    --- a/a ä.py
    +++ b/a ä.py
    @@ -1,3 +1,4 @@
    -BAD
    +GOOD
    +more
     same
    -BAD
    \\ No newline at end of file
    +GOOD
    \\ No newline at end of file

d.py:9 suppresses nothing: no reason

2 findings in 1 file (2 suppressed), 120 files looked at in 0.2 s, 1 skipped"
    );
    assert_eq!(shown.join("\n"), expected);
    assert!(shown.iter().all(|line| line.chars().count() <= 80), "{shown:#?}");
}

#[test]
fn a_clean_audit_says_so_in_one_line() {
    let clean = RootAudit {
        root: "/r".into(),
        report: ScanReport { files: 1, ..ScanReport::default() },
        accepted: BTreeMap::new(),
        seeding: Seeding::default(),
    };
    let roots = [clean];
    let view = view(&[], &roots);
    assert_eq!(text(&view), ["no findings, 1 file looked at in 0.2 s: nothing to do"]);
    assert!(!view.reaches(Severity::Hint));
}

#[test]
fn t23_foreign_text_is_never_shown_raw() {
    let mut audited = audited();
    let hostile = "\u{1b}[2J\u{1b}]52;c;aGk=\u{7}\r\u{9b}31m\nFAKE.py:1:1 error\u{202e}";
    for finding in &mut audited.report.findings {
        finding.path = hostile.to_owned();
        finding.message = hostile.to_owned();
    }
    audited.report.idle_suppressions[0].why = hostile.to_owned();
    audited.report.skipped[0].path = hostile.to_owned();
    audited.seeding.unplanned.push(Skipped { path: hostile.to_owned(), reason: hostile.to_owned() });
    let outcome = &mut audited.seeding.outcomes[0];
    outcome.fix.reason = Some(hostile.to_owned());
    outcome.fix.path = hostile.to_owned();
    outcome.fix.diff = hostile.to_owned();
    let story = fix_story(&outcome.fix, &[]);
    let (mut lessons, roots) = ([lesson()], [audited]);
    lessons[0].because = hostile.to_owned();
    let shown = text(&view(&lessons, &roots));
    for line in shown.iter().chain(&story) {
        assert_eq!(foreign_text::check(line), Ok(()), "{line:?}");
        assert!(!line.contains('\n') && !line.starts_with("FAKE"), "{line:?}");
    }
    let value = json(&view(&lessons, &roots));
    let document = serde_json::to_string_pretty(&value).expect("JSON");
    assert_eq!(foreign_text::check(&foreign_text::json_escaped(&document)), Ok(()));
}

#[test]
fn the_json_has_the_keys_that_programs_rely_on() {
    let (lessons, roots) = ([lesson()], [audited()]);
    let value = json(&view(&lessons, &roots));
    let keys = |value: &Value| value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(keys(&value), "capped findings fixes idle_suppressions overruns refused skipped summary");
    assert_eq!(
        keys(&value["findings"][0]),
        "column confidence end_line fingerprint fix fix_state lesson line message path root rule severity suppressed"
    );
    assert_eq!(value["findings"][0]["severity"], "warning");
    assert_eq!(value["findings"][0]["suppressed"], Value::Null);
    assert_eq!(value["findings"][2]["suppressed"], json!({ "by": "in-source", "reason": "because" }));
    assert_eq!(value["fixes"][0]["state"], "seeded");
    assert_eq!(value["summary"]["findings"], 2);
    assert_eq!(value["summary"]["suppressed"], 2);
}

#[test]
fn the_sarif_says_what_was_found_and_how_to_mend_it() {
    let (lessons, roots) = ([lesson()], [audited()]);
    let log = sarif(&view(&lessons, &roots));
    let run = &log["runs"][0];
    assert_eq!(run["originalUriBaseIds"]["ROOT0"]["uri"], "file:///work%20place/");
    let results = run["results"].as_array().expect("a list");
    assert_eq!(results.len(), 4);
    let location = &results[0]["locations"][0]["physicalLocation"];
    assert_eq!(location["artifactLocation"], json!({ "uri": "a%20%C3%A4.py", "uriBaseId": "ROOT0" }));
    assert_eq!(results[0]["baselineState"], "new");
    assert_eq!(results[2]["suppressions"][0]["kind"], "inSource");
    assert_eq!(results[3]["suppressions"][0]["kind"], "external");
    assert_eq!(results[3]["suppressions"][0]["justification"], "known since March");
    assert_eq!(results[3]["baselineState"], "unchanged");
    let replacements = &results[0]["fixes"][0]["artifactChanges"][0]["replacements"];
    let expected = json!([
        {
            "deletedRegion": { "startLine": 1, "startColumn": 1, "endLine": 2, "endColumn": 1 },
            "insertedContent": { "text": "GOOD\nmore\n" },
        },
        {
            "deletedRegion": { "startLine": 3, "startColumn": 1, "endLine": 3, "endColumn": 4 },
            "insertedContent": { "text": "GOOD" },
        },
    ]);
    assert_eq!(replacements, &expected);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a second program judges the format")]
fn the_sarif_is_valid_against_the_published_schema() {
    let (lessons, roots) = ([lesson()], [audited()]);
    let log = serde_json::to_vec(&sarif(&view(&lessons, &roots))).expect("JSON");
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python =
        std::env::var_os("MESH_TEST_PYTHON").map_or_else(|| project.join("target/venv/bin/python"), Into::into);
    let schema = project.join("target/sarif-2.1.0.schema.json");
    assert!(schema.exists() && python.exists(), "the checker is missing: run scripts/setup.sh");
    let script = "import json, sys, jsonschema\n\
                  schema = json.load(open(sys.argv[1]))\n\
                  validator = jsonschema.validators.validator_for(schema)(schema)\n\
                  errors = [f'{e.json_path}: {e.message}' for e in validator.iter_errors(json.load(sys.stdin))]\n\
                  sys.exit('\\n'.join(errors) or 0)";
    let mut child = Command::new(python)
        .args(["-c", script])
        .arg(schema)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python runs: see scripts/setup.sh");
    child.stdin.take().expect("piped").write_all(&log).expect("written");
    let output = child.wait_with_output().expect("ended");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_first_sentence_ends_at_a_full_stop_and_not_in_a_number() {
    assert_eq!(first_sentence("It takes 2.5 s. More."), "It takes 2.5 s.");
    assert_eq!(first_sentence(" no end "), "no end");
    assert_eq!(first_sentence("One.\nTwo."), "One.");
}
