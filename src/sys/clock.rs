//! The clocks of the machine.

use std::fs;
use std::time::Duration;

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

use crate::domain::running::Moment;
use crate::ports::Clock;

/// The machine's own clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

/// The environment variable that sets all clocks ahead by so many seconds, for tests of windows that nobody can wait for.
/// Debug builds only.
pub const AHEAD: &str = "MESH_CLOCK_AHEAD";

fn ahead() -> Duration {
    let seconds = cfg!(debug_assertions).then(|| std::env::var(AHEAD).ok()?.parse().ok()).flatten();
    Duration::from_secs(seconds.map_or(0, |seconds: u32| seconds.into()))
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now() + ahead()
    }
}

impl SystemClock {
    /// All clocks at once. Without a boot id every boot looks like the last one, which makes time seem to pass more
    /// slowly and never faster.
    #[must_use]
    pub fn moment(&self) -> Moment {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let uptime = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(uptime.tv_sec).unwrap_or(0);
        let nanoseconds = u32::try_from(uptime.tv_nsec).unwrap_or(0);
        Moment { wall: self.now(), boot: boot.trim().to_owned(), uptime: Duration::new(seconds, nanoseconds) + ahead() }
    }
}
