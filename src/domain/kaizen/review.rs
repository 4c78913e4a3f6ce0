//! The weekly review: what was predicted against what was observed, what nobody saw, and what to do next.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Serialize;

use super::calibration::Recalibration;
use super::distill::Finished;
use crate::domain::foreign_text::display_line;
use crate::domain::heal::engine::Stats;
use crate::domain::intervention::State;
use crate::domain::outcome::Observed;

/// Weeks before this one that its error is held against.
pub const TREND_WEEKS: usize = 4;
/// Rows of one list in the text; all of them are in the JSON.
const LISTED: usize = 12;

/// What a week is reviewed by.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Seen {
    /// Interventions that ended within this week.
    pub finished: Vec<Finished>,
    /// Those of the weeks before, the newest week first.
    pub earlier: Vec<Vec<Finished>>,
    /// Troubles of services that no incident was opened for.
    pub unnoticed: Vec<Trouble>,
    /// Series that are measured and that nothing reads: no rule, no lesson, no threshold.
    pub unread: Vec<String>,
    /// Rules of this host.
    pub rules: Vec<RuleSeen>,
    /// Proposals or fixes that departed from a lesson, and what became of them.
    pub departures: Vec<Departed>,
    /// What does not fit its calibration any more.
    pub recalibrations: Vec<Recalibration>,
    /// Drafts that wait for a person, with what each lacks.
    pub drafts: Vec<(String, String)>,
    /// Lessons with a claim that nothing here can answer.
    pub untested: Vec<String>,
}

/// A trouble that happened to a service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Trouble {
    /// The service.
    pub service: String,
    /// What happened.
    pub what: String,
    /// When, in seconds since 1970.
    pub at: i64,
}

/// A rule, as far as a review minds it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct RuleSeen {
    /// Its number.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// Whether a drill of it passed here.
    pub drilled: bool,
    /// Why not.
    pub drill: String,
    /// What came of it here since it is known.
    pub stats: Stats,
}

/// A change that did not follow a lesson.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Departed {
    /// The lesson.
    pub lesson: String,
    /// What was done instead, or why.
    pub what: String,
    /// What became of it.
    pub outcome: String,
}

/// How predictions came out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Calibration {
    /// Predictions that could be judged.
    pub judged: usize,
    /// Of these: the claim held afterwards.
    pub held: usize,
    /// Of those that did not hold before: the sign of the change was the predicted one.
    pub turned: usize,
    /// How many did not hold before.
    pub to_turn: usize,
    /// Predictions that nobody could judge, for want of signals.
    pub unjudged: usize,
}

impl Calibration {
    /// Counts finished interventions.
    #[must_use]
    pub fn of(finished: &[Finished]) -> Self {
        let mut calibration = Self::default();
        for one in finished {
            let (Some(predicted), Some(observed)) = (&one.predicted, &one.observed) else {
                calibration.unjudged += 1;
                continue;
            };
            if observed.claim == Observed::Unknown {
                calibration.unjudged += 1;
                continue;
            }
            let held = observed.claim == Observed::True;
            calibration.judged += 1;
            calibration.held += usize::from(held);
            if predicted.before == Observed::False {
                calibration.to_turn += 1;
                calibration.turned += usize::from(held);
            }
        }
        calibration
    }

    /// A prediction says that its claim will hold; the error is the share of those that did not, in percent.
    #[must_use]
    pub const fn error_percent(&self) -> Option<usize> {
        match self.judged {
            0 => None,
            judged => Some((100 * (judged - self.held) + judged / 2) / judged),
        }
    }

    /// The share of signals that went the predicted way, in percent.
    #[must_use]
    pub const fn sign_percent(&self) -> Option<usize> {
        match self.to_turn {
            0 => None,
            all => Some((100 * self.turned + all / 2) / all),
        }
    }
}

/// Which way the error goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Trend {
    /// It is less than in the weeks before.
    Falling,
    /// It is the same within five points.
    Steady,
    /// It is more.
    Rising,
    /// One of both could not be judged.
    Unknown,
}

