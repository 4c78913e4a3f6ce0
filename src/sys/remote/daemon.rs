//! The `git://` protocol for libgit2, on a socket whose bytes are counted and whose silences end.

use std::io::Write;
use std::net::{TcpStream, ToSocketAddrs};

use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream};

use super::request::shown;
use super::traffic::{Counted, Traffic, broken};
use crate::domain::limits;
use crate::ports::RemoteError;

/// One repository of one `git daemon`.
#[derive(Clone)]
pub(super) struct Daemon {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) path: String,
    pub(super) traffic: Traffic,
}

impl Daemon {
    fn connect(&self) -> Result<TcpStream, RemoteError> {
        let unreachable = |why: &str| RemoteError::Unreachable(format!("{}:{}: {}", self.host, self.port, shown(why)));
        let addresses = (self.host.as_str(), self.port).to_socket_addrs().map_err(|e| unreachable(&e.to_string()))?;
        let mut last = unreachable("it has no address");
        for address in addresses {
            match TcpStream::connect_timeout(&address, limits::CONNECT) {
                Ok(stream) => {
                    let silence = Some(limits::SERVER_SILENCE);
                    stream.set_read_timeout(silence).map_err(|error| broken(&error))?;
                    stream.set_write_timeout(silence).map_err(|error| broken(&error))?;
                    return Ok(stream);
                }
                Err(error) => last = unreachable(&error.to_string()),
            }
        }
        Err(last)
    }

    /// The first packet: length in four hexadecimal digits, service, path, and the host for virtual hosting.
    fn greeting(&self, service: &str) -> Vec<u8> {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let text = format!("{service} {}\0host={host}:{}\0", self.path, self.port);
        format!("{:04x}{text}", text.len() + 4).into_bytes()
    }
}

impl SmartSubtransport for Daemon {
    fn action(&self, _url: &str, action: Service) -> Result<Box<dyn SmartSubtransportStream>, git2::Error> {
        let service = match action {
            Service::UploadPackLs | Service::UploadPack => "git-upload-pack",
            Service::ReceivePackLs | Service::ReceivePack => "git-receive-pack",
        };
        let stream = self.connect().map_err(|error| self.traffic.fail_git(error))?;
        let mut stream = Counted { inner: stream, traffic: self.traffic.clone() };
        stream.write_all(&self.greeting(service)).map_err(|error| git2::Error::from_str(&error.to_string()))?;
        Ok(Box::new(stream))
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}
