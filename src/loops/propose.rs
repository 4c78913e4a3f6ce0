//! Once an hour: what was observed becomes proposals, by reckoning and by a model, and each goes before the guard.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use super::consult::Unanswered;
use super::diagnose::{Asking, Ground};
use crate::domain::expr::{Claim, Function};
use crate::domain::fix::FixId;
use crate::domain::foreign_text::error_line;
use crate::domain::guard::{Answer, Policy, Suggestion, hardest, weigh, why};
use crate::domain::heal::rule::Rule;
use crate::domain::heal::target::Target;
use crate::domain::intervention::{Actor, Event, InterventionId, State};
use crate::domain::kaizen::facts::{Fact, Sheet};
use crate::domain::kaizen::heuristics::{self, Firing, Waiting, threshold};
use crate::domain::kaizen::offer::{self, Catalogue};
use crate::domain::kaizen::proposal::{Act, Minded, Proposal};
use crate::domain::ledger::{Entry, Note};
use crate::domain::lesson::{Lesson, parse_span};
use crate::domain::outcome::{Elapsed, Judgement, Mark, Measured, Observation, Observed, Prediction, judge};
use crate::domain::running::Moment;
use crate::domain::signal::SeriesName;
use crate::store::db::{Db, DbError};
use crate::store::ledger::{Happening, LedgerError, Proposal as Booked};
use crate::store::proposals::Proposed;

/// Time between two rounds.
pub const EVERY: Duration = Duration::from_secs(3_600);
const DAY: i64 = 86_400;
const WEEK: i64 = 7 * DAY;
/// Memory that rule 15 allows where a target does not say.
const MEMORY_MB: f64 = 2_048.0;
/// Least share of the usual work at which it goes on.
const WORKS: f64 = 0.8;

/// A rule, with its trigger as it is written.
#[derive(Clone, Debug)]
pub struct Written {
    /// The rule.
    pub rule: Rule,
    /// Its trigger.
    pub trigger: String,
}

/// A lesson that holds here.
#[derive(Clone, PartialEq, Debug)]
pub struct Held {
    /// The lesson.
    pub lesson: Lesson,
    /// Whose it is, in the words of this host; none for one of this host or a founding one.
    pub of_peer: Option<String>,
}

/// What a round works with.
pub struct Bench<'a> {
    /// Services and targets.
    pub ground: &'a Ground,
    /// Rules.
    pub rules: &'a [Written],
    /// Lessons.
    pub lessons: &'a [Held],
    /// What this host allows. Its kind is set for each proposal.
    pub policy: &'a Policy,
    /// What a claim in CEL comes to now.
    pub measure: &'a dyn Fn(&Db, &str) -> Result<Measured, DbError>,
}

