//! `mesh audit`: where the mistakes of the known lessons are made here.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::report::{self, Format, View};
use super::{CliError, Context, ExitKind, Outcome, out};
use crate::agent::workshop::{Workshop, configured_areas, mesh_areas};
use crate::domain::fix::KnownLesson;
use crate::domain::foreign_text::{display_line, error_line};
use crate::domain::id::Slug;
use crate::domain::lesson::{Lesson, Severity, parse_span};
use crate::loops::audit::{RootAudit, accept_all, audit, still_found};
use crate::loops::library::Held;
use crate::loops::seed::{Area, Mode, Parts};

/// What to look at, and how to show it.
#[derive(clap::Args, Debug)]
pub(super) struct Ask {
    /// Files or folders (default: the roots in the configuration, and mesh's own files)
    paths: Vec<PathBuf>,
    /// Only this lesson; may be given more than once
    #[arg(long = "lesson", value_name = "ID")]
    lessons: Vec<Slug>,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Show each fix as a diff
    #[arg(long)]
    diff: bool,
    /// Make the safe fixes, each on a branch of its own
    #[arg(long)]
    seed: bool,
    /// End with 1 when a finding is at least this bad: hint, info, warning, error
    #[arg(long, value_name = "SEVERITY", default_value = "warning", value_parser = severity)]
    fail_on: Severity,
    /// Accept everything found now, for this reason
    #[arg(long, value_name = "REASON", conflicts_with = "update_baseline")]
    baseline_write: Option<String>,
    /// How long what is accepted stays so
    #[arg(long, value_name = "SPAN", default_value = "180d", value_parser = span)]
    baseline_for: Duration,
    /// Take out of the baseline what is not found any more
    #[arg(long)]
    update_baseline: bool,
}

fn severity(word: &str) -> Result<Severity, String> {
    [Severity::Hint, Severity::Info, Severity::Warning, Severity::Error]
        .into_iter()
        .find(|severity| severity.name() == word)
        .ok_or_else(|| "must be hint, info, warning or error".to_owned())
}

fn span(text: &str) -> Result<Duration, String> {
    parse_span(text).filter(|span| !span.is_zero()).ok_or_else(|| "must be a span such as 24h or 180d".to_owned())
}

/// A root to audit, and the part of it that was asked for.
struct Wanted {
    area: Area,
    /// A path below the root; empty for all of it.
    below: PathBuf,
}

/// Opens the home and audits what was asked for: with no path and no configured root, the current folder.
pub(super) fn open_and_run(context: &Context, ask: &Ask) -> Outcome {
    crate::sys::memory::take_ahead();
    let started = Instant::now();
    let mut home = context.open()?;
    let now = home.now();
    let (mut areas, missing) = configured_areas(&home);
    for path in missing {
        let shown = display_line(&path.to_string_lossy());
        out::note(format!("root {shown} is not there: mend or remove it in the config"));
    }
    let here = [PathBuf::from(".")];
    let paths = if ask.paths.is_empty() && areas.is_empty() { &here } else { ask.paths.as_slice() };
    areas.extend(own_areas(&home, &areas));
    let wanted = wanted(paths, &areas)?;
    let mode = if ask.seed { Mode::Seed } else { Mode::List };
    let mut workshop = Workshop::of(&home);
    if let Some(first) = wanted.first() {
        workshop.look_ahead(&first.area.root);
    }
    let library = home.library()?;
    for (name, why) in &library.left_out {
        out::note(format!("lesson {} is left out: {}", display_line(name), display_line(why)));
    }
    let lessons = chosen(library.held.iter().map(Held::known).collect(), &ask.lessons)?;
    let mut parts = workshop.with(&mut home.db);
    let mut progress = Progress::new(context.json || ask.format != Format::Text);
    let (mut roots, mut failed) = (Vec::new(), false);
    for Wanted { area, below } in wanted {
        match audit(&mut parts, &area, &lessons, mode, now, &mut |at| progress.show(at)) {
            Ok(mut audited) => {
                progress.end();
                set_baseline(ask, &mut parts, &lessons, &mut audited, &below, now)?;
                narrow(&mut audited, &below);
                roots.push(audited);
            }
            // The other roots are looked at all the same.
            Err(error) => {
                progress.end();
                failed = true;
                out::note(format!("mesh: {}", error_line(&error)));
            }
        }
    }
    let lessons: Vec<Lesson> = lessons.into_iter().map(|known| known.lesson).collect();
    let here = std::env::current_dir().unwrap_or_default();
    let view = View { lessons: &lessons, roots: &roots, here, took: started.elapsed(), diff: ask.diff };
    match (context.json, ask.format) {
        (_, Format::Sarif) => out::json(&report::sarif(&view)),
        (true, _) | (_, Format::Json) => out::json(&report::json(&view)),
        (false, Format::Text) => report::text(&view).iter().for_each(out::line),
    }
    Ok(if failed || view.reaches(ask.fail_on) { ExitKind::Error } else { ExitKind::Ok })
}

