//! Once an hour: what was observed becomes proposals, by reckoning and by a model, and each goes before the guard.

mod follow;
mod observe;
mod offered;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::diagnose::{Asking, Ground};
use crate::domain::expr::Claim;
use crate::domain::fix::FixId;
use crate::domain::guard::{Answer, Edited, Policy, Suggestion, hardest, weigh, why};
use crate::domain::heal::rule::Rule;
use crate::domain::intervention::{Actor, Event, State};
use crate::domain::kaizen::heuristics;
use crate::domain::kaizen::proposal::{Act, Minded, Proposal, edited};
use crate::domain::ledger::Note;
use crate::domain::lesson::Lesson;
use crate::domain::outcome::{Measured, Prediction};
use crate::domain::running::Moment;
use crate::ports::Repo;
use crate::store::db::{Db, DbError};
use crate::store::ledger::{Happening, LedgerError, Proposal as Booked};
use crate::store::proposals::Proposed;

pub use follow::{NotMade, made};

/// Time between two rounds.
pub const EVERY: Duration = Duration::from_secs(3_600);

/// What came true is not proposed again for so many seconds: a week, as far back as actions are looked at.
const CAME_TRUE_S: i64 = 7 * 86_400;

/// A rule, with its trigger as it is written.
#[derive(Clone, Debug)]
pub struct Written {
    /// The rule.
    pub rule: Rule,
    /// Its trigger.
    pub trigger: String,
}

/// A lesson that holds here.
#[derive(Clone, PartialEq, Debug)]
pub struct Held {
    /// The lesson.
    pub lesson: Lesson,
    /// Whose it is, in the words of this host; none for one of this host or a founding one.
    pub of_peer: Option<String>,
}

/// What a round works with.
pub struct Bench<'a> {
    /// Services and targets.
    pub ground: &'a Ground,
    /// Rules.
    pub rules: &'a [Written],
    /// Lessons.
    pub lessons: &'a [Held],
    /// What this host allows. Its kind is set for each proposal.
    pub policy: &'a Policy,
    /// Audited roots, mesh's own among them.
    pub roots: &'a [PathBuf],
    /// Knows files and repositories.
    pub repo: &'a dyn Repo,
    /// What a claim in CEL comes to now.
    pub measure: &'a dyn Fn(&Db, &str) -> Result<Measured, DbError>,
}

/// Why a round ended early. What was done until then is remembered.
#[derive(Debug, thiserror::Error)]
pub enum ProposeError {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The ledger does not take it.
    #[error("proposal could not be written into the ledger")]
    Ledger(#[from] LedgerError),
}

/// What a round came to.
#[derive(Debug, Default)]
pub struct Round {
    /// Proposals that are new.
    pub new: Vec<Proposed>,
    /// Proposals that somebody made, or that ended.
    pub moved: Vec<(FixId, State)>,
    /// Offers of the model that were refused.
    pub refused: usize,
    /// Why the model was not asked, or gave no answer.
    pub unanswered: Option<String>,
}

/// One round.
///
/// # Errors
/// The database failed.
pub fn round(
    db: &mut Db,
    bench: &Bench<'_>,
    asking: Option<Asking<'_>>,
    moment: &Moment,
) -> Result<Round, ProposeError> {
    let mut round = Round { moved: follow::follow(db, bench, moment)?, ..Round::default() };
    let now = moment.wall.as_second();
    let lessons = minded(bench.lessons);
    let clock = i64::try_from(db.count_on(moment)?.as_millis() / 1_000).unwrap_or(i64::MAX);
    let firings = observe::firings(db, bench, clock, now)?;
    // What mesh reckons comes first: a model's word for the same thing adds nothing.
    let mut wanted = Wanted::default();
    for firing in &firings {
        wanted.add(heuristics::recalibrate(firing, clock, &lessons));
        wanted.add(heuristics::leak(firing, clock, &lessons));
    }
    for refit in observe::stale(db, bench, &lessons, now)? {
        match wanted.take(&refit.act.id()) {
            Some(by_firing) => wanted.add(Some(heuristics::joined(by_firing, refit))),
            None => wanted.add(Some(refit)),
        }
    }
    for waiting in observe::waiting(db, bench)? {
        wanted.add(Some(heuristics::adopt(&waiting, &lessons)));
    }
    if let Some(asking) = asking {
        for offer in offered::offers(db, bench, asking, &firings, lessons.clone(), moment, &mut round)? {
            wanted.add(Some(offer));
        }
    }
    for proposal in wanted.0.into_values() {
        round.new.extend(put(db, bench, proposal, &lessons, moment)?);
    }
    Ok(round)
}

/// What is to be proposed: one about each thing, the first that came.
#[derive(Default)]
struct Wanted(BTreeMap<FixId, Proposal>);

impl Wanted {
    fn add(&mut self, proposal: Option<Proposal>) {
        if let Some(proposal) = proposal {
            self.0.entry(proposal.act.id()).or_insert(proposal);
        }
    }

