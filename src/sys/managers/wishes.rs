//! What a person said to keep down, heard at the moment it is said.

use std::io;
use std::mem::MaybeUninit;
use std::path::Path;
use std::thread;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

/// Calls `changed` whenever a file in `dir` comes or goes, in a thread of its own, until that says `false`.
///
/// # Errors
/// The folder cannot be watched.
pub fn watch(dir: &Path, mut changed: impl FnMut() -> bool + Send + 'static) -> io::Result<()> {
    let inotify = inotify::init(CreateFlags::CLOEXEC)?;
    let wanted = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::MOVED_FROM | WatchFlags::DELETE;
    inotify::add_watch(&inotify, dir, wanted)?;
    let hear = move || {
        let mut space = [MaybeUninit::uninit(); 4_096];
        let mut reader = Reader::new(&inotify, &mut space);
        while let Ok(event) = reader.next() {
            if event.events().contains(ReadFlags::IGNORED) || !changed() {
                return;
            }
        }
    };
    thread::Builder::new().name("wishes".to_owned()).stack_size(128 * 1024).spawn(hear).map(drop)
}
