//! The language models: servers that speak the chat completions of OpenAI, or Ollama's own API.

mod ollama;
mod openai;
mod probe;

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use reqwest::blocking::{Client, RequestBuilder, Response};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use serde_json::{Value, json};

use crate::domain::foreign_text::{display_line, error_line};
use crate::domain::kaizen::question::Question;
use crate::ports::model::{Answer, Api, Model, NoAnswer};
use crate::ports::{Secret, Secrets};

pub use probe::ModelProbe;

/// Most bytes of an answer.
const ANSWER: u64 = 256 * 1024;
/// Most characters of what a server says beside an error.
const SAID: usize = 200;

/// Where a model is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// How it is spoken to.
    pub api: Api,
    /// Its address, without the path of the API.
    pub url: String,
    /// Which model, in the server's words.
    pub name: String,
    /// Where the token is kept.
    pub token: Option<Secret>,
    /// How long one call may take, from the first byte to the last.
    pub timeout: Duration,
}

/// A model behind an address.
pub struct HttpModel {
    endpoint: Endpoint,
    client: Client,
    secrets: Arc<dyn Secrets>,
}

impl HttpModel {
    /// A client for `endpoint`. The token is read with each call.
    ///
    /// # Errors
    /// There is no TLS.
    pub fn new(endpoint: Endpoint, secrets: Arc<dyn Secrets>) -> Result<Self, String> {
        let client = crate::sys::web::client("mesh").build().map_err(|error| error_line(&error))?;
        Ok(Self { endpoint, client, secrets })
    }

    fn post(&self, path: &str, body: &Value) -> Result<Vec<u8>, NoAnswer> {
        let url = format!("{}{path}", self.endpoint.url);
        self.call(self.client.post(url).header(CONTENT_TYPE, "application/json").body(body.to_string()))
    }

    fn get(&self, path: &str) -> Result<Vec<u8>, NoAnswer> {
        self.call(self.client.get(format!("{}{path}", self.endpoint.url)))
    }

    /// Lets the model make one token, whatever it is.
    fn one_token(&self) -> Result<(), NoAnswer> {
        let (api, name) = (self.endpoint.api, &self.endpoint.name);
        let answer = match api {
            Api::OpenAi => self.post("/chat/completions", &openai::one_token(name))?,
            Api::Ollama => self.post("/api/chat", &ollama::one_token(name))?,
        };
        let is_object = serde_json::from_slice::<Value>(&answer).is_ok_and(|answer| answer.is_object());
        if is_object { Ok(()) } else { Err(none_of(api, "it is no JSON")) }
    }

    fn call(&self, request: RequestBuilder) -> Result<Vec<u8>, NoAnswer> {
        let mut request = request.timeout(self.endpoint.timeout);
        let mut secret = String::new();
        if let Some(token) = &self.endpoint.token {
            secret = self.secrets.read(token).map_err(|error| NoAnswer::Never(error.to_string()))?;
            let header = HeaderValue::from_str(&format!("Bearer {secret}"));
            let mut header =
                header.map_err(|_| NoAnswer::Never("`model.token` holds what no header may hold".to_owned()))?;
            header.set_sensitive(true);
            request = request.header(AUTHORIZATION, header);
        }
        let answer = request.send().map_err(|error| failed(error, self.endpoint.timeout))?;
        let status = answer.status();
        let patience = patience(&answer);
        let mut bytes = Vec::new();
        answer
            .take(ANSWER + 1)
            .read_to_end(&mut bytes)
            .map_err(|_| NoAnswer::Later("the answer broke off".to_owned()))?;
        if status.is_success() {
            if bytes.len() as u64 > ANSWER {
                return Err(NoAnswer::Never(format!("the answer has more than {} KiB", ANSWER / 1024)));
            }
            return Ok(bytes);
        }
        let mut said = display_line(&String::from_utf8_lossy(&bytes));
        if !secret.is_empty() {
            // A server may repeat what it was sent.
            said = said.replace(&secret, "[secret]");
        }
        let said: String = said.chars().take(SAID).collect();
        let why = format!("HTTP {status}: {said}");
        Err(match status.as_u16() {
            429 | 503 if patience.is_some() => NoAnswer::After(patience.unwrap_or_default()),
            408 | 429 | 500.. => NoAnswer::Later(why),
            _ => NoAnswer::Never(why),
        })
    }
}

impl Model for HttpModel {
    fn ask(&mut self, question: &Question) -> Result<Answer, NoAnswer> {
        let name = &self.endpoint.name;
        match self.endpoint.api {
            Api::OpenAi => openai::read(&self.post("/chat/completions", &openai::request(name, question))?),
            Api::Ollama => ollama::read(&self.post("/api/chat", &ollama::request(name, question))?),
        }
    }
}

/// A question in both APIs: what is asked, by us, and what is known, which holds words of others.
fn messages(question: &Question) -> Value {
    json!([{ "role": "system", "content": question.ask }, { "role": "user", "content": question.facts }])
}

/// How long the server wants to be left alone, where it says so in seconds.
fn patience(answer: &Response) -> Option<Duration> {
    let seconds = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn failed(error: reqwest::Error, timeout: Duration) -> NoAnswer {
    if error.is_timeout() {
        return NoAnswer::Later(format!("no answer in {} s", timeout.as_secs()));
    }
    NoAnswer::Later(error_line(&error.without_url()))
}

/// An answer that is none of the API.
fn none_of(api: Api, why: impl std::fmt::Display) -> NoAnswer {
    NoAnswer::Never(format!("what answered does not speak the API `{}`: {why}", api.name()))
}

/// An answer that ended before it was whole.
fn cut_off(question_was_answered_by: Api) -> NoAnswer {
    NoAnswer::Never(format!("the answer of `{}` was cut off at its most tokens", question_was_answered_by.name()))
}
