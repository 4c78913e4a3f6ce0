//! What was verified of each peer, and where its chain stands.

use jiff::Timestamp;
use rusqlite::OptionalExtension as _;

use super::db::{Db, DbError};
use super::own_log::{column, seq_of, time_of};
use super::packed_entry::{self, EntryFile};
use super::{attestations, forks, gossip, rotations};
use crate::domain::attest::Attestation;
use crate::domain::chain::{PeerState, Position};
use crate::domain::entry::Verified;
use crate::domain::fork::ForkProof;
use crate::domain::head::Seen;
use crate::domain::id::{EntryId, HostId};
use crate::domain::rotate::Rotation;

/// Where a peer's chain stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerRow {
    /// The peer.
    pub host: HostId,
    /// Verified so far.
    pub position: Position,
    /// Its state.
    pub state: PeerState,
    /// What is wrong, for people.
    pub detail: String,
    /// The number of the newest head that was verified; 0 before the first.
    pub head_n: u64,
    /// When that head stops to be fresh.
    pub expires_at: Option<Timestamp>,
    /// When anything of it was last verified.
    pub seen_at: Timestamp,
}

impl PeerRow {
    /// A peer of which nothing was seen yet.
    #[must_use]
    pub fn unseen(host: HostId, now: Timestamp) -> Self {
        Self {
            host,
            position: Position::default(),
            state: PeerState::Unseen,
            detail: String::new(),
            head_n: 0,
            expires_at: None,
            seen_at: now,
        }
    }
}

/// Where the last look for entries to pack ended.
const PACKED_FACT: &str = "entries:packed";

/// A verified entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EntryRow {
    /// Its place in the chain.
    pub seq: u64,
    /// Its id.
    pub id: EntryId,
    /// Its payload type.
    pub payload_type: String,
    /// The envelope file, byte for byte.
    pub envelope: Vec<u8>,
}

/// A peer's lesson as it is listed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InboxRow {
    /// The entry.
    pub entry: EntryId,
    /// Who signed it.
    pub host: HostId,
    /// Its place in that host's chain.
    pub seq: u64,
    /// The lesson.
    pub slug: String,
    /// Its revision.
    pub rev: u32,
    /// Its severity.
    pub severity: String,
    /// Its scope.
    pub scope: String,
    /// What became of it here.
    pub state: InboxState,
    /// Why, where there is a reason.
    pub reason: String,
    /// Findings of the last audit; `None` before the first.
    pub findings: Option<u32>,
    /// When it arrived.
    pub at: Timestamp,
}

/// What became of a peer's lesson here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InboxState {
    /// Verified, not looked at yet.
    New,
    /// Fits this host; audited each cycle.
    Applicable,
    /// Does not fit this host.
    NotApplicable,
    /// Its fix was seeded here.
    Applied,
    /// Refused, by a person or a check.
    Rejected,
    /// Ended by its author or its date.
    Retired,
    /// Of a type that this mesh does not know.
    Unsupported,
    /// Its author's key is quarantined.
    Quarantined,
}

impl InboxState {
    const ALL: [Self; 8] = [
        Self::New,
        Self::Applicable,
        Self::NotApplicable,
        Self::Applied,
        Self::Rejected,
        Self::Retired,
        Self::Unsupported,
        Self::Quarantined,
    ];

    /// The word for it in listings and in the database.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Applicable => "applicable",
            Self::NotApplicable => "not-applicable",
            Self::Applied => "applied",
            Self::Rejected => "rejected",
            Self::Retired => "retired",
            Self::Unsupported => "unsupported",
            Self::Quarantined => "quarantined",
        }
    }

    fn of_name(name: &str) -> Result<Self, DbError> {
        Self::ALL.into_iter().find(|state| state.name() == name).ok_or(DbError::Impossible { what: "inbox state" })
    }
}

/// An entry that its author took back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Retracted {
    /// The entry.
    pub entry: EntryId,
    /// The place of the retraction.
    pub seq: u64,
    /// Why.
    pub reason: String,
}

