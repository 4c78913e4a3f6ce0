//! A file that grows: how fast, and how many of its new lines are errors. Nothing is read twice: where
//! reading stopped is kept, through rotation, truncation and a restart.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use regex::bytes::Regex;

use super::last_hour::LastHour;
use super::writer::writer;
use super::{megabytes, reading};
use crate::domain::signal::{SeriesName, Subject};
use crate::ports::{Probe, Reading};

/// Most bytes that are read at one look; of a flood the start and the end are read and the rest is counted.
const LOOK: u64 = 8 * 1024 * 1024;
/// Bytes that are held at once.
const CHUNK: usize = 64 * 1024;
/// Bytes before the place where reading stopped that must still be the same.
const SEAM: usize = 64;
/// Growth within an hour from which on the writer is looked for, in MB.
const MUCH_MB: f64 = 32.0;

/// Follows one file.
pub struct LogProbe {
    name: Subject,
    path: PathBuf,
    pattern: Regex,
    /// The file that was read last, and how far.
    open: Option<Open>,
    /// Where reading stopped in the process before this one.
    resume: Option<Place>,
    /// The start of a line that was not written to its end yet.
    held: Vec<u8>,
    hour: LastHour<Look>,
    skipped: u64,
    bytes_read: u64,
    /// Who writes to it, while it grows fast.
    writer: Option<String>,
}

/// A place in a file that reading can go on from.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Place {
    device: u64,
    inode: u64,
    offset: u64,
    seam: Vec<u8>,
}

struct Open {
    file: File,
    place: Place,
}

/// What one look found.
#[derive(Clone, Copy)]
struct Look {
    matches: f64,
    grown: u64,
}

impl LogProbe {
    /// Follows `path` from its end, or from `mark` where that is still a place in it.
    ///
    /// # Errors
    /// The pattern is no regular expression.
    pub fn new(name: Subject, path: PathBuf, pattern: &str, mark: Option<&str>) -> Result<Self, String> {
        let pattern = regex::bytes::RegexBuilder::new(pattern).size_limit(256 * 1024).build();
        Ok(Self {
            name,
            path,
            pattern: pattern.map_err(|error| error.to_string())?,
            open: None,
            resume: mark.and_then(Place::parse),
            held: Vec::new(),
            hour: LastHour::new(),
            skipped: 0,
            bytes_read: 0,
            writer: None,
        })
    }

