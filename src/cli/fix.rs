//! `mesh fix`: the fixes that were planned here, and what became of each.

use std::time::Duration;

use clap::Subcommand;
use jiff::Timestamp;
use serde_json::json;

use super::report::{fix_story, fix_value};
use super::{CliError, Context, ExitKind, Outcome, out};
use crate::agent::workshop::{Workshop, configured_areas};
use crate::domain::fix::{Fix, FixId, FixState, KnownLesson};
use crate::domain::foreign_text::{display_bytes, display_line};
use crate::loops::library::Held;
use crate::loops::seed::{Area, Parts, PersonError, apply, rollback};
use crate::store::db::Db;

/// Lists, shows, makes and takes back fixes
#[derive(Subcommand, Debug)]
pub(super) enum Ask {
    /// Every fix: seeded, proposed, refused, applied
    List,
    /// One fix with its diff and what each guard said
    Show {
        /// Its id
        id: FixId,
    },
    /// Make a proposed fix on a branch of its own
    Apply {
        /// Its id
        id: FixId,
    },
    /// Delete the branch of a seeded fix, if nobody has committed on it
    Rollback {
        /// Its id
        id: FixId,
    },
}

/// Opens the home and does what was asked.
pub(super) fn open_and_run(context: &Context, ask: &Ask) -> Outcome {
    let mut parts = context.open()?;
    let lessons = match ask {
        Ask::Apply { .. } => {
            let library = parts.library().map_err(|error| CliError::of(ExitKind::Error, &error))?;
            library.held.iter().map(Held::known).collect()
        }
        Ask::List | Ask::Show { .. } | Ask::Rollback { .. } => Vec::new(),
    };
    let (areas, _) = configured_areas(&parts);
    let now = parts.now();
    let mut workshop = Workshop::of(&parts);
    run(context, ask, &mut workshop.with(&mut parts.db), &areas, &lessons, now)
}

/// Does what was asked. `configured` are the roots of the configuration, links resolved.
fn run(
    context: &Context,
    ask: &Ask,
    parts: &mut Parts<'_>,
    configured: &[Area],
    lessons: &[KnownLesson],
    now: Timestamp,
) -> Result<ExitKind, CliError> {
    match ask {
        Ask::List => list(context, parts.db),
        Ask::Show { id } => show(context, &known(parts.db, id)?),
        Ask::Apply { id } => {
            let root = known(parts.db, id)?.root;
            let area = configured.iter().find(|area| area.root == root).cloned();
            let area = area.unwrap_or(Area { root, check: Vec::new(), check_timeout: Duration::ZERO });
            let fix = apply(parts, &area, lessons, id, now).map_err(failed)?;
            told(context, &fix, FixState::Seeded)
        }
        Ask::Rollback { id } => {
            let fix = rollback(parts, id, now).map_err(failed)?;
            told(context, &fix, FixState::Refused)
        }
    }
}

fn known(db: &Db, id: &FixId) -> Result<Fix, CliError> {
    db.fix(id)?.ok_or_else(|| failed(PersonError::Unknown(id.clone())))
}

fn failed(error: PersonError) -> CliError {
    let kind = if matches!(error, PersonError::Unknown(_)) { ExitKind::Usage } else { ExitKind::Error };
    CliError::of(kind, &error)
}

fn list(context: &Context, db: &Db) -> Result<ExitKind, CliError> {
    let fixes = db.fixes()?;
    if context.json {
        out::json(&json!({ "fixes": fixes.iter().map(fix_value).collect::<Vec<_>>() }));
        return Ok(ExitKind::Ok);
    }
    if fixes.is_empty() {
        out::line("no fixes: `mesh audit` finds what there is to mend");
        return Ok(ExitKind::Ok);
    }
    out::line(format!("{:<8}  {:<8}  {:<6}  {:<28}  FILE", "ID", "STATE", "CLASS", "LESSON"));
    for fix in fixes {
        let file = display_bytes(fix.root.join(&fix.path).as_os_str().as_encoded_bytes());
        let (state, class) = (fix.state.name(), fix.class.name());
        let row = format!("{:<8}  {state:<8}  {class:<6}  {:<28}  ", fix.id, cut(fix.lesson.as_str(), 28));
        out::line(format!("{row}{}", cut_left(&file, 80 - 60)));
    }
    Ok(ExitKind::Ok)
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

/// The end of a path says more than its beginning.
fn cut_left(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    std::iter::once('…').chain(text.chars().skip(length + 1 - width)).collect()
}

fn show(context: &Context, fix: &Fix) -> Result<ExitKind, CliError> {
    if context.json {
        out::json(&fix_value(fix));
    } else {
        fix_story(fix).iter().for_each(out::line);
    }
    Ok(ExitKind::Ok)
}

/// Says where the fix stands now; anything but `wanted` is a failure.
fn told(context: &Context, fix: &Fix, wanted: FixState) -> Result<ExitKind, CliError> {
    if fix.state != wanted {
        let reason = display_line(fix.reason.as_deref().unwrap_or("no reason is recorded"));
        let error = CliError::new(ExitKind::Error, format!("fix {} is {}: {reason}", fix.id, fix.state.name()));
        return Err(error.hint(format!("see `mesh fix show {}`", fix.id)));
    }
    if context.json {
        out::json(&fix_value(fix));
        return Ok(ExitKind::Ok);
    }
    match (&fix.branch, fix.state) {
        (Some(branch), FixState::Seeded) => {
            out::line(format!("fix {} is on branch {branch}", fix.id));
            out::line(format!("look at it with `git diff HEAD...{branch}`, take it with `git merge {branch}`"));
        }
        _ => out::line(format!("fix {} is taken back: its branch is deleted", fix.id)),
    }
    Ok(ExitKind::Ok)
}
