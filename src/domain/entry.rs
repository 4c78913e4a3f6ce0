//! The payloads of chain entries: the chain header and, in the same object, what the entry says.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::attest::{Attestation, AttestationError};
use super::chain::ChainHeader;
use super::envelope::{Kind, Signed};
use super::foreign_text::{self, ForbiddenChar};
use super::fork::{ForkProof, ForkProofError};
use super::id::{EntryId, HostId, Slug};
use super::lesson::{Lesson, LessonError};
use super::limits;
use super::rotate::Rotate;
use super::strict_json::{self, JsonError, Key};

/// Why a validly signed entry says nothing that can be used.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// Not of its kind's shape.
    #[error("{} is not of its shape", .kind.name())]
    Shape {
        /// The kind.
        kind: Kind,
        /// What is wrong.
        #[source]
        cause: serde_json::Error,
    },
    /// Not strict JSON.
    #[error("payload is not strict JSON")]
    Json(#[source] JsonError),
    /// Of another kind.
    #[error("entry is no {}", .0.name())]
    OtherKind(Kind),
    /// A lesson that breaks a static limit.
    #[error("lesson is not acceptable")]
    Lesson(#[source] LessonError),
    /// A reason with characters that may not be shown.
    #[error("reason holds a forbidden character")]
    Reason(#[source] ForbiddenChar),
    /// An attestation that breaks a bound.
    #[error("attestation is not acceptable")]
    Attestation(#[source] AttestationError),
    /// A fork proof that cannot be one.
    #[error("fork proof is not acceptable")]
    ForkProof(#[source] ForkProofError),
    /// Queued, but of a kind that no queue holds.
    #[error("entries of kind `{0}` are not queued")]
    NotQueued(String),
    /// Too large to be sent.
    #[error("entry has {got} bytes, at most {max} can be sent: shorten the examples")]
    TooLarge {
        /// Its size.
        got: usize,
        /// The limit.
        max: usize,
    },
}

/// Something that a known host signed and that keeps its rules. Only the readers here make one, from what
/// [`super::envelope::Envelope::verify`] made.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified<T> {
    body: T,
    host: HostId,
    entry: EntryId,
    seq: u64,
}

impl<T> Verified<T> {
    /// What was said.
    #[must_use]
    pub fn body(&self) -> &T {
        &self.body
    }

    /// Who signed it.
    #[must_use]
    pub fn host(&self) -> HostId {
        self.host
    }

    /// The entry it came in.
    #[must_use]
    pub fn entry(&self) -> EntryId {
        self.entry
    }

    /// Its place in the chain.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }
}

/// The end of a lesson.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retraction {
    /// The entry that is taken back.
    pub entry: EntryId,
    /// Its lesson.
    pub lesson: Slug,
    /// Why.
    pub reason: String,
}

/// What entries of one kind say beside the chain header.
pub trait Body: Serialize + DeserializeOwned + PartialEq {
    /// The kind.
    const KIND: Kind;

    /// Checks the bounds that the shape does not hold.
    ///
    /// # Errors
    /// The first bound that is broken.
    fn check(&self) -> Result<(), EntryError>;
}

impl Body for Lesson {
    const KIND: Kind = Kind::Lesson;

    fn check(&self) -> Result<(), EntryError> {
        Self::check(self).map_err(EntryError::Lesson)
    }
}

impl Body for Retraction {
    const KIND: Kind = Kind::Retract;

    fn check(&self) -> Result<(), EntryError> {
        foreign_text::check(&self.reason).map_err(EntryError::Reason)
    }
}

impl Body for Attestation {
    const KIND: Kind = Kind::Attestation;

    fn check(&self) -> Result<(), EntryError> {
        Self::check(self).map_err(EntryError::Attestation)
    }
}

impl Body for ForkProof {
    const KIND: Kind = Kind::ForkProof;

    fn check(&self) -> Result<(), EntryError> {
        Self::check(self).map_err(EntryError::ForkProof)
    }
}

impl Body for Rotate {
    const KIND: Kind = Kind::Rotate;

    fn check(&self) -> Result<(), EntryError> {
        Ok(())
    }
}

#[derive(Serialize)]
struct Payload<'a, T: Serialize> {
    #[serde(flatten)]
    header: &'a ChainHeader,
    #[serde(flatten)]
    body: &'a T,
}

/// The payload bytes of an entry: pretty-printed, ending in a line break, written once.
///
/// # Errors
/// Larger than can be sent.
pub fn payload<T: Serialize>(header: &ChainHeader, body: &T) -> Result<Vec<u8>, EntryError> {
    let mut bytes =
        serde_json::to_vec_pretty(&Payload { header, body }).expect("headers and bodies are plain tables of text");
    bytes.push(b'\n');
    if bytes.len() > limits::PAYLOAD_BYTES {
        return Err(EntryError::TooLarge { got: bytes.len(), max: limits::PAYLOAD_BYTES });
    }
    // What the peers will refuse is refused here, before it is signed.
    strict_json::read::<Value>(&bytes, strict_json::PAYLOAD).map_err(EntryError::Json)?;
    Ok(bytes)
}

/// The names that a payload has of the chain header.
const HEADER: [&str; 5] = ["mesh", "host", "seq", "prev", "issued_at"];

/// The two parts of a payload, told apart by the names of their fields while it is read.
struct Parts<T> {
    header: ChainHeader,
    body: T,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Parts<T> {
    fn deserialize<D: Deserializer<'de>>(payload: D) -> Result<Self, D::Error> {
        payload.deserialize_map(PartsVisitor(PhantomData))
    }
}

struct PartsVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for PartsVisitor<T> {
    type Value = Parts<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a chain header and what the entry says in one object")
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Parts<T>, A::Error> {
        let mut header = Map::new();
        let body = T::deserialize(MapAccessDeserializer::new(BodyFields { fields, header: &mut header }))?;
        let header = ChainHeader::deserialize(Value::Object(header)).map_err(A::Error::custom)?;
        Ok(Parts { header, body })
    }
}

/// The fields of a payload but for those of the header, which are put aside.
struct BodyFields<'a, A> {
    fields: A,
    header: &'a mut Map<String, Value>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for BodyFields<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        while let Some(key) = self.fields.next_key_seed(Key)? {
            if !HEADER.contains(&key.as_ref()) {
                return seed.deserialize(key.into_deserializer()).map(Some);
            }
            self.header.insert(key.into_owned(), self.fields.next_value()?);
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.fields.next_value_seed(seed)
    }
}

