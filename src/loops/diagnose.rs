//! Troubles to cases: what failed is put together, its cause looked for, and a model asked for a hint about what is
//! critical.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::consult::{Spoken, Unanswered};
use crate::domain::expr::Function;
use crate::domain::foreign_text::error_line;
use crate::domain::heal::target::Target;
use crate::domain::kaizen::correlation::{Case, RECENT_S, Scene, Sign, TOGETHER_S, Trouble, correlate};
use crate::domain::kaizen::diagnosis::{self, Hint, Said};
use crate::domain::kaizen::facts::{Fact, Sheet};
use crate::domain::kaizen::question::Question;
use crate::domain::redact::Private;
use crate::domain::signal;
use crate::store::cases::KnownCase;
use crate::store::db::{Db, DbError};
use crate::store::services::ServiceEvent;

const DAY: i64 = 86_400;
/// A case is asked about once its newest trouble is this old: the next one may be on its way.
const SETTLED_S: i64 = 60;
/// Most events of services that are looked at.
const EVENTS: u32 = 5_000;
/// What is measured of a service and of the host, and may tell a cause.
const TELLING: [&str; 10] = [
    "host.disk.inodes_used_percent",
    "host.disk.used_percent",
    "host.fd.used_percent",
    "host.load.per_core",
    "host.memory.used_percent",
    "host.psi.memory_full",
    "service.fd_used_percent",
    "service.restarts",
    "service.rss_mb",
    "service.threads",
];

/// A service, as the configuration declares it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Declared {
    /// What its manager calls it.
    pub unit: String,
    /// Whether people are woken for it.
    pub critical: bool,
    /// What it needs.
    pub parents: Vec<String>,
}

/// What the configuration says of this host.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Ground {
    /// Services by name.
    pub services: BTreeMap<String, Declared>,
    /// What rules are about.
    pub targets: Vec<Target>,
}

impl Ground {
    /// Whether people are woken for it. What nobody declared wakes nobody.
    #[must_use]
    pub fn is_critical(&self, subject: &str) -> bool {
        if let Some(service) = self.services.get(subject) {
            return service.critical;
        }
        self.targets.iter().any(|target| target.name.as_str() == subject && target.critical)
    }

    /// What is behind a target: its service, or itself.
    fn subject<'a>(&'a self, target: &'a str) -> &'a str {
        let known = self.targets.iter().find(|known| known.name.as_str() == target);
        known.and_then(Target::service).unwrap_or(target)
    }

    fn parents(&self) -> BTreeMap<String, Vec<String>> {
        let services = self.services.iter().map(|(name, service)| (name.clone(), service.parents.clone()));
        let targets = self
            .targets
            .iter()
            .filter_map(|target| Some((self.subject(target.name.as_str()).to_owned(), vec![target.parent.clone()?])));
        let mut all: BTreeMap<String, Vec<String>> = services.collect();
        for (name, parents) in targets {
            all.entry(name).or_default().extend(parents);
        }
        all
    }
}

/// Asks a question, by whatever is between here and the model.
pub type Ask<'a> = dyn FnMut(&mut Db, &Question) -> Result<Spoken, Unanswered> + 'a;

/// A model, as it may be asked.
pub struct Asking<'a> {
    /// Which one.
    pub by: &'a str,
    /// What must not leave this host, where it is on another one.
    pub private: Option<&'a Private>,
    /// Asks it.
    pub ask: &'a mut Ask<'a>,
}

/// What a look came to.
#[derive(Debug, Default)]
pub struct Looked {
    /// Cases that are new, or whose cause was just found.
    pub news: Vec<Case>,
    /// Why the model was not asked, or gave no answer.
    pub unanswered: Vec<String>,
}

