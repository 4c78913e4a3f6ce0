//! The catalogue of what can be measured. A name that is not here is an error wherever it stands.

use serde::Serialize;

/// Which way is good.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// More is better.
    Up,
    /// Less is better.
    Down,
}

/// A measured quantity.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Signal {
    /// Its name; the part before the first dot is what is measured.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// Which way is good.
    pub direction: Direction,
}

const fn down(name: &'static str, unit: &'static str) -> Signal {
    Signal { name, unit, direction: Direction::Down }
}

const fn up(name: &'static str, unit: &'static str) -> Signal {
    Signal { name, unit, direction: Direction::Up }
}

/// Every signal that is known, by name.
pub const CATALOGUE: &[Signal] = &[
    down("audit.findings", "count"),
    up("cert.days_left", "days"),
    down("host.clock.offset_ms", "ms"),
    down("host.cpu.used_percent", "percent"),
    up("host.disk.eta_hours", "hours"),
    down("host.disk.inodes_used_percent", "percent"),
    down("host.disk.used_percent", "percent"),
    down("host.fd.used_percent", "percent"),
    down("host.load.per_core", "ratio"),
    down("host.memory.used_percent", "percent"),
    down("host.net.errors", "count"),
    down("host.psi.cpu_some", "percent"),
    down("host.psi.io_full", "percent"),
    down("host.psi.memory_full", "percent"),
    down("host.swap.used_percent", "percent"),
    down("http.latency_ms", "ms"),
    down("http.status", "code"),
    down("lock.double_starts", "count"),
    down("lock.stale", "count"),
    down("log.duplicates", "count"),
    down("log.error_rate", "per hour"),
    down("log.growth_mb_per_h", "MB per hour"),
    up("log.records", "count"),
    down("secret.exposed_files", "count"),
    down("service.cpu_percent", "percent"),
    down("service.heartbeat_age_s", "s"),
    down("service.liveness_kills", "count"),
    down("service.restarts", "count"),
    down("service.rss_mb", "MB"),
    up("service.throughput", "per hour"),
    down("state.parse_failures", "count"),
    down("upstream.error_percent", "percent"),
    down("upstream.retries", "count"),
    down("work.category_starved", "count"),
    down("work.partial_lost", "count"),
    down("work.rejected", "count"),
];

/// The signal with this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Signal> {
    CATALOGUE.iter().find(|signal| signal.name == name)
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
    }
}
