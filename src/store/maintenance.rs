//! Maintenance windows: `[[maintenance]]` of the configuration, those that a person began, and what is told once they
//! are over.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::db::{Db, DbError};
use super::fixes::json;
use super::guard_config::Moment;
use crate::domain::maintenance::{Known, Maintenance, Window};
use crate::domain::notice::Notice;

/// Windows that a person began.
const BEGUN: &str = "maintenance:begun";
/// Windows of the configuration.
const CONFIGURED: &str = "maintenance:configured";
/// What there is to work on.
const KNOWN: &str = "maintenance:known";
/// Notices that wait for the end of a window, by thread.
const PARKED: &str = "maintenance:parked";

/// `[[maintenance]]`, checked as it is read, so that a mistake has its line.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "WindowText")]
pub(super) struct WindowFile(Window);

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowText {
    name: String,
    from: Option<Moment>,
    until: Option<Moment>,
    #[serde(default)]
    all: bool,
    #[serde(default)]
    targets: Vec<String>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    because: String,
}

impl TryFrom<WindowText> for WindowFile {
    type Error = String;

    fn try_from(text: WindowText) -> Result<Self, String> {
        let name = text.name;
        let Some(Moment(until)) = text.until else {
            return Err(format!(
                "maintenance `{name}`: `until` is missing: every window ends, such as at 2026-12-01T06:00:00Z"
            ));
        };
        let from = text.from.map(|Moment(from)| from);
        if from.is_some_and(|from| from >= until) {
            return Err(format!("maintenance `{name}`: it ends before it begins"));
        }
        let window =
            Window { name, from, until, all: text.all, targets: text.targets, tags: text.tags, why: text.because };
        check(&window)?;
        Ok(Self(window))
    }
}

/// Whether it is one word of a person, such as a window's name or a tag.
pub(super) fn is_word(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=64).contains(&text.len()) && text.bytes().all(plain)
}

/// Whether a window is about anything, and has a name to end it by.
///
/// # Errors
/// What is missing, in one sentence.
pub fn check(window: &Window) -> Result<(), String> {
    let name = &window.name;
    if !is_word(name) {
        return Err("a maintenance window's name must be 1 to 64 of a-z, 0-9, - _ and .".to_owned());
    }
    if window.all == (window.targets.is_empty() && window.tags.is_empty()) {
        return Ok(());
    }
    Err(format!("maintenance `{name}`: it must be about `targets` and `tags`, or about `all`"))
}

/// The windows of all files: a later one of the same name wins.
pub(super) fn joined(files: Vec<WindowFile>) -> Vec<Window> {
    let all: BTreeMap<String, Window> = files.into_iter().map(|file| (file.0.name.clone(), file.0)).collect();
    all.into_values().collect()
}

impl Db {
    /// Every window that is kept, and what they can be about.
    ///
    /// # Errors
    /// SQLite refused, or what is kept is not ours.
    pub fn maintenance(&self) -> Result<Maintenance, DbError> {
        let mut windows: Vec<Window> = self.kept(BEGUN)?;
        windows.extend(self.kept::<Vec<Window>>(CONFIGURED)?);
        Ok(Maintenance { windows, known: self.kept(KNOWN)? })
    }

    /// Takes over the windows of the configuration, and what there is to work on.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn configure_maintenance(
        &mut self,
        windows: &[Window],
        known: &BTreeMap<String, Known>,
    ) -> Result<(), DbError> {
        self.set_fact(CONFIGURED, &json(&windows))?;
        self.set_fact(KNOWN, &json(known))
    }

    /// Begins a window. One that has the name is replaced; those that are over are forgotten.
    ///
    /// # Errors
    /// SQLite refused, or what is kept is not ours.
    pub fn begin_maintenance(&mut self, window: Window, now: jiff::Timestamp) -> Result<(), DbError> {
        let mut begun: Vec<Window> = self.kept(BEGUN)?;
        begun.retain(|known| known.name != window.name && known.until > now);
        begun.push(window);
        self.set_fact(BEGUN, &json(&begun))
    }

    /// Ends a window that a person began. False when there is none of that name.
    ///
    /// # Errors
    /// SQLite refused, or what is kept is not ours.
    pub fn end_maintenance(&mut self, name: &str) -> Result<bool, DbError> {
        let mut begun: Vec<Window> = self.kept(BEGUN)?;
        let before = begun.len();
        begun.retain(|known| known.name != name);
        self.set_fact(BEGUN, &json(&begun))?;
        Ok(begun.len() < before)
    }

    /// Notices that wait for the end of a window, by thread.
    ///
    /// # Errors
    /// SQLite refused, or what is kept is not ours.
    pub fn parked_notices(&self) -> Result<BTreeMap<String, Notice>, DbError> {
        self.kept(PARKED)
    }

    /// Remembers which notices wait.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn park_notices(&mut self, parked: &BTreeMap<String, Notice>) -> Result<(), DbError> {
        self.set_fact(PARKED, &json(parked))
    }

    fn kept<T: Default + serde::de::DeserializeOwned>(&self, fact: &str) -> Result<T, DbError> {
        let Some(text) = self.fact(fact)? else { return Ok(T::default()) };
        serde_json::from_str(&text).map_err(|_| DbError::Impossible { what: "maintenance window" })
    }
}
