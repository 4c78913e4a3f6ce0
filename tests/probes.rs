//! Probes against real files, servers and programs.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::Duration;

use mesh::domain::signal::Subject;
use mesh::ports::{Clock, Probe, Program, Reading};
use mesh::sys::clock::SystemClock;
use mesh::sys::exec::SystemExec;
use mesh::sys::probes::{HttpClient, HttpProbe, LogProbe, NtpProbe, Page, ProgramProbe, TcpProbe, UpstreamProbe};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(200);

fn subject() -> Subject {
    Subject::near("app")
}

fn value(readings: &[Reading], signal: &str) -> Result<f64, String> {
    let found = readings.iter().find(|reading| reading.name.signal.name == signal);
    found.unwrap_or_else(|| panic!("no {signal} in {readings:?}")).value.clone()
}

struct Log {
    dir: tempfile::TempDir,
    probe: LogProbe,
}

impl Log {
    fn new(text: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temp dir");
        fs::write(dir.path().join("app.log"), text).expect("written");
        let probe = follow(&dir.path().join("app.log"), None);
        let mut log = Self { dir, probe };
        assert_eq!(log.probe.read(), [], "the first look only finds its place");
        log
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("app.log")
    }

    fn append(&self, text: &str) {
        let mut file = OpenOptions::new().append(true).create(true).open(self.path()).expect("opened");
        file.write_all(text.as_bytes()).expect("written");
    }

    fn errors(&mut self) -> f64 {
        value(&self.probe.read(), "log.error_rate").expect("known")
    }
}

fn follow(path: &Path, mark: Option<&str>) -> LogProbe {
    LogProbe::new(subject(), path.to_owned(), "(?i)error", mark).expect("a pattern")
}

#[test]
fn b10_only_new_lines_are_counted() {
    let mut log = Log::new("error of yesterday\n");
    assert_eq!(log.errors(), 0.0);
    log.append("fine\nan ERROR\nhalf an er");
    assert_eq!(log.errors(), 1.0);
    log.append("ror\n");
    assert_eq!(log.errors(), 2.0, "a line that was written in two parts is one line");
    assert_eq!(log.errors(), 2.0, "nothing new is nothing new");
}

#[test]
fn b10_rotation_and_truncation_are_followed() {
    let mut log = Log::new("old\n");
    log.append("error 1\n");
    fs::rename(log.path(), log.dir.path().join("app.log.1")).expect("rotated");
    fs::write(log.path(), "error 2\n").expect("written");
    assert_eq!(log.errors(), 2.0, "the rest of the old file, and the new one from its start");
    fs::write(log.path(), "error 3\n").expect("truncated to the same length");
    assert_eq!(log.errors(), 3.0);
    fs::write(log.path(), "a longer first line\nerror 4\n").expect("truncated, and longer than before");
    assert_eq!(log.errors(), 4.0);
    fs::remove_file(log.path()).expect("removed");
    assert!(value(&log.probe.read(), "log.error_rate").is_err(), "not there is not known");
    fs::write(log.path(), "error 5\n").expect("back");
    assert_eq!(log.errors(), 5.0);
}

#[test]
fn b10_after_a_restart_reading_goes_on_where_it_stopped() {
    let mut log = Log::new("error 1\n");
    log.append("error 2\n");
    assert_eq!(log.errors(), 1.0);
    let mark = log.probe.mark().expect("a place");
    log.append("error 3\n");
    let mut next = follow(&log.path(), Some(&mark));
    assert_eq!(value(&next.read(), "log.error_rate"), Ok(1.0), "only what came in between");
    for bad in ["", "1 2", "x y z -", "1 2 3 zz"] {
        assert_eq!(follow(&log.path(), Some(bad)).read(), [], "a bad mark is none: {bad}");
    }
}

#[test]
fn a_2_gb_log_is_followed_without_reading_it_again() {
    let mut log = Log::new("");
    let file = File::options().write(true).open(log.path()).expect("opened");
    file.set_len(2 << 30).expect("a sparse file");
    let mut fresh = follow(&log.path(), None);
    assert_eq!(fresh.read(), []);
    assert!(fresh.bytes_read() < 1024, "{} bytes were read to find the end", fresh.bytes_read());
    let line = b"an error at the end\n";
    file.write_all_at(line, 2 << 30).expect("written");
    let readings = fresh.read();
    assert_eq!(value(&readings, "log.error_rate"), Ok(1.0));
    assert!(value(&readings, "log.size_mb").expect("known") > 2_147.0);
    assert!(fresh.bytes_read() < 1024, "{} bytes were read for {} new ones", fresh.bytes_read(), line.len());
    // The one that saw it empty has 2 GB before it: it reads a part and says how much it left out.
    let readings = log.probe.read();
    assert!(log.probe.bytes_read() < 9 << 20, "{} bytes were read of a flood", log.probe.bytes_read());
    assert!(value(&readings, "log.skipped_mb").expect("known") > 2_100.0);
    assert!(value(&readings, "log.growth_mb_per_h").expect("known") > 2_147.0);
}

