//! What runs on a host, as far as a stranger can see: units, ports, containers, certificates.

use std::net::SocketAddr;
use std::path::PathBuf;

/// A unit of systemd that is a service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unit {
    /// Its name, such as `nginx.service`.
    pub name: String,
    /// Whether it failed; else it is active.
    pub has_failed: bool,
    /// Its cgroup, from the mount point of cgroups.
    pub cgroup: String,
}

/// A port that somebody listens on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Port {
    /// Where; an address of this host that can be connected to.
    pub address: SocketAddr,
    /// Who, as `pid 7 (name)`, where that can be seen.
    pub owner: Option<String>,
}

/// A container that runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// How it is, in the engine's words.
    pub status: String,
}

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Inventory {
    /// Units by name.
    pub units: Vec<Unit>,
    /// Ports by number.
    pub ports: Vec<Port>,
    /// Containers by name.
    pub containers: Vec<Container>,
    /// Files with certificates of this host's own.
    pub certificates: Vec<PathBuf>,
}
