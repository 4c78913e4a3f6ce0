//! A page: its status, how long it took, whether it is the one that is wanted, and a number of its JSON body.

use std::io::{ErrorKind, Read as _};
use std::time::{Duration, Instant};

use regex::bytes::Regex;
use reqwest::blocking::Client;
use serde_json::Value;

use super::reading;
use crate::domain::signal::{SeriesName, Subject};
use crate::ports::{Probe, Reading};
use crate::sys::web;

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
        let builder = web::client("mesh").pool_max_idle_per_host(0);
        builder.build().map(Self).map_err(|error| error.to_string())
    }
}

/// A page, and what is wanted of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Page {
    /// Its address.
    pub url: String,
    /// The JSON path of a number in its body, and the signal that the number is a reading of.
    pub number: Option<(String, &'static str)>,
    /// A regular expression that its body is to match.
    pub body: Option<String>,
    /// A header, and a regular expression that it is to match.
    pub header: Option<(String, String)>,
}

/// Why a page gave no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NoAnswer {
    /// Nobody listens, or whoever does hangs up or says nothing: that is the page's doing.
    Theirs(String),
    /// It was not reached, and that may be ours.
    Ours(String),
}

impl HttpClient {
    /// The status of a page.
    ///
    /// # Errors
    /// There was none, and whose doing that is.
    pub fn status(&self, url: &str, timeout: Duration) -> Result<u16, NoAnswer> {
        let answer = self.0.get(url).timeout(timeout).send();
        answer.map(|answer| answer.status().as_u16()).map_err(|error| {
            let connected = !error.is_connect() && !error.is_builder();
            let refused = io_kind(&error) == Some(ErrorKind::ConnectionRefused);
            // A host that is this one does not lose packets: it does not take the connection.
            let here = error.url().and_then(|url| url.host_str()).is_some_and(is_here);
            let late = error.is_timeout();
            let why =
                if late { format!("no answer in {} s", timeout.as_secs()) } else { last_cause(&error.without_url()) };
            if connected || refused || (late && here) { NoAnswer::Theirs(why) } else { NoAnswer::Ours(why) }
        })
    }
}

fn is_here(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn io_kind(error: &(dyn std::error::Error + 'static)) -> Option<ErrorKind> {
    let mut cause = Some(error);
    let mut kind = None;
    while let Some(error) = cause {
        kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind).or(kind);
        cause = error.source();
    }
    kind
}

/// Asks one page.
pub struct HttpProbe {
    name: Subject,
    page: Page,
    body: Option<Regex>,
    header: Option<(String, Regex)>,
    remark: Option<String>,
    timeout: Duration,
    client: HttpClient,
}

/// What came back.
struct Answer {
    status: u16,
    took: Duration,
    /// The value of the header that is looked at.
    header: Option<Vec<u8>>,
    body: Vec<u8>,
}

impl HttpProbe {
    /// Asks for `page`.
    ///
    /// # Errors
    /// A pattern is no regular expression, or too large a one.
    pub fn new(name: Subject, page: Page, timeout: Duration, client: HttpClient) -> Result<Self, String> {
        let compiled = |pattern: &String| {
            regex::bytes::RegexBuilder::new(pattern).size_limit(256 * 1024).build().map_err(|error| error.to_string())
        };
        let body = page.body.as_ref().map(compiled).transpose()?;
        let header = page.header.as_ref().map(|(name, wanted)| Ok::<_, String>((name.clone(), compiled(wanted)?)));
        let header = header.transpose()?;
        Ok(Self { name, page, body, header, remark: None, timeout, client })
    }

    fn ask(&self) -> Result<Answer, String> {
        let failed = |error: reqwest::Error| {
            if error.is_timeout() { "no answer in time".to_owned() } else { last_cause(&error.without_url()) }
        };
        let started = Instant::now();
        let answer = self.client.0.get(&self.page.url).timeout(self.timeout).send().map_err(failed)?;
        let (status, took) = (answer.status().as_u16(), started.elapsed());
        let header = self.header.as_ref().and_then(|(name, _)| Some(answer.headers().get(name)?.as_bytes().to_vec()));
        let mut body = Vec::new();
        if self.page.number.is_some() || self.body.is_some() {
            answer.take(BODY_BYTES).read_to_end(&mut body).map_err(|_| "no whole answer in time".to_owned())?;
        }
        Ok(Answer { status, took, header, body })
    }

    /// What of the answer is not as it is wanted.
    fn mismatch(&self, answer: &Answer) -> Option<String> {
        let of_header = self.header.as_ref().and_then(|(name, wanted)| match &answer.header {
            None => Some(format!("there is no header {name}")),
            Some(found) if !wanted.is_match(found) => Some(format!("header {name} does not match {wanted}")),
            Some(_) => None,
        });
        let of_body = self.body.as_ref().filter(|wanted| !wanted.is_match(&answer.body));
        of_header.or_else(|| of_body.map(|wanted| format!("the body does not match {wanted}")))
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
            reading("http.status", &self.name, known.clone().map(|answer| f64::from(answer.status))),
            reading("http.latency_ms", &self.name, known.clone().map(|answer| answer.took.as_secs_f64() * 1e3)),
        ];
        self.remark = None;
        if self.body.is_some() || self.header.is_some() {
            let mismatch = known.clone().map(|answer| self.mismatch(answer));
            let value = mismatch.as_ref().map(|mismatch| f64::from(u8::from(mismatch.is_none())));
            readings.push(reading("http.match", &self.name, value.map_err(Clone::clone)));
            self.remark = mismatch.ok().flatten();
        }
        if let Some((path, signal)) = &self.page.number {
            let value =
                known.and_then(|answer| number_at(&answer.body, path).ok_or_else(|| format!("no number at {path}")));
            readings.push(reading(signal, &self.name, value));
        }
        readings
    }

    fn remarks(&self) -> Vec<(SeriesName, String)> {
        self.remark.iter().map(|text| (SeriesName::of("http.match", self.name.clone()), text.clone())).collect()
    }
}

/// The number at a path such as `$.queue.depth`, `jobs[0].age` or `up`; a truth is 1 or 0.
pub(super) fn number_at(body: &[u8], path: &str) -> Option<f64> {
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
