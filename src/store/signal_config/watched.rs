//! `[[signal]]`: one thing that is measured because this host's configuration says so.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use super::kind::{FileIs, ServiceFile, WatchedKind};
use super::{Every, Known, Set, SignalsConfig};
use crate::domain::protocol::Protocol;
use crate::domain::signal::{Signal, Subject};
use crate::domain::window::{Times, Window};
use crate::store::config::Span;

/// Longest time that one check may take.
const TIMEOUT_MOST: Duration = Duration::from_secs(60);
/// What counts as an error in a log where no pattern is given.
const ERROR_PATTERN: &str = r"(?i)\b(error|critical|fatal|panic)\b";
/// Most memory of a compiled pattern, in bytes.
const PATTERN_BYTES: usize = 256 * 1024;
/// How long a failure of an operation upstream counts where nobody says.
const WINDOW: Duration = Duration::from_secs(600);
/// The port of name servers.
const DNS_PORT: u16 = 53;

/// The keys that say where readings come from: a `[[signal]]` has one of them.
const KINDS: [&str; 15] = [
    "http",
    "tcp",
    "tls",
    "dns",
    "ntp",
    "log",
    "journal",
    "certificate",
    "file",
    "job",
    "number",
    "smart",
    "command",
    "service",
    "upstream",
];

/// Keys that go with some kinds only.
const GOES_WITH: [(&str, &[&str]); 17] = [
    ("speaks", &["tcp"]),
    ("json", &["http", "number"]),
    ("body", &["http"]),
    ("header", &["http"]),
    ("pattern", &["log", "journal"]),
    ("value", &["command"]),
    ("user", &["command"]),
    ("server", &["dns"]),
    ("server_name", &["tls"]),
    ("sha256", &["file"]),
    ("uid", &["file"]),
    ("gid", &["file"]),
    ("mode", &["file"]),
    ("unchanged", &["file"]),
    ("within", &["job"]),
    ("environment", &["service"]),
    ("window", &["upstream"]),
];

/// `[[signal]]`, as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WatchedFile {
    name: SubjectText,
    http: Option<String>,
    tcp: Option<String>,
    tls: Option<String>,
    dns: Option<String>,
    ntp: Option<String>,
    log: Option<PathBuf>,
    journal: Option<String>,
    certificate: Option<PathBuf>,
    file: Option<PathBuf>,
    job: Option<PathBuf>,
    number: Option<PathBuf>,
    smart: Option<PathBuf>,
    command: Option<Vec<String>>,
    service: Option<ServiceFile>,
    upstream: Option<PathBuf>,
    speaks: Option<Protocol>,
    json: Option<String>,
    body: Option<String>,
    header: Option<String>,
    pattern: Option<String>,
    value: Option<String>,
    user: Option<String>,
    server: Option<String>,
    server_name: Option<String>,
    sha256: Option<String>,
    uid: Option<u32>,
    gid: Option<u32>,
    mode: Option<String>,
    unchanged: Option<bool>,
    within: Option<Span>,
    environment: Option<Vec<String>>,
    window: Option<Span>,
    signal: Option<Known>,
    every: Option<Every>,
    timeout: Option<Span>,
    threshold: Option<f64>,
    #[serde(default)]
    critical: bool,
    #[serde(default)]
    only: Vec<Window>,
    #[serde(default)]
    except: Vec<Window>,
}

#[derive(Clone, Debug)]
struct SubjectText(Subject);

impl<'de> Deserialize<'de> for SubjectText {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input)?.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

/// Something of this host that is measured because its configuration says so.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Watched {
    /// Its name: the subject of its readings.
    pub name: Subject,
    /// Where they come from.
    pub kind: WatchedKind,
    /// The signal that its number is a reading of.
    pub signal: Option<&'static str>,
    /// The time between two readings.
    pub every: Span,
    /// How long one may take.
    pub timeout: Span,
    /// The last value that is still good, of `signal` where it is named, else of the main one.
    pub threshold: Option<f64>,
    /// Whether a value beyond it is critical.
    pub critical: bool,
    /// When it is measured at all.
    pub times: Times,
}

