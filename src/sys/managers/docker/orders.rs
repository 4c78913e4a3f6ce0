//! What is asked of one container, so that it comes to be in the order in which it was asked.

use std::sync::Arc;

use hyper::{Method, StatusCode};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use super::engine::{Engine, EngineError, WORK, escaped};
use crate::domain::id::ServiceName;
use crate::domain::service::Verb;

/// What became of something that was asked: done, or why not.
pub(super) type Done = (ServiceName, Verb, Result<(), String>);

/// The orders for one container. The engine answers each when it is done, which a stop may take long for.
pub(super) struct Orders(UnboundedSender<(Verb, &'static str)>);

struct Asking {
    engine: Engine,
    service: ServiceName,
    unit: String,
    done: UnboundedSender<Done>,
}

impl Orders {
    /// Those for the container that its engine calls `unit`. What became of each goes to `done`.
    pub(super) fn of(engine: Engine, service: ServiceName, unit: String, done: UnboundedSender<Done>) -> Self {
        let (orders, received) = unbounded_channel();
        tokio::spawn(follow(Arc::new(Asking { engine, service, unit, done }), received));
        Self(orders)
    }

    /// Gives one, by the engine's [`word`] for it. A kill waits for no stop, and a start waits for both.
    pub(super) fn give(&self, verb: Verb, word: &'static str) {
        let _whoever_follows_them_ends_after_this = self.0.send((verb, word));
    }
}

/// What the engine calls it; none where it has no such thing.
pub(super) const fn word(verb: Verb) -> Option<&'static str> {
    match verb {
        Verb::Start => Some("start"),
        Verb::Stop => Some("stop"),
        Verb::Kill => Some("kill?signal=KILL"),
        Verb::Reload => None,
    }
}

async fn follow(asking: Arc<Asking>, mut orders: UnboundedReceiver<(Verb, &'static str)>) {
    let mut ends = JoinSet::new();
    while let Some((verb, word)) = orders.recv().await {
        let asked = Arc::clone(&asking).ask(verb, word);
        if verb == Verb::Start {
            // A kill that is on its way would else meet what is started now.
            while ends.join_next().await.is_some() {}
            asked.await;
        } else {
            ends.spawn(asked);
        }
    }
    while ends.join_next().await.is_some() {}
}

impl Asking {
    async fn ask(self: Arc<Self>, verb: Verb, word: &'static str) {
        let path = format!("/containers/{}/{word}", escaped(&self.unit));
        let result = match self.engine.ask(Method::POST, &path, WORK).await {
            Ok(_) => Ok(()),
            // It is not running, and was not to.
            Err(EngineError::Said { status: StatusCode::CONFLICT, .. }) if verb == Verb::Kill => Ok(()),
            Err(error) => Err(error.to_string()),
        };
        // Nobody listens any more when the manager is gone.
        drop(self.done.send((self.service.clone(), verb, result)));
    }
}
