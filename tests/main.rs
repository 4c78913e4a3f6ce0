//! The one test binary; one module per subject.

mod audit_cli;
mod audit_worker;
mod claims;
mod documents;
mod exec;
mod foreign_programs;
mod health;
mod hostile_servers;
mod probes;
mod protocol_example;
mod scan;
mod scan_filter;
mod seeding;
mod support;
mod tidy;
mod transports;
mod vectors;
