//! Reads and rewrites source text: text in, findings and edits out; no file and no process.
//!
//! A lesson is compiled once (`Engine::compile`); a file passes the scope (`Engine::interest`), the
//! literal filter (`Engine::candidates`) and one walk over its syntax tree (`Engine::scan`). `mend`
//! makes a fix and guards it; `prove` runs a lesson's own examples and the stress files.

mod compile;
mod config;
mod engine;
mod error;
mod expand;
mod filter;
mod guards;
mod hit;
mod imports;
mod lang;
pub mod learn;
mod line_rule;
mod mend;
mod named;
mod needs;
mod parse;
mod place;
mod prove;
mod scope;
mod stress;
mod suppress;
mod syntax;

pub use engine::{Candidates, Deadline, Engine, FileReport, Interest};
pub use error::{CompileError, FileRefusal, MendRefusal, ProofError};
pub use mend::mend;
pub use prove::prove;
