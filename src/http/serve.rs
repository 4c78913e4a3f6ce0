//! The server: HTTP/1.1, a few connections at once, each with its deadline.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderValue, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use super::{Published, metrics, page};
use crate::domain::snapshot::Status;

/// Connections that are served at once; more of them wait.
const CONNECTIONS: usize = 64;
/// Time to send a request.
const HEADER: Duration = Duration::from_secs(5);
/// Time that a connection may last.
const CONNECTION: Duration = Duration::from_secs(30);
/// Largest request.
const REQUEST_BYTES: usize = 16 * 1024;
/// Wait after the system refused a connection, as when there are no file handles.
const PAUSE: Duration = Duration::from_millis(100);

/// What is asked for, kept as a hash: comparing hashes tells nothing about the token.
#[derive(Clone)]
pub struct Token(blake3::Hash);

impl Token {
    /// The token in the text of its file.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self(blake3::hash(text.trim().as_bytes()))
    }

    fn admits(&self, header: Option<&HeaderValue>) -> bool {
        let given = header.and_then(|header| header.as_bytes().strip_prefix(b"Bearer "));
        given.is_some_and(|given| blake3::hash(given.trim_ascii()) == self.0)
    }
}

/// Serves until `snapshots` has no sender any more.
pub async fn serve(listener: TcpListener, token: Option<Token>, snapshots: watch::Receiver<Published>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let token = Arc::new(token);
    let mut last_sender = snapshots.clone();
    let ended = async move { while last_sender.changed().await.is_ok() {} };
    let accept = async {
        loop {
            let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let (token, snapshots) = (Arc::clone(&token), snapshots.clone());
            tokio::spawn(async move {
                let answer = hyper::service::service_fn(move |request| {
                    let answer = answer(&request, token.as_ref().as_ref(), &snapshots);
                    async move { Ok::<_, Infallible>(answer) }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEADER)
                    .max_buf_size(REQUEST_BYTES)
                    .serve_connection(TokioIo::new(stream), answer);
                // Whoever asks may hang up or send nonsense: it is theirs.
                drop(tokio::time::timeout(CONNECTION, connection).await);
                drop(place);
            });
        }
    };
    tokio::select! {
        () = ended => {}
        () = accept => {}
    }
}

fn answer(
    request: &Request<Incoming>,
    token: Option<&Token>,
    snapshots: &watch::Receiver<Published>,
) -> Response<Full<Bytes>> {
    let headers = request.headers();
    match token {
        Some(token) if !token.admits(headers.get(AUTHORIZATION)) => {
            let mut refused = plain(StatusCode::UNAUTHORIZED, "a token is needed\n");
            refused.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return refused;
        }
        // A page in somebody's browser can point a name of its own at this address.
        None if !headers.get(HOST).is_none_or(is_own_name) => {
            return plain(StatusCode::FORBIDDEN, "ask by address, or as localhost\n");
        }
        _ => {}
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    let snapshot = snapshots.borrow().clone();
    match request.uri().path() {
        "/health" => {
            let (status, body) = snapshot.health();
            let is_critical = status == Status::Critical;
            let status = if is_critical { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
            with(status, "application/json", body)
        }
        "/metrics" => with(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", metrics::text(&snapshot.aged())),
        "/" => with(StatusCode::OK, "text/html; charset=utf-8", page::html(&snapshot.aged())),
        _ => plain(StatusCode::NOT_FOUND, "there are /health, /metrics and /\n"),
    }
}

/// Whether a `Host` is an address, or the name that every machine has for itself.
fn is_own_name(host: &HeaderValue) -> bool {
    let Ok(host) = host.to_str() else { return false };
    if let Some((address, _)) = host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        return address.parse::<IpAddr>().is_ok();
    }
    let name = host.split_once(':').map_or(host, |(name, _)| name);
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    with(status, "text/plain; charset=utf-8", text.to_owned())
}

fn with(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    answer
}
