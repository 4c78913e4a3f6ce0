//! What answers questions about facts in words: a language model, local or remote. Its answer is data that somebody
//! else wrote.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::kaizen::question::Question;

/// How a model is spoken to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Api {
    /// The chat completions that many servers speak.
    OpenAi,
    /// Ollama's own.
    Ollama,
}

impl Api {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Ollama => "ollama",
        }
    }
}

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// What it says. Foreign text, of any shape.
    pub text: String,
    /// Tokens of question and answer together, as the server counts them.
    pub tokens: Option<u64>,
}

/// Why there is no answer. Foreign text is in it: show it sanitised. No secret is.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoAnswer {
    /// Nobody answered, or not in time, or the server was not able to: it may be asked again.
    #[error("{0}")]
    Later(String),
    /// The server wants to be asked no earlier than after this.
    #[error("the server asks for {} s of patience", .0.as_secs())]
    After(Duration),
    /// The same question gets no better answer.
    #[error("{0}")]
    Never(String),
}

/// A model. It may block for as long as its timeout.
pub trait Model: Send {
    /// Asks once.
    ///
    /// # Errors
    /// There is no answer, and whether asking again may help.
    fn ask(&mut self, question: &Question) -> Result<Answer, NoAnswer>;
}
