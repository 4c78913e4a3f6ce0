//! The admins' list of hosts: walked version by version, shown again where the remote lost it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Exchange, Stop, SyncReport};
use crate::domain::branch_path;
use crate::domain::foreign_text::{display_line, error_line};
use crate::domain::limits;
use crate::domain::roster::{self, Admins};
use crate::ports::{Blob, Tip};
use crate::store::keyring::KeyringError;
use crate::store::rosters::{ROSTER_FACT, RosterRow};

/// Takes over every version that follows from the last one known here, and says what is wrong with the rest. Without a
/// pinned admin nothing is read.
pub(super) fn walk(
    exchange: &mut Exchange<'_>,
    report: &mut SyncReport,
    tip: Option<Tip>,
    now: Timestamp,
) -> Result<(), Stop> {
    if exchange.keyring.admins().is_empty() {
        return Ok(());
    }
    let Some(tip) = tip else { return Ok(()) };
    let mut fault = None;
    for _ in 0..limits::ROSTER_STEPS {
        let known = exchange.db.roster()?;
        let (admins, last) = match &known {
            Some(row) => (row.roster.admins(), row.roster.version),
            None => (Admins::pinned(exchange.keyring.admins().iter().copied()), 0),
        };
        let Some(next) = last.checked_add(1) else { break };
        match exchange.branch.file(tip, &branch_path::roster(next), limits::ROSTER_BYTES)? {
            Blob::Missing => break,
            Blob::Refused(why) => {
                fault = Some(format!("roster {next} is not read: {}", display_line(&why)));
                break;
            }
            Blob::Found(bytes) => match roster::accept(exchange.mesh, &bytes, &admins, last) {
                Ok((roster, id)) => {
                    exchange.db.record_roster(&RosterRow { id, roster, envelope: bytes }, now)?;
                    report.rosters.push(next);
                }
                Err(why) => {
                    fault = Some(format!("roster {next} is refused: {}", error_line(&why)));
                    break;
                }
            },
        }
    }
    let fault = match fault {
        None => match second(exchange, tip)? {
            None => hidden(exchange)?,
            second => second,
        },
        fault => fault,
    };
    note(exchange, report, fault)?;
    exchange.keyring.join_again(exchange.db, now).map_err(|error| match error {
        KeyringError::Db(error) => Stop::from(error),
        // Nothing but the database is read again.
        other => Stop::Here(super::ExchangeError::Keyring(other)),
    })
}

fn note(exchange: &mut Exchange<'_>, report: &mut SyncReport, fault: Option<String>) -> Result<(), Stop> {
    let before = exchange.db.fact(ROSTER_FACT)?;
    match &fault {
        Some(why) if before.as_ref() != Some(why) => {
            exchange.db.set_fact(ROSTER_FACT, why)?;
            report.roster_fault.clone_from(&fault);
        }
        Some(_) => {}
        None if before.is_some() => exchange.db.forget_fact(ROSTER_FACT)?,
        None => {}
    }
    Ok(())
}

/// Another list of the newest version that the admins signed as well: which one hosts go by is then chance.
fn second(exchange: &Exchange<'_>, tip: Tip) -> Result<Option<String>, Stop> {
    let Some(newest) = exchange.db.roster()? else { return Ok(None) };
    let version = newest.roster.version;
    let path = branch_path::roster(version);
    let Blob::Found(bytes) = exchange.branch.file(tip, &path, limits::ROSTER_BYTES)? else { return Ok(None) };
    let before = match exchange.db.roster_version(version - 1)? {
        Some(row) => row.roster.admins(),
        None => Admins::pinned(exchange.keyring.admins().iter().copied()),
    };
    let other = roster::accept(exchange.mesh, &bytes, &before, version - 1).is_ok_and(|(_, id)| id != newest.id);
    Ok(other
        .then(|| format!("the admins signed two lists of version {version}: let them sign version {}", version + 1)))
}

/// A version that a listed peer goes by and the server does not show here: a host may have been taken off the list.
fn hidden(exchange: &Exchange<'_>) -> Result<Option<String>, Stop> {
    let known = exchange.db.roster()?.map_or(0, |row| row.roster.version);
    let ahead = exchange.db.ahead_of_roster(known)?;
    // Who was taken off the list or revoked has no say in it any more.
    let listed = ahead.into_iter().filter(|(host, _)| exchange.keyring.revoked(*host).is_none());
    let named = listed.filter_map(|(host, version)| Some((exchange.keyring.by_host(host)?.name.clone(), version)));
    let newest = named.max_by_key(|(_, version)| *version);
    Ok(newest.map(|(name, version)| format!("{name} goes by version {version}, the server shows {known} here")))
}

/// Versions that were verified here and that the branch does not show as they were.
pub(super) fn missing(exchange: &Exchange<'_>, tip: Option<Tip>) -> Result<BTreeMap<String, Vec<u8>>, Stop> {
    let mut files = BTreeMap::new();
    if exchange.keyring.admins().is_empty() {
        return Ok(files);
    }
    if let Some(tip) = tip
        && second(exchange, tip)?.is_some()
    {
        // The other list stays where it is, for everybody to see.
        return Ok(files);
    }
    let mut version = exchange.db.roster()?.map_or(0, |row| row.roster.version);
    // The newest is looked at each time; older ones only while newer ones are missing.
    while version > 0 {
        let path = branch_path::roster(version);
        let Some(row) = exchange.db.roster_version(version)? else { break };
        let shown = match tip {
            Some(tip) => exchange.branch.file(tip, &path, limits::ROSTER_BYTES)?,
            None => Blob::Missing,
        };
        let same = match shown {
            Blob::Found(bytes) => {
                bytes == row.envelope || roster::read(&bytes).is_ok_and(|(_, envelope)| envelope.entry_id() == row.id)
            }
            Blob::Missing | Blob::Refused(_) => false,
        };
        if same {
            break;
        }
        files.insert(path, row.envelope);
        version -= 1;
    }
    Ok(files)
}
