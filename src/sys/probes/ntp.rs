//! How far this clock is from that of a time server, by one exchange of SNTP (RFC 4330).

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use super::reading;
use crate::domain::signal::Subject;
use crate::ports::{Clock, Probe, Reading};

/// Seconds from 1900, where NTP counts from, to 1970.
const FROM_1900: f64 = 2_208_988_800.0;

/// Asks one time server.
pub struct NtpProbe<C> {
    name: Subject,
    address: String,
    timeout: Duration,
    clock: C,
}

impl<C: Clock> NtpProbe<C> {
    /// Asks `address`, which is `host:port`.
    #[must_use]
    pub fn new(name: Subject, address: String, timeout: Duration, clock: C) -> Self {
        Self { name, address, timeout, clock }
    }

    fn seconds(&self) -> f64 {
        self.clock.now().as_microsecond() as f64 / 1e6
    }

    /// How far this clock is off, in seconds, either way.
    fn offset(&self) -> Result<f64, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", self.address);
        let socket = UdpSocket::bind("0.0.0.0:0").or_else(|_| UdpSocket::bind("[::]:0")).map_err(failed)?;
        socket.connect(&self.address).map_err(failed)?;
        socket.set_read_timeout(Some(self.timeout)).map_err(failed)?;
        // A random number in the place of our time: the answer repeats it, and nobody else knows it.
        let mut asked = [0; 48];
        asked[0] = 0b00_100_011;
        getrandom::fill(&mut asked[40..]).map_err(|_| "no random numbers".to_owned())?;
        let (sent, started) = (self.seconds(), Instant::now());
        socket.send(&asked).map_err(failed)?;
        let mut answer = [0; 48];
        let length = socket.recv(&mut answer).map_err(failed)?;
        let received = sent + started.elapsed().as_secs_f64();
        let is_server = answer[0] & 0b111 == 4 && (1..=15).contains(&answer[1]);
        if length < 48 || !is_server || answer[24..32] != asked[40..48] {
            return Err(format!("{} does not answer as a time server in order", self.address));
        }
        Ok(((time(&answer[32..40]) - sent) + (time(&answer[40..48]) - received)) / 2.0)
    }
}

/// Seconds since 1970 of eight bytes: seconds since 1900 and a fraction. From 2036 on the count starts anew.
fn time(bytes: &[u8]) -> f64 {
    let part =
        |range: std::ops::Range<usize>| bytes[range].iter().fold(0.0, |sum, byte| sum * 256.0 + f64::from(*byte));
    let whole = part(0..4);
    let era = if whole < 2_147_483_648.0 { 4_294_967_296.0 } else { 0.0 };
    whole + era - FROM_1900 + part(4..8) / 4_294_967_296.0
}

impl<C: Clock> Probe for NtpProbe<C> {
    fn read(&mut self) -> Vec<Reading> {
        let offset = self.offset().map(|seconds| seconds.abs() * 1e3);
        vec![reading("host.clock.offset_ms", &self.name, offset)]
    }
}
