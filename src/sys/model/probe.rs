//! Whether a model is there and answers: its name is in the server's list, and it makes one token.

use crate::domain::signal::{SeriesName, Subject};
use crate::ports::model::{Api, NoAnswer};
use crate::ports::{Probe, Reading};

use super::HttpModel;

/// Asks one model. Its first answer after a while makes the server load it.
pub struct ModelProbe {
    name: Subject,
    model: HttpModel,
    remark: Option<String>,
}

impl ModelProbe {
    /// Asks `model`, and calls what it finds that of `name`.
    #[must_use]
    pub const fn new(name: Subject, model: HttpModel) -> Self {
        Self { name, model, remark: None }
    }
}

/// Whether the server's list has the model. Ollama calls the tag `latest` where none is named.
fn lists(api: Api, answer: &serde_json::Value, name: &str) -> Option<bool> {
    let (list, key) = match api {
        Api::OpenAi => (answer.get("data")?, "id"),
        Api::Ollama => (answer.get("models")?, "name"),
    };
    let is = |found: &str| found == name || (api == Api::Ollama && found.strip_suffix(":latest") == Some(name));
    Some(list.as_array()?.iter().filter_map(|model| model.get(key)?.as_str()).any(is))
}

impl ModelProbe {
    fn present(&self) -> Result<bool, NoAnswer> {
        let endpoint = &self.model.endpoint;
        let path = match endpoint.api {
            Api::OpenAi => "/models",
            Api::Ollama => "/api/tags",
        };
        let answer = self.model.get(path)?;
        let known =
            serde_json::from_slice(&answer).ok().and_then(|answer| lists(endpoint.api, &answer, &endpoint.name));
        known.ok_or_else(|| super::none_of(endpoint.api, "there is no list of models in it"))
    }
}

impl Probe for ModelProbe {
    fn read(&mut self) -> Vec<Reading> {
        let reading = |signal, value| Reading { name: SeriesName::of(signal, self.name.clone()), value };
        let bit = |holds: bool| f64::from(u8::from(holds));
        let present = self.present();
        let answers = match present {
            Ok(true) => self.model.one_token().map(|()| true),
            Ok(false) => Ok(false),
            Err(ref error) => Err(error.clone()),
        };
        self.remark = match (&present, &answers) {
            (Ok(false), _) => Some(format!("the server does not list {}", self.model.endpoint.name)),
            (_, Err(error)) => Some(error.to_string()),
            _ => None,
        };
        // A server that is asked and says nothing of use is down, whoever's doing that is: it is on this machine.
        vec![
            reading("model.answers", Ok(bit(answers.unwrap_or(false)))),
            reading("model.present", Ok(bit(present.unwrap_or(false)))),
        ]
    }

    fn remarks(&self) -> Vec<(SeriesName, String)> {
        self.remark.iter().map(|text| (SeriesName::of("model.answers", self.name.clone()), text.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn b21_a_tag_is_found_in_either_list() {
        let ollama = json!({ "models": [{ "name": "small:latest", "model": "small:latest", "size": 1 }] });
        let openai = json!({ "object": "list", "data": [{ "id": "small", "object": "model", "owned_by": "me" }] });
        assert_eq!(lists(Api::Ollama, &ollama, "small"), Some(true));
        assert_eq!(lists(Api::Ollama, &ollama, "small:latest"), Some(true));
        assert_eq!(lists(Api::Ollama, &ollama, "small:7b"), Some(false));
        assert_eq!(lists(Api::OpenAi, &openai, "small"), Some(true));
        assert_eq!(lists(Api::OpenAi, &openai, "small:latest"), Some(false));
        assert_eq!(lists(Api::OpenAi, &ollama, "small"), None);
    }
}