    fn take(&mut self, id: &FixId) -> Option<Proposal> {
        self.0.remove(id)
    }
}

/// The lessons, as proposals have to mind them.
#[must_use]
pub fn minded(lessons: &[Held]) -> Vec<Minded> {
    let read = |expr: &str| {
        let claim = Claim::compile(expr).ok();
        claim.map(|claim| claim.signals().into_iter().map(str::to_owned).collect()).unwrap_or_default()
    };
    let one = |held: &Held| Minded { lesson: held.lesson.id.clone(), signals: read(&held.lesson.falsifiable.expr) };
    lessons.iter().map(one).collect()
}

/// Puts a proposal before the guard, and remembers what that said. None: it is known, and stands as it stood.
fn put(
    db: &mut Db,
    bench: &Bench<'_>,
    proposal: Proposal,
    lessons: &[Minded],
    moment: &Moment,
) -> Result<Option<Proposed>, ProposeError> {
    let now = moment.wall.as_second();
    let id = proposal.act.id();
    let known = db.proposal(&id)?;
    if let Act::Adopt { .. } = proposal.act {
        // Seeding puts it before the guard, and the ledger has what that said.
        let verdicts = db.fix(&id)?.map(|fix| fix.verdicts).unwrap_or_default();
        let made = known.as_ref().map_or(now, |known| known.made);
        let proposed = Proposed { id, made, updated: now, proposal, verdicts };
        let same = known
            .as_ref()
            .is_some_and(|known| known.proposal == proposed.proposal && known.verdicts == proposed.verdicts);
        if !same {
            db.keep_proposal(&proposed)?;
        }
        return Ok(known.is_none().then_some(proposed));
    }
    let stands = db.intervention(&id)?;
    let hash = proposal.act.hash();
    let under_way = stands.as_ref().is_some_and(|stands| stands.state.is_under_way());
    let same = known.as_ref().is_some_and(|known| known.proposal.act.hash() == hash);
    let open = stands.as_ref().is_some_and(|stands| !stands.state.is_end());
    // What came true is seen for a while in what was before it.
    let lately = known.as_ref().is_some_and(|known| now - known.updated < CAME_TRUE_S)
        && stands.as_ref().is_some_and(|stands| stands.state == State::Validated);
    if under_way || (same && (open || lately)) {
        return Ok(None);
    }
    let claim = proposal.expected.claim();
    let file = match &proposal.act {
        Act::Edit { root, path, before, after, .. } => {
            let text = bench.repo.read(root, path).unwrap_or_default();
            // Nothing to edit any more: the guard says that the file has changed.
            let changed = edited(path, &text, before, after).map(|(changed, _)| changed).unwrap_or_default();
            Some((root, path, bench.repo.facts(root, path), text, changed))
        }
        _ => None,
    };
    let suggestion = Suggestion {
        risk: proposal.risk,
        needs_person: proposal.act.needs_person(),
        way_back: &proposal.act.way_back(),
        claim: &claim,
        uncited: &proposal.uncited(lessons),
        edited: file.as_ref().map(|(root, path, facts, before, after)| Edited { root, path, facts, before, after }),
    };
    let policy = Policy { kind: proposal.act.kind(), ..bench.policy.clone() };
    let standing = db.standing(moment, Path::new(&proposal.area), hash, None)?;
    let verdicts = weigh(&suggestion, &policy, &standing);
    let before = (bench.measure)(db, &claim)?;
    let predicted = Prediction {
        claim,
        before: before.says,
        window_s: proposal.expected.window().max(bench.policy.pace.validate_window).as_secs(),
        readings: before.readings,
    };
    let booked = Booked { fix: &id, area: Path::new(&proposal.area), kind: policy.kind, action: hash };
    let note = Note { why: proposal.hypothesis.clone(), predicted: Some(predicted), ..Note::default() };
    let intervention = db.propose(moment, &booked, Actor::Agent, &note)?;
    let asked = Happening::new(Event::Ask, Actor::Agent, Note { verdicts: verdicts.clone(), ..note });
    let event = match hardest(&verdicts) {
        Answer::Pass | Answer::Ask => None,
        Answer::Block => Some(Event::Block),
        Answer::Refuse => Some(Event::Refuse),
    };
    let mut happenings = vec![asked];
    happenings.extend(event.map(|event| Happening::new(event, Actor::Agent, Note::why(why(&verdicts)))));
    db.happen(moment, &intervention, &happenings, &bench.policy.pace)?;
    let made = known.as_ref().filter(|_| same).map_or(now, |known| known.made);
    let proposed = Proposed { id, made, updated: now, proposal, verdicts };
    db.keep_proposal(&proposed)?;
    Ok(Some(proposed))
}
