//! The one test binary; one module per subject.

mod audit_cli;
mod audit_worker;
mod crash;
mod documents;
mod exec;
mod foreign_programs;
mod founding;
mod hostile_servers;
mod protocol_example;
mod scan;
mod scan_filter;
mod seeding;
mod support;
mod tidy;
mod transports;
mod vectors;
