//! Services that run as containers, seen and asked over the Docker engine's socket.
//!
//! The engine tells what happens; nothing is polled. Whoever may use the socket is as good as root on this machine, and
//! mesh asks for no more than to look at, start, stop and kill the containers that its configuration names.

mod container;
mod engine;
mod orders;
mod watch;

use std::path::Path;

use crate::ports::manager::Teller;
use crate::sys::managers::thread::{Orders, Threaded};

/// Where the engine listens when nothing else is said.
pub const SOCKET: &str = "/var/run/docker.sock";

/// The Docker engine as a manager. It need not be there: then every container is unknown, with the reason.
#[derive(Debug)]
pub struct Docker {
    orders: Orders,
}

impl Docker {
    /// The engine behind this socket.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn at(socket: &Path, teller: Teller) -> std::io::Result<Self> {
        let socket = socket.to_owned();
        Ok(Self { orders: Orders::start("docker", |orders| watch::serve(socket, orders, teller))? })
    }
}

impl Threaded for Docker {
    fn orders(&self) -> &Orders {
        &self.orders
    }
}
