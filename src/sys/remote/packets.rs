//! What a git server says around a fetch and a push, read packet by packet. All of it is a stranger's, and each part has its bound.

use std::io::{self, Read};

use git2::Oid;

use super::request::shown;

/// A packet says its length in four hexadecimal digits, which count themselves; this is the longest there is.
const PACKET_BYTES: usize = 65_520;
const DIGITS: usize = 4;

/// Why what was read is not what a git server says.
#[derive(Debug)]
pub enum Unheard {
    /// The stream failed or ended.
    Stream(io::Error),
    /// It says something else, or tells of an error of its own.
    Said(String),
    /// It says more than is heard.
    Many(String),
}

impl From<io::Error> for Unheard {
    fn from(error: io::Error) -> Self {
        Self::Stream(error)
    }
}

fn said(what: impl Into<String>) -> Unheard {
    Unheard::Said(what.into())
}

/// What a server offers to those who push.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ground {
    /// Where the ref that was asked for leads; none where there is no such ref.
    pub tip: Option<Oid>,
    /// Whether it will say what became of the push.
    pub reports: bool,
}

/// Everything that a server has, by name, and what it can do.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Listed {
    /// Refs and where they lead.
    pub refs: Vec<(String, Oid)>,
    abilities: Vec<String>,
}

impl Listed {
    /// Whether the server can do this.
    #[must_use]
    pub fn has(&self, ability: &str) -> bool {
        self.abilities.iter().any(|one| one == ability)
    }
}

/// Reads the list of refs, of at most `most` of them. Names that are not UTF-8 are nobody's here.
///
/// # Errors
/// It is no such list, or too long.
pub fn listed(from: &mut impl Read, most: u64) -> Result<Listed, Unheard> {
    let mut first = packet(from)?;
    // Over HTTP the service is named first.
    if first.as_deref().is_some_and(|text| text.starts_with(b"# service=git-")) {
        if packet(from)?.is_some() {
            return Err(said("its list of branches does not begin"));
        }
        first = packet(from)?;
    }
    let mut listed = Listed::default();
    let mut next = first;
    let mut lines = 0;
    while let Some(line) = next {
        lines += 1;
        if lines > most {
            return Err(Unheard::Many(format!("it has more than {most} branches and tags")));
        }
        let mut parts = line.splitn(2, |byte| *byte == 0);
        let text = parts.next().unwrap_or_default();
        if let Some(abilities) = parts.next().filter(|_| lines == 1) {
            let abilities = String::from_utf8_lossy(abilities);
            listed.abilities = abilities.split_ascii_whitespace().map(str::to_owned).collect();
            if listed.has("object-format=sha256") {
                return Err(said("it names objects by SHA-256, which is not supported: make it anew with SHA-1"));
            }
        }
        refuse_error(text)?;
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        let known = text.split_at_checked(40).and_then(|(hex, rest)| Some((hex, rest.strip_prefix(b" ")?)));
        if let Some((hex, name)) = known {
            let oid = str::from_utf8(hex).ok().and_then(|hex| Oid::from_str(hex).ok());
            let oid = oid.ok_or_else(|| said("its list of branches names no objects"))?;
            listed.refs.extend(str::from_utf8(name).ok().map(|name| (name.to_owned(), oid)));
        } else if !text.starts_with(b"shallow ") {
            return Err(said("its list of branches cannot be read"));
        }
        next = packet(from)?;
    }
    Ok(listed)
}

fn refuse_error(text: &[u8]) -> Result<(), Unheard> {
    let error = text.strip_prefix(b"ERR ").map(|error| shown(&String::from_utf8_lossy(error)));
    error.map_or(Ok(()), |error| Err(said(error)))
}

/// Reads the list of refs before a push, of at most `refs` of them, and finds `name` in it.
///
/// # Errors
/// It is no such list, or too long.
pub fn ground(from: &mut impl Read, name: &str, refs: u64) -> Result<Ground, Unheard> {
    let listed = listed(from, refs)?;
    let tip = listed.refs.iter().rev().find(|(found, _)| found == name).map(|(_, oid)| *oid);
    Ok(Ground { tip, reports: listed.has("report-status") })
}

