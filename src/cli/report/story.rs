//! One fix as a story: what set it off, why it is a mistake, what was planned, what the guard and the proof said, what
//! was made, what was predicted and observed, how it ended, and what can be done.

use std::path::Path;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::wrap;
use crate::domain::fix::{CheckResult, Fix, FixState, branch_name};
use crate::domain::foreign_text::{display, display_bytes, display_line};
use crate::domain::guard::{ActionKind, Answer, Verdict};
use crate::domain::intervention::State;
use crate::domain::ledger::{Entry, Note, Row};
use crate::domain::outcome::{Mark, Observation, Prediction};
use crate::loops::audit::RootAudit;

const WIDTH: usize = 80;
/// Width of the words at the left.
const LEFT: usize = 11;

/// What the ledger says of a fix, newest attempt last.
pub(crate) type History = [(Row, Entry)];

fn steps(history: &History) -> impl DoubleEndedIterator<Item = (&Row, State, &Note)> {
    history.iter().filter_map(|(row, entry)| match entry {
        Entry::Step { state, note, .. } => Some((row, *state, &**note)),
        _ => None,
    })
}

/// The rows of the newest attempt.
fn newest(history: &History) -> &History {
    let starts = |(_, entry): &(Row, Entry)| matches!(entry, Entry::Step { event: None, .. });
    &history[history.iter().rposition(starts).unwrap_or(0)..]
}

fn last_of<T>(history: &History, get: impl Fn(&Note) -> Option<T>) -> Option<T> {
    steps(newest(history)).rev().find_map(|(_, _, note)| get(note))
}

fn predicted(history: &History) -> Option<Prediction> {
    last_of(history, |note| note.predicted.clone())
}

fn observed(history: &History) -> Option<Observation> {
    last_of(history, |note| note.observed.clone())
}

/// How the newest attempt ended, with what limits the worth of that.
fn outcome(history: &History) -> Option<(State, Vec<Mark>, String)> {
    let (_, state, note) = steps(newest(history)).next_back()?;
    state.is_end().then(|| (state, note.marks.clone(), note.why.clone()))
}

fn at(row: &Row) -> String {
    Timestamp::from_millisecond(row.at).map(|at| format!("{at:.0}")).unwrap_or_default()
}

/// The story, line by line.
pub(crate) fn fix_story(fix: &Fix, history: &History) -> Vec<String> {
    let mut lines = vec![format!("fix {} ({})", fix.id, fix.state.name())];
    let mut say = |word: &str, text: &str| {
        lines.extend(wrap(text, &format!("{word:<LEFT$}"), &" ".repeat(LEFT), WIDTH));
    };
    let trigger = steps(newest(history)).next().map(|(_, _, note)| display_line(&note.why));
    say("trigger", &trigger.unwrap_or_else(|| format!("lesson {} matches in {}", fix.lesson, display_line(&fix.path))));
    if let Some(because) = last_of(history, |note| note.planned.as_ref().map(|planned| planned.because.clone())) {
        say("diagnosis", &display_line(&because));
    }
    say("root", &display_bytes(fix.root.as_os_str().as_encoded_bytes()));
    let places = if fix.mends.len() == 1 { "place" } else { "places" };
    say("file", &format!("{}, {} {places}", display_line(&fix.path), fix.mends.len()));
    say("plan", "the diff below");
    if let Some(reason) = &fix.reason {
        say("why", &display_line(reason));
    }
    say("guard", &counts(&fix.verdicts));
    lines.extend(fix.verdicts.iter().flat_map(verdict_lines));
    let proofs = last_of(history, |note| {
        let proves = |verdict: &Verdict| verdict.check.is_proof();
        let proofs: Vec<Verdict> = note.verdicts.iter().filter(|verdict| proves(verdict)).cloned().collect();
        (!proofs.is_empty()).then_some(proofs)
    });
    let mut say = |word: &str, text: &str| {
        lines.extend(wrap(text, &format!("{word:<LEFT$}"), &" ".repeat(LEFT), WIDTH));
    };
    say(
        "proof",
        match &fix.check {
            CheckResult::Pending => "the project's check was not run",
            CheckResult::Unchecked => "none: no check command is configured for this root",
            CheckResult::Passed => "the project's check passed with it, in a scratch copy",
            CheckResult::Failed { .. } => "the project's check failed with it, in a scratch copy",
        },
    );
    lines.extend(proofs.iter().flatten().flat_map(verdict_lines));
    let mut say = |word: &str, text: &str| {
        lines.extend(wrap(text, &format!("{word:<LEFT$}"), &" ".repeat(LEFT), WIDTH));
    };
    match (&fix.branch, &fix.commit) {
        (Some(branch), Some(commit)) => {
            say("commit", commit);
            say("branch", branch);
        }
        _ => say("commit", "none"),
    }
    if let Some(predicted) = predicted(history) {
        let window = predicted.window_s / 3_600;
        let claim = display_line(&predicted.claim);
        say("predicted", &format!("{claim} within {window} h (before: {})", predicted.before.name()));
        let seen = observed(history);
        say("observed", &seen.as_ref().map_or_else(|| "nothing yet".to_owned(), observed_words));
        for (call, before) in &predicted.readings {
            let after = seen.as_ref().and_then(|seen| seen.readings.get(call)).map_or("not yet", String::as_str);
            say("", &format!("{}: {before} before, {after} after", display_line(call)));
        }
    }
    say("outcome", &outcome(history).map_or_else(|| "none yet".to_owned(), |outcome| outcome_words(&outcome)));
    let entry = fix.entry.map(|entry| format!(", entry {}", entry.short())).unwrap_or_default();
    say("lesson", &format!("{} rev {}{entry}, class {}", fix.lesson, fix.rev, fix.class.name()));
    lines.push(String::new());
    lines.extend(fix.diff.lines().map(|line| format!("    {}", display(line))));
    lines.push(String::new());
    lines.extend(history.iter().flat_map(|(row, entry)| history_lines(row, entry)));
    lines.push(String::new());
    lines.extend(next_steps(fix));
    lines
}

