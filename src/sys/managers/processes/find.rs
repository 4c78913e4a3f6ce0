//! Which process a service is, where only its pid file or its command line is known. What leaves a doubt is not taken
//! for it.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use regex::Regex;

use crate::domain::service::Process;
use crate::ports::Clock as _;
use crate::sys::clock::SystemClock;
use crate::sys::managers::process;

/// Most bytes of a command line that are read.
const LINE_BYTES: u64 = 64 * 1024;
/// Most bytes of a pid file that are read.
const PIDFILE_BYTES: u64 = 64;
/// A process that started so much later than its pid file was written did not write it; clocks and file systems round.
const ROUNDED: SignedDuration = SignedDuration::from_secs(2);
/// Most generations that are looked through.
const GENERATIONS: usize = 1_000;
/// Most pids that are named.
const NAMED: usize = 8;

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Found {
    /// It is this one.
    One(Process),
    /// It does not run.
    None,
    /// That cannot be told, and why.
    Unknown(String),
}

/// Finds the process that the file names, or whose command line matches; where both are given both must say so.
/// `others` are processes that it is not.
pub(super) fn find(pidfile: Option<&Path>, matching: Option<&Regex>, others: &[u32]) -> Found {
    if File::open("/proc/1/cmdline").is_err() {
        // One that is not seen may run all the same.
        return Found::Unknown("this user may not see the processes of others (`hidepid` of /proc)".to_owned());
    }
    match (pidfile, matching) {
        (Some(path), matching) => match named(path, matching) {
            Found::Unknown(why) => Found::Unknown(format!("pid file {}: {why}", path.display())),
            found => found,
        },
        (None, Some(pattern)) => matched(pattern, others),
        (None, None) => Found::Unknown("nothing says which process it is".to_owned()),
    }
}

fn named(path: &Path, pattern: Option<&Regex>) -> Found {
    let (pid, file) = match read(path) {
        Ok(Some(read)) => read,
        Ok(None) => return Found::None,
        Err(why) => return Found::Unknown(why),
    };
    let Some(process) = process::now(pid) else { return Found::None };
    if pid == 1 || pid == std::process::id() {
        return Found::Unknown(format!("it names process {pid}, which is never a service of this kind"));
    }
    // Else whoever may write the file could have any process ended.
    if file.uid() != 0 && users(pid).is_none_or(|users| !users.contains(&file.uid())) {
        return Found::Unknown(format!("it belongs to another user than process {pid}, which it names"));
    }
    let fits = pattern.map(|pattern| command_line(pid).is_some_and(|line| pattern.is_match(&line)));
    let is_younger = || {
        let written = Timestamp::try_from(file.modified().ok()?).ok()?;
        Some(process::since(process, SystemClock.now())?.duration_since(written) > ROUNDED)
    };
    match (fits, is_younger()) {
        // Its number went to another one.
        (Some(false), _) | (None, Some(true)) => Found::None,
        (_, Some(false)) => Found::One(process),
        (Some(true), Some(true)) => Found::Unknown(format!(
            "it is older than process {pid}, which it names and which matches: one of them is of another start"
        )),
        (_, None) => Found::Unknown("when it was written cannot be told".to_owned()),
    }
}

/// The pid that the file holds, and what is known of the file; `None` where there is none.
fn read(path: &Path) -> Result<Option<(u32, Metadata)>, String> {
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).map_err(|error| error.to_string())?;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let meta = file.metadata().map_err(|error| error.to_string())?;
    if !meta.is_file() {
        return Err("it is no plain file".to_owned());
    }
    let mut text = String::new();
    file.take(PIDFILE_BYTES).read_to_string(&mut text).map_err(|error| error.to_string())?;
    let pid = text.split_ascii_whitespace().next().and_then(|word| word.parse().ok()).filter(|pid| *pid > 0);
    pid.map(|pid| Some((pid, meta))).ok_or_else(|| "it names no process".to_owned())
}

/// The users whose rights a process has: the real one and the effective one.
fn users(pid: u32) -> Option<Vec<u32>> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_ascii_whitespace().take(2).map(|word| word.parse().ok()).collect()
}

/// The words of a process, as it shows them now, with blanks between them; `None` for what has none, as threads of the
/// kernel.
fn command_line(pid: u32) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(format!("/proc/{pid}/cmdline")).ok()?.take(LINE_BYTES).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let words = text.trim_end_matches('\0').replace('\0', " ");
    (!words.is_empty()).then_some(words)
}

/// The one process that matches and was not started by another one that does.
fn matched(pattern: &Regex, others: &[u32]) -> Found {
    let mut all = Vec::new();
    for pid in process::pids() {
        let before = process::now(pid);
        let fits = pid != std::process::id()
            && !others.contains(&pid)
            && command_line(pid).is_some_and(|line| pattern.is_match(&line));
        // The same before and after its words were read, or they may be another one's.
        if let Some(process) = before.filter(|before| fits && process::is_alive(*before)) {
            all.push(process);
        }
    }
    let pids: BTreeSet<u32> = all.iter().map(|one| one.pid).collect();
    // Nothing stands above one that has ended meanwhile.
    let first = |one: &&Process| !ancestors(one.pid).any(|above| pids.contains(&above)) && process::is_alive(**one);
    let tops: Vec<Process> = all.iter().filter(first).copied().collect();
    match tops.as_slice() {
        [] => Found::None,
        [one] => Found::One(*one),
        many => {
            let named: Vec<String> = many.iter().take(NAMED).map(|one| one.pid.to_string()).collect();
            let more = if many.len() > NAMED { ", ..." } else { "" };
            Found::Unknown(format!(
                "{} processes match, and none of them started the others ({}{more}): make `matching` narrower, or add `pidfile`",
                many.len(),
                named.join(", ")
            ))
        }
    }
}

