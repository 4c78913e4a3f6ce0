//! `[[service]]` of the configuration: what is kept alive here, by whom, and how it shows that it lives.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::config::Span;
use super::home::Home;
use crate::domain::id::ServiceName;
use crate::domain::service::{
    Ask, Child, Criticality, GRACE_MOST, Heartbeat, LivenessProbe, ManagerKind, Plain, Policy, ReadyBy, ReloadSignal,
};

/// Shortest time between two questions.
const EVERY_LEAST: Duration = Duration::from_secs(1);
/// Longest time that one answer may take.
const TIMEOUT_MOST: Duration = Duration::from_secs(60);
/// What mesh calls itself where it measures itself.
const ITSELF: &str = "mesh";
/// Why the age of a log is no sign of life.
const NO_LOG: &str = "liveness is not taken from the age of a log: a service can hang and log, and be well and silent; use `notify`, `heartbeat` or a `probe` that asks the service itself";

/// `[[service]]`, as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServiceFile {
    name: toml::Spanned<ServiceName>,
    manager: Option<ManagerKind>,
    unit: Option<toml::Spanned<String>>,
    command: Option<Vec<String>>,
    pidfile: Option<PathBuf>,
    matching: Option<String>,
    start: Option<Vec<String>>,
    stop: Option<Vec<String>>,
    dir: Option<PathBuf>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    user: Option<String>,
    #[serde(default)]
    criticality: Criticality,
    #[serde(default)]
    depends_on: Vec<toml::Spanned<ServiceName>>,
    probe: Option<ProbeFile>,
    heartbeat: Option<HeartbeatFile>,
    reload: Option<ReloadSignal>,
    #[serde(default)]
    notify: bool,
    watchdog: Option<Span>,
    start_within: Option<Span>,
    grace: Option<Span>,
    restarts: Option<u32>,
    window: Option<Span>,
    retry_after: Option<Span>,
    backoff: Option<Span>,
    backoff_most: Option<Span>,
    steady: Option<Span>,
    #[serde(default)]
    watch: Vec<PathBuf>,
    stale_after: Option<Span>,
    memory_mb: Option<u64>,
    #[serde(default)]
    tags: Vec<String>,
    log_mb: Option<u64>,
    log_files: Option<u32>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProbeFile {
    http: Option<String>,
    tcp: Option<String>,
    command: Option<Vec<String>>,
    user: Option<String>,
    /// Known only to be refused.
    log: Option<serde::de::IgnoredAny>,
    every: Option<Span>,
    timeout: Option<Span>,
    failures: Option<u32>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeartbeatFile {
    file: Option<PathBuf>,
    /// Known only to be refused.
    log: Option<serde::de::IgnoredAny>,
    within: Option<Span>,
    productive_within: Option<Span>,
}

/// A service, with every default filled in.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// Who runs it.
    pub manager: ManagerKind,
    /// What its manager calls it; empty for a child, and what a plain process is known by.
    pub unit: String,
    /// What is run, where mesh runs it itself.
    pub child: Option<Child>,
    /// How it is found, started and stopped, where it is a plain process.
    pub plain: Option<Plain>,
    /// What must be healthy before it is started.
    pub depends_on: Vec<ServiceName>,
    /// How it is asked whether it lives.
    pub probe: Option<LivenessProbe>,
    /// Where it counts.
    pub heartbeat: Option<Heartbeat>,
    /// Files and folders it is made of: it is restarted when they are newer than it.
    pub watch: Vec<PathBuf>,
    /// How it is treated.
    pub policy: Policy,
    /// Words by which a maintenance window can be about it.
    pub tags: Vec<String>,
}

/// Those of one file, each checked by itself.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct ServiceSet(Vec<Checked>);

#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "ServiceFile")]
struct Checked {
    file: ServiceFile,
    manager: ManagerKind,
    ask: Option<Ask>,
    /// Where each dependency is written, once it is known which file this is.
    places: Vec<(PathBuf, usize)>,
    /// Where it is said what its manager calls it.
    named: (PathBuf, usize),
}

