//! What a peer's lessons may do here: the lines of the trust directory and the grant that results.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::id::{HostId, PeerName};
use super::openssh::{self, KeyTextError};

/// What a peer's lessons may do here, from least to most.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grant {
    /// Stored and listed.
    Observe,
    /// Detection runs and reports.
    Audit,
    /// A fix is seeded that a person accepts.
    #[default]
    Propose,
    /// The guard may apply by itself. Never given unless asked for.
    Apply,
}

impl Grant {
    /// The word for it in files and listings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Audit => "audit",
            Self::Propose => "propose",
            Self::Apply => "apply",
        }
    }
}

impl std::str::FromStr for Grant {
    type Err = TrustError;
    fn from_str(text: &str) -> Result<Self, TrustError> {
        [Self::Observe, Self::Audit, Self::Propose, Self::Apply]
            .into_iter()
            .find(|grant| grant.name() == text)
            .ok_or_else(|| TrustError::Option { option: format!("grant=\"{text}\"") })
    }
}

/// Why a line of the trust directory is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TrustError {
    /// No key, or an unusable one.
    #[error("key line is not usable")]
    Key(#[from] KeyTextError),
    /// An option that is not known or not of its form.
    #[error(
        "option `{option}` is not one of grant=\"observe|audit|propose|apply\", scope=\"glob\", not-after=\"YYYY-MM-DD\""
    )]
    Option {
        /// The option.
        option: String,
    },
    /// More than one line.
    #[error("a key file holds one line, this one holds {0}")]
    Lines(usize),
}

/// One line of `keys/peers/<name>.pub`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerLine {
    /// The peer's key.
    pub host: HostId,
    /// What its lessons may do here.
    pub grant: Grant,
    /// The lesson scopes it may speak of, such as `python/*`; every scope when empty.
    pub scope: Vec<String>,
    /// The last day of the trust.
    pub not_after: Option<Date>,
    /// The comment, for people.
    pub comment: String,
}

impl PeerLine {
    /// Reads one authorized_keys-style line: options first, then `ssh-ed25519 AAAA... comment`.
    ///
    /// # Errors
    /// Unknown options, another algorithm, a weak key.
    pub fn parse(text: &str) -> Result<Self, TrustError> {
        let (options, host, comment) = key_line(text)?;
        let mut parsed = Self { host, grant: Grant::default(), scope: vec![], not_after: None, comment };
        for option in options {
            let bad = || TrustError::Option { option: option.to_owned() };
            let (name, value) = option.split_once('=').ok_or_else(bad)?;
            let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).ok_or_else(bad)?;
            if value.contains('"') {
                // It could be read in two ways, and not be written again.
                return Err(bad());
            }
            match name {
                "grant" => parsed.grant = value.parse()?,
                "scope" => parsed.scope = value.split_ascii_whitespace().map(str::to_owned).collect(),
                "not-after" => parsed.not_after = Some(value.parse().map_err(|_| bad())?),
                _ => return Err(bad()),
            }
        }
        Ok(parsed)
    }

    /// Whether the last day of the trust is over at `now`.
    #[must_use]
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.not_after.is_some_and(|last| now.to_zoned(jiff::tz::TimeZone::UTC).date() > last)
    }

    /// What this line and `other`, which is about the same key, both allow.
    #[must_use]
    pub fn meet(&self, other: &Self) -> Self {
        let mut both = Self { grant: self.grant.min(other.grant), ..self.clone() };
        both.not_after = match (self.not_after, other.not_after) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        if self.scope.is_empty() || other.scope.is_empty() {
            both.scope = if self.scope.is_empty() { other.scope.clone() } else { self.scope.clone() };
            return both;
        }
        let pairs = self.scope.iter().flat_map(|one| other.scope.iter().map(move |other| (one, other)));
        both.scope = pairs.filter_map(|(one, other)| scope_meet(one, other)).collect();
        if both.scope.is_empty() {
            // No scope would stand for every scope: what is left is to be seen and not to be used.
            both.scope.clone_from(&self.scope);
            both.grant = Grant::Observe;
        }
        both
    }

    /// Whether the trust is still running at `now` and covers lessons of `scope`.
    #[must_use]
    pub fn covers(&self, scope: &str, now: Timestamp) -> bool {
        !self.has_ended(now) && (self.scope.is_empty() || self.scope.iter().any(|glob| scope_matches(glob, scope)))
    }
}

/// The line as it is written to `keys/peers/`.
impl fmt::Display for PeerLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "grant=\"{}\"", self.grant.name())?;
        if !self.scope.is_empty() {
            write!(f, ",scope=\"{}\"", self.scope.join(" "))?;
        }
        if let Some(last) = self.not_after {
            write!(f, ",not-after=\"{last}\"")?;
        }
        write!(f, " {}", openssh::public_line(self.host, &self.comment))
    }
}

