//! Whether a name resolves: as every program here asks for it, or by one question to a server.
//!
//! Without a server the system's own resolver is asked, `nsswitch.conf` and all, since it is what other programs
//! depend on. With one, a single question goes to it over UDP, which tells a dead server from a broken resolver.

use std::net::{ToSocketAddrs as _, UdpSocket};
use std::time::{Duration, Instant};

use super::reading;
use crate::domain::signal::Subject;
use crate::ports::{Probe, Reading};

/// Largest answer over UDP of those who were not told that more is taken.
const ANSWER_BYTES: usize = 512;
/// Bytes before the question.
const HEAD: usize = 12;
/// Kinds of records that are asked for: addresses of version 4, then of version 6.
const KINDS: [u16; 2] = [1, 28];

/// Asks for the addresses of one name.
pub struct DnsProbe {
    name: Subject,
    host: String,
    server: Option<String>,
    timeout: Duration,
}

impl DnsProbe {
    /// Asks for `host`, `server` where one is named: `host:port`.
    #[must_use]
    pub fn new(name: Subject, host: String, server: Option<String>, timeout: Duration) -> Self {
        Self { name, host, server, timeout }
    }

    fn resolves(&self) -> Result<bool, String> {
        let Some(server) = &self.server else {
            // It says in its own words why not. Either way nobody here gets an address.
            return Ok((self.host.as_str(), 0).to_socket_addrs().is_ok_and(|mut found| found.next().is_some()));
        };
        for kind in KINDS {
            if self.ask(server, kind)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn ask(&self, server: &str, kind: u16) -> Result<bool, String> {
        let failed = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => format!("{server}: no answer in time"),
            _ => format!("{server}: {error}"),
        };
        let mut id = [0; 2];
        getrandom::fill(&mut id).map_err(|_| "no random numbers".to_owned())?;
        let question = question(id, &self.host, kind).ok_or_else(|| format!("`{}` is no name", self.host))?;
        let socket = UdpSocket::bind("0.0.0.0:0").or_else(|_| UdpSocket::bind("[::]:0")).map_err(failed)?;
        socket.connect(server).map_err(failed)?;
        let end = Instant::now() + self.timeout / 2;
        // A lost packet is no broken server: it is asked twice.
        for last in [false, true] {
            socket.send(&question).map_err(failed)?;
            let end = if last { end } else { end.min(Instant::now() + self.timeout / 4) };
            loop {
                let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
                socket.set_read_timeout(Some(left)).map_err(failed)?;
                let mut answer = [0; ANSWER_BYTES];
                match socket.recv(&mut answer) {
                    // What is no answer to this question is somebody else's.
                    Ok(length) => match addresses(&answer[..length], &question) {
                        Some(found) => return Ok(found),
                        None if Instant::now() < end => {}
                        None => break,
                    },
                    Err(error) if !last && error.kind() == std::io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(failed(error)),
                }
            }
        }
        Err(format!("{server}: no answer in time"))
    }
}

impl Probe for DnsProbe {
    fn read(&mut self) -> Vec<Reading> {
        let started = Instant::now();
        let found = self.resolves();
        let took = started.elapsed().as_secs_f64() * 1e3;
        vec![
            reading("dns.resolves", &self.name, found.clone().map(|found| f64::from(u8::from(found)))),
            reading("dns.latency_ms", &self.name, found.map(|_| took)),
        ]
    }
}

/// One question; `None` for what can be no name.
fn question(id: [u8; 2], host: &str, kind: u16) -> Option<Vec<u8>> {
    // Recursion is wanted; one question.
    let mut bytes = vec![id[0], id[1], 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in host.trim_end_matches('.').split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..64).contains(length))?;
        bytes.push(length);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&[0, 1]);
    (bytes.len() <= HEAD + 255 + 4).then_some(bytes)
}

/// Whether an answer to `question` has records; `None` when it is none to it. One that says no has none.
fn addresses(answer: &[u8], question: &[u8]) -> Option<bool> {
    let head = answer.get(..HEAD)?;
    let is_answer = head[..2] == question[..2] && head[2] & 0x80 != 0;
    let asked = answer.get(HEAD..question.len())?;
    // Servers may write a name in other letters, but they send back what was asked.
    if !is_answer || !asked.eq_ignore_ascii_case(&question[HEAD..]) {
        return None;
    }
    Some(head[3] & 0x0f == 0 && u16::from_be_bytes([head[6], head[7]]) > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_to_the_question_counts() {
        let asked = question([7, 9], "example.org.", 1).expect("a name");
        let answer = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut answer = asked.clone();
            (answer[2], answer[7]) = (0x81, 1);
            change(&mut answer);
            addresses(&answer, &asked)
        };
        assert_eq!(answer(&|_| {}), Some(true));
        assert_eq!(answer(&|bytes| bytes[3] = 3), Some(false), "no such name");
        assert_eq!(answer(&|bytes| bytes[7] = 0), Some(false), "no address");
        assert_eq!(answer(&|bytes| bytes[0] = 8), None, "another question's");
        assert_eq!(answer(&|bytes| bytes[2] = 1), None, "a question");
        assert_eq!(answer(&|bytes| bytes[14] = b'z'), None, "of another name");
        assert_eq!(answer(&|bytes| bytes.truncate(20)), None);
        for bad in ["", ".", "a..b", &"x".repeat(64), &vec!["x".repeat(60); 5].join(".")] {
            assert_eq!(question([0, 0], bad, 1), None, "{bad}");
        }
    }
}
