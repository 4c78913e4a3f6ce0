//! What a round leaves to be learned: what is out of calibration, once a day lesson drafts, once a week a review.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use super::authoring::{self, AuthoringError};
use super::cycle::Round;
use super::notifying;
use super::parts::Parts;
use super::rules::{self, RulesError};
use crate::domain::fix::EndedBy;
use crate::domain::foreign_text::{display_line, error_line};
use crate::domain::heal::drill::DrillState;
use crate::domain::id::Slug;
use crate::domain::kaizen::calibration::Recalibration;
use crate::domain::kaizen::distill::{Confirming, Counts, Lacks, Whose, lacks};
use crate::domain::kaizen::review::{Departed, Review};
use crate::domain::lesson::Lesson;
use crate::domain::notice::{Notice, Severity, Standing};
use crate::domain::signal;
use crate::loops::distill::{self, DistillError, Distilled};
use crate::loops::library::{Held, Origin};
use crate::loops::{calibrate, review};
use crate::store::authored::{AuthoredError, check_claims};
use crate::store::db::DbError;
use crate::store::drafts;
use crate::store::files::{self, FileError};
use crate::store::signal_config::bounds;

/// When the last distillation was, in seconds since 1970.
const DISTILLED: &str = "hindsight:distilled";
/// When the last review was.
const REVIEWED: &str = "hindsight:reviewed";
/// Most bytes of a review that is read back.
const REVIEW_BYTES: u64 = 4 * 1024 * 1024;