/// Mesh's own files, where no configured root holds them already.
fn own_areas(home: &crate::agent::parts::Parts, configured: &[Area]) -> Vec<Area> {
    let held = |own: &Area| configured.iter().any(|area| own.root.starts_with(&area.root));
    mesh_areas(home).into_iter().filter(|own| !held(own)).collect()
}

fn chosen(mut lessons: Vec<KnownLesson>, ids: &[Slug]) -> Result<Vec<KnownLesson>, CliError> {
    if let Some(unknown) = ids.iter().find(|id| !lessons.iter().any(|known| known.lesson.id == **id)) {
        let error = CliError::new(ExitKind::Usage, format!("no lesson {unknown} is in force here"));
        return Err(error.hint("see `mesh lesson list`"));
    }
    lessons.retain(|known| ids.is_empty() || ids.contains(&known.lesson.id));
    Ok(lessons)
}

/// What the paths mean: a configured root they are in, else the folder itself.
fn wanted(paths: &[PathBuf], configured: &[Area]) -> Result<Vec<Wanted>, CliError> {
    if paths.is_empty() {
        let all = |area: &Area| Wanted { area: area.clone(), below: PathBuf::new() };
        return Ok(configured.iter().map(all).collect());
    }
    paths.iter().map(|path| wanted_path(path, configured)).collect()
}

fn wanted_path(path: &Path, configured: &[Area]) -> Result<Wanted, CliError> {
    let real = path.canonicalize().map_err(|error| {
        let shown = display_line(&path.to_string_lossy());
        CliError::new(ExitKind::Usage, format!("cannot audit {shown}: {error}"))
    })?;
    let around = configured.iter().filter(|area| real.starts_with(&area.root));
    let area = around.max_by_key(|area| area.root.as_os_str().len()).cloned().unwrap_or_else(|| {
        let folder = if real.is_dir() { &real } else { real.parent().unwrap_or(&real) };
        Area::bare(folder.to_owned())
    });
    let below = real.strip_prefix(&area.root).unwrap_or(Path::new("")).to_owned();
    Ok(Wanted { area, below })
}

/// Leaves what is in the part that was asked for.
fn narrow(audited: &mut RootAudit, below: &Path) {
    let asked = |path: &str| Path::new(path).starts_with(below);
    audited.report.findings.retain(|finding| asked(&finding.path));
    audited.report.skipped.retain(|skipped| asked(&skipped.path));
    audited.report.idle_suppressions.retain(|idle| asked(&idle.path));
    audited.seeding.outcomes.retain(|outcome| asked(&outcome.plan.path));
    audited.seeding.unplanned.retain(|unplanned| asked(&unplanned.path));
}

fn set_baseline(
    ask: &Ask,
    parts: &mut Parts<'_>,
    lessons: &[KnownLesson],
    audited: &mut RootAudit,
    below: &Path,
    now: Timestamp,
) -> Result<(), CliError> {
    let accepted = match &ask.baseline_write {
        Some(reason) if reason.trim().is_empty() => {
            return Err(CliError::new(ExitKind::Usage, "a baseline needs a reason").hint("--baseline-write REASON"));
        }
        Some(reason) => {
            let until = SignedDuration::try_from(ask.baseline_for).ok().and_then(|span| now.checked_add(span).ok());
            accept_all(audited, below, reason, until)
        }
        None if ask.update_baseline => still_found(audited, lessons),
        None => return Ok(()),
    };
    parts.db.replace_baseline(&audited.root, accepted.values())?;
    let root = display_line(&audited.root.to_string_lossy());
    out::note(format!("baseline of {root}: {} accepted", accepted.len()));
    audited.accept(accepted);
    Ok(())
}

/// The progress line, at most ten times a second and only on a terminal.
pub(super) struct Progress {
    quiet: bool,
    last: Option<Instant>,
}

impl Progress {
    const EVERY: Duration = Duration::from_millis(100);

    pub(super) fn new(quiet: bool) -> Self {
        Self { quiet: quiet || !out::notes_are_seen(), last: None }
    }

    pub(super) fn show(&mut self, at: crate::ports::ScanProgress) {
        if self.quiet || self.last.is_some_and(|last| last.elapsed() < Self::EVERY) {
            return;
        }
        self.last = Some(Instant::now());
        out::passing(report::progress(at));
    }

    pub(super) fn end(&mut self) {
        if self.last.take().is_some() {
            out::passing("");
        }
    }
}
