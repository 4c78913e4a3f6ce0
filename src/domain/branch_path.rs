//! Where things stand on the shared branch. Paths are only ever constructed here, never taken from what a server sent.

use serde::{Deserialize, Serialize};

use super::id::{EntryId, HostId};
use super::limits;

/// The branch's format, for people; programs go by the payload types.
pub const FORMAT_FILE: (&str, &str) = ("mesh-format", "mesh-branch/1\n");
/// Keeps git from touching line ends, which would break every signature in a checkout.
pub const ATTRIBUTES_FILE: (&str, &str) = (".gitattributes", "* -text\n");
/// The directory above all hosts.
pub const HOSTS: &str = "hosts";
/// Log files in one directory.
const CHUNK: u64 = 100;

/// Where a host publishes what is its own. All hosts read both.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// On the branch that all hosts push to: one history, in which everybody waits for everybody.
    #[default]
    Branch,
    /// On a ref of its own, which nobody else pushes to.
    Refs,
}

/// The ref of a host that has one of its own. It holds the files of the branch that are the host's own, at the same paths.
#[must_use]
pub fn host_ref(branch: &str, id: HostId) -> String {
    format!("{}{id}", host_refs(branch))
}

/// How the refs of single hosts begin.
#[must_use]
pub fn host_refs(branch: &str) -> String {
    format!("refs/heads/{branch}-host/")
}

/// The host whose directory a path of the branch is in.
#[must_use]
pub fn host_of(path: &str) -> Option<HostId> {
    let mut names = path.split('/');
    let below_hosts = names.next() == Some(HOSTS);
    let (prefix, id) = (names.next()?, names.next()?);
    names.next()?;
    id.parse().ok().filter(|_| below_hosts && id.starts_with(prefix) && prefix.len() == 2)
}

/// The directory of a host.
#[must_use]
pub fn host(id: HostId) -> String {
    let id = id.to_string();
    format!("{HOSTS}/{}/{id}", &id[..2])
}

/// A host's mutable, signed head.
#[must_use]
pub fn head(id: HostId) -> String {
    format!("{}/head.json", host(id))
}

/// A host's request to be enrolled.
#[must_use]
pub fn join(id: HostId) -> String {
    format!("{}/join.json", host(id))
}

/// An entry of another host that `id` keeps in its own directory, because it takes part in a proof.
#[must_use]
pub fn proof(id: HostId, entry: EntryId) -> String {
    format!("{}/proof/{entry}.json", host(id))
}

/// The directory of a host's log.
#[must_use]
pub fn log(id: HostId) -> String {
    format!("{}/log", host(id))
}

/// The name of the directory, in a host's log, that holds entry `seq` (from 1).
#[must_use]
pub fn chunk_name(seq: u64) -> String {
    format!("{:08}", seq.saturating_sub(1) / CHUNK)
}

/// The name of the file, in its chunk, that holds entry `seq`.
#[must_use]
pub fn entry_name(seq: u64) -> String {
    format!("{seq:010}.json")
}

/// Entry `seq` (from 1) of a host's log.
#[must_use]
pub fn entry(id: HostId, seq: u64) -> String {
    format!("{}/{}/{}", log(id), chunk_name(seq), entry_name(seq))
}

/// A version of the roster.
#[must_use]
pub fn roster(version: u64) -> String {
    format!("roster/{version:010}.json")
}

/// The seq of a file name in a chunk, when it is the one [`entry_name`] makes.
#[must_use]
pub fn seq_of_entry_name(name: &[u8]) -> Option<u64> {
    let digits = name.strip_suffix(b".json")?;
    let seq = number(digits, 10)?;
    (1..=limits::INTEGER_MAX).contains(&seq).then_some(seq)
}

/// The number of a chunk directory, when its name is one that [`chunk_name`] makes.
#[must_use]
pub fn chunk_of_name(name: &[u8]) -> Option<u64> {
    number(name, 8).filter(|chunk| *chunk <= (limits::INTEGER_MAX - 1) / CHUNK)
}

/// A decimal number padded to `width`; longer ones only without padding.
fn number(digits: &[u8], width: usize) -> Option<u64> {
    let plain = digits.iter().all(u8::is_ascii_digit);
    let padded = digits.len() == width || (digits.len() > width && digits[0] != b'0');
    if !plain || !padded {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Whether `path` has only names that mesh itself makes, so that nothing else can be written.
#[must_use]
pub fn is_constructed(path: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    let name = |name: &str| !name.is_empty() && !name.starts_with('.') && name.bytes().all(plain);
    path.len() <= 256 && path.split('/').all(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_the_documented_ones() {
        let id = HostId::from_bytes([0xab; 32]);
        let host = "ab".repeat(32);
        assert_eq!(head(id), format!("hosts/ab/{host}/head.json"));
        assert_eq!(join(id), format!("hosts/ab/{host}/join.json"));
        let entry_id = EntryId::from_bytes([0xcd; 32]);
        assert_eq!(proof(id, entry_id), format!("hosts/ab/{host}/proof/{entry_id}.json"));
        assert!(is_constructed(&proof(id, entry_id)));
        assert_eq!(entry(id, 1), format!("hosts/ab/{host}/log/00000000/0000000001.json"));
        assert_eq!(entry(id, 100), format!("hosts/ab/{host}/log/00000000/0000000100.json"));
        assert_eq!(entry(id, 101), format!("hosts/ab/{host}/log/00000001/0000000101.json"));
        assert_eq!(roster(3), "roster/0000000003.json");
    }

    #[test]
    fn a_host_is_known_by_each_path_in_its_directory_and_by_no_other() {
        let id = HostId::from_bytes([0xab; 32]);
        for path in [head(id), join(id), entry(id, 7), proof(id, EntryId::from_bytes([1; 32]))] {
            assert_eq!(host_of(&path), Some(id), "{path}");
        }
        for path in [roster(1), host(id), format!("hosts/aa/{id}/head.json"), format!("x/ab/{id}/head.json")] {
            assert_eq!(host_of(&path), None, "{path}");
        }
        assert_eq!(host_ref("mesh", id), format!("refs/heads/mesh-host/{id}"));
    }

    #[test]
    fn t18_names_round_trip_and_other_spellings_are_none() {
        for seq in [1, 99, 100, 101, 9_999_999_999, 10_000_000_000, (1 << 53) - 1] {
            assert_eq!(seq_of_entry_name(entry_name(seq).as_bytes()), Some(seq));
            assert_eq!(chunk_of_name(chunk_name(seq).as_bytes()), Some((seq - 1) / 100));
        }
        for bad in ["0000000000.json", "1.json", "00000000001.json", "000000000x.json", "0000000001", "+000000001.json"]
        {
            assert_eq!(seq_of_entry_name(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(seq_of_entry_name(b"99999999999999999999999.json"), None);
        assert_eq!(chunk_of_name(b"0000000\xff"), None);
        assert_eq!(seq_of_entry_name(b"9007199254740992.json"), None, "no entry has this seq");
        assert_eq!(chunk_of_name(b"1284467440737095516"), None, "no entry is in there");
    }

    #[test]
    fn t15_only_own_names_are_written() {
        assert!(is_constructed(&entry(HostId::from_bytes([1; 32]), 7)));
        for bad in ["", "/etc/passwd", "a//b", "../x", "a/..", ".git/config", "a\u{1b}", "A", "a b", "a/"] {
            assert!(!is_constructed(bad), "{bad:?}");
        }
    }
}
