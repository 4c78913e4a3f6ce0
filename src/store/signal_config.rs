//! `[http]`, `[signals]` and `[[signal]]` of the configuration: what is measured, and where it is shown.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use super::config::Span;
use super::home::Home;
use crate::domain::signal::{self, INTERVAL, Signal, Subject};

/// Shortest time between two readings.
const EVERY_LEAST: Duration = Duration::from_secs(10);
/// Longest time that one check may take.
const TIMEOUT_MOST: Duration = Duration::from_secs(60);
/// What counts as an error in a log where no pattern is given.
const ERROR_PATTERN: &str = r"(?i)\b(error|critical|fatal|panic)\b";
/// Most memory of a compiled pattern, in bytes.
const PATTERN_BYTES: usize = 256 * 1024;

/// `[http]`, as it is written.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpFile {
    listen: Option<Listen>,
    token_file: Option<PathBuf>,
}

/// An address, or nothing.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(transparent)]
struct Listen(Option<SocketAddr>);

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        if text.is_empty() {
            return Ok(Self(None));
        }
        let wrong = |_| serde::de::Error::custom(format!("`{text}` is not an address such as 127.0.0.1:8081"));
        text.parse().map(|address| Self(Some(address))).map_err(wrong)
    }
}

/// Where the state of this host is served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HttpConfig {
    /// The address; `None` switches it off.
    pub listen: Option<SocketAddr>,
    /// The file that holds the token that is asked for.
    pub token_file: Option<PathBuf>,
}

impl HttpFile {
    pub(super) fn overlaid_by(self, later: Self) -> Self {
        Self { listen: later.listen.or(self.listen), token_file: later.token_file.or(self.token_file) }
    }

    /// # Errors
    /// The address is open to others and no token protects it.
    pub(super) fn complete(self, home: &Home) -> Result<HttpConfig, String> {
        let own = SocketAddr::from((Ipv4Addr::LOCALHOST, 8081));
        let listen = self.listen.map_or(Some(own), |listen| listen.0);
        let token_file = self.token_file.map(|path| home.root().join(path));
        match listen {
            Some(address) if !address.ip().is_loopback() && token_file.is_none() => Err(format!(
                "`http.listen`: {address} is no address of this host alone, so others can reach it: set `http.token_file`"
            )),
            _ => Ok(HttpConfig { listen, token_file }),
        }
    }
}

/// A name of the catalogue.
#[derive(Clone, Copy, Debug)]
struct Known(&'static Signal);

impl<'de> Deserialize<'de> for Known {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        signal::demand(&String::deserialize(input)?).map(Self).map_err(serde::de::Error::custom)
    }
}

impl Serialize for Known {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(self.0.name)
    }
}

impl PartialEq for Known {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for Known {}

impl PartialOrd for Known {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Known {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.name.cmp(other.0.name)
    }
}

/// `[signals]`, as it is written.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SignalsFile {
    interval: Option<Every>,
    #[serde(default)]
    set: BTreeMap<Known, Set>,
}

/// What is different on this host about a signal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Set {
    /// The last value that is still good.
    pub threshold: Option<f64>,
    /// Whether a value beyond it is critical.
    pub critical: Option<bool>,
}

/// How the built-in signals are measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SignalsConfig {
    /// Time between two readings.
    pub interval: Span,
    /// What is different here, by the signal's name.
    pub set: BTreeMap<&'static str, Set>,
}

impl SignalsFile {
    pub(super) fn overlaid_by(self, later: Self) -> Self {
        let mut set = self.set;
        set.extend(later.set);
        Self { interval: later.interval.or(self.interval), set }
    }

    pub(super) fn complete(self) -> SignalsConfig {
        SignalsConfig {
            interval: self.interval.map_or(Span(INTERVAL), |every| every.0),
            set: self.set.into_iter().map(|(key, set)| (key.0.name, set)).collect(),
        }
    }
}

/// A time between two readings.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(transparent)]
struct Every(Span);

impl<'de> Deserialize<'de> for Every {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let span = Span::deserialize(input)?;
        if span.0 < EVERY_LEAST {
            let least = EVERY_LEAST.as_secs();
            return Err(serde::de::Error::custom(format!("`every` must be at least {least}s")));
        }
        Ok(Self(span))
    }
}

