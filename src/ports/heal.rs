//! What the loop that applies rules needs of the world.

use crate::domain::heal::action::{Action, Done, WayBack};
use crate::domain::heal::condition::{EventName, Occurrence};
use crate::domain::heal::target::Target;
use crate::ports::Reading;

/// What a service's manager sees of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ServiceSeen {
    /// Its main process.
    pub pid: Option<u32>,
    /// Whether somebody wants it up: false after a person stopped it.
    pub wanted: bool,
    /// Whether it ended and nobody starts it again.
    pub failed: bool,
    /// Whether its manager gave up after too many starts.
    pub given_up: bool,
    /// Whether its manager starts it again by itself when it ends, or is about to: then that is left to it.
    pub retried: bool,
    /// Whether a rule keeps it down for now.
    pub held: bool,
    /// How it ended last; 128 and the signal when one ended it.
    pub exit_code: Option<i32>,
    /// How often its manager started it again.
    pub restarts: u64,
    /// Whether its unit file is newer than what the manager read.
    pub needs_reload: bool,
}

pub use crate::domain::service::Order;

/// Whoever keeps services running.
pub trait Services {
    /// What is seen of it now; none when nobody knows it.
    fn seen(&mut self, service: &str) -> Option<ServiceSeen>;

    /// Does it, and waits until it is done or cannot be.
    ///
    /// # Errors
    /// Why not, in one sentence. Foreign text.
    fn order(&mut self, service: &str, order: Order) -> Result<String, String>;

    /// What happened to services since it was asked last.
    fn happened(&mut self) -> Vec<(String, EventName)>;
}

/// What one look at all targets gave.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Seen {
    /// The facts, each with the target as its subject.
    pub readings: Vec<Reading>,
    /// What happened since the look before.
    pub occurrences: Vec<Occurrence>,
}

/// Looks at targets.
pub trait Eyes {
    /// Looks at all of them. `wall` is the wall clock and `now` the engine's, in seconds.
    fn look(&mut self, targets: &[Target], wall: i64, now: i64) -> Seen;
}

/// Takes actions.
pub trait Hands {
    /// What will lead back from the action, so that it is on disk before anything is done. Changes nothing.
    ///
    /// # Errors
    /// The action cannot be taken as things are, and why.
    fn prepare(&mut self, action: &Action, target: &Target, id: &str) -> Result<Vec<WayBack>, String>;

    /// Takes the action. `ways` is what was prepared for it.
    fn take(&mut self, action: &Action, target: &Target, id: &str, ways: &[WayBack]) -> Done;

    /// Sees to what an action left for a while, such as a breaker whose time is over. What was done, if anything was due.
    fn tend(&mut self, _target: &Target, _wall: i64) -> Option<Result<String, String>> {
        None
    }

    /// Goes back. Going back twice, or from what was never done, changes nothing.
    ///
    /// # Errors
    /// What stands in the way.
    fn take_back(&mut self, way: &WayBack) -> Result<String, String>;
}