/// Looks at what failed within a day. What is around it is asked for only where something failed: a host at rest is
/// looked at every minute.
///
/// # Errors
/// The database failed.
pub fn look(
    db: &mut Db,
    ground: &Ground,
    around: &dyn Fn(&Db) -> Result<Scene, DbError>,
    mut asking: Option<Asking<'_>>,
    now: i64,
) -> Result<Looked, DbError> {
    let since = now - DAY;
    let troubles = troubles(db, ground, since)?;
    if troubles.is_empty() {
        db.keep_cases(since + TOGETHER_S + 1, &[])?;
        return Ok(Looked::default());
    }
    let mut scene = around(db)?;
    scene.parents = ground.parents();
    scene.down.extend(troubles.iter().map(|trouble| trouble.subject.clone()));
    let known: BTreeMap<String, KnownCase> =
        db.cases(since)?.into_iter().map(|known| (known.case.name(), known)).collect();
    let mut looked = Looked::default();
    let mut kept = Vec::new();
    // What began before may have lost its beginning.
    for case in correlate(troubles, &scene).into_iter().filter(|case| case.began() > since + TOGETHER_S) {
        let before = known.get(&case.name());
        let same = before.filter(|before| before.case.troubles.len() == case.troubles.len());
        // A cause that was seen once stays known when it can no longer be seen.
        let stands = same.filter(|before| before.case.cause.is_some() || case.cause.is_none());
        let case = stands.map_or(case, |before| before.case.clone());
        if before.is_none_or(|before| before.case.cause != case.cause) {
            looked.news.push(case.clone());
        }
        let mut hint = before.and_then(|before| before.hint.clone());
        let settled = case.troubles.last().is_some_and(|last| now - last.at >= SETTLED_S);
        let asked = hint.as_ref().is_some_and(|hint| hint.troubles == case.troubles.len());
        let fresh = case.troubles.last().is_some_and(|last| now - last.at < RECENT_S);
        if let Some(asking) = asking.as_mut().filter(|_| case.is_critical() && settled && fresh && !asked) {
            match ask(db, asking, &case, ground, &scene, now)? {
                Ok(said) => hint = Some(said),
                Err(why) => looked.unanswered.push(why),
            }
        }
        kept.push(KnownCase { case, hint });
    }
    db.keep_cases(since + TOGETHER_S + 1, &kept)?;
    Ok(looked)
}

fn ask(
    db: &mut Db,
    asking: &mut Asking<'_>,
    case: &Case,
    ground: &Ground,
    scene: &Scene,
    now: i64,
) -> Result<Result<Hint, String>, DbError> {
    let sheet = Sheet::of(facts(db, case, ground, scene, now)?, asking.private);
    let answer = match (asking.ask)(db, &diagnosis::question(&sheet)) {
        Ok(answer) => answer,
        Err(Unanswered::Db(error)) => return Err(error),
        Err(why) => return Ok(Err(error_line(&why))),
    };
    let said = match diagnosis::read(&answer.text, &sheet) {
        Ok(diagnosis) => Said::Diagnosis(diagnosis),
        Err(why) => Said::Refused(error_line(&why)),
    };
    let facts = sheet.lines().to_vec();
    Ok(Ok(Hint { by: asking.by.to_owned(), at: now, troubles: case.troubles.len(), facts, said }))
}

