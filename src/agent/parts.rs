//! Everything that a command or the agent works with, opened once and in order.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;

use crate::domain::chain::PeerState;
use crate::domain::envelope::HostKey;
use crate::domain::id::{HostId, MeshName, PeerName};
use crate::loops::exchange::{self, Exchange, ExchangeError, SyncReport};
use crate::loops::library::{self, Library, LibraryError, Sources};
use crate::ports::{Clock as _, RemoteError};
use crate::store::config::{Config, ConfigError};
use crate::store::db::{Db, DbError};
use crate::store::files::{self, FileError};
use crate::store::home::{AgentLock, Home, HomeError};
use crate::store::keyring::{self, Keyring, KeyringError};
use crate::store::spool::Spool;
use crate::store::voices::Listener;
use crate::sys::auditor::WorkerAuditor;
use crate::sys::cache::BranchCache;
use crate::sys::clock::SystemClock;
use crate::sys::host;
use crate::sys::remote::{Address, GitRemote, RemoteConfig, TokenSource};

/// Why a home cannot be worked with.
#[derive(Debug, thiserror::Error)]
pub enum PartsError {
    /// The home.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The keys.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The address of the remote.
    #[error("`remote.url` in the config is not usable")]
    Address(#[source] RemoteError),
    /// The system gives no random numbers or no path of this program.
    #[error("the system does not give {0}")]
    System(&'static str),
    /// The repository inside the home cannot be made.
    #[error("cannot make the repository {path}: {why}", path = path.display())]
    Repository {
        /// Where.
        path: PathBuf,
        /// Why not.
        why: String,
    },
}

/// What a new home is to be.
#[derive(Clone, Debug)]
pub struct SetUp {
    /// The host's local name.
    pub name: PeerName,
    /// The mesh.
    pub mesh: MeshName,
    /// The remote; a bare repository inside the home when absent.
    pub remote: Option<String>,
    /// The branch.
    pub branch: String,
    /// What to audit.
    pub roots: Vec<PathBuf>,
}

/// A home, opened.
pub struct Parts {
    /// The directory.
    pub home: Home,
    /// The configuration.
    pub config: Config,
    /// This host's key.
    pub key: HostKey,
    /// Who is trusted here.
    pub keyring: Keyring,
    /// The truth.
    pub db: Db,
    /// The folders for people.
    pub spool: Spool,
    /// The clock.
    pub clock: SystemClock,
    program: PathBuf,
}

impl Parts {
    /// Opens a home that is set up.
    ///
    /// # Errors
    /// The first part that is not in order.
    pub fn open(home: Home) -> Result<Self, PartsError> {
        home.demand()?;
        let config = Config::load(&home)?;
        let db = Db::open(&home.database())?;
        keyring::finish_move(&home, &db, &config.name)?;
        let key = keyring::load_host_key(&home)?;
        let keyring = Keyring::load_with_roster(&home, &db, SystemClock.now())?;
        let spool = Spool::of(&home);
        let program = std::env::current_exe().map_err(|_| PartsError::System("the path of this program"))?;
        Ok(Self { home, config, key, keyring, db, spool, clock: SystemClock, program })
    }

    /// Makes what is missing of a home: folders, key, config, and the repository inside it where no other
    /// remote is named. What is there stays as it is.
    ///
    /// # Errors
    /// The system refused.
    pub fn set_up(home: Home, wanted: &SetUp) -> Result<Self, PartsError> {
        home.create()?;
        let config = home.config_file();
        if config.symlink_metadata().is_err() {
            let url = match &wanted.remote {
                Some(url) => url.clone(),
                None => {
                    let path = home.state().join("remote.git");
                    host::make_bare_repository(&path, &wanted.branch)
                        .map_err(|why| PartsError::Repository { path: path.clone(), why })?;
                    path.display().to_string()
                }
            };
            files::write_whole(&config, config_text(wanted, &url).as_bytes(), 0o600)?;
        }
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|_| PartsError::System("random numbers"))?;
        keyring::create_host_key(&home, &seed, &wanted.name)?;
        Self::open(home)
    }

    /// Reads keys and configuration again: peers are enrolled and revoked while the agent runs.
    ///
    /// # Errors
    /// A key file is not in order, since trust is never guessed. A config that is not in order is named, and the
    /// one that was read before stays.
    pub fn refresh(&mut self) -> Result<Option<ConfigError>, PartsError> {
        self.keyring = Keyring::load_with_roster(&self.home, &self.db, self.now())?;
        self.key = keyring::load_host_key(&self.home)?;
        match Config::load(&self.home) {
            Ok(config) => {
                self.config = config;
                Ok(None)
            }
            Err(error) => Ok(Some(error)),
        }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Takes the lock of the home: one agent signs and syncs.
    ///
    /// # Errors
    /// Another one has it.
    pub fn lock(&self) -> Result<AgentLock, PartsError> {
        Ok(self.home.lock()?)
    }

    /// How a peer stands here; revoked is what a person said of its key, unless that is proved to have forked.
    ///
    /// # Errors
    /// The database failed.
    pub fn peer_state(&self, host: HostId) -> Result<PeerState, DbError> {
        let state = self.db.peer(host)?.map_or(PeerState::Unseen, |row| row.state);
        let revoked = self.keyring.revoked(host).is_some() && state != PeerState::Quarantined;
        Ok(if revoked { PeerState::Revoked } else { state })
    }

    /// The audit worker.
    #[must_use]
    pub fn auditor(&self) -> WorkerAuditor<SystemClock> {
        WorkerAuditor::new(self.program.clone(), self.home.state().join("audit"), self.clock)
    }

    /// An audit worker that keeps what it knows of files below `state`.
    #[must_use]
    pub fn auditor_at(&self, state: PathBuf) -> WorkerAuditor<SystemClock> {
        WorkerAuditor::new(self.program.clone(), state, self.clock)
    }

    /// The shared branch on its server.
    ///
    /// # Errors
    /// Its address is of no known form.
    pub fn remote(&self) -> Result<GitRemote, PartsError> {
        let remote = &self.config.remote;
        let address = remote.url.parse::<Address>().map_err(PartsError::Address)?;
        let token = match (&remote.token_file, &remote.token_env) {
            (Some(path), _) => Some(TokenSource::File(path.clone())),
            (None, Some(name)) => Some(TokenSource::Env(name.clone())),
            (None, None) => None,
        };
        let config = RemoteConfig {
            branch: remote.branch.clone(),
            layout: remote.layout,
            username: remote.username.clone(),
            token,
            ssh_options: remote.ssh_options.clone(),
            ..RemoteConfig::new(address)
        };
        Ok(GitRemote::new(&self.program, self.cache(), config))
    }

    /// The local cache of the shared branch.
    #[must_use]
    pub fn branch(&self) -> BranchCache {
        BranchCache::new(self.cache())
    }

    fn cache(&self) -> PathBuf {
        self.home.state().join("cache.git")
    }

    /// Runs one sync. Hold the lock.
    ///
    /// # Errors
    /// This host's own state failed, or it may not sign.
    pub fn sync(&mut self) -> Result<SyncReport, SyncError> {
        let next = keyring::load_next_key(&self.home).map_err(PartsError::from)?;
        let report = self.sync_once(next.as_ref().map(HostKey::host))?;
        let Some(next) = next else { return Ok(report) };
        let now = self.now();
        if !exchange::switch(&mut self.db, &self.config.mesh, &self.key, &next, now).map_err(PartsError::from)? {
            return Ok(report);
        }
        keyring::finish_move(&self.home, &self.db, &self.config.name).map_err(PartsError::from)?;
        self.key = next;
        // The peers know the new key by its first entry.
        self.sync_once(None)
    }

    /// Who listens here to what hosts attest.
    #[must_use]
    pub fn listener(&self) -> Listener<'_> {
        Listener {
            db: &self.db,
            keyring: &self.keyring,
            me: self.key.host(),
            max_grant: self.config.max_grant,
            turn: self.config.turn(),
        }
    }

    fn sync_once(&mut self, next: Option<HostId>) -> Result<SyncReport, SyncError> {
        let mut remote = self.remote()?;
        let cache = self.cache();
        let branch = BranchCache::new(&cache);
        let now = self.now();
        let mut exchange = Exchange {
            mesh: &self.config.mesh,
            key: &self.key,
            name: &self.config.name,
            next,
            keyring: &mut self.keyring,
            db: &mut self.db,
            spool: &self.spool,
            remote: &mut remote,
            branch: &branch,
            machine: host::machine_id(),
        };
        Ok(exchange::sync(&mut exchange, now)?)
    }

    /// The lessons that hold here, each admitted by the audit worker once.
    ///
    /// # Errors
    /// This host's own state failed.
    pub fn library(&mut self) -> Result<Library, LibraryError> {
        let mut auditor = self.auditor();
        let now = self.now();
        let mut sources = Sources {
            home: &self.home,
            db: &mut self.db,
            keyring: &self.keyring,
            me: self.key.host(),
            max_grant: self.config.max_grant,
            turn: self.config.turn(),
            founding: self.config.founding,
            environment: &environment(),
        };
        library::gather(&mut sources, &mut auditor, now)
    }
}

/// Why a sync did not start or was broken off.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// A part is not in order.
    #[error(transparent)]
    Parts(#[from] PartsError),
    /// The exchange stopped.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
}

/// What this host is, for lessons that were calibrated elsewhere.
pub(super) fn environment() -> BTreeMap<String, String> {
    let mut environment = BTreeMap::from([
        ("os".to_owned(), std::env::consts::OS.to_owned()),
        ("arch".to_owned(), std::env::consts::ARCH.to_owned()),
    ]);
    if let Some(distro) = host::distribution() {
        environment.insert("distro".to_owned(), distro);
    }
    environment
}

fn config_text(wanted: &SetUp, url: &str) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let mut text = format!(
        "# This host's part in the mesh. Check it with `mesh config check`; see docs/operations.md.\n\
         name = {}\nmesh = {}\n\n[remote]\nurl = {}\nbranch = {}\n",
        quoted(wanted.name.as_str()),
        quoted(wanted.mesh.as_str()),
        quoted(url),
        quoted(&wanted.branch),
    );
    for root in &wanted.roots {
        text.push_str(&format!(
            "\n[[audit.root]]\npath = {}\n# check = [\"make\", \"test\"]   # runs in a scratch copy of each fix\n",
            quoted(&root.display().to_string())
        ));
    }
    text
}
