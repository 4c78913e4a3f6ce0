//! Users of this machine, whose rights a program is given.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::process::{Gid, Uid, geteuid};

/// Why no program is run as a user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// There is no such user.
    Unknown(String),
    /// Whoever asks may not.
    NotAllowed(String),
}

/// A user of this machine.
pub struct User {
    name: String,
    /// Its number.
    pub(super) uid: u32,
    /// The number of its own group.
    pub(super) gid: u32,
    home: String,
}

impl User {
    /// The user of this name.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn named(name: &str) -> Result<Self, String> {
        let known = fs::read_to_string("/etc/passwd").map_err(|error| format!("/etc/passwd: {error}"))?;
        Self::find(&known, name).ok_or_else(|| format!("no user {name} in /etc/passwd"))
    }

    /// The same, if mesh may give a program its rights.
    ///
    /// # Errors
    /// There is none, or mesh is neither root nor that user.
    pub(super) fn to_run_as(name: &str) -> Result<Self, String> {
        let user = Self::named(name)?;
        if geteuid().is_root() || geteuid().as_raw() == user.uid {
            return Ok(user);
        }
        Err(format!("only root can run a program as {name}: start mesh as root, or take `user` out"))
    }

    /// Whether there is a user of this name, and mesh may give a program his rights.
    #[must_use]
    pub fn refusal(name: &str) -> Option<Refusal> {
        match (Self::named(name), Self::to_run_as(name)) {
            (Err(why), _) => Some(Refusal::Unknown(why)),
            (Ok(_), Err(why)) => Some(Refusal::NotAllowed(why)),
            (Ok(_), Ok(_)) => None,
        }
    }

    fn find(known: &str, name: &str) -> Option<Self> {
        known.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [found, _, uid, gid, _, home, ..] = fields.as_slice() else { return None };
            let numbers = || Some((uid.parse().ok()?, gid.parse().ok()?));
            let (uid, gid) = (*found == name).then(numbers).flatten()?;
            Some(Self { name: name.to_owned(), uid, gid, home: (*home).to_owned() })
        })
    }

    /// Lets a program have its rights and no others: no group but its own, and its home.
    pub(super) fn lend(&self, command: &mut Command) {
        // Whoever gives up root by a number gives up every other group with it.
        command.uid(self.uid).gid(self.gid);
        command.envs(self.environment());
    }

    /// Its number and that of its own group.
    pub(super) fn ids(&self) -> (Uid, Gid) {
        (Uid::from_raw(self.uid), Gid::from_raw(self.gid))
    }

    /// What tells a program whose it is.
    pub(super) fn environment(&self) -> [(&'static str, &str); 3] {
        [("HOME", &self.home), ("USER", &self.name), ("LOGNAME", &self.name)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let known = "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:34::/var/www:/usr/sbin/nologin\nbroken:x\n";
        let user = User::find(known, "www-data").expect("there");
        assert_eq!((user.uid, user.gid, user.home.as_str()), (33, 34, "/var/www"));
        assert!(User::find(known, "www").is_none() && User::find(known, "broken").is_none());
    }
}
