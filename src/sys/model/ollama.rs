//! Ollama's own API.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{cut_off, messages, none_of};
use crate::domain::kaizen::question::Question;
use crate::ports::model::{Answer, Api, NoAnswer};

/// Tokens that question and answer may come to together. Ollama cuts the beginning of what is longer, without a word.
const CONTEXT: u32 = 8_192;

pub(super) fn request(model: &str, question: &Question) -> Value {
    json!({
        "model": model,
        "messages": messages(question),
        "stream": false,
        "format": question.schema,
        "options": { "temperature": 0, "num_predict": question.most, "num_ctx": CONTEXT },
    })
}

pub(super) fn one_token(model: &str) -> Value {
    json!({ "model": model, "messages": [{ "role": "user", "content": "1" }], "stream": false, "options": { "num_predict": 1 } })
}

#[derive(Deserialize)]
struct Chat {
    message: Message,
    done: bool,
    done_reason: Option<String>,
    prompt_eval_count: Option<u64>,
    eval_count: Option<u64>,
}

#[derive(Deserialize)]
struct Message {
    content: String,
}

pub(super) fn read(bytes: &[u8]) -> Result<Answer, NoAnswer> {
    let chat: Chat = serde_json::from_slice(bytes).map_err(|error| none_of(Api::Ollama, error))?;
    if !chat.done || chat.done_reason.as_deref() == Some("length") {
        return Err(cut_off(Api::Ollama));
    }
    // A prompt that it remembers is not counted again.
    let tokens = chat.eval_count.map(|answer| answer.saturating_add(chat.prompt_eval_count.unwrap_or(0)));
    Ok(Answer { text: chat.message.content, tokens })
}
