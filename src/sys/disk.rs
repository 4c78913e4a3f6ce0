//! Waiting until the disk has what was written, for everything that must be there before the next step at once: each
//! wait is a turn of the disk, however little it is for.

use std::fs::File;
use std::io;
use std::path::Path;
use std::thread;

/// Files and folders that the disk may not have yet.
#[derive(Debug)]
pub(in crate::sys) struct Unsaved {
    open: Vec<(File, What)>,
    /// False where nothing has to outlive a power cut.
    durable: bool,
}

/// What the disk is to have of a file.
#[derive(Clone, Copy, Debug)]
enum What {
    All,
    /// Its bytes, whenever it says that they were written.
    Bytes,
}

impl What {
    fn save(self, file: &File) -> io::Result<()> {
        match self {
            Self::All => file.sync_all(),
            Self::Bytes => file.sync_data(),
        }
    }
}

impl Unsaved {
    pub(in crate::sys) const fn new(durable: bool) -> Self {
        Self { open: Vec::new(), durable }
    }

    /// A file that was written, or a folder in which a name came, went or changed.
    pub(in crate::sys) fn add(&mut self, file: File) {
        if self.durable {
            self.open.push((file, What::All));
        }
    }

    /// A file of which only the bytes matter. Where they took the place of others, this is the cheapest wait of all.
    pub(in crate::sys) fn add_bytes(&mut self, file: File) {
        if self.durable {
            self.open.push((file, What::Bytes));
        }
    }

    /// The same as [`Unsaved::add`], by its path.
    pub(in crate::sys) fn add_at(&mut self, path: &Path) -> io::Result<()> {
        if self.durable {
            self.open.push((File::open(path)?, What::All));
        }
        Ok(())
    }

    /// Returns once the disk has them all.
    pub(in crate::sys) fn save(self) -> io::Result<()> {
        let Some(((first, what), others)) = self.open.split_first() else { return Ok(()) };
        thread::scope(|scope| {
            let saved: Vec<_> = others
                .iter()
                .map(|other @ (file, what)| {
                    thread::Builder::new().spawn_scoped(scope, || what.save(file)).map_err(|_| other)
                })
                .collect();
            let first = what.save(first);
            saved.into_iter().fold(first, |so_far, saved| {
                let saved = match saved {
                    Ok(thread) => thread.join().unwrap_or_else(|_| Err(io::Error::other("the wait was broken off"))),
                    // No thread was to be had.
                    Err((file, what)) => what.save(file),
                };
                so_far.and(saved)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_cannot_be_saved_is_told_whichever_it_is() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let file = || File::create(dir.path().join("file")).expect("made");
        let pipe = || {
            let (read, _write) = rustix::pipe::pipe().expect("a pipe");
            File::from(read)
        };
        for bad in 0..4 {
            let mut unsaved = Unsaved::new(true);
            for at in 0..4 {
                let file = if at == bad { pipe() } else { file() };
                if at % 2 == 0 { unsaved.add(file) } else { unsaved.add_bytes(file) }
            }
            unsaved.add_at(dir.path()).expect("there");
            assert!(unsaved.save().is_err(), "{bad}");
        }
        let mut unsaved = Unsaved::new(true);
        unsaved.add(file());
        unsaved.add_at(dir.path()).expect("there");
        assert!(unsaved.save().is_ok());
        assert!(Unsaved::new(true).add_at(&dir.path().join("gone")).is_err());
        let mut unsaved = Unsaved::new(false);
        unsaved.add(pipe());
        unsaved.add_bytes(pipe());
        assert!(unsaved.save().is_ok(), "nothing is waited for");
    }
}
