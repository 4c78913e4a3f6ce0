//! What was asked of the model: what that cost, what it said, and whether it is asked at all for now.

use rusqlite::{OptionalExtension as _, params};

use super::db::{Db, DbError};
use crate::domain::kaizen::budget::Spent;
use crate::domain::kaizen::circuit_breaker::CircuitBreaker;
use crate::domain::pace::DAY;
use crate::domain::running::{Moment, Running};

/// The fact that holds the circuit breaker.
const BREAKER: &str = "model_breaker";
/// How long answers are believed and calls are kept, in days.
const KEPT_DAYS: u32 = 7;

/// The hash of everything that was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QuestionKey(pub [u8; 32]);

/// One call.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Call {
    /// When it was begun, in milliseconds since 1970.
    pub at: i64,
    /// What was asked, in one word.
    pub question: String,
    /// What it cost.
    pub tokens: u64,
    /// How it ended, in one sentence; `begun` while it has not.
    pub outcome: String,
}

fn millis(at: Running) -> i64 {
    i64::try_from(at.as_millis()).unwrap_or(i64::MAX)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Db {
    /// What was spent within the last 24 h that surely passed.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn model_spent(&self, now: Running) -> Result<Spent, DbError> {
        self.read(|connection| {
            let sql = "SELECT count(*), coalesce(sum(tokens), 0) FROM model_calls WHERE clock > ?1";
            connection.query_row(sql, [millis(now) - millis(Running::default().after(DAY))], |row| {
                Ok(Spent { calls: row.get::<_, i64>(0)?.unsigned_abs(), tokens: row.get::<_, i64>(1)?.unsigned_abs() })
            })
        })
    }

    /// Writes down a call before it is made, with what it may cost. What is older than a week is forgotten.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn begin_model_call(&mut self, moment: &Moment, question: &str, tokens: u64) -> Result<i64, DbError> {
        let now = millis(self.count_on(moment)?);
        let old = now - millis(Running::default().after(DAY * KEPT_DAYS));
        self.write(|transaction| {
            transaction.execute("DELETE FROM model_calls WHERE clock < ?1", [old])?;
            transaction.execute("DELETE FROM model_answers WHERE clock < ?1", [old])?;
            transaction.execute(
                "INSERT INTO model_calls (clock, at, question, tokens, outcome) VALUES (?1, ?2, ?3, ?4, 'begun')",
                params![now, moment.wall.as_millisecond(), question, signed(tokens)],
            )?;
            Ok(transaction.last_insert_rowid())
        })
    }

    /// Writes down how a call ended; `tokens` where the server counted them.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn end_model_call(&mut self, call: i64, tokens: Option<u64>, outcome: &str) -> Result<(), DbError> {
        self.write(|transaction| {
            transaction
                .execute(
                    "UPDATE model_calls SET tokens = coalesce(?2, tokens), outcome = ?3 WHERE id = ?1",
                    params![call, tokens.map(signed), outcome],
                )
                .map(drop)
        })
    }

    /// The newest calls, newest first.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn model_calls(&self, most: u32) -> Result<Vec<Call>, DbError> {
        self.read(|connection| {
            connection
                .prepare("SELECT at, question, tokens, outcome FROM model_calls ORDER BY id DESC LIMIT ?1")?
                .query_map([most], |row| {
                    Ok(Call {
                        at: row.get(0)?,
                        question: row.get(1)?,
                        tokens: row.get::<_, i64>(2)?.unsigned_abs(),
                        outcome: row.get(3)?,
                    })
                })?
                .collect()
        })
    }

    /// What was answered to the same question within a week.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn model_answer(&self, key: QuestionKey) -> Result<Option<String>, DbError> {
        self.read(|connection| {
            connection.query_row("SELECT text FROM model_answers WHERE key = ?1", [key.0], |row| row.get(0)).optional()
        })
    }

    /// Remembers an answer.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn keep_model_answer(&mut self, key: QuestionKey, now: Running, text: &str) -> Result<(), DbError> {
        self.write(|transaction| {
            transaction
                .execute(
                    "INSERT OR REPLACE INTO model_answers (key, clock, text) VALUES (?1, ?2, ?3)",
                    params![key.0, millis(now), text],
                )
                .map(drop)
        })
    }

    /// The circuit breaker before the model.
    ///
    /// # Errors
    /// SQLite refused, or what is stored is none.
    pub fn model_breaker(&self) -> Result<CircuitBreaker, DbError> {
        let Some(text) = self.fact(BREAKER)? else { return Ok(CircuitBreaker::default()) };
        serde_json::from_str(&text).map_err(|_| DbError::Impossible { what: "circuit breaker" })
    }

    /// Remembers the circuit breaker.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn keep_model_breaker(&mut self, breaker: &CircuitBreaker) -> Result<(), DbError> {
        let text = serde_json::to_string(breaker).expect("numbers and words");
        self.set_fact(BREAKER, &text)
    }
}
