//! A host's own request to be enrolled: it shows that somebody holds the key, and nothing more.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::chain::whole_seconds;
use super::envelope::{Envelope, HostKey, Kind, PublicKey};
use super::id::{HostId, MeshName, PeerName};
use super::limits;
use super::strict_json::{self, Bounds};

const BOUNDS: Bounds =
    Bounds { bytes: limits::HEAD_BYTES, string: limits::JSON_STRING_BYTES, array: limits::JSON_ARRAY_LEN };

/// The payload of `join.json`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// The mesh that it wants to join.
    pub mesh: MeshName,
    /// The host that signed it.
    pub host: HostId,
    /// What it calls itself. Whoever enrols it decides what it is called.
    pub name: PeerName,
    /// When it was signed.
    #[serde(with = "super::utc_time")]
    pub issued_at: Timestamp,
    /// The program that signed it, such as `mesh/0.1.0`.
    pub agent: String,
}

impl Join {
    /// The signed request of the host with this key, as a file.
    #[must_use]
    pub fn file(mesh: &MeshName, key: &HostKey, name: &PeerName, now: Timestamp) -> Vec<u8> {
        let join = Self {
            mesh: mesh.clone(),
            host: key.host(),
            name: name.clone(),
            issued_at: whole_seconds(now),
            agent: concat!("mesh/", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        let mut payload = serde_json::to_vec_pretty(&join).expect("a request is a plain table of text");
        payload.push(b'\n');
        Envelope::seal(key, Kind::Join, payload).to_file()
    }

    /// Reads the request in the directory of `host`. `None` unless that host's key signed it for this mesh.
    #[must_use]
    pub fn read(mesh: &MeshName, host: HostId, file: &[u8]) -> Option<Self> {
        let key = PublicKey::of(host).ok()?;
        let signed = Envelope::parse(file).ok()?.verify(&key).ok()?;
        if signed.kind() != Some(Kind::Join) {
            return None;
        }
        let join: Self = strict_json::read(signed.payload(), BOUNDS).ok()?;
        (join.mesh == *mesh && join.host == host).then_some(join)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_in_the_directory_of_its_own_host_alone() {
        let (mesh, other): (MeshName, MeshName) = ("home".parse().expect("a name"), "work".parse().expect("a name"));
        let (key, stranger) = (HostKey::from_seed(&[1; 32]), HostKey::from_seed(&[2; 32]));
        let name = "web-07".parse().expect("a name");
        let file = Join::file(&mesh, &key, &name, Timestamp::UNIX_EPOCH);
        assert_eq!(Join::read(&mesh, key.host(), &file).expect("its own").name, name);
        assert_eq!(Join::read(&other, key.host(), &file), None);
        assert_eq!(Join::read(&mesh, stranger.host(), &file), None);
        let of_another = String::from_utf8(file).expect("UTF-8");
        let payload = Envelope::parse(of_another.as_bytes()).expect("an envelope").unverified_payload().to_vec();
        let named =
            String::from_utf8(payload).expect("UTF-8").replace(&key.host().to_string(), &stranger.host().to_string());
        let forged = Envelope::seal(&key, Kind::Join, named.into_bytes()).to_file();
        assert_eq!(Join::read(&mesh, key.host(), &forged), None);
    }
}
