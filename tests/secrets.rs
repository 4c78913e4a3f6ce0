//! Planted secrets: what a person wrote by mistake, and the key itself, are looked for wherever mesh writes.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mesh::domain::openssh;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::homes::Host;

/// What must not leave the host, each as a person might paste it into a lesson.
const PLANTS: [&str; 8] = [
    "ghp_0123456789abcdefghijABCDEFGHIJ012345",
    "AKIAIOSFODNN7EXAMPLE",
    "xoxb-123456789012-abcdefghijkl",
    "hunter2-of-the-database",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
    "operator@example-of-mine.org",
    "/home/operator",
    "198.18.7.21",
];

fn git(directory: &Path, arguments: &[&str]) -> Vec<u8> {
    #[expect(clippy::disallowed_methods, reason = "a test looks into the remote with git itself")]
    let output = Command::new("git").arg("-C").arg(directory).args(arguments).output();
    let output = output.expect("git is installed: `apt-get install git`");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("listed") {
        let path = entry.expect("listed").path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found
}

/// The bytes, and every base64 text in them decoded: payloads are written that way.
fn readings(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut all = vec![bytes.to_vec()];
    let words = bytes.split(|byte| !(byte.is_ascii_alphanumeric() || b"+/=".contains(byte)));
    all.extend(words.filter(|word| word.len() >= 40).filter_map(|word| STANDARD.decode(word).ok()));
    all
}

fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    readings(bytes).iter().any(|bytes| bytes.windows(needle.len()).any(|window| window == needle))
}

/// A host whose lesson holds every plant, published; and what it printed meanwhile.
fn published(dir: &Path) -> (Host, PathBuf, Vec<u8>) {
    git(dir, &["init", "-q", "--bare", "remote.git"]);
    let remote = dir.join("remote.git");
    let host = Host::new(dir, "author", remote.to_str().expect("UTF-8"));
    host.author("planted");
    let path = host.home.join("config/lessons/planted.toml");
    let text = std::fs::read_to_string(&path).expect("written");
    let planted = format!(
        "because = \"\"\"\nSeen with {} and {} and {}, password = \"{}\", Bearer {}, told by {} in {} from {}.\n",
        PLANTS[0], PLANTS[1], PLANTS[2], PLANTS[3], PLANTS[4], PLANTS[5], PLANTS[6], PLANTS[7],
    );
    assert!(text.contains("because = \"\"\"\n"), "the lesson gives its reason in lines");
    let text = text.replacen("because = \"\"\"\n", &planted, 1);
    std::fs::write(&path, text).expect("written");
    let mut said = Vec::new();
    for arguments in [
        &["outbox", "publish", "planted"][..],
        &["--json", "outbox", "list"],
        &["outbox", "preview", "planted"],
        &["status"],
        &["--json", "peers"],
        &["sync", "--once"],
        &["config", "show"],
        &["doctor"],
        &["--json", "id"],
    ] {
        let output = host.run(arguments);
        said.extend(output.stdout);
        said.extend(output.stderr);
    }
    (host, remote, said)
}

#[test]
fn what_a_person_pasted_into_a_lesson_stays_on_this_host() {
    let dir = tempfile::tempdir().expect("a temp dir");
    let (host, remote, said) = published(dir.path());
    let objects = git(&remote, &["cat-file", "--batch-all-objects", "--batch"]);
    assert!(holds(&objects, b"rename-without-fsync") || holds(&objects, b"planted"), "the lesson was published");
    for plant in PLANTS {
        assert!(!holds(&objects, plant.as_bytes()), "{plant} is on the remote");
        assert!(!holds(&said, plant.as_bytes()), "{plant} was printed");
        let written = std::fs::read_to_string(host.home.join("config/lessons/planted.toml")).expect("read");
        assert!(written.contains(plant), "{plant} was planted at all");
        for file in files_below(&host.home).iter().filter(|file| !file.ends_with("config/lessons/planted.toml")) {
            let bytes = std::fs::read(file).expect("read");
            assert!(!holds(&bytes, plant.as_bytes()), "{plant} is in {}", file.display());
        }
    }
}

#[test]
fn t30_the_private_key_is_in_its_file_and_nowhere_else() {
    let dir = tempfile::tempdir().expect("a temp dir");
    let (host, remote, said) = published(dir.path());
    let key_file = host.home.join("keys/host.key");
    let key = openssh::parse_private(&std::fs::read_to_string(&key_file).expect("read")).expect("a key");
    let seed = key.seed();
    let hex: String = seed.iter().map(|byte| format!("{byte:02x}")).collect();
    let forms = [seed.to_vec(), hex.into_bytes(), STANDARD.encode(seed).into_bytes()];
    let objects = git(&remote, &["cat-file", "--batch-all-objects", "--batch"]);
    assert!(holds(&std::fs::read(&key_file).expect("read"), &forms[0]), "the search finds a key where there is one");
    for form in &forms {
        assert!(!holds(&objects, form) && !holds(&said, form));
        for file in files_below(&host.home).iter().filter(|file| **file != key_file) {
            assert!(!holds(&std::fs::read(file).expect("read"), form), "the key is in {}", file.display());
        }
    }
}

/// Starts `words` where cores are written, kills it so that one is, and says whether one was, and what it had said.
#[expect(clippy::disallowed_methods, reason = "a test starts what it kills")]
fn killed_for_a_core(dir: &Path, words: &[&std::ffi::OsStr], until: &str) -> (bool, String) {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -c unlimited && echo begins >&2 && exec \"$@\"", "sh"]).args(words).current_dir(dir);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", dir);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("sh runs");
    let mut said = String::new();
    let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
    while !said.contains(until) {
        let read = stderr.read_line(&mut said).expect("read");
        assert!(read > 0, "it ended without `{until}`: {said}");
    }
    kill_process(Pid::from_child(&child), Signal::ABORT).expect("it runs");
    drop(stderr.read_to_string(&mut said));
    (child.wait().expect("it ends").core_dumped(), said)
}

#[test]
fn t30_no_core_of_the_agent_is_written_and_its_log_has_no_key() {
    let dir = tempfile::tempdir().expect("a temp dir");
    let sleep = ["sleep", "100"].map(std::ffi::OsStr::new);
    let (written, _) = killed_for_a_core(dir.path(), &sleep, "begins");
    assert!(written, "this system writes no cores at all, so nothing is shown: raise `ulimit -H -c`");

    git(dir.path(), &["init", "-q", "--bare", "remote.git"]);
    let host = Host::new(dir.path(), "a", dir.path().join("remote.git").to_str().expect("UTF-8"));
    std::fs::write(host.home.join("config/conf.d/http.toml"), "[http]\nlisten = \"127.0.0.1:0\"\n").expect("written");
    let binary = std::ffi::OsStr::new(env!("CARGO_BIN_EXE_mesh"));
    let run = [binary, "--home".as_ref(), host.home.as_os_str(), "run".as_ref()];
    let (written, said) = killed_for_a_core(dir.path(), &run, "serving http://");
    assert!(!written, "a core of the agent was written");
    let key = std::fs::read_to_string(host.home.join("keys/host.key")).expect("read");
    let seed = openssh::parse_private(&key).expect("a key").seed();
    let hex: String = seed.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(!said.contains(&hex) && !holds(said.as_bytes(), &seed) && !said.contains("PRIVATE KEY"), "{said}");
}
