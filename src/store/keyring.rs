//! The key files of a home: this host's own key, the peers it trusts, the keys it no longer does.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::db::{Db, DbError};
use super::files::{self, FileError};
use super::home::Home;
use super::rosters::{ROSTER_FACT, RosterRow};
use super::rotations::OWN_KEY_FACT;
use crate::domain::envelope::HostKey;
use crate::domain::id::{HostId, PeerName};
use crate::domain::openssh::{self, KeyTextError};
use crate::domain::roster::Roster;
use crate::domain::trust::{Peer, PeerLine, Revoked, TrustError};

const KEY_FILE_BYTES: u64 = 4_096;

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// It cannot be read, or its mode, owner or kind is wrong.
    #[error(transparent)]
    File(#[from] FileError),
    /// It holds no usable private key.
    #[error("{path} holds no usable key: restore it from a copy, or run `mesh init` in a new home", path = path.display())]
    Private {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: KeyTextError,
    },
    /// It holds no usable line.
    #[error("{path} is not a usable trust line: mend or remove it", path = path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: TrustError,
    },
    /// Its name is no peer name.
    #[error("{path} is not named after a peer: rename it to a-z, 0-9 and '-' with .pub", path = path.display())]
    Name {
        /// The file.
        path: PathBuf,
    },
    /// One key under two names.
    #[error("{path} holds the key that `{other}` has already: one key is one peer, remove one of them", path = path.display())]
    Twice {
        /// The file.
        path: PathBuf,
        /// The other name.
        other: PeerName,
    },
    /// A peer by this name is there.
    #[error("peer `{0}` is enrolled with another key: run `mesh enroll --replace` if its key was really replaced")]
    NameTaken(PeerName),
    /// No peer by this name.
    #[error("no peer `{0}`: run `mesh peers` to see who is enrolled")]
    Unknown(PeerName),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// Revoked keys stay revoked.
    #[error("key {0} was revoked here and stays so: a host that comes back needs a new key")]
    RevokedKey(HostId),
}

/// Makes a new key pair in `keys/`; an existing one is never touched.
///
/// # Errors
/// There is a key already, or the system refused.
pub fn create_host_key(home: &Home, seed: &[u8; 32], name: &PeerName) -> Result<HostKey, KeyringError> {
    let key = HostKey::from_seed(seed);
    let path = home.keys().join("host.key");
    if path.symlink_metadata().is_ok() {
        return load_host_key(home);
    }
    files::write_whole(&path, openssh::private_pem(&key).as_bytes(), 0o600)?;
    let line = openssh::public_line(key.host(), name.as_str()) + "\n";
    files::write_whole(&home.keys().join("host.pub"), line.as_bytes(), 0o644)?;
    Ok(key)
}

/// Reads this host's key; a loose mode, a foreign owner or a link is refused.
///
/// # Errors
/// Missing, exposed, or not a key.
pub fn load_host_key(home: &Home) -> Result<HostKey, KeyringError> {
    load_private(home.keys().join("host.key"))
}

fn load_private(path: PathBuf) -> Result<HostKey, KeyringError> {
    files::demand_private(&path, 0o600)?;
    let text = files::read_text(&path, KEY_FILE_BYTES)?;
    openssh::parse_private(&text).map_err(|cause| KeyringError::Private { path, cause })
}

/// Who is trusted here, and who no longer is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keyring {
    peers: Vec<Peer>,
    revoked: Vec<(PeerName, Revoked)>,
    admins: Vec<HostId>,
    /// Enrolled here, and not on the admins' list: not trusted.
    unlisted: Vec<PeerName>,
    /// Whether the list of the admins can be relied on to be the newest.
    roster: RosterStanding,
    /// This host's own key: no peer, whatever list it is on.
    me: Option<HostId>,
    /// Keys that their hosts have left, and the keys that followed.
    moved: Vec<(HostId, HostId)>,
    /// Peers and revoked keys as the folders have them, where a roster was held against them.
    folders: Option<Folders>,
}

/// Peers, and revoked keys by their label.
type Folders = (Vec<Peer>, Vec<(PeerName, Revoked)>);

