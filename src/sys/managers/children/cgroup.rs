//! A cgroup for each child, where one was given to mesh: everything that a child starts is found and limited.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use crate::domain::id::ServiceName;

/// The folder in which each child has a cgroup.
#[derive(Clone, Debug)]
pub(super) struct Cgroups {
    dir: PathBuf,
}

/// The cgroup of one child.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Cgroup {
    dir: PathBuf,
}

impl Cgroups {
    /// The cgroups below that of the agent, named `mesh-<tag>`; `None` where version 2 is not there, or where that part of
    /// it was not given to us: init owns its tree, and only what it delegates may be changed.
    pub(super) fn find(tag: &str) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let mount = mounts.lines().find_map(|line| {
            let (fields, kind) = line.split_once(" - ")?;
            kind.starts_with("cgroup2 ").then(|| fields.split(' ').nth(4)).flatten()
        })?;
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let own = Path::new(mount).join(own);
        Self::at(&base(&own, Path::new(mount), is_delegated)?, tag)
    }

    fn at(base: &Path, tag: &str) -> Option<Self> {
        let dir = base.join(format!("mesh-{tag}"));
        match fs::create_dir(&dir) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(_) => return None,
        }
        for folder in [base, &dir] {
            // Without the controller memory is looked after by mesh itself.
            drop(fs::write(folder.join("cgroup.subtree_control"), "+memory"));
        }
        Some(Self { dir })
    }

    /// The cgroup for a child that is to start: a new one where nothing is left in the old one, which may have been killed.
    pub(super) fn anew(&self, name: &ServiceName, memory: Option<u64>) -> io::Result<Cgroup> {
        Cgroup { dir: self.dir.join(name.as_str()) }.remove();
        self.of(name, memory)
    }

    /// The cgroup of a child, made where it is missing, with its limit.
    pub(super) fn of(&self, name: &ServiceName, memory: Option<u64>) -> io::Result<Cgroup> {
        let dir = self.dir.join(name.as_str());
        match fs::create_dir(&dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let cgroup = Cgroup { dir };
        if cgroup.limits_memory() {
            let limit = memory.map_or_else(|| "max".to_owned(), |bytes| bytes.to_string());
            fs::write(cgroup.dir.join("memory.max"), limit)?;
            // What is over its limit goes whole: half a service is none.
            fs::write(cgroup.dir.join("memory.oom.group"), if memory.is_some() { "1" } else { "0" })?;
        }
        Ok(cgroup)
    }
}

impl Cgroups {
    /// Takes the folder away, when no child has a cgroup in it.
    pub(super) fn remove(&self) {
        drop(fs::remove_dir(&self.dir));
    }
}

/// Where cgroups may be made: the agent's own where it is the root or was given to us, else the one above, where the unit has
/// `DelegateSubgroup=`. Only there the kernel keeps limits: it takes no controller into a cgroup that has processes itself.
fn base(own: &Path, mount: &Path, is_delegated: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    let is_root = own == mount && !own.join("cgroup.type").exists();
    if is_root || is_delegated(own) {
        return Some(own.to_owned());
    }
    let above = own.parent().filter(|above| above.starts_with(mount) && is_delegated(above))?;
    Some(above.to_owned())
}

fn is_delegated(dir: &Path) -> bool {
    ["trusted.delegate", "user.delegate"].into_iter().any(|name| {
        let mut value = [0_u8; 8];
        rustix::fs::getxattr(dir, name, &mut value[..]).is_ok_and(|length| value[..length] == *b"1")
    })
}

impl Cgroup {
    #[cfg(test)]
    pub(super) fn for_test(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// The file through which a process enters it.
    pub(super) fn door(&self) -> io::Result<File> {
        OpenOptions::new().write(true).open(self.dir.join("cgroup.procs"))
    }

    /// Its folder, in which the kernel makes a process.
    pub(super) fn dir(&self) -> io::Result<File> {
        File::open(&self.dir)
    }

    /// Kills everything in it.
    pub(super) fn kill(&self) -> io::Result<()> {
        fs::write(self.dir.join("cgroup.kill"), "1")
    }

    /// Whether the kernel keeps its limit.
    pub(super) fn limits_memory(&self) -> bool {
        self.dir.join("memory.max").exists()
    }

    /// How often the kernel killed in it for want of memory.
    pub(super) fn oom_kills(&self) -> u64 {
        let events = fs::read_to_string(self.dir.join("memory.events")).unwrap_or_default();
        events.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok()).unwrap_or(0)
    }

    /// The processes in it.
    pub(super) fn pids(&self) -> Vec<u32> {
        let text = fs::read_to_string(self.dir.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Takes it away, when it is empty.
    pub(super) fn remove(&self) {
        drop(fs::remove_dir(&self.dir));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a9_kills_for_want_of_memory_are_read_from_the_cgroup() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let cgroup = Cgroup { dir: dir.path().to_owned() };
        assert_eq!((cgroup.oom_kills(), cgroup.limits_memory()), (0, false));
        fs::write(dir.path().join("memory.events"), "low 0\nhigh 3\nmax 9\noom 2\noom_kill 2\noom_group_kill 1\n")
            .expect("written");
        assert_eq!(cgroup.oom_kills(), 2);
    }

    #[test]
    fn cgroups_are_made_only_where_they_were_given_to_us() {
        let mount = tempfile::tempdir().expect("a temp dir");
        let (mount, service) = (mount.path(), mount.path().join("system.slice/mesh.service"));
        fs::create_dir_all(service.join("agent")).expect("made");
        let given = |dir: &Path| dir == service;
        assert_eq!(base(&service, mount, given).as_deref(), Some(&*service), "Delegate=yes");
        assert_eq!(base(&service.join("agent"), mount, given).as_deref(), Some(&*service), "DelegateSubgroup=agent");
        assert_eq!(base(&service.join("agent/deeper"), mount, given), None);
        assert_eq!(base(&service, mount, |_| false), None, "init's");
        assert_eq!(base(mount, mount, |_| false).as_deref(), Some(mount), "the root has no cgroup.type");
        fs::write(mount.join("cgroup.type"), "domain").expect("written");
        assert_eq!(base(mount, mount, |_| false), None, "the root of a container that was not given to us");
    }

    #[test]
    fn a_limit_is_written_where_the_kernel_takes_it() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let cgroups = Cgroups::at(dir.path(), "test").expect("made");
        let name = "web".parse().expect("a name");
        let cgroup = cgroups.of(&name, None).expect("made");
        fs::write(cgroup.dir.join("memory.max"), "max").expect("a controller");
        cgroups.of(&name, Some(1024)).expect("set");
        assert_eq!(fs::read_to_string(cgroup.dir.join("memory.max")).expect("there"), "1024");
        assert_eq!(fs::read_to_string(cgroup.dir.join("memory.oom.group")).expect("there"), "1");
    }
}
