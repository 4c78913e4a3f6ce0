//! Names of hosts, entries, meshes, peers, lessons and services. Each can only hold a well-formed value.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// Why a text is not a name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IdError {
    /// Not 64 lowercase hexadecimal digits.
    #[error("{what} must be 64 lowercase hexadecimal digits, got {got} bytes")]
    Hex {
        /// What was being read.
        what: &'static str,
        /// Bytes found.
        got: usize,
    },
    /// Not a short plain-ASCII name.
    #[error("{what} must be 1 to {max} of a-z, 0-9 and '-', starting with a letter or digit")]
    Name {
        /// What was being read.
        what: &'static str,
        /// Longest allowed.
        max: usize,
    },
}

fn parse_hex(text: &str, what: &'static str) -> Result<[u8; 32], IdError> {
    let bad = || IdError::Hex { what, got: text.len() };
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        _ => Err(bad()),
    };
    if text.len() != 64 {
        return Err(bad());
    }
    let mut bytes = [0; 32];
    for (slot, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *slot = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Ok(bytes)
}

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// The id with these raw bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The raw bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The first eight hexadecimal digits, for people; never compared.
            #[must_use]
            pub fn short(&self) -> String {
                self.to_string()[..8].to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                parse_hex(text, $what).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                out.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                String::deserialize(input)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

hex_id!(
    /// A host: its raw Ed25519 public key. Also the `keyid` of its signatures.
    HostId,
    "host id"
);
hex_id!(
    /// One signed document: SHA-256 over its pre-authentication encoding.
    EntryId,
    "entry id"
);

impl EntryId {
    /// The id of the document with this pre-authentication encoding.
    #[must_use]
    pub fn of_pae(pae: &[u8]) -> Self {
        Self(Sha256::digest(pae).into())
    }
}

fn is_name(text: &str, max: usize) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    !text.is_empty() && text.len() <= max && plain(text.as_bytes()[0]) && text.bytes().all(|b| plain(b) || b == b'-')
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                if is_name(text, $max) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(IdError::Name { what: $what, max: $max })
                }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                out.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                String::deserialize(input)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(
    /// The mesh that a document belongs to; an entry of another mesh is a graft.
    MeshName,
    "mesh name",
    64
);
name!(
    /// A local label for a peer. It carries no authority: the host id does.
    PeerName,
    "peer name",
    64
);
name!(
    /// The stable name of a lesson across its revisions, and of a rule within it.
    Slug,
    "lesson id",
    64
);
name!(
    /// A service as the configuration of this host calls it.
    ServiceName,
    "service name",
    64
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_ids_round_trip_and_refuse_other_spellings() {
        let id = HostId::from_bytes([0xab; 32]);
        assert_eq!(id.to_string().parse::<HostId>(), Ok(id));
        assert!("AB".repeat(32).parse::<HostId>().is_err());
        assert!("ab".repeat(31).parse::<HostId>().is_err());
        assert!("zz".repeat(32).parse::<HostId>().is_err());
    }

    #[test]
    fn confusable_names_are_refused() {
        assert!("web-07".parse::<PeerName>().is_ok());
        for bad in ["w\u{435}b-07", "", "-web", "web\u{200b}", "Web", "web/07", &"a".repeat(65)] {
            assert!(bad.parse::<PeerName>().is_err(), "{bad:?}");
        }
    }
}