impl Trend {
    fn of(now: Option<usize>, before: Option<usize>) -> Self {
        match (now, before) {
            (Some(now), Some(before)) if now > before + 5 => Self::Rising,
            (Some(now), Some(before)) if now + 5 < before => Self::Falling,
            (Some(_), Some(_)) => Self::Steady,
            _ => Self::Unknown,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Falling => "falling",
            Self::Steady => "steady",
            Self::Rising => "rising",
            Self::Unknown => "unknown",
        }
    }
}

/// A review, as it is kept.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Review {
    /// The host.
    pub host: String,
    /// From then on.
    pub from: Timestamp,
    /// Until then.
    pub until: Timestamp,
    /// How the predictions of the week came out.
    pub calibration: Calibration,
    /// Those of the weeks before, together.
    pub before: Calibration,
    /// Which way the error goes.
    pub trend: Trend,
    /// What ended within the week.
    pub finished: Vec<Finished>,
    /// Troubles that no rule saw.
    pub unnoticed: Vec<Trouble>,
    /// Series that nothing reads.
    pub unread: Vec<String>,
    /// Rules that never fired here and of which no drill passed: nobody knows whether they work.
    pub unproven: Vec<RuleSeen>,
    /// Lessons with a claim that nothing here can answer.
    pub untested: Vec<String>,
    /// What departed from lessons.
    pub departures: Vec<Departed>,
    /// What does not fit its calibration any more.
    pub recalibrations: Vec<Recalibration>,
    /// Drafts that wait for a person.
    pub drafts: Vec<(String, String)>,
    /// What to do next, the most pressing first.
    pub next: Vec<String>,
}

/// Reviews a week.
#[must_use]
pub fn review(host: &str, (from, until): (Timestamp, Timestamp), seen: Seen) -> Review {
    let calibration = Calibration::of(&seen.finished);
    let earlier: Vec<Finished> = seen.earlier.iter().take(TREND_WEEKS).flatten().cloned().collect();
    let before = Calibration::of(&earlier);
    let trend = Trend::of(calibration.error_percent(), before.error_percent());
    let unproven: Vec<RuleSeen> =
        seen.rules.iter().filter(|rule| rule.stats.fired == 0 && !rule.drilled).cloned().collect();
    let mut review = Review {
        host: host.to_owned(),
        from,
        until,
        calibration,
        before,
        trend,
        finished: seen.finished,
        unnoticed: seen.unnoticed,
        unread: seen.unread,
        unproven,
        untested: seen.untested,
        departures: seen.departures,
        recalibrations: seen.recalibrations,
        drafts: seen.drafts,
        next: Vec::new(),
    };
    review.next = next(&review);
    review
}

fn next(review: &Review) -> Vec<String> {
    let mut moves = Vec::new();
    for one in review.finished.iter().filter(|one| one.state == State::Reverted) {
        moves
            .push(format!("look at why {} by {} was taken back: `mesh fix show {}`", one.path, one.lesson, one.id.fix));
    }
    if review.trend == Trend::Rising {
        moves.push("predictions come out worse than before: read the claims of the lessons that failed".to_owned());
    }
    for trouble in &review.unnoticed {
        moves.push(format!(
            "no rule saw {} of {}: write one, or drill those that should have",
            trouble.what, trouble.service
        ));
    }
    for one in &review.recalibrations {
        moves.push(format!("choose the numbers of {} anew", one.of.name()));
    }
    for (id, lacks) in &review.drafts {
        moves.push(format!("draft {id} {lacks}"));
    }
    if let Some(rule) = review.unproven.first() {
        let count = review.unproven.len();
        moves.push(format!(
            "rules that never fired and were never drilled: {count}; begin with `mesh rule drill {}`",
            rule.number
        ));
    }
    if let Some(first) = review.unread.first() {
        let count = review.unread.len();
        moves.push(format!(
            "series that are measured for nobody: {count}, such as {first}; let a rule read them, or stop"
        ));
    }
    if let Some(first) = review.untested.first() {
        moves.push(format!("the claim of {first} cannot be judged here: measure what it reads"));
    }
    moves
}

