//! Sources of signals against real servers, processes, files, and output in the form of other programs.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mesh::domain::signal::Subject;
use mesh::ports::{Clock, Probe, Reading};
use mesh::sys::clock::SystemClock;
use mesh::sys::exec::SystemExec;
use mesh::sys::probes::{
    CertificateFile, DnsProbe, Expected, FileProbe, HttpClient, HttpProbe, JobProbe, JournalOf, JournalProbe,
    NumberProbe, Page, ServiceProbe, TlsProbe, Whereabouts, by_pid_file,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(300);
const DAY_S: i64 = 86_400;

fn subject() -> Subject {
    Subject::near("app")
}

fn value(readings: &[Reading], signal: &str) -> Result<f64, String> {
    let found = readings.iter().find(|reading| reading.name.signal.name == signal);
    found.unwrap_or_else(|| panic!("no {signal} in {readings:?}")).value.clone()
}

/// So many seconds from now.
struct In(i64);

impl Clock for In {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(SystemClock.now().as_second() + self.0).expect("a time")
    }
}

#[expect(clippy::disallowed_methods, reason = "a test starts the programs that it measures and compares with")]
fn command(program: &str) -> Command {
    Command::new(program)
}

// Certificates.

/// A certificate of `days`, signed by a CA of its own, and the key of it.
struct Issued {
    dir: tempfile::TempDir,
}

impl Issued {
    fn for_days(days: u32) -> Self {
        let dir = tempfile::tempdir().expect("a temp dir");
        let issued = Self { dir };
        let openssl = |arguments: &[&str]| {
            let output = command("openssl").args(arguments).current_dir(issued.dir.path()).output();
            let output = output
                .unwrap_or_else(|error| panic!("openssl ({error}): install it with `sudo apt-get install openssl`"));
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        let ca = ["req", "-x509", "-days", "400", "-subj", "/CN=test CA", "-keyout", "ca.key", "-out", "ca.pem"];
        openssl(&[&ca[..], &key[..]].concat());
        openssl(&[&["req", "-subj", "/CN=localhost", "-keyout", "key.pem", "-out", "csr.pem"][..], &key[..]].concat());
        fs::write(issued.path("names"), "subjectAltName=DNS:localhost\n").expect("written");
        let days = days.to_string();
        let sign = ["x509", "-req", "-in", "csr.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"];
        openssl(&[&sign[..], &["-extfile", "names", "-days", &days, "-out", "cert.pem"]].concat());
        issued
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn pem(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).expect("made")
    }

    /// A server that shows it to whoever connects.
    fn serve(&self) -> String {
        let chain: Vec<_> = ["cert.pem", "ca.pem"]
            .iter()
            .flat_map(|name| {
                CertificateDer::pem_slice_iter(&self.pem(name)).map(|one| one.expect("PEM")).collect::<Vec<_>>()
            })
            .collect();
        let key = PrivateKeyDer::from_pem_slice(&self.pem("key.pem")).expect("PEM");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|config| config.with_no_client_auth().with_single_cert(chain, key));
        let config = Arc::new(config.expect("a server"));
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let port = listener.local_addr().expect("bound").port();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let mut server = rustls::ServerConnection::new(Arc::clone(&config)).expect("a server");
                // Whether the client stays is its own affair.
                drop(rustls::Stream::new(&mut server, &mut stream).read(&mut [0; 16]));
            }
        });
        format!("localhost:{port}")
    }
}

fn tls(address: &str, timeout: Duration, clock: impl Clock) -> Result<f64, String> {
    let mut probe = TlsProbe::new(subject(), address.to_owned(), None, timeout, clock).expect("a probe");
    value(&probe.read(), "cert.days_left")
}

fn near(found: &Result<f64, String>, wanted: f64) -> bool {
    found.as_ref().is_ok_and(|found| (found - wanted).abs() < 0.01)
}