fn counts(verdicts: &[Verdict]) -> String {
    let against = verdicts.iter().filter(|verdict| !verdict.passes()).count();
    match (verdicts.len(), against) {
        (0, _) => "not asked".to_owned(),
        (all, 0) => format!("all {all} checks pass"),
        (all, against) => format!("{against} of {all} checks do not pass"),
    }
}

fn observed_words(seen: &Observation) -> String {
    format!("claim {}, finding gone {}, check {}", seen.claim.name(), seen.finding_gone.name(), seen.check.name())
}

fn outcome_words((state, marks, why): &(State, Vec<Mark>, String)) -> String {
    let marks: String = marks.iter().map(|mark| format!(" [{}]", mark.name())).collect();
    let why = if why.is_empty() { String::new() } else { format!(": {}", display_line(why)) };
    format!("{}{marks}{why}", state.name())
}

fn verdict_lines(verdict: &Verdict) -> Vec<String> {
    let answer = match verdict.answer {
        Answer::Pass => "pass",
        Answer::Ask => "ask",
        Answer::Block => "block",
        Answer::Refuse => "refuse",
    };
    let head = format!("  {:<16} {answer:<7} ", verdict.check.name());
    if verdict.why.is_empty() {
        return vec![head.trim_end().to_owned()];
    }
    let rest = " ".repeat(head.len());
    wrap(&display_line(&verdict.why), &head, &rest, WIDTH)
}

fn history_lines(row: &Row, entry: &Entry) -> Vec<String> {
    let Entry::Step { id, state, actor, note, .. } = entry else { return Vec::new() };
    let why = if note.why.is_empty() { String::new() } else { format!(": {}", display_line(&note.why)) };
    let line = format!("{} {} by {}{why}", id.attempt, state.name(), actor.name());
    wrap(&line, &format!("{}  ", at(row)), &" ".repeat(24), WIDTH)
}

fn next_steps(fix: &Fix) -> Vec<String> {
    let id = &fix.id;
    match (fix.state, &fix.branch, &fix.commit) {
        (FixState::Seeded, Some(branch), _) => vec![
            format!("look at it:  git diff HEAD...{branch}"),
            format!("take it:     git merge {branch}"),
            format!("drop it:     mesh fix rollback {id}"),
        ],
        (state, _, Some(commit)) if state.stands() => vec![format!("take it back: git revert {commit}")],
        (FixState::Proposed | FixState::Backlog | FixState::Refused, ..) => {
            vec![format!("try it:      mesh fix apply {id} --dry-run"), format!("make it:     mesh fix apply {id}")]
        }
        _ => Vec::new(),
    }
}

