//! What is out of its calibration here, as the last round found it.

use super::db::{Db, DbError};
use crate::domain::kaizen::calibration::Recalibration;

/// The fact that holds it.
const FACT: &str = "recalibrations";

impl Db {
    /// Remembers what is out of its calibration now.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn keep_recalibrations(&mut self, found: &[Recalibration]) -> Result<(), DbError> {
        let text = serde_json::to_string(found).expect("a plain list of text and numbers");
        if self.fact(FACT)?.unwrap_or_else(|| "[]".to_owned()) == text { Ok(()) } else { self.set_fact(FACT, &text) }
    }

    /// What was out of its calibration in the last round.
    ///
    /// # Errors
    /// SQLite refused, or the fact holds something else.
    pub fn recalibrations(&self) -> Result<Vec<Recalibration>, DbError> {
        let Some(text) = self.fact(FACT)? else { return Ok(Vec::new()) };
        serde_json::from_str(&text).map_err(|_| DbError::Impossible { what: "list of recalibrations" })
    }
}
