//! What a running service is asked: whether it lives, whether it gets work done, whether its code is still the one
//! that it was started from.

use std::fs;
use std::io::{ErrorKind, Read as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::process;
use crate::domain::running::Running;
use crate::domain::service::{Beat, Event, Heartbeat, Pulse, Sign};
use crate::ports::manager::{Asked, Question};
use crate::ports::{Clock, Exec, Exit, Program};
use crate::sys::probes::{HttpClient, NoAnswer};

/// Largest heartbeat file that is read, in bytes.
const BEAT_BYTES: u64 = 4 * 1024;
/// Most files of source trees that are looked at.
const FILES: usize = 50_000;
/// Files below a watched folder that count as source. Others may be what the service itself writes.
const SOURCES: [&str; 26] = [
    "c", "cc", "cpp", "ex", "exs", "go", "h", "hpp", "jar", "java", "js", "kt", "lua", "mjs", "php", "pl", "pm", "py",
    "rb", "rs", "scala", "sh", "so", "ts", "tsx", "war",
];
/// Folders that are made from source, or are none of the project's.
const SKIPPED: [&str; 4] = ["__pycache__", "node_modules", "target", "venv"];

/// A page.
pub struct HttpQuestion {
    /// The address.
    pub url: String,
    /// How long an answer may take.
    pub timeout: Duration,
    /// What it is asked with.
    pub client: HttpClient,
}

impl Question for HttpQuestion {
    fn ask(&mut self, _of: &Asked) -> Vec<Event> {
        vec![Event::Sign(match self.client.status(&self.url, self.timeout) {
            Ok(status) if status < 500 => Sign::Alive,
            Ok(status) => Sign::Dead(format!("{} answers {status}", self.url)),
            Err(NoAnswer::Theirs(why)) => Sign::Dead(format!("{}: {why}", self.url)),
            Err(NoAnswer::Ours(why)) => Sign::Unknown(format!("{}: {why}", self.url)),
        })]
    }
}

/// A port.
pub struct TcpQuestion {
    /// `host:port`
    pub address: String,
    /// How long it may take.
    pub timeout: Duration,
}

impl Question for TcpQuestion {
    fn ask(&mut self, _of: &Asked) -> Vec<Event> {
        let sign = |why: &dyn std::fmt::Display, dead| {
            let why = format!("{}: {why}", self.address);
            if dead { Sign::Dead(why) } else { Sign::Unknown(why) }
        };
        let address = match self.address.to_socket_addrs().map(|mut all| all.next()) {
            Ok(Some(address)) => address,
            Ok(None) => return vec![Event::Sign(sign(&"no address", false))],
            Err(error) => return vec![Event::Sign(sign(&error, false))],
        };
        vec![Event::Sign(match TcpStream::connect_timeout(&address, self.timeout) {
            Ok(_) => Sign::Alive,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => sign(&"nobody listens", true),
            // A host that is this one does not lose packets: it does not take the connection.
            Err(error) if error.kind() == ErrorKind::TimedOut && address.ip().is_loopback() => sign(&error, true),
            Err(error) => sign(&error, false),
        })]
    }
}

/// A program.
pub struct CommandQuestion<E> {
    /// What is run.
    pub program: Program,
    /// What runs it.
    pub exec: E,
}

impl<E: Exec> Question for CommandQuestion<E> {
    fn ask(&mut self, _of: &Asked) -> Vec<Event> {
        let ran = self.exec.run(&self.program);
        let said = String::from_utf8_lossy(&ran.stdout);
        let first: String = said.lines().next().unwrap_or_default().chars().take(200).collect();
        vec![Event::Sign(match ran.exit {
            Exit::Code(0) => Sign::Alive,
            Exit::Code(code @ 1..=2) => Sign::Dead(format!("its check says {code}: {first}")),
            Exit::Code(code) => Sign::Unknown(format!("its check says {code}: {first}")),
            Exit::Signal(signal) => Sign::Unknown(format!("its check was ended by signal {signal}")),
            Exit::TimedOut => Sign::Unknown("its check hangs".to_owned()),
            Exit::NotStarted(why) => Sign::Unknown(format!("its check cannot run: {why}")),
        })]
    }
}

/// A heartbeat file.
pub struct HeartbeatQuestion {
    wanted: Heartbeat,
    pulse: Pulse,
    began: Instant,
}

impl HeartbeatQuestion {
    /// Reads the file that is named there.
    #[must_use]
    pub fn new(wanted: Heartbeat) -> Self {
        Self { wanted, pulse: Pulse::default(), began: Instant::now() }
    }

    fn read(&self) -> Result<Beat, String> {
        let path = &self.wanted.file;
        let failed = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
        // One that is no plain file may be such that opening it waits.
        let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).map_err(|error| failed(&error))?;
        let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|error| failed(&error))?;
        if !file.metadata().is_ok_and(|meta| meta.is_file()) {
            return Err(failed(&"no plain file"));
        }
        let mut text = String::new();
        file.take(BEAT_BYTES).read_to_string(&mut text).map_err(|error| failed(&error))?;
        Beat::parse(&text).map_err(|why| failed(&why))
    }
}

impl Question for HeartbeatQuestion {
    fn ask(&mut self, _of: &Asked) -> Vec<Event> {
        let now = Running::from_millis(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX));
        let read = self.read();
        self.pulse.take(&self.wanted, read, now)
    }

    fn renew(&mut self) {
        self.pulse = Pulse::default();
    }
}

