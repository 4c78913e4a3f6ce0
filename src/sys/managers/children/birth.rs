//! Makes the process of a child.
//!
//! The kernel moves a process to another cgroup only after all processors have been quiet once, which takes longer than all
//! the rest of a start. So a child is made where it belongs (`clone3` with `CLONE_INTO_CGROUP`, Linux 5.7), and enters through
//! `cgroup.procs` only where the kernel or a sandbox refuses that. The standard library has no such call.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use libc::{c_char, c_int};
use rustix::fs::{Gid, Uid};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, chdir, setsid, waitpid};
use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};

use super::cgroup::Cgroup;

/// What a process is made with. Between fork and exec nothing may allocate or lock, so all of it is here before.
pub(super) struct Birth {
    /// The files to try, in this order, each as it is and as a script without a first line that says so.
    programs: Vec<[Words; 2]>,
    environment: Words,
    dir: CString,
    /// Standard input, output and error.
    streams: [OwnedFd; 3],
    user: Option<(Uid, Gid)>,
}

/// A list of texts as the kernel reads it.
struct Words {
    texts: Vec<CString>,
}

impl Words {
    fn of(texts: impl IntoIterator<Item = OsString>) -> io::Result<Self> {
        let texts = texts.into_iter().map(|text| CString::new(text.into_vec())).collect::<Result<_, _>>()?;
        Ok(Self { texts })
    }

    /// Valid as long as the words are.
    fn pointers(&self) -> Vec<*const c_char> {
        self.texts.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
    }
}

impl Birth {
    /// Of a command with these arguments. A program without a slash is looked for in `path`.
    ///
    /// # Errors
    /// A text has a zero byte in it.
    pub(super) fn of(
        (program, arguments): (&OsStr, &[OsString]),
        path: &OsStr,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        dir: &Path,
        streams: [OwnedFd; 3],
        user: Option<(Uid, Gid)>,
    ) -> io::Result<Self> {
        let files: Vec<OsString> = if program.as_encoded_bytes().contains(&b'/') {
            vec![program.to_owned()]
        } else {
            std::env::split_paths(path).map(|dir| dir.join(program).into_os_string()).collect()
        };
        let forms = |file: OsString| -> io::Result<[Words; 2]> {
            // The first word is no argument, but the file that is executed.
            let with = |first: &[&OsStr]| {
                Words::of(first.iter().map(|&word| word.to_owned()).chain(arguments.iter().cloned()))
            };
            Ok([with(&[&file, program])?, with(&[OsStr::new(SHELL), OsStr::new(SHELL), &file])?])
        };
        let pairs = environment.into_iter().map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            name
        });
        Ok(Self {
            programs: files.into_iter().map(forms).collect::<io::Result<_>>()?,
            environment: Words::of(pairs)?,
            dir: CString::new(dir.as_os_str().to_owned().into_vec())?,
            streams,
            user,
        })
    }

    /// Makes the process and returns its pid.
    ///
    /// # Errors
    /// Why it does not run. Nothing of it is left.
    pub(super) fn run(&self, cgroup: Option<&Cgroup>) -> io::Result<u32> {
        let outside = |error| io::Error::other(format!("its cgroup cannot be entered: {error}"));
        let mut door = None;
        if let Some(cgroup) = cgroup {
            let folder = cgroup.dir().map_err(outside)?;
            // Linux 6.18 kills at once what is made in a cgroup that was killed before, and older ones may not know the
            // call. What else goes wrong goes wrong again below, and is told then.
            if let Ok(Some(pid)) = self.deliver(&|| fork_into(folder.as_fd()), None) {
                return Ok(pid);
            }
            door = Some(cgroup.door().map_err(outside)?);
        }
        let born = self.deliver(&fork, door.as_ref().map(File::as_fd))?;
        born.ok_or_else(|| io::Error::other("it was killed before it ran"))
    }

    /// Makes the process by `fork` and has it go through `door`. Returned is its pid; none when it was killed before it did
    /// anything.
    fn deliver(&self, fork: &dyn Fn() -> io::Result<Side>, door: Option<BorrowedFd<'_>>) -> io::Result<Option<u32>> {
        let forms: Vec<Forms> = self.programs.iter().map(|forms| forms.each_ref().map(Words::pointers)).collect();
        let environment = self.environment.pointers();
        let (mut from_child, to_parent) =
            pipe_with(PipeFlags::CLOEXEC).map(|(read, write)| (File::from(read), write))?;
        let pid = match fork()? {
            Side::Parent(pid) => pid,
            Side::Child => {
                let _nobody_is_there_to_hear_more = rustix::io::write(&to_parent, ALIVE);
                let error = self.become_it(&forms, &environment, door);
                let _the_same = rustix::io::write(&to_parent, &error.raw_os_error().to_ne_bytes());
                end()
            }
        };
        drop(to_parent);
        // It closes its end by becoming the program, or by ending.
        let mut said = Vec::new();
        from_child.read_to_end(&mut said)?;
        let reap = || {
            let _it_is_our_own_and_ends = waitpid(Some(pid), WaitOptions::empty());
        };
        match said.strip_prefix(ALIVE) {
            Some([]) => Ok(Some(pid.as_raw_nonzero().get().unsigned_abs())),
            Some(error) => {
                reap();
                let error = error.try_into().map_or(libc::EIO, i32::from_ne_bytes);
                Err(io::Error::from_raw_os_error(error))
            }
            None => {
                reap();
                Ok(None)
            }
        }
    }

    /// Turns this process, which has just been made, into the program. Returns why it cannot.
    fn become_it(
        &self,
        forms: &[Forms],
        environment: &[*const c_char],
        door: Option<BorrowedFd<'_>>,
    ) -> rustix::io::Errno {
        match self.settle(door) {
            Ok(()) => execute(forms, environment),
            Err(error) => error,
        }
    }

    fn settle(&self, door: Option<BorrowedFd<'_>>) -> rustix::io::Result<()> {
        if let Some(door) = door {
            rustix::io::write(door, b"0")?;
        }
        setsid()?;
        let [input, output, errors] = &self.streams;
        rustix::stdio::dup2_stdin(input)?;
        rustix::stdio::dup2_stdout(output)?;
        rustix::stdio::dup2_stderr(errors)?;
        if let Some((uid, gid)) = self.user {
            // Whoever gives up root gives up its groups with it; nobody else may.
            if rustix::process::getuid().is_root() {
                set_thread_groups(&[])?;
            }
            set_thread_gid(gid)?;
            set_thread_uid(uid)?;
        }
        chdir(self.dir.as_c_str())?;
        expect_signals_as_usual();
        Ok(())
    }
}

