//! libgit2's process-wide settings. Only the network worker makes them, once, before it does anything else.

use git2::ConfigLevel;
use git2::transport::{SmartSubtransport, Transport};

/// The scheme of our transports.
const SCHEME: &str = "mesh-transport";
/// The address that libgit2 is given for every remote. It never sees the real one, nor the credentials: the transport
/// behind this scheme knows them.
pub(super) const URL: &str = "mesh-transport://remote";

/// Cuts libgit2 off from every configuration but the cache's own: no `insteadOf`, no proxy, no templates of anybody.
/// Owners are not compared, for libgit2 runs no program that a repository names, and a remote on this machine may
/// well belong to a git user.
#[expect(unsafe_code, reason = "libgit2's options are global, and only these functions set them")]
pub(super) fn isolate() -> Result<(), git2::Error> {
    git2::opts::strict_object_creation(true);
    git2::opts::strict_hash_verification(true);
    let levels = [ConfigLevel::ProgramData, ConfigLevel::System, ConfigLevel::XDG, ConfigLevel::Global];
    for level in levels {
        // SAFETY: the worker has one thread here and has not used libgit2 yet.
        unsafe { git2::opts::set_search_path(level, "")? };
    }
    // SAFETY: as above.
    unsafe { git2::opts::set_verify_owner_validation(false) }
}

/// Makes `transport` the one behind [`URL`]; `stateless` means one request per step, as in HTTP.
#[expect(unsafe_code, reason = "libgit2's list of transports is global")]
pub(super) fn register<T: SmartSubtransport + Clone + Sync>(transport: T, stateless: bool) -> Result<(), git2::Error> {
    // SAFETY: the worker has one thread that uses libgit2, and it makes no other transport before this returns.
    unsafe { git2::transport::register(SCHEME, move |remote| Transport::smart(remote, stateless, transport.clone())) }
}
