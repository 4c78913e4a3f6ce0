//! Helpers that several test modules share.

pub(crate) mod hostile;
pub(crate) mod lessons;
pub(crate) mod project;
