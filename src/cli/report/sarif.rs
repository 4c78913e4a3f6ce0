//! SARIF 2.1.0, as code hosts and editors read it.

use serde_json::{Value, json};
use similar::{DiffOp, TextDiff};

use super::{View, first_sentence, outcome_of};
use crate::domain::finding::{Finding, Suppression};
use crate::domain::fix::FixPlan;
use crate::domain::lesson::{Lesson, Severity};
use crate::loops::audit::RootAudit;

/// The audit as one SARIF log.
pub(crate) fn value(view: &View<'_>) -> Value {
    let bases: serde_json::Map<String, Value> = view
        .roots
        .iter()
        .enumerate()
        .map(|(at, audited)| {
            let path = encoded(audited.root.as_os_str().as_encoded_bytes());
            (base(at), json!({ "uri": format!("file://{}/", path.trim_end_matches('/')) }))
        })
        .collect();
    let results: Vec<Value> = view
        .roots
        .iter()
        .enumerate()
        .flat_map(|(at, audited)| audited.report.findings.iter().map(move |finding| result(view, at, audited, finding)))
        .collect();
    let notes: Vec<Value> = view
        .roots
        .iter()
        .enumerate()
        .flat_map(|(at, audited)| {
            audited.report.skipped.iter().map(move |skipped| {
                json!({
                    "level": "note",
                    "message": { "text": format!("not looked at: {}", skipped.reason) },
                    "locations": [{ "physicalLocation": { "artifactLocation": artifact(at, &skipped.path) } }],
                })
            })
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "mesh",
                "version": env!("CARGO_PKG_VERSION"),
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": view.lessons.iter().map(rule).collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "originalUriBaseIds": bases,
            "invocations": [{ "executionSuccessful": true, "toolExecutionNotifications": notes }],
            "results": results,
        }],
    })
}

fn base(at: usize) -> String {
    format!("ROOT{at}")
}

/// A path as a relative reference: what is not unreserved or `/` is percent-encoded.
fn encoded(path: &[u8]) -> String {
    path.iter().fold(String::new(), |mut uri, &byte| {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
        uri
    })
}

fn artifact(root: usize, path: &str) -> Value {
    json!({ "uri": encoded(path.as_bytes()), "uriBaseId": base(root) })
}

const fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info | Severity::Hint => "note",
    }
}

fn rule(lesson: &Lesson) -> Value {
    json!({
        "id": lesson.id,
        "shortDescription": { "text": lesson.title },
        "fullDescription": { "text": first_sentence(&lesson.because) },
        "help": { "text": format!("When: {}\nPrefer: {}\nBecause: {}", lesson.when, lesson.prefer, lesson.because) },
        "defaultConfiguration": { "level": level(lesson.severity) },
        "properties": { "tags": [lesson.scope], "revision": lesson.rev },
    })
}

fn result(view: &View<'_>, root: usize, audited: &RootAudit, finding: &Finding) -> Value {
    let region = json!({ "startLine": finding.line, "startColumn": finding.column, "endLine": finding.end_line });
    let mut result = json!({
        "ruleId": finding.lesson,
        "level": level(finding.severity),
        "message": { "text": finding.message },
        "locations": [{ "physicalLocation": {
            "artifactLocation": artifact(root, &finding.path),
            "region": region,
        }}],
        "partialFingerprints": { "meshFingerprint/v1": finding.fingerprint },
        "baselineState": if finding.suppressed == Some(Suppression::Baseline) { "unchanged" } else { "new" },
        "properties": { "rule": finding.rule, "confidence": finding.confidence },
    });
    if let Some(index) = view.lessons.iter().position(|lesson| lesson.id == finding.lesson) {
        result["ruleIndex"] = json!(index);
    }
    if let Some(suppression) = suppression(audited, finding) {
        result["suppressions"] = json!([suppression]);
    }
    if let Some(outcome) = outcome_of(audited, finding) {
        result["fixes"] = json!([fix(root, &outcome.plan)]);
    }
    result
}

fn suppression(audited: &RootAudit, finding: &Finding) -> Option<Value> {
    let (kind, reason) = match finding.suppressed.as_ref()? {
        Suppression::InSource { reason } => ("inSource", Some(reason.as_str())),
        Suppression::Baseline => {
            ("external", audited.accepted.get(&finding.fingerprint).map(|entry| entry.reason.as_str()))
        }
    };
    let reason = reason.unwrap_or("in the baseline");
    Some(json!({ "kind": kind, "status": "accepted", "justification": reason }))
}

fn fix(root: usize, plan: &FixPlan) -> Value {
    let count = plan.mends.len();
    let description = match count {
        1 => plan.title.clone(),
        _ => format!("{} (all {count} places in this file)", plan.title),
    };
    json!({
        "description": { "text": description },
        "artifactChanges": [{
            "artifactLocation": artifact(root, &plan.path),
            "replacements": replacements(&plan.before, &plan.after),
        }],
    })
}

/// What to replace, in whole lines of the old text.
fn replacements(before: &str, after: &str) -> Vec<Value> {
    let diff = TextDiff::from_lines(before, after);
    let old: Vec<&str> = diff.iter_old_slices().collect();
    let new: Vec<&str> = diff.iter_new_slices().collect();
    diff.ops()
        .iter()
        .filter(|op| !matches!(op, DiffOp::Equal { .. }))
        .map(|op| {
            let (from, to) = (place(&old, op.old_range().start), place(&old, op.old_range().end));
            let mut replacement = json!({ "deletedRegion": {
                "startLine": from.0, "startColumn": from.1, "endLine": to.0, "endColumn": to.1,
            }});
            let text = new[op.new_range()].concat();
            if !text.is_empty() {
                replacement["insertedContent"] = json!({ "text": text });
            }
            replacement
        })
        .collect()
}

/// Line and column, from 1, of the start of the `at`-th line, which may be the end of the text.
fn place(lines: &[&str], at: usize) -> (usize, usize) {
    match lines.last() {
        Some(last) if at == lines.len() && !last.ends_with('\n') => (at, last.chars().count() + 1),
        _ => (at + 1, 1),
    }
}
