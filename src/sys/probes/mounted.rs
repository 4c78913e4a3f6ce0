//! File systems that are to be mounted and writable, and are not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::disk::{WITH_ROOM, unescaped};
use super::{reading, small_file};
use crate::domain::signal::{SeriesName, Subject};
use crate::ports::{Probe, Reading};

/// Most mount points that are told apart.
const MOST: usize = 64;

/// Compares what is mounted with `/etc/fstab`, and with what was writable before.
pub struct MountedProbe {
    mountinfo: PathBuf,
    fstab: PathBuf,
    /// Mount points that were writable once.
    writable: BTreeSet<String>,
    remarks: Vec<(SeriesName, String)>,
}

/// What the kernel says of a mount point.
struct Mounted {
    is_read_only: bool,
    source: String,
}

impl MountedProbe {
    /// Reads `mountinfo`, which is `/proc/self/mountinfo`, and `fstab`, which is `/etc/fstab`.
    #[must_use]
    pub fn new(mountinfo: impl Into<PathBuf>, fstab: impl Into<PathBuf>, mark: Option<&str>) -> Self {
        let writable = mark.unwrap_or_default().lines().take(MOST).map(str::to_owned).collect();
        Self { mountinfo: mountinfo.into(), fstab: fstab.into(), writable, remarks: Vec::new() }
    }

    fn remark(&mut self, signal: &'static str, path: &str, text: String) {
        self.remarks.push((SeriesName::of(signal, Subject::near(path)), text));
    }
}

impl Probe for MountedProbe {
    fn read(&mut self) -> Vec<Reading> {
        self.remarks.clear();
        let Some(text) = small_file(&self.mountinfo) else {
            let why = format!("{} cannot be read", self.mountinfo.display());
            return vec![reading("host.disk.writable", &Subject::near("/"), Err(why))];
        };
        let mounted = mounted(&text);
        let wanted = wanted(&small_file(&self.fstab).unwrap_or_default());
        let mut readings = Vec::new();
        for (path, source) in
            wanted.iter().filter(|(_, wanted)| wanted.is_mounted).map(|(path, one)| (path, &one.source))
        {
            let is_there = mounted.contains_key(path);
            readings.push(reading("host.disk.mounted", &Subject::near(path), Ok(f64::from(u8::from(is_there)))));
            if !is_there {
                self.remark("host.disk.mounted", path, format!("{source} is in fstab and not mounted"));
            }
        }
        for (path, mount) in &mounted {
            let meant = wanted.get(path).map(|wanted| wanted.is_read_only);
            if !mount.is_read_only && self.writable.len() < MOST && meant != Some(true) && !path.contains('\n') {
                self.writable.insert(path.clone());
            }
            // What fstab says is meant; where it says nothing, what was seen before.
            let is_expected = meant.map_or_else(|| self.writable.contains(path), |read_only| !read_only);
            if is_expected {
                let value = Ok(f64::from(u8::from(!mount.is_read_only)));
                readings.push(reading("host.disk.writable", &Subject::near(path), value));
                if mount.is_read_only {
                    let text = format!("{} is mounted read-only: look at the kernel's log", mount.source);
                    self.remark("host.disk.writable", path, text);
                }
            }
        }
        readings
    }

    fn mark(&self) -> Option<String> {
        Some(self.writable.iter().map(String::as_str).collect::<Vec<_>>().join("\n"))
    }

    fn remarks(&self) -> Vec<(SeriesName, String)> {
        self.remarks.clone()
    }
}

/// Mount points of file systems with files of somebody. Of several on one point the last one is on top.
fn mounted(mountinfo: &str) -> BTreeMap<String, Mounted> {
    let mut found = BTreeMap::new();
    for line in mountinfo.lines() {
        // id parent major:minor root mount-point options [tags] - type source options
        let Some((before, after)) = line.split_once(" - ") else { continue };
        let (before, after): (Vec<&str>, Vec<&str>) = (before.split(' ').collect(), after.split(' ').collect());
        let (Some(root), Some(path), Some(options)) = (before.get(3), before.get(4), before.get(5)) else { continue };
        let (Some(kind), Some(source)) = (after.first(), after.get(1)) else { continue };
        // A folder that is mounted once more elsewhere says nothing new of the disk.
        let is_whole = *root == "/" || *path == "/" || *kind == "btrfs";
        if !WITH_ROOM.contains(kind) || !is_whole {
            continue;
        }
        // Of the mount point when a person did it, of the file system when the kernel met an error.
        let is_read_only = has(options, "ro") || after.get(2).is_some_and(|options| has(options, "ro"));
        found.insert(unescaped(path), Mounted { is_read_only, source: unescaped(source) });
    }
    found
}

