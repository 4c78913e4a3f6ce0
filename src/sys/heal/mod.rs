//! Looks at the targets of rules, and takes the actions of the catalogue.

mod certificate;
mod eyes;
mod files;
mod hands;
mod lines;
mod process;
pub mod throwaway;

pub use eyes::SystemEyes;
pub use hands::SystemHands;
pub use process::uptime_s;
