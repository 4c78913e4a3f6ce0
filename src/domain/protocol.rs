//! Protocols that a server is recognised by in its first words, before anybody has logged in.

use serde::{Deserialize, Serialize};

/// Most bytes that are read until it is recognised.
pub const WORDS: usize = 512;

/// What a server is to speak.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Mail: greets with 220.
    Smtp,
    /// Greets with its version.
    Ssh,
    /// Answers PING, also to those who have to log in first.
    Redis,
    /// Says whether it would go on encrypted.
    Postgres,
}

impl Protocol {
    /// What is said first; nothing where the server speaks first.
    #[must_use]
    pub const fn hello(self) -> &'static [u8] {
        match self {
            Self::Smtp | Self::Ssh => b"",
            Self::Redis => b"PING\r\n",
            // A length of 8 and the number of an SSLRequest: the one question that needs no user.
            Self::Postgres => &[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f],
        }
    }

    /// What is said at the end, so that no half conversation stands in a log there.
    #[must_use]
    pub const fn farewell(self) -> &'static [u8] {
        match self {
            Self::Smtp | Self::Redis => b"QUIT\r\n",
            Self::Ssh | Self::Postgres => b"",
        }
    }

    /// Whether these first words are of this protocol; `None` while there are too few to tell.
    #[must_use]
    pub fn speaks(self, words: &[u8]) -> Option<bool> {
        let line = words.iter().position(|byte| *byte == b'\n').map(|end| &words[..end]);
        let starts = |with: &[u8]| line.is_some_and(|line| line.starts_with(with));
        let recognised = match self {
            // 220 is ready; 554 and the like are a server that speaks, and serves nobody.
            Self::Smtp => line.map(|_| starts(b"220 ") || starts(b"220-")),
            // Lines before the version are allowed (RFC 4253, 4.2).
            Self::Ssh => {
                let mut lines = words.split_inclusive(|byte| *byte == b'\n');
                lines.any(|line| line.starts_with(b"SSH-2.0-") || line.starts_with(b"SSH-1.99-")).then_some(true)
            }
            Self::Redis => line.map(|_| starts(b"+PONG") || starts(b"-NOAUTH") || starts(b"-NOPERM")),
            Self::Postgres => words.first().map(|byte| matches!(byte, b'S' | b'N')),
        };
        // One that has said so much without being recognised is something else.
        recognised.or((words.len() >= WORDS).then_some(false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b15_a_server_is_recognised_by_its_first_words_and_by_no_others() {
        for (protocol, right, wrong) in [
            (Protocol::Smtp, &b"220 mail.example ESMTP\r\n"[..], &b"554 no service\r\n"[..]),
            (Protocol::Smtp, b"220-mail.example\r\n220 ready\r\n", b"SSH-2.0-x\r\n"),
            (Protocol::Ssh, b"welcome\r\nSSH-2.0-OpenSSH_9.2\r\n", &[b'x'; WORDS]),
            (Protocol::Redis, b"+PONG\r\n", b"-ERR unknown command\r\n"),
            (Protocol::Redis, b"-NOAUTH Authentication required.\r\n", b"HTTP/1.1 400 Bad Request\r\n"),
            (Protocol::Postgres, b"N", b"HTTP/1.1 400 Bad Request\r\n"),
        ] {
            assert_eq!(protocol.speaks(right), Some(true), "{protocol:?}");
            assert_eq!(protocol.speaks(wrong), Some(false), "{protocol:?}");
            assert_eq!(protocol.speaks(b""), None, "{protocol:?} has said nothing yet");
        }
        assert_eq!(Protocol::Smtp.speaks(b"22"), None);
        assert_eq!(Protocol::Ssh.speaks(b"SSH-2"), None);
    }
}
