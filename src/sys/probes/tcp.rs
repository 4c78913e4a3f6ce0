//! A port: whether something listens, and how long it takes to answer.

use std::io::ErrorKind;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::reading;
use crate::domain::signal::Subject;
use crate::ports::{Probe, Reading};

/// Connects and hangs up.
pub struct TcpProbe {
    name: Subject,
    address: String,
    timeout: Duration,
}

impl TcpProbe {
    /// Asks `address`, which is `host:port`.
    #[must_use]
    pub fn new(name: Subject, address: String, timeout: Duration) -> Self {
        Self { name, address, timeout }
    }

    fn connect(&self) -> Result<Option<Duration>, String> {
        let mut addresses = self.address.to_socket_addrs().map_err(|error| format!("{}: {error}", self.address))?;
        let address = addresses.next().ok_or_else(|| format!("{} has no address", self.address))?;
        let started = Instant::now();
        match TcpStream::connect_timeout(&address, self.timeout) {
            Ok(_) => Ok(Some(started.elapsed())),
            // The host is there and says that nobody listens.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(None),
            Err(error) => Err(format!("{}: {error}", self.address)),
        }
    }
}

impl Probe for TcpProbe {
    fn read(&mut self) -> Vec<Reading> {
        let both =
            |open, latency| vec![reading("tcp.open", &self.name, open), reading("tcp.latency_ms", &self.name, latency)];
        match self.connect() {
            Ok(Some(took)) => both(Ok(1.0), Ok(took.as_secs_f64() * 1e3)),
            Ok(None) => both(Ok(0.0), Err("nobody listens".to_owned())),
            Err(why) => both(Err(why.clone()), Err(why)),
        }
    }
}
