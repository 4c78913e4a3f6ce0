//! Whether a service was started with other variables than before: a `PATH` that was shortened, a name that is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::reading;
use super::service::Find;
use crate::domain::signal::{SeriesName, Subject};
use crate::ports::{Clock, Probe, Reading};

const CHANGED: &str = "service.environment_changed";
/// Variables that are compared where none are named: what decides which files a program finds, and how it reads them.
pub const USUAL: [&str; 12] = [
    "GOPATH",
    "HOME",
    "JAVA_HOME",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "NODE_PATH",
    "PATH",
    "PYTHONPATH",
    "TZ",
    "VIRTUAL_ENV",
];
/// Most bytes of an environment.
const BYTES: u64 = 1024 * 1024;
/// A difference that lasted so long is how it is now.
const ACCEPTED_S: i64 = 24 * 3_600;

/// What stands for a variable that is not set.
const UNSET: &str = "-";

/// Hashes of all variables that are compared, by name. A value is never kept: it may be a secret.
type Hashes = BTreeMap<String, String>;

/// Compares the environment of a service's first process with the one that it had before.
pub struct EnvironmentProbe<C> {
    name: Subject,
    proc: PathBuf,
    names: BTreeSet<String>,
    find: Find,
    known: Option<Known>,
    remark: Option<String>,
    clock: C,
}

/// What is taken to be right, and since when it is otherwise.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Known {
    good: Hashes,
    differs: Option<(i64, Hashes)>,
}

impl<C: Clock> EnvironmentProbe<C> {
    /// Compares `names` of the process that `find` finds.
    #[must_use]
    pub fn new(
        name: Subject,
        proc: impl Into<PathBuf>,
        names: impl IntoIterator<Item = String>,
        find: Find,
        mark: Option<&str>,
        clock: C,
    ) -> Self {
        let names: BTreeSet<String> = names.into_iter().collect();
        let known = mark.and_then(|mark| Known::parse(mark, &names));
        Self { name, proc: proc.into(), names, find, known, remark: None, clock }
    }

    fn changed(&mut self) -> Result<f64, String> {
        let found = (self.find)()?;
        let pid = found.pid.ok_or("it has no first process")?;
        let now_set = hashes(&self.proc, pid, &self.names)?;
        let now = self.clock.now().as_second();
        let known = self.known.get_or_insert_with(|| Known { good: now_set.clone(), differs: None });
        for (name, hash) in &now_set {
            // A name that was not compared before has not changed.
            known.good.entry(name.clone()).or_insert_with(|| hash.clone());
        }
        known.differs = match known.differs.take() {
            _ if known.good == now_set => None,
            Some((since, before)) if before == now_set && now - since >= ACCEPTED_S => {
                known.good = before;
                None
            }
            Some((since, before)) if before == now_set => Some((since, before)),
            _ => Some((now, now_set.clone())),
        };
        let good = &known.good;
        let pairs = now_set.iter().filter_map(|(name, now)| Some((name, good.get(name)?, now)));
        let wrong: Vec<String> = pairs
            .filter(|(_, good, now)| good != now)
            .map(|(name, good, now)| match (good.as_str(), now.as_str()) {
                (_, UNSET) => format!("{name} is gone"),
                (UNSET, _) => format!("{name} is new"),
                _ => format!("{name} is another"),
            })
            .collect();
        self.remark = (!wrong.is_empty()).then(|| wrong.join(", "));
        Ok(wrong.len() as f64)
    }
}

fn hashes(proc: &Path, pid: u32, names: &BTreeSet<String>) -> Result<Hashes, String> {
    let path = proc.join(pid.to_string()).join("environ");
    let mut bytes = Vec::new();
    File::open(&path)
        .and_then(|file| file.take(BYTES).read_to_end(&mut bytes))
        .map_err(|error| format!("{}: {error}", path.display()))?;
    let mut found: Hashes = names.iter().map(|name| (name.clone(), UNSET.to_owned())).collect();
    for variable in bytes.split(|byte| *byte == 0) {
        let Some(at) = variable.iter().position(|byte| *byte == b'=') else { continue };
        let name = String::from_utf8_lossy(&variable[..at]);
        if names.contains(name.as_ref()) {
            let hash = blake3::hash(&variable[at..]).to_hex();
            found.insert(name.into_owned(), hash[..16].to_owned());
        }
    }
    Ok(found)
}

