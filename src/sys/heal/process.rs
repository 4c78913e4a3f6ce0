//! What the kernel tells of a process and those below it.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::time::{ClockId, clock_gettime};

use crate::sys::managers::process::{self as managed, Stat};

/// Clock ticks in a second, as `/proc` counts them on every Linux that we run on.
const TICKS: f64 = 100.0;
/// Most processes of a tree that are looked at.
const TREE: usize = 512;

/// One process at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) stat: Stat,
}

impl Process {
    /// The process with this pid.
    pub(super) fn of(pid: u32) -> Option<Self> {
        Some(Self { pid, stat: managed::stat(pid)? })
    }
}

/// Whether it lives: a zombie has ended.
fn lives(pid: u32) -> bool {
    managed::stat(pid).is_some_and(|stat| stat.lives())
}

/// The wall clock at the machine's start, in seconds. The kernel's own `btime` is rounded.
fn boot_time() -> f64 {
    let seconds = |id| {
        let at = clock_gettime(id);
        at.tv_sec as f64 + at.tv_nsec as f64 / 1e9
    };
    seconds(ClockId::Realtime) - seconds(ClockId::Boottime)
}

/// When the process was started, on the wall clock in seconds.
pub(super) fn started_at(pid: u32) -> Option<f64> {
    Some(boot_time() + managed::stat(pid)?.start_ticks as f64 / TICKS)
}

/// A process and all below it, the ended ones that nobody waited for included.
#[derive(Default)]
struct Tree {
    /// Itself first.
    processes: Vec<Process>,
    /// Nanoseconds in which their threads ran or waited for a core: time in which they wanted one.
    wanted_ns: u64,
    /// What the thread that was looked at last had of the processors.
    spent: Spent,
}

/// What a thread had of the processors.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Spent {
    /// Nanoseconds in which it ran.
    ran: u64,
    /// Nanoseconds in which it waited for one.
    waited: u64,
    /// How often it was put on one.
    turns: u64,
}

impl Spent {
    /// Of the thread with this folder below `/proc`.
    fn of(folder: &str) -> Option<Self> {
        let mut room = [0; 128];
        let line = text(managed::whole(&format!("{folder}/schedstat"), &mut room)?)?;
        let mut fields = line.split_ascii_whitespace().map_while(|one| one.parse::<u64>().ok());
        Some(Self { ran: fields.next()?, waited: fields.next()?, turns: fields.next()? })
    }
}

/// What there is to see of a service's processes.
#[derive(Clone, Debug)]
pub(super) struct Looked {
    /// The main one.
    pub(super) main: Process,
    /// Those that ended and that nobody waited for.
    pub(super) zombies: usize,
    /// Threads of all of them.
    pub(super) threads: u64,
    /// Memory of their own, in megabytes: what files lend them is not counted.
    pub(super) memory_mb: f64,
    /// Files that the main one has open.
    pub(super) files: Option<usize>,
    /// Nanoseconds in which their threads ran or waited for a core: time in which they wanted one.
    pub(super) wanted_ns: u64,
    alone: Option<Spent>,
}

impl Looked {
    /// Looks at the process with this pid and those below it; `None` where there is none. A process that was alone and has
    /// not run since it was looked at `last` is as it was: it has opened, started and taken nothing.
    pub(super) fn at(pid: u32, last: Option<&Self>) -> Option<Self> {
        let rests = |last: &&Self| {
            let now = || Spent::of(&format!("/proc/{pid}/task/{pid}"));
            last.main.pid == pid && last.alone.is_some() && last.alone == now()
        };
        if let Some(last) = last.filter(rests) {
            return Some(last.clone());
        }
        let tree = Tree::of(pid);
        let main = *tree.processes.first()?;
        Some(Self {
            main,
            zombies: tree.processes.iter().filter(|one| one.stat.state == 'Z').count(),
            threads: tree.processes.iter().map(|one| one.stat.threads).sum(),
            memory_mb: tree.processes.iter().filter_map(|one| anonymous_mb(one.pid)).sum(),
            files: managed::open_files(Path::new(&format!("/proc/{pid}"))).ok(),
            wanted_ns: tree.wanted_ns,
            alone: tree.alone(),
        })
    }
}

