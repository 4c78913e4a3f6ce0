//! The model client against a server on loopback that speaks both APIs and answers badly in every way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh::domain::kaizen::question::Question;
use mesh::ports::model::{Answer, Api, Model as _, NoAnswer};
use mesh::ports::{Secret, Secrets, Undelivered};
use mesh::sys::model::{Endpoint, HttpModel, ModelProbe};
use serde_json::{Value, json};

use crate::support::model_server::{Play, model_server};

struct Token;

impl Secrets for Token {
    fn read(&self, _secret: &Secret) -> Result<String, Undelivered> {
        Ok("planted-token-1".to_owned())
    }
}

fn question() -> Question {
    Question {
        name: "diagnosis",
        ask: "Say what is wrong.".to_owned(),
        facts: "{\"fact\":\"a\"}".to_owned(),
        schema: json!({ "type": "object" }),
        most: 300,
    }
}

fn client(api: Api, url: &str) -> HttpModel {
    let endpoint = Endpoint {
        api,
        url: url.to_owned(),
        name: "small".to_owned(),
        token: Some(Secret::Env { env: "UNUSED".to_owned() }),
        timeout: Duration::from_secs(2),
    };
    HttpModel::new(endpoint, Arc::new(Token)).expect("a client")
}

fn asked(api: Api, play: Play) -> Result<Answer, NoAnswer> {
    let (url, _requests) = model_server(api, vec![play]);
    client(api, &url).ask(&question())
}

#[test]
fn both_apis_are_asked_for_the_shape_and_what_they_say_and_cost_is_read() {
    for api in [Api::OpenAi, Api::Ollama] {
        let (url, requests) = model_server(api, vec![Play::Say("{\"healthy\":true}".to_owned())]);
        let answer = client(api, &url).ask(&question()).expect("an answer");
        assert_eq!(answer, Answer { text: "{\"healthy\":true}".to_owned(), tokens: Some(29) });
        let request = requests.recv().expect("recorded");
        assert_eq!(request.header("authorization"), Some("Bearer planted-token-1"));
        let body: Value = serde_json::from_slice(&request.body).expect("JSON");
        assert_eq!((&body["model"], &body["stream"]), (&json!("small"), &json!(false)));
        assert_eq!(body["messages"][0], json!({ "role": "system", "content": "Say what is wrong." }));
        assert_eq!(body["messages"][1], json!({ "role": "user", "content": "{\"fact\":\"a\"}" }));
        match api {
            Api::OpenAi => {
                assert_eq!(request.target, "/chat/completions");
                let wanted = json!({ "name": "diagnosis", "strict": true, "schema": { "type": "object" } });
                assert_eq!(body["response_format"], json!({ "type": "json_schema", "json_schema": wanted }));
                assert_eq!(body["max_tokens"], 300);
            }
            Api::Ollama => {
                assert_eq!(request.target, "/api/chat");
                assert_eq!(body["format"], json!({ "type": "object" }));
                assert_eq!(body["options"]["num_predict"], 300);
            }
        }
    }
}

#[test]
fn what_is_no_answer_is_told_from_what_may_become_one() {
    let raw = |status, headers, body: &str| Play::Raw(status, headers, body.to_owned());
    let never = [
        raw("200 OK", "", "this is no JSON"),
        raw("200 OK", "", "{\"choices\": []}"),
        raw("200 OK", "", "{\"error\": \"x\"}"),
        raw("200 OK", "", &"[".repeat(100_000)),
        raw("401 Unauthorized", "", "who are you"),
        raw("404 Not Found", "", "{\"error\":\"model 'small' not found\"}"),
        Play::Huge,
        Play::CutOff,
    ];
    let later = [
        raw("500 Internal Server Error", "", "x"),
        raw("503 Service Unavailable", "", "loading"),
        raw("429 Too Many Requests", "", "slow down"),
        Play::HangUp,
    ];
    for api in [Api::OpenAi, Api::Ollama] {
        for play in &never {
            let error = asked(api, play.clone()).expect_err("no answer");
            assert!(matches!(error, NoAnswer::Never(_)), "{play:?}: {error}");
        }
        for play in &later {
            let error = asked(api, play.clone()).expect_err("no answer");
            assert!(matches!(error, NoAnswer::Later(_)), "{play:?}: {error}");
        }
        let patient = asked(api, raw("429 Too Many Requests", "Retry-After: 7\r\n", "x"));
        assert_eq!(patient, Err(NoAnswer::After(Duration::from_secs(7))));
    }
}

