//! `config/mesh.toml` and `config/conf.d/*.toml`: each file is checked alone, the later one wins.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::files::{self, FileError};
use super::guard_config::{ApproveFile, ReserveConfig, ReserveFile};
use super::home::Home;
use super::maintenance::{self, WindowFile};
use super::model_config::{ModelConfig, ModelFile};
use super::notify_config::{self, ChannelConfig, NotifyFile};
use super::rule_config::{self, Declared, RulesConfig, RulesFile};
use super::service_config::{Service, ServiceSet};
use super::signal_config::{HttpConfig, HttpFile, SignalsConfig, SignalsFile, Watched, WatchedSet};
use super::toml_line;
use crate::domain::branch_path::Layout;
use crate::domain::guard::{ActionKind, Approvals};
use crate::domain::heal::target::Target;
use crate::domain::id::{MeshName, PeerName};
use crate::domain::kaizen::distill::Confirming;
use crate::domain::lesson::parse_span;
use crate::domain::maintenance::Window;
use crate::domain::pace::Pace;
use crate::domain::schedule::SYNC_INTERVAL;
use crate::domain::trust::Grant;
use crate::domain::wave::Turn;

const CONFIG_BYTES: u64 = 256 * 1024;

/// Why the configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A line is not right.
    #[error("{path}:{line}: {reason}", path = path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A key is missing in all files.
    #[error("{path}: `{key}` is missing: add `{example}`", path = path.display())]
    Missing {
        /// The main file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// A line that would do.
        example: &'static str,
    },
}

/// Time between two distillations.
const DISTILL: Span = Span(Duration::from_secs(86_400));
/// Time between two reviews.
const REVIEW: Span = Span(Duration::from_secs(7 * 86_400));

/// One file, as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    name: Option<PeerName>,
    mesh: Option<MeshName>,
    tags: Option<Vec<Tag>>,
    max_grant: Option<Grant>,
    #[serde(default)]
    waves: WavesFile,
    #[serde(default)]
    remote: RemoteFile,
    #[serde(default)]
    sync: SyncFile,
    #[serde(default)]
    audit: AuditFile,
    #[serde(default)]
    limits: LimitsFile,
    #[serde(default)]
    approve: ApproveFile,
    #[serde(default)]
    reserve: ReserveFile,
    #[serde(default)]
    lessons: LessonsFile,
    #[serde(default)]
    http: HttpFile,
    #[serde(default)]
    signals: SignalsFile,
    #[serde(default)]
    signal: WatchedSet,
    #[serde(default)]
    notify: Vec<NotifyFile>,
    #[serde(default)]
    service: ServiceSet,
    #[serde(default)]
    rules: RulesFile,
    #[serde(default)]
    model: ModelFile,
    target: Option<Vec<Declared>>,
    #[serde(default)]
    maintenance: Vec<WindowFile>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LessonsFile {
    founding: Option<bool>,
    distill: Option<Span>,
    review: Option<Span>,
    confirm: Option<Confirming>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RemoteFile {
    url: Option<String>,
    branch: Option<String>,
    layout: Option<Layout>,
    username: Option<String>,
    token_file: Option<PathBuf>,
    token_env: Option<String>,
    ssh_options: Option<Vec<String>>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WavesFile {
    first: Option<Vec<Tag>>,
    last: Option<Vec<Tag>>,
}

/// A word that says what a host is, such as `canary` or `rack-7`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String")]
struct Tag(String);

impl TryFrom<String> for Tag {
    type Error = String;

    fn try_from(tag: String) -> Result<Self, String> {
        if !maintenance::is_word(&tag) {
            return Err("a tag must be 1 to 64 of A-Z, a-z, 0-9, -, _ and .".to_owned());
        }
        Ok(Self(tag))
    }
}

fn words(tags: Option<Vec<Tag>>) -> Vec<String> {
    tags.unwrap_or_default().into_iter().map(|Tag(tag)| tag).collect()
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SyncFile {
    interval: Option<Span>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AuditFile {
    root: Option<Vec<AuditRoot>>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsFile {
    interventions_per_day: Option<u32>,
    branches_per_day: Option<u32>,
    concurrent: Option<NonZeroU32>,
    duplicate_window: Option<Span>,
    freeze_after: Option<NonZeroU32>,
    freeze_for: Option<Span>,
    validate_window: Option<Span>,
    keep_undo: Option<Span>,
    blocked_kinds: Option<Vec<ActionKind>>,
}

/// How much may be changed here, and how fast.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Most changes that mesh makes in 24 h.
    pub interventions_per_day: u32,
    /// Most branches that mesh makes or moves in 24 h.
    pub branches_per_day: u32,
    /// Most changes that are in place and not yet judged.
    pub concurrent: u32,
    /// Time in which the same action is not taken again.
    pub duplicate_window: Span,
    /// Reverts in a row after which an area is frozen.
    pub freeze_after: u32,
    /// How long it is frozen.
    pub freeze_for: Span,
    /// Least time between a change and its verdict.
    pub validate_window: Span,
    /// How long the way back of a change stays on disk after its verdict.
    pub keep_undo: Span,
    /// What no change may do here.
    pub blocked_kinds: Vec<ActionKind>,
}

/// A duration as it is written, such as `15m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        parse_span(&text)
            .filter(|span| !span.is_zero())
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom(format!("`{text}` is not a span such as 90s, 15m, 6h or 7d")))
    }
}

impl Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(&format_args!("{}s", self.0.as_secs()))
    }
}

