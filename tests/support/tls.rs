//! TLS before a plain loopback server, with certificates of an authority that the test makes.

#![expect(clippy::disallowed_methods, reason = "certificates are made by openssl")]

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

use super::git_servers::listen;

/// An authority in a folder.
pub(crate) struct Authority {
    dir: PathBuf,
}

impl Authority {
    /// A new one, its certificate in `ca.pem`.
    pub(crate) fn new(dir: &Path) -> Self {
        let authority = Self { dir: dir.to_owned() };
        let arguments = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=authority \
                         -keyout ca.key -out ca.pem";
        authority.openssl(arguments);
        authority
    }

    /// What a client must know to trust it.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// A certificate and its key for a server of this name, such as `IP:127.0.0.1`, good for so many days.
    pub(crate) fn issue(&self, name: &str, days: u32) -> (PathBuf, PathBuf) {
        fs::write(self.dir.join("names"), format!("subjectAltName={name}\n")).expect("written");
        self.openssl(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=server -keyout server.key -out server.csr",
        );
        self.openssl(&format!(
            "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days {days} -extfile names -out server.pem"
        ));
        (self.dir.join("server.pem"), self.dir.join("server.key"))
    }

    fn openssl(&self, arguments: &str) {
        let output = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(&self.dir)
            .output()
            .unwrap_or_else(|error| panic!("openssl: {error}; run apt-get install openssl"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Ends TLS and hands what is inside to the server at `upstream`; returns `127.0.0.1:port`.
pub(crate) fn front(upstream: String, (certificate, key): (PathBuf, PathBuf)) -> String {
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    let chain = vec![CertificateDer::from_pem_file(certificate).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_file(key).expect("a key");
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).expect("a pair");
    let config = Arc::new(config);
    listen(move |connection| {
        let tls = ServerConnection::new(Arc::clone(&config)).expect("configured");
        let plain = TcpStream::connect(&upstream).expect("the server listens");
        // A client that refuses the certificate hangs up.
        let _ended = carry(tls, connection, plain);
    })
}

fn carry(mut tls: ServerConnection, mut outer: TcpStream, mut inner: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        let ready = {
            let mut watched = [PollFd::new(&outer, PollFlags::IN), PollFd::new(&inner, PollFlags::IN)];
            poll(&mut watched, None)?;
            watched.map(|one| !one.revents().is_empty())
        };
        if ready[0] {
            if tls.read_tls(&mut outer)? == 0 {
                return Ok(());
            }
            let state = tls.process_new_packets().map_err(io::Error::other)?;
            let mut text = vec![0; state.plaintext_bytes_to_read()];
            tls.reader().read_exact(&mut text)?;
            inner.write_all(&text)?;
        }
        let mut over = false;
        if ready[1] {
            let read = inner.read(&mut buffer)?;
            tls.writer().write_all(&buffer[..read])?;
            over = read == 0;
        }
        if over {
            tls.send_close_notify();
        }
        while tls.wants_write() {
            tls.write_tls(&mut outer)?;
        }
        if over {
            return Ok(());
        }
    }
}