/// What one look at a peer's log brings; stored in one step.
#[derive(Clone, Debug)]
pub struct PeerNews {
    /// Where the chain stands now.
    pub row: PeerRow,
    /// Entries that were verified, in order.
    pub entries: Vec<EntryRow>,
    /// Lessons among them.
    pub lessons: Vec<InboxRow>,
    /// Entries that its author took back, and why.
    pub retracted: Vec<Retracted>,
    /// Attestations among them.
    pub attestations: Vec<Verified<Attestation>>,
    /// Forks that it says it can prove.
    pub fork_proofs: Vec<ForkProof>,
    /// The move to another key that its last entry announces.
    pub rotation: Option<Rotation>,
    /// The newest head, byte for byte, and what it says that its host has seen of others.
    pub head: Option<(Vec<u8>, Vec<Seen>)>,
    /// The roster version that the newest head goes by.
    pub roster: Option<u64>,
}

impl PeerNews {
    /// News of nothing but where the chain stands.
    #[must_use]
    pub fn of(row: PeerRow) -> Self {
        let (entries, lessons, retracted, attestations) = (vec![], vec![], vec![], vec![]);
        Self {
            row,
            entries,
            lessons,
            retracted,
            attestations,
            fork_proofs: vec![],
            rotation: None,
            head: None,
            roster: None,
        }
    }
}

impl Db {
    /// Where a peer's chain stands.
    ///
    /// # Errors
    /// The database failed.
    pub fn peer(&self, host: HostId) -> Result<Option<PeerRow>, DbError> {
        Ok(self.peers_where("WHERE host = ?1", &[&host.as_bytes()])?.pop())
    }

    /// All peers of which anything was seen.
    ///
    /// # Errors
    /// The database failed.
    pub fn peers(&self) -> Result<Vec<PeerRow>, DbError> {
        self.peers_where("", &[])
    }