/// The last good value of a series on this host, and whether to be beyond it is critical.
#[must_use]
pub fn bounds(signals: &SignalsConfig, watched: &[Watched], signal: &Signal, subject: &str) -> (Option<f64>, bool) {
    let set: Set = signals.set.get(signal.name).cloned().unwrap_or_default();
    let (threshold, critical) = (set.threshold.or(signal.threshold), set.critical.unwrap_or(signal.critical));
    let Some(watched) = watched.iter().find(|watched| watched.name.as_str() == subject && watched.measures(signal))
    else {
        return (threshold, critical);
    };
    let judged = watched.main_signal() == signal.name;
    (watched.threshold.filter(|_| judged).or(threshold), critical || watched.critical)
}

impl Watched {
    /// Whether it gives readings of this signal.
    #[must_use]
    pub fn measures(&self, signal: &Signal) -> bool {
        let name = signal.name;
        self.signal == Some(name) || self.kind.signals().contains(&name) || self.kind.more_signals().contains(&name)
    }

    /// The signal that says whether it is well.
    #[must_use]
    pub fn main_signal(&self) -> &'static str {
        self.signal.or_else(|| self.kind.signals().first().copied()).unwrap_or_default()
    }
}

/// Those of one file, each checked.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub(in crate::store) struct WatchedSet(Vec<Checked>);

#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "WatchedFile")]
struct Checked {
    file: WatchedFile,
    kind: WatchedKind,
}

impl Serialize for WatchedSet {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_seq(self.0.iter().map(|checked| &checked.kind))
    }
}

impl WatchedSet {
    /// Later ones take the place of earlier ones of the same name.
    pub(in crate::store) fn overlaid_by(self, later: Self) -> Self {
        let mut all = self.0;
        all.retain(|one| later.0.iter().all(|other| other.file.name.0 != one.file.name.0));
        all.extend(later.0);
        Self(all)
    }

    pub(in crate::store) fn complete(self, interval: Span) -> Vec<Watched> {
        let mut all: BTreeMap<Subject, Watched> = BTreeMap::new();
        for Checked { file, kind } in self.0 {
            // Fewer than 2^53 seconds.
            let within = file.within.map(|within| within.0.as_secs() as f64 / 3_600.0);
            let watched = Watched {
                name: file.name.0,
                kind,
                signal: file.signal.map(|known| known.0.name),
                every: file.every.map_or(interval, |every| every.0),
                timeout: file.timeout.unwrap_or(Span(Duration::from_secs(10))),
                threshold: file.threshold.or(within),
                critical: file.critical,
                times: Times { only: file.only, except: file.except },
            };
            all.insert(watched.name.clone(), watched);
        }
        all.into_values().collect()
    }
}

