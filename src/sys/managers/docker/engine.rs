//! Words exchanged with the Docker engine: HTTP/1.1 over its socket, each within its deadline.

use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// How long an answer may take that needs nothing but the engine.
pub(super) const ANSWER: Duration = Duration::from_secs(5);
/// How long the engine may take to do something. It waits for a container's own grace before it kills it.
pub(super) const WORK: Duration = Duration::from_secs(120);
/// The largest answer that is read.
const LARGEST: usize = 4 * 1024 * 1024;

/// Why there is no usable answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum EngineError {
    /// There is nobody to talk to, or not in words that we know.
    #[error("the Docker engine at {socket} {what}", socket = socket.display())]
    Lost {
        /// Its socket.
        socket: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// It says no.
    #[error("{text}")]
    Said {
        /// The status of the answer.
        status: StatusCode,
        /// Its words.
        text: String,
    },
}

/// The engine behind one socket.
#[derive(Clone, Debug)]
pub(super) struct Engine {
    pub(super) socket: PathBuf,
}

impl Engine {
    fn lost(&self, what: impl Into<String>) -> EngineError {
        EngineError::Lost { socket: self.socket.clone(), what: what.into() }
    }

    /// One question and its whole answer.
    pub(super) async fn ask(&self, method: Method, path: &str, within: Duration) -> Result<Bytes, EngineError> {
        let silent = || self.lost(format!("did not answer within {} s", within.as_secs()));
        let asking = async {
            let answer = self.open(method, path).await?;
            let status = answer.status();
            let body = http_body_util::Limited::new(answer.into_body(), LARGEST);
            let body = body.collect().await.map_err(|error| self.lost(format!("broke off: {error}")))?.to_bytes();
            // 304 says that it is so already.
            if status.is_success() || status == StatusCode::NOT_MODIFIED {
                return Ok(body);
            }
            Err(EngineError::Said { status, text: message(&body) })
        };
        timeout(within, asking).await.map_err(|_| silent())?
    }

    /// What happens from now on.
    pub(super) async fn events(&self, path: &str) -> Result<Events, EngineError> {
        let opening = timeout(ANSWER, self.open(Method::GET, path)).await;
        let answer = opening.map_err(|_| self.lost("did not answer within 5 s"))??;
        if !answer.status().is_success() {
            return Err(self.lost(format!("does not tell what happens: {}", answer.status())));
        }
        Ok(Events { engine: self.clone(), body: answer.into_body(), read: Vec::new() })
    }

    async fn open(&self, method: Method, path: &str) -> Result<Response<Incoming>, EngineError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.lost(not_reached(&error)))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.lost(error.to_string()))?;
        // It ends with the answer or with whoever reads it.
        tokio::spawn(connection);
        let request = Request::builder().method(method).uri(path).header("Host", "docker");
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| self.lost(error.to_string()))?;
        sender.send_request(request).await.map_err(|error| self.lost(format!("broke off: {error}")))
    }
}

fn not_reached(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            "is not for this user: run mesh as root, or put its user into the group docker".to_owned()
        }
        _ => format!("is not reached: {error}"),
    }
}

/// `{"message": "..."}`, or whatever else it said.
fn message(body: &[u8]) -> String {
    let value: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let text = value.as_ref().and_then(|value| value.get("message")?.as_str().map(str::to_owned));
    text.unwrap_or_else(|| String::from_utf8_lossy(body).trim().to_owned())
}

/// What the engine tells line by line.
pub(super) struct Events {
    engine: Engine,
    body: Incoming,
    read: Vec<u8>,
}

impl Events {
    /// The next line. It may be dropped while it waits, and nothing is lost.
    pub(super) async fn next(&mut self) -> Result<Vec<u8>, EngineError> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                return Ok(self.read.drain(..=end).collect());
            }
            if self.read.len() > LARGEST {
                return Err(self.engine.lost("tells of an event that has no end"));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.read.extend_from_slice(data);
                    }
                }
                Some(Err(error)) => return Err(self.engine.lost(format!("broke off: {error}"))),
                None => return Err(self.engine.lost("stopped telling what happens")),
            }
        }
    }
}

/// A text as part of an address.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_not_become_another_path() {
        assert_eq!(escaped("web-1_a.b"), "web-1_a.b");
        assert_eq!(escaped("../x?a=b c"), "..%2Fx%3Fa%3Db%20c");
    }

    #[test]
    fn the_words_of_a_refusal_are_found() {
        assert_eq!(message(br#"{"message":"No such container: web"}"#), "No such container: web");
        assert_eq!(message(b"page not found\n"), "page not found");
    }
}
