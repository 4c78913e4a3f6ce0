//! Troubles that begin together are one case, and what they have in common is looked for before anybody is asked.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Troubles that begin within this many seconds of the first one are one case.
pub const TOGETHER_S: i64 = 300;
/// A change counts as a cause for this many seconds.
pub const RECENT_S: i64 = 3_600;

/// What the end of a service says of its cause.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sign {
    /// Nothing.
    #[default]
    None,
    /// A program was not found: exit code 127 of a shell, 203 of systemd.
    NotFound,
    /// There was no space.
    NoSpace,
}

impl Sign {
    /// What an end or a line of a log says.
    #[must_use]
    pub fn of(words: &str) -> Self {
        let code = |code: &str| words.strip_prefix("exited with ").is_some_and(|rest| rest.trim_end() == code);
        let says = |text: &str| words.contains(text);
        if says("No space left on device") || says("os error 28") || says("Disk quota exceeded") {
            Self::NoSpace
        } else if code("127")
            || code("203")
            || says("command not found")
            || says("os error 2)")
            || says("No such file or directory")
        {
            Self::NotFound
        } else {
            Self::None
        }
    }
}

/// Something that went wrong.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Trouble {
    /// When it began, in seconds since 1970.
    pub at: i64,
    /// The service, or what else it is about.
    pub subject: String,
    /// The incident, where a rule holds.
    pub incident: Option<u64>,
    /// Whether people are woken for it.
    pub critical: bool,
    /// What it says of its cause.
    pub sign: Sign,
    /// How it showed, in words. Foreign text.
    pub how: String,
}

/// Something that changed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Change {
    /// When, in seconds since 1970.
    pub at: i64,
    /// What.
    pub what: Changed,
    /// Whom it may have touched; everybody when absent.
    pub touches: Option<BTreeSet<String>>,
}

/// What changed. Every name and path in it is foreign text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(tag = "changed", rename_all = "kebab-case")]
pub enum Changed {
    /// Variables that services are started with.
    Environment {
        /// The file that sets them.
        file: String,
        /// Their names.
        variables: Vec<String>,
        /// The search path, where it sets one: never the value of another variable.
        path: Option<String>,
    },
    /// The definition of a service.
    Definition {
        /// Its file.
        file: String,
    },
    /// The code of a project.
    Commit {
        /// Its folder.
        root: String,
        /// The commit, in hexadecimal.
        commit: String,
    },
}

impl Changed {
    /// What changed, in words.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Environment { file, path: Some(path), .. } => format!("{file} sets PATH={path}"),
            Self::Environment { file, variables, path: None } => format!("{file} sets {}", variables.join(", ")),
            Self::Definition { file } => format!("{file} was written"),
            Self::Commit { root, commit } => format!("commit {} was made in {root}", &commit[..commit.len().min(12)]),
        }
    }
}

/// What is known beside the troubles.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Scene {
    /// What changed of late.
    pub changes: Vec<Change>,
    /// What each service needs.
    pub parents: BTreeMap<String, Vec<String>>,
    /// Services that are down.
    pub down: BTreeSet<String>,
    /// Places that are full, or cannot be written.
    pub full: Vec<String>,
}

/// What troubles have in common.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "kebab-case")]
pub enum Cause {
    /// A file system is full.
    Full {
        /// Where.
        place: String,
    },
    /// What they need is down.
    Dependency {
        /// Which service.
        parent: String,
    },
    /// Something was changed shortly before.
    Changed {
        /// What.
        what: Changed,
        /// How many seconds before the first trouble.
        before_s: i64,
    },
}

impl Cause {
    /// The cause in one sentence. Foreign text is in it.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Full { place } => format!("{place} is full"),
            Self::Dependency { parent } => format!("{parent} is down, and they need it"),
            Self::Changed { what, before_s } => {
                let (count, unit) = if *before_s < 120 { (*before_s, "s") } else { (*before_s / 60, "min") };
                format!("{}, {count} {unit} before", what.words())
            }
        }
    }

    /// What a person does first.
    #[must_use]
    pub fn next(&self) -> String {
        match self {
            Self::Full { place } => format!("make room below {place}"),
            Self::Dependency { parent } => format!("mend {parent}; what needs it is started after it"),
            Self::Changed { what: Changed::Environment { file, .. } | Changed::Definition { file }, .. } => {
                format!("look at {file}; put back what it was")
            }
            Self::Changed { what: Changed::Commit { root, commit }, .. } => {
                format!("git -C {root} show {}", &commit[..commit.len().min(12)])
            }
        }
    }

    /// How directly it explains what is seen: less is more.
    fn rank(&self, explained: &[&Trouble]) -> u8 {
        let says = |sign| explained.iter().filter(|trouble| trouble.sign == sign).count() * 2 >= explained.len();
        match self {
            Self::Full { .. } => u8::from(!says(Sign::NoSpace)) * 3,
            Self::Changed { what: Changed::Environment { path: Some(_), .. }, .. } if says(Sign::NotFound) => 1,
            Self::Dependency { .. } => 2,
            Self::Changed { what: Changed::Environment { .. }, .. } => 4,
            Self::Changed { what: Changed::Commit { .. }, .. } => 5,
            Self::Changed { what: Changed::Definition { .. }, .. } => 6,
        }
    }
}

/// Troubles that began together.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Case {
    /// In the order of their beginning.
    pub troubles: Vec<Trouble>,
    /// What they have in common, where that was found.
    pub cause: Option<Cause>,
}

