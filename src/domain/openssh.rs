//! The text forms of keys that other programs read: OpenSSH lines and fingerprints, PEM.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest, Sha256};

use super::envelope::{HostKey, KeyError, PublicKey};
use super::id::HostId;

const ALGORITHM: &str = "ssh-ed25519";
/// DER before the 32-byte seed of an unencrypted PKCS#8 version 1 key (RFC 8410): version 2 is refused by OpenSSL 3.0.
const PKCS8_V1: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
/// DER before the 32 bytes of a public key (RFC 8410).
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];

/// Why a text is no usable key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyTextError {
    /// Not an `ssh-ed25519` line.
    #[error("not a line of the form `ssh-ed25519 AAAA... name`")]
    Line,
    /// Not a PKCS#8 version 1 PEM file with an Ed25519 key.
    #[error("not an unencrypted PKCS#8 Ed25519 private key in PEM")]
    Pem,
    /// A key that can not be trusted to sign.
    #[error(transparent)]
    Key(#[from] KeyError),
}

fn blob(host: HostId) -> Vec<u8> {
    let mut blob = Vec::with_capacity(51);
    for part in [ALGORITHM.as_bytes(), host.as_bytes()] {
        let len = u32::try_from(part.len()).expect("both parts are short");
        blob.extend_from_slice(&len.to_be_bytes());
        blob.extend_from_slice(part);
    }
    blob
}

/// The public key as one OpenSSH line, without line break.
#[must_use]
pub fn public_line(host: HostId, comment: &str) -> String {
    format!("{ALGORITHM} {} {comment}", STANDARD.encode(blob(host))).trim_end().to_owned()
}

/// Reads the two words `ssh-ed25519 AAAA...`; weak keys are refused.
///
/// # Errors
/// Another algorithm or encoding, or a weak key.
pub fn parse_public(algorithm: &str, encoded: &str) -> Result<HostId, KeyTextError> {
    if algorithm != ALGORITHM {
        return Err(KeyTextError::Line);
    }
    let bytes =
        STANDARD.decode(encoded).or_else(|_| STANDARD_NO_PAD.decode(encoded)).map_err(|_| KeyTextError::Line)?;
    let raw: [u8; 32] = bytes.get(19..).and_then(|raw| raw.try_into().ok()).ok_or(KeyTextError::Line)?;
    let host = HostId::from_bytes(raw);
    if bytes != blob(host) {
        return Err(KeyTextError::Line);
    }
    Ok(PublicKey::of(host)?.host())
}

/// The fingerprint as `ssh-keygen -l` prints it.
#[must_use]
pub fn fingerprint(host: HostId) -> String {
    format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(blob(host))))
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

/// The public key as SPKI PEM, as `openssl pkeyutl -pubin` reads it.
#[must_use]
pub fn public_pem(host: HostId) -> String {
    pem("PUBLIC KEY", &[&SPKI[..], host.as_bytes()].concat())
}

/// The private key as PKCS#8 version 1 PEM. Secret: for the key file only.
#[must_use]
pub fn private_pem(key: &HostKey) -> String {
    pem("PRIVATE KEY", &[&PKCS8_V1[..], &key.seed()].concat())
}

/// Reads a private key file.
///
/// # Errors
/// Not an unencrypted PKCS#8 version 1 Ed25519 key.
pub fn parse_private(text: &str) -> Result<HostKey, KeyTextError> {
    let body = text
        .trim()
        .strip_prefix("-----BEGIN PRIVATE KEY-----")
        .and_then(|text| text.strip_suffix("-----END PRIVATE KEY-----"))
        .ok_or(KeyTextError::Pem)?;
    let joined: String = body.split_ascii_whitespace().collect();
    let der = STANDARD.decode(joined).map_err(|_| KeyTextError::Pem)?;
    let seed = der.strip_prefix(&PKCS8_V1[..]).and_then(|seed| seed.try_into().ok()).ok_or(KeyTextError::Pem)?;
    Ok(HostKey::from_seed(seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_round_trip_through_their_text_forms() {
        let key = HostKey::from_seed(&[7; 32]);
        let line = public_line(key.host(), "web-07");
        let mut words = line.split(' ');
        let (algorithm, encoded) = (words.next().expect("a word"), words.next().expect("a word"));
        assert_eq!(parse_public(algorithm, encoded), Ok(key.host()));
        assert_eq!(words.next(), Some("web-07"));
        assert_eq!(parse_private(&private_pem(&key)).expect("own form").host(), key.host());
    }

    #[test]
    fn other_algorithms_encodings_and_weak_keys_are_refused() {
        let key = HostKey::from_seed(&[7; 32]).host();
        let encoded = STANDARD.encode(blob(key));
        assert_eq!(parse_public("ssh-rsa", &encoded), Err(KeyTextError::Line));
        assert_eq!(parse_public(ALGORITHM, "AAAA"), Err(KeyTextError::Line));
        assert_eq!(parse_public(ALGORITHM, &STANDARD.encode([blob(key), vec![0]].concat())), Err(KeyTextError::Line));
        let mut identity = [0; 32];
        identity[0] = 1;
        let weak = HostId::from_bytes(identity);
        assert_eq!(parse_public(ALGORITHM, &STANDARD.encode(blob(weak))), Err(KeyError::Weak(weak).into()));
        assert!(parse_private("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").is_err());
    }
}