#[test]
fn a_server_that_sends_a_byte_now_and_then_is_left_at_the_timeout() {
    let started = Instant::now();
    let error = asked(Api::OpenAi, Play::Trickle).expect_err("no answer");
    assert!(matches!(error, NoAnswer::Later(_)), "{error}");
    assert!(started.elapsed() < Duration::from_secs(30), "it would go on for ever");
}

#[test]
fn t32_a_redirect_gets_neither_facts_nor_token() {
    let (elsewhere, requests) = model_server(Api::OpenAi, vec![Play::Say("{}".to_owned())]);
    let to = format!("Location: {elsewhere}/chat/completions\r\n");
    for status in ["302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let error = asked(Api::OpenAi, Play::Raw(status, to.clone().leak(), String::new())).expect_err("not followed");
        assert!(matches!(error, NoAnswer::Never(_)), "{error}");
    }
    assert!(requests.try_recv().is_err(), "somebody else was asked");
}

#[test]
fn t30_no_error_repeats_the_token_or_commands_the_terminal() {
    let echo = "{\"error\":\"bad key planted-token-1 \u{1b}[2J\"}".to_owned();
    let error = asked(Api::OpenAi, Play::Raw("401 Unauthorized", "", echo)).expect_err("refused").to_string();
    assert!(error.contains("[secret]") && !error.contains("planted-token-1") && !error.contains('\u{1b}'), "{error}");
    let gone = client(Api::OpenAi, "http://127.0.0.1:1/v1").ask(&question()).expect_err("nobody there");
    assert!(matches!(&gone, NoAnswer::Later(why) if !why.contains("planted")), "{gone}");
}

#[test]
fn b21_a_model_on_this_machine_is_there_when_it_is_listed_and_makes_a_token() {
    let values = |api, plays| {
        let (url, _requests) = model_server(api, plays);
        let mut probe = ModelProbe::new("small".parse().expect("a subject"), client(api, &url));
        let readings = mesh::ports::Probe::read(&mut probe);
        let value = |at: usize| readings[at].value.clone().expect("known");
        assert_eq!((readings[0].name.signal.name, readings[1].name.signal.name), ("model.answers", "model.present"));
        (value(0) > 0.5, value(1) > 0.5, mesh::ports::Probe::remarks(&probe).len())
    };
    let raw = |body: &str| Play::Raw("200 OK", "", body.to_owned());
    for (api, listed, other) in [
        (Api::OpenAi, "{\"object\":\"list\",\"data\":[{\"id\":\"small\",\"object\":\"model\"}]}", "{\"data\":[]}"),
        (Api::Ollama, "{\"models\":[{\"name\":\"small:latest\",\"size\":1}]}", "{\"models\":[{\"name\":\"large\"}]}"),
    ] {
        // One token is all that is asked for: where the answer is cut off, it is there.
        assert_eq!(values(api, vec![raw(listed), Play::CutOff]), (true, true, 0));
        assert_eq!(values(api, vec![raw(other), Play::CutOff]), (false, false, 1));
        assert_eq!(values(api, vec![raw(listed), Play::HangUp]), (false, true, 1));
        assert_eq!(values(api, vec![Play::HangUp]), (false, false, 1));
        assert_eq!(values(api, vec![raw("<html>")]), (false, false, 1));
    }
}
