//! The home directory: where it is, its layout, and the lock that lets one agent run in it.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::files::{self, FileError};
use crate::domain::service::Process;

/// Where to look for the home.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// `--home`.
    pub asked: Option<PathBuf>,
    /// `$MESH_HOME`.
    pub mesh_home: Option<PathBuf>,
    /// The current directory.
    pub current: PathBuf,
    /// Whether root runs mesh.
    pub is_root: bool,
    /// `$XDG_DATA_HOME`, or `$HOME/.local/share`.
    pub data: Option<PathBuf>,
}

/// Why the home cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// No place was found for it.
    #[error("no home directory: set MESH_HOME, or HOME")]
    Nowhere,
    /// Not set up.
    #[error("{home} is not set up: run `mesh up` or `mesh init` first", home = home.display())]
    NotSetUp {
        /// The home.
        home: PathBuf,
    },
    /// Another agent runs in it.
    #[error("another mesh works in {home}: stop it, or wait until it is done", home = home.display())]
    Locked {
        /// The home.
        home: PathBuf,
    },
    /// A file or folder of it cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
}

/// A home directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    root: PathBuf,
}

/// Held while one agent, or one command that signs or syncs, works in a home.
#[derive(Debug)]
pub struct AgentLock {
    file: File,
}

impl AgentLock {
    /// Says who holds it, for those who want to tell the agent something. A command that holds it says nothing.
    ///
    /// # Errors
    /// The system refused.
    pub fn name_holder(&mut self, agent: Process) -> std::io::Result<()> {
        use std::io::Write as _;
        writeln!(self.file, "{} {}", agent.pid, agent.start_ticks)
    }
}

/// Held while something that people use is changed or judged: one process at a time, so that budgets hold between the
/// agent and a person's command.
#[derive(Debug)]
pub struct ChangeLock {
    _file: File,
}

impl Home {
    /// Finds the home: the asked one, `$MESH_HOME`, the current directory when it holds
    /// `config/mesh.toml`, `/var/lib/mesh` as root, else the user's data directory.
    ///
    /// # Errors
    /// There is no place for it.
    pub fn locate(surroundings: &Surroundings) -> Result<Self, HomeError> {
        let chosen = surroundings.asked.clone().or_else(|| surroundings.mesh_home.clone());
        let root = match chosen {
            Some(chosen) => chosen,
            None if surroundings.current.join("config/mesh.toml").is_file() => surroundings.current.clone(),
            None if surroundings.is_root => PathBuf::from("/var/lib/mesh"),
            None => surroundings.data.as_ref().ok_or(HomeError::Nowhere)?.join("mesh"),
        };
        Ok(Self { root: surroundings.current.join(root) })
    }

    /// The home at `root`.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Makes the layout; what is there stays.
    ///
    /// # Errors
    /// The system refused.
    pub fn create(&self) -> Result<(), HomeError> {
        let dirs = ["config/conf.d", "config/rules", "config/lessons", "keys/peers", "keys/revoked", "outbox"];
        for dir in dirs.into_iter().chain(["inbox/rejected", "state/worktrees", "state/undo", "state/audit"]) {
            files::make_dir(&self.root.join(dir))?;
        }
        // Copies of other people's projects and our own caches are no state of mesh that an audit should judge.
        let ignore = self.state().join(".ignore");
        if ignore.symlink_metadata().is_err() {
            files::write_whole(&ignore, b"/audit/\n/cache.git/\n/remote.git/\n/undo/\n/worktrees/\n", 0o600)?;
        }
        Ok(())
    }

    /// Demands a home that is set up and that only its owner can change.
    ///
    /// # Errors
    /// Not set up, loose modes, foreign owners.
    pub fn demand(&self) -> Result<(), HomeError> {
        if !self.config_file().is_file() {
            return Err(HomeError::NotSetUp { home: self.root.clone() });
        }
        for dir in
            [self.root.clone(), self.keys(), self.keys().join("peers"), self.keys().join("revoked"), self.state()]
        {
            files::demand_own_dir(&dir)?;
        }
        let admins = self.keys().join("admins");
        if admins.symlink_metadata().is_ok() {
            files::demand_own_dir(&admins)?;
        }
        Ok(())
    }