impl Case {
    /// When the first of them began, in seconds since 1970.
    #[must_use]
    pub fn began(&self) -> i64 {
        self.troubles.first().map_or(0, |trouble| trouble.at)
    }

    /// What the case is called: the same for as long as its first trouble is.
    #[must_use]
    pub fn name(&self) -> String {
        let first = self.troubles.first();
        let mut hash = blake3::Hasher::new();
        hash.update(&self.began().to_le_bytes()).update(first.map_or("", |first| &first.subject).as_bytes());
        hash.finalize().to_hex()[..8].to_owned()
    }

    /// Whether people are woken for any of it.
    #[must_use]
    pub fn is_critical(&self) -> bool {
        self.troubles.iter().any(|trouble| trouble.critical)
    }

    /// Whether the incident is one of it.
    #[must_use]
    pub fn holds(&self, incident: u64) -> bool {
        self.troubles.iter().any(|trouble| trouble.incident == Some(incident))
    }
}

/// Puts together what began together and, within that, what has one cause.
#[must_use]
pub fn correlate(mut troubles: Vec<Trouble>, scene: &Scene) -> Vec<Case> {
    troubles.sort();
    troubles.dedup();
    let mut cases: Vec<Case> = Vec::new();
    let mut left = troubles.as_slice();
    while let Some(first) = left.first() {
        let end = left.partition_point(|trouble| trouble.at <= first.at.saturating_add(TOGETHER_S));
        let (together, later) = left.split_at(end);
        cases.extend(explain(together.to_vec(), scene));
        left = later;
    }
    cases.sort_by_key(|case| (case.began(), case.name()));
    cases
}

/// One window: the cause that explains most, what it explains, and the rest.
fn explain(mut troubles: Vec<Trouble>, scene: &Scene) -> Vec<Case> {
    let mut cases = Vec::new();
    while !troubles.is_empty() {
        let began = troubles[0].at;
        let best = causes(&troubles, scene, began)
            .into_iter()
            .map(|cause| {
                let explained = explained(&cause, &troubles, scene);
                (cause, explained)
            })
            .filter(|(_, explained)| !explained.is_empty())
            .min_by_key(|(cause, explained)| {
                let members: Vec<&Trouble> = explained.iter().map(|at| &troubles[*at]).collect();
                let before = match cause {
                    Cause::Changed { before_s, .. } => *before_s,
                    Cause::Full { .. } | Cause::Dependency { .. } => 0,
                };
                (std::cmp::Reverse(members.len()), cause.rank(&members), before)
            });
        let Some((cause, explained)) = best else {
            cases.push(Case { troubles: std::mem::take(&mut troubles), cause: None });
            break;
        };
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for (at, trouble) in troubles.into_iter().enumerate() {
            if explained.contains(&at) { with.push(trouble) } else { without.push(trouble) }
        }
        cases.push(Case { troubles: with, cause: Some(cause) });
        troubles = without;
    }
    cases
}

/// Everything that could be the cause of some of them.
fn causes(troubles: &[Trouble], scene: &Scene, began: i64) -> Vec<Cause> {
    let full = scene.full.iter().map(|place| Cause::Full { place: place.clone() });
    let changed = scene.changes.iter().filter_map(|change| {
        let before_s = began - change.at;
        (0..=RECENT_S).contains(&before_s).then(|| Cause::Changed { what: change.what.clone(), before_s })
    });
    let parents: BTreeSet<&String> = troubles.iter().flat_map(|trouble| above(&trouble.subject, scene)).collect();
    let down = parents.into_iter().filter(|parent| scene.down.contains(*parent));
    full.chain(changed).chain(down.map(|parent| Cause::Dependency { parent: parent.clone() })).collect()
}

/// Everything that a service needs, and what that needs.
fn above<'a>(subject: &str, scene: &'a Scene) -> BTreeSet<&'a String> {
    let mut known = BTreeSet::new();
    let mut ask = vec![subject];
    while let Some(next) = ask.pop() {
        for parent in scene.parents.get(next).into_iter().flatten() {
            if known.insert(parent) {
                ask.push(parent);
            }
        }
    }
    known
}

/// Which of them a cause explains, by position.
fn explained(cause: &Cause, troubles: &[Trouble], scene: &Scene) -> BTreeSet<usize> {
    let touched = |trouble: &Trouble| match cause {
        Cause::Full { .. } => trouble.sign != Sign::NotFound,
        Cause::Dependency { parent } => trouble.subject == *parent || above(&trouble.subject, scene).contains(parent),
        Cause::Changed { what, .. } => scene.changes.iter().any(|change| {
            change.what == *what && change.touches.as_ref().is_none_or(|touches| touches.contains(&trouble.subject))
        }),
    };
    let found: BTreeSet<usize> =
        troubles.iter().enumerate().filter(|(_, trouble)| touched(trouble)).map(|(at, _)| at).collect();
    // A parent that is down is no cause of itself.
    let alone = |parent: &String| found.iter().all(|at| troubles[*at].subject == *parent);
    match cause {
        Cause::Dependency { parent } if alone(parent) => BTreeSet::new(),
        Cause::Full { .. } | Cause::Dependency { .. } | Cause::Changed { .. } => found,
    }
}

#[cfg(test)]
#[path = "correlation_tests.rs"]
mod tests;
