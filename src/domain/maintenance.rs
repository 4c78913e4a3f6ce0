//! Maintenance: for a while rules do nothing to what people work on, and nobody is told of it. Every window has an end.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One window.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Window {
    /// Its name, by which a person ends it.
    pub name: String,
    /// When it begins; it has begun where this is absent.
    pub from: Option<Timestamp>,
    /// When it ends: at this moment it is over.
    pub until: Timestamp,
    /// Whether it is about every target and service.
    pub all: bool,
    /// Targets and services that it is about.
    pub targets: Vec<String>,
    /// Tags of those that it is about.
    pub tags: Vec<String>,
    /// Why.
    pub why: String,
}

/// What a target or service goes by, beside its name.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Known {
    /// Its tags.
    pub tags: Vec<String>,
    /// The service that uses it.
    pub service: Option<String>,
}

/// All windows, and all that they can be about.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Maintenance {
    /// The windows.
    pub windows: Vec<Window>,
    /// Targets and services, by name.
    pub known: BTreeMap<String, Known>,
}

impl Window {
    /// Whether it is open.
    #[must_use]
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= now) && now < self.until
    }

    /// What is worked on, until when and why, in one phrase.
    #[must_use]
    pub fn words(&self) -> String {
        let tags = self.tags.iter().map(|tag| format!("all with tag {tag}"));
        let parts: Vec<String> = self.targets.iter().cloned().chain(tags).collect();
        let about = if self.all { "everything".to_owned() } else { parts.join(", ") };
        let why = if self.why.is_empty() { String::new() } else { format!(" ({})", self.why) };
        format!("maintenance {} of {about} until {:.0}{why}", self.name, self.until)
    }
}

impl Maintenance {
    /// The window that a target or service is in.
    #[must_use]
    pub fn covering(&self, name: &str, now: Timestamp) -> Option<&Window> {
        let known = self.known.get(name);
        let service = known.and_then(|known| known.service.as_deref());
        let of_service = service.and_then(|service| self.known.get(service));
        let named = |window: &Window| window.targets.iter().any(|one| one == name || Some(one.as_str()) == service);
        let tagged = |window: &Window| {
            let tags = known.into_iter().chain(of_service).flat_map(|known| &known.tags);
            window.tags.iter().any(|wanted| tags.clone().any(|tag| tag == wanted))
        };
        let about = |window: &&Window| (window.all && known.is_some()) || named(window) || tagged(window);
        self.windows.iter().filter(|window| window.is_open(now)).find(about)
    }

    /// The windows that are open.
    pub fn open(&self, now: Timestamp) -> impl Iterator<Item = &Window> {
        self.windows.iter().filter(move |window| window.is_open(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("a time")
    }

    fn window(targets: &[&str], tags: &[&str], all: bool) -> Window {
        let owned = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect();
        Window {
            name: "move".to_owned(),
            from: Some(at(0)),
            until: at(60),
            all,
            targets: owned(targets),
            tags: owned(tags),
            why: String::new(),
        }
    }

    fn about(window: Window) -> Maintenance {
        let known = |tags: &[&str], service: Option<&str>| Known {
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            service: service.map(ToOwned::to_owned),
        };
        let known = [
            ("db".to_owned(), known(&["data"], None)),
            ("db-lock".to_owned(), known(&[], Some("db"))),
            ("web".to_owned(), known(&[], None)),
        ];
        Maintenance { windows: vec![window], known: known.into() }
    }

    #[test]
    fn d16_a_window_is_open_from_its_beginning_to_just_before_its_end() {
        let all = about(window(&["web"], &[], false));
        let open = |second| all.covering("web", at(second)).is_some();
        assert_eq!([-1, 0, 59, 60].map(open), [false, true, true, false]);
    }

    #[test]
    fn d16_it_is_about_names_tags_or_all_and_about_what_belongs_to_a_service() {
        let covered = |window: Window| {
            let all = about(window);
            ["db", "db-lock", "web", "mesh"].map(|name| all.covering(name, at(1)).is_some())
        };
        assert_eq!(covered(window(&["db"], &[], false)), [true, true, false, false]);
        assert_eq!(covered(window(&[], &["data"], false)), [true, true, false, false]);
        assert_eq!(covered(window(&["web"], &[], false)), [false, false, true, false]);
        assert_eq!(covered(window(&[], &[], true)), [true, true, true, false], "alarms of mesh itself go on");
    }
}