#[test]
fn a_flood_is_sampled_and_told_as_what_it_stands_for() {
    let mut log = Log::new("");
    log.append(&"error\n".repeat(4 << 20));
    let errors = log.errors();
    let written = f64::from(4 << 20);
    assert!((errors - written).abs() < written / 1000.0, "{errors} of {written}");
    assert!(log.probe.bytes_read() < 9 << 20);
}

#[test]
fn a_line_without_end_is_read_in_bounded_parts() {
    let mut log = Log::new("");
    log.append(&"x".repeat(1 << 20));
    assert_eq!(log.errors(), 0.0);
    log.append("error\n");
    assert_eq!(log.errors(), 1.0);
}

#[test]
fn a_pipe_in_the_place_of_a_log_holds_nobody() {
    let dir = tempfile::tempdir().expect("a temp dir");
    let path = dir.path().join("pipe");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).expect("made");
    assert!(value(&follow(&path, None).read(), "log.error_rate").is_err_and(|why| why.contains("no plain file")));
}

/// A server that answers each connection with these bytes; without any it never answers.
fn server(answer: Option<&'static str>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            match answer {
                Some(answer) => {
                    // Until the request has come in, so that closing does not reset it.
                    let read = stream.read(&mut [0; 4096]).unwrap_or(0);
                    assert!(read > 0 && stream.write_all(answer.as_bytes()).is_ok());
                }
                None => held.push(stream),
            }
        }
    });
    address
}

fn page(address: SocketAddr, timeout: Duration, number: Option<(String, &'static str)>) -> Vec<Reading> {
    let client = HttpClient::new().expect("a client");
    let page = Page { url: format!("http://{address}/"), number, ..Page::default() };
    HttpProbe::new(subject(), page, timeout, client).expect("no pattern").read()
}

#[test]
fn b14_pages_are_measured() {
    let address =
        server(Some("HTTP/1.1 503 No\r\ncontent-length: 19\r\nconnection: close\r\n\r\n{\"queue\":{\"n\": 42}}"));
    let readings = page(address, LONG, Some(("$.queue.n".to_owned(), "check.value")));
    assert_eq!(value(&readings, "http.status"), Ok(503.0), "a bad status is an answer");
    assert!(value(&readings, "http.latency_ms").is_ok_and(|took| took > 0.0));
    assert_eq!(value(&readings, "check.value"), Ok(42.0));
    let readings = page(address, LONG, Some(("nothing".to_owned(), "check.value")));
    assert!(value(&readings, "check.value").is_err());
}

#[test]
fn a20_a_page_that_cannot_be_asked_is_unknown() {
    assert_eq!(value(&page(server(None), SHORT, None), "http.status"), Err("no answer in time".to_owned()));
    let free = TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("bound");
    assert!(value(&page(free, LONG, None), "http.status").is_err());
    assert!(value(&page(server(Some("nonsense\r\n\r\n")), LONG, None), "http.status").is_err());
}

#[test]
fn b13_ports_are_open_or_not_or_unknown() {
    let ask = |address: String| TcpProbe::new(subject(), address, None, LONG).read();
    let open = ask(server(None).to_string());
    assert_eq!(value(&open, "tcp.open"), Ok(1.0));
    let free = TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("bound");
    assert_eq!(value(&ask(free.to_string()), "tcp.open"), Ok(0.0));
    assert!(value(&ask("no-such-host.invalid:1".to_owned()), "tcp.open").is_err());
}

fn program(script: &str, timeout: Duration) -> Vec<Reading> {
    let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
    let program = Program { argv, dir: std::env::temp_dir(), timeout, output_cap: 4096, memory: None };
    ProgramProbe::new(subject(), program, Some("check.value"), None, SystemExec).read()
}

#[test]
fn b23_programs_speak_as_nagios_plugins_do() {
    for (code, status) in [(0, Ok(0.0)), (1, Ok(1.0)), (2, Ok(2.0)), (3, Err("code 3: said why".to_owned()))] {
        assert_eq!(value(&program(&format!("echo said why; exit {code}"), LONG), "check.status"), status);
    }
    assert_eq!(value(&program("echo 'OK | jobs=17;;'", LONG), "check.value"), Ok(17.0));
    assert!(value(&program("echo nothing", LONG), "check.value").is_err());
    let hung = program("echo 5; sleep 1000", SHORT);
    assert_eq!(value(&hung, "check.status"), Err("no answer in time".to_owned()));
    assert!(value(&hung, "check.value").is_err(), "what it said before it hung does not count");
}

/// A time server that is `ahead` seconds ahead; without the number that was asked with, its answer is nobody's.
fn time_server(ahead: f64, repeats: bool) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let address = socket.local_addr().expect("bound").to_string();
    thread::spawn(move || {
        let mut asked = [0; 48];
        while let Ok((48, from)) = socket.recv_from(&mut asked) {
            use mesh::ports::Clock as _;
            let now = SystemClock.now().as_microsecond() as f64 / 1e6 + ahead + 2_208_988_800.0;
            let mut answer = [0; 48];
            (answer[0], answer[1]) = (0b00_100_100, 2);
            if repeats {
                answer[24..32].copy_from_slice(&asked[40..48]);
            }
            let whole = now.floor();
            for place in [32, 40] {
                let digits = format!("{whole:.0}").parse::<u32>().expect("before 2036");
                answer[place..place + 4].copy_from_slice(&digits.to_be_bytes());
                let fraction = format!("{:.0}", (now - whole) * 4_294_967_295.0).parse::<u32>().expect("less than one");
                answer[place + 4..place + 8].copy_from_slice(&fraction.to_be_bytes());
            }
            socket.send_to(&answer, from).expect("sent");
        }
    });
    address
}