/// Reads what comes before a pack that was asked for: where the history is cut off, if that was wished for, and whether
/// the server knows anything that was said to be here.
///
/// # Errors
/// It says something else, or that it will not send it.
pub fn before_pack(from: &mut impl Read, is_cut_off: bool) -> Result<(), Unheard> {
    while let Some(line) = if is_cut_off { packet(from)? } else { None } {
        refuse_error(&line)?;
        if !line.starts_with(b"shallow ") && !line.starts_with(b"unshallow ") {
            return Err(said("it does not say where the history that it sends is cut off"));
        }
    }
    let line = packet(from)?.unwrap_or_default();
    refuse_error(&line)?;
    if line.starts_with(b"ACK ") || line.starts_with(b"NAK") {
        return Ok(());
    }
    Err(said("it does not say what of the history it knows"))
}

/// Reads what became of a push to `name`: nothing when it was taken, else the server's reason.
///
/// # Errors
/// It says neither.
pub fn report(from: &mut impl Read, name: &str) -> Result<Option<String>, Unheard> {
    let unpacked = packet(from)?.ok_or_else(|| said("it does not say whether it took the push"))?;
    let line = |packet: &[u8]| String::from_utf8_lossy(packet).trim_end_matches('\n').to_owned();
    let unpacked = line(&unpacked);
    match unpacked.strip_prefix("unpack ") {
        Some("ok") => {}
        Some(why) => return Ok(Some(shown(&format!("it cannot take in what is new: {why}")))),
        None => return Err(said("it does not say whether it took the push")),
    }
    // One ref was pushed, so there is one line, and what comes after it is nobody's.
    let fate = packet(from)?.map(|packet| line(&packet)).unwrap_or_default();
    if fate.strip_prefix("ok ") == Some(name) {
        return Ok(None);
    }
    let refused = fate.strip_prefix("ng ").and_then(|rest| rest.strip_prefix(name));
    match refused.and_then(|rest| rest.strip_prefix(' ')) {
        Some(why) => Ok(Some(shown(why))),
        None => Err(said("it does not say what became of the branch")),
    }
}

/// One packet with this text.
pub(super) fn wrapped(text: &str) -> Vec<u8> {
    format!("{:04x}{text}", text.len() + DIGITS).into_bytes()
}

/// The end of a list of packets.
pub(super) const END: &[u8] = b"0000";

