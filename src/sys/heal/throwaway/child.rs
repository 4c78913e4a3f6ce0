//! What a throw-away process does: it fails in the way that its folder says, or it works.

use std::fs::{self, File, OpenOptions};
use std::hint::black_box;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

/// Between two beats.
const BEAT: Duration = Duration::from_millis(15);
/// How long a probe waits for an answer.
const ANSWER: Duration = Duration::from_millis(300);
/// Files that a process may open which is to run out of them.
const FILES: u64 = 64;

/// Runs as a throw-away process. Returns the exit code.
///
/// # Errors
/// The folder is not what a drill makes.
pub fn run(words: &[String]) -> io::Result<u8> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["service", folder] => service(Path::new(folder)),
        ["probe", folder] => Ok(probe(Path::new(folder))),
        ["parses", file] => {
            let text = fs::read_to_string(file)?;
            Ok(u8::from(text.parse::<toml::Table>().is_err()))
        }
        ["touch", file] => fs::write(file, "done\n").map(|()| 0),
        ["copy", from, to] => fs::copy(from, to).map(|_| 0),
        ["fails"] => Ok(1),
        ["ends"] => Ok(0),
        ["sleeps"] => sleep_on(),
        ["holds", file] => {
            let file = OpenOptions::new().read(true).write(true).open(file)?;
            flock(&file, FlockOperation::LockExclusive)?;
            sleep_on()
        }
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "not started by a drill")),
    }
}

/// Sleeps for as long as whoever started it lives; nobody is left behind by a drill that was killed.
fn sleep_on() -> io::Result<u8> {
    let parent = rustix::process::getppid();
    while rustix::process::getppid() == parent {
        thread::sleep(BEAT * 4);
    }
    Ok(0)
}

/// What a service of a drill has.
struct Service {
    folder: PathBuf,
    count: u64,
    log: File,
    hung_up: Arc<AtomicBool>,
}

fn service(folder: &Path) -> io::Result<u8> {
    let plan = fs::read_to_string(folder.join("plan"))?;
    let mut words: Vec<&str> = plan.lines().collect();
    let word = words.first().copied().unwrap_or("healthy").to_owned();
    if words.len() > 1 {
        words.remove(0);
        let next = folder.join("plan.next");
        fs::write(&next, words.join("\n"))?;
        fs::rename(next, folder.join("plan"))?;
    }
    let (word, argument) = word.split_once(' ').unwrap_or((&word, ""));
    let number = argument.split(' ').next().unwrap_or("").parse::<usize>().unwrap_or(0);
    match word {
        "crash" => return Ok(u8::try_from(number.max(1)).unwrap_or(1)),
        "needs" if !Path::new(argument).exists() => return Ok(1),
        "needs-absent" if Path::new(argument).exists() => return Ok(1),
        "needs-address" if connected(argument).is_none() => return Ok(1),
        "needs-tool" if !finds_tool(argument) => return Ok(127),
        _ => {}
    }
    let hung_up = Arc::new(AtomicBool::new(false));
    listen_for_hangup(&hung_up)?;
    let count = fs::read_to_string(folder.join("progress")).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    let log = open_log(folder)?;
    let mut service = Service { folder: folder.to_owned(), count, log, hung_up };
    let mut held: Vec<File> = Vec::new();
    let mut memory: Vec<u8> = Vec::new();
    let hangs = matches!(word, "hang" | "mute");
    let listener = TcpListener::bind("127.0.0.1:0")?;
    write(&folder.join("port"), &listener.local_addr()?.to_string())?;
    if !hangs {
        let slow = Duration::from_millis(if word == "slow" { 60 } else { 0 });
        thread::spawn(move || answer(&listener, slow));
    } else {
        // The kernel takes the connection, and nobody answers.
        std::mem::forget(listener);
    }
    match word {
        "leak" => {
            memory = vec![1; number * 1024 * 1024];
        }
        "files" => {
            let limit = getrlimit(Resource::Nofile);
            setrlimit(Resource::Nofile, Rlimit { current: Some(FILES), maximum: limit.maximum })?;
            held.extend((0..number).map_while(|_| File::open("/dev/null").ok()));
        }
        "threads" => (0..number).for_each(|_| drop(thread::spawn(sleep_on))),
        "zombies" => (0..number).try_for_each(|_| ended_child())?,
        "deleted" => {
            let path = folder.join("held");
            let mut file = File::create(&path)?;
            let block = vec![b'x'; 1024 * 1024];
            (0..number).try_for_each(|_| file.write_all(&block))?;
            fs::remove_file(&path)?;
            held.push(file);
        }
        _ => {}
    }
    service.beat(true)?;
    write(&folder.join("ready"), &std::process::id().to_string())?;
    let parent = rustix::process::getppid();
    let mut lock_got = word != "waits-for-lock";
    while rustix::process::getppid() == parent {
        if service.hung_up.swap(false, Ordering::SeqCst) {
            service.log = open_log(folder)?;
            held.clear();
        }
        match word {
            "hang" => {}
            "idle" => service.beat(false)?,
            "stop" => {
                let own = rustix::process::getpid();
                kill_process(own, Signal::STOP)?;
            }
            "spin" => {
                busy(BEAT * 4);
                continue;
            }
            "spin-at-work" => {
                busy(BEAT * 4);
                service.beat(true)?;
                continue;
            }
            "waits-for-lock" => {
                lock_got = lock_got || OpenOptions::new().write(true).create_new(true).open(argument).is_ok();
                service.beat(lock_got)?;
            }
            "errors" => service.errors(argument)?,
            "silent" => {
                service.count += 1;
                write(&folder.join("progress"), &service.count.to_string())?;
            }
            "split" => service.split(argument)?,
            "classes" => service.classes(argument)?,
            _ => service.beat(true)?,
        }
        thread::sleep(BEAT);
    }
    black_box((&memory, &held));
    Ok(0)
}

