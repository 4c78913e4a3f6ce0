//! The filter: one pass over a file's bytes for all literals, and then the regular expressions of the rules that
//! are left, say which rules can match it at all.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::OnceLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use regex::bytes::{RegexSet, RegexSetBuilder};

use super::needs::{Atom, Needs};
use super::suppress::MARKERS;
use crate::domain::limits;
use crate::domain::words::{is_word_byte, may_be_split};

/// Most regular expressions that are searched for on behalf of one rule.
const FOUND_MAX: usize = 8;
/// So many bytes of literals may be one table, which is searched several times faster and takes up to 256 times as much
/// memory.
const TABLE_BYTES: usize = 8 * 1024;

/// The needs of all rules, searched for together.
#[derive(Default)]
pub(super) struct Filter {
    /// `None` when there is nothing to search for or no automaton could be built: then nothing is filtered.
    automaton: Option<AhoCorasick>,
    /// By literal of the automaton: the atoms that start with it.
    atoms_of: Vec<Vec<usize>>,
    /// The first literals are suppression markers.
    markers: usize,
    atoms: Vec<Atom>,
    found: Vec<Searcher>,
    rules: Vec<Demands>,
}

/// What one rule needs, by place in the filter.
struct Demands {
    groups: Vec<Vec<usize>>,
    found: Vec<usize>,
}

/// What one file holds.
pub(super) struct Present<'b> {
    bytes: &'b [u8],
    atoms: Option<Vec<bool>>,
    found: Vec<OnceCell<bool>>,
    /// A suppression marker is there.
    pub(super) marker: bool,
}

impl Filter {
    /// The filter for rules with these needs, in order.
    pub(super) fn build(rules: &[Needs]) -> Self {
        let mut filter = Self::default();
        let (mut known, mut searchers) = (HashMap::new(), HashMap::new());
        for rule in rules {
            let groups = rule.groups.iter().map(|group| {
                let ids = group.iter().map(|atom| {
                    *known.entry(atom.clone()).or_insert_with(|| {
                        filter.atoms.push(atom.clone());
                        filter.atoms.len() - 1
                    })
                });
                ids.collect()
            });
            let groups = groups.collect();
            let found = rule.found.iter().take(FOUND_MAX).map(|pattern| {
                *searchers.entry(pattern.clone()).or_insert_with(|| {
                    filter.found.push(Searcher { pattern: pattern.clone(), compiled: OnceLock::new() });
                    filter.found.len() - 1
                })
            });
            let found = found.collect();
            filter.rules.push(Demands { groups, found });
        }
        // The automaton ignores case, so literals that differ in case alone are one of its literals; each
        // atom then looks at the bytes itself.
        let mut literals: Vec<String> = MARKERS.iter().map(|&marker| marker.to_owned()).collect();
        filter.markers = literals.len();
        filter.atoms_of = vec![Vec::new(); literals.len()];
        let mut at = BTreeMap::new();
        for (id, atom) in filter.atoms.iter().enumerate() {
            let literal = atom.literal().to_ascii_lowercase();
            let slot = *at.entry(literal.clone()).or_insert_with(|| {
                literals.push(literal);
                filter.atoms_of.push(Vec::new());
                literals.len() - 1
            });
            filter.atoms_of[slot].push(id);
        }
        let mut builder = AhoCorasick::builder();
        if literals.iter().map(String::len).sum::<usize>() <= TABLE_BYTES {
            builder.kind(Some(AhoCorasickKind::DFA));
        }
        filter.automaton = builder.ascii_case_insensitive(true).build(&literals).ok();
        filter
    }

    /// What these bytes hold.
    pub(super) fn search<'b>(&self, bytes: &'b [u8]) -> Present<'b> {
        let regexes = vec![OnceCell::new(); self.found.len()];
        let Some(automaton) = &self.automaton else {
            return Present { bytes, atoms: None, found: regexes, marker: true };
        };
        let mut found = vec![false; self.atoms.len()];
        let mut marker = false;
        for hit in automaton.find_overlapping_iter(bytes) {
            let slot = hit.pattern().as_usize();
            marker |= slot < self.markers;
            for &id in &self.atoms_of[slot] {
                if !found[id] {
                    found[id] = holds(&self.atoms[id], bytes, hit.start());
                }
            }
        }
        Present { bytes, atoms: Some(found), found: regexes, marker }
    }

    /// Whether a rule can match a text that holds this.
    pub(super) fn allows(&self, rule: usize, present: &Present<'_>) -> bool {
        let Demands { groups, found } = &self.rules[rule];
        let literals =
            present.atoms.as_ref().is_none_or(|atoms| groups.iter().all(|group| group.iter().any(|&atom| atoms[atom])));
        literals && found.iter().all(|&at| *present.found[at].get_or_init(|| self.found[at].finds(present.bytes)))
    }
}

/// An expression that is searched for, compiled once a file gets that far: most of a rule for another language never is.
struct Searcher {
    pattern: String,
    compiled: OnceLock<Option<RegexSet>>,
}

impl Searcher {
    /// Within the limits of a rule's own expression; one that is too large is not demanded.
    fn finds(&self, bytes: &[u8]) -> bool {
        let compile = || {
            let limit = limits::REGEX_COMPILED_BYTES;
            // A single expression that ends in a literal would be tried backwards from each place of that, and where these
            // tries overlap the crate gives up and takes its slowest engine. It does so for no set, even of one.
            let mut builder = RegexSetBuilder::new([&self.pattern]);
            builder.size_limit(limit).dfa_size_limit(limit).nest_limit(limits::REGEX_NEST).build().ok()
        };
        self.compiled.get_or_init(compile).as_ref().is_none_or(|compiled| compiled.is_match(bytes))
    }
}

