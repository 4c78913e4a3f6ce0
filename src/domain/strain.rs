//! When a host is short of space or of time, mesh stands back first: what a round leaves out, from readings and limits.

/// Least free space, in bytes, that a sync of small documents is made with.
const SYNC_BYTES: u64 = 16 * 1024 * 1024;

/// What is read of the host. What cannot be read strains nothing: a full disk is told by the writes that fail.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Reading {
    /// Free and total bytes of the file system that holds mesh's state.
    pub space: Option<(u64, u64)>,
    /// The load average of the last minute for each processor.
    pub load_per_core: Option<f64>,
}

/// What mesh leaves to others.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Reserve {
    /// Free space in percent of all.
    pub free_percent: f64,
    /// Free space in bytes.
    pub free_bytes: u64,
    /// Load for each processor; none: any is fine.
    pub load_per_core: Option<f64>,
}

/// Less than the reserve is left.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Strain {
    /// Whether a sync is made all the same.
    pub syncs: bool,
    /// What is short, in one phrase.
    pub why: String,
}

impl Strain {
    /// What is left out and why, in one sentence.
    #[must_use]
    pub fn words(&self) -> String {
        let what = if self.syncs { "scans and seeding are" } else { "sync, scans and seeding are" };
        format!("{what} left out: {}", self.why)
    }
}

/// What is short, if anything is.
#[must_use]
pub fn strain(reading: &Reading, reserve: &Reserve) -> Option<Strain> {
    let mut whys = Vec::new();
    let mut syncs = true;
    if let Some((free, total)) = reading.space {
        // Fewer than 2^53 bytes.
        let percent = if total == 0 { 0.0 } else { free as f64 * 100.0 / total as f64 };
        if percent < reserve.free_percent || free < reserve.free_bytes {
            let (mib, least) = (free >> 20, reserve.free_bytes >> 20);
            let wanted = reserve.free_percent;
            whys.push(format!(
                "{mib} MiB ({percent:.1} %) are free under the state directory, {wanted} % and {least} MiB are kept free"
            ));
            syncs = free >= SYNC_BYTES;
        }
    }
    if let (Some(load), Some(most)) = (reading.load_per_core, reserve.load_per_core)
        && load > most
    {
        whys.push(format!("the load for each processor is {load:.1}, and {most} is the most"));
    }
    (!whys.is_empty()).then(|| Strain { syncs, why: whys.join("; ") })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn d23_the_decision_for_each_reading() {
        let reserve = Reserve { free_percent: 2.0, free_bytes: 64 * MIB, load_per_core: Some(4.0) };
        let idle = Reserve { load_per_core: None, ..reserve };
        let space = |free, total| Reading { space: Some((free * MIB, total * MIB)), load_per_core: Some(0.1) };
        let busy = |load| Reading { load_per_core: Some(load), ..space(500, 1_000) };
        // The reading, the limits, and what comes of it: nothing, or whether a sync is still made.
        let table = [
            (space(500, 1_000), reserve, None),
            (space(2_000, 100_000), reserve, None),
            (space(1_999, 100_000), reserve, Some(true)),
            (space(64, 1_000), reserve, None),
            (space(63, 1_000), reserve, Some(true)),
            (space(16, 1_000), reserve, Some(true)),
            (space(15, 1_000), reserve, Some(false)),
            (space(0, 0), reserve, Some(false)),
            (busy(4.0), reserve, None),
            (busy(4.1), reserve, Some(true)),
            (busy(99.0), idle, None),
            (Reading { load_per_core: Some(5.0), ..space(15, 1_000) }, reserve, Some(false)),
            (Reading::default(), reserve, None),
        ];
        for (reading, reserve, expected) in table {
            let found = strain(&reading, &reserve);
            assert_eq!(found.as_ref().map(|found| found.syncs), expected, "{reading:?} {found:?}");
        }
        let both = Reading { load_per_core: Some(5.0), ..space(15, 1_000) };
        let words = strain(&both, &reserve).expect("short of both").words();
        assert!(words.starts_with("sync, scans and seeding") && words.contains("15 MiB (1.5 %)"), "{words}");
        assert!(words.contains("processor is 5.0"), "{words}");
    }
}