/// A folder that is audited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditRoot {
    /// The folder; relative to the home when it is not absolute.
    pub path: PathBuf,
    /// The project's own check: a program and its arguments, run in a scratch copy of each fix.
    #[serde(default)]
    pub check: Vec<String>,
    /// How long the check may take.
    #[serde(default = "default_check_timeout")]
    pub check_timeout: Span,
    /// What tries a risky change after the check, in the same copy: a program and its arguments. `{file}` stands for the
    /// changed file. It takes the place of the checker that mesh knows for a kind of file.
    #[serde(default)]
    pub canary: Vec<String>,
    /// An instance of the service that is started from the copy and asked whether it works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<ShadowConfig>,
    /// Whose rights `check`, `canary` and `shadow` have; those of mesh where nobody is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Most memory that each process of a check may have for itself, in MiB.
    #[serde(default = "default_check_memory")]
    pub check_memory_mib: u32,
    /// Most changes that mesh makes in this folder in 24 h; the host's own limit when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_per_day: Option<u32>,
}

const fn default_check_timeout() -> Span {
    Span(Duration::from_secs(600))
}

const fn default_check_memory() -> u32 {
    4_096
}

/// An instance of a service that nobody uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShadowConfig {
    /// Starts it and stays: a program and its arguments.
    pub start: Vec<String>,
    /// Ends with 0 once it works: a program and its arguments.
    pub probe: Vec<String>,
    /// Time within which it must work.
    #[serde(default = "default_shadow_within")]
    pub within: Span,
}

const fn default_shadow_within() -> Span {
    Span(Duration::from_secs(30))
}

/// The shared branch and the way to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RemoteConfig {
    /// Its address: https, http, ssh, git, or a path.
    pub url: String,
    /// The branch.
    pub branch: String,
    /// Where this host publishes: on the branch, or on a ref of its own.
    pub layout: Layout,
    /// The user name sent with the token.
    pub username: String,
    /// The file that holds the token.
    pub token_file: Option<PathBuf>,
    /// The environment variable that holds the token.
    pub token_env: Option<String>,
    /// Extra options for `ssh`.
    pub ssh_options: Vec<String>,
}

/// Whose turn comes first and last to try what others learned, by tags of hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WavesConfig {
    /// Hosts with one of these wait for nobody.
    pub first: Vec<String>,
    /// Hosts with one of these are in the last wave.
    pub last: Vec<String>,
}

