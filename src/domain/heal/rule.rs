//! A rule as data: trigger, diagnose, action, validate, escalate, and the drill that proves all five. A part that is
//! missing is an error where the rule is read.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::action::{Action, Undo};
use super::condition::{Condition, ConditionText};
use super::drill::{DrillPlan, DrillText};
use super::replay::{Recorded, SeriesText};
use super::target::{Target, TargetKind};
use crate::domain::foreign_text;
use crate::domain::signal;

/// Rules of the pack are numbered below this; local ones from it on.
pub const LOCAL_FROM: u32 = 1_000;
/// Longest text of a rule, in bytes.
const TEXT_BYTES: usize = 1_000;
/// Shortest cooldown.
const COOLDOWN: Duration = Duration::from_secs(10);

/// Spans as people write them, such as `90s` or `6h`.
pub mod span {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::domain::lesson::parse_span;

    /// Reads one.
    ///
    /// # Errors
    /// It is none.
    pub fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(input)?;
        parse_span(&text)
            .ok_or_else(|| serde::de::Error::custom(format!("`{text}` is not a span such as 90s, 15m, 6h or 7d")))
    }

    /// Writes one in seconds.
    ///
    /// # Errors
    /// The writer's.
    pub fn serialize<S: Serializer>(span: &Duration, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(&format_args!("{}s", span.as_secs()))
    }

    /// The same where it may be absent.
    pub mod optional {
        use std::time::Duration;

        use serde::{Deserializer, Serializer};

        /// Reads one.
        ///
        /// # Errors
        /// It is none.
        pub fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Duration>, D::Error> {
            super::deserialize(input).map(Some)
        }

        /// Writes one in seconds.
        ///
        /// # Errors
        /// The writer's.
        pub fn serialize<S: Serializer>(span: &Option<Duration>, out: S) -> Result<S::Ok, S::Error> {
            match span {
                Some(span) => super::serialize(span, out),
                None => out.serialize_none(),
            }
        }
    }
}

/// What a rule may do by itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Risk {
    /// It acts by itself once its drill has passed.
    Low,
    /// It acts where the rule has a canary, or where a person has said so for the target or the incident.
    Medium,
    /// It only tells, on purpose.
    Report,
}

impl Risk {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::Report => "report",
        }
    }
}

/// A rule as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleText {
    number: u32,
    version: u32,
    name: String,
    risk: Risk,
    #[serde(default)]
    dry_run: bool,
    target: TargetKind,
    #[serde(default)]
    tags: Vec<String>,
    because: String,
    resource: String,
    #[serde(with = "span")]
    cooldown: Duration,
    calibrated_for: Calibration,
    budget: Budget,
    trigger: ConditionText,
    diagnose: Vec<DiagnoseText>,
    action: Vec<Rung>,
    validate: ValidateText,
    escalate: Escalate,
    drill: DrillText,
    #[serde(default)]
    sample: Vec<Sample>,
    #[serde(default)]
    series: Vec<SeriesText>,
}

/// What the numbers of a rule were chosen for.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// The usual range of signals there: least and most.
    #[serde(default)]
    pub signals: BTreeMap<String, [f64; 2]>,
    /// What kind of host.
    pub env: BTreeMap<String, String>,
    /// Where the numbers come from.
    pub note: String,
}

/// How often a rule may act on one target.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Times.
    pub tries: usize,
    /// Within this span.
    #[serde(with = "span")]
    pub within: Duration,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DiagnoseText {
    say: String,
    when: ConditionText,
}

/// One question that must be answered with yes before anything is done.
#[derive(Clone, Debug)]
pub struct Diagnosis {
    /// What is confirmed, in words.
    pub say: String,
    /// The question.
    pub when: Condition,
}

/// What follows when the actions of a rung were taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Then {
    /// It is validated.
    #[default]
    Validate,
    /// The next rung is next, whatever is measured.
    Next,
}

/// One rung of the ladder: what the first, second, ... attempt does. The last one is taken again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rung {
    /// Actions, in order; the first that fails ends the rung.
    pub steps: Vec<Action>,
    /// Wait before it, give or take a fifth.
    #[serde(default, with = "span")]
    pub wait: Duration,
    /// What follows.
    #[serde(default)]
    pub then: Then,
    /// Whether the rung tries its action where little can break, or judges it, before it counts.
    #[serde(default)]
    pub canary: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ValidateText {
    when: ConditionText,
    #[serde(with = "span")]
    within: Duration,
}

