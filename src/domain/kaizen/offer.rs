//! What a model proposes, read as data: every part is held against what is known here, and what is not in the catalogue
//! is refused and counted.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::facts::Sheet;
use super::prediction::{Expected, Measure, Prediction, Way};
use super::proposal::{Act, Departure, Minded, Proposal, Source};
use super::question::{self, Question, RULES, Words};
use crate::domain::foreign_text::display_line;
use crate::domain::lesson::Risk;

/// Most proposals of one answer.
const MOST: usize = 3;
/// A threshold is raised by no more than this factor: beyond it a rule guards nothing.
const FACTOR: f64 = 4.0;

/// Why an offer is refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// Not of the shape that was asked for.
    Malformed,
    /// It names what is not there, or asks for what may not be done.
    OutOfCatalogue,
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

/// What a model may choose from, and what is known of it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Catalogue {
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
        self.rules.is_empty() && self.services.is_empty()
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
    let text = |most: u32| json!({ "type": "string", "maxLength": most });
    let object = |required: &[&str], properties: serde_json::Value| json!({ "type": "object", "additionalProperties": false, "required": required, "properties": properties });
    let rules: Vec<u32> = catalogue.rules.keys().copied().collect();
    let services: Vec<&String> = catalogue.services.keys().collect();
    let actions = json!([
        object(
            &["do", "rule", "to"],
            json!({ "do": { "const": "recalibrate" }, "rule": { "enum": rules }, "to": { "type": "integer" } })
        ),
        object(
            &["do", "service", "hours"],
            json!({
                "do": { "const": "restart-every" }, "service": { "enum": services },
                "hours": { "type": "integer", "minimum": 1, "maximum": 168 },
            })
        ),
    ]);
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
         rule that fires without need hold from a higher number on; `restart-every` restarts a service that leaks. `series`, \
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
    let (act, area) = act(offer.action, catalogue)?;
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
    let uncited = proposal.uncited(&catalogue.lessons);
    match uncited.first() {
        None => Ok(proposal),
        Some(lesson) => {
            refused(Why::Uncited, format_args!("{lesson} applies, and is neither cited nor argued against"))
        }
    }
}

fn act(action: Action, catalogue: &Catalogue) -> Result<(Act, String), Refused> {
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
            let act = Act::Recalibrate {
                rule,
                name: name.clone(),
                version: *version,
                trigger: trigger.clone(),
                from: from.clone(),
                to: to.to_string(),
            };
            Ok((act, name.clone()))
        }
        Action::RestartEvery { service, hours } => {
            let Some((service, unit)) = catalogue.services.get_key_value(&service) else {
                return refused(Why::OutOfCatalogue, format_args!("no critical service `{service}` is known here"));
            };
            if !(1..=168).contains(&hours) {
                return refused(Why::OutOfCatalogue, format_args!("{hours} h is not from 1 to 168"));
            }
            let act = Act::RestartEvery { service: service.clone(), unit: unit.clone(), hours };
            Ok((act, service.clone()))
        }
    }
}

#[cfg(test)]
#[path = "offer_tests.rs"]
mod tests;
