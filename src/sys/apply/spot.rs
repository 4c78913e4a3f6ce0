//! One file in a folder that is held open: read with all its attributes, and replaced in one step that notices
//! whether somebody wrote to it in between.

use std::collections::BTreeMap;
use std::fs::{File, FileTimes, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{
    AtFlags, Mode, OFlags, RenameFlags, XattrFlags, fgetxattr, fgetxattr_query, flistxattr, flistxattr_query,
    fremovexattr, fsetxattr, openat, renameat_with, unlinkat,
};
use rustix::io::Errno;

use crate::domain::fix::TextHash;
use crate::domain::limits::AUDIT_FILE_BYTES;
use crate::domain::undo::Attributes;
use crate::sys::disk::Unsaved;
use crate::sys::tree::confined::Root;

/// Largest file that is captured: what may be audited, and room for what a fix adds.
const MAX_BYTES: u64 = 4 * AUDIT_FILE_BYTES;

/// A name in a folder below the root, reached without any link.
#[derive(Debug)]
pub(super) struct Spot {
    dir: OwnedFd,
    name: String,
    /// False in a scratch copy, which nothing has to outlive.
    durable: bool,
}

/// A file as it was found.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) bytes: Vec<u8>,
    pub(super) attributes: Attributes,
    pub(super) metadata: std::fs::Metadata,
}

impl Seen {
    pub(super) fn hash(&self) -> TextHash {
        TextHash::of(&self.bytes)
    }
}

/// Why a file was not replaced. It is as it was.
#[derive(Debug)]
pub(super) enum Kept {
    /// It is not what it was expected to be.
    Moved,
    /// The system refused.
    Refused(io::Error),
}

impl From<io::Error> for Kept {
    fn from(error: io::Error) -> Self {
        Self::Refused(error)
    }
}

impl From<Errno> for Kept {
    fn from(errno: Errno) -> Self {
        Self::Refused(errno.into())
    }
}

