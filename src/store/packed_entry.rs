//! An entry of a peer as the database keeps it: first the file as it arrived, and after a while its payload deflated, from which
//! the same bytes come back. A file is text around base64, in which nothing can be found twice; what is inside is mostly
//! words that every entry has.

use std::io::{Read as _, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};

use crate::domain::envelope::Envelope;
use crate::domain::limits;

/// What begins an entry that is packed; a file begins with a brace.
const PACKED: u8 = 1;

/// The file of an entry, whichever way it is kept.
pub(super) struct EntryFile(pub(super) Vec<u8>);

impl FromSql for EntryFile {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let kept = value.as_blob()?;
        match kept.split_first() {
            Some((&PACKED, packed)) => unpacked(packed).map(Self).ok_or(FromSqlError::InvalidType),
            _ => Ok(Self(kept.to_vec())),
        }
    }
}

/// The file packed; `None` where that is not smaller, or where another file would come back.
pub(super) fn packed(file: &[u8]) -> Option<Vec<u8>> {
    let (payload_type, payload, signatures) = Envelope::parse(file).ok()?.into_parts();
    let signatures: Vec<_> = signatures.iter().map(|(keyid, sig)| (keyid, STANDARD_NO_PAD.encode(sig))).collect();
    let head = serde_json::to_vec(&(payload_type, signatures));
    let mut packed = DeflateEncoder::new(vec![PACKED], Compression::default());
    packed.write_all(&head.ok()?).ok()?;
    packed.write_all(b"\n").ok()?;
    packed.write_all(&payload).ok()?;
    let packed = packed.finish().ok()?;
    (packed.len() < file.len() && unpacked(&packed[1..]).as_deref() == Some(file)).then_some(packed)
}

fn unpacked(packed: &[u8]) -> Option<Vec<u8>> {
    let most = limits::ENVELOPE_BYTES as u64;
    let mut bytes = Vec::new();
    DeflateDecoder::new(packed).take(most + 1).read_to_end(&mut bytes).ok()?;
    let at = bytes.iter().position(|byte| *byte == b'\n').filter(|_| bytes.len() as u64 <= most)?;
    let (payload_type, signatures): (String, Vec<(String, String)>) = serde_json::from_slice(&bytes[..at]).ok()?;
    let decoded = |sig: String| STANDARD_NO_PAD.decode(sig).ok()?.try_into().ok();
    let signatures = signatures.into_iter().map(|(keyid, sig)| Some((keyid, decoded(sig)?))).collect::<Option<_>>()?;
    Some(Envelope::of_parts(payload_type, bytes.split_off(at + 1), signatures).to_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::envelope::{HostKey, Kind};

    fn back(kept: &[u8]) -> FromSqlResult<Vec<u8>> {
        EntryFile::column_result(ValueRef::Blob(kept)).map(|file| file.0)
    }

    #[test]
    fn a_packed_file_comes_back_byte_for_byte_or_is_not_packed() {
        let key = HostKey::from_seed(&[7; 32]);
        let words = "{\"because\": \"the words that every entry has\"}\n".repeat(40);
        for payload in [words.as_bytes(), b"{}\n", b"", b"\n\n\0\xff"] {
            let file = Envelope::seal(&key, Kind::Lesson, payload.to_vec()).to_file();
            assert_eq!(back(&file), Ok(file.clone()));
            let packed = packed(&file).expect("smaller");
            assert_eq!(back(&packed), Ok(file.clone()));
            // Written by another program in other words: kept as it came.
            let other = String::from_utf8(file.clone()).expect("text").replacen("  ", " ", 1);
            assert_eq!(super::packed(other.as_bytes()), None);
            for cut in [1, packed.len() / 2, packed.len() - 1] {
                assert!(back(&packed[..cut]).is_err(), "{cut}");
            }
        }
        let file = Envelope::seal(&key, Kind::Lesson, words.clone().into_bytes()).to_file();
        assert!(packed(&file).expect("smaller").len() * 4 < file.len());
        assert_eq!(packed(b"no envelope"), None);
        // What unpacks to more than any entry has is none.
        let mut bomb = DeflateEncoder::new(vec![PACKED], Compression::best());
        bomb.write_all(b"[\"t\",[]]\n").expect("written");
        bomb.write_all(&vec![b' '; limits::ENVELOPE_BYTES]).expect("written");
        assert!(back(&bomb.finish().expect("packed")).is_err());
    }
}