/// `[[signal]]`, as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WatchedFile {
    name: SubjectText,
    http: Option<String>,
    json: Option<String>,
    tcp: Option<String>,
    ntp: Option<String>,
    log: Option<PathBuf>,
    pattern: Option<String>,
    command: Option<Vec<String>>,
    value: Option<String>,
    signal: Option<Known>,
    every: Option<Every>,
    timeout: Option<Span>,
    threshold: Option<f64>,
    #[serde(default)]
    critical: bool,
}

#[derive(Clone, Debug)]
struct SubjectText(Subject);

impl<'de> Deserialize<'de> for SubjectText {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input)?.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

/// Where the readings of a `[[signal]]` come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WatchedKind {
    /// A page: status and latency, and a number of its JSON body.
    Http {
        /// The address.
        url: String,
        /// Where the number is, such as `queue.depth` or `jobs[0].age`.
        json: Option<String>,
    },
    /// A port that is to be open: `host:port`.
    Tcp(String),
    /// A time server: `host:port`.
    Ntp(String),
    /// A file that grows.
    Log {
        /// The file.
        path: PathBuf,
        /// What counts as an error.
        pattern: String,
    },
    /// A program and its arguments, with the exit codes of Nagios plugins.
    Command {
        /// The program and its arguments.
        argv: Vec<String>,
        /// The label of the number in its performance data; the first number where there is none.
        value: Option<String>,
    },
}

impl WatchedKind {
    /// The signals that it always gives readings of; the first one says whether it is well.
    #[must_use]
    pub const fn signals(&self) -> &'static [&'static str] {
        match self {
            Self::Http { .. } => &["http.status", "http.latency_ms"],
            Self::Tcp(_) => &["tcp.open", "tcp.latency_ms"],
            Self::Ntp(_) => &["host.clock.offset_ms"],
            Self::Log { .. } => &["log.error_rate", "log.growth_mb_per_h", "log.size_mb", "log.skipped_mb"],
            Self::Command { .. } => &["check.status"],
        }
    }

    /// The signal that says whether it is well.
    #[must_use]
    pub fn main_signal(&self) -> &'static str {
        self.signals()[0]
    }
}

/// Something of this host that is measured because its configuration says so.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Watched {
    /// Its name: the subject of its readings.
    pub name: Subject,
    /// Where they come from.
    pub kind: WatchedKind,
    /// The signal that its number is a reading of.
    pub signal: Option<&'static str>,
    /// The time between two readings.
    pub every: Span,
    /// How long one may take.
    pub timeout: Span,
    /// The last value that is still good, of `signal` where it is named, else of the main one.
    pub threshold: Option<f64>,
    /// Whether a value beyond it is critical.
    pub critical: bool,
}

/// The last good value of a series on this host, and whether to be beyond it is critical.
#[must_use]
pub fn bounds(signals: &SignalsConfig, watched: &[Watched], signal: &Signal, subject: &str) -> (Option<f64>, bool) {
    let set = signals.set.get(signal.name).cloned().unwrap_or_default();
    let (threshold, critical) = (set.threshold.or(signal.threshold), set.critical.unwrap_or(signal.critical));
    let Some(watched) = watched.iter().find(|watched| watched.name.as_str() == subject && watched.measures(signal))
    else {
        return (threshold, critical);
    };
    let judged = watched.signal.unwrap_or(watched.kind.main_signal()) == signal.name;
    (watched.threshold.filter(|_| judged).or(threshold), critical || watched.critical)
}

impl Watched {
    /// Whether it gives readings of this signal.
    #[must_use]
    pub fn measures(&self, signal: &Signal) -> bool {
        self.signal == Some(signal.name) || self.kind.signals().contains(&signal.name)
    }
}

/// Those of one file, each checked.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct WatchedSet(Vec<Checked>);

#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "WatchedFile")]
struct Checked {
    file: WatchedFile,
    kind: WatchedKind,
}

