//! `[approve]` and `[reserve]` of the configuration: how far changes go without a person, and when mesh stands back.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::guard::{Approval, ApprovalMode, Approvals};
use crate::domain::strain::Reserve;
use crate::domain::utc_time;

/// A time as it is written, such as `2026-12-01T00:00:00Z`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment(pub(super) Timestamp);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        let refused = || serde::de::Error::custom(format!("`{text}` is not a time such as 2026-12-01T00:00:00Z"));
        utc_time::parse(&text).map(Self).ok_or_else(refused)
    }
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ApproveFile {
    low: Option<ApprovalMode>,
    low_until: Option<Moment>,
    medium: Option<ApprovalMode>,
    medium_until: Option<Moment>,
    high: Option<ApprovalMode>,
    high_until: Option<Moment>,
}

impl ApproveFile {
    pub(super) fn overlaid_by(self, later: Self) -> Self {
        Self {
            low: later.low.or(self.low),
            low_until: later.low_until.or(self.low_until),
            medium: later.medium.or(self.medium),
            medium_until: later.medium_until.or(self.medium_until),
            high: later.high.or(self.high),
            high_until: later.high_until.or(self.high_until),
        }
    }

    pub(super) fn complete(self) -> Approvals {
        let safe = Approvals::default();
        let one = |mode: Option<ApprovalMode>, until: Option<Moment>, safe: Approval| Approval {
            mode: mode.unwrap_or(safe.mode),
            until: until.map(|until| until.0),
        };
        Approvals {
            low: one(self.low, self.low_until, safe.low),
            medium: one(self.medium, self.medium_until, safe.medium),
            high: one(self.high, self.high_until, safe.high),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReserveFile {
    free_percent: Option<Share>,
    free_mib: Option<u32>,
    load_per_core: Option<Load>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "f64")]
struct Share(f64);

impl TryFrom<f64> for Share {
    type Error = String;
    fn try_from(value: f64) -> Result<Self, String> {
        let fits = (0.0..=50.0).contains(&value);
        fits.then_some(Self(value)).ok_or_else(|| format!("{value} is not a share from 0 to 50 percent"))
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "f64")]
struct Load(f64);

impl TryFrom<f64> for Load {
    type Error = String;
    fn try_from(value: f64) -> Result<Self, String> {
        let fits = value.is_finite() && value > 0.0;
        fits.then_some(Self(value)).ok_or_else(|| format!("{value} is not a load above 0"))
    }
}

/// What mesh leaves to others on this host.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct ReserveConfig {
    /// Free space under the state directory, in percent.
    pub free_percent: f64,
    /// The same in MiB.
    pub free_mib: u32,
    /// Load for each processor above which a round scans nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_per_core: Option<f64>,
}

impl ReserveFile {
    pub(super) fn overlaid_by(self, later: Self) -> Self {
        Self {
            free_percent: later.free_percent.or(self.free_percent),
            free_mib: later.free_mib.or(self.free_mib),
            load_per_core: later.load_per_core.or(self.load_per_core),
        }
    }

    pub(super) fn complete(self) -> ReserveConfig {
        ReserveConfig {
            free_percent: self.free_percent.map_or(2.0, |share| share.0),
            free_mib: self.free_mib.unwrap_or(64),
            load_per_core: self.load_per_core.map(|load| load.0),
        }
    }
}

impl ReserveConfig {
    /// The same as a round is decided by.
    #[must_use]
    pub fn reserve(&self) -> Reserve {
        Reserve {
            free_percent: self.free_percent,
            free_bytes: u64::from(self.free_mib) << 20,
            load_per_core: self.load_per_core,
        }
    }
}
