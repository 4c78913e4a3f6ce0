//! Every host of the mesh as the local cache of the shared branch shows it: what each says of itself, and how far it is
//! trusted here.

use jiff::Timestamp;

use super::parts::Parts;
use super::requests::RequestsError;
use crate::domain::branch_path;
use crate::domain::chain::PeerState;
use crate::domain::envelope::{Envelope, PublicKey};
use crate::domain::foreign_text::display_line;
use crate::domain::head::Head;
use crate::domain::id::HostId;
use crate::domain::join::Join;
use crate::domain::limits;
use crate::loops::exchange;
use crate::ports::{Blob, Branch as _, RemoteError, Tip};

/// Longest name of a program that is shown, in characters.
const AGENT_CHARS: usize = 24;

/// A host that has a place on the branch.
#[derive(Clone, Debug)]
pub struct FleetHost {
    /// What it is called: here, else by itself, which anybody may claim.
    pub name: String,
    /// Its key.
    pub host: HostId,
    /// How it stands here.
    pub standing: Standing,
    /// What its head says, where one is there that it signed.
    pub head: Option<FleetHead>,
}

/// How a host stands here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It is this host.
    Own,
    /// It is enrolled.
    Peer(PeerState),
    /// Nobody enrolled it here.
    Stranger,
}

impl Standing {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Own => "here",
            Self::Peer(state) => state.name(),
            Self::Stranger => "not enrolled",
        }
    }
}

/// What a host says of itself.
#[derive(Clone, Debug)]
pub struct FleetHead {
    /// The seq of its last entry.
    pub seq: u64,
    /// When it said so.
    pub issued_at: Timestamp,
    /// Until when that counts.
    pub expires_at: Timestamp,
    /// The version of the admins' list that it goes by.
    pub roster: Option<u64>,
    /// The program. Foreign text, made fit to be shown.
    pub agent: String,
    /// The last entry of this host that it has verified, where it says so.
    pub sees_us: Option<u64>,
}

/// Every host on the branch, by name.
///
/// # Errors
/// The branch was never read, or the cache is damaged.
pub fn list(parts: &Parts) -> Result<Vec<FleetHost>, RequestsError> {
    let tip = exchange::last_tip(&parts.db)?.ok_or(RequestsError::NeverSynced)?;
    let hosts = parts.branch().changed_hosts(None, tip)?.changed;
    let (mut found, mut strangers) = (Vec::new(), 0);
    for host in hosts {
        let known = parts.keyring.by_host(host);
        let standing = match known {
            _ if host == parts.key.host() => Standing::Own,
            Some(_) => Standing::Peer(parts.peer_state(host)?),
            None => Standing::Stranger,
        };
        if standing == Standing::Stranger {
            // Anybody who can push can make as many as they like.
            strangers += 1;
            if strangers > limits::REQUESTS {
                continue;
            }
        }
        let name = match (standing, known) {
            (Standing::Own, _) => parts.config.name.to_string(),
            (_, Some(peer)) => peer.name.to_string(),
            (_, None) => own_name(parts, tip, host)?,
        };
        found.push(FleetHost { name, host, standing, head: head(parts, tip, host)? });
    }
    found.sort_by(|one, other| (&one.name, one.host).cmp(&(&other.name, other.host)));
    Ok(found)
}

/// What a stranger calls itself in its request; a question mark where there is none.
fn own_name(parts: &Parts, tip: Tip, host: HostId) -> Result<String, RemoteError> {
    let asked = match parts.branch().file(tip, &branch_path::join(host), limits::HEAD_BYTES)? {
        Blob::Found(bytes) => Join::read(&parts.config.mesh, host, &bytes),
        _ => None,
    };
    Ok(asked.map_or_else(|| "?".to_owned(), |join| join.name.to_string()))
}

/// Its head, if it signed what is there.
fn head(parts: &Parts, tip: Tip, host: HostId) -> Result<Option<FleetHead>, RemoteError> {
    let Blob::Found(bytes) = parts.branch().file(tip, &branch_path::head(host), limits::HEAD_BYTES)? else {
        return Ok(None);
    };
    let envelope = Envelope::parse(&bytes).ok().zip(PublicKey::of(host).ok());
    let signed = envelope.and_then(|(envelope, key)| envelope.verify(&key).ok());
    let head = signed.and_then(|signed| Head::read(&parts.config.mesh, &signed).ok());
    Ok(head.map(|head| FleetHead {
        seq: head.seq,
        issued_at: head.issued_at,
        expires_at: head.expires_at,
        roster: head.roster,
        agent: display_line(&head.agent).chars().take(AGENT_CHARS).collect(),
        sees_us: head.seen.iter().find(|seen| seen.host == parts.key.host()).map(|seen| seen.seq),
    }))
}
