//! Smart HTTP for libgit2, over the one TLS stack of this program.
//!
//! Redirects are never followed, so the token can only go to the host that the configuration names.

use std::io::{self, Read, Write};

use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream};
use reqwest::StatusCode;
use reqwest::blocking::{Client, RequestBuilder, Response};
use reqwest::header::{ACCEPT, CONTENT_TYPE, LOCATION};

use super::request::{Limits, RemoteConfig, shown};
use super::traffic::{Counted, Traffic};
use crate::domain::foreign_text::error_line;
use crate::domain::limits;
use crate::ports::RemoteError;
use crate::sys::web;

/// One server and the credentials for it.
#[derive(Clone)]
pub(super) struct Http {
    client: Client,
    base: String,
    username: String,
    token: Option<String>,
    traffic: Traffic,
}

impl Http {
    pub(super) fn new(
        base: &str,
        config: &RemoteConfig,
        token: Option<String>,
        limits: &Limits,
        traffic: Traffic,
    ) -> Result<Self, RemoteError> {
        let mut builder = web::client(concat!("git/2.0 (mesh ", env!("CARGO_PKG_VERSION"), ")"))
            .connect_timeout(limits::CONNECT)
            .timeout(limits.wall);
        if let Some(proxy) = &config.proxy {
            let proxy = reqwest::Proxy::all(proxy)
                .map_err(|_| RemoteError::Address("the http proxy is not a URL such as http://host:3128".to_owned()))?;
            builder = builder.proxy(proxy);
        }
        let client =
            builder.build().map_err(|error| RemoteError::Unreachable(format!("no TLS client: {}", chain(&error))))?;
        Ok(Self { client, base: base.to_owned(), username: config.username.clone(), token, traffic })
    }

    fn authorised(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.token {
            Some(token) => request.basic_auth(&self.username, Some(token)),
            None => request,
        }
    }

    fn send(&self, request: RequestBuilder, expected_type: &str) -> Result<Response, RemoteError> {
        let response = self.authorised(request).send().map_err(|error| self.not_sent(error))?;
        let status = response.status();
        match status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let what = if self.token.is_some() { "the token is not accepted" } else { "no token is configured" };
                return Err(RemoteError::Credentials(format!("HTTP {status}: {what}")));
            }
            StatusCode::NOT_FOUND => {
                return Err(RemoteError::Protocol(format!(
                    "HTTP {status}: no repository at this address, or the token may not see it"
                )));
            }
            _ if status.is_redirection() => {
                let to = response.headers().get(LOCATION).map(|to| shown(&String::from_utf8_lossy(to.as_bytes())));
                return Err(RemoteError::Protocol(format!(
                    "HTTP {status}: it redirects to {}, and redirects are not followed; configure that address",
                    to.as_deref().unwrap_or("nowhere")
                )));
            }
            _ => return Err(RemoteError::Unreachable(format!("HTTP {status}"))),
        }
        let found = response.headers().get(CONTENT_TYPE).map(|value| value.as_bytes());
        if found != Some(expected_type.as_bytes()) {
            return Err(RemoteError::Protocol("it answers, but not as a git server with smart HTTP".to_owned()));
        }
        Ok(response)
    }

    fn not_sent(&self, error: reqwest::Error) -> RemoteError {
        let error = error.without_url();
        if error.is_timeout() {
            return RemoteError::Limit(format!("no answer from {} in time", self.base));
        }
        RemoteError::Unreachable(format!("{}: {}", self.base, chain(&error)))
    }
}

/// An error of the client with all its causes: only the last one says what is wrong with a certificate.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    shown(&error_line(error))
}

impl SmartSubtransport for Http {
    fn action(&self, _url: &str, action: Service) -> Result<Box<dyn SmartSubtransportStream>, git2::Error> {
        let (service, asks_for_refs) = match action {
            Service::UploadPackLs => ("git-upload-pack", true),
            Service::UploadPack => ("git-upload-pack", false),
            Service::ReceivePackLs => ("git-receive-pack", true),
            Service::ReceivePack => ("git-receive-pack", false),
        };
        Ok(Box::new(Exchange { http: self.clone(), service, asks_for_refs, body: Vec::new(), response: None }))
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}

/// One request and its answer; it is sent when libgit2 starts to read.
struct Exchange {
    http: Http,
    service: &'static str,
    asks_for_refs: bool,
    body: Vec<u8>,
    response: Option<Counted<Response>>,
}

impl Exchange {
    fn send(&mut self) -> Result<Response, RemoteError> {
        let (http, service) = (&self.http, self.service);
        if self.asks_for_refs {
            let request = http.client.get(format!("{}/info/refs?service={service}", http.base));
            return http.send(request, &format!("application/x-{service}-advertisement"));
        }
        let request = http
            .client
            .post(format!("{}/{service}", http.base))
            .header(CONTENT_TYPE, format!("application/x-{service}-request"))
            .header(ACCEPT, format!("application/x-{service}-result"))
            .body(std::mem::take(&mut self.body));
        http.send(request, &format!("application/x-{service}-result"))
    }
}

impl Read for Exchange {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.response.is_none() {
            let response = self.send().map_err(|error| self.http.traffic.fail(error))?;
            self.response = Some(Counted { inner: response, traffic: self.http.traffic.clone() });
        }
        self.response.as_mut().map_or(Ok(0), |response| response.read(buffer))
    }
}

impl Write for Exchange {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.body.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