/// The forms of one file as the kernel reads them: of each the file that is executed, then its words.
type Forms = [Vec<*const c_char>; 2];

/// Which of the two a process is after a fork.
enum Side {
    Child,
    Parent(Pid),
}

const SHELL: &str = "/bin/sh";
/// The first word of a new process to the one that made it.
const ALIVE: &[u8] = b"!";

#[expect(unsafe_code, reason = "no library forks and leaves what comes then to its caller")]
fn fork() -> io::Result<Side> {
    // SAFETY: the child only makes system calls until it executes or ends.
    side(i64::from(unsafe { libc::fork() }))
}

/// Forks into a cgroup, given by its folder.
#[expect(unsafe_code, reason = "the standard library cannot make a process in a cgroup")]
fn fork_into(cgroup: BorrowedFd<'_>) -> io::Result<Side> {
    /// Handlers of this process do not run in the new one.
    const CLEAR_SIGHAND: u64 = 1 << 32;
    const INTO_CGROUP: u64 = 1 << 33;
    let number = |value: c_int| u64::from(value.unsigned_abs());
    // As linux/sched.h has it: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size,
    // cgroup.
    let arguments: [u64; 11] =
        [CLEAR_SIGHAND | INTO_CGROUP, 0, 0, 0, number(libc::SIGCHLD), 0, 0, 0, 0, 0, number(cgroup.as_raw_fd())];
    // SAFETY: the arguments are whole and of the size that is named; without CLONE_VM the child has a copy of everything, as
    // after a fork, and it only makes system calls until it executes or ends.
    side(unsafe { libc::syscall(libc::SYS_clone3, arguments.as_ptr(), size_of_val(&arguments)) })
}

fn side(answer: i64) -> io::Result<Side> {
    match i32::try_from(answer).ok() {
        Some(0) => Ok(Side::Child),
        Some(pid) if pid > 0 => {
            Pid::from_raw(pid).map(Side::Parent).ok_or_else(|| io::Error::from(io::ErrorKind::Other))
        }
        _ => Err(io::Error::last_os_error()),
    }
}

