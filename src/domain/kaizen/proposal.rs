//! A change that mesh proposes by itself: why, what exactly, what it would show as a number, and the way back.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use similar::TextDiff;

use super::prediction::Expected;
use crate::domain::expr::Claim;
use crate::domain::fix::{ActionHash, FixId};
use crate::domain::foreign_text::display_line;
use crate::domain::guard::ActionKind;
use crate::domain::heal::rule::LOCAL_FROM;
use crate::domain::id::{EntryId, Slug};
use crate::domain::lesson::Risk;

/// A higher number for a rule.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Raise {
    /// Its trigger as it is.
    pub trigger: String,
    /// The number as it stands in the trigger.
    pub from: String,
    /// The number as it would.
    pub to: String,
}

/// What is done to a service once: those actions of rules that a service manager has a verb for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// Started, where it is not up.
    Start,
    /// Stopped and started.
    Restart,
    /// Told to read its configuration again.
    Reload,
    /// Its failures are forgotten, so that its manager starts it again.
    ResetFailed,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Start, Self::Restart, Self::Reload, Self::ResetFailed];

    /// The word for it, which is the same for rules and for service managers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Restart => "restart",
            Self::Reload => "reload",
            Self::ResetFailed => "reset-failed",
        }
    }
}

/// What is proposed: a closed catalogue. None of it is a command, and no text in it comes from a model but both texts of
/// an edit, which stay that: texts, for a person to look at.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Act {
    /// A rule holds from another number on, or is said to fit what is usual here by now.
    Recalibrate {
        /// The rule.
        rule: u32,
        /// Its name.
        name: String,
        /// Its version, for the local edit.
        version: u32,
        /// The number of its trigger, where that is raised.
        #[serde(flatten)]
        raise: Option<Raise>,
        /// What its signals usually are, where it is out of its calibration: least and most.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        fits: BTreeMap<String, [f64; 2]>,
    },
    /// A service is started, restarted or told something, once.
    Once {
        /// What is done.
        verb: Verb,
        /// The service.
        service: String,
        /// What its manager calls it.
        unit: String,
    },
    /// A place in a file is written otherwise.
    Edit {
        /// The audited root.
        root: PathBuf,
        /// The file in it.
        path: String,
        /// What stands there, once in the file. Foreign text.
        before: String,
        /// What would. Foreign text.
        after: String,
        /// The file with it, as a unified diff.
        diff: String,
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
            Self::Recalibrate { rule, name, raise, fits, .. } => {
                let raised = raise.iter().map(|Raise { from, to, .. }| format!("holds from {to} on, not {from}"));
                let fits = fits.iter().map(|(signal, [least, most])| format!("fits {signal} of {least} to {most}"));
                format!("rule {rule} {name} {}", raised.chain(fits).collect::<Vec<_>>().join(", "))
            }
            Self::Once { verb, service, .. } => format!("{} of {service}, once", verb.name()),
            Self::Edit { path, .. } => format!("an edit of {}", display_line(path)),
            Self::RestartEvery { service, hours, .. } => format!("{service} is restarted every {hours} h"),
            Self::Adopt { lesson, rev, path, .. } => format!("the fix of {lesson} rev {rev} in {path}"),
        }
    }

    /// Least risk of it, whatever anybody says.
    #[must_use]
    pub const fn least_risk(&self) -> Risk {
        match self {
            Self::Recalibrate { .. } | Self::Adopt { .. } => Risk::Low,
            Self::Once { verb: Verb::Start | Verb::Reload | Verb::ResetFailed, .. } => Risk::Low,
            Self::Once { verb: Verb::Restart, .. } | Self::RestartEvery { .. } | Self::Edit { .. } => Risk::Medium,
        }
    }

    /// What kind of change it is.
    #[must_use]
    pub const fn kind(&self) -> ActionKind {
        match self {
            Self::Recalibrate { .. } | Self::RestartEvery { .. } | Self::Once { .. } | Self::Edit { .. } => {
                ActionKind::File
            }
            Self::Adopt { .. } => ActionKind::Branch,
        }
    }

    /// Why mesh does not do it itself; none where the guarded path of fixes does.
    #[must_use]
    pub const fn needs_person(&self) -> Option<&'static str> {
        match self {
            Self::Recalibrate { .. } => Some("blocked on a person: mesh never changes its own files"),
            Self::RestartEvery { .. } => Some("blocked on a person: mesh writes no unit files"),
            Self::Once { .. } => Some("blocked on a person: mesh does to services what drilled rules say"),
            Self::Edit { .. } => Some("blocked on a person: mesh makes no edit that no lesson proves"),
            Self::Adopt { .. } => None,
        }
    }

    /// What it is about, whatever the numbers: two proposals of one name are not made beside each other.
    #[must_use]
    pub fn id(&self) -> FixId {
        match self {
            Self::Recalibrate { rule, .. } => named(&["recalibrate", &rule.to_string()]),
            Self::Once { verb, service, .. } => named(&["once", verb.name(), service]),
            Self::Edit { root, path, before, .. } => named(&["edit", &root.to_string_lossy(), path, before]),
            Self::RestartEvery { service, .. } => named(&["restart-every", service]),
            Self::Adopt { fix, .. } => fix.clone(),
        }
    }

    /// What exactly is done, whatever the words around it.
    #[must_use]
    pub fn hash(&self) -> ActionHash {
        let id = self.id();
        let exactly = match self {
            Self::Recalibrate { raise, fits, .. } => {
                let to = raise.as_ref().map(|raise| raise.to.clone()).unwrap_or_default();
                fits.iter().fold(to, |text, (signal, [least, most])| format!("{text} {signal} {least} {most}"))
            }
            Self::Once { .. } => String::new(),
            Self::Edit { after, .. } => after.clone(),
            Self::RestartEvery { hours, .. } => hours.to_string(),
            Self::Adopt { rev, .. } => rev.to_string(),
        };
        ActionHash(digest(&["proposal", id.as_str(), &exactly]))
    }

    /// How it is taken back.
    #[must_use]
    pub fn way_back(&self) -> String {
        match self {
            Self::Recalibrate { rule, .. } if *rule >= LOCAL_FROM => {
                format!("put the old lines back into the file of rule {rule}, then `mesh reload`")
            }
            Self::Recalibrate { rule, .. } => format!("remove config/rules/local-{rule}.toml, then `mesh reload`"),
            Self::Once { verb: Verb::Start, unit, .. } => format!("systemctl stop {unit}"),
            Self::Once { .. } => "none is needed: the service runs as it is configured".to_owned(),
            Self::Edit { .. } => "git revert, or the same patch with `git apply --reverse`".to_owned(),
            Self::RestartEvery { unit, .. } => format!("systemctl revert {unit}"),
            Self::Adopt { fix, .. } => format!("mesh fix rollback {fix}"),
        }
    }

    /// What a person does to make it, a line each.
    #[must_use]
    pub fn recipe(&self) -> Vec<String> {
        match self {
            Self::Recalibrate { rule, version, raise, fits, .. } => {
                recalibration(*rule, *version, raise.as_ref(), fits)
            }
            Self::Once { verb, unit, .. } => {
                vec![format!("systemctl {} {unit}", verb.name()), format!("mesh kaizen made {}", self.id())]
            }
            Self::Edit { root, diff, .. } => {
                let mut lines = vec![format!(
                    "mesh kaizen show {} --diff | git -C {} apply, and commit it:",
                    self.id(),
                    display_line(&root.to_string_lossy())
                )];
                lines.extend(diff.lines().map(|line| format!("  {line}")));
                lines
            }
            Self::RestartEvery { unit, hours, .. } => vec![
                format!("systemctl edit {unit}, with Restart=always set for it:"),
                "  [Service]".to_owned(),
                format!("  RuntimeMaxSec={hours}h"),
                format!("mesh kaizen made {}", self.id()),
            ],
            Self::Adopt { fix, .. } => vec![format!("mesh fix show {fix}")],
        }
    }
}