#[test]
fn b16_a_server_is_asked_how_long_its_certificate_lasts_also_when_nobody_would_trust_it() {
    let issued = Issued::for_days(20);
    let address = issued.serve();
    let now = tls(&address, LONG, In(0));
    assert!(near(&now, 20.0), "{now:?}");
    let later = tls(&address, LONG, In(25 * DAY_S));
    assert!(near(&later, -5.0), "one that has ended says so: {later:?}");
    let silent = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = silent.local_addr().expect("bound").to_string();
    assert!(tls(&address, SHORT, In(0)).is_err_and(|why| why.contains("no answer in time")));
    assert!(TlsProbe::new(subject(), "a b:1".to_owned(), None, LONG, SystemClock).is_err());
}

#[test]
fn b16_a_server_that_trickles_is_given_up_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("bound").to_string();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        // A record of TLS that never ends.
        let mut bytes = [22, 3, 3, 63, 0].into_iter().chain(std::iter::repeat(2));
        while stream.write_all(&[bytes.next().expect("endless")]).is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    });
    assert!(tls(&address, SHORT, In(0)).is_err());
}

#[test]
fn b16_the_certificate_of_a_file_that_ends_first_counts() {
    let issued = Issued::for_days(30);
    let ask = |name: &str| value(&CertificateFile::new(subject(), issued.path(name), In(0)).read(), "cert.days_left");
    let (own, ca) = (ask("cert.pem"), ask("ca.pem"));
    assert!(near(&own, 30.0) && near(&ca, 400.0), "{own:?} {ca:?}");
    let both = [issued.pem("ca.pem"), issued.pem("cert.pem"), issued.pem("key.pem")].concat();
    fs::write(issued.path("both.pem"), both).expect("written");
    assert!(near(&ask("both.pem"), 30.0));
    assert!(ask("key.pem").is_err_and(|why| why.contains("there is no certificate")));
    let broken = String::from_utf8(issued.pem("cert.pem")).expect("text").replace("MII", "MIJ");
    fs::write(issued.path("broken.pem"), broken).expect("written");
    assert!(ask("broken.pem").is_err() && ask("gone.pem").is_err());
}

// Names.

/// A name server that knows `known.example` and says no to others; of the first `deaf` questions it hears nothing.
fn name_server(deaf: usize) -> (String, Arc<AtomicUsize>) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let address = socket.local_addr().expect("bound").to_string();
    let asked = Arc::new(AtomicUsize::new(0));
    let heard = Arc::clone(&asked);
    thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut question) {
            if heard.fetch_add(1, Ordering::SeqCst) < deaf {
                continue;
            }
            let mut answer = question[..length].to_vec();
            let is_known = answer[12..].starts_with(b"\x05known\x07example\0");
            (answer[2], answer[3], answer[7]) = (0x81, if is_known { 0x80 } else { 0x83 }, u8::from(is_known));
            if is_known {
                answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
            }
            // First what is no answer: of another question.
            let mut stray = answer.clone();
            stray[0] ^= 0xff;
            socket.send_to(&stray, from).expect("sent");
            socket.send_to(&answer, from).expect("sent");
        }
    });
    (address, asked)
}

fn resolve(host: &str, server: Option<String>, timeout: Duration) -> Vec<Reading> {
    DnsProbe::new(subject(), host.to_owned(), server, timeout).read()
}

#[test]
fn b18_a_name_server_is_asked_and_its_no_is_an_answer() {
    let (server, asked) = name_server(0);
    let known = resolve("known.example", Some(server.clone()), LONG);
    assert_eq!(value(&known, "dns.resolves"), Ok(1.0));
    assert!(value(&known, "dns.latency_ms").is_ok_and(|took| took >= 0.0));
    assert_eq!(value(&resolve("gone.example", Some(server), LONG), "dns.resolves"), Ok(0.0));
    assert_eq!(asked.load(Ordering::SeqCst), 3, "both kinds of addresses of the one that is not there");
    let (server, _) = name_server(1);
    let again = resolve("known.example", Some(server), Duration::from_secs(4));
    assert_eq!(value(&again, "dns.resolves"), Ok(1.0), "a lost question is asked again");
    let silent = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let address = silent.local_addr().expect("bound").to_string();
    assert!(value(&resolve("known.example", Some(address), SHORT), "dns.resolves").is_err());
}