impl WatchedFile {
    /// The keys of kinds and of what goes with them that are there.
    fn keys(&self) -> Vec<&'static str> {
        let there = [
            ("http", self.http.is_some()),
            ("tcp", self.tcp.is_some()),
            ("tls", self.tls.is_some()),
            ("dns", self.dns.is_some()),
            ("ntp", self.ntp.is_some()),
            ("log", self.log.is_some()),
            ("journal", self.journal.is_some()),
            ("certificate", self.certificate.is_some()),
            ("file", self.file.is_some()),
            ("job", self.job.is_some()),
            ("number", self.number.is_some()),
            ("smart", self.smart.is_some()),
            ("speaks", self.speaks.is_some()),
            ("command", self.command.is_some()),
            ("service", self.service.is_some()),
            ("upstream", self.upstream.is_some()),
            ("json", self.json.is_some()),
            ("body", self.body.is_some()),
            ("header", self.header.is_some()),
            ("pattern", self.pattern.is_some()),
            ("value", self.value.is_some()),
            ("user", self.user.is_some()),
            ("server", self.server.is_some()),
            ("server_name", self.server_name.is_some()),
            ("sha256", self.sha256.is_some()),
            ("uid", self.uid.is_some()),
            ("gid", self.gid.is_some()),
            ("mode", self.mode.is_some()),
            ("unchanged", self.unchanged.is_some()),
            ("within", self.within.is_some()),
            ("environment", self.environment.is_some()),
            ("window", self.window.is_some()),
        ];
        there.into_iter().filter(|(_, is_there)| *is_there).map(|(key, _)| key).collect()
    }

    /// The one key that says where its readings come from, when all others go with it.
    fn kind_key(&self) -> Result<&'static str, String> {
        let keys = self.keys();
        let kinds: Vec<_> = keys.iter().copied().filter(|key| KINDS.contains(key)).collect();
        let [kind] = kinds[..] else {
            let all = KINDS.map(|kind| format!("`{kind}`")).join(", ");
            return Err(format!("must have one of {all}, and has {}", kinds.len()));
        };
        for (key, with) in GOES_WITH {
            if keys.contains(&key) && !with.contains(&kind) {
                let with: Vec<_> = with.iter().map(|kind| format!("`{kind}`")).collect();
                return Err(format!("`{key}` goes with {}", with.join(" and ")));
            }
        }
        let needs_number = self.json.is_some() || kind == "number";
        match (self.signal, needs_number, kind) {
            (Some(_), true, _) | (_, false, "command") | (None, false, _) => Ok(kind),
            (None, true, _) | (Some(_), false, _) => {
                Err("`signal` says what the number is that `json`, `number` or a `command` gives: give both".to_owned())
            }
        }
    }

    fn kind(&self) -> Result<WatchedKind, String> {
        let key = self.kind_key()?;
        if self.timeout.is_some_and(|timeout| timeout.0 > TIMEOUT_MOST) {
            return Err("`timeout` must be at most 60s".to_owned());
        }
        if self.threshold.is_some_and(|threshold| !threshold.is_finite()) {
            return Err("`threshold` must be a number".to_owned());
        }
        for (key, pattern) in [("pattern", &self.pattern), ("body", &self.body)] {
            pattern.as_ref().map_or(Ok(()), |pattern| check_pattern(key, pattern))?;
        }
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let address = |value: &Option<String>| {
            let address = text(value);
            let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
            let is_sound = port.and_then(|(_, port)| port.parse::<u16>().ok()).is_some();
            if is_sound { Ok(address) } else { Err(format!("`{key}` must be HOST:PORT")) }
        };
        let path = |value: &Option<PathBuf>| {
            let path = value.clone().unwrap_or_default();
            if path.is_absolute() { Ok(path) } else { Err(format!("`{key}` must be a whole path")) }
        };
        Ok(match key {
            "http" => self.page()?,
            "tcp" => WatchedKind::Tcp { address: address(&self.tcp)?, speaks: self.speaks },
            "smart" => WatchedKind::Smart(path(&self.smart)?),
            "tls" => WatchedKind::Tls { address: address(&self.tls)?, server_name: self.server_name.clone() },
            "dns" => WatchedKind::Dns { host: text(&self.dns), server: self.server.as_deref().map(with_dns_port) },
            "ntp" => WatchedKind::Ntp(address(&self.ntp)?),
            "log" => {
                let pattern = self.pattern.clone().unwrap_or_else(|| ERROR_PATTERN.to_owned());
                WatchedKind::Log { path: path(&self.log)?, pattern }
            }
            "journal" => {
                let unit = text(&self.journal);
                if unit.is_empty() || unit.starts_with('-') {
                    return Err("`journal` must be a unit such as nginx.service, or * for all".to_owned());
                }
                WatchedKind::Journal { unit: Some(unit).filter(|unit| unit != "*"), pattern: self.pattern.clone() }
            }
            "certificate" => WatchedKind::Certificate(path(&self.certificate)?),
            "file" => WatchedKind::File { path: path(&self.file)?, is: self.file_is()? },
            "job" => {
                if self.within.is_none() && self.threshold.is_none() {
                    return Err("`job` needs `within`, such as \"26h\": the longest time since it succeeded".to_owned());
                }
                WatchedKind::Job(path(&self.job)?)
            }
            "number" => WatchedKind::Number { path: path(&self.number)?, json: self.json.clone() },
            "service" => self.service()?,
            "upstream" => {
                let window_s = self.window.map_or(WINDOW, |window| window.0).as_secs();
                WatchedKind::Upstream { path: path(&self.upstream)?, window_s }
            }
            _ => {
                let argv = self.command.clone().unwrap_or_default();
                if argv.is_empty() {
                    return Err("`command` must be a program and its arguments".to_owned());
                }
                WatchedKind::Command { argv, value: self.value.clone(), user: self.user.clone() }
            }
        })
    }

    fn page(&self) -> Result<WatchedKind, String> {
        let url = self.http.clone().unwrap_or_default();
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err("`http` must be an address that starts with http:// or https://".to_owned());
        }
        let header = match &self.header {
            Some(text) => {
                let (name, wanted) =
                    text.split_once(':').ok_or("`header` must be a name, a colon and a pattern".to_owned())?;
                check_pattern("header", wanted.trim())?;
                Some((name.trim().to_owned(), wanted.trim().to_owned()))
            }
            None => None,
        };
        Ok(WatchedKind::Http { url, json: self.json.clone(), body: self.body.clone(), header })
    }

    fn file_is(&self) -> Result<FileIs, String> {
        let sha256 = self.sha256.as_ref().map(|hash| hash.to_ascii_lowercase());
        if sha256.as_ref().is_some_and(|hash| hash.len() != 64 || !hash.bytes().all(|byte| byte.is_ascii_hexdigit())) {
            return Err("`sha256` must be 64 hexadecimal digits".to_owned());
        }
        let mode = self.mode.as_ref().map(|mode| u32::from_str_radix(mode, 8).ok().filter(|mode| *mode <= 0o7777));
        if mode == Some(None) {
            return Err("`mode` must be octal digits, such as \"0600\"".to_owned());
        }
        let unchanged = self.unchanged.unwrap_or_default();
        Ok(FileIs { sha256, uid: self.uid, gid: self.gid, mode: mode.flatten(), unchanged })
    }

    fn service(&self) -> Result<WatchedKind, String> {
        let Some(at) = self.service.clone() else { return Err("`service` says nothing".to_owned()) };
        match &at {
            ServiceFile::PidFile(path) if !path.is_absolute() => {
                return Err("`service.pidfile` must be a whole path".to_owned());
            }
            ServiceFile::Cgroup(path) if path.components().any(|part| part == std::path::Component::ParentDir) => {
                return Err("`service.cgroup` must be below the mount point of cgroups".to_owned());
            }
            ServiceFile::Cgroup(_) if self.environment.is_some() => {
                return Err("`environment` goes with `service.pidfile`".to_owned());
            }
            ServiceFile::PidFile(_) | ServiceFile::Cgroup(_) => {}
        }
        Ok(WatchedKind::Service { at, environment: self.environment.clone() })
    }
}

