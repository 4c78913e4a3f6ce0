//! `mesh fix`: the fixes that were planned here, and what became of each.

use std::path::Path;

use clap::Subcommand;
use serde_json::{Value, json};

use super::report::{chain, fix_story, fix_value, story_value, wrap};
use super::table::Table;
use super::{CliError, Context, ExitKind, Outcome, out};
use crate::agent::undo;
use crate::agent::workshop::{Workshop, configured_areas};
use crate::domain::fix::{Fix, FixId, FixState, KnownLesson};
use crate::domain::foreign_text::{display_bytes, display_line};
use crate::domain::guard::{ActionKind, Verdict};
use crate::loops::library::Held;
use crate::loops::seed::{
    Area, Hand, PersonError, apply, apply_onto, rehearse, rehearse_onto, rollback, rollback_onto,
};
use crate::store::db::Db;
use crate::sys::exec::SystemExec;

/// What to do.
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
        /// Show what would be done and what each guard says, but do nothing
        #[arg(long)]
        dry_run: bool,
        /// Make it on the branch that is checked out, not on one of its own; outside git, in the file itself
        #[arg(long, visible_alias = "in-place")]
        to_branch: bool,
    },
    /// Delete the branch of a seeded fix, or revert the commit of an applied one
    Rollback {
        /// Its id
        id: FixId,
    },
}