/// The whole configuration, with every default filled in.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Config {
    /// The local label of this host.
    pub name: PeerName,
    /// The mesh it belongs to.
    pub mesh: MeshName,
    /// What this host is, in words that rules, maintenance windows and waves go by.
    pub tags: Vec<String>,
    /// The most that any peer's lesson may do here.
    pub max_grant: Grant,
    /// Whose turn comes first and last.
    pub waves: WavesConfig,
    /// The shared branch.
    pub remote: RemoteConfig,
    /// Time between two syncs.
    pub sync_interval: Span,
    /// How much may be changed, and how fast.
    pub limits: Limits,
    /// How far a change of each risk goes without a person.
    pub approve: Approvals,
    /// What is left to others on this host.
    pub reserve: ReserveConfig,
    /// What is audited.
    pub audit_roots: Vec<AuditRoot>,
    /// Whether the lessons that ship with mesh are used.
    pub founding: bool,
    /// Time between two distillations of what interventions came to.
    pub distill: Span,
    /// Which drafts become lessons here without a person's word; none where nobody says so.
    pub confirm: Option<Confirming>,
    /// What a review looks back on, and the time between two of them.
    pub review: Span,
    /// Where `/health` is served.
    pub http: HttpConfig,
    /// How the built-in signals are measured.
    pub signals: SignalsConfig,
    /// What else is measured.
    pub signal: Vec<Watched>,
    /// Where notices go.
    pub notify: Vec<ChannelConfig>,
    /// What is kept alive.
    pub services: Vec<Service>,
    /// How rules are applied.
    pub rules: RulesConfig,
    /// What rules are about here.
    pub target: Vec<Target>,
    /// The model that is asked for hints; none when none is.
    pub model: Option<ModelConfig>,
    /// When people work on something.
    pub maintenance: Vec<Window>,
}

impl Config {
    /// Loads the configuration of a home.
    ///
    /// # Errors
    /// The file and line of the first mistake.
    pub fn load(home: &Home) -> Result<Self, ConfigError> {
        let main = home.config_file();
        let mut merged = read(&main)?;
        for path in files::list(&home.config().join("conf.d"), "toml")? {
            merged = merged.overlaid_by(read(&path)?);
        }
        merged.complete(home, &main)
    }

    /// Every mistake of a home's configuration: the first one of each file, else those of all files together.
    #[must_use]
    pub fn mistakes(home: &Home) -> Vec<ConfigError> {
        let mut files = vec![home.config_file()];
        let mut found = Vec::new();
        match files::list(&home.config().join("conf.d"), "toml") {
            Ok(more) => files.extend(more),
            Err(error) => found.push(error.into()),
        }
        found.extend(files.iter().filter_map(|path| read(path).err()));
        if found.is_empty() { Self::load(home).err().into_iter().collect() } else { found }
    }

    /// Files in `conf.d` that are not read, since their names do not end in `.toml`.
    #[must_use]
    pub fn unread(home: &Home) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(home.config().join("conf.d")).into_iter().flatten().flatten();
        let is_known = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "toml" || kind == "example");
        let mut unread: Vec<_> = entries.map(|entry| entry.path()).filter(|path| !is_known(path)).collect();
        unread.sort();
        unread
    }

    /// When this host's turn comes to try what others learned. The last one, where its tags say both.
    #[must_use]
    pub fn turn(&self) -> Turn {
        let is = |wanted: &[String]| self.tags.iter().any(|tag| wanted.contains(tag));
        match (is(&self.waves.first), is(&self.waves.last)) {
            (_, true) => Turn::Last,
            (true, false) => Turn::First,
            (false, false) => Turn::Ordered,
        }
    }

    /// The limits as the guard takes them.
    #[must_use]
    pub fn pace(&self) -> Pace {
        let limits = &self.limits;
        Pace {
            interventions_per_day: limits.interventions_per_day,
            branches_per_day: limits.branches_per_day,
            concurrent: limits.concurrent,
            duplicate_window: limits.duplicate_window.0,
            freeze_after: limits.freeze_after,
            freeze_for: limits.freeze_for.0,
            validate_window: limits.validate_window.0,
            keep_undo: limits.keep_undo.0,
        }
    }

    /// What is set in the unsafe direction, a sentence each.
    #[must_use]
    pub fn weaknesses(&self) -> Vec<String> {
        let model = self.model.iter().flat_map(ModelConfig::weaknesses);
        self.pace().weaknesses().into_iter().chain(self.approve.weaknesses()).chain(model).collect()
    }

    /// Where the next sync waits to, without jitter.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.sync_interval.0
    }
}

