//! What measures: each probe asks one thing and keeps what it needs to tell a change.

mod certificate;
mod disk;
mod dns;
mod edac;
mod environment;
mod file;
mod host;
mod http;
mod journal;
mod kernel;
mod last_hour;
mod log;
mod mounted;
mod network;
mod ntp;
mod processes;
mod procfs;
mod program;
mod raid;
mod service;
mod smart;
mod tcp;
mod upstream;
mod writer;

use std::path::Path;

pub use certificate::{CertificateFile, TlsProbe};
pub use disk::{Mount, mounts};
pub use dns::DnsProbe;
pub use edac::EdacProbe;
pub use environment::{EnvironmentProbe, USUAL};
pub use file::{Expected, FileProbe, JobProbe, NumberProbe};
pub use host::HostProbe;
pub use http::{HttpClient, HttpProbe, NoAnswer, Page};
pub use journal::{JournalOf, JournalProbe};
pub use kernel::KernelProbe;
pub use log::LogProbe;
pub use mounted::MountedProbe;
pub use network::NetworkProbe;
pub use ntp::NtpProbe;
pub use processes::ProcessesProbe;
pub use program::ProgramProbe;
pub use raid::RaidProbe;
pub use service::{Find, ServiceProbe, Whereabouts, by_pid_file};
pub use smart::SmartProbe;
pub use tcp::TcpProbe;
pub use upstream::UpstreamProbe;

use crate::domain::signal::{SeriesName, Subject};
use crate::ports::Reading;

/// Most bytes that are read of a file in `/proc`.
const PROC_BYTES: u64 = 1024 * 1024;

fn reading(signal: &'static str, subject: &Subject, value: Result<f64, String>) -> Reading {
    Reading { name: SeriesName::of(signal, subject.clone()), value }
}

/// The text of a small file; `None` where there is none.
fn small_file(path: impl AsRef<Path>) -> Option<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path).ok()?.take(PROC_BYTES).read_to_string(&mut text).ok()?;
    Some(text)
}

fn percent(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole * 100.0 } else { 0.0 }
}

fn megabytes(bytes: u64) -> f64 {
    // Fewer than 2^53 bytes are exact, and more are not told apart.
    bytes as f64 / 1e6
}
