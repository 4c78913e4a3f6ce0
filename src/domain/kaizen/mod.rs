//! What happens over hours and days: what is proposed by itself, what became of it, and what is learned from that.
//! Nothing here acts; what is proposed goes before the guard like every other change.

pub mod budget;
pub mod calibration;
pub mod circuit_breaker;
pub mod correlation;
pub mod diagnosis;
pub mod distill;
pub mod facts;
pub mod heuristics;
pub mod offer;
pub mod prediction;
pub mod proposal;
pub mod question;
pub mod review;