impl Serialize for WatchedSet {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_seq(self.0.iter().map(|checked| &checked.kind))
    }
}

impl WatchedSet {
    /// Later ones take the place of earlier ones of the same name.
    pub(super) fn overlaid_by(self, later: Self) -> Self {
        let mut all = self.0;
        all.retain(|one| later.0.iter().all(|other| other.file.name.0 != one.file.name.0));
        all.extend(later.0);
        Self(all)
    }

    pub(super) fn complete(self, interval: Span) -> Vec<Watched> {
        let mut all: BTreeMap<Subject, Watched> = BTreeMap::new();
        for Checked { file, kind } in self.0 {
            let watched = Watched {
                name: file.name.0,
                kind,
                signal: file.signal.map(|known| known.0.name),
                every: file.every.map_or(interval, |every| every.0),
                timeout: file.timeout.unwrap_or(Span(Duration::from_secs(10))),
                threshold: file.threshold,
                critical: file.critical,
            };
            all.insert(watched.name.clone(), watched);
        }
        all.into_values().collect()
    }
}

impl TryFrom<WatchedFile> for Checked {
    type Error = String;

    fn try_from(file: WatchedFile) -> Result<Self, String> {
        let name = file.name.0.as_str();
        let wrong = |what: &str| Err(format!("signal `{name}`: {what}"));
        let kinds = [&file.http, &file.tcp, &file.ntp].into_iter().flatten().count()
            + usize::from(file.log.is_some())
            + usize::from(file.command.is_some());
        if kinds != 1 {
            return Err(format!("signal `{name}` must have one of `http`, `tcp`, `ntp`, `log` and `command`"));
        }
        if file.timeout.is_some_and(|timeout| timeout.0 > TIMEOUT_MOST) {
            return wrong("`timeout` must be at most 60s");
        }
        if file.threshold.is_some_and(|threshold| !threshold.is_finite()) {
            return wrong("`threshold` must be a number");
        }
        let host_and_port = |address: &str| {
            let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
            port.and_then(|(_, port)| port.parse::<u16>().ok()).is_some()
        };
        let kind = if let Some(url) = &file.http {
            if !url.starts_with("http://") && !url.starts_with("https://") {
                return wrong("`http` must be an address that starts with http:// or https://");
            }
            WatchedKind::Http { url: url.clone(), json: file.json.clone() }
        } else if let Some(address) = &file.tcp {
            if !host_and_port(address) {
                return wrong("`tcp` must be HOST:PORT");
            }
            WatchedKind::Tcp(address.clone())
        } else if let Some(address) = &file.ntp {
            if !host_and_port(address) {
                return wrong("`ntp` must be HOST:PORT, such as ntp.example.org:123");
            }
            WatchedKind::Ntp(address.clone())
        } else if let Some(path) = &file.log {
            if !path.is_absolute() {
                return wrong("`log` must be a whole path");
            }
            let pattern = file.pattern.clone().unwrap_or_else(|| ERROR_PATTERN.to_owned());
            if regex::bytes::RegexBuilder::new(&pattern).size_limit(PATTERN_BYTES).build().is_err() {
                return wrong("`pattern` is not a regular expression, or too large a one");
            }
            WatchedKind::Log { path: path.clone(), pattern }
        } else {
            let argv = file.command.clone().unwrap_or_default();
            if argv.is_empty() {
                return wrong("`command` must be a program and its arguments");
            }
            WatchedKind::Command { argv, value: file.value.clone() }
        };
        let (is_http, is_log) = (matches!(kind, WatchedKind::Http { .. }), matches!(kind, WatchedKind::Log { .. }));
        let is_command = matches!(kind, WatchedKind::Command { .. });
        if (file.json.is_some() && !is_http) || (file.pattern.is_some() && !is_log) {
            return wrong("`json` goes with `http` and `pattern` with `log`");
        }
        if file.value.is_some() && !is_command {
            return wrong("`value` goes with `command`");
        }
        if file.signal.is_some() != (file.json.is_some() || (is_command && file.signal.is_some())) {
            return wrong("`signal` says what the number is that `json` or a `command` gives: give both");
        }
        Ok(Self { file, kind })
    }
}
