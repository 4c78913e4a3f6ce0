//! How a command can end, and what is said when it fails.

use std::process::ExitCode;

use crate::domain::foreign_text::error_line;

/// The documented exit codes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExitKind {
    /// 0: done, or nothing to do.
    Ok,
    /// 1: failed, or findings at or above the asked severity.
    Error,
    /// 2: wrong arguments or configuration.
    Usage,
    /// 3: a verification failed.
    Verification,
    /// 4: a peer is quarantined or forked.
    Quarantine,
    /// 5: stale or frozen.
    Stale,
}

impl ExitKind {
    /// The name in `{"error":{"code"}}`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Usage => "usage",
            Self::Verification => "verification",
            Self::Quarantine => "quarantine",
            Self::Stale => "stale",
        }
    }
}

impl From<ExitKind> for ExitCode {
    fn from(kind: ExitKind) -> Self {
        Self::from(kind as u8)
    }
}

/// A failed command: what and where, and what to do next.
#[derive(Debug)]
pub struct CliError {
    /// The exit code.
    pub kind: ExitKind,
    /// What failed, the causes included.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
}

impl CliError {
    /// A failure of `kind`.
    pub fn new(kind: ExitKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None }
    }

    /// The same failure with a next step.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A failure with the chain of causes of `error`, each layer said once.
    pub fn of(kind: ExitKind, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::new(kind, error_line(error))
    }
}

impl<E: std::error::Error + 'static> From<E> for CliError {
    fn from(error: E) -> Self {
        Self::of(ExitKind::Error, &error)
    }
}
