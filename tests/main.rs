//! The one test binary; one module per subject.

mod tidy;
mod vectors;
