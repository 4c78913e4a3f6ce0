//! `mesh lesson`: write, check and list lessons.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::inbox::{column, counted, voice_json, voice_line};
use super::table::Table;
use super::{CliError, Context, ExitKind, Outcome, exit_kind, out};
use crate::agent::authoring::{self, AuthoringError, Shared};
use crate::agent::hindsight::{self, Drafted};
use crate::agent::parts::Parts;
use crate::domain::attest::{Support, Voice};
use crate::domain::expr::Truth;
use crate::domain::foreign_text::error_line;
use crate::domain::id::Slug;
use crate::domain::lesson::Lesson;
use crate::domain::trust::Grant;
use crate::loops::library::{Held, Origin, claim_says};
use crate::store::authored::{self, AuthoredError};
use crate::store::files;

/// What to do.
#[derive(clap::Subcommand, Debug)]
pub(super) enum Action {
    /// Write a new lesson file to fill in
    New {
        /// Its name: a-z, 0-9 and '-'
        id: Slug,
    },
    /// Check lesson files and try them on their own examples
    Check {
        /// Files, or names of lessons here [default: all lessons of this home]
        lessons: Vec<String>,
    },
    /// List the lessons that hold here, and the drafts that wait for your word
    List,
    /// Show one lesson
    Show {
        /// Its name
        id: Slug,
        /// The draft of it, made of what it came to here
        #[arg(long)]
        draft: bool,
    },
    /// Make a draft a lesson of this host
    Confirm {
        /// Its name
        id: Slug,
    },
    /// Take a lesson out of use here, and take it back from the peers where it was published
    Retire {
        /// Its name
        id: Slug,
        /// Why
        #[arg(long)]
        reason: String,
    },
}

/// How an authoring error ends a command.
pub(super) fn failure(error: &AuthoringError) -> CliError {
    let kind = match error {
        AuthoringError::Unknown { .. } | AuthoringError::NotPublished(_) => ExitKind::Usage,
        _ => ExitKind::Error,
    };
    CliError::of(kind, error)
}

pub(super) fn run(context: &Context, action: Action) -> Outcome {
    match action {
        Action::New { id } => new(context, &id),
        Action::Check { lessons } => check(context, &lessons),
        Action::List => list(context),
        Action::Show { id, draft: true } => show_draft(context, &id),
        Action::Show { id, draft: false } => show(context, &id),
        Action::Confirm { id } => confirm(context, &id),
        Action::Retire { id, reason } => retire(context, &id, &reason),
    }
}

const TEMPLATE: &str = include_str!("lesson_template.toml");

fn new(context: &Context, id: &Slug) -> Outcome {
    let parts = context.open()?;
    let path = authored::folder(&parts.home).join(format!("{id}.toml"));
    if path.symlink_metadata().is_ok() {
        return Err(CliError::new(ExitKind::Usage, format!("{} is there already", path.display()))
            .hint(format!("edit it, then run `mesh lesson check {id}`")));
    }
    files::write_whole(&path, TEMPLATE.replace("LESSON-ID", id.as_str()).as_bytes(), 0o600)?;
    if context.json {
        out::json(&json!({ "id": id, "path": path }));
    } else {
        out::line(format!("Wrote {}.", path.display()));
        out::line(format!("Next: fill it in, run `mesh lesson check {id}`, then `mesh outbox preview {id}`."));
    }
    Ok(ExitKind::Ok)
}

