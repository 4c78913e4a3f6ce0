//! The one test binary; one module per subject.

mod audit_worker;
mod exec;
mod seeding;
mod support;
mod tidy;
