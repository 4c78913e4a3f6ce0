//! A file: whether it is there, how large and old it is, and whether it is what it is to be.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::http::number_at;
use super::{megabytes, reading};
use crate::domain::signal::{SeriesName, Subject};
use crate::ports::{Clock, Probe, Reading};

/// Most bytes that are hashed.
const HASH_BYTES: u64 = 64 * 1024 * 1024;
/// Most bytes of a file that holds a number.
const NUMBER_BYTES: u64 = 256 * 1024;
const HOUR_S: f64 = 3_600.0;

/// What a file is to be; what is not named is not looked at.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Expected {
    /// SHA-256 of its bytes, in lowercase hexadecimal.
    pub sha256: Option<String>,
    /// Its owner's number.
    pub uid: Option<u32>,
    /// Its group's number.
    pub gid: Option<u32>,
    /// Its permission bits.
    pub mode: Option<u32>,
    /// It is to stay as it was when it was seen first.
    pub unchanged: bool,
}

/// Looks at one file.
pub struct FileProbe<C> {
    name: Subject,
    path: PathBuf,
    expected: Expected,
    /// The hash that it had when it was seen first.
    first: Option<String>,
    remark: Option<String>,
    clock: C,
}

impl<C: Clock> FileProbe<C> {
    /// Looks at `path`. `mark` holds what it was when it was seen first.
    #[must_use]
    pub fn new(name: Subject, path: PathBuf, expected: Expected, mark: Option<&str>, clock: C) -> Self {
        let first = mark.filter(|mark| mark.len() == 64).map(str::to_owned);
        Self { name, path, expected, first, remark: None, clock }
    }

    /// How many of the expected things are otherwise.
    fn changed(&mut self, metadata: &Metadata) -> Result<f64, String> {
        let expected = &self.expected;
        let mut wrong: Vec<String> = Vec::new();
        for (what, wanted, found) in [("owner", expected.uid, metadata.uid()), ("group", expected.gid, metadata.gid())]
        {
            wrong
                .extend(wanted.filter(|wanted| *wanted != found).map(|wanted| format!("{what} {found}, not {wanted}")));
        }
        let mode = metadata.mode() & 0o7777;
        wrong.extend(
            expected.mode.filter(|wanted| *wanted != mode).map(|wanted| format!("mode {mode:04o}, not {wanted:04o}")),
        );
        if expected.sha256.is_some() || expected.unchanged {
            let found = hash(&self.path, metadata.len())?;
            if expected.sha256.as_ref().is_some_and(|wanted| *wanted != found) {
                wrong.push("other bytes than its SHA-256 says".to_owned());
            }
            if expected.unchanged && *self.first.get_or_insert_with(|| found.clone()) != found {
                wrong.push("other bytes than when it was seen first".to_owned());
            }
        }
        let count = wrong.len() as f64;
        self.remark = (!wrong.is_empty()).then(|| wrong.join(", "));
        Ok(count)
    }
}

fn hash(path: &Path, length: u64) -> Result<String, String> {
    if length > HASH_BYTES {
        return Err(format!("{} is larger than {} MB, which is too large to hash", path.display(), HASH_BYTES >> 20));
    }
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut file = open(path).map_err(failed)?.take(HASH_BYTES);
    let mut hash = Sha256::new();
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let got = file.read(&mut chunk).map_err(failed)?;
        if got == 0 {
            break;
        }
        hash.update(&chunk[..got]);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Not to wait: a pipe in the place of a file would hold us until somebody writes.
fn open(path: &Path) -> std::io::Result<File> {
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

impl<C: Clock> Probe for FileProbe<C> {
    fn read(&mut self) -> Vec<Reading> {
        self.remark = None;
        let name = self.name.clone();
        let path = self.path.display().to_string();
        match self.path.metadata() {
            Ok(metadata) => {
                let mut readings = vec![
                    reading("file.exists", &name, Ok(1.0)),
                    reading("file.size_mb", &name, Ok(megabytes(metadata.len()))),
                    reading("file.age_hours", &name, Ok(age(&metadata, &self.clock))),
                ];
                if self.expected != Expected::default() {
                    let changed = if metadata.is_file() {
                        self.changed(&metadata)
                    } else {
                        Err(format!("{path} is no plain file"))
                    };
                    readings.push(reading("file.changed", &name, changed));
                }
                readings
            }
            Err(error) if error.kind() == ErrorKind::NotFound => vec![reading("file.exists", &name, Ok(0.0))],
            Err(error) => vec![reading("file.exists", &name, Err(format!("{path}: {error}")))],
        }
    }

    fn mark(&self) -> Option<String> {
        self.first.clone()
    }

    fn remarks(&self) -> Vec<(SeriesName, String)> {
        let remark = self.remark.clone().map(|text| (SeriesName::of("file.changed", self.name.clone()), text));
        remark.into_iter().collect()
    }
}

/// Hours since it was written to.
fn age(metadata: &Metadata, clock: &impl Clock) -> f64 {
    // Fewer than 2^53 seconds.
    (clock.now().as_second() - metadata.mtime()) as f64 / HOUR_S
}

/// The time since a job succeeded, told by the file that it touches then.
pub struct JobProbe<C> {
    name: Subject,
    stamp: PathBuf,
    clock: C,
}

impl<C: Clock> JobProbe<C> {
    /// Looks at `stamp`, which the job writes to when it succeeded, and only then.
    #[must_use]
    pub fn new(name: Subject, stamp: PathBuf, clock: C) -> Self {
        Self { name, stamp, clock }
    }
}

impl<C: Clock> Probe for JobProbe<C> {
    fn read(&mut self) -> Vec<Reading> {
        let found = self.stamp.metadata().map_err(|error| match error.kind() {
            ErrorKind::NotFound => format!("{} is not there: it never succeeded", self.stamp.display()),
            _ => format!("{}: {error}", self.stamp.display()),
        });
        vec![reading("job.age_hours", &self.name, found.map(|metadata| age(&metadata, &self.clock)))]
    }
}

/// A number that some program keeps in a file.
pub struct NumberProbe {
    name: Subject,
    path: PathBuf,
    json: Option<String>,
    signal: &'static str,
}

impl NumberProbe {
    /// Reads `path`: the number at the JSON path where one is named, else the first word.
    #[must_use]
    pub fn new(name: Subject, path: PathBuf, json: Option<String>, signal: &'static str) -> Self {
        Self { name, path, json, signal }
    }

    fn number(&self) -> Result<f64, String> {
        let failed = |why: &dyn std::fmt::Display| format!("{}: {why}", self.path.display());
        let mut bytes = Vec::new();
        let file = open(&self.path).map_err(|error| failed(&error))?;
        file.take(NUMBER_BYTES).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
        match &self.json {
            Some(path) => number_at(&bytes, path).ok_or_else(|| failed(&format!("no number at {path}"))),
            None => {
                let text = String::from_utf8_lossy(&bytes);
                let word = text.split_ascii_whitespace().next().and_then(|word| word.parse::<f64>().ok());
                word.filter(|number| number.is_finite()).ok_or_else(|| failed(&"it does not start with a number"))
            }
        }
    }
}

impl Probe for NumberProbe {
    fn read(&mut self) -> Vec<Reading> {
        vec![reading(self.signal, &self.name, self.number())]
    }
}
