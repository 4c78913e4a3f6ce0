//! A page: its status, how long it took, and a number of its JSON body.

use std::io::Read as _;
use std::time::{Duration, Instant};

use reqwest::blocking::Client;
use serde_json::Value;

use super::reading;
use crate::domain::signal::Subject;
use crate::ports::{Probe, Reading};

/// Most bytes of a body that are read.
const BODY_BYTES: u64 = 256 * 1024;

/// What all pages are asked with.
#[derive(Clone)]
pub struct HttpClient(Client);

impl HttpClient {
    /// A client that follows no redirect and knows no proxy.
    ///
    /// # Errors
    /// There is no TLS.
    pub fn new() -> Result<Self, String> {
        let _already_installed = rustls::crypto::ring::default_provider().install_default();
        let builder = Client::builder()
            .user_agent("mesh")
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(0)
            .no_proxy();
        builder.build().map(Self).map_err(|error| error.to_string())
    }
}

/// Asks one page.
pub struct HttpProbe {
    name: Subject,
    url: String,
    number: Option<(String, &'static str)>,
    timeout: Duration,
    client: HttpClient,
}

impl HttpProbe {
    /// Asks `url`; the number at the JSON path is a reading of the signal beside it.
    #[must_use]
    pub fn new(
        name: Subject,
        url: String,
        number: Option<(String, &'static str)>,
        timeout: Duration,
        client: HttpClient,
    ) -> Self {
        Self { name, url, number, timeout, client }
    }

    fn ask(&self) -> Result<(u16, Duration, Vec<u8>), String> {
        let failed = |error: reqwest::Error| {
            if error.is_timeout() { "no answer in time".to_owned() } else { last_cause(&error.without_url()) }
        };
        let started = Instant::now();
        let answer = self.client.0.get(&self.url).timeout(self.timeout).send().map_err(failed)?;
        let (status, took) = (answer.status().as_u16(), started.elapsed());
        let mut body = Vec::new();
        if self.number.is_some() {
            answer.take(BODY_BYTES).read_to_end(&mut body).map_err(|_| "no whole answer in time".to_owned())?;
        }
        Ok((status, took, body))
    }
}

/// The last cause says what is wrong; the ones before it say only that something is.
fn last_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

impl Probe for HttpProbe {
    fn read(&mut self) -> Vec<Reading> {
        let asked = self.ask();
        let known = asked.as_ref().map_err(Clone::clone);
        let mut readings = vec![
            reading("http.status", &self.name, known.clone().map(|(status, ..)| f64::from(*status))),
            reading("http.latency_ms", &self.name, known.clone().map(|(_, took, _)| took.as_secs_f64() * 1e3)),
        ];
        if let Some((path, signal)) = &self.number {
            let value =
                known.and_then(|(.., body)| number_at(body, path).ok_or_else(|| format!("no number at {path}")));
            readings.push(reading(signal, &self.name, value));
        }
        readings
    }
}

/// The number at a path such as `$.queue.depth`, `jobs[0].age` or `up`; a truth is 1 or 0.
fn number_at(body: &[u8], path: &str) -> Option<f64> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let mut at = &body;
    for step in path.trim_start_matches('$').split(['.', '[']).filter(|step| !step.is_empty()) {
        at = match (at, step.strip_suffix(']')) {
            (Value::Array(items), Some(index)) => items.get(index.parse::<usize>().ok()?)?,
            (Value::Object(fields), None) => fields.get(step)?,
            _ => return None,
        };
    }
    match at {
        Value::Number(number) => number.as_f64(),
        Value::Bool(truth) => Some(f64::from(u8::from(*truth))),
        Value::String(text) => text.parse::<f64>().ok().filter(|number| number.is_finite()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b14_a_number_of_a_body_is_found_by_its_path() {
        let body = br#"{"queue": {"depth": 12}, "jobs": [{"age": 3.5}], "up": true, "text": "7"}"#;
        for (path, value) in [("$.queue.depth", 12.0), ("jobs[0].age", 3.5), ("up", 1.0), ("text", 7.0)] {
            assert_eq!(number_at(body, path), Some(value), "{path}");
        }
        for path in ["jobs[1].age", "jobs[x]", "queue", "no.where", "", "jobs.0"] {
            assert_eq!(number_at(body, path), None, "{path}");
        }
        assert_eq!(number_at(b"<html>", "a"), None);
    }
}