/// One line of `keys/revoked/`: the key's entries are believed through a seq, never by date.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Revoked {
    /// The key.
    pub host: HostId,
    /// The last seq that is still believed; 0 for a key that was stolen.
    pub trust_through: u64,
    /// The comment, for people.
    pub comment: String,
}

impl Revoked {
    /// Reads `trust-through="SEQ" ssh-ed25519 AAAA... comment`; without the option nothing is believed.
    ///
    /// # Errors
    /// Unknown options, another algorithm, a weak key.
    pub fn parse(text: &str) -> Result<Self, TrustError> {
        let (options, host, comment) = key_line(text)?;
        let mut trust_through = 0;
        for option in options {
            let seq = option.strip_prefix("trust-through=\"").and_then(|value| value.strip_suffix('"'));
            trust_through =
                seq.and_then(|seq| seq.parse().ok()).ok_or_else(|| TrustError::Option { option: option.to_owned() })?;
        }
        Ok(Self { host, trust_through, comment })
    }
}

/// The line as it is written to `keys/revoked/`.
impl fmt::Display for Revoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "trust-through=\"{}\" {}", self.trust_through, openssh::public_line(self.host, &self.comment))
    }
}

/// The options, key and comment of the one line of a key file.
fn key_line(text: &str) -> Result<(Vec<&str>, HostId, String), TrustError> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let line = lines.next().ok_or(TrustError::Lines(0))?;
    let more = lines.count();
    if more > 0 {
        return Err(TrustError::Lines(more + 1));
    }
    let (options, key) = match line.strip_prefix("ssh-ed25519") {
        Some(_) => ("", line),
        None => split_options(line).ok_or(TrustError::Key(KeyTextError::Line))?,
    };
    let mut words = key.split_ascii_whitespace();
    let host = openssh::parse_public(words.next().unwrap_or_default(), words.next().unwrap_or_default())?;
    Ok((split_quoted(options), host, words.collect::<Vec<_>>().join(" ")))
}

fn split_options(line: &str) -> Option<(&str, &str)> {
    let mut quoted = false;
    let end = line.char_indices().find(|&(_, c)| {
        quoted ^= c == '"';
        c == ' ' && !quoted
    })?;
    Some((&line[..end.0], line[end.0..].trim_start()))
}

fn split_quoted(options: &str) -> Vec<&str> {
    let mut quoted = false;
    options
        .split(|c| {
            quoted ^= c == '"';
            c == ',' && !quoted
        })
        .filter(|option| !option.is_empty())
        .collect()
}

/// Whether `glob` covers `scope`: `*` stands for anything within one part, `**` for anything.
#[must_use]
pub fn scope_matches(glob: &str, scope: &str) -> bool {
    if glob == "*" || glob == "**" {
        return true;
    }
    let mut globs = glob.split('/');
    let mut parts = scope.split('/');
    loop {
        match (globs.next(), parts.next()) {
            (None, None) | (Some("**"), _) => return true,
            (Some("*"), Some(_)) => {}
            (Some(glob), Some(part)) if glob == part => {}
            _ => return false,
        }
    }
}

/// The glob that covers what both globs cover; `None` where that is nothing.
fn scope_meet(one: &str, other: &str) -> Option<String> {
    let whole = |glob: &str| glob == "*" || glob == "**";
    if whole(one) || whole(other) {
        return Some(if whole(one) { other } else { one }.to_owned());
    }
    let (one, other): (Vec<&str>, Vec<&str>) = (one.split('/').collect(), other.split('/').collect());
    let mut both = Vec::new();
    for at in 0.. {
        match (one.get(at), other.get(at)) {
            (None, None) => break,
            (Some(&"**"), _) => {
                both.extend(other.get(at..).unwrap_or_default());
                break;
            }
            (_, Some(&"**")) => {
                both.extend(one.get(at..).unwrap_or_default());
                break;
            }
            (Some(&"*"), Some(part)) | (Some(part), Some(&"*")) => both.push(*part),
            (Some(one), Some(other)) if one == other => both.push(*one),
            _ => return None,
        }
    }
    Some(both.join("/"))
}

/// An enrolled peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// The local label.
    pub name: PeerName,
    /// Its line.
    pub line: PeerLine,
}

/// What bounds the grant of one lesson besides the peer's line.
#[derive(Clone, Copy, Debug)]
pub struct GrantBounds {
    /// `max_grant` of the config.
    pub max: Grant,
    /// Whether the peer's head is fresh; a stale peer's lessons are audited at most.
    pub fresh: bool,
    /// The least grant among the lessons that this one was derived from.
    pub lineage: Option<Grant>,
}

