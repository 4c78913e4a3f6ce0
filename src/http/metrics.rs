//! The snapshot for Prometheus. How many series there are is bounded, whatever is measured here.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use crate::domain::snapshot::{SignalState, Snapshot, Status};

/// Most signals and most services that are shown.
const SHOWN: usize = 1_000;

/// The text format, version 0.0.4.
pub(super) fn text(snapshot: &Snapshot) -> String {
    let mut out = Metrics(String::new());
    let status = match snapshot.status {
        Status::Ok => 0,
        Status::Degraded => 1,
        Status::Critical => 2,
    };
    out.one("mesh_status", "0 ok, 1 degraded, 2 critical", status);
    out.one("mesh_uptime_seconds", "Time since the agent started", snapshot.uptime_s);
    if let Some(lag) = snapshot.worker_sync_lag_s {
        out.one("mesh_sync_lag_seconds", "Time since the last sync", lag);
    }
    out.one("mesh_paused", "1 while a person paused all changes", u8::from(snapshot.paused));
    out.one("mesh_frozen_areas", "Areas in which nothing is changed", snapshot.frozen_areas.len());
    out.one("mesh_invariant_violations_open", "Invariants that do not hold", snapshot.invariant_violations_open);
    out.one("mesh_self_heal_recoveries_24h", "Repairs that worked", snapshot.self_heal_recoveries_24h);
    out.one("mesh_self_heal_failures_24h", "Repairs that did not", snapshot.self_heal_failures_24h);
    out.one("mesh_rules_fired_24h", "Firings of rules", snapshot.rules_fired_24h);
    out.by_state("mesh_interventions", "Fixes by state", &snapshot.interventions);
    out.by_state("mesh_inbox", "Lessons of peers by state", &snapshot.inbox);
    let mut peers: BTreeMap<String, u64> = BTreeMap::new();
    for state in snapshot.peers.values() {
        *peers.entry(state.clone()).or_default() += 1;
    }
    out.by_state("mesh_peers", "Peers by state", &peers);
    out.head("mesh_service_alive", "1 when a service shows that it lives");
    for (name, service) in snapshot.services.iter().take(SHOWN) {
        if let Some(alive) = service.liveness {
            out.line(format_args!("mesh_service_alive{{service=\"{}\"}} {}", escaped(name), u8::from(alive)));
        }
    }
    out.head("mesh_signal", "The newest reading of a signal");
    for (name, signal) in snapshot.signals.iter().take(SHOWN) {
        if let Some(value) = signal.value {
            out.line(format_args!("mesh_signal{{{}}} {value}", labels(name)));
        }
    }
    out.head("mesh_signal_state", "0 good, 1 beyond its threshold, 2 not known, 3 not to be had here");
    for (name, signal) in snapshot.signals.iter().take(SHOWN) {
        let state = match signal.state {
            SignalState::Ok => 0,
            SignalState::Beyond => 1,
            SignalState::Unknown => 2,
            SignalState::Absent => 3,
        };
        out.line(format_args!("mesh_signal_state{{{}}} {state}", labels(name)));
    }
    let hidden = snapshot.signals.len().saturating_sub(SHOWN) + snapshot.services.len().saturating_sub(SHOWN);
    out.one("mesh_not_shown", "Signals and services beyond what is shown here", hidden);
    out.0
}

fn labels(name: &str) -> String {
    let (signal, subject) = name.split_once('/').unwrap_or((name, ""));
    format!("signal=\"{}\",subject=\"{}\"", escaped(signal), escaped(subject))
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

struct Metrics(String);

impl Metrics {
    fn line(&mut self, line: impl Display) {
        writeln!(self.0, "{line}").expect("a string takes all");
    }

    fn head(&mut self, name: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} gauge"));
    }

    fn one(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, help);
        self.line(format_args!("{name} {value}"));
    }

    fn by_state(&mut self, name: &str, help: &str, counts: &BTreeMap<String, u64>) {
        self.head(name, help);
        for (state, count) in counts.iter().take(SHOWN) {
            self.line(format_args!("{name}{{state=\"{}\"}} {count}", escaped(state)));
        }
    }
}
