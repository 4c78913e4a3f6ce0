//! The private keys of a home: the host's own, the one that it moves to, and the admin's.

use std::path::PathBuf;

use super::{KEY_FILE_BYTES, KeyringError};
use crate::domain::envelope::HostKey;
use crate::domain::id::PeerName;
use crate::domain::openssh;
use crate::store::crash;
use crate::store::db::Db;
use crate::store::files;
use crate::store::home::Home;
use crate::store::rotations::OWN_KEY_FACT;

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

/// Makes the key that this host is to move to, in `keys/next.key`; one that is there is kept.
///
/// # Errors
/// The system refused, or the key that is there is exposed or none.
pub fn create_next_key(home: &Home, seed: &[u8; 32]) -> Result<HostKey, KeyringError> {
    let path = home.keys().join("next.key");
    if path.symlink_metadata().is_err() {
        files::write_whole(&path, openssh::private_pem(&HostKey::from_seed(seed)).as_bytes(), 0o600)?;
        crash::point("rotate.key-made");
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
    crash::point("rotate.key-replaced");
    let line = openssh::public_line(next.host(), name.as_str()) + "\n";
    files::write_whole(&home.keys().join("host.pub"), line.as_bytes(), 0o644)?;
    crash::point("rotate.public-replaced");
    files::remove(&home.keys().join("next.key"))?;
    crash::point("rotate.done");
    Ok(())
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
