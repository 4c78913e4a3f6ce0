//! Named points at which a test kills the program, to show that nothing is lost or done twice.

/// The environment variable that names the point. Debug builds only.
pub const VARIABLE: &str = "MESH_CRASH_AT";

/// Dies here by SIGKILL when a test asked for it; in a release build this is nothing.
pub fn point(name: &str) {
    if cfg!(debug_assertions) && std::env::var(VARIABLE).is_ok_and(|wanted| wanted == name) {
        let sent = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        unreachable!("SIGKILL to oneself: {sent:?}");
    }
}
