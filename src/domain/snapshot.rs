//! What this host shows of itself at one moment. It is published whole; who serves it waits for nothing.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::chain::PeerState;
use super::service::UNKNOWN;

/// Age of a snapshot after which whoever makes them is taken to be stuck.
const STANDSTILL_S: i64 = 300;

/// How a host is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// All that is measured is good.
    #[default]
    Ok,
    /// Something is beyond its threshold, not known where it should be, or not trusted.
    Degraded,
    /// Something critical is beyond its threshold or down.
    Critical,
}

impl Status {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Critical => "critical",
        }
    }
}

/// How one signal is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SignalState {
    /// Good, or there is nothing to hold it against.
    Ok,
    /// Beyond its threshold.
    Beyond,
    /// It was asked, and there was no answer.
    Unknown,
    /// This host has nothing to measure it by, so that it is not missed either.
    Absent,
}

/// One signal of one subject, as last measured.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct SignalView {
    /// The value; `None` when it is not known.
    pub value: Option<f64>,
    /// Its unit.
    pub unit: &'static str,
    /// How it is.
    pub state: SignalState,
    /// The last value that is still good.
    pub threshold: Option<f64>,
    /// Whether a value beyond it is critical.
    pub critical: bool,
    /// When it was asked.
    #[serde(serialize_with = "seconds")]
    pub at: Timestamp,
    /// Why it is not known, or what is to be said beside its value. Foreign text, made fit to be shown.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// One supervised service.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ServiceView {
    /// Where it is in its life; `unknown` while its manager does not show it.
    pub state: String,
    /// Whether it shows that it lives; `None` when that is not known.
    pub liveness: Option<bool>,
    /// Whether it gets work done; `None` when that is not known.
    pub productive: Option<bool>,
    /// Memory of it and its children, in MB.
    pub rss_mb: Option<f64>,
    /// Whether it being down is critical.
    pub critical: bool,
    /// Who runs it.
    pub manager: &'static str,
    /// Its main process.
    pub pid: Option<u32>,
    /// How often it was started again since the agent looks after it.
    pub restarts: u64,
    /// How often it was stopped because it did not show that it lives.
    pub liveness_kills: u64,
    /// How it ended the last time that it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_end: Option<String>,
    /// What a person should know of it. Foreign text, made fit to be shown.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
}

impl ServiceView {
    /// Whether its manager shows it.
    #[must_use]
    pub fn is_seen(&self) -> bool {
        self.state != UNKNOWN
    }
}

/// What this host shows of itself.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Snapshot {
    /// How it is.
    pub status: Status,
    /// Why it is not well, a sentence each.
    pub reasons: Vec<String>,
    /// Services by name.
    pub services: BTreeMap<String, ServiceView>,
    /// Signals by name, `signal/subject` where there are several.
    pub signals: BTreeMap<String, SignalView>,
    /// Repairs that worked in the last 24 hours.
    pub self_heal_recoveries_24h: u64,
    /// Repairs that did not.
    pub self_heal_failures_24h: u64,
    /// Firings of rules in the last 24 hours.
    pub rules_fired_24h: u64,
    /// Seconds since the last sync; `None` before the first one. See [`Snapshot::json`].
    #[serde(skip)]
    pub worker_sync_lag_s: Option<i64>,
    /// Invariants that do not hold now.
    pub invariant_violations_open: u64,
    /// Areas in which nothing is changed for now.
    pub frozen_areas: Vec<String>,
    /// Fixes by state.
    pub interventions: BTreeMap<String, u64>,
    /// Lessons of peers by state.
    pub inbox: BTreeMap<String, u64>,
    /// The state of each peer by its local name.
    pub peers: BTreeMap<String, String>,
    /// Whether a person paused all changes.
    pub paused: bool,
    /// This program's version.
    pub version: &'static str,
    /// Seconds since the agent started. See [`Snapshot::json`].
    #[serde(skip)]
    pub uptime_s: i64,
    /// When this was put together.
    #[serde(serialize_with = "maybe_seconds")]
    pub at: Option<Timestamp>,
}

