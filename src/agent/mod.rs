//! Builds the real parts and owns the order of their start and end.

pub mod admin;
pub mod audit_worker;
pub mod authoring;
mod canaries;
pub mod check;
mod checks;
pub mod cycle;
pub mod demo;
pub mod doctor;
pub mod drill;
pub mod fleet;
pub mod heal;
pub mod hindsight;
pub mod invariants;
pub mod kaizen;
pub mod learning;
pub mod maintenance;
#[cfg(debug_assertions)]
mod misbehave;
pub mod notifying;
pub mod parts;
pub mod propose;
pub mod reload;
pub mod requests;
pub mod rules;
pub mod service;
pub mod services;
pub mod supervised;
pub mod timing;
pub mod undo;
pub mod watch;
pub mod workshop;
