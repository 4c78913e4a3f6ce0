//! The one test binary; one module per subject.

mod audit_worker;
mod exec;
mod learn;
mod scan;
mod seeding;
mod support;
mod tidy;
mod transports;
