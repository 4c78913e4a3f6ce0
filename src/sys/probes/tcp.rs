//! A port: whether something listens, how long it takes to answer, and whether it speaks what it should.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::reading;
use crate::domain::protocol::{Protocol, WORDS};
use crate::domain::signal::{SeriesName, Subject};
use crate::ports::{Probe, Reading};

/// Connects, listens to the first words where a protocol is named, and hangs up.
pub struct TcpProbe {
    name: Subject,
    address: String,
    speaks: Option<Protocol>,
    timeout: Duration,
    /// What it said instead.
    other: Option<String>,
}

impl TcpProbe {
    /// Asks `address`, which is `host:port`.
    #[must_use]
    pub fn new(name: Subject, address: String, speaks: Option<Protocol>, timeout: Duration) -> Self {
        Self { name, address, speaks, timeout, other: None }
    }

    fn connect(&self) -> Result<Option<(TcpStream, Duration)>, String> {
        let mut addresses = self.address.to_socket_addrs().map_err(|error| format!("{}: {error}", self.address))?;
        let address = addresses.next().ok_or_else(|| format!("{} has no address", self.address))?;
        let started = Instant::now();
        match TcpStream::connect_timeout(&address, self.timeout) {
            Ok(stream) => Ok(Some((stream, started.elapsed()))),
            // The host is there and says that nobody listens.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(None),
            Err(error) => Err(format!("{}: {error}", self.address)),
        }
    }

    /// Whether its first words are of the protocol. Silence is unknown: it may be busy, or it may be us.
    fn listen(&mut self, mut stream: &TcpStream, protocol: Protocol) -> Result<bool, String> {
        let end = Instant::now() + self.timeout;
        let failed = |error: std::io::Error| match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => "it says nothing".to_owned(),
            _ => error.to_string(),
        };
        stream.set_write_timeout(Some(self.timeout)).map_err(failed)?;
        stream.write_all(protocol.hello()).map_err(failed)?;
        let (mut words, mut part) = (Vec::new(), [0; WORDS]);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err("it says nothing".to_owned());
            }
            stream.set_read_timeout(Some(left)).map_err(failed)?;
            let length = stream.read(&mut part).map_err(failed)?;
            words.extend_from_slice(&part[..length]);
            let speaks = protocol.speaks(&words);
            if speaks == Some(true) {
                // Whether it hears this is its own affair.
                drop(stream.write_all(protocol.farewell()));
                return Ok(true);
            }
            if speaks.is_some() || length == 0 {
                self.other =
                    Some(format!("it says {:?}", String::from_utf8_lossy(&words).lines().next().unwrap_or("")));
                return Ok(false);
            }
        }
    }
}

impl Probe for TcpProbe {
    fn read(&mut self) -> Vec<Reading> {
        self.other = None;
        let (open, latency, stream) = match self.connect() {
            Ok(Some((stream, took))) => (Ok(1.0), Ok(took.as_secs_f64() * 1e3), Ok(stream)),
            Ok(None) => (Ok(0.0), Err("nobody listens".to_owned()), Err("nobody listens".to_owned())),
            Err(why) => (Err(why.clone()), Err(why.clone()), Err(why)),
        };
        let mut told = vec![reading("tcp.open", &self.name, open), reading("tcp.latency_ms", &self.name, latency)];
        if let Some(protocol) = self.speaks {
            let speaks = stream.and_then(|stream| self.listen(&stream, protocol));
            told.push(reading("tcp.speaks", &self.name, speaks.map(|speaks| f64::from(u8::from(speaks)))));
        }
        told
    }

    fn remarks(&self) -> Vec<(SeriesName, String)> {
        let name = || SeriesName::of("tcp.speaks", self.name.clone());
        self.other.iter().map(|said| (name(), said.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// What each server says, in two parts where it has that much to say.
    const SERVERS: [(Protocol, &[&[u8]]); 4] = [
        (Protocol::Smtp, &[b"22", b"0 mail ESMTP\r\n"]),
        (Protocol::Ssh, &[b"SSH-2.0-", b"OpenSSH_9.2\r\n"]),
        (Protocol::Redis, &[b"-NOAUTH ", b"Authentication required.\r\n"]),
        (Protocol::Postgres, &[b"S"]),
    ];

    /// What is told of a server that hears `heard` bytes, says this in two parts, and hangs up or waits.
    fn told(
        protocol: Protocol,
        heard: usize,
        says: &'static [&'static [u8]],
        waits: bool,
    ) -> (Result<f64, String>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("bound").to_string();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("asked");
            let mut question = vec![0; heard];
            stream.read_exact(&mut question).expect("a question");
            says.iter().for_each(|words| stream.write_all(words).expect("sent"));
            let rest = if waits { stream.read_to_end(&mut question) } else { Ok(0) };
            drop(rest);
            question
        });
        let timeout = Duration::from_millis(if waits && says.is_empty() { 200 } else { 60_000 });
        let mut probe = TcpProbe::new("x".parse().expect("a subject"), address, Some(protocol), timeout);
        let readings = probe.read();
        assert_eq!(readings[0].value, Ok(1.0), "it is open");
        let said = probe.remarks().into_iter().map(|(_, text)| text).collect();
        drop(probe);
        server.join().expect("no fault");
        (readings[2].value.clone(), said)
    }

    #[test]
    fn b15_each_protocol_is_heard_without_a_login() {
        for (protocol, says) in SERVERS {
            assert_eq!(told(protocol, protocol.hello().len(), says, true), (Ok(1.0), String::new()), "{protocol:?}");
        }
    }

    #[test]
    fn b15_another_protocol_is_told_and_silence_is_unknown() {
        let (speaks, said) = told(Protocol::Smtp, 0, &[b"SSH-2.0-OpenSSH\r\n"], true);
        assert_eq!((speaks, said.as_str()), (Ok(0.0), "it says \"SSH-2.0-OpenSSH\""));
        assert_eq!(told(Protocol::Redis, 6, &[], false).0, Ok(0.0), "it hangs up");
        assert_eq!(told(Protocol::Smtp, 0, &[], true).0, Err("it says nothing".to_owned()));
        let closed = TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("bound").to_string();
        let mut probe =
            TcpProbe::new("x".parse().expect("a subject"), closed, Some(Protocol::Ssh), Duration::from_secs(60));
        let values: Vec<_> = probe.read().into_iter().map(|one| one.value.is_ok()).collect();
        assert_eq!(
            values,
            [true, false, false],
            "a port that refuses is closed, and nothing is known of who speaks there"
        );
    }
}
