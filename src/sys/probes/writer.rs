//! Who writes to a file.

use std::fs;
use std::path::Path;

use super::procfs::Stat;
use super::small_file;

/// Most open files that are looked at.
const MOST: usize = 200_000;

/// The process that has `path` open to write, as `pid 7 (name)`, of those that this user may look at.
pub(super) fn writer(proc: &Path, path: &Path) -> Option<String> {
    let mut left = MOST;
    for process in fs::read_dir(proc).ok()?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        for open in fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten() {
            left = left.checked_sub(1)?;
            // The name only: to ask for more would go to the file, which may be on a disk that does not answer.
            if fs::read_link(open.path()).is_ok_and(|target| target == path) {
                let info = small_file(process.path().join("fdinfo").join(open.file_name())).unwrap_or_default();
                let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
                let writes =
                    flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok()).is_some_and(|one| one & 3 != 0);
                if writes {
                    let name = Stat::of(proc, pid).map_or_else(|| "?".to_owned(), |stat| stat.name);
                    return Some(format!("pid {pid} ({name})"));
                }
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b11_the_one_who_writes_is_named_and_the_one_who_reads_is_not() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let path = dir.path().canonicalize().expect("there").join("app.log");
        fs::write(&path, "text").expect("written");
        let _reads = fs::File::open(&path).expect("opened");
        assert_eq!(writer("/proc".as_ref(), &path), None);
        let _writes = fs::File::options().append(true).open(&path).expect("opened");
        let found = writer("/proc".as_ref(), &path).expect("this process");
        assert!(found.starts_with(&format!("pid {} (", std::process::id())), "{found}");
    }
}
