//! When a certificate file ends: the first certificate of a PEM file, read as far as its validity.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// The end of the certificate, in seconds since 1970.
pub(super) fn not_after(pem: &str) -> Option<i64> {
    let body = pem.split("-----BEGIN CERTIFICATE-----").nth(1)?.split("-----END CERTIFICATE-----").next()?;
    let body: String = body.split_whitespace().collect();
    let der = STANDARD.decode(body).ok()?;
    let (certificate, _) = part(&der, 0x30)?;
    let (mut tbs, _) = part(certificate, 0x30)?;
    if tbs.first() == Some(&0xA0) {
        tbs = part(tbs, 0xA0)?.1;
    }
    // Serial number, algorithm, issuer.
    for tag in [0x02, 0x30, 0x30] {
        tbs = part(tbs, tag)?.1;
    }
    let (validity, _) = part(tbs, 0x30)?;
    let (_, after) = any(validity)?;
    let (tag, end, _) = element(after)?;
    time(tag, std::str::from_utf8(end).ok()?)
}

fn time(tag: u8, text: &str) -> Option<i64> {
    let text = text.strip_suffix('Z')?;
    let full = match tag {
        // Two digits of the year: 50 and more are of the last century.
        0x17 => format!("{}{text}", if text.get(..2)?.parse::<u32>().ok()? >= 50 { "19" } else { "20" }),
        0x18 => text.to_owned(),
        _ => return None,
    };
    let number = |range: std::ops::Range<usize>| full.get(range)?.parse::<i8>().ok();
    let year = full.get(..4)?.parse().ok()?;
    let at = DateTime::new(year, number(4..6)?, number(6..8)?, number(8..10)?, number(10..12)?, number(12..14)?, 0);
    Some(at.ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
}

/// The content of the element with this tag, and what follows it.
fn part(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    element(der).filter(|(found, ..)| *found == tag).map(|(_, content, rest)| (content, rest))
}

fn any(der: &[u8]) -> Option<(&[u8], &[u8])> {
    element(der).map(|(_, content, rest)| (content, rest))
}

fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let bytes = usize::from(*first & 0x7F);
        if bytes == 0 || bytes > 4 {
            return None;
        }
        let (length, rest) = rest.split_at_checked(bytes)?;
        (length.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_has_no_end() {
        for text in ["", "-----BEGIN CERTIFICATE-----", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----"]
        {
            assert_eq!(not_after(text), None);
        }
        assert_eq!(time(0x17, "270101000000Z"), Some(1_798_761_600));
        assert_eq!(time(0x18, "20270101000000Z"), Some(1_798_761_600));
        assert_eq!(time(0x17, "990101000000Z"), Some(915_148_800));
        assert_eq!(element(&[0x30, 0x84, 0xFF, 0xFF, 0xFF, 0xFF]), None, "longer than it is");
    }
}
