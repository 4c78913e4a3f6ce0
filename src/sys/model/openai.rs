//! Chat completions, as OpenAI and the servers that speak its API have them.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{cut_off, messages, none_of};
use crate::domain::kaizen::question::Question;
use crate::ports::model::{Answer, Api, NoAnswer};

pub(super) fn request(model: &str, question: &Question) -> Value {
    json!({
        "model": model,
        "messages": messages(question),
        "temperature": 0,
        "max_tokens": question.most,
        "stream": false,
        "response_format": {
            "type": "json_schema",
            "json_schema": { "name": question.name, "strict": true, "schema": question.schema },
        },
    })
}

pub(super) fn one_token(model: &str) -> Value {
    json!({ "model": model, "messages": [{ "role": "user", "content": "1" }], "stream": false, "max_tokens": 1 })
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
    refusal: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    total_tokens: Option<u64>,
}

pub(super) fn read(bytes: &[u8]) -> Result<Answer, NoAnswer> {
    let completion: Completion = serde_json::from_slice(bytes).map_err(|error| none_of(Api::OpenAi, error))?;
    let tokens = completion.usage.and_then(|usage| usage.total_tokens);
    let choice = completion.choices.into_iter().next();
    let choice = choice.ok_or_else(|| none_of(Api::OpenAi, "there is no choice in it"))?;
    if choice.finish_reason.as_deref() == Some("length") {
        return Err(cut_off(Api::OpenAi));
    }
    match choice.message {
        Message { refusal: Some(_), .. } => Err(NoAnswer::Never("the model refuses to answer".to_owned())),
        Message { content: Some(text), .. } => Ok(Answer { text, tokens }),
        Message { content: None, .. } => Err(none_of(Api::OpenAi, "there is no content in it")),
    }
}