fn read(path: &Path) -> Result<ConfigFile, ConfigError> {
    let text = files::read_text(path, CONFIG_BYTES)?;
    let mut file: ConfigFile = toml::from_str(&text).map_err(|error| {
        let (line, reason) = toml_line::mistake(&text, &error);
        ConfigError::Line { path: path.to_owned(), line, reason }
    })?;
    file.service.locate(path, &text);
    Ok(file)
}

impl ConfigFile {
    fn overlaid_by(self, later: Self) -> Self {
        Self {
            name: later.name.or(self.name),
            mesh: later.mesh.or(self.mesh),
            tags: later.tags.or(self.tags),
            max_grant: later.max_grant.or(self.max_grant),
            waves: WavesFile {
                first: later.waves.first.or(self.waves.first),
                last: later.waves.last.or(self.waves.last),
            },
            remote: RemoteFile {
                url: later.remote.url.or(self.remote.url),
                branch: later.remote.branch.or(self.remote.branch),
                username: later.remote.username.or(self.remote.username),
                token_file: later.remote.token_file.or(self.remote.token_file),
                token_env: later.remote.token_env.or(self.remote.token_env),
                layout: later.remote.layout.or(self.remote.layout),
                ssh_options: later.remote.ssh_options.or(self.remote.ssh_options),
            },
            sync: SyncFile { interval: later.sync.interval.or(self.sync.interval) },
            audit: AuditFile { root: later.audit.root.or(self.audit.root) },
            limits: self.limits.overlaid_by(later.limits),
            approve: self.approve.overlaid_by(later.approve),
            reserve: self.reserve.overlaid_by(later.reserve),
            lessons: LessonsFile {
                founding: later.lessons.founding.or(self.lessons.founding),
                distill: later.lessons.distill.or(self.lessons.distill),
                confirm: later.lessons.confirm.or(self.lessons.confirm),
                review: later.lessons.review.or(self.lessons.review),
            },
            http: self.http.overlaid_by(later.http),
            signals: self.signals.overlaid_by(later.signals),
            signal: self.signal.overlaid_by(later.signal),
            notify: notify_config::overlaid(self.notify, later.notify),
            service: self.service.overlaid_by(later.service),
            rules: self.rules.overlaid_by(later.rules),
            model: self.model.overlaid_by(later.model),
            target: rule_config::joined(self.target, later.target),
            maintenance: self.maintenance.into_iter().chain(later.maintenance).collect(),
        }
    }

    fn complete(self, home: &Home, main: &Path) -> Result<Config, ConfigError> {
        let missing = |key, example| ConfigError::Missing { path: main.to_owned(), key, example };
        let at_home = |path: PathBuf| home.root().join(path);
        let remote = self.remote;
        let url = remote.url.ok_or_else(|| missing("remote.url", "[remote]\nurl = \"git@example.org:me/mesh.git\""))?;
        let branch = remote.branch.unwrap_or_else(|| "mesh".to_owned());
        let notify: Result<Vec<_>, _> = self.notify.into_iter().map(|channel| channel.complete(home)).collect();
        let notify = notify.map_err(|reason| ConfigError::Line { path: main.to_owned(), line: 1, reason })?;
        if !git_branch_name(&branch) {
            let reason = format!("`remote.branch`: `{branch}` is not a plain branch name");
            return Err(ConfigError::Line { path: main.to_owned(), line: 1, reason });
        }
        let http = self.http.complete(home);
        let http = http.map_err(|reason| ConfigError::Line { path: main.to_owned(), line: 1, reason })?;
        let model = self.model.complete();
        let model = model.map_err(|reason| ConfigError::Line { path: main.to_owned(), line: 1, reason })?;
        let signals = self.signals.complete();
        let services = self.service.complete(home);
        let services = services.map_err(|(path, line, reason)| ConfigError::Line { path, line, reason })?;
        Ok(Config {
            name: self.name.ok_or_else(|| missing("name", "name = \"web-07\""))?,
            mesh: self.mesh.ok_or_else(|| missing("mesh", "mesh = \"home\""))?,
            tags: words(self.tags),
            max_grant: self.max_grant.unwrap_or(Grant::Apply),
            waves: WavesConfig { first: words(self.waves.first), last: words(self.waves.last) },
            remote: RemoteConfig {
                url,
                branch,
                layout: remote.layout.unwrap_or_default(),
                username: remote.username.unwrap_or_else(|| "mesh".to_owned()),
                token_file: remote.token_file.map(at_home),
                token_env: remote.token_env,
                ssh_options: remote.ssh_options.unwrap_or_default(),
            },
            sync_interval: self.sync.interval.unwrap_or(Span(SYNC_INTERVAL)),
            limits: self.limits.complete(),
            approve: self.approve.complete(),
            reserve: self.reserve.complete(),
            founding: self.lessons.founding.unwrap_or(true),
            distill: self.lessons.distill.unwrap_or(DISTILL),
            confirm: self.lessons.confirm,
            review: self.lessons.review.unwrap_or(REVIEW),
            audit_roots: self
                .audit
                .root
                .unwrap_or_default()
                .into_iter()
                .map(|root| AuditRoot { path: at_home(root.path), ..root })
                .collect(),
            http,
            signal: self.signal.complete(signals.interval),
            signals,
            services,
            rules: self.rules.complete(),
            target: rule_config::targets(self.target),
            maintenance: maintenance::joined(self.maintenance),
            notify,
            model,
        })
    }
}