/// What must be seen before "healed" is said.
#[derive(Clone, Debug)]
pub struct Validation {
    /// The condition; its `for` is how long it must hold.
    pub when: Condition,
    /// The deadline.
    pub within: Duration,
}

/// What happens when the rule is at its end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Escalate {
    /// What a person is told to look at.
    pub say: String,
    /// What would mend it for good: kept with the incident as a proposal once the rule has acted.
    #[serde(default)]
    pub propose: Option<String>,
    /// The rule that goes on.
    #[serde(default)]
    pub to: Option<u32>,
    /// After this many incidents within [`Escalate::within`], healed or not.
    #[serde(default)]
    pub after: Option<usize>,
    /// The span for it.
    #[serde(default, with = "span::optional")]
    pub within: Option<Duration>,
}

/// A recorded line, and whether the trigger's patterns must match it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// The line.
    pub line: String,
    /// Whether it must match.
    #[serde(rename = "match")]
    pub matches: bool,
}

/// A rule whose every part was checked.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its number, for people and for the log.
    pub number: u32,
    /// Grows with every change of it.
    pub version: u32,
    /// Its name: `a-z`, `0-9`, `-`.
    pub name: String,
    /// What it may do by itself.
    pub risk: Risk,
    /// Whether it goes all the way to the action, and then only says what it would do.
    pub dry_run: bool,
    /// What it is about.
    pub target: TargetKind,
    /// Tags of which a target must have one; it is about all of its kind where there is none.
    pub tags: Vec<String>,
    /// Why it is right.
    pub because: String,
    /// What must not be worked on by two rules at once; `{target}`, `{service}` and `{path}` stand for the target's.
    pub resource: String,
    /// Least time between two attempts on one target.
    pub cooldown: Duration,
    /// What its numbers were chosen for.
    pub calibrated_for: Calibration,
    /// How often it may act.
    pub budget: Budget,
    /// When it holds.
    pub trigger: Condition,
    /// What must be so beside.
    pub diagnose: Vec<Diagnosis>,
    /// What it does; nothing where it only tells.
    pub action: Vec<Rung>,
    /// What must be seen afterwards.
    pub validate: Validation,
    /// What happens at its end.
    pub escalate: Escalate,
    /// How it is proved.
    pub drill: DrillPlan,
    /// Recorded lines.
    pub samples: Vec<Sample>,
    /// Recorded series.
    pub series: Vec<Recorded>,
}

/// Every field of a rule that stands at its top, for the message about a missing one.
pub const PARTS: &[&str] = &[
    "number",
    "version",
    "name",
    "risk",
    "target",
    "because",
    "resource",
    "cooldown",
    "calibrated_for",
    "budget",
    "trigger",
    "diagnose",
    "action",
    "validate",
    "escalate",
    "drill",
];

