//! What tries a configuration file before it is used: for each kind of file the program that checks it, as one table.

use std::path::Path;

/// A kind of configuration file, and the program that says whether one is in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kind {
    /// What reads such files.
    pub name: &'static str,
    /// Ends of their paths; `*` stands for any characters but `/`.
    pub files: &'static [&'static str],
    /// The file that includes the others, where there is one. It is beside the changed file or in a folder above.
    pub main: Option<&'static str>,
    /// The program and its arguments. `{file}` is the changed file, `{main}` the main one, `{dir}` its folder.
    pub argv: &'static [&'static str],
    /// The Debian package that has the program.
    pub package: &'static str,
    /// Text that the program must refuse; where it does not, it does not look at the file.
    pub spoiled: &'static str,
}

/// Text that no configuration language takes.
const GARBAGE: &str = "}{ not a setting <<<\n";
/// A unit with a section that is not closed.
const SPOILED_UNIT: &str = "[Service\nExecStart\n";

/// Every kind, the more special one first.
pub const KINDS: [Kind; 8] = [
    Kind {
        name: "nginx",
        files: &[
            "nginx.conf",
            "nginx/conf.d/*.conf",
            "nginx/sites-available/*",
            "nginx/sites-enabled/*",
            "nginx/snippets/*",
        ],
        main: Some("nginx.conf"),
        argv: &["nginx", "-t", "-q", "-c", "{main}"],
        package: "nginx",
        spoiled: GARBAGE,
    },
    Kind {
        name: "sshd",
        files: &["sshd_config", "sshd_config.d/*.conf"],
        main: None,
        argv: &["sshd", "-t", "-f", "{file}"],
        package: "openssh-server",
        spoiled: GARBAGE,
    },
    Kind {
        name: "sudo",
        files: &["sudoers", "sudoers.d/*"],
        main: None,
        argv: &["visudo", "-c", "-f", "{file}"],
        package: "sudo",
        spoiled: GARBAGE,
    },
    Kind {
        name: "haproxy",
        files: &["haproxy.cfg"],
        main: None,
        argv: &["haproxy", "-c", "-f", "{file}"],
        package: "haproxy",
        spoiled: GARBAGE,
    },
    Kind {
        name: "named",
        files: &["named.conf", "named.conf.*"],
        main: Some("named.conf"),
        argv: &["named-checkconf", "{main}"],
        package: "bind9-utils",
        spoiled: GARBAGE,
    },
    Kind {
        name: "apache",
        files: &[
            "apache2.conf",
            "apache2/conf-available/*.conf",
            "apache2/conf-enabled/*.conf",
            "apache2/sites-available/*.conf",
            "apache2/sites-enabled/*.conf",
        ],
        main: Some("apache2.conf"),
        argv: &["apachectl", "-t", "-d", "{dir}", "-f", "{main}"],
        package: "apache2",
        spoiled: GARBAGE,
    },
    Kind {
        name: "postfix",
        files: &["postfix/main.cf", "postfix/master.cf"],
        main: Some("main.cf"),
        argv: &["postfix", "-c", "{dir}", "check"],
        package: "postfix",
        spoiled: GARBAGE,
    },
    Kind {
        name: "systemd",
        files: &["*.service", "*.socket", "*.timer", "*.mount", "*.automount", "*.path", "*.swap", "*.slice"],
        main: None,
        argv: &["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", "{file}"],
        package: "systemd",
        spoiled: SPOILED_UNIT,
    },
];

impl Kind {
    /// The kind of the file at `path`, by its name and the folders above it.
    #[must_use]
    pub fn of(path: &Path) -> Option<&'static Self> {
        let path = path.to_str()?;
        KINDS.iter().find(|kind| kind.files.iter().any(|end| ends_as(path, end)))
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &'static str {
        self.argv.first().copied().unwrap_or_default()
    }

    /// The command for a copy of the files.
    #[must_use]
    pub fn command(&self, file: &str, main: &str, dir: &str) -> Vec<String> {
        let fill = |word: &&str| match *word {
            "{file}" => file.to_owned(),
            "{main}" => main.to_owned(),
            "{dir}" => dir.to_owned(),
            word => word.to_owned(),
        };
        self.argv.iter().map(fill).collect()
    }
}

/// What stands for the changed file in a command of the configuration.
pub const FILE: &str = "{file}";

/// The command of the configuration with the path of the changed file in it.
#[must_use]
pub fn filled(argv: &[String], file: &str) -> Vec<String> {
    argv.iter().map(|word| word.replace(FILE, file)).collect()
}

/// Whether the last parts of `path` are those of `end`.
fn ends_as(path: &str, end: &str) -> bool {
    let mut parts = path.rsplit('/');
    end.rsplit('/').all(|wanted| parts.next().is_some_and(|part| part_is(part, wanted)))
}

fn part_is(part: &str, wanted: &str) -> bool {
    match wanted.split_once('*') {
        None => part == wanted,
        Some((start, end)) => {
            // A backup or a hidden file is not read by any of the programs.
            let hidden = part.starts_with('.') || part.ends_with('~');
            !hidden && part.len() > start.len() + end.len() && part.starts_with(start) && part.ends_with(end)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(path: &str) -> Option<&'static str> {
        Kind::of(Path::new(path)).map(|kind| kind.name)
    }

    #[test]
    fn each_kind_is_known_by_its_place() {
        for (path, name) in [
            ("/etc/nginx/nginx.conf", "nginx"),
            ("/etc/nginx/sites-available/shop", "nginx"),
            ("/etc/ssh/sshd_config", "sshd"),
            ("/etc/ssh/sshd_config.d/10-mine.conf", "sshd"),
            ("/etc/sudoers.d/deploy", "sudo"),
            ("/etc/haproxy/haproxy.cfg", "haproxy"),
            ("/etc/bind/named.conf.options", "named"),
            ("/etc/apache2/sites-enabled/000-default.conf", "apache"),
            ("/etc/postfix/master.cf", "postfix"),
            ("/srv/app/deploy/app.service", "systemd"),
        ] {
            assert_eq!(kind(path), Some(name), "{path}");
        }
        for path in ["/srv/nginx.conf.bak", "/etc/sudoers.d/.x", "/etc/sudoers.d/x~", "/srv/app/main.cf", "/a/.service"]
        {
            assert_eq!(kind(path), None, "{path}");
        }
    }

    #[test]
    fn commands_name_the_copy() {
        let nginx = Kind::of(Path::new("/etc/nginx/conf.d/a.conf")).expect("known");
        assert_eq!(
            nginx.command("/c/conf.d/a.conf", "/c/nginx.conf", "/c"),
            ["nginx", "-t", "-q", "-c", "/c/nginx.conf"]
        );
        let mine = ["check".to_owned(), "--path={file}".to_owned()];
        assert_eq!(filled(&mine, "/c/a"), ["check", "--path=/c/a"]);
    }

    #[test]
    fn the_table_is_whole() {
        for kind in &KINDS {
            let words = ["{file}", "{main}", "{dir}"];
            assert!(kind.argv.iter().any(|word| words.contains(word)), "{}: the copy is not named", kind.name);
            let needs_main = kind.argv.iter().any(|word| *word == "{main}" || *word == "{dir}");
            assert_eq!(needs_main, kind.main.is_some(), "{}", kind.name);
            assert!(!kind.spoiled.is_empty() && !kind.package.is_empty());
            assert!(kind.argv.iter().all(|word| !word.contains('{') || words.contains(word)), "{}", kind.name);
        }
    }
}
