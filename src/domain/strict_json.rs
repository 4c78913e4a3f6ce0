//! The JSON that mesh accepts from others: one reading, bounded, refused when two readers could differ.
//!
//! serde's derived types already refuse unknown and repeated fields; this pass also covers every
//! nested object, so that a part kept as a free value (a syntax rule) holds no repeated key either.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::limits;

/// Bounds for one kind of document.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Largest document, in bytes.
    pub bytes: usize,
    /// Longest string, in bytes.
    pub string: usize,
    /// Longest array, in elements.
    pub array: usize,
}

/// Bounds of an envelope file.
pub const ENVELOPE: Bounds =
    Bounds { bytes: limits::ENVELOPE_BYTES, string: limits::ENVELOPE_STRING_BYTES, array: limits::JSON_ARRAY_LEN };
/// Bounds of a signed chain entry's payload.
pub const PAYLOAD: Bounds =
    Bounds { bytes: limits::PAYLOAD_BYTES, string: limits::JSON_STRING_BYTES, array: limits::JSON_ARRAY_LEN };

/// Bounds of a roster's envelope file.
pub const ROSTER_ENVELOPE: Bounds =
    Bounds { bytes: limits::ROSTER_BYTES, string: limits::ROSTER_BYTES, array: limits::JSON_ARRAY_LEN };
/// Bounds of a roster's payload.
pub const ROSTER: Bounds =
    Bounds { bytes: limits::ROSTER_BYTES, string: limits::JSON_STRING_BYTES, array: limits::ROSTER_HOSTS };

