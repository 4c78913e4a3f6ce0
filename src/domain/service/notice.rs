//! What is told to people about a service, and whom it wakes.

use std::fmt;
use std::time::Duration;

use super::{EndCause, Verb};
use crate::domain::foreign_text::display_line;
use crate::domain::lesson::span_words;

/// Something that happened to a service.
#[derive(Clone, PartialEq, Debug)]
pub enum Notice {
    /// It was asked to start, and why.
    Starting(Why),
    /// It ran before mesh came, and mesh sees to it from now on.
    Adopted,
    /// It is ready.
    Ready,
    /// It ended by itself, and how.
    Ended(EndCause),
    /// It was asked to end, and why.
    Stopping(Why),
    /// It did not end in time, so all of it is killed.
    Killing {
        /// How long was waited.
        waited: Duration,
    },
    /// It was asked to read its configuration again.
    Reloading,
    /// It ended as it was asked to.
    Stopped {
        /// How long it took.
        took: Duration,
        /// How it ended, where its manager says so.
        cause: Option<EndCause>,
    },
    /// A person stopped it, and so it stays.
    StoppedByOperator,
    /// A person, or something else than mesh, started it.
    StartedElsewhere,
    /// It ends too often. It is left alone for a while.
    GivenUp {
        /// Restarts within the window.
        restarts: u32,
        /// The window.
        window: Duration,
        /// When it is tried again.
        retry: Duration,
    },
    /// Its manager restarts it too often.
    Flapping {
        /// Restarts within the window.
        restarts: u32,
        /// The window.
        window: Duration,
    },
    /// It runs steadily again after it was given up or flapped.
    Recovered,
    /// Its program was replaced on disk: it runs one that is no longer there.
    Replaced,
    /// Its manager runs it by a definition that has changed since.
    NeedsReload,
    /// Its manager refused.
    Refused {
        /// What was asked.
        verb: Verb,
        /// Why. Foreign text.
        why: String,
    },
}

/// Why a service is started or stopped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Why {
    /// It is to run and does not.
    Wanted,
    /// It ended.
    Ended,
    /// It was given up some time ago and is tried again.
    Retry,
    /// It runs and does not answer. Foreign text.
    Hung(String),
    /// It did not become ready in time.
    NotReady,
    /// Its source files changed after it started.
    Stale,
    /// It passed its memory limit.
    Memory,
    /// A person said so.
    Operator,
    /// A rule asked for it.
    Rule,
}

impl fmt::Display for Why {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wanted => out.write_str("it is to run"),
            Self::Ended => out.write_str("it ended"),
            Self::Retry => out.write_str("a new try after it was given up"),
            Self::Hung(why) => write!(out, "it hangs: {}", display_line(why)),
            Self::NotReady => out.write_str("it did not become ready in time"),
            Self::Stale => out.write_str("its source files are newer than it"),
            Self::Memory => out.write_str("it passed its memory limit"),
            Self::Operator => out.write_str("a person said so"),
            Self::Rule => out.write_str("a rule asked for it"),
        }
    }
}

impl Notice {
    /// Whether a person must see it: nothing else will help.
    #[must_use]
    pub const fn needs_person(&self) -> bool {
        matches!(self, Self::GivenUp { .. } | Self::Flapping { .. })
    }

    /// The word for it, by which it is counted and searched.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Starting(_) => "starting",
            Self::Adopted => "adopted",
            Self::Ready => "ready",
            Self::Ended(_) => "ended",
            Self::Stopping(_) => "stopping",
            Self::Killing { .. } => "killing",
            Self::Reloading => "reloading",
            Self::Stopped { .. } => "stopped",
            Self::StoppedByOperator => "stopped_by_operator",
            Self::StartedElsewhere => "started_elsewhere",
            Self::GivenUp { .. } => "given_up",
            Self::Flapping { .. } => "flapping",
            Self::Recovered => "recovered",
            Self::Replaced => "replaced",
            Self::NeedsReload => "needs_reload",
            Self::Refused { .. } => "refused",
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting(why) => write!(out, "started: {why}"),
            Self::Adopted => out.write_str("runs already: taken over as it is"),
            Self::Ready => out.write_str("ready"),
            Self::Ended(cause) => write!(out, "{cause}"),
            Self::Stopping(why) => write!(out, "asked to end: {why}"),
            Self::Killing { waited } => write!(out, "killed with its group: it did not end in {} s", waited.as_secs()),
            Self::Reloading => out.write_str("asked to read its configuration again: a rule asked for it"),
            Self::Stopped { took, cause: None } => write!(out, "ended {} ms after it was asked to", took.as_millis()),
            Self::Stopped { took, cause: Some(cause) } => {
                write!(out, "{cause}, {} ms after it was asked to end", took.as_millis())
            }
            Self::StoppedByOperator => out.write_str("stopped by a person, and left so"),
            Self::StartedElsewhere => out.write_str("started by somebody else"),
            Self::GivenUp { restarts, window, retry } => write!(
                out,
                "given up: {restarts} restarts within {}; tried again in {}",
                span_words(*window),
                span_words(*retry)
            ),
            Self::Flapping { restarts, window } => {
                write!(out, "its manager restarted it {restarts} times within {}", span_words(*window))
            }
            Self::Recovered => out.write_str("runs steadily again"),
            Self::Replaced => out.write_str("its program was replaced on disk: restart it when it suits you"),
            Self::NeedsReload => out.write_str("its definition changed on disk: the running one is older"),
            Self::Refused { verb, why } => write!(out, "{verb} refused: {}", display_line(why)),
        }
    }
}
