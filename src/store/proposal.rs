//! A proposal of what could be measured here, written as an example that nobody reads but a person.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::config::Config;
use super::files::{self, FileError};
use super::home::Home;
use super::signal_config::{ServiceFile, WatchedKind};
use crate::domain::foreign_text::display_line;
use crate::domain::inventory::Inventory;
use crate::domain::signal::Subject;

/// Units that belong to the system, and that nobody keeps alive by hand.
const PLUMBING: [&str; 14] = [
    "systemd-",
    "user@",
    "user-runtime-dir@",
    "getty@",
    "serial-getty@",
    "console-",
    "dbus",
    "polkit",
    "keyboard-",
    "kmod-",
    "modprobe@",
    "plymouth",
    "initrd-",
    "rc-local",
];
const HEAD: &str = "\
# What runs here and is not measured yet, as `mesh up` found it. Nothing of this is in force: mesh reads files that end in
# .toml. Copy what you want into one, such as measured.toml, and take the `# ` away; then `mesh config check`.
";

/// Where the proposal stands.
#[must_use]
pub fn path(home: &Home) -> PathBuf {
    home.config().join("conf.d/proposed.toml.example")
}

/// Writes what could be measured and is not. Returns how many things that are; with none nothing is written.
///
/// # Errors
/// The file cannot be written.
pub fn write(home: &Home, config: &Config, found: &Inventory) -> Result<usize, FileError> {
    let (text, count) = text(config, found);
    if count > 0 {
        files::write_whole(&path(home), text.as_bytes(), 0o600)?;
    }
    Ok(count)
}

/// The proposal while it is written.
struct Proposal {
    text: String,
    names: BTreeSet<Subject>,
    count: usize,
}

impl Proposal {
    /// A `[[signal]]`; a name that is taken gets a number.
    fn signal(&mut self, name: &str, remark: &str, lines: &[String]) {
        let mut subject = Subject::near(name);
        let mut number = 1;
        while !self.names.insert(subject.clone()) {
            number += 1;
            subject = Subject::near(&format!("{name}-{number}"));
        }
        let name = quoted(subject.as_str());
        let remark = if remark.is_empty() { String::new() } else { format!("   # {}", display_line(remark)) };
        self.text.push_str(&format!("\n# [[signal]]{remark}\n# name = {name}\n"));
        for line in lines {
            self.text.push_str(&format!("# {line}\n"));
        }
        self.count += 1;
    }
}

fn text(config: &Config, found: &Inventory) -> (String, usize) {
    let known: Vec<&WatchedKind> = config.signal.iter().map(|watched| &watched.kind).collect();
    let names = config.signal.iter().map(|watched| watched.name.clone()).collect();
    let mut proposal = Proposal { text: HEAD.to_owned(), names, count: 0 };
    for unit in &found.units {
        if PLUMBING.iter().any(|prefix| unit.name.starts_with(prefix)) {
            continue;
        }
        let short = unit.name.trim_end_matches(".service");
        if unit.has_failed {
            proposal.text.push_str(&format!("\n# {} has failed: look at it first.\n", display_line(&unit.name)));
            continue;
        }
        let at = WatchedKind::Service { at: ServiceFile::Cgroup(unit.cgroup.clone().into()), environment: None };
        if !known.contains(&&at) {
            let lines = [format!("service = {{ cgroup = {} }}", quoted(&unit.cgroup))];
            proposal.signal(short, &unit.name, &lines);
        }
        if !known
            .iter()
            .any(|kind| matches!(kind, WatchedKind::Journal { unit: Some(known), .. } if *known == unit.name))
        {
            proposal.signal(&format!("{short}-log"), "", &[format!("journal = {}", quoted(&unit.name))]);
        }
    }
    for port in &found.ports {
        let address = port.address.to_string();
        if !known.iter().any(|kind| matches!(kind, WatchedKind::Tcp { address: known, .. } if *known == address)) {
            let owner = port.owner.as_ref().map(|owner| format!("{owner} listens")).unwrap_or_default();
            proposal.signal(&format!("port-{}", port.address.port()), &owner, &[format!("tcp = {}", quoted(&address))]);
        }
    }
    for certificate in &found.certificates {
        if !known.contains(&&WatchedKind::Certificate(certificate.clone())) {
            let path = certificate.display().to_string();
            let name = certificate.iter().rev().take(2).map(|part| part.to_string_lossy()).collect::<Vec<_>>();
            let name = name.into_iter().rev().collect::<Vec<_>>().join("/");
            proposal.signal(&name, "", &[format!("certificate = {}", quoted(&path))]);
        }
    }
    if !found.containers.is_empty() {
        proposal.text.push_str("\n# Containers that run:\n");
        for container in &found.containers {
            let said = format!("{} ({}): {}", container.name, container.image, container.status);
            proposal.text.push_str(&format!("#   {}\n", display_line(&said)));
        }
        proposal.count += found.containers.len();
    }
    (proposal.text, proposal.count)
}

