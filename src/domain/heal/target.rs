//! What a rule is about: one service, file or place of this host, declared by its owner.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::rule::span;
use crate::domain::signal::Subject;

/// What a target is. Each kind has its own facts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TargetKind {
    /// Something that is kept running.
    Service,
    /// Something that reaches another place, and that needs the way there.
    Tunnel,
    /// An address that a service answers at.
    Endpoint,
    /// A lock file.
    Lock,
    /// A file that holds a process id.
    Pidfile,
    /// A log file.
    Log,
    /// A directory that fills up, or the mount it is.
    Space,
    /// A file or directory that must be there with a mode.
    Path,
    /// A configuration file with a program that checks it.
    Config,
    /// A file that services take their environment from.
    Environment,
    /// A certificate file.
    Certificate,
    /// Something that is to run in each period.
    Job,
    /// A directory of backups.
    Backup,
    /// A file of state that must parse.
    State,
    /// Operations that fail or succeed, counted by kind in a JSON file.
    Operations,
    /// Something that counts in a JSON file, such as a guard or classes of work.
    Counters,
    /// A line of a program's output or of the kernel's log.
    Messages,
    /// The whole machine.
    Host,
    /// Mesh itself.
    Mesh,
}

impl TargetKind {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Tunnel => "tunnel",
            Self::Endpoint => "endpoint",
            Self::Lock => "lock",
            Self::Pidfile => "pidfile",
            Self::Log => "log",
            Self::Space => "space",
            Self::Path => "path",
            Self::Config => "config",
            Self::Environment => "environment",
            Self::Certificate => "certificate",
            Self::Job => "job",
            Self::Backup => "backup",
            Self::State => "state",
            Self::Operations => "operations",
            Self::Counters => "counters",
            Self::Messages => "messages",
            Self::Host => "host",
            Self::Mesh => "mesh",
        }
    }

    /// Whether it is somewhere in the file system.
    #[must_use]
    pub const fn needs_path(self) -> bool {
        !matches!(self, Self::Service | Self::Tunnel | Self::Endpoint | Self::Host | Self::Mesh)
    }
}

/// What a rule is about. Commands are argument vectors of the host's owner; no peer and no model writes one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Its name: the subject of its facts.
    pub name: Subject,
    /// What it is.
    pub kind: TargetKind,
    /// Whether it must not be stopped to help something else.
    #[serde(default)]
    pub critical: bool,
    /// Words by which a maintenance window can be about it.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The service that uses it, where it is none itself.
    #[serde(default)]
    pub service: Option<String>,
    /// The service that must be up first.
    #[serde(default)]
    pub parent: Option<String>,
    /// Services that share it.
    #[serde(default)]
    pub services: Vec<String>,
    /// Where it is.
    #[serde(default)]
    pub path: Option<PathBuf>,
    /// The last good copy of it; mesh keeps one itself where this is absent.
    #[serde(default)]
    pub good: Option<PathBuf>,
    /// Whose rights `check` and `run` have; those of mesh where nobody is named.
    #[serde(default)]
    pub user: Option<String>,
    /// A program that says by its exit code whether it is in order.
    #[serde(default)]
    pub check: Vec<String>,
    /// A program that is run to mend it, such as a job or a renewal. Safe to run twice.
    #[serde(default)]
    pub run: Vec<String>,
    /// Source files; newer than the running process means stale code.
    #[serde(default)]
    pub sources: Vec<PathBuf>,
    /// A file that changes whenever work gets done.
    #[serde(default)]
    pub progress: Option<PathBuf>,
    /// A file that the process changes to show that it lives. Never its log.
    #[serde(default)]
    pub heartbeat: Option<PathBuf>,
    /// Time between two heartbeats, runs or expected successes.
    #[serde(default, with = "span::optional")]
    pub period: Option<Duration>,
    /// How long a lock is held in the usual case.
    #[serde(default, with = "span::optional")]
    pub lifetime: Option<Duration>,
    /// Most megabytes: of memory, of a log, or of a directory.
    #[serde(default)]
    pub max_mb: Option<u64>,
    /// Most files, threads or open files.
    #[serde(default)]
    pub max_count: Option<u64>,
    /// Permission bits, in octal as `0750`.
    #[serde(default)]
    pub mode: Option<String>,
    /// Whether a missing path is to be made as a directory.
    #[serde(default)]
    pub directory: bool,
    /// Directories in which old files may be removed.
    #[serde(default)]
    pub purge: Vec<PathBuf>,
    /// How old a file must be to be removed.
    #[serde(default, with = "span::optional")]
    pub purge_after: Option<Duration>,
    /// The file that holds operations back while it exists.
    #[serde(default)]
    pub breaker: Option<PathBuf>,
    /// Whether a person has tried the action beforehand: what a canary is where none can be run.
    #[serde(default)]
    pub approved: bool,
}