#[test]
fn b18_the_clock_is_compared_with_a_time_server() {
    let ask = |address: String, timeout| {
        value(&NtpProbe::new(subject(), address, timeout, SystemClock).read(), "host.clock.offset_ms")
    };
    let off = ask(time_server(-90.0, true), LONG).expect("known");
    assert!((off - 90_000.0).abs() < 10_000.0, "{off} ms");
    assert!(ask(time_server(0.0, false), LONG).is_err_and(|why| why.contains("in order")));
    let silent = UdpSocket::bind("127.0.0.1:0").expect("bound");
    assert!(ask(silent.local_addr().expect("bound").to_string(), SHORT).is_err());
}

/// A clock that the test sets, in seconds.
#[derive(Clone)]
struct Watch(Arc<AtomicI64>);

impl Clock for Watch {
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::from_second(self.0.load(Ordering::Relaxed)).expect("a time")
    }
}

#[test]
fn b20_writes_upstream_that_fail_are_told_apart_from_reads_and_forgotten_by_time_alone() {
    let dir = tempfile::tempdir().expect("a temp dir");
    let path = dir.path().join("operations.json");
    let count = |read: (u64, u64), write: (u64, u64), more: &str| {
        let of = |(ok, failed): (u64, u64)| format!("{{\"ok\":{ok},\"failed\":{failed}}}");
        fs::write(&path, format!("{{\"read\":{},\"write\":{}{more}}}", of(read), of(write))).expect("written");
    };
    let watch = Watch(Arc::new(AtomicI64::new(1_000_000)));
    let window = Duration::from_secs(600);
    let probe = |mark: Option<&str>| UpstreamProbe::new(subject(), path.clone(), window, mark, watch.clone());
    let mut first = probe(None);
    let (writes, reads) = ("upstream.write_error_percent", "upstream.read_error_percent");
    assert!(value(&first.read(), writes).expect_err("nothing there").contains("cannot be read"));
    count((100, 0), (100, 100), "");
    assert_eq!(value(&first.read(), writes), Ok(0.0), "what failed before anybody looked is not of late");
    watch.0.fetch_add(300, Ordering::Relaxed);
    count((900, 0), (150, 150), "");
    let readings = first.read();
    assert_eq!((value(&readings, reads), value(&readings, writes)), (Ok(0.0), Ok(50.0)));
    assert_eq!(readings.len(), 2, "no quota is named");
    // Successes alone take nothing back; mesh is started again meanwhile.
    watch.0.fetch_add(60, Ordering::Relaxed);
    count((1_000, 0), (150, 170), ",\"quota\":{\"used\":45,\"limit\":60}");
    let mark = first.mark().expect("a mark");
    let mut again = probe(Some(&mark));
    let readings = again.read();
    assert_eq!((value(&readings, writes), value(&readings, "upstream.quota_used_percent")), (Ok(100.0), Ok(75.0)));
    watch.0.fetch_add(599, Ordering::Relaxed);
    count((1_000, 0), (155, 170), "");
    assert_eq!(value(&again.read(), writes), Ok(80.0), "20 of 25 within the window");
    watch.0.fetch_add(1, Ordering::Relaxed);
    count((1_000, 0), (175, 170), "");
    assert_eq!(value(&again.read(), writes), Ok(0.0), "their time is over");
    fs::write(&path, "[]").expect("written");
    assert!(value(&again.read(), writes).expect_err("no counts").contains("does not count operations"));
}
