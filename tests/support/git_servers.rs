//! Real git servers on the loopback interface: `git http-backend`, `git daemon`, `sshd`, and a plain path.
//!
//! The daemons run once per connection, on a socket that the test accepted, so that no port is guessed and nothing
//! is left running.

#![expect(clippy::disallowed_methods, reason = "tests start real servers")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mesh::domain::id::HostId;
use mesh::sys::remote::{GitRemote, RemoteConfig};

/// The four ways to reach a repository.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Http,
    Daemon,
    Ssh,
    Local,
}

/// A bare repository behind a server, and room for the caches of its users.
pub(crate) struct Site {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) repo: PathBuf,
    pub(crate) config: RemoteConfig,
}

impl Site {
    pub(crate) fn new(kind: Kind) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let repo = dir.path().join("mesh.git");
        git(dir.path(), &["init", "-q", "--bare", "-b", "mesh", "mesh.git"]);
        git(&repo, &["config", "http.receivepack", "true"]);
        let mut site = Self { config: config(&repo.display().to_string()), dir, repo };
        match kind {
            Kind::Local => {}
            Kind::Http => {
                let (address, _requests) = http_backend(site.dir.path(), None);
                site.config = config(&format!("{address}/mesh.git"));
            }
            Kind::Daemon => site.config = config(&format!("git://{}/mesh.git", daemon(site.dir.path()))),
            Kind::Ssh => site.serve_ssh(),
        }
        site
    }

    /// A user of the branch with a cache of its own.
    pub(crate) fn user(&self, name: &str) -> GitRemote {
        GitRemote::new(env!("CARGO_BIN_EXE_mesh"), self.cache(name), self.config.clone())
    }

    pub(crate) fn cache(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}-cache.git"))
    }

    /// Runs git in the bare repository.
    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        git(&self.repo, arguments)
    }

    /// Installs a server hook.
    pub(crate) fn hook(&self, name: &str, script: &str) {
        let path = self.repo.join("hooks").join(name);
        fs::create_dir_all(path.parent().expect("has one")).expect("hooks directory");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("hook written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("hook made executable");
    }

    /// What a person sees who clones: checked by git itself, then every file by path.
    pub(crate) fn clone_and_check(&self) -> BTreeMap<String, Vec<u8>> {
        let clone = self.dir.path().join("clone");
        let _earlier = fs::remove_dir_all(&clone);
        git(self.dir.path(), &["clone", "-q", "-b", "mesh", &self.repo.display().to_string(), "clone"]);
        git(&clone, &["fsck", "--strict", "--full"]);
        self.git(&["fsck", "--strict", "--full"]);
        let names = git(&clone, &["ls-files", "-z"]);
        let names = names.split('\0').filter(|name| !name.is_empty());
        names.map(|name| (name.to_owned(), fs::read(clone.join(name)).expect("checked out"))).collect()
    }

    fn serve_ssh(&mut self) {
        let dir = self.dir.path().join("ssh");
        fs::create_dir(&dir).expect("ssh directory");
        for key in ["host", "user"] {
            let file = dir.join(key).display().to_string();
            run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &file]), "openssh-client");
        }
        let path = std::env::var("PATH").expect("PATH is set");
        let at = |name: &str| dir.join(name).display().to_string();
        let server = format!(
            "HostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nPidFile none\nSetEnv PATH={path}\n",
            at("host"),
            at("user.pub")
        );
        fs::write(dir.join("sshd_config"), server).expect("written");
        let port = sshd(&dir.join("sshd_config"));
        let host_key = fs::read_to_string(dir.join("host.pub")).expect("made above");
        fs::write(dir.join("known_hosts"), format!("[127.0.0.1]:{port} {host_key}")).expect("written");
        let client = format!(
            "IdentityFile {}\nIdentitiesOnly yes\nUserKnownHostsFile {}\nGlobalKnownHostsFile /dev/null\n\
             StrictHostKeyChecking yes\nKexAlgorithms curve25519-sha256\n",
            at("user"),
            at("known_hosts")
        );
        fs::write(dir.join("config"), client).expect("written");
        let user = run(Command::new("id").arg("-un"), "coreutils");
        self.config = config(&format!("ssh://{}@127.0.0.1:{port}{}", user.trim(), self.repo.display()));
        self.config.ssh_options = vec!["-F".to_owned(), at("config")];
    }
}

