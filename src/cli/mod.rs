//! All words for people. One file per command; errors become a sentence, a hint and an exit code.

mod admin;
mod audit;
mod configuration;
mod demo;
mod doctor;
mod enroll;
mod error;
mod events;
mod fix;
mod fleet;
mod freeze;
mod fsck;
mod id;
mod inbox;
mod incident;
mod init;
mod kaizen;
mod learn;
mod lesson;
mod maintenance;
mod notify;
mod out;
mod outbox;
mod pause;
mod peers;
mod reload;
mod report;
mod requests;
mod review;
mod rotate;
mod rule;
mod run;
mod service;
mod shell;
mod signal;
mod status;
mod sync;
mod table;
mod up;
mod verify;
mod why;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::agent::parts::{Parts, PartsError};
use crate::store::home::{Home, HomeError, Surroundings};

pub use error::{CliError, ExitKind};

/// How a command ends.
type Outcome = Result<ExitKind, CliError>;

/// Learns a fix on one host, proves it, and seeds it on every other host of yours.
#[derive(Parser, Debug)]
#[command(name = "mesh", version, max_term_width = 100)]
struct Arguments {
    /// The home directory [default: $MESH_HOME, `.` when it holds config/mesh.toml, else the data directory]
    #[arg(long, global = true, value_name = "DIR")]
    home: Option<PathBuf>,
    /// Print JSON instead of text
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Set up what is missing, audit here, then run: the one command for newcomers
    Up(up::Args),
    /// Three hosts and a remote on this machine: one fix becomes three
    Demo(demo::Args),
    /// Run the agent in the foreground
    Run(run::Args),
    /// Let the running agent read its configuration again
    Reload(reload::Args),
    /// Set up a home: key, config and remote
    Init(init::Args),
    /// Show where everything stands; the exit code tells the worst
    Status,
    /// Look for what needs attention here
    Doctor,
    /// Change nothing for a while; audits and alarms go on
    Pause(pause::Args),
    /// For a while leave alone what people work on, and tell nobody of it
    #[command(subcommand)]
    Maintenance(maintenance::Action),
    /// End a pause
    Resume(pause::ResumeArgs),
    /// Check or show the configuration
    #[command(subcommand)]
    Config(configuration::Action),
    /// Print this host's public key
    Id(id::Args),
    /// Trust a peer's key
    Enroll(enroll::Args),
    /// List peers, or show one
    Peers(peers::Args),
    /// Change what a peer's lessons may do here
    Grant(peers::GrantArgs),
    /// Stop trusting a peer's key, for good
    Revoke(peers::RevokeArgs),
    /// Move this host to a new key; its peers follow by themselves
    Rotate,
    /// List hosts that ask to be enrolled
    Requests,
    /// Show every host of the mesh, as the shared branch last showed it
    Fleet,
    /// The list of hosts that admins sign: N hosts in 2N steps
    #[command(subcommand)]
    Admin(admin::Action),
    /// Make a lesson of the fix in a commit
    Learn(learn::Args),
    /// Write, check and list lessons
    #[command(subcommand)]
    Lesson(lesson::Action),
    /// Show what was predicted, what came of it, and what nobody saw
    Review(review::Args),
    /// What this host publishes
    #[command(subcommand)]
    Outbox(outbox::Action),
    /// What peers published
    #[command(subcommand)]
    Inbox(inbox::Action),
    /// Exchange entries with the remote
    Sync(sync::Args),
    /// Look for the mistakes of every lesson, and list the fixes
    Audit(audit::Ask),
    /// List, show, make and take back fixes
    #[command(subcommand)]
    Fix(fix::Ask),
    /// List and show what is measured here
    #[command(subcommand)]
    Signal(signal::Action),
    /// Whether people are reached
    #[command(subcommand)]
    Notify(notify::Action),
    /// Why a fix or a lesson did or did not do something here
    Why(why::Args),
    /// List services, show what happened to one, keep one down
    #[command(subcommand)]
    Service(service::Action),
    /// List, show, test and drill the rules that repair
    #[command(subcommand)]
    Rule(rule::Action),
    /// What rules found wrong, and what was done
    #[command(subcommand)]
    Incident(incident::Action),
    /// What mesh proposes by itself, and what came of it
    #[command(subcommand)]
    Kaizen(kaizen::Action),
    /// What happened to services and by rules, by name, rule and time
    Events(events::Args),
    /// Areas that are left alone after too many reverts
    #[command(subcommand)]
    Freeze(freeze::Ask),
    /// Check envelope files offline
    Verify(verify::Args),
    /// Check the database and every signature in it
    Fsck,
    /// Print completions for a shell
    Completions(shell::CompletionsArgs),
    /// Print the manual page
    Man,
    /// Runs patterns in a limited process; started by mesh itself
    #[command(hide = true)]
    AuditWorker,
    /// Plays a service that fails in a drill; started by mesh itself
    #[command(hide = true)]
    DrillChild {
        /// What it plays
        words: Vec<String>,
    },
    /// Speaks to a git server in a limited process; started by mesh itself
    #[command(hide = true)]
    NetWorker,
}

