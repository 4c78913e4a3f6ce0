//! Real parts for tests: projects, servers, repositories, hosts, hostile bytes.

pub(crate) mod agent;
pub(crate) mod following;
pub(crate) mod git_servers;
pub(crate) mod homes;
pub(crate) mod host;
pub(crate) mod hostile;
pub(crate) mod hostile_git;
pub(crate) mod lessons;
pub(crate) mod memory_branch;
pub(crate) mod model_server;
pub(crate) mod project;
pub(crate) mod recorder;
pub(crate) mod sample;
pub(crate) mod services;
pub(crate) mod tls;
