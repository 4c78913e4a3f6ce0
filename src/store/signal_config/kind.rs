//! Where the readings of a `[[signal]]` come from, as far as it was found in order.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::domain::protocol::Protocol;

/// Where a service that mesh does not start itself is found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum ServiceFile {
    /// By the file that holds the number of its first process.
    PidFile(PathBuf),
    /// By its cgroup, below the mount point of cgroups, such as `system.slice/nginx.service`.
    Cgroup(PathBuf),
}

/// What a file is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FileIs {
    /// SHA-256 of its bytes, in lowercase hexadecimal.
    pub sha256: Option<String>,
    /// Its owner's number.
    pub uid: Option<u32>,
    /// Its group's number.
    pub gid: Option<u32>,
    /// Its permission bits.
    pub mode: Option<u32>,
    /// It is to stay as it was when it was seen first.
    pub unchanged: bool,
}

/// Where the readings of a `[[signal]]` come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WatchedKind {
    /// A page: status and latency, what it is to say, and a number of its JSON body.
    Http {
        /// The address.
        url: String,
        /// Where the number is, such as `queue.depth` or `jobs[0].age`.
        json: Option<String>,
        /// A regular expression that the body is to match.
        body: Option<String>,
        /// A header and a regular expression that it is to match.
        header: Option<(String, String)>,
    },
    /// A port that is to be open.
    Tcp {
        /// `host:port`.
        address: String,
        /// What is to be heard there.
        speaks: Option<Protocol>,
    },
    /// A server's certificate.
    Tls {
        /// `host:port`.
        address: String,
        /// The name that is asked for; the host where there is none.
        server_name: Option<String>,
    },
    /// A name that is to resolve.
    Dns {
        /// The name.
        host: String,
        /// The server, `host:port`; what this system uses where there is none.
        server: Option<String>,
    },
    /// A time server: `host:port`.
    Ntp(String),
    /// A file that grows.
    Log {
        /// The file.
        path: PathBuf,
        /// What counts as an error.
        pattern: String,
    },
    /// The journal of systemd.
    Journal {
        /// The unit; all of them when `None`.
        unit: Option<String>,
        /// What counts as an error; else lines with the priority of one.
        pattern: Option<String>,
    },
    /// Certificates in a file.
    Certificate(PathBuf),
    /// A file.
    File {
        /// The file.
        path: PathBuf,
        /// What it is to be.
        is: FileIs,
    },
    /// A disk that is asked how it is, by smartctl.
    Smart(PathBuf),
    /// The file that a job touches when it succeeded.
    Job(PathBuf),
    /// A file that holds a number.
    Number {
        /// The file.
        path: PathBuf,
        /// Where in its JSON; its first word where there is none.
        json: Option<String>,
    },
    /// A program and its arguments, with the exit codes of Nagios plugins.
    Command {
        /// The program and its arguments.
        argv: Vec<String>,
        /// The label of the number in its performance data; the first number where there is none.
        value: Option<String>,
        /// Whose rights it has; those of mesh where nobody is named.
        user: Option<String>,
    },
    /// A file in which a program counts its operations on something upstream, by kind and outcome.
    Upstream {
        /// The file.
        path: PathBuf,
        /// How long a failure counts, in seconds.
        window_s: u64,
    },
    /// Processes.
    Service {
        /// Where they are.
        at: ServiceFile,
        /// Variables of its first process that are to stay as they are; none of them with a cgroup.
        environment: Option<Vec<String>>,
    },
}

impl WatchedKind {
    /// The signals that it always gives readings of; the first one says whether it is well.
    #[must_use]
    pub const fn signals(&self) -> &'static [&'static str] {
        match self {
            Self::Http { body: None, header: None, .. } => &["http.status", "http.latency_ms"],
            Self::Http { .. } => &["http.status", "http.latency_ms", "http.match"],
            Self::Tcp { speaks: None, .. } => &["tcp.open", "tcp.latency_ms"],
            Self::Tcp { speaks: Some(_), .. } => &["tcp.open", "tcp.latency_ms", "tcp.speaks"],
            Self::Smart(_) => &["host.smart.healthy"],
            Self::Tls { .. } | Self::Certificate(_) => &["cert.days_left"],
            Self::Dns { .. } => &["dns.resolves", "dns.latency_ms"],
            Self::Ntp(_) => &["host.clock.offset_ms"],
            Self::Log { .. } => &["log.error_rate", "log.growth_mb_per_h", "log.size_mb", "log.skipped_mb"],
            Self::Journal { .. } => &["log.error_rate", "log.skipped_mb"],
            Self::File { .. } => &["file.exists"],
            Self::Job(_) => &["job.age_hours"],
            Self::Number { .. } => &[],
            Self::Command { .. } => &["check.status"],
            Self::Upstream { .. } => &["upstream.write_error_percent", "upstream.read_error_percent"],
            Self::Service { .. } => &["service.rss_mb"],
        }
    }

    /// The signals that it gives readings of where there is something to read.
    #[must_use]
    pub const fn more_signals(&self) -> &'static [&'static str] {
        match self {
            Self::Upstream { .. } => &["upstream.quota_used_percent"],
            Self::Smart(_) => &["host.smart.bad_sectors", "host.smart.worn_percent"],
            Self::File { .. } => &["file.age_hours", "file.changed", "file.size_mb"],
            Self::Service { .. } => &[
                "service.cgroup_mb",
                "service.cgroup_used_percent",
                "service.cpu_percent",
                "service.environment_changed",
                "service.fd_used_percent",
                "service.fds",
                "service.oom_kills",
                "service.processes",
                "service.threads",
                "service.throttled_percent",
            ],
            _ => &[],
        }
    }
}
