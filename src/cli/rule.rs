//! `mesh rule`: the rules of this host, what they did, and the drills that let them act.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::table::{Table, age};
use super::{CliError, Context, ExitKind, Outcome, out};
use crate::agent::parts::Parts;
use crate::agent::rules::{self, RulesError, Stands};
use crate::domain::foreign_text::error_line;
use crate::domain::heal::action::Undo;
use crate::domain::heal::drill::{DrillPlan, DrillState};
use crate::domain::heal::engine::Stats;
use crate::loops::heal::LOOKED;
use crate::store::rules::VERSION;

/// What to do.
#[derive(clap::Subcommand, Debug)]
pub(super) enum Action {
    /// List the rules, and which of them may act here
    List,
    /// Show one rule with every local edit
    Show {
        /// Its number
        number: u32,
        /// Show only what is changed here
        #[arg(long)]
        diff: bool,
    },
    /// Hold recorded lines and series against the rules
    Test {
        /// Only this rule
        number: Option<u32>,
    },
    /// Make a rule's failure in a throw-away place, and see whether it heals it
    Drill {
        /// Only this rule; every one that can be drilled here when absent
        number: Option<u32>,
    },
    /// What came of each rule here
    Stats,
}

pub(super) fn run(context: &Context, action: &Action) -> Outcome {
    match action {
        Action::List => list(context),
        Action::Show { number, diff } => show(context, *number, *diff),
        Action::Test { number } => test(context, *number),
        Action::Drill { number } => drill(context, *number),
        Action::Stats => stats(context),
    }
}

fn failed(error: &RulesError) -> CliError {
    let kind = if matches!(error, RulesError::Rule(_)) { ExitKind::Usage } else { ExitKind::Error };
    CliError::of(kind, error)
}

/// The rules that are asked for; what is wrong with local files is told.
fn stand(context: &Context, parts: &Parts, number: Option<u32>) -> Result<(Vec<Stands>, bool), CliError> {
    let (mut stands, refused) = rules::stand(parts).map_err(|error| failed(&error))?;
    if !context.json {
        refused.iter().for_each(|error| out::note(error_line(error)));
    }
    if let Some(number) = number {
        stands.retain(|one| one.held.rule.number == number);
        if stands.is_empty() {
            return Err(
                CliError::new(ExitKind::Usage, format!("there is no rule {number}")).hint("see `mesh rule list`")
            );
        }
    }
    Ok((stands, !refused.is_empty()))
}

fn as_json(one: &Stands, now: i64) -> Value {
    let rule = &one.held.rule;
    let shown = one.verdict.as_ref().map(|verdict| {
        let parts = verdict.parts.named().map(|(name, part)| {
            let (ok, what) = match part {
                Some(Ok(what)) => (Some(true), what.as_str()),
                Some(Err(why)) => (Some(false), why.as_str()),
                None => (None, "not tried"),
            };
            json!({ "part": name, "ok": ok, "what": what })
        });
        json!({ "age_s": now - verdict.at, "parts": parts })
    });
    let ways = rule.ways_back().into_iter().map(|(action, undo)| match undo {
        Undo::By(how) => json!({ "action": action, "undo": how }),
        Undo::Not(why) => json!({ "action": action, "undo": null, "because": why }),
    });
    json!({
        "number": rule.number, "version": rule.version, "name": rule.name, "risk": rule.risk.name(),
        "target": rule.target.name(), "tags": rule.tags, "because": rule.because, "dry_run": rule.dry_run,
        "actions": ways.collect::<Vec<_>>(),
        "drill": { "state": one.state.name(), "why": one.why, "last": shown },
        "local": one.held.local, "edited": one.held.local.is_some() && one.held.packed.is_some(), "note": one.held.note,
    })
}

