//! What the program tells the service manager that started it: that it is ready, alive, stopping (`sd_notify`).
//!
//! A message is one datagram to the socket that the manager names in the environment. Without one nothing is told.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

/// The service manager, if one wants to know.
#[derive(Debug)]
pub struct Ready {
    to: Option<(UnixDatagram, SocketAddr)>,
    /// How often it wants to hear that the program lives.
    pub every: Option<Duration>,
}

impl Ready {
    /// As the environment says.
    #[must_use]
    pub fn from_environment() -> Self {
        let words = |name: &str| std::env::var(name).ok();
        Self::new(std::env::var_os("NOTIFY_SOCKET"), words("WATCHDOG_USEC"), words("WATCHDOG_PID"))
    }

    fn new(socket: Option<OsString>, watchdog: Option<String>, for_pid: Option<String>) -> Self {
        let to = socket.and_then(|name| Some((UnixDatagram::unbound().ok()?, address(&name)?)));
        let ours = for_pid.is_none_or(|pid| pid == std::process::id().to_string());
        let limit = watchdog.filter(|_| ours && to.is_some()).and_then(|limit| limit.parse().ok());
        // Half of it, as is usual: one message may be late.
        let every = limit.filter(|&limit| limit > 0).map(|limit: u64| Duration::from_micros(limit) / 2);
        Self { to, every }
    }

    /// It has started: what waits for it may go on.
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// It is still alive.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    /// It was told to stop and does so; that may take a while.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    fn tell(&self, word: &str) {
        if let Some((socket, address)) = &self.to {
            // A manager that does not listen must not be what ends the program.
            drop(socket.send_to_addr(word.as_bytes(), address));
        }
    }
}

/// A path, or with `@` a name that is no file.
fn address(name: &OsString) -> Option<SocketAddr> {
    match name.as_bytes() {
        [b'/', ..] => SocketAddr::from_pathname(Path::new(name)).ok(),
        #[cfg(target_os = "linux")]
        [b'@', name @ ..] => <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_one_message_to_a_path_or_a_name() {
        let folder = tempfile::tempdir().expect("a temp dir");
        let path = folder.path().join("notify");
        let name = format!("@mesh-test-{}", std::process::id());
        for to in [path.into_os_string(), OsString::from(name)] {
            let heard = UnixDatagram::bind_addr(&address(&to).expect("an address")).expect("a socket");
            let manager = Ready::new(Some(to), Some("10000000".to_owned()), None);
            assert_eq!(manager.every, Some(Duration::from_secs(5)));
            manager.ready();
            manager.alive();
            manager.stopping();
            let mut words = Vec::new();
            for _ in 0..3 {
                let mut word = [0; 64];
                let length = heard.recv(&mut word).expect("a message");
                words.push(String::from_utf8_lossy(&word[..length]).into_owned());
            }
            assert_eq!(words, ["READY=1", "WATCHDOG=1", "STOPPING=1"]);
        }
    }

    #[test]
    fn nobody_is_told_when_nobody_asks() {
        let nobody = Ready::new(None, Some("10000000".to_owned()), None);
        assert_eq!(nobody.every, None);
        nobody.ready();
        let somebody = Some(OsString::from("/nowhere/notify"));
        let other = Ready::new(somebody.clone(), Some("10000000".to_owned()), Some("1".to_owned()));
        assert_eq!(other.every, None, "the watchdog is for another process");
        other.ready();
        assert_eq!(Ready::new(somebody, Some("0".to_owned()), None).every, None);
        assert!(address(&OsString::from("notify")).is_none());
    }
}
