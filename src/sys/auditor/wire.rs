//! What the audit worker and its parent say to each other: JSON lines over the worker's standard input and
//! output, one request at a time, any number of answers, the last of which is neither [`Answer::File`] nor [`Answer::Words`].

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::domain::finding::{Finding, Fingerprint};
use crate::domain::id::Slug;
use crate::domain::lesson::Lesson;
use crate::domain::words::WordDemand;
use crate::ports::{Admission, Mended};

/// A request and its number.
#[derive(Debug, Serialize, Deserialize)]
pub struct Asked {
    /// Another one for each request of a worker; it marks the flight record.
    pub round: u64,
    /// The request.
    pub request: Request,
}

/// What the parent asks.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// The first one: the only directory that this worker may read, if any.
    Hello {
        /// Canonical.
        root: Option<PathBuf>,
    },
    /// Compile these for the scans that follow.
    Compile {
        /// The lessons.
        lessons: Vec<Lesson>,
    },
    /// Scan these files of the root.
    Scan {
        /// Relative to the root.
        files: Vec<String>,
        /// Processor time for one file, in milliseconds; the parent kills by its own watch of the same.
        deadline_ms: u64,
    },
    /// Compile, prove and stress one lesson.
    Admit {
        /// The lesson.
        lesson: Box<Lesson>,
    },
    /// Mend one text.
    Mend {
        /// The lesson.
        lesson: Box<Lesson>,
        /// The path of the text, for the scope.
        path: String,
        /// The text.
        text: String,
        /// One finding, or all.
        only: Option<Fingerprint>,
    },
}

/// What the worker answers.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// To `Hello`: limits are set.
    Ready,
    /// To `Compile`.
    Compiled {
        /// These lessons are left out, and why.
        refused: Vec<(Slug, String)>,
        /// What the rules of the others, and suppression comments, demand of the identifiers of a file.
        demands: Vec<WordDemand>,
    },
    /// During `Scan`: a file of which there is something to say.
    File(FileAnswer),
    /// During `Scan`: the identifiers ([`crate::domain::words::Words`]) of some files by their place, in base64.
    Words(Vec<(usize, String)>),
    /// To `Scan`: every file is done.
    Scanned {
        /// Files that were parsed.
        parsed: u64,
    },
    /// To `Admit`.
    Admission(Admission),
    /// To `Mend`.
    Mended(Mended),
}

/// What was seen in one file.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct FileAnswer {
    /// Its place in the request.
    pub file: usize,
    /// Findings, not more of one lesson than it may report in a whole root.
    pub findings: Vec<Finding>,
    /// How many more findings a lesson had.
    pub dropped: Vec<(Slug, u64)>,
    /// Rules that match, by lesson.
    pub matched: Vec<(Slug, Slug)>,
    /// Comments that suppress nothing.
    pub idle: Vec<(u32, String)>,
    /// Why it was not scanned.
    pub refused: Option<String>,
    /// It was stopped at the deadline.
    pub overrun: bool,
}