fn list(context: &Context) -> Outcome {
    let parts = context.open()?;
    let (stands, bad) = stand(context, &parts, None)?;
    let now = parts.now().as_second();
    let count = |wanted: DrillState| stands.iter().filter(|one| one.state == wanted).count();
    let drillable = stands.len() - count(DrillState::Impossible);
    let stats = stats_of(&parts)?;
    let would_act = |number: u32| stats.get(&number).map_or(0, |stats| stats.would_act);
    if context.json {
        let row = |one: &Stands| {
            let mut row = as_json(one, now);
            row["would_act"] = would_act(one.held.rule.number).into();
            row
        };
        let rows: Vec<_> = stands.iter().map(row).collect();
        let (passed, all) = (count(DrillState::Passed), stands.len());
        out::json(&json!({
            "rules": rows, "pack": VERSION,
            "coverage": { "rules": all, "can_be_drilled": drillable, "passed": passed },
        }));
        return Ok(if bad { ExitKind::Usage } else { ExitKind::Ok });
    }
    let mut table = Table::new(&["RULE", "NAME~", "RISK", "TARGET~", "DRILL", "WHY~"]);
    for one in &stands {
        let rule = &one.held.rule;
        let edited = if one.held.local.is_some() { "*" } else { "" };
        table.row([
            rule.number.to_string(),
            format!("{}{edited}", rule.name),
            rule.risk.name().to_owned(),
            rule.target.name().to_owned(),
            one.state.name().to_owned(),
            if rule.dry_run { format!("in dry run {}", one.why).trim_end().to_owned() } else { one.why.clone() },
        ]);
    }
    table.lines().iter().for_each(out::line);
    stands.iter().filter_map(|one| one.held.note.as_ref()).for_each(out::line);
    for rule in stands.iter().map(|one| &one.held.rule).filter(|rule| rule.dry_run) {
        let times = would_act(rule.number);
        out::line(format!("Rule {} is in dry run: it would have acted in {times} incidents.", rule.number));
    }
    let passed = count(DrillState::Passed);
    out::line(format!(
        "{passed} of {drillable} rules that can be drilled here have passed; only they act. * is edited here."
    ));
    Ok(if bad { ExitKind::Usage } else { ExitKind::Ok })
}

fn show(context: &Context, number: u32, diff: bool) -> Outcome {
    let parts = context.open()?;
    let (mut stands, _) = stand(context, &parts, Some(number))?;
    let one = stands.remove(0);
    let changed = crate::store::rules::diff(&one.held);
    if context.json {
        let mut value = as_json(&one, parts.now().as_second());
        value["text"] = one.held.text.clone().into();
        value["diff"] = changed.into();
        out::json(&value);
    } else if diff {
        let same = || "It is as it ships.".to_owned();
        changed.unwrap_or_else(same).lines().for_each(out::line);
    } else {
        one.held.text.lines().for_each(out::line);
        for (action, undo) in one.held.rule.ways_back() {
            out::line(match undo {
                Undo::By(how) => format!("# {action}: undone by: {how}"),
                Undo::Not(why) => format!("# {action}: not undone: {why}"),
            });
        }
        out::line(format!("# drill: {} {}", one.state.name(), one.why));
    }
    Ok(ExitKind::Ok)
}

fn test(context: &Context, number: Option<u32>) -> Outcome {
    let parts = context.open()?;
    let (stands, _) = stand(context, &parts, number)?;
    let reads = |one: &Stands| one.held.rule.trigger.reads_lines();
    let has = |one: &Stands| !one.held.rule.samples.is_empty() || !one.held.rule.series.is_empty();
    let tested: Vec<_> = stands.iter().filter(|one| reads(one) || has(one)).collect();
    let wrong = |one: &&&Stands| {
        let rule = &one.held.rule;
        !rule.wrong_samples().is_empty() || !rule.wrong_series().is_empty() || !has(one)
    };
    let bad = tested.iter().filter(wrong).count();
    let rows: Vec<_> = tested
        .iter()
        .map(|one| {
            let rule = &one.held.rule;
            let lines = rule.wrong_samples().into_iter().map(|sample| sample.line.clone());
            let series = rule.wrong_series().into_iter().map(|series| series.say.clone());
            json!({
                "number": rule.number, "name": rule.name, "samples": rule.samples.len(),
                "series": rule.series.len(), "wrong": lines.chain(series).collect::<Vec<_>>(),
            })
        })
        .collect();
    let count = |what: fn(&Stands) -> bool| stands.iter().filter(|one| what(one)).count();
    let patterns = count(|one| one.held.rule.trigger.reads_lines());
    let series = count(|one| !one.held.rule.series.is_empty());
    let scripts = count(|one| matches!(one.held.rule.drill, DrillPlan::Script(_)));
    let neither = count(|one| {
        let rule = &one.held.rule;
        rule.samples.is_empty() && rule.series.is_empty() && !matches!(rule.drill, DrillPlan::Script(_))
    });
    if context.json {
        out::json(&json!({
            "tested": rows,
            "coverage": {
                "rules": stands.len(), "patterns": patterns, "series": series, "drills": scripts, "neither": neither,
                "right": tested.len() - bad,
            },
        }));
    } else {
        for row in &rows {
            let wrong = row["wrong"].as_array().map(Vec::as_slice).unwrap_or_default();
            let verdict = match (wrong.is_empty(), row["samples"].as_u64(), row["series"].as_u64()) {
                (true, Some(0), Some(0)) => "no sample: add [[sample]]",
                (true, ..) => "right",
                (false, ..) => "wrong",
            };
            let name = row["name"].as_str().unwrap_or_default();
            let (number, samples, series) = (&row["number"], &row["samples"], &row["series"]);
            out::line(format!("rule {number} {name}: {samples} lines, {series} series, {verdict}"));
            wrong.iter().filter_map(Value::as_str).for_each(|what| out::line(format!("    {what}")));
        }
        out::line(format!("{} of {} rules are right about what was recorded.", tested.len() - bad, tested.len()));
        out::line(format!(
            "Of {} rules {patterns} look at lines, {series} have series, {scripts} have a drill, {neither} have nothing.",
            stands.len()
        ));
    }
    Ok(if bad == 0 { ExitKind::Ok } else { ExitKind::Error })
}

