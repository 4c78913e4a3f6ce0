//! Rules that repair: what triggers them, what they may do, and how far each repair is. Nothing here touches the
//! machine.

pub mod action;
pub mod breaker;
pub mod condition;
pub mod drill;
pub mod engine;
pub mod incident;
pub mod invariant;
pub mod replay;
pub mod rule;
pub mod target;
