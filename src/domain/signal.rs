//! The catalogue of what can be measured. A name that is not here is an error wherever it stands.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Time between two readings of a signal that has no interval of its own.
pub const INTERVAL: Duration = Duration::from_secs(300);

/// Longest subject, in bytes.
const SUBJECT_BYTES: usize = 64;

/// Which way is good.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// More is better.
    Up,
    /// Less is better.
    Down,
}

/// Who measures a signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Mesh itself, on every host.
    Host,
    /// Mesh, for each service, and for each `[[signal]]` that names a process.
    Service,
    /// A `[[signal]]` of the kind that is named in the same words: a log, an address, a program.
    Configured,
    /// Worked out from the stored samples of another signal.
    Derived,
    /// A program that a `[[signal]]` runs and that prints the value.
    Program,
    /// The loop that applies rules, for each `[[target]]`. Not stored.
    Target,
}

/// A measured quantity.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Signal {
    /// Its name; the part before the first dot is what is measured.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// Which way is good.
    pub direction: Direction,
    /// The last value that is still good, where there is one for every host.
    pub threshold: Option<f64>,
    /// Who measures it.
    pub source: Source,
    /// Whether a value beyond the threshold is critical: `/health` answers 503.
    pub critical: bool,
}

impl Signal {
    const fn new(name: &'static str, unit: &'static str, direction: Direction) -> Self {
        Self { name, unit, direction, threshold: None, source: Source::Program, critical: false }
    }

    const fn good_to(mut self, threshold: f64) -> Self {
        self.threshold = Some(threshold);
        self
    }

    const fn from(mut self, source: Source) -> Self {
        self.source = source;
        self
    }

    const fn critical(mut self) -> Self {
        self.critical = true;
        self
    }

    /// What freezes together with it: `host.disk` for `host.disk.used_percent`.
    #[must_use]
    pub fn area(&self) -> &'static str {
        self.name.rsplit_once('.').map_or(self.name, |(area, _)| area)
    }

    /// Whether `value` is beyond `threshold`, on the bad side.
    #[must_use]
    pub fn is_beyond(&self, value: f64, threshold: f64) -> bool {
        match self.direction {
            Direction::Up => value < threshold,
            Direction::Down => value > threshold,
        }
    }

    /// The value that it cannot or must not pass: all of it for a percentage, else the threshold.
    #[must_use]
    pub fn limit(&self) -> Option<f64> {
        if self.unit == "percent" && self.direction == Direction::Down { Some(100.0) } else { self.threshold }
    }
}

const fn down(name: &'static str, unit: &'static str) -> Signal {
    Signal::new(name, unit, Direction::Down)
}

const fn up(name: &'static str, unit: &'static str) -> Signal {
    Signal::new(name, unit, Direction::Up)
}

