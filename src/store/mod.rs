//! What mesh remembers: the database, the spool folders, the key and config files.

pub mod config;
pub mod db;
pub mod files;
pub mod home;
pub mod keyring;
