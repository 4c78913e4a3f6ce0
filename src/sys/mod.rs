//! The real adapters of the ports. Everything that touches the machine is below here.

pub mod cache;
pub mod clock;
pub mod remote;