/// Every signal that is known, by name.
pub const CATALOGUE: &[Signal] = &[
    down("audit.findings", "count").from(Source::Host),
    down("backup.age_periods", "ratio").from(Source::Target),
    up("backup.size_percent", "percent").from(Source::Target),
    down("breaker.open", "0 or 1").from(Source::Target),
    up("cert.days_left", "days").good_to(14.0).from(Source::Configured),
    down("check.status", "code").good_to(0.0).from(Source::Configured),
    down("check.value", "value"),
    up("check.yield", "value"),
    up("config.good_copy", "0 or 1").from(Source::Target),
    up("config.ok", "0 or 1").from(Source::Target),
    down("counters.evaluated", "count").from(Source::Target),
    up("counters.hits", "count").from(Source::Target),
    up("counters.moving", "count").from(Source::Target),
    down("dns.latency_ms", "ms").good_to(2_000.0).from(Source::Configured),
    up("dns.resolves", "0 or 1").good_to(1.0).from(Source::Configured),
    down("environment.differs", "0 or 1").from(Source::Target),
    down("environment.units_failed", "count").from(Source::Target),
    down("file.age_hours", "hours").from(Source::Configured),
    down("file.changed", "count").good_to(0.0).from(Source::Configured),
    up("file.exists", "0 or 1").good_to(1.0).from(Source::Configured),
    down("file.size_mb", "MB").from(Source::Configured),
    down("host.clock.offset_ms", "ms").good_to(1_000.0).from(Source::Configured),
    down("host.conntrack.used_percent", "percent").good_to(90.0).from(Source::Host),
    down("host.cpu.used_percent", "percent").good_to(95.0).from(Source::Host),
    up("host.disk.eta_hours", "hours").good_to(24.0).from(Source::Derived),
    down("host.disk.inodes_used_percent", "percent").good_to(95.0).from(Source::Host).critical(),
    up("host.disk.mounted", "0 or 1").good_to(1.0).from(Source::Host),
    down("host.disk.used_percent", "percent").good_to(95.0).from(Source::Host).critical(),
    up("host.disk.writable", "0 or 1").good_to(1.0).from(Source::Host).critical(),
    down("host.edac.corrected", "per hour").good_to(10.0).from(Source::Host),
    down("host.edac.uncorrected", "count").good_to(0.0).from(Source::Host),
    down("host.fd.used_percent", "percent").good_to(90.0).from(Source::Host).critical(),
    down("host.kernel.faults", "per hour").good_to(0.0).from(Source::Host),
    down("host.load.per_core", "ratio").good_to(4.0).from(Source::Host),
    down("host.memory.used_percent", "percent").good_to(95.0).from(Source::Host),
    down("host.net.errors", "count").from(Source::Host),
    up("host.net.link", "0 or 1").good_to(1.0).from(Source::Host),
    up("host.net.route", "0 or 1").good_to(1.0).from(Source::Host),
    down("host.net.used_percent", "percent").good_to(90.0).from(Source::Host),
    down("host.ports.used_percent", "percent").good_to(90.0).from(Source::Host),
    down("host.processes.blocked", "count").good_to(4.0).from(Source::Host),
    down("host.processes.zombies", "count").good_to(20.0).from(Source::Host),
    down("host.psi.cpu_some", "percent").good_to(80.0).from(Source::Host),
    down("host.psi.io_full", "percent").good_to(40.0).from(Source::Host),
    down("host.psi.memory_full", "percent").good_to(20.0).from(Source::Host),
    down("host.raid.missing", "count").good_to(0.0).from(Source::Host),
    down("host.smart.bad_sectors", "count").good_to(0.0).from(Source::Configured),
    up("host.smart.healthy", "0 or 1").good_to(1.0).from(Source::Configured),
    down("host.smart.worn_percent", "percent").good_to(90.0).from(Source::Configured),
    down("host.swap.used_percent", "percent").good_to(80.0).from(Source::Host),
    up("host.uptime_s", "s").from(Source::Target),
    down("http.latency_ms", "ms").good_to(5_000.0).from(Source::Configured),
    up("http.match", "0 or 1").good_to(1.0).from(Source::Configured),
    down("http.status", "code").good_to(399.0).from(Source::Configured),
    down("job.age_hours", "hours").from(Source::Configured),
    down("job.overdue", "ratio").from(Source::Target),
    down("lock.age_lifetimes", "ratio").from(Source::Target),
    down("lock.double_starts", "count"),
    down("lock.held", "0 or 1").from(Source::Target),
    down("lock.owner_alive", "0 or 1").from(Source::Target),
    down("lock.stale", "count"),
    down("log.duplicates", "count"),
    down("log.error_rate", "per hour").good_to(49.0).from(Source::Configured),
    down("log.growth_mb_per_h", "MB per hour").from(Source::Configured),
    up("log.records", "count"),
    down("log.same_template", "per hour").from(Source::Target),
    down("log.size_mb", "MB").good_to(2_048.0).from(Source::Configured),
    down("log.skipped_mb", "MB").from(Source::Configured),
    up("model.answers", "0 or 1").good_to(1.0).from(Source::Configured),
    up("model.present", "0 or 1").good_to(1.0).from(Source::Configured),
    down("operations.read_error_percent", "percent").from(Source::Target),
    down("operations.write_error_percent", "percent").from(Source::Target),
    up("path.mode_ok", "0 or 1").from(Source::Target),
    up("path.present", "0 or 1").from(Source::Target),
    up("pidfile.live", "0 or 1").from(Source::Target),
    down("rule.acted", "per day").from(Source::Target),
    down("rule.suspended", "0 or 1").from(Source::Target),
    down("secret.exposed_files", "count"),
    down("service.cgroup_mb", "MB").from(Source::Service),
    down("service.cgroup_used_percent", "percent").good_to(95.0).from(Source::Service),
    down("service.cpu_percent", "percent").from(Source::Service),
    down("service.environment_changed", "count").good_to(0.0).from(Source::Service),
    down("service.fd_used_percent", "percent").good_to(80.0).from(Source::Service),
    down("service.fds", "count").from(Source::Service),
    down("service.heartbeat_age_s", "s").from(Source::Service),
    down("service.liveness_kills", "count").from(Source::Service),
    down("service.oom_kills", "count").from(Source::Service),
    down("service.processes", "count").from(Source::Service),
    down("service.restarts", "count").from(Source::Service),
    down("service.rss_mb", "MB").from(Source::Service),
    down("service.threads", "count").from(Source::Service),
    down("service.throttled_percent", "percent").from(Source::Service),
    up("service.throughput", "per hour"),
    down("space.files_percent", "percent").from(Source::Target),
    up("space.purgeable_mb", "MB").from(Source::Target),
    down("space.used_percent", "percent").from(Source::Target),
    up("state.good_copy", "0 or 1").from(Source::Target),
    down("state.parse_failures", "count"),
    up("state.parses", "0 or 1").from(Source::Target),
    down("target.blocked", "0 or 1").from(Source::Target),
    up("target.progress_age_s", "s").from(Source::Target),
    up("target.runnable", "0 or 1").from(Source::Target),
    down("tcp.latency_ms", "ms").good_to(5_000.0).from(Source::Configured),
    up("tcp.open", "0 or 1").good_to(1.0).from(Source::Configured),
    up("tcp.speaks", "0 or 1").good_to(1.0).from(Source::Configured),
    up("unit.active", "0 or 1").from(Source::Target),
    down("unit.busy_percent", "percent").from(Source::Target),
    down("unit.critical", "0 or 1").from(Source::Target),
    down("unit.deleted_maps", "count").from(Source::Target),
    down("unit.deleted_open_percent", "percent").from(Source::Target),
    down("unit.exit_code", "code").from(Source::Target),
    down("unit.failed", "0 or 1").from(Source::Target),
    down("unit.fd_percent", "percent").from(Source::Target),
    down("unit.given_up", "0 or 1").from(Source::Target),
    down("unit.heartbeat_periods", "ratio").from(Source::Target),
    down("unit.held_down", "0 or 1").from(Source::Target),
    down("unit.memory_percent", "percent").from(Source::Target),
    down("unit.needs_reload", "0 or 1").from(Source::Target),
    up("unit.parent_up", "0 or 1").from(Source::Target),
    down("unit.probe_failed", "0 or 1").from(Source::Target),
    down("unit.restarts_10m", "count").from(Source::Target),
    up("unit.retried", "0 or 1").from(Source::Target),
    down("unit.stale_code_s", "s").from(Source::Target),
    down("unit.stopped", "0 or 1").from(Source::Target),
    down("unit.thread_percent", "percent").from(Source::Target),
    up("unit.wanted", "0 or 1").from(Source::Target),
    down("unit.zombies", "count").from(Source::Target),
    down("upstream.error_percent", "percent"),
    down("upstream.quota_used_percent", "percent").good_to(90.0).from(Source::Configured),
    down("upstream.read_error_percent", "percent").good_to(20.0).from(Source::Configured),
    down("upstream.retries", "count"),
    down("upstream.write_error_percent", "percent").good_to(20.0).from(Source::Configured),
    down("work.category_starved", "count"),
    down("work.partial_lost", "count"),
    down("work.rejected", "count"),
];