fn seconds<S: Serializer>(at: &Timestamp, out: S) -> Result<S::Ok, S::Error> {
    out.collect_str(&at.strftime("%Y-%m-%dT%H:%M:%SZ"))
}

fn maybe_seconds<S: Serializer>(at: &Option<Timestamp>, out: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => seconds(at, out),
        None => out.serialize_none(),
    }
}

impl Snapshot {
    /// Says how the host is, from what is known of it.
    pub fn judge(&mut self) {
        let mut status = if self.reasons.is_empty() { Status::Ok } else { Status::Degraded };
        for (name, signal) in &self.signals {
            let (found, what) = match (signal.state, signal.value, signal.threshold) {
                (SignalState::Beyond, Some(value), Some(threshold)) => {
                    let found = if signal.critical { Status::Critical } else { Status::Degraded };
                    let why = if signal.why.is_empty() { String::new() } else { format!(": {}", signal.why) };
                    (found, format!("{name} is {value:.1} {}, good to {threshold}{why}", signal.unit))
                }
                (SignalState::Unknown, ..) => (Status::Degraded, format!("{name} is not known: {}", signal.why)),
                _ => continue,
            };
            status = status.max(found);
            self.reasons.push(what);
        }
        for (name, service) in &self.services {
            if service.liveness == Some(false) {
                status = status.max(if service.critical { Status::Critical } else { Status::Degraded });
                let why = if service.why.is_empty() { String::new() } else { format!(": {}", service.why) };
                self.reasons.push(format!("service {name} is {}{why}", service.state));
            }
        }
        for (name, state) in &self.peers {
            if PeerState::of_name(state).is_none_or(PeerState::is_alarm) {
                status = status.max(Status::Degraded);
                self.reasons.push(format!("peer {name} is {state}"));
            }
        }
        if self.invariant_violations_open > 0 {
            status = status.max(Status::Degraded);
            self.reasons.push(format!("{} invariants do not hold", self.invariant_violations_open));
        }
        self.status = status;
    }

    /// All that stays until the next snapshot, as one JSON object, fit to be shown.
    #[must_use]
    pub fn lasting_json(&self) -> String {
        let json = serde_json::to_string(self).expect("a snapshot is plain text, numbers and lists");
        super::foreign_text::json_escaped(&json).into_owned()
    }

    /// The whole of it `age_s` seconds later, with what [`Snapshot::lasting_json`] made: the two fields that grow stand
    /// before it, so that it need not be made anew for each who asks.
    #[must_use]
    pub fn json(&self, age_s: i64, lasting: &str) -> String {
        let lag = self.worker_sync_lag_s.map_or_else(|| "null".to_owned(), |lag| (lag + age_s).to_string());
        let rest = lasting.strip_prefix('{').unwrap_or("}");
        format!("{{\"uptime_s\":{},\"worker_sync_lag_s\":{lag},{rest}", self.uptime_s + age_s)
    }

    /// Whether it is no older than it may be when it is served.
    #[must_use]
    pub const fn is_fresh(&self, age_s: i64) -> bool {
        age_s <= STANDSTILL_S
    }

