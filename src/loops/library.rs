//! The lessons that hold on this host: founding ones, those authored here, and those of peers.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;

use crate::domain::chain::PeerState;
use crate::domain::detect::ENGINE;
use crate::domain::entry;
use crate::domain::envelope::{Envelope, PublicKey};
use crate::domain::expr::{Claim, Truth};
use crate::domain::fix::KnownLesson;
use crate::domain::foreign_text::error_line;
use crate::domain::id::{EntryId, HostId, PeerName, Slug};
use crate::domain::kaizen::calibration;
use crate::domain::lesson::Lesson;
use crate::domain::outcome::Measured;
use crate::domain::trust::{Grant, GrantBounds, effective_grant};
use crate::domain::utc_time;
use crate::domain::wave::{Standing, Turn};
use crate::founding;
use crate::ports::{Admission, Auditor, AuditorError};
use crate::store::authored;
use crate::store::db::{Db, DbError};
use crate::store::files::FileError;
use crate::store::home::Home;
use crate::store::keyring::Keyring;
use crate::store::peer_log::{InboxRow, InboxState};
use crate::store::voices::Listener;

/// Where a lesson comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// It ships with mesh.
    Founding,
    /// A person wrote it on this host.
    Local,
    /// A peer signed it.
    Peer {
        /// The peer's local name.
        name: PeerName,
        /// Its key.
        host: HostId,
        /// The entry.
        entry: EntryId,
        /// What it may do here now.
        grant: Grant,
    },
}

impl Origin {
    /// The words for it in listings.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Founding => "founding",
            Self::Local => "local",
            Self::Peer { name, .. } => name.as_str(),
        }
    }

    /// What its fixes may do here.
    #[must_use]
    pub const fn grant(&self) -> Grant {
        match self {
            Self::Founding | Self::Local => Grant::Propose,
            Self::Peer { grant, .. } => *grant,
        }
    }

    fn entry(&self) -> Option<EntryId> {
        match self {
            Self::Founding | Self::Local => None,
            Self::Peer { entry, .. } => Some(*entry),
        }
    }
}

/// A lesson and where it comes from.
#[derive(Clone, PartialEq, Debug)]
pub struct Held {
    /// The lesson.
    pub lesson: Lesson,
    /// Where it comes from.
    pub origin: Origin,
    /// Whether it may do more here than it may now, once other hosts have tried it.
    pub waits: bool,
    /// Why it does not fit this host any more, if it does not: it is only audited then.
    pub stale: Option<String>,
}

impl Held {
    /// What its fixes may do here.
    #[must_use]
    pub fn grant(&self) -> Grant {
        match &self.stale {
            Some(_) => self.origin.grant().min(Grant::Audit),
            None => self.origin.grant(),
        }
    }

    /// The lesson as the seeding wants it.
    #[must_use]
    pub fn known(&self) -> KnownLesson {
        KnownLesson { lesson: self.lesson.clone(), entry: self.origin.entry(), grant: self.grant(), waits: self.waits }
    }
}

/// The lessons of a host.
#[derive(Clone, Debug, Default)]
pub struct Library {
    /// At most one of each name, by name.
    pub held: Vec<Held>,
    /// What was left out, and why.
    pub left_out: Vec<(String, String)>,
    /// Lessons of this host that are over, and why: their peers are to hear of it.
    pub retired: Vec<(Slug, u32, String)>,
    /// Lessons of peers that may do less here than their grant for now, and why.
    pub held_back: Vec<(String, String)>,
}

/// Why the library cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// A folder cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The audit worker could not be used.
    #[error("lessons could not be admitted")]
    Auditor(#[from] AuditorError),
}

/// What a library is made from.
pub struct Sources<'a> {
    /// The home, for `config/lessons/`.
    pub home: &'a Home,
    /// The inbox and what the audit worker said before.
    pub db: &'a mut Db,
    /// Who is trusted here.
    pub keyring: &'a Keyring,
    /// This host.
    pub me: HostId,
    /// The most that any peer's lesson may do here.
    pub max_grant: Grant,
    /// When this host's turn comes to try what others learned.
    pub turn: Turn,
    /// Whether the lessons that ship with mesh are used.
    pub founding: bool,
    /// What this host is: `os`, `arch`, `distro`.
    pub environment: &'a BTreeMap<String, String>,
}

