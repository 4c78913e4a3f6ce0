//! Services: what is seen of one, and what is done about it.

mod heartbeat;
mod life;
mod notice;
mod order;
mod policy;
mod seen;
mod wanted;

pub use heartbeat::{Beat, Pulse};
pub use life::{Counts, Effect, Event, Life, Now, Phase, Reload, Sign, UNKNOWN, step};
pub use notice::{Notice, Why};
pub use order::{Order, Progress};
pub use policy::{Criticality, GRACE_MOST, Policy, ReadyBy};
pub use seen::{End, EndCause, Health, Observation, Process, Run, Verb};
pub use wanted::{Ask, Child, Heartbeat, LivenessProbe, ManagerKind, Plain, ReloadSignal};

#[cfg(test)]
mod tests;