fn quoted(text: &str) -> String {
    // On one line, whatever is in it: a line of its own would be no comment.
    serde_json::to_string(&display_line(text)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::inventory::{Container, Port, Unit};

    fn found() -> Inventory {
        let unit =
            |name: &str, has_failed| Unit { name: name.to_owned(), has_failed, cgroup: format!("system.slice/{name}") };
        let address = |text: &str| text.parse().expect("an address");
        Inventory {
            units: vec![unit("app.service", false), unit("backup.service", true), unit("dbus.service", false)],
            ports: vec![
                Port { address: address("127.0.0.1:80"), owner: Some("pid 7 (a\nevil = 1)".to_owned()) },
                Port { address: address("127.0.0.1:81"), owner: None },
            ],
            containers: vec![Container {
                name: "web\n[remote]".to_owned(),
                image: "nginx".to_owned(),
                status: "Up".to_owned(),
            }],
            certificates: vec!["/etc/letsencrypt/live/a \"b\"/cert.pem".into()],
        }
    }

    fn home(signals: &str) -> (tempfile::TempDir, Home, Config) {
        let dir = tempfile::tempdir().expect("a temp dir");
        let home = Home::at(dir.path());
        home.create().expect("made");
        let text = format!("name = \"a\"\nmesh = \"m\"\n[remote]\nurl = \"/r\"\n{signals}");
        std::fs::write(home.config_file(), text).expect("written");
        let config = Config::load(&home).expect("sound");
        (dir, home, config)
    }

    #[test]
    fn a_proposal_is_a_comment_and_without_the_marks_it_is_a_configuration() {
        let (_dir, home, config) = home("");
        let count = write(&home, &config, &found()).expect("written");
        let text = std::fs::read_to_string(path(&home)).expect("written");
        assert!(text.lines().all(|line| line.is_empty() || line.starts_with('#')), "{text}");
        assert!(text.contains("backup.service has failed") && !text.contains("dbus"), "{text}");
        assert_eq!(Config::load(&home).expect("sound").signal, [], "nothing of it is in force");
        let taken: String = text
            .split_once("[[signal]]")
            .map(|(_, rest)| format!("[[signal]]{rest}"))
            .expect("something")
            .split("\n# Containers")
            .next()
            .expect("a part")
            .lines()
            .filter(|line| !line.contains("has failed"))
            .map(|line| format!("{}\n", line.trim_start_matches("# ")))
            .collect();
        std::fs::write(home.config().join("conf.d/taken.toml"), &taken).expect("written");
        let config = Config::load(&home).unwrap_or_else(|error| panic!("{error}\n{taken}"));
        assert_eq!(config.signal.len(), count - 1, "all but the container: {taken}");
        assert_eq!(write(&home, &config, &found()).expect("written"), 1, "what is measured is not proposed again");
    }

    #[test]
    fn with_nothing_to_propose_nothing_is_written() {
        let (_dir, home, config) = home("");
        assert_eq!(write(&home, &config, &Inventory::default()).expect("done"), 0);
        assert!(!path(&home).exists());
    }
}
