//! `mesh why`: why a fix, a lesson or a rule did something here, or did not.

use serde_json::{Value, json};

use super::report::wrap;
use super::{CliError, Context, ExitKind, Outcome, out};
use crate::agent::parts::Parts;
use crate::agent::undo;
use crate::agent::workshop::{Workshop, configured_areas};
use crate::domain::detect::FixClass;
use crate::domain::fix::{ActionHash, Fix, FixId, KnownLesson};
use crate::domain::foreign_text::display_line;
use crate::domain::guard::{ApprovalMode, Verdict};
use crate::domain::id::Slug;
use crate::domain::lesson::{Lesson, Risk};
use crate::domain::trust::Grant;
use crate::loops::library::{Held, Library, Origin};
use crate::loops::seed::{Area, PersonError, explain};

/// Of what.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// The number of a rule, a fix as `mesh fix list` shows it, or a lesson as `mesh lesson list` and `mesh inbox list` do
    subject: String,
}

/// What can be asked about.
enum Subject {
    Fix(Box<Fix>),
    Lesson(Slug),
}

/// One part of the answer.
struct Part {
    step: &'static str,
    said: String,
}

fn part(step: &'static str, said: impl Into<String>) -> Part {
    Part { step, said: said.into() }
}

pub(super) fn run(context: &Context, args: &Args) -> Outcome {
    // No fix has so short a name, and no lesson has a number for one.
    if let Some(number) = args.subject.parse().ok().filter(|number: &u32| *number < 10_000) {
        return super::rule::why(context, number);
    }
    let mut parts = context.open()?;
    let library = parts.library()?;
    let (name, answer) = match subject(&parts, &args.subject)? {
        Subject::Fix(fix) => (fix.id.to_string(), of_fix(&mut parts, &library, &fix)?),
        Subject::Lesson(slug) => (slug.to_string(), of_lesson(&mut parts, &library, &slug)?),
    };
    if context.json {
        let why: Vec<Value> = answer.iter().map(|part| json!({ "step": part.step, "said": part.said })).collect();
        out::json(&json!({ "subject": name, "why": why }));
    } else {
        for Part { step, said } in &answer {
            wrap(&display_line(said), &format!("{step:<9} "), "          ", 80).iter().for_each(out::line);
        }
    }
    Ok(ExitKind::Ok)
}

/// A fix where there is one of that name, else a lesson.
fn subject(parts: &Parts, text: &str) -> Result<Subject, CliError> {
    if let Ok(id) = text.parse::<FixId>()
        && let Some(fix) = parts.db.fix(&id)?
    {
        return Ok(Subject::Fix(Box::new(fix)));
    }
    let unknown = || {
        let error = CliError::new(ExitKind::Usage, format!("nothing here is called {}", display_line(text)));
        error.hint("see `mesh fix list`, `mesh lesson list` and `mesh inbox list`")
    };
    text.parse().map(Subject::Lesson).map_err(|_| unknown())
}

fn of_fix(parts: &mut Parts, library: &Library, fix: &Fix) -> Result<Vec<Part>, CliError> {
    let mut answer = vec![part("fix", format!("{} in {}", fix.lesson, fix.root.join(&fix.path).display()))];
    answer.push(state_of(fix));
    answer.extend(rights(parts, library, &fix.lesson));
    let lessons: Vec<KnownLesson> = library.held.iter().map(Held::known).collect();
    let area = configured_areas(parts).0.into_iter().find(|area| area.root == fix.root);
    let area = area.unwrap_or(Area::bare(fix.root.clone()));
    let now = parts.now();
    let explained = explain(&mut Workshop::of(parts).with(&mut parts.db), &area, &lessons, &fix.id, now);
    match explained {
        Ok((now, kind)) => {
            let against: Vec<&Verdict> = now.verdicts.iter().filter(|verdict| !verdict.passes()).collect();
            let count = now.verdicts.len();
            answer.push(part(
                "guard",
                match against.len() {
                    0 => format!("all {count} checks would let a {} through now", kind.name()),
                    some => format!("{some} of {count} checks stand against a {} now", kind.name()),
                },
            ));
            answer.extend(against.iter().map(|no| part("", format!("{}: {}", no.check.name(), no.why))));
        }
        Err(error @ (PersonError::Seed(_) | PersonError::Unknown(_))) => {
            return Err(CliError::of(ExitKind::Error, &error));
        }
        Err(why_not) => answer.push(part("guard", format!("is not asked now: {why_not}"))),
    }
    answer.extend(host(parts, Some(&area))?);
    answer.push(part("more", format!("mesh fix show {}", fix.id)));
    Ok(answer)
}

