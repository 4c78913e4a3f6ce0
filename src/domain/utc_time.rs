//! Times in signed documents: RFC 3339 in UTC, written with `Z`, as in `2026-11-22T10:00:00Z`.

use jiff::Timestamp;
use serde::{Deserialize as _, Deserializer, Serializer};

/// Writes a time; for `#[serde(with)]`.
///
/// # Errors
/// Only the serializer's own.
pub fn serialize<S: Serializer>(time: &Timestamp, out: S) -> Result<S::Ok, S::Error> {
    out.collect_str(time)
}

/// Reads a time; for `#[serde(with)]`. Another offset than `Z` is refused: two spellings of one instant
/// have no place in a signed document.
///
/// # Errors
/// Another form.
pub fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Timestamp, D::Error> {
    let text = String::deserialize(input)?;
    parse(&text).ok_or_else(|| serde::de::Error::custom("time is not RFC 3339 UTC such as 2026-11-22T10:00:00Z"))
}

/// The time that `text` spells, if it is of this form.
#[must_use]
pub fn parse(text: &str) -> Option<Timestamp> {
    let shape = text.len() <= 30 && text.ends_with('Z') && text.as_bytes().get(10) == Some(&b'T');
    text.parse().ok().filter(|_| shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_utc_with_z_is_a_time() {
        assert_eq!(parse("1970-01-01T00:00:00Z"), Some(Timestamp::UNIX_EPOCH));
        for bad in ["1970-01-01T00:00:00+00:00", "1970-01-01", "1970-01-01 00:00:00Z", "soon", ""] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
