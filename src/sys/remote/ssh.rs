//! The user's own `ssh` as a transport for libgit2, so that `~/.ssh/config`, agents and known hosts count.

use std::io::{self, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;

use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream};

use super::request::shown;
use super::traffic::{Counted, Traffic};
use crate::domain::limits;
use crate::ports::RemoteError;

/// Bytes kept of what `ssh` says on standard error, from the end.
const COMPLAINT_BYTES: usize = 2048;

/// One repository on one ssh server.
#[derive(Clone)]
pub(super) struct Ssh {
    /// `host` or `user@host`, not starting with a dash.
    pub(super) login: String,
    pub(super) port: Option<u16>,
    pub(super) path: String,
    /// Arguments before all others.
    pub(super) options: Vec<String>,
    pub(super) traffic: Traffic,
}

impl Ssh {
    fn arguments(&self, service: &str) -> Vec<String> {
        let mut arguments = self.options.clone();
        let timeout = format!("ConnectTimeout={}", limits::CONNECT.as_secs());
        arguments.extend(["-T", "-a", "-x", "-o", "BatchMode=yes", "-o", &timeout].map(str::to_owned));
        if let Some(port) = self.port {
            arguments.extend(["-p".to_owned(), port.to_string()]);
        }
        arguments.extend(["--".to_owned(), self.login.clone(), format!("{service} {}", quoted(&self.path))]);
        arguments
    }

    #[expect(clippy::disallowed_methods, reason = "runs inside the limited network worker, as a stream for libgit2")]
    fn start(&self, service: &str) -> io::Result<Session> {
        let mut child = Command::new("ssh")
            .args(self.arguments(service))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let stdout = Counted { inner: stdout.expect("stdout is piped"), traffic: self.traffic.clone() };
        let stderr = stderr.expect("stderr is piped");
        let complaint = std::thread::spawn(move || tail(stderr));
        Ok(Session { child, stdin, stdout, complaint: Some(complaint), traffic: self.traffic.clone() })
    }
}

/// One word for the shell on the far side, as git quotes it.
fn quoted(path: &str) -> String {
    let mut word = String::from("'");
    for c in path.chars() {
        match c {
            '\'' | '!' => {
                word.push_str("'\\");
                word.push(c);
                word.push('\'');
            }
            _ => word.push(c),
        }
    }
    word.push('\'');
    word
}

fn tail(mut from: impl Read) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        kept.extend_from_slice(&buffer[..read]);
        kept.drain(..kept.len().saturating_sub(COMPLAINT_BYTES));
    }
    kept
}

impl SmartSubtransport for Ssh {
    fn action(&self, _url: &str, action: Service) -> Result<Box<dyn SmartSubtransportStream>, git2::Error> {
        let service = match action {
            Service::UploadPackLs | Service::UploadPack => "git-upload-pack",
            Service::ReceivePackLs | Service::ReceivePack => "git-receive-pack",
        };
        let session = self.start(service).map_err(|error| {
            let text = format!("cannot run ssh: {error}; install the OpenSSH client");
            self.traffic.fail_git(RemoteError::Unreachable(text))
        })?;
        Ok(Box::new(session))
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}

struct Session {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Counted<ChildStdout>,
    complaint: Option<JoinHandle<Vec<u8>>>,
    traffic: Traffic,
}

impl Session {
    /// What an `ssh` that has closed its output says was wrong, if anything.
    fn ended(&mut self) -> Option<RemoteError> {
        self.stdin = None;
        let status = self.child.wait().ok()?;
        if status.success() {
            return None;
        }
        let complaint = self.complaint.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        let text = shown(&String::from_utf8_lossy(&complaint));
        let refused = ["Permission denied", "Host key verification failed", "Too many authentication failures"];
        Some(if refused.iter().any(|sign| text.contains(sign)) {
            RemoteError::Credentials(format!("{text}; try `ssh` to it by hand first"))
        } else if status.code() == Some(255) {
            RemoteError::Unreachable(text)
        } else {
            RemoteError::Protocol(format!("{text} ({status})"))
        })
    }
}

impl Read for Session {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stdout.read(buffer)?;
        if read == 0
            && !buffer.is_empty()
            && let Some(error) = self.ended()
        {
            return Err(self.traffic.fail(error));
        }
        Ok(read)
    }
}

impl Write for Session {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(stdin) = &mut self.stdin else { return Err(io::ErrorKind::BrokenPipe.into()) };
        match stdin.write(bytes) {
            Err(error) => {
                let error = self.ended().unwrap_or_else(|| super::traffic::broken(&error));
                Err(self.traffic.fail(error))
            }
            written => written,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stdin.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.stdin = None;
        let _already_ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_far_shell_sees_one_word() {
        assert_eq!(quoted("/srv/a b.git"), "'/srv/a b.git'");
        assert_eq!(quoted("a'; rm -rf $HOME; '"), r"'a'\''; rm -rf $HOME; '\'''");
        assert_eq!(quoted("a!b"), r"'a'\!'b'");
    }

    #[test]
    fn the_host_can_not_become_an_option() {
        let ssh = Ssh {
            login: "git@host".to_owned(),
            port: Some(22),
            path: "m.git".to_owned(),
            options: vec!["-F".to_owned(), "/x".to_owned()],
            traffic: crate::sys::remote::traffic::traffic(1).0,
        };
        let arguments = ssh.arguments("git-upload-pack");
        assert_eq!(arguments[..2], ["-F", "/x"]);
        assert_eq!(arguments[arguments.len() - 3..], ["--", "git@host", "git-upload-pack 'm.git'"]);
        assert!(arguments.windows(2).any(|pair| pair == ["-o", "BatchMode=yes"]));
    }
}
