//! Queued documents by kind: how each becomes a payload, and how it is known again in what was signed.

use crate::domain::attest::Attestation;
use crate::domain::chain::ChainHeader;
use crate::domain::entry::{self, Body, EntryError, Retraction};
use crate::domain::envelope::{Kind, Signed};
use crate::domain::fork::ForkProof;
use crate::domain::lesson::Lesson;
use crate::store::own_log::Draft;

/// One kind that can be queued.
struct Form {
    kind: Kind,
    payload: fn(&ChainHeader, &str) -> Result<Vec<u8>, EntryError>,
    is_said: fn(&Signed, &str) -> bool,
}

const FORMS: [Form; 4] =
    [Form::of::<Lesson>(), Form::of::<Retraction>(), Form::of::<Attestation>(), Form::of::<ForkProof>()];

impl Form {
    const fn of<T: Body>() -> Self {
        Self { kind: T::KIND, payload: payload_of::<T>, is_said: is_said::<T> }
    }

    fn named(kind: &str) -> Option<&'static Self> {
        FORMS.iter().find(|form| form.kind.name() == kind)
    }
}

fn body_of<T: Body>(draft: &str) -> Result<T, EntryError> {
    serde_json::from_str(draft).map_err(|cause| EntryError::Shape { kind: T::KIND, cause })
}

fn payload_of<T: Body>(header: &ChainHeader, draft: &str) -> Result<Vec<u8>, EntryError> {
    let body: T = body_of(draft)?;
    body.check()?;
    entry::payload(header, &body)
}

fn is_said<T: Body>(signed: &Signed, draft: &str) -> bool {
    let (Ok(said), Ok(body)) = (entry::read::<T>(signed), body_of::<T>(draft)) else { return false };
    *said.body() == body
}

/// The kind of a draft, and its payload behind `header`.
///
/// # Errors
/// Not of its kind's shape, out of bounds, or of a kind that is not queued.
pub(super) fn payload(header: &ChainHeader, draft: &Draft) -> Result<(Kind, Vec<u8>), EntryError> {
    let form = Form::named(&draft.kind).ok_or_else(|| EntryError::NotQueued(draft.kind.clone()))?;
    Ok((form.kind, (form.payload)(header, &draft.body)?))
}

/// Whether the entry says what the draft says.
pub(super) fn carries(signed: &Signed, draft: &Draft) -> bool {
    Form::named(&draft.kind).is_some_and(|form| (form.is_said)(signed, &draft.body))
}
