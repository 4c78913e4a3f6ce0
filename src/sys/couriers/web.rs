//! What is reached by a POST: DingTalk, Slack, ntfy, and any other webhook.

use std::io::Read as _;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::blocking::{Client, RequestBuilder};
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};
use sha2::Sha256;

use super::{ANSWER, undelivered};
use crate::domain::foreign_text::display_line;
use crate::domain::notice::{Letter, Severity};
use crate::ports::{self, Courier, Secret, Secrets, Undelivered};

pub(super) struct DingTalk {
    pub(super) robot: ports::DingTalk,
    pub(super) client: Client,
    pub(super) secrets: Arc<dyn Secrets>,
}

pub(super) struct Slack {
    pub(super) hook: ports::Hook,
    pub(super) client: Client,
    pub(super) secrets: Arc<dyn Secrets>,
}

pub(super) struct Webhook {
    pub(super) hook: ports::Webhook,
    pub(super) client: Client,
    pub(super) secrets: Arc<dyn Secrets>,
}

pub(super) struct Ntfy {
    pub(super) topic: ports::Ntfy,
    pub(super) client: Client,
    pub(super) secrets: Arc<dyn Secrets>,
}

/// Sends, and returns what came back; an address may hold a token, so it is in no error.
fn post(request: RequestBuilder) -> Result<Vec<u8>, Undelivered> {
    let answer = request.send().map_err(|error| undelivered(&error.without_url()))?;
    let status = answer.status();
    let mut body = Vec::new();
    // A body that breaks off says no less about the status.
    let _cut = answer.take(ANSWER).read_to_end(&mut body);
    if status.is_success() {
        return Ok(body);
    }
    Err(Undelivered(format!("HTTP {status}: {}", display_line(&String::from_utf8_lossy(&body)))))
}

fn bearer(
    request: RequestBuilder,
    token: Option<&Secret>,
    secrets: &dyn Secrets,
) -> Result<RequestBuilder, Undelivered> {
    Ok(match token {
        Some(token) => request.bearer_auth(secrets.read(token)?),
        None => request,
    })
}

/// What a robot that wants signed requests is shown: the base64 of the HMAC-SHA256 of the time and the secret.
fn signature(timestamp: u128, secret: &str) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
    mac.update(format!("{timestamp}\n{secret}").as_bytes());
    Some(STANDARD.encode(mac.finalize().into_bytes()))
}

impl Courier for DingTalk {
    #[expect(clippy::disallowed_methods, reason = "the request is signed for the moment it is sent")]
    fn deliver(&mut self, letter: &Letter) -> Result<(), Undelivered> {
        let url = self.robot.url.read(&*self.secrets)?;
        let mut url =
            reqwest::Url::parse(&url).map_err(|error| Undelivered(format!("the address is none: {error}")))?;
        if let Some(secret) = &self.robot.secret {
            let secret = self.secrets.read(secret)?;
            let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
            let sign = signature(timestamp, &secret).ok_or_else(|| Undelivered("the secret is no key".to_owned()))?;
            url.query_pairs_mut().append_pair("timestamp", &timestamp.to_string()).append_pair("sign", &sign);
        }
        let text = format!("### {}\n\n{}", letter.title, letter.text.replace('\n', "\n\n"));
        let body = json!({"msgtype": "markdown", "markdown": {"title": letter.title, "text": text}});
        let request = self.client.post(url).header(CONTENT_TYPE, "application/json");
        let answer = post(request.body(body.to_string()))?;
        // It says 200 to what it does not take.
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        match answer["errcode"].as_i64() {
            Some(0) => Ok(()),
            Some(code) => {
                let said = display_line(answer["errmsg"].as_str().unwrap_or_default());
                Err(Undelivered(format!("the robot refused it with {code}: {said}")))
            }
            None => Err(Undelivered("what answered is no DingTalk robot".to_owned())),
        }
    }
}

impl Courier for Slack {
    fn deliver(&mut self, letter: &Letter) -> Result<(), Undelivered> {
        let url = self.hook.url.read(&*self.secrets)?;
        let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let text = format!("*{}*\n{}", escape(&letter.title), escape(&letter.text));
        let body = json!({"text": text.trim_end()}).to_string();
        post(self.client.post(url).header(CONTENT_TYPE, "application/json").body(body)).map(drop)
    }
}

impl Courier for Webhook {
    fn deliver(&mut self, letter: &Letter) -> Result<(), Undelivered> {
        let url = self.hook.url.read(&*self.secrets)?;
        let body = match &self.hook.template {
            Some(template) => template.fill(letter, inside_json),
            None => serde_json::to_string(letter).map_err(|error| undelivered(&error))?,
        };
        let request = self.client.post(url).header(CONTENT_TYPE, "application/json").body(body);
        post(bearer(request, self.hook.token.as_ref(), &*self.secrets)?).map(drop)
    }
}

/// As it stands between the quotes of a JSON string.
fn inside_json(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

impl Courier for Ntfy {
    fn deliver(&mut self, letter: &Letter) -> Result<(), Undelivered> {
        let url = self.topic.url.read(&*self.secrets)?;
        let priority = match letter.severity {
            Severity::Info => "2",
            Severity::Warning => "3",
            Severity::Critical => "5",
        };
        // A header holds no line break, and not every server takes other alphabets there.
        let title: String = letter.title.chars().map(|c| if c.is_ascii_graphic() { c } else { ' ' }).collect();
        let body = format!("{}\n{}", letter.title, letter.text);
        let request = self.client.post(url).header("Title", title).header("Priority", priority);
        let request = bearer(request, self.topic.token.as_ref(), &*self.secrets)?;
        post(request.body(body.trim_end().to_owned())).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_inside_a_json_string_ends_nothing() {
        let body = format!("{{\"t\": \"{}\"}}", inside_json("a\"\\\n\u{1b}"));
        let read: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(read["t"], "a\"\\\n\u{1b}");
    }
}
