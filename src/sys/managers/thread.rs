//! A manager that works in a thread of its own: what it is asked, and how it tells.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::pin::pin;
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::domain::id::ServiceName;
use crate::domain::service::{Observation, Verb};
use crate::ports::manager::{Manager, Target, Teller, Told};

/// What the agent wants, as in [`crate::ports::manager::Manager`].
pub(super) enum Order {
    Watch(Vec<Target>),
    Look(ServiceName),
    Act(ServiceName, Verb),
}

/// The way to the thread; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Orders(UnboundedSender<Order>);

impl Orders {
    /// Starts the thread, in which `serve` runs alone.
    pub(super) fn start<F: Future<Output = ()>>(
        name: &str,
        serve: impl FnOnce(UnboundedReceiver<Order>) -> F + Send + 'static,
    ) -> std::io::Result<Self> {
        let (orders, taken) = unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name(name.to_owned()).spawn(move || runtime.block_on(serve(taken)))?;
        Ok(Self(orders))
    }

    fn give(&self, order: Order) {
        // The thread ends before this only by a fault, which its own message tells of.
        drop(self.0.send(order));
    }
}

/// A manager that does nothing but pass on to its thread what it is asked.
pub(super) trait Threaded {
    /// The way to that thread.
    fn orders(&self) -> &Orders;
}

impl<T: Threaded + Send> Manager for T {
    fn watch(&mut self, targets: &[Target]) {
        self.orders().give(Order::Watch(targets.to_vec()));
    }

    fn look(&mut self, service: &ServiceName) {
        self.orders().give(Order::Look(service.clone()));
    }

    fn act(&mut self, service: &ServiceName, verb: Verb) {
        self.orders().give(Order::Act(service.clone(), verb));
    }
}

/// Waits so long, while orders that cannot be followed go to `put_off`. Breaks off once nobody can give any more.
pub(super) async fn wait_out(
    time: Duration,
    orders: &mut UnboundedReceiver<Order>,
    mut put_off: impl FnMut(Order),
) -> ControlFlow<()> {
    let mut wait = pin!(tokio::time::sleep(time));
    loop {
        tokio::select! {
            () = &mut wait => return ControlFlow::Continue(()),
            order = orders.recv() => match order {
                None => return ControlFlow::Break(()),
                Some(order) => put_off(order),
            }
        }
    }
}

/// Tells what is seen, but nothing twice.
pub(super) struct Voice {
    teller: Teller,
    told: HashMap<ServiceName, Observation>,
}

impl Voice {
    pub(super) fn new(teller: Teller) -> Self {
        Self { teller, told: HashMap::new() }
    }

    /// Tells unless the same was told last.
    pub(super) fn tell(&mut self, seen: Observation) {
        if self.told.get(&seen.service) != Some(&seen) {
            self.told.insert(seen.service.clone(), seen.clone());
            self.teller.tell(Told::Seen(seen));
        }
    }

    /// Whatever is seen of this one next is told, new or not.
    pub(super) fn forget(&mut self, service: &ServiceName) {
        self.told.remove(service);
    }

    /// Tells that nothing can be seen of these.
    pub(super) fn unknown<'a>(&mut self, services: impl IntoIterator<Item = &'a ServiceName>, why: &str) {
        for service in services {
            self.tell(Observation::unknown(service.clone(), why.to_owned()));
        }
    }

    pub(super) fn reloaded(&self, service: ServiceName) {
        self.teller.tell(Told::Reloaded(service));
    }

    pub(super) fn trouble(&self, what: String) {
        self.teller.tell(Told::Trouble(what));
    }

    pub(super) fn refuse(&self, service: ServiceName, verb: Verb, why: String) {
        self.teller.tell(Told::Refused { service, verb, why });
    }
}