/// Why nothing was learned from a round.
#[derive(Debug, thiserror::Error)]
pub enum HindsightError {
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The rules.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// A draft.
    #[error(transparent)]
    Distill(#[from] DistillError),
    /// A draft.
    #[error(transparent)]
    Draft(#[from] AuthoredError),
    /// A file below `state/`.
    #[error(transparent)]
    File(#[from] FileError),
    /// A retraction.
    #[error(transparent)]
    Authoring(#[from] AuthoringError),
}

/// All that is due after a round. It fails alone: the round was made, and the next one tries again.
pub fn after_round(parts: &mut Parts, round: &Round) {
    if round.strain.is_some() {
        return;
    }
    let library = &round.library;
    if let Err(error) = retract(parts, &library.retired).and_then(|()| due(parts, &library.held)) {
        tracing::warn!("nothing is learned from this round: {}", error_line(&error));
    }
}

fn due(parts: &mut Parts, held: &[Held]) -> Result<(), HindsightError> {
    let stale = recalibrations(parts, held)?;
    let now = parts.now().as_second();
    for one in &stale {
        let title = format!("{} is out of calibration", one.of.name());
        tell(parts, &format!("calibration:{}", one.of.name()), Severity::Warning, title, one.evidence.join("\n"))?;
    }
    if is_due(parts, DISTILLED, parts.config.distill.0)? {
        let Distilled { drafts, without_lesson } = distill::run(&parts.home, &parts.db, held, parts.now())?;
        for slug in without_lesson {
            tracing::info!("what came of {slug} teaches nothing: no such lesson holds here any more");
        }
        for (slug, rev) in drafts {
            let text = format!("`mesh lesson show {slug} --draft`, then `mesh lesson confirm {slug}`");
            tell(parts, &format!("draft:{slug}"), Severity::Info, format!("lesson draft {slug} rev {rev}"), text)?;
        }
        confirm_by_policy(parts, held)?;
        parts.db.set_fact(DISTILLED, &now.to_string())?;
    }
    // The first review looks back on a whole span.
    if parts.db.fact(REVIEWED)?.is_none() {
        parts.db.set_fact(REVIEWED, &now.to_string())?;
    }
    if is_due(parts, REVIEWED, parts.config.review.0)? {
        let review = make_review(parts, held)?;
        tell(parts, "review", Severity::Info, review.headline(), "`mesh review`".to_owned())?;
        parts.db.set_fact(REVIEWED, &now.to_string())?;
    }
    Ok(())
}

/// Takes lessons of this host that are over back from the peers: each revision once.
fn retract(parts: &mut Parts, retired: &[(Slug, u32, String)]) -> Result<(), HindsightError> {
    if retired.is_empty() {
        return Ok(());
    }
    let published = authoring::published(parts)?;
    for (slug, rev, reason) in retired {
        let fact = format!("retracted:{slug}:{rev}");
        let is_ours = published.iter().any(|lesson| lesson.body().id == *slug && lesson.body().rev == *rev);
        if !is_ours || parts.db.fact(&fact)?.is_some() {
            continue;
        }
        authoring::queue_retraction(parts, slug, reason)?;
        parts.db.set_fact(&fact, "queued")?;
        tell(parts, &format!("retired:{slug}"), Severity::Info, format!("lesson {slug} {reason}"), String::new())?;
    }
    Ok(())
}

/// A clock that was set back makes a thing due, not late for years.
fn is_due(parts: &Parts, fact: &str, every: Duration) -> Result<bool, DbError> {
    let now = parts.now().as_second();
    let last: Option<i64> = parts.db.fact(fact)?.and_then(|text| text.parse().ok());
    let every = i64::try_from(every.as_secs()).unwrap_or(i64::MAX);
    Ok(last.is_none_or(|last| last > now || now - last >= every))
}

fn tell(parts: &mut Parts, thread: &str, severity: Severity, title: String, text: String) -> Result<(), DbError> {
    let notice = Notice {
        at: parts.now(),
        thread: thread.to_owned(),
        standing: Standing::Once,
        severity,
        area: "mesh".to_owned(),
        title: display_line(&title),
        text,
    };
    notifying::tell(&mut parts.db, &notice)
}

/// Proposals for what is out of calibration now.
///
/// # Errors
/// The rules or the database.
pub fn recalibrations(parts: &mut Parts, held: &[Held]) -> Result<Vec<Recalibration>, HindsightError> {
    let rules: Vec<_> = rules::stand(parts)?.0.into_iter().map(|one| one.held.rule).collect();
    let now = parts.now();
    Ok(calibrate::run(&mut parts.db, &rules, held, now)?)
}

/// A draft, and what it lacks.
#[derive(Debug)]
pub struct Drafted {
    /// The draft.
    pub lesson: Lesson,
    /// What it lacks.
    pub lacks: Lacks,
}

/// Every draft of this home, its examples tried, and the files that cannot be read.
///
/// # Errors
/// The folder cannot be listed.
pub fn drafts(parts: &Parts) -> Result<(Vec<Drafted>, Vec<AuthoredError>), HindsightError> {
    let (mut drafted, mut refused) = (Vec::new(), Vec::new());
    for (_, loaded) in drafts::load(&parts.home)? {
        match loaded {
            Ok(lesson) => {
                let tried = match check_claims(&lesson) {
                    Ok(()) => authoring::try_out(parts, &lesson).map_err(|error| error_line(&error)),
                    Err(_) => Ok(()),
                };
                drafted.push(Drafted { lacks: lacks(&lesson, tried), lesson });
            }
            Err(error) => refused.push(error),
        }
    }
    Ok((drafted, refused))
}

/// Makes a draft a lesson of this home, by a person's word. None where there is no such draft.
///
/// # Errors
/// What it lacks besides that word, as a sentence; or a file.
pub fn confirm(parts: &Parts, id: &Slug) -> Result<Option<Result<PathBuf, Lacks>>, HindsightError> {
    let Some(draft) = drafts::find(&parts.home, id)? else { return Ok(None) };
    let tried = authoring::try_out(parts, &draft).map_err(|error| error_line(&error));
    Ok(Some(match lacks(&draft, tried) {
        Lacks::Person => Ok(drafts::confirm(&parts.home, &draft)?),
        lacks => Err(lacks),
    }))
}

/// Makes those drafts lessons of this home that the configuration lets be made so without a person's word. Nothing of them
/// is sent: that takes `mesh outbox publish`.
fn confirm_by_policy(parts: &mut Parts, held: &[Held]) -> Result<(), HindsightError> {
    let Some(policy) = parts.config.confirm.clone() else { return Ok(()) };
    let finished = parts.db.finished_interventions()?;
    for Drafted { lesson, lacks } in drafts(parts)?.0 {
        let Some(parent) = held.iter().find(|held| held.lesson.id == lesson.id) else { continue };
        let whose = match parent.origin {
            Origin::Founding => Whose::Founding,
            Origin::Local => Whose::Local,
            Origin::Peer { .. } => Whose::Peer,
        };
        let counts = Counts::of(&finished.iter().filter(|one| one.lesson == lesson.id).collect::<Vec<_>>());
        if lacks != Lacks::Person || !policy.confirms(whose, counts) {
            continue;
        }
        drafts::confirm(&parts.home, &Confirming::noted(&lesson, counts))?;
        let title =
            format!("lesson {} rev {} holds here by `lessons.confirm`: {}", lesson.id, lesson.rev, counts.words());
        let text = format!("`mesh lesson show {}`; `mesh outbox publish {}` shares it", lesson.id, lesson.id);
        tell(parts, &format!("draft:{}", lesson.id), Severity::Info, title, text)?;
    }
    Ok(())
}

/// Reviews what lies behind and keeps it as a file.
///
/// # Errors
/// A part of this host's own state.
pub fn make_review(parts: &mut Parts, held: &[Held]) -> Result<Review, HindsightError> {
    let recalibrations = recalibrations(parts, held)?;
    let rules: Vec<_> = rules::stand(parts)?
        .0
        .into_iter()
        .map(|one| (one.held.rule, one.state == DrillState::Passed, one.why))
        .collect();
    let waiting = drafts(parts)?.0;
    let drafts = waiting.iter().map(|one| (format!("{} rev {}", one.lesson.id, one.lesson.rev), one.lacks.words()));
    let sources = review::Sources {
        host: parts.config.name.as_str(),
        span: parts.config.review.0,
        rules: &rules,
        targets: &rules::targets(parts),
        lessons: held,
        bounded: bounded(parts)?,
        recalibrations,
        drafts: drafts.collect(),
        departures: departures(parts)?,
    };
    let review = review::run(&parts.db, sources, parts.now())?;
    let folder = folder(parts);
    files::make_dir(&folder)?;
    let name = review.until.strftime("%Y-%m-%d").to_string();
    files::write_whole(&folder.join(format!("{name}.md")), review.markdown().as_bytes(), 0o600)?;
    let json = serde_json::to_vec_pretty(&review).expect("a review is plain text and numbers");
    files::write_whole(&folder.join(format!("{name}.json")), &json, 0o600)?;
    Ok(review)
}

/// `state/reviews/`.
#[must_use]
pub fn folder(parts: &Parts) -> PathBuf {
    parts.home.state().join("reviews")
}

/// The last review as it was kept: its file, and the text for people or the one for programs.
///
/// # Errors
/// It cannot be read.
pub fn last_review(parts: &Parts, json: bool) -> Result<Option<(PathBuf, String)>, HindsightError> {
    let files = files::list(&folder(parts), if json { "json" } else { "md" })?;
    let Some(newest) = files.into_iter().next_back() else { return Ok(None) };
    let text = files::read_text(&newest, REVIEW_BYTES)?;
    Ok(Some((newest, text)))
}

/// Series with a bound that somebody set, or that the catalogue has.
fn bounded(parts: &Parts) -> Result<BTreeSet<String>, DbError> {
    let config = &parts.config;
    let named = parts.db.measured()?.into_iter().filter_map(|(name, subject)| {
        let signal = signal::find(&name)?;
        bounds(&config.signals, &config.signal, signal, &subject).0?;
        Some(if subject.is_empty() { name } else { format!("{name}/{subject}") })
    });
    Ok(named.collect())
}

/// Where lessons were not followed: fixes of theirs that a person ended, and proposals that argued against them.
fn departures(parts: &Parts) -> Result<Vec<Departed>, DbError> {
    let span = i64::try_from(parts.config.review.0.as_secs()).unwrap_or(i64::MAX);
    let from = parts.now().as_second().saturating_sub(span);
    let fixes = parts.db.fixes()?.into_iter();
    let left = fixes.filter(|fix| fix.ended_by == Some(EndedBy::Person) && fix.updated_at.as_second() >= from);
    let mut departures: Vec<Departed> = left
        .map(|fix| Departed {
            lesson: fix.lesson.to_string(),
            what: format!("not followed in {}", fix.path),
            outcome: match &fix.reason {
                Some(reason) => format!("{}: {}", fix.state.name(), display_line(reason)),
                None => fix.state.name().to_owned(),
            },
        })
        .collect();
    for proposed in parts.db.proposals()?.into_iter().filter(|proposed| proposed.updated >= from) {
        let state = parts.db.intervention(&proposed.id)?.map_or("forgotten", |known| known.state.name());
        let proposal = &proposed.proposal;
        departures.extend(proposal.departs_because.iter().map(|departure| Departed {
            lesson: departure.lesson.to_string(),
            what: format!("{}, because {}", proposal.act.words(), departure.because),
            outcome: state.to_owned(),
        }));
    }
    Ok(departures)
}
