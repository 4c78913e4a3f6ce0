//! The real adapters of the ports. Everything that touches the machine is below here.

pub mod apply;
pub mod auditor;
pub mod cache;
pub mod changes;
pub mod clock;
pub mod couriers;
mod disk;
pub mod exec;
pub mod heal;
pub mod host;
pub mod inventory;
pub mod managers;
pub mod memory;
pub mod model;
pub mod probes;
pub mod ready;
pub mod remote;
pub mod repo;
pub mod strain;
pub mod tree;
mod trial;
pub mod user;
mod web;