    fn peers_where(&self, condition: &str, parameters: &[&dyn rusqlite::ToSql]) -> Result<Vec<PeerRow>, DbError> {
        let query = format!("SELECT host, seq, tip, state, detail, head_n, expires_at, seen_at FROM peers {condition}");
        let rows = self.read(|connection| {
            let mut statement = connection.prepare_cached(&query)?;
            let rows = statement.query_map(parameters, |row| {
                Ok((
                    row.get::<_, [u8; 32]>(0)?,
                    row.get::<_, i64>(1)?,
                    row.get::<_, Option<[u8; 32]>>(2)?,
                    row.get::<_, String>(3)?,
                    row.get::<_, String>(4)?,
                    row.get::<_, i64>(5)?,
                    row.get::<_, Option<i64>>(6)?,
                    row.get::<_, i64>(7)?,
                ))
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        rows.into_iter()
            .map(|(host, seq, tip, state, detail, head_n, expires_at, seen_at)| {
                Ok(PeerRow {
                    host: HostId::from_bytes(host),
                    position: Position { seq: seq_of(seq)?, tip: tip.map(EntryId::from_bytes) },
                    state: PeerState::of_name(&state).ok_or(DbError::Impossible { what: "peer state" })?,
                    detail,
                    head_n: seq_of(head_n)?,
                    expires_at: expires_at.map(time_of).transpose()?,
                    seen_at: time_of(seen_at)?,
                })
            })
            .collect()
    }

    /// Stores what one look at a peer's log brought, all or nothing.
    ///
    /// # Errors
    /// The database failed.
    pub fn record_peer(&mut self, news: &PeerNews, now: Timestamp) -> Result<(), DbError> {
        let host = news.row.host;
        self.write(|transaction| {
            let mut insert = transaction.prepare_cached(
                "INSERT INTO entries (host, seq, id, payload_type, envelope, received_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?;
            for entry in &news.entries {
                insert.execute(rusqlite::params![
                    host.as_bytes(),
                    column(entry.seq),
                    entry.id.as_bytes(),
                    entry.payload_type,
                    entry.envelope,
                    now.as_second(),
                ])?;
            }
            let mut insert = transaction.prepare_cached(
                "INSERT INTO inbox (entry, host, seq, slug, rev, severity, scope, state, reason, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?;
            for lesson in &news.lessons {
                insert.execute(rusqlite::params![
                    lesson.entry.as_bytes(),
                    host.as_bytes(),
                    column(lesson.seq),
                    lesson.slug,
                    lesson.rev,
                    lesson.severity,
                    lesson.scope,
                    lesson.state.name(),
                    lesson.reason,
                    now.as_second(),
                ])?;
            }
            for attestation in &news.attestations {
                attestations::hear(transaction, attestation, now)?;
            }
            for Retracted { entry, seq, reason } in &news.retracted {
                attestations::unhear(transaction, host, *entry)?;
                // Only its own author can take a lesson back, with the key that signed it or one that followed it.
                transaction.execute(
                    "WITH RECURSIVE line (host) AS (SELECT ?2 UNION SELECT old FROM rotations JOIN line ON new = line.host AND taken)
                     INSERT OR IGNORE INTO retractions (host, slug, rev, seq) SELECT host, slug, rev, ?3 FROM inbox
                     WHERE (host, seq) = (SELECT host, seq FROM entries WHERE id = ?1) AND host IN line",
                    rusqlite::params![entry.as_bytes(), host.as_bytes(), column(*seq)],
                )?;
                transaction.execute(
                    "WITH RECURSIVE line (host) AS (SELECT ?2 UNION SELECT old FROM rotations JOIN line ON new = line.host AND taken)
                     UPDATE inbox SET state = 'retired', reason = ?3 WHERE (host, seq) = (SELECT host, seq FROM entries WHERE id = ?1)
                     AND host IN line",
                    rusqlite::params![entry.as_bytes(), host.as_bytes(), reason],
                )?;
            }
            if !news.lessons.is_empty() {
                // A revision that was taken back does not come again: its author raises `rev`.
                transaction.execute(
                    "UPDATE inbox SET state = 'rejected', reason = 'its author took this revision back before' WHERE host = ?1
                     AND state NOT IN ('retired', 'rejected', 'quarantined', 'unsupported') AND EXISTS (SELECT 1 FROM retractions AS back
                     WHERE back.host = inbox.host AND back.slug = inbox.slug AND inbox.rev <= back.rev AND inbox.seq > back.seq)",
                    [host.as_bytes()],
                )?;
            }
            if let Some(rotation) = &news.rotation {
                rotations::announce(transaction, rotation)?;
            }
            forks::claim(transaction, host, &news.fork_proofs)?;
            if let Some((_, seen)) = &news.head {
                gossip::hear(transaction, host, seen)?;
            }
            let row = &news.row;
            transaction.execute(
                "INSERT INTO peers (host, seq, tip, state, detail, head_n, head, expires_at, seen_at, roster) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
                 ON CONFLICT (host) DO UPDATE SET seq = ?2, tip = ?3, state = ?4, detail = ?5, head_n = ?6,
                 head = coalesce(?7, head), expires_at = ?8, seen_at = ?9,
                 roster = CASE WHEN ?7 IS NULL THEN roster ELSE ?10 END",
                rusqlite::params![
                    host.as_bytes(),
                    column(row.position.seq),
                    row.position.tip.as_ref().map(EntryId::as_bytes),
                    row.state.name(),
                    row.detail,
                    column(row.head_n),
                    news.head.as_ref().map(|(bytes, _)| bytes),
                    row.expires_at.map(Timestamp::as_second),
                    row.seen_at.as_second(),
                    news.roster.map(column),
                ],
            )?;
            Ok(())
        })
    }

    /// The verified envelope with this id, byte for byte.
    ///
    /// # Errors
    /// The database failed.
    pub fn entry(&self, id: EntryId) -> Result<Option<Vec<u8>>, DbError> {
        self.read(|connection| {
            connection
                .query_row("SELECT envelope FROM entries WHERE id = ?1", [id.as_bytes()], |row| row.get(0))
                .optional()
                .map(|file: Option<EntryFile>| file.map(|EntryFile(file)| file))
        })
    }

    /// Looks at the next `most` entries, from the last one of the previous call on and around again, and packs those that
    /// are still as they arrived. Returns how many.
    ///
    /// # Errors
    /// The database failed.
    pub fn pack_entries(&mut self, most: u32) -> Result<usize, DbError> {
        let last = self.fact(PACKED_FACT)?.unwrap_or_default();
        let (host, seq) = last.split_once(' ').unwrap_or_default();
        let host = host.parse().map_or([0; 32], |host: HostId| *host.as_bytes());
        let seq = seq.parse::<i64>().unwrap_or(0);
        let (seen, files) = self.read(|connection| {
            let looks = "SELECT host, seq, substr(envelope, 1, 1) = x'7b' FROM entries WHERE (host, seq) > (?1, ?2)
                         ORDER BY host, seq LIMIT ?3";
            let mut looks = connection.prepare_cached(looks)?;
            let seen = looks.query_map(rusqlite::params![host, seq, most], |row| {
                Ok((row.get::<_, [u8; 32]>(0)?, row.get::<_, i64>(1)?, row.get::<_, bool>(2)?))
            })?;
            let seen = seen.collect::<rusqlite::Result<Vec<_>>>()?;
            let mut file = connection.prepare_cached("SELECT envelope FROM entries WHERE host = ?1 AND seq = ?2")?;
            let raw = seen.iter().filter(|(_, _, is_raw)| *is_raw);
            let files = raw.map(|(host, seq, _)| {
                let EntryFile(file) = file.query_row(rusqlite::params![host, seq], |row| row.get(0))?;
                Ok((*host, *seq, file))
            });
            let files = files.collect::<rusqlite::Result<Vec<_>>>()?;
            Ok((seen, files))
        })?;
        let packed: Vec<_> =
            files.iter().filter_map(|(host, seq, file)| Some((host, seq, packed_entry::packed(file)?))).collect();
        let whole = u32::try_from(seen.len()).is_ok_and(|seen| seen == most);
        let next = match seen.last().filter(|_| whole) {
            Some(&(host, seq, _)) => format!("{} {seq}", HostId::from_bytes(host)),
            None => String::new(),
        };
        // Where all fit into one look and nothing is left to do, nothing is written.
        if packed.is_empty() && next == last {
            return Ok(0);
        }
        self.write(|transaction| {
            let mut keep =
                transaction.prepare_cached("UPDATE entries SET envelope = ?3 WHERE host = ?1 AND seq = ?2")?;
            for (host, seq, packed) in &packed {
                keep.execute(rusqlite::params![host, seq, packed])?;
            }
            transaction.prepare_cached(super::db::SET_FACT)?.execute([PACKED_FACT, &next]).map(drop)
        })?;
        Ok(packed.len())
    }

    /// Verified entries of a peer from `from` on, at most `count`, in order.
    ///
    /// # Errors
    /// The database failed.
    pub fn peer_entries(&self, host: HostId, from: u64, count: u32) -> Result<Vec<EntryRow>, DbError> {
        let rows = self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT seq, id, payload_type, envelope FROM entries WHERE host = ?1 AND seq >= ?2 ORDER BY seq LIMIT ?3",
            )?;
            let rows = statement.query_map(rusqlite::params![host.as_bytes(), column(from), count], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, [u8; 32]>(1)?, row.get(2)?, row.get(3)?))
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        rows.into_iter()
            .map(|(seq, id, payload_type, EntryFile(envelope))| {
                Ok(EntryRow { seq: seq_of(seq)?, id: EntryId::from_bytes(id), payload_type, envelope })
            })
            .collect()
    }

    /// The inbox, newest first.
    ///
    /// # Errors
    /// The database failed.
    pub fn inbox(&self) -> Result<Vec<InboxRow>, DbError> {
        let rows = self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT entry, host, seq, slug, rev, severity, scope, state, reason, findings, at FROM inbox ORDER BY at DESC, host, seq DESC",
            )?;
            let rows = statement.query_map([], |row| {
                Ok((
                    row.get::<_, [u8; 32]>(0)?,
                    row.get::<_, [u8; 32]>(1)?,
                    row.get::<_, i64>(2)?,
                    row.get::<_, String>(3)?,
                    row.get::<_, u32>(4)?,
                    (row.get::<_, String>(5)?, row.get::<_, String>(6)?),
                    (row.get::<_, String>(7)?, row.get::<_, String>(8)?),
                    row.get::<_, Option<u32>>(9)?,
                    row.get::<_, i64>(10)?,
                ))
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        rows.into_iter()
            .map(|(entry, host, seq, slug, rev, (severity, scope), (state, reason), findings, at)| {
                Ok(InboxRow {
                    entry: EntryId::from_bytes(entry),
                    host: HostId::from_bytes(host),
                    seq: seq_of(seq)?,
                    slug,
                    rev,
                    severity,
                    scope,
                    state: InboxState::of_name(&state)?,
                    reason,
                    findings,
                    at: time_of(at)?,
                })
            })
            .collect()
    }

    /// Notes what became of a peer's lesson.
    ///
    /// # Errors
    /// The database failed.
    pub fn set_inbox_state(&mut self, entry: EntryId, state: InboxState, reason: &str) -> Result<(), DbError> {
        self.write(|transaction| {
            transaction
                .execute(
                    "UPDATE inbox SET state = ?2, reason = ?3 WHERE (host, seq) = (SELECT host, seq FROM entries WHERE id = ?1)",
                    rusqlite::params![entry.as_bytes(), state.name(), reason],
                )
                .map(drop)
        })
    }

    /// Notes how many findings a peer's lesson gave in the last audit.
    ///
    /// # Errors
    /// The database failed.
    pub fn set_inbox_findings(&mut self, entry: EntryId, findings: u32) -> Result<(), DbError> {
        self.write(|transaction| {
            transaction
                .execute(
                    "UPDATE inbox SET findings = ?2 WHERE (host, seq) = (SELECT host, seq FROM entries WHERE id = ?1)",
                    rusqlite::params![entry.as_bytes(), findings],
                )
                .map(drop)
        })
    }

    /// Notes a refused document, once for each distinct one. True when it is the first time.
    ///
    /// # Errors
    /// The database failed.
    pub fn record_refusal(
        &mut self,
        path: &str,
        digest: &[u8; 32],
        host: Option<HostId>,
        reason: &str,
        now: Timestamp,
    ) -> Result<bool, DbError> {
        self.write(|transaction| {
            let changed = transaction.execute(
                "INSERT OR IGNORE INTO refusals (path, digest, host, reason, at) VALUES (?1, ?2, ?3, ?4, ?5)",
                rusqlite::params![path, digest, host.as_ref().map(HostId::as_bytes), reason, now.as_second()],
            )?;
            Ok(changed > 0)
        })
    }

    /// Forgets all but the newest `keep` refusals. Returns the digests of what was forgotten.
    ///
    /// # Errors
    /// The database failed.
    pub fn trim_refusals(&mut self, keep: u32) -> Result<Vec<[u8; 32]>, DbError> {
        self.write(|transaction| {
            let mut statement = transaction.prepare_cached(
                "DELETE FROM refusals WHERE (path, digest) IN
                 (SELECT path, digest FROM refusals ORDER BY at DESC, path, digest LIMIT -1 OFFSET ?1) RETURNING digest",
            )?;
            let rows = statement.query_map([keep], |row| row.get(0))?;
            rows.collect()
        })
    }

    /// Takes back what was listed of a key's lessons after `through`: it was revoked.
    ///
    /// # Errors
    /// The database failed.
    pub fn reject_after(&mut self, host: HostId, through: u64) -> Result<(), DbError> {
        self.write(|transaction| {
            let reason = format!("its author's key was revoked here; entries through {through} are believed");
            transaction
                .execute(
                    "UPDATE inbox SET state = 'rejected', reason = ?3
                     WHERE host = ?1 AND seq > ?2 AND state NOT IN ('rejected', 'quarantined')",
                    rusqlite::params![host.as_bytes(), column(through), reason],
                )
                .map(drop)
        })
    }

    /// What the audit worker said of a lesson with this digest: `Some(None)` is admitted.
    ///
    /// # Errors
    /// The database failed.
    pub fn admission(&self, digest: &[u8; 32], engine: &str) -> Result<Option<Option<String>>, DbError> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT refusal FROM admissions WHERE digest = ?1 AND engine = ?2")?
                .query_row(rusqlite::params![digest, engine], |row| row.get(0))
                .optional()
        })
    }

    /// Notes what the audit worker said of a lesson.
    ///
    /// # Errors
    /// The database failed.
    pub fn record_admission(
        &mut self,
        digest: &[u8; 32],
        engine: &str,
        refusal: Option<&str>,
        now: Timestamp,
    ) -> Result<(), DbError> {
        self.write(|transaction| {
            transaction
                .execute(
                    "INSERT OR REPLACE INTO admissions (digest, engine, refusal, at) VALUES (?1, ?2, ?3, ?4)",
                    rusqlite::params![digest, engine, refusal, now.as_second()],
                )
                .map(drop)
        })
    }
}
