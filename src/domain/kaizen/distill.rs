//! From finished interventions to lesson drafts: what a lesson came to on this host, in the next revision of it.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use crate::domain::detect::FixClass;
use crate::domain::expr::Claim;
use crate::domain::id::{EntryId, Slug};
use crate::domain::intervention::{InterventionId, State};
use crate::domain::lesson::{Lesson, Risk};
use crate::domain::outcome::{Mark, Observation, Prediction};

use super::calibration::Usual;

/// Most lines of evidence that a lesson has.
const EVIDENCE: usize = 32;
/// Most bytes of one.
const LINE: usize = 512;
/// Most signals of a calibration.
const SIGNALS: usize = 32;
/// How every line of evidence begins that was written here.
const SEEN: &str = "seen: ";
/// How the line of evidence begins that says who confirmed a draft, where that was no person.
const CONFIRMED: &str = "confirmed: ";

/// An intervention that has ended with an outcome.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Finished {
    /// Its name.
    pub id: InterventionId,
    /// The lesson that was followed.
    pub lesson: Slug,
    /// Its revision.
    pub rev: u32,
    /// The file, relative to its root.
    pub path: String,
    /// How many places were mended.
    pub mends: usize,
    /// How it ended: validated, without effect, or reverted.
    pub state: State,
    /// Why, in one sentence.
    pub why: String,
    /// What limits the worth of that.
    pub marks: Vec<Mark>,
    /// What was predicted.
    pub predicted: Option<Prediction>,
    /// What was observed.
    pub observed: Option<Observation>,
    /// When it ended, in milliseconds since 1970.
    pub at: i64,
}

impl Finished {
    /// Whether it says anything of the lesson.
    #[must_use]
    pub fn tells(&self) -> bool {
        matches!(self.state, State::Validated | State::NoEffect | State::Reverted)
            && !(self.state == State::NoEffect && self.marks.contains(&Mark::Unknown))
    }

    /// One line of evidence: no path, no name of this host.
    fn line(&self) -> String {
        let observed = match (&self.predicted, &self.observed) {
            (Some(predicted), Some(observed)) => {
                let readings: Vec<String> =
                    observed.readings.iter().map(|(call, said)| format!("{call} is {said}")).collect();
                format!(
                    "; the claim was {} before and {} after{}{}",
                    predicted.before.name(),
                    observed.claim.name(),
                    if readings.is_empty() { "" } else { ", " },
                    readings.join(", ")
                )
            }
            _ => String::new(),
        };
        let places = if self.mends == 1 { "place" } else { "places" };
        let text = format!(
            "{SEEN}{} is {} in {} {places} by rev {}: {}{observed}",
            self.id,
            self.state.name(),
            self.mends,
            self.rev,
            self.why
        );
        cut(&text, LINE).to_owned()
    }
}

fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// How often a lesson was followed here, and what came of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Validated.
    pub validated: usize,
    /// Without effect, with signals that would have shown one.
    pub no_effect: usize,
    /// Taken back.
    pub reverted: usize,
    /// Ended without anybody being able to tell.
    pub untold: usize,
}

impl Counts {
    /// Counts them.
    #[must_use]
    pub fn of(finished: &[&Finished]) -> Self {
        let mut counts = Self::default();
        for one in finished {
            match one.state {
                _ if !one.tells() => counts.untold += 1,
                State::Validated => counts.validated += 1,
                State::Reverted => counts.reverted += 1,
                _ => counts.no_effect += 1,
            }
        }
        counts
    }

    /// Them in words.
    #[must_use]
    pub fn words(&self) -> String {
        let Self { validated, no_effect, reverted, untold } = self;
        format!(
            "{validated} validated, {no_effect} without effect, {reverted} taken back, {untold} that nobody can judge"
        )
    }
}

/// The draft that the interventions by one lesson come to: the next revision of `parent`, or of the draft that was made
/// before, or none when it says nothing new. The same interventions always come to the same draft.
///
/// `entry` is the signed document of the parent, where it has one; `usual` is what its signals are here.
#[must_use]
pub fn distill(
    parent: &Lesson,
    entry: Option<EntryId>,
    before: Option<&Lesson>,
    finished: &[Finished],
    usual: &[Usual],
) -> Option<Lesson> {
    let mut of_it: Vec<&Finished> = finished.iter().filter(|one| one.lesson == parent.id).collect();
    of_it.sort_by_key(|one| (one.at, one.id.to_string()));
    of_it.dedup_by(|one, other| one.id == other.id);
    if of_it.is_empty() {
        return None;
    }
    let counts = Counts::of(&of_it);
    let mut draft = parent.clone();
    draft.derived_from.extend(entry.filter(|entry| !parent.derived_from.contains(entry)));
    // The newest lines are kept, and those of others before them as far as there is room.
    let mut lines: Vec<String> = of_it.iter().map(|one| one.line()).collect();
    let others = parent.evidence.iter().filter(|line| !line.starts_with(SEEN)).cloned();
    let first = lines.len().saturating_sub(EVIDENCE - 1);
    lines.drain(..first);
    let room = EVIDENCE - lines.len();
    draft.evidence = others.take(room).chain(lines).collect();
    let told = format!("Here: {}.", counts.words());
    let because = parent.because.trim_end().split("\nHere: ").next().unwrap_or_default();
    draft.because = format!("{}\n{told}\n", cut(because, 2_047 - told.len() - 1));
    caution(&mut draft, parent, counts);
    if counts.validated > 0 {
        calibrate(&mut draft, usual);
    }
    // A person's word makes the draft its own parent: nothing is new then until something else ends.
    let newest = before.filter(|before| before.id == parent.id && before.rev > parent.rev).unwrap_or(parent);
    let mut same = draft.clone();
    // What is usual here is measured anew each day, and alone is nothing new.
    (same.rev, same.calibrated_for) = (newest.rev, newest.calibrated_for.clone());
    if same == *newest {
        return None;
    }
    draft.rev = newest.rev.saturating_add(1);
    Some(draft)
}

