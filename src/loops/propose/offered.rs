//! What a model is asked about what was observed, and what of its answer may go before the guard.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::observe::{DAY, read};
use super::{Bench, Round};
use crate::domain::expr::Function;
use crate::domain::finding::Finding;
use crate::domain::foreign_text::error_line;
use crate::domain::guard::is_blocked;
use crate::domain::id::Slug;
use crate::domain::kaizen::facts::{Fact, Sheet};
use crate::domain::kaizen::heuristics::{Firing, threshold};
use crate::domain::kaizen::offer::{self, Catalogue, FINDINGS, Place};
use crate::domain::kaizen::proposal::{Minded, Proposal};
use crate::domain::running::Moment;
use crate::domain::signal::SeriesName;
use crate::loops::consult::Unanswered;
use crate::loops::diagnose::Asking;
use crate::store::db::{Db, DbError};

/// Most findings that are told of.
const PLACES: usize = 8;
/// Largest file that an edit is looked at in, in bytes.
const FILE_BYTES: usize = 64 * 1024;
/// Lines around a finding that are told, before and after it.
const AROUND: usize = 3;
/// Most lines of one finding.
const LINES: usize = 16;

/// What the model offers, as far as it may be taken.
pub(super) fn offers(
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
    if catalogue.is_empty() || (firings.is_empty() && catalogue.open_places().next().is_none()) {
        // Nothing fired and nothing was found: there is nothing to ask about, and no call is spent.
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

/// What the model may choose from: rules that act on what is critical, those services, and findings that no lesson mends.
fn catalogue(
    db: &Db,
    bench: &Bench<'_>,
    firings: &[Firing],
    lessons: Vec<Minded>,
    now: i64,
) -> Result<Catalogue, DbError> {
    let critical = |name: &str| bench.ground.is_critical(name);
    let mut catalogue = Catalogue { lessons, places: places(db, bench)?, ..Catalogue::default() };
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
            catalogue.series.extend(known(db, &series, now)?.map(|known| (series, known)));
        }
    }
    if catalogue.open_places().next().is_some() {
        catalogue.series.extend(known(db, FINDINGS, now)?.map(|known| (FINDINGS.to_owned(), known)));
    }
    Ok(catalogue)
}

/// What a series is now: its mean, its most and its growth of a day; none where nothing of it is known.
fn known(db: &Db, series: &str, now: i64) -> Result<Option<[Option<f64>; 3]>, DbError> {
    let [avg, max, rate] =
        [Function::Avg, Function::Max, Function::Rate].map(|function| read(db, series, function, DAY, now));
    let known = [avg?, max?, rate?];
    Ok(known.iter().any(Option::is_some).then_some(known))
}

/// The worst findings that nobody suppressed and that no lesson has a fix for, in files that can be read.
fn places(db: &Db, bench: &Bench<'_>) -> Result<BTreeMap<String, Place>, DbError> {
    let mended: BTreeSet<_> = db.fixes()?.into_iter().flat_map(|fix| fix.mends).collect();
    let mut found = Vec::new();
    for root in bench.roots {
        let open = db.findings_of(root)?.into_iter();
        let open = open.filter(|one| one.suppressed.is_none() && !mended.contains(&one.fingerprint));
        found.extend(open.map(|finding| (root, finding)));
    }
    found.sort_by(|(_, one), (_, other)| {
        (Reverse(one.severity), &one.fingerprint).cmp(&(Reverse(other.severity), &other.fingerprint))
    });
    let read = |(root, finding): (&PathBuf, Finding)| {
        let text = bench.repo.read(root, &finding.path).ok().filter(|text| text.len() <= FILE_BYTES)?;
        let facts = bench.repo.facts(root, &finding.path);
        let place = Place {
            lesson: finding.lesson,
            root: root.clone(),
            blocked: is_blocked(root, &finding.path, &facts, bench.policy),
            path: finding.path,
            line: finding.line,
            end_line: finding.end_line,
            text,
        };
        Some((finding.fingerprint.short(), place))
    };
    Ok(found.into_iter().filter_map(read).take(PLACES).collect())
}

/// A finding with the lines around it.
fn finding(name: &str, place: &Place) -> Fact {
    let (first, last) = (place.line as usize, place.end_line.max(place.line) as usize);
    let lines = place.text.lines().skip(first.saturating_sub(1 + AROUND));
    let shown = lines.take((last - first + 1 + 2 * AROUND).min(LINES)).map(str::to_owned);
    Fact::Finding {
        finding: name.to_owned(),
        lesson: place.lesson.to_string(),
        path: place.path.clone(),
        line: place.line,
        text: shown.collect(),
    }
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
    facts.extend(catalogue.open_places().map(|(name, place)| finding(name, place)));
    let of_places: BTreeSet<&Slug> = catalogue.open_places().map(|(_, place)| &place.lesson).collect();
    let lessons: BTreeMap<_, _> = bench.lessons.iter().map(|held| (&held.lesson.id, held)).collect();
    let signals: BTreeSet<&str> = catalogue.series.keys().filter_map(|series| series.split('/').next()).collect();
    for minded in &catalogue.lessons {
        let applies = minded.signals.iter().any(|signal| signals.contains(signal.as_str()));
        if !applies && !of_places.contains(&minded.lesson) {
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