/// The next packet; none where a list ends.
fn packet(from: &mut impl Read) -> Result<Option<Vec<u8>>, Unheard> {
    let mut digits = [0; DIGITS];
    from.read_exact(&mut digits)?;
    let hexadecimal = digits.iter().all(u8::is_ascii_hexdigit);
    let length =
        str::from_utf8(&digits).ok().filter(|_| hexadecimal).and_then(|hex| usize::from_str_radix(hex, 16).ok());
    match length {
        Some(0) => Ok(None),
        Some(length) if (DIGITS..=PACKET_BYTES).contains(&length) => {
            let mut text = vec![0; length - DIGITS];
            from.read_exact(&mut text)?;
            Ok(Some(text))
        }
        Some(_) | None => Err(said("it does not speak git's protocol")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "1f7e9b1a2c3d4e5f60718293a4b5c6d7e8f90123";
    const OTHER: &str = "00000000000000000000000000000000000000aa";

    fn list(lines: &[&str]) -> Vec<u8> {
        lines.iter().flat_map(|line| wrapped(line)).chain(END.iter().copied()).collect()
    }

    #[test]
    fn names_that_are_not_text_are_left_out_of_the_list() {
        let line = |name: &[u8]| {
            let text = [OLD.as_bytes(), b" ", name, b"\n"].concat();
            [format!("{:04x}", text.len() + DIGITS).into_bytes(), text].concat()
        };
        let bytes = [line(b"refs/heads/\xff"), line(b"refs/heads/mesh"), END.to_vec()].concat();
        let listed = listed(&mut &*bytes, 4).expect("read");
        assert_eq!(listed.refs, [("refs/heads/mesh".to_owned(), Oid::from_str(OLD).expect("an id"))]);
        assert!(!listed.has("shallow"));
    }

    fn found(bytes: &[u8]) -> Result<Ground, Unheard> {
        ground(&mut &*bytes, "refs/heads/mesh", 4)
    }

    #[test]
    fn the_ref_is_found_by_its_whole_name_with_and_without_the_service_before_it() {
        let lines = [
            &*format!("{OTHER} refs/heads/mesh-host/x\0report-status delete-refs agent=git/2\n"),
            &*format!("{OLD} refs/heads/mesh\n"),
            &*format!("{OTHER} .have\n"),
            &*format!("shallow {OTHER}\n"),
        ];
        let ground = Ground { tip: Oid::from_str(OLD).ok(), reports: true };
        assert_eq!(found(&list(&lines)).expect("read"), ground);
        let over_http = [list(&["# service=git-receive-pack\n"]), list(&lines)].concat();
        assert_eq!(found(&over_http).expect("read"), ground);
    }

    #[test]
    fn an_empty_repository_has_no_ref_and_still_says_what_it_can() {
        let zero = "0".repeat(40);
        let empty = list(&[&format!("{zero} capabilities^{{}}\0 report-status\n")]);
        assert_eq!(found(&empty).expect("read"), Ground { tip: None, reports: true });
        assert_eq!(found(END).expect("read"), Ground { tip: None, reports: false });
    }

    #[test]
    fn what_is_no_list_of_refs_is_named_and_nothing_is_taken_from_it() {
        let why = |bytes: &[u8]| match found(bytes).expect_err("refused") {
            Unheard::Said(why) | Unheard::Many(why) => why,
            Unheard::Stream(error) => error.kind().to_string(),
        };
        let line = format!("{OLD} refs/heads/x\n");
        assert!(why(b"<htm").contains("git's protocol"), "no digits");
        assert!(why(b"0003").contains("git's protocol") && why(b"fff9").contains("git's protocol"), "no length");
        assert_eq!(why(b"0010abc"), io::ErrorKind::UnexpectedEof.to_string());
        assert_eq!(why(&wrapped(&line)), io::ErrorKind::UnexpectedEof.to_string());
        assert_eq!(why(&wrapped("ERR no such\x1b[2J repository\n")), shown("no such\x1b[2J repository\n"));
        assert!(why(&list(&["not a ref\n"])).contains("cannot be read"));
        assert!(why(&list(&[&format!("{} refs/heads/x\n", "g".repeat(40))])).contains("no objects"));
        assert!(why(&list(&[line.as_str(); 5])).contains("more than 4"), "past the limit");
        assert!(found(&list(&[line.as_str(); 4])).is_ok(), "at the limit");
        let sha256 = format!("{OLD} refs/heads/x\0report-status object-format=sha256\n");
        assert!(why(&list(&[&sha256])).contains("SHA-256"));
    }

    #[test]
    fn what_comes_before_a_pack_is_read_to_its_end_and_no_further() {
        let cut_off = list(&[&format!("shallow {OLD}\n"), &format!("unshallow {OTHER}\n")]);
        for answer in [format!("ACK {OLD}\n"), "NAK\n".to_owned()] {
            let bytes = [cut_off.clone(), wrapped(&answer), b"PACK".to_vec()].concat();
            let mut rest = bytes.as_slice();
            assert!(before_pack(&mut rest, true).is_ok());
            assert_eq!(rest, b"PACK");
            assert!(before_pack(&mut wrapped(&answer).as_slice(), false).is_ok());
        }
        let error = wrapped("ERR upload-pack: not our ref\n");
        let why = |bytes: &[u8], is_cut_off| match before_pack(&mut &*bytes, is_cut_off).expect_err("refused") {
            Unheard::Said(why) | Unheard::Many(why) => why,
            Unheard::Stream(error) => error.kind().to_string(),
        };
        assert!(why(&error, true).contains("not our ref") && why(&error, false).contains("not our ref"));
        assert!(why(&[cut_off.clone(), error].concat(), true).contains("not our ref"));
        assert!(why(&wrapped("NAK\n"), true).contains("cut off"));
        assert!(why(&[cut_off.clone(), END.to_vec()].concat(), true).contains("knows"));
        assert_eq!(why(&cut_off, true), io::ErrorKind::UnexpectedEof.to_string());
    }

    #[test]
    fn the_fate_of_a_push_is_that_of_its_own_ref() {
        let fate = |lines: &[&str]| report(&mut &*list(lines), "refs/heads/mesh").map_err(|_| ());
        assert_eq!(fate(&["unpack ok\n", "ok refs/heads/mesh\n"]), Ok(None));
        assert_eq!(fate(&["unpack ok\n", "ng refs/heads/mesh fetch first\n"]), Ok(Some("fetch first".to_owned())));
        assert!(fate(&["unpack disk full\n"]).expect("a refusal").is_some_and(|why| why.contains("disk full")));
        for lines in
            [&["unpack ok\n"] as &[&str], &["unpack ok\n", "ok refs/heads/mesh2\n"], &["ok refs/heads/mesh\n"], &[]]
        {
            assert_eq!(fate(lines), Err(()), "{lines:?}");
        }
        assert!(report(&mut &b""[..], "refs/heads/mesh").is_err(), "a server that goes silent has not taken it");
    }
}
