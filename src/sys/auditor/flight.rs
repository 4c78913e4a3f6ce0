//! The flight record: which thread of the worker is at which file, in memory that outlives the worker.
//!
//! It is the worker's standard error: a file in memory whose first bytes are one slot for each thread, and
//! behind them whatever the worker said last. The worker writes a slot before it touches a file, so after
//! any death the parent knows what it died of, without a message for each of many thousand files.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, memfd_create};

/// Most scanning threads of one worker: with their stacks and heaps they must fit its address space.
pub const THREADS: usize = 4;
const SLOT_BYTES: usize = 32;
const WORDS_AT: u64 = 4096;

/// Where one thread is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    /// The thread, as the kernel numbers it.
    pub thread: u64,
    /// The round of the request.
    pub round: u64,
    /// The place in the request.
    pub file: u64,
    /// False once it has done all that was left.
    pub busy: bool,
}

/// Notes in the worker's own flight record that the calling thread starts with, or ends at, `file`.
pub fn note(slot: usize, round: u64, file: u64, busy: bool) {
    let thread = u64::from(rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs());
    let mut bytes = [0; SLOT_BYTES];
    for (word, value) in bytes.chunks_exact_mut(8).zip([thread, round, file, u64::from(busy)]) {
        word.copy_from_slice(&value.to_le_bytes());
    }
    // Where the record cannot be written there is no parent to read it.
    let _unread = rustix::io::pwrite(std::io::stderr().as_fd(), &bytes, (slot * SLOT_BYTES) as u64);
}

/// The parent's end.
#[derive(Debug)]
pub struct FlightRecord(File);

impl FlightRecord {
    /// A fresh record and the handle to start a worker with.
    pub fn new() -> std::io::Result<(Self, File)> {
        let mut file = File::from(memfd_create("mesh-flight-record", MemfdFlags::CLOEXEC)?);
        file.set_len(WORDS_AT)?;
        file.seek(SeekFrom::Start(WORDS_AT))?;
        let worker = file.try_clone()?;
        Ok((Self(file), worker))
    }

    /// The slots of `round`, at most one for each thread.
    pub fn slots(&self, round: u64) -> Vec<Slot> {
        let mut bytes = [0; SLOT_BYTES * THREADS];
        if self.0.read_exact_at(&mut bytes, 0).is_err() {
            return Vec::new();
        }
        let word = |slot: &[u8], at: usize| slot[at * 8..][..8].try_into().map_or(0, u64::from_le_bytes);
        bytes
            .chunks_exact(SLOT_BYTES)
            .map(|slot| Slot {
                thread: word(slot, 0),
                round: word(slot, 1),
                file: word(slot, 2),
                busy: word(slot, 3) != 0,
            })
            .filter(|slot| slot.thread != 0 && slot.round == round)
            .collect()
    }

    /// The last words of the worker, at most 500 bytes.
    pub fn last_words(&self) -> String {
        let mut bytes = [0; 500];
        let got = self.0.read_at(&mut bytes, WORDS_AT).unwrap_or(0);
        crate::domain::foreign_text::display_bytes(&bytes[..got])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_record_names_no_file() {
        let (record, _worker) = FlightRecord::new().unwrap();
        assert!(record.slots(0).is_empty());
        assert_eq!(record.last_words(), "");
    }
}
