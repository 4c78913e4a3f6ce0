//! What runs services on this machine, each behind the same port.

pub mod process;
