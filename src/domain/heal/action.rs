//! What a rule may do: a closed catalogue. Each action says whether it can be undone, and how.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::rule::span;

/// Which of the services around a target an action is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum On {
    /// The target, or the service that uses it.
    #[default]
    Target,
    /// The service that must be up first.
    Parent,
    /// The first of the services that share the target.
    First,
    /// All of them but the first, one after the other.
    Rest,
}

impl On {
    const fn of(self) -> &'static str {
        match self {
            Self::Target => "",
            Self::Parent => " parent of",
            Self::First => " first service of",
            Self::Rest => " other services of",
        }
    }
}

/// A signal that a rule may send to the process of a service.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum StopSignal {
    /// Open your files again.
    Hup,
    /// What the program says it does on it.
    Usr1,
    /// End.
    Term,
    /// Go on.
    Cont,
}

impl StopSignal {
    const fn name(self) -> &'static str {
        match self {
            Self::Hup => "HUP",
            Self::Usr1 => "USR1",
            Self::Term => "TERM",
            Self::Cont => "CONT",
        }
    }
}

/// One thing that a rule does. What it needs beside this stands in the target.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Action {
    /// Starts a service that is not up; nothing when it is.
    Start {
        /// Which one.
        #[serde(default)]
        on: On,
    },
    /// TERM, the service's grace, KILL, start.
    Restart {
        /// Which one.
        #[serde(default)]
        on: On,
    },
    /// Lets the service read its configuration again.
    Reload {
        /// Which one.
        #[serde(default)]
        on: On,
    },
    /// Forgets that the service failed too often.
    ResetFailed {
        /// Which one.
        #[serde(default)]
        on: On,
    },
    /// Lets nobody start the service again by itself, until a rule or a person does.
    StopRetrying {
        /// Which one.
        #[serde(default)]
        on: On,
    },
    /// Sends a signal to the service's process.
    Signal {
        /// Which signal.
        signal: StopSignal,
    },
    /// Renames the target's file aside, if it is still the one that was diagnosed.
    Quarantine,
    /// Renames a log and makes an empty one with the same rights.
    Rotate {
        /// How many old ones are kept.
        keep: u32,
    },
    /// Removes old files in the directories that the target allows.
    Purge,
    /// Lets the journal drop its oldest records.
    VacuumJournal {
        /// How many megabytes stay.
        max_mb: u64,
    },
    /// Makes the declared directory, or gives the declared path its mode.
    MakePath,
    /// Puts the last good copy in place, with the target's checker as judge.
    RestoreGood,
    /// Holds the failing operations back for a while.
    OpenBreaker {
        /// How long.
        #[serde(with = "span")]
        lasts: Duration,
    },
    /// Runs the program that the target declares for it.
    RunDeclared,
    /// Lets no rule restart the target for a while.
    SuspendRules {
        /// How long.
        #[serde(with = "span")]
        lasts: Duration,
    },
    /// Lets the service manager read its unit files again.
    DaemonReload,
    /// Mounts what the system's table says of the target's path.
    Mount,
    /// Finishes what the package manager began.
    ConfigurePackages,
}

