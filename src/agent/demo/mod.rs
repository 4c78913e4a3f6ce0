//! Three hosts and a remote on this machine: a fix on one becomes a lesson, and the lesson a fix on the
//! others. Every step is the code that `mesh run` and the other commands run.

mod projects;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::authoring::{self, AuthoringError};
use super::cycle::{self, CycleError};
use super::learning::{self, Ask, LearnError, WorkDir};
use super::parts::{Parts, PartsError, SetUp, SyncError};
use crate::domain::finding::Finding;
use crate::domain::fix::{CheckResult, Fix, FixId};
use crate::domain::foreign_text::{display_bytes, display_line};
use crate::domain::id::Slug;
use crate::domain::trust::{Grant, PeerLine};
use crate::loops::seed::Mode;
use crate::ports::{Exec as _, Exit, Program, Ran};
use crate::store::authored::{self, AuthoredError};
use crate::store::files::{self, FileError};
use crate::store::home::Home;
use crate::store::keyring::KeyringError;
use crate::sys::exec::SystemExec;
use crate::sys::host;

use projects::{CHECK, COLLECTOR, COLLECTOR_FIXED, OTHERS, Project};

/// Why the demo ended early.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A program that the demo needs is missing or fails.
    #[error("`{program}` failed: {said}")]
    Program {
        /// The program and its arguments.
        program: String,
        /// How it ended, and what it said.
        said: String,
    },
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A folder.
    #[error("cannot make {path}", path = path.display())]
    Folder {
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: std::io::Error,
    },
    /// A home.
    #[error(transparent)]
    Parts(#[from] PartsError),
    /// A key.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// A sync.
    #[error(transparent)]
    Sync(#[from] SyncError),
    /// The lesson.
    #[error(transparent)]
    Authoring(#[from] AuthoringError),
    /// The commit taught nothing.
    #[error("the fix could not be learned from")]
    Learning(#[from] LearnError),
    /// The lesson's file.
    #[error(transparent)]
    Authored(#[from] AuthoredError),
    /// A round.
    #[error(transparent)]
    Cycle(#[from] CycleError),
    /// Something that the demo promises did not happen.
    #[error("the demo did not show what it should: {0}")]
    Unshown(String),
}

/// The folder of a demo; removed at the end unless it is to be kept.
#[derive(Debug)]
pub struct Stage {
    folder: PathBuf,
    keep: bool,
}

impl Stage {
    /// A new folder: `keep`, which must not be there yet, or one in the system's temporary folder.
    ///
    /// # Errors
    /// It is there already, or the system refuses.
    pub fn make(keep: Option<&Path>) -> Result<Self, DemoError> {
        let folder =
            keep.map_or_else(|| std::env::temp_dir().join(format!("mesh-demo-{}", std::process::id())), Path::to_owned);
        let make = || {
            fs::create_dir(&folder)?;
            folder.canonicalize()
        };
        let made = make().map_err(|cause| DemoError::Folder { path: folder.clone(), cause })?;
        Ok(Self { folder: made, keep: keep.is_some() })
    }

    /// Where it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if !self.keep {
            // What is left in the temporary folder harms nobody.
            drop(fs::remove_dir_all(&self.folder));
        }
    }
}

/// A step, as it is told.
pub enum Step<'a> {
    /// The hosts are there.
    Hosts {
        /// Where everything is.
        folder: &'a Path,
    },
    /// A project's check before anything is mended.
    LossShown {
        /// The host.
        host: &'static str,
        /// The project.
        project: &'static str,
        /// What the check said.
        said: String,
    },
    /// A person mended it.
    FixCommitted {
        /// The commit.
        commit: String,
    },
    /// The commit became a lesson.
    Learned {
        /// The lesson.
        lesson: &'a Slug,
        /// What it looks for, in a word or two.
        pattern: String,
    },
    /// The lesson is on the remote, read back.
    Published {
        /// Its place in the chain.
        seq: u64,
        /// Its entry.
        entry: String,
    },
    /// A peer verified it and looked at its own code.
    Audited {
        /// The host.
        host: &'static str,
        /// Where the mistake is.
        place: String,
    },
}

/// One line of the closing table.
pub struct Row {
    /// The host.
    pub host: &'static str,
    /// Its project.
    pub project: &'static str,
    /// Where the mistake was.
    pub place: String,
    /// Where the fix is; the person's own is on `main`.
    pub branch: String,
    /// The fix, where mesh made it.
    pub fix: Option<FixId>,
    /// What the check said before and says now.
    pub check: (&'static str, &'static str),
}

/// Runs the demo in `folder`, which is empty.
///
/// # Errors
/// The first step that does not do what it should.
pub fn run(folder: &Path, tell: &mut dyn FnMut(Step<'_>)) -> Result<Vec<Row>, DemoError> {
    let remote = folder.join("remote.git");
    host::make_bare_repository(&remote, "mesh").map_err(|why| PartsError::Repository { path: remote.clone(), why })?;
    let mut alpha = set_up(folder, &remote, &COLLECTOR)?;
    let mut others = Vec::new();
    for project in &OTHERS {
        others.push((project, set_up(folder, &remote, project)?));
    }
    for (_, peer) in &mut others {
        trust(peer, &alpha)?;
    }
    tell(Step::Hosts { folder });

    let collector = folder.join(COLLECTOR.name);
    let said = failing_check(&collector)?;
    tell(Step::LossShown { host: COLLECTOR.host, project: COLLECTOR.name, said });
    write(&collector.join(COLLECTOR.module), COLLECTOR_FIXED)?;
    passing_check(&collector)?;
    git(&collector, &["commit", "-q", "-am", "Save the state so that a crash cannot lose it"])?;
    let commit = git(&collector, &["rev-parse", "--short", "HEAD"])?;
    tell(Step::FixCommitted { commit });

    let ask = Ask { repo: collector, revision: "HEAD".to_owned(), file: None, id: None, title: None };
    let work = WorkDir::make(&alpha.home.state().join("worktrees"))?;
    let draft = learning::learn(&mut alpha.auditor_at(work.path().join("audit")), work.path(), alpha.now(), &ask)?;
    drop(work);
    let slug = draft.lesson.id.clone();
    let path = authored::folder(&alpha.home).join(format!("{slug}.toml"));
    files::write_whole(&path, authored::to_toml(&path, &draft.lesson)?.as_bytes(), 0o600)?;
    tell(Step::Learned { lesson: &slug, pattern: display_line(&draft.pattern) });
    let outgoing = authoring::outgoing(&alpha, &slug)?;
    authoring::queue(&mut alpha, &outgoing)?;
    let report = alpha.sync()?;
    let published = authoring::published(&alpha)?.pop().filter(|_| report.remote.is_none());
    let published = published.ok_or_else(|| DemoError::Unshown("the lesson was not published".to_owned()))?;
    tell(Step::Published { seq: published.seq(), entry: published.entry().short() });

    let mut rows = vec![Row {
        host: COLLECTOR.host,
        project: COLLECTOR.name,
        place: COLLECTOR.module.to_owned(),
        branch: "main".to_owned(),
        fix: None,
        check: ("lost", "passes"),
    }];
    for (project, peer) in &mut others {
        failing_check(&folder.join(project.name))?;
        let (finding, fix) = healed(peer, &slug)?;
        tell(Step::Audited { host: project.host, place: format!("{}:{}", finding.path, finding.line) });
        rows.push(Row {
            host: project.host,
            project: project.name,
            place: format!("{}:{}", finding.path, finding.line),
            branch: fix.branch.unwrap_or_default(),
            fix: Some(fix.id),
            check: ("lost", "passes"),
        });
    }
    Ok(rows)
}

/// One round of the agent on a peer: the lesson arrives, is verified, finds the mistake, and its fix is on a
/// branch that passed the project's own check.
fn healed(peer: &mut Parts, lesson: &Slug) -> Result<(Finding, Fix), DemoError> {
    let round = cycle::round(peer, &[], Mode::Seed, &mut |_| {})?;
    let name = peer.config.name.clone();
    let findings = round.roots.iter().flat_map(|root| &root.report.findings);
    let finding = findings.into_iter().find(|finding| finding.lesson == *lesson).cloned();
    let finding = finding.ok_or_else(|| {
        let why = round.library.left_out.iter().map(|(name, why)| format!("{name}: {why}")).collect::<Vec<_>>();
        DemoError::Unshown(format!("{name} found nothing ({})", why.join("; ")))
    })?;
    let outcomes = round.roots.iter().flat_map(|root| &root.seeding.outcomes);
    let fix = outcomes.into_iter().find(|outcome| outcome.plan.lesson == *lesson).map(|outcome| outcome.fix.clone());
    let fix = fix.ok_or_else(|| DemoError::Unshown(format!("{name} made no fix")))?;
    if fix.branch.is_none() || fix.check != CheckResult::Passed {
        let why = fix.reason.unwrap_or_default();
        return Err(DemoError::Unshown(format!("the fix on {name} is {}: {why}", fix.state.name())));
    }
    Ok((finding, fix))
}

fn set_up(folder: &Path, remote: &Path, project: &Project) -> Result<Parts, DemoError> {
    let root = folder.join(project.name);
    for (path, text) in project.files {
        write(&root.join(path), text)?;
    }
    write(&root.join(".gitignore"), "*-state.json*\ncursor.json*\n__pycache__/\n")?;
    git(&root, &["init", "-q", "-b", "main"])?;
    git(&root, &["add", "-A"])?;
    git(&root, &["commit", "-q", "-m", "Start"])?;
    let home = Home::at(&folder.join("hosts").join(project.host));
    let name = |text: &str| text.parse().map_err(|_| DemoError::Unshown(format!("{text} is a name")));
    let wanted = SetUp {
        name: name(project.host)?,
        mesh: "demo".parse().map_err(|_| DemoError::Unshown("demo is a mesh name".to_owned()))?,
        remote: Some(remote.display().to_string()),
        branch: "mesh".to_owned(),
        roots: vec![],
    };
    home.create().map_err(PartsError::from)?;
    // Only the lesson that is learned here is to speak, so the founding ones, which know this mistake, are off.
    let area = format!(
        "[lessons]\nfounding = false\n\n[[audit.root]]\npath = {}\ncheck = [\"{}\", \"{}\"]\n",
        toml::Value::String(root.display().to_string()),
        CHECK[0],
        CHECK[1]
    );
    files::write_whole(&home.config().join("conf.d/demo.toml"), area.as_bytes(), 0o600)?;
    Ok(Parts::set_up(home, &wanted)?)
}

fn trust(peer: &mut Parts, author: &Parts) -> Result<(), DemoError> {
    let home = peer.home.clone();
    let line = PeerLine {
        host: author.key.host(),
        grant: Grant::Propose,
        scope: vec![],
        not_after: None,
        comment: author.config.name.to_string(),
    };
    Ok(peer.keyring.enroll(&home, &author.config.name, line, false)?)
}

fn write(path: &Path, text: &str) -> Result<(), DemoError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|cause| DemoError::Folder { path: folder.to_owned(), cause })?;
    }
    Ok(files::write_whole(path, text.as_bytes(), 0o644)?)
}