impl TryFrom<WatchedFile> for Checked {
    type Error = String;

    fn try_from(file: WatchedFile) -> Result<Self, String> {
        let kind = file.kind().map_err(|why| format!("signal `{}`: {why}", file.name.0.as_str()))?;
        Ok(Self { file, kind })
    }
}

fn check_pattern(key: &str, pattern: &str) -> Result<(), String> {
    let built = regex::bytes::RegexBuilder::new(pattern).size_limit(PATTERN_BYTES).build();
    built.map(drop).map_err(|_| format!("`{key}` is not a regular expression, or too large a one"))
}

fn with_dns_port(server: &str) -> String {
    if server.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_ipv6()) {
        return format!("[{server}]:{DNS_PORT}");
    }
    if server.rsplit_once(':').is_some() { server.to_owned() } else { format!("{server}:{DNS_PORT}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Watched>, String> {
        #[derive(Deserialize)]
        struct File {
            signal: WatchedSet,
        }
        let file: Result<File, _> = toml::from_str(text);
        file.map(|file| file.signal.complete(Span(Duration::from_secs(300))))
            .map_err(|error| error.message().to_owned())
    }

    fn one(rest: &str) -> Result<Watched, String> {
        read(&format!("[[signal]]\nname = \"x\"\n{rest}")).map(|mut all| all.remove(0))
    }

    #[test]
    fn each_kind_is_read_with_what_goes_with_it() {
        let sound = [
            ("http = \"https://a/\"\nbody = \"fine\"\nheader = \"content-type: json\"", "http.status"),
            ("http = \"http://a/\"\njson = \"a.b\"\nsignal = \"check.value\"", "check.value"),
            ("tcp = \"a:1\"", "tcp.open"),
            ("tcp = \"a:1\"\nspeaks = \"redis\"\nonly = [\"Mon-Fri\"]\nexcept = [\"02:00-04:00 +08:00\"]", "tcp.open"),
            ("smart = \"/dev/sda\"", "host.smart.healthy"),
            ("tls = \"a:443\"\nserver_name = \"b\"", "cert.days_left"),
            ("dns = \"a.example\"\nserver = \"::1\"", "dns.resolves"),
            ("ntp = \"a:123\"", "host.clock.offset_ms"),
            ("log = \"/var/log/a\"", "log.error_rate"),
            ("journal = \"a.service\"\npattern = \"x\"", "log.error_rate"),
            ("certificate = \"/etc/a.pem\"", "cert.days_left"),
            ("file = \"/etc/a\"\nmode = \"0600\"\nuid = 0\nunchanged = true", "file.exists"),
            ("job = \"/var/lib/a\"\nwithin = \"26h\"", "job.age_hours"),
            ("number = \"/run/a\"\nsignal = \"service.throughput\"", "service.throughput"),
            ("command = [\"true\"]", "check.status"),
            ("service = { pidfile = \"/run/a.pid\" }\nenvironment = [\"PATH\"]", "service.rss_mb"),
            ("service = { cgroup = \"system.slice/a.service\" }", "service.rss_mb"),
            ("upstream = \"/run/a.json\"\nwindow = \"5m\"", "upstream.write_error_percent"),
        ];
        for (text, main) in sound {
            assert_eq!(one(text).expect(text).main_signal(), main, "{text}");
        }
        let WatchedKind::Dns { server, .. } = one(sound[6].0).expect("sound").kind else { panic!("dns") };
        assert_eq!(server.as_deref(), Some("[::1]:53"));
        assert_eq!(one(sound[12].0).expect("sound").threshold, Some(26.0));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let wrong = [
            ("", "must have one of"),
            ("ntp = \"a:1\"\nspeaks = \"ssh\"", "`speaks` goes with `tcp`"),
            ("smart = \"sda\"", "`smart` must be a whole path"),
            ("tcp = \"a:1\"\nntp = \"a:1\"", "and has 2"),
            ("tcp = \"a\"", "`tcp` must be HOST:PORT"),
            ("tcp = \"a:1\"\nbody = \"x\"", "`body` goes with `http`"),
            ("log = \"a\"", "`log` must be a whole path"),
            ("log = \"/a\"\npattern = \"(\"", "not a regular expression"),
            ("number = \"/a\"", "`signal` says what the number is"),
            ("tcp = \"a:1\"\nsignal = \"check.value\"", "`signal` says what the number is"),
            ("http = \"http://a/\"\njson = \"x\"", "`signal` says what the number is"),
            ("job = \"/a\"", "`job` needs `within`"),
            ("file = \"/a\"\nmode = \"rw\"", "octal"),
            ("file = \"/a\"\nsha256 = \"12\"", "64 hexadecimal"),
            ("journal = \"--root=/x\"", "`journal` must be a unit"),
            ("service = { cgroup = \"../x\" }", "below the mount point"),
            ("upstream = \"a.json\"", "`upstream` must be a whole path"),
            ("log = \"/a\"\nwindow = \"5m\"", "`window` goes with `upstream`"),
            ("http = \"http://a/\"\nheader = \"x\"", "a colon"),
            ("tcp = \"a:1\"\nthreshold = inf", "`threshold` must be a number"),
            ("tcp = \"a:1\"\ntimeout = \"61s\"", "at most 60s"),
        ];
        for (text, why) in wrong {
            let said = one(text).expect_err(text);
            assert!(said.contains("signal `x`: ") && said.contains(why), "{text}: {said}");
        }
    }
}
