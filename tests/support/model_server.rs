//! A loopback server that speaks both model APIs, in the shapes that their documentation shows, and plays every way in
//! which an answer can be bad.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mesh::ports::model::Api;
use serde_json::{Value, json};

use super::git_servers::{HttpRequest, listen};

/// What is done with a request.
#[derive(Clone, Debug)]
pub(crate) enum Play {
    /// The model says this.
    Say(String),
    /// The server ends the answer where it may be no longer.
    CutOff,
    /// A status, further headers and a body, as they are.
    Raw(&'static str, &'static str, String),
    /// More bytes than anybody wants.
    Huge,
    /// A byte now and then, for ever.
    Trickle,
    /// Nothing at all.
    HangUp,
}

fn openai(text: &str, ended_by: &str) -> Value {
    json!({
        "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT", "object": "chat.completion", "created": 1_741_569_952_i64,
        "model": "small",
        "choices": [{
            "index": 0,
            "message": { "role": "assistant", "content": text, "refusal": null, "annotations": [] },
            "logprobs": null, "finish_reason": ended_by,
        }],
        "usage": {
            "prompt_tokens": 19, "completion_tokens": 10, "total_tokens": 29,
            "prompt_tokens_details": { "cached_tokens": 0, "audio_tokens": 0 },
        },
        "service_tier": "default",
    })
}

fn ollama(text: &str, ended_by: &str) -> Value {
    json!({
        "model": "small", "created_at": "2023-12-12T14:13:43.416799Z",
        "message": { "role": "assistant", "content": text },
        "done_reason": ended_by, "done": true, "total_duration": 5_191_566_416_i64, "load_duration": 2_154_458,
        "prompt_eval_count": 19, "prompt_eval_duration": 383_809_000, "eval_count": 10, "eval_duration": 4_799_921_000_i64,
    })
}

fn put(connection: &mut TcpStream, status: &str, headers: &str, body: &str) {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n", body.len());
    let _client_may_be_gone = connection.write_all((head + body).as_bytes());
}

fn perform(connection: &mut TcpStream, api: Api, play: Play) {
    let shape = |text: &str, ended_by| match api {
        Api::OpenAi => openai(text, ended_by).to_string(),
        Api::Ollama => ollama(text, ended_by).to_string(),
    };
    match play {
        Play::Say(text) => put(connection, "200 OK", "Content-Type: application/json\r\n", &shape(&text, "stop")),
        Play::CutOff => put(connection, "200 OK", "", &shape("{\"healthy\": tr", "length")),
        Play::Raw(status, headers, body) => put(connection, status, headers, &body),
        Play::Huge => {
            let _client_may_be_gone = connection.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
            let block = [b'['; 64 * 1024];
            while connection.write_all(&block).is_ok() {}
        }
        Play::Trickle => {
            let _client_may_be_gone = connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
            while connection.write_all(b" ").is_ok() {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Play::HangUp => {}
    }
}

/// Plays `plays` in turn, the last one for ever. Returns `http://127.0.0.1:port` and what was asked.
pub(crate) fn model_server(api: Api, plays: Vec<Play>) -> (String, Receiver<HttpRequest>) {
    let (send, receive) = channel();
    let left = Mutex::new(plays);
    let address = listen(move |mut connection| {
        let Some(recorded) = HttpRequest::read(&connection) else { return };
        let play = {
            let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
            if left.len() > 1 { left.remove(0) } else { left[0].clone() }
        };
        let _test_may_be_over = send.send(recorded);
        perform(&mut connection, api, play);
    });
    (format!("http://{address}"), receive)
}