fn check(context: &Context, lessons: &[String]) -> Outcome {
    let parts = context.open()?;
    let folder = authored::folder(&parts.home);
    let paths: Vec<PathBuf> = if lessons.is_empty() {
        files::list(&folder, "toml")?
    } else {
        lessons.iter().map(|lesson| file_of(&folder, lesson)).collect()
    };
    let mut rows = Vec::new();
    for path in &paths {
        let verdict = authored::load_file(path)
            .map_err(|error| error_line(&error))
            .and_then(|lesson| authoring::try_out(&parts, &lesson).map_err(|error| error_line(&error)));
        if !context.json {
            match &verdict {
                Ok(()) => out::line(format!("{}: good", path.display())),
                Err(why) => out::line(format!("{}: {why}", path.display())),
            }
        }
        rows.push((path, verdict));
    }
    let good = rows.iter().all(|(_, verdict)| verdict.is_ok());
    if context.json {
        let lessons: Vec<_> = rows
            .iter()
            .map(|(path, verdict)| json!({ "path": path, "ok": verdict.is_ok(), "why": verdict.as_ref().err() }))
            .collect();
        out::json(&json!({ "lessons": lessons }));
    } else if rows.is_empty() {
        out::line(format!("No lesson in {}: nothing to check.", folder.display()));
    }
    Ok(if good { ExitKind::Ok } else { ExitKind::Error })
}

fn file_of(folder: &Path, lesson: &str) -> PathBuf {
    match lesson.parse::<Slug>() {
        Ok(slug) => folder.join(format!("{slug}.toml")),
        Err(_) => PathBuf::from(lesson),
    }
}

fn library(parts: &mut Parts) -> Result<crate::loops::library::Library, CliError> {
    parts.library().map_err(|error| CliError::of(ExitKind::Error, &error))
}

fn list(context: &Context) -> Outcome {
    let mut parts = context.open()?;
    let library = library(&mut parts)?;
    let (drafts, refused) = drafts(&parts)?;
    let shared = authoring::shared(&parts).map_err(|error| failure(&error))?;
    let support = |held: &Held| heard(&parts, held, &shared).map(|(_, voices)| Support::of(&voices));
    let supports: Vec<Option<Support>> = library.held.iter().map(support).collect::<Result<_, CliError>>()?;
    if context.json {
        let mut lessons: Vec<_> =
            library.held.iter().zip(&supports).map(|(held, support)| summary(held, *support)).collect();
        lessons.extend(drafts.iter().map(draft_summary));
        let left_out: Vec<_> =
            library.left_out.iter().map(|(name, why)| json!({ "lesson": name, "why": why })).collect();
        out::json(&json!({ "lessons": lessons, "left_out": left_out }));
        return Ok(ExitKind::Ok);
    }
    let mut table = Table::new(&["LESSON~", "REV", "FROM~", "STATE", "SEVERITY", "FIX", "ATT", "TITLE~"]);
    for (held, support) in library.held.iter().zip(&supports) {
        let lesson = &held.lesson;
        table.row([
            lesson.id.to_string(),
            lesson.rev.to_string(),
            held.origin.name().to_owned(),
            state(held).to_owned(),
            lesson.severity.name().to_owned(),
            lesson.fix.class.name().to_owned(),
            column(*support),
            lesson.title.clone(),
        ]);
    }
    for Drafted { lesson, .. } in &drafts {
        table.row([
            lesson.id.to_string(),
            lesson.rev.to_string(),
            "mesh".to_owned(),
            "draft".to_owned(),
            lesson.severity.name().to_owned(),
            lesson.fix.class.name().to_owned(),
            "-".to_owned(),
            lesson.title.clone(),
        ]);
    }
    table.lines().iter().for_each(out::line);
    for (name, why) in &library.left_out {
        out::note(format!("left out {name}: {why}"));
    }
    for held in &library.held {
        if let Some(why) = &held.stale {
            out::note(format!("{} is only audited: {why}", held.lesson.id));
        }
    }
    drafts.iter().for_each(|one| out::note(format!("draft {} {}", one.lesson.id, one.lacks.words())));
    refused.iter().for_each(|error| out::note(error_line(error)));
    Ok(ExitKind::Ok)
}

