//! Helpers that several test modules share.

pub(crate) mod project;
//! Real parts for tests: servers, repositories, hostile bytes.

pub mod git_servers;
pub mod hostile_git;
