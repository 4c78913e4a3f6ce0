//! `mesh up`: from nothing to the first findings, in one command.

use std::time::Instant;

use serde_json::json;

use super::audit::Progress;
use super::report::{self, View};
use super::{CliError, Context, ExitKind, Outcome, exit_kind, out, sync};
use crate::agent::cycle::{self, Round};
use crate::agent::parts::{Parts, SetUp};
use crate::agent::propose;
use crate::domain::fix::FixState;
use crate::domain::foreign_text::error_line;
use crate::domain::lesson::Lesson;
use crate::domain::openssh;
use crate::domain::strain::Strain;
use crate::loops::seed::{Area, Mode};
use crate::store::proposal;
use crate::sys::host;

/// How long.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// End after the first audit instead of going on as the agent
    #[arg(long)]
    once: bool,
    /// List the fixes, but make none
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(context: &Context, args: &Args) -> Outcome {
    let started = Instant::now();
    let home = context.home()?;
    let is_new = home.config_file().symlink_metadata().is_err();
    let here = std::env::current_dir()?.canonicalize()?;
    let default = |name: &str| name.parse().map_err(|error| CliError::of(ExitKind::Usage, &error));
    let wanted = SetUp {
        name: default(&host::name())?,
        mesh: "home".parse().map_err(|error| CliError::of(ExitKind::Usage, &error))?,
        remote: None,
        branch: "mesh".to_owned(),
        roots: vec![here.clone()],
    };
    let opened = if is_new { Parts::set_up(home, &wanted) } else { Parts::open(home) };
    let mut parts = opened.map_err(|error| CliError::of(exit_kind(&error), &error))?;
    if !context.json {
        greet(&parts, is_new);
    }
    let lock = parts.lock().map_err(|error| CliError::of(exit_kind(&error), &error))?;
    let area = Area::bare(here.clone());
    let mode = if args.dry_run { Mode::Tell } else { Mode::Seed };
    let mut progress = Progress::new(context.json);
    let round = cycle::round(&mut parts, &[area], mode, &mut |at| progress.show(at));
    progress.end();
    let round = round.map_err(|error| CliError::of(ExitKind::Error, &error))?;
    // Only a file for a person to read: nothing of it is in force.
    let proposed = if args.dry_run { Ok(0) } else { propose::write(&parts) };
    let lessons: Vec<Lesson> = round.library.held.iter().map(|held| held.lesson.clone()).collect();
    let view = View { lessons: &lessons, roots: &round.roots, here, took: started.elapsed(), diff: true };
    if context.json {
        out::json(&json!({
            "home": parts.home.root(), "host": parts.key.host(), "new": is_new,
            "sync": sync::as_json(&round.sync), "audit": report::json(&view),
            "proposed": proposed.as_ref().ok(), "strain": round.strain.as_ref().map(Strain::words),
        }));
    } else {
        tell(&parts, &round, &view, args);
        match proposed {
            Ok(0) => {}
            Ok(count) => {
                let path = proposal::path(&parts.home);
                out::line(format!("  less {}   {count} things run here and are not measured yet", path.display()));
            }
            Err(error) => out::note(format!("no proposal of what could be measured: {}", error_line(&error))),
        }
    }
    drop(lock);
    if args.once {
        return Ok(ExitKind::Ok);
    }
    super::run::serve(context, parts, mode)
}

fn greet(parts: &Parts, is_new: bool) {
    let home = parts.home.root().display();
    if is_new {
        out::line(format!("Made the home {home}: a key, a config, and a remote inside it."));
    } else {
        out::line(format!("Home {home}."));
    }
    out::line(format!(
        "This host is {} of mesh {}, key {}.",
        parts.config.name,
        parts.config.mesh,
        openssh::fingerprint(parts.key.host())
    ));
}

fn tell(parts: &Parts, round: &Round, view: &View<'_>, args: &Args) {
    sync::say(&round.sync);
    out::line(format!("{} lessons hold here.", round.library.held.len()));
    for (name, why) in &round.library.left_out {
        out::line(format!("left out {name}: {why}"));
    }
    for (path, why) in &round.failed {
        out::line(format!("{} was not audited: {why}", path.display()));
    }
    if let Some(strain) = &round.strain {
        out::line(format!("This host is short of space or time: {}.", strain.words()));
    }
    out::line("");
    report::text(view).iter().for_each(out::line);
    if args.dry_run {
        out::line("");
        report::foretold(&round.roots, &|root, path| round.trials_of(root, path)).iter().for_each(out::line);
    }
    let outcomes = || round.roots.iter().flat_map(|root| &root.seeding.outcomes);
    let seeded: Vec<_> = outcomes().filter(|outcome| outcome.fix.state == FixState::Seeded).collect();
    let proposed = outcomes().filter(|outcome| outcome.fix.state == FixState::Proposed).count();
    out::line("");
    out::line("Next:");
    if let Some(outcome) = seeded.first() {
        let branch = outcome.fix.branch.as_deref().unwrap_or_default();
        out::line(format!("  git diff HEAD...{branch}   look at a seeded fix ({} in all)", seeded.len()));
    }
    if proposed > 0 && !args.dry_run {
        out::line(format!("  mesh fix list              {proposed} fixes wait for a person: show ID, apply ID"));
    }
    if parts.keyring.peers().is_empty() {
        out::line("  mesh id                    give this line to `mesh enroll` on your other hosts");
    }
    if args.once {
        out::line("  mesh up                    go on as the agent: sync and audit every 15 minutes");
    }
}
