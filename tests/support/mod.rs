//! What several test subjects share.

pub(crate) mod host;
pub(crate) mod memory_branch;
pub(crate) mod sample;