/// What would be done with a fix, step by step, if it were made now. `trials` are the commands that would try it.
pub(crate) fn chain(fix: &Fix, kind: ActionKind, trials: &[String]) -> Vec<String> {
    let against: Vec<&str> =
        fix.verdicts.iter().filter(|verdict| !verdict.passes()).map(|verdict| verdict.check.name()).collect();
    if !against.is_empty() {
        let why = display_line(fix.reason.as_deref().unwrap_or_default());
        return vec![format!("the guard holds it up ({}): {why}", against.join(", "))];
    }
    let path = display_line(&fix.path);
    let mut steps = vec![format!("the guard lets it through: all {} checks pass", fix.verdicts.len())];
    steps.push(match kind {
        ActionKind::Branch => format!("one commit that changes {path} and nothing else, which no branch leads to yet"),
        ActionKind::Commit | ActionKind::File => {
            format!("{path} is changed and changed back in a scratch copy, which must be as it was")
        }
    });
    steps.extend(trials.iter().map(|trial| format!("`{}` in a scratch copy of it", display_line(trial))));
    if trials.is_empty() {
        steps.push("no check: none is configured for this root".to_owned());
    }
    steps.push(match kind {
        ActionKind::Branch => {
            format!("branch {} leads to it; taken back by deleting that branch", branch_name(&fix.lesson, &fix.id))
        }
        ActionKind::Commit => {
            "the way back goes to disk; then one commit on the branch that is checked out; taken back by its revert"
                .to_owned()
        }
        ActionKind::File => {
            "a copy of the file goes to disk; then the file is exchanged for the mended one; taken back by the copy"
                .to_owned()
        }
    });
    if kind.is_intervention() {
        steps.push("the claim is watched; the change is taken back when it does harm".to_owned());
    }
    steps
}

/// What would be done with every fix of a round that makes nothing.
pub(crate) fn foretold(roots: &[RootAudit], trials_of: &dyn Fn(&Path, &str) -> Vec<String>) -> Vec<String> {
    let outcomes = roots.iter().flat_map(|root| &root.seeding.outcomes);
    let open = outcomes.filter(|outcome| matches!(outcome.fix.state, FixState::Proposed | FixState::Backlog));
    let mut lines = vec!["What would be done; nothing was:".to_owned()];
    for outcome in open {
        let fix = &outcome.fix;
        lines.push(format!("  {} {} in {}", fix.id, fix.lesson, display_line(&fix.path)));
        let kind = outcome.ready.unwrap_or(ActionKind::Branch);
        for (at, step) in chain(fix, kind, &trials_of(&fix.root, &fix.path)).iter().enumerate() {
            lines.extend(wrap(step, &format!("    {}. ", at + 1), "       ", WIDTH));
        }
    }
    if lines.len() == 1 {
        lines = vec!["Nothing would be done.".to_owned()];
    }
    lines
}

/// What `fix show --json` has beside the fix itself.
pub(crate) fn story_value(history: &History) -> Value {
    let rows: Vec<Value> = history
        .iter()
        .filter_map(|(row, entry)| match entry {
            Entry::Step { id, event, state, actor, note } => Some(json!({
                "seq": row.seq, "at": at(row), "intervention": id, "event": event, "state": state, "actor": actor,
                "why": note.why, "verdicts": note.verdicts, "commit": note.commit, "marks": note.marks,
            })),
            _ => None,
        })
        .collect();
    let first = steps(newest(history)).next();
    let because = last_of(history, |note| note.planned.as_ref().map(|planned| planned.because.clone()));
    let outcome = outcome(history).map(|(state, marks, why)| json!({ "state": state, "marks": marks, "why": why }));
    json!({
        "trigger": first.map(|(_, _, note)| &note.why), "diagnosis": because,
        "predicted": predicted(history), "observed": observed(history), "outcome": outcome, "history": rows,
    })
}
