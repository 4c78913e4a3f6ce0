//! What mesh remembers: the database, the spool folders, the key and config files.

pub mod attestations;
pub mod authored;
mod authored_text;
pub mod baseline;
pub mod config;
pub mod crash;
pub mod db;
pub mod files;
pub mod fixes;
pub mod forks;
pub mod gossip;
pub mod home;
pub mod keyring;
pub mod ledger;
pub mod own_log;
pub mod peer_log;
pub mod proposal;
pub mod rosters;
pub mod rotations;
pub mod samples;
pub mod service_config;
pub mod signal_config;
pub mod spool;
pub mod standing;
pub mod stopped_lessons;
mod toml_line;
pub mod voices;