/// The files that a service is made of.
pub struct SourceQuestion<C> {
    /// Files, and folders of which the source files count.
    pub paths: Vec<PathBuf>,
    /// The wall clock, by which files are dated.
    pub clock: C,
}

impl<C: Clock> Question for SourceQuestion<C> {
    fn ask(&mut self, of: &Asked) -> Vec<Event> {
        let now = self.clock.now();
        // Counted from the boot each time: a clock that was set since would make all files newer.
        let since = of.process.and_then(|process| process::since(process, now)).or(of.since);
        let Some(since) = since else { return Vec::new() };
        let newest = self.paths.iter().filter_map(|path| newest(path, now)).max();
        vec![Event::Source(newest.filter(|newest| *newest > since))]
    }
}

/// The newest change of a file, or of the source files below a folder. What is dated after `now` does not count: it
/// would be newer than any process for ever.
fn newest(path: &Path, now: Timestamp) -> Option<Timestamp> {
    let dated = |meta: &fs::Metadata| {
        let at = Timestamp::try_from(meta.modified().ok()?).ok()?;
        (at <= now).then_some(at)
    };
    let meta = fs::metadata(path).ok()?;
    if meta.is_file() {
        return dated(&meta);
    }
    let (mut open, mut newest, mut files) = (vec![path.to_owned()], None, 0);
    while let Some(folder) = open.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            files += 1;
            if files > FILES {
                return newest;
            }
            let (name, path) = (entry.file_name(), entry.path());
            let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else { continue };
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && !SKIPPED.contains(&name) {
                open.push(path);
            } else if kind.is_file()
                && path.extension().and_then(|ending| ending.to_str()).is_some_and(|ending| SOURCES.contains(&ending))
            {
                newest = newest.max(entry.metadata().ok().as_ref().and_then(dated));
            }
        }
    }
    newest
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpListener;

    use super::*;
    use crate::sys::clock::SystemClock;

    fn asked() -> Asked {
        Asked { process: process::now(std::process::id()), since: None }
    }

    #[test]
    fn a20_a_port_that_refuses_is_dead_and_a_name_that_is_not_found_is_unknown() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("bound").to_string();
        let ask = |address: &str| {
            let mut question = TcpQuestion { address: address.to_owned(), timeout: Duration::from_secs(5) };
            question.ask(&asked())
        };
        assert_eq!(ask(&address), [Event::Sign(Sign::Alive)]);
        drop(listener);
        assert!(matches!(ask(&address).as_slice(), [Event::Sign(Sign::Dead(_))]));
        assert!(matches!(ask("no.such.host.invalid:1").as_slice(), [Event::Sign(Sign::Unknown(_))]));
    }

    #[test]
    fn a_page_that_is_silent_or_refuses_is_dead_and_one_that_is_not_found_is_unknown() {
        let silent = TcpListener::bind("127.0.0.1:0").expect("bound");
        let client = HttpClient::new().expect("made");
        let ask = |url: String| {
            HttpQuestion { url, timeout: Duration::from_millis(300), client: client.clone() }.ask(&asked())
        };
        let silent_page = format!("http://{}/", silent.local_addr().expect("bound"));
        assert!(matches!(ask(silent_page.clone()).as_slice(), [Event::Sign(Sign::Dead(_))]));
        drop(silent);
        assert!(matches!(ask(silent_page).as_slice(), [Event::Sign(Sign::Dead(_))]));
        assert!(matches!(ask("http://no.such.host.invalid/".to_owned()).as_slice(), [Event::Sign(Sign::Unknown(_))]));
        let answering = TcpListener::bind("127.0.0.1:0").expect("bound");
        let url = format!("http://{}/", answering.local_addr().expect("bound"));
        for (status, expected) in [("404 Not Found", true), ("503 No", false)] {
            let url = url.clone();
            let thread = std::thread::spawn({
                let answering = answering.try_clone().expect("cloned");
                move || {
                    let (mut stream, _) = answering.accept().expect("asked");
                    let mut request = [0; 1024];
                    let read = stream.read(&mut request).expect("read");
                    assert!(read > 0);
                    write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                        .expect("sent");
                }
            });
            let mut question = HttpQuestion { url, timeout: Duration::from_secs(20), client: client.clone() };
            let said = question.ask(&asked());
            assert_eq!(said == [Event::Sign(Sign::Alive)], expected, "{said:?}");
            thread.join().expect("answered");
        }
    }

    #[test]
    fn a7_only_source_files_that_are_newer_than_the_process_count() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let now = SystemClock.now();
        let at = |seconds: i64| {
            std::time::SystemTime::from(Timestamp::from_second(now.as_second() + seconds).expect("a time"))
        };
        let file = |name: &str, time| {
            let file = fs::File::create(dir.path().join(name)).expect("made");
            file.set_modified(time).expect("dated");
        };
        let mut question = SourceQuestion { paths: vec![dir.path().to_owned()], clock: SystemClock };
        let of = Asked { process: None, since: Timestamp::from_second(now.as_second() - 100).ok() };
        file("old.py", at(-200));
        file("data.db", at(-10));
        file("future.py", at(100_000));
        assert_eq!(question.ask(&of), [Event::Source(None)]);
        file("new.py", at(-50));
        assert_eq!(question.ask(&of), [Event::Source(Timestamp::from_second(now.as_second() - 50).ok())]);
        assert!(question.ask(&Asked { process: None, since: None }).is_empty());
    }
}