#[test]
fn b18_without_a_server_the_system_resolves() {
    assert_eq!(value(&resolve("localhost", None, LONG), "dns.resolves"), Ok(1.0));
    assert_eq!(value(&resolve("no-such-host.invalid", None, LONG), "dns.resolves"), Ok(0.0));
}

// Pages.

#[test]
fn b14_a_page_that_is_another_one_is_no_match() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let url = format!("http://{}/", listener.local_addr().expect("bound"));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let read = stream.read(&mut [0; 4096]).unwrap_or(0);
            let answer = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 9\r\nconnection: close\r\n\r\nall fine\n";
            assert!(read > 0 && stream.write_all(answer.as_bytes()).is_ok());
        }
    });
    let ask = |body: Option<&str>, header: Option<(&str, &str)>| {
        let header = header.map(|(name, wanted)| (name.to_owned(), wanted.to_owned()));
        let page = Page { url: url.clone(), number: None, body: body.map(str::to_owned), header };
        let mut probe = HttpProbe::new(subject(), page, LONG, HttpClient::new().expect("a client")).expect("sound");
        let matched = value(&probe.read(), "http.match");
        (matched, probe.remarks().pop().map(|(_, text)| text).unwrap_or_default())
    };
    assert_eq!(ask(Some("^all fine\\s*$"), Some(("Content-Type", "^text/html"))), (Ok(1.0), String::new()));
    assert_eq!(ask(Some("error"), None), (Ok(0.0), "the body does not match error".to_owned()));
    assert_eq!(ask(Some("fine"), Some(("content-type", "json"))).1, "header content-type does not match json");
    assert_eq!(ask(None, Some(("x-none", ".*"))).1, "there is no header x-none");
}

// Files and jobs.

#[test]
fn b9_a_file_is_compared_with_what_it_is_to_be() {
    let dir = tempfile::tempdir().expect("a temp dir");
    let path = dir.path().join("sshd_config");
    fs::write(&path, "abc").expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("set");
    let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let expected =
        Expected { sha256: Some(sha256.to_owned()), mode: Some(0o600), unchanged: true, ..Expected::default() };
    let mut probe = FileProbe::new(subject(), path.clone(), expected.clone(), None, In(7_200));
    let sound = probe.read();
    assert_eq!((value(&sound, "file.exists"), value(&sound, "file.changed")), (Ok(1.0), Ok(0.0)));
    assert!(value(&sound, "file.age_hours").is_ok_and(|age| (1.9..2.1).contains(&age)), "{sound:?}");
    let mark = probe.mark();
    fs::write(&path, "abcd").expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("set");
    let mut next = FileProbe::new(subject(), path.clone(), expected, mark.as_deref(), In(0));
    assert_eq!(value(&next.read(), "file.changed"), Ok(3.0), "mode, bytes, and not as it was");
    assert!(next.remarks()[0].1.starts_with("mode 0644, not 0600"), "{:?}", next.remarks());
    fs::remove_file(&path).expect("removed");
    let gone = next.read();
    assert_eq!(value(&gone, "file.exists"), Ok(0.0));
    assert_eq!(gone.len(), 1, "of what is not there nothing else is told");
}

#[test]
fn a18_a_job_is_as_fresh_as_the_stamp_that_it_left() {
    let dir = tempfile::tempdir().expect("a temp dir");
    let stamp = dir.path().join("backup.ok");
    let ask = |ahead: i64| value(&JobProbe::new(subject(), stamp.clone(), In(ahead)).read(), "job.age_hours");
    assert!(ask(0).is_err_and(|why| why.contains("never succeeded")));
    fs::write(&stamp, "").expect("written");
    assert!(ask(27 * 3_600).is_ok_and(|hours| hours > 26.9), "later than a day ago");
}

