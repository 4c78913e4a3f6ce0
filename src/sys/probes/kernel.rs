//! The kernel's own log: hangs, crashes, and what fails under it.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use regex::RegexSet;

use super::last_hour::LastHour;
use super::{reading, small_file};
use crate::domain::signal::{SeriesName, Subject};
use crate::ports::{Probe, Reading};

const FAULTS: &str = "host.kernel.faults";
/// Larger than any record: the kernel refuses to give a part of one.
const RECORD_BYTES: usize = 16 * 1024;
/// Most records that are read at one look; the whole ring has fewer.
const RECORDS: usize = 200_000;
/// Longest part of a line that is kept to be shown, in characters.
const SHOWN: usize = 160;

/// What counts, by the subject that it is told under. Each is a regular expression.
const KINDS: [(&str, &str); 9] = [
    ("hung-task", r"task .* blocked for more than \d+ seconds"),
    ("lockup", r"(soft|hard) lockup|rcu.*detected stalls|watchdog: BUG"),
    ("oops", r"^(BUG: |Oops|kernel BUG at|general protection fault|Unable to handle kernel)|Kernel panic"),
    ("out-of-memory", r"Out of memory: Kill|oom-kill:|Memory cgroup out of memory"),
    (
        "file-system",
        r"(EXT4-fs|XFS|BTRFS|F2FS-fs|NTFS)\b.*(error|corrupt|shutdown|Corruption|critical)|Remounting filesystem read-only",
    ),
    (
        "io-error",
        r"I/O error|blk_update_request: .*error|critical (medium|target) error|nvme.*(timeout|controller is down)",
    ),
    ("link-down", r"(NIC )?Link is Down|link down\b"),
    ("hardware", r"\[Hardware Error\]|Machine check|EDAC .*(CE|UE) |temperature above threshold"),
    ("quota", r"nf_conntrack: .*table full|neighbour: .*table overflow|TCP: out of memory|VFS: file-max limit"),
];

/// Follows the log from now on; after a restart from where it stopped, unless the machine was started anew.
pub struct KernelProbe {
    kmsg: PathBuf,
    boot: String,
    kinds: RegexSet,
    log: Option<File>,
    /// The number of the last record, from an earlier process.
    resume: Option<u64>,
    seq: Option<u64>,
    hours: BTreeMap<usize, LastHour<f64>>,
    newest: BTreeMap<usize, String>,
    lost: u64,
    absent: Option<String>,
}

impl KernelProbe {
    /// Reads `kmsg`, which is `/dev/kmsg`. `proc` tells which start of the machine this is.
    ///
    /// # Errors
    /// A pattern of ours is wrong.
    pub fn new(kmsg: PathBuf, proc: impl Into<PathBuf>, mark: Option<&str>) -> Result<Self, String> {
        let kinds = RegexSet::new(KINDS.map(|(_, pattern)| pattern)).map_err(|error| error.to_string())?;
        let boot = small_file(proc.into().join("sys/kernel/random/boot_id")).unwrap_or_default().trim().to_owned();
        let resume = mark.and_then(|mark| mark.split_once(' ')).filter(|(of, _)| *of == boot);
        let resume = resume.and_then(|(_, seq)| seq.parse().ok());
        let (hours, newest) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { kmsg, boot, kinds, log: None, resume, seq: None, hours, newest, lost: 0, absent: None })
    }

    /// Reads what is new. False at the first look, which only finds its place.
    fn look(&mut self) -> io::Result<bool> {
        let is_first = self.log.is_none() && self.resume.is_none();
        if self.log.is_none() {
            let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
            let mut log = OpenOptions::new().read(true).custom_flags(flags).open(&self.kmsg)?;
            if is_first {
                log.seek(SeekFrom::End(0))?;
            }
            self.log = Some(log);
        }
        let mut found: BTreeMap<usize, f64> = BTreeMap::new();
        let mut bytes = vec![0; RECORD_BYTES];
        let mut held = String::new();
        for _ in 0..RECORDS {
            let Some(log) = &mut self.log else { break };
            match log.read(&mut bytes) {
                Ok(0) => break,
                Ok(length) => held.push_str(&String::from_utf8_lossy(&bytes[..length])),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // Records were overwritten before they were read. The next number tells how many.
                Err(error) if error.kind() == ErrorKind::BrokenPipe || error.kind() == ErrorKind::Interrupted => {
                    continue;
                }
                Err(error) => return Err(error),
            }
            while let Some((line, rest)) = held.split_once('\n') {
                if let Some(record) = Record::parse(line) {
                    self.take(&record, &mut found);
                }
                held = rest.to_owned();
            }
        }
        self.resume = None;
        if !is_first {
            for kind in 0..KINDS.len() {
                let count = found.get(&kind).copied().unwrap_or_default();
                self.hours.entry(kind).or_insert_with(LastHour::new).add(count);
            }
        }
        Ok(!is_first)
    }

    fn take(&mut self, record: &Record<'_>, found: &mut BTreeMap<usize, f64>) {
        if self.resume.is_some_and(|seq| record.seq <= seq) {
            return;
        }
        if let Some(before) = self.seq.or(self.resume) {
            self.lost += record.seq.saturating_sub(before + 1);
        }
        self.seq = Some(record.seq);
        if !record.is_kernel {
            return;
        }
        for kind in self.kinds.matches(record.text) {
            *found.entry(kind).or_default() += 1.0;
            self.newest.insert(kind, record.text.chars().take(SHOWN).collect());
        }
    }

    fn name(kind: usize) -> SeriesName {
        SeriesName::of(FAULTS, Subject::near(KINDS[kind].0))
    }
}

