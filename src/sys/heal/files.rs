//! What is measured of files and folders.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::statvfs;

/// Most files that are looked at below one folder.
const FILES: usize = 200_000;

/// Seconds since 1970 at which it was last changed.
pub(super) fn changed(path: &Path) -> Option<f64> {
    let file = fs::metadata(path).ok()?;
    Some(file.mtime() as f64 + file.mtime_nsec() as f64 / 1e9)
}

/// The newest change among these files and all below them.
pub(super) fn newest(paths: &[PathBuf]) -> Option<f64> {
    let mut newest: Option<f64> = None;
    for path in paths {
        for file in below(path).into_iter().chain([path.clone()]) {
            if let Some(at) = changed(&file).filter(|_| file.is_file()) {
                newest = Some(newest.map_or(at, |known: f64| known.max(at)));
            }
        }
    }
    newest
}

/// Every plain file below a folder; links are not followed.
pub(super) fn below(folder: &Path) -> Vec<PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(kind) if kind.is_file() && files.len() < FILES => files.push(entry.path()),
                Ok(_) | Err(_) => {}
            }
        }
    }
    files
}

/// Files below the folders that are older than that.
pub(super) fn old(folders: &[PathBuf], wall: i64, seconds: i64) -> Vec<PathBuf> {
    let files = folders.iter().flat_map(|folder| below(folder));
    files.filter(|file| changed(file).is_some_and(|at| at < (wall - seconds) as f64)).collect()
}

/// Megabytes that files take on disk.
pub(super) fn megabytes(files: &[PathBuf]) -> f64 {
    let blocks: u64 = files.iter().filter_map(|file| Some(fs::symlink_metadata(file).ok()?.blocks())).sum();
    blocks as f64 * 512.0 / (1_024.0 * 1_024.0)
}

/// Used room and used files in percent: of what is declared, else of the file system.
pub(super) fn used(path: &Path, max_mb: Option<u64>, max_files: Option<u64>) -> (Option<f64>, Option<f64>) {
    let files = if max_mb.is_some() || max_files.is_some() { below(path) } else { Vec::new() };
    let system = statvfs(path).ok();
    let room = match max_mb {
        Some(most) if most > 0 => Some(100.0 * megabytes(&files) / most as f64),
        _ => system.as_ref().and_then(|fs| percent(fs.f_blocks - fs.f_bfree, fs.f_blocks - fs.f_bfree + fs.f_bavail)),
    };
    let count = match max_files {
        Some(most) if most > 0 => Some(100.0 * files.len() as f64 / most as f64),
        _ => system.as_ref().and_then(|fs| percent(fs.f_files - fs.f_ffree, fs.f_files)),
    };
    (room, count)
}

fn percent(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| 100.0 * part as f64 / whole as f64)
}

/// Whether the bytes are what the file's name says: JSON, TOML, or at least something.
pub(super) fn parses(path: &Path) -> Option<bool> {
    let bytes = fs::read(path).ok()?;
    let text = std::str::from_utf8(&bytes);
    Some(match path.extension().and_then(|end| end.to_str()) {
        Some("json") => text.is_ok_and(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()),
        Some("toml") => text.is_ok_and(|text| text.parse::<toml::Table>().is_ok()),
        _ => !bytes.is_empty() && bytes.iter().any(|byte| *byte != 0),
    })
}

/// The age of the newest file of a folder in seconds, and its size in percent of the median of the others.
pub(super) fn backups(folder: &Path, wall: i64) -> Option<(f64, Option<f64>)> {
    let mut files: Vec<(f64, u64)> =
        below(folder).iter().filter_map(|file| Some((changed(file)?, fs::metadata(file).ok()?.len()))).collect();
    files.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (at, size) = files.pop()?;
    let mut sizes: Vec<u64> = files.iter().map(|(_, size)| *size).collect();
    sizes.sort_unstable();
    let median = sizes.get(sizes.len() / 2).copied().filter(|median| *median > 0);
    Some((wall as f64 - at, median.map(|median| 100.0 * size as f64 / median as f64)))
}
