//! What rules see of services, and what they may ask for. Each question is a message with a way to answer: the two
//! threads share nothing, and who asks waits for as long as it wants to.

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;

use super::{Kept, Supervising, World};
use crate::domain::heal::condition::EventName;
use crate::domain::id::ServiceName;
use crate::domain::service::{self, EndCause, Notice, Order, Phase, Process, Progress, Why};
use crate::ports::heal::ServiceSeen;

/// What a shell says of a program that it cannot start.
const NOT_STARTED: i32 = 127;
/// What a shell adds to the number of the signal that ended a program.
const SIGNALLED: i32 = 128;
/// The signal that cannot be ignored.
const KILL: i32 = 9;

/// All services as rules see them, by name. One that its manager does not show is not among them.
pub type Seen = BTreeMap<String, ServiceSeen>;
/// What came of an order: what was done, or why not.
pub type Answer = Result<String, String>;

/// What rules ask.
pub enum Ask {
    /// Tell from now on what happens to services.
    Hear(Sender<(String, EventName)>),
    /// How are they now?
    See(Sender<Seen>),
    /// Do this, and tell once it is done or cannot be.
    Do {
        /// The service.
        service: String,
        /// What.
        order: Order,
        /// Where to tell.
        done: Sender<Answer>,
    },
}

/// An order that is under way.
pub(super) struct Pending {
    service: ServiceName,
    order: Order,
    before: Option<Process>,
    done: Sender<Answer>,
}

impl<W: World> Supervising<'_, W> {
    pub(super) fn asked(&mut self, ask: Ask) {
        match ask {
            Ask::Hear(hearer) => self.hearer = Some(hearer),
            Ask::See(to) => {
                let all = self.services.iter().filter_map(|(name, kept)| Some((name.to_string(), seen(kept)?)));
                // Whoever asked may have stopped waiting.
                drop(to.send(all.collect()));
            }
            Ask::Do { service, order, done } => {
                if let Some(answer) = self.order(&service, order, &done) {
                    drop(done.send(answer));
                }
            }
        }
    }

    /// Begins an order. What can be said of it at once, if anything.
    fn order(&mut self, service: &str, order: Order, done: &Sender<Answer>) -> Option<Answer> {
        let known = service.parse::<ServiceName>().ok().filter(|name| self.services.contains_key(name));
        let Some(name) = known else { return Some(Err("mesh does not supervise it: add `[[service]]`".to_owned())) };
        let refuses = |all: &Self| all.services.get(&name).and_then(|kept| kept.life.refuses(order));
        if let Some(why) = refuses(self) {
            return Some(Err(why));
        }
        let before = self.services.get(&name).and_then(|kept| kept.life.process());
        self.step(&name, service::Event::Rule(order));
        // A pause that began meanwhile has come before it.
        if let Some(why) = refuses(self) {
            return Some(Err(why));
        }
        self.pending.push(Pending { service: name, order, before, done: done.clone() });
        None
    }

    /// Tells what came of orders that are done, or cannot be.
    pub(super) fn answer_orders(&mut self) {
        let services = &self.services;
        self.pending.retain(|pending| {
            let progress = services.get(&pending.service).map_or_else(
                || Progress::Failed("mesh does not supervise it any more".to_owned()),
                |kept| kept.life.progress(pending.order, pending.before),
            );
            let answer = match progress {
                Progress::Busy => return true,
                Progress::Done(what) => Ok(what),
                Progress::Failed(why) => Err(why),
            };
            drop(pending.done.send(answer));
            false
        });
    }

    /// Lets rules know of what happened by itself. What they asked for is no news to them.
    pub(super) fn let_hear(&mut self, name: &ServiceName, notice: &Notice) {
        let Some(event) = event(notice) else { return };
        if self.hearer.as_ref().is_some_and(|hearer| hearer.send((name.to_string(), event)).is_err()) {
            self.hearer = None;
        }
    }
}

fn event(notice: &Notice) -> Option<EventName> {
    match notice {
        Notice::Ended(EndCause::OutOfMemory) | Notice::Stopping(Why::Memory) => Some(EventName::OomKill),
        Notice::Ended(_) => Some(EventName::Exited),
        Notice::Starting(Why::Ended | Why::Retry) => Some(EventName::Restarted),
        Notice::GivenUp { .. } | Notice::Flapping { .. } => Some(EventName::GivenUp),
        _ => None,
    }
}

fn seen(kept: &Kept) -> Option<ServiceSeen> {
    let life = &kept.life;
    if life.unseen().is_some() {
        return None;
    }
    let (given_up, held) = (matches!(life.phase(), Phase::GivenUp { .. }), *life.phase() == Phase::Resting);
    let waits = *life.phase() == Phase::Down && life.last_end().is_some();
    Some(ServiceSeen {
        pid: life.process().map(|process| process.pid),
        wanted: !life.is_stopped(),
        failed: !life.is_stopped() && (given_up || held || waits),
        given_up,
        retried: !(life.is_stopped() || given_up || held || life.is_alarmed()),
        held,
        exit_code: life.last_end().and_then(exit_code),
        restarts: life.restarts(),
        needs_reload: life.needs_reload(),
    })
}

/// How it ended, in the words of a shell.
const fn exit_code(cause: &EndCause) -> Option<i32> {
    match cause {
        EndCause::Exit(code) => Some(*code),
        EndCause::Signal(signal) => Some(SIGNALLED + *signal),
        EndCause::OutOfMemory => Some(SIGNALLED + KILL),
        EndCause::NotStarted(_) => Some(NOT_STARTED),
        EndCause::Watchdog | EndCause::TimedOut | EndCause::Unseen | EndCause::Untold => None,
    }
}