impl Review {
    /// The review in one line, for a notice.
    #[must_use]
    pub fn headline(&self) -> String {
        let error = self.calibration.error_percent().map_or("no prediction could be judged".to_owned(), |error| {
            format!("{} of {} predictions held (error {error} %)", self.calibration.held, self.calibration.judged)
        });
        format!("review of the week: {error}; {} to do", self.next.len())
    }

    /// The review as Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let day = |at: Timestamp| at.strftime("%Y-%m-%d").to_string();
        let mut text = format!("# Review of {}: {} to {}\n", display_line(&self.host), day(self.from), day(self.until));
        let percent = |value: Option<usize>| value.map_or("unknown".to_owned(), |value| format!("{value} %"));
        let Calibration { judged, held, turned, to_turn, unjudged } = self.calibration;
        let _infallible = write!(
            text,
            "\n## Predicted and observed\n\n\
             | | this week | {TREND_WEEKS} weeks before |\n|---|---|---|\n\
             | predictions that held | {held} of {judged} | {} of {} |\n\
             | error | {} | {} |\n\
             | went the predicted way | {turned} of {to_turn} ({}) | {} of {} ({}) |\n\
             | could not be judged | {unjudged} | {} |\n\nThe error is {}.\n",
            self.before.held,
            self.before.judged,
            percent(self.calibration.error_percent()),
            percent(self.before.error_percent()),
            percent(self.calibration.sign_percent()),
            self.before.turned,
            self.before.to_turn,
            percent(self.before.sign_percent()),
            self.before.unjudged,
            self.trend.name(),
        );
        let rows = |finished: &[Finished]| -> Vec<String> {
            let row = |one: &Finished| {
                format!("{} {} in {}: {}, {}", one.id, one.lesson, one.path, one.state.name(), one.why)
            };
            finished.iter().map(row).collect()
        };
        section(&mut text, "What ended", &rows(&self.finished), "Nothing ended.");
        let unnoticed: Vec<String> =
            self.unnoticed.iter().map(|one| format!("{}: {}", one.service, one.what)).collect();
        section(&mut text, "Troubles that no rule saw", &unnoticed, "None.");
        section(&mut text, "Series that nothing reads", &self.unread, "None.");
        let unproven: Vec<String> =
            self.unproven.iter().map(|rule| format!("{} {}: {}", rule.number, rule.name, rule.drill)).collect();
        section(&mut text, "Rules that never fired and were never drilled", &unproven, "None.");
        section(&mut text, "Claims that nothing here can judge", &self.untested, "None.");
        let departures: Vec<String> =
            self.departures.iter().map(|one| format!("{}: {}; {}", one.lesson, one.what, one.outcome)).collect();
        section(&mut text, "Departures from lessons", &departures, "None.");
        let stale: Vec<String> =
            self.recalibrations.iter().map(|one| format!("{}: {}", one.of.name(), one.evidence.join("; "))).collect();
        section(&mut text, "Out of calibration", &stale, "Nothing.");
        section(&mut text, "Next", &self.next, "Nothing presses.");
        text
    }
}

