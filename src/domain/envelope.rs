//! The DSSE envelope that carries every signed document, and the one place where a signature is checked.
//!
//! Source: the DSSE v1 protocol (pre-authentication encoding) and RFC 8032 (Ed25519). The payload is
//! signed as the bytes it is; nothing is canonicalised, so nothing is parsed before it is verified.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::id::{EntryId, HostId};
use super::limits;
use super::strict_json::{self, Bounds, JsonError};

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Why an envelope is refused.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// The file is not a well-formed envelope.
    #[error("not an envelope")]
    Json(#[from] JsonError),
    /// A part is not base64.
    #[error("`{field}` is not base64")]
    Base64 {
        /// Which part.
        field: &'static str,
    },
    /// The payload is too large.
    #[error("payload has {got} bytes, at most {max} are read")]
    PayloadTooLarge {
        /// Bytes found.
        got: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// Host documents carry exactly one signature.
    #[error("{got} signatures where exactly one is expected")]
    SignatureCount {
        /// Signatures found.
        got: usize,
    },
    /// The payload type is not one that mesh knows how to name.
    #[error("payload type is not printable ASCII of at most 128 bytes")]
    PayloadType,
    /// The signature does not verify with this key.
    #[error("signature does not verify with key {key}")]
    Signature {
        /// The key it was checked with.
        key: HostId,
    },
    /// The key itself is unusable.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Why a public key is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyError {
    /// Not a point of the curve.
    #[error("key {0} is not a point of the curve")]
    NotAPoint(HostId),
    /// A point of small order: its signatures verify for any message.
    #[error("key {0} is weak: a signature of it can fit any message")]
    Weak(HostId),
}

/// What a payload is. The type string is the only version there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A lesson.
    Lesson,
    /// The end of a lesson.
    Retract,
    /// The outcome of one intervention.
    Attestation,
    /// A host's move to a new key.
    Rotate,
    /// Two entries of one host with one seq.
    ForkProof,
    /// A host's newest position; outside the chain.
    Head,
    /// A host's request to be enrolled; outside the chain.
    Join,
    /// The admins' list of hosts; outside the chain.
    Roster,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Lesson,
        Self::Retract,
        Self::Attestation,
        Self::Rotate,
        Self::ForkProof,
        Self::Head,
        Self::Join,
        Self::Roster,
    ];

    /// The name within the payload type.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lesson => "lesson",
            Self::Retract => "retract",
            Self::Attestation => "attestation",
            Self::Rotate => "rotate",
            Self::ForkProof => "forkproof",
            Self::Head => "head",
            Self::Join => "join",
            Self::Roster => "roster",
        }
    }

    /// The payload type that is signed, such as `application/vnd.mesh.lesson.v1+json`.
    #[must_use]
    pub fn payload_type(self) -> String {
        format!("application/vnd.mesh.{}.v1+json", self.name())
    }

    /// The kind with this payload type; `None` for a type or major of the future.
    #[must_use]
    pub fn of_payload_type(payload_type: &str) -> Option<Self> {
        let name = payload_type.strip_prefix("application/vnd.mesh.")?.strip_suffix(".v1+json")?;
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether documents of this kind are links of a host's chain.
    #[must_use]
    pub const fn in_chain(self) -> bool {
        match self {
            Self::Lesson | Self::Retract | Self::Attestation | Self::Rotate | Self::ForkProof => true,
            Self::Head | Self::Join | Self::Roster => false,
        }
    }
}

/// A host's signing key. Its secret is wiped when dropped and never shown.
pub struct HostKey(SigningKey);

impl HostKey {
    /// The key with this 32-byte seed.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The 32-byte seed, to be written to the key file and nowhere else.
    #[must_use]
    pub fn seed(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The host that this key is.
    #[must_use]
    pub fn host(&self) -> HostId {
        HostId::from_bytes(self.0.verifying_key().to_bytes())
    }
}

impl fmt::Debug for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostKey({})", self.host().short())
    }
}

