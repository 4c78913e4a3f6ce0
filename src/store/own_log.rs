//! What this host signed, and what waits to be signed. A signed entry is on disk before anybody sees it.

use jiff::Timestamp;

use super::attestations;
use super::db::{Db, DbError};
use crate::domain::attest::Attestation;
use crate::domain::chain::Position;
use crate::domain::entry::Verified;
use crate::domain::id::EntryId;

/// An entry that this host signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnEntry {
    /// Its place in the chain.
    pub seq: u64,
    /// Its id.
    pub id: EntryId,
    /// Its payload type.
    pub payload_type: String,
    /// The envelope file, byte for byte.
    pub envelope: Vec<u8>,
    /// When it was signed.
    pub signed_at: Timestamp,
    /// When it was read back from the remote.
    pub confirmed_at: Option<Timestamp>,
}

/// A document that waits to be signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Draft {
    /// Its number in the queue.
    pub number: i64,
    /// The kind, as in the payload type.
    pub kind: String,
    /// The lesson it is about.
    pub slug: String,
    /// The payload without the chain header, as JSON.
    pub body: String,
}

impl Db {
    /// Where this host's chain stands.
    ///
    /// # Errors
    /// The database failed.
    pub fn own_position(&self) -> Result<Position, DbError> {
        Ok(self
            .own_entries_where("WHERE seq = (SELECT max(seq) FROM own_entries)")?
            .pop()
            .map_or_else(Position::default, |last| Position { seq: last.seq, tip: Some(last.id) }))
    }

    /// Every own entry, in order.
    ///
    /// # Errors
    /// The database failed.
    pub fn own_entries(&self) -> Result<Vec<OwnEntry>, DbError> {
        self.own_entries_where("")
    }

    /// Own entries of one payload type, in order.
    ///
    /// # Errors
    /// The database failed.
    pub fn own_entries_of(&self, payload_type: &str) -> Result<Vec<OwnEntry>, DbError> {
        let mut entries = self.own_entries()?;
        entries.retain(|entry| entry.payload_type == payload_type);
        Ok(entries)
    }

    /// Own entries that were not yet read back from the remote, in order.
    ///
    /// # Errors
    /// The database failed.
    pub fn unconfirmed_entries(&self) -> Result<Vec<OwnEntry>, DbError> {
        self.own_entries_where("WHERE confirmed_at IS NULL")
    }

    fn own_entries_where(&self, condition: &str) -> Result<Vec<OwnEntry>, DbError> {
        let query = format!(
            "SELECT seq, id, payload_type, envelope, signed_at, confirmed_at FROM own_entries {condition} ORDER BY seq"
        );
        let rows = self.read(|connection| {
            let mut statement = connection.prepare_cached(&query)?;
            let rows = statement.query_map([], |row| {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get::<_, [u8; 32]>(1)?,
                    row.get(2)?,
                    row.get(3)?,
                    row.get::<_, i64>(4)?,
                    row.get::<_, Option<i64>>(5)?,
                ))
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        rows.into_iter()
            .map(|(seq, id, payload_type, envelope, signed_at, confirmed_at)| {
                Ok(OwnEntry {
                    seq: seq_of(seq)?,
                    id: EntryId::from_bytes(id),
                    payload_type,
                    envelope,
                    signed_at: time_of(signed_at)?,
                    confirmed_at: confirmed_at.map(time_of).transpose()?,
                })
            })
            .collect()
    }

    /// Puts a signed entry on disk, takes its draft out of the queue and hears what it attests, in one step.
    ///
    /// # Errors
    /// The database failed, or the seq is taken: nothing is ever signed twice.
    pub fn append_own(
        &mut self,
        entry: &OwnEntry,
        draft: Option<i64>,
        attested: &[Verified<Attestation>],
    ) -> Result<(), DbError> {
        self.write(|transaction| {
            insert(transaction, entry)?;
            attested.iter().try_for_each(|said| attestations::hear(transaction, said, entry.signed_at))?;
            draft.map_or(Ok(()), |number| remove_draft(transaction, number))
        })
    }

    /// Takes over own entries that only the remote knew, takes drafts out of the queue that are among them, and hears
    /// what they attest.
    ///
    /// # Errors
    /// The database failed, or a seq is taken; nothing was taken over.
    pub fn adopt_own(
        &mut self,
        entries: &[OwnEntry],
        drafts: &[i64],
        attested: &[Verified<Attestation>],
    ) -> Result<(), DbError> {
        self.write(|transaction| {
            entries.iter().try_for_each(|entry| insert(transaction, entry))?;
            let at = |seq| entries.iter().find(|entry| entry.seq == seq).map(|entry| entry.signed_at);
            for said in attested {
                attestations::hear(transaction, said, at(said.seq()).unwrap_or_default())?;
            }
            drafts.iter().try_for_each(|number| remove_draft(transaction, *number))
        })
    }

    /// Notes that these entries were read back from the remote.
    ///
    /// # Errors
    /// The database failed.
    pub fn confirm_own(&mut self, seqs: &[u64], now: Timestamp) -> Result<(), DbError> {
        self.write(|transaction| {
            let mut statement = transaction
                .prepare_cached("UPDATE own_entries SET confirmed_at = ?2 WHERE seq = ?1 AND confirmed_at IS NULL")?;
            for seq in seqs {
                statement.execute([column(*seq), now.as_second()])?;
            }
            Ok(())
        })
    }

    /// Notes that these entries are not on the remote any more.
    ///
    /// # Errors
    /// The database failed.
    pub fn unconfirm_own(&mut self, seqs: &[u64]) -> Result<(), DbError> {
        self.write(|transaction| {
            let mut statement =
                transaction.prepare_cached("UPDATE own_entries SET confirmed_at = NULL WHERE seq = ?1")?;
            for seq in seqs {
                statement.execute([column(*seq)])?;
            }
            Ok(())
        })
    }

    /// Queues a document to be signed at the next sync; a draft of the same kind and lesson is replaced.
    ///
    /// # Errors
    /// The database failed.
    pub fn queue_draft(&mut self, kind: &str, slug: &str, body: &str, now: Timestamp) -> Result<(), DbError> {
        self.queue(kind, slug, None, body, now)
    }

    /// As [`Db::queue_draft`]; where the document is about one intervention, only a draft about the same is replaced.
    pub(super) fn queue(
        &mut self,
        kind: &str,
        slug: &str,
        intervention: Option<&str>,
        body: &str,
        now: Timestamp,
    ) -> Result<(), DbError> {
        self.write(|transaction| {
            transaction.execute(
                "DELETE FROM drafts WHERE kind = ?1 AND slug = ?2 AND intervention IS ?3",
                rusqlite::params![kind, slug, intervention],
            )?;
            transaction.execute(
                "INSERT INTO drafts (kind, slug, intervention, body, queued_at) VALUES (?1, ?2, ?3, ?4, ?5)",
                rusqlite::params![kind, slug, intervention, body, now.as_second()],
            )?;
            Ok(())
        })
    }

    /// What waits to be signed, in order.
    ///
    /// # Errors
    /// The database failed.
    pub fn drafts(&self) -> Result<Vec<Draft>, DbError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT id, kind, slug, body FROM drafts ORDER BY id")?;
            let rows = statement.query_map([], |row| {
                Ok(Draft { number: row.get(0)?, kind: row.get(1)?, slug: row.get(2)?, body: row.get(3)? })
            })?;
            rows.collect()
        })
    }
}