#[test]
fn b3_a_number_is_read_from_a_file() {
    let dir = tempfile::tempdir().expect("a temp dir");
    let path = dir.path().join("state");
    let ask = |text: &str, json: Option<&str>| {
        fs::write(&path, text).expect("written");
        let mut probe = NumberProbe::new(subject(), path.clone(), json.map(str::to_owned), "service.throughput");
        value(&probe.read(), "service.throughput")
    };
    assert_eq!(ask("17.5 jobs\n", None), Ok(17.5));
    assert_eq!(ask("{\"jobs\": {\"done\": 4}}", Some("jobs.done")), Ok(4.0));
    for (text, json) in [("", None), ("many", None), ("NaN", None), ("{}", Some("jobs")), ("{", Some("jobs"))] {
        assert!(ask(text, json).is_err(), "{text}");
    }
}

// The journal.

/// A program in the place of `journalctl`: it writes its arguments down, and prints what `answer` holds.
struct Journal {
    dir: tempfile::TempDir,
}

const LINES: &str = include_str!("fixtures/journal.json");

impl Journal {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temp dir");
        let journal = Self { dir };
        let script = "#!/bin/sh\nprintf '%s\\n' \"$*\" >> \"${0%/*}/asked\"\ncase \"$*\" in\n\
                      *--lines=1*) tail -n 1 \"${0%/*}/newest\";;\n*) cat \"${0%/*}/answer\";;\nesac\n\
                      [ ! -e \"${0%/*}/fails\" ] || { echo 'Failed to seek to cursor' >&2; exit 1; }\n";
        fs::write(journal.program(), script).expect("written");
        fs::set_permissions(journal.program(), fs::Permissions::from_mode(0o755)).expect("set");
        journal.put("newest", LINES.lines().next().expect("a line"));
        journal.put("answer", LINES);
        journal
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join(name), text).expect("written");
    }

    fn program(&self) -> PathBuf {
        self.dir.path().join("journalctl")
    }

    fn asked(&self) -> String {
        fs::read_to_string(self.dir.path().join("asked")).expect("asked")
    }

    fn follow(&self, pattern: Option<&str>, mark: Option<&str>) -> JournalProbe<SystemExec> {
        let of = JournalOf { unit: Some("app.service".to_owned()), pattern: pattern.map(str::to_owned) };
        let program = self.program();
        let program = program.to_str().expect("UTF-8");
        JournalProbe::new(subject(), &of, program, LONG, mark, SystemExec).expect("sound")
    }
}

#[test]
fn b10_the_journal_is_read_from_where_it_stopped() {
    let journal = Journal::new();
    let mut probe = journal.follow(None, None);
    assert_eq!(probe.read(), [], "the first look only finds its place");
    assert_eq!(value(&probe.read(), "log.error_rate"), Ok(3.0), "priorities 0 to 3 of its lines");
    let asked = journal.asked();
    assert!(
        asked
            .lines()
            .nth(1)
            .is_some_and(|line| line.contains("--after-cursor=s=") && line.contains("--unit=app.service"))
    );
    let last = LINES.lines().last().expect("lines");
    let cursor =
        serde_json::from_str::<serde_json::Value>(last).expect("JSON")["__CURSOR"].as_str().expect("text").to_owned();
    assert_eq!(probe.mark().as_deref(), Some(cursor.as_str()));
    let mut by_text = journal.follow(Some("(?i)failed|caf\u{e9}"), probe.mark().as_deref());
    assert_eq!(value(&by_text.read(), "log.error_rate"), Ok(2.0), "also in a line that journald gives as bytes");
    journal.put("fails", "");
    assert!(value(&by_text.read(), "log.error_rate").is_err_and(|why| why.contains("Failed to seek")));
    fs::remove_file(journal.dir.path().join("fails")).expect("removed");
    assert_eq!(by_text.read(), [], "it finds a new place");
    assert_eq!(journal.follow(None, Some("s=x\n--root=/")).read(), [], "what is no cursor is none");
}

