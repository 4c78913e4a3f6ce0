//! A change that mesh proposes by itself: why, what exactly, what it would show as a number, and the way back.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::prediction::Expected;
use crate::domain::expr::Claim;
use crate::domain::fix::{ActionHash, FixId};
use crate::domain::guard::ActionKind;
use crate::domain::id::{EntryId, Slug};
use crate::domain::lesson::Risk;

/// What is proposed: a closed catalogue. No text in it comes from a model, and none of it is a command.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Act {
    /// A rule holds from another number on.
    Recalibrate {
        /// The rule.
        rule: u32,
        /// Its name.
        name: String,
        /// Its version, for the local edit.
        version: u32,
        /// Its trigger as it is.
        trigger: String,
        /// The number as it stands in the trigger.
        from: String,
        /// The number as it would.
        to: String,
    },
    /// A service is restarted before it has grown too large.
    RestartEvery {
        /// The service.
        service: String,
        /// What its manager calls it.
        unit: String,
        /// After how many hours.
        hours: u32,
    },
    /// The fix of a lesson that somebody else learned.
    Adopt {
        /// The lesson.
        lesson: Slug,
        /// Its revision.
        rev: u32,
        /// The signed document that it came in.
        entry: Option<EntryId>,
        /// Whose it is, in the words of this host.
        origin: String,
        /// The audited root.
        root: PathBuf,
        /// The file in it.
        path: String,
        /// The fix that was planned for it.
        fix: FixId,
    },
}

impl Act {
    /// What is done, in a few words.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Recalibrate { rule, name, from, to, .. } => {
                format!("rule {rule} {name} holds from {to} on, not {from}")
            }
            Self::RestartEvery { service, hours, .. } => format!("{service} is restarted every {hours} h"),
            Self::Adopt { lesson, rev, path, .. } => format!("the fix of {lesson} rev {rev} in {path}"),
        }
    }

    /// Least risk of it, whatever anybody says.
    #[must_use]
    pub const fn least_risk(&self) -> Risk {
        match self {
            Self::Recalibrate { .. } | Self::Adopt { .. } => Risk::Low,
            Self::RestartEvery { .. } => Risk::Medium,
        }
    }

    /// What kind of change it is.
    #[must_use]
    pub const fn kind(&self) -> ActionKind {
        match self {
            Self::Recalibrate { .. } | Self::RestartEvery { .. } => ActionKind::File,
            Self::Adopt { .. } => ActionKind::Branch,
        }
    }

    /// Why mesh does not do it itself; none where the guarded path of fixes does.
    #[must_use]
    pub const fn needs_person(&self) -> Option<&'static str> {
        match self {
            Self::Recalibrate { .. } => Some("blocked on a person: mesh never changes its own files"),
            Self::RestartEvery { .. } => Some("blocked on a person: mesh writes no unit files"),
            Self::Adopt { .. } => None,
        }
    }

    /// What it is about, whatever the numbers: two proposals of one name are not made beside each other.
    #[must_use]
    pub fn id(&self) -> FixId {
        match self {
            Self::Recalibrate { rule, .. } => named(&["recalibrate", &rule.to_string()]),
            Self::RestartEvery { service, .. } => named(&["restart-every", service]),
            Self::Adopt { fix, .. } => fix.clone(),
        }
    }

    /// What exactly is done, whatever the words around it.
    #[must_use]
    pub fn hash(&self) -> ActionHash {
        let id = self.id();
        let number = match self {
            Self::Recalibrate { to, .. } => to.clone(),
            Self::RestartEvery { hours, .. } => hours.to_string(),
            Self::Adopt { rev, .. } => rev.to_string(),
        };
        ActionHash(digest(&["proposal", id.as_str(), &number]))
    }

    /// How it is taken back.
    #[must_use]
    pub fn way_back(&self) -> String {
        match self {
            Self::Recalibrate { rule, .. } => format!("remove config/rules/local-{rule}.toml, then `mesh reload`"),
            Self::RestartEvery { unit, .. } => format!("systemctl revert {unit}"),
            Self::Adopt { fix, .. } => format!("mesh fix rollback {fix}"),
        }
    }

    /// What a person does to make it, a line each.
    #[must_use]
    pub fn recipe(&self) -> Vec<String> {
        match self {
            Self::Recalibrate { rule, version, trigger, from, to, .. } => {
                let changed = toml::Value::String(trigger.replacen(from, to, 1)).to_string();
                vec![
                    format!("write config/rules/local-{rule}.toml, then `mesh reload` and `mesh rule drill {rule}`:"),
                    format!("  number = {rule}"),
                    format!("  base_version = {version}"),
                    "  [trigger]".to_owned(),
                    format!("  when = {changed}"),
                ]
            }
            Self::RestartEvery { unit, hours, .. } => vec![
                format!("systemctl edit {unit}, with Restart=always set for it:"),
                "  [Service]".to_owned(),
                format!("  RuntimeMaxSec={hours}h"),
            ],
            Self::Adopt { fix, .. } => vec![format!("mesh fix show {fix}")],
        }
    }
}

fn digest(parts: &[&str]) -> [u8; 32] {
    let mut hash = blake3::Hasher::new();
    for part in parts {
        hash.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    *hash.finalize().as_bytes()
}

fn named(parts: &[&str]) -> FixId {
    let hash = digest(parts);
    let hex: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    hex.parse().expect("eight hexadecimal digits")
}

/// Who proposes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Mesh's own reckoning.
    Mesh,
    /// A model.
    Model(String),
}