/// What every command is given.
#[derive(Debug)]
pub struct Context {
    /// The home directory that was asked for.
    pub home: Option<PathBuf>,
    /// Whether to print JSON.
    pub json: bool,
}

impl Context {
    /// The home, set up or not.
    fn home(&self) -> Result<Home, CliError> {
        let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let surroundings = Surroundings {
            asked: self.home.clone(),
            mesh_home: path("MESH_HOME"),
            current: std::env::current_dir()?,
            is_root: rustix::process::geteuid().is_root(),
            data: path("XDG_DATA_HOME").or_else(|| path("HOME").map(|home| home.join(".local/share"))),
        };
        Home::locate(&surroundings).map_err(|error| CliError::of(ExitKind::Usage, &error))
    }

    /// The home, opened.
    fn open(&self) -> Result<Parts, CliError> {
        Parts::open(self.home()?).map_err(|error| CliError::of(exit_kind(&error), &error))
    }
}

/// Configuration and modes are the user's to mend; the rest is a failure.
fn exit_kind(error: &PartsError) -> ExitKind {
    match error {
        PartsError::Config(_) | PartsError::Keyring(_) | PartsError::Address(_) | PartsError::File(_) => {
            ExitKind::Usage
        }
        PartsError::Home(HomeError::NotSetUp { .. } | HomeError::Nowhere | HomeError::File(_)) => ExitKind::Usage,
        PartsError::Home(HomeError::Locked { .. })
        | PartsError::Db(_)
        | PartsError::System(_)
        | PartsError::Repository { .. } => ExitKind::Error,
    }
}

/// Runs the program: arguments in, exit code out.
#[must_use]
pub fn main() -> ExitCode {
    crate::sys::host::keep_memory_private();
    let arguments = Arguments::parse();
    let context = Context { home: arguments.home, json: arguments.json };
    if let Command::DrillChild { words } = &arguments.command {
        return crate::sys::heal::throwaway::run_child(words).map_or(ExitCode::FAILURE, ExitCode::from);
    }
    match run(&context, arguments.command) {
        Ok(kind) => kind.into(),
        Err(error) => {
            out::error(&context, &error);
            error.kind.into()
        }
    }
}

fn run(context: &Context, command: Command) -> Outcome {
    match command {
        Command::Up(args) => up::run(context, &args),
        Command::Demo(args) => demo::run(context, &args),
        Command::Run(args) => run::run(context, &args),
        Command::Reload(args) => reload::run(context, &args),
        Command::Init(args) => init::run(context, args),
        Command::Status => status::run(context),
        Command::Doctor => doctor::run(context),
        Command::Pause(args) => pause::run(context, &args),
        Command::Maintenance(action) => maintenance::run(context, &action),
        Command::Resume(args) => pause::resume(context, &args),
        Command::Config(action) => configuration::run(context, &action),
        Command::Id(args) => id::run(context, &args),
        Command::Enroll(args) => enroll::run(context, args),
        Command::Peers(args) => peers::run(context, args),
        Command::Grant(args) => peers::grant(context, &args),
        Command::Revoke(args) => peers::revoke(context, &args),
        Command::Rotate => rotate::run(context),
        Command::Requests => requests::run(context),
        Command::Fleet => fleet::run(context),
        Command::Admin(action) => admin::run(context, action),
        Command::Learn(args) => learn::run(context, args),
        Command::Lesson(action) => lesson::run(context, action),
        Command::Review(args) => review::run(context, &args),
        Command::Outbox(action) => outbox::run(context, action),
        Command::Inbox(action) => inbox::run(context, action),
        Command::Sync(args) => sync::run(context, &args),
        Command::Audit(ask) => audit::open_and_run(context, &ask),
        Command::Fix(ask) => fix::open_and_run(context, &ask),
        Command::Signal(action) => signal::run(context, &action),
        Command::Notify(action) => notify::run(context, &action),
        Command::Why(args) => why::run(context, &args),
        Command::Service(action) => service::run(context, &action),
        Command::Rule(action) => rule::run(context, &action),
        Command::Incident(action) => incident::run(context, &action),
        Command::Kaizen(action) => kaizen::run(context, &action),
        Command::Events(args) => events::run(context, &args),
        Command::Freeze(ask) => freeze::run(context, &ask),
        Command::Verify(args) => verify::run(context, &args),
        Command::Fsck => fsck::run(context),
        Command::Completions(args) => shell::completions(&args, &mut Arguments::command()),
        Command::Man => shell::man(Arguments::command()),
        Command::AuditWorker => Ok(crate::agent::audit_worker::serve().map(|()| ExitKind::Ok)?),
        // It has no home and no words: `main` runs it.
        Command::DrillChild { .. } => Ok(ExitKind::Usage),
        Command::NetWorker => {
            crate::sys::remote::worker::run(std::io::stdin().lock(), std::io::stdout().lock())?;
            Ok(ExitKind::Ok)
        }
    }
}