/// How far the admins' list is to be relied on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RosterStanding {
    /// No admin is pinned here: trust is what the folders say.
    #[default]
    None,
    /// Admins are pinned, and no list of theirs was verified yet.
    Awaited,
    /// It is the newest one that there is, as far as can be seen.
    Fresh {
        /// Its version.
        version: u64,
    },
    /// It has expired, or a newer one is hidden: lessons are audited at most.
    Stale {
        /// Its version.
        version: u64,
        /// Why.
        why: String,
    },
}

impl RosterStanding {
    /// Whether it bounds nothing: there is no list, or it is the newest.
    #[must_use]
    pub const fn is_fresh(&self) -> bool {
        !matches!(self, Self::Stale { .. })
    }

    /// The word for it in listings.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Awaited => "awaited",
            Self::Fresh { .. } => "ok",
            Self::Stale { .. } => "stale",
        }
    }
}

impl Keyring {
    /// Reads the folders and holds them against the newest roster that was verified here, if admins are pinned.
    ///
    /// # Errors
    /// As [`Keyring::load`], or the database failed.
    pub fn load_with_roster(home: &Home, db: &Db, now: Timestamp) -> Result<Self, KeyringError> {
        let mut keyring = Self::load(home)?;
        keyring.join_again(db, now)?;
        Ok(keyring)
    }

    /// Holds what the folders say against the newest verified roster.
    ///
    /// # Errors
    /// The database failed.
    fn join_roster(&mut self, db: &Db, now: Timestamp) -> Result<(), KeyringError> {
        if self.admins.is_empty() {
            return Ok(());
        }
        let Some(RosterRow { roster, .. }) = db.roster()? else {
            self.roster = RosterStanding::Awaited;
            return Ok(());
        };
        let (version, fault) = (roster.version, db.fact(ROSTER_FACT)?);
        self.roster = match fault {
            Some(why) => RosterStanding::Stale { version, why },
            None if roster.is_expired(now) => {
                RosterStanding::Stale { version, why: "the roster has expired: its admins sign a new one".to_owned() }
            }
            None => RosterStanding::Fresh { version },
        };
        self.take_roster(&roster);
        Ok(())
    }

    /// Holds the folders, as they were read, against a roster that was verified since.
    ///
    /// # Errors
    /// The database failed.
    pub fn join_again(&mut self, db: &Db, now: Timestamp) -> Result<(), KeyringError> {
        let folders = self.folders.get_or_insert_with(|| (self.peers.clone(), self.revoked.clone()));
        (self.peers, self.revoked) = folders.clone();
        self.join_roster(db, now)?;
        self.follow(db)
    }

    /// Puts the new key of a host that moved in the place of the old one, whose entries are believed up to its last.
    fn follow(&mut self, db: &Db) -> Result<(), KeyringError> {
        self.moved.clear();
        let mut open: Vec<_> = db.rotations()?.into_iter().filter(|(_, taken)| *taken).collect();
        // A host may have moved more than once; each round follows one move of each.
        while !open.is_empty() {
            let mut later = Vec::new();
            let before = open.len();
            for (rotation, taken) in open {
                let Some(at) = self.peers.iter().position(|peer| peer.line.host == rotation.old) else {
                    later.push((rotation, taken));
                    continue;
                };
                let known = self.by_host(rotation.new).is_some() || self.revoked(rotation.new).is_some();
                let cut_before = self.trusted_through(rotation.old) < rotation.seq;
                if known || cut_before || db.fork(rotation.old)?.is_some() || db.fork(rotation.new)?.is_some() {
                    continue;
                }
                let Peer { name, line } = self.peers[at].clone();
                self.peers[at].name = labelled(&name, rotation.old);
                self.peers.push(Peer { name, line: PeerLine { host: rotation.new, ..line } });
                let left = Revoked { host: rotation.old, trust_through: rotation.seq, comment: "moved".to_owned() };
                self.revoked.push((self.peers[at].name.clone(), left));
                self.moved.push((rotation.old, rotation.new));
            }
            if later.len() == before {
                break;
            }
            open = later;
        }
        self.peers.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(())
    }

    /// The key that a host moved to from this one.
    #[must_use]
    pub fn successor(&self, host: HostId) -> Option<HostId> {
        self.moved.iter().find(|(old, _)| *old == host).map(|(_, new)| *new)
    }

