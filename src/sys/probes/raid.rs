//! Disks that are missing from a software RAID: what the kernel says of each array.

use std::path::PathBuf;

use super::{reading, small_file};
use crate::domain::signal::{SeriesName, Subject};
use crate::ports::{Probe, Reading};

const MISSING: &str = "host.raid.missing";
/// Most arrays that are told apart.
const MOST: usize = 64;

/// Reads what is known of arrays.
pub struct RaidProbe {
    mdstat: PathBuf,
    found: Vec<Array>,
}

/// One array.
#[derive(PartialEq, Eq, Debug)]
struct Array {
    name: String,
    /// How many of its members are not in use.
    missing: u32,
    words: String,
}

impl RaidProbe {
    /// Reads `mdstat`, which is `/proc/mdstat`. Where there is none, nothing is told.
    #[must_use]
    pub fn new(mdstat: impl Into<PathBuf>) -> Self {
        Self { mdstat: mdstat.into(), found: Vec::new() }
    }
}

impl Probe for RaidProbe {
    fn read(&mut self) -> Vec<Reading> {
        self.found = arrays(&small_file(&self.mdstat).unwrap_or_default());
        let told = |one: &Array| reading(MISSING, &Subject::near(&one.name), Ok(f64::from(one.missing)));
        self.found.iter().map(told).collect()
    }

    fn remarks(&self) -> Vec<(SeriesName, String)> {
        let worse = self.found.iter().filter(|one| one.missing > 0);
        worse.map(|one| (SeriesName::of(MISSING, Subject::near(&one.name)), one.words.clone())).collect()
    }
}

/// An array is a line `md0 : active raid1 sda1[0] sdb1[1](F)` and lines below it, of which one has `[2/1] [U_]`: how many
/// members it is to have and has, where its kind knows that; another one says how far it is being mended.
fn arrays(text: &str) -> Vec<Array> {
    let mut found: Vec<Array> = Vec::new();
    for line in text.lines() {
        if let Some((name, rest)) = line.split_once(" : ").filter(|(name, _)| name.starts_with("md")) {
            let (state, members) = rest.split_once(' ').unwrap_or((rest, ""));
            let failed = members.split(' ').filter(|member| member.contains("(F)")).count();
            let missing = if state == "active" { failed } else { failed.max(1) };
            let missing = u32::try_from(missing).unwrap_or(u32::MAX);
            found.push(Array { name: name.to_owned(), missing, words: rest.trim().to_owned() });
            continue;
        }
        let Some(array) = found.last_mut().filter(|_| line.starts_with(' ')) else { continue };
        if let Some((wanted, present)) = line.split(' ').find_map(counted) {
            array.missing = array.missing.max(wanted.saturating_sub(present));
            array.words.push_str(&format!(", {present} of {wanted} members"));
        }
        if let Some(mending) =
            ["recovery =", "resync =", "reshape =", "check ="].iter().find_map(|what| line.find(what))
        {
            let words: Vec<&str> = line[mending..].split_ascii_whitespace().take(3).collect();
            array.words.push_str(&format!(", {}", words.join(" ")));
        }
    }
    found.truncate(MOST);
    found
}

/// The numbers of `[2/1]`.
fn counted(word: &str) -> Option<(u32, u32)> {
    let (wanted, present) = word.strip_prefix('[')?.strip_suffix(']')?.split_once('/')?;
    Some((wanted.parse().ok()?, present.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MDSTAT: &str = "Personalities : [raid1] [raid6] [raid5] [raid4] [raid0]\n\
        md127 : active raid1 sdb1[1] sda1[0]\n      1953382400 blocks super 1.2 [2/2] [UU]\n\
        \x20     bitmap: 0/15 pages [0KB], 65536KB chunk\n\n\
        md2 : active raid5 sde1[3](F) sdd1[1] sdc1[0]\n      292945152 blocks level 5, 64k chunk, algorithm 2 [3/2] [UU_]\n\
        \x20     [==>..................]  recovery = 12.6% (37043392/292945152) finish=127.5min speed=33440K/sec\n\n\
        md3 : inactive sdf1[1](S)\n      1953513560 blocks super 1.2\n\n\
        md4 : active raid0 sdg1[0] sdh1[1]\n      1953513560 blocks super 1.2 512k chunks\n\nunused devices: <none>\n";

    #[test]
    fn b8_a_disk_that_failed_is_missed_and_how_far_it_is_mended_is_told() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let file = dir.path().join("mdstat");
        std::fs::write(&file, MDSTAT).expect("written");
        let mut probe = RaidProbe::new(&file);
        let told: Vec<_> = probe.read().into_iter().map(|one| (one.name.to_string(), one.value)).collect();
        let wanted = [("md127", 0.0), ("md2", 1.0), ("md3", 1.0), ("md4", 0.0)];
        assert_eq!(told, wanted.map(|(name, missing)| (format!("{MISSING}/{name}"), Ok(missing))));
        let remarks: Vec<_> = probe.remarks().into_iter().map(|(_, words)| words).collect();
        assert_eq!(
            remarks,
            ["active raid5 sde1[3](F) sdd1[1] sdc1[0], 2 of 3 members, recovery = 12.6%", "inactive sdf1[1](S)"]
        );
        assert_eq!(RaidProbe::new(dir.path().join("none")).read(), []);
        for nonsense in ["md", "md0 : ", " [9/", "md0 : active\n [a/b] [1/2] [4294967296/1]"] {
            assert!(arrays(nonsense).iter().all(|one| one.missing <= 1), "{nonsense}");
        }
    }
}