/// A public key that is a full-order point, and so can be trusted to sign.
#[derive(Clone, Copy, Debug)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// The key of a host.
    ///
    /// # Errors
    /// The bytes are no curve point, or a weak one.
    pub fn of(host: HostId) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_bytes(host.as_bytes()).map_err(|_| KeyError::NotAPoint(host))?;
        if key.is_weak() {
            return Err(KeyError::Weak(host));
        }
        Ok(Self(key))
    }

    /// The host that this key is.
    #[must_use]
    pub fn host(&self) -> HostId {
        HostId::from_bytes(self.0.to_bytes())
    }

    /// Whether `signature` is this key's over `message`, by the strict rules of RFC 8032: no small-order
    /// point, no second encoding of one signature.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }
}

/// DSSE's pre-authentication encoding: what is signed and hashed.
#[must_use]
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut pae = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    pae.extend_from_slice(payload);
    pae
}

#[derive(Serialize, Deserialize)]
struct SignatureFile {
    #[serde(default)]
    keyid: String,
    sig: String,
}

#[derive(Serialize, Deserialize)]
struct EnvelopeFile {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<SignatureFile>,
}

/// A signature, and before it the key that it claims to be made with.
pub type ClaimedSignature = (String, [u8; 64]);

/// An envelope as it arrived: well-formed, nothing in it believed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    payload_type: String,
    payload: Vec<u8>,
    signatures: Vec<ClaimedSignature>,
}

/// A payload whose signature was checked with a known key. Only [`Envelope::verify`] makes one.
#[derive(Clone, Debug)]
pub struct Signed {
    host: HostId,
    entry: EntryId,
    payload_type: String,
    payload: Vec<u8>,
    /// Set once the payload was found to be strict JSON.
    strict: OnceLock<()>,
}

impl Signed {
    /// Whose key verified it.
    #[must_use]
    pub fn host(&self) -> HostId {
        self.host
    }

    /// The id of the document.
    #[must_use]
    pub fn entry(&self) -> EntryId {
        self.entry
    }

    /// The kind, or `None` for a type of the future.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        Kind::of_payload_type(&self.payload_type)
    }

    /// The signed type string.
    #[must_use]
    pub fn payload_type(&self) -> &str {
        &self.payload_type
    }

    /// Reads the payload of a chain entry. That it is strict JSON is checked once, however often it is read.
    ///
    /// # Errors
    /// Not strict JSON, or of another shape.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, JsonError> {
        serde_json::from_slice(self.strict_payload()?).map_err(JsonError::Syntax)
    }

    /// The payload of a chain entry, found to be strict JSON.
    ///
    /// # Errors
    /// It is not.
    pub fn strict_payload(&self) -> Result<&[u8], JsonError> {
        if self.strict.get().is_none() {
            strict_json::check(&self.payload, strict_json::PAYLOAD)?;
            self.strict.get_or_init(|| ());
        }
        Ok(&self.payload)
    }

    /// The very bytes that were verified.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }
}

impl Envelope {
    /// Signs `payload` as the bytes it is.
    #[must_use]
    pub fn seal(key: &HostKey, kind: Kind, payload: Vec<u8>) -> Self {
        let payload_type = kind.payload_type();
        let signature = key.0.sign(&pae(&payload_type, &payload)).to_bytes();
        Self { payload_type, payload, signatures: vec![(key.host().to_string(), signature)] }
    }

    /// A document that nobody signed yet.
    #[must_use]
    pub fn unsigned(kind: Kind, payload: Vec<u8>) -> Self {
        Self { payload_type: kind.payload_type(), payload, signatures: vec![] }
    }

    /// Adds the signature of `key`, in place of one that it made before.
    pub fn add_signature(&mut self, key: &HostKey) {
        let keyid = key.host().to_string();
        let signature = key.0.sign(&pae(&self.payload_type, &self.payload)).to_bytes();
        self.signatures.retain(|(known, _)| *known != keyid);
        self.signatures.push((keyid, signature));
    }

    /// Those of `keys` that signed, each once, whatever `keyid` says and however often a signature stands there.
    #[must_use]
    pub fn signers(&self, keys: &[PublicKey]) -> BTreeSet<HostId> {
        let pae = pae(&self.payload_type, &self.payload);
        let signed = |key: &&PublicKey| self.signatures.iter().any(|(_, signature)| key.verifies(&pae, signature));
        keys.iter().filter(signed).map(PublicKey::host).collect()
    }