    /// A listed host is trusted with what both the list and, where there is one, its local line allow; one that is not
    /// listed is not trusted.
    fn take_roster(&mut self, roster: &Roster) {
        let local = std::mem::take(&mut self.peers);
        let mut names: BTreeSet<PeerName> = local.iter().map(|peer| peer.name.clone()).collect();
        for member in roster.hosts.iter().filter(|member| Some(member.key) != self.me) {
            let listed = member.line();
            if let Some(known) = local.iter().find(|peer| peer.line.host == member.key) {
                self.peers.push(Peer { name: known.name.clone(), line: known.line.meet(&listed) });
                continue;
            }
            let mut name = member.name.clone();
            if !names.insert(name.clone()) {
                name = labelled(&name, member.key);
                names.insert(name.clone());
            }
            self.peers.push(Peer { name, line: listed });
        }
        self.unlisted = local
            .into_iter()
            .filter(|peer| !roster.hosts.iter().any(|member| member.key == peer.line.host))
            .map(|peer| peer.name)
            .collect();
        self.peers.sort_by(|one, other| one.name.cmp(&other.name));
        for removed in &roster.revoked {
            let line =
                Revoked { host: removed.key, trust_through: removed.trust_through, comment: "roster".to_owned() };
            let label: PeerName = "roster".parse().expect("a plain word");
            self.revoked.push((labelled(&label, removed.key), line));
        }
    }

    /// The admins that a person pinned here.
    #[must_use]
    pub fn admins(&self) -> &[HostId] {
        &self.admins
    }

    /// How far the admins' list is to be relied on.
    #[must_use]
    pub fn roster(&self) -> &RosterStanding {
        &self.roster
    }

    /// Peers that are enrolled here and not on the admins' list, so not trusted.
    #[must_use]
    pub fn unlisted(&self) -> &[PeerName] {
        &self.unlisted
    }

    /// Reads `keys/peers/` and `keys/revoked/`. One bad file refuses the whole: trust is never guessed.
    ///
    /// # Errors
    /// The first file that is not right.
    pub fn load(home: &Home) -> Result<Self, KeyringError> {
        let mut keyring = Self::default();
        let own = home.keys().join("host.pub");
        if own.symlink_metadata().is_ok() {
            let text = files::read_text(&own, KEY_FILE_BYTES)?;
            keyring.me = Some(PeerLine::parse(&text).map_err(|cause| KeyringError::Line { path: own, cause })?.host);
        }
        for (path, name, text) in key_files(&home.keys().join("revoked"))? {
            let line = Revoked::parse(&text).map_err(|cause| KeyringError::Line { path, cause })?;
            keyring.revoked.push((name, line));
        }
        if home.keys().join("admins").is_dir() {
            for (path, _, text) in key_files(&home.keys().join("admins"))? {
                let line = PeerLine::parse(&text).map_err(|cause| KeyringError::Line { path, cause })?;
                keyring.admins.push(line.host);
            }
        }
        for (path, name, text) in key_files(&home.keys().join("peers"))? {
            let line = PeerLine::parse(&text).map_err(|cause| KeyringError::Line { path: path.clone(), cause })?;
            if let Some(other) = keyring.peers.iter().find(|peer| peer.line.host == line.host) {
                return Err(KeyringError::Twice { path, other: other.name.clone() });
            }
            keyring.peers.push(Peer { name, line });
        }
        Ok(keyring)
    }

    /// Peers by name, revoked ones included.
    #[must_use]
    pub fn peers(&self) -> &[Peer] {
        &self.peers
    }