/// The lines of a rule's file. An edit of a rule of the pack is a file of its own; a local rule is changed where it is.
fn recalibration(rule: u32, version: u32, raise: Option<&Raise>, fits: &BTreeMap<String, [f64; 2]>) -> Vec<String> {
    let then = format!("then `mesh reload` and `mesh rule drill {rule}`:");
    let mut lines = if rule >= LOCAL_FROM {
        vec![format!("change these lines of the file of rule {rule} in config/rules/, {then}")]
    } else {
        vec![
            format!("write config/rules/local-{rule}.toml, {then}"),
            format!("  number = {rule}"),
            format!("  base_version = {version}"),
        ]
    };
    if let Some(Raise { trigger, from, to }) = raise {
        let changed = toml::Value::String(trigger.replacen(from, to, 1)).to_string();
        lines.extend(["  [trigger]".to_owned(), format!("  when = {changed}")]);
    }
    if !fits.is_empty() {
        let ranges = fits
            .iter()
            .map(|(signal, [least, most])| format!("{} = [{least:?}, {most:?}]", toml::Value::String(signal.clone())));
        lines.push("  [calibrated_for]".to_owned());
        lines.push(format!("  signals = {{ {} }}", ranges.collect::<Vec<_>>().join(", ")));
    }
    lines
}

