//! Git's directory objects, byte by byte: read without trust, changed without touching what others wrote.
//!
//! libgit2 looks names up by binary search in entries that a hostile pack need not have sorted, and refuses to
//! rebuild a directory that holds a bad name. Here a name counts only when it stands exactly once, and other
//! entries are carried over as they are.

use std::cmp::Ordering;

use git2::Oid;

/// The mode of a plain file, as git writes it.
pub(in crate::sys) const FILE: &[u8] = b"100644";
/// The mode of a directory, as git writes it.
pub(in crate::sys) const DIRECTORY: &[u8] = b"40000";

/// One name in a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::sys) struct Entry {
    /// Mode in octal digits, as found.
    pub(in crate::sys) mode: Vec<u8>,
    /// Name, as found: any bytes but NUL.
    pub(in crate::sys) name: Vec<u8>,
    /// What it names.
    pub(in crate::sys) id: Oid,
}

/// What stands at a name.
#[derive(PartialEq, Eq, Debug)]
pub(in crate::sys) enum Lookup<'a> {
    Missing,
    One(&'a Entry),
    /// The name stands more than once, and readers would disagree which one counts.
    Several,
}

/// A directory object.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::sys) struct Tree {
    entries: Vec<Entry>,
}

impl Tree {
    /// Reads a directory object; `None` when it is cut short or malformed.
    pub(in crate::sys) fn parse(mut bytes: &[u8]) -> Option<Self> {
        let mut entries = Vec::new();
        while !bytes.is_empty() {
            let space = bytes.iter().position(|&b| b == b' ')?;
            let nul = space + bytes[space..].iter().position(|&b| b == 0)?;
            let id = bytes.get(nul + 1..nul + 21)?;
            entries.push(Entry {
                mode: bytes[..space].to_vec(),
                name: bytes[space + 1..nul].to_vec(),
                id: Oid::from_bytes(id).ok()?,
            });
            bytes = &bytes[nul + 21..];
        }
        Some(Self { entries })
    }

    /// The bytes of the object.
    pub(in crate::sys) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for entry in &self.entries {
            bytes.extend_from_slice(&entry.mode);
            bytes.push(b' ');
            bytes.extend_from_slice(&entry.name);
            bytes.push(0);
            bytes.extend_from_slice(entry.id.as_bytes());
        }
        bytes
    }

    /// All entries, as found.
    pub(in crate::sys) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What stands at `name`, compared as bytes.
    pub(in crate::sys) fn get(&self, name: &[u8]) -> Lookup<'_> {
        let mut found = self.entries.iter().filter(|entry| entry.name == name);
        match (found.next(), found.next()) {
            (None, _) => Lookup::Missing,
            (Some(entry), None) => Lookup::One(entry),
            (Some(_), Some(_)) => Lookup::Several,
        }
    }

    /// Makes `name` stand for `id` and nothing else, in git's order.
    pub(in crate::sys) fn set(&mut self, name: &[u8], mode: &[u8], id: Oid) {
        self.entries.retain(|entry| entry.name != name);
        let new = Entry { mode: mode.to_vec(), name: name.to_vec(), id };
        let at = self.entries.iter().position(|entry| order(entry, &new) == Ordering::Greater);
        self.entries.insert(at.unwrap_or(self.entries.len()), new);
    }
}

/// Git sorts a directory as if its name ended in a slash.
fn order(a: &Entry, b: &Entry) -> Ordering {
    fn key(entry: &Entry) -> impl Iterator<Item = u8> + '_ {
        entry.name.iter().copied().chain((entry.mode == DIRECTORY).then_some(b'/'))
    }
    key(a).cmp(key(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(byte: u8) -> Oid {
        Oid::from_bytes(&[byte; 20]).unwrap()
    }

    #[test]
    fn entries_stand_in_gits_order_and_round_trip() {
        let mut tree = Tree::default();
        tree.set(b"log", DIRECTORY, id(1));
        tree.set(b"log.json", FILE, id(2));
        tree.set(b"head.json", FILE, id(3));
        tree.set(b"log", DIRECTORY, id(4));
        let names: Vec<_> = tree.entries().iter().map(|e| e.name.as_slice()).collect();
        assert_eq!(names, [b"head.json".as_slice(), b"log.json", b"log"]);
        assert_eq!(Tree::parse(&tree.to_bytes()), Some(tree.clone()));
        assert!(matches!(tree.get(b"log"), Lookup::One(entry) if entry.id == id(4)));
    }

    #[test]
    fn t15_a_name_that_stands_twice_is_neither() {
        let mut bytes = Tree::default();
        bytes.set(b"a", FILE, id(1));
        let twice = [bytes.to_bytes(), bytes.to_bytes()].concat();
        assert_eq!(Tree::parse(&twice).unwrap().get(b"a"), Lookup::Several);
    }

    #[test]
    fn malformed_directories_are_none_and_never_panic() {
        let mut tree = Tree::default();
        tree.set(b"a", FILE, id(1));
        let whole = tree.to_bytes();
        for cut in 1..whole.len() {
            assert_eq!(Tree::parse(&whole[..cut]), None, "cut at {cut}");
        }
        assert_eq!(Tree::parse(b""), Some(Tree::default()));
        assert_eq!(Tree::parse(&[0xff; 64]), None);
    }
}