impl TryFrom<ServiceFile> for Checked {
    type Error = String;

    fn try_from(file: ServiceFile) -> Result<Self, String> {
        let name = file.name.as_ref().as_str().to_owned();
        let wrong = |what: &str| Err(format!("service `{name}`: {what}"));
        if name == ITSELF {
            return wrong("mesh itself has that name among signals: take another one, and name the unit with `unit`");
        }
        let manager = file.manager.unwrap_or(if file.pidfile.is_some() || file.matching.is_some() {
            ManagerKind::Process
        } else if file.command.is_some() {
            ManagerKind::Child
        } else {
            ManagerKind::Systemd
        });
        if manager == ManagerKind::Process {
            if let Err(what) = plain(&file) {
                return wrong(&what);
            }
        } else if let Some(key) = file.of_process() {
            return wrong(&format!(
                "`{key}` goes with `manager = \"process\"`, which is known by `pidfile` or `matching`"
            ));
        }
        if manager == ManagerKind::Child {
            let named = file.command.as_ref().and_then(|argv| argv.first()).is_some_and(|program| !program.is_empty());
            if !named {
                return wrong("`command` must be a program and its arguments, or `manager` another one than `child`");
            }
            if file.unit.is_some() {
                return wrong("`unit` is what another manager calls it, and this one is a child");
            }
        } else {
            let of_child = [
                ("command", file.command.is_some()),
                ("notify", file.notify),
                ("watchdog", file.watchdog.is_some()),
                ("memory_mb", file.memory_mb.is_some()),
            ];
            // The commands that start and stop a plain process have these as well.
            let of_command = [
                ("dir", file.dir.is_some()),
                ("env", !file.env.is_empty()),
                ("user", file.user.is_some()),
                ("reload", file.reload.is_some()),
                ("log_mb", file.log_mb.is_some()),
                ("log_files", file.log_files.is_some()),
            ];
            let of_command = of_command.into_iter().filter(|_| manager != ManagerKind::Process);
            if let Some((key, _)) = of_child.into_iter().chain(of_command).find(|(_, given)| *given) {
                let instead = if manager == ManagerKind::Process {
                    "a plain process has none, and is started by `start`".to_owned()
                } else {
                    format!("{} sees to it itself", manager.name())
                };
                return wrong(&format!("`{key}` goes with `manager = \"child\"`; {instead}"));
            }
        }
        if file.env.keys().any(|key| key.is_empty() || key.contains(['=', '\0'])) {
            return wrong("a name in `env` must not be empty or hold `=`");
        }
        if file.grace.is_some_and(|grace| grace.0 > GRACE_MOST) {
            return wrong("`grace` must be at most 60s");
        }
        if file.watchdog.is_some() && !file.notify {
            return wrong("`watchdog` needs `notify = true`");
        }
        if file.restarts == Some(0) || file.memory_mb == Some(0) || file.log_mb == Some(0) {
            return wrong("`restarts`, `memory_mb` and `log_mb` must be at least 1");
        }
        if file.depends_on.iter().any(|parent| parent.as_ref() == file.name.as_ref()) {
            return wrong("it cannot depend on itself");
        }
        if let Some(beat) = &file.heartbeat {
            let Some(path) = beat.file.as_deref().filter(|_| beat.log.is_none()) else { return wrong(NO_LOG) };
            if is_log(path) {
                return wrong(NO_LOG);
            }
        }
        let ask = match &file.probe {
            Some(probe) => Some(ask(probe).map_err(|what| format!("service `{name}`: {what}"))?),
            None => None,
        };
        Ok(Self { file, manager, ask, places: Vec::new(), named: (PathBuf::new(), 0) })
    }
}

