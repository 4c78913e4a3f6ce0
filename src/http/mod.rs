//! `/health`, `/metrics` and `/`: the published snapshot, as JSON, for Prometheus and for people. It knows nothing
//! else, changes nothing and waits for nothing.

mod metrics;
mod page;
mod serve;

use std::sync::Arc;
use std::time::Instant;

pub use serve::{Token, serve};

use crate::domain::snapshot::Snapshot;

/// A snapshot and when it was published.
#[derive(Clone)]
pub struct Published {
    /// What is served.
    pub snapshot: Arc<Snapshot>,
    /// Since when.
    pub since: Instant,
}

impl Published {
    /// Publishes a snapshot now.
    #[must_use]
    pub fn now(snapshot: Snapshot) -> Self {
        Self { snapshot: Arc::new(snapshot), since: Instant::now() }
    }

    fn aged(&self) -> Snapshot {
        self.snapshot.aged(i64::try_from(self.since.elapsed().as_secs()).unwrap_or(i64::MAX))
    }
}