/// The revision of a lesson that others have, and what hosts attested of it: its own entry for one of a peer, and the
/// newest one that this host published for one of its own.
fn heard(parts: &Parts, held: &Held, shared: &[Shared]) -> Result<(Option<u32>, Vec<Voice>), CliError> {
    let lesson = &held.lesson;
    Ok(match held.origin {
        Origin::Peer { entry, .. } => (Some(lesson.rev), authoring::voices(parts, entry, &lesson.scope)?),
        Origin::Founding => (None, Vec::new()),
        Origin::Local => {
            let newest = shared.iter().rfind(|shared| shared.lesson == lesson.id);
            newest.map_or((None, Vec::new()), |shared| (Some(shared.rev), shared.voices.clone()))
        }
    })
}

const fn state(held: &Held) -> &'static str {
    if held.stale.is_some() { "stale" } else { "holds" }
}

fn drafts(parts: &Parts) -> Result<(Vec<Drafted>, Vec<AuthoredError>), CliError> {
    hindsight::drafts(parts).map_err(|error| CliError::of(ExitKind::Error, &error))
}

fn draft_summary(drafted: &Drafted) -> serde_json::Value {
    let lesson = &drafted.lesson;
    json!({
        "id": lesson.id, "rev": lesson.rev, "from": "mesh", "grant": Grant::Observe, "state": "draft",
        "lacks": drafted.lacks, "severity": lesson.severity, "risk": lesson.risk, "scope": lesson.scope,
        "title": lesson.title, "fix": lesson.fix.class,
    })
}

fn no_draft(id: &Slug) -> CliError {
    CliError::new(ExitKind::Usage, format!("there is no draft `{id}` here")).hint("see `mesh lesson list`")
}

fn show_draft(context: &Context, id: &Slug) -> Outcome {
    let parts = context.open()?;
    let (drafts, _) = drafts(&parts)?;
    let drafted = drafts.iter().find(|one| one.lesson.id == *id).ok_or_else(|| no_draft(id))?;
    if context.json {
        let mut shown = serde_json::to_value(&drafted.lesson)?;
        shown["here"] = json!({ "state": "draft", "lacks": drafted.lacks });
        out::json(&shown);
        return Ok(ExitKind::Ok);
    }
    describe(&drafted.lesson);
    drafted.lesson.evidence.iter().for_each(|line| out::line(format!("evidence     {line}")));
    out::line(format!("draft        {}", drafted.lacks.words()));
    Ok(ExitKind::Ok)
}

fn confirm(context: &Context, id: &Slug) -> Outcome {
    let parts = context.open()?;
    let confirmed = hindsight::confirm(&parts, id).map_err(|error| CliError::of(ExitKind::Error, &error))?;
    let path = confirmed.ok_or_else(|| no_draft(id))?.map_err(|lacks| {
        CliError::new(ExitKind::Error, format!("draft `{id}` {}", lacks.words()))
            .hint(format!("see it with `mesh lesson show {id} --draft`"))
    })?;
    if context.json {
        out::json(&json!({ "id": id, "path": path }));
    } else {
        out::line(format!("{id} is a lesson of this host now: {}.", path.display()));
        out::line(format!("Next: `mesh outbox publish {id}` shares it."));
    }
    Ok(ExitKind::Ok)
}

fn summary(held: &Held, support: Option<Support>) -> serde_json::Value {
    let lesson = &held.lesson;
    json!({
        "id": lesson.id, "rev": lesson.rev, "from": held.origin.name(), "grant": held.grant(), "state": state(held),
        "stale": held.stale,
        "severity": lesson.severity, "risk": lesson.risk, "scope": lesson.scope, "title": lesson.title,
        "fix": lesson.fix.class, "attestations": support,
    })
}

