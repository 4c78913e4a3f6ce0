//! Puts files on top of the branch, against other pushers, and believes only what it reads back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use git2::{ObjectType, Odb, Oid, Repository, Signature};

use super::address::Address;
use super::hosts;
use super::local;
use super::push::{News, Pushed};
use super::request::shown;
use super::session::{Fetched, Made, Session};
use crate::domain::branch_path::{self, ATTRIBUTES_FILE, FORMAT_FILE};
use crate::domain::id::HostId;
use crate::domain::limits;
use crate::ports::RemoteError;
use crate::sys::cache::objects::{self, Found};
use crate::sys::cache::tree::{DIRECTORY, FILE, Lookup, Tree};

/// Shortest and longest unit of the wait after a lost race.
const BACKOFF_UNIT: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// How often the wait doubles: about six pushers that never stop find room in the longest one.
const BACKOFF_DOUBLINGS: u32 = 3;

/// Path to bytes.
type Files = BTreeMap<String, Vec<u8>>;

/// Publishes `files`, and returns a tip, read back from the remote, that holds every one of them.
pub(super) fn publish(session: &Session<'_>, files: &Files, message: &str) -> Result<Oid, RemoteError> {
    if let Some(path) = files.keys().find(|path| !branch_path::is_constructed(path)) {
        return Err(RemoteError::Cache(format!("{} is not a path of the shared branch", shown(path))));
    }
    let mut refusals = 0;
    // What the last push was put on top of.
    let mut base = None;
    let mut sent: Option<Sent> = None;
    let mut started = Instant::now();
    for attempt in 0..=limits::PUSH_TRIES {
        if let Some(Sent { outcome: Pushed::Raced | Pushed::Refused(_), .. }) = sent {
            back_off(attempt, started.elapsed());
        }
        started = Instant::now();
        let fetched = match &sent {
            None => known(session, files)?,
            Some(Sent { outcome: Pushed::Accepted, made }) => session.read_back(made)?,
            Some(_) => None,
        };
        let fetched = fetched.map_or_else(|| session.fetch(), Ok)?;
        let tip = fetched.tip;
        if let Some(tip) = tip
            && holds(&fetched.cache, tip, files)?
        {
            return Ok(tip);
        }
        if let Some(sent) = &sent
            && base == tip
        {
            refusals += 1;
            if refusals >= limits::PUSH_REFUSALS {
                return Err(RemoteError::Refused(refusal(&sent.outcome)));
            }
        }
        if attempt < limits::PUSH_TRIES {
            base = tip;
            sent = Some(push(session, &fetched, files, message)?);
        }
    }
    Err(RemoteError::Contended { tries: limits::PUSH_TRIES })
}

/// What was fetched last, to be pushed onto without asking again: whether the server still has that, a push finds out.
/// None where nothing was, or where it holds the files already, which only the server can say.
fn known(session: &Session<'_>, files: &Files) -> Result<Option<Fetched>, RemoteError> {
    let Some(last) = session.last_fetched() else { return Ok(None) };
    let there = last.tip.map_or(Ok(false), |tip| holds(&last.cache, tip, files))?;
    Ok(Some(last).filter(|_| !there))
}

fn refusal(pushed: &Pushed) -> String {
    match pushed {
        Pushed::Refused(text) => text.clone(),
        Pushed::Accepted => "it says that it took the push, but the branch does not hold it".to_owned(),
        Pushed::Raced => "it says that others pushed, but the branch is as it was".to_owned(),
    }
}

/// Waits a random part of a growing span, so that those who lost the same race do not meet again. What one try took
/// is the measure: a slow server needs its pushers spread wider.
fn back_off(attempt: u32, took: Duration) {
    let unit = took.clamp(BACKOFF_UNIT.0, BACKOFF_UNIT.1);
    let span = unit.saturating_mul(1 << attempt.min(BACKOFF_DOUBLINGS));
    // Without randomness the middle of the span still spreads hosts by their own pace.
    let part = getrandom::u32().unwrap_or(u32::MAX / 2);
    std::thread::sleep(span.mul_f64(f64::from(part) / f64::from(u32::MAX)));
}

/// Whether each file stands at its path below `tip` with the very same bytes.
fn holds(cache: &Repository, tip: Oid, files: &Files) -> Result<bool, RemoteError> {
    let odb = objects::open(cache.path())?;
    let Ok(root) = objects::root_of(&odb, tip) else { return Ok(false) };
    Ok(files.iter().all(|(path, bytes)| match objects::follow(&odb, root, path, FILE) {
        Found::Object(id) => objects::read(&odb, id, ObjectType::Blob, bytes.len()).is_ok_and(|found| found == *bytes),
        Found::Missing | Found::Refused(_) => false,
    }))
}

/// What was pushed, and what became of it.
struct Sent {
    outcome: Pushed,
    /// The commits, where the remote is a server.
    made: Vec<Made>,
}

/// Pushes each file to where it belongs: what is a single host's own to that host's ref, where it has one or is to have
/// one, and all else to the shared branch.
fn push(session: &Session<'_>, fetched: &Fetched, files: &Files, message: &str) -> Result<Sent, RemoteError> {
    let mut shared = Files::new();
    let mut single: BTreeMap<HostId, Files> = BTreeMap::new();
    for (path, bytes) in files {
        let host = branch_path::host_of(path).filter(|host| session.is_single(*host, &fetched.listing));
        host.map_or(&mut shared, |host| single.entry(host).or_default()).insert(path.clone(), bytes.clone());
    }
    let mut sent = Sent { outcome: Pushed::Accepted, made: Vec::new() };
    for (host, files) in &single {
        let (outcome, made) = push_single(session, fetched, *host, files, message)?;
        sent.outcome = outcome;
        sent.made.extend(made);
        if !matches!(sent.outcome, Pushed::Accepted) {
            return Ok(sent);
        }
    }
    if shared.is_empty() && !single.is_empty() {
        return Ok(sent);
    }
    let Address::Local(path) = session.address() else {
        let from = fetched.listing.branch;
        let made = commit(&fetched.cache, from, &shared, message).map_err(|error| session.explain(&error))?;
        sent.outcome = session.push(&fetched.cache, &made, from)?;
        sent.made.push(Made { host: None, commit: made.commit });
        return Ok(sent);
    };
    sent.outcome = local::push(path, session.branch_ref(), |remote, tip| commit(remote, tip, &shared, message))?;
    Ok(sent)
}

