//! The key files of a home: this host's own key, the peers it trusts, the keys it no longer does.

mod listed;
mod private;

use std::path::{Path, PathBuf};

pub use listed::RosterStanding;
pub use private::{
    create_admin_key, create_host_key, create_next_key, finish_move, load_admin_key, load_host_key, load_next_key,
};

use super::db::DbError;
use super::files::{self, FileError};
use super::home::Home;
use crate::domain::id::{HostId, PeerName};
use crate::domain::openssh::{self, KeyTextError};
use crate::domain::trust::{Peer, PeerLine, Revoked, TrustError};
use listed::labelled;

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

impl Keyring {
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
    use crate::domain::envelope::HostKey;
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
