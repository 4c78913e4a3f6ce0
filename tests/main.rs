//! The one test binary; one module per subject.

mod apply;
mod audit_cli;
mod audit_worker;
mod bad_input;
mod crash;
mod documents;
mod exchange;
mod exec;
mod foreign_programs;
mod founding;
mod hostile_servers;
mod own_chain;
mod properties;
mod protocol_example;
mod scan;
mod scan_filter;
mod seeding;
mod support;
mod tidy;
mod transports;
mod vectors;
