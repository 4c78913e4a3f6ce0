//! `mesh learn`: the fix a person just made becomes a lesson.

use std::io::{BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};

use serde_json::json;
use similar::TextDiff;

use super::lesson::failure;
use super::{CliError, Context, ExitKind, Outcome, out, outbox, sync};
use crate::agent::authoring;
use crate::agent::learning::{self, Ask, Draft, LearnError, WorkDir};
use crate::domain::detect::FixClass;
use crate::domain::id::Slug;
use crate::store::{authored, files};

/// Places that are listed; the rest is counted.
const LISTED: usize = 10;

/// What to learn from, and what to do with it
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// The commit with the fix, such as HEAD
    #[arg(long, value_name = "REV")]
    from_commit: String,
    /// A directory in the repository [default: the current one]
    #[arg(long, value_name = "DIR")]
    repo: Option<PathBuf>,
    /// The one file of the commit to learn from
    #[arg(long, value_name = "PATH")]
    file: Option<String>,
    /// The lesson's name [default: made of the title]
    #[arg(long, value_name = "SLUG")]
    id: Option<Slug>,
    /// The lesson's title [default: the commit's subject]
    #[arg(long)]
    title: Option<String>,
    /// Write the lesson without asking
    #[arg(long)]
    yes: bool,
    /// Also publish it to the peers
    #[arg(long)]
    publish: bool,
}

pub(super) fn run(context: &Context, args: Args) -> Outcome {
    let mut parts = context.open()?;
    let repo = match args.repo {
        Some(repo) => repo,
        None => std::env::current_dir()?,
    };
    let ask = Ask { repo, revision: args.from_commit, file: args.file, id: args.id, title: args.title };
    let work = WorkDir::make(&parts.home.state().join("worktrees"))?;
    let mut auditor = parts.auditor_at(work.path().join("audit"));
    let draft = learning::learn(&mut auditor, work.path(), parts.now(), &ask).map_err(|error| refusal(&error))?;
    drop(auditor);
    drop(work);

    let id = draft.lesson.id.clone();
    let path = authored::folder(&parts.home).join(format!("{id}.toml"));
    if !context.json {
        show(&draft);
    }
    if path.symlink_metadata().is_ok() {
        return Err(CliError::new(ExitKind::Usage, format!("{} is there already", path.display()))
            .hint("give the new one another name with --id"));
    }
    let confirmed = args.yes || (!context.json && asked(&path)?);
    if confirmed {
        let text = authored::to_toml(&path, &draft.lesson)?;
        files::write_whole(&path, text.as_bytes(), 0o600)?;
    }
    if !context.json {
        out::line(match confirmed {
            true => format!("Wrote {}.", path.display()),
            false => "Nothing was written. Add --yes to write it.".to_owned(),
        });
    }
    let publish = confirmed && args.publish;
    if publish {
        let outgoing = authoring::outgoing(&parts, &id).map_err(|error| failure(&error))?;
        authoring::queue(&mut parts, &outgoing).map_err(|error| failure(&error))?;
    }
    if context.json {
        let mut value = as_json(&draft, confirmed.then_some(&path));
        // Where an agent runs here, its next sync sends what is queued.
        let lock = parts.lock();
        if publish && lock.is_ok() {
            value["sync"] = sync::as_json(&sync::sync(&mut parts)?);
        }
        out::json(&value);
    } else if publish {
        return outbox::send(context, &mut parts, false);
    } else if confirmed {
        out::line(format!("Next: make its words sharper, `mesh lesson check {id}`, then `mesh outbox publish {id}`."));
    }
    Ok(ExitKind::Ok)
}

fn refusal(error: &LearnError) -> CliError {
    let (kind, hint) = match error {
        LearnError::Repo(_) | LearnError::Name | LearnError::SeveralFiles { .. } => (ExitKind::Usage, None),
        LearnError::NoFile { .. } | LearnError::Refused { .. } | LearnError::NoPattern { .. } => {
            (ExitKind::Error, Some("write it by hand: `mesh lesson new <name>`"))
        }
        _ => (ExitKind::Error, None),
    };
    let failed = CliError::of(kind, error);
    match hint {
        Some(hint) => failed.hint(hint),
        None => failed,
    }
}

fn asked(path: &Path) -> Result<bool, CliError> {
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    out::note(format!("Write this lesson to {}? [y/N]", path.display()));
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn diff(draft: &Draft) -> String {
    let (before, after) = &draft.example;
    TextDiff::from_lines(before, after).unified_diff().context_radius(2).to_string()
}

fn show(draft: &Draft) {
    let lesson = &draft.lesson;
    out::line(format!("Learned from commit {} in {}: {}", short(&draft.commit), draft.path, lesson.title));
    out::line("");
    out::line("It looks for:");
    draft.pattern.lines().for_each(|line| out::line(format!("    {line}")));
    out::line("");
    out::line("The fix, as you made it:");
    diff(draft).lines().for_each(|line| out::line(format!("    {line}")));
    out::line("");
    let class = match lesson.fix.class {
        FixClass::Safe => "safe: each host may make this fix on a branch of its own".to_owned(),
        FixClass::Review => "review: a person looks at each diff first".to_owned(),
        FixClass::None => "none: places are found, a person mends them".to_owned(),
    };
    out::line(format!("fix          {class}"));
    if let Some(doubt) = draft.doubt.as_ref().filter(|_| lesson.fix.class != FixClass::Safe) {
        out::line(format!("because      {doubt}"));
    }
    if draft.reproduces {
        out::line("tried        on the commit before: it makes the very change that you made");
    } else {
        out::line("tried        it hits the commit before and spares the commit itself");
    }
    let tests = &lesson.tests;
    out::line(format!("examples     {} that match, {} that do not", tests.positive.len(), tests.negative.len()));
    let history = draft.history;
    if history.commits > 0 {
        out::line(format!(
            "history      {} commits: {} took this away, {} brought it in",
            history.commits, history.removed, history.introduced
        ));
    }
    if draft.untried > 0 {
        out::line(format!("left out     {} files, because there are too many", draft.untried));
    }
    match draft.also.len() {
        0 => out::line("would also hit nothing else in this repository"),
        count => out::line(format!("would also hit {count} {}:", if count == 1 { "place" } else { "places" })),
    }
    for (path, line) in draft.also.iter().take(LISTED) {
        out::line(format!("    {path}:{line}"));
    }
    if draft.also.len() > LISTED {
        out::line(format!("    and {} more", draft.also.len() - LISTED));
    }
    out::line("");
}

fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

fn as_json(draft: &Draft, written: Option<&PathBuf>) -> serde_json::Value {
    json!({
        "id": draft.lesson.id, "commit": draft.commit, "file": draft.path, "pattern": draft.pattern,
        "diff": diff(draft), "class": draft.lesson.fix.class, "doubt": draft.doubt, "reproduces": draft.reproduces,
        "also": draft.also.iter().map(|(path, line)| json!({ "path": path, "line": line })).collect::<Vec<_>>(),
        "history": { "commits": draft.history.commits, "removed": draft.history.removed, "introduced": draft.history.introduced },
        "untried": draft.untried, "written": written, "lesson": draft.lesson,
    })
}
