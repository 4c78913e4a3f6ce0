//! The admins' list while it is written: a draft on disk, signed by one admin after the other, then published.

use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};

use super::parts::{Parts, PartsError};
use crate::domain::chain::whole_seconds;
use crate::domain::envelope::{Envelope, HostKey, Kind};
use crate::domain::id::{HostId, PeerName};
use crate::domain::limits;
use crate::domain::roster::{self, Admins, Member, Removed, Roster, RosterFault};
use crate::domain::strict_json::{self, JsonError};
use crate::domain::trust::Grant;
use crate::store::db::DbError;
use crate::store::files::{self, FileError};
use crate::store::keyring::{self, KeyringError};
use crate::store::rosters::RosterRow;

/// Why the list cannot be changed, signed or published.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// This home has no draft and no roster.
    #[error("there is no list of hosts yet: run `mesh admin init` on the host where the admin's key shall be")]
    NotBegun,
    /// Nothing was signed yet.
    #[error("{path} is not there: run `mesh admin sign` first", path = path.display())]
    NotSigned {
        /// The file.
        path: PathBuf,
    },
    /// The draft cannot be read.
    #[error("{path} is not a draft of a list: mend it, or remove it to begin again", path = path.display())]
    Draft {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: JsonError,
    },
    /// It breaks a rule.
    #[error(transparent)]
    Roster(#[from] RosterFault),
    /// Nobody by this name or key.
    #[error("nobody on the list is called `{0}`: see `mesh admin show`")]
    Unknown(String),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A key.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The home.
    #[error(transparent)]
    Parts(#[from] PartsError),
}

/// A list that was signed, and who still has to.
#[derive(Clone, Debug)]
pub struct SignedList {
    /// The file.
    pub path: PathBuf,
    /// What it says.
    pub roster: Roster,
    /// Signatures it has and needs: of the admins of the version before, and of its own.
    pub signatures: [(u32, u32); 2],
}

impl SignedList {
    /// Whether enough admins signed.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.signatures.iter().all(|(got, needed)| got >= needed)
    }
}

fn draft_path(parts: &Parts) -> PathBuf {
    parts.home.state().join("roster.draft.json")
}

fn signed_path(parts: &Parts, version: u64) -> PathBuf {
    parts.home.state().join(format!("roster-{version}.json"))
}

/// Who may say what the next version is, and the last version.
fn standing(parts: &Parts) -> Result<(Admins, u64), AdminError> {
    Ok(match parts.db.roster()? {
        Some(row) => (row.roster.admins(), row.roster.version),
        None => (Admins::pinned(parts.keyring.admins().iter().copied()), 0),
    })
}

/// Makes the admin's key of this home. Where no admin is pinned yet, it is pinned and a list with this host is begun.
///
/// # Errors
/// The system refused.
pub fn init(parts: &mut Parts) -> Result<(HostId, bool), AdminError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|_| PartsError::System("random numbers"))?;
    let admin = keyring::create_admin_key(&parts.home, &seed)?.host();
    let begins = parts.keyring.admins().is_empty();
    if begins {
        keyring::pin_admin(&parts.home, admin)?;
        let me = Member {
            name: parts.config.name.clone(),
            key: parts.key.host(),
            grant: Grant::Propose,
            scope: vec![],
            not_after: None,
        };
        let now = parts.now();
        let mut hosts = vec![me];
        // Whoever was trusted here before stays so.
        hosts.extend(parts.keyring.peers().iter().filter(|peer| parts.keyring.revoked(peer.line.host).is_none()).map(
            |peer| Member {
                name: peer.name.clone(),
                key: peer.line.host,
                grant: peer.line.grant,
                scope: peer.line.scope.clone(),
                not_after: peer.line.not_after,
            },
        ));
        let list = Roster {
            mesh: parts.config.mesh.clone(),
            version: 1,
            issued_at: whole_seconds(now),
            expires_at: whole_seconds(now).saturating_add(roster::VALID).unwrap_or(Timestamp::MAX),
            threshold: 1,
            admins: vec![admin],
            hosts,
            revoked: vec![],
        };
        save(parts, &list)?;
        parts.refresh()?;
    }
    Ok((admin, begins))
}

/// The list as it would be signed next: the draft, or a copy of the newest version.
///
/// # Errors
/// There is neither, or the draft cannot be read.
pub fn draft(parts: &Parts) -> Result<Roster, AdminError> {
    let path = draft_path(parts);
    let (_, last) = standing(parts)?;
    let mut list = match files::read_bytes(&path, limits::ROSTER_BYTES as u64) {
        Ok(bytes) => {
            strict_json::read(&bytes, strict_json::ROSTER).map_err(|cause| AdminError::Draft { path, cause })?
        }
        Err(_) if path.symlink_metadata().is_err() => {
            parts.db.roster()?.map(|row| row.roster).ok_or(AdminError::NotBegun)?
        }
        Err(error) => return Err(error.into()),
    };
    list.version = last.saturating_add(1);
    Ok(list)
}

fn save(parts: &Parts, list: &Roster) -> Result<(), AdminError> {
    list.check()?;
    Ok(files::write_whole(&draft_path(parts), &list.payload(), 0o600)?)
}

