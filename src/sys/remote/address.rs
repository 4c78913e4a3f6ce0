//! The forms of a remote's address. An address never holds a secret, so it may be shown.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ports::RemoteError;

const FORMS: &str = "use https://host/path, http://host/path, ssh://user@host/path, user@host:path, git://host/path, \
                     or the absolute path of a repository on this machine";

/// Where the shared branch lives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    /// Smart HTTP; the URL has no trailing slash, no credentials, no query.
    Http(String),
    /// The user's own `ssh`.
    Ssh {
        /// `host` or `user@host`.
        login: String,
        /// The port, when it is not the one of the ssh configuration.
        port: Option<u16>,
        /// The repository, as the far side names it.
        path: String,
    },
    /// `git daemon`.
    Daemon {
        /// Host name or address; an IPv6 address has no brackets.
        host: String,
        /// The port.
        port: u16,
        /// The repository, from the root.
        path: String,
    },
    /// A repository on this machine, by absolute path.
    Local(PathBuf),
}

fn unusable(why: &str) -> RemoteError {
    RemoteError::Address(format!("{why}; {FORMS}"))
}

impl FromStr for Address {
    type Err = RemoteError;

    fn from_str(text: &str) -> Result<Self, RemoteError> {
        if text.is_empty() || text.len() > 2048 || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(unusable("it is empty, too long, or holds blanks or control characters"));
        }
        match text.split_once("://") {
            Some(("http" | "https", _)) => http(text),
            Some(("ssh", rest)) => ssh_url(rest),
            Some(("git", rest)) => daemon(rest),
            Some(("file", path)) => local(path),
            Some(_) => Err(unusable("its scheme is not known")),
            None if text.starts_with('/') => local(text),
            None => ssh_short(text),
        }
    }
}

fn http(text: &str) -> Result<Address, RemoteError> {
    let url = reqwest::Url::parse(text).map_err(|error| unusable(&format!("it is no URL: {error}")))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(RemoteError::Address(
            "it has a user name or password in it, which logs and listings would show; \
             put the token in a file or an environment variable and name that in the configuration"
                .to_owned(),
        ));
    }
    if url.host_str().is_none() || url.query().is_some() || url.fragment().is_some() {
        return Err(unusable("an http address is a host and a path, nothing more"));
    }
    Ok(Address::Http(url.as_str().trim_end_matches('/').to_owned()))
}

fn local(path: &str) -> Result<Address, RemoteError> {
    if !path.starts_with('/') || path.contains('%') {
        return Err(unusable("a local path is absolute and not percent-encoded"));
    }
    Ok(Address::Local(PathBuf::from(path)))
}

/// `authority/path`, the path with its leading slash.
fn split_path(rest: &str) -> Result<(&str, &str), RemoteError> {
    let slash = rest.find('/').ok_or_else(|| unusable("it names no repository"))?;
    let (authority, path) = rest.split_at(slash);
    if path.len() < 2 || path.contains('%') {
        return Err(unusable("its path is empty or percent-encoded"));
    }
    Ok((authority, path))
}

/// `host` or `host:port`, the host without the brackets of an IPv6 address.
fn split_port(authority: &str) -> Result<(&str, Option<u16>), RemoteError> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or_else(|| unusable("a bracket is not closed"))?;
            (host, after.strip_prefix(':'))
        }
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map(|p| p.parse().map_err(|_| unusable("its port is not a number"))).transpose()?;
    Ok((checked_host(host)?, port))
}

/// A host or user starting with `-` would be read as an option of ssh.
fn checked_host(host: &str) -> Result<&str, RemoteError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._:-%".contains(&b);
    if host.is_empty() || host.starts_with('-') || !host.bytes().all(plain) {
        return Err(unusable("its host has characters that no host name has"));
    }
    Ok(host)
}

fn checked_login(user: Option<&str>, host: &str) -> Result<String, RemoteError> {
    let host = checked_host(host)?;
    let Some(user) = user else { return Ok(host.to_owned()) };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._+-".contains(&b);
    if user.contains(':') {
        return Err(RemoteError::Address(
            "it has a password in it; ssh keys belong into the ssh configuration".to_owned(),
        ));
    }
    if user.is_empty() || user.starts_with('-') || !user.bytes().all(plain) {
        return Err(unusable("its user has characters that no user name has"));
    }
    Ok(format!("{user}@{host}"))
}

fn checked_repository(path: &str) -> Result<String, RemoteError> {
    if path.is_empty() || path.starts_with('-') {
        return Err(unusable("its path is empty or starts with a dash"));
    }
    Ok(path.to_owned())
}

