//! What a model proposes, read as data: every part is held against what is known here, and what is not in the catalogue
//! is refused and counted.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;

use super::facts::Sheet;
use super::prediction::{Expected, Measure, Prediction, Way};
use super::proposal::{Act, Departure, Minded, Proposal, Raise, Source, Verb, edited};
use super::question::{self, Question, RULES, Words};
use crate::domain::foreign_text::{self, display_line};
use crate::domain::id::Slug;
use crate::domain::lesson::Risk;

/// Most proposals of one answer.
const MOST: usize = 3;
/// A threshold is raised by no more than this factor: beyond it a rule guards nothing.
const FACTOR: f64 = 4.0;
/// Longest text of an edit, in bytes: it has to fit into the answer twice.
const EDIT_BYTES: usize = 1_500;
/// What an edit has to show: fewer findings.
pub const FINDINGS: &str = "audit.findings";

/// Why an offer is refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// Not of the shape that was asked for.
    Malformed,
    /// It names what is not there, or asks for what may not be done.
    OutOfCatalogue,
    /// It would change what nobody here changes: mesh's own files, git's, secrets.
    BlockedPath,
    /// An applicable lesson is neither cited nor argued against.
    Uncited,
    /// Its prediction cannot come out wrong, or cannot be measured.
    CannotFail,
}

impl Why {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::OutOfCatalogue => "out-of-catalogue",
            Self::BlockedPath => "blocked-path",
            Self::Uncited => "uncited",
            Self::CannotFail => "cannot-fail",
        }
    }
}

/// An offer that is not taken.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refused {
    /// Why, in one word.
    pub why: Why,
    /// What is wrong, in one sentence. Foreign text, made fit to be shown.
    pub detail: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.why.name(), self.detail)
    }
}

fn refused<T>(why: Why, detail: impl fmt::Display) -> Result<T, Refused> {
    Err(Refused { why, detail: display_line(&detail.to_string()).chars().take(300).collect() })
}

/// A place that a lesson found and that no lesson can mend, with the file that it is in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The lesson.
    pub lesson: Slug,
    /// The audited root.
    pub root: PathBuf,
    /// The file in it.
    pub path: String,
    /// The first line, from 1.
    pub line: u32,
    /// The last one.
    pub end_line: u32,
    /// What the file holds.
    pub text: String,
    /// Why nothing there may be changed, where that is so: it is not offered.
    pub blocked: Option<String>,
}

impl Place {
    /// Whether the bytes from `at` on for `length` are part of the finding's lines.
    fn is_touched(&self, at: usize, length: usize) -> bool {
        let line_of = |byte: usize| self.text[..byte].matches('\n').count() + 1;
        let (first, last) = (line_of(at), line_of(self.text.floor_char_boundary(at + length.saturating_sub(1))));
        let (from, to) = (self.line as usize, self.end_line.max(self.line) as usize);
        first <= to && last >= from
    }
}

/// What a model may choose from, and what is known of it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Catalogue {
    /// Places that may be edited, by the short name of the finding.
    pub places: BTreeMap<String, Place>,
    /// Rules that may be recalibrated: name, version, trigger, and the number as it is written.
    pub rules: BTreeMap<u32, (String, u32, String, String)>,
    /// Critical services, and what their managers call them.
    pub services: BTreeMap<String, String>,
    /// Series, and what each is now: its mean, its most and its growth of a day.
    pub series: BTreeMap<String, [Option<f64>; 3]>,
    /// Lessons that hold here.
    pub lessons: Vec<Minded>,
}