fn ancestors(pid: u32) -> impl Iterator<Item = u32> {
    std::iter::successors(process::parent(pid), |above| process::parent(*above))
        .take_while(|above| *above > 0)
        .take(GENERATIONS)
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};
    use std::time::{Duration, SystemTime};

    use super::*;

    /// A process that ends with the test.
    struct Sleeper(Child);

    impl Sleeper {
        fn new(words: &[&str]) -> Self {
            #[expect(clippy::disallowed_methods, reason = "a process to be found")]
            let child = Command::new(words[0]).args(&words[1..]).spawn().expect("started");
            // A program that was only just begun has no words for a moment.
            while command_line(child.id()).is_none() {
                std::thread::yield_now();
            }
            Self(child)
        }

        fn process(&self) -> Process {
            process::now(self.0.id()).expect("it runs")
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            let (_killed, _fetched) = (self.0.kill(), self.0.wait());
        }
    }

    /// A process that another one started, which ends with the test too.
    struct Below(Process);

    impl Drop for Below {
        fn drop(&mut self) {
            process::kill_exactly(self.0);
        }
    }

    fn pattern(text: &str) -> Regex {
        Regex::new(text).expect("a pattern")
    }

    fn unknown(found: &Found) -> &str {
        let Found::Unknown(why) = found else { panic!("{found:?}") };
        why
    }

    #[test]
    fn a2_a_pid_file_is_believed_only_of_the_process_that_wrote_it() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let path = dir.path().join("app.pid");
        let sleeper = Sleeper::new(&["sleep", "86111"]);
        let (process, pid) = (sleeper.process(), sleeper.0.id());
        let write = |text: &str| fs::write(&path, text).expect("written");
        let look = |matching: Option<&str>| find(Some(&path), matching.map(pattern).as_ref(), &[]);
        assert_eq!(look(None), Found::None, "no file");
        write(&format!("{pid}\n"));
        assert_eq!(look(None), Found::One(process));
        assert_eq!(look(Some("^sleep 86111$")), Found::One(process));
        assert_eq!(look(Some("^nginx")), Found::None, "the number is another one's by now");
        write("");
        assert!(unknown(&look(None)).contains("names no process"));
        write(&format!("{}\n", std::process::id()));
        assert!(unknown(&look(None)).contains("never a service"));
        write("999999999\n");
        assert_eq!(look(None), Found::None, "nobody has that number");
        write(&format!("{pid}\n"));
        #[expect(clippy::disallowed_methods, reason = "the date of a file")]
        let earlier = SystemTime::now() - Duration::from_secs(3_600);
        File::options().append(true).open(&path).and_then(|file| file.set_modified(earlier)).expect("set back");
        assert_eq!(look(None), Found::None, "it started long after the file was written");
        assert!(unknown(&look(Some("^sleep 86111$"))).contains("of another start"));
        drop(sleeper);
        write(&format!("{pid}\n"));
        assert_eq!(look(None), Found::None, "it has ended");
    }

    #[test]
    fn a2_a_pid_file_of_one_user_names_no_process_of_another() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let path = dir.path().join("app.pid");
        let sleeper = Sleeper::new(&["sleep", "86112"]);
        fs::write(&path, sleeper.0.id().to_string()).expect("written");
        if std::os::unix::fs::chown(&path, Some(65_534), None).is_ok() {
            assert!(unknown(&find(Some(&path), None, &[])).contains("another user"));
        } else {
            assert_ne!(rustix::process::geteuid().as_raw(), 0, "root may give files away");
        }
    }

    #[test]
    fn a2_what_matches_is_the_one_that_started_the_others_or_nobody() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let script = dir.path().join("app.sh");
        fs::write(&script, "if [ -z \"$1\" ]; then sh \"$0\" below & fi; while :; do sleep 1; done\n")
            .expect("written");
        let script = script.to_str().expect("UTF-8");
        let ours = pattern(&format!("^sh {}", regex::escape(script)));
        assert_eq!(find(None, Some(&ours), &[]), Found::None);
        let first = Sleeper::new(&["sh", script]);
        let below = loop {
            let below = process::pids().into_iter().find(|pid| {
                command_line(*pid).is_some_and(|line| line.ends_with("app.sh below") && line.contains(script))
            });
            if let Some(below) = below.and_then(process::now) {
                break Below(below);
            }
            std::thread::yield_now();
        };
        assert_eq!(find(None, Some(&ours), &[]), Found::One(first.process()), "with one that it started");
        assert_eq!(find(None, Some(&ours), &[first.0.id()]), Found::One(below.0));
        let second = Sleeper::new(&["sh", script, "alone"]);
        let found = find(None, Some(&ours), &[]);
        let why = unknown(&found);
        assert!(why.starts_with("2 processes match"), "{why}");
        assert!(why.contains(&first.0.id().to_string()) && why.contains(&second.0.id().to_string()), "{why}");
    }
}