pub(crate) fn config(address: &str) -> RemoteConfig {
    RemoteConfig::new(address.parse().unwrap_or_else(|error| panic!("{address}: {error}")))
}

pub(crate) fn host(byte: u8) -> HostId {
    HostId::from_bytes([byte; 32])
}

pub(crate) fn one_file(path: String, text: &str) -> BTreeMap<String, Vec<u8>> {
    BTreeMap::from([(path, text.as_bytes().to_vec())])
}

pub(crate) fn set_private(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("our own file");
}

/// A remote that no [`Site`] stands behind.
pub(crate) fn stranger(address: &str, dir: &tempfile::TempDir) -> GitRemote {
    GitRemote::new(env!("CARGO_BIN_EXE_mesh"), dir.path().join("cache.git"), config(address))
}

/// A command that cannot be steered by whoever runs the tests.
fn hermetic_git(dir: &Path) -> Command {
    let mut command = Command::new("git");
    command.current_dir(dir).env_clear().env("PATH", std::env::var_os("PATH").expect("PATH is set"));
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null").env("HOME", dir);
    for (name, value) in [("NAME", "test"), ("EMAIL", "test@localhost")] {
        command.env(format!("GIT_AUTHOR_{name}"), value).env(format!("GIT_COMMITTER_{name}"), value);
    }
    command
}

/// Runs git and returns what it prints.
pub(crate) fn git(dir: &Path, arguments: &[&str]) -> String {
    run(hermetic_git(dir).args(arguments), "git")
}

/// Runs git with `input`, and returns the one line that it prints.
pub(crate) fn git_with(dir: &Path, arguments: &[&str], mut input: impl Read) -> String {
    let mut child = hermetic_git(dir)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("git runs: apt-get install git");
    let mut stdin = child.stdin.take().expect("piped");
    std::io::copy(&mut input, &mut stdin).expect("git reads");
    drop(stdin);
    let output = child.wait_with_output().expect("git ends");
    assert!(output.status.success(), "git {arguments:?}");
    String::from_utf8(output.stdout).expect("an object id").trim().to_owned()
}

fn run(command: &mut Command, package: &str) -> String {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; run apt-get install {package}"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {complaint}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Hands every connection to `serve`, each in a thread of its own; returns `127.0.0.1:port`.
pub(crate) fn listen(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for connection in listener.incoming().map_while(Result::ok) {
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(connection));
        }
    });
    address
}

fn attach(command: &mut Command, connection: &TcpStream) {
    let input = OwnedFd::from(connection.try_clone().expect("a socket"));
    let output = OwnedFd::from(connection.try_clone().expect("a socket"));
    let ended = command.stdin(input).stdout(output).stderr(Stdio::null()).status();
    ended.unwrap_or_else(|error| panic!("{command:?}: {error}"));
}

fn daemon(root: &Path) -> String {
    let root = root.to_owned();
    listen(move |connection| {
        let base = format!("--base-path={}", root.display());
        let arguments = ["daemon", "--inetd", "--export-all", "--enable=receive-pack", &base];
        attach(hermetic_git(&root).args(arguments), &connection);
    })
}

fn sshd(config: &Path) -> u16 {
    let program = ["/usr/sbin/sshd", "/usr/local/sbin/sshd"].into_iter().find(|path| Path::new(path).exists());
    let program = program.expect("sshd is not installed; run apt-get install openssh-server");
    // Started by root, sshd asks for this directory, which its service would have made.
    let _not_root_or_there = fs::create_dir_all("/run/sshd");
    run(Command::new(program).args(["-t", "-f", &config.display().to_string()]), "openssh-server");
    let config = config.display().to_string();
    let address = listen(move |connection| attach(Command::new(program).args(["-i", "-f", &config]), &connection));
    address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port")
}

/// A request as the server saw it.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
}

/// Serves all repositories below `root` by `git http-backend`; with `login` ("user:token"), only to its bearer.
pub(crate) fn http_backend(root: &Path, login: Option<&str>) -> (String, Receiver<Seen>) {
    http_backend_before(root, login, |_| {})
}

