//! Services that systemd runs, seen and asked over D-Bus.
//!
//! Changes arrive as signals; nothing is polled. systemd writes down how a service ended only until it starts it again,
//! so every change is looked at in the order in which it was said, and the last end is kept here.

mod bus;
mod own_stops;
mod unit;
mod watch;

use std::path::Path;

use self::own_stops::OwnStops;
use crate::ports::manager::Teller;
use crate::sys::managers::thread::{Orders, Threaded};

/// systemd as a manager. It works with any version from 240 on; tested with 252.
#[derive(Debug)]
pub struct Systemd {
    orders: Orders,
}

impl Systemd {
    /// The systemd of this machine. It need not be there: then every service is unknown, with the reason.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(teller: Teller) -> std::io::Result<Self> {
        Self::at(bus::SYSTEM_BUS, teller)
    }

    /// The systemd that answers on the bus at this D-Bus address.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn at(address: &str, teller: Teller) -> std::io::Result<Self> {
        Self::serve(address, OwnStops::default(), teller)
    }

    /// The systemd of this machine; what mesh itself asks to stop is written down in the folder `asked`.
    ///
    /// # Errors
    /// The folder cannot be made, or no thread can be started.
    pub fn remembering(asked: &Path, teller: Teller) -> std::io::Result<Self> {
        Self::serve(bus::SYSTEM_BUS, OwnStops::at(asked.to_owned())?, teller)
    }

    fn serve(address: &str, own: OwnStops, teller: Teller) -> std::io::Result<Self> {
        let address = address.to_owned();
        Ok(Self { orders: Orders::start("systemd", |orders| watch::serve(address, own, orders, teller))? })
    }
}

impl Threaded for Systemd {
    fn orders(&self) -> &Orders {
        &self.orders
    }
}
