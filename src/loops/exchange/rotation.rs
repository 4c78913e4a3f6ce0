//! Moving to a new key: announced and taken up by this host, followed when another host does.

use jiff::Timestamp;

use super::{Exchange, Stop, SyncReport};
use crate::domain::chain::{self, Position};
use crate::domain::entry;
use crate::domain::envelope::{Envelope, HostKey, Kind, PublicKey};
use crate::domain::id::{HostId, MeshName};
use crate::domain::rotate::{Leave, Rotate, Take};
use crate::ports::{Blob, Tip};
use crate::store::crash;
use crate::store::db::{Db, DbError};
use crate::store::keyring::KeyringError;
use crate::store::own_log::OwnEntry;

/// Signs the own key's last entry, which names the next key, unless it did.
pub(super) fn announce(exchange: &mut Exchange<'_>, report: &mut SyncReport, now: Timestamp) -> Result<(), Stop> {
    let Some(next) = exchange.next else { return Ok(()) };
    if last_leaves(exchange.db, exchange.key)?.is_some() {
        return Ok(());
    }
    let position = exchange.db.own_position()?;
    let entry = seal(exchange.mesh, exchange.key, position, &Rotate::Leave(Leave { to: next }), now);
    crash::point("rotate.before-persist");
    exchange.db.append_own(&entry, None, &[])?;
    crash::point("rotate.persisted");
    exchange.spool.show_outgoing(entry.seq, entry.id, &entry.envelope)?;
    report.signed.push((entry.seq, "the move to a new key".to_owned()));
    Ok(())
}

fn seal(mesh: &MeshName, key: &HostKey, position: Position, rotate: &Rotate, now: Timestamp) -> OwnEntry {
    let header = position.next_header(mesh, key.host(), now);
    let payload = entry::payload(&header, rotate).expect("two ids fit into an entry");
    let envelope = Envelope::seal(key, Kind::Rotate, payload);
    OwnEntry {
        seq: position.next_seq(),
        id: envelope.entry_id(),
        payload_type: Kind::Rotate.payload_type(),
        envelope: envelope.to_file(),
        signed_at: chain::whole_seconds(now),
        confirmed_at: None,
    }
}

/// The own last entry and the key that it names, if it leaves this key.
fn last_leaves(db: &Db, key: &HostKey) -> Result<Option<(OwnEntry, HostId)>, DbError> {
    let Some(last) = db.own_entries_of(&Kind::Rotate.payload_type())?.pop() else { return Ok(None) };
    let public = PublicKey::of(key.host()).map_err(|_| DbError::Impossible { what: "own key" })?;
    let signed = Envelope::parse(&last.envelope).ok().and_then(|envelope| envelope.verify(&public).ok());
    Ok(match signed.and_then(|signed| entry::read_rotate(&signed).ok()).map(|said| *said.body()) {
        Some(Rotate::Leave(leave)) => Some((last, leave.to)),
        _ => None,
    })
}

/// Whether the own key was left for good: nothing more is signed with it.
pub(super) fn is_left(exchange: &Exchange<'_>) -> Result<bool, Stop> {
    Ok(last_leaves(exchange.db, exchange.key)?.is_some())
}

/// Begins the log of the new key, once the old key's last word was read back from the remote. True when it was done.
///
/// # Errors
/// The database failed.
pub fn switch(db: &mut Db, mesh: &MeshName, old: &HostKey, new: &HostKey, now: Timestamp) -> Result<bool, DbError> {
    let Some((last, to)) = last_leaves(db, old)? else { return Ok(false) };
    if to != new.host() || last.confirmed_at.is_none() {
        return Ok(false);
    }
    let take = Rotate::Take(Take { from: old.host(), entry: last.id });
    let first = seal(mesh, new, Position::default(), &take, now);
    crash::point("rotate.before-switch");
    db.switch_own(old.host(), new.host(), &first, now)?;
    crash::point("rotate.switched");
    Ok(true)
}

/// Looks for the first entry of every key that a peer announced. From then on the new key has the old one's place.
pub(super) fn follow(
    exchange: &mut Exchange<'_>,
    report: &mut SyncReport,
    tip: Tip,
    now: Timestamp,
) -> Result<(), Stop> {
    let mut followed = false;
    for (rotation, taken) in exchange.db.rotations()? {
        if taken {
            continue;
        }
        let slice = exchange.branch.log(tip, rotation.new, 1, 1)?;
        let Some(Blob::Found(bytes)) = slice.blobs.first() else { continue };
        if rotation.is_taken_by(exchange.mesh, bytes) {
            exchange.db.take_rotation(rotation.old)?;
            if let Some(peer) = exchange.keyring.by_host(rotation.old) {
                report.moved.push((peer.name.clone(), rotation.new));
            }
            followed = true;
        }
    }
    if followed {
        exchange.keyring.join_again(exchange.db, now).map_err(|error| match error {
            KeyringError::Db(error) => Stop::from(error),
            other => Stop::Here(super::ExchangeError::Keyring(other)),
        })?;
    }
    Ok(())
}