    /// Bytes that were read of the file so far, those of the seams included.
    #[must_use]
    pub const fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// Reads what is new. `None` at the first look, which only finds the place to start from.
    fn look(&mut self) -> io::Result<Option<u64>> {
        // Not to wait: a pipe in the place of a log would hold us until somebody writes.
        let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
        let file = OpenOptions::new().read(true).custom_flags(flags).open(&self.path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(ErrorKind::InvalidInput, "no plain file"));
        }
        let (device, inode, size) = (metadata.dev(), metadata.ino(), metadata.len());
        let mut look = Look { matches: 0.0, grown: 0 };
        let known = self.open.take();
        let resumed = self.resume.take();
        let is_first = known.is_none() && resumed.is_none();
        let offset = match known {
            Some(open) if (open.place.device, open.place.inode) == (device, inode) => {
                self.go_on(&file, size, &open.place)?
            }
            Some(open) => {
                // Rotated: the rest of the old file first, then the new one from its start.
                let end = open.file.metadata()?.len();
                self.take(&open.file, open.place.offset, end, &mut look)?;
                look.matches += self.end_line();
                0
            }
            None => match resumed {
                Some(place) if (place.device, place.inode) == (device, inode) => self.go_on(&file, size, &place)?,
                Some(_) => 0,
                None => size,
            },
        };
        self.take(&file, offset, size, &mut look)?;
        let place = Place { device, inode, offset: size, seam: self.seam(&file, size)? };
        self.open = Some(Open { file, place });
        if !is_first {
            self.hour.add(look);
        }
        Ok((!is_first).then_some(size))
    }

    /// The place to go on from in the same file: its start when it was truncated, also when it has grown
    /// past the old place since.
    fn go_on(&mut self, file: &File, size: u64, place: &Place) -> io::Result<u64> {
        let same = size >= place.offset && self.seam(file, place.offset)? == place.seam;
        if !same {
            self.held.clear();
        }
        Ok(if same { place.offset } else { 0 })
    }

    fn seam(&mut self, file: &File, end: u64) -> io::Result<Vec<u8>> {
        let start = end.saturating_sub(SEAM as u64);
        let mut bytes = vec![0; usize::try_from(end - start).unwrap_or(SEAM)];
        let got = read_at(file, &mut bytes, start)?;
        bytes.truncate(got);
        self.bytes_read += got as u64;
        Ok(bytes)
    }

    /// Counts the matches from `start` to `end`; of more than [`LOOK`] bytes both ends stand for all.
    fn take(&mut self, file: &File, start: u64, end: u64, look: &mut Look) -> io::Result<()> {
        let length = end.saturating_sub(start);
        look.grown += length;
        if length <= LOOK {
            look.matches += self.count(file, start, end)?;
            return Ok(());
        }
        let mut matches = self.count(file, start, start + LOOK / 2)?;
        matches += self.end_line();
        matches += self.count(file, end - LOOK / 2, end)?;
        self.skipped += length - LOOK;
        look.matches += matches * (length as f64 / LOOK as f64);
        Ok(())
    }

    fn count(&mut self, file: &File, start: u64, end: u64) -> io::Result<f64> {
        let mut chunk = vec![0; CHUNK];
        let (mut at, mut matches) = (start, 0.0);
        while at < end {
            let room = CHUNK.min(usize::try_from(end - at).unwrap_or(CHUNK));
            let got = read_at(file, &mut chunk[..room], at)?;
            if got == 0 {
                break;
            }
            at += got as u64;
            self.bytes_read += got as u64;
            for piece in chunk[..got].split_inclusive(|byte| *byte == b'\n') {
                // A line without end is looked at in parts.
                if self.held.len() + piece.len() > CHUNK {
                    matches += self.end_line();
                }
                self.held.extend_from_slice(piece);
                if piece.ends_with(b"\n") {
                    matches += self.end_line();
                }
            }
        }
        Ok(matches)
    }

    /// Looks at the line that is held, and lets it go.
    fn end_line(&mut self) -> f64 {
        let is_match = !self.held.is_empty() && self.pattern.is_match(&self.held);
        self.held.clear();
        f64::from(u8::from(is_match))
    }
}

fn read_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<usize> {
    loop {
        match file.read_at(bytes, at) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

impl Probe for LogProbe {
    fn read(&mut self) -> Vec<Reading> {
        match self.look() {
            Ok(None) => Vec::new(),
            Ok(Some(size)) => {
                let is_flood = self.hour.sum(|look| megabytes(look.grown)) > MUCH_MB;
                self.writer = is_flood.then(|| writer("/proc".as_ref(), &self.path)).flatten();
                let matches = self.hour.sum(|look| look.matches);
                let grown = self.hour.sum(|look| megabytes(look.grown));
                vec![
                    reading("log.error_rate", &self.name, Ok(matches)),
                    reading("log.growth_mb_per_h", &self.name, Ok(grown)),
                    reading("log.size_mb", &self.name, Ok(megabytes(size))),
                    reading("log.skipped_mb", &self.name, Ok(megabytes(self.skipped))),
                ]
            }
            Err(error) => {
                let why = format!("{}: {error}", self.path.display());
                ["log.error_rate", "log.growth_mb_per_h", "log.size_mb"]
                    .map(|signal| reading(signal, &self.name, Err(why.clone())))
                    .into()
            }
        }
    }

    fn remarks(&self) -> Vec<(SeriesName, String)> {
        let name = SeriesName::of("log.growth_mb_per_h", self.name.clone());
        self.writer.iter().map(|writer| (name.clone(), format!("written by {writer}"))).collect()
    }

    fn mark(&self) -> Option<String> {
        self.open.as_ref().map(|open| open.place.mark())
    }
}

impl Place {
    fn mark(&self) -> String {
        let seam: String = self.seam.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{} {} {} {seam}", self.device, self.inode, self.offset)
    }

    fn parse(mark: &str) -> Option<Self> {
        let mut parts = mark.split(' ');
        let mut number = || parts.next()?.parse::<u64>().ok();
        let (device, inode, offset) = (number()?, number()?, number()?);
        let seam = parts.next()?;
        let byte = |at: usize| u8::from_str_radix(seam.get(at..at + 2)?, 16).ok();
        let seam = (0..seam.len()).step_by(2).map(byte).collect::<Option<Vec<u8>>>()?;
        Some(Self { device, inode, offset, seam })
    }
}