/// Gathers the lessons that hold here, each admitted by the audit worker once. Of several with one name
/// the local one wins, then the founding one, then the newest revision among peers.
///
/// # Errors
/// This host's own state failed; a bad lesson is left out and named.
pub fn gather(sources: &mut Sources<'_>, auditor: &mut dyn Auditor, now: Timestamp) -> Result<Library, LibraryError> {
    let mut library = Library::default();
    let mut offers: Vec<(Held, Option<InboxRow>)> = Vec::new();
    for (path, loaded) in authored::load(sources.home)? {
        match loaded {
            Ok(lesson) => offers.push((Held { lesson, origin: Origin::Local, waits: false, stale: None }, None)),
            Err(error) => library.left_out.push((file_name(&path), error_line(&error))),
        }
    }
    for (name, text) in founding::ALL.iter().filter(|_| sources.founding) {
        // That their claims compile is as fixed as their text.
        match authored::parse_but_claims(Path::new(name), text) {
            Ok(lesson) => offers.push((Held { lesson, origin: Origin::Founding, waits: false, stale: None }, None)),
            Err(error) => library.left_out.push(((*name).to_owned(), error_line(&error))),
        }
    }
    let mut rows = sources.db.inbox()?;
    rows.sort_by_key(|row| (std::cmp::Reverse(row.rev), row.seq));
    for row in rows {
        if let Some(held) = peer_lesson(sources, &row, &mut library, now)? {
            offers.push((held, Some(row)));
        }
    }
    let mut held: BTreeMap<Slug, Held> = BTreeMap::new();
    for (offer, row) in offers {
        let verdict = verdict(sources, &offer, auditor, now)?;
        if let Some(row) = row {
            let (state, reason) = match &verdict {
                // Whether there is anything here to apply it to is noted after each audit.
                None if matches!(row.state, InboxState::Applied | InboxState::NotApplicable) => {
                    (row.state, row.reason.as_str())
                }
                None => (InboxState::Applicable, ""),
                Some((state, reason)) => (*state, reason.as_str()),
            };
            if (row.state, row.reason.as_str()) != (state, reason) {
                sources.db.set_inbox_state(row.entry, state, reason)?;
            }
        }
        match verdict {
            Some((state, reason)) => {
                if state == InboxState::Retired && offer.origin == Origin::Local {
                    library.retired.push((offer.lesson.id.clone(), offer.lesson.rev, reason.clone()));
                }
                library.left_out.push((offer.lesson.id.to_string(), reason));
            }
            None => {
                held.entry(offer.lesson.id.clone()).or_insert(offer);
            }
        }
    }
    for mut held in held.into_values() {
        let envelope = calibration::envelope(&held.lesson.calibrated_for);
        let usual = sources.db.usual(envelope.keys().map(String::as_str), now.as_second())?;
        held.stale = calibration::why(&calibration::drifts(&envelope, &usual));
        library.held_back.extend(held.stale.iter().map(|why| (held.lesson.id.to_string(), why.clone())));
        library.held.push(held);
    }
    Ok(library)
}

/// Reads a lesson of the inbox again from the verified envelope; `None` when it is not to be used.
fn peer_lesson(
    sources: &mut Sources<'_>,
    row: &InboxRow,
    library: &mut Library,
    now: Timestamp,
) -> Result<Option<Held>, LibraryError> {
    if !matches!(row.state, InboxState::New | InboxState::Applicable | InboxState::NotApplicable | InboxState::Applied)
    {
        return Ok(None);
    }
    let Some(peer) = sources.keyring.by_host(row.host) else {
        let reason = "its author is no longer enrolled".to_owned();
        library.left_out.push((row.slug.clone(), reason));
        return Ok(None);
    };
    if row.seq > sources.keyring.trusted_through(row.host) {
        let reason = format!("the key of {} was revoked before entry {}", peer.name, row.seq);
        sources.db.set_inbox_state(row.entry, InboxState::Rejected, &reason)?;
        return Ok(None);
    }
    let envelope = sources.db.entry(row.entry)?;
    let signed = envelope
        .and_then(|bytes| Envelope::parse(&bytes).ok())
        .zip(PublicKey::of(row.host).ok())
        .and_then(|(envelope, key)| envelope.verify(&key).ok());
    let Some(verified) = signed.and_then(|signed| entry::read_lesson(&signed).ok()) else {
        return Err(DbError::Impossible { what: "inbox entry" }.into());
    };
    let state = sources.db.peer(row.host)?.map(|row| row.state);
    // Of a key that was revoked nothing more is believed, so nothing of it can be hidden either.
    let fresh = state.is_some_and(|state| state.is_fresh() || state == PeerState::Revoked)
        && sources.keyring.roster().is_fresh();
    let lineage = lineage(sources, verified.body())?;
    let bounds = GrantBounds { max: sources.max_grant, fresh, lineage };
    let Some(grant) = effective_grant(&peer.line, &verified.body().scope, bounds, now) else {
        let reason = format!("{} is not trusted for scope {} now", peer.name, verified.body().scope);
        library.left_out.push((row.slug.clone(), reason));
        return Ok(None);
    };
    let (grant, waits) = in_its_wave(sources, row, &verified.body().scope, grant, library, now)?;
    if grant < Grant::Audit {
        library.left_out.push((row.slug.clone(), format!("{} may only be observed", peer.name)));
        return Ok(None);
    }
    let origin = Origin::Peer { name: peer.name.clone(), host: row.host, entry: row.entry, grant };
    Ok(Some(Held { lesson: verified.body().clone(), origin, waits, stale: None }))
}

