//! A manager with one service, and all it tells.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use mesh::domain::id::ServiceName;
use mesh::domain::service::{EndCause, Observation, Run, Verb};
use mesh::ports::manager::{Manager, Target, Told};

/// What a manager tells of one service.
pub(crate) struct Following<M> {
    pub(crate) manager: M,
    pub(crate) service: ServiceName,
    pub(crate) told: Receiver<Told>,
    pub(crate) heard: Vec<Told>,
    /// Longer than anything takes, and shorter than a person waits.
    limit: Duration,
}

impl<M: Manager> Following<M> {
    pub(crate) fn by(mut manager: M, told: Receiver<Told>, unit: &str, limit: Duration) -> Self {
        let service: ServiceName = "web".parse().expect("a name");
        manager.watch(&[Target { service: service.clone(), unit: unit.to_owned() }]);
        Self { manager, service, told, heard: Vec::new(), limit }
    }

    pub(crate) fn act(&mut self, verb: Verb) {
        self.manager.act(&self.service.clone(), verb);
    }

    /// Sees that it is down, and has it started.
    pub(crate) fn start(&mut self) {
        self.see_run(&Run::Down);
        self.act(Verb::Start);
    }

    pub(crate) fn look(&mut self) {
        self.manager.look(&self.service.clone());
    }

    pub(crate) fn hear(&mut self, what: &str, until: impl Fn(&Told) -> bool) -> Told {
        let end = Instant::now() + self.limit;
        loop {
            match self.told.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(told) => {
                    self.heard.push(told.clone());
                    if until(&told) {
                        return told;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    panic!("{what} was not told within {:?}; heard {:#?}", self.limit, self.heard)
                }
                Err(RecvTimeoutError::Disconnected) => panic!("the manager ended; heard {:#?}", self.heard),
            }
        }
    }

    /// Waits for a sight of the service.
    pub(crate) fn see(&mut self, what: &str, until: impl Fn(&Observation) -> bool) -> Observation {
        match self.hear(what, |told| matches!(told, Told::Seen(seen) if until(seen))) {
            Told::Seen(seen) => seen,
            _ => unreachable!("only a sight ends the waiting"),
        }
    }

    pub(crate) fn see_run(&mut self, run: &Run) -> Observation {
        self.see(&format!("{run:?}"), |seen| seen.run == *run)
    }

    /// Waits for a refusal, and says why it was.
    pub(crate) fn refused(&mut self) -> String {
        match self.hear("a refusal", |told| matches!(told, Told::Refused { .. })) {
            Told::Refused { why, .. } => why,
            _ => unreachable!("only a refusal ends the waiting"),
        }
    }
}

/// The cause of the end that was seen.
pub(crate) fn cause(seen: &Observation) -> EndCause {
    seen.end.clone().unwrap_or_else(|| panic!("an end: {seen:?}")).cause
}
