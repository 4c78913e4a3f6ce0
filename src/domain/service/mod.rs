//! Services: what is seen of one, and what is done about it.

mod seen;

pub use seen::{End, EndCause, Health, Observation, Process, Run, Verb};