#[test]
fn b10_of_a_flood_in_the_journal_a_part_stands_for_all() {
    let journal = Journal::new();
    let line = |at: u64| {
        let text = "x".repeat(1_000);
        format!(
            "{{\"__CURSOR\":\"s=1;i={at:x}\",\"__REALTIME_TIMESTAMP\":\"{at}\",\"PRIORITY\":\"3\",\"MESSAGE\":\"{text}\"}}\n"
        )
    };
    // 16 MB, one line each millisecond; the newest one ten times as far away.
    let all: String = (1..=15_000).map(|n| line(n * 1_000)).collect();
    journal.put("answer", &all);
    journal.put("newest", &line(150_000_000));
    let mut probe = journal.follow(None, Some("s=1;i=0"));
    let readings = probe.read();
    let errors = value(&readings, "log.error_rate").expect("known");
    assert!((errors - 150_000.0).abs() < 1_500.0, "{errors} of 150000");
    assert!(value(&readings, "log.skipped_mb").is_ok_and(|left_out| left_out > 100.0), "{readings:?}");
    assert_eq!(probe.mark().as_deref(), Some("s=1;i=8f0d180"), "it goes on behind the newest line");
}

// Services.

/// Processes that are ended with it.
struct Tree(Child);

impl Tree {
    /// A shell with two children, the second of which was started by the first.
    fn start() -> Self {
        let child = command("sh").args(["-c", "sh -c 'sleep 1000 & wait' & wait"]).stdin(Stdio::null()).spawn();
        let tree = Self(child.expect("a shell"));
        let limit = Instant::now() + LONG;
        while value(&tree.ask(), "service.processes") != Ok(3.0) {
            assert!(Instant::now() < limit, "no three processes: {:?}", tree.ask());
            thread::yield_now();
        }
        tree
    }

    fn ask(&self) -> Vec<Reading> {
        let pid = self.0.id();
        let find = move || Ok(Whereabouts { pid: Some(pid), cgroup: None });
        ServiceProbe::new(subject(), "/proc", "/sys/fs/cgroup", Box::new(find)).read()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let children = |pid: u32| fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let mut all = vec![self.0.id()];
        let mut at = 0;
        while let Some(pid) = all.get(at).copied() {
            all.extend(children(pid).split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
            at += 1;
        }
        for pid in all {
            let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).expect("a pid");
            // It may have ended by itself.
            match rustix::process::kill_process(pid, rustix::process::Signal::KILL) {
                Ok(()) | Err(_) => {}
            }
        }
        drop(self.0.wait());
    }
}

#[test]
fn b5_a_service_is_its_process_and_all_that_descend_from_it() {
    let tree = Tree::start();
    let readings = tree.ask();
    for (signal, least) in [("service.rss_mb", 0.1), ("service.threads", 3.0), ("service.fds", 3.0)] {
        assert!(value(&readings, signal).is_ok_and(|found| found >= least), "{signal}: {readings:?}");
    }
    assert!(value(&readings, "service.fd_used_percent").is_ok_and(|used| used > 0.0 && used < 100.0));
}

#[test]
fn b5_open_files_and_their_limit_are_those_of_the_process() {
    let mut child = command("sh").args(["-c", "ulimit -Sn 200; exec sleep 1000 3</dev/null"]).spawn().expect("a shell");
    let pid = child.id();
    let find = move || Ok(Whereabouts { pid: Some(pid), cgroup: None });
    let mut probe = ServiceProbe::new(subject(), "/proc", "/sys/fs/cgroup", Box::new(find));
    let limit = Instant::now() + LONG;
    while fs::read_to_string(format!("/proc/{pid}/comm")).expect("it runs").trim() != "sleep" {
        assert!(Instant::now() < limit, "no sleep");
        thread::yield_now();
    }
    let listed = fs::read_dir(format!("/proc/{pid}/fd")).expect("our own child").count() as f64;
    assert!(listed >= 4.0, "{listed}");
    for _ in 0..2 {
        let readings = probe.read();
        assert_eq!(value(&readings, "service.fds"), Ok(listed));
        assert_eq!(value(&readings, "service.fd_used_percent"), Ok(listed / 2.0), "of 200");
    }
    child.kill().and_then(|()| child.wait()).expect("ended");
}

