//! Runs a lesson's own examples and the stress files of its languages.

use crate::domain::lesson::Lesson;

use super::engine::Engine;
use super::error::ProofError;

/// Proves a lesson: its examples with and without the literal filter, its fix, and its speed.
///
/// # Errors
/// The first example that does not hold, or the first stress file that takes too long.
pub fn prove(lesson: &Lesson) -> Result<(), ProofError> {
    let (_, refused) = Engine::compile(std::slice::from_ref(lesson));
    refused.into_iter().next().map_or(Ok(()), |(_, cause)| Err(cause.into()))
}