impl Probe for KernelProbe {
    fn read(&mut self) -> Vec<Reading> {
        self.absent = None;
        match self.look() {
            Ok(true) => {
                let told = self.hours.iter();
                told.map(|(kind, hour)| Reading { name: Self::name(*kind), value: Ok(hour.sum(|count| count)) })
                    .collect()
            }
            Ok(false) => Vec::new(),
            // Most who are not root may not look: nothing is broken.
            Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::NotFound) => {
                self.absent = Some(format!("{}: {error}", self.kmsg.display()));
                Vec::new()
            }
            Err(error) => {
                self.log = None;
                vec![reading(FAULTS, &Subject::near("log"), Err(format!("{}: {error}", self.kmsg.display())))]
            }
        }
    }

    fn mark(&self) -> Option<String> {
        self.seq.or(self.resume).map(|seq| format!("{} {seq}", self.boot))
    }

    fn remarks(&self) -> Vec<(SeriesName, String)> {
        if let Some(why) = &self.absent {
            return vec![(SeriesName::of(FAULTS, Subject::default()), why.clone())];
        }
        let lost = if self.lost == 0 { String::new() } else { format!(" ({} lines were lost)", self.lost) };
        let newest =
            self.newest.iter().filter(|(kind, _)| self.hours.get(kind).is_some_and(|hour| hour.sum(|one| one) > 0.0));
        newest.map(|(kind, text)| (Self::name(*kind), format!("{text}{lost}"))).collect()
    }
}

/// A line of the log: `priority,number,microseconds,flags;text`. Lines that start with a blank belong to the one before.
#[derive(PartialEq, Eq, Debug)]
struct Record<'a> {
    seq: u64,
    /// Programs may write here too.
    is_kernel: bool,
    text: &'a str,
}

impl<'a> Record<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (head, text) = line.split_once(';')?;
        let mut fields = head.split(',');
        let priority = fields.next()?.parse::<u32>().ok()?;
        Some(Self { seq: fields.next()?.parse().ok()?, is_kernel: priority < 8, text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines in the form of the kernel's.
    const LINES: &str = "6,10,100,-;usb 1-1: new device\n SUBSYSTEM=usb\n\
        3,11,200,-;INFO: task dd:1234 blocked for more than 120 seconds.\n\
        2,12,300,-;EXT4-fs error (device sda1): ext4_lookup:1611: inode #2: comm ls: deleted inode referenced: 12\n\
        2,13,400,-;EXT4-fs (sda1): Remounting filesystem read-only\n\
        3,14,500,-;blk_update_request: I/O error, dev sdb, sector 2048 op 0x0:(READ)\n\
        6,15,600,-;e1000e: eth0 NIC Link is Down\n\
        12,16,700,-;a program says: I/O error\n\
        3,17,800,-;Out of memory: Killed process 999 (java) total-vm:1kB\n\
        6,25,900,-;after a gap\n";

    fn counts(probe: &mut KernelProbe) -> BTreeMap<String, f64> {
        let readings = probe.read().into_iter();
        let told = readings.map(|one| (one.name.subject.as_str().to_owned(), one.value.expect("known")));
        told.filter(|(_, count)| *count > 0.0).collect()
    }

    #[test]
    fn b12_faults_of_the_kernel_are_counted_by_kind() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let kmsg = dir.path().join("kmsg");
        std::fs::write(&kmsg, "3,9,1,-;INFO: task old:1 blocked for more than 120 seconds.\n").expect("written");
        let mut probe = KernelProbe::new(kmsg.clone(), "/proc", None).expect("sound");
        assert_eq!(probe.read(), [], "what was before is not told again");
        let mut file = OpenOptions::new().append(true).open(&kmsg).expect("opened");
        std::io::Write::write_all(&mut file, LINES.as_bytes()).expect("written");
        let found = counts(&mut probe);
        let wanted =
            [("file-system", 2.0), ("hung-task", 1.0), ("io-error", 1.0), ("link-down", 1.0), ("out-of-memory", 1.0)];
        assert_eq!(found, wanted.map(|(kind, count)| (kind.to_owned(), count)).into(), "a program is no kernel");
        assert_eq!(probe.lost, 7);
        let said = probe.remarks().into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("\n");
        assert!(said.contains("task dd:1234 blocked") && said.contains("(7 lines were lost)"), "{said}");
        // Another process goes on behind the last line; after another start of the machine it begins anew.
        let mark = probe.mark().expect("a place");
        let mut next = KernelProbe::new(kmsg.clone(), "/proc", Some(&mark)).expect("sound");
        assert_eq!(counts(&mut next), BTreeMap::new());
        std::io::Write::write_all(&mut file, b"3,26,1,-;INFO: task x:1 blocked for more than 120 seconds.\n")
            .expect("written");
        assert_eq!(counts(&mut next), [("hung-task".to_owned(), 1.0)].into());
        let other = mark.replace(|c: char| c.is_ascii_hexdigit(), "0");
        assert_eq!(KernelProbe::new(kmsg, "/proc", Some(&other)).expect("sound").read(), []);
    }

    #[test]
    fn a_log_that_may_not_be_read_is_absent_with_the_reason() {
        let mut probe = KernelProbe::new("/gone/kmsg".into(), "/proc", None).expect("sound");
        assert_eq!(probe.read(), []);
        assert!(probe.remarks()[0].1.contains("/gone/kmsg"), "{:?}", probe.remarks());
    }

    #[test]
    fn the_log_of_this_kernel_is_read_to_its_end() {
        let kmsg = PathBuf::from("/dev/kmsg");
        let mut probe = KernelProbe::new(kmsg, "/proc", Some("- 0")).expect("sound");
        probe.resume = Some(0);
        let told = probe.read();
        let absent = probe.absent.is_some();
        assert!(absent || (told.len() == KINDS.len() && probe.seq.is_some()), "{told:?}");
    }
}