/// What mesh lets pass or ignores, its children do not.
#[expect(unsafe_code, reason = "no safe call changes what signals do")]
fn expect_signals_as_usual() {
    // SAFETY: both calls may be made between fork and exec, and the set is written before it is read.
    unsafe {
        let mut none = std::mem::MaybeUninit::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}

/// Executes the first file that can be. Returns why none can.
fn execute(forms: &[Forms], environment: &[*const c_char]) -> rustix::io::Errno {
    use rustix::io::Errno;
    let mut denied = false;
    for forms in forms {
        let mut error = Errno::NOENT;
        for form in forms {
            error = execute_one(form, environment);
            if error != Errno::NOEXEC {
                break;
            }
        }
        match error {
            Errno::ACCESS => denied = true,
            Errno::NOENT | Errno::NOTDIR => {}
            other => return other,
        }
    }
    if denied { Errno::ACCESS } else { Errno::NOENT }
}

#[expect(unsafe_code, reason = "the words are pointers, made before the fork")]
fn execute_one(form: &[*const c_char], environment: &[*const c_char]) -> rustix::io::Errno {
    let [file, words @ ..] = form else { return rustix::io::Errno::INVAL };
    // SAFETY: both lists end with a null pointer, and their texts live in `Birth`.
    unsafe {
        libc::execve(*file, words.as_ptr(), environment.as_ptr());
    }
    rustix::io::Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(rustix::io::Errno::INVAL)
}

/// Ends this process and runs nothing that was to run at its end.
#[expect(unsafe_code, reason = "the standard library's exit runs what the parent registered")]
fn end() -> ! {
    // SAFETY: it has no conditions.
    unsafe { libc::_exit(127) }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// Runs a command in a folder, where it has a file named `said` for its output, and returns what it said.
    fn said(dir: &Path, words: &[&str]) -> io::Result<String> {
        let said = dir.join("said");
        let open = |path: &Path| -> io::Result<OwnedFd> {
            Ok(fs::OpenOptions::new().create(true).append(true).read(true).open(path)?.into())
        };
        let streams = [open(Path::new("/dev/null"))?, open(&said)?, open(&said)?];
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let path = std::env::join_paths([&*dir.join("nothing"), dir, Path::new("/bin"), Path::new("/usr/bin")]);
        let environment = [("GREETING".into(), "two words".into())];
        let birth = Birth::of((&words[0], &words[1..]), &path.expect("a path"), environment, dir, streams, None)?;
        let pid = i32::try_from(birth.run(None)?).expect("a pid");
        waitpid(Pid::from_raw(pid), WaitOptions::empty())?;
        fs::read_to_string(&said)
    }

    #[test]
    fn a_child_has_its_words_environment_folder_and_session_and_usual_signals() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let script = r#"echo "$1|$GREETING|$(pwd -P)"; cut -d " " -f 1,6 /proc/$$/stat; exec grep -E "SigBlk|SigIgn" /proc/self/status"#;
        let said = said(dir.path(), &["sh", "-c", script, "sh", "a  b"]).expect("it runs");
        let mut lines = said.lines();
        let folder = fs::canonicalize(dir.path()).expect("there");
        assert_eq!(lines.next(), Some(&*format!("a  b|two words|{}", folder.display())));
        let (pid, session) = lines.next().and_then(|line| line.split_once(' ')).expect("two numbers");
        assert_eq!(pid, session, "a session of its own");
        let mut signals = |name: &str| {
            let hex = lines.next().and_then(|line| line.strip_prefix(name)).expect("a set of signals");
            u64::from_str_radix(hex.trim(), 16).expect("in hexadecimal")
        };
        assert_eq!(signals("SigBlk:"), 0, "nothing is kept from it");
        let pipe = 1_u64 << (libc::SIGPIPE - 1);
        assert_eq!(signals("SigIgn:") & pipe, 0, "what this process ignores, it does not");
    }

    #[test]
    fn the_search_goes_on_past_what_cannot_be_run_and_says_the_most_telling_reason() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let dir = dir.path();
        let kind = |words: &[&str]| said(dir, words).expect_err("it does not run").kind();
        assert_eq!(kind(&["no-such-program"]), io::ErrorKind::NotFound);
        fs::write(dir.join("locked"), "echo never").expect("written");
        assert_eq!(kind(&["locked"]), io::ErrorKind::PermissionDenied, "it is there, and may not be run");
        // A file of the same name further down the path is taken.
        fs::write(dir.join("true"), "not to be run").expect("written");
        assert_eq!(said(dir, &["true"]).expect("/bin/true"), "");
    }

    #[test]
    fn a_script_that_does_not_name_its_shell_is_run_by_one() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let script = dir.path().join("bare");
        fs::write(&script, "echo \"bare $1\"\n").expect("written");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("set");
        assert_eq!(said(dir.path(), &["bare", "words"]).expect("it runs"), "bare words\n");
    }

    #[test]
    fn a_cgroup_that_is_gone_is_named_and_no_process_is_left() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let open = || File::open("/dev/null").map(OwnedFd::from).expect("opened");
        let streams = [open(), open(), open()];
        let birth =
            Birth::of((OsStr::new("/bin/true"), &[]), OsStr::new(""), [], dir.path(), streams, None).expect("made");
        let error = birth.run(Some(&Cgroup::for_test(&dir.path().join("gone")))).expect_err("no such folder");
        assert!(error.to_string().starts_with("its cgroup cannot be entered"), "{error}");
    }
}
