//! A file of JSON lines, one for each notice, for other programs to follow.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use crate::domain::notice::Letter;
use crate::ports::{Courier, Undelivered};

pub(super) struct Lines {
    pub(super) path: PathBuf,
}

impl Courier for Lines {
    fn deliver(&mut self, letter: &Letter) -> Result<(), Undelivered> {
        let mut lines = String::new();
        for notice in &letter.notices {
            let line = serde_json::to_string(notice).map_err(|error| super::undelivered(&error))?;
            lines.push_str(&line);
            lines.push('\n');
        }
        let failed = |error: std::io::Error| Undelivered(format!("{}: {error}", self.path.display()));
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path).map_err(failed)?;
        // One write, so that the lines of two programs do not mix.
        file.write_all(lines.as_bytes()).and_then(|()| file.sync_data()).map_err(failed)
    }
}