impl Service {
    /// Shows that it lives, and that it gets work done.
    fn beat(&mut self, works: bool) -> io::Result<()> {
        self.count += 1;
        write(&self.folder.join("beat"), &self.count.to_string())?;
        if works {
            write(&self.folder.join("progress"), &self.count.to_string())?;
            writeln!(self.log, "info done")?;
        }
        Ok(())
    }

    /// Writes errors into a log until the breaker is open: `LOG BREAKER same|different N`.
    fn errors(&mut self, argument: &str) -> io::Result<()> {
        let words: Vec<&str> = argument.split(' ').collect();
        let [log, breaker, kind, most] = words.as_slice() else { return Err(io::ErrorKind::InvalidInput.into()) };
        let most: u64 = most.parse().unwrap_or(0);
        if !Path::new(breaker).exists() && self.count < most {
            let mut file = OpenOptions::new().append(true).create(true).open(log)?;
            for _ in 0..10 {
                self.count += 1;
                let word = if *kind == "same" { String::new() } else { letters(self.count) };
                writeln!(file, "error: request {} refused by upstream {word}", self.count)?;
            }
        }
        write(&self.folder.join("beat"), &format!("{:?}", Instant::now()))
    }

    /// Classes of work of which all, or all but one, move: `FILE all|some`.
    fn classes(&mut self, argument: &str) -> io::Result<()> {
        let Some((file, kind)) = argument.split_once(' ') else { return Err(io::ErrorKind::InvalidInput.into()) };
        self.count += 1;
        let third = if kind == "all" { self.count } else { 0 };
        let counted = serde_json::json!({"classes": {"one": self.count, "two": self.count, "three": third}});
        write(Path::new(file), &counted.to_string())
    }