/// Why a text is not the name of a series.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NameError {
    /// A signal that is not in the catalogue.
    #[error("unknown signal `{name}`{}", hint.map(|near| format!(", did you mean `{near}`?")).unwrap_or_default())]
    Unknown {
        /// The name, fit to be shown.
        name: String,
        /// The nearest known one.
        hint: Option<&'static str>,
    },
    /// What stands behind the slash.
    #[error("a subject must have 1 to {SUBJECT_BYTES} of a-z, A-Z, 0-9 and . _ - + : @ /")]
    Subject,
}

/// What a signal is measured of, such as a service or a mount point; empty where there is one of it.
///
/// It stands in the name of each reading, so that all copies share one text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Subject(Arc<str>);

impl Subject {
    /// The text of it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A subject from any text: what does not fit becomes `_`, and what is too long is cut.
    #[must_use]
    pub fn near(text: &str) -> Self {
        let text: String = text.chars().map(|c| if plain(c) { c } else { '_' }).take(SUBJECT_BYTES).collect();
        Self(text.into())
    }
}

impl Borrow<str> for Subject {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Serialize for Subject {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&self.0)
    }
}

fn plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | ':' | '@' | '/')
}

impl<'de> Deserialize<'de> for Subject {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input)?.parse().map_err(serde::de::Error::custom)
    }
}