    /// Reads the envelope file of a roster, which may be larger than others and carry more than one signature.
    ///
    /// # Errors
    /// As [`Envelope::parse`].
    pub fn parse_roster(file: &[u8]) -> Result<Self, EnvelopeError> {
        Self::parse_within(file, strict_json::ROSTER_ENVELOPE, limits::ROSTER_BYTES)
    }

    /// Reads an envelope file. Unknown fields are ignored, repeated ones refused; both alphabets of
    /// base64 are read.
    ///
    /// # Errors
    /// Not strict JSON, not base64, or out of bounds.
    pub fn parse(file: &[u8]) -> Result<Self, EnvelopeError> {
        Self::parse_within(file, strict_json::ENVELOPE, limits::PAYLOAD_BYTES)
    }

    fn parse_within(file: &[u8], bounds: Bounds, max: usize) -> Result<Self, EnvelopeError> {
        let file: EnvelopeFile = strict_json::read(file, bounds)?;
        let payload_type = file.payload_type;
        if payload_type.is_empty() || payload_type.len() > 128 || !payload_type.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(EnvelopeError::PayloadType);
        }
        let payload = decode(&file.payload).ok_or(EnvelopeError::Base64 { field: "payload" })?;
        if payload.len() > max {
            return Err(EnvelopeError::PayloadTooLarge { got: payload.len(), max });
        }
        let signatures = file
            .signatures
            .into_iter()
            .map(|signature| {
                let bytes = decode(&signature.sig).and_then(|bytes| bytes.try_into().ok());
                Ok((signature.keyid, bytes.ok_or(EnvelopeError::Base64 { field: "signatures.sig" })?))
            })
            .collect::<Result<_, EnvelopeError>>()?;
        Ok(Self { payload_type, payload, signatures })
    }

    /// The payload's type, the payload, and each signature with the claimed key.
    #[must_use]
    pub fn into_parts(self) -> (String, Vec<u8>, Vec<ClaimedSignature>) {
        (self.payload_type, self.payload, self.signatures)
    }

    /// What [`Envelope::into_parts`] gave, put together again.
    #[must_use]
    pub const fn of_parts(payload_type: String, payload: Vec<u8>, signatures: Vec<ClaimedSignature>) -> Self {
        Self { payload_type, payload, signatures }
    }

    /// The envelope as a file: standard base64, pretty-printed, ending in a line break.
    #[must_use]
    pub fn to_file(&self) -> Vec<u8> {
        let encode = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
        let file = EnvelopeFile {
            payload: encode(&self.payload),
            payload_type: self.payload_type.clone(),
            signatures: self
                .signatures
                .iter()
                .map(|(keyid, sig)| SignatureFile { keyid: keyid.clone(), sig: encode(sig) })
                .collect(),
        };
        let mut bytes = serde_json::to_vec_pretty(&file).expect("strings always serialise");
        bytes.push(b'\n');
        bytes
    }

    /// The id of the carried document; the same however the envelope around it was written.
    #[must_use]
    pub fn entry_id(&self) -> EntryId {
        EntryId::of_pae(&pae(&self.payload_type, &self.payload))
    }

    /// The claimed key of the only signature: a hint to find the key, never believed.
    #[must_use]
    pub fn claimed_key(&self) -> Option<HostId> {
        match self.signatures.as_slice() {
            [(keyid, _)] => keyid.parse().ok(),
            _ => None,
        }
    }

    /// The payload type, before anything is verified.
    #[must_use]
    pub fn payload_type(&self) -> &str {
        &self.payload_type
    }

    /// The payload, before anything is verified: for offline inspection only.
    #[must_use]
    pub fn unverified_payload(&self) -> &[u8] {
        &self.payload
    }

    /// Checks the one signature with `key`, whatever `keyid` claims.
    ///
    /// # Errors
    /// Another number of signatures than one, or one that is not `key`'s.
    pub fn verify(self, key: &PublicKey) -> Result<Signed, EnvelopeError> {
        let [(_, signature)] = self.signatures.as_slice() else {
            return Err(EnvelopeError::SignatureCount { got: self.signatures.len() });
        };
        let pae = pae(&self.payload_type, &self.payload);
        if !key.verifies(&pae, signature) {
            return Err(EnvelopeError::Signature { key: key.host() });
        }
        Ok(Signed {
            host: key.host(),
            entry: EntryId::of_pae(&pae),
            payload_type: self.payload_type,
            payload: self.payload,
            strict: OnceLock::new(),
        })
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> HostKey {
        HostKey::from_seed(&[7; 32])
    }

    fn sealed() -> Envelope {
        Envelope::seal(&key(), Kind::Lesson, b"{}\n".to_vec())
    }

    fn public() -> PublicKey {
        PublicKey::of(key().host()).expect("a seed gives a full-order point")
    }

    #[test]
    fn pae_agrees_with_the_protocols_test_vector() {
        assert_eq!(
            pae("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn a_sealed_envelope_verifies_and_keeps_its_bytes() {
        let envelope = Envelope::parse(&sealed().to_file()).expect("own files parse");
        assert_eq!(envelope, sealed());
        let id = envelope.entry_id();
        let signed = envelope.verify(&public()).expect("own signature");
        assert_eq!((signed.payload(), signed.entry(), signed.kind()), (&b"{}\n"[..], id, Some(Kind::Lesson)));
    }

    #[test]
    fn t01_every_changed_byte_of_payload_type_or_signature_is_refused() {
        let good = sealed();
        for at in 0..good.payload.len() {
            let mut bad = good.clone();
            bad.payload[at] ^= 1;
            assert!(bad.verify(&public()).is_err());
        }
        for at in 0..64 {
            let mut bad = good.clone();
            bad.signatures[0].1[at] ^= 1;
            assert!(bad.verify(&public()).is_err());
        }
        let swapped = Envelope { payload_type: Kind::Retract.payload_type(), ..good.clone() };
        assert!(swapped.verify(&public()).is_err());
        let twice = Envelope { signatures: vec![good.signatures[0].clone(); 2], ..good.clone() };
        assert!(matches!(twice.verify(&public()), Err(EnvelopeError::SignatureCount { got: 2 })));
        let none = Envelope { signatures: vec![], ..good };
        assert!(matches!(none.verify(&public()), Err(EnvelopeError::SignatureCount { got: 0 })));
    }

    #[test]
    fn t02_weak_keys_are_refused_as_keys() {
        let mut identity = [0; 32];
        identity[0] = 1;
        let host = HostId::from_bytes(identity);
        assert_eq!(PublicKey::of(host).err(), Some(KeyError::Weak(host)));
        assert!(PublicKey::of(HostId::from_bytes([0; 32])).is_err());
    }

    #[test]
    fn t07_another_spelling_of_one_envelope_is_the_same_entry() {
        let text = String::from_utf8(sealed().to_file()).expect("ASCII");
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let sig = value["signatures"][0]["sig"].as_str().expect("text");
        let url_safe = sig.replace('+', "-").replace('/', "_").replace('=', "");
        let other = format!(
            r#"{{"signatures":[{{"extra":1,"sig":"{url_safe}","keyid":"someone"}}],"x":[],"payloadType":"{}","payload":"e30K"}}"#,
            Kind::Lesson.payload_type()
        );
        let other = Envelope::parse(other.as_bytes()).expect("still an envelope");
        assert_eq!(other.entry_id(), sealed().entry_id());
        assert!(other.verify(&public()).is_ok());
    }

    #[test]
    fn kinds_round_trip_and_the_future_is_unsupported() {
        for kind in Kind::ALL {
            assert_eq!(Kind::of_payload_type(&kind.payload_type()), Some(kind));
        }
        assert_eq!(Kind::of_payload_type("application/vnd.mesh.lesson.v2+json"), None);
        assert_eq!(Kind::of_payload_type("application/vnd.mesh.poem.v1+json"), None);
    }
}
