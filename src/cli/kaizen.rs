//! `mesh kaizen`: what mesh proposes by itself, what came of it, and what the model cost.

use serde_json::{Value, json};

use super::report::wrap;
use super::table::{Table, age};
use super::{CliError, Context, ExitKind, Outcome, out};
use crate::agent::parts::Parts;
use crate::domain::foreign_text::display_line;
use crate::domain::intervention::State;
use crate::domain::kaizen::circuit_breaker::Limits;
use crate::domain::kaizen::correlation::Cause;
use crate::domain::kaizen::proposal::Act;
use crate::domain::ledger::Entry;
use crate::loops::propose::{self, NotMade};
use crate::store::proposals::Proposed;

/// Cases are shown for this many seconds.
const DAY: i64 = 86_400;
/// Calls and refusals that are shown.
const MOST: u32 = 10;

/// What to do.
#[derive(clap::Subcommand, Debug)]
pub(super) enum Action {
    /// List proposals, what each waits for, refused offers, and what the model costs
    List,
    /// Show one proposal: why, what exactly, what it would show, and how to make it
    Show {
        /// Its name, as the list shows it
        id: String,
        /// Show nothing but the patch of an edit, as `git apply` reads it
        #[arg(long)]
        diff: bool,
    },
    /// Say that you made a proposal: from now on what it predicts is watched
    Made {
        /// Its name, as the list shows it
        id: String,
    },
}

pub(super) fn run(context: &Context, action: &Action) -> Outcome {
    match action {
        Action::List => list(context),
        Action::Show { id, diff } => show(context, id, *diff),
        Action::Made { id } => made(context, id),
    }
}

/// Where a proposal stands, and what it waits for.
fn stand(parts: &Parts, proposed: &Proposed) -> Result<(State, String), CliError> {
    let state = parts.db.intervention(&proposed.id)?.map_or(State::Proposed, |stands| stands.state);
    let against = proposed.verdicts.iter().filter(|verdict| !verdict.passes());
    let waits = if matches!(state, State::Backlog | State::Refused | State::Guarded) {
        against.map(|verdict| verdict.why.clone()).collect::<Vec<_>>().join("; ")
    } else {
        String::new()
    };
    Ok((state, waits))
}

fn as_json(proposed: &Proposed, state: State, waits: &str) -> Value {
    let proposal = &proposed.proposal;
    json!({
        "id": proposed.id, "state": state.name(), "by": proposal.source.name(), "action": proposal.act,
        "does": proposal.act.words(), "hypothesis": proposal.hypothesis, "risk": proposal.risk.name(),
        "area": proposal.area, "claim": proposal.expected.claim(), "predicts": proposal.expected.words(),
        "window_s": proposal.expected.window().as_secs(), "rollback": proposal.act.way_back(),
        "cites": proposal.cites, "departs_because": proposal.departs_because, "evidence": proposal.evidence,
        "waits_for": waits, "verdicts": proposed.verdicts, "made": proposed.made, "recipe": proposal.act.recipe(),
    })
}

/// The model, as far as it is set up here.
fn model(parts: &Parts) -> Result<Value, CliError> {
    let clock = parts.db.clock_at(&parts.clock.moment())?;
    let (spent, breaker) = (parts.db.model_spent(clock)?, parts.db.model_breaker()?);
    let config = parts.config.model.as_ref();
    Ok(json!({
        "on": config.is_some(),
        "api": config.map(|config| config.api.name()),
        "url": config.map(|config| &config.url),
        "name": config.map(|config| &config.name),
        "remote": config.is_some_and(|config| config.remote),
        "calls_24h": spent.calls,
        "calls_per_day": config.map(|config| config.calls_per_day),
        "tokens_24h": spent.tokens,
        "tokens_per_day": config.map(|config| config.tokens_per_day),
        "breaker": breaker.state().name(),
        "failures_10m": breaker.failures(clock, &Limits::default()),
        "calls": parts.db.model_calls(MOST)?,
    }))
}