/// Everything that went wrong since then.
fn troubles(db: &Db, ground: &Ground, since: i64) -> Result<Vec<Trouble>, DbError> {
    let mut troubles = Vec::new();
    for incident in db.incidents(true, usize::try_from(EVENTS).unwrap_or(usize::MAX))? {
        if incident.opened < since {
            continue;
        }
        let subject = ground.subject(&incident.target).to_owned();
        let last = incident.thread.last().map(|told| told.what.clone()).unwrap_or_default();
        let sign = incident.thread.iter().map(|told| Sign::of(&told.what)).max().unwrap_or_default();
        troubles.push(Trouble {
            at: incident.opened,
            incident: Some(incident.id),
            critical: ground.is_critical(&subject)
                || (incident.target != subject && ground.is_critical(&incident.target)),
            subject,
            sign,
            how: format!("rule {} {} is {}: {last}", incident.rule, incident.name, incident.state.name()),
        });
    }
    let up: BTreeSet<String> = db.services()?.into_iter().filter(|row| row.state == "up").map(|row| row.name).collect();
    let mut of_service: BTreeMap<String, Vec<ServiceEvent>> = BTreeMap::new();
    for event in db.service_events(None, EVENTS)?.into_iter().rev() {
        if event.at / 1_000 >= since && matches!(event.event.as_str(), "ended" | "refused" | "given_up" | "flapping") {
            of_service.entry(event.service.clone()).or_default().push(event);
        }
    }
    for (service, events) in of_service {
        let streaks: Vec<&[ServiceEvent]> =
            events.chunk_by(|one, next| next.at - one.at <= TOGETHER_S * 1_000).collect();
        for (place, streak) in streaks.iter().enumerate() {
            let [first, ..] = streak else { continue };
            let lasts = place + 1 == streaks.len() && !up.contains(&service);
            // One end that the next start has mended is no trouble.
            if streak.len() == 1 && !lasts {
                continue;
            }
            troubles.push(Trouble {
                at: first.at / 1_000,
                incident: None,
                critical: ground.is_critical(&service),
                subject: service.clone(),
                sign: streak.iter().map(|event| Sign::of(&event.what)).max().unwrap_or_default(),
                how: first.what.clone(),
            });
        }
    }
    Ok(troubles)
}

/// What a model is told of a case: of what is critical alone.
fn facts(db: &Db, case: &Case, ground: &Ground, scene: &Scene, now: i64) -> Result<Vec<Fact>, DbError> {
    let began = case.began();
    let told: Vec<&Trouble> = case.troubles.iter().filter(|trouble| trouble.critical).collect();
    let subjects: BTreeSet<&str> = told.iter().map(|trouble| trouble.subject.as_str()).collect();
    let mut facts: Vec<Fact> = case.cause.iter().map(|cause| Fact::SharedCause { what: cause.words() }).collect();
    for trouble in &told {
        let (after_s, how) = (trouble.at - began, trouble.how.clone());
        facts.push(match trouble.incident {
            Some(_) => Fact::Incident { target: trouble.subject.clone(), after_s, said: how },
            None => Fact::ServiceFailed { service: trouble.subject.clone(), after_s, how },
        });
    }
    for change in &scene.changes {
        let touches = match &change.touches {
            None => "everything".to_owned(),
            Some(touches) if touches.iter().any(|name| subjects.contains(name.as_str())) => {
                touches.iter().filter(|name| subjects.contains(name.as_str())).cloned().collect::<Vec<_>>().join(", ")
            }
            Some(_) => continue,
        };
        if (0..=RECENT_S).contains(&(began - change.at)) {
            facts.push(Fact::Change { before_min: (began - change.at) / 60, what: change.what.words(), touches });
        }
    }
    for subject in &subjects {
        for parent in scene.parents.get(*subject).into_iter().flatten().filter(|parent| ground.is_critical(parent)) {
            let up = !scene.down.contains(parent);
            facts.push(Fact::Needs { service: (*subject).to_owned(), parent: parent.clone(), up });
        }
    }
    for name in TELLING {
        let Some(signal) = signal::find(name) else { continue };
        for series in db.series(signal, Duration::from_secs(86_400), now)? {
            if name.starts_with("service.") && !subjects.contains(series.subject.as_str()) {
                continue;
            }
            let read = |function, window| series.read(function, window, signal, now).and_then(|range| range.exact());
            let (last, usual) = (read(Function::Last, None), read(Function::Baseline, None));
            let (Some(last), Some(usual)) = (last, usual) else { continue };
            let series = if series.subject.is_empty() { name.to_owned() } else { format!("{name}/{}", series.subject) };
            facts.push(Fact::Reading {
                series,
                unit: signal.unit.to_owned(),
                now: rounded(last),
                usual: rounded(usual),
            });
        }
    }
    Ok(facts)
}

/// Two digits: what changes less changes no question.
fn rounded(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return "0".to_owned();
    }
    let scale = 10_f64.powf(value.abs().log10().floor() - 1.0);
    format!("{}", (value / scale).round() * scale)
}
