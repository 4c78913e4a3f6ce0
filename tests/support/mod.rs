//! Real parts for tests: servers, repositories, hostile bytes.

pub mod git_servers;
pub mod hostile_git;