fn drill(context: &Context, number: Option<u32>) -> Outcome {
    let mut parts = context.open()?;
    let (stands, _) = stand(context, &parts, number)?;
    let (mut failed_count, mut rows) = (0, Vec::new());
    for one in &stands {
        let rule = &one.held.rule;
        if let DrillPlan::Impossible(why) = &rule.drill {
            if number.is_some() && !context.json {
                out::line(format!("Rule {} cannot be drilled here: {why}.", rule.number));
            }
            rows.push(json!({ "number": rule.number, "name": rule.name, "state": "impossible", "why": why }));
            continue;
        }
        let shown = rules::drill(&mut parts, &one.held).map_err(|error| failed(&error))?.unwrap_or_default();
        let failure = shown.failure();
        failed_count += usize::from(failure.is_some());
        let state = if failure.is_some() { "failed" } else { "passed" };
        if !context.json {
            out::line(format!("Rule {} {}: {state} {}", rule.number, rule.name, failure.clone().unwrap_or_default()));
        }
        let parts = shown.named().map(|(name, part)| {
            let what = match part {
                Some(Ok(what) | Err(what)) => what.as_str(),
                None => "not tried",
            };
            json!({ "part": name, "ok": matches!(part, Some(Ok(_))), "what": what })
        });
        rows.push(json!({ "number": rule.number, "name": rule.name, "state": state, "why": failure, "parts": parts }));
    }
    if context.json {
        out::json(&json!({ "drills": rows }));
    }
    Ok(if failed_count == 0 { ExitKind::Ok } else { ExitKind::Error })
}

