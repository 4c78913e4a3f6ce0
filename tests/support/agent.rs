//! The real program: a home of its own, and an agent in it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};

use super::project::git;

/// A home with an agent in it. The agent goes with it.
pub(crate) struct Agent {
    above: tempfile::TempDir,
    running: Option<(Child, BufReader<ChildStderr>)>,
    said: String,
}

impl Agent {
    pub(crate) fn new(config: &str) -> Self {
        let agent = Self { above: tempfile::tempdir().expect("a temp dir"), running: None, said: String::new() };
        git(agent.above.path(), &["init", "-q", "--bare", "remote.git"]);
        let remote = agent.above.path().join("remote.git");
        let remote = remote.to_str().expect("UTF-8");
        assert!(
            agent
                .command(&["init", "--name", "a", "--mesh", "m", "--remote", remote])
                .output()
                .expect("runs")
                .status
                .success()
        );
        agent.configure(config);
        agent
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.above.path().join("home")
    }

    /// What a command prints as JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let output = self.command(arguments).output().expect("mesh runs");
        let said = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{arguments:?}: {said}"))
    }

    pub(crate) fn configure(&self, config: &str) {
        fs::write(self.home().join("config/conf.d/test.toml"), config).expect("written");
    }

    #[expect(clippy::disallowed_methods, reason = "tests drive the real program")]
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mesh"));
        command.args(arguments).env_clear().env("PATH", std::env::var_os("PATH").expect("a PATH"));
        command.env("HOME", self.above.path()).env("MESH_HOME", self.home()).current_dir(self.above.path());
        command
    }

    /// Starts the agent and returns the address that it serves.
    pub(crate) fn start(&mut self) -> String {
        self.start_quietly();
        let line = self.wait_for("serving http://");
        line.trim().trim_start_matches("serving http://").trim_end_matches("/health").to_owned()
    }

    pub(crate) fn start_quietly(&mut self) {
        self.start_with(&["run"]);
    }

    pub(crate) fn start_with(&mut self, arguments: &[&str]) {
        let mut child =
            self.command(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("mesh runs");
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        self.running = Some((child, stderr));
    }

    /// Reads what the agent says up to a line with `text`.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        let (_, stderr) = self.running.as_mut().expect("running");
        loop {
            let mut line = String::new();
            let read = stderr.read_line(&mut line).expect("read");
            self.said.push_str(&line);
            assert!(read > 0, "the agent ended without `{text}`:\n{}", self.said);
            if line.contains(text) {
                return line;
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.running.as_ref().expect("running").0.id()
    }

    /// What the agent said so far.
    pub(crate) fn said(&self) -> &str {
        &self.said
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let (child, _) = self.running.as_ref().expect("running");
        rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).expect("sent");
    }
}

impl Agent {
    /// Kills the agent, if it runs, and waits until it is gone.
    pub(crate) fn end(&mut self) {
        if let Some((mut child, _)) = self.running.take() {
            // It may have ended by itself.
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Waits until the agent has ended by itself, as it was told to.
    pub(crate) fn wait(&mut self) -> std::process::ExitStatus {
        let (mut child, stderr) = self.running.take().expect("running");
        drop(stderr);
        child.wait().expect("waited for")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.end();
    }
}