impl ServiceFile {
    /// A key that only a plain process has, if one is given.
    fn of_process(&self) -> Option<&'static str> {
        let of_process = [
            ("pidfile", self.pidfile.is_some()),
            ("matching", self.matching.is_some()),
            ("start", self.start.is_some()),
            ("stop", self.stop.is_some()),
        ];
        of_process.into_iter().find(|(_, given)| *given).map(|(key, _)| key)
    }
}

/// Checks what a plain process needs.
fn plain(file: &ServiceFile) -> Result<(), String> {
    let is_program = |argv: &Vec<String>| argv.first().is_some_and(|program| !program.is_empty());
    if file.pidfile.is_none() && file.matching.is_none() {
        return Err("`manager = \"process\"` needs `pidfile` or `matching`, by which the process is known".to_owned());
    }
    if !file.start.as_ref().is_some_and(is_program) {
        return Err("`start` must be the program that starts it, and its arguments".to_owned());
    }
    if file.stop.as_ref().is_some_and(|argv| !is_program(argv)) {
        return Err("`stop` must be the program that stops it, and its arguments; without it, TERM is sent".to_owned());
    }
    if file.unit.is_some() {
        return Err("`unit` is what a manager calls it, and a plain process has none".to_owned());
    }
    if let Some(text) = &file.matching {
        let pattern = Regex::new(text).map_err(|error| {
            // The last line says what is wrong; those before it show where.
            let said = error.to_string();
            format!("`matching` is no regular expression: {}", said.lines().last().unwrap_or_default())
        })?;
        if pattern.is_match("") {
            return Err("`matching` matches every process".to_owned());
        }
    }
    Ok(())
}

fn is_log(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "log") || path.starts_with("/var/log")
}

fn ask(probe: &ProbeFile) -> Result<Ask, String> {
    if probe.log.is_some() {
        return Err(NO_LOG.to_owned());
    }
    if probe.every.is_some_and(|every| every.0 < EVERY_LEAST) {
        return Err("`probe.every` must be at least 1s".to_owned());
    }
    if probe.timeout.is_some_and(|timeout| timeout.0 > TIMEOUT_MOST) {
        return Err("`probe.timeout` must be at most 60s".to_owned());
    }
    if probe.failures == Some(0) {
        return Err("`probe.failures` must be at least 1".to_owned());
    }
    if probe.user.is_some() && probe.command.is_none() {
        return Err("`probe.user` goes with `command`: nothing else of a probe is run".to_owned());
    }
    match (&probe.http, &probe.tcp, &probe.command) {
        (Some(url), None, None) if url.starts_with("http://") || url.starts_with("https://") => {
            Ok(Ask::Http(url.clone()))
        }
        (Some(_), None, None) => Err("`probe.http` must start with http:// or https://".to_owned()),
        (None, Some(address), None) => {
            let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
            match port.and_then(|(_, port)| port.parse::<u16>().ok()) {
                Some(_) => Ok(Ask::Tcp(address.clone())),
                None => Err("`probe.tcp` must be HOST:PORT".to_owned()),
            }
        }
        (None, None, Some(argv)) if !argv.is_empty() => {
            let program = Path::new(&argv[0]).file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if program == "check_file_age" {
                return Err(NO_LOG.to_owned());
            }
            Ok(Ask::Command { argv: argv.clone(), user: probe.user.clone() })
        }
        _ => Err("`probe` must have one of `http`, `tcp` and `command`".to_owned()),
    }
}

