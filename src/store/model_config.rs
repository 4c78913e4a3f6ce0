//! `[model]` of the configuration: the language model that is asked for hints. Without it none is asked.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::config::Span;
use crate::ports::Secret;
use crate::ports::model::Api;

/// Most calls within 24 h.
const CALLS: u32 = 48;
/// Most tokens within 24 h.
const TOKENS: u32 = 100_000;
/// How long one call may take; a small machine thinks slowly.
const TIMEOUT: Span = Span(Duration::from_secs(120));

/// `[model]`, as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModelFile {
    api: Option<Api>,
    url: Option<String>,
    name: Option<String>,
    remote: Option<bool>,
    token: Option<Secret>,
    calls_per_day: Option<u32>,
    tokens_per_day: Option<u32>,
    timeout: Option<Span>,
}

/// The model that is asked, with every default filled in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ModelConfig {
    /// How it is spoken to.
    pub api: Api,
    /// Where it is, without the path of the API.
    pub url: String,
    /// Which one, in the server's words.
    pub name: String,
    /// Whether it is on another machine: then facts are redacted before they are sent.
    pub remote: bool,
    /// Where the token is kept.
    pub token: Option<Secret>,
    /// Most calls within 24 h.
    pub calls_per_day: u32,
    /// Most tokens within 24 h, of questions and answers together.
    pub tokens_per_day: u32,
    /// How long one call may take.
    pub timeout: Span,
}

impl ModelConfig {
    /// What is set in the unsafe direction, a sentence each.
    #[must_use]
    pub fn weaknesses(&self) -> Vec<String> {
        let mut weak = Vec::new();
        if self.remote {
            weak.push(format!("`model.remote`: facts of this host are sent to {}, redacted", self.url));
            if self.url.starts_with("http://") {
                weak.push("`model.url` is plain http: whoever is on the way reads and writes what is sent".to_owned());
            }
        }
        for (key, set, default) in
            [("calls_per_day", self.calls_per_day, CALLS), ("tokens_per_day", self.tokens_per_day, TOKENS)]
        {
            if set > default {
                weak.push(format!(
                    "`model.{key}` is {set}, above its default {default}: it may cost more than it helps"
                ));
            }
        }
        weak
    }
}

/// Whether nothing that is sent there leaves this machine.
fn is_here(url: &reqwest::Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl ModelFile {
    pub(super) fn overlaid_by(self, later: Self) -> Self {
        Self {
            api: later.api.or(self.api),
            url: later.url.or(self.url),
            name: later.name.or(self.name),
            remote: later.remote.or(self.remote),
            token: later.token.or(self.token),
            calls_per_day: later.calls_per_day.or(self.calls_per_day),
            tokens_per_day: later.tokens_per_day.or(self.tokens_per_day),
            timeout: later.timeout.or(self.timeout),
        }
    }

    /// The whole of it; none when no `api` is named.
    ///
    /// # Errors
    /// A part is missing, or facts would leave this machine and nobody said that they may.
    pub(super) fn complete(self) -> Result<Option<ModelConfig>, String> {
        let Some(api) = self.api else {
            let rest = self.url.is_some() || self.name.is_some() || self.remote.is_some() || self.token.is_some();
            return if rest { Err("`model.api` is missing: \"ollama\" or \"openai\"".to_owned()) } else { Ok(None) };
        };
        let name = self.name.filter(|name| !name.trim().is_empty());
        let name = name.ok_or("`model.name` is missing: the model, in the server's words")?;
        let url = self.url.unwrap_or_else(|| {
            match api {
                Api::Ollama => "http://127.0.0.1:11434",
                Api::OpenAi => "http://127.0.0.1:8080/v1",
            }
            .to_owned()
        });
        let parsed =
            reqwest::Url::parse(&url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let parsed = parsed.ok_or_else(|| format!("`model.url`: `{url}` is not an http or https address"))?;
        if !parsed.username().is_empty() || parsed.password().is_some() || parsed.query().is_some() {
            return Err("`model.url` holds a user, a password or a query: keep the secret in `model.token`".to_owned());
        }
        let remote = !is_here(&parsed);
        if remote && self.remote != Some(true) {
            return Err(format!(
                "`model.url`: {url} is not on this machine: facts of this host would leave it; add `remote = true` to allow that"
            ));
        }
        Ok(Some(ModelConfig {
            api,
            url: url.trim_end_matches('/').to_owned(),
            name,
            remote,
            token: self.token,
            calls_per_day: self.calls_per_day.unwrap_or(CALLS),
            tokens_per_day: self.tokens_per_day.unwrap_or(TOKENS),
            timeout: self.timeout.unwrap_or(TIMEOUT),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(text: &str) -> Result<Option<ModelConfig>, String> {
        toml::from_str::<ModelFile>(text).expect(text).complete()
    }

    #[test]
    fn e14_no_model_is_asked_and_nothing_leaves_this_machine_unless_a_line_says_so() {
        assert_eq!(model(""), Ok(None));
        assert_eq!(model("calls_per_day = 3"), Ok(None));
        let local = model("api = \"ollama\"\nname = \"small\"").expect("sound").expect("on");
        assert_eq!((local.url.as_str(), local.remote), ("http://127.0.0.1:11434", false));
        assert_eq!(local.weaknesses(), Vec::<String>::new());
        for here in ["http://localhost:1/v1", "http://[::1]:1", "https://127.9.9.9"] {
            assert!(
                !model(&format!("api = \"openai\"\nname = \"a\"\nurl = \"{here}\"")).expect(here).expect(here).remote
            );
        }
        for away in [
            "https://api.example.org/v1",
            "http://10.0.0.2",
            "http://localhost.example.org",
            "http://127.0.0.1.example.org",
        ] {
            let text = format!("api = \"openai\"\nname = \"a\"\nurl = \"{away}\"");
            assert!(model(&text).expect_err(away).contains("remote = true"), "{away}");
            assert!(model(&format!("{text}\nremote = false")).is_err());
            let allowed = model(&format!("{text}\nremote = true\ncalls_per_day = 99")).expect(away).expect(away);
            assert!(allowed.remote);
            let weak = allowed.weaknesses();
            assert_eq!(weak.len(), if away.starts_with("https") { 2 } else { 3 }, "{weak:?}");
        }
        for (text, why) in [
            ("name = \"a\"", "model.api"),
            ("api = \"ollama\"", "model.name"),
            ("api = \"ollama\"\nname = \"a\"\nurl = \"file:///etc\"", "not an http"),
            ("api = \"ollama\"\nname = \"a\"\nurl = \"http://a:b@localhost\"", "model.token"),
        ] {
            assert!(model(text).expect_err(text).contains(why), "{text}");
        }
    }
}
