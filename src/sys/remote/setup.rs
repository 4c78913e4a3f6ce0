//! libgit2's process-wide settings. Only the network worker makes them, once, before it does anything else.

use git2::ConfigLevel;

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
