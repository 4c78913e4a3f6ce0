//! The one test binary; one module per subject.

mod bad_input;
mod exchange;
mod own_chain;
mod properties;
mod support;
mod tidy;
mod vectors;
