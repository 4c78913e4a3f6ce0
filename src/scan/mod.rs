//! Reads and rewrites source text: text in, findings and edits out; no file and no process.
//!
//! A lesson is compiled once ([`Engine::compile`]); a file passes the scope ([`Engine::interest`]), the
//! literal filter ([`Engine::candidates`]) and one walk over its syntax tree ([`Engine::scan`]). [`mend`]
//! makes a fix and guards it; [`prove`] runs a lesson's own examples and the stress files.

mod engine;
mod error;
mod mend;
mod prove;

pub use engine::{Candidates, Deadline, Engine, FileReport, Interest};
pub use error::{CompileError, FileRefusal, MendRefusal, ProofError};
pub use mend::mend;
pub use prove::prove;
