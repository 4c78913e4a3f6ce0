//! `mesh incident`: what rules found wrong, what was done about it, and a person's word on it.

use std::time::Duration;

use serde_json::json;

use super::report::wrap;
use super::table::{Table, age};
use super::{CliError, Context, ExitKind, Outcome, out};
use crate::agent::notifying;
use crate::domain::foreign_text::display_line;
use crate::domain::heal::incident::{Incident, State};
use crate::domain::kaizen::correlation::Cause;
use crate::domain::kaizen::diagnosis::Said;
use crate::domain::lesson::{parse_span, span_words};
use crate::store::cases::KnownCase;

/// What to do.
#[derive(clap::Subcommand, Debug)]
pub(super) enum Action {
    /// List the incidents that are not over
    List {
        /// List those that are over as well, newest first
        #[arg(long)]
        all: bool,
        /// Only of this rule
        #[arg(long, value_name = "N")]
        rule: Option<u32>,
        /// Only of this target
        #[arg(long)]
        target: Option<String>,
    },
    /// Show one incident from its opening on
    Show {
        /// Its number
        id: u64,
    },
    /// Say that you have seen it: no more reminders
    Ack {
        /// Its number
        id: u64,
        /// Let the rule act, where it waits for a person
        #[arg(long)]
        approve: bool,
        /// Hear nothing of it for this long, such as 2h
        #[arg(long, value_name = "SPAN", value_parser = span)]
        snooze: Option<Duration>,
    },
}

const MOST: usize = 500;

fn span(text: &str) -> Result<Duration, String> {
    parse_span(text).filter(|span| !span.is_zero()).ok_or_else(|| "must be a span such as 30m, 2h or 1d".to_owned())
}

pub(super) fn run(context: &Context, action: &Action) -> Outcome {
    match action {
        Action::List { all, rule, target } => list(context, *all, *rule, target.as_deref()),
        Action::Show { id } => show(context, *id),
        Action::Ack { id, approve, snooze } => ack(context, *id, *approve, *snooze),
    }
}

fn as_json(one: &Incident) -> serde_json::Value {
    json!({
        "id": one.id, "rule": one.rule, "name": one.name, "target": one.target, "state": one.state.name(),
        "opened": one.opened, "closed": one.closed, "ending": one.ending, "attempts": one.attempts,
        "reports": one.reports, "proposal": one.proposal, "waits": one.waits, "acked": one.acked, "approved": one.approved,
        "snoozed_until": one.snoozed_until,
        "thread": one.thread.iter().map(|line| json!({ "at": line.at, "what": line.what })).collect::<Vec<_>>(),
    })
}

fn missing(id: u64) -> CliError {
    CliError::new(ExitKind::Usage, format!("there is no incident {id}")).hint("see `mesh incident list --all`")
}

fn list(context: &Context, all: bool, rule: Option<u32>, target: Option<&str>) -> Outcome {
    let parts = context.open()?;
    let mut incidents = parts.db.incidents(all, MOST)?;
    incidents
        .retain(|one| rule.is_none_or(|rule| one.rule == rule) && target.is_none_or(|target| one.target == target));
    if context.json {
        out::json(&json!({ "incidents": incidents.iter().map(as_json).collect::<Vec<_>>() }));
        return Ok(ExitKind::Ok);
    }
    if incidents.is_empty() {
        out::line(if all { "No rule has found anything here." } else { "No incident is open." });
        return Ok(ExitKind::Ok);
    }
    let now = parts.now().as_second();
    let mut table = Table::new(&["ID", "RULE", "NAME~", "TARGET~", "STATE", "AGE", "WAITS FOR~"]);
    for one in &incidents {
        let state = if one.acked { format!("{} (seen)", one.state.name()) } else { one.state.name().to_owned() };
        table.row([
            one.id.to_string(),
            one.rule.to_string(),
            one.name.clone(),
            one.target.clone(),
            state,
            age(now - one.opened),
            one.waits.clone(),
        ]);
    }
    table.lines().iter().for_each(out::line);
    Ok(ExitKind::Ok)
}