/// What a line of fstab asks for.
struct Wanted {
    source: String,
    is_mounted: bool,
    is_read_only: bool,
}

fn wanted(fstab: &str) -> BTreeMap<String, Wanted> {
    let mut found = BTreeMap::new();
    for line in fstab.lines().filter(|line| !line.trim_start().starts_with('#')) {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (Some(source), Some(path), Some(kind)) = (fields.first(), fields.get(1), fields.get(2)) else { continue };
        if !path.starts_with('/') || *kind == "swap" || found.len() >= MOST {
            continue;
        }
        let options = fields.get(3).copied().unwrap_or_default();
        let is_mounted = !["noauto", "x-systemd.automount"].iter().any(|option| has(options, option));
        let one = Wanted { source: unescaped(source), is_mounted, is_read_only: has(options, "ro") };
        found.insert(unescaped(path), one);
    }
    found
}

fn has(options: &str, wanted: &str) -> bool {
    options.split(',').any(|option| option == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard\n\
        28 27 8:1 / /srv rw - xfs /dev/sdb1 rw\n29 27 8:2 / /cd ro - ext4 /dev/sdc ro\n30 27 0:5 / /proc ro - proc proc ro\n\
        31 27 254:0 /lib /usr/lib ro - ext4 /dev/vda rw\n";

    fn ask(probe: &mut MountedProbe) -> Vec<(String, f64)> {
        let readings = probe.read();
        readings.into_iter().map(|one| (one.name.to_string(), one.value.expect("known"))).collect()
    }

    #[test]
    fn b7_what_fstab_wants_and_what_was_writable_is_missed() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let (info, fstab) = (dir.path().join("mountinfo"), dir.path().join("fstab"));
        std::fs::write(&info, SOUND).expect("written");
        let wanted = "# text\n/dev/vda / ext4 defaults 0 1\n/dev/sdd /backup\\040disk ext4 nofail 0 2\n\
            /dev/sde /usb vfat noauto 0 0\n/dev/sdf none swap sw 0 0\n/dev/sdc /cd ext4 ro 0 0\nshort\n";
        std::fs::write(&fstab, wanted).expect("written");
        let mut probe = MountedProbe::new(&info, &fstab, None);
        let told = |name: &str, value: f64| (name.to_owned(), value);
        let sound = [
            told("host.disk.mounted//", 1.0),
            told("host.disk.mounted//backup_disk", 0.0),
            told("host.disk.mounted//cd", 1.0),
            told("host.disk.writable//", 1.0),
            told("host.disk.writable//srv", 1.0),
        ];
        assert_eq!(ask(&mut probe), sound);
        assert_eq!(probe.remarks()[0].1, "/dev/sdd is in fstab and not mounted");
        // `/` by its super block as after an error, `/srv` by hand.
        let broken = SOUND.replace("/dev/vda rw,discard", "/dev/vda ro,discard").replace("/srv rw", "/srv ro");
        std::fs::write(&info, broken).expect("written");
        let mut next = MountedProbe::new(&info, &fstab, probe.mark().as_deref());
        let found = ask(&mut next);
        assert!(found.contains(&told("host.disk.writable//", 0.0)), "{found:?}");
        assert!(found.contains(&told("host.disk.writable//srv", 0.0)), "{found:?}");
        let fresh = ask(&mut MountedProbe::new(&info, &fstab, None));
        assert!(!fresh.iter().any(|(name, _)| name.ends_with("/srv")), "nobody knows that it was writable: {fresh:?}");
    }

    #[test]
    fn this_machine_has_a_root() {
        let found = ask(&mut MountedProbe::new("/proc/self/mountinfo", "/etc/fstab", None));
        assert!(found.iter().all(|(_, value)| *value == 0.0 || *value == 1.0), "{found:?}");
        assert!(MountedProbe::new("/gone", "/gone", None).read()[0].value.is_err());
    }
}