    /// Takes the lock that one agent holds.
    ///
    /// # Errors
    /// Another one holds it.
    pub fn lock(&self) -> Result<AgentLock, HomeError> {
        let path = self.state().join("agent.lock");
        let file = File::options().create(true).append(true).open(&path).map_err(FileError::io("open", &path))?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| HomeError::Locked { home: self.root.clone() })?;
        // Whoever held it before may have been killed before it could take its name away.
        file.set_len(0).map_err(FileError::io("clear", &path))?;
        Ok(AgentLock { file })
    }

    /// The agent that holds the lock now; `None` when nobody does, or a command.
    ///
    /// # Errors
    /// The system refused.
    pub fn agent(&self) -> Result<Option<Process>, HomeError> {
        let path = self.state().join("agent.lock");
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(FileError::io("open", &path)(error).into()),
        };
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
            return Ok(None);
        }
        let text = files::read_text(&path, 64)?;
        let mut numbers = text.split_ascii_whitespace();
        let agent = numbers.next().and_then(|pid| pid.parse().ok()).zip(numbers.next().and_then(|at| at.parse().ok()));
        Ok(agent.map(|(pid, start_ticks)| Process { pid, start_ticks }))
    }

    /// Takes the lock under which changes are made; waits until it is free. It ends with the process that holds it.
    ///
    /// # Errors
    /// The system refused.
    pub fn lock_changes(&self) -> Result<ChangeLock, HomeError> {
        let path = self.state().join("changes.lock");
        let file = File::options().create(true).append(true).open(&path).map_err(FileError::io("open", &path))?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive)
            .map_err(|error| FileError::io("lock", &path)(error.into()))?;
        Ok(ChangeLock { _file: file })
    }

    /// The directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `config/mesh.toml`.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.root.join("config/mesh.toml")
    }

    /// `config/`.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.root.join("config")
    }

    /// `keys/`.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// `outbox/`.
    #[must_use]
    pub fn outbox(&self) -> PathBuf {
        self.root.join("outbox")
    }

    /// `inbox/`.
    #[must_use]
    pub fn inbox(&self) -> PathBuf {
        self.root.join("inbox")
    }

    /// `state/`.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    /// `state/mesh.db`.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.state().join("mesh.db")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_home_is_found_in_the_documented_order() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let mut around = Surroundings {
            asked: Some("asked".into()),
            mesh_home: Some("/env".into()),
            current: dir.path().to_owned(),
            is_root: true,
            data: Some("/data".into()),
        };
        let root = |around: &Surroundings| Home::locate(around).expect("a place").root().to_owned();
        assert_eq!(root(&around), dir.path().join("asked"));
        around.asked = None;
        assert_eq!(root(&around), Path::new("/env"));
        around.mesh_home = None;
        assert_eq!(root(&around), Path::new("/var/lib/mesh"));
        std::fs::create_dir(dir.path().join("config")).expect("made");
        std::fs::write(dir.path().join("config/mesh.toml"), "").expect("written");
        assert_eq!(root(&around), dir.path());
        std::fs::remove_dir_all(dir.path().join("config")).expect("removed");
        around.is_root = false;
        assert_eq!(root(&around), Path::new("/data/mesh"));
        around.data = None;
        assert!(matches!(Home::locate(&around), Err(HomeError::Nowhere)));
    }

    #[test]
    fn one_agent_works_in_a_home() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let home = Home::at(dir.path());
        home.create().expect("made");
        let mut lock = home.lock().expect("free");
        assert!(matches!(home.lock(), Err(HomeError::Locked { .. })));
        assert_eq!(home.agent().expect("read"), None, "a command is no agent");
        let agent = Process { pid: 42, start_ticks: 7 };
        lock.name_holder(agent).expect("written");
        assert_eq!(home.agent().expect("read"), Some(agent));
        drop(lock);
        assert_eq!(home.agent().expect("read"), None, "the name of one that is gone is nobody's");
        let _command = home.lock().expect("free again");
        assert_eq!(home.agent().expect("read"), None, "nor is it that of a command which comes after it");
    }
}
