//! What carries letters to people.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::domain::notice::{Letter, Template};

/// Why a letter did not arrive. Foreign text is in it: show it sanitised. No secret is.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Undelivered(pub String);

/// One channel. It may block: each one has a thread of its own.
pub trait Courier: Send {
    /// Delivers; what is not known to have arrived is an error, and the letter is sent again.
    ///
    /// # Errors
    /// Why it did not arrive, or may not have.
    fn deliver(&mut self, letter: &Letter) -> Result<(), Undelivered>;
}

/// Where secrets are.
pub trait Secrets: Send + Sync {
    /// The secret.
    ///
    /// # Errors
    /// It is not there, or others can read it.
    fn read(&self, secret: &Secret) -> Result<String, Undelivered>;
}

impl Address {
    /// The address.
    ///
    /// # Errors
    /// It is kept elsewhere and is not there.
    pub fn read(&self, secrets: &dyn Secrets) -> Result<String, Undelivered> {
        match self {
            Self::Plain(url) => Ok(url.clone()),
            Self::Kept(secret) => secrets.read(secret),
        }
    }
}

/// Where a secret is kept: a file of mode 0600, or an environment variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Secret {
    /// A file; relative to the home when it is not absolute.
    File {
        /// Its path.
        file: PathBuf,
    },
    /// A variable of the agent's environment.
    Env {
        /// Its name.
        env: String,
    },
}

/// An address that may hold a secret: written out, or kept elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Address {
    /// Written out.
    Plain(String),
    /// Kept elsewhere.
    Kept(Secret),
}

/// A DingTalk robot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DingTalk {
    /// Its webhook, with the access token.
    pub url: Address,
    /// What its requests are signed with, where the robot asks for that.
    pub secret: Option<Secret>,
}

/// A webhook that needs no more than its address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// Its address.
    pub url: Address,
}

/// A webhook that takes JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Its address.
    pub url: Address,
    /// The body, with `{title}` and other fields; the whole letter as JSON when absent.
    pub template: Option<Template>,
    /// Sent as `Authorization: Bearer`.
    pub token: Option<Secret>,
}

/// A topic of an ntfy server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ntfy {
    /// Its address, such as `https://ntfy.example.org/topic`.
    pub url: Address,
    /// Sent as `Authorization: Bearer`.
    pub token: Option<Secret>,
}

/// A mailbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Email {
    /// The mail server.
    pub server: String,
    /// Its port; 587, 465 with `tls = "always"`, 25 with `"never"`.
    pub port: Option<u16>,
    /// How the connection is protected.
    #[serde(default)]
    pub tls: Tls,
    /// Who logs in; nobody when absent.
    pub user: Option<String>,
    /// With which password.
    pub password: Option<Secret>,
    /// The sender.
    pub from: String,
    /// The receivers.
    pub to: Vec<String>,
}

/// How a connection to a mail server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// STARTTLS, and nothing is sent without.
    #[default]
    Starttls,
    /// From the first byte.
    Always,
    /// Not at all: for a server on this host only.
    Never,
}

/// A way to people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// A DingTalk robot.
    DingTalk(DingTalk),
    /// A Slack webhook.
    Slack(Hook),
    /// A webhook that takes JSON.
    Webhook(Webhook),
    /// An ntfy topic.
    Ntfy(Ntfy),
    /// A mailbox.
    Email(Email),
    /// A program, which gets the letter as JSON in its last argument.
    Command(Vec<String>),
    /// A file of JSON lines.
    File(PathBuf),
}

impl Way {
    /// The key it has in the configuration.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::DingTalk(_) => "dingtalk",
            Self::Slack(_) => "slack",
            Self::Webhook(_) => "webhook",
            Self::Ntfy(_) => "ntfy",
            Self::Email(_) => "email",
            Self::Command(_) => "command",
            Self::File(_) => "file",
        }
    }
}