fn show(context: &Context, id: &Slug) -> Outcome {
    let mut parts = context.open()?;
    let library = library(&mut parts)?;
    let held = library.held.iter().find(|held| held.lesson.id == *id).ok_or_else(|| {
        CliError::new(ExitKind::Usage, format!("no lesson `{id}` holds here")).hint("see `mesh lesson list`")
    })?;
    let says = claim_says(&parts.db, &held.lesson.falsifiable.expr, parts.now())?;
    let shared = authoring::shared(&parts).map_err(|error| failure(&error))?;
    let (published, voices) = heard(&parts, held, &shared)?;
    if context.json {
        let mut shown = serde_json::to_value(&held.lesson)?;
        shown["here"] = json!({
            "falsifiable": claim_word(says), "state": state(held), "stale": held.stale, "published_rev": published,
            "attestations": Support::of(&voices),
            "voices": voices.iter().map(|voice| voice_json(&parts, voice)).collect::<Vec<_>>(),
        });
        out::json(&shown);
        return Ok(ExitKind::Ok);
    }
    describe(&held.lesson);
    out::line(format!("from         {}", held.origin.name()));
    let said = match says {
        Truth::True => "holds: what was measured here agrees with the claim",
        Truth::False => "refuted: what was measured here contradicts the claim",
        Truth::Unknown => "untested: what the claim needs was not measured here, or not for long enough",
    };
    out::line(format!("here         {said}"));
    if let Some(why) = &held.stale {
        out::line(format!("stale        only audited: {why}"));
    }
    if let Some(rev) = published {
        let of = if rev == held.lesson.rev { String::new() } else { format!("rev {rev}: ") };
        out::line(format!("attested     {of}{}", counted(&voices)));
        voices.iter().for_each(|voice| out::line(format!("{:12} {}", "", voice_line(&parts, voice))));
    }
    Ok(ExitKind::Ok)
}

/// What this host's signals say of a claim, in one word.
const fn claim_word(says: Truth) -> &'static str {
    match says {
        Truth::True => "holds",
        Truth::False => "refuted",
        Truth::Unknown => "untested",
    }
}

/// A lesson in words.
pub(super) fn describe(lesson: &Lesson) {
    let line = |name: &str, text: &str| {
        let mut lines = text.trim().lines();
        out::line(format!("{name:12} {}", lines.next().unwrap_or_default()));
        lines.for_each(|more| out::line(format!("{:12} {more}", "")));
    };
    line("lesson", &format!("{} rev {}", lesson.id, lesson.rev));
    line("title", &lesson.title);
    line("scope", &lesson.scope);
    line("severity", lesson.severity.name());
    line("when", &lesson.when);
    line("prefer", &lesson.prefer);
    line("because", &lesson.because);
    line("claim", &lesson.falsifiable.claim);
    line("", &format!("{} within {}", lesson.falsifiable.expr, lesson.falsifiable.within));
    line("retired when", &lesson.retired_when.claim);
    line("", &format!("{} or after {}", lesson.retired_when.expr, lesson.retired_when.after));
    line("fix", lesson.fix.class.name());
    let tests = &lesson.tests;
    line("examples", &format!("{} that match, {} that do not", tests.positive.len(), tests.negative.len()));
}

fn retire(context: &Context, id: &Slug, reason: &str) -> Outcome {
    let mut parts = context.open()?;
    let lock = parts.lock().map_err(|error| CliError::of(exit_kind(&error), &error))?;
    let published = authoring::published(&parts).map_err(|error| failure(&error))?;
    let is_published = published.iter().any(|lesson| lesson.body().id == *id);
    let path = authored::folder(&parts.home).join(format!("{id}.toml"));
    let here = path.symlink_metadata().is_ok();
    if !is_published && !here {
        return Err(CliError::new(
            ExitKind::Usage,
            format!("`{id}` is neither in {} nor published by this host", path.display()),
        )
        .hint("a peer's lesson is taken out of use with `mesh inbox reject`"));
    }
    if is_published {
        authoring::queue_retraction(&mut parts, id, reason).map_err(|error| failure(&error))?;
    }
    if here {
        let text = files::read_bytes(&path, 1024 * 1024)?;
        files::write_whole(&path.with_extension("retired"), &text, 0o600)?;
        files::remove(&path)?;
    }
    drop(lock);
    if context.json {
        out::json(&json!({ "id": id, "retraction_queued": is_published }));
    } else {
        out::line(format!("{id} is out of use here."));
        if is_published {
            out::line("Its retraction is signed and sent at the next sync: `mesh sync --once`.");
        }
    }
    Ok(ExitKind::Ok)
}