    /// The peer with this key.
    #[must_use]
    pub fn by_host(&self, host: HostId) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.line.host == host)
    }

    /// The peer with this name.
    ///
    /// # Errors
    /// There is none.
    pub fn by_name(&self, name: &PeerName) -> Result<&Peer, KeyringError> {
        self.peers.iter().find(|peer| peer.name == *name).ok_or_else(|| KeyringError::Unknown(name.clone()))
    }

    /// How the key was revoked, where it was. This always wins.
    #[must_use]
    pub fn revoked(&self, host: HostId) -> Option<&Revoked> {
        // Revoked twice: what is believed least counts.
        self.revoked.iter().map(|(_, line)| line).filter(|line| line.host == host).min_by_key(|line| line.trust_through)
    }

    /// The last seq of this host's entries that is still believed: all, unless it was revoked.
    #[must_use]
    pub fn trusted_through(&self, host: HostId) -> u64 {
        self.revoked(host).map_or(u64::MAX, |line| line.trust_through)
    }

    /// Enrols a peer, or changes its line.
    ///
    /// # Errors
    /// The name belongs to another key and `replace` is not set, the key to another name, or it was revoked.
    pub fn enroll(&mut self, home: &Home, name: &PeerName, line: PeerLine, replace: bool) -> Result<(), KeyringError> {
        if self.revoked(line.host).is_some() {
            return Err(KeyringError::RevokedKey(line.host));
        }
        let path = home.keys().join("peers").join(format!("{name}.pub"));
        if let Some(other) = self.by_host(line.host).filter(|peer| peer.name != *name) {
            return Err(KeyringError::Twice { path, other: other.name.clone() });
        }
        if self.by_name(name).is_ok_and(|peer| peer.line.host != line.host) && !replace {
            return Err(KeyringError::NameTaken(name.clone()));
        }
        files::write_whole(&path, format!("{line}\n").as_bytes(), 0o644)?;
        let peer = Peer { name: name.clone(), line };
        for peers in [Some(&mut self.peers), self.folders.as_mut().map(|(peers, _)| peers)].into_iter().flatten() {
            peers.retain(|peer| peer.name != *name);
            peers.push(peer.clone());
            peers.sort_by(|one, other| one.name.cmp(&other.name));
        }
        Ok(())
    }

    /// Stops trusting a peer's key for good; its entries through `trust_through` stay believed.
    ///
    /// # Errors
    /// No such peer, or the system refused.
    pub fn revoke(&mut self, home: &Home, name: &PeerName, trust_through: u64) -> Result<(), KeyringError> {
        let host = self.by_name(name)?.line.host;
        let line = Revoked { host, trust_through, comment: name.to_string() };
        // Named by key, so that a second key of the same peer can be revoked as well.
        let label = labelled(name, host);
        let path = home.keys().join("revoked").join(format!("{label}.pub"));
        files::write_whole(&path, format!("{line}\n").as_bytes(), 0o644)?;
        if let Some((_, revoked)) = &mut self.folders {
            revoked.push((label.clone(), line.clone()));
        }
        self.revoked.push((label, line));
        Ok(())
    }
}

/// A name with some digits of the key behind it, where one name stands for more than one key.
fn labelled(name: &PeerName, host: HostId) -> PeerName {
    let short: String = name.as_str().chars().take(55).collect();
    format!("{short}-{}", host.short()).parse().expect("a peer name and hexadecimal digits")
}

/// Makes the key that this host is to move to, in `keys/next.key`; one that is there is kept.
///
/// # Errors
/// The system refused, or the key that is there is exposed or none.
pub fn create_next_key(home: &Home, seed: &[u8; 32]) -> Result<HostKey, KeyringError> {
    let path = home.keys().join("next.key");
    if path.symlink_metadata().is_err() {
        files::write_whole(&path, openssh::private_pem(&HostKey::from_seed(seed)).as_bytes(), 0o600)?;
    }
    load_private(path)
}

/// Reads the key that this host is to move to, if there is one.
///
/// # Errors
/// It is exposed, or not a key.
pub fn load_next_key(home: &Home) -> Result<Option<HostKey>, KeyringError> {
    let path = home.keys().join("next.key");
    if path.symlink_metadata().is_err() { Ok(None) } else { load_private(path).map(Some) }
}

/// Puts the next key in the place of the host's key once the log is the new key's. Safe to be called again, also after
/// a crash in between: the log says which key it belongs to.
///
/// # Errors
/// The system refused, or the database failed.
pub fn finish_move(home: &Home, db: &Db, name: &PeerName) -> Result<(), KeyringError> {
    let Some(next) = load_next_key(home)? else { return Ok(()) };
    if db.fact(OWN_KEY_FACT)?.as_deref() != Some(next.host().to_string().as_str()) {
        return Ok(());
    }
    files::write_whole(&home.keys().join("host.key"), openssh::private_pem(&next).as_bytes(), 0o600)?;
    let line = openssh::public_line(next.host(), name.as_str()) + "\n";
    files::write_whole(&home.keys().join("host.pub"), line.as_bytes(), 0o644)?;
    Ok(files::remove(&home.keys().join("next.key"))?)
}