fn show(context: &Context, id: u64) -> Outcome {
    let parts = context.open()?;
    let one = parts.db.incident(id)?.ok_or_else(|| missing(id))?;
    let case = parts.db.case_of(one.id, one.opened)?;
    if context.json {
        let mut value = as_json(&one);
        value["case"] = case.as_ref().map_or(serde_json::Value::Null, case_as_json);
        out::json(&value);
        return Ok(ExitKind::Ok);
    }
    out::line(format!(
        "Incident {}: rule {} {} on {} is {}.",
        one.id,
        one.rule,
        one.name,
        one.target,
        one.state.name()
    ));
    for line in &one.thread {
        out::line(format!("  {:>6} s  {}", line.at - one.opened, line.what));
    }
    if let Some(proposal) = &one.proposal {
        out::line(format!("Proposal: {proposal}"));
    }
    if one.state == State::Open && !one.waits.is_empty() {
        out::line(format!("Nothing is done now: {}.", one.waits));
    }
    if let Some(case) = &case {
        show_case(&one, case);
    }
    Ok(ExitKind::Ok)
}

/// What is known of the case, and apart from it what a model makes of that.
pub(super) fn case_as_json(known: &KnownCase) -> serde_json::Value {
    let cause = known.case.cause.as_ref();
    json!({
        "name": known.case.name(), "troubles": known.case.troubles, "cause": cause,
        "cause_in_words": cause.map(Cause::words), "next": cause.map(Cause::next), "hint": known.hint,
    })
}

fn show_case(one: &Incident, known: &KnownCase) {
    let case = &known.case;
    let others = case.troubles.iter().filter(|trouble| trouble.incident != Some(one.id));
    let others: Vec<String> =
        others.map(|trouble| format!("{} ({})", trouble.subject, display_line(&trouble.how))).collect();
    let put = |first: &str, text: &str| wrap(&display_line(text), first, "  ", 80).iter().for_each(out::line);
    if !others.is_empty() {
        put("Began together with: ", &format!("{}.", others.join(", ")));
    }
    if let Some(cause) = &case.cause {
        put("Shared cause: ", &format!("{}.", cause.words()));
        put("Look first: ", &format!("{}.", cause.next()));
    }
    let Some(hint) = &known.hint else { return };
    put("A hint, not a fact, by ", &format!("{}:", hint.by));
    match &hint.said {
        Said::Refused(why) => put("  no usable answer: ", why),
        Said::Diagnosis(diagnosis) if diagnosis.healthy => put("  ", "it sees nothing wrong in what it was told"),
        Said::Diagnosis(diagnosis) => {
            if diagnosis.hypotheses.is_empty() {
                put("  ", "it has no idea");
            }
            for hypothesis in &diagnosis.hypotheses {
                let facts: Vec<String> = hypothesis.facts.iter().map(ToString::to_string).collect();
                put("  perhaps: ", &format!("{} (facts {})", hypothesis.cause.as_str(), facts.join(", ")));
            }
            diagnosis.checks.iter().for_each(|check| put("  to look at: ", check.as_str()));
        }
    }
    put("What it was told:", "");
    hint.facts.iter().for_each(|fact| out::line(format!("  {}", display_line(fact))));
}

fn ack(context: &Context, id: u64, approve: bool, snooze: Option<Duration>) -> Outcome {
    let mut parts = context.open()?;
    let now = parts.now().as_second();
    let changed = parts.db.change_incident(id, |one| {
        // Whoever wants to hear of it later has not seen to it.
        one.acked |= snooze.is_none() || approve;
        one.approved |= approve;
        if let Some(span) = snooze {
            one.snoozed_until = Some(now.saturating_add(i64::try_from(span.as_secs()).unwrap_or(i64::MAX)));
        }
        one.tell_of_person(
            now,
            match (approve, snooze) {
                (true, _) => "a person allowed the action",
                (false, Some(_)) => "a person wants to hear nothing of it for a while",
                (false, None) => "a person has seen it",
            },
        );
    })?;
    let one = changed.ok_or_else(|| missing(id))?;
    if one.state == State::Resolved {
        return Err(CliError::new(ExitKind::Usage, format!("incident {id} is over already")));
    }
    let seen = notifying::of_ack(&one, parts.now());
    notifying::tell(&mut parts.db, &seen)?;
    if context.json {
        out::json(&as_json(&one));
    } else if let Some(span) = snooze.filter(|_| !approve) {
        out::line(format!("Nobody hears of incident {id} for {}; it goes on.", span_words(span)));
    } else if approve {
        out::line(format!("Rule {} acts on {} at its next look, if it still holds.", one.rule, one.target));
    } else {
        out::line(format!("Incident {id} is noted as seen; it goes on."));
    }
    Ok(ExitKind::Ok)
}