impl Catalogue {
    /// Whether there is anything to choose from.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.services.is_empty() && self.open_places().next().is_none()
    }

    /// Places that are offered.
    pub fn open_places(&self) -> impl Iterator<Item = (&String, &Place)> {
        self.places.iter().filter(|(_, place)| place.blocked.is_none())
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Offers {
    proposals: Vec<Offer>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Offer {
    action: Action,
    hypothesis: Words,
    risk: Risk,
    series: String,
    measure: Measure,
    way: Way,
    percent: u32,
    hours: u32,
    cites: Vec<String>,
    departs: Vec<Departs>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
enum Action {
    Recalibrate { rule: u32, to: u32 },
    RestartEvery { service: String, hours: u32 },
    Once { verb: Verb, service: String },
    Edit { finding: String, before: Lines, after: Lines },
}

/// Some lines of a file: nothing that is hidden or commands a terminal, and not too much.
#[derive(Clone, Debug)]
struct Lines(String);

impl<'de> Deserialize<'de> for Lines {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        foreign_text::check(&text).map_err(D::Error::custom)?;
        if text.len() > EDIT_BYTES {
            let bytes = text.len();
            return Err(D::Error::custom(format_args!(
                "an edit's text has {bytes} bytes, at most {EDIT_BYTES} are read"
            )));
        }
        Ok(Self(text))
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Departs {
    lesson: String,
    because: Words,
}

/// The question about what was observed.
#[must_use]
pub fn question(sheet: &Sheet, catalogue: &Catalogue) -> Question {
    let text = |most: usize| json!({ "type": "string", "maxLength": most });
    let object = |required: &[&str], properties: serde_json::Value| json!({ "type": "object", "additionalProperties": false, "required": required, "properties": properties });
    let rules: Vec<u32> = catalogue.rules.keys().copied().collect();
    let services: Vec<&String> = catalogue.services.keys().collect();
    let findings: Vec<&String> = catalogue.open_places().map(|(finding, _)| finding).collect();
    // A list of nothing to choose from is no schema to some servers.
    let mut actions = Vec::new();
    if !rules.is_empty() {
        actions.push(object(
            &["do", "rule", "to"],
            json!({ "do": { "const": "recalibrate" }, "rule": { "enum": rules }, "to": { "type": "integer" } }),
        ));
    }
    if !services.is_empty() {
        actions.push(object(
            &["do", "service", "hours"],
            json!({
                "do": { "const": "restart-every" }, "service": { "enum": services },
                "hours": { "type": "integer", "minimum": 1, "maximum": 168 },
            }),
        ));
        actions.push(object(
            &["do", "verb", "service"],
            json!({
                "do": { "const": "once" }, "verb": { "enum": Verb::ALL.map(Verb::name) }, "service": { "enum": services },
            }),
        ));
    }
    if !findings.is_empty() {
        actions.push(object(
            &["do", "finding", "before", "after"],
            json!({
                "do": { "const": "edit" }, "finding": { "enum": findings },
                "before": text(EDIT_BYTES), "after": text(EDIT_BYTES),
            }),
        ));
    }
    let proposal = object(
        &["action", "hypothesis", "risk", "series", "measure", "way", "percent", "hours", "cites", "departs"],
        json!({
            "action": { "anyOf": actions },
            "hypothesis": text(300),
            "risk": { "enum": ["low", "medium", "high"] },
            "series": { "enum": catalogue.series.keys().collect::<Vec<_>>() },
            "measure": { "enum": ["avg", "max", "rate"] },
            "way": { "enum": ["up", "down"] },
            "percent": { "type": "integer", "minimum": 1, "maximum": 100 },
            "hours": { "type": "integer", "minimum": 1, "maximum": 168 },
            "cites": { "type": "array", "items": text(64) },
            "departs": { "type": "array", "items": object(&["lesson", "because"], json!({ "lesson": text(64), "because": text(300) })) },
        }),
    );
    let schema =
        object(&["proposals"], json!({ "proposals": { "type": "array", "maxItems": MOST, "items": proposal } }));
    let ask = format!(
        "{RULES} Question: which changes would help, if any? At most {MOST}; none is a good answer. `action`: `recalibrate` lets a \
         rule that fires without need hold from a higher number on; `restart-every` restarts a service that leaks; `once` does \
         something to a service now; `edit` writes a place of a finding otherwise: `before` is the exact text that stands there, \
         once in the file and on the lines of the finding, `after` the text in its place, and `cites` has the finding's lesson. `series`, \
         `measure`, `way`, `percent`, `hours`: what will be seen if you are right, as a change of that series by at least so many \
         percent. `cites`: the lessons that you follow; `departs`: those that apply to the same signal and that you do not follow, \
         with the reason. A lesson that is in neither makes the proposal void."
    );
    Question { name: "proposals", ask, facts: sheet.text(), schema, most: 1_200 }
}

/// Reads the answer to [`question()`]: what may go before the guard, and what is refused.
#[must_use]
pub fn read(answer: &str, model: &str, catalogue: &Catalogue) -> (Vec<Proposal>, Vec<Refused>) {
    let offers: Offers = match question::read(answer) {
        Ok(offers) => offers,
        Err(error) => return (Vec::new(), refused::<()>(Why::Malformed, error).err().into_iter().collect()),
    };
    let (mut taken, mut not) = (Vec::new(), Vec::new());
    for (place, offer) in offers.proposals.into_iter().enumerate() {
        if place >= MOST {
            not.extend(refused::<()>(Why::Malformed, format_args!("more than {MOST} proposals")).err());
            break;
        }
        match check(offer, model, catalogue) {
            Ok(proposal) => taken.push(proposal),
            Err(why) => not.push(why),
        }
    }
    (taken, not)
}

fn check(offer: Offer, model: &str, catalogue: &Catalogue) -> Result<Proposal, Refused> {
    let (act, area, of) = act(offer.action, catalogue)?;
    if matches!(act, Act::Edit { .. }) && offer.series != FINDINGS {
        return refused(Why::CannotFail, format_args!("an edit shows in `{FINDINGS}`, not in `{}`", offer.series));
    }
    let Some(now) = catalogue.series.get(&offer.series) else {
        return refused(Why::OutOfCatalogue, format_args!("no series `{}` is measured here", offer.series));
    };
    let before = match offer.measure {
        Measure::Avg => now[0],
        Measure::Max => now[1],
        Measure::Rate => now[2],
    };
    let prediction = Prediction {
        series: offer.series,
        measure: offer.measure,
        way: offer.way,
        percent: offer.percent,
        hours: offer.hours.min(168),
        before: before.unwrap_or(0.0),
    };
    if let Err(why) = prediction.check() {
        return refused(Why::CannotFail, why);
    }
    let known = |name: &str| catalogue.lessons.iter().find(|minded| minded.lesson.as_str() == name);
    let unknown = offer
        .cites
        .iter()
        .chain(offer.departs.iter().map(|departs| &departs.lesson))
        .find(|name| known(name).is_none());
    if let Some(name) = unknown {
        return refused(Why::OutOfCatalogue, format_args!("no lesson `{name}` holds here"));
    }
    let slug = |name: &str| known(name).map(|minded| minded.lesson.clone());
    let proposal = Proposal {
        source: Source::Model(model.to_owned()),
        risk: offer.risk.max(act.least_risk()),
        act,
        hypothesis: offer.hypothesis.as_str().to_owned(),
        area,
        expected: Expected::Number(prediction),
        cites: offer.cites.iter().filter_map(|name| slug(name)).collect(),
        departs_because: offer
            .departs
            .iter()
            .filter_map(|departs| {
                Some(Departure { lesson: slug(&departs.lesson)?, because: departs.because.as_str().to_owned() })
            })
            .collect(),
        evidence: vec!["a model's guess: the numbers are mesh's own, the words are not".to_owned()],
    };
    let mut uncited = proposal.uncited(&catalogue.lessons);
    uncited.extend(of.filter(|lesson| !proposal.minds(lesson)));
    match uncited.first() {
        None => Ok(proposal),
        Some(lesson) => {
            refused(Why::Uncited, format_args!("{lesson} applies, and is neither cited nor argued against"))
        }
    }
}

/// The act, its area, and the lesson that it has to mind whatever it predicts.
fn act(action: Action, catalogue: &Catalogue) -> Result<(Act, String, Option<Slug>), Refused> {
    let service = |name: &str| match catalogue.services.get_key_value(name) {
        Some((service, unit)) => Ok((service.clone(), unit.clone())),
        None => refused(Why::OutOfCatalogue, format_args!("no critical service `{name}` is known here")),
    };
    match action {
        Action::Recalibrate { rule, to } => {
            let Some((name, version, trigger, from)) = catalogue.rules.get(&rule) else {
                return refused(
                    Why::OutOfCatalogue,
                    format_args!("rule {rule} is not among those that may be recalibrated"),
                );
            };
            let old: f64 = from.parse().unwrap_or(0.0);
            if f64::from(to) <= old || f64::from(to) > old * FACTOR {
                return refused(Why::OutOfCatalogue, format_args!("rule {rule} is not raised from {from} to {to}"));
            }
            let raise = Raise { trigger: trigger.clone(), from: from.clone(), to: to.to_string() };
            let act = Act::Recalibrate {
                rule,
                name: name.clone(),
                version: *version,
                raise: Some(raise),
                fits: BTreeMap::new(),
            };
            Ok((act, name.clone(), None))
        }
        Action::RestartEvery { service: name, hours } => {
            let (service, unit) = service(&name)?;
            if !(1..=168).contains(&hours) {
                return refused(Why::OutOfCatalogue, format_args!("{hours} h is not from 1 to 168"));
            }
            Ok((Act::RestartEvery { service: service.clone(), unit, hours }, service, None))
        }
        Action::Once { verb, service: name } => {
            let (service, unit) = service(&name)?;
            Ok((Act::Once { verb, service: service.clone(), unit }, service, None))
        }
        Action::Edit { finding, before: Lines(before), after: Lines(after) } => {
            let Some(place) = catalogue.places.get(&finding) else {
                return refused(Why::OutOfCatalogue, format_args!("no finding `{finding}` may be edited away"));
            };
            if let Some(why) = &place.blocked {
                return refused(Why::BlockedPath, format_args!("{}: {why}", place.path));
            }
            if before == after {
                return refused(Why::Malformed, format_args!("the edit of {} changes nothing", place.path));
            }
            let Some((_, diff)) = edited(&place.path, &place.text, &before, &after) else {
                return refused(
                    Why::OutOfCatalogue,
                    format_args!("{} does not hold the text that is to be edited, or not once", place.path),
                );
            };
            let at = place.text.find(&before).unwrap_or_default();
            if !place.is_touched(at, before.len()) {
                return refused(
                    Why::OutOfCatalogue,
                    format_args!("the edit of {} is not where finding {finding} is", place.path),
                );
            }
            let (root, path) = (place.root.clone(), place.path.clone());
            let area = root.to_string_lossy().into_owned();
            Ok((Act::Edit { root, path, before, after, diff }, area, Some(place.lesson.clone())))
        }
    }
}

#[cfg(test)]
#[path = "offer_tests.rs"]
mod tests;