    /// Reads that succeed, and writes of which some fail until the breaker is open: `FILE BREAKER PERCENT`.
    fn split(&mut self, argument: &str) -> io::Result<()> {
        let words: Vec<&str> = argument.split(' ').collect();
        let [file, breaker, percent] = words.as_slice() else { return Err(io::ErrorKind::InvalidInput.into()) };
        let percent: u64 = percent.parse().unwrap_or(0);
        let before =
            fs::read_to_string(file).ok().and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
        let known = |op: &str, what: &str| before.as_ref().and_then(|all| all[op][what].as_u64()).unwrap_or(0);
        let (mut read, mut ok, mut failed) = (known("read", "ok"), known("write", "ok"), known("write", "failed"));
        let open = Path::new(breaker).exists();
        for n in 0..20 {
            read += u64::from(fs::read_dir(&self.folder).is_ok());
            if !open {
                // A write into a folder that is not there fails in truth.
                let folder = if n * 100 / 20 < percent { self.folder.join("not-there") } else { self.folder.clone() };
                if fs::write(folder.join("held"), "x").is_ok() { ok += 1 } else { failed += 1 }
            }
        }
        let counted = serde_json::json!({"read": {"ok": read, "failed": 0}, "write": {"ok": ok, "failed": failed}});
        write(Path::new(file), &counted.to_string())
    }
}

/// A word without digits for a number.
fn letters(number: u64) -> String {
    let digit = |digit: u8| char::from(b'k' + digit - b'0');
    number.to_string().bytes().map(digit).collect()
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let fresh = path.with_extension("new");
    fs::write(&fresh, text)?;
    fs::rename(fresh, path)
}

fn open_log(folder: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(folder.join("child.log"))
}

fn busy(span: Duration) {
    let end = Instant::now() + span;
    while Instant::now() < end {
        black_box(end);
    }
}

fn ended_child() -> io::Result<()> {
    let program = std::env::current_exe()?;
    #[expect(clippy::disallowed_methods, reason = "a throw-away process whose end nobody waits for, on purpose")]
    let mut command = Command::new(program);
    command.args(["drill-child", "ends"]).env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    std::mem::forget(command.spawn()?);
    Ok(())
}

fn finds_tool(argument: &str) -> bool {
    // `ENVIRONMENT-FILE TOOL`
    let Some((file, tool)) = argument.split_once(' ') else { return false };
    let text = fs::read_to_string(file).unwrap_or_default();
    let path = text.lines().find_map(|line| line.strip_prefix("PATH=")).unwrap_or_default();
    path.split(':').any(|folder| !folder.is_empty() && Path::new(folder).join(tool).exists())
}

/// The address that a service's folder, or another file, names.
fn connected(port_file: &str) -> Option<TcpStream> {
    let address = fs::read_to_string(port_file).ok()?.trim().parse().ok()?;
    TcpStream::connect_timeout(&address, ANSWER).ok()
}

fn answer(listener: &TcpListener, slow: Duration) {
    for mut stream in listener.incoming().flatten() {
        thread::sleep(slow);
        // Whoever asked may be gone.
        drop(stream.write_all(b"ok\n"));
    }
}

/// Asks a service: 0 when it answers.
fn probe(folder: &Path) -> u8 {
    let asked = || {
        let mut stream = connected(&folder.join("port").display().to_string())?;
        stream.set_read_timeout(Some(ANSWER)).ok()?;
        let mut said = [0; 2];
        stream.read_exact(&mut said).ok()?;
        (&said == b"ok").then_some(())
    };
    u8::from(asked().is_none())
}

fn listen_for_hangup(hung_up: &Arc<AtomicBool>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (ready, is_ready) = std::sync::mpsc::channel();
    let flag = Arc::clone(hung_up);
    thread::spawn(move || {
        runtime.block_on(async {
            let hangups = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup());
            let told = ready.send(hangups.is_ok());
            let (Ok(()), Ok(mut hangups)) = (told, hangups) else { return };
            while hangups.recv().await.is_some() {
                flag.store(true, Ordering::SeqCst);
            }
        });
    });
    if is_ready.recv().unwrap_or(false) { Ok(()) } else { Err(io::Error::other("no signal can be heard")) }
}
