//! `[[notify]]` of the configuration: where notices go. No secret stands in it, only where one is kept.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::config::Span;
use super::files::{self, FileError};
use super::home::Home;
use crate::domain::foreign_text::error_line;
use crate::domain::id::Slug;
use crate::domain::notice::{Policy, QuietHours, Severity};
use crate::ports::{DingTalk, Email, Hook, Ntfy, Secret, Secrets, Undelivered, Way, Webhook};

/// Largest secret, in bytes.
const SECRET_BYTES: u64 = 4 * 1024;

/// `[[notify]]`, as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NotifyFile {
    name: Slug,
    dingtalk: Option<DingTalk>,
    slack: Option<Hook>,
    webhook: Option<Webhook>,
    ntfy: Option<Ntfy>,
    email: Option<Email>,
    command: Option<Vec<String>>,
    file: Option<PathBuf>,
    at_least: Option<Severity>,
    #[serde(default)]
    areas: Vec<String>,
    quiet: Option<QuietHours>,
    per_hour: Option<u32>,
    group: Option<Span>,
    remind: Option<Span>,
}

/// A channel, with every default filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChannelConfig {
    /// Its name.
    pub name: Slug,
    /// The way.
    pub way: Way,
    /// Least severity.
    pub at_least: Severity,
    /// Areas; all when empty.
    pub areas: Vec<String>,
    /// Quiet hours.
    pub quiet: Option<QuietHours>,
    /// Most letters in an hour.
    pub per_hour: u32,
    /// How long is waited for more.
    pub group: Span,
    /// After this, what is open is told again.
    pub remind: Option<Span>,
}

impl ChannelConfig {
    /// What it is asked to carry, and how.
    #[must_use]
    pub fn policy(&self) -> Policy {
        Policy {
            at_least: self.at_least,
            areas: self.areas.clone(),
            quiet: self.quiet,
            per_hour: self.per_hour,
            group: self.group.0,
            remind: self.remind.map(|span| span.0),
        }
    }
}

/// The channels of two files: of one name the later one is taken.
pub(super) fn overlaid(earlier: Vec<NotifyFile>, later: Vec<NotifyFile>) -> Vec<NotifyFile> {
    let all = earlier.into_iter().chain(later).map(|channel| (channel.name.clone(), channel));
    all.collect::<BTreeMap<_, _>>().into_values().collect()
}

impl NotifyFile {
    /// # Errors
    /// Not exactly one way, or one that cannot work.
    pub(super) fn complete(self, home: &Home) -> Result<ChannelConfig, String> {
        let name = self.name;
        let ways = [
            self.dingtalk.map(Way::DingTalk),
            self.slack.map(Way::Slack),
            self.webhook.map(Way::Webhook),
            self.ntfy.map(Way::Ntfy),
            self.email.map(Way::Email),
            self.command.map(Way::Command),
            self.file.map(|path| Way::File(home.root().join(path))),
        ];
        let mut ways: Vec<Way> = ways.into_iter().flatten().collect();
        let (Some(way), true) = (ways.pop(), ways.is_empty()) else {
            return Err(format!(
                "`notify.{name}` needs exactly one of dingtalk, slack, webhook, ntfy, email, command, file"
            ));
        };
        match &way {
            Way::Command(argv) if argv.first().is_none_or(String::is_empty) => {
                return Err(format!("`notify.{name}.command` names no program"));
            }
            Way::Email(email) if email.to.is_empty() => return Err(format!("`notify.{name}.email.to` is empty")),
            Way::Email(email) if email.user.is_some() != email.password.is_some() => {
                return Err(format!("`notify.{name}.email` needs `user` and `password` together"));
            }
            _ => {}
        }
        if self.per_hour == Some(0) {
            return Err(format!("`notify.{name}.per_hour` is 0: leave the channel out instead"));
        }
        Ok(ChannelConfig {
            way,
            at_least: self.at_least.unwrap_or(Severity::Warning),
            areas: self.areas,
            quiet: self.quiet,
            per_hour: self.per_hour.unwrap_or(20),
            group: self.group.unwrap_or(Span(std::time::Duration::from_secs(10))),
            remind: self.remind,
            name,
        })
    }
}

/// Reads secrets when they are needed, so that a new one needs no restart.
#[derive(Clone, Debug)]
pub struct HomeSecrets {
    home: PathBuf,
}

impl HomeSecrets {
    /// The secrets that a configuration of this home names.
    #[must_use]
    pub fn of(home: &Home) -> Self {
        Self::at(home.root())
    }

    /// Those of the home at this place.
    #[must_use]
    pub fn at(home: &Path) -> Self {
        Self { home: home.to_owned() }
    }
}

impl Secrets for HomeSecrets {
    fn read(&self, secret: &Secret) -> Result<String, Undelivered> {
        let (text, name) = match secret {
            Secret::File { file } => {
                let path = self.home.join(file);
                let refused = |error: FileError| Undelivered(error_line(&error));
                files::demand_private(&path, 0o600).map_err(refused)?;
                (files::read_text(&path, SECRET_BYTES).map_err(refused)?, path.display().to_string())
            }
            Secret::Env { env } => {
                let unset = |_| Undelivered(format!("the environment variable {env} is not set"));
                (std::env::var(env).map_err(unset)?, env.clone())
            }
        };
        let text = text.trim();
        if text.is_empty() { Err(Undelivered(format!("{name} is empty"))) } else { Ok(text.to_owned()) }
    }
}
