//! Each loop waits, calls `domain` and performs what it asks through ports. Loops do not call each other.

pub mod attest;
pub mod audit;
pub mod calibrate;
pub mod consult;
pub mod diagnose;
pub mod distill;
pub mod exchange;
pub mod heal;
pub mod library;
pub mod measure;
pub mod notify;
pub mod propose;
pub mod review;
pub mod seed;
pub mod supervise;
