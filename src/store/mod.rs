//! What mesh remembers: the database, the spool folders, the key and config files.

pub mod baseline;
pub mod db;
pub mod fixes;