impl LimitsFile {
    fn overlaid_by(self, later: Self) -> Self {
        Self {
            interventions_per_day: later.interventions_per_day.or(self.interventions_per_day),
            branches_per_day: later.branches_per_day.or(self.branches_per_day),
            concurrent: later.concurrent.or(self.concurrent),
            duplicate_window: later.duplicate_window.or(self.duplicate_window),
            freeze_after: later.freeze_after.or(self.freeze_after),
            freeze_for: later.freeze_for.or(self.freeze_for),
            validate_window: later.validate_window.or(self.validate_window),
            keep_undo: later.keep_undo.or(self.keep_undo),
            blocked_kinds: later.blocked_kinds.or(self.blocked_kinds),
        }
    }

    fn complete(self) -> Limits {
        let pace = Pace::default();
        Limits {
            interventions_per_day: self.interventions_per_day.unwrap_or(pace.interventions_per_day),
            branches_per_day: self.branches_per_day.unwrap_or(pace.branches_per_day),
            concurrent: self.concurrent.map_or(pace.concurrent, NonZeroU32::get),
            duplicate_window: self.duplicate_window.unwrap_or(Span(pace.duplicate_window)),
            freeze_after: self.freeze_after.map_or(pace.freeze_after, NonZeroU32::get),
            freeze_for: self.freeze_for.unwrap_or(Span(pace.freeze_for)),
            validate_window: self.validate_window.unwrap_or(Span(pace.validate_window)),
            keep_undo: self.keep_undo.unwrap_or(Span(pace.keep_undo)),
            blocked_kinds: self.blocked_kinds.unwrap_or_default(),
        }
    }
}

