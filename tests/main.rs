//! The one test binary; one module per subject.

mod agent;
mod apply;
mod attestations;
mod audit_cli;
mod audit_worker;
mod bad_input;
mod crash;
mod demo;
mod documents;
mod exchange;
mod exec;
mod foreign_programs;
mod founding;
mod guarded;
mod hostile_servers;
mod learn;
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