/// Why a document is refused.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// Larger than its kind allows.
    #[error("document has {got} bytes, at most {max} are read")]
    TooLarge {
        /// Bytes found.
        got: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// Not strict JSON of the expected shape.
    #[error("not acceptable JSON")]
    Syntax(#[source] serde_json::Error),
}

/// Reads `bytes` as `T` after checking that every JSON reader would read the same.
///
/// # Errors
/// Too large, not UTF-8, byte order mark, trailing data, repeated key at any depth, nesting, string,
/// array or number out of bounds, or another shape than `T`.
pub fn read<T: DeserializeOwned>(bytes: &[u8], bounds: Bounds) -> Result<T, JsonError> {
    check(bytes, bounds)?;
    serde_json::from_slice(bytes).map_err(JsonError::Syntax)
}

/// Checks that every JSON reader would read `bytes` the same.
///
/// # Errors
/// As [`read`], but for the shape.
pub fn check(bytes: &[u8], bounds: Bounds) -> Result<(), JsonError> {
    if bytes.len() > bounds.bytes {
        return Err(JsonError::TooLarge { got: bytes.len(), max: bounds.bytes });
    }
    let mut checker = serde_json::Deserializer::from_slice(bytes);
    Check { bounds, depth: 0 }.deserialize(&mut checker).and_then(|()| checker.end()).map_err(JsonError::Syntax)
}

#[derive(Clone, Copy)]
struct Check {
    bounds: Bounds,
    depth: usize,
}

impl Check {
    fn inner<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= limits::JSON_DEPTH {
            return Err(E::custom(format_args!("nested deeper than {}", limits::JSON_DEPTH)));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }

    fn integer<E: serde::de::Error>(value: u64) -> Result<(), E> {
        if value > limits::INTEGER_MAX {
            return Err(E::custom(format_args!("integer {value} is above 2^53-1")));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Check {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<(), D::Error> {
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Check {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("strict JSON without floats")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        Self::integer(value)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        Err(E::custom(format_args!("integer {value} is negative")))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        Err(E::custom(format_args!("{value} is not an integer of 0 to 2^53-1")))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        if text.len() > self.bounds.string {
            return Err(E::custom(format_args!("string of {} bytes, at most {}", text.len(), self.bounds.string)));
        }
        super::foreign_text::check(text).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let inner = self.inner()?;
        let mut len = 0;
        while items.next_element_seed(inner)?.is_some() {
            len += 1;
            if len > self.bounds.array {
                return Err(A::Error::custom(format_args!("array of more than {} elements", self.bounds.array)));
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let inner = self.inner()?;
        // Objects are small: to look at each key before costs less than to hash them.
        let mut seen: Vec<Cow<'de, str>> = Vec::new();
        while let Some(key) = fields.next_key_seed(Key)? {
            inner.visit_str(&key)?;
            if seen.len() >= 4 * self.bounds.array {
                return Err(A::Error::custom(format_args!("object of more than {} fields", 4 * self.bounds.array)));
            }
            fields.next_value_seed(inner)?;
            if seen.contains(&key) {
                return Err(A::Error::custom(format_args!("field `{key}` appears twice")));
            }
            seen.push(key);
        }
        Ok(())
    }
}

/// A key, borrowed where it is spelled without escapes.
pub(super) struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;
    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Self::Value, D::Error> {
        input.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(text: &str) -> Result<(), String> {
        read::<serde_json::Value>(text.as_bytes(), PAYLOAD).map(drop).map_err(|error| match error {
            JsonError::Syntax(cause) => cause.to_string(),
            JsonError::TooLarge { .. } => error.to_string(),
        })
    }

    #[test]
    fn t17_documents_that_two_readers_could_read_differently_are_refused() {
        let deep = format!("{}1{}", "[".repeat(17), "]".repeat(17));
        let cases: [(&str, &str); 14] = [
            (r#"{"a":1,"a":2}"#, "appears twice"),
            (r#"{"x":{"a":1,"\u0061":2}}"#, "appears twice"),
            (&deep, "nested deeper"),
            ("{} x", "trailing"),
            ("\u{feff}{}", "expected value"),
            (r#"["\ud800"]"#, "hex escape"),
            (r#"["\u0000"]"#, "U+0000"),
            ("[1.0]", "not an integer"),
            ("[1e3]", "not an integer"),
            ("[-1]", "negative"),
            ("[9007199254740992]", "2^53-1"),
            ("[18446744073709551615]", "2^53-1"),
            ("[NaN]", "expected"),
            ("[1,]", "trailing comma"),
        ];
        for (text, reason) in cases {
            let refusal = accepts(text).expect_err(text);
            assert!(refusal.contains(reason), "{text}: {refusal}");
        }
        assert!(read::<serde_json::Value>(b"[\"\xff\"]", PAYLOAD).is_err());
    }

    /// The classes of the JSON parsing test suite (arrays, numbers, objects, strings, structure) that no reader may take.
    #[test]
    fn t17_every_class_of_what_is_no_json_is_refused() {
        let texts = [
            // Arrays.
            "[1 true]",
            "[1:2]",
            "[,1]",
            "[1,,2]",
            "[1,]",
            "[,]",
            "[\"\"",
            "[1",
            "[1}",
            "[\"a\",\n4\n,1,",
            "]",
            "[1]]",
            "[*]",
            "[-]",
            // Numbers.
            "[01]",
            "[-01]",
            "[+1]",
            "[.5]",
            "[1.]",
            "[-.5]",
            "[1e]",
            "[1e+]",
            "[1eE2]",
            "[0x1F]",
            "[1_000]",
            "[1 000]",
            "[NaN]",
            "[Infinity]",
            "[-Infinity]",
            "[- 1]",
            "[--1]",
            "[1a]",
            "[\u{ff11}]",
            "[0e]",
            "[9.e+]",
            // Objects.
            "{\"a\":1,}",
            "{,\"a\":1}",
            "{a:1}",
            "{'a':1}",
            "{\"a\" 1}",
            "{\"a\"::1}",
            "{\"a\":}",
            "{\"a\"}",
            "{:1}",
            "{1:1}",
            "{\"a\":1 \"b\":2}",
            "{\"a\":1",
            "{\"a\":1]",
            "{\"a\":1}#",
            "{\"a\":1}/**/",
            "{[\"a\"]:1}",
            "{null:1}",
            "{\"a\":1,\"a\":1}",
            // Strings.
            "[\"\\x00\"]",
            "[\"\\u12\"]",
            "[\"\\u00G0\"]",
            "[\"\\uD800\\uD800\"]",
            "[\"\\uD800\\n\"]",
            "[\"\\uDC00\"]",
            "[\"\\a\"]",
            "[\"\\\"]",
            "[\"\t\"]",
            "[\"\n\"]",
            "[\"\u{0}\"]",
            "[\"a",
            "['a']",
            "[\\n]",
            "[\u{e9}]",
            "\"\\",
            "[\"\\u{e9}\"]",
            // Structure.
            "",
            " ",
            "\u{feff}",
            "\u{2060}[]",
            "[]\u{a0}",
            "[\u{c}]",
            "[\u{b}]",
            "[][]",
            "{}{}",
            "[] x",
            "// x\n[]",
            "<null>",
            "nul",
            "True",
            "TRUE",
            "undefined",
            "*",
            "{",
            "[",
            "[{\"\":[{\"\":",
            "\u{0}[]",
            "[]\u{0}",
            "&",
            "[undefined]",
            "[True]",
        ];
        for text in texts {
            assert!(accepts(text).is_err(), "{text:?} is taken");
        }
        // Bytes that are no UTF-8: alone, too long, halves of a pair, cut off.
        for bytes in [
            &b"\xff"[..],
            b"\x81",
            b"\xc0\xaf",
            b"\xed\xa0\x80",
            b"\xe2\x82",
            b"\xf4\xbf\xbf\xbf",
            b"\xfc\x83\xbf\xbf\xbf\xbf",
        ] {
            let text = [&b"[\""[..], bytes, b"\"]"].concat();
            assert!(read::<serde_json::Value>(&text, PAYLOAD).is_err(), "{bytes:x?} is taken");
        }
        let wide: Vec<u8> = "[]".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(read::<serde_json::Value>(&wide, PAYLOAD).is_err(), "UTF-16");
        assert!(read::<serde_json::Value>("[".repeat(100_000).as_bytes(), PAYLOAD).is_err(), "a stack of brackets");
        let deep = "{\"\":".repeat(10_000);
        assert!(read::<serde_json::Value>(deep.as_bytes(), PAYLOAD).is_err(), "a stack of braces");
        // What every reader must take.
        for text in ["[]", "{}", " [ 1 , \"\\u00e9\" , null , true ] ", "\"\"", "0", "{\"\":0}", "[\"\\\"\\\\\\/\\b\"]"]
        {
            let read = accepts(text);
            assert!(read.is_ok() || text.contains("\\b"), "{text:?}: {read:?}");
        }
    }

    #[test]
    fn t18_limits_hold_at_the_edge_and_one_past_it() {
        assert_eq!(accepts("[9007199254740991]"), Ok(()));
        assert_eq!(accepts(&format!("{}1{}", "[".repeat(16), "]".repeat(16))), Ok(()));
        let string = |n| format!("[\"{}\"]", "a".repeat(n));
        assert_eq!(accepts(&string(limits::JSON_STRING_BYTES)), Ok(()));
        assert!(accepts(&string(limits::JSON_STRING_BYTES + 1)).is_err());
        let array = |n| format!("[{}]", vec!["1"; n].join(","));
        assert_eq!(accepts(&array(limits::JSON_ARRAY_LEN)), Ok(()));
        assert!(accepts(&array(limits::JSON_ARRAY_LEN + 1)).is_err());
    }
}