/// What did harm is done with more care from then on; what never helped is not done by itself.
fn caution(draft: &mut Lesson, parent: &Lesson, counts: Counts) {
    match counts.reverted {
        0 => {}
        1 | 2 => draft.risk = parent.risk.max(Risk::Medium),
        _ => draft.risk = Risk::High,
    }
    let never_helped = counts.validated == 0 && counts.no_effect + counts.reverted > 0;
    if (counts.reverted > 0 || never_helped) && parent.fix.class == FixClass::Safe {
        draft.fix.class = FixClass::Review;
    }
}

/// Notes what the signals of the claim are here.
fn calibrate(draft: &mut Lesson, usual: &[Usual]) {
    let Ok(claim) = Claim::compile(&draft.falsifiable.expr) else { return };
    let signals = claim.signals();
    let read =
        |one: &&Usual| signals.iter().any(|name| one.series == *name || one.series.starts_with(&format!("{name}/")));
    let mut by_signal: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for one in usual.iter().filter(read) {
        let signal = one.series.split('/').next().unwrap_or(&one.series);
        by_signal.entry(signal.to_owned()).or_default().push(one.value);
    }
    // One number stands for a signal of many subjects only where these are of one size; names stay on this host.
    for (signal, values) in by_signal {
        let (least, most) = values.iter().fold((f64::MAX, f64::MIN), |(least, most), v| (least.min(*v), most.max(*v)));
        if draft.calibrated_for.signals.len() < SIGNALS && least > 0.0 && most <= 2.0 * least {
            draft.calibrated_for.signals.insert(signal, format!("{:.3}", f64::midpoint(least, most)));
        }
    }
}

/// Whose a lesson is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Whose {
    /// One that was written on this host.
    Local,
    /// One that ships with mesh.
    Founding,
    /// One of a peer.
    Peer,
}

fn own() -> Vec<Whose> {
    vec![Whose::Local]
}

/// Which drafts become lessons of this host without a person's word. Nothing is sent by that.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirming {
    /// So many changes by the lesson were validated here, and none was without effect or taken back.
    pub validated: NonZeroUsize,
    /// Whose lessons.
    #[serde(default = "own")]
    pub of: Vec<Whose>,
}

impl Confirming {
    /// Whether it stands for a person's word on a draft that lacks nothing else.
    #[must_use]
    pub fn confirms(&self, whose: Whose, counts: Counts) -> bool {
        self.of.contains(&whose)
            && counts.validated >= self.validated.get()
            && counts.no_effect == 0
            && counts.reverted == 0
    }

    /// The draft with a line of evidence that says so: whoever reads it later knows that no person did.
    #[must_use]
    pub fn noted(draft: &Lesson, counts: Counts) -> Lesson {
        let mut noted = draft.clone();
        noted.evidence.retain(|line| !line.starts_with(CONFIRMED));
        if noted.evidence.len() >= EVIDENCE {
            noted.evidence.remove(0);
        }
        // Where the next distillation leaves it.
        let at = noted.evidence.iter().position(|line| line.starts_with(SEEN)).unwrap_or(noted.evidence.len());
        noted.evidence.insert(at, format!("{CONFIRMED}by the policy of this host: {}", counts.words()));
        noted
    }
}

/// What a draft still lacks before it may be shared.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "needs", rename_all = "kebab-case")]
pub enum Lacks {
    /// A claim that can be evaluated.
    Claim {
        /// Why this one cannot.
        why: String,
    },
    /// Examples that prove it.
    Examples {
        /// What is wrong with these.
        why: String,
    },
    /// A person's word.
    Person,
}

impl Lacks {
    /// It in words.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Claim { why } => format!("needs a claim that can be evaluated: {why}"),
            Self::Examples { why } => format!("needs examples that prove it: {why}"),
            Self::Person => "needs a person's word: `mesh lesson confirm`".to_owned(),
        }
    }
}

/// What a draft lacks. `tried` is what the trial of its examples came to. A draft never lacks nothing: a person's word
/// makes it a lesson.
#[must_use]
pub fn lacks(draft: &Lesson, tried: Result<(), String>) -> Lacks {
    let claims = [&draft.falsifiable.expr, &draft.retired_when.expr];
    if let Some(error) = claims.into_iter().find_map(|text| Claim::compile(text).err()) {
        return Lacks::Claim { why: error.to_string() };
    }
    if let Err(error) = draft.check() {
        return Lacks::Examples { why: error.to_string() };
    }
    match tried {
        Ok(()) => Lacks::Person,
        Err(why) => Lacks::Examples { why },
    }
}

#[cfg(test)]
#[path = "distill_tests.rs"]
mod tests;