impl<C: Clock> Probe for EnvironmentProbe<C> {
    fn read(&mut self) -> Vec<Reading> {
        self.remark = None;
        let changed = self.changed();
        vec![reading(CHANGED, &self.name, changed)]
    }

    fn mark(&self) -> Option<String> {
        self.known.as_ref().map(Known::mark)
    }

    fn remarks(&self) -> Vec<(SeriesName, String)> {
        self.remark.iter().map(|text| (SeriesName::of(CHANGED, self.name.clone()), text.clone())).collect()
    }
}

impl Known {
    /// `NAME=hash` each; behind a line `since` those that differ.
    fn mark(&self) -> String {
        let list = |hashes: &Hashes| hashes.iter().map(|(name, hash)| format!("{name}={hash}\n")).collect::<String>();
        let differs = self.differs.as_ref().map(|(since, hashes)| format!("{since}\n{}", list(hashes)));
        format!("{}{}", list(&self.good), differs.unwrap_or_default())
    }

    /// Of names that are no longer compared nothing is kept.
    fn parse(mark: &str, names: &BTreeSet<String>) -> Option<Self> {
        let mut known = Self { good: Hashes::new(), differs: None };
        for line in mark.lines() {
            match (line.split_once('='), &mut known.differs) {
                (Some((name, hash)), differs) => {
                    let hashes = differs.as_mut().map_or(&mut known.good, |(_, hashes)| hashes);
                    if names.contains(name) {
                        hashes.insert(name.to_owned(), hash.to_owned());
                    }
                }
                (None, None) => known.differs = Some((line.parse().ok()?, Hashes::new())),
                (None, Some(_)) => return None,
            }
        }
        Some(known)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use jiff::Timestamp;

    use super::super::service::Whereabouts;
    use super::*;

    thread_local!(static NOW: Cell<i64> = const { Cell::new(1_000_000) });

    struct At;

    impl Clock for At {
        fn now(&self) -> Timestamp {
            Timestamp::from_second(NOW.get()).expect("a time")
        }
    }

    fn probe(proc: &Path, mark: Option<&str>) -> EnvironmentProbe<At> {
        let find = || Ok(Whereabouts { pid: Some(7), cgroup: None });
        EnvironmentProbe::new(Subject::near("web"), proc, USUAL.map(str::to_owned), Box::new(find), mark, At)
    }

    #[test]
    fn b22_a_variable_that_changed_or_went_is_named_and_no_value_is_kept() {
        let dir = tempfile::tempdir().expect("a temp dir");
        std::fs::create_dir(dir.path().join("7")).expect("made");
        let set = |text: &str| std::fs::write(dir.path().join("7/environ"), text).expect("written");
        set("PATH=/usr/bin:/opt/bin\0LANG=C\0SECRET=hunter2\0");
        let mut first = probe(dir.path(), None);
        assert_eq!(first.read()[0].value, Ok(0.0));
        let mark = first.mark().expect("known");
        assert!(!mark.contains("/opt") && !mark.contains("SECRET"), "{mark}");
        set("PATH=/usr/bin\0SECRET=other\0TZ=UTC\0");
        let mut next = probe(dir.path(), Some(&mark));
        assert_eq!(next.read()[0].value, Ok(3.0));
        assert_eq!(next.remarks()[0].1, "LANG is gone, PATH is another, TZ is new");
        // It stays so for a day, through a restart of the agent, and then it is how it is.
        NOW.set(NOW.get() + ACCEPTED_S - 1);
        let mut later = probe(dir.path(), next.mark().as_deref());
        assert_eq!(later.read()[0].value, Ok(3.0));
        NOW.set(NOW.get() + 1);
        assert_eq!(later.read()[0].value, Ok(0.0));
        set("PATH=/usr/bin:/opt/bin\0LANG=C\0");
        assert_eq!(later.read()[0].value, Ok(3.0), "back is a change too");
        assert!(probe(Path::new("/gone"), None).read()[0].value.is_err());
    }
}
