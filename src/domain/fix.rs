//! A planned change of one file, what became of it, and the names it goes by.

use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use similar::{ChangeTag, TextDiff};

use super::detect::FixClass;
use super::finding::Fingerprint;
use super::foreign_text::{display_line, error_line};
use super::guard::{Trial, Verdict};
use super::id::{EntryId, Slug};
use super::intervention::State;
use super::lesson::{Lesson, Risk, parse_span};
use super::outcome::{Measured, Prediction, window};
use super::source_marks::without_common_ends;
use super::trust::Grant;

/// What a file holds: BLAKE3 of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TextHash([u8; 32]);

impl TextHash {
    /// The hash of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl fmt::Display for TextHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TextHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TextHash {
    type Err = super::id::IdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<EntryId>().map(|id| Self(*id.as_bytes()))
    }
}

impl Serialize for TextHash {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TextHash {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A file's text, and its hash, which is asked for many times.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Text {
    hash: TextHash,
    text: String,
}

impl Text {
    /// The hash of it.
    #[must_use]
    pub const fn hash(&self) -> TextHash {
        self.hash
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self { hash: TextHash::of(text.as_bytes()), text }
    }
}

impl Deref for Text {
    type Target = str;
    fn deref(&self) -> &str {
        &self.text
    }
}

/// The short name of a fix: eight hexadecimal digits, the same for the same first finding in the same root.
///
/// It is not the finding's own short id, because two roots may hold the same file.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
pub struct FixId(String);

impl FixId {
    /// The id of the fix that mends `first` (and others in its file) below `root`.
    #[must_use]
    pub fn of(root: &Path, first: Fingerprint) -> Self {
        let mut hash = blake3::Hasher::new();
        hash.update(root.as_os_str().as_encoded_bytes()).update(&[0]).update(first.to_string().as_bytes());
        Self(hash.finalize().to_hex()[..8].to_owned())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FixId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is not the id of a fix.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a fix id has 8 hexadecimal digits, as `mesh fix list` shows them")]
pub struct FixIdError;

impl FromStr for FixId {
    type Err = FixIdError;
    fn from_str(text: &str) -> Result<Self, FixIdError> {
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() == 8 && text.bytes().all(digit) { Ok(Self(text.to_owned())) } else { Err(FixIdError) }
    }
}

impl<'de> Deserialize<'de> for FixId {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A lesson as it stands on this host: where it came from, and what it may do.
#[derive(Clone, PartialEq, Debug)]
pub struct KnownLesson {
    /// The lesson.
    pub lesson: Lesson,
    /// The signed document it came in; none for a founding or local one.
    pub entry: Option<EntryId>,
    /// What its issuer's lessons may do here.
    pub grant: Grant,
    /// Whether it may change what people use here, but other hosts try it first.
    pub waits: bool,
}

/// A change of one file by one lesson, all of that lesson's findings in it at once.
#[derive(Clone, PartialEq, Debug)]
pub struct FixPlan {
    /// Its short name.
    pub id: FixId,
    /// The lesson.
    pub lesson: Slug,
    /// The lesson's revision.
    pub rev: u32,
    /// The lesson's title, for the commit.
    pub title: String,
    /// The signed document that the lesson came in.
    pub entry: Option<EntryId>,
    /// What its issuer's lessons may do here.
    pub grant: Grant,
    /// How much the fix could break.
    pub risk: Risk,
    /// Why the lesson says that the finding is a mistake.
    pub because: String,
    /// The lesson's claim over signals, in CEL, as it is written.
    pub claim: String,
    /// The span in which the claim must hold, as it is written.
    pub within: String,
    /// The date after which the lesson is retired, as it is written.
    pub retired_after: String,
    /// How many bad examples the lesson shows that its fix mends.
    pub bad_examples: usize,
    /// What is wrong with the lesson, where something is.
    pub lesson_fault: Option<String>,
    /// Whether a person has to ask for it.
    pub class: FixClass,
    /// Most lines that the lesson says its fix changes.
    pub max_lines: u32,
    /// The audited root, absolute.
    pub root: PathBuf,
    /// The file, relative to the root, with `/` between parts.
    pub path: String,
    /// The file's text when it was planned.
    pub before: Text,
    /// The file's text afterwards.
    pub after: Text,
    /// The findings it mends, by position.
    pub mends: Vec<Fingerprint>,
}

impl FixPlan {
    /// The plan to turn `before` into `after`. `None` when nothing is mended or nothing changes.
    #[must_use]
    pub fn new(
        known: &KnownLesson,
        root: &Path,
        path: &str,
        before: String,
        after: String,
        mends: Vec<Fingerprint>,
    ) -> Option<Self> {
        let first = *mends.first()?;
        let lesson = &known.lesson;
        if before == after || lesson.fix.class == FixClass::None {
            return None;
        }
        Some(Self {
            id: FixId::of(root, first),
            lesson: lesson.id.clone(),
            rev: lesson.rev,
            title: lesson.title.clone(),
            entry: known.entry,
            grant: known.grant,
            risk: lesson.risk,
            because: lesson.because.clone(),
            claim: lesson.falsifiable.expr.clone(),
            within: lesson.falsifiable.within.clone(),
            retired_after: lesson.retired_when.after.clone(),
            bad_examples: lesson.tests.positive.iter().filter(|bad| !bad.fix_refused).count(),
            lesson_fault: lesson.check().err().map(|error| error_line(&error)),
            class: lesson.fix.class,
            max_lines: lesson.fix.max_lines,
            root: root.to_owned(),
            path: path.to_owned(),
            before: before.into(),
            after: after.into(),
            mends,
        })
    }

    /// Whether it must not be made where nothing can try it first.
    #[must_use]
    pub fn demands_trial(&self) -> bool {
        self.risk >= Risk::Medium
    }

    /// The change as a unified diff with three lines of context.
    #[must_use]
    pub fn diff(&self) -> String {
        let path = display_line(&self.path);
        TextDiff::from_lines(&*self.before, &*self.after)
            .unified_diff()
            .header(&format!("a/{path}"), &format!("b/{path}"))
            .to_string()
    }

    /// Lines taken out plus lines put in.
    #[must_use]
    pub fn changed_lines(&self) -> usize {
        self.each_change(|_, _| ()).len()
    }

    /// What it does, whatever the words and line numbers around it: lesson, place, and each line that goes or comes,
    /// with white space folded.
    #[must_use]
    pub fn action(&self) -> ActionHash {
        let mut hash = blake3::Hasher::new();
        for part in [self.lesson.as_str().as_bytes(), self.root.as_os_str().as_encoded_bytes(), self.path.as_bytes()] {
            hash.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        self.each_change(|tag, line| {
            hash.update(if tag == ChangeTag::Delete { b"-" } else { b"+" });
            for word in line.split_whitespace() {
                hash.update(word.as_bytes()).update(b" ");
            }
            hash.update(b"\n");
        });
        ActionHash(*hash.finalize().as_bytes())
    }

    /// Each line that goes or comes, in the order of the diff. Most of a file is not looked at: what both texts begin and
    /// end with is no change.
    fn each_change<T>(&self, mut tell: impl FnMut(ChangeTag, &str) -> T) -> Vec<T> {
        // The diff ends lines at a bare carriage return too, so it aligns other pieces there.
        let plain = !self.before.contains('\r') && !self.after.contains('\r');
        let both: (&str, &str) = (&self.before, &self.after);
        let (before, after) = if plain { without_common_ends(both.0, both.1) } else { both };
        let diff = TextDiff::from_lines(before, after);
        let changes = diff.iter_all_changes().filter(|change| change.tag() != ChangeTag::Equal);
        changes.map(|change| tell(change.tag(), change.value())).collect()
    }

    /// What the lesson predicts of the change, watched for at least `least`. `before` is what its claim comes to now.
    #[must_use]
    pub fn prediction(&self, before: Measured, least: Duration) -> Prediction {
        let within = parse_span(&self.within).unwrap_or(least);
        let (window_s, readings) = (window(within, least).as_secs(), before.readings);
        Prediction { claim: self.claim.clone(), before: before.says, window_s, readings }
    }

    /// The branch it is put on.
    #[must_use]
    pub fn branch(&self) -> String {
        branch_name(&self.lesson, &self.id)
    }

    /// The commit message: what, how many, and the trailers that lead back to the lesson.
    ///
    /// Foreign text is folded into one line, so that none of it can pass for a trailer.
    #[must_use]
    pub fn message(&self) -> String {
        let count = self.mends.len();
        let places = if count == 1 { "place" } else { "places" };
        let entry = self.entry.map(|entry| format!(" entry {entry}")).unwrap_or_default();
        format!(
            "{}\n\nMends {count} {places} in {}.\n\nMesh-Lesson: {} rev {}{entry}\nMesh-Intervention: {}\n",
            subject(&self.title, &self.lesson),
            display_line(&self.path),
            self.lesson,
            self.rev,
            self.id
        )
    }
}

/// What an action does, as a hash: the same action twice has the same one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ActionHash(pub [u8; 32]);

/// The branch of the fix `id` of `lesson`.
#[must_use]
pub fn branch_name(lesson: &Slug, id: &FixId) -> String {
    format!("mesh/fix/{lesson}-{id}")
}

/// A title as the first line of a commit: at most 72 characters, never empty, never a comment.
fn subject(title: &str, lesson: &Slug) -> String {
    let line = display_line(title);
    let line = line.trim().trim_start_matches('#').trim_start();
    match line.char_indices().nth(71) {
        _ if line.is_empty() => format!("Apply {lesson}"),
        Some((cut, _)) if line[cut..].chars().count() > 1 => format!("{}…", &line[..cut]),
        _ => line.to_owned(),
    }
}

/// Where a fix stands, in the words of `mesh fix list`: the state of its newest intervention, seen from its branch.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FixState {
    /// Listed with its diff; a person may ask for it.
    Proposed,
    /// Not until something here changes, which is in its reason.
    Backlog,
    /// Committed on its own branch.
    Seeded,
    /// Not made, and why is in its reason.
    Refused,
    /// Its commit is part of the user's branch.
    Applied,
    /// Applied, and its effect is being measured.
    Validating,
    /// What was predicted came true.
    Validated,
    /// It stands, and nothing shows that it helped.
    NoEffect,
    /// Taken back.
    Reverted,
    /// Given up half-way and undone.
    Aborted,
}

impl FixState {
    /// The state of an intervention, in these words.
    #[must_use]
    pub const fn of(state: State) -> Self {
        match state {
            State::Proposed | State::Guarded | State::Approved => Self::Proposed,
            State::Backlog => Self::Backlog,
            State::Refused => Self::Refused,
            State::Proved => Self::Seeded,
            State::Applied => Self::Applied,
            State::Validating => Self::Validating,
            State::Validated => Self::Validated,
            State::NoEffect => Self::NoEffect,
            State::Reverted => Self::Reverted,
            State::Aborted => Self::Aborted,
        }
    }

    /// The word for it in files and listings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Backlog => "backlog",
            Self::Seeded => "seeded",
            Self::Refused => "refused",
            Self::Applied => "applied",
            Self::Validating => "validating",
            Self::Validated => "validated",
            Self::NoEffect => "no_effect",
            Self::Reverted => "reverted",
            Self::Aborted => "aborted",
        }
    }

    /// Whether its commit is part of what people use.
    #[must_use]
    pub const fn stands(self) -> bool {
        matches!(self, Self::Applied | Self::Validating | Self::Validated | Self::NoEffect)
    }
}

/// What the project's own check command said of the mended tree.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "result")]
pub enum CheckResult {
    /// It has not come to that.
    #[default]
    Pending,
    /// No check command is configured for this root.
    Unchecked,
    /// It ended with 0.
    Passed,
    /// It did not.
    Failed {
        /// How it ended and the last of what it printed.
        why: String,
    },
}

impl CheckResult {
    /// What a trial came to. One that could not tell leaves the change unchecked.
    #[must_use]
    pub fn of(trial: &Trial) -> Self {
        match trial {
            Trial::None | Trial::Cannot(_) => Self::Unchecked,
            Trial::Passed => Self::Passed,
            Trial::Failed(why) => Self::Failed { why: why.clone() },
        }
    }
}

/// Who put an end to a fix, so that the next audit does not bring it back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndedBy {
    /// A try on this base: the check failed, or the branch could not be made. It is tried again once HEAD has moved.
    Attempt,
    /// A person, by rollback or by deleting the branch.
    Person,
    /// Mesh ended in the middle of it, and what it had begun was undone: nothing was said of the fix. It is tried again.
    Crash,
}

/// A fix as it is remembered.
#[derive(Clone, PartialEq, Debug)]
pub struct Fix {
    /// Its short name.
    pub id: FixId,
    /// The lesson.
    pub lesson: Slug,
    /// The lesson's revision.
    pub rev: u32,
    /// The signed document that the lesson came in.
    pub entry: Option<EntryId>,
    /// Whether a person has to ask for it.
    pub class: FixClass,
    /// Where it stands.
    pub state: FixState,
    /// The audited root, absolute.
    pub root: PathBuf,
    /// The file, relative to the root.
    pub path: String,
    /// The branch, once there is one.
    pub branch: Option<String>,
    /// The commit on it, in hexadecimal.
    pub commit: Option<String>,
    /// The commit it was made on top of, in hexadecimal.
    pub base: Option<String>,
    /// The file's text before.
    pub before: TextHash,
    /// The file's text afterwards.
    pub after: TextHash,
    /// The change as a unified diff.
    pub diff: String,
    /// Why it is where it is, in one sentence.
    pub reason: Option<String>,
    /// What the check command said.
    pub check: CheckResult,
    /// Who ended it for this content, where somebody did.
    pub ended_by: Option<EndedBy>,
    /// The findings it mends.
    pub mends: Vec<Fingerprint>,
    /// What each guard said.
    pub verdicts: Vec<Verdict>,
    /// When it was first planned.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Fix {
    /// The plan as a record, proposed at `now`. `prior` is what is remembered of it: of the same change the diff is the same.
    #[must_use]
    pub fn proposed(plan: &FixPlan, prior: Option<&Self>, now: Timestamp) -> Self {
        let shown = prior.filter(|prior| prior.same_content(plan)).map(|prior| prior.diff.clone());
        Self {
            id: plan.id.clone(),
            lesson: plan.lesson.clone(),
            rev: plan.rev,
            entry: plan.entry,
            class: plan.class,
            state: FixState::Proposed,
            root: plan.root.clone(),
            path: plan.path.clone(),
            branch: None,
            commit: None,
            base: None,
            before: plan.before.hash(),
            after: plan.after.hash(),
            diff: shown.unwrap_or_else(|| plan.diff()),
            reason: None,
            check: CheckResult::Pending,
            ended_by: None,
            mends: plan.mends.clone(),
            verdicts: Vec::new(),
            created_at: now,
            updated_at: now,
        }
    }

    /// Whether it is the same change of the same text.
    #[must_use]
    pub fn same_content(&self, plan: &FixPlan) -> bool {
        (self.before, self.after) == (plan.before.hash(), plan.after.hash())
    }

    /// Whether its branch waits for a person.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state == FixState::Seeded
    }
}

#[cfg(test)]
#[path = "fix_tests.rs"]
mod tests;
