//! What runs services on this machine, each behind the same port.

pub mod children;
pub mod docker;
mod kernel_log;
pub mod launchd;
pub mod process;
pub mod processes;
pub mod questions;
mod retry;
pub mod systemd;
mod thread;
pub mod wishes;