impl Target {
    /// A target with nothing declared but what it is.
    #[must_use]
    pub fn new(name: Subject, kind: TargetKind) -> Self {
        Self {
            name,
            kind,
            critical: false,
            tags: Vec::new(),
            service: None,
            parent: None,
            services: Vec::new(),
            path: None,
            good: None,
            user: None,
            check: Vec::new(),
            run: Vec::new(),
            sources: Vec::new(),
            progress: None,
            heartbeat: None,
            period: None,
            lifetime: None,
            max_mb: None,
            max_count: None,
            mode: None,
            directory: false,
            purge: Vec::new(),
            purge_after: None,
            breaker: None,
            approved: false,
        }
    }

    /// The service that is meant: itself, or the one that uses it.
    #[must_use]
    pub fn service(&self) -> Option<&str> {
        self.service
            .as_deref()
            .or(matches!(self.kind, TargetKind::Service | TargetKind::Tunnel).then(|| self.name.as_str()))
    }

    /// The permission bits that are declared.
    #[must_use]
    pub fn mode_bits(&self) -> Option<u32> {
        self.mode.as_deref().and_then(|mode| u32::from_str_radix(mode, 8).ok())
    }

    /// What is wrong with the declaration.
    ///
    /// # Errors
    /// The first mistake, in one sentence.
    pub fn check(&self) -> Result<(), String> {
        let name = self.name.as_str();
        if self.kind.needs_path() && self.path.is_none() {
            return Err(format!("target `{name}` is a {}: add `path`", self.kind.name()));
        }
        if self.user.is_some() && self.check.is_empty() && self.run.is_empty() {
            return Err(format!("target `{name}`: `user` is for `check` and `run`, and it has neither"));
        }
        if self.mode.is_some() && self.mode_bits().is_none_or(|mode| mode > 0o7777) {
            return Err(format!("target `{name}`: `mode` must be octal such as \"0750\""));
        }
        let beats = self.heartbeat.as_ref().is_some_and(|path| path.extension().is_some_and(|end| end == "log"));
        if beats {
            return Err(format!(
                "target `{name}`: a log's time of change is no sign of life: let the process write a `heartbeat` file"
            ));
        }
        let path = [&self.path, &self.good, &self.progress, &self.heartbeat, &self.breaker];
        let relative =
            path.into_iter().flatten().chain(&self.sources).chain(&self.purge).find(|path| !path.is_absolute());
        match relative {
            Some(path) => Err(format!("target `{name}`: {} must be an absolute path", path.display())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        toml::from_str::<Target>(text).expect(text).check().expect_err(text)
    }

    #[test]
    fn a_declaration_says_what_it_lacks() {
        assert!(refusal("name = \"a\"\nkind = \"lock\"").contains("add `path`"));
        assert!(refusal("name = \"a\"\nkind = \"path\"\npath = \"/a\"\nmode = \"9\"").contains("octal"));
        assert!(
            refusal("name = \"a\"\nkind = \"service\"\nheartbeat = \"/var/log/a.log\"").contains("no sign of life")
        );
        assert!(refusal("name = \"a\"\nkind = \"log\"\npath = \"a.log\"").contains("absolute"));
        let sound: Target = toml::from_str("name = \"a\"\nkind = \"service\"\nperiod = \"30s\"").expect("sound");
        assert_eq!((sound.check(), sound.service(), sound.period), (Ok(()), Some("a"), Some(Duration::from_secs(30))));
    }
}