fn run_program(dir: &Path, argv: &[&str]) -> Ran {
    SystemExec.run(&Program {
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        dir: dir.to_owned(),
        timeout: Duration::from_secs(30),
        output_cap: 16 * 1024,
        memory: None,
    })
}

fn failed(argv: &[&str], ran: &Ran) -> DemoError {
    let said = match &ran.exit {
        Exit::NotStarted(why) => format!("{why}: install it to run the demo"),
        exit => format!("{exit:?}: {}", last_line(ran)),
    };
    DemoError::Program { program: argv.join(" "), said }
}

fn last_line(ran: &Ran) -> String {
    let text = [ran.stdout.as_slice(), ran.stderr.as_slice()].concat();
    let last = text.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty());
    display_bytes(last.unwrap_or_default())
}

/// As a person would type it, but with no configuration of this machine.
fn git(dir: &Path, arguments: &[&str]) -> Result<String, DemoError> {
    let person = ["git", "-c", "user.name=person", "-c", "user.email=person@example.org", "-c", "commit.gpgsign=false"];
    let argv = [&person[..], &["-c", "core.hooksPath=/dev/null"], arguments].concat();
    let ran = run_program(dir, &argv);
    match ran.exit {
        Exit::Code(0) => Ok(String::from_utf8_lossy(&ran.stdout).trim().to_owned()),
        _ => Err(failed(&argv, &ran)),
    }
}

fn failing_check(root: &Path) -> Result<String, DemoError> {
    let ran = run_program(root, &CHECK);
    match ran.exit {
        Exit::Code(code) if code != 0 => Ok(last_line(&ran)),
        Exit::Code(_) => Err(DemoError::Unshown("the project's check passes before anything is mended".to_owned())),
        _ => Err(failed(&CHECK, &ran)),
    }
}

fn passing_check(root: &Path) -> Result<(), DemoError> {
    let ran = run_program(root, &CHECK);
    match ran.exit {
        Exit::Code(0) => Ok(()),
        _ => Err(failed(&CHECK, &ran)),
    }
}
