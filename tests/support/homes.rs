//! Homes of the real binary: set up, enrolled, driven by its own command line.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use mesh::sys::clock::AHEAD;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A host: its home below a common temporary folder.
pub(crate) struct Host {
    /// Its home.
    pub(crate) home: PathBuf,
}

impl Host {
    /// A new home with `remote`.
    pub(crate) fn new(above: &Path, name: &str, remote: &str) -> Self {
        let host = Self { home: above.join(name) };
        host.ok(&["init", "--name", name, "--mesh", "home", "--remote", remote]);
        host
    }

    /// The binary, with this home and nothing of the machine's environment.
    #[expect(clippy::disallowed_methods, reason = "tests drive the real binary")]
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mesh"));
        command.arg("--home").arg(&self.home).args(arguments);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", &self.home);
        command
    }

    /// Runs the binary.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the binary starts")
    }

    /// Runs the binary, which must end with 0, and returns what it printed.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        let stdout = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(output.status.success(), "mesh {arguments:?}: {:?}\n{stdout}\n{stderr}", output.status);
        stdout
    }

    /// Runs the binary with `--json`, which must end with 0.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let text = self.ok(&[&["--json"], arguments].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("mesh {arguments:?}: {error}: {text}"))
    }

    /// Starts the agent for one round, and returns what it said.
    pub(crate) fn one_round(&self, arguments: &[&str]) -> Vec<String> {
        self.one_round_ahead(arguments, 0)
    }

    /// The same by clocks that are `ahead` by so many seconds.
    pub(crate) fn one_round_ahead(&self, arguments: &[&str], ahead: u32) -> Vec<String> {
        let mut command = self.command(arguments);
        command.env(AHEAD, ahead.to_string());
        let mut agent = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("starts");
        let stdout = BufReader::new(agent.stdout.take().expect("piped"));
        let mut said = Vec::new();
        for line in stdout.lines() {
            said.push(line.expect("UTF-8"));
            if said.last().is_some_and(|line| line.starts_with("Next round in ")) {
                break;
            }
        }
        kill_process(Pid::from_child(&agent), Signal::TERM).expect("it runs");
        assert!(agent.wait().expect("it ends").success(), "{said:?}");
        said
    }

    /// Trusts `other` under its name.
    pub(crate) fn enroll(&self, name: &str, other: &Host) {
        self.ok(&["enroll", name, other.ok(&["id"]).trim()]);
    }

    /// Puts a founding lesson under another name into `config/lessons/`, as if a person had written it.
    pub(crate) fn author(&self, id: &str) {
        let (_, text) = mesh::founding::ALL
            .iter()
            .find(|(name, _)| *name == "rename-without-fsync.toml")
            .expect("a founding lesson");
        let text = text.replacen("id = \"rename-without-fsync\"", &format!("id = \"{id}\""), 1);
        std::fs::write(self.home.join("config/lessons").join(format!("{id}.toml")), text).expect("written");
    }
}