fn section(text: &mut String, title: &str, rows: &[String], none: &str) {
    let _infallible = write!(text, "\n## {title}\n\n");
    if rows.is_empty() {
        let _infallible = writeln!(text, "{none}");
    }
    for row in rows.iter().take(LISTED) {
        let _infallible = writeln!(text, "- {}", display_line(row));
    }
    if rows.len() > LISTED {
        let _infallible = writeln!(text, "- and {} more", rows.len() - LISTED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::intervention::InterventionId;
    use crate::domain::kaizen::calibration::Usual;
    use crate::domain::kaizen::calibration::{Calibrated, recalibrate};
    use crate::domain::outcome::{Observation, Prediction, Readings};

    fn ended(number: u32, before: Observed, after: Observed) -> Finished {
        let state = match after {
            Observed::True => State::Validated,
            Observed::False => State::Reverted,
            Observed::Unknown => State::NoEffect,
        };
        Finished {
            id: InterventionId { fix: "1a2b3c4d".parse().expect("an id"), attempt: number },
            lesson: "swallowed-exception".parse().expect("a name"),
            rev: 1,
            path: "poll.py".to_owned(),
            mends: 1,
            state,
            why: "as its claim says".to_owned(),
            marks: vec![],
            predicted: Some(Prediction { claim: "c".to_owned(), before, window_s: 3_600, readings: Readings::new() }),
            observed: Some(Observation {
                claim: after,
                finding_gone: Observed::True,
                check: Observed::Unknown,
                readings: Readings::new(),
            }),
            at: i64::from(number),
        }
    }

    fn week() -> (Timestamp, Timestamp) {
        ("2026-11-16T00:00:00Z".parse().expect("a time"), "2026-11-23T00:00:00Z".parse().expect("a time"))
    }

    fn rule(number: u32, fired: u64, drilled: bool) -> RuleSeen {
        let drill = if drilled { "passed" } else { "never drilled here" };
        let name = format!("rule-{number}");
        RuleSeen { number, name, drilled, drill: drill.to_owned(), stats: Stats { fired, ..Stats::default() } }
    }

    fn seen() -> Seen {
        use Observed::{False, True, Unknown};
        let envelope = [("service.rss_mb".to_owned(), [200.0, 800.0])].into();
        let usual = [Usual { series: "service.rss_mb/graph".to_owned(), value: 2_400.0 }];
        let of = Calibrated::Rule { number: 22, name: "graph-too-large".to_owned() };
        let stats = Stats { fired: 12, failed: 12, ..Stats::default() };
        Seen {
            finished: vec![
                ended(1, False, True),
                ended(2, True, True),
                ended(3, False, False),
                ended(4, True, Unknown),
            ],
            earlier: vec![vec![ended(5, False, True)], vec![ended(6, False, True)]],
            unnoticed: vec![Trouble { service: "web".to_owned(), what: "gave up after 5 starts".to_owned(), at: 9 }],
            unread: vec!["tcp.latency_ms/db".to_owned()],
            rules: vec![rule(1, 3, false), rule(2, 0, true), rule(3, 0, false)],
            departures: vec![Departed {
                lesson: "rename-without-fsync".to_owned(),
                what: "the cache may be lost".to_owned(),
                outcome: "validated".to_owned(),
            }],
            recalibrations: recalibrate(of, &envelope, &usual, Some(&stats)).into_iter().collect(),
            drafts: vec![("swallowed-exception rev 2".to_owned(), "needs a person's word".to_owned())],
            untested: vec!["pid-file-without-identity".to_owned()],
        }
    }

    #[test]
    fn e12_predicted_is_held_against_observed_and_against_the_weeks_before() {
        let review = review("web-07", week(), seen());
        let Calibration { judged, held, turned, to_turn, unjudged } = review.calibration;
        assert_eq!((judged, held, turned, to_turn, unjudged), (3, 2, 1, 2, 1));
        assert_eq!(review.calibration.error_percent(), Some(33));
        assert_eq!((review.before.error_percent(), review.trend), (Some(0), Trend::Rising));
    }

    #[test]
    fn e12_only_rules_that_neither_fired_nor_passed_a_drill_are_blind_spots() {
        let review = review("web-07", week(), seen());
        assert_eq!(review.unproven.iter().map(|rule| rule.number).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn e12_the_review_is_a_file_that_a_person_can_read() {
        insta::assert_snapshot!(review("web-07", week(), seen()).markdown());
    }

    #[test]
    fn e12_a_week_without_anything_is_said_to_be_so() {
        let review = review("web-07", week(), Seen::default());
        assert_eq!((review.trend, review.next.len()), (Trend::Unknown, 0));
        assert!(review.headline().contains("no prediction could be judged"));
        assert!(review.markdown().contains("Nothing presses."));
    }
}