impl Tree {
    /// Of the process with this pid; empty where there is none.
    fn of(root: u32) -> Self {
        let mut tree = Self::default();
        if !managed::tells_below() {
            tree.processes = by_parents(root);
            for at in 0..tree.processes.len() {
                tree.look_at_threads(tree.processes[at], &mut Vec::new());
            }
            return tree;
        }
        let mut open = vec![root];
        while let Some(pid) = open.pop() {
            let Some(process) = Process::of(pid).filter(|_| tree.processes.len() < TREE) else { continue };
            tree.processes.push(process);
            tree.look_at_threads(process, &mut open);
        }
        // What is below a process that has gone meanwhile is no longer below it.
        if tree.processes.first().is_none_or(|first| first.pid != root) { Self::default() } else { tree }
    }

    /// What a process that was alone and had one thread had of the processors; `None` where there is more to it, or where
    /// the kernel does not count.
    fn alone(&self) -> Option<Spent> {
        let [only] = self.processes.as_slice() else { return None };
        (only.stat.threads == 1 && self.spent.ran > 0).then_some(self.spent)
    }

    /// What its threads wanted of the processors, and what they started.
    fn look_at_threads(&mut self, process: Process, started: &mut Vec<u32>) {
        let mut look = |thread: &str| {
            let folder = format!("/proc/{}/task/{thread}", process.pid);
            let mut room = [0; 4_096];
            let spent = Spent::of(&folder).unwrap_or_default();
            self.wanted_ns += spent.ran + spent.waited;
            self.spent = spent;
            let path = format!("{folder}/children");
            let below = managed::whole(&path, &mut room).unwrap_or_default();
            // Of one that started very many the kernel gives as many as fit.
            let more = if below.len() > 4_000 { fs::read(&path).unwrap_or_default() } else { Vec::new() };
            let below = text(if more.is_empty() { below } else { &more }).unwrap_or_default();
            started.extend(below.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        };
        if process.stat.threads == 1 {
            return look(&process.pid.to_string());
        }
        let Ok(threads) = fs::read_dir(format!("/proc/{}/task", process.pid)) else { return };
        threads.flatten().for_each(|thread| look(&thread.file_name().to_string_lossy()));
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// The same tree where the kernel does not say what a process has started.
fn by_parents(root: u32) -> Vec<Process> {
    let all: Vec<Process> = managed::pids().into_iter().filter_map(Process::of).collect();
    let mut found: Vec<Process> = all.iter().filter(|one| one.pid == root).copied().collect();
    let mut next = 0;
    while next < found.len() && found.len() < TREE {
        let parent = found[next].pid;
        found.extend(all.iter().filter(|one| one.stat.parent == parent && one.pid != parent));
        next += 1;
    }
    found
}

/// Memory of its own, in megabytes: what files lend it is not counted.
pub(super) fn anonymous_mb(pid: u32) -> Option<f64> {
    let (resident, lent) = managed::pages(pid)?;
    Some((resident.saturating_sub(lent) * rustix::param::page_size() as u64) as f64 / (1_024.0 * 1_024.0))
}

/// What a process still holds of what is no longer there.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Gone {
    /// Megabytes on disk that only this process still holds.
    pub(super) held_mb: f64,
    /// Programs and libraries that it runs.
    pub(super) mapped: usize,
}

impl Gone {
    /// What the process with this pid holds.
    pub(super) fn of(pid: u32) -> Option<Self> {
        Some(Self { held_mb: deleted_mb(pid)?, mapped: deleted_maps(pid)? })
    }

    /// Whether it holds nothing of that kind.
    pub(super) fn is_nothing(&self) -> bool {
        self.held_mb == 0.0 && self.mapped == 0
    }
}

fn deleted_mb(pid: u32) -> Option<f64> {
    let mut blocks = 0;
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten() {
        let Ok(link) = fs::read_link(entry.path()) else { continue };
        if link.as_os_str().as_bytes().ends_with(b" (deleted)") {
            blocks += fs::metadata(entry.path()).map_or(0, |file| if file.is_file() { file.blocks() } else { 0 });
        }
    }
    Some(blocks as f64 * 512.0 / (1_024.0 * 1_024.0))
}

fn deleted_maps(pid: u32) -> Option<usize> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let runs = |line: &str| line.split_ascii_whitespace().nth(1).is_some_and(|rights| rights.contains('x'));
    let is_file = |line: &str| !["/memfd:", "/dev/", "/SYSV"].iter().any(|not| line.contains(not));
    let gone = maps.lines().filter(|line| line.ends_with(" (deleted)"));
    Some(gone.filter(|line| runs(line) && is_file(line)).count())
}

/// Whether any process holds a lock on the file, as the kernel lists them.
pub(super) fn is_locked(path: &Path) -> Option<bool> {
    let file = fs::metadata(path).ok()?;
    let device = file.dev();
    let wanted = format!("{:02x}:{:02x}:{}", rustix::fs::major(device), rustix::fs::minor(device), file.ino());
    let locks = fs::read_to_string("/proc/locks").ok()?;
    Some(locks.lines().any(|line| line.split_ascii_whitespace().any(|field| field == wanted)))
}

/// The pid that a lock or pid file names.
pub(super) fn named_pid(path: &Path) -> Option<u32> {
    let text = fs::read_to_string(path).ok()?;
    let digits: String = text.trim_start().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok().filter(|pid| *pid > 0)
}

/// Whether the process that the file names lives and is the one that wrote it: one that was started after the file
/// was written only has its number.
pub(super) fn owner_lives(path: &Path) -> Option<bool> {
    let pid = named_pid(path)?;
    if !lives(pid) {
        return Some(false);
    }
    let written = fs::metadata(path).ok()?.mtime() as f64;
    Some(started_at(pid)? <= written + 2.0)
}

/// Seconds since the machine's start.
#[must_use]
pub fn uptime_s() -> Option<f64> {
    fs::read_to_string("/proc/uptime").ok()?.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test starts what it looks at")]
mod tests {
    use std::io::Write as _;
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    /// A shell that does one line of `script` for each line that it is told.
    fn shell(folder: &Path, script: &str) -> Child {
        let script: String = script.lines().map(|line| format!("read go; {line}\n")).collect();
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).current_dir(folder).stdin(Stdio::piped());
        shell.spawn().expect("a shell")
    }

    fn tell(shell: &mut Child) {
        shell.stdin.as_mut().expect("open").write_all(b"go\n").expect("told");
    }

    fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let limit = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(Instant::now() < limit, "{what} within 20 s");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What is seen of it once it waits for the next line.
    fn resting(pid: u32) -> Looked {
        let mut last = None;
        until("it rests", || {
            let looked = Looked::at(pid, None)?;
            let same = last == looked.alone && looked.main.stat.state == 'S';
            last = looked.alone;
            (same && looked.alone.is_some()).then_some(looked)
        })
    }

    #[test]
    fn what_has_not_run_is_as_it_was_and_what_ran_is_looked_at_again() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let mut shell = shell(dir.path(), "exec 8>more\nsleep 100 & :\n:");
        let pid = shell.id();
        let first = resting(pid);
        let pretended = Looked { files: Some(77), ..first.clone() };
        let again = Looked::at(pid, Some(&pretended)).expect("it lives");
        assert_eq!(again.files, Some(77), "it was not looked at again");
        tell(&mut shell);
        let opened = first.files.map(|count| count + 1);
        until("its new file", || (Looked::at(pid, Some(&pretended))?.files == opened).then_some(()));
        let one = resting(pid);
        tell(&mut shell);
        let two = until("its child", || Looked::at(pid, Some(&one)).filter(|looked| looked.threads == 2));
        // What a child does cannot be told from what its parent did.
        let pretended = Looked { files: Some(77), ..two };
        assert_eq!(Looked::at(pid, Some(&pretended)).expect("it lives").files, opened);
        assert!(Looked::at(u32::MAX, Some(&first)).is_none());
        drop(Command::new("pkill").args(["-P", &pid.to_string()]).status());
        shell.kill().expect("killed");
        shell.wait().expect("over");
    }

    #[test]
    fn what_is_gone_and_still_held_is_counted() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let mut shell = shell(dir.path(), "exec 8>big; head -c 3000000 /dev/zero >&8; rm big\nexec 8>&-\n:");
        let pid = shell.id();
        assert!(Gone::of(pid).expect("it lives").is_nothing());
        tell(&mut shell);
        let held = until("what it holds", || Gone::of(pid).filter(|gone| !gone.is_nothing()));
        assert!((2.8..3.2).contains(&held.held_mb) && held.mapped == 0, "{held:?}");
        tell(&mut shell);
        until("its end", || Gone::of(pid)?.is_nothing().then_some(()));
        shell.kill().expect("killed");
        shell.wait().expect("over");
    }
}
