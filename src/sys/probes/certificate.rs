//! How long certificates last: of a file, and of a server that is asked for them.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};

use super::reading;
use crate::domain::signal::Subject;
use crate::ports::{Clock, Probe, Reading};

const DAYS: &str = "cert.days_left";
/// Most bytes of a file of certificates.
const FILE_BYTES: u64 = 1024 * 1024;
/// Later than any certificate can end: the year 9999 is the last one that they can name.
const AFTER_ALL: u64 = 300_000_000_000;
const DAY_S: f64 = 86_400.0;

/// Reads certificates from a file in PEM.
pub struct CertificateFile<C> {
    name: Subject,
    path: PathBuf,
    clock: C,
}

impl<C: Clock> CertificateFile<C> {
    /// Reads `path`. Of several certificates in it the one that ends first counts.
    #[must_use]
    pub fn new(name: Subject, path: PathBuf, clock: C) -> Self {
        Self { name, path, clock }
    }

    fn days(&self) -> Result<f64, String> {
        let failed = |why: &dyn std::fmt::Display| format!("{}: {why}", self.path.display());
        let mut pem = Vec::new();
        let file = File::open(&self.path).map_err(|error| failed(&error))?;
        file.take(FILE_BYTES).read_to_end(&mut pem).map_err(|error| failed(&error))?;
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        let found = found.map_err(|error| failed(&error))?;
        days_left(&found, &self.clock).map_err(|why| failed(&why))
    }
}

impl<C: Clock> Probe for CertificateFile<C> {
    fn read(&mut self) -> Vec<Reading> {
        vec![reading(DAYS, &self.name, self.days())]
    }
}

/// Asks a server for its certificates. It trusts none of them: how long they last is all that it wants to know.
pub struct TlsProbe<C> {
    name: Subject,
    address: String,
    server: ServerName<'static>,
    timeout: Duration,
    config: Arc<ClientConfig>,
    clock: C,
}

impl<C: Clock> TlsProbe<C> {
    /// Asks `address`, which is `host:port`, for what it shows to those who ask for `server`; for the host where
    /// none is named.
    ///
    /// # Errors
    /// The name can be none of a server.
    pub fn new(
        name: Subject,
        address: String,
        server: Option<&str>,
        timeout: Duration,
        clock: C,
    ) -> Result<Self, String> {
        let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host).trim_matches(['[', ']']);
        let host = server.unwrap_or(host).to_owned();
        let server = ServerName::try_from(host.clone()).map_err(|_| format!("`{host}` is no name of a server"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(TakeAny(provider)))
            .with_no_client_auth();
        Ok(Self { name, address, server, timeout, config: Arc::new(config), clock })
    }

    fn days(&self) -> Result<f64, String> {
        let end = Instant::now() + self.timeout;
        let failed = |error: std::io::Error| match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => format!("{}: no answer in time", self.address),
            _ => format!("{}: {error}", self.address),
        };
        let mut addresses = self.address.to_socket_addrs().map_err(failed)?;
        let address: SocketAddr = addresses.next().ok_or_else(|| format!("{} has no address", self.address))?;
        let mut socket = TcpStream::connect_timeout(&address, left(end)).map_err(failed)?;
        let connection = ClientConnection::new(Arc::clone(&self.config), self.server.clone());
        let mut connection = connection.map_err(|error| error.to_string())?;
        connection.complete_io(&mut Until { socket: &mut socket, end }).map_err(failed)?;
        let days = days_left(connection.peer_certificates().unwrap_or_default(), &self.clock);
        connection.send_close_notify();
        // The answer is there; whether the other side hears of the end is its own affair.
        drop(connection.write_tls(&mut Until { socket: &mut socket, end }));
        days
    }
}

/// Never nothing: a socket takes no wait of that length.
fn left(end: Instant) -> Duration {
    end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

/// A socket with one end for all that is read and written: one that sends a byte now and then is not waited for
/// longer than one that sends none.
struct Until<'a> {
    socket: &'a mut TcpStream,
    end: Instant,
}

impl Until<'_> {
    fn wait(&self) -> std::io::Result<()> {
        if Instant::now() >= self.end {
            return Err(ErrorKind::TimedOut.into());
        }
        let wait = Some(left(self.end));
        self.socket.set_read_timeout(wait).and_then(|()| self.socket.set_write_timeout(wait))
    }
}

impl std::io::Read for Until<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        self.wait()?;
        self.socket.read(bytes)
    }
}

impl std::io::Write for Until<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.wait()?;
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.socket.flush()
    }
}

impl<C: Clock> Probe for TlsProbe<C> {
    fn read(&mut self) -> Vec<Reading> {
        vec![reading(DAYS, &self.name, self.days())]
    }
}

/// Takes any certificate, also one that has ended or is signed by nobody. Who talks holds the key of it all the same.
#[derive(Debug)]
struct TakeAny(Arc<CryptoProvider>);

impl ServerCertVerifier for TakeAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Days until the first of these ends; less than nothing when it has.
fn days_left(certificates: &[CertificateDer<'_>], clock: &impl Clock) -> Result<f64, String> {
    let ends = certificates.iter().map(not_after).collect::<Result<Vec<_>, _>>()?;
    let first = ends.into_iter().min().ok_or("there is no certificate")?;
    // Fewer than 2^53 seconds.
    Ok((first as f64 - clock.now().as_second() as f64) / DAY_S)
}

/// When a certificate ends, in seconds since 1970. webpki tells it to those who ask whether it is good after that.
fn not_after(certificate: &CertificateDer<'_>) -> Result<u64, String> {
    static ALGORITHMS: OnceLock<rustls::crypto::WebPkiSupportedAlgorithms> = OnceLock::new();
    let algorithms =
        ALGORITHMS.get_or_init(|| rustls::crypto::ring::default_provider().signature_verification_algorithms);
    let parsed = webpki::EndEntityCert::try_from(certificate).map_err(|error| format!("a certificate: {error}"))?;
    let then = UnixTime::since_unix_epoch(Duration::from_secs(AFTER_ALL));
    let usage = webpki::KeyUsage::server_auth();
    match parsed.verify_for_usage(algorithms.all, &[], &[], then, usage, None, None) {
        Err(webpki::Error::CertExpired { not_after, .. }) => Ok(not_after.as_secs()),
        Err(error) => Err(format!("a certificate: {error}")),
        Ok(_) => Err("a certificate does not say when it ends".to_owned()),
    }
}
