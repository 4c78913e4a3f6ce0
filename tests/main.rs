//! The one test binary; one module per subject.

mod exec;
mod founding;
mod scan;
mod seeding;
mod support;
mod tidy;
