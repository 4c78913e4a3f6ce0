//! From a lesson file to a queued draft: redacted, checked and tried on its own examples first.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::parts::Parts;
use crate::domain::attest::Voice;
use crate::domain::chain::ChainHeader;
use crate::domain::entry::{self, EntryError, Retraction, Verified};
use crate::domain::envelope::{Envelope, Kind, PublicKey, Signed};
use crate::domain::id::{EntryId, Slug};
use crate::domain::lesson::{Lesson, LessonError};
use crate::domain::redact::{Private, redact};
use crate::ports::{Admission, Auditor as _, AuditorError};
use crate::store::authored::{self, AuthoredError};
use crate::store::db::DbError;
use crate::store::files::FileError;
use crate::sys::host;

/// Why a lesson cannot be published.
#[derive(Debug, thiserror::Error)]
pub enum AuthoringError {
    /// There is no such lesson file.
    #[error("no lesson `{slug}` in {folder}: run `mesh lesson new {slug}`", folder = folder.display())]
    Unknown {
        /// The lesson.
        slug: Slug,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// The file is not acceptable.
    #[error(transparent)]
    Authored(#[from] AuthoredError),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// What is left after redaction is not acceptable.
    #[error("without its private parts the lesson is not acceptable: write the examples without them")]
    Redacted(#[source] LessonError),
    /// It fails its own examples.
    #[error("lesson is refused: {0}")]
    Refused(String),
    /// It cannot be put into an entry.
    #[error("lesson cannot be sent")]
    Entry(#[from] EntryError),
    /// The audit worker.
    #[error("lesson could not be tried")]
    Auditor(#[from] AuditorError),
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
    /// Nothing to take back.
    #[error("this host has not published a lesson `{0}`: see `mesh outbox list`")]
    NotPublished(Slug),
}

/// A lesson as it would leave this host.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The lesson without what must not leave this host.
    pub lesson: Lesson,
    /// Fields in which something was taken out.
    pub redacted: Vec<&'static str>,
}

/// The lesson `slug` of `config/lessons/`, as it would leave this host.
///
/// # Errors
/// No such file, or not acceptable with or without its private parts.
pub fn outgoing(parts: &Parts, slug: &Slug) -> Result<Outgoing, AuthoringError> {
    let folder = authored::folder(&parts.home);
    for (path, loaded) in authored::load(&parts.home)? {
        let named = path.file_stem().is_some_and(|stem| stem == slug.as_str());
        match loaded {
            Ok(lesson) if lesson.id == *slug => return clean(lesson),
            Err(error) if named => return Err(error.into()),
            _ => {}
        }
    }
    Err(AuthoringError::Unknown { slug: slug.clone(), folder })
}

/// Takes what must not leave this host out of every text of a lesson.
///
/// # Errors
/// What is left breaks a bound.
pub fn clean(mut lesson: Lesson) -> Result<Outgoing, AuthoringError> {
    let private = private();
    let mut redacted = Vec::new();
    let mut wash = |field: &'static str, text: &mut String| {
        let clean = redact(text, &private);
        if clean != *text {
            *text = clean;
            if !redacted.contains(&field) {
                redacted.push(field);
            }
        }
    };
    wash("title", &mut lesson.title);
    wash("when", &mut lesson.when);
    wash("prefer", &mut lesson.prefer);
    wash("because", &mut lesson.because);
    wash("falsifiable.claim", &mut lesson.falsifiable.claim);
    wash("retired_when.claim", &mut lesson.retired_when.claim);
    lesson.evidence.iter_mut().for_each(|text| wash("evidence", text));
    for positive in &mut lesson.tests.positive {
        wash("tests", &mut positive.path);
        wash("tests", &mut positive.code);
        positive.fixed.iter_mut().for_each(|text| wash("tests", text));
    }
    for negative in &mut lesson.tests.negative {
        wash("tests", &mut negative.path);
        wash("tests", &mut negative.code);
    }
    lesson.check().map_err(AuthoringError::Redacted)?;
    Ok(Outgoing { lesson, redacted })
}

/// A text without what must not leave this host.
#[must_use]
pub fn washed(text: &str) -> String {
    redact(text, &private())
}

/// What must not leave this host besides what is recognised by its shape.
pub(super) fn private() -> Private {
    let word = |name: &str| std::env::var(name).ok().filter(|value| value.len() > 2);
    let user = word("USER").filter(|user| user != "root");
    let host = Some(host::name()).filter(|name| name != "host" && name != "localhost");
    Private { words: user.into_iter().chain(host).collect(), paths: word("HOME").into_iter().collect() }
}

/// Runs a lesson's own examples and the stress files in the audit worker.
///
/// # Errors
/// It is refused, or the worker could not be used.
pub fn try_out(parts: &Parts, lesson: &Lesson) -> Result<(), AuthoringError> {
    match parts.auditor().admit(lesson)? {
        Admission::Admitted => Ok(()),
        Admission::Refused(why) => Err(AuthoringError::Refused(why)),
    }
}

/// The very bytes that would be signed now.
///
/// # Errors
/// Too large to be sent.
pub fn preview(parts: &Parts, lesson: &Lesson) -> Result<Vec<u8>, AuthoringError> {
    let header = next_header(parts)?;
    Ok(entry::payload(&header, lesson)?)
}

fn next_header(parts: &Parts) -> Result<ChainHeader, AuthoringError> {
    Ok(parts.db.own_position()?.next_header(&parts.config.mesh, parts.key.host(), parts.now()))
}

/// Queues a lesson to be signed at the next sync.
///
/// # Errors
/// It is refused by its own examples, or too large.
pub fn queue(parts: &mut Parts, outgoing: &Outgoing) -> Result<(), AuthoringError> {
    try_out(parts, &outgoing.lesson)?;
    preview(parts, &outgoing.lesson)?;
    let body = serde_json::to_string(&outgoing.lesson).expect("a lesson is a plain table of text");
    let now = parts.now();
    Ok(parts.db.queue_draft(Kind::Lesson.name(), outgoing.lesson.id.as_str(), &body, now)?)
}

/// The lessons that this host published, oldest first.
///
/// # Errors
/// The database failed.
pub fn published(parts: &Parts) -> Result<Vec<Verified<Lesson>>, AuthoringError> {
    Ok(signed(parts)?.iter().filter_map(|signed| entry::read_lesson(signed).ok()).collect())
}

/// The lesson that each own entry is about.
///
/// # Errors
/// The database failed.
pub fn named(parts: &Parts) -> Result<BTreeMap<EntryId, Slug>, AuthoringError> {
    Ok(signed(parts)?.iter().filter_map(|signed| Some((signed.entry(), entry::lesson_of(signed)?))).collect())
}

/// A lesson that this host published, and what hosts attested of it.
#[derive(Clone, Debug)]
pub struct Shared {
    /// The lesson.
    pub lesson: Slug,
    /// Its revision.
    pub rev: u32,
    /// The entry that it was published in.
    pub entry: EntryId,
    /// A word of each host that is heard here; of a lesson that was taken back nothing counts.
    pub voices: Vec<Voice>,
}

/// Every revision of a lesson that this host published, oldest first, with what hosts attested of it.
///
/// # Errors
/// The database failed.
pub fn shared(parts: &Parts) -> Result<Vec<Shared>, AuthoringError> {
    let signed = signed(parts)?;
    let ended: BTreeSet<EntryId> =
        signed.iter().filter_map(|signed| Some(entry::read_retraction(signed).ok()?.body().entry)).collect();
    let mut shared = Vec::new();
    for lesson in signed.iter().filter_map(|signed| entry::read_lesson(signed).ok()) {
        let (entry, body) = (lesson.entry(), lesson.body());
        let voices = if ended.contains(&entry) { Vec::new() } else { voices(parts, entry, &body.scope)? };
        shared.push(Shared { lesson: body.id.clone(), rev: body.rev, entry, voices });
    }
    Ok(shared)
}

/// What the hosts that are heard here attested of a lesson entry.
///
/// # Errors
/// The database failed.
pub fn voices(parts: &Parts, entry: EntryId, scope: &str) -> Result<Vec<Voice>, DbError> {
    parts.listener().voices(entry, scope, parts.now())
}

fn signed(parts: &Parts) -> Result<Vec<Signed>, AuthoringError> {
    let verified = |host, envelope: &[u8]| {
        let key = PublicKey::of(host).ok()?;
        Envelope::parse(envelope).ok()?.verify(&key).ok()
    };
    let (past, own) = (parts.db.past_entries()?, parts.db.own_entries()?);
    // What was signed with a key that this host has left is its own as well.
    let past = past.iter().filter_map(|(host, envelope)| verified(*host, envelope));
    let own = own.iter().filter_map(|entry| verified(parts.key.host(), &entry.envelope));
    Ok(past.chain(own).collect())
}

/// Queues the retraction of the newest published revision of a lesson.
///
/// # Errors
/// This host never published it.
pub fn queue_retraction(parts: &mut Parts, slug: &Slug, reason: &str) -> Result<(), AuthoringError> {
    let newest = published(parts)?.into_iter().rev().find(|lesson| lesson.body().id == *slug);
    let newest = newest.ok_or_else(|| AuthoringError::NotPublished(slug.clone()))?;
    let retraction = Retraction { entry: newest.entry(), lesson: slug.clone(), reason: redact(reason, &private()) };
    entry::payload(&next_header(parts)?, &retraction)?;
    let body = serde_json::to_string(&retraction).expect("a retraction is a plain table of text");
    let now = parts.now();
    Ok(parts.db.queue_draft(Kind::Retract.name(), slug.as_str(), &body, now)?)
}
