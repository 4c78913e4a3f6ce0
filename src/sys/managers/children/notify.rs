//! The socket of `sd_notify`: what children say of themselves, and which of them said it.

use std::fs;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use rustix::net::sockopt::set_socket_passcred;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::ports::manager::Word;

/// Longest message that is read, in bytes.
const MESSAGE_BYTES: usize = 4 * 1024;
/// Longest path of a socket.
const PATH_BYTES: usize = 107;

/// The socket.
pub(super) struct NotifySocket {
    socket: UnixDatagram,
    path: String,
}

/// What one process said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Said {
    /// Who, as the kernel says.
    pub pid: u32,
    /// What.
    pub words: Vec<Word>,
}

impl NotifySocket {
    /// Binds it. Root's is below `/run`, where a child with fewer rights finds it too; that of others is in `state`,
    /// which nobody else can enter. One that an agent before us left is taken away.
    ///
    /// # Errors
    /// Where, and why not.
    pub(super) fn bind(state: &Path, tag: &str) -> Result<Self, String> {
        let is_root = rustix::process::geteuid().is_root();
        let dir = if is_root { PathBuf::from(format!("/run/mesh-{tag}")) } else { state.to_owned() };
        let path = dir.join("notify.sock");
        let failed =
            |error: &dyn std::fmt::Display| format!("children cannot say that they live: {}: {error}", path.display());
        let text = path.to_str().filter(|text| text.len() <= PATH_BYTES).ok_or_else(|| failed(&"too long a path"))?;
        if is_root {
            let made = fs::create_dir(&dir).or_else(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => Ok(()),
                _ => Err(error),
            });
            made.map_err(|error| failed(&error))?;
            fs::set_permissions(&dir, fs::Permissions::from_mode(0o711)).map_err(|error| failed(&error))?;
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&error)),
            Ok(()) | Err(_) => {}
        }
        let socket = UnixDatagram::bind(&path).map_err(|error| failed(&error))?;
        socket.set_nonblocking(true).map_err(|error| failed(&error))?;
        // Who may speak is asked of each message, not of the file.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).map_err(|error| failed(&error))?;
        set_socket_passcred(&socket, true).map_err(|error| failed(&error))?;
        Ok(Self { path: text.to_owned(), socket })
    }

    /// Its path.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// For those who wait for it.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The next message; `None` when there is none now.
    pub(super) fn next(&self) -> Option<Said> {
        loop {
            let mut text = [0; MESSAGE_BYTES];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1), ScmCredentials(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut parts = [IoSliceMut::new(&mut text)];
            let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
            let length = match recvmsg(&self.socket, &mut parts, &mut control, flags) {
                Ok(got) => got.bytes,
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => return None,
            };
            // Descriptors that somebody sends along are closed with the buffer.
            let sender = control.drain().find_map(|message| match message {
                RecvAncillaryMessage::ScmCredentials(credentials) => Some(credentials.pid),
                _ => None,
            });
            let Some(pid) = sender.and_then(|pid| u32::try_from(pid.as_raw_pid()).ok()) else { continue };
            return Some(Said { pid, words: words(&text[..length.min(MESSAGE_BYTES)]) });
        }
    }
}

fn words(text: &[u8]) -> Vec<Word> {
    let word = |line: &[u8]| match line {
        b"READY=1" => Some(Word::Ready),
        b"WATCHDOG=1" => Some(Word::Alive),
        _ => None,
    };
    text.split(|byte| *byte == b'\n').filter_map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a3_what_a_process_says_comes_with_its_pid() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let tag = format!("test-{}", std::process::id());
        let socket = NotifySocket::bind(dir.path(), &tag).expect("bound");
        let client = UnixDatagram::unbound().expect("made");
        client.send_to(b"STATUS=fine\nREADY=1\nWATCHDOG=1\n", socket.path()).expect("sent");
        let said = socket.next().expect("there");
        assert_eq!(said, Said { pid: std::process::id(), words: vec![Word::Ready, Word::Alive] });
        client.send_to(&[0xff; 9_000], socket.path()).expect("sent");
        assert!(socket.next().is_some_and(|said| said.words.is_empty()));
        assert!(socket.next().is_none());
        let again = NotifySocket::bind(dir.path(), &tag).expect("the one before is taken away");
        client.send_to(b"READY=1", again.path()).expect("sent");
        assert!(again.next().is_some());
        drop(fs::remove_dir_all(Path::new("/run").join(format!("mesh-{tag}"))));
    }
}
