//! What a manager sees of a service, and what it can be asked to do.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::foreign_text::display_line;
use crate::domain::id::ServiceName;

/// One process, told from a later one with the same pid by its start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Process {
    /// The pid.
    pub pid: u32,
    /// Clock ticks from the machine's boot to its start: field 22 of `/proc/PID/stat`; 0 where that cannot be read.
    pub start_ticks: u64,
}

impl Process {
    /// Whether it can be this one. A manager that tells of an end may no longer know when the process started.
    #[must_use]
    pub const fn may_be(self, other: Self) -> bool {
        let is_known = self.start_ticks != 0 && other.start_ticks != 0;
        self.pid == other.pid && (!is_known || self.start_ticks == other.start_ticks)
    }
}

/// Whether a service runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Run {
    /// It does not run.
    Down,
    /// Its manager is starting it and does not call it ready yet.
    Starting,
    /// It runs.
    Up,
    /// Its manager is stopping it.
    Stopping,
    /// That cannot be seen now, and why. Nothing is done about a service on such grounds.
    Unknown(String),
}

/// How a service came to its end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndCause {
    /// It exited with this code.
    Exit(i32),
    /// This signal ended it.
    Signal(i32),
    /// The kernel killed it for want of memory, or it was killed for passing its memory limit.
    OutOfMemory,
    /// It did not show within its time that it lives.
    Watchdog,
    /// It did not become ready, or did not stop, within its manager's time.
    TimedOut,
    /// It could not be started at all, and why. Foreign text: show it sanitised.
    NotStarted(String),
    /// It ended while nobody looked, or its manager does not say how.
    Unseen,
    /// Its end was seen; how it came is told to its parent alone, which mesh is not.
    Untold,
}

impl fmt::Display for EndCause {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(code) => write!(out, "exited with {code}"),
            Self::Signal(signal) => write!(out, "ended by signal {signal}"),
            Self::OutOfMemory => out.write_str("killed for want of memory"),
            Self::Watchdog => out.write_str("hung: it did not show that it lives"),
            Self::TimedOut => out.write_str("too slow to start or stop"),
            Self::NotStarted(why) => write!(out, "not started: {}", display_line(why)),
            Self::Unseen => out.write_str("ended while nobody looked"),
            Self::Untold => out.write_str("ended; only its parent is told how"),
        }
    }
}

/// The last end of a service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct End {
    /// The process that ended, where it is known: two ends are the same one when all of this is equal.
    pub process: Option<Process>,
    /// How.
    pub cause: EndCause,
    /// When, where the manager says so.
    pub at: Option<Timestamp>,
}

/// What the manager itself says of a running service's health, such as a container's health check.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Health {
    /// It is well.
    Alive,
    /// It is not, and why. Foreign text: show it sanitised.
    Dead(String),
}

/// What is seen of a service at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Observation {
    /// The service.
    pub service: ServiceName,
    /// Whether it runs.
    pub run: Run,
    /// Its main process, while it has one.
    pub process: Option<Process>,
    /// When that process started.
    pub since: Option<Timestamp>,
    /// How it last ended. A manager that keeps this reports it again and again, unchanged.
    pub end: Option<End>,
    /// The manager's own count of restarts, raw: it may fall back to 0 at any time.
    pub restarts: Option<u64>,
    /// Whether the manager runs it by a definition that has since changed on disk.
    pub needs_reload: bool,
    /// Whether it is down because a person stopped it. `false` where the manager cannot tell.
    pub stopped_by_operator: bool,
    /// What the manager itself knows of its health; `None` where it does not look.
    pub health: Option<Health>,
}

impl Observation {
    /// Nothing but whether it runs.
    #[must_use]
    pub const fn of(service: ServiceName, run: Run) -> Self {
        Self {
            service,
            run,
            process: None,
            since: None,
            end: None,
            restarts: None,
            needs_reload: false,
            stopped_by_operator: false,
            health: None,
        }
    }

    /// It cannot be seen, and why.
    #[must_use]
    pub const fn unknown(service: ServiceName, why: String) -> Self {
        Self::of(service, Run::Unknown(why))
    }
}

/// What a manager can be asked to do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Have it run. Nothing happens to one that runs already.
    Start,
    /// Ask it to end (TERM), in the manager's own way.
    Stop,
    /// End it and all of its processes at once (KILL).
    Kill,
    /// Have the running service read its configuration again. It goes on as the same process.
    Reload,
}

impl fmt::Display for Verb {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Kill => "kill",
            Self::Reload => "reload",
        })
    }
}
