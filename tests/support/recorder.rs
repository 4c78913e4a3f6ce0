//! A loopback server that records whole requests and answers as it is told.

use std::io::{BufRead as _, BufReader, Write as _};
use std::sync::mpsc::{Receiver, channel};

use super::git_servers::{HttpRequest, listen};

/// Answers request number n (from 0) with `answer(n)`: a status line and a body. Returns `http://127.0.0.1:port`.
pub(crate) fn recorder(
    answer: impl Fn(usize) -> (&'static str, String) + Send + Sync + 'static,
) -> (String, Receiver<HttpRequest>) {
    let (send, receive) = channel();
    let count = std::sync::atomic::AtomicUsize::new(0);
    let address = listen(move |mut connection| {
        let Some(recorded) = HttpRequest::read(&connection) else { return };
        let (status, body) = answer(count.fetch_add(1, std::sync::atomic::Ordering::SeqCst));
        // Told before it is answered: who has the answer finds the record.
        let _test_may_be_over = send.send(recorded);
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        let _client_may_be_gone = connection.write_all((head + &body).as_bytes());
    });
    (format!("http://{address}"), receive)
}

/// A mail server that takes one message on each connection; returns `port` and what was said and sent.
pub(crate) fn mail_server() -> (u16, Receiver<String>) {
    let (send, receive) = channel();
    let address = listen(move |mut connection| {
        let mut reader = BufReader::new(connection.try_clone().expect("a socket"));
        let mut all = String::new();
        let mut data = false;
        let _client_may_be_gone = connection.write_all(b"220 here\r\n");
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).is_ok_and(|read| read == 0) {
                break;
            }
            all.push_str(&line);
            let answer: &[u8] = match line.trim_end() {
                "." if data => {
                    data = false;
                    b"250 taken\r\n"
                }
                _ if data => continue,
                "DATA" => {
                    data = true;
                    b"354 go on\r\n"
                }
                "QUIT" => b"221 bye\r\n",
                _ => b"250 yes\r\n",
            };
            if connection.write_all(answer).is_err() {
                break;
            }
        }
        let _test_may_be_over = send.send(all);
    });
    (address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port"), receive)
}