/// Whether an atom is at `at`, where its literal was found in some case.
fn holds(atom: &Atom, bytes: &[u8], at: usize) -> bool {
    match atom {
        Atom::AnyCase(_) => true,
        Atom::Text(text) => bytes[at..].starts_with(text.as_bytes()),
        Atom::Word(word) => word_at(bytes, at, word),
        Atom::Chain(words) => chain_at(bytes, at, words, |_| true),
        Atom::Call(words) => {
            chain_at(bytes, at, words, |end| blank(bytes, end).is_none_or(|next| bytes.get(next) == Some(&b'(')))
        }
    }
}

fn word_at(bytes: &[u8], at: usize, word: &str) -> bool {
    let rest = &bytes[at..];
    rest.starts_with(word.as_bytes()) && !rest.get(word.len()).copied().is_some_and(is_word_byte) && starts(bytes, at)
}

/// Whether an identifier can start here: where the run of its bytes starts, and anywhere in one that may be split.
fn starts(bytes: &[u8], at: usize) -> bool {
    let before = &bytes[..at];
    let from = at - before.iter().rev().take_while(|byte| is_word_byte(**byte)).count();
    from == at || may_be_split(from.checked_sub(1).map(|before| bytes[before]), bytes[from])
}

fn chain_at(bytes: &[u8], at: usize, words: &[String], goes_on: impl Fn(usize) -> bool) -> bool {
    let mut at = at;
    for (index, word) in words.iter().enumerate() {
        if index > 0 {
            match joint(bytes, at) {
                Joint::Dot(next) => at = next,
                Joint::Unclear => return follow(bytes, at, &words[index..]),
                Joint::None => return false,
            }
            match blank(bytes, at) {
                Some(next) => at = next,
                None => return follow(bytes, at, &words[index..]),
            }
        }
        if !word_at(bytes, at, word) {
            return false;
        }
        at += word.len();
    }
    goes_on(at)
}

/// Whether these words come somewhere behind `at`, in this order: what is between them was not understood.
fn follow(bytes: &[u8], at: usize, words: &[String]) -> bool {
    let mut rest = &bytes[at..];
    for word in words {
        let Some(found) = memchr::memmem::find(rest, word.as_bytes()) else { return false };
        rest = &rest[found + word.len()..];
    }
    true
}

enum Joint {
    /// A dot; the next part starts after it.
    Dot(usize),
    /// What may be the start of a comment, beyond which it is not worth looking.
    Unclear,
    None,
}

fn joint(bytes: &[u8], at: usize) -> Joint {
    match blank(bytes, at) {
        None => Joint::Unclear,
        Some(at) if bytes.get(at) == Some(&b'.') => Joint::Dot(at + 1),
        Some(_) => Joint::None,
    }
}

/// Skips blanks and line breaks; `None` when something stands there that may be other white space or a comment in some
/// language.
fn blank(bytes: &[u8], at: usize) -> Option<usize> {
    let at = at + bytes[at..].iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
    match bytes.get(at) {
        Some(byte)
            if !byte.is_ascii()
                || byte.is_ascii_control()
                || matches!(byte, b'\\' | b'#' | b'/' | b'<' | b'?' | b'!' | b'-') =>
        {
            None
        }
        _ => Some(at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(atom: Atom, text: &str) -> bool {
        let filter = Filter::build(&[Needs::of_groups(vec![vec![atom]])]);
        filter.allows(0, &filter.search(text.as_bytes()))
    }

    #[test]
    fn words_are_whole() {
        let word = |text| allows(Atom::Word("open".into()), text);
        assert!(word("x = open(p)"));
        assert!(word("1open"));
        assert!(word("0xopen"));
        assert!(word("äopen"));
        assert!(word("openä"));
        assert!(word("!x1open"));
        assert!(word("\\x41open"));
        assert!(word("/p/gI1open"));
        assert!(!word("reopen(p)"));
        assert!(!word("opened"));
        assert!(!word("Open(p)"));
        assert!(word("reopen Open open"));
    }

    #[test]
    fn chains_may_be_broken_by_lines_and_comments() {
        let chain = |text| allows(Atom::Chain(vec!["os".into(), "replace".into()]), text);
        for text in [
            "os.replace(a)",
            "os . replace",
            "os\\\n.replace",
            "os.\nreplace",
            "(os\r\n\n  .replace)",
            "(os # c\n.replace)",
            "os/**/.replace",
        ] {
            assert!(chain(text), "{text}");
        }
        assert!(!chain("import os # x\n"), "what is not understood is no reason when the rest never comes");
        for text in [
            "import os\nx.replace(a)",
            "os.path; a.replace",
            "import os, replace",
            "os.replaced",
            "xos.replace",
            "OS.replace",
        ] {
            assert!(!chain(text), "{text}");
        }
    }

    #[test]
    fn literals_that_differ_in_case_alone_stay_apart() {
        let filter = Filter::build(&[
            Needs::of_groups(vec![vec![Atom::Word("Popen".into())]]),
            Needs::of_groups(vec![vec![Atom::Word("popen".into())]]),
            Needs::of_groups(vec![vec![Atom::AnyCase("POPEN".into())]]),
            Needs::default(),
        ]);
        let present = filter.search(b"Popen()");
        assert_eq!([0, 1, 2, 3].map(|rule| filter.allows(rule, &present)), [true, false, true, true]);
    }

    #[test]
    fn markers_are_seen() {
        let filter = Filter::build(&[]);
        assert!(filter.search(b"# Mesh-Ignore: x").marker);
        assert!(!filter.search(b"# ignore").marker);
    }
}
