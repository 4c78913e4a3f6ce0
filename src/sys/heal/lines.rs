//! New lines of a file: what was added since the last look, through rotation and truncation.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

/// Most bytes that are read at one look; of more the end is read.
const LOOK: u64 = 1024 * 1024;
/// Most lines that are told of one look.
const LINES: usize = 2_000;
/// Longest line, in bytes.
const LINE: usize = 4 * 1024;
/// Templates that are remembered.
const TEMPLATES: usize = 512;
/// What is told is told of the last hour.
const HOUR: i64 = 3_600;

/// Follows one file.
#[derive(Default)]
pub(super) struct Lines {
    place: Option<(u64, u64, u64)>,
    held: String,
    templates: VecDeque<(i64, BTreeMap<String, u32>)>,
}

/// What one look found.
pub(super) struct New {
    pub(super) size: u64,
    pub(super) grown: Option<u64>,
    pub(super) lines: Vec<String>,
}

impl Lines {
    /// Looks. None: it cannot be read.
    pub(super) fn look(&mut self, path: &Path, now: i64) -> Option<New> {
        let file = File::open(path).ok()?;
        let metadata = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
        let (device, inode, size) = (metadata.dev(), metadata.ino(), metadata.len());
        let from = match self.place {
            Some((d, i, at)) if (d, i) == (device, inode) && at <= size => Some(at),
            Some(_) => Some(0),
            None => None,
        };
        self.place = Some((device, inode, size));
        let Some(from) = from else { return Some(New { size, grown: None, lines: Vec::new() }) };
        let start = from.max(size.saturating_sub(LOOK));
        let mut bytes = vec![0; usize::try_from(size - start).unwrap_or(0)];
        let read = file.read_at(&mut bytes, start).unwrap_or(0);
        bytes.truncate(read);
        let text = std::mem::take(&mut self.held) + &String::from_utf8_lossy(&bytes);
        let (whole, rest) = text.rsplit_once('\n').unwrap_or(("", &text));
        self.held = rest.chars().take(LINE).collect();
        let lines: Vec<String> = whole
            .lines()
            .filter(|line| !line.trim_matches('\0').is_empty())
            .take(LINES)
            .map(|line| line.chars().take(LINE).collect())
            .collect();
        let mut counts = BTreeMap::new();
        for line in &lines {
            let template = template(line);
            if counts.len() < TEMPLATES || counts.contains_key(&template) {
                *counts.entry(template).or_default() += 1;
            }
        }
        self.templates.push_back((now, counts));
        self.templates.retain(|(at, _)| now - *at < HOUR);
        Some(New { size, grown: Some(size - from), lines })
    }

    /// How often the most frequent error was written in the last hour.
    pub(super) fn same_template(&self) -> f64 {
        let mut sums: BTreeMap<&str, u32> = BTreeMap::new();
        for (template, count) in self.templates.iter().flat_map(|(_, counts)| counts) {
            *sums.entry(template).or_default() += count;
        }
        let errors = sums.iter().filter(|(template, _)| is_error(template));
        f64::from(errors.map(|(_, count)| *count).max().unwrap_or(0))
    }
}

fn is_error(template: &str) -> bool {
    let lower = template.to_ascii_lowercase();
    ["error", "fail", "fatal", "refused", "timeout", "timed out", "exception"].iter().any(|word| lower.contains(word))
}

/// The line with every number, hexadecimal word and quoted text replaced: what two of the same kind share.
fn template(line: &str) -> String {
    let word = |word: &str| {
        let core = word.trim_matches(|c: char| !c.is_alphanumeric());
        let hexadecimal = core.len() >= 6 && core.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
        if hexadecimal || core.chars().any(|c| c.is_ascii_digit()) { "#".to_owned() } else { word.to_owned() }
    };
    line.split_whitespace().take(40).map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_lines_are_told_once_through_rotation() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let path = dir.path().join("a.log");
        std::fs::write(&path, "old\n").expect("written");
        let mut lines = Lines::default();
        assert!(lines.look(&path, 0).expect("there").lines.is_empty(), "what was there before is not news");
        std::fs::write(&path, "old\nerror 17 at host-1\nhal").expect("written");
        assert_eq!(lines.look(&path, 1).expect("there").lines, ["error 17 at host-1"]);
        std::fs::write(&path, "old\nerror 17 at host-1\nhalf\n").expect("written");
        assert_eq!(lines.look(&path, 2).expect("there").lines, ["half"]);
        std::fs::rename(&path, dir.path().join("a.log.1")).expect("rotated");
        std::fs::write(&path, "error 18 at host-2\n").expect("written");
        assert_eq!(lines.look(&path, 3).expect("there").lines, ["error 18 at host-2"]);
        assert_eq!(lines.same_template(), 2.0);
        assert_eq!(lines.look(&path, 4_000).map(|_| lines.same_template()), Some(0.0));
    }
}