impl Source {
    /// The word for it in listings.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Mesh => "mesh",
            Self::Model(name) => name,
        }
    }
}

/// A lesson that a proposal does not follow.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Departure {
    /// The lesson.
    pub lesson: Slug,
    /// Why not. Foreign text, made fit to be shown.
    pub because: String,
}

/// A proposal.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Proposal {
    /// Who proposes.
    pub source: Source,
    /// What.
    pub act: Act,
    /// What is thought to be the matter. Foreign text where a model proposes, made fit to be shown.
    pub hypothesis: String,
    /// How much it could break.
    pub risk: Risk,
    /// What freezes together with it.
    pub area: String,
    /// What it would show.
    pub expected: Expected,
    /// Lessons that it follows.
    pub cites: Vec<Slug>,
    /// Lessons that it does not follow, and why.
    pub departs_because: Vec<Departure>,
    /// What speaks for it, a line each.
    pub evidence: Vec<String>,
}

/// A lesson that holds here, as far as a proposal has to mind it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Minded {
    /// The lesson.
    pub lesson: Slug,
    /// The signals that its claim reads.
    pub signals: Vec<String>,
}

/// The lessons that apply to a change which is predicted to show in `claim`: those whose own claim reads one of its
/// signals.
#[must_use]
pub fn applicable(claim: &str, lessons: &[Minded]) -> Vec<Slug> {
    let Ok(claim) = Claim::compile(claim) else { return Vec::new() };
    let read = claim.signals();
    let minded = lessons.iter().filter(|minded| minded.signals.iter().any(|signal| read.contains(&signal.as_str())));
    minded.map(|minded| minded.lesson.clone()).collect()
}

impl Proposal {
    /// Applicable lessons that it neither cites nor argues against.
    #[must_use]
    pub fn uncited(&self, lessons: &[Minded]) -> Vec<Slug> {
        let mut missing = applicable(&self.expected.claim(), lessons);
        missing.retain(|lesson| {
            !self.cites.contains(lesson) && !self.departs_because.iter().any(|departure| departure.lesson == *lesson)
        });
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::kaizen::prediction::{Measure, Prediction, Way};

    fn recalibrate(to: &str) -> Act {
        Act::Recalibrate {
            rule: 15,
            name: "memory-over-limit".to_owned(),
            version: 1,
            trigger: "last(\"unit.memory_percent/{target}\") > 100".to_owned(),
            from: "100".to_owned(),
            to: to.to_owned(),
        }
    }

    fn prediction() -> Prediction {
        Prediction {
            series: "service.restarts/web".to_owned(),
            measure: Measure::Rate,
            way: Way::Down,
            percent: 80,
            hours: 24,
            before: 8.0,
        }
    }

    #[test]
    fn d8_the_name_of_a_proposal_is_what_it_is_about_and_its_hash_what_it_does() {
        let (one, other) = (recalibrate("180"), recalibrate("190"));
        assert_eq!(one.id(), other.id());
        assert_ne!(one.hash(), other.hash());
        let renamed = Act::Recalibrate {
            rule: 15,
            name: "other words".to_owned(),
            version: 9,
            trigger: "x".to_owned(),
            from: "1".to_owned(),
            to: "180".to_owned(),
        };
        assert_eq!(one.hash(), renamed.hash(), "words change nothing");
        let hourly = Act::RestartEvery { service: "web".to_owned(), unit: "web.service".to_owned(), hours: 6 };
        assert_ne!(hourly.id(), one.id());
        assert_eq!(hourly.least_risk(), Risk::Medium);
    }

    #[test]
    fn a_recipe_is_a_local_edit_of_the_rule() {
        let recipe = recalibrate("180").recipe().join("\n");
        let text: String = recipe.lines().skip(1).map(|line| format!("{}\n", line.trim())).collect();
        let edit: toml::Table = toml::from_str(&text).expect("TOML");
        assert_eq!(edit["number"].as_integer(), Some(15));
        assert_eq!(edit["trigger"]["when"].as_str(), Some("last(\"unit.memory_percent/{target}\") > 180"));
    }

    #[test]
    fn e11_lessons_that_read_the_same_signal_apply() {
        let slug = |text: &str| text.parse::<Slug>().expect("a name");
        let minded = |name: &str, signal: &str| Minded { lesson: slug(name), signals: vec![signal.to_owned()] };
        let lessons = [
            minded("restarts", "service.restarts"),
            minded("disk", "host.disk.used_percent"),
            minded("more", "service.restarts"),
        ];
        let mut proposal = Proposal {
            source: Source::Mesh,
            act: recalibrate("180"),
            hypothesis: "it is slow, not dead".to_owned(),
            risk: Risk::Low,
            area: "web".to_owned(),
            expected: Expected::Number(prediction()),
            cites: vec![slug("restarts")],
            departs_because: Vec::new(),
            evidence: Vec::new(),
        };
        assert_eq!(proposal.uncited(&lessons), [slug("more")]);
        proposal.departs_because.push(Departure { lesson: slug("more"), because: "it is about units".to_owned() });
        assert_eq!(proposal.uncited(&lessons), Vec::<Slug>::new());
    }
}
