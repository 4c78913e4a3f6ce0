//! Once a week: what is known of the week is gathered and reviewed.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::library::Held;
use crate::domain::expr::{Claim, Truth};
use crate::domain::heal::engine::Stats;
use crate::domain::heal::rule::Rule;
use crate::domain::heal::target::Target;
use crate::domain::kaizen::calibration::Recalibration;
use crate::domain::kaizen::distill::Finished;
use crate::domain::kaizen::review::{Departed, Review, RuleSeen, Seen, TREND_WEEKS, Trouble, review};
use crate::store::db::{Db, DbError};

/// Events of services that are looked through for troubles.
const EVENTS: u32 = 10_000;
/// Incidents that are looked through.
const INCIDENTS: usize = 10_000;
/// An incident this long before or after a trouble is of it.
const NEAR: i64 = 900;

/// What the week is gathered from, beside the database.
pub struct Sources<'a> {
    /// The host's name.
    pub host: &'a str,
    /// The week's length.
    pub span: Duration,
    /// Rules, each with whether a drill passed here, and why not.
    pub rules: &'a [(Rule, bool, String)],
    /// What rules are about here.
    pub targets: &'a [Target],
    /// Lessons that hold here.
    pub lessons: &'a [Held],
    /// Series that the configuration itself sets a bound for.
    pub bounded: BTreeSet<String>,
    /// What does not fit its calibration.
    pub recalibrations: Vec<Recalibration>,
    /// Drafts that wait, with what each lacks.
    pub drafts: Vec<(String, String)>,
    /// What departed from a lesson.
    pub departures: Vec<Departed>,
}

/// Reviews the span that ends now.
///
/// # Errors
/// The database failed.
pub fn run(db: &Db, sources: Sources<'_>, now: Timestamp) -> Result<Review, DbError> {
    let span = i64::try_from(sources.span.as_secs()).unwrap_or(i64::MAX);
    let start = |weeks: i64| now.as_second().saturating_sub(span.saturating_mul(weeks));
    let all = db.finished_interventions()?;
    let between = |from: i64, until: i64| -> Vec<Finished> {
        all.iter().filter(|one| (from..until).contains(&one.at.div_euclid(1_000))).cloned().collect()
    };
    let weeks = i64::try_from(TREND_WEEKS).unwrap_or(0);
    let earlier = (1..=weeks).map(|week| between(start(week + 1), start(week))).collect();
    let records = db.rule_state()?.0;
    let rules = sources.rules.iter().map(|(rule, drilled, drill)| RuleSeen {
        number: rule.number,
        name: rule.name.clone(),
        drilled: *drilled,
        drill: drill.clone(),
        stats: records
            .iter()
            .filter(|((number, _), _)| *number == rule.number)
            .fold(Stats::default(), |sum, (_, record)| sum.plus(record.stats)),
    });
    let seen = Seen {
        finished: between(start(1), now.as_second().saturating_add(1)),
        earlier,
        unnoticed: unnoticed(db, start(1), now.as_second())?,
        unread: unread(db, &sources)?,
        rules: rules.collect(),
        untested: untested(db, sources.lessons, now)?,
        departures: sources.departures,
        recalibrations: sources.recalibrations,
        drafts: sources.drafts,
    };
    let from = Timestamp::from_second(start(1)).unwrap_or(Timestamp::UNIX_EPOCH);
    Ok(review(sources.host, (from, now), seen))
}

/// Services that needed a person while no rule had an incident for them.
fn unnoticed(db: &Db, from: i64, until: i64) -> Result<Vec<Trouble>, DbError> {
    let incidents = db.incidents(true, INCIDENTS)?;
    let troubles = db.service_events(None, EVENTS)?.into_iter().filter_map(|event| {
        let at = event.at.div_euclid(1_000);
        let bad = matches!(event.event.as_str(), "given_up" | "flapping") && (from..=until).contains(&at);
        let near =
            |opened: i64, closed: Option<i64>| opened <= at + NEAR && closed.is_none_or(|closed| closed >= at - NEAR);
        let known = incidents.iter().any(|one| one.target == event.service && near(one.opened, one.closed));
        (bad && !known).then_some(Trouble { service: event.service, what: event.what, at })
    });
    let mut troubles: Vec<Trouble> = troubles.collect();
    troubles.sort_by(|one, other| (&one.service, one.at).cmp(&(&other.service, other.at)));
    // One that goes on failing is one trouble.
    troubles.dedup_by(|one, other| one.service == other.service);
    Ok(troubles)
}

/// Series that no rule, no lesson and no bound of the configuration reads.
fn unread(db: &Db, sources: &Sources<'_>) -> Result<Vec<String>, DbError> {
    let mut read: BTreeSet<String> = BTreeSet::new();
    let mut whole: BTreeSet<&'static str> = BTreeSet::new();
    let mut note = |claim: &Claim| {
        for series in claim.series() {
            match series.subject.as_str() {
                "" => drop(whole.insert(series.signal.name)),
                _ => drop(read.insert(series.to_string())),
            }
        }
    };
    for held in sources.lessons {
        for text in [&held.lesson.falsifiable.expr, &held.lesson.retired_when.expr] {
            if let Ok(claim) = Claim::compile(text) {
                note(&claim);
            }
        }
    }
    for (rule, ..) in sources.rules {
        for target in sources.targets.iter().filter(|target| rule.concerns(target)) {
            let conditions =
                [&rule.trigger, &rule.validate.when].into_iter().chain(rule.diagnose.iter().map(|one| &one.when));
            for condition in conditions {
                condition.claims(target.name.as_str()).unwrap_or_default().iter().for_each(&mut note);
            }
        }
    }
    let measured = db.measured()?;
    let names = measured
        .iter()
        .filter(|(signal, _)| !whole.contains(signal.as_str()))
        .map(|(signal, subject)| if subject.is_empty() { signal.clone() } else { format!("{signal}/{subject}") });
    Ok(names.filter(|name| !read.contains(name) && !sources.bounded.contains(name)).collect())
}

/// Lessons whose claim says neither yes nor no here.
fn untested(db: &Db, lessons: &[Held], now: Timestamp) -> Result<Vec<String>, DbError> {
    let mut untested = Vec::new();
    for held in lessons {
        let Ok(claim) = Claim::compile(&held.lesson.falsifiable.expr) else { continue };
        let history = db.claim_history(&claim, now.as_second())?;
        if claim.evaluate(&history, now.as_second()) == Truth::Unknown {
            untested.push(held.lesson.id.to_string());
        }
    }
    Ok(untested)
}