/// Reads what `signed` says, and checks all that needs no pattern to run.
///
/// # Errors
/// Another kind or shape, or a broken bound.
pub fn read<T: Body>(signed: &Signed) -> Result<Verified<T>, EntryError> {
    if signed.kind() != Some(T::KIND) {
        return Err(EntryError::OtherKind(T::KIND));
    }
    let shape = |cause| EntryError::Shape { kind: T::KIND, cause };
    let Parts { header, body } =
        serde_json::from_slice::<Parts<T>>(signed.strict_payload().map_err(EntryError::Json)?).map_err(shape)?;
    body.check()?;
    Ok(Verified { body, host: signed.host(), entry: signed.entry(), seq: header.seq })
}

/// Reads the lesson that `signed` carries.
///
/// # Errors
/// As [`read`].
pub fn read_lesson(signed: &Signed) -> Result<Verified<Lesson>, EntryError> {
    read(signed)
}

/// Reads the retraction that `signed` carries.
///
/// # Errors
/// As [`read`].
pub fn read_retraction(signed: &Signed) -> Result<Verified<Retraction>, EntryError> {
    read(signed)
}

/// Reads the attestation that `signed` carries.
///
/// # Errors
/// As [`read`].
pub fn read_attestation(signed: &Signed) -> Result<Verified<Attestation>, EntryError> {
    read(signed)
}

/// Reads the fork proof that `signed` carries. What it claims is not believed for that: see [`ForkProof::proves`].
///
/// # Errors
/// As [`read`].
pub fn read_fork_proof(signed: &Signed) -> Result<Verified<ForkProof>, EntryError> {
    read(signed)
}

/// Reads what `signed` says of a move to another key. See [`super::rotate::Rotation::is_taken_by`].
///
/// # Errors
/// As [`read`].
pub fn read_rotate(signed: &Signed) -> Result<Verified<Rotate>, EntryError> {
    read(signed)
}

/// The lesson that an entry is about, whatever it says of it.
#[must_use]
pub fn lesson_of(signed: &Signed) -> Option<Slug> {
    match signed.kind()? {
        Kind::Lesson => Some(read_lesson(signed).ok()?.body.id),
        Kind::Retract => Some(read_retraction(signed).ok()?.body.lesson),
        Kind::Attestation => Some(read_attestation(signed).ok()?.body.lesson),
        Kind::Rotate | Kind::ForkProof | Kind::Head | Kind::Join | Kind::Roster => None,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::super::chain::Position;
    use super::super::envelope::{Envelope, HostKey, PublicKey};
    use super::*;

    fn signed(payload: Vec<u8>, kind: Kind) -> Signed {
        let key = HostKey::from_seed(&[1; 32]);
        let public = PublicKey::of(key.host()).expect("full order");
        Envelope::seal(&key, kind, payload).verify(&public).expect("own signature")
    }

    fn header() -> ChainHeader {
        let host = HostKey::from_seed(&[1; 32]).host();
        Position::default().next_header(&"home".parse().expect("a name"), host, Timestamp::UNIX_EPOCH)
    }

    fn retraction() -> Retraction {
        let lesson = "a-lesson".parse().expect("a slug");
        Retraction { entry: EntryId::from_bytes([2; 32]), lesson, reason: "it was wrong".to_owned() }
    }

    #[test]
    fn header_and_body_share_one_object_and_round_trip() {
        let bytes = payload(&header(), &retraction()).expect("small");
        let text = String::from_utf8(bytes.clone()).expect("UTF-8");
        assert!(text.starts_with("{\n  \"mesh\": \"home\",\n  \"host\": ") && text.ends_with("}\n"), "{text}");
        let read = read_retraction(&signed(bytes, Kind::Retract)).expect("sound");
        assert_eq!((read.body(), read.seq()), (&retraction(), 1));
    }

    #[test]
    fn a_body_with_an_unknown_field_is_refused() {
        let text = String::from_utf8(payload(&header(), &retraction()).expect("small")).expect("UTF-8");
        let with_command = text.replace("\"reason\"", "\"command\": \"sh\", \"reason\"");
        assert!(matches!(
            read_retraction(&signed(with_command.into_bytes(), Kind::Retract)),
            Err(EntryError::Shape { .. })
        ));
        assert!(matches!(read_lesson(&signed(text.into_bytes(), Kind::Retract)), Err(EntryError::OtherKind(_))));
    }
}