/// Pins an admin's key: it may say who belongs to the mesh.
///
/// # Errors
/// The system refused.
pub fn pin_admin(home: &Home, host: HostId) -> Result<(), KeyringError> {
    let dir = home.keys().join("admins");
    files::make_dir(&dir)?;
    let line = openssh::public_line(host, "admin") + "\n";
    Ok(files::write_whole(&dir.join(format!("admin-{}.pub", host.short())), line.as_bytes(), 0o644)?)
}

/// Makes an admin's key in `keys/admin.key`; an existing one is never touched.
///
/// # Errors
/// The system refused, or the key that is there is exposed or none.
pub fn create_admin_key(home: &Home, seed: &[u8; 32]) -> Result<HostKey, KeyringError> {
    let path = home.keys().join("admin.key");
    if path.symlink_metadata().is_err() {
        files::write_whole(&path, openssh::private_pem(&HostKey::from_seed(seed)).as_bytes(), 0o600)?;
    }
    load_admin_key(home)
}

/// Reads the admin's key of this home.
///
/// # Errors
/// Missing, exposed, or not a key.
pub fn load_admin_key(home: &Home) -> Result<HostKey, KeyringError> {
    load_private(home.keys().join("admin.key"))
}

fn key_files(dir: &Path) -> Result<Vec<(PathBuf, PeerName, String)>, KeyringError> {
    let mut found = Vec::new();
    for path in files::list(dir, "pub")? {
        files::demand_private(&path, 0o644)?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let name = stem.parse().map_err(|_| KeyringError::Name { path: path.clone() })?;
        let text = files::read_text(&path, KEY_FILE_BYTES)?;
        found.push((path, name, text));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::domain::trust::Grant;

    fn home() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().expect("a temp dir");
        let home = Home::at(dir.path());
        home.create().expect("made");
        (dir, home)
    }

    fn name(text: &str) -> PeerName {
        text.parse().expect("a name")
    }

    fn line(seed: u8) -> PeerLine {
        let key = openssh::public_line(HostKey::from_seed(&[seed; 32]).host(), "x");
        PeerLine::parse(&key).expect("sound")
    }

    #[test]
    fn t30_an_exposed_private_key_is_refused_and_an_existing_one_kept() {
        let (dir, home) = home();
        let key = create_host_key(&home, &[1; 32], &name("a")).expect("made");
        assert_eq!(create_host_key(&home, &[2; 32], &name("a")).expect("kept").host(), key.host());
        let path = dir.path().join("keys/host.key");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("loosened");
        assert!(matches!(load_host_key(&home), Err(KeyringError::File(FileError::LooseMode { .. }))));
    }

    #[test]
    fn peers_are_enrolled_changed_and_revoked_for_good() {
        let (_dir, home) = home();
        let mut keyring = Keyring::load(&home).expect("empty");
        keyring.enroll(&home, &name("web"), line(1), false).expect("enrolled");
        assert!(matches!(keyring.enroll(&home, &name("web"), line(2), false), Err(KeyringError::NameTaken(_))));
        assert!(matches!(keyring.enroll(&home, &name("db"), line(1), false), Err(KeyringError::Twice { .. })));
        keyring.enroll(&home, &name("web"), PeerLine { grant: Grant::Audit, ..line(1) }, false).expect("changed");
        keyring.revoke(&home, &name("web"), 7).expect("revoked");
        let again = Keyring::load(&home).expect("sound");
        assert_eq!(again.trusted_through(line(1).host), 7);
        assert_eq!(again.by_name(&name("web")).expect("kept").line.grant, Grant::Audit);
        assert!(matches!(keyring.enroll(&home, &name("web"), line(1), true), Err(KeyringError::RevokedKey(_))));
        keyring.enroll(&home, &name("web"), line(2), true).expect("a new key");
    }

    #[test]
    fn t16_a_key_file_with_a_confusable_name_is_refused() {
        let (dir, home) = home();
        std::fs::write(dir.path().join("keys/peers/w\u{435}b.pub"), line(1).to_string()).expect("written");
        assert!(matches!(Keyring::load(&home), Err(KeyringError::Name { .. })));
    }
}
