//! The git server. Whatever touches the network does so in a short-lived, limited process of this very program.
//!
//! `GitRemote` starts it and reads one line back. Inside it, libgit2 speaks git over one of our own transports
//! (`http`, `ssh`, `daemon`); a repository on this machine is updated by compare-and-swap.

mod address;
mod child;
mod copy;
mod daemon;
mod hosts;
mod http;
mod local;
mod one_pack;
/// What a git server says around a push.
pub mod packets;
mod packs;
mod publish;
mod push;
mod receive;
mod request;
mod session;
mod setup;
mod ssh;
mod token;
mod traffic;
/// What the network worker does.
pub mod worker;

pub use address::Address;
pub use child::GitRemote;
pub use request::{Limits, RemoteConfig, TokenSource};
