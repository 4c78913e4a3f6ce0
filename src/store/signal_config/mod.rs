//! `[http]`, `[signals]` and `[[signal]]` of the configuration: what is measured, and where it is shown.

mod kind;
mod watched;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use super::config::Span;
use super::home::Home;
use crate::domain::signal::{self, INTERVAL, Signal};

pub use kind::{FileIs, ServiceFile, WatchedKind};
pub(super) use watched::WatchedSet;
pub use watched::{Watched, bounds};

/// Shortest time between two readings.
const EVERY_LEAST: Duration = Duration::from_secs(10);

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