/// What the last look found of a rule, condition by condition.
pub(super) fn why(context: &Context, number: u32) -> Outcome {
    let parts = context.open()?;
    let (stands, _) = stand(context, &parts, Some(number))?;
    let found = parts.db.explained(number)?;
    let looked = parts.db.fact(LOOKED)?.and_then(|at| at.parse::<i64>().ok());
    let open = parts.db.incidents(false, 500)?;
    let open: Vec<_> = open.into_iter().filter(|one| one.rule == number).collect();
    let one = &stands[0];
    if context.json {
        let incidents: Vec<_> = open
            .iter()
            .map(|one| json!({ "id": one.id, "target": one.target, "state": one.state.name(), "waits": one.waits }))
            .collect();
        out::json(&json!({
            "number": number, "name": one.held.rule.name, "dry_run": one.held.rule.dry_run,
            "drill": { "state": one.state.name(), "why": one.why }, "looked": looked, "looks": found, "incidents": incidents,
        }));
        return Ok(ExitKind::Ok);
    }
    out::line(format!("Rule {number} {}: {}", one.held.rule.name, one.held.rule.because));
    out::line(format!("Its drill here is {}. {}", one.state.name(), one.why));
    if one.held.rule.dry_run {
        out::line("It is in dry run: it says what it would do, and does nothing.");
    }
    let now = parts.now().as_second();
    if let Some(at) = looked {
        let ago = age(now - at);
        out::line(format!(
            "Rules were looked at {ago} ago; what came of it is written down when it changes, and every 10 min."
        ));
    }
    if found.is_empty() {
        let kind = one.held.rule.target.name();
        out::line(format!("It was not looked at: `mesh run` looks, at each target of the kind {kind}."));
    }
    for look in &found {
        let text = |key: &str| look[key].as_str().unwrap_or_default().to_owned();
        let at = look["at"].as_i64().unwrap_or(now);
        out::line(format!("{} ({} ago): {}", text("target"), age(now - at), text("decision")));
        clauses(&look["trigger"], 1);
        for question in look["diagnose"].as_array().into_iter().flatten() {
            let word = |index: usize| question[index].as_str().unwrap_or_default().to_owned();
            out::line(format!("  diagnosis, {}: {}", word(0), word(1)));
            clauses(&question[2], 2);
        }
    }
    for one in &open {
        out::line(format!("Incident {} on {} is {}. {}", one.id, one.target, one.state.name(), one.waits));
    }
    Ok(ExitKind::Ok)
}

fn clauses(list: &Value, indent: usize) {
    for clause in list.as_array().into_iter().flatten() {
        let text = |key: &str| clause[key].as_str().unwrap_or_default().to_owned();
        let depth = indent + usize::try_from(clause["depth"].as_u64().unwrap_or(0)).unwrap_or(0);
        let detail = text("detail");
        let detail = if detail.is_empty() { detail } else { format!(" ({detail})") };
        out::line(format!("{}{}: {}{detail}", "  ".repeat(depth), text("text"), text("truth")));
    }
}

/// What came of each rule here, on all targets together.
fn stats_of(parts: &Parts) -> Result<BTreeMap<u32, Stats>, CliError> {
    let (records, ..) = parts.db.rule_state()?;
    let mut all: BTreeMap<u32, Stats> = BTreeMap::new();
    for ((rule, _), record) in &records {
        let sum = all.entry(*rule).or_default();
        *sum = sum.plus(record.stats);
    }
    Ok(all)
}

fn stats(context: &Context) -> Outcome {
    let parts = context.open()?;
    let (stands, _) = stand(context, &parts, None)?;
    let known = stats_of(&parts)?;
    let of = |number: u32| known.get(&number).copied().unwrap_or_default();
    let rows: Vec<_> = stands.iter().map(|one| (&one.held.rule, of(one.held.rule.number))).collect();
    let mean = |stats: &Stats| stats.heal_seconds.checked_div(stats.healed);
    if context.json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(rule, stats)| {
                let mut value = serde_json::to_value(stats).unwrap_or_default();
                value["number"] = rule.number.into();
                value["name"] = rule.name.clone().into();
                value["mean_heal_s"] = mean(stats).into();
                value
            })
            .collect();
        out::json(&json!({ "stats": rows }));
        return Ok(ExitKind::Ok);
    }
    let seen: Vec<_> = rows.iter().filter(|(_, stats)| *stats != Stats::default()).collect();
    if seen.is_empty() {
        out::line("No rule has fired here yet.");
        return Ok(ExitKind::Ok);
    }
    let mut table = Table::new(&[
        "RULE",
        "NAME~",
        "FIRED",
        "REFUTED",
        "ACTED",
        "HEALED",
        "FAILED",
        "BY ITSELF",
        "ESCALATED",
        "MEAN",
    ]);
    for (rule, stats) in seen {
        let mean = mean(stats).map_or_else(|| "-".to_owned(), |mean| age(i64::try_from(mean).unwrap_or(i64::MAX)));
        let counts = [stats.fired, stats.refuted, stats.acted, stats.healed, stats.failed];
        let mut cells = vec![rule.number.to_string(), rule.name.clone()];
        cells.extend(counts.map(|count| count.to_string()));
        cells.extend([(stats.self_cleared + stats.debounced).to_string(), stats.escalated.to_string(), mean]);
        table.row(cells);
    }
    table.lines().iter().for_each(out::line);
    Ok(ExitKind::Ok)
}