/// The text with the only place that holds `before` written otherwise, and what that changes as a unified diff. None where
/// it stands there not at all or more than once.
#[must_use]
pub fn edited(path: &str, text: &str, before: &str, after: &str) -> Option<(String, String)> {
    let (first, rest) = text.split_once(before).filter(|_| !before.is_empty())?;
    // Places that overlap are more than one, too.
    if text[first.len() + text[first.len()..].chars().next()?.len_utf8()..].contains(before) {
        return None;
    }
    let changed = format!("{first}{after}{rest}");
    let path = display_line(path);
    let diff = TextDiff::from_lines(text, &changed)
        .unified_diff()
        .header(&format!("a/{path}"), &format!("b/{path}"))
        .to_string();
    Some((changed, diff))
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
        missing.retain(|lesson| !self.minds(lesson));
        missing
    }

    /// Whether it cites a lesson or argues against it.
    #[must_use]
    pub fn minds(&self, lesson: &Slug) -> bool {
        self.cites.contains(lesson) || self.departs_because.iter().any(|departure| departure.lesson == *lesson)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::kaizen::prediction::tests::prediction;

    fn recalibrate(to: &str) -> Act {
        Act::Recalibrate {
            rule: 15,
            name: "memory-over-limit".to_owned(),
            version: 1,
            raise: Some(raise(to)),
            fits: BTreeMap::new(),
        }
    }

    fn raise(to: &str) -> Raise {
        let trigger = "last(\"unit.memory_percent/{target}\") > 100".to_owned();
        Raise { trigger, from: "100".to_owned(), to: to.to_owned() }
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
            raise: Some(Raise { trigger: "x".to_owned(), from: "1".to_owned(), to: "180".to_owned() }),
            fits: BTreeMap::new(),
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

    fn refit(rule: u32) -> Act {
        let fits = BTreeMap::from([("service.rss_mb".to_owned(), [200.0, 2_400.0])]);
        Act::Recalibrate { rule, name: "graph".to_owned(), version: 2, raise: Some(raise("190")), fits }
    }

    #[test]
    fn a_rule_that_is_out_of_its_calibration_gets_the_range_that_fits_in_the_same_edit() {
        let read = |act: &Act| {
            let recipe = act.recipe();
            let text: String = recipe.iter().skip(1).map(|line| format!("{}\n", line.trim())).collect();
            (recipe[0].clone(), toml::from_str::<toml::Table>(&text).expect("TOML"))
        };
        let (first, edit) = read(&refit(15));
        assert!(first.contains("local-15.toml"), "{first}");
        assert_eq!(edit["calibrated_for"]["signals"]["service.rss_mb"][1].as_float(), Some(2_400.0));
        assert_eq!(edit["trigger"]["when"].as_str(), Some("last(\"unit.memory_percent/{target}\") > 190"));
        // The file of a local rule is the rule: nothing is laid over it.
        let (first, edit) = read(&refit(1_022));
        assert!(first.contains("the file of rule 1022") && !edit.contains_key("base_version"), "{first}");
        assert_eq!(refit(15).id(), recalibrate("190").id());
        assert_ne!(refit(15).hash(), recalibrate("190").hash());
    }

    #[test]
    fn an_act_is_read_back_as_it_was_written_and_so_is_one_of_an_older_version() {
        let edit = Act::Edit {
            root: PathBuf::from("/srv/app"),
            path: "a.py".to_owned(),
            before: "x\n".to_owned(),
            after: "y\n".to_owned(),
            diff: String::new(),
        };
        let once = Act::Once { verb: Verb::ResetFailed, service: "web".to_owned(), unit: "web.service".to_owned() };
        let mut bare = refit(15);
        if let Act::Recalibrate { raise, .. } = &mut bare {
            *raise = None;
        }
        for act in [recalibrate("180"), refit(15), bare, edit, once] {
            let text = serde_json::to_string(&act).expect("plain");
            assert_eq!(serde_json::from_str::<Act>(&text).expect("its own words"), act, "{text}");
        }
        let old = r#"{"do":"recalibrate","rule":15,"name":"memory-over-limit","version":1,
            "trigger":"last(\"unit.memory_percent/{target}\") > 100","from":"100","to":"180"}"#;
        assert_eq!(serde_json::from_str::<Act>(old).expect("read"), recalibrate("180"));
    }

    #[test]
    fn d2_an_edit_is_of_the_one_place_that_holds_its_text() {
        let (text, diff) = edited("a.py", "a = 1\nb = 2\n", "b = 2", "b = 3").expect("one place");
        assert_eq!(text, "a = 1\nb = 3\n");
        assert!(diff.contains("-b = 2\n+b = 3\n"), "{diff}");
        for (text, before) in
            [("a\n", "b"), ("a\na\n", "a"), ("a\n", ""), ("aaa", "aa"), ("\u{e9}\u{e9}\u{e9}", "\u{e9}\u{e9}")]
        {
            assert_eq!(edited("a.py", text, before, "x"), None, "{before:?} in {text:?}");
        }
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
