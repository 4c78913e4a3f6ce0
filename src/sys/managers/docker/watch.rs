//! Follows containers by the engine's events, and does what is asked meanwhile.

use std::collections::BTreeMap;
use std::path::PathBuf;

use hyper::{Method, StatusCode};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::container::{Container, Event, Inspected};
use super::engine::{ANSWER, Engine, EngineError, Events, escaped};
use super::orders::{self, Done, Orders};
use crate::domain::id::ServiceName;
use crate::domain::service::{Observation, Verb};
use crate::ports::manager::{Target, Teller};
use crate::sys::managers::retry;
use crate::sys::managers::thread::{self, Order, Voice};

/// Serves until nobody can give orders any more.
pub(super) async fn serve(socket: PathBuf, mut orders: UnboundedReceiver<Order>, teller: Teller) {
    let (late, mut done) = unbounded_channel();
    let voice = Voice::new(teller);
    let mut watch =
        Watch { engine: Engine { socket }, containers: BTreeMap::new(), orders: BTreeMap::new(), voice, late };
    let mut pause = retry::Pause::default();
    loop {
        // Nothing is asked of an engine that nobody wants to hear of.
        while watch.containers.is_empty() {
            match orders.recv().await {
                None => return,
                Some(Order::Watch(targets)) => watch.follow(targets),
                Some(order) => watch.put_off(order, "no container is watched"),
            }
        }
        let why = match watch.run(&mut orders, &mut done, &mut pause).await {
            Ok(End::Over) => return,
            Ok(End::Others) => continue,
            Err(error) => error.to_string(),
        };
        watch.voice.unknown(watch.containers.keys(), &why);
        if thread::wait_out(pause.next(), &mut orders, |order| watch.put_off(order, &why)).await.is_break() {
            return;
        }
    }
}

/// Why following ended without a fault.
enum End {
    /// Nobody listens any more.
    Over,
    /// Other containers are to be followed.
    Others,
}

/// What is followed.
struct Watch {
    engine: Engine,
    containers: BTreeMap<ServiceName, Container>,
    /// By service, from the first order on.
    orders: BTreeMap<ServiceName, Orders>,
    voice: Voice,
    late: UnboundedSender<Done>,
}

impl Watch {
    async fn run(
        &mut self,
        orders: &mut UnboundedReceiver<Order>,
        done: &mut UnboundedReceiver<Done>,
        pause: &mut retry::Pause,
    ) -> Result<End, EngineError> {
        // The events first and the first look after, so that nothing falls between.
        let mut events = self.events().await?;
        for service in self.containers.keys().cloned().collect::<Vec<_>>() {
            self.look(&service).await?;
        }
        *pause = retry::Pause::default();
        loop {
            tokio::select! {
                line = events.next() => self.hear(&line?).await?,
                done = done.recv() => {
                    if let Some((service, verb, result)) = done {
                        if let Err(why) = result {
                            self.not_done(&service, verb, why);
                        }
                        self.look_again(&service).await?;
                    }
                }
                order = orders.recv() => match order {
                    None => return Ok(End::Over),
                    Some(Order::Watch(targets)) => {
                        self.follow(targets);
                        return Ok(End::Others);
                    }
                    Some(Order::Look(service)) => self.look_again(&service).await?,
                    Some(Order::Act(service, verb)) => self.act(service, verb),
                }
            }
        }
    }

    async fn events(&self) -> Result<Events, EngineError> {
        let names: Vec<_> = self.containers.values().map(|container| &container.target.unit).collect();
        let filters = serde_json::json!({ "type": ["container"], "container": names });
        self.engine.events(&format!("/events?filters={}", escaped(&filters.to_string()))).await
    }

    fn follow(&mut self, targets: Vec<Target>) {
        let mut before = std::mem::take(&mut self.containers);
        for target in targets {
            let kept = before.remove(&target.service).filter(|container| container.target == target);
            let service = target.service.clone();
            let container = kept.unwrap_or_else(|| {
                self.orders.remove(&service);
                Container::new(target)
            });
            self.containers.insert(service, container);
        }
        for service in before.keys() {
            self.voice.forget(service);
            self.orders.remove(service);
        }
    }

    async fn hear(&mut self, line: &[u8]) -> Result<(), EngineError> {
        // A line that is not understood is about something that we do not know of.
        let Ok(event) = serde_json::from_slice::<Event>(line) else { return Ok(()) };
        let about = |container: &&mut Container| event.is_of(&container.target.unit);
        let mut touched = Vec::new();
        for container in self.containers.values_mut().filter(about) {
            container.hear(&event);
            touched.push(container.target.service.clone());
        }
        // Checks and shells inside a container are events as well, many of them.
        if !event.action.starts_with("exec_") {
            for service in touched {
                self.look(&service).await?;
            }
        }
        Ok(())
    }

    /// A fresh look that is told of also when it shows nothing new.
    async fn look_again(&mut self, service: &ServiceName) -> Result<(), EngineError> {
        self.voice.forget(service);
        self.look(service).await
    }

    async fn look(&mut self, service: &ServiceName) -> Result<(), EngineError> {
        let Some(container) = self.containers.get_mut(service) else { return Ok(()) };
        let path = format!("/containers/{}/json", escaped(&container.target.unit));
        let seen = match self.engine.ask(Method::GET, &path, ANSWER).await {
            Ok(body) => match serde_json::from_slice::<Inspected>(&body) {
                Ok(said) => container.observe(&said),
                Err(error) => Observation::unknown(service.clone(), format!("the engine's words are new: {error}")),
            },
            Err(EngineError::Said { status: StatusCode::NOT_FOUND, .. }) => container.missing(),
            Err(EngineError::Said { text, .. }) => Observation::unknown(service.clone(), text),
            Err(lost) => return Err(lost),
        };
        self.voice.tell(seen);
        Ok(())
    }

    fn act(&mut self, service: ServiceName, verb: Verb) {
        let Some(container) = self.containers.get_mut(&service) else {
            return self.voice.refuse(service, verb, "it is not among the containers that are watched".to_owned());
        };
        let Some(word) = orders::word(verb) else {
            let why = "a container has no way to read its configuration again that its engine knows of";
            return self.voice.refuse(service, verb, why.to_owned());
        };
        // One that is down was stopped by whoever stopped it before.
        container.stopped_by_us |= verb != Verb::Start && container.is_running;
        let unit = container.target.unit.clone();
        let orders = self.orders.entry(service.clone());
        orders.or_insert_with(|| Orders::of(self.engine.clone(), service, unit, self.late.clone())).give(verb, word);
    }

    fn not_done(&mut self, service: &ServiceName, verb: Verb, why: String) {
        if let Some(container) = self.containers.get_mut(service) {
            container.stopped_by_us = false;
        }
        self.voice.refuse(service.clone(), verb, why);
    }

    /// Takes an order that cannot be followed now.
    fn put_off(&mut self, order: Order, why: &str) {
        match order {
            Order::Watch(targets) => {
                self.follow(targets);
                self.voice.unknown(self.containers.keys(), why);
            }
            Order::Look(service) => {
                if self.containers.contains_key(&service) {
                    self.voice.forget(&service);
                    self.voice.unknown([&service], why);
                }
            }
            Order::Act(service, verb) => self.voice.refuse(service, verb, why.to_owned()),
        }
    }
}