/// What leads back from an action.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Undo {
    /// It can be undone in this way.
    By(&'static str),
    /// It cannot, and this is why that is borne.
    Not(&'static str),
}

impl Action {
    /// What leads back from it.
    #[must_use]
    pub const fn undo(&self) -> Undo {
        match self {
            Self::Start { .. } => Undo::Not("a service that was down and wanted is up"),
            Self::Restart { .. } => Undo::Not("what the process held in memory is gone"),
            Self::Reload { .. } => Undo::Not("the configuration that was read is the one on disk"),
            Self::ResetFailed { .. } => Undo::Not("a counter is zero"),
            Self::StopRetrying { .. } => Undo::By("let the manager start it again"),
            Self::Signal { .. } => Undo::Not("what the process does on it is done"),
            Self::Quarantine => Undo::By("rename it back, unless its place is taken"),
            Self::Rotate { .. } => Undo::By("rename it back while the new file is empty"),
            Self::Purge => Undo::Not("only old files in directories that the owner allows are removed"),
            Self::VacuumJournal { .. } => Undo::Not("the oldest records are gone"),
            Self::MakePath => Undo::By("remove the directory while it is empty, or give the mode back"),
            Self::RestoreGood => Undo::By("the captured copy"),
            Self::OpenBreaker { .. } => Undo::By("close it"),
            Self::RunDeclared => Undo::Not("the owner declared that it is safe to run twice"),
            Self::SuspendRules { .. } => Undo::By("let rules act on it again"),
            Self::DaemonReload => Undo::Not("the unit files that were read are the ones on disk"),
            Self::Mount => Undo::Not("the mount is what the system's table asks for"),
            Self::ConfigurePackages => Undo::Not("it ends what somebody began"),
        }
    }

    /// Whether it interrupts work that is under way.
    #[must_use]
    pub const fn interrupts(&self) -> bool {
        matches!(self, Self::Restart { .. } | Self::StopRetrying { .. } | Self::Signal { signal: StopSignal::Term })
    }
}

impl fmt::Display for Action {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start { on } => write!(out, "start{}", on.of()),
            Self::Restart { on } => write!(out, "restart{}", on.of()),
            Self::Reload { on } => write!(out, "reload{}", on.of()),
            Self::ResetFailed { on } => write!(out, "reset-failed{}", on.of()),
            Self::StopRetrying { on } => write!(out, "stop-retrying{}", on.of()),
            Self::Signal { signal } => write!(out, "signal {}", signal.name()),
            Self::Quarantine => out.write_str("quarantine"),
            Self::Rotate { .. } => out.write_str("rotate"),
            Self::Purge => out.write_str("purge"),
            Self::VacuumJournal { max_mb } => write!(out, "vacuum-journal to {max_mb} MB"),
            Self::MakePath => out.write_str("make-path"),
            Self::RestoreGood => out.write_str("restore-good"),
            Self::OpenBreaker { lasts } => write!(out, "open-breaker for {} s", lasts.as_secs()),
            Self::RunDeclared => out.write_str("run-declared"),
            Self::SuspendRules { lasts } => write!(out, "suspend-rules for {} s", lasts.as_secs()),
            Self::DaemonReload => out.write_str("daemon-reload"),
            Self::Mount => out.write_str("mount"),
            Self::ConfigurePackages => out.write_str("configure-packages"),
        }
    }
}

/// How to undo one action that was taken. It is on disk before the action is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "undo", rename_all = "kebab-case")]
pub enum WayBack {
    /// Rename `now` back to `was`.
    Rename {
        /// Where it is now.
        now: String,
        /// Where it was.
        was: String,
        /// Whether an empty file was made in its place.
        emptied: bool,
    },
    /// Remove the empty directory.
    RemoveDirectory {
        /// Which one.
        path: String,
    },
    /// Give the mode back.
    Mode {
        /// Of what.
        path: String,
        /// The permission bits before.
        mode: u32,
    },
    /// Take back the change of a file, by its name in the undo journal.
    Journal {
        /// The name.
        id: String,
    },
    /// Remove the breaker's file.
    CloseBreaker {
        /// Which one.
        path: String,
    },
    /// Let the manager start the service again.
    AllowRetries {
        /// The service.
        service: String,
    },
    /// Let rules act on the target again.
    AllowRules {
        /// The target.
        target: String,
    },
}

/// What became of an action.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Done {
    /// Whether it did what it says; else why not.
    pub result: Result<String, String>,
    /// What leads back.
    pub way_back: Vec<WayBack>,
}

impl Done {
    /// It worked; `what` says what was done, in a few words.
    pub fn well(what: impl Into<String>) -> Self {
        Self { result: Ok(what.into()), way_back: Vec::new() }
    }

    /// It did not.
    pub fn badly(why: impl Into<String>) -> Self {
        Self { result: Err(why.into()), way_back: Vec::new() }
    }

    /// The same with a way back.
    #[must_use]
    pub fn back_by(mut self, way: WayBack) -> Self {
        self.way_back.push(way);
        self
    }
}
