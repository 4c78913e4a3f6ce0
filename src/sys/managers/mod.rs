//! What runs services on this machine, each behind the same port.

pub mod docker;
mod kernel_log;
pub mod launchd;
pub mod process;
mod retry;
pub mod systemd;
mod thread;