impl ServiceSet {
    /// Notes where each dependency and unit is written.
    pub(super) fn locate(&mut self, path: &Path, text: &str) {
        for checked in &mut self.0 {
            let line = |at: usize| text.as_bytes()[..at.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1;
            let places = checked.file.depends_on.iter().map(|parent| (path.to_owned(), line(parent.span().start)));
            checked.places = places.collect();
            let file = &checked.file;
            let named = file.unit.as_ref().map_or_else(|| file.name.span(), toml::Spanned::span);
            checked.named = (path.to_owned(), line(named.start));
        }
    }

    pub(super) fn overlaid_by(self, later: Self) -> Self {
        let mut all = self.0;
        all.extend(later.0);
        Self(all)
    }

    /// # Errors
    /// A dependency that does not exist or leads back to itself, or a unit of two services: file, line and reason.
    pub(super) fn complete(self, home: &Home) -> Result<Vec<Service>, (PathBuf, usize, String)> {
        let mut all: BTreeMap<ServiceName, Checked> = BTreeMap::new();
        for checked in self.0 {
            all.insert(checked.file.name.as_ref().clone(), checked);
        }
        let names: Vec<ServiceName> = all.keys().cloned().collect();
        for (name, checked) in &all {
            for (parent, (path, line)) in checked.file.depends_on.iter().zip(&checked.places) {
                let parent = parent.as_ref();
                if !all.contains_key(parent) {
                    let near = nearest(parent.as_str(), names.iter().map(ServiceName::as_str));
                    let hint = near.map(|near| format!(", did you mean `{near}`?")).unwrap_or_default();
                    return Err((path.clone(), *line, format!("service `{name}` depends on unknown `{parent}`{hint}")));
                }
                if leads_to(&all, parent, name) {
                    let what = format!("service `{name}` depends on `{parent}`, which depends on `{name}`");
                    return Err((path.clone(), *line, what));
                }
            }
        }
        distinct(&all)?;
        Ok(all.into_values().map(|checked| checked.complete(home)).collect())
    }
}

/// Two services of one unit would each undo what is done for the other.
///
/// # Errors
/// Where the later one of two is written, and why it cannot be.
fn distinct(all: &BTreeMap<ServiceName, Checked>) -> Result<(), (PathBuf, usize, String)> {
    let mut known: BTreeMap<(&str, String), &Checked> = BTreeMap::new();
    for checked in all.values().filter(|checked| checked.manager != ManagerKind::Child) {
        let (manager, unit) = (checked.manager.name(), checked.unit());
        if let Some(other) = known.insert((manager, unit.clone()), checked) {
            let is_later = checked.named > other.named;
            let (later, earlier) = if is_later { (checked, other) } else { (other, checked) };
            let (path, line) = later.named.clone();
            let (later, earlier) = (later.file.name.as_ref(), earlier.file.name.as_ref());
            let what = format!("services `{earlier}` and `{later}` are both {unit} of {manager}: take one of them out");
            return Err((path, line, what));
        }
    }
    Ok(())
}

fn leads_to(all: &BTreeMap<ServiceName, Checked>, from: &ServiceName, to: &ServiceName) -> bool {
    let (mut open, mut seen) = (vec![from], BTreeSet::new());
    while let Some(name) = open.pop() {
        if name == to {
            return true;
        }
        if seen.insert(name)
            && let Some(checked) = all.get(name)
        {
            open.extend(checked.file.depends_on.iter().map(toml::Spanned::as_ref));
        }
    }
    false
}

/// The known name that looks most like `name`, if any looks like it at all.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|known| (strsim::normalized_damerau_levenshtein(known, name), known))
        .filter(|(likeness, _)| *likeness > 0.6)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, known)| known)
}

impl Checked {
    /// What its manager calls it.
    fn unit(&self) -> String {
        let name = self.file.name.as_ref();
        match (self.manager, self.file.unit.as_ref()) {
            (ManagerKind::Child, _) => String::new(),
            (_, Some(unit)) => unit.as_ref().clone(),
            (ManagerKind::Systemd, None) => format!("{name}.service"),
            (ManagerKind::Docker | ManagerKind::Launchd, None) => name.to_string(),
            (ManagerKind::Process, None) => {
                let pidfile = self.file.pidfile.as_ref().map(|path| path.display().to_string());
                pidfile.or_else(|| self.file.matching.clone()).unwrap_or_default()
            }
        }
    }

