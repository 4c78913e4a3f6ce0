//! Looks at what runs here. Nothing is asked of anybody but systemd and the container engine, and nothing is changed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::domain::inventory::{Container, Inventory, Port, Unit};
use crate::ports::{Exec, Exit, Program};

/// How long systemd and the container engine may take each.
const WAIT: Duration = Duration::from_secs(5);
/// Most bytes of an answer.
const ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// Most entries that are looked at below `/etc`, and how deep.
const ENTRIES: usize = 20_000;
const DEEPEST: usize = 5;
/// Largest file that is looked into for a certificate.
const CERTIFICATE_BYTES: u64 = 64 * 1024;
/// Most open files that are looked at to find who listens.
const OPEN_FILES: usize = 200_000;
/// The certificates of others, which the system brings and renews.
const OF_OTHERS: [&str; 6] =
    ["ssl/certs", "ca-certificates", "pki/ca-trust", "pki/tls/certs/ca-bundle.crt", "ssl/cert.pem", "java"];
/// State of a socket that listens.
const LISTENS: &str = "0A";

/// Where things are on this host.
#[derive(Clone, Debug)]
pub struct Places {
    /// `/proc`.
    pub proc: PathBuf,
    /// `/etc`.
    pub etc: PathBuf,
    /// The socket of the container engine.
    pub engine: PathBuf,
    /// The program that asks systemd.
    pub systemctl: String,
}

impl Default for Places {
    fn default() -> Self {
        let engine = PathBuf::from("/var/run/docker.sock");
        Self { proc: "/proc".into(), etc: "/etc".into(), engine, systemctl: "systemctl".to_owned() }
    }
}

/// Looks around. What cannot be seen is not there.
#[must_use]
pub fn look(places: &Places, exec: &impl Exec) -> Inventory {
    Inventory {
        units: units(&places.systemctl, exec),
        ports: ports(&places.proc),
        containers: containers(&places.engine),
        certificates: certificates(&places.etc),
    }
}

fn units(systemctl: &str, exec: &impl Exec) -> Vec<Unit> {
    let arguments = [systemctl, "show", "*.service", "--no-pager", "--property=Id,ActiveState,ControlGroup"];
    let argv = arguments.map(str::to_owned).to_vec();
    let ran = exec.run(&Program { argv, dir: "/".into(), timeout: WAIT, output_cap: ANSWER_BYTES, memory: None });
    if ran.exit != Exit::Code(0) {
        return Vec::new();
    }
    let said = String::from_utf8_lossy(&ran.stdout);
    let mut found: Vec<Unit> = said.split("\n\n").filter_map(unit).collect();
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found.dedup_by(|one, other| one.name == other.name);
    found
}

/// A block of `KEY=value` lines.
fn unit(block: &str) -> Option<Unit> {
    let field = |key: &str| block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let has_failed = match field("ActiveState")? {
        "active" => false,
        "failed" => true,
        _ => return None,
    };
    let cgroup = field("ControlGroup").unwrap_or_default().trim_start_matches('/').to_owned();
    // One that is active without processes did something once.
    (has_failed || !cgroup.is_empty())
        .then(|| field("Id").map(|name| Unit { name: name.to_owned(), has_failed, cgroup }))?
}

fn ports(proc: &Path) -> Vec<Port> {
    let mut found: BTreeMap<u16, (SocketAddr, String)> = BTreeMap::new();
    for table in ["net/tcp", "net/tcp6"] {
        let text = fs::read_to_string(proc.join(table)).unwrap_or_default();
        for (address, inode) in text.lines().skip(1).filter_map(listener) {
            // One that listens on all addresses is reached here by the one that every host has.
            let ip = match address.ip() {
                IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
                ip => ip,
            };
            found.entry(address.port()).or_insert((SocketAddr::new(ip, address.port()), inode));
        }
    }
    let owners = owners(proc);
    let port = |(address, inode): (SocketAddr, String)| Port { address, owner: owners.get(&inode).cloned() };
    found.into_values().map(port).collect()
}

fn listener(line: &str) -> Option<(SocketAddr, String)> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    if fields.get(3) != Some(&LISTENS) {
        return None;
    }
    let (ip, port) = fields.get(1)?.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    // Words of four bytes, each in the order of this machine.
    let words: Vec<[u8; 4]> = (0..ip.len() / 8)
        .map(|word| u32::from_str_radix(ip.get(word * 8..word * 8 + 8)?, 16).ok().map(u32::to_ne_bytes))
        .collect::<Option<_>>()?;
    let ip = match words[..] {
        [word] => IpAddr::from(word),
        [a, b, c, d] => {
            let bytes: [u8; 16] = [a, b, c, d].concat().try_into().ok()?;
            Ipv6Addr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    Some((SocketAddr::new(ip, port), (*fields.get(9)?).to_owned()))
}

/// Who has which socket open, by the socket's inode. Of others' processes only root sees that.
fn owners(proc: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut left = OPEN_FILES;
    for process in fs::read_dir(proc).into_iter().flatten().flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        for open in fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten() {
            let Some(after) = left.checked_sub(1) else { return found };
            left = after;
            let Ok(target) = fs::read_link(open.path()) else { continue };
            let target = target.to_string_lossy();
            if let Some(inode) = target.strip_prefix("socket:[").and_then(|inode| inode.strip_suffix(']')) {
                found.insert(inode.to_owned(), format!("pid {pid} ({})", name.trim()));
            }
        }
    }
    found
}

#[derive(Deserialize)]
struct Listed {
    #[serde(rename = "Names", default)]
    names: Vec<String>,
    #[serde(rename = "Image", default)]
    image: String,
    #[serde(rename = "Status", default)]
    status: String,
}

