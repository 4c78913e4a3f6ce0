//! The queue of what people are to know, and where each channel stands in it.

use rusqlite::{OptionalExtension as _, params};

use super::db::{Db, DbError};
use super::fixes::{json, parsed};
use super::own_log::column;
use crate::domain::notice::{Notice, Queued, State};

/// Notices kept for channels that cannot deliver, and for people who look back.
const KEPT: u64 = 5_000;

fn fact(channel: &str) -> String {
    format!("notify:{channel}")
}

impl Db {
    /// Puts a notice into the queue: once this returns it survives a crash.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn tell(&mut self, notice: &Notice) -> Result<(), DbError> {
        self.write(|transaction| {
            transaction
                .prepare_cached("INSERT INTO notices (at, thread, body) VALUES (?1, ?2, ?3)")?
                .execute(params![notice.at.as_second(), notice.thread, json(notice)])?;
            transaction
                .prepare_cached("DELETE FROM notices WHERE id <= (SELECT max(id) FROM notices) - ?1")?
                .execute([column(KEPT)])?;
            Ok(())
        })
    }

    /// At most `count` notices after number `seen`, in order.
    ///
    /// # Errors
    /// SQLite refused, or a row is not one of ours.
    pub fn notices_after(&self, seen: u64, count: u32) -> Result<Vec<Queued>, DbError> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT id, body FROM notices WHERE id > ?1 ORDER BY id LIMIT ?2")?
                .query_map(params![column(seen), count], |row| {
                    Ok(Queued { id: row.get::<_, i64>(0)?.unsigned_abs(), notice: parsed(row, 1)? })
                })?
                .collect()
        })
    }

    /// One notice, while it is kept.
    ///
    /// # Errors
    /// SQLite refused, or the row is not one of ours.
    pub fn notice(&self, id: u64) -> Result<Option<Notice>, DbError> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT body FROM notices WHERE id = ?1")?
                .query_row([column(id)], |row| parsed(row, 0))
                .optional()
        })
    }

    /// Where a channel stands. One that is new begins with what is told from now on.
    ///
    /// # Errors
    /// SQLite refused, or what is kept is not ours.
    pub fn channel(&self, channel: &str) -> Result<State, DbError> {
        match self.fact(&fact(channel))? {
            Some(kept) => {
                serde_json::from_str(&kept).map_err(|_| DbError::Impossible { what: "state of a notify channel" })
            }
            None => {
                let last: Option<i64> =
                    self.read(|connection| connection.query_row("SELECT max(id) FROM notices", [], |row| row.get(0)))?;
                Ok(State::from(last.unwrap_or(0).unsigned_abs()))
            }
        }
    }

    /// Remembers where a channel stands.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn save_channel(&mut self, channel: &str, state: &State) -> Result<(), DbError> {
        self.set_fact(&fact(channel), &json(state))
    }

    /// The last notice of a thread, so that nobody is told the same twice in a row.
    ///
    /// # Errors
    /// SQLite refused, or the row is not one of ours.
    pub fn last_of_thread(&self, thread: &str) -> Result<Option<Notice>, DbError> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT body FROM notices WHERE thread = ?1 ORDER BY id DESC LIMIT 1")?
                .query_row([thread], |row| parsed(row, 0))
                .optional()
        })
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::domain::notice::{Severity, Standing};

    fn notice(thread: &str) -> Notice {
        Notice {
            at: Timestamp::UNIX_EPOCH,
            thread: thread.into(),
            standing: Standing::Once,
            severity: Severity::Info,
            area: "a".into(),
            title: "t".into(),
            text: String::new(),
        }
    }

    #[test]
    fn notices_queue_in_order_and_a_new_channel_begins_at_the_end() {
        let mut db = Db::in_memory().expect("a database");
        assert_eq!(db.channel("ops").expect("read"), State::from(0));
        for thread in ["x", "y"] {
            db.tell(&notice(thread)).expect("told");
        }
        let queued = db.notices_after(0, 10).expect("read");
        assert_eq!(
            queued.iter().map(|one| (one.id, one.notice.thread.as_str())).collect::<Vec<_>>(),
            [(1, "x"), (2, "y")]
        );
        assert_eq!(db.notices_after(1, 10).expect("read").len(), 1);
        assert_eq!(db.channel("late").expect("read"), State::from(2));
        let state = State::from(1);
        db.save_channel("ops", &state).expect("saved");
        assert_eq!(db.channel("ops").expect("read"), state);
        assert_eq!(db.last_of_thread("x").expect("read"), Some(notice("x")));
        assert_eq!((db.notice(2).expect("read"), db.notice(9).expect("read")), (Some(notice("y")), None));
    }

    #[test]
    fn an_unreadable_state_is_an_error_and_not_a_new_one() {
        let mut db = Db::in_memory().expect("a database");
        db.set_fact("notify:ops", "{").expect("written");
        assert!(matches!(db.channel("ops"), Err(DbError::Impossible { .. })));
    }
}
