//! Real parts for tests: servers, repositories, hosts, hostile bytes.

pub(crate) mod agent;
pub(crate) mod git_servers;
pub(crate) mod hostile;
pub(crate) mod hostile_git;
pub(crate) mod lessons;
pub(crate) mod project;