impl Spot {
    pub(super) fn open(root: &Path, path: &str, durable: bool) -> io::Result<Self> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        if name.is_empty() || name == "." || name == ".." || name.contains('\0') {
            return Err(io::Error::other("not the name of a file"));
        }
        let dir = Root::open(root)?.folder(folder).map_err(|why| io::Error::other(why.to_string()))?;
        Ok(Self { dir, name: name.to_owned(), durable })
    }

    /// The file; none when nothing has its name.
    pub(super) fn read(&self) -> io::Result<Option<Seen>> {
        self.look(&self.name)
    }

    fn look(&self, name: &str) -> io::Result<Option<Seen>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match openat(&self.dir, name, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(io::Error::other("a symbolic link")),
            Err(errno) => return Err(errno.into()),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("not a plain file"));
        }
        let mut bytes = Vec::new();
        (&file).take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(io::Error::other(format!("larger than {} KiB", MAX_BYTES / 1024)));
        }
        let attributes = attributes(&file, &metadata)?;
        Ok(Some(Seen { bytes, attributes, metadata }))
    }

    /// Writes `bytes` beside the file under the name `temporary`, with the attributes of `like`, and looks whether all
    /// of that holds. With `same_time` it is dated back, too. It has to be saved before it takes the place of the file.
    pub(super) fn stage(
        &self,
        temporary: &str,
        bytes: &[u8],
        like: &Attributes,
        same_time: bool,
        unsaved: &mut Unsaved,
    ) -> io::Result<()> {
        self.drop_temporary(temporary)?;
        let staged = self.write(temporary, bytes, like, same_time).and_then(|file| {
            unsaved.add(file);
            self.add_folder(unsaved)
        });
        if staged.is_err() {
            // The error that is told is the first one.
            drop(self.drop_temporary(temporary));
        }
        staged
    }

    /// Puts a file where none is looked for, with all its attributes.
    pub(super) fn place(&self, bytes: &[u8], like: &Attributes) -> io::Result<()> {
        let mut unsaved = Unsaved::new(self.durable);
        self.stage(&self.name, bytes, like, true, &mut unsaved)?;
        unsaved.save()
    }

    /// Adds the folder to what is yet to be saved: that a name came, went or was exchanged.
    pub(super) fn add_folder(&self, unsaved: &mut Unsaved) -> io::Result<()> {
        unsaved.add(File::from(self.dir.try_clone()?));
        Ok(())
    }

    fn write(&self, temporary: &str, bytes: &[u8], like: &Attributes, same_time: bool) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(&self.dir, temporary, flags, Mode::RUSR | Mode::WUSR)?);
        file.write_all(bytes)?;
        let made = file.metadata()?;
        if (made.uid(), made.gid()) != (like.uid, like.gid) {
            fchown(&file, Some(like.uid), Some(like.gid))?;
        }
        let has = extended(&file)?;
        for name in has.keys().filter(|name| !like.extended.contains_key(*name)) {
            fremovexattr(&file, name.as_str())?;
        }
        for (name, value) in like.extended.iter().filter(|(name, value)| has.get(*name) != Some(value)) {
            fsetxattr(&file, name.as_str(), value, XattrFlags::empty())
                .map_err(|errno| io::Error::other(format!("extended attribute {name} cannot be kept: {errno}")))?;
        }
        // After the owner and the access list, which both may take bits away.
        file.set_permissions(Permissions::from_mode(like.mode))?;
        if same_time {
            file.set_times(FileTimes::new().set_modified(time(like.modified)))?;
        }
        let seen = self.look(temporary)?.ok_or_else(|| io::Error::other("the new file is gone"))?;
        let dated = !same_time || seen.attributes.modified == like.modified;
        if seen.bytes == bytes && seen.attributes.same_rights(like) && dated {
            Ok(file)
        } else {
            Err(io::Error::other("a copy of the file does not keep its bytes, owner, mode or attributes"))
        }
    }

    /// Puts what is staged in the place of the file, which must be `expected` with the rights of `like`. What was there
    /// is looked at after it was taken away, so a writer in between is noticed and gets its file back.
    /// It stays under the temporary name until [`Spot::settle`] or [`Spot::swap_back`]. The folder is yet to be saved.
    pub(super) fn swap(&self, temporary: &str, expected: TextHash, like: &Attributes) -> Result<(), Kept> {
        let is_expected = |seen: &Option<Seen>| {
            seen.as_ref().is_some_and(|seen| {
                seen.hash() == expected && seen.attributes.same_rights(like) && seen.metadata.nlink() == 1
            })
        };
        if !is_expected(&self.read()?) {
            self.drop_temporary(temporary)?;
            return Err(Kept::Moved);
        }
        match self.exchange(temporary) {
            Ok(()) => {
                if !self.look(temporary).as_ref().is_ok_and(is_expected) {
                    self.exchange(temporary)?;
                    self.drop_temporary(temporary)?;
                    return Err(Kept::Moved);
                }
            }
            // File systems that cannot exchange two names: the look above is all there is.
            Err(Errno::INVAL | Errno::NOSYS) => {
                renameat_with(&self.dir, temporary, &self.dir, self.name.as_str(), RenameFlags::empty())?;
            }
            Err(errno) => {
                drop(self.drop_temporary(temporary));
                return Err(errno.into());
            }
        }
        Ok(())
    }

    /// Lets go of what was swapped out.
    pub(super) fn settle(&self, temporary: &str) -> io::Result<()> {
        let mut unsaved = Unsaved::new(self.durable);
        self.let_go(temporary, &mut unsaved)?;
        unsaved.save()
    }

    /// The same, with the folder yet to be saved.
    pub(super) fn let_go(&self, temporary: &str, unsaved: &mut Unsaved) -> io::Result<()> {
        self.drop_temporary(temporary)?;
        self.add_folder(unsaved)
    }

    /// Puts back what was swapped out, or a copy of `old` where that is gone. The file must still be `new`.
    /// Also what a killed process left is undone by this.
    pub(super) fn swap_back(&self, temporary: &str, old: &[u8], new: &[u8], like: &Attributes) -> Result<(), Kept> {
        let file = self.read()?;
        let left = self.look(temporary)?;
        match file {
            Some(file) if file.bytes == new => match left {
                // Unlike a half-written copy, this is what was there, or what somebody wrote in that moment.
                Some(left) if left.bytes == old || !is_part(&left.bytes, new) => {
                    self.exchange(temporary)?;
                    Ok(self.settle(temporary)?)
                }
                Some(_) | None => {
                    let mut unsaved = Unsaved::new(self.durable);
                    self.stage(temporary, old, like, true, &mut unsaved)?;
                    unsaved.save()?;
                    self.swap(temporary, TextHash::of(new), &file.attributes)?;
                    Ok(self.settle(temporary)?)
                }
            },
            Some(file) if file.bytes == old => Ok(self.settle(temporary)?),
            Some(_) | None => {
                if left.is_some_and(|left| left.bytes == old || is_part(&left.bytes, new)) {
                    self.settle(temporary)?;
                }
                Err(Kept::Moved)
            }
        }
    }

    /// Puts `new` in the place of `old` where it was and the disk did not keep that: the one lies ready beside the other,
    /// which no person's hand leads to.
    pub(super) fn swap_again(&self, temporary: &str, old: &[u8], new: &[u8]) -> Result<(), Kept> {
        let (Some(file), Some(left)) = (self.read()?, self.look(temporary)?) else { return Ok(()) };
        if file.bytes == old && left.bytes == new && left.attributes.same_rights(&file.attributes) {
            self.swap(temporary, TextHash::of(old), &file.attributes)?;
            self.settle(temporary)?;
        }
        Ok(())
    }

    /// Clears what a killed process left beside a file that was replaced. Killed between exchange and look, it may have
    /// taken away what somebody wrote in that moment: that is put back, and where it cannot be, it stays.
    pub(super) fn tidy(&self, temporary: &str, old: &[u8], new: &[u8]) -> io::Result<()> {
        let Some(left) = self.look(temporary)? else { return Ok(()) };
        if left.bytes != old && !is_part(&left.bytes, new) {
            if self.read()?.is_none_or(|seen| seen.bytes != new) {
                return Ok(());
            }
            self.exchange(temporary)?;
        }
        self.settle(temporary)
    }

    fn exchange(&self, temporary: &str) -> rustix::io::Result<()> {
        renameat_with(&self.dir, temporary, &self.dir, self.name.as_str(), RenameFlags::EXCHANGE)
    }

    fn drop_temporary(&self, temporary: &str) -> io::Result<()> {
        match unlinkat(&self.dir, temporary, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Whether the bytes are what a process that was killed, or a power cut, left of `whole`: an end may be missing, and
/// what the disk did not get reads as NULs.
fn is_part(bytes: &[u8], whole: &[u8]) -> bool {
    bytes.len() <= whole.len() && bytes.iter().zip(whole).all(|(byte, wanted)| byte == wanted || *byte == 0)
}

fn time((seconds, nanos): (i64, u32)) -> SystemTime {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let base =
        if seconds < 0 { SystemTime::UNIX_EPOCH.checked_sub(whole) } else { SystemTime::UNIX_EPOCH.checked_add(whole) };
    base.and_then(|base| base.checked_add(Duration::from_nanos(nanos.into()))).unwrap_or(SystemTime::UNIX_EPOCH)
}

fn attributes(file: &File, metadata: &std::fs::Metadata) -> io::Result<Attributes> {
    Ok(Attributes {
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        modified: (metadata.mtime(), u32::try_from(metadata.mtime_nsec()).unwrap_or(0)),
        extended: extended(file)?,
    })
}

fn extended(file: &File) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let size = match flistxattr_query(file) {
        Ok(0) | Err(Errno::NOTSUP | Errno::NOSYS) => return Ok(BTreeMap::new()),
        other => other?,
    };
    let mut names = vec![0; size];
    let size = flistxattr(file, &mut names[..])?;
    names.truncate(size);
    let mut found = BTreeMap::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = std::str::from_utf8(name).map_err(io::Error::other)?;
        let mut value = vec![0; fgetxattr_query(file, name)?];
        let size = fgetxattr(file, name, &mut value[..])?;
        value.truncate(size);
        found.insert(name.to_owned(), value);
    }
    Ok(found)
}