fn of_lesson(parts: &mut Parts, library: &Library, slug: &Slug) -> Result<Vec<Part>, CliError> {
    let fixes: Vec<Fix> = parts.db.fixes()?.into_iter().filter(|fix| fix.lesson == *slug).collect();
    let mut answer = rights(parts, library, slug);
    if answer.is_empty() && fixes.is_empty() {
        let error = CliError::new(ExitKind::Usage, format!("no lesson or fix {slug} is known here"));
        return Err(error.hint("see `mesh lesson list` and `mesh inbox list`"));
    }
    answer.push(part(
        "fixes",
        if fixes.is_empty() { "none: nothing was found to mend".to_owned() } else { fixes.len().to_string() },
    ));
    for fix in &fixes {
        let said = state_of(fix).said;
        answer.push(part("", format!("{} in {}: {said}", fix.id, fix.root.join(&fix.path).display())));
    }
    answer.extend(host(parts, None)?);
    Ok(answer)
}

fn state_of(fix: &Fix) -> Part {
    let why = fix.reason.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
    part("state", format!("{}{why}", fix.state.name()))
}

/// Where the lesson comes from and what it may do here, or why it is out of force.
fn rights(parts: &Parts, library: &Library, slug: &Slug) -> Vec<Part> {
    let mut answer = Vec::new();
    for (_, why) in library.left_out.iter().filter(|(name, _)| name == slug.as_str()) {
        answer.push(part("left out", why));
    }
    let Some(held) = library.held.iter().find(|held| held.lesson.id == *slug) else { return answer };
    let (lesson, grant) = (&held.lesson, held.grant());
    let from = match &held.origin {
        Origin::Founding => "ships with mesh".to_owned(),
        Origin::Local => "was written here".to_owned(),
        Origin::Peer { name, .. } => format!("is by {name}, whose grant comes to {} now", grant.name()),
    };
    answer.push(part("lesson", format!("{slug} rev {}, scope {}, {from}", lesson.rev, lesson.scope)));
    let approval = parts.config.approve.of(lesson.risk).mode_at(parts.now());
    answer.push(part("may", may(lesson, grant, held.waits, approval)));
    for (_, why) in library.held_back.iter().filter(|(name, _)| name == slug.as_str()) {
        answer.push(part("held back", why));
    }
    answer
}

fn may(lesson: &Lesson, grant: Grant, waits: bool, approval: ApprovalMode) -> String {
    let (class, risk) = (lesson.fix.class, lesson.risk);
    let what = match (class, grant) {
        (FixClass::None, _) => "finds, and has no fix",
        (_, Grant::Observe | Grant::Audit) => "finds, and mends nothing: the grant ends there",
        _ if approval == ApprovalMode::Never => "finds, and mends nothing: `[approve]` says never for its risk",
        (FixClass::Review, _) => "finds and lists a fix; a person asks for it",
        (FixClass::Safe, Grant::Propose) if waits && lesson.risk < Risk::High => {
            "finds and lists a fix until this host's wave has come"
        }
        (FixClass::Safe, Grant::Propose) => "finds, and makes a branch that a person merges",
        (FixClass::Safe, Grant::Apply) if approval == ApprovalMode::Ask => {
            "finds, and makes a branch that a person merges: `[approve]` says ask for its risk"
        }
        (FixClass::Safe, Grant::Apply) => "finds, and changes what people use where the guard lets it",
    };
    format!("{what} (class {}, risk {}, grant {})", class.name(), risk.name(), grant.name())
}

/// What holds for the whole host, and for one area.
fn host(parts: &mut Parts, area: Option<&Area>) -> Result<Vec<Part>, CliError> {
    let mut answer = Vec::new();
    let moment = parts.clock.moment();
    if let Some(why) = undo::stopped(parts)? {
        answer.push(part("stopped", format!("nothing is changed any more: {why}")));
    }
    if let Some(paused) = parts.db.paused(&moment)? {
        answer.push(part("paused", paused.words()));
    }
    for paused in
        parts.db.paused_areas(&moment)?.iter().filter(|paused| area.is_none_or(|area| paused.covers(&area.root)))
    {
        answer.push(part("paused", paused.words()));
    }
    let of_area = |root: &std::path::Path| area.is_none_or(|area| area.root == root);
    for frozen in parts.db.frozen(&moment)?.into_iter().filter(|frozen| of_area(&frozen.area)) {
        let hours = frozen.left.as_secs().div_ceil(3_600);
        answer.push(part("frozen", format!("{} for {hours} h more: {}", frozen.area.display(), frozen.why)));
    }
    let root = area.map_or(std::path::Path::new(""), |area| &area.root);
    let limit = area.and_then(|area| area.limit_per_day);
    let standing = parts.db.standing(&moment, root, ActionHash([0; 32]), limit)?;
    let pace = parts.config.pace();
    let here =
        limit.map(|most| format!(", {} of {most} in this root", standing.area_interventions)).unwrap_or_default();
    answer.push(part(
        "budget",
        format!(
            "{} of {} changes within 24 h{here}; {} of {} not judged yet",
            standing.interventions, pace.interventions_per_day, standing.under_way, pace.concurrent
        ),
    ));
    Ok(answer)
}