impl FromStr for Subject {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() || text.len() > SUBJECT_BYTES || !text.chars().all(plain) {
            return Err(NameError::Subject);
        }
        Ok(Self(text.into()))
    }
}

/// One measured series: a signal, and what it is measured of. Written `service.rss_mb/web`.
#[derive(Clone, PartialEq, Debug)]
pub struct SeriesName {
    /// The signal.
    pub signal: &'static Signal,
    /// What it is measured of.
    pub subject: Subject,
}

impl SeriesName {
    /// The series of a signal that this program names itself.
    ///
    /// # Panics
    /// The name is not in the catalogue.
    #[must_use]
    pub fn of(signal: &'static str, subject: Subject) -> Self {
        Self { signal: find(signal).expect("a name of the catalogue"), subject }
    }
}

impl fmt::Display for SeriesName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.signal.name)?;
        if self.subject.0.is_empty() { Ok(()) } else { write!(out, "/{}", self.subject.0) }
    }
}

impl Serialize for SeriesName {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl FromStr for SeriesName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (name, subject) = match text.split_once('/') {
            Some((name, subject)) => (name, subject.parse()?),
            None => (text, Subject::default()),
        };
        Ok(Self { signal: demand(name)?, subject })
    }
}

/// The signal with this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Signal> {
    let place = CATALOGUE.binary_search_by(|signal| signal.name.cmp(name)).ok()?;
    CATALOGUE.get(place)
}

/// The signal with this name.
///
/// # Errors
/// There is none; the nearest known name is a hint.
pub fn demand(name: &str) -> Result<&'static Signal, NameError> {
    find(name).ok_or_else(|| NameError::Unknown { hint: nearest(name), name: super::foreign_text::display_line(name) })
}

/// The known name that looks most like `name`, if any looks like it at all.
#[must_use]
pub fn nearest(name: &str) -> Option<&'static str> {
    CATALOGUE
        .iter()
        .map(|signal| (strsim::normalized_damerau_levenshtein(signal.name, name), signal.name))
        .filter(|(likeness, _)| *likeness > 0.6)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_is_sorted_and_names_each_signal_once() {
        assert!(CATALOGUE.is_sorted_by(|one, other| one.name < other.name));
        assert_eq!(find("host.disk.used_percent").expect("known").unit, "percent");
        assert_eq!(nearest("host.disk.used_percnt"), Some("host.disk.used_percent"));
        assert_eq!(nearest("tea"), None);
        assert!(CATALOGUE.iter().all(|signal| !signal.critical || signal.threshold.is_some()));
    }

    #[test]
    fn a_series_is_a_signal_and_what_it_is_measured_of() {
        for text in ["service.rss_mb/web", "host.disk.used_percent//var/lib", "host.disk.used_percent//", "log.records"]
        {
            assert_eq!(text.parse::<SeriesName>().expect(text).to_string(), text);
        }
        assert_eq!("host.disk.used_percent//".parse::<SeriesName>().expect("sound").subject.as_str(), "/");
        for text in ["service.rss_mb/", "service.rss_mb/a b", "service.rss_mb/\u{1b}"] {
            assert_eq!(text.parse::<SeriesName>(), Err(NameError::Subject), "{text}");
        }
        let unknown = "service.rss_mbb/web".parse::<SeriesName>().expect_err("unknown").to_string();
        assert_eq!(unknown, "unknown signal `service.rss_mbb`, did you mean `service.rss_mb`?");
        assert_eq!(Subject::near("/mnt/a b").as_str(), "/mnt/a_b");
    }
}