/// Opens the home and does what was asked.
pub(super) fn open_and_run(context: &Context, ask: &Ask) -> Outcome {
    let mut home = context.open()?;
    let now = home.now();
    match ask {
        Ask::List => list(context, &home.db),
        Ask::Show { id } => show(context, &home.db, &known(&home.db, id)?),
        Ask::Apply { id, dry_run, to_branch } => {
            let lessons: Vec<KnownLesson> = home.library()?.held.iter().map(Held::known).collect();
            let root = known(&home.db, id)?.root;
            let area = configured_areas(&home).0.into_iter().find(|area| area.root == root);
            let area = area.unwrap_or(Area::bare(root));
            let (applier, lock) = (undo::applier(&home), home.home.lock_changes()?);
            let measure = undo::measured(now);
            let hand = Hand { applier: &applier, measure: &measure, lock: &lock };
            let mut workshop = Workshop::of(&home);
            let mut parts = workshop.with(&mut home.db);
            if *to_branch && *dry_run {
                let (fix, kind) = rehearse_onto(&mut parts, &area, &lessons, id, now).map_err(failed)?;
                return foretold(context, &home.db, &area, &fix, kind);
            }
            if *to_branch {
                let fix = apply_onto(&mut parts, hand, &area, &lessons, id, now).map_err(failed)?;
                return told(context, &fix, FixState::Validating);
            }
            if *dry_run {
                let fix = rehearse(&mut parts, &area, &lessons, id, now).map_err(failed)?;
                return foretold(context, &home.db, &area, &fix, ActionKind::Branch);
            }
            let fix = apply(&mut parts, &area, &lessons, id, now).map_err(failed)?;
            told(context, &fix, FixState::Seeded)
        }
        Ask::Rollback { id } => {
            let (applier, lock) = (undo::applier(&home), home.home.lock_changes()?);
            let measure = undo::measured(now);
            let hand = Hand { applier: &applier, measure: &measure, lock: &lock };
            let mut workshop = Workshop::of(&home);
            let mut parts = workshop.with(&mut home.db);
            if let Some(fix) = rollback_onto(&mut parts, hand, id, now).map_err(failed)? {
                undo::tell_peers(&mut parts, now).map_err(|error| CliError::of(ExitKind::Error, &error))?;
                let frozen = parts.db.frozen(&parts.moment)?.into_iter().find(|frozen| frozen.area == fix.root);
                if let Some(frozen) = frozen.filter(|_| !context.json) {
                    out::line(format!("{} is frozen: {}; see `mesh freeze list`.", fix.root.display(), frozen.why));
                }
                return told(context, &fix, FixState::Reverted);
            }
            let fix = rollback(&mut parts, id, now).map_err(failed)?;
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

fn list(context: &Context, db: &Db) -> Outcome {
    let fixes = db.fixes()?;
    if context.json {
        let row = |fix: &Fix| -> Result<Value, CliError> {
            let last = db.intervention(&fix.id)?;
            let more = json!({ "intervention": last.map(|last| json!({ "id": last.id, "state": last.state })) });
            Ok(merged(fix_value(fix), more))
        };
        out::json(&json!({ "fixes": fixes.iter().map(row).collect::<Result<Vec<_>, _>>()? }));
        return Ok(ExitKind::Ok);
    }
    if fixes.is_empty() {
        out::line("no fixes: `mesh audit` finds what there is to mend");
        return Ok(ExitKind::Ok);
    }
    let mut table = Table::new(&["id", "state", "class", "lesson~", "file~"]);
    for fix in &fixes {
        let project = fix.root.file_name().unwrap_or_default();
        let file = display_bytes(Path::new(project).join(&fix.path).as_os_str().as_encoded_bytes());
        let (id, lesson) = (fix.id.to_string(), fix.lesson.to_string());
        table.row([id, fix.state.name().to_owned(), fix.class.name().to_owned(), lesson, file]);
    }
    table.lines().iter().for_each(out::line);
    for fix in fixes.iter().filter(|fix| fix.state == FixState::Backlog) {
        let why = display_line(fix.reason.as_deref().unwrap_or_default());
        wrap(&why, &format!("{} waits: ", fix.id), "                ", 80).iter().for_each(out::line);
    }
    Ok(ExitKind::Ok)
}

fn show(context: &Context, db: &Db, fix: &Fix) -> Outcome {
    let history = db.history(&fix.id)?;
    if context.json {
        out::json(&merged(fix_value(fix), story_value(&history)));
    } else {
        fix_story(fix, &history).iter().for_each(out::line);
    }
    Ok(ExitKind::Ok)
}

fn merged(mut one: Value, other: Value) -> Value {
    if let (Value::Object(one), Value::Object(other)) = (&mut one, other) {
        one.extend(other);
    }
    one
}

/// The whole chain with what would be done; exit code 1 when something holds it up.
fn foretold(context: &Context, db: &Db, area: &Area, fix: &Fix, kind: ActionKind) -> Outcome {
    let passes = fix.verdicts.iter().all(Verdict::passes);
    let steps = chain(fix, kind, &area.trials(&fix.path, &SystemExec).0.words());
    if context.json {
        let told = json!({ "dry_run": true, "would_pass": passes, "would_do": steps });
        out::json(&merged(fix_value(fix), told));
    } else {
        fix_story(fix, &db.history(&fix.id)?).iter().for_each(out::line);
        out::line("What would be done; nothing was:");
        steps.iter().enumerate().for_each(|(at, step)| out::line(format!("  {}. {step}", at + 1)));
    }
    Ok(if passes { ExitKind::Ok } else { ExitKind::Error })
}

/// Says where the fix stands now; anything but `wanted` is a failure.
fn told(context: &Context, fix: &Fix, wanted: FixState) -> Outcome {
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
        (_, FixState::Validating) => {
            match &fix.commit {
                Some(commit) => out::line(format!("fix {} is commit {commit} on your branch", fix.id)),
                None => out::line(format!("fix {} is made in the file; a copy of what it was is kept", fix.id)),
            }
            out::line(format!("take it back with `mesh fix rollback {}`", fix.id));
        }
        (_, FixState::Reverted) => out::line(format!("fix {} is taken back: what it changed is as it was", fix.id)),
        _ => out::line(format!("fix {} is taken back: its branch is deleted", fix.id)),
    }
    Ok(ExitKind::Ok)
}
