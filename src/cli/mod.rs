//! All words for people. One file per command; errors become a sentence, a hint and an exit code.

mod error;
mod out;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use error::{CliError, ExitKind};

/// Learns a fix on one host, proves it, and seeds it on every other host of yours.
#[derive(Parser, Debug)]
#[command(name = "mesh", version, max_term_width = 100)]
struct Arguments {
    /// The home directory (default: $MESH_HOME, `.` when it holds config/mesh.toml, else the user's data directory)
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
    /// Runs patterns in a limited process; started by mesh itself
    #[command(hide = true)]
    AuditWorker,
}

/// What every command is given.
#[derive(Debug)]
pub struct Context {
    /// The home directory that was asked for.
    pub home: Option<PathBuf>,
    /// Whether to print JSON.
    pub json: bool,
}

/// Runs the program: arguments in, exit code out.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let context = Context { home: arguments.home, json: arguments.json };
    let result: Result<ExitKind, CliError> = match arguments.command {
        Command::AuditWorker => crate::agent::audit_worker::serve().map(|()| ExitKind::Ok).map_err(Into::into),
    };
    match result {
        Ok(kind) => kind.into(),
        Err(error) => {
            out::error(&context, &error);
            error.kind.into()
        }
    }
}
