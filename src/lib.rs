//! `mesh` turns one fix on one host into a signed lesson, and every host that verifies the lesson
//! audits its own code for the same mistake and seeds the same fix.
//!
//! The floors, from the top; arrows point down only (`tests/tidy.rs` holds them to it).

/// Builds the real parts and owns the order of their start and end.
pub mod agent;
/// Words for people, one file per command.
pub mod cli;
/// What mesh decides.
pub mod domain;
/// The lessons that ship with mesh.
pub mod founding;
/// Shows the published state to programs and people.
pub mod http;
/// Waits, calls `domain`, performs what it asks.
pub mod loops;
/// What loops need of the world.
pub mod ports;
/// Reads and rewrites source text.
pub mod scan;
/// Remembers: database, spool folders, keys and config files.
pub mod store;
/// Touches the machine: processes, git, network, clock.
pub mod sys;