#[test]
fn b5_the_processor_time_of_a_busy_child_is_told_and_an_end_is_unknown() {
    let mut child = command("sh").args(["-c", "while :; do :; done"]).spawn().expect("a shell");
    let pid = child.id();
    let find = move || Ok(Whereabouts { pid: Some(pid), cgroup: None });
    let mut probe = ServiceProbe::new(subject(), "/proc", "/sys/fs/cgroup", Box::new(find));
    assert!(probe.read().iter().all(|one| one.name.signal.name != "service.cpu_percent"), "one look is no change");
    let limit = Instant::now() + LONG;
    while value(&probe.read(), "service.cpu_percent").is_ok_and(|used| used <= 0.0) {
        assert!(Instant::now() < limit, "a loop uses no processor");
        thread::sleep(Duration::from_millis(20));
    }
    child.kill().and_then(|()| child.wait()).expect("ended");
    assert!(value(&probe.read(), "service.rss_mb").is_err_and(|why| why.contains("there is no process")));
}

#[test]
fn b19_a_cgroup_says_what_its_service_uses() {
    let dir = tempfile::tempdir().expect("a temp dir");
    let group = dir.path().join("system.slice/app.service");
    fs::create_dir_all(group.join("worker")).expect("made");
    let put = |name: &str, text: &str| fs::write(group.join(name), text).expect("written");
    put("memory.current", "50000000\n");
    put("memory.max", "100000000\n");
    put("memory.events", "low 0\nhigh 0\nmax 3\noom 2\noom_kill 1\noom_group_kill 0\n");
    put("cpu.stat", "usage_usec 1000000\nuser_usec 1\nthrottled_usec 0\n");
    put("cgroup.procs", &format!("{}\n", std::process::id()));
    put("worker/cgroup.procs", "");
    let find = || Ok(Whereabouts { pid: None, cgroup: Some("/system.slice/app.service".into()) });
    let mut probe = ServiceProbe::new(subject(), "/proc", dir.path(), Box::new(find));
    let first = probe.read();
    assert_eq!(value(&first, "service.cgroup_mb"), Ok(50.0));
    assert_eq!(value(&first, "service.cgroup_used_percent"), Ok(50.0));
    assert_eq!(value(&first, "service.oom_kills"), Ok(1.0));
    assert_eq!(value(&first, "service.processes"), Ok(1.0));
    put("cpu.stat", "usage_usec 1000000000\nuser_usec 1\nthrottled_usec 1000000\n");
    put("memory.max", "max\n");
    let second = probe.read();
    assert!(value(&second, "service.cpu_percent").is_ok_and(|used| used > 0.0));
    assert!(value(&second, "service.throttled_percent").is_ok_and(|held| held > 0.0));
    assert!(second.iter().all(|one| one.name.signal.name != "service.cgroup_used_percent"), "no limit, no part of it");
    fs::remove_dir_all(&group).expect("removed");
    assert!(value(&probe.read(), "service.rss_mb").is_err_and(|why| why.contains("no cgroup")));
}

#[test]
fn a_pid_file_that_is_older_than_its_process_names_another_one() {
    let dir = tempfile::tempdir().expect("a temp dir");
    let file = dir.path().join("app.pid");
    let proc = Path::new("/proc");
    fs::write(&file, format!("{}\n", std::process::id())).expect("written");
    assert_eq!(by_pid_file(proc, &file), Ok(Whereabouts { pid: Some(std::process::id()), cgroup: None }));
    let hour_ago = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    fs::File::options().write(true).open(&file).and_then(|file| file.set_modified(hour_ago)).expect("set");
    assert!(by_pid_file(proc, &file).is_err_and(|why| why.contains("it is another one")));
    for bad in ["", "x", "0", "4194305", "-1"] {
        fs::write(&file, bad).expect("written");
        assert!(by_pid_file(proc, &file).is_err(), "{bad}");
    }
}