pub(super) fn insert(transaction: &rusqlite::Transaction<'_>, entry: &OwnEntry) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO own_entries (seq, id, payload_type, envelope, signed_at, confirmed_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    statement
        .execute(rusqlite::params![
            column(entry.seq),
            entry.id.as_bytes(),
            entry.payload_type,
            entry.envelope,
            entry.signed_at.as_second(),
            entry.confirmed_at.map(Timestamp::as_second),
        ])
        .map(drop)
}

fn remove_draft(transaction: &rusqlite::Transaction<'_>, number: i64) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM drafts WHERE id = ?1", [number]).map(drop)
}

/// A seq as SQLite keeps it; the limit of 2^53-1 is checked before anything is stored.
pub(super) fn column(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

pub(super) fn seq_of(column: i64) -> Result<u64, DbError> {
    u64::try_from(column).map_err(|_| DbError::Impossible { what: "seq" })
}

pub(super) fn time_of(column: i64) -> Result<Timestamp, DbError> {
    Timestamp::from_second(column).map_err(|_| DbError::Impossible { what: "time" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(seq: u64) -> OwnEntry {
        OwnEntry {
            seq,
            id: EntryId::from_bytes([u8::try_from(seq).expect("small"); 32]),
            payload_type: "application/vnd.mesh.lesson.v1+json".to_owned(),
            envelope: b"{}".to_vec(),
            signed_at: Timestamp::UNIX_EPOCH,
            confirmed_at: None,
        }
    }

    #[test]
    fn drafts_about_different_interventions_stand_beside_each_other() {
        let mut db = Db::in_memory().expect("a database");
        for (intervention, body) in [("1.1", "a"), ("2.1", "b"), ("1.1", "c")] {
            db.queue("attestation", "a-lesson", Some(intervention), body, Timestamp::UNIX_EPOCH).expect("queued");
        }
        db.queue_draft("lesson", "a-lesson", "d", Timestamp::UNIX_EPOCH).expect("queued");
        let bodies: Vec<String> = db.drafts().expect("read").into_iter().map(|draft| draft.body).collect();
        assert_eq!(bodies, ["b", "c", "d"]);
    }

    #[test]
    fn a_signed_entry_takes_its_draft_out_of_the_queue_and_its_seq_for_good() {
        let mut db = Db::in_memory().expect("a database");
        db.queue_draft("lesson", "a", "{}", Timestamp::UNIX_EPOCH).expect("queued");
        db.queue_draft("lesson", "a", "{\"rev\":2}", Timestamp::UNIX_EPOCH).expect("replaced");
        let drafts = db.drafts().expect("read");
        assert_eq!(drafts.len(), 1);
        db.append_own(&entry(1), Some(drafts[0].number), &[]).expect("signed");
        assert!(db.drafts().expect("read").is_empty());
        assert!(db.append_own(&OwnEntry { id: EntryId::from_bytes([9; 32]), ..entry(1) }, None, &[]).is_err());
        assert_eq!(db.own_position().expect("read"), Position { seq: 1, tip: Some(entry(1).id) });
        db.confirm_own(&[1], Timestamp::UNIX_EPOCH).expect("confirmed");
        assert!(db.unconfirmed_entries().expect("read").is_empty());
        db.unconfirm_own(&[1]).expect("lost");
        assert_eq!(db.unconfirmed_entries().expect("read"), [entry(1)]);
    }
}