/// Pushes files of one host to its own ref. Nobody else does, so there is no race to lose.
fn push_single(
    session: &Session<'_>,
    fetched: &Fetched,
    host: HostId,
    files: &Files,
    message: &str,
) -> Result<(Pushed, Option<Made>), RemoteError> {
    let odb = objects::open(fetched.cache.path())?;
    let root = fetched.tip.and_then(|tip| objects::root_of(&odb, tip).ok());
    // What the branch has of it moves along when it gets its ref.
    let directory = root.and_then(|root| match objects::follow(&odb, root, &branch_path::host(host), DIRECTORY) {
        Found::Object(id) => Some(id),
        Found::Missing | Found::Refused(_) => None,
    });
    let Address::Local(path) = session.address() else {
        let from = fetched.listing.hosts.get(&host).copied();
        let made = hosts::alone(&fetched.cache, host, from, directory, files, message);
        let made = made.map_err(|error| session.explain(&error))?;
        let pushed = session.push_single(&fetched.cache, host, &made, from)?;
        return Ok((pushed, Some(Made { host: Some(host), commit: made.commit })));
    };
    let alone = |remote: &Repository, before| hosts::alone(remote, host, before, directory, files, message);
    local::replace(path, &session.host_ref(host), alone).map(|pushed| (pushed, None))
}

/// A commit on top of `tip` with `files` added.
fn commit(
    repository: &Repository,
    tip: Option<Oid>,
    files: &BTreeMap<String, Vec<u8>>,
    message: &str,
) -> Result<News, git2::Error> {
    let odb = repository.odb()?;
    let parent = tip.map(|tip| repository.find_commit(tip)).transpose()?;
    let base = parent.as_ref().map(git2::Commit::tree_id);
    let mut additions = Additions::default();
    let root = base.map(|base| read_tree(&odb, base)).transpose()?.unwrap_or_default();
    for (path, text) in [FORMAT_FILE, ATTRIBUTES_FILE] {
        if root.get(path.as_bytes()) == Lookup::Missing {
            additions.add(path, odb.write(ObjectType::Blob, text.as_bytes())?);
        }
    }
    for (path, bytes) in files {
        additions.add(path, odb.write(ObjectType::Blob, bytes)?);
    }
    let mut objects = Vec::new();
    let tree = repository.find_tree(additions.write(&odb, base, &mut objects)?)?;
    let author = Signature::now("mesh", "mesh@localhost")?;
    let commit = repository.commit(None, &author, &author, message, &tree, &parent.iter().collect::<Vec<_>>())?;
    Ok(News { commit, objects })
}

/// Files and whole directories to add, by directory.
#[derive(Default)]
pub(super) struct Additions {
    files: BTreeMap<String, Oid>,
    wholes: BTreeMap<String, Oid>,
    directories: BTreeMap<String, Additions>,
}

impl Additions {
    /// The directory `whole` in the place of whatever stands at `path`; files below it are added to it.
    pub(super) fn add_directory(&mut self, path: &str, whole: Oid) {
        match path.split_once('/') {
            Some((directory, rest)) => {
                self.directories.entry(directory.to_owned()).or_default().add_directory(rest, whole);
            }
            None => {
                self.wholes.insert(path.to_owned(), whole);
            }
        }
    }

    /// The file `blob` at `path`.
    pub(super) fn add(&mut self, path: &str, blob: Oid) {
        match path.split_once('/') {
            Some((directory, rest)) => self.directories.entry(directory.to_owned()).or_default().add(rest, blob),
            None => {
                self.files.insert(path.to_owned(), blob);
            }
        }
    }

    /// Writes the directory `base` with the additions made; what stands in the way of one of them gives way. The files
    /// and directories that `base` does not have go to `new`.
    pub(super) fn write(&self, odb: &Odb<'_>, base: Option<Oid>, new: &mut Vec<Oid>) -> Result<Oid, git2::Error> {
        let mut tree = base.map(|base| read_tree(odb, base)).transpose()?.unwrap_or_default();
        for (name, &blob) in &self.files {
            tree.set(name.as_bytes(), FILE, blob);
            new.push(blob);
        }
        for (name, &whole) in &self.wholes {
            tree.set(name.as_bytes(), DIRECTORY, whole);
        }
        for (name, additions) in &self.directories {
            let below = match tree.get(name.as_bytes()) {
                Lookup::One(entry) if entry.mode == DIRECTORY => Some(entry.id),
                Lookup::One(_) | Lookup::Several | Lookup::Missing => None,
            };
            let id = additions.write(odb, below, new)?;
            tree.set(name.as_bytes(), DIRECTORY, id);
        }
        let written = odb.write(ObjectType::Tree, &tree.to_bytes())?;
        new.push(written);
        Ok(written)
    }
}

fn read_tree(odb: &Odb<'_>, id: Oid) -> Result<Tree, git2::Error> {
    objects::tree(odb, id).map_err(|unread| git2::Error::from_str(&format!("directory {id}: {}", unread.why())))
}
