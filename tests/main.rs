//! The one test binary; one module per subject.

mod audit_cli;
mod audit_worker;
mod exec;
mod scan;
mod scan_filter;
mod seeding;
mod support;
mod tidy;
mod transports;
