//! `/health`, `/metrics` and `/`: the published snapshot, as JSON, for Prometheus and for people. It knows nothing
//! else, changes nothing and waits for nothing.

mod metrics;
mod page;
mod serve;

use std::sync::{Arc, OnceLock};
use std::time::Instant;

pub use serve::{Token, serve};

use crate::domain::snapshot::{Snapshot, Status};

/// A snapshot and when it was published.
#[derive(Clone)]
pub struct Published {
    /// What is served.
    pub snapshot: Arc<Snapshot>,
    /// Since when.
    pub since: Instant,
    /// What does not change until the next one, as JSON. It is made when somebody asks first.
    lasting: Arc<OnceLock<String>>,
}

impl Published {
    /// Publishes a snapshot now.
    #[must_use]
    pub fn now(snapshot: Snapshot) -> Self {
        Self { snapshot: Arc::new(snapshot), since: Instant::now(), lasting: Arc::default() }
    }

    fn age_s(&self) -> i64 {
        i64::try_from(self.since.elapsed().as_secs()).unwrap_or(i64::MAX)
    }

    fn aged(&self) -> Snapshot {
        self.snapshot.aged(self.age_s())
    }

    /// The status, and the body of `/health`.
    fn health(&self) -> (Status, String) {
        let age_s = self.age_s();
        if self.snapshot.is_fresh(age_s) {
            let lasting = self.lasting.get_or_init(|| self.snapshot.lasting_json());
            return (self.snapshot.status, self.snapshot.json(age_s, lasting));
        }
        let aged = self.aged();
        (aged.status, aged.json(0, &aged.lasting_json()))
    }
}