fn list(context: &Context) -> Outcome {
    let parts = context.open()?;
    let mut listed = Vec::new();
    for proposed in parts.db.proposals()? {
        let (state, waits) = stand(&parts, &proposed)?;
        listed.push((proposed, state, waits));
    }
    let refusals = parts.db.refusal_counts()?;
    let refused = parts.db.refused_offers(MOST)?;
    let model = model(&parts)?;
    let cases = parts.db.cases(parts.now().as_second() - DAY)?;
    if context.json {
        let proposals: Vec<Value> =
            listed.iter().map(|(proposed, state, waits)| as_json(proposed, *state, waits)).collect();
        out::json(&json!({
            "proposals": proposals,
            "cases": cases.iter().map(super::incident::case_as_json).collect::<Vec<_>>(),
            "refused": { "counts": refusals, "newest": refused },
            "model": model,
        }));
        return Ok(ExitKind::Ok);
    }
    if listed.is_empty() {
        out::line("Nothing is proposed.");
    } else {
        let now = parts.now().as_second();
        let mut table = Table::new(&["ID", "STATE", "RISK", "AGE", "PROPOSAL~", "WAITS FOR~"]);
        for (proposed, state, waits) in &listed {
            table.row([
                proposed.id.to_string(),
                state.name().to_owned(),
                proposed.proposal.risk.name().to_owned(),
                age(now - proposed.made),
                proposed.proposal.act.words(),
                waits.clone(),
            ]);
        }
        table.lines().iter().for_each(out::line);
    }
    for known in &cases {
        let case = &known.case;
        let names: std::collections::BTreeSet<&str> =
            case.troubles.iter().map(|trouble| trouble.subject.as_str()).collect();
        let names = names.into_iter().collect::<Vec<_>>().join(", ");
        let cause = case.cause.as_ref().map_or("no shared cause is known".to_owned(), Cause::words);
        wrap(&display_line(&format!("{names}: {cause}")), "Failed together: ", "  ", 80).iter().for_each(out::line);
    }
    if !refusals.is_empty() {
        let counts: Vec<String> = refusals.iter().map(|(why, count)| format!("{count} {why}")).collect();
        out::line(format!("Refused offers of the model: {}.", counts.join(", ")));
        for one in &refused {
            out::line(format!("  {}: {}", one.why, display_line(&one.detail)));
        }
    }
    match &parts.config.model {
        None => out::line("No model is asked: see `[model]` in docs/kaizen.md."),
        Some(config) => out::line(format!(
            "Model {}: {} of {} calls, {} of {} tokens within 24 h; the breaker is {}.",
            display_line(&config.name),
            model["calls_24h"],
            config.calls_per_day,
            model["tokens_24h"],
            config.tokens_per_day,
            model["breaker"].as_str().unwrap_or_default()
        )),
    }
    Ok(ExitKind::Ok)
}

fn missing(id: &str) -> CliError {
    let error = CliError::new(ExitKind::Usage, format!("there is no proposal {}", display_line(id)));
    error.hint("see `mesh kaizen list`")
}

fn made(context: &Context, id: &str) -> Outcome {
    let mut parts = context.open()?;
    let name = id.parse().map_err(|_| missing(id))?;
    let (moment, pace) = (parts.clock.moment(), parts.config.pace());
    let state = propose::made(&mut parts.db, &name, &moment, &pace).map_err(|why| match why {
        NotMade::Unknown(_) => missing(id),
        NotMade::Seen(_) | NotMade::State { .. } => {
            CliError::new(ExitKind::Usage, why.to_string()).hint(format!("see `mesh kaizen show {name}`"))
        }
        NotMade::Db(error) => error.into(),
        NotMade::Ledger(error) => error.into(),
    })?;
    if context.json {
        out::json(&json!({ "id": name, "state": state.name() }));
    } else {
        out::line(format!("Proposal {name} is {}: `mesh kaizen show {name}` tells what came of it.", state.name()));
    }
    Ok(ExitKind::Ok)
}

fn show(context: &Context, id: &str, diff: bool) -> Outcome {
    let parts = context.open()?;
    let name = id.parse().map_err(|_| missing(id))?;
    let proposed = parts.db.proposal(&name)?.ok_or_else(|| missing(id))?;
    if diff {
        let Act::Edit { diff, .. } = &proposed.proposal.act else {
            let error = CliError::new(ExitKind::Usage, format!("proposal {name} is no edit: there is no patch of it"));
            return Err(error.hint(format!("see `mesh kaizen show {name}`")));
        };
        out::line(diff.trim_end_matches('\n'));
        return Ok(ExitKind::Ok);
    }
    let (state, waits) = stand(&parts, &proposed)?;
    if context.json {
        out::json(&as_json(&proposed, state, &waits));
        return Ok(ExitKind::Ok);
    }
    let proposal = &proposed.proposal;
    let cites: Vec<String> = proposal.cites.iter().map(ToString::to_string).collect();
    let mut lines = vec![
        ("proposal", format!("{}, by {}", proposal.act.words(), proposal.source.name())),
        ("state", if waits.is_empty() { state.name().to_owned() } else { format!("{}: {waits}", state.name()) }),
        ("because", proposal.hypothesis.clone()),
    ];
    lines.extend(proposal.evidence.iter().map(|line| ("", line.clone())));
    lines.push(("predicts", proposal.expected.words()));
    lines.push(("risk", proposal.risk.name().to_owned()));
    lines.push(("cites", if cites.is_empty() { "no lesson applies".to_owned() } else { cites.join(", ") }));
    lines.extend(
        proposal.departs_because.iter().map(|no| ("departs", format!("from {} because {}", no.lesson, no.because))),
    );
    lines.push(("way back", proposal.act.way_back()));
    for (_, entry) in parts.db.history(&proposed.id)? {
        let Entry::Step { note, .. } = entry else { continue };
        let Some(observed) = note.observed else { continue };
        let readings: Vec<String> = observed.readings.iter().map(|(call, value)| format!("{call} = {value}")).collect();
        lines.push(("observed", format!("{}: {}", note.why, readings.join(", "))));
    }
    for (step, said) in &lines {
        wrap(&display_line(said), &format!("{step:<9} "), "          ", 80).iter().for_each(out::line);
    }
    out::line("to make it:");
    proposal.act.recipe().iter().for_each(|line| out::line(format!("  {line}")));
    Ok(ExitKind::Ok)
}
