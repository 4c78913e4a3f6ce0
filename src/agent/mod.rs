//! Builds the real parts and owns the order of their start and end.

pub mod audit_worker;
