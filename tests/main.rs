//! The one test binary; one module per subject.

mod audit_worker;
mod tidy;
