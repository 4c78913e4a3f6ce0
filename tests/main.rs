//! The one test binary; one module per subject.

mod hostile_servers;
mod support;
mod tidy;
mod transports;
