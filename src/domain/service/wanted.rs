//! What the configuration wants of a service, as data.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::id::ServiceName;

/// Who runs a service.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ManagerKind {
    /// Mesh itself: a process that outlives it.
    Child,
    /// systemd: a unit.
    Systemd,
    /// Docker: a container.
    Docker,
    /// launchd: a job.
    Launchd,
    /// Nobody: a process that goes on by itself, known by its pid file or its command line.
    Process,
}

impl ManagerKind {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Child => "child",
            Self::Systemd => "systemd",
            Self::Docker => "docker",
            Self::Launchd => "launchd",
            Self::Process => "process",
        }
    }
}

/// A signal on which a program reads its configuration again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ReloadSignal {
    /// The usual one.
    Hup,
    /// The first that a program may give a meaning.
    Usr1,
    /// The second.
    Usr2,
}

/// A process that mesh runs itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Child {
    /// The service.
    pub name: ServiceName,
    /// The program and its arguments. It stays in the foreground.
    pub argv: Vec<String>,
    /// Where it runs.
    pub dir: PathBuf,
    /// Its environment, beside the little that every child has.
    pub env: BTreeMap<String, String>,
    /// Whose rights it has; those of mesh where nobody is named.
    pub user: Option<String>,
    /// The signal on which it reads its configuration again, where it knows one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reload: Option<ReloadSignal>,
    /// Whether it speaks the protocol of `sd_notify`.
    pub notify: bool,
    /// The longest time between two `WATCHDOG=1` of it.
    pub watchdog: Option<Duration>,
    /// Most memory of it and all that it starts, in bytes.
    pub memory: Option<u64>,
    /// Size at which a log file is rotated, in bytes.
    pub log_bytes: u64,
    /// How many rotated ones are kept of each.
    pub log_files: u32,
}

/// A plain process: neither a child nor a unit of anybody. It is found, and commands start and stop it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Plain {
    /// The command that starts it. It ends once the process runs, and does nothing where one runs already.
    pub start: Child,
    /// The command that stops it; where it is empty the process gets TERM.
    pub stop: Vec<String>,
    /// The file that names its pid.
    pub pidfile: Option<PathBuf>,
    /// What its command line must match, as a regular expression over its words with blanks between them.
    pub matching: Option<String>,
}

/// How a service is asked whether it lives.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ask {
    /// A page: any answer below 500 is a sign of life.
    Http(String),
    /// A port: `host:port`.
    Tcp(String),
    /// A program: 0 is a sign of life, 1 and 2 say that it is dead, all else is not known.
    Command {
        /// The program and its arguments.
        argv: Vec<String>,
        /// Whose rights it has; those of mesh where nobody is named.
        user: Option<String>,
    },
}

/// A probe of liveness.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LivenessProbe {
    /// What is asked.
    pub ask: Ask,
    /// The time between two questions.
    pub every: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// A file in which a service counts: `17`, or `{"beat": 17, "done": 3411}`. Its contents count, never its date.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Heartbeat {
    /// The file.
    pub file: PathBuf,
    /// The longest time in which `beat` may stay the same.
    pub within: Duration,
    /// The longest time in which `done` may stay the same before it counts as unproductive.
    pub productive_within: Option<Duration>,
}