/// What a lesson of `scope` by this peer may do here now. `None`: the peer may not speak of it.
#[must_use]
pub fn effective_grant(line: &PeerLine, scope: &str, bounds: GrantBounds, now: Timestamp) -> Option<Grant> {
    if !line.covers(scope, now) {
        return None;
    }
    let freshness = if bounds.fresh { Grant::Apply } else { Grant::Audit };
    Some(line.grant.min(bounds.max).min(freshness).min(bounds.lineage.unwrap_or(Grant::Apply)))
}

#[cfg(test)]
mod tests {
    use super::super::envelope::HostKey;
    use super::*;

    fn line(options: &str) -> Result<PeerLine, TrustError> {
        let key = openssh::public_line(HostKey::from_seed(&[1; 32]).host(), "web-07");
        PeerLine::parse(&format!("{options} {key}\n"))
    }

    #[test]
    fn lines_round_trip_with_their_options() {
        let parsed = line(r#"grant="audit",scope="python/* systemd/**",not-after="2027-05-20""#).expect("sound");
        assert_eq!((parsed.grant, parsed.comment.as_str()), (Grant::Audit, "web-07"));
        assert_eq!(PeerLine::parse(&parsed.to_string()), Ok(parsed));
        assert_eq!(line("").expect("no options").grant, Grant::Propose);
    }

    #[test]
    fn unknown_or_malformed_options_are_refused() {
        for bad in [
            r#"scope="python/* s,not-after="2027-05-20""#,
            r#"grant="root""#,
            "grant=apply",
            r#"command="sh""#,
            r#"not-after="soon""#,
            "no-pty",
        ] {
            assert!(line(bad).is_err(), "{bad}");
        }
        assert!(PeerLine::parse("# only a remark\n").is_err());
        assert!(PeerLine::parse("ssh-rsa AAAA x").is_err());
    }

    #[test]
    fn scope_and_last_day_bound_the_trust() {
        let line = line(r#"scope="python/*",not-after="2027-05-20""#).expect("sound");
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        assert!(line.covers("python/io", at("2027-05-20T23:59:59Z")));
        assert!(!line.covers("python/io", at("2027-05-21T00:00:00Z")));
        assert!(!line.covers("systemd/unit", at("2027-01-01T00:00:00Z")));
        assert!(!line.covers("python/io/state", at("2027-01-01T00:00:00Z")));
        assert!(scope_matches("python/**", "python/io/state"));
    }

    proptest::proptest! {
        #[test]
        fn what_two_lines_allow_together_is_what_both_allow(
            one in "(a|b|\\*)(/(a|b|\\*)){0,2}(/\\*\\*)?", other in "(a|b|\\*)(/(a|b|\\*)){0,2}(/\\*\\*)?",
            scope in "(a|b)(/(a|b)){0,3}",
        ) {
            let both = scope_meet(&one, &other).is_some_and(|both| scope_matches(&both, &scope));
            proptest::prop_assert_eq!(both, scope_matches(&one, &scope) && scope_matches(&other, &scope));
        }
    }

    #[test]
    fn t26_lines_that_share_no_scope_leave_nothing_to_use() {
        let of = |options: &str| line(options).expect("sound");
        let both = of(r#"grant="apply",scope="python/*""#).meet(&of(r#"grant="apply",scope="systemd/*""#));
        assert_eq!(both.grant, Grant::Observe);
        let both = of(r#"grant="apply",scope="python/*",not-after="2027-05-20""#).meet(&of(r#"grant="audit""#));
        assert_eq!(
            (both.grant, both.scope, both.not_after.is_some()),
            (Grant::Audit, vec!["python/*".to_owned()], true)
        );
    }

    #[test]
    fn t26_the_effective_grant_is_the_least_of_all() {
        let bounds = GrantBounds { max: Grant::Apply, fresh: true, lineage: None };
        let line = line(r#"grant="apply""#).expect("sound");
        let grant = |bounds| effective_grant(&line, "python/io", bounds, Timestamp::UNIX_EPOCH);
        assert_eq!(grant(bounds), Some(Grant::Apply));
        assert_eq!(grant(GrantBounds { fresh: false, ..bounds }), Some(Grant::Audit));
        assert_eq!(grant(GrantBounds { lineage: Some(Grant::Observe), ..bounds }), Some(Grant::Observe));
        assert_eq!(grant(GrantBounds { max: Grant::Propose, ..bounds }), Some(Grant::Propose));
    }
}