/// The same, where `before` is done before each request is served.
pub(crate) fn http_backend_before(
    root: &Path,
    login: Option<&str>,
    before: impl Fn(&HttpRequest) + Send + Sync + 'static,
) -> (String, Receiver<Seen>) {
    let backend = PathBuf::from(git(root, &["--exec-path"]).trim()).join("git-http-backend");
    assert!(backend.exists(), "{} is missing; run apt-get install git", backend.display());
    let (send, receive) = mpsc::channel();
    let expected = login.map(|login| format!("Basic {}", STANDARD.encode(login)));
    let root = root.to_owned();
    let address = listen(move |connection| {
        let Some(request) = HttpRequest::read(&connection) else { return };
        request.report(&send);
        if expected.is_some() && request.header("authorization") != expected.as_deref() {
            let refusal = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n";
            return (&connection).write_all(refusal.as_bytes()).expect("client reads");
        }
        before(&request);
        request.run_backend(&root, &connection);
    });
    (format!("http://{address}"), receive)
}

/// Answers every request with `status` and `headers`, and tells of them.
pub(crate) fn http_canned(status: &'static str, headers: String) -> (String, Receiver<Seen>) {
    let (send, receive) = mpsc::channel();
    let address = listen(move |connection| {
        let Some(request) = HttpRequest::read(&connection) else { return };
        request.report(&send);
        let answer = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: 0\r\nConnection: close\r\n\r\n");
        let _client_may_be_gone = (&connection).write_all(answer.as_bytes());
    });
    (format!("http://{address}"), receive)
}

/// A request, whole; header names are in lower case.
#[derive(Clone, Debug)]
pub(crate) struct HttpRequest {
    method: String,
    /// Path and query.
    pub(crate) target: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl HttpRequest {
    pub(crate) fn read(connection: &TcpStream) -> Option<Self> {
        let mut reader = BufReader::new(connection);
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|&read| read > 0)?;
        let mut words = line.split_whitespace().map(str::to_owned);
        let (method, target) = (words.next()?, words.next()?);
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut request = Self { method, target, headers, body: Vec::new() };
        if let Some(length) = request.header("content-length") {
            let length = length.parse().ok()?;
            reader.take(length).read_to_end(&mut request.body).ok()?;
        } else if request.header("transfer-encoding") == Some("chunked") {
            read_chunks(&mut reader, &mut request.body)?;
        }
        Some(request)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    fn report(&self, to: &Sender<Seen>) {
        let authorization = self.header("authorization").map(str::to_owned);
        let _test_may_not_listen = to.send(Seen { path: self.target.clone(), authorization });
    }

    fn run_backend(&self, root: &Path, mut connection: &TcpStream) {
        let (path, query) = self.target.split_once('?').unwrap_or((&self.target, ""));
        let mut child = hermetic_git(root)
            .arg("http-backend")
            .env("GIT_PROJECT_ROOT", root)
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("REQUEST_METHOD", &self.method)
            .env("PATH_INFO", path)
            .env("QUERY_STRING", query)
            .env("CONTENT_TYPE", self.header("content-type").unwrap_or_default())
            .env("CONTENT_LENGTH", self.body.len().to_string())
            .env("HTTP_CONTENT_ENCODING", self.header("content-encoding").unwrap_or_default())
            .env("REMOTE_USER", "mesh")
            .env("REMOTE_ADDR", "127.0.0.1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("git http-backend runs");
        let mut stdin = child.stdin.take().expect("piped");
        let body = self.body.clone();
        let writer = std::thread::spawn(move || {
            let _backend_may_stop_reading = stdin.write_all(&body);
        });
        let output = child.wait_with_output().expect("git http-backend ends").stdout;
        writer.join().expect("writer ends");
        let split = output.windows(4).position(|w| w == b"\r\n\r\n").map_or(output.len(), |at| at + 4);
        let (head, body) = output.split_at(split);
        let head = String::from_utf8_lossy(head);
        let status = head.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("200 OK");
        let headers: String = head
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with("Status:"))
            .map(|line| format!("{line}\r\n"))
            .collect();
        let length = body.len();
        let start = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n");
        let _client_may_be_gone = connection.write_all(start.as_bytes()).and_then(|()| connection.write_all(body));
    }
}

fn read_chunks(reader: &mut impl BufRead, body: &mut Vec<u8>) -> Option<()> {
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let length = u64::from_str_radix(line.trim(), 16).ok()?;
        reader.take(length).read_to_end(body).ok()?;
        reader.read_line(&mut line).ok()?;
        if length == 0 {
            return Some(());
        }
    }
}