impl RuleText {
    /// Checks what the format alone does not say.
    ///
    /// # Errors
    /// The part with the mistake, and the mistake in one sentence.
    pub fn check(self) -> Result<Rule, (&'static str, String)> {
        let wrong = |part: &'static str, why: &str| Err((part, why.to_owned()));
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if self.name.is_empty() || self.name.len() > 40 || !self.name.bytes().all(plain) {
            return wrong("name", "must be 1 to 40 of a-z, 0-9 and -");
        }
        if self.number == 0 || self.number > 9_999 {
            return wrong("number", "must be 1 to 9999");
        }
        let texts = [
            ("because", &self.because),
            ("resource", &self.resource),
            ("escalate", &self.escalate.say),
            ("calibrated_for", &self.calibrated_for.note),
        ];
        let proposal = self.escalate.propose.iter().map(|text| ("escalate", text));
        for (part, text) in texts.into_iter().chain(proposal) {
            if text.trim().is_empty() || text.len() > TEXT_BYTES || foreign_text::check(text).is_err() {
                return Err((part, format!("must be 1 to {TEXT_BYTES} bytes of plain text")));
            }
        }
        for name in self.calibrated_for.signals.keys() {
            signal::demand(name).map_err(|error| ("calibrated_for", error.to_string()))?;
        }
        if self.cooldown < COOLDOWN {
            return wrong("cooldown", "must be at least 10s");
        }
        if self.budget.tries == 0 || self.budget.tries > 20 {
            return wrong("budget", "`tries` must be 1 to 20");
        }
        if self.escalate.after.is_some() != self.escalate.within.is_some() {
            return wrong("escalate", "`after` and `within` go together");
        }
        if self.escalate.to == Some(self.number) {
            return wrong("escalate", "a rule cannot escalate to itself");
        }
        match (self.risk, self.action.is_empty()) {
            (Risk::Report, false) => return wrong("action", "a rule of risk `report` has none: `action = []`"),
            (Risk::Low | Risk::Medium, true) => {
                return wrong("action", "is empty: only a rule of risk `report` has none");
            }
            _ => {}
        }
        if self.action.iter().any(|rung| rung.steps.is_empty()) {
            return wrong("action", "a rung without `steps` does nothing");
        }
        if self.action.last().is_some_and(|rung| rung.then == Then::Next) {
            return wrong("action", "the last rung must be validated");
        }
        if self.diagnose.is_empty() {
            return wrong("diagnose", "must have at least one question");
        }
        let checked = |part: &'static str, text: ConditionText| text.check().map_err(|why| (part, why));
        let diagnose =
            self.diagnose.into_iter().map(|one| Ok(Diagnosis { say: one.say, when: checked("diagnose", one.when)? }));
        let trigger = checked("trigger", self.trigger)?;
        if !self.sample.is_empty() && !trigger.reads_lines() {
            return wrong("sample", "the trigger looks at no lines");
        }
        let series = self.series.into_iter().map(|text| text.check().map_err(|why| ("series", why)));
        let series = series.collect::<Result<_, _>>()?;
        Ok(Rule {
            number: self.number,
            version: self.version,
            name: self.name,
            risk: self.risk,
            dry_run: self.dry_run,
            target: self.target,
            tags: self.tags,
            because: self.because.trim().to_owned(),
            resource: self.resource,
            cooldown: self.cooldown,
            calibrated_for: self.calibrated_for,
            budget: self.budget,
            diagnose: diagnose.collect::<Result<_, _>>()?,
            validate: Validation { when: checked("validate", self.validate.when)?, within: self.validate.within },
            trigger,
            action: self.action,
            escalate: self.escalate,
            drill: self.drill.check().map_err(|why| ("drill", why))?,
            samples: self.sample,
            series,
        })
    }
}

impl Rule {
    /// Whether it is about this target.
    #[must_use]
    pub fn concerns(&self, target: &Target) -> bool {
        let tagged = || self.tags.iter().any(|tag| target.tags.contains(tag));
        self.target == target.kind && (self.tags.is_empty() || tagged())
    }

    /// What the n-th attempt (from 0) does.
    #[must_use]
    pub fn rung(&self, attempt: usize) -> Option<&Rung> {
        self.action.get(attempt.min(self.action.len().saturating_sub(1)))
    }

    /// Whether any of its rungs is a canary.
    #[must_use]
    pub fn has_canary(&self) -> bool {
        self.action.first().is_some_and(|rung| rung.canary)
    }

    /// Every action it may take, once each, with what leads back.
    #[must_use]
    pub fn ways_back(&self) -> Vec<(String, Undo)> {
        let mut ways: Vec<(String, Undo)> = Vec::new();
        for action in self.action.iter().flat_map(|rung| &rung.steps) {
            let name = action.to_string();
            if !ways.iter().any(|(known, _)| *known == name) {
                ways.push((name, action.undo()));
            }
        }
        ways
    }

    /// Recorded series that the rule gets wrong.
    #[must_use]
    pub fn wrong_series(&self) -> Vec<&Recorded> {
        self.series.iter().filter(|series| !series.is_right(self)).collect()
    }

    /// Recorded lines that the trigger's patterns get wrong.
    #[must_use]
    pub fn wrong_samples(&self) -> Vec<&Sample> {
        self.samples.iter().filter(|sample| self.trigger.matches_line(&sample.line) != sample.matches).collect()
    }
}