/// Asks the engine in its own words over its socket.
fn containers(socket: &Path) -> Vec<Container> {
    let ask = || -> Option<Vec<Listed>> {
        let mut stream = UnixStream::connect(socket).ok()?;
        stream.set_read_timeout(Some(WAIT)).and_then(|()| stream.set_write_timeout(Some(WAIT))).ok()?;
        stream.write_all(b"GET /containers/json HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES as u64).read_to_end(&mut answer).ok()?;
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
        serde_json::from_slice(&answer[end + 4..]).ok()
    };
    let named = |one: Listed| {
        let name = one.names.first()?.trim_start_matches('/').to_owned();
        Some(Container { name, image: one.image, status: one.status })
    };
    let mut found: Vec<Container> = ask().unwrap_or_default().into_iter().filter_map(named).collect();
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found
}

fn certificates(etc: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![(etc.to_owned(), 0)];
    let mut left = ENTRIES;
    while let Some((dir, depth)) = open.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let Some(after) = left.checked_sub(1) else { break };
            left = after;
            let path = entry.path();
            let is_others =
                path.strip_prefix(etc).is_ok_and(|path| OF_OTHERS.iter().any(|other| path.starts_with(other)));
            let Ok(kind) = entry.file_type() else { continue };
            if is_others {
                continue;
            }
            if kind.is_dir() && depth < DEEPEST {
                open.push((path, depth + 1));
            } else if is_certificate(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn is_certificate(path: &Path) -> bool {
    let is_named_so = path.extension().is_some_and(|kind| kind == "pem" || kind == "crt" || kind == "cer");
    let is_small = || path.metadata().is_ok_and(|found| found.is_file() && found.len() <= CERTIFICATE_BYTES);
    is_named_so
        && is_small()
        && fs::read(path).is_ok_and(|text| {
            let mark = b"-----BEGIN CERTIFICATE-----";
            text.windows(mark.len()).any(|part| part == mark)
        })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::time::Duration;

    use super::*;
    use crate::ports::Ran;

    /// Says this, whatever is run.
    struct Says(&'static str, Exit);

    impl Exec for Says {
        fn run(&self, _: &Program) -> Ran {
            let stdout = self.0.as_bytes().to_vec();
            Ran { exit: self.1.clone(), stdout, stderr: Vec::new(), took: Duration::ZERO }
        }
    }

    #[test]
    fn units_that_run_or_failed_are_listed() {
        let said = "Id=nginx.service\nActiveState=active\nControlGroup=/system.slice/nginx.service\n\n\
                    ControlGroup=\nId=backup.service\nActiveState=failed\n\n\
                    Id=once.service\nActiveState=active\nControlGroup=\n\nId=off.service\nActiveState=inactive\nControlGroup=\n";
        let found = units("systemctl", &Says(said, Exit::Code(0)));
        let found: Vec<_> =
            found.iter().map(|unit| (unit.name.as_str(), unit.has_failed, unit.cgroup.as_str())).collect();
        assert_eq!(found, [("backup.service", true, ""), ("nginx.service", false, "system.slice/nginx.service")]);
        assert_eq!(units("systemctl", &Says(said, Exit::Code(1))), []);
    }

    #[test]
    fn who_listens_on_this_machine_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let six = std::net::TcpListener::bind("[::]:0").ok();
        let found = ports("/proc".as_ref());
        let of = |address: SocketAddr| found.iter().find(|port| port.address.port() == address.port());
        let address = listener.local_addr().expect("bound");
        let port = of(address).expect("found");
        assert_eq!(port.address, address);
        assert!(port.owner.as_ref().is_some_and(|owner| owner.starts_with(&format!("pid {} (", std::process::id()))));
        if let Some(address) = six.and_then(|six| six.local_addr().ok()) {
            assert!(of(address).is_some_and(|port| port.address.ip() == Ipv4Addr::LOCALHOST), "{found:?}");
        }
    }

    #[test]
    fn containers_are_asked_for_over_the_socket() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let socket = dir.path().join("docker.sock");
        let listener = UnixListener::bind(&socket).expect("bound");
        let asked = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("asked");
            let mut request = [0; 512];
            let got = stream.read(&mut request).expect("read");
            let body = r#"[{"Names":["/web"],"Image":"nginx:1","Status":"Up 3 hours (healthy)","State":"running"},{"Names":[]}]"#;
            stream
                .write_all(format!("HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{body}").as_bytes())
                .expect("sent");
            String::from_utf8_lossy(&request[..got]).into_owned()
        });
        let found = containers(&socket);
        assert!(asked.join().expect("asked").starts_with("GET /containers/json "));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].name.as_str(), found[0].status.as_str()), ("web", "Up 3 hours (healthy)"));
        assert_eq!(containers(&dir.path().join("gone")), []);
    }

    #[test]
    fn certificates_of_this_host_are_found_and_those_of_others_are_not() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let text = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n";
        for path in ["letsencrypt/live/a/cert.pem", "nginx/site.crt", "ssl/certs/root.pem", "nginx/key.pem", "a.conf"] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().expect("below")).expect("made");
            fs::write(&path, if path.ends_with("key.pem") { "-----BEGIN PRIVATE KEY-----" } else { text })
                .expect("written");
        }
        let found = certificates(dir.path());
        let found: Vec<_> = found.iter().map(|path| path.strip_prefix(dir.path()).expect("below").to_owned()).collect();
        assert_eq!(found, [PathBuf::from("letsencrypt/live/a/cert.pem"), PathBuf::from("nginx/site.crt")]);
    }
}
