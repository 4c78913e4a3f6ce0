//! What the agent and its network worker say to each other: one JSON document each way.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::address::Address;
use crate::domain::branch_path::Layout;
use crate::domain::foreign_text::display_line;
use crate::domain::limits;
use crate::ports::RemoteError;

/// Where the token for http comes from. It is read in the worker, and stands in no request, log or listing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum TokenSource {
    /// The first line of a file that others may not read.
    File(PathBuf),
    /// An environment variable of the agent.
    Env(String),
}

/// The shared branch and how to reach it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoteConfig {
    /// The repository.
    pub address: Address,
    /// The branch, usually `mesh`.
    pub branch: String,
    /// Where this host publishes.
    pub layout: Layout,
    /// The user name that goes with the token; most servers take any.
    pub username: String,
    /// The token, for http only.
    pub token: Option<TokenSource>,
    /// The http proxy; the environment's is not used.
    pub proxy: Option<String>,
    /// Arguments that `ssh` gets before all others, such as `-i` and a key file.
    pub ssh_options: Vec<String>,
}

impl RemoteConfig {
    /// The branch `mesh` at `address`, with no credentials.
    #[must_use]
    pub fn new(address: Address) -> Self {
        Self {
            address,
            branch: "mesh".to_owned(),
            layout: Layout::Branch,
            username: "mesh".to_owned(),
            token: None,
            proxy: None,
            ssh_options: Vec::new(),
        }
    }
}

/// Bounds on one conversation with a server.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Bytes received.
    pub bytes: u64,
    /// Objects received.
    pub objects: u64,
    /// Address space of the worker, in bytes.
    pub address_space: u64,
    /// CPU time of the worker.
    pub cpu: Duration,
    /// Wall time of the worker.
    pub wall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: limits::FETCH_BYTES,
            objects: limits::FETCH_OBJECTS,
            address_space: limits::FETCH_ADDRESS_SPACE,
            cpu: limits::FETCH_CPU,
            wall: limits::FETCH_WALL,
        }
    }
}

/// What the worker is to do.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Task {
    Tip,
    Fetch,
    Publish {
        /// Path to content in base64.
        files: BTreeMap<String, String>,
        message: String,
    },
}

/// One request.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    /// Who asks: the worker ends when this process does.
    pub(super) parent: u32,
    pub(super) cache: PathBuf,
    pub(super) config: RemoteConfig,
    pub(super) limits: Limits,
    pub(super) task: Task,
}

/// The worker's answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Answer {
    /// The branch's tip in hexadecimal digits, or none.
    Tip(Option<String>),
    Failed(Failure),
}

/// [`RemoteError`] on its way through the pipe.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Failure {
    Unreachable(String),
    Limit(String),
    Credentials(String),
    Refused(String),
    Contended(u32),
    Protocol(String),
    Address(String),
    Cache(String),
}

impl From<RemoteError> for Failure {
    fn from(error: RemoteError) -> Self {
        match error {
            RemoteError::Unreachable(text) => Self::Unreachable(text),
            RemoteError::Limit(text) => Self::Limit(text),
            RemoteError::Credentials(text) => Self::Credentials(text),
            RemoteError::Refused(text) => Self::Refused(text),
            RemoteError::Contended { tries } => Self::Contended(tries),
            RemoteError::Protocol(text) => Self::Protocol(text),
            RemoteError::Address(text) => Self::Address(text),
            RemoteError::Cache(text) => Self::Cache(text),
        }
    }
}

impl From<Failure> for RemoteError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unreachable(text) => Self::Unreachable(text),
            Failure::Limit(text) => Self::Limit(text),
            Failure::Credentials(text) => Self::Credentials(text),
            Failure::Refused(text) => Self::Refused(text),
            Failure::Contended(tries) => Self::Contended { tries },
            Failure::Protocol(text) => Self::Protocol(text),
            Failure::Address(text) => Self::Address(text),
            Failure::Cache(text) => Self::Cache(text),
        }
    }
}

/// Foreign text as it may be shown: one line, no control characters, not endless.
pub(super) fn shown(text: &str) -> String {
    let start: String = text.trim().chars().take(limits::SERVER_TEXT_CHARS).collect();
    display_line(&start)
}
