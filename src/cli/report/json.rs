//! For programs. The shapes are a contract: keys are added, never renamed.

use serde_json::{Value, json};

use super::{View, outcome_of};
use crate::domain::fix::Fix;

/// The audit as one object.
pub(crate) fn value(view: &View<'_>) -> Value {
    let root_of = |root: &std::path::Path| root.to_string_lossy().into_owned();
    let findings: Vec<Value> = view
        .all()
        .map(|(audited, finding)| {
            let outcome = outcome_of(audited, finding);
            json!({
                "lesson": finding.lesson,
                "rule": finding.rule,
                "severity": finding.severity,
                "confidence": finding.confidence,
                "root": root_of(&audited.root),
                "path": finding.path,
                "line": finding.line,
                "column": finding.column,
                "end_line": finding.end_line,
                "message": finding.message,
                "fingerprint": finding.fingerprint,
                "suppressed": finding.suppressed,
                "fix": outcome.map(|outcome| &outcome.fix.id),
                "fix_state": outcome.map(|outcome| outcome.fix.state),
            })
        })
        .collect();
    let skipped: Vec<Value> = view
        .roots
        .iter()
        .flat_map(|audited| {
            let row = |skipped: &crate::ports::Skipped| {
                json!({ "root": root_of(&audited.root), "path": skipped.path, "reason": skipped.reason })
            };
            audited.report.skipped.iter().map(row).collect::<Vec<_>>()
        })
        .collect();
    let idle: Vec<Value> = view
        .roots
        .iter()
        .flat_map(|audited| {
            let row = |idle: &crate::ports::IdleSuppression| {
                json!({ "root": root_of(&audited.root), "path": idle.path, "line": idle.line, "why": idle.why })
            };
            audited.report.idle_suppressions.iter().map(row).collect::<Vec<_>>()
        })
        .collect();
    let about = |of: fn(&crate::ports::ScanReport) -> Vec<Value>| {
        view.roots.iter().flat_map(|audited| of(&audited.report)).collect::<Vec<_>>()
    };
    let refused = about(|report| report.refused.iter().map(|(id, why)| json!({ "lesson": id, "why": why })).collect());
    let capped = about(|report| report.capped.iter().map(|(id, more)| json!({ "lesson": id, "more": more })).collect());
    let overruns =
        about(|report| report.overruns.iter().map(|(id, path)| json!({ "lesson": id, "path": path })).collect());
    let fixes: Vec<Value> = view
        .roots
        .iter()
        .flat_map(|audited| audited.seeding.outcomes.iter().map(|outcome| fix_value(&outcome.fix)))
        .collect();
    let sum = |of: fn(&crate::ports::ScanReport) -> u64| view.roots.iter().map(|a| of(&a.report)).sum::<u64>();
    let reported = view.reported().count();
    json!({
        "findings": findings,
        "fixes": fixes,
        "skipped": skipped,
        "idle_suppressions": idle,
        "refused": refused,
        "capped": capped,
        "overruns": overruns,
        "summary": {
            "findings": reported,
            "suppressed": view.all().count() - reported,
            "files": sum(|report| report.files),
            "parsed": sum(|report| report.parsed),
            "unchanged": sum(|report| report.unchanged),
            "unread": sum(|report| report.unread),
            "lessons": view.lessons.len(),
            "milliseconds": u64::try_from(view.took.as_millis()).unwrap_or(u64::MAX),
        },
    })
}

/// One fix as a row of `fix list`, and as `fix show`.
pub(crate) fn fix_value(fix: &Fix) -> Value {
    json!({
        "id": fix.id,
        "lesson": fix.lesson,
        "rev": fix.rev,
        "entry": fix.entry,
        "class": fix.class,
        "state": fix.state,
        "root": fix.root.to_string_lossy(),
        "path": fix.path,
        "branch": fix.branch,
        "commit": fix.commit,
        "base": fix.base,
        "before": fix.before,
        "after": fix.after,
        "diff": fix.diff,
        "reason": fix.reason,
        "check": fix.check,
        "mends": fix.mends,
        "verdicts": fix.verdicts,
        "created_at": fix.created_at.to_string(),
        "updated_at": fix.updated_at.to_string(),
    })
}
