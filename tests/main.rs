//! The one test binary; one module per subject.

mod support;
mod tidy;
mod transports;