/// Why a round ended early. What was done until then is remembered.
#[derive(Debug, thiserror::Error)]
pub enum ProposeError {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The ledger does not take it.
    #[error("proposal could not be written into the ledger")]
    Ledger(#[from] LedgerError),
}

/// What a round came to.
#[derive(Debug, Default)]
pub struct Round {
    /// Proposals that are new.
    pub new: Vec<Proposed>,
    /// Proposals that somebody made, or that ended.
    pub moved: Vec<(FixId, State)>,
    /// Offers of the model that were refused.
    pub refused: usize,
    /// Why the model was not asked, or gave no answer.
    pub unanswered: Option<String>,
}

/// One round.
///
/// # Errors
/// The database failed.
pub fn round(
    db: &mut Db,
    bench: &Bench<'_>,
    asking: Option<Asking<'_>>,
    moment: &Moment,
) -> Result<Round, ProposeError> {
    let mut round = Round { moved: follow(db, bench, moment)?, ..Round::default() };
    let now = moment.wall.as_second();
    let lessons = minded(bench.lessons);
    let clock = i64::try_from(db.count_on(moment)?.as_millis() / 1_000).unwrap_or(i64::MAX);
    let firings = firings(db, bench, clock, now)?;
    let mut wanted: Vec<Proposal> = Vec::new();
    for firing in &firings {
        wanted.extend(heuristics::recalibrate(firing, clock, &lessons));
        wanted.extend(heuristics::leak(firing, clock, &lessons));
    }
    wanted.extend(waiting(db, bench)?.iter().map(|waiting| heuristics::adopt(waiting, &lessons)));
    if let Some(asking) = asking {
        wanted.extend(offers(db, bench, asking, &firings, lessons.clone(), moment, &mut round)?);
    }
    // What mesh reckons comes first: a model's word for the same thing adds nothing.
    let mut seen = BTreeSet::new();
    for proposal in wanted {
        if seen.insert(proposal.act.id()) {
            round.new.extend(put(db, bench, proposal, &lessons, moment)?);
        }
    }
    Ok(round)
}

/// The lessons, as proposals have to mind them.
#[must_use]
pub fn minded(lessons: &[Held]) -> Vec<Minded> {
    let read = |expr: &str| {
        let claim = Claim::compile(expr).ok();
        claim.map(|claim| claim.signals().into_iter().map(str::to_owned).collect()).unwrap_or_default()
    };
    let one = |held: &Held| Minded { lesson: held.lesson.id.clone(), signals: read(&held.lesson.falsifiable.expr) };
    lessons.iter().map(one).collect()
}

/// What rules did within a week, as far as their numbers matter.
fn firings(db: &Db, bench: &Bench<'_>, clock: i64, now: i64) -> Result<Vec<Firing>, DbError> {
    let (records, _, _) = db.rule_state()?;
    let mut firings = Vec::new();
    for ((number, name), record) in records {
        let rule = bench.rules.iter().find(|written| written.rule.number == number);
        let target = bench.ground.targets.iter().find(|target| target.name.as_str() == name);
        let (Some(written), Some(target)) = (rule, target) else { continue };
        let acted: Vec<i64> = record.acts.iter().copied().filter(|at| clock - at < WEEK).collect();
        if acted.is_empty() {
            continue;
        }
        let service = target.service().map(|service| {
            let unit = bench.ground.services.get(service).map(|declared| declared.unit.clone());
            (service.to_owned(), unit.filter(|unit| !unit.is_empty()).unwrap_or_else(|| service.to_owned()))
        });
        let of_service = |signal: &str, function| {
            let subject = service.as_ref().map_or(name.as_str(), |(service, _)| service.as_str());
            read(db, &format!("{signal}/{subject}"), function, DAY, now)
        };
        let memory_mb = of_service("service.rss_mb", Function::Max)?;
        firings.push(Firing {
            rule: number,
            name: written.rule.name.clone(),
            version: written.rule.version,
            trigger: written.trigger.clone(),
            peak: peak(db, written, target, memory_mb, now)?,
            works: works(db, &name, service.as_ref().map(|(service, _)| service.as_str()), now)?,
            restarts: of_service("service.restarts", Function::Rate)?,
            memory_mb,
            target: name,
            service,
            acted,
        });
    }
    Ok(firings)
}

/// What a function says of a series over the last `span` seconds, as far as that is surely known.
fn read(db: &Db, series: &str, function: Function, span: i64, now: i64) -> Result<Option<f64>, DbError> {
    let Ok(name) = series.parse::<SeriesName>() else { return Ok(None) };
    let back = Duration::from_secs(span.unsigned_abs());
    let all = db.series(name.signal, back, now)?;
    let one = all.iter().find(|series| series.subject == name.subject.as_str());
    Ok(one.and_then(|series| series.read(function, Some(back), name.signal, now)).and_then(|range| range.at_least()))
}

/// The highest value of the signal that a trigger reads. What is measured for rules alone is not stored, but memory is.
fn peak(db: &Db, written: &Written, target: &Target, memory_mb: Option<f64>, now: i64) -> Result<Option<f64>, DbError> {
    let Some(found) = threshold(&written.trigger) else { return Ok(None) };
    if found.signal == "unit.memory_percent" {
        // Fewer than 2^53 MB.
        let most = target.max_mb.map_or(MEMORY_MB, |most| most as f64);
        return Ok(memory_mb.map(|memory| memory * 100.0 / most));
    }
    read(db, &format!("{}/{}", found.signal, target.name.as_str()), Function::Max, DAY, now)
}

/// Whether the work of the last day is that of the week before.
fn works(db: &Db, target: &str, service: Option<&str>, now: i64) -> Result<Option<bool>, DbError> {
    for subject in [Some(target), service].into_iter().flatten() {
        let series = format!("service.throughput/{subject}");
        let (day, week) =
            (read(db, &series, Function::Avg, DAY, now)?, read(db, &series, Function::Avg, WEEK, now - DAY)?);
        if let (Some(day), Some(week)) = (day, week) {
            return Ok(Some(day >= week * WORKS));
        }
    }
    Ok(None)
}

/// Fixes that wait here for lessons of peers.
fn waiting(db: &Db, bench: &Bench<'_>) -> Result<Vec<Waiting>, DbError> {
    let mut waiting = Vec::new();
    for fix in db.fixes()? {
        let held = bench.lessons.iter().find(|held| held.lesson.id == fix.lesson);
        let Some((held, origin)) = held.and_then(|held| Some((held, held.of_peer.clone()?))) else { continue };
        let lesson = &held.lesson;
        waiting.push(Waiting {
            fix: fix.id.clone(),
            lesson: lesson.id.clone(),
            rev: lesson.rev,
            entry: fix.entry,
            origin,
            root: fix.root.clone(),
            path: fix.path.clone(),
            places: fix.mends.len(),
            risk: lesson.risk,
            because: lesson.because.clone(),
            claim: lesson.falsifiable.expr.clone(),
            window_s: parse_span(&lesson.falsifiable.within).unwrap_or_default().as_secs(),
            lineage: lesson.derived_from.iter().map(ToString::to_string).collect(),
        });
    }
    Ok(waiting)
}

/// What the model offers, as far as it may be taken.
fn offers(
    db: &mut Db,
    bench: &Bench<'_>,
    asking: Asking<'_>,
    firings: &[Firing],
    lessons: Vec<Minded>,
    moment: &Moment,
    round: &mut Round,
) -> Result<Vec<Proposal>, DbError> {
    let now = moment.wall.as_second();
    let catalogue = catalogue(db, bench, firings, lessons, now)?;
    if catalogue.is_empty() || firings.is_empty() {
        // Nothing fired: there is nothing to ask about, and no call is spent.
        return Ok(Vec::new());
    }
    let sheet = Sheet::of(facts(db, bench, firings, &catalogue)?, asking.private);
    let answer = match (asking.ask)(db, &offer::question(&sheet, &catalogue)) {
        Ok(answer) => answer,
        Err(Unanswered::Db(error)) => return Err(error),
        Err(why) => {
            round.unanswered = Some(error_line(&why));
            return Ok(Vec::new());
        }
    };
    if !answer.fresh {
        // It was read when it came.
        return Ok(Vec::new());
    }
    let (taken, refused) = offer::read(&answer.text, asking.by, &catalogue);
    round.refused = refused.len();
    for one in &refused {
        db.refuse_offer(moment.wall, asking.by, one)?;
    }
    Ok(taken)
}

/// What the model may choose from: rules that act on what is critical, and those services.
fn catalogue(
    db: &Db,
    bench: &Bench<'_>,
    firings: &[Firing],
    lessons: Vec<Minded>,
    now: i64,
) -> Result<Catalogue, DbError> {
    let critical = |name: &str| bench.ground.is_critical(name);
    let mut catalogue = Catalogue { lessons, ..Catalogue::default() };
    for firing in firings.iter().filter(|firing| {
        critical(&firing.target) || firing.service.as_ref().is_some_and(|(service, _)| critical(service))
    }) {
        if let Some(found) = threshold(&firing.trigger) {
            let rule = (firing.name.clone(), firing.version, firing.trigger.clone(), found.number);
            catalogue.rules.insert(firing.rule, rule);
        }
        if let Some((service, unit)) = &firing.service {
            catalogue.services.insert(service.clone(), unit.clone());
        }
    }
    for service in catalogue.services.keys() {
        for name in ["service.rss_mb", "service.restarts", "service.cpu_percent", "service.throughput"] {
            let series = format!("{name}/{service}");
            let known =
                [Function::Avg, Function::Max, Function::Rate].map(|function| read(db, &series, function, DAY, now));
            let [avg, max, rate] = known;
            let known = [avg?, max?, rate?];
            if known.iter().any(Option::is_some) {
                catalogue.series.insert(series, known);
            }
        }
    }
    Ok(catalogue)
}

fn facts(db: &Db, bench: &Bench<'_>, firings: &[Firing], catalogue: &Catalogue) -> Result<Vec<Fact>, DbError> {
    let mut facts = Vec::new();
    for firing in firings.iter().filter(|firing| catalogue.rules.contains_key(&firing.rule)) {
        let said = format!("rule {} {} acted {} times within a week", firing.rule, firing.name, firing.acted.len());
        facts.push(Fact::Incident { target: firing.target.clone(), after_s: 0, said });
    }
    for (series, [avg, max, rate]) in &catalogue.series {
        let unit = series.parse::<SeriesName>().map(|name| name.signal.unit.to_owned()).unwrap_or_default();
        let words = |value: &Option<f64>| value.map_or("unknown".to_owned(), |value| format!("{value:.0}"));
        let (now, usual) = (format!("most {} of a day, grown by {}", words(max), words(rate)), words(avg));
        facts.push(Fact::Reading { series: series.clone(), unit, now, usual });
    }
    let lessons: BTreeMap<_, _> = bench.lessons.iter().map(|held| (&held.lesson.id, held)).collect();
    let signals: BTreeSet<&str> = catalogue.series.keys().filter_map(|series| series.split('/').next()).collect();
    for minded in &catalogue.lessons {
        if !minded.signals.iter().any(|signal| signals.contains(signal.as_str())) {
            continue;
        }
        let Some(held) = lessons.get(&minded.lesson) else { continue };
        let says = format!("{} {}", held.lesson.when, held.lesson.prefer);
        facts.push(match &held.of_peer {
            None => Fact::Lesson { lesson: minded.lesson.to_string(), says },
            Some(origin) => Fact::Quoted { origin: format!("{origin}, lesson {}", minded.lesson), text: says },
        });
    }
    for known in db.proposals()? {
        if let Some(stands) = db.intervention(&known.id)? {
            facts.push(Fact::Outcome { action: known.proposal.act.words(), state: stands.state.name().to_owned() });
        }
    }
    Ok(facts)
}

/// Puts a proposal before the guard, and remembers what that said. None: it is known, and stands as it stood.
fn put(
    db: &mut Db,
    bench: &Bench<'_>,
    proposal: Proposal,
    lessons: &[Minded],
    moment: &Moment,
) -> Result<Option<Proposed>, ProposeError> {
    let now = moment.wall.as_second();
    let id = proposal.act.id();
    let known = db.proposal(&id)?;
    if let Act::Adopt { .. } = proposal.act {
        // Seeding puts it before the guard, and the ledger has what that said.
        let verdicts = db.fix(&id)?.map(|fix| fix.verdicts).unwrap_or_default();
        let made = known.as_ref().map_or(now, |known| known.made);
        let proposed = Proposed { id, made, updated: now, proposal, verdicts };
        let same = known
            .as_ref()
            .is_some_and(|known| known.proposal == proposed.proposal && known.verdicts == proposed.verdicts);
        if !same {
            db.keep_proposal(&proposed)?;
        }
        return Ok(known.is_none().then_some(proposed));
    }
    let stands = db.intervention(&id)?;
    let hash = proposal.act.hash();
    let under_way = stands.as_ref().is_some_and(|stands| stands.state.is_under_way());
    let same = known.as_ref().is_some_and(|known| known.proposal.act.hash() == hash);
    let open = stands.as_ref().is_some_and(|stands| !stands.state.is_end());
    if under_way || (same && open) {
        return Ok(None);
    }
    let claim = proposal.expected.claim();
    let suggestion = Suggestion {
        risk: proposal.risk,
        needs_person: proposal.act.needs_person(),
        way_back: &proposal.act.way_back(),
        claim: &claim,
        uncited: &proposal.uncited(lessons),
    };
    let policy = Policy { kind: proposal.act.kind(), ..bench.policy.clone() };
    let standing = db.standing(moment, Path::new(&proposal.area), hash, None)?;
    let verdicts = weigh(&suggestion, &policy, &standing);
    let before = (bench.measure)(db, &claim)?;
    let predicted = Prediction {
        claim,
        before: before.says,
        window_s: proposal.expected.window().max(bench.policy.pace.validate_window).as_secs(),
        readings: before.readings,
    };
    let booked = Booked { fix: &id, area: Path::new(&proposal.area), kind: policy.kind, action: hash };
    let note = Note { why: proposal.hypothesis.clone(), predicted: Some(predicted), ..Note::default() };
    let intervention = db.propose(moment, &booked, Actor::Agent, &note)?;
    let asked = Happening::new(Event::Ask, Actor::Agent, Note { verdicts: verdicts.clone(), ..note });
    let event = match hardest(&verdicts) {
        Answer::Pass | Answer::Ask => None,
        Answer::Block => Some(Event::Block),
        Answer::Refuse => Some(Event::Refuse),
    };
    let mut happenings = vec![asked];
    happenings.extend(event.map(|event| Happening::new(event, Actor::Agent, Note::why(why(&verdicts)))));
    db.happen(moment, &intervention, &happenings, &bench.policy.pace)?;
    let made = known.as_ref().filter(|_| same).map_or(now, |known| known.made);
    let proposed = Proposed { id, made, updated: now, proposal, verdicts };
    db.keep_proposal(&proposed)?;
    Ok(Some(proposed))
}

/// Looks which proposals a person has made, and judges those whose window is over. Nothing of a person's is taken back.
fn follow(db: &mut Db, bench: &Bench<'_>, moment: &Moment) -> Result<Vec<(FixId, State)>, ProposeError> {
    let mut moved = Vec::new();
    for mut known in db.proposals()? {
        if matches!(known.proposal.act, Act::Adopt { .. }) {
            continue;
        }
        let Some(stands) = db.intervention(&known.id)? else { continue };
        let pace = &bench.policy.pace;
        let state = match stands.state {
            State::Guarded | State::Backlog if is_made(&known.proposal.act, bench) => {
                let made = "a person made it";
                let happenings = [Event::Ask, Event::Approve, Event::Prove, Event::Apply, Event::Watch]
                    .map(|event| Happening::new(event, Actor::Outside, Note::why(made)));
                db.happen(moment, &stands.id, &happenings, pace)?
            }
            State::Validating => {
                let Some((predicted, elapsed)) = watched(db, &stands.id, moment)? else { continue };
                let measured = (bench.measure)(db, &predicted.claim)?;
                let observed = Observation {
                    claim: measured.says,
                    finding_gone: Observed::True,
                    check: Observed::Unknown,
                    readings: measured.readings,
                };
                let (event, why, marks) = match judge(&predicted, &observed, elapsed) {
                    Judgement::Wait(_) => continue,
                    Judgement::Keep { event, why, marks } => (event, why.to_owned(), marks),
                    Judgement::RollBack { why } => {
                        let why = format!(
                            "{why}; a person made it, so it is not taken back: {}",
                            known.proposal.act.way_back()
                        );
                        (Event::FindNoEffect, why, Vec::<Mark>::new())
                    }
                };
                let note = Note { predicted: Some(predicted), observed: Some(observed), marks, ..Note::why(why) };
                db.happen(moment, &stands.id, &[Happening::new(event, Actor::Agent, note)], pace)?
            }
            _ => continue,
        };
        known.updated = moment.wall.as_second();
        db.keep_proposal(&known)?;
        moved.push((known.id, state));
    }
    Ok(moved)
}

/// Whether the change is in place, by whomever.
fn is_made(act: &Act, bench: &Bench<'_>) -> bool {
    match act {
        Act::Recalibrate { rule, to, .. } => {
            let number = |text: &str| text.parse::<f64>().ok();
            let written = bench.rules.iter().find(|written| written.rule.number == *rule);
            let now = written.and_then(|written| threshold(&written.trigger)).and_then(|found| number(&found.number));
            now.zip(number(to)).is_some_and(|(now, to)| now >= to)
        }
        // Nobody here reads the limits of units: a person says so.
        Act::RestartEvery { .. } | Act::Adopt { .. } => false,
    }
}

fn watched(db: &mut Db, id: &InterventionId, moment: &Moment) -> Result<Option<(Prediction, Elapsed)>, DbError> {
    let clock = db.count_on(moment)?;
    let (mut predicted, mut applied) = (None, None);
    for (row, entry) in db.history(&id.fix)? {
        let Entry::Step { id: of, state, note, .. } = entry else { continue };
        if of != *id {
            continue;
        }
        predicted = note.predicted.or(predicted);
        if state == State::Applied {
            applied = Some((row.at, row.clock));
        }
    }
    Ok(predicted.zip(applied).map(|(predicted, (at, since))| {
        let wall = u64::try_from(moment.wall.as_millisecond() - at).ok().map(Duration::from_millis);
        (predicted, Elapsed { wall, running: clock.since(since) })
    }))
}