fn git_branch_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'/' | b'.');
    !name.is_empty()
        && name.len() <= 128
        && name.bytes().all(plain)
        && !name.starts_with(['-', '/', '.'])
        && !name.ends_with(['/', '.'])
        && !name.contains("..")
        && !name.contains("//")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(files: &[(&str, &str)]) -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().expect("a temp dir");
        let home = Home::at(dir.path());
        home.create().expect("made");
        for (path, text) in files {
            std::fs::write(dir.path().join(path), text).expect("written");
        }
        (dir, home)
    }

    const MAIN: &str = "name = \"web-07\"\nmesh = \"home\"\n[remote]\nurl = \"/srv/mesh.git\"\n";

    #[test]
    fn j3_the_later_file_wins_key_by_key() {
        let (_dir, home) = home(&[
            ("config/mesh.toml", MAIN),
            ("config/conf.d/10.toml", "max_grant = \"audit\"\n[remote]\nbranch = \"one\"\n"),
            ("config/conf.d/20.toml", "[remote]\nbranch = \"two\"\n[[audit.root]]\npath = \"app\"\n"),
        ]);
        let config = Config::load(&home).expect("sound");
        assert_eq!((config.remote.branch.as_str(), config.max_grant), ("two", Grant::Audit));
        assert_eq!(config.remote.url, "/srv/mesh.git");
        assert_eq!(config.approve, Approvals::default());
        assert_eq!((config.reserve.free_percent, config.reserve.load_per_core), (2.0, None));
        assert_eq!(config.audit_roots[0].path, home.root().join("app"));
    }

    #[test]
    fn j1_mistakes_are_named_with_file_and_line() {
        let cases = [
            ("nome = \"x\"\n", "mesh.toml:1: unknown field `nome`, did you mean `name`?"),
            (
                "[[signal]]\nname = \"a\"\ncomand = [\"x\"]\n",
                "mesh.toml:3: unknown field `comand`, did you mean `command`?",
            ),
            ("max_grant = \"aply\"\n", "mesh.toml:1: unknown variant `aply`, did you mean `apply`?"),
            ("name = \"x\"\nmesh = \"UPPER\"\n", "mesh.toml:2: mesh name must be"),
            ("name = \"x\"\n[sync]\ninterval = \"soon\"\n", "mesh.toml:3: `soon` is not a span"),
            (
                "name = \"x\"\n[[notify]]\nname = \"hook\"\nwebhook = { url = \"http://x/\", template = '{\"t\":\"{titel}\"}' }\n",
                "mesh.toml:4: `template` names `{titel}`, which is no field of a letter: did you mean `{title}`?",
            ),
            ("name = \"x\"\nname = \"y\"\n", "mesh.toml:2: duplicate key"),
            ("name = \"x\"\nmesh = \"m\"\n", "`remote.url` is missing"),
            ("name = \"x\"\n[http]\nlisten = \"here\"\n", "mesh.toml:3: `here` is not an address"),
            ("name = \"x\"\n[approve]\nlow = \"ask\"\nhigh = \"always\"\n", "mesh.toml:4: unknown variant `always`"),
            ("name = \"x\"\n[approve]\nlow_until = \"soon\"\n", "mesh.toml:3: `soon` is not a time such as"),
            ("[[maintenance]]\nname = \"move\"\nall = true\n", "`until` is missing: every window ends"),
            (
                "[[maintenance]]\nname = \"a\"\nuntil = \"2026-12-01T00:00:00Z\"\n",
                "it must be about `targets` and `tags`, or about `all`",
            ),
            ("name = \"x\"\n[reserve]\nload_per_core = 0.0\n", "mesh.toml:3: 0 is not a load above 0"),
            ("name = \"x\"\n[reserve]\nfree_percent = 90.0\n", "mesh.toml:3: 90 is not a share"),
            (&format!("{MAIN}[http]\nlisten = \"0.0.0.0:80\"\n"), "others can reach it: set `http.token_file`"),
            (
                "name = \"x\"\n[signals.set.\"host.cpu.used\"]\nthreshold = 1.0\n",
                "mesh.toml:2: unknown signal `host.cpu.used`, did you mean `host.cpu.used_percent`?",
            ),
            (
                "name = \"x\"\n[[signal]]\nname = \"a\"\ncommand = [\"true\"]\nsignal = \"check.vale\"\n",
                "mesh.toml:5: unknown signal `check.vale`, did you mean `check.value`?",
            ),
            ("name = \"x\"\n\n[[signal]]\nname = \"a\"\n", "mesh.toml:3: signal `a`: must have one of"),
            ("[[signal]]\nname = \"a\"\ntcp = \"h:1\"\nhttp = \"http://h\"\n", "signal `a`: must have one of"),
            ("[[signal]]\nname = \"a\"\ntcp = \"h\"\n", "`tcp` must be HOST:PORT"),
            ("[[signal]]\nname = \"a\"\nlog = \"/x\"\npattern = \"(\"\n", "`pattern` is not a regular expression"),
            ("[[signal]]\nname = \"a\"\nlog = \"/x\"\nevery = \"1s\"\n", "`every` must be at least 10s"),
            ("[[signal]]\nname = \"a b\"\nlog = \"/x\"\n", "mesh.toml:2: a subject must have"),
        ];
        for (text, expected) in cases {
            let (_dir, home) = home(&[("config/mesh.toml", text)]);
            let refused = Config::load(&home).expect_err(text).to_string();
            assert!(refused.contains(expected), "{refused}");
        }
    }
}
