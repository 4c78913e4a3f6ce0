//! What runs services: the machine's own init, an engine of containers, or mesh itself.
//!
//! A manager tells what it sees through the [`Teller`] it was made with, from a thread of its own, and is asked to
//! act through [`Manager`]. No method waits for another process: what takes time is done in the manager's thread,
//! and what became of it is told. So one manager that hangs delays no other.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use jiff::Timestamp;

use crate::domain::id::ServiceName;
use crate::domain::service::{Event, Observation, Process, Verb};

/// A service and what its manager calls it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Target {
    /// The service.
    pub service: ServiceName,
    /// The unit (`web.service`), container or job.
    pub unit: String,
}

/// What a manager tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told {
    /// What it sees of one service now.
    Seen(Observation),
    /// It could not do what it was asked.
    Refused {
        /// The service.
        service: ServiceName,
        /// What it was asked.
        verb: Verb,
        /// Why not. Foreign text: show it sanitised.
        why: String,
    },
    /// It has had a service read its configuration again.
    Reloaded(ServiceName),
    /// The service says something of itself.
    Heard {
        /// The service.
        service: ServiceName,
        /// What.
        word: Word,
    },
    /// The manager cannot do a part of its own work, in one sentence. The rest goes on.
    Trouble(String),
}

/// What a service says of itself, or its processes show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Word {
    /// It is ready (`READY=1`).
    Ready,
    /// It lives (`WATCHDOG=1`).
    Alive,
    /// Its processes have more memory than they may have, and the kernel does not limit them.
    OverMemory,
}

/// Where managers tell what they see. It takes without waiting; what nobody hears any more is dropped.
#[derive(Clone)]
pub struct Teller(Arc<dyn Fn(Told) + Send + Sync>);

impl Teller {
    /// One that hands each word to `hear`, which must not wait.
    pub fn new(hear: impl Fn(Told) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hear))
    }

    /// Tells.
    pub fn tell(&self, told: Told) {
        (self.0)(told);
    }
}

impl<T: From<Told> + Send + 'static> From<Sender<T>> for Teller {
    fn from(sender: Sender<T>) -> Self {
        // Whoever listened has ended, and this manager ends with it.
        Self::new(move |told| drop(sender.send(told.into())))
    }
}

/// Runs services, and sees what becomes of them. Dropping it ends its threads and leaves every service as it is.
pub trait Manager: Send {
    /// Sees to these services from now on, and to no others: each is told of once soon, and from then on whenever
    /// something about it changes, whoever changed it. A unit that does not exist is told of as [`Run::Down`] with
    /// an end that says so; a manager that cannot be reached tells [`Run::Unknown`] of each and goes on trying.
    ///
    /// [`Run::Down`]: crate::domain::service::Run::Down
    /// [`Run::Unknown`]: crate::domain::service::Run::Unknown
    fn watch(&mut self, targets: &[Target]);

    /// Tells of this service once more, from a fresh look: the sweep that finds what an event did not.
    fn look(&mut self, service: &ServiceName);

    /// Begins to do this. What it leads to is told, also when that is nothing: Start is idempotent, and so are Stop
    /// and Kill of one that is down. Reload ends in [`Told::Reloaded`] or a refusal.
    fn act(&mut self, service: &ServiceName, verb: Verb);
}

/// A running service that is asked something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Asked {
    /// Its main process, where it is known.
    pub process: Option<Process>,
    /// When that started.
    pub since: Option<Timestamp>,
}

/// Asks something of a running service. It may block: each one is asked in a thread of its own, and one that does
/// not return in time says nothing.
pub trait Question: Send {
    /// Asks once.
    fn ask(&mut self, of: &Asked) -> Vec<Event>;

    /// The service was started anew: what was seen of the one before does not count.
    fn renew(&mut self) {}
}
