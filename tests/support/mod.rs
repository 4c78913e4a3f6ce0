//! Real parts for tests: servers, repositories, hostile bytes.

pub(crate) mod git_servers;
pub(crate) mod hostile_git;