    fn complete(self, home: &Home) -> Service {
        let unit = self.unit();
        let Self { file, manager, ask, .. } = self;
        let name = file.name.into_inner();
        let usual = Policy::default();
        let span = |given: Option<Span>, usual| given.map_or(usual, |span: Span| span.0);
        let probe_file = file.probe.as_ref();
        let ready_by = if file.notify {
            ReadyBy::Word
        } else if ask.is_some() {
            ReadyBy::Sign
        } else {
            ReadyBy::Running
        };
        let policy = Policy {
            criticality: file.criticality,
            ready_by,
            start_within: span(file.start_within, usual.start_within),
            grace: span(file.grace, usual.grace),
            failures: probe_file.and_then(|probe| probe.failures).unwrap_or(usual.failures),
            backoff_first: span(file.backoff, usual.backoff_first),
            backoff_most: span(file.backoff_most, usual.backoff_most),
            steady: span(file.steady, usual.steady),
            restarts: file.restarts.unwrap_or(usual.restarts),
            window: span(file.window, usual.window),
            retry_after: span(file.retry_after, usual.retry_after),
            stale_after: span(file.stale_after, usual.stale_after),
        };
        let probe = ask.map(|ask| LivenessProbe {
            ask,
            every: span(probe_file.and_then(|probe| probe.every), Duration::from_secs(30)),
            timeout: span(probe_file.and_then(|probe| probe.timeout), Duration::from_secs(5)),
        });
        let at_home = |path: PathBuf| home.root().join(path);
        let heartbeat = file.heartbeat.and_then(|beat| {
            Some(Heartbeat {
                file: at_home(beat.file?),
                within: span(beat.within, Duration::from_secs(60)),
                productive_within: beat.productive_within.map(|span| span.0),
            })
        });
        let command = |argv: Vec<String>| Child {
            name: name.clone(),
            argv,
            dir: file.dir.clone().map_or_else(|| home.root().to_owned(), at_home),
            env: file.env.clone(),
            user: file.user.clone(),
            reload: file.reload,
            notify: file.notify,
            watchdog: file.watchdog.map(|span| span.0),
            memory: file.memory_mb.map(|mb| mb.saturating_mul(1024 * 1024)),
            log_bytes: file.log_mb.unwrap_or(10).saturating_mul(1024 * 1024),
            log_files: file.log_files.unwrap_or(3),
        };
        let child = file.command.clone().map(command);
        let plain = file.start.clone().map(|argv| Plain {
            start: command(argv),
            stop: file.stop.clone().unwrap_or_default(),
            pidfile: file.pidfile.clone().map(at_home),
            matching: file.matching.clone(),
        });
        let depends_on = file.depends_on.into_iter().map(toml::Spanned::into_inner).collect();
        let watch = file.watch.into_iter().map(at_home).collect();
        Service { name, manager, unit, child, plain, depends_on, probe, heartbeat, watch, policy, tags: file.tags }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::config::Config;

    const MAIN: &str = "name = \"web-07\"\nmesh = \"home\"\n[remote]\nurl = \"/srv/mesh.git\"\n";

    fn load(more: &str) -> Result<Vec<Service>, String> {
        let dir = tempfile::tempdir().expect("a temp dir");
        let home = Home::at(dir.path());
        home.create().expect("made");
        std::fs::write(home.config_file(), format!("{MAIN}{more}")).expect("written");
        Config::load(&home).map(|config| config.services).map_err(|error| error.to_string())
    }

    #[test]
    fn a_service_has_sound_defaults() {
        let text = "[[service]]\nname = \"web\"\ncommand = [\"/bin/web\"]\nnotify = true\n[[service]]\nname = \"nginx\"\n\
                    depends_on = [\"web\"]\nprobe = { http = \"http://127.0.0.1/\", every = \"10s\" }\n";
        let services = load(text).expect("sound");
        let [nginx, web] = services.as_slice() else { panic!("two: {services:?}") };
        assert_eq!((nginx.manager, nginx.unit.as_str()), (ManagerKind::Systemd, "nginx.service"));
        assert_eq!((nginx.policy.ready_by, nginx.policy.grace), (ReadyBy::Sign, GRACE_MOST));
        assert_eq!(nginx.probe.as_ref().map(|probe| probe.every), Some(Duration::from_secs(10)));
        assert_eq!((web.manager, web.policy.ready_by), (ManagerKind::Child, ReadyBy::Word));
        assert!(web.child.as_ref().is_some_and(|child| child.dir.is_absolute() && child.notify));
    }

    #[test]
    fn a2_a_plain_process_is_known_by_its_file_or_its_words() {
        let text = "[[service]]\nname = \"old\"\npidfile = \"run/old.pid\"\nmatching = '^/opt/old/bin/oldd( |$)'\n\
                    start = [\"/opt/old/ctl\", \"start\"]\nstop = [\"/opt/old/ctl\", \"stop\"]\nuser = \"old\"\n";
        let services = load(text).expect("sound");
        let [old] = services.as_slice() else { panic!("one: {services:?}") };
        let plain = old.plain.as_ref().expect("a plain process");
        assert_eq!((old.manager, old.child.is_none()), (ManagerKind::Process, true));
        assert_eq!((plain.start.argv.len(), plain.stop.len(), plain.start.user.as_deref()), (2, 2, Some("old")));
        assert!(plain.pidfile.as_ref().is_some_and(|path| path.is_absolute() && path.ends_with("run/old.pid")));
        assert_eq!(plain.matching.as_deref(), Some("^/opt/old/bin/oldd( |$)"));
    }

    #[test]
    fn one_name_of_two_managers_is_no_mistake() {
        let text = "[[service]]\nname = \"a\"\nmanager = \"docker\"\nunit = \"web\"\n\
                    [[service]]\nname = \"b\"\nmanager = \"launchd\"\nunit = \"web\"\n\
                    [[service]]\nname = \"c\"\ncommand = [\"x\"]\n[[service]]\nname = \"d\"\ncommand = [\"x\"]\n";
        assert_eq!(load(text).expect("sound").len(), 4);
    }

    #[test]
    fn a3_j1_mistakes_are_named_with_their_line_and_reason() {
        let child = "[[service]]\nname = \"a\"\ncommand = [\"x\"]\n";
        let cases = [
            (
                format!("{child}heartbeat = {{ log = \"/var/log/a\" }}\n"),
                "mesh.toml:5: service `a`: liveness is not taken",
            ),
            (format!("{child}heartbeat = {{ file = \"run/a.log\" }}\n"), "liveness is not taken from the age of a log"),
            (format!("{child}probe = {{ log = \"/x\", within = \"1m\" }}\n"), "unknown field `within`"),
            (format!("{child}probe = {{ log = \"/x\" }}\n"), "liveness is not taken from the age of a log"),
            (
                format!("{child}probe = {{ command = [\"/usr/lib/nagios/plugins/check_file_age\", \"/x\"] }}\n"),
                "liveness is not taken from the age of a log",
            ),
            (format!("{child}comand = [\"y\"]\n"), "mesh.toml:8: unknown field `comand`, did you mean `command`?"),
            (format!("{child}manager = \"chlid\"\n"), "mesh.toml:8: unknown variant `chlid`, did you mean `child`?"),
            (
                format!(
                    "{child}[[service]]\nname = \"b\"\nmanager = \"systemd\"\ndepends_on = [\n  \"a\",\n  \"aa-db\",\n]\n[[service]]\nname = \"aa-dc\"\n"
                ),
                "mesh.toml:13: service `b` depends on unknown `aa-db`, did you mean `aa-dc`?",
            ),
            (
                format!("{child}depends_on = [\"b\"]\n[[service]]\nname = \"b\"\ndepends_on = [\"a\"]\n"),
                "mesh.toml:8: service `a` depends on `b`, which depends on `a`",
            ),
            (format!("{child}depends_on = [\"a\"]\n"), "it cannot depend on itself"),
            (format!("{child}grace = \"61s\"\n"), "`grace` must be at most 60s"),
            (format!("{child}reload = \"HUB\"\n"), "mesh.toml:8: unknown variant `HUB`, did you mean `HUP`?"),
            ("[[service]]\nname = \"a\"\nreload = \"HUP\"\n".to_owned(), "`reload` goes with `manager = \"child\"`"),
            (format!("{child}watchdog = \"5s\"\n"), "`watchdog` needs `notify = true`"),
            (format!("{child}probe = {{ tcp = \"x:1\", user = \"a\" }}\n"), "`probe.user` goes with `command`"),
            (format!("{child}probe = {{ tcp = \"x\" }}\n"), "`probe.tcp` must be HOST:PORT"),
            ("[[service]]\nname = \"a\"\nnotify = true\n".to_owned(), "`notify` goes with `manager = \"child\"`"),
            ("[[service]]\nname = \"a\"\nmanager = \"child\"\n".to_owned(), "`command` must be a program"),
            (
                "[[service]]\nname = \"b\"\nmanager = \"docker\"\n[[service]]\nname = \"a\"\nmanager = \"docker\"\nunit = \"b\"\n".to_owned(),
                "mesh.toml:11: services `b` and `a` are both b of docker",
            ),
            (
                "[[service]]\nname = \"a\"\nunit = \"b.service\"\n[[service]]\nname = \"b\"\n".to_owned(),
                "mesh.toml:9: services `a` and `b` are both b.service of systemd",
            ),
            (
                "[[service]]\nname = \"a\"\npidfil = \"/run/a.pid\"\n".to_owned(),
                "mesh.toml:7: unknown field `pidfil`, did you mean `pidfile`?",
            ),
            (
                "[[service]]\nname = \"a\"\nmanager = \"proces\"\n".to_owned(),
                "mesh.toml:7: unknown variant `proces`, did you mean `process`?",
            ),
            (
                "[[service]]\nname = \"a\"\npidfile = \"/run/a.pid\"\n".to_owned(),
                "mesh.toml:5: service `a`: `start` must be the program that starts it",
            ),
            (
                "[[service]]\nname = \"a\"\nmanager = \"process\"\nstart = [\"x\"]\n".to_owned(),
                "needs `pidfile` or `matching`",
            ),
            (
                "[[service]]\nname = \"a\"\nmatching = \"a(\"\nstart = [\"x\"]\n".to_owned(),
                "`matching` is no regular expression: error: unclosed group",
            ),
            (
                "[[service]]\nname = \"a\"\nmatching = \"a*\"\nstart = [\"x\"]\n".to_owned(),
                "`matching` matches every process",
            ),
            (
                "[[service]]\nname = \"a\"\nmatching = \"a\"\nstart = [\"x\"]\nmemory_mb = 5\n".to_owned(),
                "`memory_mb` goes with `manager = \"child\"`; a plain process has none",
            ),
            (format!("{child}stop = [\"y\"]\n"), "`stop` goes with `manager = \"process\"`"),
            (
                "[[service]]\nname = \"a\"\nmatching = \"x\"\nstart = [\"x\"]\n[[service]]\nname = \"b\"\nmatching = \"x\"\nstart = [\"y\"]\n".to_owned(),
                "services `a` and `b` are both x of process",
            ),
            ("[[service]]\nname = \"mesh\"\n".to_owned(), "mesh itself has that name"),
            ("[[service]]\nname = \"A/b\"\n".to_owned(), "mesh.toml:6: service name must be 1 to 64"),
        ];
        for (text, expected) in cases {
            let refused = load(&text).expect_err(&text);
            assert!(refused.contains(expected), "{text}\n{refused}");
        }
    }
}