fn ssh_url(rest: &str) -> Result<Address, RemoteError> {
    let (authority, path) = split_path(rest)?;
    let (user, authority) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let (host, port) = split_port(authority)?;
    let path = if path.starts_with("/~") { &path[1..] } else { path };
    Ok(Address::Ssh { login: checked_login(user, host)?, port, path: checked_repository(path)? })
}

fn ssh_short(text: &str) -> Result<Address, RemoteError> {
    let (login, path) =
        text.split_once(':').ok_or_else(|| unusable("it is neither an address nor an absolute path"))?;
    if login.contains('/') || path.starts_with(':') {
        return Err(unusable("it is neither an address nor an absolute path"));
    }
    let (user, host) = match login.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, login),
    };
    Ok(Address::Ssh { login: checked_login(user, host)?, port: None, path: checked_repository(path)? })
}

fn daemon(rest: &str) -> Result<Address, RemoteError> {
    let (authority, path) = split_path(rest)?;
    let (host, port) = split_port(authority)?;
    Ok(Address::Daemon { host: host.to_owned(), port: port.unwrap_or(9418), path: path.to_owned() })
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bracketed = |host: &str| if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        match self {
            Self::Http(url) => f.write_str(url),
            Self::Ssh { login, port: None, path } if !login.contains(':') => write!(f, "{login}:{path}"),
            Self::Ssh { login, port, path } => {
                let (user, host) = login.rsplit_once('@').map_or((None, login.as_str()), |(u, h)| (Some(u), h));
                let user = user.map(|user| format!("{user}@")).unwrap_or_default();
                let port = port.map(|port| format!(":{port}")).unwrap_or_default();
                let slash = if path.starts_with('/') { "" } else { "/" };
                write!(f, "ssh://{user}{}{port}{slash}{path}", bracketed(host))
            }
            Self::Daemon { host, port, path } => write!(f, "git://{}:{port}{path}", bracketed(host)),
            Self::Local(path) => f.write_str(&path.to_string_lossy()),
        }
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Address {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn every_documented_form_is_understood_and_shown_again() {
        assert_eq!(parsed("https://git.example/a/b.git/"), Address::Http("https://git.example/a/b.git".to_owned()));
        let ssh = |login: &str, port, path: &str| Address::Ssh { login: login.to_owned(), port, path: path.to_owned() };
        assert_eq!(parsed("ssh://git@host:2222/a b".replace(' ', "").as_str()), ssh("git@host", Some(2222), "/ab"));
        assert_eq!(parsed("ssh://host/~me/mesh.git"), ssh("host", None, "~me/mesh.git"));
        assert_eq!(parsed("git@host:mesh.git"), ssh("git@host", None, "mesh.git"));
        assert_eq!(parsed("ssh://[::1]:22/x"), ssh("::1", Some(22), "/x"));
        let daemon = Address::Daemon { host: "h".to_owned(), port: 9418, path: "/m".to_owned() };
        assert_eq!(parsed("git://h/m"), daemon);
        assert_eq!(parsed("file:///srv/m.git"), Address::Local("/srv/m.git".into()));
        for text in [
            "https://h/a",
            "ssh://u@h:22/a",
            "ssh://u@h:22/~a/b",
            "u@h:a",
            "ssh://u@[::1]/a",
            "git://h:1/a",
            "git://[::1]:1/a",
            "/srv/m",
        ] {
            assert_eq!(parsed(&parsed(text).to_string()), parsed(text), "{text}");
        }
    }

    #[test]
    fn hostile_and_mistaken_forms_are_refused_with_what_to_do() {
        for bad in [
            "",
            "mesh",
            "./mesh.git",
            "file://mesh",
            "-oProxyCommand=x:y",
            "ssh://-oProxyCommand=x/y",
            "-a@h:p",
            "u@-h:p",
            "ext::sh -c x",
            "ext::sh",
            "h:-p",
            "http://",
            "ftp://h/p",
            "https://h/p?x=1",
            "a\u{1b}b:c",
            "ssh://h:99999/p",
            "ssh://h/%2e",
            "git://h",
            "git://h/",
            "ssh://[::1/p",
            "h\n:p",
        ] {
            assert!(matches!(bad.parse::<Address>(), Err(RemoteError::Address(_))), "{bad:?}");
        }
    }

    #[test]
    fn t32_an_address_with_a_secret_is_refused_without_repeating_it() {
        for bad in ["https://mesh:s3cret@h/p", "https://s3cret@h/p", "ssh://u:s3cret@h/p"] {
            let error = bad.parse::<Address>().unwrap_err().to_string();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