/// The grant as far as the waves let it go here, and whether it waits for one; a lesson that too many hosts took back is
/// stopped.
fn in_its_wave(
    sources: &mut Sources<'_>,
    row: &InboxRow,
    scope: &str,
    grant: Grant,
    library: &mut Library,
    now: Timestamp,
) -> Result<(Grant, bool), LibraryError> {
    let (keyring, me, max_grant, turn) = (sources.keyring, sources.me, sources.max_grant, sources.turn);
    let listener = Listener { db: sources.db, keyring, me, max_grant, turn };
    let standing = listener.standing(row.entry, row.host, scope, now)?;
    if let (Standing::Tripped { reverted, .. }, Some(why)) = (&standing, standing.why()) {
        sources.db.stop_lesson(row.entry, &row.slug, &why, *reverted, now)?;
    }
    let listener = Listener { db: sources.db, keyring, me, max_grant, turn };
    let (bounded, why) = listener.bounded(grant, row.entry, &standing)?;
    library.held_back.extend(why.map(|why| (row.slug.clone(), why)));
    let waits = matches!(standing, Standing::Waiting { .. }) && bounded == Grant::Propose && grant > bounded;
    Ok((bounded, waits))
}

/// The least grant among the peers whose lessons this one was derived from: nobody raises a lesson's grant
/// by publishing it again.
fn lineage(sources: &Sources<'_>, lesson: &Lesson) -> Result<Option<Grant>, LibraryError> {
    let mut least = None;
    let rows = if lesson.derived_from.is_empty() { Vec::new() } else { sources.db.inbox()? };
    for parent in &lesson.derived_from {
        let author = rows.iter().find(|row| row.entry == *parent).map(|row| row.host);
        let grant = author.and_then(|host| sources.keyring.by_host(host)).map(|peer| peer.line.grant);
        // A parent that nobody here knows lends no trust.
        let grant = grant.unwrap_or(Grant::Audit);
        least = Some(least.map_or(grant, |least: Grant| least.min(grant)));
    }
    Ok(least)
}

/// Why a lesson is not to be used here, if it is not.
fn verdict(
    sources: &mut Sources<'_>,
    Held { lesson, origin, .. }: &Held,
    auditor: &mut dyn Auditor,
    now: Timestamp,
) -> Result<Option<(InboxState, String)>, LibraryError> {
    if utc_time::parse(&lesson.retired_when.after).is_none_or(|after| now > after) {
        return Ok(Some((InboxState::Retired, format!("retired by its date, {}", lesson.retired_when.after))));
    }
    for (name, wanted) in &lesson.calibrated_for.env {
        if sources.environment.get(name).is_none_or(|here| here != wanted) {
            return Ok(Some((InboxState::NotApplicable, format!("made for {name} {wanted}"))));
        }
    }
    // Those of this host were compiled when they were read.
    if let Origin::Peer { .. } = origin
        && let Err((field, cause)) = authored::check_claims(lesson)
    {
        return Ok(Some((InboxState::Rejected, format!("`{field}` cannot be evaluated: {cause}"))));
    }
    if let Some(reason) = retired(sources.db, lesson, now)? {
        return Ok(Some((InboxState::Retired, reason)));
    }
    let digest = lesson.digest();
    let known = sources.db.admission(&digest, ENGINE)?;
    let refusal = match known {
        Some(refusal) => refusal,
        None => {
            let refusal = match auditor.admit(lesson)? {
                Admission::Admitted => None,
                Admission::Refused(reason) => Some(reason),
            };
            sources.db.record_admission(&digest, ENGINE, refusal.as_deref(), now)?;
            refusal
        }
    };
    Ok(refusal.map(|reason| (InboxState::Rejected, reason)))
}

/// Why this revision is retired by what was measured, if it is. Once it was, it stays so.
fn retired(db: &mut Db, lesson: &Lesson, now: Timestamp) -> Result<Option<String>, DbError> {
    let json = serde_json::to_vec(lesson).expect("a lesson is a plain table of text");
    let fact = format!("retired:{}:{}", lesson.id, blake3::hash(&json).to_hex());
    if let Some(reason) = db.fact(&fact)? {
        return Ok(Some(reason));
    }
    if claim_says(db, &lesson.retired_when.expr, now)? != Truth::True {
        return Ok(None);
    }
    let reason = format!("retired on {}: {}", now.strftime("%Y-%m-%d"), lesson.retired_when.claim);
    db.set_fact(&fact, &reason)?;
    Ok(Some(reason))
}

/// What was measured on this host says of a claim. One that does not compile says nothing.
///
/// # Errors
/// The database failed.
pub fn claim_says(db: &Db, expression: &str, now: Timestamp) -> Result<Truth, DbError> {
    let Ok(claim) = Claim::compile(expression) else { return Ok(Truth::Unknown) };
    Ok(claim.evaluate(&db.claim_history(&claim, now.as_second())?, now.as_second()))
}

/// The same, with what each call of the claim comes to.
///
/// # Errors
/// The database failed.
pub fn claim_measured(db: &Db, expression: &str, now: Timestamp) -> Result<Measured, DbError> {
    let Ok(claim) = Claim::compile(expression) else { return Ok(Measured::nothing()) };
    let history = db.claim_history(&claim, now.as_second())?;
    let says = claim.evaluate(&history, now.as_second()).into();
    Ok(Measured { says, readings: claim.readings(&history, now.as_second()) })
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