/// Puts a host on the list, or changes its line. A name that is there with another key gets the new key, and the old one
/// is revoked through `trust_through`.
///
/// # Errors
/// The list cannot be read or written, or breaks a rule.
pub fn add_host(parts: &Parts, member: Member) -> Result<Roster, AdminError> {
    let mut list = draft(parts)?;
    if let Some(old) = list.hosts.iter().find(|known| known.name == member.name && known.key != member.key) {
        let through = verified(parts, old.key)?;
        list.revoked.push(Removed { key: old.key, trust_through: through });
    }
    list.hosts.retain(|known| known.name != member.name && known.key != member.key);
    list.hosts.push(member);
    list.hosts.sort_by(|one, other| one.name.cmp(&other.name));
    save(parts, &list)?;
    Ok(list)
}

/// Puts an admin on the list.
///
/// # Errors
/// As [`add_host`].
pub fn add_admin(parts: &Parts, key: HostId) -> Result<Roster, AdminError> {
    let mut list = draft(parts)?;
    list.admins.retain(|known| *known != key);
    list.admins.push(key);
    save(parts, &list)?;
    Ok(list)
}

/// Says how many admins must sign.
///
/// # Errors
/// As [`add_host`].
pub fn set_threshold(parts: &Parts, threshold: u32) -> Result<Roster, AdminError> {
    let list = Roster { threshold, ..draft(parts)? };
    save(parts, &list)?;
    Ok(list)
}

/// Takes a host off the list; its entries through `trust_through` stay believed, by default those that were verified here.
///
/// # Errors
/// As [`add_host`], or nobody has this name.
pub fn remove_host(parts: &Parts, name: &PeerName, trust_through: Option<u64>) -> Result<Roster, AdminError> {
    let mut list = draft(parts)?;
    let at = list.hosts.iter().position(|host| host.name == *name);
    let removed = list.hosts.remove(at.ok_or_else(|| AdminError::Unknown(name.to_string()))?);
    let trust_through = match trust_through {
        Some(seq) => seq,
        None => verified(parts, removed.key)?,
    };
    list.revoked.push(Removed { key: removed.key, trust_through });
    save(parts, &list)?;
    Ok(list)
}

/// Takes an admin off the list.
///
/// # Errors
/// As [`add_host`], or nobody has this key.
pub fn remove_admin(parts: &Parts, key: HostId) -> Result<Roster, AdminError> {
    let mut list = draft(parts)?;
    if !list.admins.contains(&key) {
        return Err(AdminError::Unknown(key.short()));
    }
    list.admins.retain(|known| *known != key);
    save(parts, &list)?;
    Ok(list)
}

fn verified(parts: &Parts, host: HostId) -> Result<u64, DbError> {
    Ok(parts.db.peer(host)?.map_or(0, |row| row.position.seq))
}

/// Signs the draft, or `file` as another admin sent it, with the admin's key of this home.
///
/// # Errors
/// There is no key or no list, or it breaks a rule.
pub fn sign(parts: &Parts, file: Option<&Path>, valid: SignedDuration) -> Result<SignedList, AdminError> {
    let key = keyring::load_admin_key(&parts.home)?;
    match file {
        Some(path) => {
            let bytes = files::read_bytes(path, limits::ROSTER_BYTES as u64)?;
            let (list, envelope) = roster::read(&bytes)?;
            write_signed(parts, path.to_owned(), list, envelope, &key)
        }
        None => {
            let now = whole_seconds(parts.now());
            let list = draft(parts)?;
            let list =
                Roster { issued_at: now, expires_at: now.saturating_add(valid).unwrap_or(Timestamp::MAX), ..list };
            let path = signed_path(parts, list.version);
            let envelope = Envelope::unsigned(Kind::Roster, list.payload());
            write_signed(parts, path, list, envelope, &key)
        }
    }
}

fn write_signed(
    parts: &Parts,
    path: PathBuf,
    roster: Roster,
    mut envelope: Envelope,
    key: &HostKey,
) -> Result<SignedList, AdminError> {
    let (before, last) = standing(parts)?;
    let wanted = last.saturating_add(1);
    if roster.version != wanted {
        return Err(RosterFault::Version { found: roster.version, wanted }.into());
    }
    if roster.mesh != parts.config.mesh {
        return Err(RosterFault::OtherMesh(roster.mesh).into());
    }
    roster.check()?;
    envelope.add_signature(key);
    files::write_whole(&path, &envelope.to_file(), 0o644)?;
    let signatures = roster::signed_by(&roster, &envelope, &before);
    Ok(SignedList { path, roster, signatures })
}

/// Makes a list that enough admins signed the one that holds here; the next sync shows it to everybody.
///
/// # Errors
/// It does not follow from the version before it.
pub fn publish(parts: &mut Parts, file: Option<&Path>) -> Result<Roster, AdminError> {
    let (before, last) = standing(parts)?;
    let path = file.map_or_else(|| signed_path(parts, last.saturating_add(1)), Path::to_owned);
    if path.symlink_metadata().is_err() {
        return Err(AdminError::NotSigned { path });
    }
    let bytes = files::read_bytes(&path, limits::ROSTER_BYTES as u64)?;
    let (roster, id) = roster::accept(&parts.config.mesh, &bytes, &before, last)?;
    let now = parts.now();
    parts.db.record_roster(&RosterRow { id, roster: roster.clone(), envelope: bytes }, now)?;
    let draft = draft_path(parts);
    if draft.symlink_metadata().is_ok() {
        files::remove(&draft)?;
    }
    parts.refresh()?;
    Ok(roster)
}
