//! The token for http, read where it is used and nowhere else.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::request::{TokenSource, shown};
use crate::ports::RemoteError;

/// Largest token file that is read, in bytes.
const TOKEN_BYTES: u64 = 4096;

pub(super) fn read(source: &TokenSource) -> Result<String, RemoteError> {
    let (text, place) = match source {
        TokenSource::File(path) => (read_file(path)?, shown(&path.display().to_string())),
        TokenSource::Env(name) => {
            let missing = || RemoteError::Credentials(format!("the environment variable {} is not set", shown(name)));
            (std::env::var(name).map_err(|_| missing())?, format!("${}", shown(name)))
        }
    };
    let token = text.lines().next().unwrap_or_default().trim();
    if token.is_empty() || token.chars().any(char::is_control) {
        return Err(RemoteError::Credentials(format!("{place} holds no token in its first line")));
    }
    Ok(token.to_owned())
}

fn read_file(path: &Path) -> Result<String, RemoteError> {
    let failed = |why: String| {
        RemoteError::Credentials(format!("cannot use the token file {}: {why}", shown(&path.display().to_string())))
    };
    let file = fs::File::open(path).map_err(|error| failed(error.to_string()))?;
    let mode = file.metadata().map_err(|error| failed(error.to_string()))?.permissions().mode();
    if mode & 0o007 != 0 {
        return Err(failed("every user may read it; run chmod 600 on it".to_owned()));
    }
    let mut text = String::new();
    file.take(TOKEN_BYTES).read_to_string(&mut text).map_err(|error| failed(error.to_string()))?;
    Ok(text)
}