    /// The same some time later, when it is served. One that is old says so.
    #[must_use]
    pub fn aged(&self, seconds: i64) -> Self {
        let mut aged = self.clone();
        if !self.is_fresh(seconds) {
            aged.status = aged.status.max(Status::Degraded);
            aged.reasons.push(format!("nothing was measured or looked at for {seconds} s"));
        }
        aged.uptime_s += seconds;
        aged.worker_sync_lag_s = aged.worker_sync_lag_s.map(|lag| lag + seconds);
        aged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal(state: SignalState, critical: bool) -> SignalView {
        let (value, why) = match state {
            SignalState::Unknown => (None, "no answer".to_owned()),
            SignalState::Absent => (None, "no such file".to_owned()),
            SignalState::Ok | SignalState::Beyond => (Some(97.5), String::new()),
        };
        SignalView { value, unit: "percent", state, threshold: Some(95.0), critical, at: Timestamp::UNIX_EPOCH, why }
    }

    fn judged(signals: &[(&str, SignalView)]) -> Snapshot {
        let signals = signals.iter().map(|(name, view)| ((*name).to_owned(), view.clone())).collect();
        let mut snapshot = Snapshot { signals, ..Snapshot::default() };
        snapshot.judge();
        snapshot
    }

    #[test]
    fn a_host_is_as_bad_as_the_worst_of_it() {
        assert_eq!(judged(&[("a", signal(SignalState::Ok, true))]).status, Status::Ok);
        let unknown = judged(&[("a", signal(SignalState::Unknown, true))]);
        assert_eq!((unknown.status, unknown.reasons.len()), (Status::Degraded, 1), "not known is not down");
        let absent = judged(&[("a", signal(SignalState::Absent, true))]);
        assert_eq!((absent.status, absent.reasons.len()), (Status::Ok, 0), "what is not here is not missed");
        let caused = SignalView { why: "by pid 7".to_owned(), ..signal(SignalState::Beyond, false) };
        assert_eq!(judged(&[("a", caused)]).reasons, ["a is 97.5 percent, good to 95: by pid 7"]);
        let both = judged(&[("a", signal(SignalState::Beyond, true)), ("b", signal(SignalState::Beyond, false))]);
        assert_eq!(both.status, Status::Critical);
        assert_eq!(both.reasons[0], "a is 97.5 percent, good to 95");
    }

    #[test]
    fn t08_every_alarm_about_a_peer_shows_and_nothing_else_does() {
        for state in PeerState::ALL {
            let peers = [("web".to_owned(), state.name().to_owned())].into();
            let mut snapshot = Snapshot { peers, ..Snapshot::default() };
            snapshot.judge();
            let shown = (Status::Degraded, vec![format!("peer web is {}", state.name())]);
            let expected = if state.is_alarm() { shown } else { (Status::Ok, vec![]) };
            assert_eq!((snapshot.status, snapshot.reasons), expected);
        }
        assert!(PeerState::Stale.is_alarm() && PeerState::Withheld.is_alarm() && !PeerState::Behind.is_alarm());
    }

    #[test]
    fn an_old_snapshot_says_that_it_is_old() {
        let fresh = Snapshot { worker_sync_lag_s: Some(5), ..Snapshot::default() };
        assert_eq!((fresh.aged(10).status, fresh.aged(10).worker_sync_lag_s), (Status::Ok, Some(15)));
        assert_eq!(fresh.aged(301).status, Status::Degraded);
    }

    #[test]
    fn the_fields_that_grow_stand_before_the_others() {
        let snapshot = Snapshot { worker_sync_lag_s: Some(5), uptime_s: 60, version: "1", ..Snapshot::default() };
        let lasting = snapshot.lasting_json();
        let read = |age| serde_json::from_str::<serde_json::Value>(&snapshot.json(age, &lasting)).expect("JSON");
        let (now, later) = (read(0), read(7));
        assert_eq!((now["uptime_s"].as_i64(), now["worker_sync_lag_s"].as_i64()), (Some(60), Some(5)));
        assert_eq!((later["uptime_s"].as_i64(), later["worker_sync_lag_s"].as_i64()), (Some(67), Some(12)));
        assert_eq!((later["version"].as_str(), later["status"].as_str()), (Some("1"), Some("ok")));
        let never = Snapshot { worker_sync_lag_s: None, ..snapshot.clone() };
        assert!(never.json(3, &lasting).contains("\"worker_sync_lag_s\":null,"));
    }
}
